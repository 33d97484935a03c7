// SPDX-License-Identifier: MIT
/* test_siphash.c - the vectors of the SipHash-2-4 paper and its reference implementation. */
#include "policy/siphash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* Key 00..0f as two little-endian words; message 00, 01, ... */
static const struct cv_siphash_key key = {{0x0706050403020100, 0x0f0e0d0c0b0a0908}};

static void test_vectors(void **state)
{
	static const struct {
		size_t len;
		uint64_t hash;
	} vectors[] = {
		{0, 0x726fdb47dd0e0e31}, {1, 0x74f839c593dc67fd}, {2, 0x0d6c8009d9a94f5a},
		{7, 0xab0200f58b01d137}, {8, 0x93f5f5799a932462}, {15, 0xa129ca6149be45e5},
	};
	uint8_t message[16];

	(void)state;
	for (size_t i = 0; i < sizeof(message); i++)
		message[i] = (uint8_t)i;
	for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++)
		assert_true(cv_siphash(&key, message, vectors[i].len) == vectors[i].hash);
}

static void test_random_keys_differ(void **state)
{
	struct cv_siphash_key first, second;

	(void)state;
	assert_int_equal(cv_siphash_key_random(&first), 0);
	assert_int_equal(cv_siphash_key_random(&second), 0);
	assert_true(cv_siphash(&first, "x", 1) != cv_siphash(&second, "x", 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vectors),
		cmocka_unit_test(test_random_keys_differ),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
