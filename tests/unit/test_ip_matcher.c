// SPDX-License-Identifier: MIT
/* test_ip_matcher.c - compat 8: blocks, inversion as a union, geoip:private, nesting in any order.
 */
#include "policy/ip_matcher.h"

#include <culvert/reason.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* @rules separated by blanks */
static struct cv_ip_matcher *matcher_of(const char *rules)
{
	struct cv_ip_matcher *matcher = cv_ip_matcher_new();
	char error_text[160] = "", copy[512], *at = copy, *rule;

	assert_non_null(matcher);
	snprintf(copy, sizeof(copy), "%s", rules);
	while ((rule = strsep(&at, " ")))
		if (cv_ip_matcher_add(matcher, rule, error_text, sizeof(error_text)) != 0)
			fail_msg("%s: %s", rule, error_text);
	return matcher;
}

static bool matches(const char *rules, const char *address)
{
	struct cv_ip_matcher *matcher = matcher_of(rules);
	struct cv_destination destination;
	bool result;

	assert_int_equal(cv_destination_set_text(&destination, address, 80), 0);
	result = cv_ip_matcher_match(matcher, &destination);
	cv_ip_matcher_free(matcher);
	return result;
}

static void test_blocks(void **state)
{
	(void)state;
	assert_true(matches("1.2.3.4", "1.2.3.4"));
	assert_false(matches("1.2.3.4", "1.2.3.5"));
	assert_true(matches("10.0.0.0/8", "10.255.0.1"));
	assert_true(matches("10.1.2.3/8", "10.0.0.0"));
	assert_false(matches("10.0.0.0/8", "11.0.0.0"));
	assert_true(matches("1.2.3.0/25", "1.2.3.127"));
	assert_false(matches("1.2.3.0/25", "1.2.3.128"));
	assert_true(matches("0.0.0.0/0", "255.255.255.255"));
	assert_false(matches("0.0.0.0/0", "::1"));
	assert_false(matches("::/0", "1.1.1.1"));
	assert_true(matches("2001:db8::/32", "2001:db8:ffff::1"));
	assert_false(matches("2001:db8::/32", "2001:db9::1"));
	assert_true(matches("2001:db8::1", "2001:db8::1"));
	assert_true(matches("[2001:db8::1]", "2001:db8::1"));
	assert_true(matches("::ffff:1.2.3.0/120", "1.2.3.9"));
	assert_false(matches("1.2.3.4", "example.com"));
}

static void test_inversion(void **state)
{
	(void)state;
	assert_true(matches("!10.0.0.0/8", "1.1.1.1"));
	assert_false(matches("!10.0.0.0/8", "10.1.1.1"));
	/* not in the union, rather than not in one of them */
	assert_false(matches("!10.0.0.0/8 !1.0.0.0/8", "10.1.1.1"));
	assert_false(matches("!10.0.0.0/8 !1.0.0.0/8", "1.1.1.1"));
	assert_true(matches("!10.0.0.0/8 !1.0.0.0/8", "2.2.2.2"));
	/* the groups are OR-ed */
	assert_true(matches("10.1.1.1 !10.0.0.0/8", "10.1.1.1"));
	assert_true(matches("!10.0.0.0/8 !geoip:private", "127.0.0.1"));
	assert_true(matches("!10.0.0.0/8", "2001:db8::1"));
	assert_false(matches("!10.0.0.0/8", "example.com"));
}

static void test_private(void **state)
{
	(void)state;
	assert_true(matches("geoip:private", "192.168.1.1"));
	assert_true(matches("geoip:PRIVATE", "fe80::1"));
	assert_false(matches("geoip:private", "8.8.8.8"));
	assert_true(matches("!geoip:private", "8.8.8.8"));
	assert_true(matches("geoip:!private", "8.8.8.8"));
	assert_false(matches("geoip:!private", "10.0.0.1"));
}

static void test_nesting(void **state)
{
	static const char *const orders[] = {
		"10.0.0.0/8 10.1.0.0/16 10.1.1.1 11.0.0.0/8 9.0.0.0/8",
		"10.1.1.1 10.1.0.0/16 10.0.0.0/8 9.0.0.0/8 11.0.0.0/8",
		"11.0.0.0/8 10.1.1.1 9.0.0.0/8 10.1.0.0/16 10.2.2.2 10.0.0.0/8",
	};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		assert_true(matches(orders[i], "10.200.0.1"));
		assert_true(matches(orders[i], "10.1.1.1"));
		assert_true(matches(orders[i], "9.0.0.0"));
		assert_true(matches(orders[i], "11.255.255.255"));
		assert_false(matches(orders[i], "12.0.0.0"));
		assert_false(matches(orders[i], "8.255.255.255"));
	}
}

static void test_many(void **state)
{
	struct cv_ip_matcher *matcher = cv_ip_matcher_new();
	char rule[32], error_text[160];
	struct cv_destination destination;

	(void)state;
	for (int i = 4095; i >= 0; i--) { /* every second address of a /19 */
		snprintf(rule, sizeof(rule), "1.2.%d.%d", i / 128, i % 128 * 2);
		assert_int_equal(cv_ip_matcher_add(matcher, rule, error_text, sizeof(error_text)),
				 0);
	}
	for (int i = 0; i < 8192; i++) {
		snprintf(rule, sizeof(rule), "1.2.%d.%d", i / 256, i % 256);
		assert_int_equal(cv_destination_set_text(&destination, rule, 1), 0);
		assert_int_equal(cv_ip_matcher_match(matcher, &destination), i % 2 == 0);
	}
	cv_ip_matcher_free(matcher);
}

static void test_refused(void **state)
{
	static const char *const rules[] = {
		"",         "!",         "1.2.3",       "1.2.3.4/33", "::1/129",
		"1.2.3.4/", "1.2.3.4/x", "1.2.3.4/-1",  "1.2.3.4/8x", "example.com",
		"geoip:cn", "!geoip:us", "ext:file:cn", "geoip:",
	};
	struct cv_ip_matcher *matcher = cv_ip_matcher_new();
	char error_text[160];

	(void)state;
	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
		error_text[0] = '\0';
		if (cv_ip_matcher_add(matcher, rules[i], error_text, sizeof(error_text)) !=
		    CV_INTERNAL_CONFIG)
			fail_msg("\"%s\" should be refused", rules[i]);
		assert_true(error_text[0] != '\0');
	}
	cv_ip_matcher_free(matcher);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_blocks),  cmocka_unit_test(test_inversion),
		cmocka_unit_test(test_private), cmocka_unit_test(test_nesting),
		cmocka_unit_test(test_many),    cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
