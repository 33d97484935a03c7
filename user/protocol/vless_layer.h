/* SPDX-License-Identifier: MIT */
/*
 * vless_layer.h - what VLESS leaves on a leg once the request header is known: the response header
 * (glued to the first downlink bytes), the request header (client), and Vision on both directions.
 * Version 1 has no response header: nothing is left of it on the server's leg.
 */
#ifndef CV_PROTOCOL_VLESS_LAYER_H
#define CV_PROTOCOL_VLESS_LAYER_H

#include "protocol/layer.h"
#include "protocol/vless_versions.h"
#include "wire/vless.h"

/**
 * cv_vless_server_layer_new() - Server side: request already read by the session.
 * encode prepends the response header to the first bytes, in one unit with Vision's block 1.
 * @seed: Vision testseed (4 words) or NULL.
 */
struct cv_layer *cv_vless_server_layer_new(const struct cv_vless_request *request,
					   const uint32_t *seed);
/**
 * cv_vless_client_layer_new() - Client side: encode prepends the request header to the first bytes
 * (one unit; with Vision block 1, see Vision 2.2 c); decode strips the response header.
 */
struct cv_layer *cv_vless_client_layer_new(const struct cv_vless_request *request,
					   const uint32_t *seed);
/** cv_vless_client_layer_watch() - Tells @versions, which outlives the layer, what becomes of the
 * request. Until the first byte comes the layer has to see what is received. */
void cv_vless_client_layer_watch(struct cv_layer *layer, struct cv_vless_versions *versions);
/** cv_vless_client_layer_flush() - No app byte came within 500 ms: emit header (+ empty block). */
int cv_vless_client_layer_flush(struct cv_layer *layer, cv_layer_emit emit, void *context);

#endif
