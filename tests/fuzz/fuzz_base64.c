// SPDX-License-Identifier: MIT
/*
 * fuzz_base64.c - bytes survive encoding; text that decodes has one canonical form, which decodes
 * to the same bytes; a buffer that is one byte too small is refused. The same for hex.
 */
#include "wire/base64.h"

#include "check.h"

#define INPUT_MAX 512

static void fuzz_bytes(const uint8_t *data, size_t size)
{
	uint8_t bytes[INPUT_MAX];
	size_t len = sizeof(bytes);
	char text[2 * INPUT_MAX + 4];

	cv_base64url_encode(data, size, text);
	check(strlen(text) == (size * 8 + 5) / 6);
	check(cv_base64url_decode(text, bytes, &len) == 0);
	check_same(cv_span_of(bytes, len), cv_span_of(data, size));

	len = sizeof(bytes);
	cv_hex_encode(data, size, text);
	check(strlen(text) == 2 * size);
	check(cv_hex_decode(text, bytes, &len) == 0);
	check_same(cv_span_of(bytes, len), cv_span_of(data, size));
}

static void fuzz_text(const char *input)
{
	uint8_t bytes[INPUT_MAX], again[INPUT_MAX];
	size_t len = sizeof(bytes), again_len = sizeof(again), short_len;
	char text[2 * INPUT_MAX + 4];

	if (cv_base64url_decode(input, bytes, &len) == 0) {
		cv_base64url_encode(bytes, len, text);
		check(cv_base64url_decode(text, again, &again_len) == 0);
		check_same(cv_span_of(bytes, len), cv_span_of(again, again_len));
		short_len = len - 1;
		check(len == 0 || cv_base64url_decode(input, again, &short_len) != 0);
	}
	len = sizeof(bytes);
	if (cv_hex_decode(input, bytes, &len) == 0) {
		check(2 * len == strlen(input));
		short_len = len - 1;
		check(len == 0 || cv_hex_decode(input, again, &short_len) != 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char text[INPUT_MAX + 1];

	if (size > INPUT_MAX)
		return 0;
	fuzz_bytes(data, size);
	if (size > 0)
		memcpy(text, data, size);
	text[size] = '\0';
	fuzz_text(text);
	return 0;
}
