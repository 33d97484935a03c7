// SPDX-License-Identifier: MIT
/*
 * http_head.c - first line and fields of an HTTP/1 message.
 *
 *   line by line, so that what is wrong is refused as soon as it is there, not at the empty line:
 *   [CRLF ...] first line CRLF  name ":" OWS value OWS CRLF ...  CRLF
 *
 * Nothing is copied. A head that is not whole is read again from its start when more has come; its
 * limit keeps that cheap.
 */
#include "wire/http_head.h"

#include <culvert/reason.h>

#include <errno.h>
#include <string.h>
#include <strings.h>

#define METHOD_MAX 32
#define EMPTY_LINES_MAX 4

/* ---- characters --------------------------------------------------------------------------- */

static bool is_token_byte(uint8_t c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

static bool is_token(struct cv_span span)
{
	for (size_t i = 0; i < span.len_bytes; i++)
		if (!is_token_byte(span.data[i]))
			return false;
	return span.len_bytes > 0;
}

static bool is_digit(uint8_t c)
{
	return c >= '0' && c <= '9';
}

/* Visible, white space or not ASCII: neither NUL nor CR nor any other control character. */
static bool is_text(struct cv_span span)
{
	for (size_t i = 0; i < span.len_bytes; i++)
		if ((span.data[i] < 0x20 && span.data[i] != '\t') || span.data[i] == 0x7f)
			return false;
	return true;
}

static bool is_blank(uint8_t c)
{
	return c == ' ' || c == '\t';
}

static struct cv_span trim(struct cv_span span)
{
	while (span.len_bytes > 0 && is_blank(span.data[0]))
		cv_span_skip(&span, 1);
	while (span.len_bytes > 0 && is_blank(span.data[span.len_bytes - 1]))
		span.len_bytes--;
	return span;
}

/* What is ahead of the first @separator, which is taken off too; all, if there is none. */
static struct cv_span cut(struct cv_span *span, uint8_t separator)
{
	const uint8_t *at = span->len_bytes ? memchr(span->data, separator, span->len_bytes) : NULL;
	struct cv_span first = *span;

	if (at)
		first.len_bytes = (size_t)(at - span->data);
	cv_span_skip(span, first.len_bytes + (at ? 1 : 0));
	return first;
}

/* ---- lines -------------------------------------------------------------------------------- */

/* 0 and the line without its end; -EAGAIN; CV_PEER_DECODE for LF without CR where that is wrong. */
static int take_line(struct cv_span *rest, bool is_strict, struct cv_span *ret_line)
{
	const uint8_t *end = rest->len_bytes ? memchr(rest->data, '\n', rest->len_bytes) : NULL;
	size_t len;

	if (!end)
		return -EAGAIN;
	len = (size_t)(end - rest->data);
	*ret_line = cv_span_of(rest->data, len);
	if (len > 0 && rest->data[len - 1] == '\r')
		ret_line->len_bytes--;
	else if (is_strict)
		return CV_PEER_DECODE;
	cv_span_skip(rest, len + 1);
	return 0;
}

/* White space ahead of a colon is taken off where it is not refused: RFC 9112 5.1. */
static int read_field(struct cv_span line, bool is_strict, struct cv_http_head *head)
{
	struct cv_http_field *field = &head->fields[head->field_count];

	if (!memchr(line.data, ':', line.len_bytes))
		return CV_PEER_DECODE;
	field->name = cut(&line, ':');
	while (!is_strict && field->name.len_bytes > 0 &&
	       is_blank(field->name.data[field->name.len_bytes - 1]))
		field->name.len_bytes--;
	field->value = trim(line);
	if (!is_token(field->name) || !is_text(field->value))
		return CV_PEER_DECODE;
	head->field_count++;
	return 0;
}

/* Returns 0 at the empty line, -EAGAIN, CV_PEER_DECODE, CV_PEER_TOO_LONG. */
static int read_fields(struct cv_span *rest, bool is_strict, struct cv_http_head *head)
{
	struct cv_span line;
	int result;

	for (;;) {
		result = take_line(rest, is_strict, &line);
		if (result || line.len_bytes == 0)
			return result;
		if (head->field_count == CV_HTTP_FIELDS_MAX)
			return CV_PEER_TOO_LONG;
		result = read_field(line, is_strict, head);
		if (result)
			return result;
	}
}

/* ---- request ------------------------------------------------------------------------------ */

/* "HTTP/1.x"; else the status that says so. */
static unsigned read_version(struct cv_span text, struct cv_http_head *head)
{
	if (text.len_bytes != 8 || memcmp(text.data, "HTTP/", 5) != 0 || !is_digit(text.data[5]) ||
	    text.data[6] != '.' || !is_digit(text.data[7]))
		return 400;
	head->minor_version = text.data[7] - '0';
	return text.data[5] == '1' ? 0 : 505;
}

static unsigned read_request_line(struct cv_span line, struct cv_http_head *head)
{
	head->method = cut(&line, ' ');
	head->target = cut(&line, ' ');
	if (!is_token(head->method) || head->method.len_bytes > METHOD_MAX ||
	    head->target.len_bytes == 0 || !is_text(head->target) ||
	    memchr(head->target.data, '\t', head->target.len_bytes))
		return 400;
	return read_version(line, head);
}

/* The line is not whole yet: can it become one? */
static bool may_be_request(struct cv_span rest)
{
	for (size_t i = 0; i < rest.len_bytes && i <= METHOD_MAX; i++) {
		if (rest.data[i] == ' ')
			return i > 0;
		if (!is_token_byte(rest.data[i]) && rest.data[i] != '\r')
			return false;
	}
	return rest.len_bytes <= METHOD_MAX;
}

static int too_long_or(int result, struct cv_span bytes, size_t max_bytes)
{
	return result == -EAGAIN && bytes.len_bytes >= max_bytes ? CV_PEER_TOO_LONG : result;
}

int cv_http_request_head_read(struct cv_span bytes, struct cv_http_head *ret_head,
			      unsigned *ret_status)
{
	struct cv_span rest = bytes, line = {0};
	unsigned status = 0;
	int result;

	ret_head->field_count = 0;
	for (int i = 0;; i++) {
		result = take_line(&rest, true, &line);
		if (result || line.len_bytes > 0 || i == EMPTY_LINES_MAX)
			break;
	}
	if (result == -EAGAIN && !may_be_request(rest))
		result = CV_PEER_DECODE;
	if (result == 0)
		status = read_request_line(line, ret_head);
	if (result == 0 && status == 0)
		result = read_fields(&rest, true, ret_head);
	result = too_long_or(result, bytes, CV_HTTP_HEAD_MAX);
	ret_head->len_bytes = bytes.len_bytes - rest.len_bytes;
	if (result == 0 && ret_head->len_bytes > CV_HTTP_HEAD_MAX)
		result = CV_PEER_TOO_LONG;
	if (result == -EAGAIN || (result == 0 && status == 0))
		return result;
	*ret_status = status ? status : result == CV_PEER_TOO_LONG ? 431 : 400;
	return CV_PEER_DECODE;
}

/* ---- response ----------------------------------------------------------------------------- */

static int read_status_line(struct cv_span line, struct cv_http_head *head)
{
	struct cv_span version = cut(&line, ' '), code = cut(&line, ' ');

	if (read_version(version, head) != 0 || code.len_bytes != 3 || !is_digit(code.data[0]) ||
	    !is_digit(code.data[1]) || !is_digit(code.data[2]) || code.data[0] == '0' ||
	    !is_text(line))
		return CV_PEER_DECODE;
	head->status =
		(code.data[0] - '0') * 100u + (code.data[1] - '0') * 10u + code.data[2] - '0';
	head->phrase = line;
	return 0;
}

int cv_http_response_head_read(struct cv_span bytes, struct cv_http_head *ret_head)
{
	struct cv_span rest = bytes, line = {0};
	int result;

	ret_head->field_count = 0;
	result = take_line(&rest, false, &line);
	if (result == 0)
		result = read_status_line(line, ret_head);
	if (result == 0)
		result = read_fields(&rest, false, ret_head);
	result = too_long_or(result, bytes, CV_HTTP_RESPONSE_HEAD_MAX);
	ret_head->len_bytes = bytes.len_bytes - rest.len_bytes;
	return result == 0 || result == -EAGAIN ? result : CV_UPSTREAM_DECODE;
}

/* ---- fields ------------------------------------------------------------------------------- */

bool cv_http_span_is(struct cv_span span, const char *text)
{
	return span.len_bytes == strlen(text) &&
	       strncasecmp((const char *)span.data, text, span.len_bytes) == 0;
}

const struct cv_http_field *cv_http_field(const struct cv_http_head *head, const char *name,
					  size_t *ret_count)
{
	const struct cv_http_field *first = NULL;
	size_t count = 0;

	for (size_t i = 0; i < head->field_count; i++) {
		if (!cv_http_span_is(head->fields[i].name, name))
			continue;
		first = first ? first : &head->fields[i];
		count++;
	}
	if (ret_count)
		*ret_count = count;
	return first;
}

bool cv_http_list_next(struct cv_span *list, struct cv_span *ret_element)
{
	while (list->len_bytes > 0) {
		*ret_element = trim(cut(list, ','));
		if (ret_element->len_bytes > 0)
			return true;
	}
	return false;
}

static bool field_lists(const struct cv_http_field *field, struct cv_span token)
{
	struct cv_span list = field->value, element;

	while (cv_http_list_next(&list, &element))
		if (element.len_bytes == token.len_bytes &&
		    strncasecmp((const char *)element.data, (const char *)token.data,
				token.len_bytes) == 0)
			return true;
	return false;
}

bool cv_http_lists(const struct cv_http_head *head, const char *name, const char *token)
{
	for (size_t i = 0; i < head->field_count; i++)
		if (cv_http_span_is(head->fields[i].name, name) &&
		    field_lists(&head->fields[i], cv_span_of(token, strlen(token))))
			return true;
	return false;
}

bool cv_http_is_hop_by_hop(const struct cv_http_head *head, const struct cv_http_field *field)
{
	static const char *const names[] = {
		"connection", "keep-alive", "proxy-connection", "proxy-authorization",
		"proxy-authenticate", "te", "trailer", "transfer-encoding", "upgrade",
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (cv_http_span_is(field->name, names[i]))
			return true;
	for (size_t i = 0; i < head->field_count; i++)
		if ((cv_http_span_is(head->fields[i].name, "connection") ||
		     cv_http_span_is(head->fields[i].name, "proxy-connection")) &&
		    field_lists(&head->fields[i], field->name))
			return true;
	return false;
}
