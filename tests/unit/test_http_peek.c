// SPDX-License-Identifier: MIT
/*
 * test_http_peek.c - which path, if any, the reference server would see in a first chunk.
 */
#include "wire/http_peek.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void assert_path(const char *chunk, const char *path)
{
	const struct cv_span found = cv_http_peek_path(cv_span_of(chunk, strlen(chunk)));

	assert_int_equal(found.len_bytes, strlen(path));
	if (found.len_bytes > 0)
		assert_memory_equal(found.data, path, found.len_bytes);
}

static void test_methods(void **state)
{
	(void)state;
	assert_path("GET /ws HTTP/1.1\r\n\r\n", "/ws");
	assert_path("GET / HTTP/1.1\r\nHost: a\r\n", "/");
	assert_path("HEAD /a/b HTTP/1.1\r\n", "/a/b");
	assert_path("PATCH /x HTTP/1.1\r\n", "/x");
	assert_path("DELETE /x HTTP/1.1\r\n", "/x");
	assert_path("OPTIONS /x HTTP/1.1\r\n", "/x");
	assert_path("PROPFIND /x HTTP/1.1\r\n", ""); /* '/' at offset 9 */
	assert_path("AB /x HTTP/1.1\r\n\r\n\r\n", ""); /* at offset 3 */
}

static void test_query_is_cut(void **state)
{
	(void)state;
	assert_path("GET /ws?ed=2048 HTTP/1.1\r\n", "/ws");
	assert_path("GET /? HTTP/1.1\r\n\r\n", "/");
}

static void test_not_a_path(void **state)
{
	(void)state;
	assert_path("", "");
	assert_path("GET /a HTTP/1.1\r\n", ""); /* 17 bytes */
	assert_path("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "");
	assert_path("GET http://a/b HTTP/1.1\r\n", "");
	assert_path("GET/a /b HTTP/1.1\r\n\r\n", "/b");
	assert_path("GET //b HTTP/1.1\r\n\r\n", "//b");
	assert_path("GET /a\r\nHost: x y\r\n\r\n", "");
	assert_path("GET /a\nHost: x y\r\n\r\n\r\n", "");
	assert_path("GET /abcdefghijklmnopqrstuvwxyz", ""); /* no end */
	assert_path("GET * /b HTTP/1.1\r\n\r\n", "");
}

static void test_end_before_offset_64(void **state)
{
	char chunk[80];

	(void)state;
	for (size_t end = 14; end < sizeof(chunk); end++) {
		memset(chunk, 'a', sizeof(chunk));
		memcpy(chunk, "GET /", 5);
		chunk[end] = ' ';
		const struct cv_span path = cv_http_peek_path(cv_span_of(chunk, sizeof(chunk)));

		assert_int_equal(path.len_bytes, end < 64 ? end - 4 : 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_methods),
		cmocka_unit_test(test_query_is_cut),
		cmocka_unit_test(test_not_a_path),
		cmocka_unit_test(test_end_before_offset_64),
	};

	return cmocka_run_group_tests_name("http_peek", tests, NULL, NULL);
}
