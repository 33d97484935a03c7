// SPDX-License-Identifier: MIT
/*
 * test_http_request.c - what requests ask for, what is refused, what the origin sees: HTTP B, C.
 */
#include "wire/http_request.h"

#include <culvert/reason.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct cv_http_head head;
static struct cv_http_request request;
static char text[8192];

/* 0 = accepted, else the status that answers it. */
static unsigned judge(const char *line, const char *fields)
{
	unsigned status = 0;
	const int len = snprintf(text, sizeof(text), "%s\r\n%s\r\n", line, fields);

	assert_int_equal(cv_http_request_head_read(cv_span_of(text, (size_t)len), &head, &status),
			 0);
	return cv_http_request_judge(&head, &request, &status) ? status : 0;
}

static void assert_destination(const char *expected)
{
	char found[CV_DESTINATION_TEXT];

	cv_destination_format(&request.destination, found);
	assert_string_equal(found, expected);
}

static void test_tunnels(void **state)
{
	static const char *const bad[] = {
		"CONNECT a HTTP/1.1", "CONNECT a: HTTP/1.1", "CONNECT a:0 HTTP/1.1",
		"CONNECT a:65536 HTTP/1.1", "CONNECT a:1x HTTP/1.1", "CONNECT :1 HTTP/1.1",
		"CONNECT [::1:1 HTTP/1.1", "CONNECT [::1]x:1 HTTP/1.1", "CONNECT ::1:1 HTTP/1.1",
		"CONNECT a/b:1 HTTP/1.1", "CONNECT u@a:1 HTTP/1.1", "CONNECT http://a/ HTTP/1.1",
	};

	(void)state;
	assert_int_equal(judge("CONNECT a.test:443 HTTP/1.1", "Host: x\r\n"), 0);
	assert_int_equal(request.form, CV_HTTP_TUNNEL);
	assert_destination("a.test:443");
	assert_true(request.keep_alive);
	assert_int_equal(judge("CONNECT [2001:db8::1]:8 HTTP/1.0", ""), 0);
	assert_destination("[2001:db8::1]:8");
	assert_false(request.keep_alive);
	assert_int_equal(judge("CONNECT a:1 HTTP/1.1", "Content-Length: 0\r\n"), 0);
	assert_int_equal(judge("CONNECT a:1 HTTP/1.1", "Content-Length: 1\r\n"), 400);
	assert_int_equal(judge("CONNECT a:1 HTTP/1.1", "Transfer-Encoding: chunked\r\n"), 400);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(judge(bad[i], "Host: x\r\n"), 400);
	assert_int_equal(judge("connect a:1 HTTP/1.1", "Host: x\r\n"), 400); /* case counts */
}

static void assert_url(const char *url, const char *destination, const char *first_lines)
{
	char line[512];
	struct cv_buffer out;

	snprintf(line, sizeof(line), "GET %s HTTP/1.1", url);
	assert_int_equal(judge(line, "Host: other\r\n"), 0);
	assert_int_equal(request.form, CV_HTTP_FORWARD);
	assert_destination(destination);
	cv_buffer_init(&out, 65536);
	assert_int_equal(cv_http_request_write(&head, &request, &out), 0);
	assert_true(cv_buffer_len(&out) > strlen(first_lines));
	assert_memory_equal(cv_buffer_bytes(&out), first_lines, strlen(first_lines));
	cv_buffer_done(&out);
}

static void test_urls(void **state)
{
	static const char *const bad[] = {"https://a/", "ftp://a/", "http://", "http:///x",
					  "http://a:x/", "http://a/#f", "http://a b/", "a/b",
					  "http://[::1/", "http://u@/", "http://a%20b/"};
	char line[64];

	(void)state;
	assert_url("http://a.test/x?y", "a.test:80", "GET /x?y HTTP/1.1\r\nHost: a.test\r\n");
	assert_url("HTTP://a.test:81", "a.test:81", "GET / HTTP/1.1\r\nHost: a.test:81\r\n");
	assert_url("http://u:p@x@a.test:?q", "a.test:80", "GET /?q HTTP/1.1\r\nHost: a.test\r\n");
	assert_url("http://[::1]:8/", "[::1]:8", "GET / HTTP/1.1\r\nHost: [::1]:8\r\n");
	assert_int_equal(judge("GET /x HTTP/1.1", "Host: a\r\n"), 0);
	assert_int_equal(request.form, CV_HTTP_ORIGIN_FORM);
	assert_int_equal(judge("GET http://a/ HTTP/1.1", ""), 400); /* no Host */
	assert_int_equal(judge("GET http://a/ HTTP/1.0", ""), 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		snprintf(line, sizeof(line), "GET %s HTTP/1.1", bad[i]);
		if (strchr(bad[i], ' '))
			continue; /* no request line at all */
		assert_int_equal(judge(line, "Host: a\r\n"), 400);
	}
}

static void test_framing(void **state)
{
	static const struct {
		const char *fields;
		unsigned status;
	} bad[] = {
		{"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", 400},
		{"Content-Length: 3\r\nContent-Length: 3\r\n", 400},
		{"Content-Length: 3,3\r\n", 400},
		{"Content-Length: -3\r\n", 400},
		{"Content-Length: 3 3\r\n", 400},
		{"Content-Length:\r\n", 400},
		{"Content-Length: 9999999999999999999\r\n", 400},
		{"Transfer-Encoding: gzip\r\n", 501},
		{"Transfer-Encoding: chunked, chunked\r\n", 501},
		{"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 400},
		{"Host: b\r\n", 400},
		{"Connection: Host\r\n", 400},
		{"Connection: a, content-length\r\n", 400},
		{"Proxy-Connection: transfer-encoding\r\n", 400},
	};
	char fields[256];

	(void)state;
	assert_int_equal(judge("POST http://a/ HTTP/1.1", "Host: a\r\nContent-Length: 0012\r\n"),
			 0);
	assert_int_equal(request.framing, CV_HTTP_LENGTH);
	assert_int_equal(request.body_bytes, 12);
	assert_int_equal(
		judge("POST http://a/ HTTP/1.1", "Host: a\r\nTransfer-Encoding: Chunked\r\n"), 0);
	assert_int_equal(request.framing, CV_HTTP_CHUNKED);
	assert_int_equal(judge("POST http://a/ HTTP/1.0", "Transfer-Encoding: chunked\r\n"), 400);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		snprintf(fields, sizeof(fields), "Host: a\r\n%s", bad[i].fields);
		assert_int_equal(judge("POST http://a/ HTTP/1.1", fields), bad[i].status);
	}
}

static void test_keep_alive(void **state)
{
	(void)state;
	assert_int_equal(judge("GET http://a/ HTTP/1.1", "Host: a\r\nConnection: close\r\n"), 0);
	assert_false(request.keep_alive);
	assert_int_equal(judge("GET http://a/ HTTP/1.0", "Proxy-Connection: Keep-Alive\r\n"), 0);
	assert_true(request.keep_alive);
	assert_int_equal(judge("head http://a/ HTTP/1.0", ""), 0); /* another method, with a body */
	assert_false(request.is_head);
	assert_int_equal(judge("HEAD http://a/ HTTP/1.0",
			       "Connection: close\r\nProxy-Connection: keep-alive\r\n"), 0);
	assert_false(request.keep_alive);
	assert_true(request.is_head);
}

static void test_for_the_origin(void **state)
{
	static const char expected[] =
		"POST / HTTP/1.1\r\nHost: a\r\nAccept: x\r\nAuthorization: Basic eA==\r\n"
		"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
	struct cv_buffer out;

	(void)state;
	assert_int_equal(
		judge("POST http://a/ HTTP/1.1",
		      "Accept:  x\r\nConnection: X-B, close\r\nHost: b\r\nX-B: 1\r\n"
		      "TE: trailers\r\n"
		      "Keep-Alive: 1\r\nProxy-Authorization: Basic YTpi\r\nUpgrade: h2c\r\n"
		      "Authorization: Basic eA==\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n"),
		0);
	assert_false(request.is_upgrade);
	cv_buffer_init(&out, 65536);
	assert_int_equal(cv_http_request_write(&head, &request, &out), 0);
	assert_int_equal(cv_buffer_len(&out), sizeof(expected) - 1);
	assert_memory_equal(cv_buffer_bytes(&out), expected, sizeof(expected) - 1);
	cv_buffer_done(&out);
}

static int credentials_of(const char *fields, struct cv_http_credentials *credentials)
{
	(void)judge("CONNECT a:1 HTTP/1.0", fields);
	return cv_http_credentials(&head, credentials);
}

static void test_credentials(void **state)
{
	static const char *const bad[] = {
		"Proxy-Authorization: Bearer YTpi\r\n", "Proxy-Authorization: Basic\r\n",
		"Proxy-Authorization: Basic YWI=\r\n", /* no colon */
		"Proxy-Authorization: Basic !!\r\n", "Proxy-Authorization: Basic YQA6Yg==\r\n",
		"Proxy-Authorization: Basic YTpi\r\nProxy-Authorization: Basic YTpi\r\n",
	};
	struct cv_http_credentials credentials;

	(void)state;
	assert_int_equal(credentials_of("", &credentials), CV_PEER_NO_METHOD);
	assert_int_equal(
		credentials_of("Proxy-authorization: bASIC  YWxpY2U6YTpi\r\n", &credentials), 0);
	assert_string_equal(credentials.user, "alice");
	assert_string_equal(credentials.password, "a:b");
	assert_int_equal(credentials_of("Proxy-Authorization: Basic Og\r\n", &credentials), 0);
	assert_int_equal(credentials.user_len + credentials.password_len, 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(credentials_of(bad[i], &credentials), CV_PEER_DECODE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tunnels),
		cmocka_unit_test(test_urls),
		cmocka_unit_test(test_framing),
		cmocka_unit_test(test_keep_alive),
		cmocka_unit_test(test_for_the_origin),
		cmocka_unit_test(test_credentials),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
