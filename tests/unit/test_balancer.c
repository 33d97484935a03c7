// SPDX-License-Identifier: MIT
/* test_balancer.c - who is picked, who is left out, and what is left when all fail (compat 8.1). */
#include "policy/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define COUNT 4
#define NOW 100000

static struct cv_outbound outbounds[COUNT + 1];
static struct cv_observation observations[COUNT + 1];
static struct cv_upstream_health health;
static uint32_t members[COUNT];
static struct cv_config config;
static struct cv_balancer balancer;

static int setup(void **state)
{
	(void)state;
	memset(outbounds, 0, sizeof(outbounds));
	memset(observations, 0, sizeof(observations));
	memset(&health, 0, sizeof(health));
	memset(&balancer, 0, sizeof(balancer));
	for (uint32_t i = 0; i <= COUNT; i++)
		outbounds[i].observation = &observations[i];
	for (uint32_t i = 0; i < COUNT; i++)
		members[i] = i;
	config.outbounds = outbounds;
	config.outbound_count = COUNT + 1;
	balancer.members = members;
	balancer.member_count = COUNT;
	balancer.fallback = CV_BALANCER_NOBODY;
	return 0;
}

static uint32_t pick(void)
{
	struct cv_balancer_tries tries = {0};

	return cv_balancer_pick(&balancer, &config, &tries, NOW);
}

static void counts(int picks, int ret_counts[COUNT + 1])
{
	memset(ret_counts, 0, (COUNT + 1) * sizeof(int));
	for (int i = 0; i < picks; i++) {
		const uint32_t picked = pick();

		assert_true(picked <= COUNT);
		ret_counts[picked]++;
	}
}

static void test_random(void **state)
{
	int found[COUNT + 1];

	(void)state;
	counts(4000, found);
	for (int i = 0; i < COUNT; i++)
		assert_in_range(found[i], 850, 1150);
	cv_observation_probed(&observations[1], 0, NOW);
	counts(3000, found);
	assert_int_equal(found[1], 0);
	for (int i = 0; i < COUNT; i += i ? 1 : 2)
		assert_in_range(found[i], 850, 1150);
}

static void test_round_robin(void **state)
{
	int found[COUNT + 1];

	(void)state;
	balancer.strategy = CV_BALANCE_ROUND_ROBIN;
	counts(400, found);
	for (int i = 0; i < COUNT; i++)
		assert_int_equal(found[i], 100);
	assert_int_not_equal(pick(), pick());
	outbounds[2].is_disabled = true;
	counts(400, found);
	assert_int_equal(found[2], 0);
	assert_true(found[0] >= 100 && found[1] >= 100 && found[3] >= 100);
}

static void test_least_ping(void **state)
{
	(void)state;
	balancer.strategy = CV_BALANCE_LEAST_PING;
	assert_true(pick() < COUNT); /* nothing is known yet */
	cv_observation_probed(&observations[0], 30000, NOW);
	cv_observation_probed(&observations[3], 20000, NOW);
	assert_int_equal(pick(), 3);
	cv_observation_probed(&observations[3], 0, NOW);
	assert_int_equal(pick(), 0);
	cv_observation_probed(&observations[3], 40000, NOW);
	assert_int_equal(pick(), 0);
	assert_int_equal(observations[3].probes, 3);
	assert_int_equal(observations[3].failed_probes, 1);
}

static void test_held_down(void **state)
{
	(void)state;
	cv_observation_failed(&observations[0], NOW - CV_OBSERVATION_HOLD_MS); /* over */
	cv_observation_failed(&observations[1], NOW);
	cv_observation_probed(&observations[2], 0, NOW);
	outbounds[3].health = &health;
	cv_upstream_failed(&health, NOW, 4000);
	for (int i = 0; i < 50; i++)
		assert_int_equal(pick(), 0);
	cv_observation_failed(&observations[0], NOW);
	cv_observation_succeeded(&observations[1]);
	for (int i = 0; i < 50; i++)
		assert_int_equal(pick(), 1);
	cv_observation_failed(&observations[1], NOW);
	cv_observation_probed(&observations[1], 5, NOW); /* later than the failure */
	assert_int_equal(pick(), 1);
}

static void test_one_after_the_other(void **state)
{
	struct cv_balancer_tries tries = {0};
	bool seen[COUNT + 1] = {false};

	(void)state;
	balancer.fallback = COUNT;
	for (int i = 0; i < COUNT; i++) {
		const uint32_t picked = cv_balancer_pick(&balancer, &config, &tries, NOW);

		assert_true(picked < COUNT && !seen[picked]);
		seen[picked] = true;
	}
	assert_int_equal(cv_balancer_pick(&balancer, &config, &tries, NOW), COUNT);
	assert_int_equal(cv_balancer_pick(&balancer, &config, &tries, NOW), CV_BALANCER_NOBODY);
	assert_int_equal(balancer.picks, COUNT);
	assert_int_equal(balancer.fallbacks, 1);
}

static void test_nobody_works(void **state)
{
	struct cv_balancer_tries tries = {0};

	(void)state;
	for (int i = 0; i < COUNT; i++)
		cv_observation_probed(&observations[i], 0, NOW);
	assert_true(cv_balancer_pick(&balancer, &config, &tries, NOW) < COUNT);
	assert_int_equal(cv_balancer_pick(&balancer, &config, &tries, NOW), CV_BALANCER_NOBODY);
	balancer.fallback = COUNT;
	assert_int_equal(pick(), COUNT);
}

static void test_tries_are_bounded(void **state)
{
	struct cv_balancer_tries tries = {.count = CV_BALANCER_TRIES_MAX};

	(void)state;
	for (size_t i = 0; i < CV_BALANCER_TRIES_MAX; i++)
		tries.outbounds[i] = COUNT;
	assert_int_equal(cv_balancer_pick(&balancer, &config, &tries, NOW), CV_BALANCER_NOBODY);
}

static void test_references(void **state)
{
	struct cv_observation *one = cv_observation_new();

	(void)state;
	assert_non_null(one);
	assert_ptr_equal(cv_observation_share(one), one);
	assert_null(cv_observation_release(one));
	assert_true(cv_observation_is_alive(one, NOW));
	assert_null(cv_observation_release(one));
	assert_null(cv_observation_release(NULL));
	cv_observation_failed(NULL, NOW);
	cv_observation_succeeded(NULL);
	cv_observation_probed(NULL, 1, NOW);
	assert_true(cv_observation_is_alive(NULL, NOW));
}

#define WITH_FOUR(test) cmocka_unit_test_setup(test, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_FOUR(test_random),		WITH_FOUR(test_round_robin),
		WITH_FOUR(test_least_ping),	WITH_FOUR(test_held_down),
		WITH_FOUR(test_one_after_the_other), WITH_FOUR(test_nobody_works),
		WITH_FOUR(test_tries_are_bounded), WITH_FOUR(test_references),
	};

	return cmocka_run_group_tests_name("balancer", tests, NULL, NULL);
}
