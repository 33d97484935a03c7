// SPDX-License-Identifier: MIT
/*
 * test_vmess_body.c - chunks: another program's are read, whole and byte by byte; ours come back;
 * lengths that cannot be, bytes that were changed, the end.
 */
#include "protocol/vmess_body.h"

#include <culvert/reason.h>

#include "vectors/hex.h"
#include "vectors/vmess.h"
#include "wire_bytes.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct bytes input;
static struct cv_buffer out;

static void start(struct cv_vmess_body *body, enum cv_vmess_cipher cipher, uint8_t options,
		  enum cv_vmess_command command, bool seals)
{
	const struct cv_vmess_request request = {
		.cipher = cipher, .options = options, .command = command};
	struct cv_vmess_body_keys keys;

	assert_int_equal(hex_decode(VMESS_KEY, keys.key, 16), 16);
	assert_int_equal(hex_decode(VMESS_IV, keys.iv, 16), 16);
	assert_int_equal(cv_vmess_body_init(body, &request, &keys, seals), 0);
	cv_buffer_init(&out, 1 << 20);
}

static void stop(struct cv_vmess_body *body)
{
	cv_vmess_body_done(body);
	cv_buffer_done(&out);
}

/* All of @hex in pieces of @step bytes; it ends with the end. */
static void reads(const char *hex, enum cv_vmess_cipher cipher, uint8_t options, size_t step)
{
	struct cv_vmess_body body;
	size_t had = 0, used = 0;
	int result = 0;

	start(&body, cipher, options, CV_VMESS_TCP, false);
	bytes_set_hex(&input, hex);
	while (result != CV_VMESS_BODY_END) {
		struct cv_span in = cv_span_of(input.data + used, had - used);

		result = cv_vmess_body_read(&body, &in, &out);
		used = had - in.len_bytes;
		if (result == -EAGAIN) {
			assert_true(had < input.len);
			had = had + step < input.len ? had + step : input.len;
		} else {
			assert_in_range(result, 0, CV_VMESS_BODY_END);
		}
	}
	assert_int_equal(used, input.len);
	assert_int_equal(cv_buffer_len(&out), 11);
	assert_memory_equal(cv_buffer_bytes(&out), "helloworld!", 11);
	stop(&body);
}

#define ALL (CV_VMESS_CHUNKS | CV_VMESS_MASKING | CV_VMESS_PADDING)

static void test_read(void **state)
{
	(void)state;
	for (size_t step = 1; step < 200; step += 7) {
		reads(VMESS_BODY_AES, CV_VMESS_AES_128_GCM, ALL, step);
		reads(VMESS_BODY_CHACHA, CV_VMESS_CHACHA20_POLY1305, ALL, step);
		reads(VMESS_BODY_AES_UNMASKED, CV_VMESS_AES_128_GCM, CV_VMESS_CHUNKS, step);
		reads(VMESS_BODY_NONE, CV_VMESS_NONE, ALL, step);
	}
}

/* Without padding what is written is determined. */
static void test_write(void **state)
{
	struct cv_vmess_body body;

	(void)state;
	start(&body, CV_VMESS_AES_128_GCM, CV_VMESS_CHUNKS, CV_VMESS_TCP, true);
	assert_int_equal(cv_vmess_body_write(&body, cv_span_of("hello", 5), &out), 0);
	assert_int_equal(cv_vmess_body_write(&body, cv_span_of("world!", 6), &out), 0);
	assert_int_equal(cv_vmess_body_write(&body, cv_span_of(NULL, 0), &out), 0);
	bytes_set_hex(&input, VMESS_BODY_AES_UNMASKED);
	assert_int_equal(cv_buffer_len(&out), input.len);
	assert_memory_equal(cv_buffer_bytes(&out), input.data, input.len);
	assert_int_equal(cv_vmess_body_write(&body, cv_span_of(input.data, 65535), &out),
			 CV_INTERNAL_STATE);
	stop(&body);
}

static void round_trip(enum cv_vmess_cipher cipher, uint8_t options,
		       enum cv_vmess_command command)
{
	static const size_t sizes[] = {1, 2, 100, 8192, CV_VMESS_CHUNK_MAX, 1, 60000};
	struct cv_vmess_body writer, reader;
	struct cv_buffer wire;

	start(&reader, cipher, options, command, false);
	start(&writer, cipher, options, command, true);
	cv_buffer_init(&wire, 1 << 20);
	bytes_set_hex(&input, "");
	bytes_add_fill(&input, 0x5c, sizeof(input.data));
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct cv_span in;

		assert_int_equal(cv_vmess_body_write(&writer, cv_span_of(input.data, sizes[i]),
						     &wire), 0);
		assert_true(cv_buffer_len(&wire) <= sizes[i] + CV_VMESS_CHUNK_OVERHEAD);
		in = cv_buffer_span(&wire);
		assert_int_equal(cv_vmess_body_read(&reader, &in, &out), 0);
		assert_int_equal(in.len_bytes, 0);
		assert_int_equal(cv_buffer_len(&out), sizes[i]);
		assert_memory_equal(cv_buffer_bytes(&out), input.data, sizes[i]);
		cv_buffer_consume(&out, sizes[i]);
		cv_buffer_consume(&wire, cv_buffer_len(&wire));
	}
	cv_buffer_done(&wire);
	cv_vmess_body_done(&writer);
	stop(&reader);
}

static void test_round_trip(void **state)
{
	static const enum cv_vmess_cipher ciphers[] = {
		CV_VMESS_AES_128_GCM, CV_VMESS_CHACHA20_POLY1305, CV_VMESS_NONE};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		round_trip(ciphers[i], CV_VMESS_CHUNKS, CV_VMESS_TCP);
		round_trip(ciphers[i], CV_VMESS_CHUNKS | CV_VMESS_MASKING, CV_VMESS_TCP);
		round_trip(ciphers[i], ALL, CV_VMESS_TCP);
		round_trip(ciphers[i], ALL, CV_VMESS_UDP);
	}
	round_trip(CV_VMESS_NONE, 0, CV_VMESS_TCP);
}

static void test_changed(void **state)
{
	struct cv_vmess_body body;
	struct cv_span in;

	(void)state;
	for (size_t i = 0; i < 23; i++) {
		int result;

		start(&body, CV_VMESS_AES_128_GCM, CV_VMESS_CHUNKS, CV_VMESS_TCP, false);
		bytes_set_hex(&input, VMESS_BODY_AES_UNMASKED);
		input.data[i] ^= i < 2 ? 0x03 : 0x80;
		in = bytes_span(&input);
		result = cv_vmess_body_read(&body, &in, &out);
		assert_int_equal(result, i == 0 ? -EAGAIN : CV_PEER_BAD_RECORD);
		assert_int_equal(cv_buffer_len(&out), 0);
		stop(&body);
	}
	start(&body, CV_VMESS_AES_128_GCM, CV_VMESS_CHUNKS, CV_VMESS_TCP, false);
	bytes_set_hex(&input, "000f 00");
	in = bytes_span(&input);
	assert_int_equal(cv_vmess_body_read(&body, &in, &out), CV_PEER_DECODE);
	stop(&body);
}

/* The protocol's own: the counter of the nonce has 16 bits. */
static void test_many_chunks(void **state)
{
	struct cv_vmess_body writer, reader;
	struct cv_buffer wire;

	(void)state;
	start(&reader, CV_VMESS_AES_128_GCM, ALL, CV_VMESS_TCP, false);
	start(&writer, CV_VMESS_AES_128_GCM, ALL, CV_VMESS_TCP, true);
	cv_buffer_init(&wire, 1024);
	for (uint32_t i = 0; i < 66000; i++) {
		struct cv_span in;

		assert_int_equal(cv_vmess_body_write(&writer, cv_span_of(&i, sizeof(i)), &wire), 0);
		in = cv_buffer_span(&wire);
		assert_int_equal(cv_vmess_body_read(&reader, &in, &out), 0);
		assert_memory_equal(cv_buffer_bytes(&out), &i, sizeof(i));
		cv_buffer_consume(&out, sizeof(i));
		cv_buffer_consume(&wire, cv_buffer_len(&wire));
	}
	cv_buffer_done(&wire);
	cv_vmess_body_done(&writer);
	stop(&reader);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_read),	   cmocka_unit_test(test_write),
		cmocka_unit_test(test_round_trip), cmocka_unit_test(test_changed),
		cmocka_unit_test(test_many_chunks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
