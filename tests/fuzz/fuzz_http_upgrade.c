// SPDX-License-Identifier: MIT
/*
 * fuzz_http_upgrade.c - any request and any answer: no judgement reads past them, what is agreed to
 * has what it needs, and every answer of ours is one well-formed head.
 *
 *   input:  which 1 | head ..      which: bit 0 answer instead of request, bit 1 HTTPUpgrade
 */
#include "wire/http_upgrade.h"

#include <culvert/reason.h>

#include "check.h"

#define KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

/* What goes out reads as a response, whole, with nothing behind its head but what it announces. */
static void check_answer(struct cv_buffer *text, unsigned status)
{
	struct cv_http_head head;

	check(cv_http_response_head_read(cv_buffer_span(text), &head) == 0);
	check(head.status == status);
	cv_buffer_done(text);
}

static void check_agreement(enum cv_upgrade kind, const struct cv_http_head *head)
{
	struct cv_buffer early, text;
	struct cv_span echo = {0};

	cv_buffer_init(&early, 16384);
	cv_buffer_init(&text, 65536);
	if (kind == CV_UPGRADE_WEBSOCKET) {
		check(cv_upgrade_key(head).len_bytes == CV_WEBSOCKET_KEY_TEXT);
		check(cv_upgrade_early(head, &early, &echo) == 0);
		check((echo.len_bytes > 0) == (cv_buffer_len(&early) > 0));
		check(cv_buffer_len(&early) <= CV_UPGRADE_EARLY_MAX + 8);
	}
	check(cv_upgrade_accept(kind, ACCEPT, echo, &text) == 0);
	check_answer(&text, 101);
	cv_buffer_done(&early);
}

static void check_refusal(unsigned status, const struct cv_http_head *head)
{
	struct cv_buffer text;
	bool closes;

	cv_buffer_init(&text, 4096);
	check(cv_upgrade_refuse(status, head, "Sat, 21 Nov 2026 18:00:00 GMT", &text,
				&closes) == 0);
	check(head || closes);
	check_answer(&text, status);
}

static void run_request(enum cv_upgrade kind, struct cv_span input)
{
	struct cv_http_head head;
	unsigned status = 0;

	if (cv_http_request_head_read(input, &head, &status) != 0)
		return;
	status = cv_upgrade_judge(kind, &head, "/x", "a.test");
	check(status == 101 || status == 400 || status == 404 || status == 405);
	if (status == 101)
		check_agreement(kind, &head);
	else
		check_refusal(status, &head);
}

static void run_answer(enum cv_upgrade kind, struct cv_span input)
{
	struct cv_http_head head;
	int result;

	if (cv_http_response_head_read(input, &head) != 0)
		return;
	result = cv_upgrade_answer(kind, &head, ACCEPT, false);
	check(result == 0 || result == CV_UPSTREAM_NO_UPGRADE || result == CV_UPSTREAM_DECODE);
	check(result != 0 || head.status == 101);
}

/* Early data of any bytes come back as they were. */
static void check_early(struct cv_span bytes)
{
	struct cv_upgrade_request request = {
		.path = "/x", .host = "a.test", .user_agent = "u", .headers = "", .key = KEY};
	struct cv_buffer text, early;
	struct cv_http_head head;
	struct cv_span echo;
	unsigned status;

	if (bytes.len_bytes > CV_UPGRADE_EARLY_MAX)
		bytes.len_bytes = CV_UPGRADE_EARLY_MAX;
	request.early = bytes;
	cv_buffer_init(&text, 32768);
	cv_buffer_init(&early, 16384);
	check(cv_upgrade_request(&request, &text) == 0);
	check(cv_http_request_head_read(cv_buffer_span(&text), &head, &status) == 0);
	check(cv_upgrade_judge(CV_UPGRADE_WEBSOCKET, &head, "/x", "a.test") == 101);
	check(cv_upgrade_early(&head, &early, &echo) == 0);
	check_same(cv_buffer_span(&early), bytes);
	cv_buffer_done(&text);
	cv_buffer_done(&early);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cv_span input = cv_span_of(data, size);
	const uint8_t which = take_u8(&input);
	const enum cv_upgrade kind = which & 2 ? CV_UPGRADE_BARE : CV_UPGRADE_WEBSOCKET;

	if (which & 1)
		run_answer(kind, input);
	else
		run_request(kind, input);
	check_early(input);
	return 0;
}
