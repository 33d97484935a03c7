/* SPDX-License-Identifier: MIT */
/*
 * tls_server_state.h - shared by the tls_server_*.c files only.
 *
 *   tls_server_context.c  certificates, choice by SNI and ALPN
 *   tls_server.c          the handshake
 *   tls_server_layer.c    the connection afterwards
 */
#ifndef CV_PROTOCOL_TLS_SERVER_STATE_H
#define CV_PROTOCOL_TLS_SERVER_STATE_H

#include "protocol/tls_server.h"

#include <openssl/ssl.h>

struct cv_tls_identity {
	SSL_CTX *ssl_context;
	char **names; /* lower case */
	size_t name_count;
};

struct cv_tls_server_context {
	struct cv_tls_identity *identities;
	size_t identity_count;
	uint8_t *alpn; /* wire format, our order */
	unsigned int alpn_len;
	bool reject_unknown_sni, is_proxy;
};

/** cv_tls_layer_new() - Takes over @ssl. NULL: out of memory, @ssl is freed. */
struct cv_layer *cv_tls_layer_new(SSL *ssl);

/** cv_tls_server_note_secret() - libssl's key log: @line "LABEL client_random secret", in hex. */
void cv_tls_server_note_secret(const SSL *ssl, const char *line);

/** cv_tls_feed() - Give @bytes to libssl's input BIO. 0 or CV_INTERNAL_MEMORY. */
int cv_tls_feed(SSL *ssl, struct cv_span bytes);
/** cv_tls_drain() - Move what libssl wants sent to @out. 0 or a buffer error. */
int cv_tls_drain(SSL *ssl, struct cv_buffer *out);
/** cv_tls_failure() - Name libssl's first queued error, copy its text, empty the queue.
 * @fallback is returned when the error is neither an alert nor a failed MAC. */
int cv_tls_failure(int fallback, char *text, size_t text_size);

#endif
