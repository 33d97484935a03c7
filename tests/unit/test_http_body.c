// SPDX-License-Identifier: MIT
/*
 * test_http_body.c - where bodies end, and what is no body: RFC 9112 7.1.
 */
#include "wire/http_body.h"

#include <culvert/reason.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct cv_http_body body;
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

/* What is left of @text when the body is whole; its content must be @content. */
static void assert_body(enum cv_http_framing framing, uint64_t len, bool is_rechunked,
			const char *text, const char *content, const char *left)
{
	for (size_t piece = 1; piece <= strlen(text) + 1; piece++) {
		size_t used = 0;
		int result = -EAGAIN;

		cv_buffer_consume(&out, cv_buffer_len(&out));
		cv_http_body_init(&body, framing, len, is_rechunked);
		do {
			const size_t rest = strlen(text) - used;
			struct cv_span span = cv_span_of(text + used, rest < piece ? rest : piece);
			const size_t before = span.len_bytes;

			result = cv_http_body_read(&body, &span, &out);
			used += before - span.len_bytes;
		} while (result == -EAGAIN && used < strlen(text));
		assert_int_equal(result, 0);
		assert_string_equal(text + used, left);
		if (is_rechunked && piece <= strlen(text))
			continue; /* chunks are cut as they come */
		assert_int_equal(cv_buffer_len(&out), strlen(content));
		assert_memory_equal(cv_buffer_bytes(&out), content, strlen(content));
	}
}

static void test_framings(void **state)
{
	(void)state;
	assert_body(CV_HTTP_NO_BODY, 0, false, "GET", "", "GET");
	assert_body(CV_HTTP_LENGTH, 0, false, "GET", "", "GET");
	assert_body(CV_HTTP_LENGTH, 5, false, "helloGET", "hello", "GET");
	assert_body(CV_HTTP_LENGTH, 5, true, "helloGET", "5\r\nhello\r\n0\r\n\r\n", "GET");
	assert_body(CV_HTTP_CHUNKED, 0, false, "0\r\n\r\nGET", "", "GET");
	assert_body(CV_HTTP_CHUNKED, 0, false,
		    "5;a=\"b\"\r\nhello\r\n06 \r\n world\r\n000\r\nX: y\r\nZ:\r\n\r\nGET",
		    "hello world", "GET");
	assert_body(CV_HTTP_CHUNKED, 0, true, "A\r\n0123456789\r\n0\r\n\r\n",
		    "a\r\n0123456789\r\n0\r\n\r\n", "");
}

static void test_until_close(void **state)
{
	struct cv_span span = cv_span_of("all", 3);

	(void)state;
	cv_http_body_init(&body, CV_HTTP_UNTIL_CLOSE, 0, true);
	assert_int_equal(cv_http_body_read(&body, &span, &out), -EAGAIN);
	assert_int_equal(cv_http_body_end(&body, &out), 0);
	assert_int_equal(cv_buffer_len(&out), 13);
	assert_memory_equal(cv_buffer_bytes(&out), "3\r\nall\r\n0\r\n\r\n", 13);
}

static void test_cut_short(void **state)
{
	struct cv_span span = cv_span_of("3\r\nall\r\n0\r\n", 11);

	(void)state;
	cv_http_body_init(&body, CV_HTTP_CHUNKED, 0, false);
	assert_int_equal(cv_http_body_read(&body, &span, &out), -EAGAIN);
	assert_int_equal(cv_http_body_end(&body, &out), CV_PEER_TRUNCATED);
	cv_http_body_init(&body, CV_HTTP_LENGTH, 1, false);
	assert_int_equal(cv_http_body_end(&body, &out), CV_PEER_TRUNCATED);
}

static void test_bad_chunks(void **state)
{
	static const char *const bodies[] = {
		"\r\n", "x\r\n", "-1\r\n", "+1\r\n", "0x1\r\n", " 1\r\n", "1\n", "1\r\r", "1\r\nab",
		"1\r\na\n", "1;\n", "0\r\nX\n", "0\r\n\r\r", "1111111111111111\r\n", "1;\x01\r\n",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
		struct cv_span span = cv_span_of(bodies[i], strlen(bodies[i]));

		cv_http_body_init(&body, CV_HTTP_CHUNKED, 0, false);
		assert_int_equal(cv_http_body_read(&body, &span, &out), CV_PEER_DECODE);
	}
}

static void test_limits_of_what_is_dropped(void **state)
{
	static char text[20000];
	struct cv_span span = cv_span_of(text, 4 + 4097);

	(void)state;
	memset(text, 'a', sizeof(text));
	memcpy(text, "0001;", 5);
	cv_http_body_init(&body, CV_HTTP_CHUNKED, 0, false);
	assert_int_equal(cv_http_body_read(&body, &span, &out), -EAGAIN);
	span = cv_span_of("a", 1);
	assert_int_equal(cv_http_body_read(&body, &span, &out), CV_PEER_DECODE);

	memcpy(text, "0\r\n", 3);
	span = cv_span_of(text, 3 + 16385);
	cv_http_body_init(&body, CV_HTTP_CHUNKED, 0, false);
	assert_int_equal(cv_http_body_read(&body, &span, &out), CV_PEER_DECODE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_framings, setup, teardown),
		cmocka_unit_test_setup_teardown(test_until_close, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cut_short, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_chunks, setup, teardown),
		cmocka_unit_test_setup_teardown(test_limits_of_what_is_dropped, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
