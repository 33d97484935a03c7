/* SPDX-License-Identifier: MIT */
/*
 * socks4.h - SOCKS4 and SOCKS4a requests: one message, one reply, no passwords.
 */
#ifndef CV_WIRE_SOCKS4_H
#define CV_WIRE_SOCKS4_H

#include "base/address.h"
#include "base/buffer.h"

#define CV_SOCKS4_CONNECT 1
#define CV_SOCKS4_BIND 2

struct cv_socks4_request {
	uint8_t command; /* as it came; CV_SOCKS4_CONNECT is what is served */
	struct cv_destination destination;
	size_t len_bytes;
};

/**
 * cv_socks4_request_read() - One request at the front of @bytes; the user id is skipped.
 * Returns: 0; -EAGAIN; CV_PEER_PROTOCOL_VERSION (first byte); CV_PEER_TOO_LONG (a user id or a name
 * above 255 bytes); CV_PEER_ADDRESS (a name that is none, port 0, 0.0.0.0).
 * Source: SOCKS5 A1; the SOCKS4 and SOCKS4A memos.
 */
int cv_socks4_request_read(struct cv_span bytes, struct cv_socks4_request *ret_request);
/** cv_socks4_reply() - Request granted (90), or rejected or failed (91). 0 or a buffer error. */
int cv_socks4_reply(bool is_granted, struct cv_buffer *out);

#endif
