// SPDX-License-Identifier: MIT
/*
 * http_response.c - responses on their way to the client of an HTTP proxy.
 *
 *   origin            client 1.1                client 1.0
 *   length            length                    length
 *   chunked           chunked, cut anew         as it is, then close
 *   until close       chunked                   as it is, then close
 */
#include "wire/http_response.h"

#include "base/cursor.h"

#include <culvert/reason.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* ---- judging ------------------------------------------------------------------------------ */

static int read_length(const struct cv_http_head *head, uint64_t *ret_len, bool *ret_found)
{
	const struct cv_http_field *first = cv_http_field(head, "content-length", NULL);
	uint64_t len = 0;

	*ret_found = first != NULL;
	if (!first)
		return 0;
	if (first->value.len_bytes == 0 || first->value.len_bytes > 18)
		return CV_UPSTREAM_DECODE;
	for (size_t i = 0; i < first->value.len_bytes; i++) {
		if (first->value.data[i] < '0' || first->value.data[i] > '9')
			return CV_UPSTREAM_DECODE;
		len = len * 10 + (first->value.data[i] - '0');
	}
	for (size_t i = 0; i < head->field_count; i++) /* the same again is tolerated */
		if (cv_http_span_is(head->fields[i].name, "content-length") &&
		    (head->fields[i].value.len_bytes != first->value.len_bytes ||
		     memcmp(head->fields[i].value.data, first->value.data,
			    first->value.len_bytes) != 0))
			return CV_UPSTREAM_DECODE;
	*ret_len = len;
	return 0;
}

static int read_framing(const struct cv_http_head *head, struct cv_http_response *response)
{
	size_t codings;
	const struct cv_http_field *coding = cv_http_field(head, "transfer-encoding", &codings);
	bool has_length = false;
	int error = read_length(head, &response->body_bytes, &has_length);

	if (error)
		return error;
	if (coding && (codings > 1 || !cv_http_span_is(coding->value, "chunked")))
		return CV_UPSTREAM_DECODE;
	response->framing = coding	 ? CV_HTTP_CHUNKED
			    : has_length ? CV_HTTP_LENGTH
					 : CV_HTTP_UNTIL_CLOSE;
	return 0;
}

int cv_http_response_judge(const struct cv_http_head *head, const struct cv_http_client *client,
			   struct cv_http_response *ret_response)
{
	struct cv_http_response response = {.keep_alive = client->keep_alive};
	int error = 0;

	response.is_upgrade = head->status == 101;
	response.is_interim = head->status < 200 && !response.is_upgrade;
	if (response.is_upgrade && !client->is_upgrade)
		return CV_UPSTREAM_DECODE;
	if (head->status >= 200 && head->status != 204 && head->status != 304 && !client->is_head)
		error = read_framing(head, &response);
	if (error)
		return error;
	if (response.framing == CV_HTTP_CHUNKED || response.framing == CV_HTTP_UNTIL_CLOSE) {
		response.is_rechunked = client->minor_version > 0;
		response.keep_alive &= response.is_rechunked;
	}
	*ret_response = response;
	return 0;
}

/* ---- writing ------------------------------------------------------------------------------ */

static void put_text(struct cv_writer *writer, const char *text)
{
	cv_write_bytes(writer, text, strlen(text));
}

static void put_field(struct cv_writer *writer, const struct cv_http_field *field)
{
	cv_write_bytes(writer, field->name.data, field->name.len_bytes);
	put_text(writer, ": ");
	cv_write_bytes(writer, field->value.data, field->value.len_bytes);
	put_text(writer, "\r\n");
}

static bool passes(const struct cv_http_head *head, const struct cv_http_response *response,
		   const struct cv_http_field *field)
{
	if (cv_http_span_is(field->name, "content-length"))
		return (response->framing == CV_HTTP_LENGTH ||
			response->framing == CV_HTTP_NO_BODY) &&
		       head->status >= 200 && head->status != 204 &&
		       field == cv_http_field(head, "content-length", NULL);
	if (response->is_upgrade && cv_http_span_is(field->name, "upgrade"))
		return true;
	return !cv_http_is_hop_by_hop(head, field);
}

static void put_connection(struct cv_writer *writer, const struct cv_http_client *client,
			   const struct cv_http_response *response)
{
	if (response->is_rechunked)
		put_text(writer, "Transfer-Encoding: chunked\r\n");
	if (response->is_upgrade)
		put_text(writer, "Connection: upgrade\r\n");
	else if (!response->is_interim && !response->keep_alive)
		put_text(writer, "Connection: close\r\n");
	else if (!response->is_interim && client->minor_version == 0)
		put_text(writer, "Connection: keep-alive\r\n");
}

int cv_http_response_write(const struct cv_http_head *head, const struct cv_http_client *client,
			   const struct cv_http_response *response, struct cv_buffer *out)
{
	const size_t room = head->len_bytes + 128 + 4 * head->field_count;
	struct cv_writer writer;
	uint8_t *space;
	char first[32];
	int error = cv_buffer_reserve(out, room, &space);

	if (error)
		return error;
	writer = cv_writer_of(space, room);
	snprintf(first, sizeof(first), "HTTP/1.1 %u ", head->status);
	put_text(&writer, first);
	cv_write_bytes(&writer, head->phrase.data, head->phrase.len_bytes);
	put_text(&writer, "\r\n");
	for (size_t i = 0; i < head->field_count; i++)
		if (passes(head, response, &head->fields[i]))
			put_field(&writer, &head->fields[i]);
	put_connection(&writer, client, response);
	put_text(&writer, "\r\n");
	if (writer.failed)
		return CV_UPSTREAM_DECODE;
	cv_buffer_commit(out, cv_writer_len(&writer));
	return 0;
}

/* ---- the proxy's own ---------------------------------------------------------------------- */

static const struct {
	unsigned status;
	const char *phrase;
} phrases[] = {
	{400, "Bad Request"},
	{403, "Forbidden"},
	{407, "Proxy Authentication Required"},
	{408, "Request Timeout"},
	{431, "Request Header Fields Too Large"},
	{501, "Not Implemented"},
	{502, "Bad Gateway"},
	{503, "Service Unavailable"},
	{504, "Gateway Timeout"},
	{505, "HTTP Version Not Supported"},
};

int cv_http_answer(unsigned status, bool is_head, bool keep_alive, struct cv_buffer *out)
{
	const char *phrase = "Error";
	char text[512];
	int len;

	for (size_t i = 0; i < sizeof(phrases) / sizeof(phrases[0]); i++)
		if (phrases[i].status == status)
			phrase = phrases[i].phrase;
	len = snprintf(text, sizeof(text),
		       "HTTP/1.1 %u %s\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n%s"
		       "Connection: %s\r\n\r\n",
		       status, phrase, strlen(phrase) + 1,
		       status == 407 ? "Proxy-Authenticate: Basic realm=\"proxy\", "
				       "charset=\"UTF-8\"\r\n"
				     : "",
		       keep_alive ? "keep-alive" : "close");
	if (!is_head)
		len += snprintf(text + len, sizeof(text) - (size_t)len, "%s\n", phrase);
	return cv_buffer_append(out, text, (size_t)len);
}

int cv_http_established(struct cv_buffer *out)
{
	static const char text[] = "HTTP/1.1 200 Connection established\r\n\r\n";

	return cv_buffer_append(out, text, sizeof(text) - 1);
}

unsigned cv_http_status_of(int reason)
{
	switch (reason) {
	case CV_POLICY_BLOCKED:
	case CV_POLICY_PRIVATE_TARGET:
	case CV_POLICY_USER_DISABLED:
	case CV_POLICY_QUOTA:
	case CV_POLICY_EXPIRED:
	case CV_POLICY_USER_SESSIONS:
	case CV_POLICY_USER_ADDRESSES:
	case CV_POLICY_NO_PROXY:
	case CV_UPSTREAM_SAYS_FORBIDDEN:
	case -EACCES:
	case -EPERM:
		return 403;
	case CV_UPSTREAM_TIMEOUT:
	case CV_UPSTREAM_SAYS_TIMEOUT:
	case -ETIMEDOUT:
		return 504;
	case CV_POLICY_SESSION_LIMIT:
	case CV_INTERNAL_MEMORY:
	case CV_INTERNAL_RESOURCE:
	case -EMFILE:
	case -ENFILE:
	case -ENOMEM:
	case -ENOBUFS:
		return 503;
	default:
		return 502;
	}
}
