// SPDX-License-Identifier: MIT
/*
 * fuzz_tls_record.c - two uses of the input; its first byte chooses the cipher suite.
 *
 * Stream: the rest is what a hostile peer sends. Records are cut and opened one after the other, as
 * a session does, with keys the peer of the seeds knows, so that mutated seeds get past the AEAD.
 *
 * Inner plaintext: the rest is sealed as it is, under correct keys, below the record layer. That
 * gives the padding and type parser bytes no honest sender makes; its verdict is checked against a
 * second, simple reading. What opens is sealed again by the record layer and must come out the
 * same.
 */
#include "crypto/tls_record.h"

#include <culvert/reason.h>

#include "check.h"

#include <errno.h>

static const uint16_t suite_ids[] = {0x1301, 0x1302, 0x1303};
static const uint8_t secret[CV_HASH_MAX] = {'f', 'u', 'z', 'z'};

static struct cv_tls_keys keys_new(uint8_t choice, bool seal)
{
	const struct cv_tls_suite *suite = cv_tls_suite_find(suite_ids[choice % 3]);
	struct cv_tls_keys keys;

	check(cv_tls_keys_init(&keys, suite, secret, seal) == 0);
	return keys;
}

static void fuzz_stream(uint8_t choice, struct cv_span stream)
{
	struct cv_tls_keys keys = keys_new(choice, false);
	uint8_t *plain = malloc(CV_TLS_RECORD_MAX);
	size_t len = 0;

	while (cv_tls_record_peek(stream, &len) == 0) {
		const uint64_t sequence = keys.sequence;
		uint8_t type = 0;
		size_t content_len = 0;

		check(len >= CV_TLS_HEADER && len <= CV_TLS_RECORD_MAX && len <= stream.len_bytes);
		if (cv_tls_record_open(&keys, stream.data, len, plain, &type, &content_len) == 0) {
			check(type != 0);
			check(content_len + 1 + CV_TLS_HEADER + CV_AEAD_TAG <= len);
			check(keys.sequence == sequence + 1);
		}
		check(keys.sequence - sequence <= 1);
		cv_span_skip(&stream, len);
	}
	free(plain);
	cv_tls_keys_done(&keys);
}

/* A record whose inner plaintext is exactly @inner. */
static uint8_t *record_of(uint8_t choice, struct cv_span inner)
{
	struct cv_tls_keys keys = keys_new(choice, true);
	const size_t body_len = inner.len_bytes + CV_AEAD_TAG;
	uint8_t *record = malloc(CV_TLS_HEADER + body_len);

	record[0] = CV_TLS_APPLICATION;
	record[1] = 3;
	record[2] = 3;
	record[3] = (uint8_t)(body_len >> 8);
	record[4] = (uint8_t)body_len;
	check(cv_aead_seal(keys.aead, keys.iv, record, CV_TLS_HEADER, inner.data, inner.len_bytes,
			   record + CV_TLS_HEADER) == 0);
	cv_tls_keys_done(&keys);
	return record;
}

static void check_sealed_again(uint8_t choice, uint8_t type, struct cv_span content,
			       struct cv_span record)
{
	struct cv_tls_keys keys = keys_new(choice, true);
	struct cv_buffer out;

	cv_buffer_init(&out, CV_TLS_RECORD_MAX);
	check(cv_tls_record_seal(&keys, type, content.data, content.len_bytes, record.len_bytes,
				 &out) == 0);
	check_same(cv_buffer_span(&out), record);
	cv_buffer_done(&out);
	cv_tls_keys_done(&keys);
}

static void fuzz_inner(uint8_t choice, struct cv_span inner)
{
	const size_t record_len = CV_TLS_HEADER + inner.len_bytes + CV_AEAD_TAG;
	uint8_t *record = record_of(choice, inner);
	struct cv_tls_keys keys = keys_new(choice, false);
	uint8_t *plain = malloc(inner.len_bytes + 1);
	size_t end = inner.len_bytes;
	uint8_t type = 0;
	size_t len = 0;
	const int verdict = cv_tls_record_open(&keys, record, record_len, plain, &type, &len);

	while (end > 0 && inner.data[end - 1] == 0)
		end--;
	if (inner.len_bytes > CV_TLS_PLAINTEXT_MAX + 1) {
		check(verdict == CV_PEER_TOO_LONG);
	} else if (end == 0) {
		check(verdict == CV_PEER_UNEXPECTED_MESSAGE);
	} else {
		check(verdict == 0 && type == inner.data[end - 1]);
		check_same(cv_span_of(plain, len), cv_span_of(inner.data, end - 1));
		check_sealed_again(choice, type, cv_span_of(plain, len),
				   cv_span_of(record, record_len));
	}
	free(plain);
	free(record);
	cv_tls_keys_done(&keys);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cv_span input = cv_span_of(data, size);
	const uint8_t choice = take_u8(&input);

	fuzz_stream(choice, input);
	fuzz_inner(choice, take_span(&input, CV_TLS_PLAINTEXT_MAX + 256 - CV_AEAD_TAG));
	return 0;
}
