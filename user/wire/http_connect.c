// SPDX-License-Identifier: MIT
/*
 * http_connect.c - HTTP CONNECT, client side.
 *
 *   CONNECT host:port HTTP/1.1, Host, [Proxy-Authorization], [configured lines], empty line
 *   <- [HTTP/1.1 1xx ... empty line]* HTTP/1.1 2xx ... empty line, then the destination's bytes
 *
 * Of the answer only the code counts: a 2xx to CONNECT has no body, whatever its fields say, and
 * after any other the connection is closed.
 */
#include "wire/http_connect.h"

#include <culvert/reason.h>

#include "wire/base64.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define CREDENTIAL_MAX 255
#define STATUS_LINE_MIN 12 /* "HTTP/1.1 200" */

/* ---- request ------------------------------------------------------------------------------ */

static bool is_writable(const struct cv_destination *destination)
{
	if (destination->kind != CV_ADDRESS_DOMAIN)
		return destination->kind != CV_ADDRESS_NONE;
	for (const char *c = destination->domain; *c; c++)
		if (*c <= ' ' || *c >= 0x7f || strchr("/?#@:[]\\", *c))
			return false;
	return destination->domain[0] != '\0';
}

static int write_credentials(const char *user, const char *password, struct cv_buffer *out)
{
	static const char name[] = "Proxy-Authorization: Basic ";
	char pair[2 * CREDENTIAL_MAX + 2], text[4 * ((sizeof(pair) + 2) / 3) + 1];
	int len, error;

	if (strlen(user) > CREDENTIAL_MAX || strlen(password) > CREDENTIAL_MAX)
		return CV_INTERNAL_CONFIG;
	len = snprintf(pair, sizeof(pair), "%s:%s", user, password);
	cv_base64_encode((const uint8_t *)pair, (size_t)len, text);
	error = cv_buffer_append(out, name, sizeof(name) - 1);
	if (!error)
		error = cv_buffer_append(out, text, strlen(text));
	if (!error)
		error = cv_buffer_append(out, "\r\n", 2);
	explicit_bzero(pair, sizeof(pair));
	explicit_bzero(text, sizeof(text));
	return error;
}

int cv_http_connect_write(const struct cv_destination *destination, const char *user,
			  const char *password, const char *headers, struct cv_buffer *out)
{
	char authority[CV_DESTINATION_TEXT], line[2 * CV_DESTINATION_TEXT + 64];
	int len, error;

	if (!is_writable(destination))
		return CV_PEER_ADDRESS;
	cv_destination_format(destination, authority);
	len = snprintf(line, sizeof(line), "CONNECT %s HTTP/1.1\r\nHost: %s\r\n", authority,
		       authority);
	error = cv_buffer_append(out, line, (size_t)len);
	if (!error && user[0])
		error = write_credentials(user, password, out);
	if (!error)
		error = cv_buffer_append(out, headers, strlen(headers));
	return error ? error : cv_buffer_append(out, "\r\n", 2);
}

/* ---- answer ------------------------------------------------------------------------------- */

/* The length of a head with its empty line; 0: not whole yet. Lines may end with a bare LF. */
static size_t head_length(struct cv_span bytes)
{
	const uint8_t *at = bytes.data, *end = bytes.data + bytes.len_bytes;

	while (at < end && (at = memchr(at, '\n', (size_t)(end - at)))) {
		at++;
		if (at < end && *at == '\n')
			return (size_t)(at + 1 - bytes.data);
		if (end - at >= 2 && at[0] == '\r' && at[1] == '\n')
			return (size_t)(at + 2 - bytes.data);
	}
	return 0;
}

static bool is_digit(uint8_t c)
{
	return c >= '0' && c <= '9';
}

/* False as soon as the bytes cannot become a status line. */
static bool starts_well(struct cv_span bytes)
{
	static const char form[] = "HTTP/1.# ###";

	for (size_t i = 0; i < bytes.len_bytes && i < sizeof(form) - 1; i++)
		if (form[i] == '#' ? !is_digit(bytes.data[i]) : bytes.data[i] != form[i])
			return false;
	return bytes.len_bytes < STATUS_LINE_MIN + 1 ||
	       memchr(" \r\n", bytes.data[STATUS_LINE_MIN], 3) != NULL;
}

static int reason_of(int status)
{
	switch (status) {
	case 403:
		return CV_UPSTREAM_SAYS_FORBIDDEN;
	case 404:
		return CV_UPSTREAM_SAYS_UNREACHABLE;
	case 407:
		return CV_UPSTREAM_CREDENTIALS;
	case 502:
		return CV_UPSTREAM_SAYS_REFUSED;
	case 503:
		return CV_UPSTREAM_SAYS_UNAVAILABLE;
	case 504:
		return CV_UPSTREAM_SAYS_TIMEOUT;
	default:
		return status / 100 == 2 ? 0 : CV_UPSTREAM_SAYS_FAILURE;
	}
}

int cv_http_connect_read(struct cv_http_connect *connect, struct cv_span bytes, size_t *ret_used)
{
	size_t used_bytes = 0;
	int result = -EAGAIN;

	while (result == -EAGAIN) {
		const size_t head_bytes = head_length(bytes);
		const size_t seen_bytes = head_bytes ? head_bytes : bytes.len_bytes;

		if (!starts_well(bytes) || (head_bytes && head_bytes < STATUS_LINE_MIN + 1) ||
		    connect->seen_bytes + seen_bytes > CV_HTTP_CONNECT_HEAD_MAX) {
			result = CV_UPSTREAM_DECODE;
			break;
		}
		if (!head_bytes)
			break;
		connect->status = (bytes.data[9] - '0') * 100 + (bytes.data[10] - '0') * 10 +
				  (bytes.data[11] - '0');
		connect->seen_bytes += head_bytes;
		used_bytes += head_bytes;
		cv_span_skip(&bytes, head_bytes);
		if (connect->status / 100 != 1 || connect->status == 101)
			result = reason_of(connect->status);
	}
	*ret_used = used_bytes;
	return result;
}
