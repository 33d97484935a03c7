/* SPDX-License-Identifier: MIT */
/* utf8.h - what is UTF-8 and what is not. */
#ifndef CV_BASE_UTF8_H
#define CV_BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

/** cv_utf8_len() - Bytes of the character that @text, which ends with a zero, begins with; 0 if it
 * begins with none. Source: RFC 3629 3. */
size_t cv_utf8_len(const char *text);
/** cv_utf8_value() - The code point of such a character, of @len bytes. */
uint32_t cv_utf8_value(const char *text, size_t len);
/** cv_utf8_valid_bytes() - How many of @len bytes come before the first that is no UTF-8.
 * @text[@len] must be zero. */
size_t cv_utf8_valid_bytes(const char *text, size_t len);

#endif
