// SPDX-License-Identifier: MIT
/*
 * vmess_layer.c - VMess after the request header has been read (server), or with it (client).
 *
 *               server leg                         client leg
 *   rx   chunks -> app                       response header, chunks -> app
 *   tx   app -> response header, chunks      app -> request header, chunks
 *
 * A header waits for the first bytes and leaves in one unit with them. The end of a direction is
 * the empty chunk; others leave it out and end the carrier, which between two chunks is an end as
 * well. Of datagrams, which are to be sent whole, the beginning of one waits for its rest.
 */
#include "protocol/vmess_layer.h"

#include "base/container.h"
#include "protocol/upstream_reason.h"
#include "protocol/vmess_body.h"

#include <culvert/reason.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define HEADER_MAX 512
#define FRAME_BYTES 2 /* the length of a datagram, above */
#define DATAGRAM_MAX (UINT16_MAX - CV_VMESS_CHUNK_OVERHEAD)
#define ENCODE_MAX 65536

struct vmess_layer {
	struct cv_layer layer;
	bool is_server, is_packets;
	bool header_expected; /* receiving: the response header comes first */
	uint8_t mark;
	struct cv_vmess_body_keys response_keys;
	struct cv_vmess_body rx, tx;
	struct cv_buffer unit; /* sending: the header that waits, or nothing */
	struct cv_buffer begun; /* sending: the beginning of a datagram */
};

static struct vmess_layer *vmess_layer_of(struct cv_layer *layer)
{
	return cv_container_of(layer, struct vmess_layer, layer);
}

static int blame(const struct vmess_layer *self, int result)
{
	return self->is_server ? result : cv_upstream_reason(result);
}

/* ---- receiving ---------------------------------------------------------------------------- */

static int take_response(struct vmess_layer *self, struct cv_span *in)
{
	size_t header_bytes;
	const int result =
		cv_vmess_response_open(*in, &self->response_keys, self->mark, &header_bytes);

	if (result)
		return result;
	cv_span_skip(in, header_bytes);
	self->header_expected = false;
	cv_cleanse(&self->response_keys, sizeof(self->response_keys));
	return 0;
}

/* Behind its length, which is known afterwards. */
static int take_datagram(struct vmess_layer *self, struct cv_span *in, struct cv_buffer *out)
{
	static const uint8_t no_length[FRAME_BYTES];
	const size_t before = cv_buffer_len(out);
	int result = cv_buffer_append(out, no_length, FRAME_BYTES);

	if (result == 0)
		result = cv_vmess_body_read(&self->rx, in, out);
	if (result == 0) {
		const size_t len_bytes = cv_buffer_len(out) - before - FRAME_BYTES;
		uint8_t *frame = cv_buffer_bytes(out) + before;

		frame[0] = (uint8_t)(len_bytes >> 8);
		frame[1] = (uint8_t)len_bytes;
	} else {
		out->tail = out->head + before;
	}
	return result;
}

static int vmess_decode(struct cv_layer *layer, struct cv_span *in, struct cv_buffer *out,
			struct cv_buffer *reply)
{
	struct vmess_layer *self = vmess_layer_of(layer);
	int result;

	(void)reply;
	if (in->len_bytes == 0)
		return -EAGAIN;
	if (self->header_expected)
		return take_response(self, in);
	result = self->is_packets ? take_datagram(self, in, out)
				  : cv_vmess_body_read(&self->rx, in, out);
	self->layer.rx_ended = self->rx.ended;
	return result == CV_VMESS_BODY_END ? CV_LAYER_EOF : blame(self, result);
}

/* What has begun and is not whole the leg knows. */
static int vmess_decode_eof(struct cv_layer *layer)
{
	return vmess_layer_of(layer)->header_expected ? CV_UPSTREAM_CLOSED : 0;
}

/* ---- sending ------------------------------------------------------------------------------ */

static int emit_chunk(struct vmess_layer *self, struct cv_span payload, cv_layer_emit emit,
		      void *context)
{
	int result = cv_vmess_body_write(&self->tx, payload, &self->unit);

	if (result == 0 && cv_buffer_len(&self->unit) > 0)
		result = emit(context, cv_buffer_span(&self->unit));
	cv_buffer_consume(&self->unit, cv_buffer_len(&self->unit));
	return result;
}

static int encode_stream(struct vmess_layer *self, struct cv_span bytes, cv_layer_emit emit,
			 void *context)
{
	int result = 0;

	while (result == 0 && bytes.len_bytes > 0) {
		struct cv_span payload = bytes;
		const size_t max_bytes = CV_VMESS_CHUNK_MAX - cv_buffer_len(&self->unit);

		if (payload.len_bytes > max_bytes)
			payload.len_bytes = max_bytes;
		result = emit_chunk(self, payload, emit, context);
		cv_span_skip(&bytes, payload.len_bytes);
	}
	return result;
}

/* Empty ones would be the end, too long ones cannot be said. */
static int encode_whole(struct vmess_layer *self, struct cv_span *bytes, cv_layer_emit emit,
			void *context)
{
	int result = 0;

	while (result == 0 && bytes->len_bytes >= FRAME_BYTES) {
		const size_t len_bytes = (size_t)bytes->data[0] << 8 | bytes->data[1];

		if (len_bytes > bytes->len_bytes - FRAME_BYTES)
			break;
		cv_span_skip(bytes, FRAME_BYTES);
		if (len_bytes > 0 && len_bytes <= DATAGRAM_MAX)
			result = emit_chunk(self, cv_span_of(bytes->data, len_bytes), emit,
					    context);
		cv_span_skip(bytes, len_bytes);
	}
	return result;
}

static int encode_datagrams(struct vmess_layer *self, struct cv_span bytes, cv_layer_emit emit,
			    void *context)
{
	struct cv_span left = bytes;
	size_t before;
	int result = 0;

	if (cv_buffer_len(&self->begun) > 0) {
		result = cv_buffer_append(&self->begun, bytes.data, bytes.len_bytes);
		left = cv_buffer_span(&self->begun);
	}
	before = left.len_bytes;
	if (result == 0)
		result = encode_whole(self, &left, emit, context);
	if (cv_buffer_len(&self->begun) > 0)
		cv_buffer_consume(&self->begun, before - left.len_bytes);
	else if (result == 0 && left.len_bytes > 0)
		result = cv_buffer_append(&self->begun, left.data, left.len_bytes);
	cv_buffer_release_if_empty(&self->begun);
	return result;
}

static int vmess_encode(struct cv_layer *layer, struct cv_span bytes, cv_layer_emit emit,
			void *context)
{
	struct vmess_layer *self = vmess_layer_of(layer);
	const int result = self->is_packets ? encode_datagrams(self, bytes, emit, context)
					    : encode_stream(self, bytes, emit, context);

	cv_buffer_release_if_empty(&self->unit); /* it may be idle from now on */
	return result;
}

static int vmess_encode_eof(struct cv_layer *layer, cv_layer_emit emit, void *context)
{
	return emit_chunk(vmess_layer_of(layer), cv_span_of(NULL, 0), emit, context);
}

static int vmess_flush(struct cv_layer *layer, cv_layer_emit emit, void *context)
{
	struct vmess_layer *self = vmess_layer_of(layer);
	int result = 0;

	if (cv_buffer_len(&self->unit) > 0)
		result = emit(context, cv_buffer_span(&self->unit));
	cv_buffer_consume(&self->unit, cv_buffer_len(&self->unit));
	return result;
}

/* ---- life --------------------------------------------------------------------------------- */

static void vmess_free(struct cv_layer *layer)
{
	struct vmess_layer *self = vmess_layer_of(layer);

	cv_vmess_body_done(&self->rx);
	cv_vmess_body_done(&self->tx);
	cv_buffer_done(&self->unit);
	cv_buffer_done(&self->begun);
	cv_cleanse(self, sizeof(*self));
	free(self);
}

static const struct cv_layer_ops vmess_ops = {
	.name = "vmess",
	.decode = vmess_decode,
	.encode = vmess_encode,
	.encode_eof = vmess_encode_eof,
	.decode_eof = vmess_decode_eof,
	.flush = vmess_flush,
	.free = vmess_free,
};

static struct vmess_layer *vmess_layer_new(const struct cv_vmess_request *request, bool is_server)
{
	struct vmess_layer *self = calloc(1, sizeof(*self));
	struct cv_vmess_body_keys request_keys;
	int error;

	if (!self)
		return NULL;
	self->layer = (struct cv_layer){.ops = &vmess_ops, .rx = CV_OPAQUE, .tx = CV_OPAQUE};
	self->is_server = is_server;
	self->is_packets = request->command == CV_VMESS_UDP;
	self->header_expected = !is_server;
	self->mark = request->response_mark;
	cv_buffer_init(&self->unit, UINT16_MAX + HEADER_MAX + CV_VMESS_CHUNK_OVERHEAD);
	cv_buffer_init(&self->begun, FRAME_BYTES + UINT16_MAX + ENCODE_MAX);
	memcpy(request_keys.key, request->body_key, sizeof(request_keys.key));
	memcpy(request_keys.iv, request->body_iv, sizeof(request_keys.iv));
	error = cv_vmess_response_keys(request, &self->response_keys);
	if (!error)
		error = cv_vmess_body_init(is_server ? &self->rx : &self->tx, request,
					   &request_keys, !is_server);
	if (!error)
		error = cv_vmess_body_init(is_server ? &self->tx : &self->rx, request,
					   &self->response_keys, is_server);
	cv_cleanse(&request_keys, sizeof(request_keys));
	if (!error)
		return self;
	vmess_free(&self->layer);
	return NULL;
}

struct cv_layer *cv_vmess_server_layer_new(const struct cv_vmess_request *request)
{
	struct vmess_layer *self = vmess_layer_new(request, true);

	if (!self)
		return NULL;
	if (cv_vmess_response_seal(&self->response_keys, self->mark, &self->unit) != 0) {
		vmess_free(&self->layer);
		return NULL;
	}
	return &self->layer;
}

struct cv_layer *cv_vmess_client_layer_new(const struct cv_vmess_request *request,
					   const uint8_t command_key[CV_VMESS_KEY], uint64_t now_s)
{
	struct vmess_layer *self = vmess_layer_new(request, false);

	if (!self)
		return NULL;
	if (cv_vmess_request_seal(request, command_key, now_s, &self->unit) != 0) {
		vmess_free(&self->layer);
		return NULL;
	}
	return &self->layer;
}
