// SPDX-License-Identifier: MIT
/* test_json_text.c - what is not ASCII is escaped, and json-c reads the same. */
#include "config/json_text.h"

#include <json-c/json.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void escapes(const char *text, size_t len, const char *wanted)
{
	size_t copy_len;
	char *copy = cv_json_ascii(text, len, &copy_len);

	assert_non_null(copy);
	assert_int_equal(copy_len, strlen(wanted));
	assert_memory_equal(copy, wanted, copy_len + 1);
	free(copy);
}

static void test_escapes(void **state)
{
	(void)state;
	escapes("", 0, "");
	escapes("{\"a\\n\": 1}\n", 11, "{\"a\\n\": 1}\n");
	escapes("\xc3\xa4\xe4\xba\xba", 5, "\\u00e4\\u4eba");
	escapes("\xf0\x9f\x98\x80", 4, "\\ud83d\\ude00");
	escapes("\xf4\x8f\xbf\xbf", 4, "\\udbff\\udfff");
}

/* Strictly, as configurations are. */
static void test_is_the_same(void **state)
{
	static const char text[] = "[\"\xc3\xa4 \xe4\xba\xba \xf0\x9f\x98\x80\"]";
	struct json_tokener *tokener = json_tokener_new();
	struct json_object *root;
	size_t len;
	char *ascii = cv_json_ascii(text, strlen(text), &len);

	(void)state;
	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
	root = json_tokener_parse_ex(tokener, ascii, (int)len + 1);
	assert_non_null(root);
	assert_string_equal(json_object_get_string(json_object_array_get_idx(root, 0)),
			    "\xc3\xa4 \xe4\xba\xba \xf0\x9f\x98\x80");
	json_object_put(root);
	json_tokener_free(tokener);
	free(ascii);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_escapes),
		cmocka_unit_test(test_is_the_same),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
