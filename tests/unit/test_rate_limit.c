// SPDX-License-Identifier: MIT
/* test_rate_limit.c - REALITY 10: free bytes, burst, and that the rate holds over time. */
#include "policy/rate_limit.h"

#include "policy/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct cv_rate_bucket bucket_of(uint64_t after, uint64_t rate, uint64_t burst)
{
	const struct cv_rate_limit limit = {after, rate, burst};
	struct cv_rate_bucket bucket;

	cv_rate_limit_init(&bucket, &limit, 1000);
	return bucket;
}

static void test_off(void **state)
{
	struct cv_rate_bucket bucket = bucket_of(0, 0, 1);

	(void)state;
	for (int i = 0; i < 1000; i++)
		assert_int_equal(cv_rate_limit_take(&bucket, UINT32_MAX, 1000), 0);
}

static void test_free_bytes(void **state)
{
	struct cv_rate_bucket bucket = bucket_of(5000, 1000, 0);

	(void)state;
	assert_int_equal(cv_rate_limit_take(&bucket, 4000, 1000), 0);
	/* 1000 free, 1000 from the full bucket, 1000 to wait for */
	assert_int_equal(cv_rate_limit_take(&bucket, 3000, 1000), 1000);
}

static void test_burst(void **state)
{
	struct cv_rate_bucket bucket = bucket_of(0, 1000, 4000);

	(void)state;
	assert_int_equal(cv_rate_limit_take(&bucket, 4000, 1000), 0);
	assert_int_equal(cv_rate_limit_take(&bucket, 1, 1000), 1);
	/* a burst below the rate is the rate */
	bucket = bucket_of(0, 1000, 10);
	assert_int_equal(cv_rate_limit_take(&bucket, 1000, 1000), 0);
	assert_int_equal(cv_rate_limit_take(&bucket, 500, 1000), 500);
}

static void test_rate_over_time(void **state)
{
	struct cv_rate_bucket bucket = bucket_of(0, 1000, 1000);
	uint64_t now_ms = 1000;

	(void)state;
	for (int i = 0; i < 1000; i++)
		now_ms += cv_rate_limit_take(&bucket, 333, now_ms);
	/* 333000 bytes, of which 1000 came from the full bucket */
	assert_in_range(now_ms, 1000 + 331900, 1000 + 332700);
}

static void test_idle_fills_no_more_than_full(void **state)
{
	struct cv_rate_bucket bucket = bucket_of(0, 1000, 2000);

	(void)state;
	assert_int_equal(cv_rate_limit_take(&bucket, 2000, 1000), 0);
	assert_int_equal(cv_rate_limit_take(&bucket, 2000, 1000 + 3600000), 0);
	assert_int_equal(cv_rate_limit_take(&bucket, 1000, 1000 + 3600000), 1000);
}

static void test_slowest_and_fastest(void **state)
{
	struct cv_rate_bucket bucket = bucket_of(0, 1, 1);

	(void)state;
	assert_int_equal(cv_rate_limit_take(&bucket, 2, 1000), 1000);
	assert_int_equal(cv_rate_limit_take(&bucket, UINT32_MAX, 1000), 3600 * 1000);
	bucket = bucket_of(0, UINT64_MAX, UINT64_MAX);
	assert_int_equal(cv_rate_limit_take(&bucket, UINT32_MAX, 1000), 0);
	assert_int_equal(cv_rate_limit_take(&bucket, UINT32_MAX, UINT64_MAX), 0);
}

static void test_clock_that_stands_still(void **state)
{
	struct cv_rate_bucket bucket = bucket_of(0, 1000, 1000);

	(void)state;
	assert_int_equal(cv_rate_limit_take(&bucket, 1000, 1000), 0);
	assert_int_equal(cv_rate_limit_take(&bucket, 100, 500), 100);
	assert_int_equal(cv_rate_limit_take(&bucket, 100, 500), 200);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_off),
		cmocka_unit_test(test_free_bytes),
		cmocka_unit_test(test_burst),
		cmocka_unit_test(test_rate_over_time),
		cmocka_unit_test(test_idle_fills_no_more_than_full),
		cmocka_unit_test(test_slowest_and_fastest),
		cmocka_unit_test(test_clock_that_stands_still),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
