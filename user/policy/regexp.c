// SPDX-License-Identifier: MIT
/*
 * regexp.c - RE2 syntax as far as POSIX ERE can express it.
 *
 *   "(?i)" first        REG_ICASE           (?:x)      (x): nothing is captured anyway
 *   \d \D               [0-9] [^0-9]        x*? x+? x??  x* x+ x?: only whether it matches counts
 *   \w \W \s \S \b \B   glibc has them      [\d\w\s\.] spelled out
 *   \A \z               ^ $                 everything else after a backslash: literal or refused
 *
 * glibc copies a subexpression as often as its count says, and nested counts multiply: the size of
 * the expanded pattern is counted along and bounded, as RE2 does.
 */
#include "policy/regexp.h"

#include <culvert/reason.h>

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATTERN_MAX 1024
#define REPEAT_MAX 1000
#define EXPANDED_MAX 10000
#define DEPTH_MAX 32

struct translation {
	const char *at;
	char out[PATTERN_MAX * 8];
	size_t len;
	unsigned long size[DEPTH_MAX + 1]; /* expanded atoms of each open group */
	unsigned long last_size;           /* of the last atom or group */
	unsigned depth;
	const char *refused;
};

static void count_atom(struct translation *t, unsigned long size)
{
	t->last_size = size;
	t->size[t->depth] += size;
	if (t->size[t->depth] > EXPANDED_MAX)
		t->refused = "counted repetitions make the pattern too large";
}

static void put(struct translation *t, const char *text)
{
	const size_t len = strlen(text);

	if (t->len + len >= sizeof(t->out)) {
		t->refused = "pattern is too long";
		return;
	}
	memcpy(t->out + t->len, text, len);
	t->len += len;
}

static void put_char(struct translation *t, char c)
{
	const char text[2] = {c, '\0'};

	put(t, text);
}

static void escape_outside(struct translation *t)
{
	const char c = *++t->at;

	t->at += c != '\0';
	if (c == 'd')
		put(t, "[0-9]");
	else if (c == 'D')
		put(t, "[^0-9]");
	else if (c == 'A')
		put(t, "^");
	else if (c == 'z')
		put(t, "$");
	else if (c && strchr("wWsSbB", c)) {
		put_char(t, '\\');
		put_char(t, c);
	} else if (c && strchr("<>`'", c)) {
		put_char(t, c); /* operators of glibc, literals of RE2 */
	} else if (c && ispunct((unsigned char)c)) {
		put_char(t, '\\');
		put_char(t, c);
	} else {
		t->refused = "this escape is not supported";
	}
}

/* ']', '-' and '^' are kept for the end of the bracket, where POSIX reads them as themselves. */
struct bracket {
	bool has_close, has_dash, has_caret, has_other;
};

static void escape_inside(struct translation *t, struct bracket *bracket)
{
	const char c = *++t->at;

	t->at += c != '\0';
	bracket->has_other = bracket->has_other || !c || !strchr("]-^", c);
	if (c == 'd')
		put(t, "0-9");
	else if (c == 'w')
		put(t, "0-9A-Za-z_");
	else if (c == 's')
		put(t, " \t\r\n\f\v");
	else if (c == ']')
		bracket->has_close = true;
	else if (c == '-')
		bracket->has_dash = true;
	else if (c == '^')
		bracket->has_caret = true;
	else if (c == '[')
		t->refused = "\"[\" inside brackets is not supported";
	else if (c && ispunct((unsigned char)c))
		put_char(t, c);
	else
		t->refused = "this escape is not supported inside brackets";
}

static void bracket_class(struct translation *t)
{
	const char *end = strstr(t->at, ":]");

	if (!end) {
		t->refused = "\"[\" inside brackets is not supported";
		return;
	}
	while (t->at < end + 2)
		put_char(t, *t->at++);
}

static void bracket_members(struct translation *t, struct bracket *bracket)
{
	while (*t->at && *t->at != ']' && !t->refused) {
		if (*t->at == '\\') {
			escape_inside(t, bracket);
		} else if (t->at[0] == '[' && t->at[1] == ':') {
			bracket->has_other = true;
			bracket_class(t);
		} else if (t->at[0] == '[' && (t->at[1] == '.' || t->at[1] == '=')) {
			t->refused = "\"[\" inside brackets is not supported";
		} else if (*t->at == '-' && t->at[1] == ']') {
			bracket->has_dash = true;
			t->at++;
		} else {
			bracket->has_other = true;
			put_char(t, *t->at++);
		}
	}
}

static void bracket(struct translation *t)
{
	struct bracket members = {0};
	size_t open;

	put_char(t, *t->at++);
	if (*t->at == '^')
		put_char(t, *t->at++);
	open = t->len;
	if (*t->at == ']') {
		members.has_close = true;
		t->at++;
	}
	bracket_members(t, &members);
	if (members.has_close && !t->refused && t->len + 1 < sizeof(t->out)) {
		memmove(t->out + open + 1, t->out + open, t->len - open);
		t->out[open] = ']';
		t->len++;
	}
	if (members.has_caret && !members.has_close && !members.has_other)
		t->refused = "brackets with \"\\^\" only are not supported";
	if (members.has_caret)
		put_char(t, '^');
	if (members.has_dash)
		put_char(t, '-');
	if (*t->at == ']')
		put_char(t, *t->at++);
	else if (!t->refused)
		t->refused = "\"[\" is not closed";
}

static void repeat(struct translation *t)
{
	const char *end = strchr(t->at, '}');
	unsigned long low, high, more;
	char *stop;

	if (!isdigit((unsigned char)t->at[1]) || !end) {
		put(t, "\\{"); /* RE2: then it is a literal */
		count_atom(t, 1);
		t->at++;
		return;
	}
	low = high = strtoul(t->at + 1, &stop, 10);
	if (*stop == ',' && stop[1] != '}')
		high = strtoul(stop + 1, &stop, 10);
	if (low > REPEAT_MAX || high > REPEAT_MAX) {
		t->refused = "repetition count above 1000";
		return;
	}
	more = high > low ? high : low;
	count_atom(t, t->last_size * (more + 1));
	while (t->at <= end)
		put_char(t, *t->at++);
	t->at += *t->at == '?';
}

static void group_open(struct translation *t)
{
	put_char(t, *t->at++);
	if (t->depth == DEPTH_MAX) {
		t->refused = "too many nested groups";
		return;
	}
	t->size[++t->depth] = 0;
	if (*t->at != '?')
		return;
	if (t->at[1] == ':')
		t->at += 2;
	else
		t->refused = "\"(?\" is supported as \"(?:\" and as a leading \"(?i)\" only";
}

static void group_close(struct translation *t)
{
	const unsigned long size = t->size[t->depth];

	put_char(t, *t->at++);
	if (t->depth == 0) {
		t->refused = "\")\" without \"(\"";
		return;
	}
	t->depth--;
	count_atom(t, size + 1);
}

static void operator(struct translation *t)
{
	put_char(t, *t->at++);
	t->at += *t->at == '?';
	if (*t->at && strchr("*+", *t->at))
		t->refused = "nested repetition operator";
}

static void translate(struct translation *t)
{
	while (*t->at && !t->refused) {
		switch (*t->at) {
		case '{':
			repeat(t);
			break;
		case '(':
			group_open(t);
			break;
		case ')':
			group_close(t);
			break;
		case '*':
		case '+':
		case '?':
			operator(t);
			break;
		case '\\':
			count_atom(t, 1);
			escape_outside(t);
			break;
		case '[':
			count_atom(t, 1);
			bracket(t);
			break;
		default:
			count_atom(t, 1);
			put_char(t, *t->at++);
		}
	}
}

int cv_regexp_compile(const char *pattern, regex_t *ret_regexp,
		      char error_text[CV_REGEXP_ERROR_TEXT])
{
	struct translation *t = calloc(1, sizeof(*t));
	int flags = REG_EXTENDED | REG_NOSUB;
	regex_t regexp;
	int error = 0;

	if (!t) {
		snprintf(error_text, CV_REGEXP_ERROR_TEXT, "out of memory");
		return CV_INTERNAL_CONFIG;
	}
	t->at = pattern;
	if (strncmp(pattern, "(?i)", 4) == 0) {
		flags |= REG_ICASE;
		t->at += 4;
	}
	if (strlen(pattern) > PATTERN_MAX)
		t->refused = "pattern is too long";
	translate(t);
	if (t->refused) {
		snprintf(error_text, CV_REGEXP_ERROR_TEXT, "%s", t->refused);
		error = CV_INTERNAL_CONFIG;
	} else {
		error = regcomp(&regexp, t->out, flags);
		if (error)
			regerror(error, &regexp, error_text, CV_REGEXP_ERROR_TEXT);
		else
			*ret_regexp = regexp;
	}
	free(t);
	return error ? CV_INTERNAL_CONFIG : 0;
}

/* ---- what is in every match --------------------------------------------------------------- */

#define LITERAL_MIN 3

struct run {
	char text[CV_REGEXP_LITERAL];
	size_t len;
};

/* The run is over; the longest one counts. */
static void end_run(struct run *run, char *best)
{
	if (run->len >= LITERAL_MIN && run->len > strlen(best)) {
		memcpy(best, run->text, run->len);
		best[run->len] = '\0';
	}
	run->len = 0;
}

static const char *skip_bracket(const char *at)
{
	at += at[1] == '^' ? 2 : 1;
	at += *at == ']';
	while (*at && *at != ']') {
		if (at[0] == '[' && at[1] == ':' && strstr(at, ":]"))
			at = strstr(at, ":]") + 1;
		else
			at += at[0] == '\\' && at[1];
		at++;
	}
	return at + (*at != '\0');
}

/* Behind the group that begins at @at. */
static const char *skip_group(const char *at)
{
	unsigned depth = 0;

	do {
		if (*at == '[') {
			at = skip_bracket(at);
			continue;
		}
		depth += *at == '(';
		depth -= *at == ')';
		at += at[0] == '\\' && at[1] ? 2 : 1;
	} while (*at && depth > 0);
	return at;
}

static bool is_letter(char c)
{
	return islower((unsigned char)c) || isdigit((unsigned char)c) || c == '-' || c == '_';
}

void cv_regexp_literal(const char *pattern, char ret_literal[CV_REGEXP_LITERAL])
{
	struct run run = {.len = 0};

	ret_literal[0] = '\0';
	if (strncmp(pattern, "(?i)", 4) == 0)
		pattern += 4; /* names are in lower case, and so is what they hold */
	while (*pattern) {
		const char c = *pattern;
		const bool is_dot = c == '\\' && pattern[1] == '.';

		if (c == '|') { /* either side will do */
			ret_literal[0] = '\0';
			return;
		}
		if (c == '{' || c == '*' || c == '?') { /* maybe without the last letter */
			run.len -= run.len > 0;
			end_run(&run, ret_literal);
			if (c == '{')
				return;
			pattern++;
		} else if (is_letter(c) || is_dot) {
			if (run.len == sizeof(run.text) - 1)
				end_run(&run, ret_literal);
			run.text[run.len++] = is_dot ? '.' : c;
			pattern += is_dot ? 2 : 1;
		} else {
			end_run(&run, ret_literal);
			if (c == '(')
				pattern = skip_group(pattern);
			else if (c == '[')
				pattern = skip_bracket(pattern);
			else
				pattern += c == '\\' && pattern[1] ? 2 : 1;
		}
	}
	end_run(&run, ret_literal);
}
