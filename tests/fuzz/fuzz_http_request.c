// SPDX-License-Identifier: MIT
/*
 * fuzz_http_request.c - a head that is accepted ends where it ends whatever follows, and what is
 * written for the origin is a request in one reading only: same body, one Host, nothing of ours.
 */
#include "wire/http_request.h"

#include "check.h"

#include <errno.h>

static void check_written(const struct cv_http_request *request, struct cv_span written)
{
	struct cv_http_head head;
	struct cv_http_request again;
	unsigned status = 0;
	size_t hosts;

	check(cv_http_request_head_read(written, &head, &status) == 0);
	check(head.len_bytes == written.len_bytes);
	check(cv_http_request_judge(&head, &again, &status) == 0);
	check(again.form == CV_HTTP_ORIGIN_FORM && again.framing == request->framing);
	check(again.body_bytes == request->body_bytes && again.is_head == request->is_head);
	(void)cv_http_field(&head, "host", &hosts);
	check(hosts == 1);
	check(!cv_http_field(&head, "proxy-authorization", NULL));
	check(!cv_http_field(&head, "proxy-connection", NULL));
	check(!cv_http_field(&head, "keep-alive", NULL) && !cv_http_field(&head, "te", NULL));
	check(!again.keep_alive || request->is_upgrade);
}

static void check_forward(const struct cv_http_head *head, const struct cv_http_request *request)
{
	struct cv_buffer out;

	cv_buffer_init(&out, 256 * 1024);
	check(cv_http_request_write(head, request, &out) == 0);
	if (head->field_count + 4 <= CV_HTTP_FIELDS_MAX && cv_buffer_len(&out) <= CV_HTTP_HEAD_MAX)
		check_written(request, cv_buffer_span(&out));
	cv_buffer_done(&out);
}

static void check_prefix(const uint8_t *data, size_t len, size_t head_len)
{
	struct cv_http_head head;
	unsigned status = 0;

	for (size_t at = 0; at < head_len; at += 1 + at / 64)
		check(cv_http_request_head_read(cv_span_of(data, at), &head, &status) == -EAGAIN);
	check(head_len <= len && head_len <= CV_HTTP_HEAD_MAX);
	check(cv_http_request_head_read(cv_span_of(data, head_len), &head, &status) == 0);
	check(head.len_bytes == head_len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cv_http_credentials credentials;
	struct cv_http_request request;
	struct cv_http_head head;
	unsigned status = 0;
	int result = cv_http_request_head_read(cv_span_of(data, size), &head, &status);

	if (result == -EAGAIN)
		check(size < CV_HTTP_HEAD_MAX);
	else if (result)
		check(status == 400 || status == 431 || status == 505);
	if (result)
		return 0;
	check_prefix(data, size, head.len_bytes);
	check(cv_http_request_head_read(cv_span_of(data, size), &head, &status) == 0);
	if (cv_http_credentials(&head, &credentials) == 0) {
		check(strlen(credentials.user) == credentials.user_len);
		check(strlen(credentials.password) == credentials.password_len);
	}
	if (cv_http_request_judge(&head, &request, &status) != 0) {
		check(status == 400 || status == 501);
		return 0;
	}
	if (request.form != CV_HTTP_ORIGIN_FORM)
		check(request.destination.kind != CV_ADDRESS_NONE && request.destination.port > 0);
	if (request.form == CV_HTTP_FORWARD)
		check_forward(&head, &request);
	return 0;
}
