// SPDX-License-Identifier: MIT
/*
 * tls_server_layer.c - an established libssl connection as a layer.
 *
 *   one record -> input BIO -> SSL_read until it wants more -> out       (decode)
 *   bytes -> SSL_write -> output BIO -> emit                             (encode)
 *
 * Both BIOs are empty between calls: libssl holds no byte that the caller does not know about, so a
 * layer above may order a direction to go RAW after any record. An SSL_write of up to 16384 bytes
 * is one record, which keeps a Vision block whole.
 */
#include "protocol/tls_server_state.h"

#include "base/container.h"
#include "crypto/tls_record.h"

#include <culvert/reason.h>

#include <errno.h>
#include <stdlib.h>

#include <openssl/err.h>

#define USELESS_RECORDS_MAX 32

struct tls_layer {
	struct cv_layer layer;
	SSL *ssl;
	int rx_result; /* 0 while records are taken */
	uint8_t useless_count;
	bool rx_released, tx_released;
};

static struct tls_layer *tls_layer_of(struct cv_layer *layer)
{
	return cv_container_of(layer, struct tls_layer, layer);
}

/* ---- receiving ---------------------------------------------------------------------------- */

/* Everything the record holds; libssl asks for more when it is used up. */
static int read_all(struct tls_layer *self, struct cv_buffer *out, size_t room_bytes)
{
	size_t total = 0, count;
	uint8_t *space;
	int status, error;

	ERR_clear_error();
	do {
		if (cv_buffer_reserve(out, room_bytes - total, &space) < 0)
			return CV_INTERNAL_MEMORY;
		status = SSL_read_ex(self->ssl, space, room_bytes - total, &count);
		if (status == 1) {
			cv_buffer_commit(out, count);
			total += count;
		}
	} while (status == 1 && total < room_bytes);
	error = status == 1 ? SSL_ERROR_WANT_READ : SSL_get_error(self->ssl, status);
	if (error == SSL_ERROR_ZERO_RETURN)
		return CV_LAYER_EOF;
	if (error != SSL_ERROR_WANT_READ)
		return cv_tls_failure(CV_PEER_UNEXPECTED_MESSAGE, NULL, 0);
	if (total > 0)
		self->useless_count = 0;
	else if (++self->useless_count > USELESS_RECORDS_MAX)
		return CV_PEER_UNEXPECTED_MESSAGE;
	return 0;
}

static int drop_output(struct tls_layer *self)
{
	(void)BIO_reset(SSL_get_wbio(self->ssl));
	return 0;
}

static int tls_decode(struct cv_layer *layer, struct cv_span *in, struct cv_buffer *out,
		      struct cv_buffer *reply)
{
	struct tls_layer *self = tls_layer_of(layer);
	size_t record_len = CV_TLS_HEADER;
	int result, drained;

	if (self->rx_result) {
		cv_span_skip(in, in->len_bytes);
		return self->rx_result;
	}
	result = cv_tls_record_peek(*in, &record_len);
	if (result == -EAGAIN)
		return result;
	if (result) /* too long: its header is enough for libssl's alert */
		record_len = CV_TLS_HEADER;
	else if (cv_buffer_room(out) < record_len)
		return CV_INTERNAL_RESOURCE;
	result = cv_tls_feed(self->ssl, cv_span_of(in->data, record_len));
	cv_span_skip(in, record_len);
	if (result == 0)
		result = read_all(self, out, record_len);
	drained = self->tx_released ? drop_output(self) : cv_tls_drain(self->ssl, reply);
	if (result == 0)
		result = drained;
	self->rx_result = result;
	return result;
}

/* ---- sending ------------------------------------------------------------------------------ */

static int emit_output(struct tls_layer *self, cv_layer_emit emit, void *context)
{
	char *bytes = NULL;
	long len = BIO_get_mem_data(SSL_get_wbio(self->ssl), &bytes);
	int result = len > 0 ? emit(context, cv_span_of(bytes, (size_t)len)) : 0;

	(void)drop_output(self);
	return result;
}

static int tls_encode(struct cv_layer *layer, struct cv_span bytes, cv_layer_emit emit,
		      void *context)
{
	struct tls_layer *self = tls_layer_of(layer);
	int result = 0;

	if (self->tx_released)
		return CV_INTERNAL_STATE;
	while (bytes.len_bytes > 0 && result == 0) {
		size_t len = bytes.len_bytes < CV_TLS_PLAINTEXT_MAX ? bytes.len_bytes
								    : CV_TLS_PLAINTEXT_MAX;
		size_t written = 0;

		ERR_clear_error();
		if (SSL_write_ex(self->ssl, bytes.data, len, &written) != 1 || written != len) {
			ERR_clear_error();
			return CV_INTERNAL_CRYPTO;
		}
		result = emit_output(self, emit, context);
		cv_span_skip(&bytes, len);
	}
	return result;
}

static int tls_encode_eof(struct cv_layer *layer, cv_layer_emit emit, void *context)
{
	struct tls_layer *self = tls_layer_of(layer);

	if (self->tx_released)
		return 0;
	(void)SSL_shutdown(self->ssl); /* best effort after a failure */
	ERR_clear_error();
	return emit_output(self, emit, context);
}

/* ---- life --------------------------------------------------------------------------------- */

/* libssl's keys can only go together. */
static void release(struct tls_layer *self)
{
	if (self->rx_released && self->tx_released) {
		SSL_free(self->ssl);
		self->ssl = NULL;
	}
}

static void tls_release_rx(struct cv_layer *layer)
{
	struct tls_layer *self = tls_layer_of(layer);

	self->rx_released = true;
	if (self->rx_result == 0)
		self->rx_result = CV_INTERNAL_STATE;
	release(self);
}

static void tls_release_tx(struct cv_layer *layer)
{
	struct tls_layer *self = tls_layer_of(layer);

	self->tx_released = true;
	release(self);
}

static void tls_free(struct cv_layer *layer)
{
	struct tls_layer *self = tls_layer_of(layer);

	SSL_free(self->ssl);
	free(self);
}

static const struct cv_layer_ops tls_ops = {
	.name = "tls",
	.decode = tls_decode,
	.encode = tls_encode,
	.encode_eof = tls_encode_eof,
	.release_rx = tls_release_rx,
	.release_tx = tls_release_tx,
	.free = tls_free,
};

struct cv_layer *cv_tls_layer_new(SSL *ssl)
{
	struct tls_layer *self = calloc(1, sizeof(*self));
	bool is_tls13 = SSL_version(ssl) == TLS1_3_VERSION;

	if (!self) {
		SSL_free(ssl);
		return NULL;
	}
	self->layer = (struct cv_layer){
		.ops = &tls_ops,
		.rx = is_tls13 ? CV_RECORDS : CV_OPAQUE,
		.tx = is_tls13 ? CV_RECORDS : CV_OPAQUE,
	};
	self->ssl = ssl;
	return &self->layer;
}
