/* SPDX-License-Identifier: MIT */
/*
 * hex.h - vectors are written as their documents print them, in hex; blanks are skipped.
 */
#ifndef CV_TESTS_HEX_H
#define CV_TESTS_HEX_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static inline int hex_nibble(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Decode @text into @bytes; returns the length. A vector that is not hex or too long is a bug. */
static inline size_t hex_decode(const char *text, uint8_t *bytes, size_t size_bytes)
{
	size_t len = 0;

	while (*text) {
		if (*text == ' ') {
			text++;
			continue;
		}

		const int high = hex_nibble(text[0]);
		const int low = high < 0 ? -1 : hex_nibble(text[1]);

		if (low < 0 || len == size_bytes) {
			fprintf(stderr, "broken test vector at \"%.20s\"\n", text);
			abort();
		}
		bytes[len++] = (uint8_t)(high << 4 | low);
		text += 2;
	}
	return len;
}

/* A named array with the bytes of @text, which must be exactly @count of them. */
#define HEX(name, count, text) \
	uint8_t name[count]; \
	if (hex_decode(text, name, count) != (count)) \
	abort()

/* cmocka's comparison with the length taken from the vector. */
#define assert_hex(bytes, text) \
	do { \
		static uint8_t expected_[4096]; \
		const size_t expected_len_ = hex_decode(text, expected_, sizeof(expected_)); \
		assert_memory_equal(bytes, expected_, expected_len_); \
	} while (0)

#endif
