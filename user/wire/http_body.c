// SPDX-License-Identifier: MIT
/*
 * http_body.c - bodies by length, by chunks, or until the connection ends.
 *
 *   chunked:  SIZE -> [EXTENSION] -> SIZE_LF -> DATA -> DATA_CR -> DATA_LF -> SIZE ...
 *             size 0 -> TRAILER (start of a line) <-> TRAILER_LINE -> ... -> TRAILER_END -> DONE
 *
 * Chunks are cut anew: a chunk here is what one call has seen of one there.
 */
#include "wire/http_body.h"

#include <culvert/reason.h>

#include <errno.h>
#include <stdio.h>

#define EXTENSION_MAX 4096
#define TRAILERS_MAX 16384
#define DIGITS_MAX 15 /* of a chunk's size: below 2^60 */

enum state {
	SIZE,
	EXTENSION,
	SIZE_LF,
	DATA,
	DATA_CR,
	DATA_LF,
	TRAILER,
	TRAILER_LINE,
	TRAILER_LF,
	TRAILER_END,
	DONE,
};

void cv_http_body_init(struct cv_http_body *body, enum cv_http_framing framing, uint64_t len_bytes,
		       bool is_rechunked)
{
	*body = (struct cv_http_body){
		.framing = framing,
		.left_bytes = framing == CV_HTTP_LENGTH ? len_bytes : 0,
		.is_rechunked = is_rechunked,
		.state = framing == CV_HTTP_NO_BODY ? DONE
			 : framing == CV_HTTP_CHUNKED ? SIZE
						      : DATA,
	};
}

/* ---- writing ------------------------------------------------------------------------------ */

static int put_content(const struct cv_http_body *body, struct cv_span content,
		       struct cv_buffer *out)
{
	char size[24];
	int error = 0;

	if (content.len_bytes == 0)
		return 0;
	if (body->is_rechunked) {
		const int len = snprintf(size, sizeof(size), "%zx\r\n", content.len_bytes);

		error = cv_buffer_append(out, size, (size_t)len);
	}
	if (!error)
		error = cv_buffer_append(out, content.data, content.len_bytes);
	if (!error && body->is_rechunked)
		error = cv_buffer_append(out, "\r\n", 2);
	return error;
}

static int put_end(struct cv_http_body *body, struct cv_buffer *out)
{
	body->state = DONE;
	return body->is_rechunked ? cv_buffer_append(out, "0\r\n\r\n", 5) : 0;
}

/* ---- chunks ------------------------------------------------------------------------------- */

static int hex_digit(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static int size_byte(struct cv_http_body *body, uint8_t c)
{
	const int digit = hex_digit(c);

	if (digit >= 0) {
		body->left_bytes = body->left_bytes << 4 | (unsigned)digit;
		return ++body->digits <= DIGITS_MAX ? 0 : CV_PEER_DECODE;
	}
	if (body->digits == 0)
		return CV_PEER_DECODE;
	body->extra_bytes = 0;
	if (c == '\r')
		body->state = SIZE_LF;
	else if (c == ';' || c == ' ' || c == '\t')
		body->state = EXTENSION;
	else
		return CV_PEER_DECODE;
	return 0;
}

/* A byte of an extension or a trailer; neither LF without CR nor NUL. */
static int text_byte(struct cv_http_body *body, uint8_t c, uint8_t next, uint32_t max_bytes)
{
	if (c == '\r')
		body->state = next;
	else if ((c < 0x20 && c != '\t') || c == 0x7f || ++body->extra_bytes > max_bytes)
		return CV_PEER_DECODE;
	return 0;
}

static int expect(struct cv_http_body *body, uint8_t c, uint8_t wanted, uint8_t next)
{
	body->state = next;
	return c == wanted ? 0 : CV_PEER_DECODE;
}

/* One byte of what is around the content. */
static int frame_byte(struct cv_http_body *body, uint8_t c)
{
	switch (body->state) {
	case SIZE:
		return size_byte(body, c);
	case EXTENSION:
		return text_byte(body, c, SIZE_LF, EXTENSION_MAX);
	case SIZE_LF:
		body->extra_bytes = 0;
		return expect(body, c, '\n', body->left_bytes > 0 ? DATA : TRAILER);
	case DATA_CR:
		return expect(body, c, '\r', DATA_LF);
	case DATA_LF:
		body->digits = 0;
		return expect(body, c, '\n', SIZE);
	case TRAILER:
		if (c == '\r') {
			body->state = TRAILER_END;
			return 0;
		}
		body->state = TRAILER_LINE;
		return text_byte(body, c, TRAILER_LF, TRAILERS_MAX);
	case TRAILER_LINE:
		return text_byte(body, c, TRAILER_LF, TRAILERS_MAX);
	case TRAILER_LF:
		return expect(body, c, '\n', TRAILER);
	default: /* TRAILER_END */
		return expect(body, c, '\n', DONE);
	}
}

/* ---- reading ------------------------------------------------------------------------------ */

static int take_content(struct cv_http_body *body, struct cv_span *bytes, struct cv_buffer *out)
{
	size_t count = bytes->len_bytes;
	int error;

	if (body->framing != CV_HTTP_UNTIL_CLOSE && count > body->left_bytes)
		count = (size_t)body->left_bytes;
	error = put_content(body, cv_span_of(bytes->data, count), out);
	if (error)
		return error;
	cv_span_skip(bytes, count);
	if (body->framing == CV_HTTP_UNTIL_CLOSE)
		return 0;
	body->left_bytes -= count;
	if (body->left_bytes == 0 && body->framing == CV_HTTP_CHUNKED)
		body->state = DATA_CR;
	else if (body->left_bytes == 0)
		return put_end(body, out);
	return 0;
}

int cv_http_body_read(struct cv_http_body *body, struct cv_span *bytes, struct cv_buffer *out)
{
	int error = 0;

	if (body->framing == CV_HTTP_LENGTH && body->left_bytes == 0 && body->state == DATA)
		error = put_end(body, out);
	while (!error && body->state != DONE && bytes->len_bytes > 0) {
		if (body->state == DATA) {
			error = take_content(body, bytes, out);
			continue;
		}
		error = frame_byte(body, bytes->data[0]);
		cv_span_skip(bytes, 1);
		if (!error && body->state == DONE)
			error = put_end(body, out);
	}
	if (error)
		return error;
	return body->state == DONE ? 0 : -EAGAIN;
}

int cv_http_body_end(struct cv_http_body *body, struct cv_buffer *out)
{
	if (body->state == DONE)
		return 0;
	if (body->framing != CV_HTTP_UNTIL_CLOSE)
		return CV_PEER_TRUNCATED;
	return put_end(body, out);
}
