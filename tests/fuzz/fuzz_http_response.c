// SPDX-License-Identifier: MIT
/*
 * fuzz_http_response.c - what is written for the client says where its body ends, in the framing
 * that was promised, and keeps the connection only if that is no guess.
 */
#include "wire/http_response.h"

#include "check.h"

#include <errno.h>

static void check_written(const struct cv_http_client *client,
			  const struct cv_http_response *response, struct cv_span written)
{
	struct cv_http_response again;
	struct cv_http_head head;

	check(cv_http_response_head_read(written, &head) == 0);
	check(head.len_bytes == written.len_bytes);
	check(cv_http_response_judge(&head, client, &again) == 0);
	check(again.is_interim == response->is_interim);
	if (response->is_rechunked)
		check(again.framing == CV_HTTP_CHUNKED);
	else if (response->framing == CV_HTTP_LENGTH)
		check(again.framing == CV_HTTP_LENGTH && again.body_bytes == response->body_bytes);
	else if (response->framing != CV_HTTP_NO_BODY)
		check(again.framing == CV_HTTP_UNTIL_CLOSE && !response->keep_alive);
	if (!response->is_interim && !response->is_upgrade && !response->keep_alive)
		check(cv_http_lists(&head, "connection", "close"));
	check(!cv_http_field(&head, "keep-alive", NULL));
	check(!cv_http_field(&head, "proxy-authenticate", NULL));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cv_span input = cv_span_of(data, size);
	const uint8_t flags = take_u8(&input);
	const struct cv_http_client client = {
		.minor_version = flags & 1,
		.is_head = flags & 2,
		.is_upgrade = flags & 4,
		.keep_alive = flags & 8,
	};
	struct cv_http_response response;
	struct cv_http_head head;
	struct cv_buffer out;
	int result = cv_http_response_head_read(input, &head);

	if (result == -EAGAIN)
		check(input.len_bytes < CV_HTTP_RESPONSE_HEAD_MAX);
	if (result || cv_http_response_judge(&head, &client, &response) != 0)
		return 0;
	cv_buffer_init(&out, 256 * 1024);
	check(cv_http_response_write(&head, &client, &response, &out) == 0);
	if (head.field_count + 2 <= CV_HTTP_FIELDS_MAX &&
	    cv_buffer_len(&out) <= CV_HTTP_RESPONSE_HEAD_MAX)
		check_written(&client, &response, cv_buffer_span(&out));
	cv_buffer_done(&out);
	return 0;
}
