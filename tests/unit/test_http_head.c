// SPDX-License-Identifier: MIT
/*
 * test_http_head.c - heads that are understood, and all the others: HTTP C2, RFC 9112 2 to 5.
 */
#include "wire/http_head.h"

#include <culvert/reason.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct cv_http_head head;

static struct cv_span text_of(const char *text)
{
	return cv_span_of(text, strlen(text));
}

static void assert_text(struct cv_span span, const char *text)
{
	assert_int_equal(span.len_bytes, strlen(text));
	assert_memory_equal(span.data, text, span.len_bytes);
}

/* 0 = accepted, else the status that answers it. */
static unsigned status_of(const char *text)
{
	unsigned status = 0;
	const int result = cv_http_request_head_read(text_of(text), &head, &status);

	assert_true(result == 0 || result == CV_PEER_DECODE);
	return result ? status : 0;
}

static void test_request(void **state)
{
	static const char text[] = "GET http://a/ HTTP/1.1\r\nHost: a\r\nX:  y \t\r\n"
				   "Empty:\r\n\r\nrest";

	(void)state;
	assert_int_equal(status_of(text), 0);
	assert_text(head.method, "GET");
	assert_text(head.target, "http://a/");
	assert_int_equal(head.minor_version, 1);
	assert_int_equal(head.field_count, 3);
	assert_text(cv_http_field(&head, "hOST", NULL)->value, "a");
	assert_text(cv_http_field(&head, "x", NULL)->value, "y");
	assert_text(cv_http_field(&head, "empty", NULL)->value, "");
	assert_null(cv_http_field(&head, "none", NULL));
	assert_int_equal(head.len_bytes, sizeof(text) - 1 - strlen("rest"));
	assert_int_equal(status_of("\r\n\r\nGET / HTTP/1.0\r\n\r\n"), 0);
	assert_int_equal(head.minor_version, 0);
}

static void test_more_is_needed(void **state)
{
	static const char text[] = "\r\nPOST / HTTP/1.1\r\nHost: a\r\n\r\n";
	unsigned status = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(text) - 1; i++)
		assert_int_equal(
			cv_http_request_head_read(cv_span_of(text, i), &head, &status), -EAGAIN);
	assert_int_equal(cv_http_request_head_read(text_of(text), &head, &status), 0);
}

/* Said as soon as it is there, not when the head is whole. */
static void test_refused_requests(void **state)
{
	static const char *const heads[] = {
		"GET / HTTP/1.1\n", "GET / HTTP/1.1\r\nA: b\n", "GET / HTTP/1.1\r\n A: b\r\n",
		"GET / HTTP/1.1\r\nA : b\r\n", "GET / HTTP/1.1\r\nA\r\n",
		"GET / HTTP/1.1\r\n: b\r\n",
		"GET / HTTP/1.1\r\nA: b\rc\r\n", "GET / HTTP/1.1\r\nA\x01: b\r\n",
		"GET / HTTP/1.1\r\nA: b\x7f\r\n", "GET  / HTTP/1.1\r\n", "GET /\r\n", "GET\r\n",
		"GET / HTTP/1\r\n", "GET / HTTP/1.10\r\n", "GET / http/1.1\r\n",
		"G@T / HTTP/1.1\r\n",
		" / HTTP/1.1\r\n", "GET /\tx HTTP/1.1\r\n", "\x16\x03\x01", "\x05\x01", "G\"",
		"\r\n\r\n\r\n\r\n\r\n",
		"AMETHODOFTHIRTYTHREELETTERSANDMORE / HTTP/1.1\r\n",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++)
		assert_int_equal(status_of(heads[i]), 400);
	assert_int_equal(status_of("GET / HTTP/2.0\r\n"), 505);
}

static void test_limits(void **state)
{
	static char text[CV_HTTP_HEAD_MAX + 64];
	size_t len = (size_t)snprintf(text, sizeof(text), "GET / HTTP/1.1\r\n");

	(void)state;
	for (int i = 0; i < CV_HTTP_FIELDS_MAX; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "A: b\r\n");
	strcpy(text + len, "\r\n");
	assert_int_equal(status_of(text), 0);
	strcpy(text + len, "A: b\r\n");
	assert_int_equal(status_of(text), 431);

	memset(text, 'a', sizeof(text));
	memcpy(text, "GET / HTTP/1.1\r\nA: ", 19);
	memcpy(text + CV_HTTP_HEAD_MAX - 4, "\r\n\r\n", 5);
	assert_int_equal(status_of(text), 0);
	memset(text + CV_HTTP_HEAD_MAX - 4, 'a', 5);
	memcpy(text + CV_HTTP_HEAD_MAX - 3, "\r\n\r\n", 5);
	assert_int_equal(status_of(text), 431);
}

static void test_response(void **state)
{
	(void)state;
	assert_int_equal(cv_http_response_head_read(
				 text_of("HTTP/1.0 404 Not Found\nA: b\n\nbody"), &head), 0);
	assert_int_equal(head.status, 404);
	assert_text(head.phrase, "Not Found");
	assert_int_equal(head.minor_version, 0);
	assert_int_equal(cv_http_response_head_read(text_of("HTTP/1.1 200\r\n\r\n"), &head), 0);
	assert_int_equal(cv_http_response_head_read(
				 text_of("HTTP/1.1 200 OK\r\nContent-Length \t: 3\r\n\r\n"), &head),
			 0);
	assert_text(head.fields[0].name, "Content-Length");
	assert_int_equal(
		cv_http_response_head_read(text_of("HTTP/1.1 200 OK\r\n : 3\r\n\r\n"), &head),
		CV_UPSTREAM_DECODE);
	assert_int_equal(cv_http_response_head_read(text_of("HTTP/1.1 200 \r\n"), &head), -EAGAIN);
	assert_int_equal(cv_http_response_head_read(text_of("ICY 200 OK\r\n"), &head),
			 CV_UPSTREAM_DECODE);
	assert_int_equal(cv_http_response_head_read(text_of("HTTP/1.1 020 x\r\n"), &head),
			 CV_UPSTREAM_DECODE);
	assert_int_equal(cv_http_response_head_read(text_of("HTTP/1.1 2000 x\r\n"), &head),
			 CV_UPSTREAM_DECODE);
}

static void test_lists(void **state)
{
	(void)state;
	assert_int_equal(status_of("GET / HTTP/1.1\r\nConnection: close, , X-A\r\nX-A: 1\r\n"
				   "Proxy-Connection: x-b\r\nX-B: 2\r\nX-C: 3\r\nTE: x\r\n\r\n"),
			 0);
	assert_true(cv_http_lists(&head, "connection", "CLOSE"));
	assert_false(cv_http_lists(&head, "connection", "clos"));
	assert_false(cv_http_lists(&head, "connection", ""));
	assert_true(cv_http_is_hop_by_hop(&head, cv_http_field(&head, "x-a", NULL)));
	assert_true(cv_http_is_hop_by_hop(&head, cv_http_field(&head, "x-b", NULL)));
	assert_false(cv_http_is_hop_by_hop(&head, cv_http_field(&head, "x-c", NULL)));
	assert_true(cv_http_is_hop_by_hop(&head, cv_http_field(&head, "te", NULL)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_request),
		cmocka_unit_test(test_more_is_needed),
		cmocka_unit_test(test_refused_requests),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_response),
		cmocka_unit_test(test_lists),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
