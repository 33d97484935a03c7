/* SPDX-License-Identifier: MIT */
/*
 * vless_v1.h - VLESS version 1: the request header of a TCP stream. There is no response header.
 *
 *   request   01 | uuid 16 | addon 1 | command 1 | port 2 | type 1 | address
 */
#ifndef CV_WIRE_VLESS_V1_H
#define CV_WIRE_VLESS_V1_H

#include "wire/vless.h"

/**
 * cv_vless_v1_request_read() - Parse a request header that may be cut anywhere.
 * @ret_request: version 1, no flow, command TCP
 * @ret_len: header length consumed
 * Returns: 0; -EAGAIN; CV_PEER_PROTOCOL_VERSION (first byte not 1); CV_PEER_DECODE (an addon that
 * would change what follows), CV_PEER_COMMAND (not TCP), CV_PEER_ADDRESS (port 0 too).
 * Source: VLESS v1 1.1, 2.
 */
int cv_vless_v1_request_read(struct cv_span bytes, struct cv_vless_request *ret_request,
			     size_t *ret_len);
/**
 * cv_vless_v1_request_write() - Append a request header.
 * Returns: 0; a buffer error; CV_INTERNAL_STATE if flow, command or destination cannot be said in
 * this version. Source: VLESS v1 2.
 */
int cv_vless_v1_request_write(const struct cv_vless_request *request, struct cv_buffer *out);

#endif
