// SPDX-License-Identifier: MIT
/* test_clock.c - both clocks count milliseconds; the monotonic one never goes back. */
#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <time.h>

#include <cmocka.h>

static void test_monotonic_counts_milliseconds(void **state)
{
	const struct timespec pause = {.tv_nsec = 30 * 1000 * 1000};
	const uint64_t before = cv_clock_ms();

	(void)state;
	nanosleep(&pause, NULL);

	const uint64_t passed = cv_clock_ms() - before;

	assert_true(passed >= 29);
	assert_true(passed < 30000);
}

static void test_wall_clock_is_unix_time(void **state)
{
	const uint64_t now_ms = cv_clock_wall_ms();
	const uint64_t now_s = (uint64_t)time(NULL);

	(void)state;
	assert_in_range(now_ms / 1000, now_s - 1, now_s + 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_monotonic_counts_milliseconds),
		cmocka_unit_test(test_wall_clock_is_unix_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
