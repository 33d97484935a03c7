// SPDX-License-Identifier: MIT
/* test_user.c - VLESS 5.2: ids without bytes 6 and 7; names and passwords, what must be refused. */
#include "policy/user.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MANY 5000

static struct cv_user_table *table_of(const struct cv_user *users, size_t count)
{
	struct cv_user_table *table = cv_user_table_new(users, count);

	assert_non_null(table);
	return table;
}

static void test_uuid_mask(void **state)
{
	struct cv_user users[2] = {
		{.uuid = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}, .email = "a"},
		{.uuid = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 17}, .email = "b"},
	};
	struct cv_user_table *table = table_of(users, 2);
	uint8_t uuid[16];

	(void)state;
	memcpy(uuid, users[0].uuid, 16);
	assert_string_equal(cv_user_find_uuid(table, uuid)->email, "a");
	uuid[6] = 0xaa;
	uuid[7] = 0x55;
	assert_string_equal(cv_user_find_uuid(table, uuid)->email, "a");
	for (int i = 0; i < 16; i++) {
		memcpy(uuid, users[0].uuid, 16);
		uuid[i] ^= 0x80;
		if (i != 6 && i != 7)
			assert_null(cv_user_find_uuid(table, uuid));
	}
	/* the user as configured is not masked: the client's own bytes matter to Vision */
	assert_int_equal(cv_user_find_uuid(table, users[1].uuid)->uuid[6], 7);
	cv_user_table_free(table);
}

static void test_later_of_two_wins(void **state)
{
	struct cv_user users[2] = {{.uuid = {[6] = 1}, .email = "first"},
				   {.uuid = {[6] = 2}, .email = "second"}};
	struct cv_user_table *table = table_of(users, 2);

	(void)state;
	assert_string_equal(cv_user_find_uuid(table, users[0].uuid)->email, "second");
	cv_user_table_free(table);
}

static void test_copies(void **state)
{
	char name[] = "alice", email[] = "alice@x", password[] = "secret";
	struct cv_user user = {.name = name,
			       .email = email,
			       .password = password,
			       .vision = true,
			       .enabled = true,
			       .level = 3,
			       .vision_seed = {1, 2, 3, 4}};
	struct cv_user_table *table = table_of(&user, 1);
	struct cv_user *copy = cv_user_at(table, 0);

	(void)state;
	memset(name, 'x', 5);
	memset(password, 'x', 6);
	assert_string_equal(copy->name, "alice");
	assert_true(copy->vision && copy->enabled && copy->level == 3);
	assert_int_equal(copy->vision_seed[3], 4);
	assert_string_equal(copy->password, "secret");
	assert_int_equal(cv_user_count(table), 1);
	assert_null(cv_user_at(table, 1));
	cv_user_table_free(table);
}

static struct cv_user *known(struct cv_user_table *table, const char *name, size_t len)
{
	bool is_known = false;
	struct cv_user *user = cv_user_find_login(table, name, len, &is_known);

	return is_known ? user : NULL;
}

static void test_logins(void **state)
{
	struct cv_user users[] = {
		{.name = "alice", .password = "pw"},
		{.name = "bob", .password = "other"},
		{.name = "mute", .password = ""},
		{.name = "", .password = "nameless"},
	};
	struct cv_user_table *table = table_of(users, 4);
	char longest[300];

	(void)state;
	assert_ptr_equal(known(table, "alice", 5), cv_user_at(table, 0));
	assert_ptr_equal(known(table, "bob", 3), cv_user_at(table, 1));
	assert_null(known(table, "carol", 5));
	assert_null(known(table, "alic", 4));
	assert_null(known(table, "Alice", 5));
	assert_null(known(table, "alice\0", 6));
	assert_null(known(table, "mute", 4));
	memset(longest, 'a', sizeof(longest));
	assert_null(known(table, longest, sizeof(longest)));
	assert_null(known(table, longest, CV_USER_TEXT_MAX));
	cv_user_table_free(table);
}

/* Somebody to compare with, always the same for one name, and never one without a password. */
static void test_stand_ins(void **state)
{
	struct cv_user users[] = {
		{.name = "alice", .password = "pw"},
		{.name = "mute", .password = ""},
		{.name = "bob", .password = "other"},
	};
	struct cv_user_table *table = table_of(users, 3), *mute = table_of(users + 1, 1);
	bool is_known, seen[2] = {false};
	char name[16];

	(void)state;
	for (unsigned i = 0; i < 64; i++) {
		const size_t len = (size_t)snprintf(name, sizeof(name), "nobody%u", i);
		struct cv_user *user;

		is_known = true;
		user = cv_user_find_login(table, name, len, &is_known);
		assert_false(is_known);
		assert_true(user == cv_user_at(table, 0) || user == cv_user_at(table, 2));
		assert_ptr_equal(cv_user_find_login(table, name, len, &is_known), user);
		seen[user == cv_user_at(table, 2)] = true;
	}
	assert_true(seen[0] && seen[1]); /* no name is compared with in particular */
	assert_null(cv_user_find_login(mute, "mute", 4, &is_known));
	cv_user_table_free(table);
	cv_user_table_free(mute);
}

static void test_longest_name(void **state)
{
	char name[CV_USER_TEXT_MAX + 1];
	struct cv_user user = {.name = name, .password = "pw"};
	struct cv_user_table *table;

	(void)state;
	memset(name, 'n', CV_USER_TEXT_MAX);
	name[CV_USER_TEXT_MAX] = '\0';
	table = table_of(&user, 1);
	assert_non_null(known(table, name, CV_USER_TEXT_MAX));
	name[CV_USER_TEXT_MAX - 1] = 'm';
	assert_null(known(table, name, CV_USER_TEXT_MAX));
	cv_user_table_free(table);
}

static void test_many(void **state)
{
	struct cv_user *users = calloc(MANY, sizeof(*users));
	char(*names)[16] = calloc(MANY, sizeof(*names));
	struct cv_user_table *table;
	uint8_t unknown[16] = {0xff};

	(void)state;
	for (unsigned i = 0; i < MANY; i++) {
		snprintf(names[i], sizeof(names[i]), "user%u", i);
		users[i].uuid[14] = (uint8_t)(i >> 8);
		users[i].uuid[15] = (uint8_t)i;
		users[i].name = users[i].password = names[i];
	}
	table = table_of(users, MANY);
	for (unsigned i = 0; i < MANY; i++) {
		const size_t len = strlen(names[i]);

		assert_ptr_equal(cv_user_find_uuid(table, users[i].uuid), cv_user_at(table, i));
		assert_ptr_equal(known(table, names[i], len), cv_user_at(table, i));
	}
	assert_null(cv_user_find_uuid(table, unknown));
	cv_user_table_free(table);
	free(names);
	free(users);
}

static void test_empty(void **state)
{
	struct cv_user_table *table = table_of(NULL, 0);
	const uint8_t uuid[16] = {0};

	(void)state;
	assert_null(cv_user_find_uuid(table, uuid));
	assert_null(known(table, "a", 1));
	assert_null(cv_user_table_free(table));
	assert_null(cv_user_table_free(NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_uuid_mask),
		cmocka_unit_test(test_later_of_two_wins),
		cmocka_unit_test(test_copies),
		cmocka_unit_test(test_logins),
		cmocka_unit_test(test_stand_ins),
		cmocka_unit_test(test_longest_name),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_empty),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
