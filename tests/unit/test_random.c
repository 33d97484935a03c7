// SPDX-License-Identifier: MIT
/* test_random.c - bytes differ, bounded numbers are uniform, comparing and cleansing work. */
#include "crypto/crypto.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void test_bytes_differ(void **state)
{
	uint8_t first[32] = {0};
	uint8_t second[32] = {0};

	(void)state;
	assert_int_equal(cv_random_bytes(first, sizeof(first)), 0);
	assert_int_equal(cv_random_bytes(second, sizeof(second)), 0);
	assert_memory_not_equal(first, second, sizeof(first));
	assert_int_equal(cv_random_bytes(first, 0), 0);
}

static void test_below_is_uniform(void **state)
{
	unsigned int counts[10] = {0};

	(void)state;
	for (int i = 0; i < 20000; i++) {
		const uint32_t value = cv_random_below(10);

		assert_in_range(value, 0, 9);
		counts[value]++;
	}
	/* Expected 2000 each, standard deviation 42: eight of them are beyond chance. */
	for (size_t i = 0; i < 10; i++)
		assert_in_range(counts[i], 1660, 2340);
	for (int i = 0; i < 100; i++)
		assert_int_equal(cv_random_below(1), 0);
}

static void test_below_is_not_biased_by_the_modulus(void **state)
{
	const uint32_t bound = UINT32_C(0xc0000000);
	unsigned int low = 0;

	(void)state;
	/* A plain modulus would give values below 2^30 half of the time instead of a third. */
	for (int i = 0; i < 3000; i++)
		low += cv_random_below(bound) < UINT32_C(0x40000000);
	assert_in_range(low, 800, 1200);
}

static void test_equal_constant_time(void **state)
{
	(void)state;
	assert_true(cv_equal_constant_time("abcd", "abcd", 4));
	assert_false(cv_equal_constant_time("abcd", "abce", 4));
	assert_true(cv_equal_constant_time("abcd", "abce", 3));
	assert_true(cv_equal_constant_time("a", "b", 0));
}

static void test_cleanse(void **state)
{
	static const uint8_t zeros[16];
	uint8_t secret[16];

	(void)state;
	memset(secret, 0x5a, sizeof(secret));
	cv_cleanse(secret, sizeof(secret));
	assert_memory_equal(secret, zeros, sizeof(secret));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bytes_differ),
		cmocka_unit_test(test_below_is_uniform),
		cmocka_unit_test(test_below_is_not_biased_by_the_modulus),
		cmocka_unit_test(test_equal_constant_time),
		cmocka_unit_test(test_cleanse),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
