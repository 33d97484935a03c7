// SPDX-License-Identifier: MIT
/*
 * http_upgrade.c - handshakes of WebSocket and of HTTPUpgrade.
 *
 *   GET /path HTTP/1.1, Host, Connection: Upgrade, Upgrade: websocket
 *   [Sec-WebSocket-Version: 13, -Key: 16 random bytes, -Protocol: early data]      WebSocket only
 *   <- HTTP/1.1 101, Upgrade, Connection, [Sec-WebSocket-Accept, -Protocol: the early data again]
 *
 * The order of the checks decides which answer a request gets that fails several of them.
 */
#include "wire/http_upgrade.h"

#include "wire/base64.h"

#include <culvert/reason.h>

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define EARLY_TEXT_MAX (4 * ((CV_UPGRADE_EARLY_MAX + 2) / 3) + 1)

/* ---- texts -------------------------------------------------------------------------------- */

static int put(struct cv_buffer *out, const char *text)
{
	return cv_buffer_append(out, text, strlen(text));
}

static int put_span(struct cv_buffer *out, struct cv_span span)
{
	return span.len_bytes ? cv_buffer_append(out, span.data, span.len_bytes) : 0;
}

static int hex_value(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* ---- which site --------------------------------------------------------------------------- */

bool cv_upgrade_path_is(struct cv_span target, const char *path)
{
	size_t at = 0;

	for (size_t i = 0; i < target.len_bytes && target.data[i] != '?'; i++) {
		uint8_t byte = target.data[i];

		if (byte == '%') {
			const int high = i + 2 < target.len_bytes ? hex_value(target.data[i + 1])
								  : -1;
			const int low = i + 2 < target.len_bytes ? hex_value(target.data[i + 2])
								 : -1;

			if (high < 0 || low < 0)
				return false;
			byte = (uint8_t)(high << 4 | low);
			i += 2;
		}
		if (byte == 0 || (uint8_t)path[at] != byte)
			return false;
		at++;
	}
	return path[at] == '\0';
}

/* "[v6]:port", "name:port", "v6" -> without port and brackets */
static struct cv_span host_alone(struct cv_span host)
{
	const uint8_t *end = host.data;
	size_t colons = 0;

	if (host.len_bytes && host.data[0] == '[') {
		end = memchr(host.data, ']', host.len_bytes);
		return end ? cv_span_of(host.data + 1, (size_t)(end - host.data - 1)) : host;
	}
	for (size_t i = 0; i < host.len_bytes; i++)
		if (host.data[i] == ':' && colons++ == 0)
			end = host.data + i;
	return colons == 1 ? cv_span_of(host.data, (size_t)(end - host.data)) : host;
}

bool cv_upgrade_host_is(struct cv_span host, const char *hosts)
{
	struct cv_span list = cv_span_of(hosts, strlen(hosts)), element;

	if (!*hosts)
		return true;
	host = host_alone(host);
	while (cv_http_list_next(&list, &element)) {
		element = host_alone(element);
		if (element.len_bytes == host.len_bytes &&
		    strncasecmp((const char *)element.data, (const char *)host.data,
				host.len_bytes) == 0)
			return true;
	}
	return false;
}

static bool method_is_get(const struct cv_http_head *head)
{
	return head->method.len_bytes == 3 && memcmp(head->method.data, "GET", 3) == 0;
}

static bool key_is_valid(struct cv_span key)
{
	uint8_t bytes[CV_WEBSOCKET_KEY_LEN + 2];
	char text[CV_WEBSOCKET_KEY_TEXT + 1];
	size_t len = sizeof(bytes);

	if (key.len_bytes != CV_WEBSOCKET_KEY_TEXT)
		return false;
	memcpy(text, key.data, key.len_bytes);
	text[key.len_bytes] = '\0';
	return !memchr(text, 0, key.len_bytes) && cv_base64url_decode(text, bytes, &len) == 0 &&
	       len == CV_WEBSOCKET_KEY_LEN;
}

struct cv_span cv_upgrade_key(const struct cv_http_head *head)
{
	const struct cv_http_field *field = cv_http_field(head, "sec-websocket-key", NULL);

	return field ? field->value : (struct cv_span){0};
}

static unsigned judge_websocket(const struct cv_http_head *head)
{
	if (!cv_http_lists(head, "connection", "upgrade") ||
	    !cv_http_lists(head, "upgrade", "websocket"))
		return 400;
	if (!method_is_get(head))
		return 405;
	if (!cv_http_lists(head, "sec-websocket-version", "13") ||
	    !key_is_valid(cv_upgrade_key(head)))
		return 400;
	return 101;
}

static unsigned judge_bare(const struct cv_http_head *head)
{
	const struct cv_http_field *connection = cv_http_field(head, "connection", NULL);
	const struct cv_http_field *upgrade = cv_http_field(head, "upgrade", NULL);

	return connection && upgrade && cv_http_span_is(connection->value, "upgrade") &&
			       cv_http_span_is(upgrade->value, "websocket")
		       ? 101
		       : 400;
}

unsigned cv_upgrade_judge(enum cv_upgrade kind, const struct cv_http_head *head, const char *path,
			  const char *host)
{
	size_t hosts;
	const struct cv_http_field *field = cv_http_field(head, "host", &hosts);

	if (hosts > 1 || (hosts == 0 && head->minor_version > 0))
		return 400;
	if (!cv_upgrade_host_is(field ? field->value : (struct cv_span){0}, host))
		return 404;
	if (!cv_upgrade_path_is(head->target, path))
		return 404;
	return kind == CV_UPGRADE_WEBSOCKET ? judge_websocket(head) : judge_bare(head);
}

/* ---- early data --------------------------------------------------------------------------- */

int cv_upgrade_early(const struct cv_http_head *head, struct cv_buffer *out,
		     struct cv_span *ret_echo)
{
	const struct cv_http_field *field = cv_http_field(head, "sec-websocket-protocol", NULL);
	uint8_t bytes[CV_UPGRADE_EARLY_MAX + 4];
	char text[EARLY_TEXT_MAX + 4];
	size_t len = sizeof(bytes);
	int error;

	*ret_echo = (struct cv_span){0};
	if (!field || field->value.len_bytes == 0 || field->value.len_bytes >= sizeof(text) ||
	    memchr(field->value.data, 0, field->value.len_bytes))
		return 0;
	memcpy(text, field->value.data, field->value.len_bytes);
	text[field->value.len_bytes] = '\0';
	if (cv_base64url_decode(text, bytes, &len) != 0 || len == 0)
		return 0;
	error = cv_buffer_append(out, bytes, len);
	if (!error)
		*ret_echo = field->value;
	return error;
}

/* ---- the server's answers ----------------------------------------------------------------- */

int cv_upgrade_accept(enum cv_upgrade kind, const char *accept, struct cv_span echo,
		      struct cv_buffer *out)
{
	const bool is_websocket = kind == CV_UPGRADE_WEBSOCKET;
	int error = put(out, "HTTP/1.1 101 Switching Protocols\r\n");

	if (!error)
		error = put(out, is_websocket ? "Upgrade: websocket\r\nConnection: Upgrade\r\n"
						"Sec-WebSocket-Accept: "
					      : "Connection: Upgrade\r\nUpgrade: websocket\r\n");
	if (!error && is_websocket)
		error = put(out, accept);
	if (!error && is_websocket)
		error = put(out, "\r\n");
	if (!error && echo.len_bytes) {
		error = put(out, "Sec-WebSocket-Protocol: ");
		if (!error)
			error = put_span(out, echo);
		if (!error)
			error = put(out, "\r\n");
	}
	return error ? error : put(out, "\r\n");
}

static const char *phrase_of(unsigned status)
{
	switch (status) {
	case 404:
		return "Not Found";
	case 405:
		return "Method Not Allowed";
	case 431:
		return "Request Header Fields Too Large";
	case 505:
		return "HTTP Version Not Supported: unsupported protocol version";
	default:
		return "Bad Request";
	}
}

/* A request whose body would have to be skipped ends the connection. */
static bool ends_with(const struct cv_http_head *head)
{
	const struct cv_http_field *length = cv_http_field(head, "content-length", NULL);

	return (length && !cv_http_span_is(length->value, "0")) ||
	       cv_http_field(head, "transfer-encoding", NULL) ||
	       cv_http_lists(head, "connection", "close") ||
	       (head->minor_version == 0 && !cv_http_lists(head, "connection", "keep-alive"));
}

/* observable: words, fields and their order are those of the server that this protocol is known
 * from; without a site behind us we cannot be more inconspicuous than it is. */
int cv_upgrade_refuse(unsigned status, const struct cv_http_head *head, const char *date,
		      struct cv_buffer *out, bool *ret_closes)
{
	const char *phrase = phrase_of(status);
	char text[512];

	*ret_closes = !head || ends_with(head);
	if (!head) /* it could not be read */
		snprintf(text, sizeof(text),
			 "HTTP/1.1 %u %s\r\nContent-Type: text/plain; charset=utf-8\r\n"
			 "Connection: close\r\n\r\n%u %s",
			 status, phrase, status, phrase);
	else if (status == 404)
		snprintf(text, sizeof(text), "HTTP/1.1 404 %s\r\nDate: %s\r\n"
					     "Content-Length: 0\r\n%s\r\n",
			 phrase, date, *ret_closes ? "Connection: close\r\n" : "");
	else
		snprintf(text, sizeof(text),
			 "HTTP/1.1 %u %s\r\nContent-Type: text/plain; charset=utf-8\r\n"
			 "Sec-Websocket-Version: 13\r\nX-Content-Type-Options: nosniff\r\n"
			 "Date: %s\r\nContent-Length: %zu\r\n%s\r\n%s\n",
			 status, phrase, date, strlen(phrase) + 1,
			 *ret_closes ? "Connection: close\r\n" : "", phrase);
	return put(out, text);
}

/* ---- the client's request ----------------------------------------------------------------- */

/* Is there a line for @name in @headers? */
static bool is_given(const char *headers, const char *name)
{
	const size_t len = strlen(name);

	for (const char *line = headers; line && *line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncasecmp(line, name, len) == 0 && line[len] == ':')
			return true;
	}
	return false;
}

static int put_default(struct cv_buffer *out, const char *headers, const char *name,
		       const char *value)
{
	int error;

	if (is_given(headers, name))
		return 0;
	error = put(out, name);
	if (!error)
		error = put(out, ": ");
	if (!error)
		error = put(out, value);
	return error ? error : put(out, "\r\n");
}

static int put_early(struct cv_buffer *out, struct cv_span early)
{
	char text[EARLY_TEXT_MAX];
	int error;

	if (early.len_bytes == 0)
		return 0;
	if (early.len_bytes > CV_UPGRADE_EARLY_MAX)
		return CV_INTERNAL_STATE;
	cv_base64url_encode(early.data, early.len_bytes, text);
	error = put(out, "Sec-WebSocket-Protocol: ");
	if (!error)
		error = put(out, text);
	return error ? error : put(out, "\r\n");
}

static int put_websocket(struct cv_buffer *out, const struct cv_upgrade_request *request)
{
	int error = put(out, "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ");

	if (!error)
		error = put(out, request->key);
	if (!error)
		error = put(out, "\r\n");
	return error ? error : put_early(out, request->early);
}

/* observable: the fields a browser sends with a WebSocket, in its order; without extensions,
 * because we know none. */
int cv_upgrade_request(const struct cv_upgrade_request *request, struct cv_buffer *out)
{
	const char *const parts[] = {"GET ", request->path, " HTTP/1.1\r\nHost: ", request->host,
				     "\r\nConnection: Upgrade\r\n"};
	const char *const defaults[][2] = {
		{"Pragma", "no-cache"},
		{"Cache-Control", "no-cache"},
		{"User-Agent", request->user_agent},
	};
	const char *headers = request->headers;
	int error = 0;

	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]) && !error; i++)
		error = put(out, parts[i]);
	for (size_t i = 0; i < sizeof(defaults) / sizeof(defaults[0]) && !error; i++)
		error = put_default(out, headers, defaults[i][0], defaults[i][1]);
	if (!error)
		error = put(out, "Upgrade: websocket\r\n");
	if (!error)
		error = put_default(out, headers, "Accept-Encoding", "gzip, deflate, br, zstd");
	if (!error)
		error = put_default(out, headers, "Accept-Language", "en-US,en;q=0.9");
	if (!error && request->kind == CV_UPGRADE_WEBSOCKET)
		error = put_websocket(out, request);
	if (!error)
		error = put(out, headers);
	return error ? error : put(out, "\r\n");
}

/* ---- the server's answer, read ------------------------------------------------------------ */

int cv_upgrade_answer(enum cv_upgrade kind, const struct cv_http_head *head, const char *accept,
		      bool early)
{
	const struct cv_http_field *said = cv_http_field(head, "sec-websocket-accept", NULL);

	if (head->status != 101 || !cv_http_lists(head, "connection", "upgrade") ||
	    !cv_http_lists(head, "upgrade", "websocket"))
		return CV_UPSTREAM_NO_UPGRADE;
	if (kind == CV_UPGRADE_BARE)
		return 0;
	if (!said || said->value.len_bytes != CV_WEBSOCKET_ACCEPT_TEXT ||
	    memcmp(said->value.data, accept, CV_WEBSOCKET_ACCEPT_TEXT) != 0)
		return CV_UPSTREAM_DECODE;
	/* what we did not ask for would change the frames */
	if (cv_http_field(head, "sec-websocket-extensions", NULL) ||
	    (!early && cv_http_field(head, "sec-websocket-protocol", NULL)))
		return CV_UPSTREAM_DECODE;
	return 0;
}
