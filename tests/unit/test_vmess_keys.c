// SPDX-License-Identifier: MIT
/* test_vmess_keys.c - command key, nested KDF and auth ids of VMess against another program's. */
#include "crypto/vmess_keys.h"

#include <culvert/reason.h>

#include "vectors/hex.h"
#include "vectors/vmess.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void test_command_key(void **state)
{
	HEX(uuid, 16, VMESS_UUID);
	uint8_t key[CV_VMESS_KEY];

	(void)state;
	assert_int_equal(cv_vmess_command_key(uuid, key), 0);
	assert_hex(key, VMESS_COMMAND_KEY);
}

static void test_kdf(void **state)
{
	HEX(key, 16, VMESS_COMMAND_KEY);
	uint8_t derived[32], long_part[65];
	const struct cv_mac_part path[] = {{"a", 1}, {"bc", 2}, {long_part, 64}, {"e", 1}};
	const struct cv_mac_part too_long = {long_part, 65};

	(void)state;
	memset(long_part, 'd', sizeof(long_part));
	assert_int_equal(cv_vmess_kdf(key, NULL, 0, derived), 0);
	assert_hex(derived, VMESS_KDF_0);
	assert_int_equal(cv_vmess_kdf(key, path, 3, derived), 0);
	assert_hex(derived, VMESS_KDF_3);
	assert_int_equal(cv_vmess_kdf(key, path, 4, derived), CV_INTERNAL_CRYPTO);
	assert_int_equal(cv_vmess_kdf(key, &too_long, 1, derived), CV_INTERNAL_CRYPTO);
}

static void test_auth_id(void **state)
{
	HEX(command_key, 16, VMESS_COMMAND_KEY);
	HEX(salt, 4, VMESS_SALT);
	uint8_t auth_key[CV_VMESS_KEY], id[CV_VMESS_AUTH_ID];
	uint64_t time_s = 0;

	(void)state;
	assert_int_equal(cv_vmess_auth_key(command_key, auth_key), 0);
	assert_hex(auth_key, VMESS_AUTH_KEY);
	assert_int_equal(cv_vmess_auth_id_make(auth_key, VMESS_TIME_S, salt, id), 0);
	assert_hex(id, VMESS_AUTH_ID);
	assert_int_equal(cv_vmess_auth_id_read(auth_key, id, &time_s), 0);
	assert_int_equal(time_s, VMESS_TIME_S);
}

/* Every bit counts, and so does the key. */
static void test_strange_auth_ids(void **state)
{
	HEX(auth_key, 16, VMESS_AUTH_KEY);
	HEX(id, 16, VMESS_AUTH_ID);
	uint64_t time_s = 7;

	(void)state;
	for (size_t bit = 0; bit < 128; bit++) {
		id[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_int_equal(cv_vmess_auth_id_read(auth_key, id, &time_s),
				 CV_PEER_UNKNOWN_USER);
		id[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	auth_key[0] ^= 1;
	assert_int_equal(cv_vmess_auth_id_read(auth_key, id, &time_s), CV_PEER_UNKNOWN_USER);
	assert_int_equal(time_s, 7);
}

static void test_chacha_key(void **state)
{
	HEX(body_key, 16, VMESS_KEY);
	uint8_t key[32];

	(void)state;
	assert_int_equal(cv_vmess_chacha_key(body_key, key), 0);
	assert_hex(key, VMESS_CHACHA_KEY);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_command_key),	 cmocka_unit_test(test_kdf),
		cmocka_unit_test(test_auth_id),		 cmocka_unit_test(test_strange_auth_ids),
		cmocka_unit_test(test_chacha_key),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
