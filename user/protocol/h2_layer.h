/* SPDX-License-Identifier: MIT */
/*
 * h2_layer.h - one stream of HTTP/2 as a carrier: the body of a request one way, of its response
 * the other.
 */
#ifndef CV_PROTOCOL_H2_LAYER_H
#define CV_PROTOCOL_H2_LAYER_H

#include "protocol/transport.h"

/** cv_h2_client_layer_new() - Asks with its start; is_opening until 200. NULL: out of memory. */
struct cv_layer *cv_h2_client_layer_new(const struct cv_transport *transport,
					const struct cv_transport_place *place);
/**
 * cv_h2_server_layer_new() - is_opening until a request for the path and host came. @is_strict: its
 * decode returns CV_PEER_NO_UPGRADE for any other, which else gets 404. NULL: out of memory.
 */
struct cv_layer *cv_h2_server_layer_new(const struct cv_transport *transport, bool is_strict);

#endif
