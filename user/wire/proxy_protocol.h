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

#endif
