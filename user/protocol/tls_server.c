// SPDX-License-Identifier: MIT
/*
 * tls_server.c - the handshake of a TLS inbound.
 *
 *   bytes -> one whole record -> input BIO -> SSL_do_handshake -> output BIO -> output
 *
 * The loop ends with the record that completes the handshake; what follows it was never shown to
 * libssl. Bytes that are no TLS record at all are shown to it once, so that it answers with the
 * alert it has for them, if any.
 *
 * After a TLS 1.3 handshake libssl has nothing left to do: no tickets, no renegotiation. Its
 * traffic secrets, from the key log callback, go to a record layer, which is smaller and can let
 * the kernel take over.
 */
#include "protocol/tls_server_state.h"

#include "crypto/tls_record.h"
#include "protocol/record_layer.h"

#include <culvert/reason.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>

#define OUTPUT_MAX (256 * 1024) /* a certificate chain and its handshake */
#define ERROR_TEXT 96

struct cv_tls_server {
	SSL *ssl;
	struct cv_buffer output;
	int result; /* -EAGAIN while the handshake is under way */
	bool record_seen, is_proxy;
	bool is_tls13;
	uint8_t secrets[2][CV_HASH_MAX]; /* application data: the client's, ours */
	size_t secret_len[2];		 /* 0 = not known yet */
	char sni[256];
	char alpn[256];
	char error_text[ERROR_TEXT];
};

/* ---- libssl ------------------------------------------------------------------------------- */

int cv_tls_feed(SSL *ssl, struct cv_span bytes)
{
	size_t written;

	if (BIO_write_ex(SSL_get_rbio(ssl), bytes.data, bytes.len_bytes, &written) != 1 ||
	    written != bytes.len_bytes)
		return CV_INTERNAL_MEMORY;
	return 0;
}

int cv_tls_drain(SSL *ssl, struct cv_buffer *out)
{
	BIO *bio = SSL_get_wbio(ssl);
	char *bytes = NULL;
	long len = BIO_get_mem_data(bio, &bytes);
	int result = len > 0 ? cv_buffer_append(out, bytes, (size_t)len) : 0;

	(void)BIO_reset(bio);
	return result;
}

int cv_tls_failure(int fallback, char *text, size_t text_size)
{
	unsigned long error = ERR_peek_error();
	const char *reason = error ? ERR_reason_error_string(error) : NULL;
	int number = error ? ERR_GET_REASON(error) : 0;

	if (text_size > 0)
		snprintf(text, text_size, "%s", reason ? reason : "");
	ERR_clear_error();
	if (!error || ERR_GET_LIB(error) != ERR_LIB_SSL)
		return fallback;
	if (number >= SSL_AD_REASON_OFFSET)
		return CV_PEER_ALERT;
	return number == SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC ? CV_PEER_BAD_RECORD : fallback;
}

/* ---- handshake ---------------------------------------------------------------------------- */

static void note_facts(struct cv_tls_server *server)
{
	const char *sni = SSL_get_servername(server->ssl, TLSEXT_NAMETYPE_host_name);
	const unsigned char *alpn = NULL;
	unsigned int alpn_len = 0;

	SSL_get0_alpn_selected(server->ssl, &alpn, &alpn_len);
	snprintf(server->sni, sizeof(server->sni), "%s", sni ? sni : "");
	snprintf(server->alpn, sizeof(server->alpn), "%.*s", (int)alpn_len,
		 alpn ? (const char *)alpn : "");
	server->is_tls13 = SSL_version(server->ssl) == TLS1_3_VERSION;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static size_t read_hex(const char *text, uint8_t *bytes, size_t max_bytes)
{
	size_t count = 0;

	while (count < max_bytes && hex_digit(text[0]) >= 0 && hex_digit(text[1]) >= 0) {
		bytes[count++] = (uint8_t)(hex_digit(text[0]) << 4 | hex_digit(text[1]));
		text += 2;
	}
	return *text ? 0 : count;
}

void cv_tls_server_note_secret(const SSL *ssl, const char *line)
{
	static const char *const labels[2] = {"CLIENT_TRAFFIC_SECRET_0 ",
					      "SERVER_TRAFFIC_SECRET_0 "};
	struct cv_tls_server *server = SSL_get_app_data(ssl);
	const char *secret = strrchr(line, ' ');

	for (int i = 0; i < 2 && server && secret; i++)
		if (strncmp(line, labels[i], strlen(labels[i])) == 0)
			server->secret_len[i] = read_hex(secret + 1, server->secrets[i],
							 sizeof(server->secrets[i]));
}

static int step(struct cv_tls_server *server)
{
	int status, error, result;

	ERR_clear_error();
	status = SSL_do_handshake(server->ssl);
	error = SSL_get_error(server->ssl, status);
	if (status == 1) {
		note_facts(server);
		result = 0;
	} else if (error == SSL_ERROR_WANT_READ) {
		result = -EAGAIN;
	} else {
		result = cv_tls_failure(CV_PEER_TLS_HANDSHAKE, server->error_text,
					sizeof(server->error_text));
		if (result == CV_PEER_BAD_RECORD)
			result = CV_PEER_TLS_HANDSHAKE;
	}
	error = cv_tls_drain(server->ssl, &server->output);
	return error ? error : result;
}

/* Not a record: let libssl say what it has to say about it. */
static int refuse(struct cv_tls_server *server, struct cv_span *bytes)
{
	int reason = server->record_seen ? CV_PEER_TLS_HANDSHAKE : CV_PEER_NOT_TLS;

	if (cv_tls_feed(server->ssl, cv_span_of(bytes->data, CV_TLS_HEADER)) == 0)
		(void)step(server);
	cv_span_skip(bytes, bytes->len_bytes);
	return reason;
}

static bool looks_like_record(struct cv_span bytes)
{
	return bytes.data[0] >= CV_TLS_CCS && bytes.data[0] <= CV_TLS_APPLICATION &&
	       bytes.data[1] == 3;
}

/* A SOCKS greeting is shorter than a record's header: its sender would wait for an answer. */
static bool is_plain_proxy(const struct cv_tls_server *server, struct cv_span *bytes)
{
	if (!server->is_proxy || server->record_seen || bytes->len_bytes == 0 ||
	    bytes->data[0] == CV_TLS_HANDSHAKE)
		return false;
	cv_span_skip(bytes, bytes->len_bytes);
	return true;
}

static int take_record(struct cv_tls_server *server, struct cv_span *bytes)
{
	size_t record_len;
	int result;

	if (bytes->len_bytes < CV_TLS_HEADER)
		return is_plain_proxy(server, bytes) ? CV_PEER_NOT_TLS : -EAGAIN;
	result = cv_tls_record_peek(*bytes, &record_len);
	if (!looks_like_record(*bytes) || (result && result != -EAGAIN))
		return refuse(server, bytes);
	if (result)
		return result;
	server->record_seen = true;
	result = cv_tls_feed(server->ssl, cv_span_of(bytes->data, record_len));
	cv_span_skip(bytes, record_len);
	return result ? result : step(server);
}

int cv_tls_server_read(struct cv_tls_server *server, struct cv_span *bytes)
{
	while (server->result == -EAGAIN) {
		size_t before = bytes->len_bytes;

		server->result = take_record(server, bytes);
		if (server->result == -EAGAIN && bytes->len_bytes == before)
			break;
	}
	return server->result;
}

/* ---- life --------------------------------------------------------------------------------- */

static SSL *new_ssl(const struct cv_tls_server_context *context)
{
	SSL *ssl = SSL_new(context->identities[0].ssl_context);
	BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());

	if (!ssl || !in || !out) {
		SSL_free(ssl);
		BIO_free(in);
		BIO_free(out);
		ERR_clear_error();
		return NULL;
	}
	BIO_set_mem_eof_return(in, -1); /* empty means "more will come" */
	BIO_set_mem_eof_return(out, -1);
	SSL_set_bio(ssl, in, out);
	SSL_set_accept_state(ssl);
	return ssl;
}

struct cv_tls_server *cv_tls_server_new(const struct cv_tls_server_context *context)
{
	struct cv_tls_server *server = calloc(1, sizeof(*server));

	if (!server)
		return NULL;
	server->ssl = new_ssl(context);
	if (!server->ssl) {
		free(server);
		return NULL;
	}
	SSL_set_app_data(server->ssl, server);
	server->is_proxy = context->is_proxy;
	server->result = -EAGAIN;
	cv_buffer_init(&server->output, OUTPUT_MAX);
	return server;
}

struct cv_tls_server *cv_tls_server_free(struct cv_tls_server *server)
{
	if (!server)
		return NULL;
	SSL_free(server->ssl);
	cv_buffer_done(&server->output);
	cv_cleanse(server->secrets, sizeof(server->secrets));
	free(server);
	return NULL;
}

struct cv_buffer *cv_tls_server_output(struct cv_tls_server *server)
{
	return &server->output;
}

const char *cv_tls_server_error_text(const struct cv_tls_server *server)
{
	return server->error_text;
}

const char *cv_tls_server_sni(const struct cv_tls_server *server)
{
	return server->sni;
}

const char *cv_tls_server_alpn(const struct cv_tls_server *server)
{
	return server->alpn;
}

bool cv_tls_server_is_tls13(const struct cv_tls_server *server)
{
	return server->is_tls13;
}

static const struct cv_tls_suite *suite_of(const SSL *ssl)
{
	const SSL_CIPHER *cipher = SSL_get_current_cipher(ssl);

	return cipher ? cv_tls_suite_find(SSL_CIPHER_get_protocol_id(cipher)) : NULL;
}

/* Both sequence numbers are 0: libssl was shown nothing behind the client's Finished and sends no
 * ticket. NULL: libssl has to go on itself. */
static struct cv_layer *new_record_layer(const struct cv_tls_server *server)
{
	const struct cv_tls_suite *suite = suite_of(server->ssl);
	struct cv_tls_keys rx = {0}, tx = {0};

	if (!server->is_tls13 || !suite || SSL_has_pending(server->ssl) ||
	    server->secret_len[0] != cv_hash_len(suite->hash) ||
	    server->secret_len[1] != cv_hash_len(suite->hash))
		return NULL;
	if (cv_tls_keys_init(&rx, suite, server->secrets[0], false) != 0)
		return NULL;
	if (cv_tls_keys_init(&tx, suite, server->secrets[1], true) != 0) {
		cv_tls_keys_done(&rx);
		return NULL;
	}
	return cv_record_layer_new(&rx, &tx, true);
}

struct cv_layer *cv_tls_server_take_layer(struct cv_tls_server *server)
{
	SSL *ssl = server->ssl;
	struct cv_layer *layer;

	if (server->result != 0 || !ssl)
		return NULL;
	layer = new_record_layer(server);
	SSL_set_app_data(ssl, NULL);
	server->ssl = NULL;
	if (!layer)
		return cv_tls_layer_new(ssl);
	SSL_free(ssl);
	return layer;
}
