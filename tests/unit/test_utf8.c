// SPDX-License-Identifier: MIT
/* test_utf8.c - characters of each length, and what only looks like one. */
#include "base/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void test_characters(void **state)
{
	static const struct {
		const char *text;
		size_t len;
	} cases[] = {
		{"a", 1},	       {"\x7f", 1},		{"\xc2\x80", 2},
		{"\xdf\xbf", 2},       {"\xe0\xa0\x80", 3},	{"\xe4\xba\xba", 3},
		{"\xed\x9f\xbf", 3},   {"\xef\xbf\xbf", 3},	{"\xf0\x90\x80\x80", 4},
		{"\xf4\x8f\xbf\xbf", 4},
		{"\x80", 0},	       {"\xbf", 0},		{"\xc0\x80", 0},
		{"\xc1\xbf", 0},       {"\xc2", 0},		{"\xc2z", 0},
		{"\xe0\x9f\xbf", 0},   {"\xed\xa0\x80", 0},	{"\xe4\xba", 0},
		{"\xf0\x8f\xbf\xbf", 0}, {"\xf4\x90\x80\x80", 0}, {"\xf5\x80\x80\x80", 0},
		{"\xff", 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(cv_utf8_len(cases[i].text), cases[i].len);
}

static void test_texts(void **state)
{
	(void)state;
	assert_int_equal(cv_utf8_valid_bytes("", 0), 0);
	assert_int_equal(cv_utf8_valid_bytes("a\xe4\xba\xba z", 6), 6);
	assert_int_equal(cv_utf8_valid_bytes("a\0b", 3), 3);
	assert_int_equal(cv_utf8_valid_bytes("ab\xe4\xba", 4), 2);
	assert_int_equal(cv_utf8_valid_bytes("ab\xff" "cd", 5), 2);
}

static void test_values(void **state)
{
	(void)state;
	assert_int_equal(cv_utf8_value("a", 1), 'a');
	assert_int_equal(cv_utf8_value("\xc3\xa4", 2), 0xe4);
	assert_int_equal(cv_utf8_value("\xe4\xba\xba", 3), 0x4eba);
	assert_int_equal(cv_utf8_value("\xf4\x8f\xbf\xbf", 4), 0x10ffff);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_characters),
		cmocka_unit_test(test_texts),
		cmocka_unit_test(test_values),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
