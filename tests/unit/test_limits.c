// SPDX-License-Identifier: MIT
/* test_limits.c - rules about people: exact borders, calendar periods, RFC 3339, equal parts. */
#include "policy/limits.h"

#include <culvert/reason.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define DAY_MS 86400000u

static void test_borders(void **state)
{
	const struct cv_limits none = {0};
	const struct cv_limits both = {.quota_bytes = 1000, .expires_ms = 5000};

	(void)state;
	assert_int_equal(cv_limits_check(&none, UINT64_MAX, UINT64_MAX), 0);
	assert_int_equal(cv_limits_check(&both, 999, 4999), 0);
	assert_int_equal(cv_limits_check(&both, 1000, 4999), CV_POLICY_QUOTA);
	assert_int_equal(cv_limits_check(&both, 0, 5000), CV_POLICY_EXPIRED);
	assert_int_equal(cv_limits_check(&both, 1000, 5000), CV_POLICY_EXPIRED);
	assert_false(cv_limits_any(&none));
	assert_true(cv_limits_any(&both));
	assert_true(cv_limits_any(&(struct cv_limits){.bytes_per_s = {0, 1}}));
	assert_false(cv_limits_any(&(struct cv_limits){.quota_resets = CV_QUOTA_DAILY}));
}

static void test_stricter_counts(void **state)
{
	struct cv_limits one = {.quota_bytes = 10,
				.quota_resets = CV_QUOTA_DAILY,
				.expires_ms = 7,
				.bytes_per_s = {5, 0},
				.max_sessions = 3};
	const struct cv_limits other = {.quota_bytes = 20,
					.quota_resets = CV_QUOTA_MONTHLY,
					.bytes_per_s = {4, 9},
					.max_sessions = 9,
					.max_source_addresses = 2};
	struct cv_limits unlimited = {0};

	(void)state;
	cv_limits_tighten(&unlimited, &other);
	assert_true(cv_limits_equal(&unlimited, &other));
	cv_limits_tighten(&unlimited, &(struct cv_limits){0});
	assert_true(cv_limits_equal(&unlimited, &other));
	cv_limits_tighten(&one, &other);
	assert_true(cv_limits_equal(&one, &(struct cv_limits){.quota_bytes = 10,
							      .quota_resets = CV_QUOTA_MONTHLY,
							      .expires_ms = 7,
							      .bytes_per_s = {4, 9},
							      .max_sessions = 3,
							      .max_source_addresses = 2}));
}

static uint64_t time_of(const char *text)
{
	uint64_t ms = 12345;

	if (!cv_limits_time_parse(text, &ms)) {
		assert_int_equal(ms, 12345);
		return UINT64_MAX;
	}
	return ms;
}

static void test_times(void **state)
{
	static const char *const bad[] = {
		"", "2026", "2026-12", "2026-13-01", "2026-00-01", "2026-02-29", "2026-04-31",
		"2026-12-00", "2026-12-31T", "2026-12-31T18:00", "2026-12-31T18:00:00",
		"2026-12-31T24:00:00Z", "2026-12-31T18:60:00Z", "2026-12-31T18:00:61Z",
		"2026-12-31T18:00:00.Z", "2026-12-31T18:00:00+2:00", "2026-12-31T18:00:00+02",
		"2026-12-31T18:00:00+24:00", "2026-12-31T18:00:00Z ", "1969-12-31",
		"1970-01-01T00:00:00+01:00", " 2026-12-31", "26-12-31", "20261231", "tomorrow"};

	(void)state;
	assert_int_equal(time_of("1970-01-01T00:00:00Z"), 0);
	assert_int_equal(time_of("2000-02-29T12:34:56Z"), 951827696000);
	assert_int_equal(time_of("2000-02-29t12:34:56z"), 951827696000);
	assert_int_equal(time_of("2000-02-29 12:34:56.789123Z"), 951827696789);
	assert_int_equal(time_of("2000-02-29T14:04:56+01:30"), 951827696000);
	assert_int_equal(time_of("2000-02-29T11:34:56-01:00"), 951827696000);
	assert_int_equal(time_of("2016-12-31T23:59:60Z"), 1483228800000);
	assert_int_equal(time_of("2016-12-31"), 1483228800000); /* all of that day */
	assert_int_equal(time_of("9999-12-31"), 253402300800000);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (time_of(bad[i]) != UINT64_MAX)
			fail_msg("\"%s\" is no time", bad[i]);
}

static void test_periods(void **state)
{
	const uint64_t noon = time_of("2024-02-29T12:00:00Z"), day = time_of("2024-02-28");
	const uint64_t month = time_of("2024-01-31"), next = time_of("2024-02-29");

	(void)state;
	assert_int_equal(cv_limits_period_ms(CV_QUOTA_NEVER, noon), 0);
	assert_int_equal(cv_limits_next_period_ms(CV_QUOTA_NEVER, noon), CV_LIMITS_NEVER_MS);
	assert_int_equal(cv_limits_period_ms(CV_QUOTA_DAILY, noon), day);
	assert_int_equal(cv_limits_period_ms(CV_QUOTA_DAILY, day), day);
	assert_int_equal(cv_limits_period_ms(CV_QUOTA_DAILY, day - 1), day - DAY_MS);
	assert_int_equal(cv_limits_next_period_ms(CV_QUOTA_DAILY, noon), next);
	assert_int_equal(cv_limits_period_ms(CV_QUOTA_MONTHLY, noon), month);
	assert_int_equal(cv_limits_next_period_ms(CV_QUOTA_MONTHLY, noon), next);
	assert_int_equal(cv_limits_period_ms(CV_QUOTA_MONTHLY, next), next);
	assert_int_equal(cv_limits_next_period_ms(CV_QUOTA_MONTHLY, time_of("2026-12-30")),
			 time_of("2026-12-31"));
}

static void test_shares(void **state)
{
	(void)state;
	assert_int_equal(cv_limits_share(8000000, 0, 1), 8000000);
	assert_int_equal(cv_limits_share(8000000, 0, 0), 8000000);
	assert_int_equal(cv_limits_share(8000000, 0, 8), 1000000);
	assert_int_equal(cv_limits_share(8000000, 2000000, 3), 2000000);
	assert_int_equal(cv_limits_share(8000000, 9000000, 3), CV_LIMITS_SHARE_MIN);
	assert_int_equal(cv_limits_share(8000, 0, 4000), CV_LIMITS_SHARE_MIN);
	assert_int_equal(cv_limits_share(UINT64_MAX, 0, 1), CV_LIMITS_SHARE_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_borders), cmocka_unit_test(test_stricter_counts),
		cmocka_unit_test(test_times),   cmocka_unit_test(test_periods),
		cmocka_unit_test(test_shares),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
