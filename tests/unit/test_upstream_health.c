// SPDX-License-Identifier: MIT
/*
 * test_upstream_health.c - hold-down: nobody for a while, then one, then all; waits; warnings.
 */
#include "policy/upstream_health.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static bool admits(struct cv_upstream_health *health, uint64_t now_ms, bool probe)
{
	bool is_probe = !probe;

	if (!cv_upstream_admit(health, now_ms, 15000, &is_probe))
		return false;
	assert_int_equal(is_probe, probe);
	return true;
}

static void test_hold_down(void **state)
{
	static struct cv_upstream_health health;

	(void)state;
	assert_true(admits(&health, 100, false) && admits(&health, 100, false));
	cv_upstream_failed(&health, 1000, 4000);
	assert_false(admits(&health, 1000, false));
	assert_false(admits(&health, 4999, false));
	assert_true(admits(&health, 5000, true)); /* the probe */
	assert_false(admits(&health, 5000, true));
	cv_upstream_failed(&health, 8000, 4000);
	assert_false(admits(&health, 11999, false));
	assert_true(admits(&health, 12000, true));
	cv_upstream_succeeded(&health);
	assert_true(admits(&health, 12000, false) && admits(&health, 12001, false));
}

static void test_probe_without_verdict(void **state)
{
	static struct cv_upstream_health health;

	(void)state;
	cv_upstream_failed(&health, 1000, 4000);
	assert_true(admits(&health, 6000, true));
	cv_upstream_abandoned(&health);
	assert_true(admits(&health, 6001, true)); /* the next one */
	assert_false(admits(&health, 21000, true));
	assert_true(admits(&health, 21001, true)); /* its lease is over */
}

static void test_no_hold_down(void **state)
{
	static struct cv_upstream_health health;

	(void)state;
	cv_upstream_failed(&health, 1000, 0);
	assert_true(admits(&health, 1000, false));
}

static void test_waits(void **state)
{
	const struct cv_retry seeds = {.wait_ms = {1000, 2000, 4000}, .wait_count = 3};
	const struct cv_retry none = {.wait_count = 0};

	(void)state;
	assert_int_equal(cv_retry_wait_ms(&seeds, 1), 1000);
	assert_int_equal(cv_retry_wait_ms(&seeds, 2), 2000);
	assert_int_equal(cv_retry_wait_ms(&seeds, 3), 4000);
	assert_int_equal(cv_retry_wait_ms(&seeds, 4), 4000);
	assert_int_equal(cv_retry_wait_ms(&seeds, 0), 0);
	assert_int_equal(cv_retry_wait_ms(&none, 1), 0);
}

static void test_warnings(void **state)
{
	static struct cv_upstream_health health;

	(void)state;
	assert_true(cv_upstream_may_warn(&health, "alice", 0));
	assert_false(cv_upstream_may_warn(&health, "alice", 59999));
	assert_true(cv_upstream_may_warn(&health, "bob", 1000));
	assert_true(cv_upstream_may_warn(&health, "alice", 60000));
	assert_false(cv_upstream_may_warn(&health, "alice", 60000));
	assert_true(cv_upstream_may_warn(&health, "-", 60000));
}

#define THREADS 4
static struct cv_upstream_health shared;
static _Atomic unsigned probes;

static void *try_all_times(void *unused)
{
	for (uint64_t now_ms = 1; now_ms < 200000; now_ms += 2) {
		bool is_probe = false;

		if (cv_upstream_admit(&shared, now_ms / 10000 * 10000, 10000, &is_probe)) {
			assert_true(is_probe);
			atomic_fetch_add(&probes, 1);
		}
	}
	return unused;
}

/* At each time that threads see, one at most is the probe. */
static void test_one_probe_among_threads(void **state)
{
	pthread_t threads[THREADS];

	(void)state;
	cv_upstream_abandoned(&shared);
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, try_all_times, NULL), 0);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_in_range(atomic_load(&probes), 1, 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hold_down),
		cmocka_unit_test(test_probe_without_verdict),
		cmocka_unit_test(test_no_hold_down),
		cmocka_unit_test(test_waits),
		cmocka_unit_test(test_warnings),
		cmocka_unit_test(test_one_probe_among_threads),
	};

	return cmocka_run_group_tests_name("upstream_health", tests, NULL, NULL);
}
