// SPDX-License-Identifier: MIT
/*
 * test_record_layer.c - TLS 1.3 records as a layer: one record per call, what is not application
 * data, and how faults end a direction.
 */
#include "protocol/record_layer.h"

#include "protocol/tls_alert.h"
#include "protocol/upstream_reason.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The layer under test and, by hand, its peer's two key sets. */
struct pair {
	struct cv_layer *layer;
	struct cv_tls_keys peer_tx, peer_rx;
	struct cv_buffer wire, out, reply;
	size_t emits;
	size_t emitted_len[8];
};

static const struct cv_tls_suite *suite(void)
{
	return cv_tls_suite_find(0x1301);
}

static void start(struct pair *pair, bool is_server)
{
	uint8_t up[CV_HASH_MAX], down[CV_HASH_MAX];
	struct cv_tls_keys rx, tx;

	memset(pair, 0, sizeof(*pair));
	memset(up, 1, sizeof(up));
	memset(down, 2, sizeof(down));
	assert_int_equal(cv_tls_keys_init(&rx, suite(), up, false), 0);
	assert_int_equal(cv_tls_keys_init(&tx, suite(), down, true), 0);
	assert_int_equal(cv_tls_keys_init(&pair->peer_tx, suite(), up, true), 0);
	assert_int_equal(cv_tls_keys_init(&pair->peer_rx, suite(), down, false), 0);
	pair->layer = cv_record_layer_new(&rx, &tx, is_server);
	assert_non_null(pair->layer);
	assert_null(rx.aead);
	assert_null(tx.aead);
	cv_buffer_init(&pair->wire, 1 << 20);
	cv_buffer_init(&pair->out, 1 << 20);
	cv_buffer_init(&pair->reply, 1 << 16);
}

static void stop(struct pair *pair)
{
	pair->layer->ops->free(pair->layer);
	cv_tls_keys_done(&pair->peer_tx);
	cv_tls_keys_done(&pair->peer_rx);
	cv_buffer_done(&pair->wire);
	cv_buffer_done(&pair->out);
	cv_buffer_done(&pair->reply);
}

static void peer_sends(struct pair *pair, uint8_t type, const void *bytes, size_t len, size_t total)
{
	assert_int_equal(cv_tls_record_seal(&pair->peer_tx, type, bytes, len, total, &pair->wire),
			 0);
}

static int decode(struct pair *pair)
{
	struct cv_span in = cv_buffer_span(&pair->wire);
	size_t before = in.len_bytes;
	int result = pair->layer->ops->decode(pair->layer, &in, &pair->out, &pair->reply);

	cv_buffer_consume(&pair->wire, before - in.len_bytes);
	return result;
}

/* Opens the record at the front of @from as the peer; returns its content length. */
static size_t peer_opens(struct pair *pair, struct cv_buffer *from, uint8_t type,
			 uint8_t *ret_plain)
{
	uint8_t found;
	size_t record_len, len;

	assert_int_equal(cv_tls_record_peek(cv_buffer_span(from), &record_len), 0);
	assert_int_equal(cv_tls_record_open(&pair->peer_rx, cv_buffer_bytes(from), record_len,
					    ret_plain, &found, &len),
			 0);
	assert_int_equal(found, type);
	cv_buffer_consume(from, record_len);
	return len;
}

static void expect_alert(struct pair *pair, uint8_t description)
{
	uint8_t plain[64];

	assert_int_equal(peer_opens(pair, &pair->reply, CV_TLS_ALERT, plain), 2);
	assert_int_equal(plain[0], CV_TLS_ALERT_FATAL);
	assert_int_equal(plain[1], description);
}

static int collect(void *context, struct cv_span bytes)
{
	struct pair *pair = context;

	if (pair->emits < 8)
		pair->emitted_len[pair->emits] = bytes.len_bytes;
	pair->emits++;
	return cv_buffer_append(&pair->wire, bytes.data, bytes.len_bytes);
}

static void decodes_one_record_per_call(void **state)
{
	struct pair pair;

	(void)state;
	start(&pair, true);
	peer_sends(&pair, CV_TLS_APPLICATION, "first", 5, 0);
	peer_sends(&pair, CV_TLS_APPLICATION, "second", 6, 200);
	assert_int_equal(pair.layer->rx, CV_RECORDS);
	assert_int_equal(pair.layer->tx, CV_RECORDS);
	assert_int_equal(decode(&pair), 0);
	assert_int_equal(cv_buffer_len(&pair.out), 5);
	assert_int_equal(cv_buffer_len(&pair.wire), 200);
	assert_int_equal(decode(&pair), 0);
	assert_memory_equal(cv_buffer_bytes(&pair.out), "firstsecond", 11);
	assert_int_equal(cv_buffer_len(&pair.reply), 0);
	stop(&pair);
}

static void waits_for_whole_records(void **state)
{
	struct cv_buffer whole;
	struct pair pair;

	(void)state;
	start(&pair, true);
	peer_sends(&pair, CV_TLS_APPLICATION, "content", 7, 0);
	whole = pair.wire;
	cv_buffer_init(&pair.wire, 1 << 16);
	for (size_t i = 0; i < cv_buffer_len(&whole); i++) {
		assert_int_equal(decode(&pair), -EAGAIN);
		assert_int_equal(cv_buffer_append(&pair.wire, cv_buffer_bytes(&whole) + i, 1), 0);
	}
	assert_int_equal(decode(&pair), 0);
	assert_memory_equal(cv_buffer_bytes(&pair.out), "content", 7);
	cv_buffer_done(&whole);
	stop(&pair);
}

static void encodes_full_records(void **state)
{
	static uint8_t bytes[40000], plain[CV_TLS_RECORD_MAX];
	struct pair pair;
	size_t total = 0;

	(void)state;
	memset(bytes, 7, sizeof(bytes));
	start(&pair, false);
	assert_int_equal(pair.layer->ops->encode(pair.layer, cv_span_of(bytes, sizeof(bytes)),
						 collect, &pair),
			 0);
	assert_int_equal(pair.emits, 3);
	assert_int_equal(pair.emitted_len[0], 16384 + 22);
	assert_int_equal(pair.emitted_len[2], 40000 - 2 * 16384 + 22);
	while (cv_buffer_len(&pair.wire) > 0)
		total += peer_opens(&pair, &pair.wire, CV_TLS_APPLICATION, plain);
	assert_int_equal(total, sizeof(bytes));
	stop(&pair);
}

/* A Vision block with its header is below 16384 bytes and must be one record. */
static void encodes_a_unit_as_one_record(void **state)
{
	static uint8_t bytes[16384];
	struct pair pair;

	(void)state;
	start(&pair, true);
	assert_int_equal(pair.layer->ops->encode(pair.layer, cv_span_of(bytes, sizeof(bytes)),
						 collect, &pair),
			 0);
	assert_int_equal(pair.emits, 1);
	stop(&pair);
}

static int refuse_emit(void *context, struct cv_span bytes)
{
	(void)context;
	(void)bytes;
	return CV_PEER_TOO_LONG;
}

static void encode_passes_errors_on(void **state)
{
	struct pair pair;

	(void)state;
	start(&pair, true);
	assert_int_equal(pair.layer->ops->encode(pair.layer, cv_span_of("x", 1), refuse_emit, NULL),
			 CV_PEER_TOO_LONG);
	stop(&pair);
}

static void close_notify_is_the_end(void **state)
{
	struct pair pair;
	uint8_t plain[64];

	(void)state;
	start(&pair, true);
	assert_int_equal(pair.layer->ops->encode_eof(pair.layer, collect, &pair), 0);
	assert_int_equal(peer_opens(&pair, &pair.wire, CV_TLS_ALERT, plain), 2);
	assert_int_equal(plain[0], CV_TLS_ALERT_WARNING);
	assert_int_equal(plain[1], CV_TLS_CLOSE_NOTIFY);

	peer_sends(&pair, CV_TLS_ALERT, "\001\000", 2, 0);
	peer_sends(&pair, CV_TLS_APPLICATION, "late", 4, 0);
	assert_int_equal(decode(&pair), CV_LAYER_EOF);
	assert_int_equal(decode(&pair), CV_LAYER_EOF);
	assert_int_equal(cv_buffer_len(&pair.wire), 0);
	assert_int_equal(cv_buffer_len(&pair.out), 0);
	stop(&pair);
}

static void alerts_carry_the_side_at_fault(void **state)
{
	struct pair pair;

	(void)state;
	start(&pair, true);
	peer_sends(&pair, CV_TLS_ALERT, "\002\050", 2, 0);
	assert_int_equal(decode(&pair), CV_PEER_ALERT);
	assert_int_equal(cv_buffer_len(&pair.reply), 0);
	stop(&pair);
	start(&pair, false);
	peer_sends(&pair, CV_TLS_ALERT, "\001\132", 2, 0); /* user_canceled says nothing */
	assert_int_equal(decode(&pair), 0);
	peer_sends(&pair, CV_TLS_ALERT, "\001\050", 2, 0); /* fatal whatever the level */
	assert_int_equal(decode(&pair), CV_UPSTREAM_ALERT);
	stop(&pair);
	start(&pair, true);
	peer_sends(&pair, CV_TLS_ALERT, "\002\050\000", 3, 0);
	assert_int_equal(decode(&pair), CV_PEER_DECODE);
	expect_alert(&pair, CV_TLS_DECODE_ERROR);
	stop(&pair);
}

static void empty_records_have_a_limit(void **state)
{
	struct pair pair;

	(void)state;
	start(&pair, false);
	for (int i = 0; i < 33; i++)
		peer_sends(&pair, CV_TLS_APPLICATION, "", 0, 100);
	for (int i = 0; i < 32; i++)
		assert_int_equal(decode(&pair), 0);
	assert_int_equal(decode(&pair), CV_UPSTREAM_UNEXPECTED_MESSAGE);
	expect_alert(&pair, CV_TLS_UNEXPECTED_MESSAGE);
	stop(&pair);

	start(&pair, false); /* in a row only */
	for (int i = 0; i < 100; i++) {
		peer_sends(&pair, CV_TLS_APPLICATION, "", 0, 50);
		peer_sends(&pair, CV_TLS_APPLICATION, "x", 1, 0);
	}
	for (int i = 0; i < 200; i++)
		assert_int_equal(decode(&pair), 0);
	assert_int_equal(cv_buffer_len(&pair.out), 100);
	stop(&pair);
}

static void key_update_is_followed_and_answered(void **state)
{
	static const uint8_t requested[] = {CV_TLS_KEY_UPDATE, 0, 0, 1, 1};
	struct pair pair;
	uint8_t plain[64];

	(void)state;
	start(&pair, true);
	peer_sends(&pair, CV_TLS_HANDSHAKE, requested, 5, 0);
	assert_int_equal(cv_tls_keys_update(&pair.peer_tx, true), 0);
	peer_sends(&pair, CV_TLS_APPLICATION, "new keys", 8, 0);
	assert_int_equal(decode(&pair), 0);
	assert_int_equal(decode(&pair), 0);
	assert_memory_equal(cv_buffer_bytes(&pair.out), "new keys", 8);

	assert_int_equal(peer_opens(&pair, &pair.reply, CV_TLS_HANDSHAKE, plain), 5);
	assert_memory_equal(plain, ((uint8_t[]){CV_TLS_KEY_UPDATE, 0, 0, 1, 0}), 5);
	assert_int_equal(cv_buffer_len(&pair.reply), 0);
	assert_int_equal(cv_tls_keys_update(&pair.peer_rx, false), 0);
	assert_int_equal(pair.layer->ops->encode(pair.layer, cv_span_of("ours", 4), collect, &pair),
			 0);
	assert_int_equal(peer_opens(&pair, &pair.wire, CV_TLS_APPLICATION, plain), 4);
	stop(&pair);
}

static void key_update_not_requested_is_not_answered(void **state)
{
	static const uint8_t message[] = {CV_TLS_KEY_UPDATE, 0, 0, 1, 0};
	struct pair pair;

	(void)state;
	start(&pair, false);
	for (int i = 0; i < 4; i++) /* cut anywhere but at the end */
		peer_sends(&pair, CV_TLS_HANDSHAKE, message + i, 1, 0);
	peer_sends(&pair, CV_TLS_HANDSHAKE, message + 4, 1, 0);
	assert_int_equal(cv_tls_keys_update(&pair.peer_tx, true), 0);
	peer_sends(&pair, CV_TLS_APPLICATION, "x", 1, 0);
	for (int i = 0; i < 6; i++)
		assert_int_equal(decode(&pair), 0);
	assert_int_equal(cv_buffer_len(&pair.out), 1);
	assert_int_equal(cv_buffer_len(&pair.reply), 0);
	stop(&pair);
}

static void key_updates_have_a_limit(void **state)
{
	static const uint8_t requested[] = {CV_TLS_KEY_UPDATE, 0, 0, 1, 1};
	struct pair pair;
	int result = 0, count = 0;

	(void)state;
	start(&pair, true);
	while (result == 0 && count < 100) {
		peer_sends(&pair, CV_TLS_HANDSHAKE, requested, 5, 0);
		assert_int_equal(cv_tls_keys_update(&pair.peer_tx, true), 0);
		result = decode(&pair);
		count++;
	}
	assert_int_equal(count, 33);
	assert_int_equal(result, CV_PEER_UNEXPECTED_MESSAGE);
	stop(&pair);
}

static void malformed_key_updates_are_refused(void **state)
{
	static const struct {
		uint8_t bytes[10];
		size_t len;
		int reason;
		uint8_t alert;
	} cases[] = {
		{{CV_TLS_KEY_UPDATE, 0, 0, 1, 2}, 5, CV_PEER_DECODE, CV_TLS_ILLEGAL_PARAMETER},
		{{CV_TLS_KEY_UPDATE, 0, 0, 2, 0, 0}, 6, CV_PEER_DECODE, CV_TLS_DECODE_ERROR},
		{{CV_TLS_KEY_UPDATE, 0, 0, 0}, 4, CV_PEER_DECODE, CV_TLS_DECODE_ERROR},
		{{CV_TLS_KEY_UPDATE, 0, 0, 1, 0, CV_TLS_KEY_UPDATE},
		 6,
		 CV_PEER_UNEXPECTED_MESSAGE,
		 CV_TLS_UNEXPECTED_MESSAGE},
		{{0}, 0, CV_PEER_UNEXPECTED_MESSAGE, CV_TLS_UNEXPECTED_MESSAGE},
		{{CV_TLS_CERTIFICATE, 0, 0, 0},
		 4,
		 CV_PEER_UNEXPECTED_MESSAGE,
		 CV_TLS_UNEXPECTED_MESSAGE},
		{{CV_TLS_NEW_SESSION_TICKET, 0, 0, 1},
		 4,
		 CV_PEER_UNEXPECTED_MESSAGE,
		 CV_TLS_UNEXPECTED_MESSAGE},
	};
	struct pair pair;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		start(&pair, true);
		peer_sends(&pair, CV_TLS_HANDSHAKE, cases[i].bytes, cases[i].len, 0);
		assert_int_equal(decode(&pair), cases[i].reason);
		expect_alert(&pair, cases[i].alert);
		assert_int_equal(decode(&pair), cases[i].reason);
		assert_int_equal(cv_buffer_len(&pair.reply), 0); /* one alert only */
		stop(&pair);
	}
}

static void a_client_skips_tickets(void **state)
{
	static uint8_t tickets[2 * (4 + 1000)];
	struct pair pair;

	(void)state;
	for (size_t i = 0; i < 2; i++)
		memcpy(tickets + i * 1004, ((uint8_t[]){CV_TLS_NEW_SESSION_TICKET, 0, 3, 0xe8}), 4);
	start(&pair, false);
	peer_sends(&pair, CV_TLS_HANDSHAKE, tickets, 700, 0);
	peer_sends(&pair, CV_TLS_HANDSHAKE, tickets + 700, sizeof(tickets) - 700, 0);
	peer_sends(&pair, CV_TLS_APPLICATION, "x", 1, 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(decode(&pair), 0);
	assert_int_equal(cv_buffer_len(&pair.out), 1);
	stop(&pair);

	start(&pair, false); /* but nothing may come between the pieces of one */
	peer_sends(&pair, CV_TLS_HANDSHAKE, tickets, 700, 0);
	peer_sends(&pair, CV_TLS_APPLICATION, "x", 1, 0);
	assert_int_equal(decode(&pair), 0);
	assert_int_equal(decode(&pair), CV_UPSTREAM_UNEXPECTED_MESSAGE);
	assert_int_equal(cv_buffer_len(&pair.out), 0);
	stop(&pair);
}

static void expect_refused(const uint8_t *bytes, size_t len, int reason, uint8_t alert)
{
	struct pair pair;

	start(&pair, true);
	assert_int_equal(cv_buffer_append(&pair.wire, bytes, len), 0);
	assert_int_equal(decode(&pair), reason);
	expect_alert(&pair, alert);
	assert_int_equal(cv_buffer_len(&pair.out), 0);
	stop(&pair);
}

static void foreign_records_are_refused(void **state)
{
	static uint8_t forged[5 + 40] = {23, 3, 3, 0, 40};

	(void)state;
	expect_refused(forged, sizeof(forged), CV_PEER_BAD_RECORD, CV_TLS_BAD_RECORD_MAC);
	expect_refused(
		(const uint8_t[]){23, 3, 3, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
		21, CV_PEER_BAD_RECORD, CV_TLS_BAD_RECORD_MAC);
	expect_refused((const uint8_t[]){23, 3, 3, 0x41, 1}, 5, CV_PEER_TOO_LONG,
		       CV_TLS_RECORD_OVERFLOW);
	expect_refused((const uint8_t[]){20, 3, 3, 0, 1, 1}, 6, CV_PEER_UNEXPECTED_MESSAGE,
		       CV_TLS_UNEXPECTED_MESSAGE);
	expect_refused((const uint8_t[]){21, 3, 3, 0, 2, 1, 0}, 7, CV_PEER_UNEXPECTED_MESSAGE,
		       CV_TLS_UNEXPECTED_MESSAGE);
	expect_refused((const uint8_t[]){22, 3, 3, 0, 9}, 5, CV_PEER_UNEXPECTED_MESSAGE,
		       CV_TLS_UNEXPECTED_MESSAGE);
}

static void a_full_output_loses_nothing(void **state)
{
	struct pair pair;

	(void)state;
	start(&pair, true);
	peer_sends(&pair, CV_TLS_APPLICATION, "content", 7, 0);
	cv_buffer_done(&pair.out);
	cv_buffer_init(&pair.out, 10);
	assert_int_equal(decode(&pair), CV_INTERNAL_RESOURCE);
	cv_buffer_init(&pair.out, 1 << 16);
	assert_int_equal(decode(&pair), 0);
	assert_memory_equal(cv_buffer_bytes(&pair.out), "content", 7);
	stop(&pair);
}

static void released_directions_are_silent(void **state)
{
	static const uint8_t requested[] = {CV_TLS_KEY_UPDATE, 0, 0, 1, 1};
	struct pair pair;

	(void)state;
	start(&pair, true);
	pair.layer->ops->release_tx(pair.layer);
	peer_sends(&pair, CV_TLS_HANDSHAKE, requested, 5, 0);
	assert_int_equal(decode(&pair), 0);
	assert_int_equal(pair.layer->ops->encode_eof(pair.layer, collect, &pair), 0);
	assert_int_equal(pair.emits, 0);
	assert_int_equal(pair.layer->ops->encode(pair.layer, cv_span_of("x", 1), collect, &pair),
			 CV_INTERNAL_STATE);
	pair.layer->ops->release_rx(pair.layer);
	peer_sends(&pair, CV_TLS_APPLICATION, "x", 1, 0);
	assert_int_equal(decode(&pair), CV_INTERNAL_STATE);
	assert_int_equal(cv_buffer_len(&pair.reply), 0);
	stop(&pair);
}

static void reasons_change_sides(void **state)
{
	(void)state;
	assert_int_equal(cv_upstream_reason(CV_PEER_TOO_LONG), CV_UPSTREAM_DECODE);
	assert_int_equal(cv_upstream_reason(CV_PEER_TRUNCATED), CV_UPSTREAM_TRUNCATED);
	assert_int_equal(cv_upstream_reason(CV_INTERNAL_MEMORY), CV_INTERNAL_MEMORY);
	assert_int_equal(cv_upstream_reason(-EAGAIN), -EAGAIN);
	assert_int_equal(cv_upstream_reason(0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(decodes_one_record_per_call),
		cmocka_unit_test(waits_for_whole_records),
		cmocka_unit_test(encodes_full_records),
		cmocka_unit_test(encodes_a_unit_as_one_record),
		cmocka_unit_test(encode_passes_errors_on),
		cmocka_unit_test(close_notify_is_the_end),
		cmocka_unit_test(alerts_carry_the_side_at_fault),
		cmocka_unit_test(empty_records_have_a_limit),
		cmocka_unit_test(key_update_is_followed_and_answered),
		cmocka_unit_test(key_update_not_requested_is_not_answered),
		cmocka_unit_test(key_updates_have_a_limit),
		cmocka_unit_test(malformed_key_updates_are_refused),
		cmocka_unit_test(a_client_skips_tickets),
		cmocka_unit_test(foreign_records_are_refused),
		cmocka_unit_test(a_full_output_loses_nothing),
		cmocka_unit_test(released_directions_are_silent),
		cmocka_unit_test(reasons_change_sides),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
