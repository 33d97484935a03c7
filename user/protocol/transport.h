/* SPDX-License-Identifier: MIT */
/*
 * transport.h - what carries a protocol over TCP or TLS when that is not bare: WebSocket,
 * HTTPUpgrade, HTTP/2. Each is a layer; nothing above it knows.
 *
 * A client's layer asks for itself: it emits the request, and is_opening until the answer has come.
 * A server's request is judged by the session, because what is not ours may be for a web server
 * behind us, with every byte.
 */
#ifndef CV_PROTOCOL_TRANSPORT_H
#define CV_PROTOCOL_TRANSPORT_H

#include "protocol/fingerprint.h"
#include "protocol/layer.h"

enum cv_transport_kind {
	CV_TRANSPORT_RAW,
	CV_TRANSPORT_WEBSOCKET,
	CV_TRANSPORT_HTTPUPGRADE,
	CV_TRANSPORT_H2,
};

struct cv_transport { /* as configured; strings are never NULL */
	enum cv_transport_kind kind;
	char *path;	      /* begins with '/' */
	char *host;	      /* server: "" = any; client: "" = the name for TLS, or the address */
	char *headers;	      /* client: whole lines, or "" */
	char *method;	      /* h2, client */
	char *trusted;	      /* server: fields of who may tell X-Forwarded-For, comma separated */
	uint32_t early_bytes; /* client: a first write up to this goes into the request; 0 = none */
};

struct cv_transport_place { /* what a client says that is not configured for the transport */
	const char *host; /* where @transport has none; copied */
	enum cv_fingerprint fingerprint;
	bool is_tls;
};

#define CV_TRANSPORT_OPEN_MS 8000 /* a client waits as long for the answer */

/** cv_transport_client_layer_new() - @transport must outlive the layer. NULL: out of memory, or no
 * randomness. */
struct cv_layer *cv_transport_client_layer_new(const struct cv_transport *transport,
					       const struct cv_transport_place *place);
/* protocol/websocket_layer.c */
struct cv_layer *cv_websocket_client_layer_new(const struct cv_transport *transport,
					       const struct cv_transport_place *place);
/** cv_websocket_server_layer_new() - The request is answered already. NULL: out of memory. */
struct cv_layer *cv_websocket_server_layer_new(void);

/* protocol/httpupgrade_layer.c; there is none of a server: what follows the answer is bare */
struct cv_layer *cv_httpupgrade_client_layer_new(const struct cv_transport *transport,
						 const struct cv_transport_place *place);

#endif
