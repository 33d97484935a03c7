// SPDX-License-Identifier: MIT
/*
 * test_base64.c - RFC 4648 10, both alphabets, padding, limits; hex.
 */
#include "wire/base64.h"

#include <culvert/reason.h>

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void assert_decodes(const char *text, const void *bytes, size_t len)
{
	uint8_t out[64];
	size_t out_len = sizeof(out);

	assert_int_equal(cv_base64url_decode(text, out, &out_len), 0);
	assert_int_equal(out_len, len);
	assert_memory_equal(out, bytes, len);
}

static void assert_refused(const char *text)
{
	uint8_t out[64];
	size_t out_len = sizeof(out);

	if (cv_base64url_decode(text, out, &out_len) != CV_PEER_DECODE)
		fail_msg("accepted: %s", text);
	assert_int_equal(out_len, sizeof(out));
}

static void test_rfc4648(void **state)
{
	static const char *const texts[] = {"",	      "Zg",	 "Zm8",	    "Zm9v",
					    "Zm9vYg", "Zm9vYmE", "Zm9vYmFy"};

	(void)state;
	for (size_t len = 0; len <= 6; len++) {
		char text[16];

		cv_base64url_encode((const uint8_t *)"foobar", len, text);
		assert_string_equal(text, texts[len]);
		assert_decodes(text, "foobar", len);
	}
	assert_decodes("Zg==", "f", 1);
	assert_decodes("Zm8=", "fo", 2);
}

static void test_alphabets(void **state)
{
	char text[8];

	(void)state;
	cv_base64url_encode((const uint8_t *)"\xfb\xff\xbf", 3, text);
	assert_string_equal(text, "-_-_");
	assert_decodes("-_-_", "\xfb\xff\xbf", 3);
	assert_decodes("+/+/", "\xfb\xff\xbf", 3);
}

static void test_key_of_reality_14(void **state)
{
	uint8_t key[32], expected[32];
	size_t len = sizeof(key);
	char text[44];

	(void)state;
	for (unsigned int at = 0; at < 32; at++)
		expected[at] = (uint8_t)(at + 1);
	assert_int_equal(cv_base64url_decode("AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA", key,
					     &len),
			 0);
	assert_int_equal(len, 32);
	assert_memory_equal(key, expected, 32);
	cv_base64url_encode(key, 32, text);
	assert_string_equal(text, "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA");
}

static void test_refusals(void **state)
{
	(void)state;
	assert_refused("Z");
	assert_refused("Zm9vY");
	assert_refused("Zg=");
	assert_refused("Zg===");
	assert_refused("=");
	assert_refused("====");
	assert_refused("Zm9v=");
	assert_refused("Zm=v");
	assert_refused("Z g=");
	assert_refused("Zm9v\n");
	assert_refused("Zm9\x80");
	assert_refused("Zm9.");
}

static void test_every_character(void **state)
{
	static const char known[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+/";

	(void)state;
	for (unsigned int c = 1; c < 256; c++) {
		const char text[3] = {'A', (char)c, '\0'};
		uint8_t out[4];
		size_t len = sizeof(out);

		assert_int_equal(cv_base64url_decode(text, out, &len),
				 strchr(known, (char)c) ? 0 : CV_PEER_DECODE);
	}
}

static void test_size_limit(void **state)
{
	uint8_t out[3] = {9, 9, 9};
	size_t len = 2;

	(void)state;
	assert_int_equal(cv_base64url_decode("Zm9v", out, &len), CV_PEER_DECODE);
	assert_int_equal(len, 2);
	assert_int_equal(out[0], 9); /* nothing was written */
	assert_int_equal(cv_base64url_decode("Zm8", out, &len), 0);
	assert_int_equal(len, 2);
	len = 0;
	assert_int_equal(cv_base64url_decode("Zg", out, &len), CV_PEER_DECODE);
	assert_int_equal(cv_base64url_decode("", out, &len), 0);
}

static void test_hex(void **state)
{
	uint8_t out[4];
	size_t len = sizeof(out);
	char text[9];

	(void)state;
	assert_int_equal(cv_hex_decode("00fFA9", out, &len), 0);
	assert_int_equal(len, 3);
	assert_memory_equal(out, "\x00\xff\xa9", 3);
	cv_hex_encode(out, 3, text);
	assert_string_equal(text, "00ffa9");
	len = sizeof(out);
	assert_int_equal(cv_hex_decode("", out, &len), 0);
	assert_int_equal(len, 0);
	len = sizeof(out);
	assert_int_equal(cv_hex_decode("0", out, &len), CV_PEER_DECODE);
	assert_int_equal(cv_hex_decode("0g", out, &len), CV_PEER_DECODE);
	assert_int_equal(cv_hex_decode("@0", out, &len), CV_PEER_DECODE);
	assert_int_equal(cv_hex_decode("0:", out, &len), CV_PEER_DECODE);
	assert_int_equal(cv_hex_decode("0102030405", out, &len), CV_PEER_DECODE);
	assert_int_equal(len, sizeof(out));
	assert_int_equal(cv_hex_decode("01020304", out, &len), 0);
	assert_int_equal(len, 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rfc4648),
		cmocka_unit_test(test_alphabets),
		cmocka_unit_test(test_key_of_reality_14),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_every_character),
		cmocka_unit_test(test_size_limit),
		cmocka_unit_test(test_hex),
	};

	return cmocka_run_group_tests_name("base64", tests, NULL, NULL);
}
