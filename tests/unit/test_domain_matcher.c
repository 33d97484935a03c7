// SPDX-License-Identifier: MIT
/* test_domain_matcher.c - compat 8: each form of a domain rule, and thousands of them. */
#include "policy/domain_matcher.h"

#include <culvert/reason.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct cv_domain_matcher *matcher_of(const char *rule)
{
	struct cv_domain_matcher *matcher = cv_domain_matcher_new();
	char error_text[160] = "";

	assert_non_null(matcher);
	if (cv_domain_matcher_add(matcher, rule, error_text, sizeof(error_text)) != 0)
		fail_msg("%s: %s", rule, error_text);
	return matcher;
}

static bool matches(const char *rule, const char *domain)
{
	struct cv_domain_matcher *matcher = matcher_of(rule);
	const bool result = cv_domain_matcher_match(matcher, domain);

	cv_domain_matcher_free(matcher);
	return result;
}

static void test_forms(void **state)
{
	(void)state;
	assert_true(matches("full:Example.com", "exAMPLE.com"));
	assert_false(matches("full:example.com", "www.example.com"));
	assert_false(matches("full:example.com", "example.co"));
	assert_true(matches("domain:example.com", "example.com"));
	assert_true(matches("domain:example.com", "a.b.example.com"));
	assert_false(matches("domain:example.com", "badexample.com"));
	assert_false(matches("domain:example.com", "example.com.cn"));
	assert_true(matches("domain:com", "x.com"));
	assert_true(matches("keyword:ampl", "example.com"));
	assert_false(matches("keyword:amplx", "example.com"));
	assert_true(matches("ampl", "example.com"));
	assert_true(matches("example.com", "notexample.community"));
	assert_true(matches("regexp:^ads?\\.", "AD.example.com"));
	assert_false(matches("regexp:^ads?\\.", "bad.example.com"));
	assert_true(matches("dotless:print", "printer"));
	assert_false(matches("dotless:print", "printer.local"));
	assert_true(matches("dotless:", "router"));
	assert_false(matches("dotless:", "a.b"));
}

static void test_refused(void **state)
{
	static const char *const rules[] = {
		"geosite:cn", "ext:file.dat:cn", "nonsense:x", "", "full:", "domain:", "regexp:(",
	};
	struct cv_domain_matcher *matcher = cv_domain_matcher_new();
	char error_text[160], longest[300] = "full:";

	(void)state;
	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
		error_text[0] = '\0';
		assert_int_equal(
			cv_domain_matcher_add(matcher, rules[i], error_text, sizeof(error_text)),
			CV_INTERNAL_CONFIG);
		assert_true(error_text[0] != '\0');
	}
	memset(longest + 5, 'a', 256);
	assert_int_equal(cv_domain_matcher_add(matcher, longest, error_text, sizeof(error_text)),
			 CV_INTERNAL_CONFIG);
	assert_false(cv_domain_matcher_match(matcher, "example.com"));
	cv_domain_matcher_free(matcher);
}

/* A name may be listed in both forms, in either order. */
static void test_full_and_domain(void **state)
{
	char error_text[160];

	(void)state;
	for (int order = 0; order < 2; order++) {
		struct cv_domain_matcher *matcher =
			matcher_of(order ? "full:example.com" : "domain:example.com");

		assert_int_equal(cv_domain_matcher_add(
					 matcher, order ? "domain:example.com" : "full:example.com",
					 error_text, sizeof(error_text)),
				 0);
		assert_true(cv_domain_matcher_match(matcher, "www.example.com"));
		assert_true(cv_domain_matcher_match(matcher, "example.com"));
		cv_domain_matcher_free(matcher);
	}
}

static void test_many(void **state)
{
	struct cv_domain_matcher *matcher = cv_domain_matcher_new();
	char rule[64], error_text[160];

	(void)state;
	for (int i = 0; i < 20000; i++) {
		snprintf(rule, sizeof(rule), "%s:host%d.example", i % 2 ? "full" : "domain", i);
		assert_int_equal(
			cv_domain_matcher_add(matcher, rule, error_text, sizeof(error_text)), 0);
	}
	for (int i = 0; i < 20000; i += 7) {
		snprintf(rule, sizeof(rule), "host%d.example", i);
		assert_true(cv_domain_matcher_match(matcher, rule));
		snprintf(rule, sizeof(rule), "sub.host%d.example", i);
		assert_int_equal(cv_domain_matcher_match(matcher, rule), i % 2 == 0);
	}
	assert_false(cv_domain_matcher_match(matcher, "host20000.example"));
	assert_false(cv_domain_matcher_match(matcher, "example"));
	cv_domain_matcher_free(matcher);
}

static void test_odd_names(void **state)
{
	char longest[400];

	(void)state;
	memset(longest, 'a', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	assert_false(matches("keyword:a", longest));
	longest[255] = '\0';
	assert_true(matches("keyword:a", longest));
	assert_false(matches("domain:com", ""));
	assert_false(matches("domain:com", "."));
	assert_true(matches("domain:com", "..com"));
	assert_false(matches("domain:com", "com."));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_forms),           cmocka_unit_test(test_refused),
		cmocka_unit_test(test_full_and_domain), cmocka_unit_test(test_many),
		cmocka_unit_test(test_odd_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
