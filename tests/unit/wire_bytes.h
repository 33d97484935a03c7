/* SPDX-License-Identifier: MIT */
/*
 * wire_bytes.h - bytes of wire format tests: written as hex with blanks, made by a seeded
 * generator, cut into random pieces.
 */
#ifndef CV_TESTS_WIRE_BYTES_H
#define CV_TESTS_WIRE_BYTES_H

#include "base/buffer.h"

#include <stdlib.h>

struct bytes {
	uint8_t data[70000];
	size_t len;
};

static inline int hex_digit_of(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Blanks between bytes are skipped; anything else that is not lower-case hex is a broken test. */
static inline void bytes_add_hex(struct bytes *bytes, const char *hex)
{
	while (*hex) {
		if (*hex == ' ') {
			hex++;
			continue;
		}
		const int high = hex_digit_of(hex[0]);
		const int low = high < 0 ? -1 : hex_digit_of(hex[1]);

		if (low < 0 || bytes->len == sizeof(bytes->data))
			abort();
		bytes->data[bytes->len++] = (uint8_t)(high << 4 | low);
		hex += 2;
	}
}

static inline void bytes_add_fill(struct bytes *bytes, uint8_t value, size_t count)
{
	if (count > sizeof(bytes->data) - bytes->len)
		abort();
	while (count-- > 0)
		bytes->data[bytes->len++] = value;
}

static inline void bytes_set_hex(struct bytes *bytes, const char *hex)
{
	bytes->len = 0;
	bytes_add_hex(bytes, hex);
}

static inline struct cv_span bytes_span(const struct bytes *bytes)
{
	return cv_span_of(bytes->data, bytes->len);
}

/* xorshift32: every run of a test sees the same numbers. */
static inline uint32_t random_next(uint32_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 17;
	*state ^= *state << 5;
	return *state;
}

static inline size_t random_between(uint32_t *state, size_t low, size_t high)
{
	return low + random_next(state) % (high - low + 1);
}

#endif
