/* SPDX-License-Identifier: MIT */
/*
 * vless.h - VLESS version 0 request and response headers.
 *
 *   request   00 | uuid 16 | M | addons M | command | [port 2 | type 1 | address]
 *   response  00 | M | addons M
 */
#ifndef CV_WIRE_VLESS_H
#define CV_WIRE_VLESS_H

#include "base/address.h"
#include "base/buffer.h"

#define CV_UUID_LEN 16
enum cv_vless_command { CV_VLESS_TCP = 1, CV_VLESS_UDP = 2, CV_VLESS_MUX = 3, CV_VLESS_RVS = 4 };
enum cv_vless_flow { CV_FLOW_NONE, CV_FLOW_VISION, CV_FLOW_OTHER };
#define CV_VLESS_REQUEST_MAX (1 + 16 + 1 + 255 + 1 + 2 + 1 + 256)

struct cv_vless_request {
	uint8_t version;	   /* 0; 1: wire/vless_v1.h */
	uint8_t uuid[CV_UUID_LEN]; /* as sent */
	enum cv_vless_flow flow;
	enum cv_vless_command command;
	struct cv_destination destination; /* NONE for MUX and RVS */
};

/**
 * cv_vless_request_read() - Parse a request header that may be cut anywhere.
 * @ret_len: header length consumed
 * Returns: 0; -EAGAIN; CV_PEER_PROTOCOL_VERSION (first byte not 0); CV_PEER_DECODE (addons),
 * CV_PEER_COMMAND, CV_PEER_ADDRESS. Source: VLESS 1, 2.
 */
int cv_vless_request_read(struct cv_span bytes, struct cv_vless_request *ret_request,
			  size_t *ret_len);
/**
 * cv_vless_request_write() - Append a request header.
 * Returns: 0; a buffer error; CV_INTERNAL_STATE if flow or destination cannot be written.
 * Source: VLESS 1.
 */
int cv_vless_request_write(const struct cv_vless_request *request, struct cv_buffer *out);
/** cv_vless_response_read() - 0 and *ret_len = 2+M; -EAGAIN; CV_UPSTREAM_VERSION. VLESS 3. */
int cv_vless_response_read(struct cv_span bytes, size_t *ret_len);
/** cv_vless_response_write() - Append a response header without addons. VLESS 3. */
int cv_vless_response_write(struct cv_buffer *out);

#endif
