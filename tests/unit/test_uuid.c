// SPDX-License-Identifier: MIT
/* test_uuid.c - the vectors and length rules of VLESS 5.1. */
#include "crypto/uuid.h"

#include <culvert/reason.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void check(const char *text, const char *expected)
{
	uint8_t uuid[16];
	char formatted[CV_UUID_TEXT];

	assert_int_equal(cv_uuid_parse(text, uuid), 0);
	cv_uuid_format(uuid, formatted);
	assert_string_equal(formatted, expected);
}

static void test_names(void **state)
{
	(void)state;
	check("example", "feb54431-301b-52bb-a6dd-e1e93e81bb9e");
	check("hello", "b7502f40-1152-59f2-ba10-69aeed522cdf");
	check("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "d20a3bd4-9d58-52e0-8caa-820ca42d1ad0");
	check("\xe6\x88\x91\xe7\x88\xb1\xf0\x9f\x8d\x89\xe8\x80\x81\xe5\xb8\x88"
	      "1314",
	      "5783a3e7-e373-51cd-8642-c83782b807c5");
}

static void test_uuid_text(void **state)
{
	static const char expected[] = "b831381d-6324-4d53-ad4f-8cda48b30811";

	(void)state;
	check("b831381d-6324-4d53-ad4f-8cda48b30811", expected);
	check("B831381D-6324-4D53-AD4F-8CDA48B30811", expected);
	check("b831381d63244d53ad4f8cda48b30811", expected);
	check("b831381d63244d53ad4f-8cda48b30811", expected);
	check("b831381d-63244d53-ad4f8cda48b30811", expected);
}

static void test_refused(void **state)
{
	static const char *const bad[] = {
		"",
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",       /* 31 */
		"b831381d-6324-4d53-ad4f-8cda48b308111", /* 37 */
		"g831381d-6324-4d53-ad4f-8cda48b30811",  /* not hex */
		"b831381-d6324-4d53-ad4f-8cda48b30811",  /* dash in the wrong place */
		"b831381d--63244d53-ad4f-8cda48b30811",  /* two dashes */
		"-b831381d63244d53ad4f8cda48b30811",     /* leading */
		"b831381d63244d53ad4f8cda48b30811-",     /* trailing */
		"b831381d63244d53ad4f8cda48b308112233",  /* 36 digits */
		"b831381d-6324-4d53-ad4f-8cda48b308",    /* 34, too few digits */
	};
	uint8_t uuid[16] = {7};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(cv_uuid_parse(bad[i], uuid), CV_INTERNAL_CONFIG);
	assert_int_equal(uuid[0], 7);
}

static void test_random(void **state)
{
	uint8_t first[16], second[16];

	(void)state;
	assert_int_equal(cv_uuid_random(first), 0);
	assert_int_equal(cv_uuid_random(second), 0);
	assert_memory_not_equal(first, second, 16);
	assert_int_equal(first[6] >> 4, 4);
	assert_int_equal(first[8] >> 6, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_uuid_text),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
