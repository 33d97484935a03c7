// SPDX-License-Identifier: MIT
/* test_decompress.c - RFC 8879 algorithms: right length, too small, cut, trailing, damaged. */
#include "crypto/crypto.h"

#include "../vectors/hex.h"

#include <culvert/reason.h>

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define PLAIN_BYTES 600

/* "certificate " fifty times, by the compressors of the three libraries. */
static const struct {
	uint16_t algorithm;
	const char *compressed;
} cases[] = {
	{1, "78da4b4e2d2ac94ccb4c4e2c4955481e658fb2a9c406008654e7d7"},
	{2, "1b5702f825000a98c26a016f4c3500"},
	{3, "28b52ffd6058019d0000606365727469666963617465200100495e9524"},
};

#define CASES (sizeof(cases) / sizeof(cases[0]))

static void plain_make(uint8_t plain[PLAIN_BYTES])
{
	for (size_t i = 0; i < PLAIN_BYTES; i++)
		plain[i] = (uint8_t) "certificate "[i % 12];
}

static void test_every_algorithm(void **state)
{
	uint8_t plain[PLAIN_BYTES];
	uint8_t in[64];
	uint8_t out[PLAIN_BYTES + 10];

	(void)state;
	plain_make(plain);
	for (size_t i = 0; i < CASES; i++) {
		const size_t in_len = hex_decode(cases[i].compressed, in, sizeof(in));
		size_t len = PLAIN_BYTES;

		assert_int_equal(
			cv_decompress_certificate(cases[i].algorithm, in, in_len, out, &len), 0);
		assert_int_equal(len, PLAIN_BYTES);
		assert_memory_equal(out, plain, PLAIN_BYTES);
		/* More room than content: the real length is told. */
		len = sizeof(out);
		assert_int_equal(
			cv_decompress_certificate(cases[i].algorithm, in, in_len, out, &len), 0);
		assert_int_equal(len, PLAIN_BYTES);
	}
}

static void test_room_is_the_limit(void **state)
{
	uint8_t in[64];
	uint8_t out[PLAIN_BYTES];

	(void)state;
	for (size_t i = 0; i < CASES; i++) {
		const size_t in_len = hex_decode(cases[i].compressed, in, sizeof(in));

		memset(out, 0xee, sizeof(out));
		for (size_t room = 0; room < PLAIN_BYTES; room += 149) {
			size_t len = room;

			assert_int_equal(cv_decompress_certificate(cases[i].algorithm, in, in_len,
								   out, &len),
					 CV_UPSTREAM_DECODE);
			assert_int_equal(len, room);
			assert_int_equal(out[room], 0xee);
		}
	}
}

static void test_cut_or_trailing_or_unknown(void **state)
{
	uint8_t in[64];
	uint8_t out[PLAIN_BYTES];
	size_t len;

	(void)state;
	for (size_t i = 0; i < CASES; i++) {
		const size_t in_len = hex_decode(cases[i].compressed, in, sizeof(in) - 1);

		for (size_t cut = 0; cut < in_len; cut++) {
			len = PLAIN_BYTES;
			assert_int_equal(
				cv_decompress_certificate(cases[i].algorithm, in, cut, out, &len),
				CV_UPSTREAM_DECODE);
		}
		in[in_len] = 'x';
		len = PLAIN_BYTES;
		assert_int_equal(
			cv_decompress_certificate(cases[i].algorithm, in, in_len + 1, out, &len),
			CV_UPSTREAM_DECODE);
		assert_int_equal(cv_decompress_certificate(0, in, in_len, out, &len),
				 CV_UPSTREAM_DECODE);
		assert_int_equal(cv_decompress_certificate(4, in, in_len, out, &len),
				 CV_UPSTREAM_DECODE);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_algorithm),
		cmocka_unit_test(test_room_is_the_limit),
		cmocka_unit_test(test_cut_or_trailing_or_unknown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
