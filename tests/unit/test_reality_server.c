// SPDX-License-Identifier: MIT
/*
 * test_reality_server.c - verdicts up to the flight: the rows of REALITY 8, every acceptance
 * failure of 3.3. Whole and byte by byte.
 */
#include "reality_world.h"

/* ---- acceptance, REALITY 3.3 -------------------------------------------------------------- */

#define NOT_OURS(reason, change) \
	do { \
		struct world world; \
\
		start(&world); \
		change; \
		expect_forward(&world, feed_hello(&world, 16384, PIECE_ALL), (reason)); \
		assert_int_equal(world.config.seen_calls, 0); \
		stop(&world); \
	} while (0)

static void hellos_that_are_not_ours(void **state)
{
	(void)state;
	NOT_OURS(CV_PEER_NO_TLS13, world.hello.no_tls13 = true);
	NOT_OURS(CV_PEER_SNI_NOT_LISTED, world.hello.server_name = "example.com");
	NOT_OURS(CV_PEER_SNI_NOT_LISTED, world.hello.server_name = "WWW.example.com");
	NOT_OURS(CV_PEER_SNI_NOT_LISTED, world.hello.server_name = NULL);
	NOT_OURS(CV_PEER_NO_AUTH_SHARE, world.hello.x25519 = false);
	NOT_OURS(CV_PEER_SESSION_ID, world.hello.session_id_len = 0);
	NOT_OURS(CV_PEER_SESSION_ID, world.hello.session_id_len = 31);
	NOT_OURS(CV_PEER_AUTH_FAILED, world.hello.break_seal = true);
	NOT_OURS(CV_PEER_SHORT_ID, world.hello.short_id[7] ^= 1);
}

static void expect_limit(void (*change)(struct world *), int reason)
{
	struct world world;

	start(&world);
	change(&world);
	if (reason)
		expect_forward(&world, feed_hello(&world, 16384, PIECE_ALL), reason);
	else
		assert_int_equal(feed_hello(&world, 16384, PIECE_ALL), CV_REALITY_WAIT);
	stop(&world);
}

static void min_equal(struct world *world)
{
	world->config.reality.min_client_version = 26 << 16 | 7 << 8 | 28;
}

static void min_above(struct world *world)
{
	world->config.reality.min_client_version = 26 << 16 | 7 << 8 | 29;
}

static void max_equal(struct world *world)
{
	world->config.reality.max_client_version = 26 << 16 | 7 << 8 | 28;
}

static void max_below(struct world *world)
{
	world->config.reality.max_client_version = 26 << 16 | 7 << 8 | 27;
}

static void wants_mlkem(struct world *world)
{
	world->config.reality.require_mlkem = true;
}

static void wants_mlkem_but_second(struct world *world)
{
	world->config.reality.require_mlkem = true;
	world->hello.hybrid = world->hello.x25519_first = true;
}

static void wants_mlkem_and_first(struct world *world)
{
	world->config.reality.require_mlkem = true;
	world->hello.hybrid = true;
}

static void replayed(struct world *world)
{
	world->config.seen_answer = true;
}

static void no_name_is_listed(struct world *world)
{
	world->config.server_names[0][0] = '\0';
	world->hello.server_name = NULL;
}

static void without_callbacks(struct world *world)
{
	world->config.reality.seen_before = NULL;
	world->config.reality.profile = NULL;
}

static void limits_of_the_operator(void **state)
{
	(void)state;
	expect_limit(min_equal, 0);
	expect_limit(min_above, CV_PEER_VERSION);
	expect_limit(max_equal, 0);
	expect_limit(max_below, CV_PEER_VERSION);
	expect_limit(wants_mlkem, CV_PEER_NO_MLKEM);
	expect_limit(wants_mlkem_but_second, CV_PEER_NO_MLKEM);
	expect_limit(wants_mlkem_and_first, 0);
	expect_limit(replayed, CV_PEER_REPLAY);
	expect_limit(no_name_is_listed, 0);
	expect_limit(without_callbacks, 0);
}

static void clocks_are_compared_both_ways(void **state)
{
	static const struct {
		int off_s;
		uint64_t max_ms;
		int reason;
	} cases[] = {{5, 5000, 0},
		     {-5, 5000, 0},
		     {6, 5000, CV_PEER_CLOCK},
		     {-6, 5000, CV_PEER_CLOCK},
		     {86400 * 365 * 20, 0, 0}};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct world world;

		start(&world);
		world.hello.time_s += (uint32_t)cases[i].off_s;
		world.config.reality.max_time_diff_ms = cases[i].max_ms;
		if (cases[i].reason)
			expect_forward(&world, feed_hello(&world, 16384, PIECE_ALL),
				       cases[i].reason);
		else
			assert_int_equal(feed_hello(&world, 16384, PIECE_ALL), CV_REALITY_WAIT);
		assert_int_equal(cv_reality_server_clock_skew_ms(world.server),
				 (int64_t)cases[i].off_s * 1000);
		assert_int_equal(world.config.seen_calls, cases[i].reason ? 0 : 1);
		stop(&world);
	}
}

static void bytes_that_are_no_hello(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
		int reason;
	} cases[] = {
		{"GET / HTTP/1.1\r\n", 16, CV_PEER_NOT_TLS},
		{"\x16\x03\x01\x00\x04\x02\0\0\0", 9, CV_PEER_DECODE},
		{"\x16\x03\x01\xff\xff", 5, CV_PEER_TOO_LONG},
		{"\x16\x03\x01\x00\x05\x01\0\0\1\0", 10, CV_PEER_DECODE},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct world world;

		start(&world);
		assert_null(cv_reality_server_hello(world.server));
		add(&world, cases[i].bytes, cases[i].len);
		expect_forward(&world, feed_client(&world, 1), cases[i].reason);
		assert_null(cv_reality_server_hello(world.server));
		stop(&world);
	}
}

/* ---- up to the flight, REALITY 8 ---------------------------------------------------------- */

/* Every variant has lengths of its own; the target's ServerHello says whose are used. */
static void learn_all_variants(struct cv_target_profile *profile)
{
	for (int i = 0; i < CV_TARGET_VARIANTS; i++)
		profile->after[i] = (struct cv_post_handshake){
			{(uint16_t)(255 + i), (uint16_t)(71 + i), (uint16_t)(22 + i)}, 3, true};
}

static void whole_handshake_of(size_t fragment, size_t piece, uint16_t group, uint16_t suite)
{
	struct world world;
	static uint8_t plain[CV_TLS_RECORD_MAX];
	struct cv_buffer reply;
	struct cv_span in;
	struct cv_layer *layer;
	int variant = (suite == 0x1302) + 2 * (group == CV_GROUP_X25519);

	start(&world);
	world.config.profile.ccs_limit = 32;
	learn_all_variants(&world.config.profile);
	world.hello.hybrid = true;
	world.flight.group = group;
	world.flight.suite = suite;
	if (suite == 0x1302)
		world.flight.record_len[5] = 74; /* Finished is longer too */
	assert_int_equal(feed_hello(&world, fragment, piece), CV_REALITY_WAIT);
	assert_non_null(cv_reality_server_hello(world.server));
	assert_string_equal(cv_reality_server_hello(world.server)->server_name, "www.example.com");
	if (piece < 100)
		world.flight.record_len[6] = 0; /* read byte by byte it comes too late */
	assert_int_equal(feed_flight(&world, piece), CV_REALITY_FLIGHT);
	rig_client_read_flight(&world.client, &world.flight, &world.config, output_of(&world));
	add(&world, "late", 4); /* what the target says now is dropped */
	assert_int_equal(feed_target(&world, 1), CV_REALITY_WAIT);

	rig_client_finish(&world.client, &world.bytes);
	assert_int_equal(cv_tls_record_seal(&world.client.app_tx, 23, (const uint8_t *)"request", 7,
					    0, &world.bytes),
			 0);
	assert_int_equal(feed_client(&world, piece), CV_REALITY_ESTABLISHED);
	for (int i = 0; i < 3; i++) {
		size_t record_len;

		assert_int_equal(
			rig_open(&world.client.app_rx, output_of(&world), 23, plain, &record_len),
			0);
		assert_int_equal(record_len, world.config.profile.after[variant].len[i]);
	}
	assert_int_equal(cv_buffer_len(output_of(&world)), 0);

	assert_int_equal(cv_buffer_append(cv_reality_server_leftover(world.server),
					  cv_buffer_bytes(&world.bytes),
					  cv_buffer_len(&world.bytes)),
			 0);
	layer = cv_reality_server_take_layer(world.server);
	assert_non_null(layer);
	assert_null(cv_reality_server_take_layer(world.server));
	in = cv_buffer_span(cv_reality_server_leftover(world.server));
	cv_buffer_done(&world.bytes);
	cv_buffer_init(&reply, 1024);
	assert_int_equal(layer->ops->decode(layer, &in, &world.bytes, &reply), 0);
	assert_memory_equal(cv_buffer_bytes(&world.bytes), "request", 7);
	layer->ops->free(layer);
	stop(&world);
}

static void whole_handshake(size_t fragment, size_t piece)
{
	whole_handshake_of(fragment, piece, CV_GROUP_X25519, 0x1301);
}

static void handshakes_in_any_segmentation(void **state)
{
	(void)state;
	whole_handshake_of(16384, PIECE_ALL, CV_GROUP_X25519MLKEM768, 0x1303);
	whole_handshake_of(16384, PIECE_ALL, CV_GROUP_X25519MLKEM768, 0x1302);
	whole_handshake_of(16384, PIECE_ALL, CV_GROUP_X25519, 0x1302);
	whole_handshake(16384, PIECE_ALL);
	whole_handshake(16384, 1);
	whole_handshake(50, PIECE_ALL);
	whole_handshake(1, 1);
	whole_handshake(100, 7);
}

static void a_target_that_speaks_first(void **state)
{
	struct world world;

	(void)state;
	start(&world);
	add(&world, "SSH-2.0-", 8);
	expect_forward(&world, feed_target(&world, PIECE_ALL), CV_TARGET_SPEAKS_FIRST);
	assert_memory_equal(cv_buffer_bytes(cv_reality_server_saved_target(world.server)),
			    "SSH-2.0-", 8);
	stop(&world);

	start(&world); /* for good, even if half the hello was there */
	rig_client_start(&world.client, &world.hello);
	rig_hello_records(&world.client, 16384, &world.bytes);
	world.bytes.tail -= 20;
	assert_int_equal(feed_client(&world, PIECE_ALL), CV_REALITY_WAIT);
	add(&world, "x", 1);
	expect_forward(&world, feed_target(&world, PIECE_ALL), CV_TARGET_SPEAKS_FIRST);
	stop(&world);
}

static void ends_before_the_flight(void **state)
{
	struct world world;

	(void)state;
	start(&world);
	assert_int_equal(cv_reality_server_target_eof(world.server), CV_REALITY_CLOSE);
	assert_int_equal(cv_reality_server_reason(world.server), CV_TARGET_CLOSED);
	stop(&world);

	start(&world);
	expect_forward(&world, cv_reality_server_client_eof(world.server), CV_PEER_CLOSED);
	stop(&world);

	start(&world);
	assert_int_equal(feed_hello(&world, 16384, PIECE_ALL), CV_REALITY_WAIT);
	expect_forward(&world, cv_reality_server_client_eof(world.server), CV_PEER_CLOSED);
	stop(&world);

	start(&world);
	assert_int_equal(feed_hello(&world, 16384, PIECE_ALL), CV_REALITY_WAIT);
	assert_int_equal(cv_reality_server_target_eof(world.server), CV_REALITY_CLOSE);
	assert_int_equal(cv_reality_server_reason(world.server), CV_TARGET_CLOSED);
	assert_int_equal(cv_buffer_len(output_of(&world)), 0);
	stop(&world);

	start(&world); /* what it did say must not get lost */
	assert_int_equal(feed_hello(&world, 16384, PIECE_ALL), CV_REALITY_WAIT);
	rig_flight_write(&world.flight, &world.client, &world.bytes);
	world.bytes.tail = world.bytes.head + 200;
	assert_int_equal(feed_target(&world, PIECE_ALL), CV_REALITY_WAIT);
	expect_forward(&world, cv_reality_server_target_eof(world.server), CV_TARGET_CLOSED);
	assert_int_equal(cv_buffer_len(cv_reality_server_saved_target(world.server)), 200);
	stop(&world);
}

/* Ours, but the target's answer is of no use: every byte of it must reach the client. */
static void expect_fallback(struct world *world, int reason, size_t piece)
{
	struct cv_buffer sent, *saved;
	size_t given;

	cv_buffer_init(&sent, 1 << 20);
	assert_int_equal(feed_hello(world, 16384, PIECE_ALL), CV_REALITY_WAIT);
	rig_flight_write(&world->flight, &world->client, &sent);
	expect_forward(world, feed_flight(world, piece), reason);
	saved = cv_reality_server_saved_target(world->server);
	given = cv_buffer_len(&sent) - cv_buffer_len(&world->bytes);
	assert_int_equal(cv_buffer_len(saved), given);
	assert_memory_equal(cv_buffer_bytes(saved), cv_buffer_bytes(&sent), given);
	cv_buffer_done(&sent);
	stop(world);
}

#define FALLBACK(reason, change) \
	for (int part = 0; part < 2; part++) { \
		struct world world; \
\
		start(&world); \
		change; \
		expect_fallback(&world, (reason), part ? 1 : PIECE_ALL); \
	}

static void unusable_answers_are_forwarded(void **state)
{
	(void)state;
	FALLBACK(CV_TARGET_NOT_TLS13, world.flight.no_versions = true);
	FALLBACK(CV_TARGET_HELLO_RETRY, world.flight.retry = true);
	FALLBACK(CV_TARGET_GROUP, world.flight.group = 0x17);
	FALLBACK(CV_TARGET_SESSION_ID, world.flight.session_id_len = 16);
	/* the client offered no share of that group */
	FALLBACK(CV_TARGET_GROUP, world.flight.group = CV_GROUP_X25519MLKEM768);
	FALLBACK(CV_TARGET_GROUP, world.hello.x25519 = false; world.hello.hybrid = true);
	/* one byte too small for ours, position by position */
	FALLBACK(CV_TARGET_PADDING, world.flight.record_len[2] = 27);
	FALLBACK(CV_TARGET_PADDING, world.flight.record_len[3] = 212);
	FALLBACK(CV_TARGET_PADDING, world.flight.record_len[4] = 93);
	FALLBACK(CV_TARGET_PADDING, world.flight.record_len[5] = 57);
	FALLBACK(CV_TARGET_PADDING, world.flight.suite = 0x1302; world.flight.record_len[5] = 73);
	/* more than TLS allows to be sealed */
	FALLBACK(CV_TARGET_PADDING, world.flight.record_len[3] = 16640);
	FALLBACK(CV_TARGET_PADDING, world.flight.record_len[3] = 16645);
}

static void a_ticket_too_small_is_forwarded(void **state)
{
	struct world world;

	(void)state;
	start(&world);
	world.flight.record_len[6] = 21;
	expect_fallback(&world, CV_TARGET_PADDING, PIECE_ALL);
}

static void mldsa_needs_room(void **state)
{
	struct world world;

	(void)state;
	start(&world);
	rig_config_with_mldsa(&world.config);
	world.flight.record_len[3] = 3543;
	expect_fallback(&world, CV_TARGET_PADDING, PIECE_ALL);
	start(&world);
	rig_config_with_mldsa(&world.config);
	memset(world.flight.record_len, 0, sizeof(world.flight.record_len));
	world.flight.record_len[2] = 3657;
	expect_fallback(&world, CV_TARGET_PADDING, PIECE_ALL);
	start(&world);
	rig_config_with_mldsa(&world.config);
	world.flight.record_len[3] = 3544;
	up_to_flight(&world);
	stop(&world);
}

static void a_bad_ccs_is_forwarded_with_all_before_it(void **state)
{
	struct world world;
	struct cv_buffer *saved;
	size_t len;

	(void)state;
	start(&world);
	assert_int_equal(feed_hello(&world, 16384, PIECE_ALL), CV_REALITY_WAIT);
	rig_flight_write(&world.flight, &world.client, &world.bytes);
	cv_buffer_bytes(&world.bytes)[127 + 5] = 2;
	len = cv_buffer_len(&world.bytes);
	expect_forward(&world, feed_target(&world, PIECE_ALL), CV_TARGET_TEMPLATE);
	saved = cv_reality_server_saved_target(world.server);
	assert_int_equal(cv_buffer_len(saved), len);
	assert_int_equal(cv_buffer_bytes(saved)[127 + 5], 2);
	stop(&world);
}

static int keygen_fails(uint8_t ret_private[32], uint8_t ret_public[32])
{
	(void)ret_private;
	(void)ret_public;
	return CV_INTERNAL_CRYPTO;
}

static void even_our_own_failure_is_forwarded(void **state)
{
	static const struct cv_reality_entropy broken = {.x25519_keygen = keygen_fails};
	struct world world;

	(void)state;
	start(&world);
	cv_reality_server_set_entropy(world.server, &broken);
	expect_fallback(&world, CV_INTERNAL_CRYPTO, PIECE_ALL);
}

static void fresh_keys_every_time(void **state)
{
	uint8_t share[2][32];

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct world world;

		start(&world);
		assert_int_equal(feed_hello(&world, 16384, PIECE_ALL), CV_REALITY_WAIT);
		assert_int_equal(feed_flight(&world, PIECE_ALL), CV_REALITY_FLIGHT);
		memcpy(share[i], cv_buffer_bytes(output_of(&world)) + 95, 32);
		stop(&world);
	}
	assert_memory_not_equal(share[0], share[1], 32);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hellos_that_are_not_ours),
		cmocka_unit_test(limits_of_the_operator),
		cmocka_unit_test(clocks_are_compared_both_ways),
		cmocka_unit_test(bytes_that_are_no_hello),
		cmocka_unit_test(handshakes_in_any_segmentation),
		cmocka_unit_test(a_target_that_speaks_first),
		cmocka_unit_test(ends_before_the_flight),
		cmocka_unit_test(unusable_answers_are_forwarded),
		cmocka_unit_test(a_ticket_too_small_is_forwarded),
		cmocka_unit_test(mldsa_needs_room),
		cmocka_unit_test(a_bad_ccs_is_forwarded_with_all_before_it),
		cmocka_unit_test(even_our_own_failure_is_forwarded),
		cmocka_unit_test(fresh_keys_every_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
