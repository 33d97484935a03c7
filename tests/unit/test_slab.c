// SPDX-License-Identifier: MIT
/* test_slab.c - the cap, zeroed slots, reuse and alignment. */
#include "base/slab.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define SLOTS 3000

static void test_allocates_nothing_before_use(void **state)
{
	struct cv_slab slab;

	(void)state;
	cv_slab_init(&slab, 100, 10);
	assert_int_equal(slab.chunk_count, 0);
	cv_slab_give(&slab, NULL);
	cv_slab_done(&slab);
}

static void test_cap(void **state)
{
	struct cv_slab slab;
	void *slots[3];

	(void)state;
	cv_slab_init(&slab, 40, 3);
	for (size_t i = 0; i < 3; i++) {
		slots[i] = cv_slab_take(&slab);
		assert_non_null(slots[i]);
	}
	assert_null(cv_slab_take(&slab));
	cv_slab_give(&slab, slots[1]);
	slots[1] = cv_slab_take(&slab);
	assert_non_null(slots[1]);
	assert_int_equal(slab.used_count, 3);
	for (size_t i = 0; i < 3; i++)
		cv_slab_give(&slab, slots[i]);
	assert_int_equal(slab.used_count, 0);
	cv_slab_done(&slab);
}

static void test_slots_are_zero_and_apart(void **state)
{
	static const uint8_t zeros[200];
	static uint8_t *slots[SLOTS];
	struct cv_slab slab;

	(void)state;
	cv_slab_init(&slab, sizeof(zeros), SLOTS);
	for (int round = 0; round < 2; round++) {
		for (size_t i = 0; i < SLOTS; i++) {
			slots[i] = cv_slab_take(&slab);
			assert_non_null(slots[i]);
			assert_int_equal((uintptr_t)slots[i] % 16, 0);
			assert_memory_equal(slots[i], zeros, sizeof(zeros));
			memset(slots[i], (int)(i % 251) + 1, sizeof(zeros));
		}
		assert_true(slab.chunk_count > 1);
		for (size_t i = 0; i < SLOTS; i++) {
			assert_int_equal(slots[i][0], i % 251 + 1);
			assert_int_equal(slots[i][sizeof(zeros) - 1], i % 251 + 1);
			cv_slab_give(&slab, slots[i]);
		}
	}
	cv_slab_done(&slab);
	assert_int_equal(slab.chunk_count, 0);
}

static void test_tiny_and_huge_slots(void **state)
{
	struct cv_slab tiny;
	struct cv_slab huge;

	(void)state;
	cv_slab_init(&tiny, 1, 2);
	cv_slab_init(&huge, 200000, 20);
	for (int i = 0; i < 2; i++)
		memset(cv_slab_take(&tiny), 1, 1);
	void *slots[20];

	for (size_t i = 0; i < 20; i++) {
		slots[i] = cv_slab_take(&huge);
		memset(slots[i], 1, 200000);
	}
	for (size_t i = 0; i < 20; i++)
		cv_slab_give(&huge, slots[i]);
	cv_slab_done(&huge);
	assert_null(cv_slab_take(&tiny));
	tiny.used_count = 0; /* the two slots are dropped on purpose */
	cv_slab_done(&tiny);
}

/* What a flood needed goes back, whoever stays. */
static void test_memory_goes_back(void **state)
{
	static void *slots[SLOTS];
	struct cv_slab slab;
	size_t most;

	(void)state;
	cv_slab_init(&slab, 1024, SLOTS);
	for (int round = 0; round < 3; round++) {
		for (size_t i = 0; i < SLOTS; i++)
			slots[i] = cv_slab_take(&slab);
		most = slab.chunk_count;
		assert_true(most >= SLOTS / 64);
		for (size_t i = 0; i < SLOTS; i++) /* one of a thousand stays */
			if (i % 1000)
				cv_slab_give(&slab, slots[i]);
		assert_int_equal(slab.used_count, 3);
		assert_int_equal(slab.chunk_count, 3 + 1);
		for (size_t i = 0; i < 100; i++) /* where there is room already */
			slots[i + 1] = cv_slab_take(&slab);
		assert_int_equal(slab.chunk_count, 3 + 1);
		for (size_t i = 0; i < 100; i++)
			cv_slab_give(&slab, slots[i + 1]);
		for (size_t i = 0; i < SLOTS; i += 1000)
			cv_slab_give(&slab, slots[i]);
		assert_int_equal(slab.chunk_count, 1); /* one is kept */
	}
	cv_slab_done(&slab);
	assert_int_equal(slab.chunk_count, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_allocates_nothing_before_use),
		cmocka_unit_test(test_cap),
		cmocka_unit_test(test_slots_are_zero_and_apart),
		cmocka_unit_test(test_tiny_and_huge_slots),
		cmocka_unit_test(test_memory_goes_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
