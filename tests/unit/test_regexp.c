// SPDX-License-Identifier: MIT
/* test_regexp.c - what RE2 means is what is matched; what cannot be said is refused. */
#include "policy/regexp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const struct {
	const char *pattern, *yes, *no;
} meanings[] = {
	{"goo.*\\.com$", "www.google.com", "google.com.cn"},
	{"\\.goo.*\\.com$", "a.google.com", "google.com"},
	{"^a|b$", "axx", "xax"},
	{"\\d+\\.example", "a7.example", "add.example"},
	{"^\\D+$", "abc", "a1"},
	{"^[\\d]+$", "123", "d"},
	{"^[\\w.]+$", "a_b.c", "a-b"},
	{"^[^\\d]$", "d", "5"},
	{"^[a\\-z]+$", "a-z", "b"},
	{"^[a-z-]+$", "a-b", "A"},
	{"^[]x]+$", "]x]", "y"},
	{"^[x\\]]+$", "]x]", "y"},
	{"^[a\\^]+$", "a^", "b"},
	{"^[[:alpha:]]+$", "abc", "a1"},
	{"^[\\.]$", ".", "x"},
	{"a\\.b", "a.b", "axb"},
	{"^(?:ab)+$", "abab", "aba"},
	{"^a+?b*?c??$", "aabc", "ac c"},
	{"^a{2,3}$", "aaa", "a"},
	{"^a{2}?b$", "aab", "ab"},
	{"a{x", "a{x", "ax"},
	{"(?i)EXAMPLE", "my.Example.org", "exam.ple"},
	{"\\Aabc\\z", "abc", "abcd"},
	{"\\bads\\b", "x.ads.y", "xadsy"},
	{"^\\w+$", "a_1", "a-1"},
	{"\\<x", "<x", "x"},
};

static bool matches(const regex_t *regexp, const char *text)
{
	return regexec(regexp, text, 0, NULL, 0) == 0;
}

static void test_meanings(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(meanings) / sizeof(meanings[0]); i++) {
		char error_text[CV_REGEXP_ERROR_TEXT] = "";
		regex_t regexp;

		if (cv_regexp_compile(meanings[i].pattern, &regexp, error_text) != 0)
			fail_msg("%s: %s", meanings[i].pattern, error_text);
		if (!matches(&regexp, meanings[i].yes))
			fail_msg("%s should match %s", meanings[i].pattern, meanings[i].yes);
		if (matches(&regexp, meanings[i].no))
			fail_msg("%s should not match %s", meanings[i].pattern, meanings[i].no);
		regfree(&regexp);
	}
}

static void test_refused(void **state)
{
	static const char *const patterns[] = {
		"(",
		"a)",
		"[a",
		"[",
		"a**",
		"a*+",
		"(?=x)",
		"(?P<n>x)",
		"(?s)x",
		"\\pL",
		"\\1(a)",
		"\\Qx\\E",
		"\\",
		"[\\D]",
		"[\\pL]",
		"[a[.b.]]",
		"[\\",
		"a{1001}",
		"((a{100}){100}){100}",
		"[[:nonsense:]]",
		"\\C",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++) {
		char error_text[CV_REGEXP_ERROR_TEXT] = "";
		regex_t regexp;

		if (cv_regexp_compile(patterns[i], &regexp, error_text) == 0) {
			regfree(&regexp);
			fail_msg("%s should be refused", patterns[i]);
		}
		assert_true(error_text[0] != '\0');
	}
}

static void test_too_long(void **state)
{
	char pattern[3000], error_text[CV_REGEXP_ERROR_TEXT];
	regex_t regexp;

	(void)state;
	memset(pattern, 'a', sizeof(pattern) - 1);
	pattern[sizeof(pattern) - 1] = '\0';
	assert_true(cv_regexp_compile(pattern, &regexp, error_text) != 0);
	pattern[1000] = '\0';
	assert_int_equal(cv_regexp_compile(pattern, &regexp, error_text), 0);
	regfree(&regexp);
}

/* Too little is slow, too much is wrong. */
static void test_literals(void **state)
{
	static const struct {
		const char *pattern, *literal;
	} patterns[] = {
		{"example", "example"},
		{"^v\\d+\\.cdn\\.test$", ".cdn.test"},
		{"(foo|bar)-example", "-example"},
		{"abc|defgh", ""},
		{"abcd?efg", "abc"},
		{"abcd*", "abc"},
		{"abcd+efgh", "abcd"},
		{"ab.cd", ""},
		{"abcx{2}defgh", "abc"},
		{"[abc]defg[^]x]hijkl", "hijkl"},
		{"[[:alpha:]]xyz", "xyz"},
		{"(a(b|c)\\)d)efg", "efg"},
		{"([)]|x)efg", "efg"},
		{"(?i)google", "google"},
		{"(?i)GOOGLE", ""},
		{"Xyz-abc", "yz-abc"},
		{"\\wabc\\bdef\\-ghij", "ghij"},
		{"(?:abc)*defg", "defg"},
		{"", ""},
		{"aaaaaaaaaabbbbbbbbbbccccccccccdddddddddd", "aaaaaaaaaabbbbbbbbbbccccccccccd"},
	};
	char literal[CV_REGEXP_LITERAL];

	(void)state;
	for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++) {
		cv_regexp_literal(patterns[i].pattern, literal);
		assert_string_equal(literal, patterns[i].literal);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_meanings),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_too_long),
		cmocka_unit_test(test_literals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
