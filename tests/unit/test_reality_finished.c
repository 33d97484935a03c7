// SPDX-License-Identifier: MIT
/*
 * test_reality_finished.c - between our flight and the first byte of VLESS: ends, faults and their
 * alerts, ChangeCipherSpec tolerance, the client's Finished in pieces, post-handshake records.
 */
#include "reality_world.h"

static void ends_after_the_flight(void **state)
{
	struct world world;

	(void)state;
	start(&world);
	up_to_flight(&world);
	assert_int_equal(cv_reality_server_target_eof(world.server), CV_REALITY_CLOSE);
	assert_int_equal(cv_reality_server_reason(world.server), CV_TARGET_TIMEOUT);
	assert_int_equal(cv_buffer_len(output_of(&world)), 0); /* silently */
	stop(&world);

	start(&world);
	up_to_flight(&world);
	assert_int_equal(cv_reality_server_client_eof(world.server), CV_REALITY_CLOSE);
	assert_int_equal(cv_reality_server_reason(world.server), CV_PEER_CLOSED);
	assert_int_equal(cv_buffer_len(output_of(&world)), 0);
	stop(&world);
}

static void expect_sealed(uint8_t type, const void *bytes, size_t len, size_t total, int reason,
			  uint8_t alert)
{
	struct world world;

	start(&world);
	up_to_flight(&world);
	assert_int_equal(
		cv_tls_record_seal(&world.client.tx, type, bytes, len, total, &world.bytes), 0);
	expect_alert(&world, feed_client(&world, 1), reason, alert);
	stop(&world);
}

/* The target was shown the same bytes, and its alert about them came with its flight. */
static void early_bytes_get_one_alert(void **state)
{
	struct world world;
	enum cv_reality_verdict verdict;

	(void)state;
	start(&world);
	assert_int_equal(feed_hello(&world, 16384, PIECE_ALL), CV_REALITY_WAIT);
	add(&world, "\x17\x03\x03\0\x20" "0123456789abcdef0123456789abcdef", 37);
	assert_int_equal(feed_client(&world, PIECE_ALL), CV_REALITY_WAIT);
	world.flight.record_len[6] = 24;
	verdict = feed_flight(&world, PIECE_ALL);
	world.flight.record_len[6] = 0;
	rig_client_read_flight(&world.client, &world.flight, &world.config, output_of(&world));
	expect_alert(&world, verdict, CV_PEER_BAD_RECORD, CV_TLS_BAD_RECORD_MAC);
	stop(&world);

	start(&world); /* nobody gave cause for an alert: what it is, is part of the flight */
	world.flight.record_len[6] = 24;
	up_to_flight(&world);
	stop(&world);
}

static void wrong_protected_messages(void **state)
{
	uint8_t finished[68 + 1] = {CV_TLS_FINISHED, 0, 0, 32};

	(void)state;
	expect_sealed(22, finished, 36, 0, CV_PEER_FINISHED, CV_TLS_DECRYPT_ERROR);
	expect_sealed(22, finished, 37, 0, CV_PEER_UNEXPECTED_MESSAGE, CV_TLS_UNEXPECTED_MESSAGE);
	finished[3] = 31;
	expect_sealed(22, finished, 35, 0, CV_PEER_DECODE, CV_TLS_DECODE_ERROR);
	finished[3] = 0;
	expect_sealed(22, finished, 4, 0, CV_PEER_DECODE, CV_TLS_DECODE_ERROR);
	finished[3] = 64;
	expect_sealed(22, finished, 69, 0, CV_PEER_UNEXPECTED_MESSAGE, CV_TLS_UNEXPECTED_MESSAGE);
	finished[3] = 65;
	expect_sealed(22, finished, 10, 0, CV_PEER_TOO_LONG, CV_TLS_ILLEGAL_PARAMETER);
	finished[0] = CV_TLS_CERTIFICATE;
	expect_sealed(22, finished, 36, 0, CV_PEER_UNEXPECTED_MESSAGE, CV_TLS_UNEXPECTED_MESSAGE);
	expect_sealed(22, finished, 0, 50, CV_PEER_UNEXPECTED_MESSAGE, CV_TLS_UNEXPECTED_MESSAGE);
	expect_sealed(23, "early", 5, 0, CV_PEER_UNEXPECTED_MESSAGE, CV_TLS_UNEXPECTED_MESSAGE);
	expect_sealed(0, "", 0, 0, CV_PEER_UNEXPECTED_MESSAGE, CV_TLS_UNEXPECTED_MESSAGE);
	expect_sealed(21, "x", 1, 0, CV_PEER_UNEXPECTED_MESSAGE, CV_TLS_UNEXPECTED_MESSAGE);
}

static void expect_raw(const void *bytes, size_t len, int reason, uint8_t alert)
{
	struct world world;

	start(&world);
	up_to_flight(&world);
	add(&world, bytes, len);
	expect_alert(&world, feed_client(&world, PIECE_ALL), reason, alert);
	stop(&world);
}

static void wrong_records(void **state)
{
	static uint8_t forged[45] = {23, 3, 3, 0, 40};

	(void)state;
	expect_raw(forged, sizeof(forged), CV_PEER_BAD_RECORD, CV_TLS_BAD_RECORD_MAC);
	expect_raw("\x17\x03\x03\0\0", 5, CV_PEER_BAD_RECORD, CV_TLS_BAD_RECORD_MAC);
	expect_raw("\x17\x03\x03\x41\1", 5, CV_PEER_TOO_LONG, CV_TLS_RECORD_OVERFLOW);
	expect_raw("\x17\x03\x01\0\1", 5, CV_PEER_DECODE, CV_TLS_DECODE_ERROR);
	expect_raw("\x16\x03\x03\0\1", 5, CV_PEER_UNEXPECTED_MESSAGE, CV_TLS_UNEXPECTED_MESSAGE);
	expect_raw("GET /", 5, CV_PEER_UNEXPECTED_MESSAGE, CV_TLS_UNEXPECTED_MESSAGE);
	expect_raw("\x14\x03\x03\0\1\2", 6, CV_PEER_UNEXPECTED_MESSAGE, CV_TLS_UNEXPECTED_MESSAGE);
	expect_raw("\x14\x03\x03\0\2\1\1", 7, CV_PEER_UNEXPECTED_MESSAGE,
		   CV_TLS_UNEXPECTED_MESSAGE);
	expect_raw("\x15\x03\x03\0\3\1\1\1", 8, CV_PEER_UNEXPECTED_MESSAGE,
		   CV_TLS_UNEXPECTED_MESSAGE);
}

static void a_client_that_gives_up(void **state)
{
	struct world world;

	(void)state;
	start(&world);
	up_to_flight(&world);
	add(&world, "\x15\x03\x03\0\2\2\x2a", 7); /* bad_certificate: it is not one of ours */
	assert_int_equal(feed_client(&world, 1), CV_REALITY_CLOSE);
	assert_int_equal(cv_reality_server_reason(world.server), CV_PEER_ALERT);
	assert_int_equal(cv_buffer_len(output_of(&world)), 0);
	stop(&world);

	start(&world);
	up_to_flight(&world);
	for (int i = 0; i < 6; i++)
		add(&world, "\x15\x03\x03\0\2\1\x5a", 7);
	expect_alert(&world, feed_client(&world, PIECE_ALL), CV_PEER_UNEXPECTED_MESSAGE,
		     CV_TLS_UNEXPECTED_MESSAGE);
	stop(&world);
}

/* @limit as learned; @expected: how many records are ignored before the alert. */
static void expect_ccs_limit(int16_t limit, int expected)
{
	struct world world;
	enum cv_reality_verdict verdict = CV_REALITY_WAIT;
	int ignored = 0;

	start(&world);
	world.config.profile.ccs_limit = limit;
	up_to_flight(&world);
	while (verdict == CV_REALITY_WAIT && ignored < 1000) {
		add(&world, "\x14\x03\x03\0\1\1", 6);
		verdict = feed_client(&world, PIECE_ALL);
		ignored += verdict == CV_REALITY_WAIT;
	}
	assert_int_equal(ignored, expected);
	if (expected < 1000)
		expect_alert(&world, verdict, CV_PEER_UNEXPECTED_MESSAGE,
			     CV_TLS_UNEXPECTED_MESSAGE);
	stop(&world);
}

static void ccs_tolerance_is_the_targets(void **state)
{
	(void)state;
	expect_ccs_limit(1, 1);
	expect_ccs_limit(16, 16);
	expect_ccs_limit(32, 32);
	expect_ccs_limit(0, 32); /* nothing is known */
	expect_ccs_limit(-1, 1000);
}

static void finished_in_pieces(void **state)
{
	struct world world;

	(void)state;
	start(&world);
	up_to_flight(&world);
	for (size_t i = 0; i < world.client.finished_len; i++)
		assert_int_equal(cv_tls_record_seal(&world.client.tx, 22, world.client.finished + i,
						    1, 30 + i, &world.bytes),
				 0);
	assert_int_equal(feed_client(&world, 13), CV_REALITY_ESTABLISHED);
	stop(&world);
}

static void bytes_sent_with_the_hello(void **state)
{
	struct world world;
	uint8_t plain[64];

	(void)state;
	start(&world); /* kept, and judged right after the flight */
	rig_client_start(&world.client, &world.hello);
	rig_hello_records(&world.client, 16384, &world.bytes);
	add(&world, "\x14\x03\x03\0\1\1", 6);
	add(&world, "\x17\x03\x03\0\x20", 5);
	assert_int_equal(feed_client(&world, PIECE_ALL), CV_REALITY_WAIT);
	assert_int_equal(feed_flight(&world, PIECE_ALL), CV_REALITY_FLIGHT);
	rig_client_read_flight(&world.client, &world.flight, &world.config, output_of(&world));
	add(&world, "0123456789abcdef0123456789abcdef", 32);
	expect_alert(&world, feed_client(&world, PIECE_ALL), CV_PEER_BAD_RECORD,
		     CV_TLS_BAD_RECORD_MAC);
	stop(&world);

	start(&world); /* flight and alert leave together */
	rig_client_start(&world.client, &world.hello);
	rig_hello_records(&world.client, 16384, &world.bytes);
	add(&world, "GET / HTTP/1.1", 14);
	assert_int_equal(feed_client(&world, PIECE_ALL), CV_REALITY_WAIT);
	assert_int_equal(feed_flight(&world, PIECE_ALL), CV_REALITY_CLOSE);
	rig_client_read_flight(&world.client, &world.flight, &world.config, output_of(&world));
	assert_int_equal(rig_open(&world.client.app_rx, output_of(&world), 21, plain, NULL), 2);
	assert_int_equal(plain[1], CV_TLS_UNEXPECTED_MESSAGE);
	stop(&world);
}

static void too_many_bytes_before_the_flight(void **state)
{
	static uint8_t noise[65536];
	struct world world;
	enum cv_reality_verdict verdict = CV_REALITY_WAIT;

	(void)state;
	start(&world);
	assert_int_equal(feed_hello(&world, 16384, PIECE_ALL), CV_REALITY_WAIT);
	for (int i = 0; i < 4 && verdict == CV_REALITY_WAIT; i++) {
		add(&world, noise, sizeof(noise));
		verdict = feed_client(&world, PIECE_ALL);
	}
	expect_forward(&world, verdict, CV_PEER_TOO_LONG);
	stop(&world);
}

/* Our clients skip 32 empty records in a row: record 6 and the learned ones together. */
static void post_handshake_records_have_a_limit(void **state)
{
	static uint8_t plain[CV_TLS_RECORD_MAX];
	struct world world;
	struct cv_post_handshake *after =
		&world.config.profile.after[CV_TARGET_CLASSIC_SHA256];
	size_t count = 0;

	(void)state;
	start(&world);
	after->count = CV_POST_HANDSHAKE_MAX;
	after->known = true;
	for (int i = 0; i < CV_POST_HANDSHAKE_MAX; i++)
		after->len[i] = (uint16_t)(100 + i);
	after->len[3] = 21;    /* cannot be sealed: skipped */
	after->len[4] = 16407; /* likewise */
	up_to_flight(&world);
	rig_client_finish(&world.client, &world.bytes);
	assert_int_equal(feed_client(&world, PIECE_ALL), CV_REALITY_ESTABLISHED);
	while (cv_buffer_len(output_of(&world)) > 0) {
		assert_int_equal(rig_open(&world.client.app_rx, output_of(&world), 23, plain, NULL),
				 0);
		count++;
	}
	assert_int_equal(count, 30);
	stop(&world);

	start(&world); /* a huge list is cut, the handshake lives */
	after->count = CV_POST_HANDSHAKE_MAX;
	after->known = true;
	for (int i = 0; i < CV_POST_HANDSHAKE_MAX; i++)
		after->len[i] = 16406;
	up_to_flight(&world);
	rig_client_finish(&world.client, &world.bytes);
	assert_int_equal(feed_client(&world, PIECE_ALL), CV_REALITY_ESTABLISHED);
	assert_true(cv_buffer_len(output_of(&world)) >= 10 * 16406);
	assert_int_equal(cv_buffer_len(output_of(&world)) % 16406, 0);
	stop(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ends_after_the_flight),
		cmocka_unit_test(early_bytes_get_one_alert),
		cmocka_unit_test(wrong_protected_messages),
		cmocka_unit_test(wrong_records),
		cmocka_unit_test(a_client_that_gives_up),
		cmocka_unit_test(ccs_tolerance_is_the_targets),
		cmocka_unit_test(finished_in_pieces),
		cmocka_unit_test(bytes_sent_with_the_hello),
		cmocka_unit_test(too_many_bytes_before_the_flight),
		cmocka_unit_test(post_handshake_records_have_a_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
