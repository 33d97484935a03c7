// SPDX-License-Identifier: MIT
/* test_tls_record.c - framing, RFC 8448 3 and REALITY 14 records, padding, refusals, limits. */
#include "crypto/tls_record.h"

#include "../vectors/hex.h"
#include "../vectors/reality_14.h"
#include "../vectors/rfc8448_3.h"

#include <culvert/reason.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct cv_tls_keys keys_from(const char *secret_hex, bool seal)
{
	HEX(secret, 32, secret_hex);
	struct cv_tls_keys keys;

	assert_int_equal(cv_tls_keys_init(&keys, cv_tls_suite_find(0x1301), secret, seal), 0);
	return keys;
}

/* Open @record_hex, then seal its content again: both directions must match the document. */
static void check_record(struct cv_tls_keys *open, struct cv_tls_keys *seal, uint8_t type,
			 const char *record_hex, const char *content_hex)
{
	static uint8_t record[1024];
	static uint8_t plain[1024];
	static uint8_t content[1024];
	const size_t record_len = hex_decode(record_hex, record, sizeof(record));
	const size_t content_len = hex_decode(content_hex, content, sizeof(content));
	struct cv_buffer out;
	uint8_t opened_type = 0;
	size_t len = 0;

	assert_int_equal(cv_tls_record_peek(cv_span_of(record, record_len), &len), 0);
	assert_int_equal(len, record_len);
	assert_int_equal(cv_tls_record_open(open, record, record_len, plain, &opened_type, &len),
			 0);
	assert_int_equal(opened_type, type);
	assert_int_equal(len, content_len);
	assert_memory_equal(plain, content, content_len);

	cv_buffer_init(&out, 2048);
	assert_int_equal(cv_tls_record_seal(seal, type, content, content_len, record_len, &out), 0);
	assert_int_equal(cv_buffer_len(&out), record_len);
	assert_memory_equal(cv_buffer_bytes(&out), record, record_len);
	cv_buffer_done(&out);
}

static void test_rfc8448_handshake_records(void **state)
{
	struct cv_tls_keys open = keys_from(RFC8448_SERVER_HANDSHAKE_SECRET, false);
	struct cv_tls_keys seal = keys_from(RFC8448_SERVER_HANDSHAKE_SECRET, true);

	(void)state;
	check_record(&open, &seal, CV_TLS_HANDSHAKE, RFC8448_RECORD_SERVER_FLIGHT,
		     RFC8448_SERVER_FLIGHT);
	cv_tls_keys_done(&open);
	cv_tls_keys_done(&seal);
	open = keys_from(RFC8448_CLIENT_HANDSHAKE_SECRET, false);
	seal = keys_from(RFC8448_CLIENT_HANDSHAKE_SECRET, true);
	check_record(&open, &seal, CV_TLS_HANDSHAKE, RFC8448_RECORD_CLIENT_FINISHED,
		     "14000020" RFC8448_CLIENT_VERIFY_DATA);
	cv_tls_keys_done(&open);
	cv_tls_keys_done(&seal);
}

static void test_rfc8448_application_records(void **state)
{
	struct cv_tls_keys open = keys_from(RFC8448_SERVER_APPLICATION_SECRET, false);
	struct cv_tls_keys seal = keys_from(RFC8448_SERVER_APPLICATION_SECRET, true);

	(void)state;
	check_record(&open, &seal, CV_TLS_HANDSHAKE, RFC8448_RECORD_TICKET, RFC8448_TICKET_PAYLOAD);
	check_record(&open, &seal, CV_TLS_APPLICATION, RFC8448_RECORD_SERVER_DATA,
		     RFC8448_APP_PAYLOAD);
	check_record(&open, &seal, CV_TLS_ALERT, RFC8448_RECORD_SERVER_ALERT, "0100");
	assert_int_equal(open.sequence, 3);
	assert_int_equal(seal.sequence, 3);
	cv_tls_keys_done(&open);
	cv_tls_keys_done(&seal);
	open = keys_from(RFC8448_CLIENT_APPLICATION_SECRET, false);
	seal = keys_from(RFC8448_CLIENT_APPLICATION_SECRET, true);
	check_record(&open, &seal, CV_TLS_APPLICATION, RFC8448_RECORD_CLIENT_DATA,
		     RFC8448_APP_PAYLOAD);
	check_record(&open, &seal, CV_TLS_ALERT, RFC8448_RECORD_CLIENT_ALERT, "0100");
	cv_tls_keys_done(&open);
	cv_tls_keys_done(&seal);
}

static void test_reality_padded_records(void **state)
{
	struct cv_tls_keys open = keys_from(REALITY_SERVER_HANDSHAKE, false);
	struct cv_tls_keys seal = keys_from(REALITY_SERVER_HANDSHAKE, true);

	(void)state;
	check_record(&open, &seal, CV_TLS_HANDSHAKE, REALITY_EE_RECORD, "080000020000");
	cv_tls_keys_done(&open);
	cv_tls_keys_done(&seal);
	open = keys_from(REALITY_SERVER_APPLICATION, false);
	seal = keys_from(REALITY_SERVER_APPLICATION, true);
	check_record(&open, &seal, CV_TLS_APPLICATION, REALITY_TICKET_RECORD, "");
	cv_tls_keys_done(&open);
	cv_tls_keys_done(&seal);
}

static void test_peek(void **state)
{
	static uint8_t bytes[CV_TLS_RECORD_MAX] = {22, 3, 1, 0, 4, 1, 2, 3, 4, 22};
	size_t len = 0;

	(void)state;
	for (size_t have = 0; have < 5; have++) {
		assert_int_equal(cv_tls_record_peek(cv_span_of(bytes, have), &len), -EAGAIN);
		assert_int_equal(len, 5);
	}
	for (size_t have = 5; have < 9; have++) {
		assert_int_equal(cv_tls_record_peek(cv_span_of(bytes, have), &len), -EAGAIN);
		assert_int_equal(len, 9);
	}
	assert_int_equal(cv_tls_record_peek(cv_span_of(bytes, 9), &len), 0);
	assert_int_equal(cv_tls_record_peek(cv_span_of(bytes, 10), &len), 0);
	assert_int_equal(len, 9);

	/* 16384 + 256 is the longest, one more is refused at once. */
	bytes[3] = 0x41;
	bytes[4] = 0x00;
	assert_int_equal(cv_tls_record_peek(cv_span_of(bytes, sizeof(bytes)), &len), 0);
	assert_int_equal(len, CV_TLS_RECORD_MAX);
	bytes[4] = 0x01;
	len = 77;
	assert_int_equal(cv_tls_record_peek(cv_span_of(bytes, 5), &len), CV_PEER_TOO_LONG);
	assert_int_equal(len, 77);
}

static void test_every_suite_round_trips_every_length(void **state)
{
	static const uint16_t ids[] = {0x1301, 0x1302, 0x1303};
	static const size_t lens[] = {0, 1, 15, 16, 17, 255, 1400, 16383, 16384};
	static uint8_t content[CV_TLS_PLAINTEXT_MAX];
	uint8_t secret[CV_HASH_MAX] = {5};

	(void)state;
	for (size_t i = 0; i < sizeof(content); i++)
		content[i] = (uint8_t)(i * 7);
	for (size_t i = 0; i < 3; i++) {
		const struct cv_tls_suite *suite = cv_tls_suite_find(ids[i]);
		struct cv_tls_keys seal, open;
		struct cv_buffer out;

		cv_tls_keys_init(&seal, suite, secret, true);
		cv_tls_keys_init(&open, suite, secret, false);
		cv_buffer_init(&out, 20000);
		for (size_t j = 0; j < sizeof(lens) / sizeof(lens[0]); j++) {
			uint8_t *record;
			uint8_t type;
			size_t len;

			assert_int_equal(cv_tls_record_seal(&seal, CV_TLS_APPLICATION, content,
							    lens[j], 0, &out),
					 0);
			assert_int_equal(cv_buffer_len(&out), lens[j] + 22);
			record = cv_buffer_bytes(&out);
			/* In place, as sessions do it. */
			assert_int_equal(cv_tls_record_open(&open, record, cv_buffer_len(&out),
							    record + 5, &type, &len),
					 0);
			assert_int_equal(type, CV_TLS_APPLICATION);
			assert_int_equal(len, lens[j]);
			assert_memory_equal(record + 5, content, len);
			cv_buffer_consume(&out, cv_buffer_len(&out));
			if (j == 4) {
				assert_int_equal(cv_tls_keys_update(&seal, true), 0);
				assert_int_equal(cv_tls_keys_update(&open, false), 0);
			}
		}
		cv_buffer_done(&out);
		cv_tls_keys_done(&seal);
		cv_tls_keys_done(&open);
	}
}

static void test_seal_refusals(void **state)
{
	static uint8_t content[CV_TLS_PLAINTEXT_MAX + 1];
	struct cv_tls_keys seal = keys_from(REALITY_SERVER_HANDSHAKE, true);
	struct cv_buffer out;

	(void)state;
	cv_buffer_init(&out, 100);
	assert_int_equal(cv_tls_record_seal(&seal, 22, content, 10, 31, &out), CV_TARGET_PADDING);
	assert_int_equal(cv_tls_record_seal(&seal, 22, content, 10, 32, &out), 0);
	assert_int_equal(cv_buffer_len(&out), 32);
	assert_int_equal(seal.sequence, 1);
	/* No room: nothing is appended and no sequence number is lost. */
	assert_int_equal(cv_tls_record_seal(&seal, 22, content, 10, 69, &out), CV_PEER_TOO_LONG);
	assert_int_equal(cv_buffer_len(&out), 32);
	assert_int_equal(seal.sequence, 1);
	assert_int_equal(cv_tls_record_seal(&seal, 22, content, 10, 68, &out), 0);
	cv_buffer_done(&out);

	cv_buffer_init(&out, 40000);
	assert_int_equal(cv_tls_record_seal(&seal, 22, content, sizeof(content), 0, &out),
			 CV_PEER_TOO_LONG);
	assert_int_equal(cv_tls_record_seal(&seal, 22, content, 1, 5 + 16385 + 16, &out), 0);
	assert_int_equal(cv_tls_record_seal(&seal, 22, content, 1, 5 + 16386 + 16, &out),
			 CV_TARGET_PADDING);
	cv_buffer_done(&out);
	cv_tls_keys_done(&seal);
}

/* A record with the given inner plaintext, sealed below the record layer's own checks. */
static size_t raw_record(struct cv_tls_keys *keys, const uint8_t *inner, size_t inner_len,
			 uint8_t *record)
{
	uint8_t nonce[12];

	memcpy(nonce, keys->iv, 12);
	nonce[11] ^= (uint8_t)keys->sequence++;
	memcpy(record, "\x17\x03\x03", 3);
	record[3] = (uint8_t)((inner_len + 16) >> 8);
	record[4] = (uint8_t)(inner_len + 16);
	assert_int_equal(cv_aead_seal(keys->aead, nonce, record, 5, inner, inner_len, record + 5),
			 0);
	return 5 + inner_len + 16;
}

static void test_open_refusals(void **state)
{
	static uint8_t inner[16384 + 240];
	static uint8_t record[CV_TLS_RECORD_MAX + 1];
	static uint8_t plain[CV_TLS_RECORD_MAX];
	struct cv_tls_keys seal = keys_from(REALITY_SERVER_HANDSHAKE, true);
	struct cv_tls_keys open = keys_from(REALITY_SERVER_HANDSHAKE, false);
	uint8_t type = 0xee;
	size_t len = 0xee;
	size_t record_len;

	(void)state;
	/* All padding, and nothing at all. */
	record_len = raw_record(&seal, inner, 40, record);
	assert_int_equal(cv_tls_record_open(&open, record, record_len, plain, &type, &len),
			 CV_PEER_UNEXPECTED_MESSAGE);
	record_len = raw_record(&seal, inner, 0, record);
	assert_int_equal(cv_tls_record_open(&open, record, record_len, plain, &type, &len),
			 CV_PEER_UNEXPECTED_MESSAGE);
	/* 16384 bytes and their type are the most, whatever is padding. */
	inner[16384] = CV_TLS_APPLICATION;
	record_len = raw_record(&seal, inner, 16386, record);
	assert_int_equal(cv_tls_record_open(&open, record, record_len, plain, &type, &len),
			 CV_PEER_TOO_LONG);
	assert_int_equal(type, 0xee);
	assert_int_equal(len, 0xee);
	record_len = raw_record(&seal, inner, 16385, record);
	assert_int_equal(cv_tls_record_open(&open, record, record_len, plain, &type, &len), 0);
	assert_int_equal(type, CV_TLS_APPLICATION);
	assert_int_equal(len, 16384);

	/* Outer type, lengths that disagree, no room for a tag, beyond the limit. */
	record_len = raw_record(&seal, inner + 16384, 1, record);
	record[0] = CV_TLS_HANDSHAKE;
	assert_int_equal(cv_tls_record_open(&open, record, record_len, plain, &type, &len),
			 CV_PEER_UNEXPECTED_MESSAGE);
	record[0] = CV_TLS_APPLICATION;
	assert_int_equal(cv_tls_record_open(&open, record, record_len - 1, plain, &type, &len),
			 CV_PEER_BAD_RECORD);
	assert_int_equal(cv_tls_record_open(&open, record, 4, plain, &type, &len),
			 CV_PEER_BAD_RECORD);
	memcpy(plain, "\x17\x03\x03\x00\x0f", 5);
	assert_int_equal(cv_tls_record_open(&open, plain, 20, plain + 5, &type, &len),
			 CV_PEER_BAD_RECORD);
	/* None of these used up the sequence number of the good record. */
	assert_int_equal(cv_tls_record_open(&open, record, record_len, plain, &type, &len), 0);
	assert_int_equal(len, 0);
	/* Replayed: the sequence number has moved on. */
	assert_int_equal(cv_tls_record_open(&open, record, record_len, plain, &type, &len),
			 CV_PEER_BAD_RECORD);
	memcpy(record, "\x17\x03\x03\x41\x01", 5);
	assert_int_equal(cv_tls_record_open(&open, record, sizeof(record), plain, &type, &len),
			 CV_PEER_TOO_LONG);
	cv_tls_keys_done(&seal);
	cv_tls_keys_done(&open);
}

static void test_sequence_does_not_wrap(void **state)
{
	struct cv_tls_keys seal = keys_from(REALITY_SERVER_HANDSHAKE, true);
	struct cv_buffer out;

	(void)state;
	cv_buffer_init(&out, 1000);
	seal.sequence = UINT64_MAX - 1;
	assert_int_equal(cv_tls_record_seal(&seal, 23, NULL, 0, 0, &out), 0);
	assert_int_equal(cv_tls_record_seal(&seal, 23, NULL, 0, 0, &out), CV_INTERNAL_STATE);
	cv_buffer_done(&out);
	cv_tls_keys_done(&seal);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rfc8448_handshake_records),
		cmocka_unit_test(test_rfc8448_application_records),
		cmocka_unit_test(test_reality_padded_records),
		cmocka_unit_test(test_peek),
		cmocka_unit_test(test_every_suite_round_trips_every_length),
		cmocka_unit_test(test_seal_refusals),
		cmocka_unit_test(test_open_refusals),
		cmocka_unit_test(test_sequence_does_not_wrap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
