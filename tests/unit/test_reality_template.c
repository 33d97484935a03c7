// SPDX-License-Identifier: MIT
/*
 * test_reality_template.c - every shape of a target's flight, whole and byte by byte (REALITY 5).
 */
#include "reality_rig.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct world {
	struct rig_client client;
	struct cv_buffer bytes;
};

static void start(struct world *world)
{
	struct rig_hello hello = rig_hello_default();

	rig_client_start(&world->client, &hello);
	cv_buffer_init(&world->bytes, 1 << 20);
}

static void stop(struct world *world)
{
	rig_client_stop(&world->client);
	cv_buffer_done(&world->bytes);
}

static int read_prefix(struct world *world, size_t len, struct cv_reality_template *ret_template)
{
	return cv_reality_template_read(cv_span_of(cv_buffer_bytes(&world->bytes), len),
					cv_buffer_bytes(&world->client.hello) + 39, ret_template);
}

/* The verdict on the whole flight, and the first prefix length that already gets it. */
static int read_flight(const struct rig_flight *flight, struct cv_reality_template *ret_template,
		       size_t *ret_decided_at)
{
	struct cv_reality_template ignored;
	struct world world;
	int result, prefix_result = -EAGAIN;
	size_t len = 0;

	start(&world);
	rig_flight_write(flight, &world.client, &world.bytes);
	result = read_prefix(&world, cv_buffer_len(&world.bytes), ret_template);
	while (prefix_result == -EAGAIN && len < cv_buffer_len(&world.bytes))
		prefix_result = read_prefix(&world, ++len, &ignored);
	*ret_decided_at = len;
	stop(&world);
	return result;
}

static void normal_mode(void **state)
{
	struct rig_flight flight = rig_flight_default();
	struct cv_reality_template template;
	size_t decided_at;

	(void)state;
	assert_int_equal(read_flight(&flight, &template, &decided_at), 0);
	assert_int_equal(template.server_hello_len, 122);
	assert_int_equal(template.key_share_offset, 90);
	assert_int_equal(template.group, CV_GROUP_X25519);
	assert_int_equal(template.suite->id, 0x1301);
	assert_false(template.combined);
	for (int i = 2; i <= 6; i++)
		assert_int_equal(template.record_len[i], flight.record_len[i]);
	/* fed byte by byte it is complete with record 5: record 6 had not arrived then */
	assert_int_equal(decided_at, 127 + 6 + 41 + 1200 + 286 + 58);
}

static void a_missing_ticket_is_no_record(void **state)
{
	struct rig_flight flight = rig_flight_default();
	struct cv_reality_template template;
	size_t decided_at;

	(void)state;
	flight.record_len[6] = 0;
	assert_int_equal(read_flight(&flight, &template, &decided_at), 0);
	assert_int_equal(template.record_len[6], 0);
}

static void a_started_ticket_is_waited_for(void **state)
{
	struct rig_flight flight = rig_flight_default();
	struct cv_reality_template template;
	struct world world;
	size_t end;

	(void)state;
	start(&world);
	rig_flight_write(&flight, &world.client, &world.bytes);
	end = cv_buffer_len(&world.bytes) - flight.record_len[6];
	assert_int_equal(read_prefix(&world, end - 1, &template), -EAGAIN);
	assert_int_equal(read_prefix(&world, end, &template), 0);
	assert_int_equal(template.record_len[6], 0);
	for (size_t extra = 1; extra <= 5; extra++)
		assert_int_equal(read_prefix(&world, end + extra, &template), -EAGAIN);
	assert_int_equal(read_prefix(&world, end + 6, &template), 0);
	assert_int_equal(template.record_len[6], 64);
	/* what follows record 5 must be a protected record */
	cv_buffer_bytes(&world.bytes)[end] = 21;
	assert_int_equal(read_prefix(&world, end + 1, &template), CV_TARGET_TEMPLATE);
	stop(&world);
}

static void combined_mode_needs_the_header_only(void **state)
{
	struct rig_flight flight = rig_flight_default();
	struct cv_reality_template template;
	size_t decided_at;

	(void)state;
	memset(flight.record_len, 0, sizeof(flight.record_len));
	flight.record_len[2] = 513;
	assert_int_equal(read_flight(&flight, &template, &decided_at), 0);
	assert_true(template.combined);
	assert_int_equal(template.record_len[2], 513);
	assert_int_equal(template.record_len[3], 0);
	assert_int_equal(decided_at, 127 + 6 + 5);

	flight.record_len[2] = 512; /* still one of four */
	assert_int_equal(read_flight(&flight, &template, &decided_at), -EAGAIN);
}

static void large_records(void **state)
{
	static const size_t len[] = {8192, 8193, 9000, 16406, 16645};
	struct cv_reality_template template;
	size_t decided_at;

	(void)state;
	for (size_t i = 0; i < sizeof(len) / sizeof(len[0]); i++) {
		struct rig_flight flight = rig_flight_default();

		flight.record_len[3] = len[i];
		assert_int_equal(read_flight(&flight, &template, &decided_at), 0);
		assert_int_equal(template.record_len[3], len[i]);
	}
}

static void too_large_a_record_is_seen_by_its_header(void **state)
{
	struct rig_flight flight = rig_flight_default();
	struct cv_reality_template template;
	struct world world;
	size_t end = 127 + 6 + 41;

	(void)state;
	start(&world);
	rig_flight_write(&flight, &world.client, &world.bytes);
	memcpy(cv_buffer_bytes(&world.bytes) + end + 3, "\x41\x01", 2); /* 16641 */
	assert_int_equal(read_prefix(&world, end + 4, &template), -EAGAIN);
	assert_int_equal(read_prefix(&world, end + 5, &template), CV_TARGET_TEMPLATE);
	stop(&world);
}

/* Certificate over two records: positions are counted, not understood (REALITY 15.6). */
static void a_split_certificate_shifts_positions(void **state)
{
	struct rig_flight flight = rig_flight_default();
	struct cv_reality_template template;
	size_t decided_at;

	(void)state;
	flight.record_len[3] = 4000;
	flight.record_len[4] = 700; /* second half of the certificate */
	flight.record_len[5] = 286; /* CertificateVerify */
	flight.record_len[6] = 58;  /* Finished */
	assert_int_equal(read_flight(&flight, &template, &decided_at), 0);
	assert_int_equal(template.record_len[4], 700);
	assert_int_equal(template.record_len[5], 286);
	assert_int_equal(template.record_len[6], 58);
}

static void suites_and_groups(void **state)
{
	static const uint16_t suites[] = {0x1301, 0x1302, 0x1303};
	struct rig_flight flight = rig_flight_default();
	struct cv_reality_template template;
	size_t decided_at;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		flight.suite = suites[i];
		assert_int_equal(read_flight(&flight, &template, &decided_at), 0);
		assert_int_equal(template.suite->id, suites[i]);
	}
	flight.group = CV_GROUP_X25519MLKEM768;
	assert_int_equal(read_flight(&flight, &template, &decided_at), 0);
	assert_int_equal(template.group, CV_GROUP_X25519MLKEM768);
	assert_int_equal(template.server_hello_len, 122 - 32 + CV_REALITY_HYBRID_ANSWER);
}

static void unusable_server_hellos(void **state)
{
	struct rig_flight normal = rig_flight_default(), flight;
	struct cv_reality_template template;
	size_t decided_at;

	(void)state;
#define EXPECT(reason, change) \
	do { \
		flight = normal; \
		change; \
		assert_int_equal(read_flight(&flight, &template, &decided_at), (reason)); \
	} while (0)
	EXPECT(CV_TARGET_NOT_TLS13, flight.no_versions = true);
	EXPECT(CV_TARGET_NOT_TLS13, flight.no_share = true);
	EXPECT(CV_TARGET_NOT_TLS13, flight.suite = 0x1304);
	EXPECT(CV_TARGET_NOT_TLS13, flight.suite = 0xc02f);
	EXPECT(CV_TARGET_NOT_TLS13, flight.server_hello_version = 4);
	EXPECT(CV_TARGET_NOT_TLS13, flight.compression = 1);
	EXPECT(CV_TARGET_HELLO_RETRY, flight.retry = true);
	EXPECT(CV_TARGET_GROUP, flight.group = 0x17);
	EXPECT(CV_TARGET_TEMPLATE, flight.psk = true);
	EXPECT(CV_TARGET_SESSION_ID, flight.session_id_len = 0);
	EXPECT(CV_TARGET_SESSION_ID, flight.session_id_len = 31);
#undef EXPECT
}

static void a_session_id_that_is_not_echoed(void **state)
{
	struct rig_flight flight = rig_flight_default();
	struct cv_reality_template template;
	struct world world;

	(void)state;
	start(&world);
	rig_flight_write(&flight, &world.client, &world.bytes);
	cv_buffer_bytes(&world.bytes)[5 + 39 + 31] ^= 1;
	assert_int_equal(read_prefix(&world, cv_buffer_len(&world.bytes), &template),
			 CV_TARGET_SESSION_ID);
	stop(&world);
}

/* A HelloRetryRequest with a cookie alone has no key share to be recognized by. */
static void retry_is_known_by_its_random(void **state)
{
	static const char retry[] =
		"cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c";
	struct rig_flight flight = rig_flight_default();
	struct cv_reality_template template;
	struct world world;

	(void)state;
	start(&world);
	flight.no_share = true;
	rig_flight_write(&flight, &world.client, &world.bytes);
	rig_hex(retry, cv_buffer_bytes(&world.bytes) + 5 + 6, 32);
	assert_int_equal(read_prefix(&world, cv_buffer_len(&world.bytes), &template),
			 CV_TARGET_HELLO_RETRY);
	stop(&world);
}

static int read_text(const char *text, size_t len)
{
	static const uint8_t session_id[32];
	struct cv_reality_template template;

	return cv_reality_template_read(cv_span_of(text, len), session_id, &template);
}

static void targets_that_do_not_speak_tls(void **state)
{
	(void)state;
	assert_int_equal(read_text("", 0), -EAGAIN);
	assert_int_equal(read_text("H", 1), CV_TARGET_NOT_TLS13);
	assert_int_equal(read_text("SSH-2.0-x\r\n", 11), CV_TARGET_NOT_TLS13);
	assert_int_equal(read_text("\x15", 1), CV_TARGET_NOT_TLS13); /* an alert */
	assert_int_equal(read_text("\x16\x03\x01", 3), CV_TARGET_NOT_TLS13);
	assert_int_equal(read_text("\x16\x03\x03", 3), -EAGAIN);
	assert_int_equal(read_text("\x16\x03\x03\xff\xff", 5), CV_TARGET_NOT_TLS13);
	assert_int_equal(read_text("\x16\x03\x03\0\0", 5), CV_TARGET_NOT_TLS13);
	assert_int_equal(read_text("\x16\x03\x03\0\4\2\0\0\0", 9), CV_TARGET_NOT_TLS13);
	assert_int_equal(read_text("\x16\x03\x03\0\4\1\0\0\0", 9), CV_TARGET_NOT_TLS13);
}

/* No length inside the ServerHello can be trusted: cut the message everywhere. */
static void truncated_server_hellos(void **state)
{
	struct rig_flight flight = rig_flight_default();
	struct cv_reality_template template;
	struct world world;
	uint8_t *bytes;

	(void)state;
	start(&world);
	rig_flight_write(&flight, &world.client, &world.bytes);
	bytes = cv_buffer_bytes(&world.bytes);
	for (size_t len = 1; len < 122; len++) {
		uint8_t *copy = malloc(5 + len);

		assert_non_null(copy);
		memcpy(copy, bytes, 5 + len);
		copy[4] = (uint8_t)len;
		assert_true(cv_reality_template_read(cv_span_of(copy, 5 + len), bytes + 5 + 39,
						     &template) < -EAGAIN);
		if (len >= 4)
			copy[8] = (uint8_t)(len - 4);
		assert_true(cv_reality_template_read(cv_span_of(copy, 5 + len), bytes + 5 + 39,
						     &template) < -EAGAIN);
		free(copy);
	}
	/* a second message in the record, and one byte too many in the message */
	bytes[4] = 123;
	assert_int_equal(read_prefix(&world, cv_buffer_len(&world.bytes), &template),
			 CV_TARGET_NOT_TLS13);
	bytes[8] = 119;
	assert_int_equal(read_prefix(&world, cv_buffer_len(&world.bytes), &template),
			 CV_TARGET_NOT_TLS13);
	stop(&world);
}

static void expect_changed(size_t offset, uint8_t value, int reason)
{
	struct rig_flight flight = rig_flight_default();
	struct cv_reality_template template;
	struct world world;

	start(&world);
	rig_flight_write(&flight, &world.client, &world.bytes);
	cv_buffer_bytes(&world.bytes)[offset] = value;
	assert_int_equal(read_prefix(&world, cv_buffer_len(&world.bytes), &template), reason);
	stop(&world);
}

static void bad_records_after_the_server_hello(void **state)
{
	const size_t ccs = 127, ee = ccs + 6, finished = ee + 41 + 1200 + 286;

	(void)state;
	expect_changed(ccs, 23, CV_TARGET_TEMPLATE);
	expect_changed(ccs, 21, CV_TARGET_TEMPLATE);
	expect_changed(ccs + 1, 2, CV_TARGET_TEMPLATE);
	expect_changed(ccs + 2, 4, CV_TARGET_TEMPLATE);
	expect_changed(ccs + 4, 2, CV_TARGET_TEMPLATE);
	expect_changed(ccs + 4, 0, CV_TARGET_TEMPLATE);
	expect_changed(ccs + 5, 2, CV_TARGET_TEMPLATE);
	expect_changed(ee, 22, CV_TARGET_TEMPLATE);
	expect_changed(ee + 2, 1, CV_TARGET_TEMPLATE);
	expect_changed(finished, 20, CV_TARGET_TEMPLATE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(normal_mode),
		cmocka_unit_test(a_missing_ticket_is_no_record),
		cmocka_unit_test(a_started_ticket_is_waited_for),
		cmocka_unit_test(combined_mode_needs_the_header_only),
		cmocka_unit_test(large_records),
		cmocka_unit_test(too_large_a_record_is_seen_by_its_header),
		cmocka_unit_test(a_split_certificate_shifts_positions),
		cmocka_unit_test(suites_and_groups),
		cmocka_unit_test(unusable_server_hellos),
		cmocka_unit_test(a_session_id_that_is_not_echoed),
		cmocka_unit_test(retry_is_known_by_its_random),
		cmocka_unit_test(targets_that_do_not_speak_tls),
		cmocka_unit_test(truncated_server_hellos),
		cmocka_unit_test(bad_records_after_the_server_hello),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
