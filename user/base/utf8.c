// SPDX-License-Identifier: MIT
/* utf8.c - what is UTF-8 and what is not. */
#include "base/utf8.h"

size_t cv_utf8_len(const char *text)
{
	const unsigned char *at = (const unsigned char *)text;
	const unsigned char c = at[0];
	size_t len = c < 0x80 ? 1 : c >= 0xc2 && c < 0xe0 ? 2 : c >= 0xe0 && c < 0xf0 ? 3 : 4;

	if ((c >= 0x80 && c < 0xc2) || c > 0xf4)
		return 0;
	for (size_t i = 1; i < len; i++)
		if ((at[i] & 0xc0) != 0x80)
			return 0;
	if ((c == 0xe0 && at[1] < 0xa0) || (c == 0xed && at[1] > 0x9f) ||
	    (c == 0xf0 && at[1] < 0x90) || (c == 0xf4 && at[1] > 0x8f))
		return 0;
	return len;
}

uint32_t cv_utf8_value(const char *text, size_t len)
{
	const unsigned char *at = (const unsigned char *)text;
	uint32_t value = len == 1 ? at[0] : at[0] & (0xffu >> (len + 1));

	for (size_t i = 1; i < len; i++)
		value = value << 6 | (at[i] & 0x3f);
	return value;
}

size_t cv_utf8_valid_bytes(const char *text, size_t len)
{
	size_t at = 0;

	while (at < len) {
		const size_t one = cv_utf8_len(text + at);

		if (one == 0)
			break;
		at += one;
	}
	return at;
}
