// SPDX-License-Identifier: MIT
/* test_block.c - AES blocks of FIPS 197 C.1; SHAKE128 read in any pieces. */
#include "crypto/crypto.h"

#include "vectors/hex.h"
#include "vectors/vmess.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void test_aes(void **state)
{
	HEX(key, 16, "000102030405060708090a0b0c0d0e0f");
	HEX(block, 16, "00112233445566778899aabbccddeeff");

	(void)state;
	assert_int_equal(cv_aes128_block(key, true, block), 0);
	assert_hex(block, "69c4e0d86a7b0430d8cdb78070b4c55a");
	assert_int_equal(cv_aes128_block(key, false, block), 0);
	assert_hex(block, "00112233445566778899aabbccddeeff");
	assert_int_equal(cv_aes128_block(key, true, block), 0); /* the direction may change */
	assert_hex(block, "69c4e0d86a7b0430d8cdb78070b4c55a");
}

static void test_shake(void **state)
{
	HEX(seed, 16, VMESS_IV);
	uint8_t whole[400], pieces[400];
	struct cv_shake *shake = cv_shake_new(seed, sizeof(seed));

	(void)state;
	assert_non_null(shake);
	assert_int_equal(cv_shake_read(shake, whole, sizeof(whole)), 0);
	assert_null(cv_shake_free(shake));
	assert_hex(whole, VMESS_SHAKE);
	assert_hex(whole + 368, VMESS_SHAKE_368);
	for (size_t step = 1; step < 200; step += 13) {
		shake = cv_shake_new(seed, sizeof(seed));
		for (size_t at = 0; at < sizeof(pieces); at += step) {
			const size_t left = sizeof(pieces) - at;

			assert_int_equal(cv_shake_read(shake, pieces + at,
						       left < step ? left : step), 0);
		}
		assert_memory_equal(pieces, whole, sizeof(whole));
		cv_shake_free(shake);
	}
	assert_null(cv_shake_free(NULL));
}

static void test_md5(void **state)
{
	uint8_t digest[16];

	(void)state;
	assert_int_equal(cv_hash_len(CV_MD5), 16);
	assert_int_equal(cv_hash(CV_MD5, "abc", 3, digest), 0); /* RFC 1321 A.5 */
	assert_hex(digest, "900150983cd24fb0d6963f7d28e17f72");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_aes),
		cmocka_unit_test(test_shake),
		cmocka_unit_test(test_md5),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
