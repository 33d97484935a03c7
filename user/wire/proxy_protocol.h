/* SPDX-License-Identifier: MIT */
#ifndef CV_WIRE_PROXY_PROTOCOL_H
#define CV_WIRE_PROXY_PROTOCOL_H

#include "base/address.h"
#include "base/buffer.h"

/**
 * cv_proxy_protocol_write() - Append a PROXY header.
 * @version: 1 or 2; 0 appends nothing
 * Both IPv4 -> TCP4, else TCP6 with v4 as ::ffff:a.b.c.d; v4-mapped on both ends counts as IPv4;
 * non-IP -> v1 UNKNOWN, v2 LOCAL.
 * Returns: 0 or a buffer error; CV_INTERNAL_STATE for another version. Source: REALITY 11.
 */
int cv_proxy_protocol_write(int version, const struct cv_sockaddr *source,
			    const struct cv_sockaddr *destination, struct cv_buffer *out);

/**
 * cv_proxy_protocol_read() - Take the PROXY header, of either version, that @bytes begin with.
 * @ret_used: its length
 * @ret_source, @ret_destination: len_bytes 0 = not told (UNKNOWN, LOCAL, no IP): the socket's count
 * Returns: 0; -EAGAIN if more is needed; CV_PEER_DECODE; CV_PEER_TOO_LONG (v2 above
 * CV_PROXY_HEADER_MAX). Options behind the addresses are skipped. Source: HAProxy's
 * proxy-protocol.txt 2.1, 2.2.
 */
#define CV_PROXY_HEADER_MAX 4096
int cv_proxy_protocol_read(struct cv_span bytes, size_t *ret_used, struct cv_sockaddr *ret_source,
			   struct cv_sockaddr *ret_destination);

#endif
