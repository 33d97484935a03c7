// SPDX-License-Identifier: MIT
/* test_culvert_user.c - what `culvert user` does to a list of users. */
#include "culvert_user.h"

#include "config/users_file.h"
#include "crypto/uuid.h"
#include "policy/password.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char error_text[CV_USER_ERROR_TEXT];

static const char *text(struct json_object *user, const char *key)
{
	struct json_object *value;

	return json_object_object_get_ex(user, key, &value) && value
		       ? json_object_get_string(value)
		       : NULL;
}

static struct json_object *parse(const char *json, struct json_object **ret_users)
{
	struct json_object *root = json_tokener_parse(json);

	assert_non_null(root);
	*ret_users = cv_users_array(root);
	return root;
}

static struct json_object *add(struct json_object *users, const char *name, const char *password)
{
	char stored[CV_PASSWORD_STORED];
	const struct cv_user_wish wish = {.name = name, .stored = password ? stored : NULL};

	if (password)
		assert_int_equal(cv_password_hash(password, stored), 0);
	return cv_users_add(users, &wish, error_text);
}

static bool verifies(struct json_object *user, const char *key, const char *password)
{
	return text(user, key) &&
	       cv_password_verify(text(user, key), password, strlen(password));
}

static void test_add(void **state)
{
	const struct cv_user_wish wish = {.name = "bob",
					  .email = "b@x",
					  .flow = "",
					  .type = "proxy",
					  .proxy = "proxy-1",
					  .disabled = true};
	struct json_object *users, *root = parse("{\"metadata\": {\"v\": 1}}", &users);
	struct json_object *alice = add(users, "alice", "secret"), *bob;
	uint8_t uuid[16];

	(void)state;
	assert_string_equal(text(alice, "email"), "alice@vless.local");
	assert_string_equal(text(alice, "flow"), "xtls-rprx-vision");
	assert_true(verifies(alice, "proxy_password", "secret"));
	assert_int_equal(cv_uuid_parse(text(alice, "uuid"), uuid), 0);
	assert_int_equal(strlen(text(alice, "shortId")), 16);
	bob = cv_users_add(users, &wish, error_text);
	assert_string_equal(text(bob, "email"), "b@x");
	assert_string_equal(text(bob, "external_proxy_id"), "proxy-1");
	assert_string_equal(text(bob, "enabled"), "false");
	assert_null(text(bob, "proxy_password"));
	assert_string_not_equal(text(bob, "uuid"), text(alice, "uuid"));
	assert_null(add(users, "alice", "x"));
	assert_string_equal(error_text, "alice is there already");
	assert_null(add(users, "B@X", "x"));
	assert_int_equal(json_object_array_length(users), 2);
	assert_non_null(text(root, "metadata"));
	json_object_put(root);
}

/* Whatever was added, the daemon takes it. */
static void test_what_is_added_is_good(void **state)
{
	const struct cv_config_report report = {0};
	struct json_object *users, *root = parse("{}", &users);
	const char *json;

	(void)state;
	assert_non_null(add(users, "alice", "secret"));
	assert_non_null(add(users, "bobby", NULL));
	json = json_object_to_json_string(root);
	assert_int_equal(cv_users_check("u", json, strlen(json), &report), 0);
	assert_non_null(add(users, "Bad Name", NULL));
	json = json_object_to_json_string(root);
	assert_true(cv_users_check("u", json, strlen(json), &report) != 0);
	json_object_put(root);
}

/* Both change, and nothing else does. */
static void test_set_id(void **state)
{
	struct json_object *users, *user,
		*root = parse("{\"users\": [{\"username\": \"alice\", \"uuid\": "
			      "\"00000000-0000-4000-8000-000000000001\", \"x\": 1}]}",
			      &users);
	uint8_t uuid[16];

	(void)state;
	user = cv_users_find(users, "alice", NULL);
	assert_true(cv_users_set_id(user));
	assert_int_equal(cv_uuid_parse(text(user, "uuid"), uuid), 0);
	assert_string_not_equal(text(user, "uuid"), "00000000-0000-4000-8000-000000000001");
	assert_int_equal(strlen(text(user, "shortId")), 16);
	assert_string_equal(text(user, "x"), "1");
	json_object_put(root);
}

static void test_remove(void **state)
{
	struct json_object *users, *root = parse("{\"users\": [{\"username\": \"alice\"},"
						 " {\"username\": \"bob\"}]}",
						 &users);
	size_t index = 9;

	(void)state;
	assert_null(cv_users_find(users, "carol", &index));
	assert_null(cv_users_find(users, "", &index));
	assert_null(cv_users_find(users, "Alice", &index)); /* names have one case */
	assert_non_null(cv_users_find(users, "alice", &index));
	assert_int_equal(index, 0);
	assert_true(cv_users_remove(users, index, error_text));
	assert_false(cv_users_remove(users, 0, error_text));
	assert_string_equal(error_text, "the last user is not removed");
	assert_non_null(cv_users_find(users, "bob", NULL));
	json_object_put(root);
}

static void test_password_and_proxy(void **state)
{
	struct json_object *users,
		*root = parse("{\"users\": [{\"username\": \"alice\", \"socks_password\": \"old\","
			      " \"http_password\": \"old\", \"colour\": \"blue\"}]}",
			      &users);
	struct json_object *alice = cv_users_find(users, "alice", NULL);

	(void)state;
	cv_users_set_password(alice, "fresh");
	assert_string_equal(text(alice, "proxy_password"), "fresh");
	assert_null(text(alice, "socks_password"));
	assert_null(text(alice, "http_password"));
	assert_string_equal(text(alice, "colour"), "blue");
	assert_true(cv_users_set_proxy(alice, "proxy-10.0.0.1-123456", error_text));
	assert_string_equal(text(alice, "external_proxy_id"), "proxy-10.0.0.1-123456");
	assert_false(cv_users_set_proxy(alice, "a b", error_text));
	assert_false(cv_users_set_proxy(alice, "", error_text));
	assert_true(cv_users_set_proxy(alice, "none", error_text));
	assert_true(json_object_object_get_ex(alice, "external_proxy_id", NULL));
	assert_null(text(alice, "external_proxy_id"));
	json_object_put(root);
}

static void test_public(void **state)
{
	struct json_object *users, *root = parse("{}", &users);
	struct json_object *alice = add(users, "alice", "secret"), *shown;
	char stored[CV_PASSWORD_STORED];

	(void)state;
	snprintf(stored, sizeof(stored), "%s", text(alice, "proxy_password"));
	json_object_object_add(alice, "socks_password", json_object_new_string("clear"));
	shown = cv_users_public(alice);
	assert_string_equal(text(shown, "proxy_password"), "$y$...");
	assert_string_equal(text(shown, "socks_password"), "(clear text)");
	assert_int_equal(strlen(text(shown, "uuid")), 12);
	assert_string_equal(text(shown, "username"), "alice");
	assert_string_equal(text(alice, "proxy_password"), stored);
	assert_int_equal(strlen(text(alice, "uuid")), 36);
	json_object_put(shown);
	json_object_put(root);
}

static void test_generate(void **state)
{
	char first[CV_GENERATED_PASSWORD], second[CV_GENERATED_PASSWORD];

	(void)state;
	assert_true(cv_users_generate(first) && cv_users_generate(second));
	assert_int_equal(strspn(first, "0123456789abcdef"), 32);
	assert_string_not_equal(first, second);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_add),
		cmocka_unit_test(test_what_is_added_is_good),
		cmocka_unit_test(test_set_id),
		cmocka_unit_test(test_remove),
		cmocka_unit_test(test_password_and_proxy),
		cmocka_unit_test(test_public),
		cmocka_unit_test(test_generate),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
