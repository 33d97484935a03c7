// SPDX-License-Identifier: MIT
/*
 * transport.c - which layer is which transport's.
 */
#include "protocol/transport.h"

#include "protocol/h2_layer.h"

struct cv_layer *cv_transport_client_layer_new(const struct cv_transport *transport,
					       const struct cv_transport_place *place)
{
	switch (transport->kind) {
	case CV_TRANSPORT_WEBSOCKET:
		return cv_websocket_client_layer_new(transport, place);
	case CV_TRANSPORT_HTTPUPGRADE:
		return cv_httpupgrade_client_layer_new(transport, place);
	case CV_TRANSPORT_H2:
		return cv_h2_client_layer_new(transport, place);
	case CV_TRANSPORT_RAW:
		break;
	}
	return NULL;
}
