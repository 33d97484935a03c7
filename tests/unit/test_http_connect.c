// SPDX-License-Identifier: MIT
/*
 * test_http_connect.c - HTTP CONNECT as a client: what is asked, and each answer in every
 * segmentation.
 */
#include "wire/http_connect.h"

#include <culvert/reason.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct cv_buffer out;

static int setup_out(void **state)
{
	(void)state;
	cv_buffer_init(&out, 8192);
	return 0;
}

static int teardown_out(void **state)
{
	(void)state;
	cv_buffer_done(&out);
	return 0;
}

static void assert_asks(const char *host, const char *user, const char *password,
			const char *headers, const char *request)
{
	struct cv_destination destination;

	assert_int_equal(cv_destination_set_text(&destination, host, 443), 0);
	cv_buffer_consume(&out, cv_buffer_len(&out));
	assert_int_equal(cv_http_connect_write(&destination, user, password, headers, &out), 0);
	assert_int_equal(cv_buffer_len(&out), strlen(request));
	assert_memory_equal(cv_buffer_bytes(&out), request, strlen(request));
}

static void test_requests(void **state)
{
	(void)state;
	assert_asks("example.org", "", "", "",
		    "CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n");
	assert_asks("1.2.3.4", "Aladdin", "open sesame", "",
		    "CONNECT 1.2.3.4:443 HTTP/1.1\r\nHost: 1.2.3.4:443\r\n"
		    "Proxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n");
	/* the standard alphabet, one and no padding */
	assert_asks("::1", "a", "\xff\xfe\xfb", "X: y\r\n",
		    "CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\n"
		    "Proxy-Authorization: Basic YTr//vs=\r\nX: y\r\n\r\n");
	assert_asks("a", "ab", "", "", "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n"
				       "Proxy-Authorization: Basic YWI6\r\n\r\n");
}

static void test_what_cannot_be_asked(void **state)
{
	static const char *const names[] = {"", "a b", "a\r\nX: y", "a:1", "a/b", "u@a", "a\x7f"};
	struct cv_destination destination = {.kind = CV_ADDRESS_NONE, .port = 1};
	char text[257];

	(void)state;
	assert_int_equal(cv_http_connect_write(&destination, "", "", "", &out), CV_PEER_ADDRESS);
	destination.kind = CV_ADDRESS_DOMAIN;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		strcpy(destination.domain, names[i]);
		assert_int_equal(cv_http_connect_write(&destination, "", "", "", &out),
				 CV_PEER_ADDRESS);
	}
	strcpy(destination.domain, "a");
	memset(text, 'u', 256);
	text[256] = '\0';
	assert_int_equal(cv_http_connect_write(&destination, text, "", "", &out),
			 CV_INTERNAL_CONFIG);
	text[255] = '\0';
	assert_int_equal(cv_http_connect_write(&destination, text, text, "", &out), 0);
}

/* As a session: what was not used is passed again. */
static int drive(const char *answer, size_t piece, size_t *ret_used, int *ret_status)
{
	struct cv_http_connect connect = {0};
	size_t seen = 0, used_all = 0;
	int result = -EAGAIN;

	while (result == -EAGAIN && seen < strlen(answer)) {
		size_t used;

		seen = strlen(answer) - seen < piece ? strlen(answer) : seen + piece;
		result = cv_http_connect_read(&connect,
					      cv_span_of(answer + used_all, seen - used_all),
					      &used);
		used_all += used;
	}
	*ret_used = used_all;
	*ret_status = connect.status;
	return result;
}

static void test_answers_in_every_segmentation(void **state)
{
	static const struct {
		const char *answer;
		int result, status;
	} cases[] = {
		{"HTTP/1.1 200 Connection established\r\n\r\n", 0, 200},
		{"HTTP/1.0 200\r\n\r\n", 0, 200},
		{"HTTP/1.1 204 \r\nContent-Length: 5\r\n\r\n", 0, 204},
		{"HTTP/1.1 200 OK\nX: y\n\n", 0, 200},
		{"HTTP/1.1 200 OK\r\nX: y\r\n\n", 0, 200},
		{"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nL: x\r\n\r\n"
		 "HTTP/1.1 200 OK\r\n\r\n", 0, 200},
		{"HTTP/1.1 407 Who\r\n\r\n", CV_UPSTREAM_CREDENTIALS, 407},
		{"HTTP/1.1 403 No\r\n\r\n", CV_UPSTREAM_SAYS_FORBIDDEN, 403},
		{"HTTP/1.1 404 No\r\n\r\n", CV_UPSTREAM_SAYS_UNREACHABLE, 404},
		{"HTTP/1.1 502 No\r\n\r\n", CV_UPSTREAM_SAYS_REFUSED, 502},
		{"HTTP/1.1 503 No\r\n\r\n", CV_UPSTREAM_SAYS_UNAVAILABLE, 503},
		{"HTTP/1.1 504 No\r\n\r\n", CV_UPSTREAM_SAYS_TIMEOUT, 504},
		{"HTTP/1.1 500 No\r\n\r\n", CV_UPSTREAM_SAYS_FAILURE, 500},
		{"HTTP/1.1 302 No\r\n\r\n", CV_UPSTREAM_SAYS_FAILURE, 302},
		{"HTTP/1.1 101 Switch\r\n\r\n", CV_UPSTREAM_SAYS_FAILURE, 101},
		{"HTTP/1.1 099 What\r\n\r\n", CV_UPSTREAM_SAYS_FAILURE, 99},
		{"HTTP/1.1 200", -EAGAIN, 0},
		{"HTTP/1.1 200 OK\r\n\r", -EAGAIN, 0},
		{"HTTP/1.1 200 OK\r\nX: y\r\n", -EAGAIN, 0},
	};

	(void)state;
	for (size_t at = 0; at < sizeof(cases) / sizeof(cases[0]); at++) {
		for (size_t piece = 1; piece < 48; piece++) {
			size_t used;
			int status;

			assert_int_equal(drive(cases[at].answer, piece, &used, &status),
					 cases[at].result);
			assert_int_equal(status, cases[at].status);
			assert_int_equal(used, cases[at].result == -EAGAIN
						       ? 0
						       : strlen(cases[at].answer));
		}
	}
}

static void test_no_http(void **state)
{
	static const char *const answers[] = {
		"X", "SSH-2.0-x\r\n", "HTTP/2.0 200 OK\r\n\r\n", "HTTP/1.x 200 OK\r\n\r\n",
		"HTTP/1.1 20x OK\r\n\r\n", "HTTP/1.1 2000 OK\r\n\r\n", "HTTP/1.1  200 OK\r\n\r\n",
		"\r\n\r\n", "HTTP/1.1 \n\n",
	};
	size_t used;
	int status;

	(void)state;
	for (size_t at = 0; at < sizeof(answers) / sizeof(answers[0]); at++)
		for (size_t piece = 1; piece < 32; piece++)
			assert_int_equal(drive(answers[at], piece, &used, &status),
					 CV_UPSTREAM_DECODE);
	/* a NUL is not the end of a status */
	struct cv_http_connect connect = {0};

	assert_int_equal(cv_http_connect_read(&connect, cv_span_of("HTTP/1.1 200\0", 13), &used),
			 CV_UPSTREAM_DECODE);
}

static void test_rest_is_the_destinations(void **state)
{
	static const char answer[] = "HTTP/1.1 200 OK\r\n\r\n\r\nSSH-2.0-x\r\n";
	size_t used;
	int status;

	(void)state;
	assert_int_equal(drive(answer, 999, &used, &status), 0);
	assert_string_equal(answer + used, "\r\nSSH-2.0-x\r\n");
}

static void test_longest_head(void **state)
{
	static char text[3 * CV_HTTP_CONNECT_HEAD_MAX];
	static const char line[] = "HTTP/1.1 200 OK\r\nX: ";
	size_t used;
	int status;

	(void)state;
	for (size_t more = 0; more < 2; more++) {
		const size_t fill = CV_HTTP_CONNECT_HEAD_MAX - strlen(line) - 4 + more;

		strcpy(text, line);
		memset(text + strlen(line), 'y', fill);
		strcpy(text + strlen(line) + fill, "\r\n\r\n");
		assert_int_equal(drive(text, 1000, &used, &status), more ? CV_UPSTREAM_DECODE : 0);
	}
	/* interim heads count, however many */
	text[0] = '\0';
	for (size_t len = 0; len < CV_HTTP_CONNECT_HEAD_MAX; len += 25)
		strcpy(text + len, "HTTP/1.1 100 Continue\r\n\r\n");
	assert_int_equal(drive(text, 100, &used, &status), CV_UPSTREAM_DECODE);
}

int main(void)
{
#define OUT_TEST(name) cmocka_unit_test_setup_teardown(name, setup_out, teardown_out)
	const struct CMUnitTest tests[] = {
		OUT_TEST(test_requests),
		OUT_TEST(test_what_cannot_be_asked),
		cmocka_unit_test(test_answers_in_every_segmentation),
		cmocka_unit_test(test_no_http),
		cmocka_unit_test(test_rest_is_the_destinations),
		cmocka_unit_test(test_longest_head),
	};

	return cmocka_run_group_tests_name("http_connect", tests, NULL, NULL);
}
