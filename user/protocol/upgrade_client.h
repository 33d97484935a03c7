/* SPDX-License-Identifier: MIT */
/*
 * upgrade_client.h - a client's side of an HTTP upgrade: the request, and whether the answer fits.
 */
#ifndef CV_PROTOCOL_UPGRADE_CLIENT_H
#define CV_PROTOCOL_UPGRADE_CLIENT_H

#include "protocol/transport.h"
#include "wire/http_upgrade.h"

struct cv_upgrade_client {
	enum cv_upgrade kind;
	const struct cv_transport *transport;
	const char *user_agent;
	bool early; /* there was early data */
	char host[262];
	char key[CV_WEBSOCKET_KEY_TEXT + 1], accept[CV_WEBSOCKET_ACCEPT_TEXT + 1];
};

/** cv_upgrade_client_init() - 0 or CV_INTERNAL_CRYPTO. */
int cv_upgrade_client_init(struct cv_upgrade_client *client, enum cv_upgrade kind,
			   const struct cv_transport *transport,
			   const struct cv_transport_place *place);
/** cv_upgrade_client_start() - Emit the request, with @early in it (WebSocket only). */
int cv_upgrade_client_start(struct cv_upgrade_client *client, struct cv_span early,
			    cv_layer_emit emit, void *context);
/** cv_upgrade_client_read() - Take the answer's head off @in. Returns: 0; -EAGAIN;
 * CV_UPSTREAM_NO_UPGRADE; CV_UPSTREAM_DECODE. */
int cv_upgrade_client_read(struct cv_upgrade_client *client, struct cv_span *in);

/** cv_websocket_accept() - For a key: CV_WEBSOCKET_ACCEPT_TEXT bytes and NUL. 0 or
 * CV_INTERNAL_CRYPTO. Source: RFC 6455 4.2.2. */
int cv_websocket_accept(struct cv_span key, char *ret_text);

#endif
