// SPDX-License-Identifier: MIT
/* test_culvert_proxy.c - what `culvert proxy` does to a list of proxies. */
#include "culvert_proxy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static char error_text[CV_PROXY_ERROR_TEXT];

static struct json_object *parse(const char *text)
{
	struct json_object *root = json_tokener_parse(text);

	assert_non_null(root);
	return root;
}

static void assert_json(struct json_object *object, const char *text)
{
	assert_string_equal(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN), text);
}

static const struct cv_proxy_wish nothing = {.allow_insecure = -1};

static void test_add(void **state)
{
	struct json_object *root = json_object_new_object();
	struct json_object *proxies = cv_proxies_array(root);
	struct cv_proxy_wish wish = nothing;

	(void)state;
	wish.type = "socks5s";
	wish.address = "a.example";
	wish.port = "1080";
	wish.user = "u";
	wish.password = "p";
	wish.server_name = "b.example";
	wish.allow_insecure = 0;
	assert_non_null(cv_proxies_add(proxies, &wish, error_text));
	assert_json(root, "{\"proxies\":[{\"id\":\"proxy-1\",\"type\":\"socks5s\","
			  "\"address\":\"a.example\",\"port\":1080,\"username\":\"u\","
			  "\"password\":\"p\",\"tls\":{\"server_name\":\"b.example\","
			  "\"allow_insecure\":false},\"enabled\":true}]}");
	wish = nothing;
	wish.id = "proxy-1";
	assert_null(cv_proxies_add(proxies, &wish, error_text));
	assert_string_equal(error_text, "proxy-1 is there already");
	wish.id = NULL;
	wish.disabled = true;
	assert_json(cv_proxies_add(proxies, &wish, error_text),
		    "{\"id\":\"proxy-2\",\"enabled\":false}");
	json_object_put(root);
}

static void test_ports(void **state)
{
	static const char *const bad[] = {"", "x", "0", "65536", "-1", "80x"};
	struct json_object *proxy = json_object_new_object();
	struct cv_proxy_wish wish = nothing;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		wish.port = bad[i];
		assert_false(cv_proxies_update(proxy, &wish, error_text));
		assert_non_null(strstr(error_text, "from 1 to 65535"));
	}
	wish.port = "65535";
	assert_true(cv_proxies_update(proxy, &wish, error_text));
	assert_json(proxy, "{\"port\":65535}");
	json_object_put(proxy);
}

/* Each shape of the file keeps its own keys, and what nobody here knows. */
static void test_update(void **state)
{
	struct json_object *proxy = parse(
		"{\"id\": \"a\", \"protocol\": \"http\", \"colour\": \"blue\","
		" \"auth\": {\"username\": \"u\", \"password\": \"p\"}}");
	struct cv_proxy_wish wish = nothing;

	(void)state;
	wish.type = "https";
	wish.password = "q";
	wish.fallback = "block";
	wish.ca_file = "ca.pem";
	assert_true(cv_proxies_update(proxy, &wish, error_text));
	assert_json(proxy, "{\"id\":\"a\",\"protocol\":\"https\",\"colour\":\"blue\","
			   "\"auth\":{\"username\":\"u\",\"password\":\"q\"},"
			   "\"tls\":{\"ca_file\":\"ca.pem\"},\"fallback\":\"block\"}");
	wish = nothing;
	wish.user = "";
	wish.ca_file = "";
	wish.fallback = "";
	assert_true(cv_proxies_update(proxy, &wish, error_text));
	assert_json(proxy, "{\"id\":\"a\",\"protocol\":\"https\",\"colour\":\"blue\",\"tls\":{}}");
	json_object_put(proxy);
}

static void test_remove(void **state)
{
	struct json_object *root = parse("{\"proxies\": [{\"id\": \"a\"}, {\"id\": \"b\"}]}");
	struct json_object *users =
		parse("[{\"username\": \"alice\", \"external_proxy_id\": null},"
		      " {\"username\": \"bob\", \"external_proxy_id\": \"b\"}]");
	struct json_object *proxies = cv_proxies_array(root);
	size_t index = 99;

	(void)state;
	assert_null(cv_proxies_find(proxies, "c", &index));
	assert_null(cv_proxies_find(proxies, "", &index));
	assert_non_null(cv_proxies_find(proxies, "b", &index));
	assert_int_equal(index, 1);
	assert_false(cv_proxies_remove(proxies, 1, users, error_text));
	assert_non_null(strstr(error_text, "user bob goes out through it"));
	assert_true(cv_proxies_remove(proxies, 0, users, error_text));
	assert_true(cv_proxies_remove(proxies, 0, NULL, error_text));
	assert_json(root, "{\"proxies\":[]}");
	json_object_put(root);
	json_object_put(users);
}

static void test_no_password_is_shown(void **state)
{
	static const char *const texts[] = {
		"{\"type\": \"http\", \"username\": \"u\", \"password\": \"secret\"}",
		"{\"protocol\": \"http\","
		" \"auth\": {\"username\": \"u\", \"password\": \"secret\"}}",
	};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct json_object *proxy = parse(texts[i]);
		struct json_object *shown = cv_proxies_public(proxy);
		const char *text = json_object_to_json_string(shown);

		assert_null(strstr(text, "secret"));
		assert_non_null(strstr(text, "\"type\": \"http\""));
		assert_non_null(strstr(json_object_to_json_string(proxy), "secret"));
		json_object_put(shown);
		json_object_put(proxy);
	}
}

static void test_no_list(void **state)
{
	struct json_object *root = parse("{\"proxies\": {}}");

	(void)state;
	assert_null(cv_proxies_array(root));
	json_object_put(root);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_add),
		cmocka_unit_test(test_ports),
		cmocka_unit_test(test_update),
		cmocka_unit_test(test_remove),
		cmocka_unit_test(test_no_password_is_shown),
		cmocka_unit_test(test_no_list),
	};

	return cmocka_run_group_tests_name("culvert_proxy", tests, NULL, NULL);
}
