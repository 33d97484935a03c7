/* SPDX-License-Identifier: MIT */
/*
 * http_connect.h - HTTP CONNECT, client side (RFC 9110 9.3.6, RFC 9112 3.2.3).
 */
#ifndef CV_WIRE_HTTP_CONNECT_H
#define CV_WIRE_HTTP_CONNECT_H

#include "base/address.h"
#include "base/buffer.h"

#define CV_HTTP_CONNECT_HEAD_MAX 16384

struct cv_http_connect {
	size_t seen_bytes; /* of interim heads */
	int status;	   /* of the final head, 0 before */
};

/**
 * cv_http_connect_write() - Append the request to @out.
 * @user, @password: Basic credentials; user "" = none, else without a colon, 255 bytes each at most
 * @headers: further lines, each ended by CR LF, or ""
 * Returns: 0; CV_PEER_ADDRESS if @destination cannot be written as host:port; CV_INTERNAL_CONFIG if
 * the credentials are too long; buffer errors. Source: HTTP B, C6.
 */
int cv_http_connect_write(const struct cv_destination *destination, const char *user,
			  const char *password, const char *headers, struct cv_buffer *out);
/**
 * cv_http_connect_read() - Look for the end of the answer's head; interim (1xx) ones are skipped.
 * @connect: zeroed before the first call
 * @ret_used: bytes consumed, always set; behind a success the rest is the destination's
 * Returns: 0 any 2xx; -EAGAIN; CV_UPSTREAM_CREDENTIALS (407), CV_UPSTREAM_SAYS_ reasons for other
 * codes; CV_UPSTREAM_DECODE: no HTTP/1 answer, or a head above CV_HTTP_CONNECT_HEAD_MAX.
 * Source: HTTP C6, SOCKS5 A3.
 */
int cv_http_connect_read(struct cv_http_connect *connect, struct cv_span bytes, size_t *ret_used);

#endif
