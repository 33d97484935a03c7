/* SPDX-License-Identifier: MIT */
/*
 * tls_server.h - `security: tls` of an inbound: libssl behind memory BIOs, one record at a time.
 *
 *   configuration -> cv_tls_server_context      one per inbound, read-only, shared by all workers
 *   session       -> cv_tls_server              one handshake: read() until 0, output to the client
 *                    cv_tls_server_take_layer   the connection as a layer; the handshake object can
 * go
 *
 * libssl never sees more than the record it is working on, so whatever follows stays with the
 * caller and may turn out to be raw (Vision 5.2).
 */
#ifndef CV_PROTOCOL_TLS_SERVER_H
#define CV_PROTOCOL_TLS_SERVER_H

#include "protocol/layer.h"

#define CV_TLS_ERROR_TEXT 160
#define CV_TLS_VERSION_12 0x0303
#define CV_TLS_VERSION_13 0x0304

struct cv_tls_certificate {
	struct cv_span chain_pem; /* leaf first */
	struct cv_span key_pem;   /* not encrypted */
};

/* Borrowed for the call only. */
struct cv_tls_server_config {
	const struct cv_tls_certificate *certificates; /* at least one; [0] is the default */
	size_t certificate_count;
	const char *const *alpn; /* in our order of preference; none = ALPN is not answered */
	size_t alpn_count;
	uint16_t min_version;    /* 0 = CV_TLS_VERSION_13 */
	uint16_t max_version;    /* 0 = CV_TLS_VERSION_13 */
	bool reject_unknown_sni; /* no certificate for the name: fail with unrecognized_name */
	bool is_proxy; /* ALPN without a common protocol is no failure; AEAD suites only */
};

struct cv_tls_server_context;
struct cv_tls_server;

/**
 * cv_tls_server_context_new() - Check and load everything a listener needs.
 * @error_text: on failure a sentence for the operator, NUL terminated
 * Certificates are chosen by SNI: common name and DNS names, exact or one-label wildcard; without a
 * match, or without SNI, the first. No tickets, no resumption, no 0-RTT, no renegotiation.
 * Returns: 0; CV_INTERNAL_CONFIG (nothing usable: @error_text says which and why);
 * CV_INTERNAL_MEMORY. Source: compat 6.1; RFC 6066 3; RFC 7301 3.2.
 */
int cv_tls_server_context_new(const struct cv_tls_server_config *config,
			      struct cv_tls_server_context **ret_context,
			      char error_text[CV_TLS_ERROR_TEXT]);
/** cv_tls_server_context_free() - No handshake may be under way; taken layers live on. NULL-safe.
 */
struct cv_tls_server_context *cv_tls_server_context_free(struct cv_tls_server_context *context);

/** cv_tls_server_new() - @context borrowed until the layer is taken. NULL: out of memory. */
struct cv_tls_server *cv_tls_server_new(const struct cv_tls_server_context *context);
struct cv_tls_server *cv_tls_server_free(struct cv_tls_server *server); /* NULL-safe */

/**
 * cv_tls_server_read() - Take whole records from the front of @bytes until the handshake ends.
 * What is left in @bytes was not looked at. Output may be waiting after every return, an alert too.
 * Returns: 0 when established; -EAGAIN; CV_PEER_NOT_TLS (first bytes), CV_PEER_ALERT,
 * CV_PEER_TLS_HANDSHAKE (cv_tls_server_error_text() has libssl's reason). Errors repeat.
 */
int cv_tls_server_read(struct cv_tls_server *server, struct cv_span *bytes);
/** cv_tls_server_output() - Bytes for the client. */
struct cv_buffer *cv_tls_server_output(struct cv_tls_server *server);
/** cv_tls_server_error_text() - Why read() failed, "" before. */
const char *cv_tls_server_error_text(const struct cv_tls_server *server);

/* Facts, valid once read() returned 0; never NULL, "" if the client sent none. */
const char *cv_tls_server_sni(const struct cv_tls_server *server);
const char *cv_tls_server_alpn(const struct cv_tls_server *server);
bool cv_tls_server_is_tls13(const struct cv_tls_server *server);

/**
 * cv_tls_server_take_layer() - Once, after read() returned 0; owned by the caller. NULL otherwise.
 * TLS 1.3: a record layer with libssl's secrets, CV_RECORDS both ways, and libssl is done with;
 * TLS 1.2: libssl itself, CV_OPAQUE. decode takes one record per call and returns CV_LAYER_EOF on
 * close_notify, CV_PEER_ALERT, CV_PEER_BAD_RECORD, CV_PEER_TOO_LONG (1.3) or
 * CV_PEER_UNEXPECTED_MESSAGE with the alert in reply; CV_INTERNAL_RESOURCE if @out has no room
 * (nothing is consumed).
 */
struct cv_layer *cv_tls_server_take_layer(struct cv_tls_server *server);

#endif
