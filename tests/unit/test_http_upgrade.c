// SPDX-License-Identifier: MIT
/*
 * test_http_upgrade.c - handshakes of WebSocket and HTTPUpgrade: which request gets which answer,
 * early data, what a client says, and which answers it believes.
 */
#include "wire/http_upgrade.h"

#include <culvert/reason.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define DATE "Sat, 21 Nov 2026 18:00:00 GMT"
#define KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
#define LINES \
	"Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" \
	"Sec-WebSocket-Key: " KEY "\r\n"

static struct cv_http_head request(const char *text)
{
	struct cv_http_head head;
	unsigned status = 0;

	assert_int_equal(cv_http_request_head_read(cv_span_of(text, strlen(text)), &head, &status),
			 0);
	return head;
}

static struct cv_http_head answer(const char *text)
{
	struct cv_http_head head;

	assert_int_equal(cv_http_response_head_read(cv_span_of(text, strlen(text)), &head), 0);
	return head;
}

static void expect_text(struct cv_buffer *out, const char *expected)
{
	assert_int_equal(cv_buffer_append(out, "", 1), 0);
	assert_string_equal((const char *)cv_buffer_bytes(out), expected);
	cv_buffer_done(out);
}

/* ---- which request ------------------------------------------------------------------------ */

static void requests_of_websocket(void **state)
{
	static const struct {
		const char *text, *path, *host;
		unsigned status;
	} cases[] = {
		{"GET /x HTTP/1.1\r\nHost: a\r\n" LINES "\r\n", "/x", "", 101},
		{"GET /x?ed=1&b HTTP/1.1\r\nHost: a\r\n" LINES "\r\n", "/x", "", 101},
		{"GET /%78 HTTP/1.1\r\nHost: a\r\n" LINES "\r\n", "/x", "", 101},
		{"GET /x HTTP/1.1\r\nHost: A.test:8443\r\n" LINES "\r\n", "/x", "a.TEST", 101},
		{"GET /x HTTP/1.1\r\nHost: [::1]:8443\r\n" LINES "\r\n", "/x", "::1", 101},
		{"GET /x HTTP/1.1\r\nHost: ::1\r\n" LINES "\r\n", "/x", "::1", 101},
		{"GET /x HTTP/1.1\r\nHost: b\r\n" LINES "\r\n", "/x", "a,b", 101},
		/* host and path come before everything else */
		{"GET /x HTTP/1.1\r\nHost: b\r\n" LINES "\r\n", "/x", "a", 404},
		{"GET /x HTTP/1.1\r\nHost: aa\r\n" LINES "\r\n", "/x", "a", 404},
		{"GET /y HTTP/1.1\r\nHost: a\r\n" LINES "\r\n", "/x", "", 404},
		{"GET /x/ HTTP/1.1\r\nHost: a\r\n" LINES "\r\n", "/x", "", 404},
		{"GET /X HTTP/1.1\r\nHost: a\r\n" LINES "\r\n", "/x", "", 404},
		{"GET / HTTP/1.1\r\nHost: a\r\n" LINES "\r\n", "/x", "", 404},
		{"GET /x%00 HTTP/1.1\r\nHost: a\r\n" LINES "\r\n", "/x", "", 404},
		{"GET /%7 HTTP/1.1\r\nHost: a\r\n" LINES "\r\n", "/x", "", 404},
		{"GET http://a/x HTTP/1.1\r\nHost: a\r\n" LINES "\r\n", "/x", "", 404},
		{"POST /y HTTP/1.1\r\nHost: a\r\n\r\n", "/x", "", 404},
		{"GET /x HTTP/1.1\r\n" LINES "\r\n", "/x", "", 400},
		{"GET /x HTTP/1.1\r\nHost: a\r\nHost: a\r\n" LINES "\r\n", "/x", "", 400},
		{"GET /x HTTP/1.1\r\nHost: a\r\n\r\n", "/x", "", 400},
		{"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
		 "Upgrade: websocket\r\n\r\n", "/x", "", 400},
		{"GET /x HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\n"
		 "Upgrade: h2c\r\n\r\n", "/x", "", 400},
		{"POST /x HTTP/1.1\r\nHost: a\r\n" LINES "\r\n", "/x", "", 405},
		{"GET /x HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
		 "Sec-WebSocket-Key: " KEY "\r\n\r\n", "/x", "", 400},
		{"GET /x HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
		 "Sec-WebSocket-Version: 8\r\nSec-WebSocket-Key: " KEY "\r\n\r\n", "/x", "", 400},
		{"GET /x HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
		 "Sec-WebSocket-Version: 13\r\n\r\n", "/x", "", 400},
		{"GET /x HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
		 "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: c2hvcnQ=\r\n\r\n", "/x", "", 400},
		{"GET /x HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
		 "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ************************\r\n\r\n",
		 "/x", "", 400},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct cv_http_head head = request(cases[i].text);
		const unsigned status = cv_upgrade_judge(CV_UPGRADE_WEBSOCKET, &head,
							 cases[i].path, cases[i].host);

		if (status != cases[i].status)
			fail_msg("%zu: %u instead of %u", i, status, cases[i].status);
	}
}

static void requests_of_httpupgrade(void **state)
{
	static const struct {
		const char *text;
		unsigned status;
	} cases[] = {
		{"GET /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n",
		 101},
		{"GET /y HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
		 404},
		{"GET /x HTTP/1.1\r\nHost: b\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
		 404},
		{"GET /x HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, upgrade\r\n"
		 "Upgrade: websocket\r\n\r\n", 400},
		{"GET /x HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\n\r\n", 400},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct cv_http_head head = request(cases[i].text);

		assert_int_equal(cv_upgrade_judge(CV_UPGRADE_BARE, &head, "/x", "a"),
				 cases[i].status);
	}
}

/* ---- early data --------------------------------------------------------------------------- */

static void early_data(void **state)
{
	static const struct {
		const char *value, *expected;
		size_t len;
	} cases[] = {
		{"aGVsbG8", "hello", 5},
		{"aGVsbG8=", "hello", 5},
		{"-_8A", "\xfb\xff\0", 3},
		{"+/8A", "\xfb\xff\0", 3},
		{"graphql-ws, x", "", 0},
		{"", "", 0},
		{"a", "", 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char text[512];
		struct cv_http_head head;
		struct cv_buffer out;
		struct cv_span echo;

		snprintf(text, sizeof(text), "GET / HTTP/1.1\r\nSec-WebSocket-Protocol: %s\r\n\r\n",
			 cases[i].value);
		head = request(text);
		cv_buffer_init(&out, 8192);
		assert_int_equal(cv_upgrade_early(&head, &out, &echo), 0);
		assert_int_equal(cv_buffer_len(&out), cases[i].len);
		assert_int_equal(echo.len_bytes, cases[i].len ? strlen(cases[i].value) : 0);
		if (cases[i].len) {
			assert_memory_equal(cv_buffer_bytes(&out), cases[i].expected,
					    cases[i].len);
			assert_memory_equal(echo.data, cases[i].value, echo.len_bytes);
		}
		cv_buffer_done(&out);
	}
}

/* ---- what a server answers ---------------------------------------------------------------- */

static void agreement(void **state)
{
	struct cv_buffer out;

	(void)state;
	cv_buffer_init(&out, 4096);
	assert_int_equal(cv_upgrade_accept(CV_UPGRADE_WEBSOCKET, ACCEPT, (struct cv_span){0}, &out),
			 0);
	expect_text(&out, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
			  "Connection: Upgrade\r\nSec-WebSocket-Accept: " ACCEPT "\r\n\r\n");
	assert_int_equal(cv_upgrade_accept(CV_UPGRADE_WEBSOCKET, ACCEPT, cv_span_of("aGk", 3),
					   &out), 0);
	expect_text(&out, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
			  "Connection: Upgrade\r\nSec-WebSocket-Accept: " ACCEPT "\r\n"
			  "Sec-WebSocket-Protocol: aGk\r\n\r\n");
	assert_int_equal(cv_upgrade_accept(CV_UPGRADE_BARE, NULL, (struct cv_span){0}, &out), 0);
	expect_text(&out, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
			  "Upgrade: websocket\r\n\r\n");
}

static void refusals(void **state)
{
	const struct cv_http_head plain = request("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
	const struct cv_http_head last =
		request("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n");
	struct cv_buffer out;
	bool closes;

	(void)state;
	cv_buffer_init(&out, 4096);
	assert_int_equal(cv_upgrade_refuse(404, &plain, DATE, &out, &closes), 0);
	assert_false(closes);
	expect_text(&out, "HTTP/1.1 404 Not Found\r\nDate: " DATE "\r\nContent-Length: 0\r\n\r\n");
	assert_int_equal(cv_upgrade_refuse(404, &last, DATE, &out, &closes), 0);
	assert_true(closes);
	expect_text(&out, "HTTP/1.1 404 Not Found\r\nDate: " DATE "\r\nContent-Length: 0\r\n"
			  "Connection: close\r\n\r\n");
	assert_int_equal(cv_upgrade_refuse(400, &plain, DATE, &out, &closes), 0);
	assert_false(closes);
	expect_text(&out, "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n"
			  "Sec-Websocket-Version: 13\r\nX-Content-Type-Options: nosniff\r\n"
			  "Date: " DATE "\r\nContent-Length: 12\r\n\r\nBad Request\n");
	assert_int_equal(cv_upgrade_refuse(431, NULL, DATE, &out, &closes), 0);
	assert_true(closes);
	expect_text(&out, "HTTP/1.1 431 Request Header Fields Too Large\r\n"
			  "Content-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n"
			  "431 Request Header Fields Too Large");
}

/* ---- what a client says ------------------------------------------------------------------- */

static void a_request(void **state)
{
	struct cv_upgrade_request wanted = {
		.kind = CV_UPGRADE_WEBSOCKET,
		.path = "/x",
		.host = "a.test",
		.user_agent = "Browser/1",
		.headers = "",
		.key = KEY,
	};
	struct cv_buffer out;

	(void)state;
	cv_buffer_init(&out, 32768);
	assert_int_equal(cv_upgrade_request(&wanted, &out), 0);
	expect_text(&out, "GET /x HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\n"
			  "Pragma: no-cache\r\nCache-Control: no-cache\r\n"
			  "User-Agent: Browser/1\r\nUpgrade: websocket\r\n"
			  "Accept-Encoding: gzip, deflate, br, zstd\r\n"
			  "Accept-Language: en-US,en;q=0.9\r\nSec-WebSocket-Version: 13\r\n"
			  "Sec-WebSocket-Key: " KEY "\r\n\r\n");
	wanted.kind = CV_UPGRADE_BARE;
	wanted.headers = "user-agent: Mine\r\nX-Y: z\r\n";
	assert_int_equal(cv_upgrade_request(&wanted, &out), 0);
	expect_text(&out, "GET /x HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\n"
			  "Pragma: no-cache\r\nCache-Control: no-cache\r\n"
			  "Upgrade: websocket\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n"
			  "Accept-Language: en-US,en;q=0.9\r\nuser-agent: Mine\r\nX-Y: z\r\n\r\n");
}

/* What a client puts into its request the server finds there, whatever the bytes. */
static void early_data_arrives(void **state)
{
	static const size_t lengths[] = {1, 2, 3, 2048, CV_UPGRADE_EARLY_MAX};
	uint8_t *bytes = malloc(CV_UPGRADE_EARLY_MAX + 1);
	struct cv_upgrade_request wanted = {
		.path = "/", .host = "a", .user_agent = "u", .headers = "", .key = KEY};

	(void)state;
	for (size_t i = 0; i <= CV_UPGRADE_EARLY_MAX; i++)
		bytes[i] = (uint8_t)(i * 13);
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		struct cv_buffer text, early;
		struct cv_http_head head;
		struct cv_span echo;
		unsigned status;

		cv_buffer_init(&text, 32768);
		cv_buffer_init(&early, 16384);
		wanted.early = cv_span_of(bytes, lengths[i]);
		assert_int_equal(cv_upgrade_request(&wanted, &text), 0);
		assert_true(cv_buffer_len(&text) <= CV_UPGRADE_HEAD_MAX);
		assert_int_equal(
			cv_http_request_head_read(cv_buffer_span(&text), &head, &status), 0);
		assert_int_equal(cv_upgrade_judge(CV_UPGRADE_WEBSOCKET, &head, "/", "a"), 101);
		assert_int_equal(cv_upgrade_early(&head, &early, &echo), 0);
		assert_int_equal(cv_buffer_len(&early), lengths[i]);
		assert_memory_equal(cv_buffer_bytes(&early), bytes, lengths[i]);
		cv_buffer_done(&text);
		cv_buffer_done(&early);
	}
	wanted.early = cv_span_of(bytes, CV_UPGRADE_EARLY_MAX + 1);
	struct cv_buffer text;
	cv_buffer_init(&text, 32768);
	assert_int_equal(cv_upgrade_request(&wanted, &text), CV_INTERNAL_STATE);
	cv_buffer_done(&text);
	free(bytes);
}

static void answers(void **state)
{
#define YES "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: upgrade\r\n"
	static const struct {
		const char *text;
		enum cv_upgrade kind;
		bool early;
		int result;
	} cases[] = {
		{YES "Sec-WebSocket-Accept: " ACCEPT "\r\n\r\n", CV_UPGRADE_WEBSOCKET, false, 0},
		{YES "Sec-WebSocket-Accept: " ACCEPT "\r\nSec-WebSocket-Protocol: aGk\r\n\r\n",
		 CV_UPGRADE_WEBSOCKET, true, 0},
		{YES "Sec-WebSocket-Accept: " ACCEPT "\r\nSec-WebSocket-Protocol: aGk\r\n\r\n",
		 CV_UPGRADE_WEBSOCKET, false, CV_UPSTREAM_DECODE},
		{YES "Sec-WebSocket-Accept: " ACCEPT "\r\n"
		     "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
		 CV_UPGRADE_WEBSOCKET, false, CV_UPSTREAM_DECODE},
		{YES "Sec-WebSocket-Accept: S3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
		 CV_UPGRADE_WEBSOCKET, false, CV_UPSTREAM_DECODE},
		{YES "\r\n", CV_UPGRADE_WEBSOCKET, false, CV_UPSTREAM_DECODE},
		{YES "\r\n", CV_UPGRADE_BARE, false, 0},
		{"HTTP/1.1 101 x\r\nConnection: upgrade\r\n\r\n", CV_UPGRADE_BARE, false,
		 CV_UPSTREAM_NO_UPGRADE},
		{"HTTP/1.1 101 x\r\nUpgrade: websocket\r\n\r\n", CV_UPGRADE_BARE, false,
		 CV_UPSTREAM_NO_UPGRADE},
		{"HTTP/1.1 404 Not Found\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
		 "Sec-WebSocket-Accept: " ACCEPT "\r\n\r\n",
		 CV_UPGRADE_WEBSOCKET, false, CV_UPSTREAM_NO_UPGRADE},
		{"HTTP/1.1 200 OK\r\n\r\n", CV_UPGRADE_BARE, false, CV_UPSTREAM_NO_UPGRADE},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct cv_http_head head = answer(cases[i].text);

		if (cv_upgrade_answer(cases[i].kind, &head, ACCEPT, cases[i].early) !=
		    cases[i].result)
			fail_msg("%zu", i);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests_of_websocket), cmocka_unit_test(requests_of_httpupgrade),
		cmocka_unit_test(early_data),		 cmocka_unit_test(agreement),
		cmocka_unit_test(refusals),		 cmocka_unit_test(a_request),
		cmocka_unit_test(early_data_arrives),	 cmocka_unit_test(answers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
