// SPDX-License-Identifier: MIT
/* json_text.c - a text as every version of json-c takes it. */
#include "config/json_text.h"

#include "base/utf8.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define GROWTH 3 /* two bytes become \uXXXX, four become two of them */

static char *escape(char *to, uint32_t value)
{
	if (value >= 0x10000) {
		to = escape(to, 0xd800 + ((value - 0x10000) >> 10));
		value = 0xdc00 + ((value - 0x10000) & 0x3ff);
	}
	(void)snprintf(to, 7, "\\u%04x", (unsigned int)value);
	return to + 6;
}

char *cv_json_ascii(const char *text, size_t len, size_t *ret_len)
{
	char *copy = malloc(len * GROWTH + 1), *to = copy;
	size_t at = 0;

	if (!copy)
		return NULL;
	while (at < len) {
		const size_t one = cv_utf8_len(text + at);

		if (one > 1)
			to = escape(to, cv_utf8_value(text + at, one));
		else
			*to++ = text[at];
		at += one ? one : 1;
	}
	*to = '\0';
	*ret_len = (size_t)(to - copy);
	return copy;
}
