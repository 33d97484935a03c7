// SPDX-License-Identifier: MIT
/*
 * test_vless_versions.c - version 0 comes after three closings in a row and an answer to it, lasts
 * an hour, and nothing less leads there.
 */
#include "protocol/vless_versions.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define NOW 1000000

static struct cv_vless_versions versions;

static int setup(void **state)
{
	(void)state;
	atomic_store(&versions.closed, 0);
	atomic_store(&versions.is_answered, false);
	atomic_store(&versions.until_ms, 0);
	return 0;
}

static uint8_t pick(uint64_t now_ms)
{
	bool is_news;
	const uint8_t version = cv_vless_versions_pick(&versions, now_ms, &is_news);

	assert_false(is_news);
	return version;
}

static void close_version_1(int times)
{
	for (int i = 0; i < times; i++) {
		assert_int_equal(pick(NOW), 1);
		cv_vless_versions_closed(&versions, 1);
	}
}

static void test_three_in_a_row(void **state)
{
	(void)state;
	close_version_1(2);
	assert_int_equal(pick(NOW), 1);
	cv_vless_versions_answered(&versions, 1);
	close_version_1(2);
	cv_vless_versions_answered(&versions, 1);
	close_version_1(3);
	assert_int_equal(pick(NOW), 0);
}

static void test_version_0_needs_an_answer(void **state)
{
	(void)state;
	close_version_1(3);
	assert_int_equal(pick(NOW), 0);
	cv_vless_versions_closed(&versions, 0);
	close_version_1(3);
	assert_int_equal(pick(NOW), 0);
	/* one that was still under way comes through */
	cv_vless_versions_answered(&versions, 1);
	assert_int_equal(pick(NOW), 1);
}

static void test_an_hour(void **state)
{
	bool is_news;

	(void)state;
	close_version_1(3);
	assert_int_equal(pick(NOW), 0);
	cv_vless_versions_answered(&versions, 0);
	cv_vless_versions_closed(&versions, 0); /* another on trial: the answer counts */
	assert_int_equal(cv_vless_versions_pick(&versions, NOW, &is_news), 0);
	assert_true(is_news);
	cv_vless_versions_answered(&versions, 0);
	cv_vless_versions_closed(&versions, 0);
	assert_int_equal(pick(NOW + CV_VLESS_0_MS - 1), 0);
	cv_vless_versions_closed(&versions, 1); /* old ones */
	cv_vless_versions_closed(&versions, 1);
	cv_vless_versions_closed(&versions, 1);
	assert_int_equal(pick(NOW + CV_VLESS_0_MS), 1);
	assert_int_equal(pick(NOW + CV_VLESS_0_MS), 1);
}

/* An answer of before does not count for a trial that comes later. */
static void test_answers_out_of_turn(void **state)
{
	(void)state;
	cv_vless_versions_answered(&versions, 0);
	assert_int_equal(pick(NOW), 1);
	close_version_1(2);
	cv_vless_versions_answered(&versions, 0);
	assert_int_equal(pick(NOW), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_three_in_a_row, setup),
		cmocka_unit_test_setup(test_version_0_needs_an_answer, setup),
		cmocka_unit_test_setup(test_an_hour, setup),
		cmocka_unit_test_setup(test_answers_out_of_turn, setup),
	};

	return cmocka_run_group_tests_name("vless_versions", tests, NULL, NULL);
}
