// SPDX-License-Identifier: MIT
/*
 * http_request.c - a request to an HTTP proxy.
 *
 *   CONNECT host:port HTTP/1.1             -> tunnel
 *   GET http://host[:port]/path HTTP/1.1   -> GET /path HTTP/1.1, Host: host[:port]
 *
 * Whatever two readers could take for different requests is refused: two lengths, a length and
 * chunks, chunks that are not the last coding, fields that name themselves to be deleted.
 */
#include "wire/http_request.h"

#include "base/cursor.h"
#include "wire/base64.h"

#include <culvert/reason.h>

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define HOST_MAX 264 /* a name, or an address in brackets */
#define BASIC_MAX 4096

/* ---- target ------------------------------------------------------------------------------- */

static int read_port(struct cv_span text, uint16_t *ret_port)
{
	unsigned port = 0;

	if (text.len_bytes == 0 || text.len_bytes > 5)
		return CV_PEER_ADDRESS;
	for (size_t i = 0; i < text.len_bytes; i++) {
		if (text.data[i] < '0' || text.data[i] > '9')
			return CV_PEER_ADDRESS;
		port = port * 10 + (text.data[i] - '0');
	}
	if (port == 0 || port > 65535)
		return CV_PEER_ADDRESS;
	*ret_port = (uint16_t)port;
	return 0;
}

/* "host:port", "[v6]:port"; @default_port 0: it must be there. @ret_len: without an empty port. */
static int read_authority(struct cv_span text, uint16_t default_port,
			  struct cv_destination *ret_destination, size_t *ret_len)
{
	char host[HOST_MAX];
	const uint8_t *bracket = text.len_bytes ? memchr(text.data, ']', text.len_bytes) : NULL;
	size_t skip = bracket ? (size_t)(bracket - text.data) : 0;
	const uint8_t *colon = text.len_bytes > skip
				       ? memchr(text.data + skip, ':', text.len_bytes - skip)
				       : NULL;
	size_t host_len = colon ? (size_t)(colon - text.data) : text.len_bytes;
	struct cv_span port_text = text;
	uint16_t port = default_port;

	if (host_len == 0 || host_len >= sizeof(host) || memchr(text.data, 0, host_len) ||
	    (bracket && (text.data[0] != '[' || host_len != skip + 1)))
		return CV_PEER_ADDRESS;
	*ret_len = host_len;
	cv_span_skip(&port_text, host_len + (colon ? 1 : 0));
	if (port_text.len_bytes > 0 || default_port == 0) {
		if (read_port(port_text, &port) < 0)
			return CV_PEER_ADDRESS;
		*ret_len = text.len_bytes;
	}
	memcpy(host, text.data, host_len);
	host[host_len] = '\0';
	return cv_destination_set_text(ret_destination, host, port);
}

static bool has_prefix(struct cv_span text, const char *prefix)
{
	return text.len_bytes >= strlen(prefix) &&
	       strncasecmp((const char *)text.data, prefix, strlen(prefix)) == 0;
}

static int read_url(struct cv_span url, struct cv_http_request *request)
{
	struct cv_span authority;
	size_t len = 0;
	int error;

	if (memchr(url.data, '#', url.len_bytes))
		return CV_PEER_ADDRESS;
	cv_span_skip(&url, strlen("http://"));
	while (len < url.len_bytes && url.data[len] != '/' && url.data[len] != '?')
		len++;
	authority = cv_span_of(url.data, len);
	for (size_t i = authority.len_bytes; i > 0; i--)
		if (authority.data[i - 1] == '@') { /* user and password are nobody's business */
			cv_span_skip(&authority, i);
			break;
		}
	error = read_authority(authority, 80, &request->destination, &len);
	request->authority = cv_span_of(authority.data, len);
	request->path = url;
	cv_span_skip(&request->path, (size_t)(authority.data + authority.len_bytes - url.data));
	request->form = CV_HTTP_FORWARD;
	return error;
}

/* Methods are told apart by case, too (RFC 9110 9.1). */
static bool is_method(const struct cv_http_head *head, const char *method)
{
	return head->method.len_bytes == strlen(method) &&
	       memcmp(head->method.data, method, head->method.len_bytes) == 0;
}

static int read_target(const struct cv_http_head *head, struct cv_http_request *request)
{
	size_t len;

	if (is_method(head, "CONNECT")) {
		request->form = CV_HTTP_TUNNEL;
		return read_authority(head->target, 0, &request->destination, &len);
	}
	if (has_prefix(head->target, "http://"))
		return read_url(head->target, request);
	request->form = CV_HTTP_ORIGIN_FORM;
	if (head->target.data[0] == '/' || cv_http_span_is(head->target, "*"))
		return 0;
	return CV_PEER_ADDRESS; /* https://, ftp:// and what is no URL */
}

/* ---- framing ------------------------------------------------------------------------------ */

static int read_length(struct cv_span text, uint64_t *ret_len)
{
	uint64_t len = 0;

	if (text.len_bytes == 0 || text.len_bytes > 18) /* below 2^63 */
		return CV_PEER_DECODE;
	for (size_t i = 0; i < text.len_bytes; i++) {
		if (text.data[i] < '0' || text.data[i] > '9')
			return CV_PEER_DECODE;
		len = len * 10 + (text.data[i] - '0');
	}
	*ret_len = len;
	return 0;
}

static unsigned read_framing(const struct cv_http_head *head, struct cv_http_request *request)
{
	size_t lengths, codings;
	const struct cv_http_field *length = cv_http_field(head, "content-length", &lengths);
	const struct cv_http_field *coding = cv_http_field(head, "transfer-encoding", &codings);

	request->framing = CV_HTTP_NO_BODY;
	if (lengths > 1 || codings > 1 || (length && coding) ||
	    (coding && head->minor_version == 0))
		return 400;
	if (coding && !cv_http_span_is(coding->value, "chunked"))
		return 501;
	if (length && read_length(length->value, &request->body_bytes) < 0)
		return 400;
	if (coding)
		request->framing = CV_HTTP_CHUNKED;
	else if (length)
		request->framing = CV_HTTP_LENGTH;
	if (request->form == CV_HTTP_TUNNEL && (coding || request->body_bytes > 0))
		return 400; /* what follows belongs to the tunnel */
	return 0;
}

/* ---- connection --------------------------------------------------------------------------- */

/* Fields that must reach the origin, whatever Connection says. */
static bool deletes_what_counts(const struct cv_http_head *head)
{
	static const char *const names[] = {"host", "content-length", "transfer-encoding",
					    "content-type", "authorization", "cookie"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (cv_http_lists(head, "connection", names[i]) ||
		    cv_http_lists(head, "proxy-connection", names[i]))
			return true;
	return false;
}

static bool says(const struct cv_http_head *head, const char *token)
{
	return cv_http_lists(head, "connection", token) ||
	       cv_http_lists(head, "proxy-connection", token);
}

int cv_http_request_judge(const struct cv_http_head *head, struct cv_http_request *ret_request,
			  unsigned *ret_status)
{
	size_t hosts;
	int error;

	*ret_request = (struct cv_http_request){0};
	*ret_status = 400;
	error = read_target(head, ret_request);
	if (error)
		return error;
	(void)cv_http_field(head, "host", &hosts);
	if (hosts > 1 || deletes_what_counts(head) ||
	    (hosts == 0 && head->minor_version > 0 && ret_request->form != CV_HTTP_TUNNEL))
		return CV_PEER_DECODE;
	*ret_status = read_framing(head, ret_request);
	if (*ret_status)
		return CV_PEER_DECODE;
	ret_request->keep_alive = !says(head, "close") &&
				  (head->minor_version > 0 || says(head, "keep-alive"));
	ret_request->is_head = is_method(head, "HEAD");
	ret_request->is_upgrade = ret_request->form == CV_HTTP_FORWARD && head->minor_version > 0 &&
				  cv_http_lists(head, "connection", "upgrade") &&
				  cv_http_field(head, "upgrade", NULL) != NULL;
	return 0;
}

/* ---- for the origin ----------------------------------------------------------------------- */

static void put_text(struct cv_writer *writer, const char *text)
{
	cv_write_bytes(writer, text, strlen(text));
}

static void put_span(struct cv_writer *writer, struct cv_span span)
{
	cv_write_bytes(writer, span.data, span.len_bytes);
}

static void put_first_line(struct cv_writer *writer, const struct cv_http_head *head,
			   const struct cv_http_request *request)
{
	const bool is_options = is_method(head, "OPTIONS");

	put_span(writer, head->method);
	put_text(writer, " ");
	if (request->path.len_bytes == 0)
		put_text(writer, is_options ? "*" : "/");
	else if (request->path.data[0] != '/')
		put_text(writer, "/");
	put_span(writer, request->path);
	put_text(writer, " HTTP/1.1\r\nHost: ");
	put_span(writer, request->authority);
	put_text(writer, "\r\n");
}

static void put_fields(struct cv_writer *writer, const struct cv_http_head *head)
{
	for (size_t i = 0; i < head->field_count; i++) {
		const struct cv_http_field *field = &head->fields[i];

		if (cv_http_span_is(field->name, "host") ||
		    cv_http_is_hop_by_hop(head, field))
			continue;
		put_span(writer, field->name);
		put_text(writer, ": ");
		put_span(writer, field->value);
		put_text(writer, "\r\n");
	}
}

int cv_http_request_write(const struct cv_http_head *head, const struct cv_http_request *request,
			  struct cv_buffer *out)
{
	const struct cv_http_field *upgrade = cv_http_field(head, "upgrade", NULL);
	const size_t room = head->len_bytes + 128 + 4 * head->field_count;
	struct cv_writer writer;
	uint8_t *space;
	int error = cv_buffer_reserve(out, room, &space);

	if (error)
		return error;
	writer = cv_writer_of(space, room);
	put_first_line(&writer, head, request);
	put_fields(&writer, head);
	if (request->framing == CV_HTTP_CHUNKED)
		put_text(&writer, "Transfer-Encoding: chunked\r\n");
	if (request->is_upgrade && upgrade) {
		put_text(&writer, "Connection: upgrade\r\nUpgrade: ");
		put_span(&writer, upgrade->value);
		put_text(&writer, "\r\n\r\n");
	} else {
		put_text(&writer, "Connection: close\r\n\r\n");
	}
	if (writer.failed)
		return CV_PEER_TOO_LONG;
	cv_buffer_commit(out, cv_writer_len(&writer));
	return 0;
}

/* ---- credentials -------------------------------------------------------------------------- */

static int split(const uint8_t *bytes, size_t len, struct cv_http_credentials *credentials)
{
	const uint8_t *colon = len ? memchr(bytes, ':', len) : NULL;
	size_t user_len = colon ? (size_t)(colon - bytes) : 0;

	if (!colon || user_len > CV_HTTP_CREDENTIAL_MAX ||
	    len - user_len - 1 > CV_HTTP_CREDENTIAL_MAX || memchr(bytes, 0, len))
		return CV_PEER_DECODE;
	memcpy(credentials->user, bytes, user_len);
	memcpy(credentials->password, colon + 1, len - user_len - 1);
	credentials->user_len = user_len;
	credentials->password_len = len - user_len - 1;
	credentials->user[user_len] = credentials->password[credentials->password_len] = '\0';
	return 0;
}

int cv_http_basic(const struct cv_http_head *head, const char *name,
		  struct cv_http_credentials *ret_credentials)
{
	size_t count, len;
	const struct cv_http_field *field = cv_http_field(head, name, &count);
	char text[BASIC_MAX];
	uint8_t bytes[BASIC_MAX];
	struct cv_span value;
	int result;

	if (!field)
		return CV_PEER_NO_METHOD;
	value = field->value;
	if (count > 1 || !has_prefix(value, "basic "))
		return CV_PEER_DECODE;
	cv_span_skip(&value, 6);
	while (value.len_bytes > 0 && value.data[0] == ' ')
		cv_span_skip(&value, 1);
	if (value.len_bytes == 0 || value.len_bytes >= sizeof(text) ||
	    memchr(value.data, 0, value.len_bytes))
		return CV_PEER_DECODE;
	memcpy(text, value.data, value.len_bytes);
	text[value.len_bytes] = '\0';
	len = sizeof(bytes);
	result = cv_base64url_decode(text, bytes, &len);
	if (result == 0)
		result = split(bytes, len, ret_credentials);
	explicit_bzero(text, sizeof(text));
	explicit_bzero(bytes, sizeof(bytes));
	return result < 0 ? CV_PEER_DECODE : 0;
}

int cv_http_credentials(const struct cv_http_head *head,
			struct cv_http_credentials *ret_credentials)
{
	return cv_http_basic(head, "proxy-authorization", ret_credentials);
}
