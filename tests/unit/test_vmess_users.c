// SPDX-License-Identifier: MIT
/* test_vmess_users.c - whose auth id it is, and from when. */
#include "policy/vmess_users.h"

#include <culvert/reason.h>

#include "vectors/hex.h"
#include "vectors/vmess.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct cv_user_table *three_users(void)
{
	struct cv_user users[3] = {
		{.enabled = true, .email = (char[]){"first"}},
		{.enabled = true, .email = (char[]){"vector"}},
		{.enabled = false, .email = (char[]){"last"}},
	};

	memset(users[0].uuid, 1, 16);
	hex_decode(VMESS_UUID, users[1].uuid, 16);
	memset(users[2].uuid, 3, 16);
	return cv_user_table_new(users, 3);
}

static int find(const struct cv_vmess_keys *keys, const uint8_t *id, uint64_t now_s,
		const char **ret_email)
{
	struct cv_user *user = NULL;
	uint8_t key[CV_VMESS_KEY];
	const int result = cv_vmess_keys_find(keys, id, now_s, &user, key);

	if (result == 0) {
		*ret_email = user->email;
		if (strcmp(user->email, "vector") == 0)
			assert_hex(key, VMESS_COMMAND_KEY);
	}
	return result;
}

static void test_find(void **state)
{
	struct cv_user_table *users = three_users();
	struct cv_vmess_keys *keys = cv_vmess_keys_new(users);
	HEX(id, 16, VMESS_AUTH_ID);
	const char *email = "";

	(void)state;
	assert_non_null(keys);
	assert_int_equal(find(keys, id, VMESS_TIME_S, &email), 0);
	assert_string_equal(email, "vector");
	assert_int_equal(find(keys, id, VMESS_TIME_S + 120, &email), 0);
	assert_int_equal(find(keys, id, VMESS_TIME_S - 120, &email), 0);
	assert_int_equal(find(keys, id, VMESS_TIME_S + 121, &email), CV_PEER_CLOCK);
	assert_int_equal(find(keys, id, VMESS_TIME_S - 121, &email), CV_PEER_CLOCK);
	id[3] ^= 1;
	assert_int_equal(find(keys, id, VMESS_TIME_S, &email), CV_PEER_UNKNOWN_USER);
	assert_null(cv_vmess_keys_free(keys));
	assert_null(cv_vmess_keys_free(NULL));
	cv_user_table_free(users);
}

static void test_times_far_off(void **state)
{
	struct cv_user_table *users = three_users();
	struct cv_vmess_keys *keys = cv_vmess_keys_new(users);
	HEX(auth_key, 16, VMESS_AUTH_KEY);
	HEX(salt, 4, VMESS_SALT);
	static const uint64_t times[] = {0, UINT64_MAX, UINT64_MAX - 100, UINT64_C(1) << 63};
	uint8_t id[CV_VMESS_AUTH_ID];
	const char *email;

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		assert_int_equal(cv_vmess_auth_id_make(auth_key, times[i], salt, id), 0);
		assert_int_equal(find(keys, id, VMESS_TIME_S, &email), CV_PEER_CLOCK);
	}
	cv_vmess_keys_free(keys);
	cv_user_table_free(users);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_find),
		cmocka_unit_test(test_times_far_off),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
