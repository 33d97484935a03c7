/* SPDX-License-Identifier: MIT */
/*
 * regexp.h - the `regexp:` of rules, on top of POSIX extended regular expressions.
 */
#ifndef CV_POLICY_REGEXP_H
#define CV_POLICY_REGEXP_H

#include <regex.h>

#define CV_REGEXP_ERROR_TEXT 128

/**
 * cv_regexp_compile() - Unanchored, case sensitive (ignoring it with a leading "(?i)").
 *
 * Xray's patterns are RE2's. What POSIX has under another name is translated (\d \D, "(?:", lazy
 * quantifiers, classes inside brackets); what it cannot say is refused, never misread.
 * @ret_regexp: regfree() it
 * Returns: 0; CV_INTERNAL_CONFIG with the cause in @error_text.
 */
int cv_regexp_compile(const char *pattern, regex_t *ret_regexp,
		      char error_text[CV_REGEXP_ERROR_TEXT]);

/** cv_regexp_literal() - A text that is in every lower-case text which @pattern matches; "" = none
 * of at least three letters was found. @pattern is one that cv_regexp_compile() takes. */
#define CV_REGEXP_LITERAL 32
void cv_regexp_literal(const char *pattern, char ret_literal[CV_REGEXP_LITERAL]);

#endif
