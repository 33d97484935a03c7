// SPDX-License-Identifier: MIT
/* test_sniffing.c - which names replace a destination (compat 3.1). */
#include "policy/sniffing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct cv_destination destination, found;

static bool replaces(const struct cv_sniffing *sniffing, enum cv_sniffed protocol, const char *name)
{
	assert_int_equal(cv_destination_set_text(&destination, "198.51.100.7", 443), 0);
	return cv_sniffing_replaces(sniffing, protocol, name, &destination, &found);
}

static void test_protocols(void **state)
{
	struct cv_sniffing sniffing = {.overrides = CV_SNIFFED_TLS};

	(void)state;
	assert_true(replaces(&sniffing, CV_SNIFFED_TLS, "A.example"));
	assert_int_equal(found.kind, CV_ADDRESS_DOMAIN);
	assert_int_equal(found.port, 443);
	assert_int_equal(strcasecmp(found.domain, "a.example"), 0);
	assert_false(replaces(&sniffing, CV_SNIFFED_HTTP, "a.example"));
	assert_false(replaces(&sniffing, CV_SNIFFED_NOTHING, "a.example"));
	sniffing.overrides = 0;
	assert_false(replaces(&sniffing, CV_SNIFFED_TLS, "a.example"));
}

static void test_what_is_no_name(void **state)
{
	static const char *const texts[] = {"", "127.0.0.1", "::1", "[::1]", "a b", "a/b", "a\nb"};
	const struct cv_sniffing sniffing = {.overrides = CV_SNIFFED_HTTP};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		assert_false(replaces(&sniffing, CV_SNIFFED_HTTP, texts[i]));
}

static void test_excluded(void **state)
{
	struct cv_sniffing *sniffing = calloc(1, sizeof(*sniffing));
	char text[160];

	(void)state;
	assert_non_null(sniffing);
	sniffing->overrides = CV_SNIFFED_HTTP;
	sniffing->excluded = cv_domain_matcher_new();
	assert_int_equal(cv_domain_matcher_add(sniffing->excluded, "push", text, sizeof(text)), 0);
	assert_false(replaces(sniffing, CV_SNIFFED_HTTP, "courier.PUSH.example"));
	assert_true(replaces(sniffing, CV_SNIFFED_HTTP, "a.example"));
	sniffing->excluded_addresses = cv_ip_matcher_new();
	assert_int_equal(cv_ip_matcher_add(sniffing->excluded_addresses, "198.51.100.0/24", text,
					   sizeof(text)), 0);
	assert_false(replaces(sniffing, CV_SNIFFED_HTTP, "a.example"));
	assert_null(cv_sniffing_free(sniffing));
	assert_null(cv_sniffing_free(NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_protocols),
		cmocka_unit_test(test_what_is_no_name),
		cmocka_unit_test(test_excluded),
	};

	return cmocka_run_group_tests_name("sniffing", tests, NULL, NULL);
}
