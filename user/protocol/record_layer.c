// SPDX-License-Identifier: MIT
/*
 * record_layer.c - TLS 1.3 record protection after the handshake, one record at a time.
 *
 *   carrier bytes -> one whole record -> open -> application_data   appended to out
 *                                             -> handshake          KeyUpdate, NewSessionTicket
 *                                             -> alert              close_notify = EOF
 *
 * A record is opened in place: into the tail of out, which is committed for application data only.
 * Handshake messages may be cut anywhere, so their header and (for KeyUpdate) body byte are
 * collected across records; ticket bodies are counted, not kept.
 *
 * A peer that sends records without application data makes us work for nothing; 32 in a row end the
 * connection. We ask for new keys ourselves long before AES-GCM's bound (RFC 8446 5.5).
 *
 * A direction may go to the kernel: its application data is then none of ours, but the secrets stay
 * here, and what else comes or must be sent passes through the carrier.
 */
#include "protocol/record_layer.h"

#include "base/container.h"
#include "protocol/tls_alert.h"
#include "protocol/upstream_reason.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define USELESS_RECORDS_MAX 32
#define KEY_LIFETIME_RECORDS (UINT64_C(1) << 24)
#define MESSAGE_HEADER 4
#define KEY_UPDATE_LEN 5
#define PROTECTED_MIN (CV_AEAD_TAG + 1)

struct record_layer {
	struct cv_layer layer;
	struct cv_tls_keys rx, tx;
	bool is_server;
	bool tx_released;
	bool rx_in_kernel, tx_in_kernel;
	bool update_owed; /* the carrier had no room for our KeyUpdate */
	struct cv_record_carrier carrier;
	int rx_result; /* 0 while records are taken; CV_LAYER_EOF or the reason afterwards */
	uint8_t useless_count; /* records in a row without application data */
	uint8_t message[MESSAGE_HEADER + 1];
	uint8_t message_len; /* header bytes and KeyUpdate's body seen so far */
	size_t message_left; /* body bytes of the message still to come */
};

static struct record_layer *record_layer_of(struct cv_layer *layer)
{
	return cv_container_of(layer, struct record_layer, layer);
}

/* ---- sending ------------------------------------------------------------------------------ */

/* Answers are best effort: without keys, room or memory the peer learns less, nothing breaks. */
static void reply_alert(struct record_layer *self, uint8_t description, struct cv_buffer *reply)
{
	const uint8_t body[CV_TLS_ALERT_BODY] = {CV_TLS_ALERT_FATAL, description};

	if (self->tx_in_kernel)
		(void)self->carrier.send(self->carrier.context, CV_TLS_ALERT,
					 cv_span_of(body, sizeof(body)));
	else if (!self->tx_released)
		(void)cv_tls_record_seal(&self->tx, CV_TLS_ALERT, body, sizeof(body), 0, reply);
}

static const uint8_t update_not_requested[KEY_UPDATE_LEN] = {CV_TLS_KEY_UPDATE, 0, 0, 1, 0};

/* The next generation of keys, for the kernel. */
static int rekey_kernel(struct record_layer *self, struct cv_tls_keys *keys, bool is_tx)
{
	int result = cv_tls_keys_update(keys, is_tx);

	if (result)
		return result;
	keys->aead = cv_aead_free(keys->aead);
	return self->carrier.rekey(self->carrier.context, keys, is_tx);
}

static int update_tx_in_kernel(struct record_layer *self)
{
	int result = self->carrier.send(self->carrier.context, CV_TLS_HANDSHAKE,
					cv_span_of(update_not_requested, KEY_UPDATE_LEN));

	self->update_owed = result == -EAGAIN;
	return result ? result : rekey_kernel(self, &self->tx, true);
}

static int update_tx(struct record_layer *self, struct cv_buffer *out)
{
	int result;

	if (self->tx_in_kernel) {
		result = update_tx_in_kernel(self);
		return result == -EAGAIN ? 0 : result; /* cv_record_layer_pay() tries again */
	}
	result = cv_tls_record_seal(&self->tx, CV_TLS_HANDSHAKE, update_not_requested,
				    KEY_UPDATE_LEN, 0, out);
	return result ? result : cv_tls_keys_update(&self->tx, true);
}

static int seal(struct record_layer *self, uint8_t type, struct cv_span bytes,
		struct cv_buffer *out)
{
	int result = 0;

	if (self->tx.sequence >= KEY_LIFETIME_RECORDS)
		result = update_tx(self, out);
	return result ? result
		      : cv_tls_record_seal(&self->tx, type, bytes.data, bytes.len_bytes, 0, out);
}

static int emit_sealed(struct record_layer *self, uint8_t type, struct cv_span bytes,
		       struct cv_buffer *scratch, cv_layer_emit emit, void *context)
{
	int result = seal(self, type, bytes, scratch);

	if (result == 0)
		result = emit(context, cv_buffer_span(scratch));
	cv_buffer_consume(scratch, cv_buffer_len(scratch));
	return result;
}

static int record_encode(struct cv_layer *layer, struct cv_span bytes, cv_layer_emit emit,
			 void *context)
{
	struct record_layer *self = record_layer_of(layer);
	struct cv_buffer scratch;
	int result = 0;

	if (self->tx_released || self->tx_in_kernel)
		return CV_INTERNAL_STATE;
	cv_buffer_init(&scratch, 2 * CV_TLS_RECORD_MAX);
	while (bytes.len_bytes > 0 && result == 0) {
		size_t len = bytes.len_bytes < CV_TLS_PLAINTEXT_MAX ? bytes.len_bytes
								    : CV_TLS_PLAINTEXT_MAX;
		struct cv_span piece = cv_span_of(bytes.data, len);

		if (layer->below)
			result = seal(self, CV_TLS_APPLICATION, piece, layer->below);
		else
			result = emit_sealed(self, CV_TLS_APPLICATION, piece, &scratch, emit,
					     context);
		cv_span_skip(&bytes, len);
	}
	cv_buffer_done(&scratch);
	return result;
}

static int record_encode_eof(struct cv_layer *layer, cv_layer_emit emit, void *context)
{
	static const uint8_t close_notify[CV_TLS_ALERT_BODY] = {CV_TLS_ALERT_WARNING,
								CV_TLS_CLOSE_NOTIFY};
	struct record_layer *self = record_layer_of(layer);
	struct cv_buffer scratch;
	int result;

	if (self->tx_released || self->tx_in_kernel)
		return 0;
	cv_buffer_init(&scratch, CV_TLS_RECORD_MAX);
	result = emit_sealed(self, CV_TLS_ALERT, cv_span_of(close_notify, sizeof(close_notify)),
			     &scratch, emit, context);
	cv_buffer_done(&scratch);
	return result;
}

/* ---- receiving ---------------------------------------------------------------------------- */

static int refuse(struct record_layer *self, int peer_reason, uint8_t alert,
		  struct cv_buffer *reply)
{
	reply_alert(self, alert, reply);
	self->rx_result = self->is_server ? peer_reason : cv_upstream_reason(peer_reason);
	return self->rx_result;
}

static int refuse_unexpected(struct record_layer *self, struct cv_buffer *reply)
{
	return refuse(self, CV_PEER_UNEXPECTED_MESSAGE, CV_TLS_UNEXPECTED_MESSAGE, reply);
}

static int refuse_internal(struct record_layer *self, int result, struct cv_buffer *reply)
{
	reply_alert(self, CV_TLS_INTERNAL_ERROR, reply);
	self->rx_result = result;
	return result;
}

static int count_useless(struct record_layer *self, struct cv_buffer *reply)
{
	if (++self->useless_count > USELESS_RECORDS_MAX)
		return refuse_unexpected(self, reply);
	return 0;
}

static int take_key_update(struct record_layer *self, bool ends_record, struct cv_buffer *reply)
{
	uint8_t request = self->message[MESSAGE_HEADER];
	int result;

	if (request > 1)
		return refuse(self, CV_PEER_DECODE, CV_TLS_ILLEGAL_PARAMETER, reply);
	if (!ends_record) /* keys change here, RFC 8446 5.1 */
		return refuse_unexpected(self, reply);
	if ((self->rx_in_kernel || (self->tx_in_kernel && request == 1)) &&
	    !self->carrier.can_rekey) {
		self->rx_result = self->is_server ? CV_PEER_KEY_UPDATE : CV_UPSTREAM_KEY_UPDATE;
		return self->rx_result;
	}
	result = self->rx_in_kernel ? rekey_kernel(self, &self->rx, false)
				    : cv_tls_keys_update(&self->rx, false);
	if (result == 0 && request == 1 && !self->tx_released)
		result = update_tx(self, reply);
	return result ? refuse_internal(self, result, reply) : 0;
}

/* The four header bytes are there: is the message legal, and how long is it? */
static int judge_message_header(struct record_layer *self, struct cv_buffer *reply)
{
	const uint8_t *header = self->message;

	self->message_left = (size_t)header[1] << 16 | (size_t)header[2] << 8 | header[3];
	if (header[0] == CV_TLS_KEY_UPDATE)
		return self->message_left == 1
			       ? 0
			       : refuse(self, CV_PEER_DECODE, CV_TLS_DECODE_ERROR, reply);
	if (header[0] == CV_TLS_NEW_SESSION_TICKET && !self->is_server) {
		if (self->message_left == 0 || self->message_left > UINT16_MAX + 512)
			return refuse(self, CV_PEER_DECODE, CV_TLS_DECODE_ERROR, reply);
		return 0;
	}
	return refuse_unexpected(self, reply);
}

static int take_message_body(struct record_layer *self, struct cv_span *body,
			     struct cv_buffer *reply)
{
	size_t count = body->len_bytes < self->message_left ? body->len_bytes : self->message_left;

	if (self->message[0] == CV_TLS_KEY_UPDATE)
		self->message[MESSAGE_HEADER] = body->data[0];
	cv_span_skip(body, count);
	self->message_left -= count;
	if (self->message_left > 0)
		return 0;
	self->message_len = 0;
	return self->message[0] == CV_TLS_KEY_UPDATE
		       ? take_key_update(self, body->len_bytes == 0, reply)
		       : 0;
}

static int take_handshake(struct record_layer *self, struct cv_span body, struct cv_buffer *reply)
{
	int result = body.len_bytes ? count_useless(self, reply) : refuse_unexpected(self, reply);

	while (result == 0 && body.len_bytes > 0) {
		if (self->message_len < MESSAGE_HEADER) {
			self->message[self->message_len++] = body.data[0];
			cv_span_skip(&body, 1);
			if (self->message_len == MESSAGE_HEADER)
				result = judge_message_header(self, reply);
		} else {
			result = take_message_body(self, &body, reply);
		}
	}
	return result;
}

static int take_alert(struct record_layer *self, struct cv_span body, struct cv_buffer *reply)
{
	if (body.len_bytes != CV_TLS_ALERT_BODY)
		return refuse(self, CV_PEER_DECODE, CV_TLS_DECODE_ERROR, reply);
	switch (body.data[1]) {
	case CV_TLS_CLOSE_NOTIFY:
		self->rx_result = CV_LAYER_EOF;
		break;
	case CV_TLS_USER_CANCELED:
		return count_useless(self, reply);
	default: /* every other alert is fatal whatever its level says, RFC 8446 6.2 */
		self->rx_result = self->is_server ? CV_PEER_ALERT : CV_UPSTREAM_ALERT;
		break;
	}
	return self->rx_result;
}

static int take_content(struct record_layer *self, uint8_t type, struct cv_span body,
			struct cv_buffer *out, struct cv_buffer *reply)
{
	if (type != CV_TLS_HANDSHAKE && self->message_len > 0) /* no interleaving, RFC 8446 5.1 */
		return refuse_unexpected(self, reply);
	switch (type) {
	case CV_TLS_APPLICATION:
		if (body.len_bytes == 0)
			return count_useless(self, reply);
		self->useless_count = 0;
		cv_buffer_commit(out, body.len_bytes);
		return 0;
	case CV_TLS_HANDSHAKE:
		return take_handshake(self, body, reply);
	case CV_TLS_ALERT:
		return take_alert(self, body, reply);
	default:
		return refuse_unexpected(self, reply);
	}
}

static int refuse_record(struct record_layer *self, int result, struct cv_buffer *reply)
{
	switch (result) {
	case CV_PEER_BAD_RECORD:
		return refuse(self, result, CV_TLS_BAD_RECORD_MAC, reply);
	case CV_PEER_TOO_LONG:
		return refuse(self, result, CV_TLS_RECORD_OVERFLOW, reply);
	case CV_PEER_UNEXPECTED_MESSAGE:
		return refuse_unexpected(self, reply);
	default:
		return refuse_internal(self, result, reply);
	}
}

static int open_record(struct record_layer *self, struct cv_span record, struct cv_buffer *out,
		       struct cv_buffer *reply)
{
	size_t payload_bytes = record.len_bytes - CV_TLS_HEADER, len_bytes;
	uint8_t *plain, type;
	int result;

	result = cv_buffer_reserve(out, payload_bytes, &plain);
	if (result < 0)
		return result == CV_INTERNAL_MEMORY ? result : CV_INTERNAL_RESOURCE;
	result = cv_tls_record_open(&self->rx, record.data, record.len_bytes, plain, &type,
				    &len_bytes);
	if (result < 0)
		return refuse_record(self, result, reply);
	return take_content(self, type, cv_span_of(plain, len_bytes), out, reply);
}

static int record_decode(struct cv_layer *layer, struct cv_span *in, struct cv_buffer *out,
			 struct cv_buffer *reply)
{
	struct record_layer *self = record_layer_of(layer);
	size_t record_bytes;
	int result;

	if (self->rx_result) {
		cv_span_skip(in, in->len_bytes);
		return self->rx_result;
	}
	/* After the handshake nothing is unprotected, not even a ChangeCipherSpec. */
	if (in->len_bytes >= CV_TLS_HEADER && in->data[0] != CV_TLS_APPLICATION)
		return refuse_unexpected(self, reply);
	result = cv_tls_record_peek(*in, &record_bytes);
	if (result == -EAGAIN)
		return result;
	if (result == 0 && record_bytes < CV_TLS_HEADER + PROTECTED_MIN)
		result = CV_PEER_BAD_RECORD;
	if (result < 0)
		return refuse_record(self, result, reply);
	result = open_record(self, cv_span_of(in->data, record_bytes), out, reply);
	if (result != CV_INTERNAL_RESOURCE)
		cv_span_skip(in, record_bytes);
	return result;
}

/* ---- life --------------------------------------------------------------------------------- */

static void record_release_rx(struct cv_layer *layer)
{
	struct record_layer *self = record_layer_of(layer);

	cv_tls_keys_done(&self->rx);
	if (self->rx_result == 0)
		self->rx_result = CV_INTERNAL_STATE;
}

static void record_release_tx(struct cv_layer *layer)
{
	struct record_layer *self = record_layer_of(layer);

	cv_tls_keys_done(&self->tx);
	self->tx_released = true;
}

static void record_free(struct cv_layer *layer)
{
	struct record_layer *self = record_layer_of(layer);

	cv_tls_keys_done(&self->rx);
	cv_tls_keys_done(&self->tx);
	cv_cleanse(self, sizeof(*self));
	free(self);
}

/*
 * No decode_eof: many peers end with FIN alone, and the relayed protocols delimit themselves; a FIN
 * passes as FIN.
 */
static const struct cv_layer_ops record_ops = {
	.name = "record",
	.decode = record_decode,
	.encode = record_encode,
	.encode_eof = record_encode_eof,
	.release_rx = record_release_rx,
	.release_tx = record_release_tx,
	.free = record_free,
};

/* ---- in the kernel ------------------------------------------------------------------------ */

const struct cv_tls_keys *cv_record_layer_keys(const struct cv_layer *layer, bool is_tx)
{
	const struct record_layer *self;

	if (layer->ops != &record_ops)
		return NULL;
	self = (const struct record_layer *)(const void *)((const char *)layer -
							   offsetof(struct record_layer, layer));
	if (is_tx)
		return self->tx_released ? NULL : &self->tx;
	return self->rx_result || self->message_len > 0 ? NULL : &self->rx;
}

void cv_record_layer_to_kernel(struct cv_layer *layer, const struct cv_record_carrier *carrier,
			       bool is_tx)
{
	struct record_layer *self = record_layer_of(layer);
	struct cv_tls_keys *keys = is_tx ? &self->tx : &self->rx;

	keys->aead = cv_aead_free(keys->aead); /* the secret stays, for KeyUpdate */
	self->carrier = *carrier;
	if (is_tx) {
		self->tx_in_kernel = true;
		layer->tx = CV_CLEAR;
	} else {
		self->rx_in_kernel = true;
		layer->rx = CV_CLEAR;
	}
}

int cv_record_layer_control(struct cv_layer *layer, uint8_t type, struct cv_span body,
			    bool after_data, struct cv_buffer *reply)
{
	struct record_layer *self = record_layer_of(layer);

	if (after_data)
		self->useless_count = 0;
	if (self->rx_result)
		return self->rx_result;
	if (type == CV_TLS_APPLICATION) /* the caller's, not ours */
		return refuse_internal(self, CV_INTERNAL_STATE, reply);
	return take_content(self, type, body, NULL, reply);
}

int cv_record_layer_failed(struct cv_layer *layer, int error, struct cv_buffer *reply)
{
	struct record_layer *self = record_layer_of(layer);

	switch (error) {
	case -EBADMSG:
		return refuse_record(self, CV_PEER_BAD_RECORD, reply);
	case -EMSGSIZE:
		return refuse_record(self, CV_PEER_TOO_LONG, reply);
	case -EINVAL: /* a header that is none of TLS 1.3's */
		return refuse_unexpected(self, reply);
	default:
		self->rx_result = error;
		return error;
	}
}

int cv_record_layer_pay(struct cv_layer *layer, uint64_t sent_records)
{
	struct record_layer *self = record_layer_of(layer);

	if (!self->update_owed && (sent_records < KEY_LIFETIME_RECORDS ||
				   self->tx.suite->aead == CV_CHACHA20_POLY1305))
		return 0;
	if (!self->carrier.can_rekey)
		return CV_POLICY_KEY_LIMIT;
	return update_tx_in_kernel(self);
}

struct cv_layer *cv_record_layer_new(struct cv_tls_keys *rx, struct cv_tls_keys *tx, bool is_server)
{
	struct record_layer *self = calloc(1, sizeof(*self));

	if (!self) {
		cv_tls_keys_done(rx);
		cv_tls_keys_done(tx);
		return NULL;
	}
	self->layer = (struct cv_layer){.ops = &record_ops, .rx = CV_RECORDS, .tx = CV_RECORDS};
	self->rx = *rx;
	self->tx = *tx;
	self->is_server = is_server;
	cv_cleanse(rx, sizeof(*rx));
	cv_cleanse(tx, sizeof(*tx));
	return &self->layer;
}
