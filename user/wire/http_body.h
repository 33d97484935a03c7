/* SPDX-License-Identifier: MIT */
/*
 * http_body.h - where the body of an HTTP/1 message ends, and its bytes in the framing of the other
 * side.
 */
#ifndef CV_WIRE_HTTP_BODY_H
#define CV_WIRE_HTTP_BODY_H

#include "base/buffer.h"

enum cv_http_framing {
	CV_HTTP_NO_BODY,
	CV_HTTP_LENGTH,
	CV_HTTP_CHUNKED,
	CV_HTTP_UNTIL_CLOSE,
};

struct cv_http_body {
	enum cv_http_framing framing;
	uint64_t left_bytes;  /* of the length, or of the chunk */
	uint32_t extra_bytes; /* of an extension or of the trailers */
	uint8_t state, digits;
	bool is_rechunked; /* what is written is chunked */
};

/** cv_http_body_init() - @len_bytes: for CV_HTTP_LENGTH. @is_rechunked: write chunks, whatever is
 * read. */
void cv_http_body_init(struct cv_http_body *body, enum cv_http_framing framing, uint64_t len_bytes,
		       bool is_rechunked);
/**
 * cv_http_body_read() - Take what belongs to the body off the front of @bytes, append its content
 * to @out in the framing wanted. Extensions of chunks and trailers are dropped.
 * Returns: 0: the body is whole; -EAGAIN: all of @bytes is used, more is to come; CV_PEER_DECODE;
 * buffer errors. Source: RFC 9112 7.1.
 */
int cv_http_body_read(struct cv_http_body *body, struct cv_span *bytes, struct cv_buffer *out);
/** cv_http_body_end() - The carrier ended. 0: so does the body (what ends a chunked one is appended
 * to @out); CV_PEER_TRUNCATED; buffer errors. */
int cv_http_body_end(struct cv_http_body *body, struct cv_buffer *out);

#endif
