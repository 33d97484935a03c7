// SPDX-License-Identifier: MIT
/*
 * test_session_ktls.c - VLESS in TLS on a real worker, where the kernel takes the records over.
 *
 *   test: records made here ==TLS==> inbound --> freedom --> test as upstream
 *
 * The records and the pieces they arrive in are the test's own, so a worker that reads beyond the
 * record at which it hands over, or counts records wrongly, loses the stream. Where the kernel has
 * no TLS the same sessions are played in user space.
 */
#include "session_stage.h"
#include "tls_identity.h"

#include "base/clock.h"
#include "base/reason.h"
#include "engine/ktls.h"
#include "policy/usage.h"
#include "policy/user.h"
#include "protocol/record_layer.h"
#include "protocol/tls_client.h"
#include "session/session.h"
#include "session/session_limits.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define PATTERN_SEED 7

static char nothing[] = "", alice[] = "alice";
static struct cv_ktls_support support;
static struct cv_tls_certificate identity;

struct play {
	struct session_stage stage;
	struct cv_tls_server_context *tls;
	struct cv_limits limits; /* of the user */
	uint32_t idle_ms;
	struct cv_usage_table *usages;
	struct cv_usage *usage;
	struct cv_layer *layer; /* the client's, for its keys */
	struct cv_tls_keys seal, open;
	struct cv_buffer wire;
	int client, upstream;
	uint64_t sent, received; /* application bytes of the client's end */
	bool notify_seen;
	unsigned updates_seen;
};

static uint8_t pattern(uint64_t position)
{
	return (uint8_t)((position * UINT64_C(0x9e3779b97f4a7c15)) >> 53) ^ PATTERN_SEED;
}

static void pause_ms(long ms)
{
	const struct timespec pause = {.tv_nsec = ms * 1000000};

	(void)nanosleep(&pause, NULL);
}

/* ---- the client's records ----------------------------------------------------------------- */

static void seal(struct play *play, uint8_t type, const void *bytes, size_t count_bytes)
{
	assert_int_equal(
		cv_tls_record_seal(&play->seal, type, bytes, count_bytes, 0, &play->wire), 0);
}

static void seal_pattern(struct play *play, size_t count_bytes)
{
	uint8_t bytes[CV_TLS_PLAINTEXT_MAX];

	for (size_t i = 0; i < count_bytes; i++)
		bytes[i] = pattern(play->sent++);
	seal(play, CV_TLS_APPLICATION, bytes, count_bytes);
}

/* What was sealed, in pieces of at most @piece_bytes. */
static void send_wire(struct play *play, size_t piece_bytes)
{
	while (cv_buffer_len(&play->wire) > 0) {
		size_t left_bytes = cv_buffer_len(&play->wire);
		size_t count_bytes = left_bytes < piece_bytes ? left_bytes : piece_bytes;

		stage_send(play->client, cv_buffer_bytes(&play->wire), count_bytes);
		cv_buffer_consume(&play->wire, count_bytes);
		if (piece_bytes < 10000)
			pause_ms(1);
	}
}

/* One record; false at the FIN. */
static bool receive_record(struct play *play)
{
	uint8_t record[CV_TLS_RECORD_MAX], plain[CV_TLS_RECORD_MAX], type;
	ssize_t got = recv(play->client, record, CV_TLS_HEADER, MSG_WAITALL);
	size_t len_bytes, body_bytes;

	if (got == 0)
		return false;
	assert_int_equal(got, CV_TLS_HEADER);
	body_bytes = (size_t)record[3] << 8 | record[4];
	assert_true(body_bytes <= CV_TLS_RECORD_MAX - CV_TLS_HEADER);
	assert_int_equal(recv(play->client, record + CV_TLS_HEADER, body_bytes, MSG_WAITALL),
			 body_bytes);
	assert_int_equal(cv_tls_record_open(&play->open, record, CV_TLS_HEADER + body_bytes, plain,
					    &type, &len_bytes),
			 0);
	assert_false(play->notify_seen);
	if (type == CV_TLS_HANDSHAKE) {
		assert_int_equal(plain[0], 24);
		assert_int_equal(cv_tls_keys_update(&play->open, false), 0);
		play->updates_seen++;
	} else if (type == CV_TLS_ALERT) {
		assert_int_equal(plain[1], 0);
		play->notify_seen = true;
	} else {
		for (size_t i = 0; i < len_bytes; i++)
			assert_int_equal(plain[i], pattern(play->received++));
	}
	return true;
}

static void receive(struct play *play, uint64_t until)
{
	while (play->received < until)
		assert_true(receive_record(play));
	assert_int_equal(play->received, until);
}

/* ---- the upstream ------------------------------------------------------------------------- */

static void upstream_send(struct play *play, uint64_t from, uint64_t until)
{
	uint8_t bytes[20000];

	while (from < until) {
		size_t count = 0;

		while (count < sizeof(bytes) && from < until)
			bytes[count++] = pattern(from++);
		stage_send(play->upstream, bytes, count);
	}
}

static void upstream_expect(struct play *play, uint64_t from, uint64_t until)
{
	uint8_t bytes[20000];

	while (from < until) {
		size_t wanted = until - from < sizeof(bytes) ? until - from : sizeof(bytes);
		ssize_t got = recv(play->upstream, bytes, wanted, MSG_WAITALL);

		assert_int_equal(got, wanted);
		for (size_t i = 0; i < wanted; i++)
			assert_int_equal(bytes[i], pattern(from++));
	}
}

/* ---- set up ------------------------------------------------------------------------------- */

static void shake_hands(struct play *play)
{
	const struct cv_tls_client_config config = {
		.server_name = "a.example",
		.fingerprint = CV_FINGERPRINT_GO,
		.allow_insecure = true,
	};
	struct cv_tls_client *client = cv_tls_client_new(&config, cv_clock_wall_ms());
	struct cv_buffer *output, in;
	struct cv_span bytes;
	int result = -EAGAIN;

	assert_non_null(client);
	cv_buffer_init(&in, 65536);
	do {
		uint8_t *space;
		ssize_t got;

		output = cv_tls_client_output(client);
		if (cv_buffer_len(output))
			stage_send(play->client, cv_buffer_bytes(output), cv_buffer_len(output));
		cv_buffer_consume(output, cv_buffer_len(output));
		if (result == 0)
			break;
		assert_int_equal(cv_buffer_reserve(&in, 8192, &space), 0);
		got = recv(play->client, space, 8192, 0);
		assert_true(got > 0);
		cv_buffer_commit(&in, (size_t)got);
		bytes = cv_buffer_span(&in);
		result = cv_tls_client_read(client, &bytes);
		cv_buffer_consume(&in, cv_buffer_len(&in) - bytes.len_bytes);
	} while (result == 0 || result == -EAGAIN);
	assert_int_equal(result, 0);
	assert_int_equal(cv_buffer_len(&in), 0);
	cv_buffer_done(&in);
	play->layer = cv_tls_client_take_layer(client);
	assert_non_null(play->layer);
	cv_tls_client_free(client);
}

/* Keys of our own: the layer's have no record made with them. */
static void take_keys(struct play *play)
{
	const struct cv_tls_keys *rx = cv_record_layer_keys(play->layer, false);
	const struct cv_tls_keys *tx = cv_record_layer_keys(play->layer, true);

	assert_int_equal(cv_tls_keys_init(&play->open, rx->suite, rx->secret, false), 0);
	assert_int_equal(cv_tls_keys_init(&play->seal, tx->suite, tx->secret, true), 0);
	assert_int_equal(tx->sequence, 0);
}

static void send_request(struct play *play)
{
	uint16_t port = cv_sockaddr_port(&play->stage.upstream_address);
	uint8_t request[26] = {[1] = 1};
	const uint8_t tail[] = {0, 1, (uint8_t)(port >> 8), (uint8_t)port, 1, 127, 0, 0, 1};

	memcpy(request + 17, tail, sizeof(tail));
	seal(play, CV_TLS_APPLICATION, request, sizeof(request));
	send_wire(play, 10000);
}

/* The request, and an answer of a byte: its header is out. */
static void play_open_limited(struct play *play, uint64_t after_bytes)
{
	bool differ;
	struct cv_user user = {.uuid = {1},
			       .name = nothing,
			       .email = alice,
			       .password = nothing,
			       .enabled = true};
	const struct cv_tls_server_config config = {.certificates = &identity,
						    .certificate_count = 1};
	const int one = 1;
	char text[CV_TLS_ERROR_TEXT];
	uint8_t header[2];

	stage_init(&play->stage);
	for (size_t i = 0; i < CV_LEVELS && play->idle_ms; i++)
		play->stage.config.levels[i].idle_ms = play->idle_ms;
	play->usages = cv_usage_table_new();
	assert_non_null(play->usages);
	play->usage = user.usage = cv_usage_join(play->usages, alice, &play->limits, &differ);
	cv_buffer_init(&play->wire, 4u << 20);
	assert_int_equal(cv_tls_server_context_new(&config, &play->tls, text), 0);
	play->stage.inbound.protocol = CV_INBOUND_VLESS;
	play->stage.inbound.security = CV_SECURITY_TLS;
	play->stage.inbound.tls = play->tls;
	play->stage.inbound.users = cv_user_table_new(&user, 1);
	play->stage.config.daemon.ktls_after_bytes = after_bytes;
	play->stage.worker.ktls = &support;
	stage_start(&play->stage, "splice");
	play->client = stage_dial(&play->stage);
	assert_int_equal(setsockopt(play->client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)), 0);
	shake_hands(play);
	take_keys(play);
	send_request(play);
	play->upstream = stage_accept(&play->stage);
	upstream_send(play, 0, 1);
	while (play->received == 0) { /* the header, and the byte in the same record */
		uint8_t record[64], plain[64], type;
		size_t len_bytes;
		ssize_t got = recv(play->client, record, sizeof(record), 0);

		assert_int_equal(got, CV_TLS_HEADER + 3 + 1 + CV_AEAD_TAG);
		assert_int_equal(cv_tls_record_open(&play->open, record, (size_t)got, plain, &type,
						    &len_bytes),
				 0);
		memcpy(header, plain, sizeof(header));
		assert_int_equal(header[0], 0);
		assert_int_equal(plain[2], pattern(play->received++));
	}
}

static void play_open(struct play *play, uint64_t after_bytes)
{
	memset(play, 0, sizeof(*play));
	play_open_limited(play, after_bytes);
}

static void play_close(struct play *play)
{
	(void)close(play->client);
	(void)close(play->upstream);
	stage_done(&play->stage);
	cv_user_table_free(play->stage.inbound.users);
	cv_usage_table_free(play->usages);
	cv_tls_server_context_free(play->tls);
	play->layer->ops->free(play->layer);
	cv_tls_keys_done(&play->seal);
	cv_tls_keys_done(&play->open);
	cv_buffer_done(&play->wire);
}

static void expect_handovers(struct play *play, unsigned uplink, unsigned downlink)
{
	assert_int_equal(stage_handovers(&play->stage, CV_UPLINK), support.usable ? uplink : 0);
	assert_int_equal(stage_handovers(&play->stage, CV_DOWNLINK),
			 support.usable ? downlink : 0);
}

/* Both sides say that they have finished, the client first. */
static void finish_orderly(struct play *play)
{
	static const uint8_t close_notify[] = {1, 0};

	seal(play, CV_TLS_ALERT, close_notify, sizeof(close_notify));
	send_wire(play, 10000);
	stage_expect_fin(play->upstream);
	assert_int_equal(shutdown(play->upstream, SHUT_WR), 0);
	while (receive_record(play))
		;
	assert_true(play->notify_seen);
	stage_wait_sessions(&play->stage, 0);
}

/* ---- tests -------------------------------------------------------------------------------- */

/* Records of every size, in pieces that end anywhere, while the kernel takes over. */
static void test_boundary(void **state)
{
	static const size_t records[] = {1, 40, 700, 1000, 3000, 16384},
			    pieces[] = {7, 100, 333, 1000, 5000, 20000, 60000};

	(void)state;
	for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
		struct play play;
		size_t total_bytes = pieces[i] < 50 ? 1500 : 100000;

		play_open(&play, total_bytes / 3);
		for (size_t n = i; play.sent < total_bytes; n++)
			seal_pattern(&play, records[n % 6] < total_bytes ? records[n % 6] : 100);
		send_wire(&play, pieces[i]);
		upstream_expect(&play, 0, play.sent);
		pause_ms(5);
		seal_pattern(&play, 2000); /* certainly behind the handover */
		send_wire(&play, pieces[i]);
		upstream_expect(&play, play.sent - 2000, play.sent);
		expect_handovers(&play, 1, 0);
		upstream_send(&play, 1, 5000);
		receive(&play, 5000);
		upstream_send(&play, 5000, 50000);
		receive(&play, 50000);
		expect_handovers(&play, 1, 1);
		finish_orderly(&play);
		assert_int_equal(stage_reason(&play.stage, CV_PEER_NO_CLOSE_NOTIFY), 0);
		play_close(&play);
	}
}

#ifdef CV_MUTATIONS

/* How much arrives of a record whose halves come before and behind the moment of the handover. */
static size_t halved_record(void)
{
	const size_t first_bytes = 30000, halved_bytes = 2000;
	struct play play;
	uint8_t bytes[2000];
	size_t got_bytes = 0, whole_bytes;
	ssize_t got;

	play_open(&play, first_bytes / 2);
	while (play.sent < first_bytes)
		seal_pattern(&play, 10000);
	whole_bytes = cv_buffer_len(&play.wire);
	seal_pattern(&play, halved_bytes);
	stage_send(play.client, cv_buffer_bytes(&play.wire), whole_bytes + halved_bytes / 2);
	cv_buffer_consume(&play.wire, whole_bytes + halved_bytes / 2);
	upstream_expect(&play, 0, first_bytes);
	pause_ms(50);
	send_wire(&play, 10000);
	assert_int_equal(shutdown(play.client, SHUT_WR), 0);
	while ((got = recv(play.upstream, bytes, sizeof(bytes), 0)) > 0)
		got_bytes += (size_t)got;
	(void)shutdown(play.upstream, SHUT_WR);
	stage_wait_sessions(&play.stage, 0);
	play_close(&play);
	return got_bytes;
}

static void the_boundary_is_missed(void **state)
{
	(void)state;
	if (!support.usable) {
		print_message("skipped: %s\n", support.why);
		skip();
	}
	assert_int_equal(halved_record(), 2000);
	assert_int_equal(setenv("CULVERT_MUTATION", "ktls-boundary", 1), 0);
	assert_int_not_equal(halved_record(), 2000);
	assert_int_equal(unsetenv("CULVERT_MUTATION"), 0);
}

#endif

static void test_download(void **state)
{
	struct play play;

	(void)state;
	play_open(&play, 20000);
	upstream_send(&play, 1, 3u << 19); /* fits into no socket */
	receive(&play, 3u << 19);
	upstream_send(&play, 3u << 19, 2u << 20);
	receive(&play, 2u << 20);
	expect_handovers(&play, 0, 1);
	seal_pattern(&play, 10);
	send_wire(&play, 10000);
	upstream_expect(&play, 0, 10);
	seal_pattern(&play, 10);
	send_wire(&play, 10000);
	upstream_expect(&play, 10, 20);
	expect_handovers(&play, 1, 1);
	finish_orderly(&play);
	play_close(&play);
}

static void test_short_sessions_stay(void **state)
{
	struct play play;

	(void)state;
	play_open(&play, 65536);
	upstream_send(&play, 1, 30000);
	receive(&play, 30000);
	seal_pattern(&play, 16000);
	send_wire(&play, 10000);
	upstream_expect(&play, 0, 16000);
	expect_handovers(&play, 0, 0);
	finish_orderly(&play);
	play_close(&play);
}

static void test_truncation_is_counted(void **state)
{
	struct play play;

	(void)state;
	play_open(&play, 1000);
	for (int i = 0; i < 3; i++) {
		seal_pattern(&play, 3000);
		send_wire(&play, 10000);
		upstream_expect(&play, play.sent - 3000, play.sent);
	}
	assert_int_equal(shutdown(play.client, SHUT_WR), 0);
	stage_expect_fin(play.upstream); /* as Xray does */
	upstream_send(&play, 1, 70000);
	receive(&play, 70000);
	(void)shutdown(play.upstream, SHUT_WR);
	while (receive_record(&play))
		;
	assert_true(play.notify_seen);
	stage_wait_sessions(&play.stage, 0);
	assert_int_equal(stage_reason(&play.stage, CV_PEER_NO_CLOSE_NOTIFY), 1);
	play_close(&play);
}

/* New keys while the directions are with the kernel, or one of them only. */
static void test_key_update(void **state)
{
	static const uint8_t requested[] = {24, 0, 0, 1, 1};

	(void)state;
	for (int mix = 0; mix < 3; mix++) { /* in the kernel: uplink, downlink, both */
		struct play play;

		play_open(&play, 1000);
		for (int i = 0; i < 3; i++) {
			if (mix != 1) {
				seal_pattern(&play, 3000);
				send_wire(&play, 10000);
				upstream_expect(&play, play.sent - 3000, play.sent);
			}
			if (mix != 0) {
				upstream_send(&play, play.received, play.received + 3000);
				receive(&play, play.received + 3000);
			}
		}
		expect_handovers(&play, mix != 1, mix != 0);
		seal(&play, CV_TLS_HANDSHAKE, requested, sizeof(requested));
		assert_int_equal(cv_tls_keys_update(&play.seal, true), 0);
		seal_pattern(&play, 5000);
		send_wire(&play, 100000);
		if (support.usable && !support.rekey) {
			stage_wait_sessions(&play.stage, 0);
			assert_int_equal(stage_reason(&play.stage, CV_PEER_KEY_UPDATE), 1);
			play_close(&play);
			continue;
		}
		upstream_expect(&play, play.sent - 5000, play.sent);
		upstream_send(&play, play.received, 50000);
		receive(&play, 50000);
		assert_int_equal(play.updates_seen, 1);
		seal_pattern(&play, 5000);
		send_wire(&play, 100000);
		upstream_expect(&play, play.sent - 5000, play.sent);
		finish_orderly(&play);
		play_close(&play);
	}
}

static void test_bad_record(void **state)
{
	struct play play;
	int before;

	(void)state;
	play_open(&play, 1000);
	for (int i = 0; i < 3; i++) {
		seal_pattern(&play, 3000);
		send_wire(&play, 10000);
		upstream_expect(&play, play.sent - 3000, play.sent);
	}
	before = (int)play.sent;
	seal_pattern(&play, 100);
	cv_buffer_bytes(&play.wire)[50] ^= 1;
	send_wire(&play, 10000);
	stage_expect_reset(play.upstream); /* it must not look whole */
	assert_int_equal(play.sent, before + 100);
	stage_wait_sessions(&play.stage, 0);
	assert_int_equal(stage_reason(&play.stage, CV_PEER_BAD_RECORD), 1);
	play_close(&play);
}

/* ---- what a user may have ----------------------------------------------------------------- */

/* Both directions are with the kernel, where it has TLS. */
static void warm_up(struct play *play)
{
	for (int i = 0; i < 3; i++) {
		seal_pattern(play, 3000);
		send_wire(play, 10000);
		upstream_expect(play, play->sent - 3000, play->sent);
		upstream_send(play, play->received, play->received + 3000);
		receive(play, play->received + 3000);
	}
	expect_handovers(play, 1, 1);
}

static void expect_cut(struct play *play, uint64_t within_ms, int reason)
{
	const uint64_t start_ms = cv_clock_ms();

	stage_expect_reset(play->client);
	stage_expect_reset(play->upstream);
	assert_in_range(cv_clock_ms() - start_ms, 0, within_ms);
	stage_wait_sessions(&play->stage, 0);
	assert_int_equal(stage_reason(&play->stage, reason), 1);
}

static void test_counted_and_kicked(void **state)
{
	const size_t engine = cv_engine_index(support.usable ? &cv_engine_ktls : NULL);
	struct cv_worker_counters *counters;
	struct play play;

	(void)state;
	play_open(&play, 1000);
	warm_up(&play);
	upstream_send(&play, play.received, 1u << 20);
	receive(&play, 1u << 20);
	seal_pattern(&play, 5000);
	send_wire(&play, 10000);
	upstream_expect(&play, play.sent - 5000, play.sent);
	pause_ms(600);
	pause_ms(600); /* counted while it lives */
	counters = &play.stage.worker.counters;
	assert_int_equal(cv_usage_used(play.usage, CV_UPLINK), play.sent);
	assert_int_equal(cv_usage_used(play.usage, CV_DOWNLINK), 1u << 20);
	assert_true(counters->engine_bytes[engine][CV_DOWNLINK] > 1000000);
	assert_true(counters->engine_bytes[engine][CV_UPLINK] >= 5000);
	assert_int_equal(cv_limits_kick(&play.stage.worker, 1, alice, CV_POLICY_KICKED), 1);
	expect_cut(&play, 200, CV_POLICY_KICKED);
	play_close(&play);
}

static void test_quota(void **state)
{
	struct play play = {.limits.quota_bytes = 500000};

	(void)state;
	play_open_limited(&play, 1000);
	warm_up(&play);
	upstream_send(&play, play.received, 450000);
	receive(&play, 450000);
	pause_ms(600);
	assert_int_equal(stage_reason(&play.stage, CV_POLICY_QUOTA), 0);
	upstream_send(&play, play.received, 500000);
	receive(&play, 500000);
	expect_cut(&play, 1000, CV_POLICY_QUOTA);
	play_close(&play);
}

/* Until the socket is full, then what the client gets of it in two seconds. */
static void test_rate(void **state)
{
	const uint64_t rate = 1000000;
	struct play play = {.limits.bytes_per_s = {0, rate}};
	uint64_t start_ms, from;
	pid_t writer;

	(void)state;
	play_open_limited(&play, 1000);
	warm_up(&play);
	writer = fork();
	assert_true(writer >= 0);
	if (writer == 0) { /* until the kick; no assertions here */
		uint8_t bytes[8192];
		uint64_t at = play.received;

		do {
			for (size_t i = 0; i < sizeof(bytes); i++)
				bytes[i] = pattern(at + i);
			at += sizeof(bytes);
		} while (send(play.upstream, bytes, sizeof(bytes), MSG_NOSIGNAL) ==
			 sizeof(bytes));
		_exit(0);
	}
	while (play.received < 2000000) /* TCP does not pace the first segments */
		assert_true(receive_record(&play));
	start_ms = cv_clock_ms();
	from = play.received;
	while (cv_clock_ms() < start_ms + 2000)
		assert_true(receive_record(&play));
	assert_in_range((play.received - from) * 1000 / (cv_clock_ms() - start_ms), rate * 9 / 10,
			rate * 11 / 10);
	assert_int_equal(cv_limits_kick(&play.stage.worker, 1, alice, CV_POLICY_KICKED), 1);
	assert_int_equal(waitpid(writer, NULL, 0), writer);
	play_close(&play);
}

static void test_idle(void **state)
{
	struct play play = {.idle_ms = 600};

	(void)state;
	play_open_limited(&play, 1000);
	warm_up(&play);
	for (int i = 0; i < 12; i++) {
		pause_ms(100);
		upstream_send(&play, play.received, play.received + 100);
		receive(&play, play.received + 100);
	}
	assert_int_equal(stage_reason(&play.stage, CV_POLICY_IDLE), 0);
	pause_ms(900);
	stage_wait_sessions(&play.stage, 0);
	assert_int_equal(stage_reason(&play.stage, CV_POLICY_IDLE), 1);
	play_close(&play);
}

static int make_identity(void **state)
{
	(void)state;
	identity = tls_identity_make("a.example", NULL);
	return 0;
}

static int free_identity(void **state)
{
	(void)state;
	tls_identity_free(&identity);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_boundary),
#ifdef CV_MUTATIONS
		cmocka_unit_test(the_boundary_is_missed),
#endif
		cmocka_unit_test(test_download),
		cmocka_unit_test(test_short_sessions_stay),
		cmocka_unit_test(test_truncation_is_counted),
		cmocka_unit_test(test_key_update),
		cmocka_unit_test(test_bad_record),
		cmocka_unit_test(test_counted_and_kicked),
		cmocka_unit_test(test_quota),
		cmocka_unit_test(test_rate),
		cmocka_unit_test(test_idle),
	};

	cv_ktls_probe(CV_KTLS_FORCE, &support);
	print_message("kernel TLS: %s: %s\n", support.usable ? "usable" : "not used", support.why);
	return cmocka_run_group_tests(tests, make_identity, free_identity);
}
