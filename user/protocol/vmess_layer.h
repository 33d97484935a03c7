/* SPDX-License-Identifier: MIT */
/*
 * vmess_layer.h - VMess on a leg: the headers that wait for the first bytes, and the body's chunks.
 *
 * With command UDP a chunk is a datagram. Above the layer datagrams are framed as VLESS does it:
 * each behind its length in two bytes.
 */
#ifndef CV_PROTOCOL_VMESS_LAYER_H
#define CV_PROTOCOL_VMESS_LAYER_H

#include "protocol/layer.h"
#include "protocol/vmess_header.h"

/** cv_vmess_server_layer_new() - The session has read @request. encode prepends the response header
 * to the first bytes. NULL on failure. */
struct cv_layer *cv_vmess_server_layer_new(const struct cv_vmess_request *request);
/**
 * cv_vmess_client_layer_new() - encode prepends the header of @request, made by
 * cv_vmess_request_make(), to the first bytes, in one unit; decode opens the response header.
 * @now_s: Unix time. NULL on failure.
 */
struct cv_layer *cv_vmess_client_layer_new(const struct cv_vmess_request *request,
					   const uint8_t command_key[CV_VMESS_KEY],
					   uint64_t now_s);

#endif
