/* SPDX-License-Identifier: MIT */
/*
 * h2_layer.h - one stream of HTTP/2 as a transport, client side: the body of a request one way, of
 * its response the other.
 */
#ifndef CV_PROTOCOL_H2_LAYER_H
#define CV_PROTOCOL_H2_LAYER_H

#include "protocol/transport.h"

/** cv_h2_client_layer_new() - Asks with its start; is_opening until 200. NULL: out of memory. */
struct cv_layer *cv_h2_client_layer_new(const struct cv_transport *transport,
					const struct cv_transport_place *place);

#endif
