// SPDX-License-Identifier: MIT
/*
 * websocket_layer.c - a stream of bytes in WebSocket frames.
 *
 *   client   start: request -> | wait | <- 101: is open          server: open from the start
 *            with early data: the first write, if it fits, goes into the request and is not
 *            repeated; what follows is held until the 101 has come
 *   sending    app -> one whole binary frame for each 16 KiB, so that it fits into a TLS record
 *   receiving  data frames -> app; ping -> pong at once; close -> close, and the end of both
 *
 * There is no half-close: a close frame ends what both sides say. One that we sent first leaves the
 * other direction to the peer until it answers.
 */
#include "protocol/transport.h"

#include "base/container.h"
#include "crypto/crypto.h"
#include "protocol/upgrade_client.h"
#include "protocol/upstream_reason.h"
#include "wire/websocket.h"

#include <culvert/reason.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define UNIT_MAX 16384 /* a frame with its head: one TLS record */
#define PAYLOAD_MAX (UNIT_MAX - CV_WEBSOCKET_HEAD_MAX)
#define HELD_MAX (512 * 1024)

struct websocket_layer {
	struct cv_layer layer;
	bool is_server;
	bool is_open;
	bool request_sent;
	bool close_sent, close_received;
	struct cv_websocket_reader reader;
	struct cv_buffer held; /* until the layer is open; not in frames yet */
	struct cv_upgrade_client client;
};

static struct websocket_layer *websocket_layer_of(struct cv_layer *layer)
{
	return cv_container_of(layer, struct websocket_layer, layer);
}

static int blame(const struct websocket_layer *self, int result)
{
	return self->is_server ? result : cv_upstream_reason(result);
}

/* ---- frames out --------------------------------------------------------------------------- */

static int emit_frame(const struct websocket_layer *self, enum cv_websocket_opcode opcode,
		      struct cv_span payload, cv_layer_emit emit, void *context)
{
	uint8_t unit[UNIT_MAX], mask[CV_WEBSOCKET_MASK_LEN] = {0};
	size_t head_len;

	if (!self->is_server && cv_random_bytes(mask, sizeof(mask)) != 0)
		return CV_INTERNAL_CRYPTO;
	head_len = cv_websocket_head_write(opcode, payload.len_bytes,
					   self->is_server ? NULL : mask, unit);
	if (payload.len_bytes > 0 && self->is_server)
		memcpy(unit + head_len, payload.data, payload.len_bytes);
	else if (payload.len_bytes > 0)
		cv_websocket_mask(unit + head_len, payload.data, payload.len_bytes, mask, 0);
	return emit(context, cv_span_of(unit, head_len + payload.len_bytes));
}

static int emit_data(const struct websocket_layer *self, struct cv_span bytes, cv_layer_emit emit,
		     void *context)
{
	int error = 0;

	while (bytes.len_bytes > 0 && !error) {
		struct cv_span payload = bytes;

		if (payload.len_bytes > PAYLOAD_MAX)
			payload.len_bytes = PAYLOAD_MAX;
		error = emit_frame(self, CV_WEBSOCKET_BINARY, payload, emit, context);
		cv_span_skip(&bytes, payload.len_bytes);
	}
	return error;
}

static int emit_close(struct websocket_layer *self, unsigned code, cv_layer_emit emit,
		      void *context)
{
	const uint8_t payload[2] = {(uint8_t)(code >> 8), (uint8_t)code};
	const size_t len = code == CV_WEBSOCKET_NO_CODE ? 0 : sizeof(payload);

	if (self->close_sent)
		return 0;
	self->close_sent = true;
	return emit_frame(self, CV_WEBSOCKET_CLOSE, cv_span_of(payload, len), emit, context);
}

static int hold(struct websocket_layer *self, struct cv_span bytes)
{
	const int error = cv_buffer_append(&self->held, bytes.data, bytes.len_bytes);

	self->layer.held_bytes = cv_buffer_len(&self->held);
	return error;
}

/* The first write of a client that was waiting for it. */
static int send_request(struct websocket_layer *self, struct cv_span bytes, cv_layer_emit emit,
			void *context)
{
	const bool fits = bytes.len_bytes <= self->client.transport->early_bytes &&
			  bytes.len_bytes <= CV_UPGRADE_EARLY_MAX;
	const struct cv_span early = fits ? bytes : (struct cv_span){0};
	int error;

	self->request_sent = true;
	error = cv_upgrade_client_start(&self->client, early, emit, context);
	return error || fits ? error : hold(self, bytes);
}

static int websocket_start(struct cv_layer *layer, cv_layer_emit emit, void *context)
{
	struct websocket_layer *self = websocket_layer_of(layer);

	if (self->client.transport->early_bytes > 0)
		return 0;
	return send_request(self, (struct cv_span){0}, emit, context);
}

static int websocket_encode(struct cv_layer *layer, struct cv_span bytes, cv_layer_emit emit,
			    void *context)
{
	struct websocket_layer *self = websocket_layer_of(layer);

	if (self->close_sent) /* as on a connection that the other side has closed */
		return self->is_server ? CV_PEER_RESET : CV_UPSTREAM_RESET;
	if (!self->request_sent)
		return send_request(self, bytes, emit, context);
	return self->is_open ? emit_data(self, bytes, emit, context) : hold(self, bytes);
}

static int websocket_encode_eof(struct cv_layer *layer, cv_layer_emit emit, void *context)
{
	struct websocket_layer *self = websocket_layer_of(layer);

	if (!self->is_open) { /* nobody there who would understand a frame */
		self->close_sent = true;
		return 0;
	}
	return emit_close(self, CV_WEBSOCKET_NORMAL, emit, context);
}

/* ---- frames in ---------------------------------------------------------------------------- */

static int append(void *context, struct cv_span bytes)
{
	return cv_buffer_append(context, bytes.data, bytes.len_bytes);
}

static int take_answer(struct websocket_layer *self, struct cv_span *in, struct cv_buffer *reply)
{
	int result = self->request_sent ? cv_upgrade_client_read(&self->client, in)
					: CV_UPSTREAM_UNEXPECTED_MESSAGE;

	if (result)
		return result;
	self->is_open = true;
	self->layer.is_opening = false;
	if (!self->close_sent)
		result = emit_data(self, cv_buffer_span(&self->held), append, reply);
	cv_buffer_done(&self->held);
	self->layer.held_bytes = 0;
	return result;
}

static int take_control(struct websocket_layer *self, const struct cv_websocket_control *control,
			struct cv_buffer *reply)
{
	const struct cv_span payload = cv_span_of(control->payload, control->len_bytes);
	unsigned code;
	int error;

	if (control->opcode == CV_WEBSOCKET_PING)
		return self->close_sent ? 0
					: emit_frame(self, CV_WEBSOCKET_PONG, payload, append,
						     reply);
	if (control->opcode != CV_WEBSOCKET_CLOSE)
		return 0;
	code = cv_websocket_close_code(control);
	error = emit_close(self, code, append, reply);
	self->close_received = true;
	self->layer.is_over = true;
	if (error)
		return error;
	return code == CV_WEBSOCKET_PROTOCOL_ERROR ? blame(self, CV_PEER_DECODE) : CV_LAYER_EOF;
}

static int websocket_decode(struct cv_layer *layer, struct cv_span *in, struct cv_buffer *out,
			    struct cv_buffer *reply)
{
	struct websocket_layer *self = websocket_layer_of(layer);
	struct cv_websocket_control control;
	int result;

	if (self->close_received) {
		cv_span_skip(in, in->len_bytes);
		return CV_LAYER_EOF;
	}
	if (!self->is_open)
		return take_answer(self, in, reply);
	result = cv_websocket_read(&self->reader, in, out, &control);
	if (result == 0 && control.opcode != CV_WEBSOCKET_CONTINUATION)
		result = take_control(self, &control, reply);
	if (self->close_received) /* nothing counts that comes after it */
		cv_span_skip(in, in->len_bytes);
	if (result == 0 || self->close_received)
		return result;
	if (result == CV_PEER_DECODE)
		(void)emit_close(self, CV_WEBSOCKET_PROTOCOL_ERROR, append, reply);
	return blame(self, result);
}

/* Who said close first may leave without waiting for ours. */
static int websocket_decode_eof(struct cv_layer *layer)
{
	const struct websocket_layer *self = websocket_layer_of(layer);

	return self->close_received || self->close_sent ? 0 : blame(self, CV_PEER_TRUNCATED);
}

/* ---- life --------------------------------------------------------------------------------- */

static void websocket_free(struct cv_layer *layer)
{
	struct websocket_layer *self = websocket_layer_of(layer);

	cv_buffer_done(&self->held);
	free(self);
}

static const struct cv_layer_ops websocket_ops = {
	.name = "websocket",
	.start = websocket_start,
	.decode = websocket_decode,
	.encode = websocket_encode,
	.encode_eof = websocket_encode_eof,
	.decode_eof = websocket_decode_eof,
	.free = websocket_free,
};

static struct websocket_layer *websocket_layer_new(bool is_server)
{
	struct websocket_layer *self = calloc(1, sizeof(*self));

	if (!self)
		return NULL;
	self->layer = (struct cv_layer){.ops = &websocket_ops,
					.rx = CV_OPAQUE,
					.tx = CV_OPAQUE,
					.ending = CV_ENDS_BOTH};
	self->is_server = self->is_open = self->request_sent = is_server;
	self->reader.expects_mask = is_server;
	cv_buffer_init(&self->held, HELD_MAX);
	return self;
}

struct cv_layer *cv_websocket_server_layer_new(void)
{
	struct websocket_layer *self = websocket_layer_new(true);

	return self ? &self->layer : NULL;
}

struct cv_layer *cv_websocket_client_layer_new(const struct cv_transport *transport,
					       const struct cv_transport_place *place)
{
	struct websocket_layer *self = websocket_layer_new(false);

	if (!self)
		return NULL;
	/* with early data the session goes on, and the first write brings the request */
	self->layer.is_opening = transport->early_bytes == 0;
	if (cv_upgrade_client_init(&self->client, CV_UPGRADE_WEBSOCKET, transport, place) != 0) {
		websocket_free(&self->layer);
		return NULL;
	}
	return &self->layer;
}
