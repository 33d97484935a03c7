/* SPDX-License-Identifier: MIT */
/*
 * http_head.h - the head of an HTTP/1 message: first line and fields, as views into its bytes.
 *
 * Requests are read strictly (CRLF only, no folded lines, no space before a colon), because what
 * two readers understand differently is how requests are smuggled; responses may end lines with LF.
 */
#ifndef CV_WIRE_HTTP_HEAD_H
#define CV_WIRE_HTTP_HEAD_H

#include "base/buffer.h"

#define CV_HTTP_HEAD_MAX 16384
#define CV_HTTP_RESPONSE_HEAD_MAX 32768
#define CV_HTTP_FIELDS_MAX 100

struct cv_http_field {
	struct cv_span name, value; /* value without white space around it */
};

struct cv_http_head { /* borrows the bytes it was read from */
	struct cv_span method, target; /* of a request */
	unsigned status;	       /* of a response: 100..999 */
	struct cv_span phrase;	       /* of a response, may be empty */
	unsigned minor_version;
	struct cv_http_field fields[CV_HTTP_FIELDS_MAX];
	size_t field_count;
	size_t len_bytes; /* with the empty line, and empty lines ahead of a request */
};

/**
 * cv_http_request_head_read() - One request head at the front of @bytes.
 * @ret_status: only on CV_PEER_DECODE: 400, 431 or 505
 * Returns: 0; -EAGAIN: more bytes are needed; CV_PEER_DECODE. Source: RFC 9112 2.2, 3, 5; HTTP C2.
 */
int cv_http_request_head_read(struct cv_span bytes, struct cv_http_head *ret_head,
			      unsigned *ret_status);
/** cv_http_response_head_read() - Likewise a response's. Returns: 0; -EAGAIN; CV_UPSTREAM_DECODE.
 * Source: RFC 9112 4. */
int cv_http_response_head_read(struct cv_span bytes, struct cv_http_head *ret_head);

/** cv_http_span_is() - Equal to @text without regard to case? */
bool cv_http_span_is(struct cv_span span, const char *text);
/** cv_http_field() - The first field called @name, NULL if there is none; @ret_count (may be NULL):
 * how many there are. */
const struct cv_http_field *cv_http_field(const struct cv_http_head *head, const char *name,
					  size_t *ret_count);
/** cv_http_list_next() - Take the next element of a comma separated list; false at its end. Empty
 * elements are skipped. */
bool cv_http_list_next(struct cv_span *list, struct cv_span *ret_element);
/** cv_http_lists() - Does any field called @name list @token? Case does not matter. */
bool cv_http_lists(const struct cv_http_head *head, const char *name, const char *token);
/** cv_http_is_hop_by_hop() - Is @field only for us, by RFC 9110 7.6.1 or named in Connection? */
bool cv_http_is_hop_by_hop(const struct cv_http_head *head, const struct cv_http_field *field);

#endif
