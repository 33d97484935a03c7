/* SPDX-License-Identifier: MIT */
/* json_text.h - a text as every version of json-c takes it. */
#ifndef CV_CONFIG_JSON_TEXT_H
#define CV_CONFIG_JSON_TEXT_H

#include <stddef.h>

/**
 * cv_json_ascii() - A copy of @text with what is not ASCII written as \u escapes. Strict parsers of
 * json-c 0.18 take every byte above 127 in a string for a control character.
 * @text: @len bytes of valid UTF-8 and a zero
 * @ret_len: bytes of the copy, without its zero; lines are where they were
 * Returns: the copy, which the caller frees; NULL: out of memory. Source: RFC 8259 7.
 */
char *cv_json_ascii(const char *text, size_t len, size_t *ret_len);

#endif
