// SPDX-License-Identifier: MIT
/*
 * test_http_response.c - responses as each kind of client gets them, and our own: HTTP B, C.
 */
#include "wire/http_response.h"

#include <culvert/reason.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const struct cv_http_client modern = {.minor_version = 1, .keep_alive = true};
static const struct cv_http_client old = {.minor_version = 0, .keep_alive = true};
static struct cv_http_head head;
static struct cv_http_response response;
static struct cv_buffer out;

static int setup(void **state)
{
	(void)state;
	cv_buffer_init(&out, 65536);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	cv_buffer_done(&out);
	return 0;
}

static int judge(const char *text, const struct cv_http_client *client)
{
	assert_int_equal(cv_http_response_head_read(cv_span_of(text, strlen(text)), &head), 0);
	return cv_http_response_judge(&head, client, &response);
}

static void assert_out(const char *expected)
{
	assert_int_equal(cv_buffer_len(&out), strlen(expected));
	assert_memory_equal(cv_buffer_bytes(&out), expected, strlen(expected));
	cv_buffer_consume(&out, cv_buffer_len(&out));
}

static void assert_written(const char *text, const struct cv_http_client *client,
			   const char *expected)
{
	assert_int_equal(judge(text, client), 0);
	assert_int_equal(cv_http_response_write(&head, client, &response, &out), 0);
	assert_out(expected);
}

static void test_framings(void **state)
{
	static const char chunked[] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
				      "Content-Length: 3\r\n\r\n";

	(void)state;
	assert_written("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n", &modern,
		       "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n");
	assert_true(response.keep_alive);
	assert_written("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", &old,
		       "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\n");
	assert_written(chunked, &modern, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
	assert_true(response.keep_alive);
	assert_written(chunked, &old, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
	assert_false(response.keep_alive);
	assert_written("HTTP/1.0 200 OK\n\n", &modern,
		       "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
	assert_int_equal(response.framing, CV_HTTP_UNTIL_CLOSE);
	assert_written("HTTP/1.0 200 OK\n\n", &old, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
}

static void test_without_body(void **state)
{
	const struct cv_http_client of_head = {.minor_version = 1, .is_head = true};

	(void)state;
	assert_written("HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n", &modern,
		       "HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n");
	assert_int_equal(response.framing, CV_HTTP_NO_BODY);
	assert_written("HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\n", &modern,
		       "HTTP/1.1 204 No Content\r\n\r\n");
	assert_written("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", &of_head,
		       "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
	assert_int_equal(response.framing, CV_HTTP_NO_BODY);
	assert_written("HTTP/1.1 103 Early Hints\r\nLink: x\r\nContent-Length: 9\r\n\r\n", &modern,
		       "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n");
	assert_true(response.is_interim);
}

static void test_upgrade(void **state)
{
	static const char text[] = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n"
				   "Upgrade: websocket\r\n\r\n";
	const struct cv_http_client asked = {
		.minor_version = 1, .is_upgrade = true, .keep_alive = true};

	(void)state;
	assert_int_equal(judge(text, &modern), CV_UPSTREAM_DECODE);
	assert_written(text, &asked,
		       "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
		       "Connection: upgrade\r\n\r\n");
	assert_true(response.is_upgrade && !response.is_interim);
}

static void test_hop_by_hop(void **state)
{
	(void)state;
	assert_written("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: X-A\r\nX-A: 1\r\n"
		       "Keep-Alive: 5\r\nProxy-Authenticate: Basic\r\nSet-Cookie: a\r\n"
		       "Set-Cookie: b\r\nTrailer: x\r\n\r\n", &modern,
		       "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nSet-Cookie: a\r\n"
		       "Set-Cookie: b\r\n\r\n");
}

static void test_refused(void **state)
{
	static const char *const bad[] = {
		"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 3x\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n\r\n",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(judge(bad[i], &modern), CV_UPSTREAM_DECODE);
}

static void test_own_answers(void **state)
{
	(void)state;
	assert_int_equal(cv_http_answer(407, false, true, &out), 0);
	assert_out("HTTP/1.1 407 Proxy Authentication Required\r\nContent-Type: text/plain\r\n"
		   "Content-Length: 30\r\n"
		   "Proxy-Authenticate: Basic realm=\"proxy\", charset=\"UTF-8\"\r\n"
		   "Connection: keep-alive\r\n\r\nProxy Authentication Required\n");
	assert_int_equal(cv_http_answer(502, true, false, &out), 0);
	assert_out("HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/plain\r\nContent-Length: 12\r\n"
		   "Connection: close\r\n\r\n");
	assert_int_equal(cv_http_established(&out), 0);
	assert_out("HTTP/1.1 200 Connection established\r\n\r\n");
}

static void test_status_of_reasons(void **state)
{
	(void)state;
	assert_int_equal(cv_http_status_of(CV_POLICY_BLOCKED), 403);
	assert_int_equal(cv_http_status_of(CV_UPSTREAM_TIMEOUT), 504);
	assert_int_equal(cv_http_status_of(CV_UPSTREAM_REFUSED), 502);
	assert_int_equal(cv_http_status_of(CV_UPSTREAM_FAILED), 502);
	assert_int_equal(cv_http_status_of(CV_UPSTREAM_SAYS_REFUSED), 502);
	assert_int_equal(cv_http_status_of(CV_UPSTREAM_SAYS_TIMEOUT), 504);
	assert_int_equal(cv_http_status_of(CV_UPSTREAM_SAYS_FORBIDDEN), 403);
	assert_int_equal(cv_http_status_of(CV_POLICY_NO_PROXY), 403);
	assert_int_equal(cv_http_status_of(CV_UPSTREAM_RESOLVE), 502);
	assert_int_equal(cv_http_status_of(-EMFILE), 503);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_framings, setup, teardown),
		cmocka_unit_test_setup_teardown(test_without_body, setup, teardown),
		cmocka_unit_test_setup_teardown(test_upgrade, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hop_by_hop, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_own_answers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_status_of_reasons, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
