// SPDX-License-Identifier: MIT
/*
 * vless_layer.c - VLESS after the request header, with or without Vision.
 *
 *               server leg                               client leg
 *   rx   [Vision blocks] -> app                 response header, [Vision blocks] -> app
 *   tx   app -> response header [+ block 1 ..]  app -> request header [+ block 1 ..]
 *
 * The header to be sent waits for the first bytes and leaves in one unit with them, so that it
 * shares a TLS record with Vision's first block (Vision 2.2 c; VLESS 1, 3). A direction becomes
 * CLEAR as soon as neither header nor padding is left in it; after DIRECT it is CLEAR and
 * penetrates every layer below as well (Vision 5). In version 1 there is a request header and
 * nothing else.
 */
#include "protocol/vless_layer.h"

#include "base/container.h"
#include "crypto/crypto.h"
#include "protocol/upstream_reason.h"
#include "wire/vision.h"
#include "wire/vless_v1.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define UNIT_MAX 16384 /* one TLS record: what goes out together with the header */

struct vless_layer {
	struct cv_layer layer;
	bool is_server;
	bool vision_used;
	bool header_expected;    /* receiving: a response header comes first */
	uint8_t version;
	struct cv_vless_versions *versions; /* wants to know of the answer, or NULL */
	struct cv_buffer header; /* sending: not empty while it still waits for the first bytes */
	struct cv_vision vision;
};

static struct vless_layer *vless_layer_of(struct cv_layer *layer)
{
	return cv_container_of(layer, struct vless_layer, layer);
}

static int blame(const struct vless_layer *self, int result)
{
	return self->is_server ? result : cv_upstream_reason(result);
}

/* ---- transparency ------------------------------------------------------------------------- */

/* Once both directions chose END, the layers below stay in use for good. */
static void settle_penetration(struct vless_layer *self)
{
	self->layer.may_penetrate =
		self->vision_used && (self->vision.reader != CV_VISION_READ_PLAIN ||
				      self->vision.writer != CV_VISION_WRITE_PLAIN);
}

static void settle_rx(struct vless_layer *self)
{
	settle_penetration(self);
	if (self->header_expected || self->versions)
		return;
	if (self->vision_used && self->vision.reader == CV_VISION_READ_PADDED)
		return;
	self->layer.rx = CV_CLEAR;
	if (self->vision_used && self->vision.reader == CV_VISION_READ_RAW)
		self->layer.rx_penetrated = true;
}

static void settle_tx(struct vless_layer *self)
{
	settle_penetration(self);
	if (cv_buffer_len(&self->header) > 0)
		return;
	if (self->vision_used && self->vision.writer == CV_VISION_WRITE_PADDED)
		return;
	self->layer.tx = CV_CLEAR;
	if (self->vision_used && self->vision.writer == CV_VISION_WRITE_RAW)
		self->layer.tx_penetrated = true;
}

/* ---- receiving ---------------------------------------------------------------------------- */

static void answered(struct vless_layer *self)
{
	if (self->versions)
		cv_vless_versions_answered(self->versions, self->version);
	self->versions = NULL;
}

static int take_response_header(struct vless_layer *self, struct cv_span *in)
{
	size_t header_bytes;
	int result = cv_vless_response_read(*in, &header_bytes);

	if (result)
		return result;
	cv_span_skip(in, header_bytes);
	self->header_expected = false;
	answered(self);
	return 0;
}

static int vless_decode(struct cv_layer *layer, struct cv_span *in, struct cv_buffer *out,
			struct cv_buffer *reply)
{
	struct vless_layer *self = vless_layer_of(layer);
	int result = in->len_bytes ? 0 : -EAGAIN;

	(void)reply;
	if (result == 0 && self->header_expected)
		result = take_response_header(self, in);
	if (result || in->len_bytes == 0) {
		settle_rx(self);
		return result;
	}
	answered(self);
	if (self->vision_used && self->vision.reader == CV_VISION_READ_PADDED)
		result = blame(self, cv_vision_read(&self->vision, *in, out));
	else
		result = cv_buffer_append(out, in->data, in->len_bytes);
	cv_span_skip(in, in->len_bytes);
	settle_rx(self);
	return result;
}

static int vless_decode_eof(struct cv_layer *layer)
{
	const struct vless_layer *self = vless_layer_of(layer);

	/* A response header that never came is legal: nothing was sent downlink (VLESS 3). */
	return self->vision_used ? blame(self, cv_vision_read_eof(&self->vision)) : 0;
}

/* ---- sending ------------------------------------------------------------------------------ */

struct emit_context {
	struct vless_layer *self;
	cv_layer_emit emit;
	void *context;
};

/* Emits the waiting header and @bytes as one unit. */
static int emit_with_header(struct vless_layer *self, struct cv_span bytes, cv_layer_emit emit,
			    void *context)
{
	int result = cv_buffer_append(&self->header, bytes.data, bytes.len_bytes);

	if (result)
		return result;
	result = emit(context, cv_buffer_span(&self->header));
	cv_buffer_done(&self->header);
	return result;
}

static int emit_unit(void *opaque, struct cv_span bytes)
{
	struct emit_context *target = opaque;

	if (cv_buffer_len(&target->self->header) > 0)
		return emit_with_header(target->self, bytes, target->emit, target->context);
	return target->emit(target->context, bytes);
}

static int encode_plain(struct vless_layer *self, struct cv_span bytes, cv_layer_emit emit,
			void *context)
{
	size_t header_bytes = cv_buffer_len(&self->header), first_bytes;
	int result = 0;

	if (header_bytes > 0) {
		first_bytes = UNIT_MAX - header_bytes;
		if (first_bytes > bytes.len_bytes)
			first_bytes = bytes.len_bytes;
		result = emit_with_header(self, cv_span_of(bytes.data, first_bytes), emit, context);
		cv_span_skip(&bytes, first_bytes);
	}
	if (result == 0 && bytes.len_bytes > 0)
		result = emit(context, bytes);
	return result;
}

static int vless_encode(struct cv_layer *layer, struct cv_span bytes, cv_layer_emit emit,
			void *context)
{
	struct vless_layer *self = vless_layer_of(layer);
	struct emit_context target = {.self = self, .emit = emit, .context = context};
	int result = 0;

	while (result == 0 && bytes.len_bytes > 0) {
		struct cv_span batch = bytes;

		if (self->vision_used && self->vision.writer == CV_VISION_WRITE_PADDED) {
			batch.len_bytes = cv_vision_batch_len(&self->vision, bytes);
			result = cv_vision_write(&self->vision, batch, emit_unit, &target);
		} else { /* after DIRECT the layers below are bypassed: what follows goes out raw */
			result = encode_plain(self, batch, emit, context);
		}
		cv_span_skip(&bytes, batch.len_bytes);
		settle_tx(self);
	}
	return result;
}

int cv_vless_client_layer_flush(struct cv_layer *layer, cv_layer_emit emit, void *context)
{
	struct vless_layer *self = vless_layer_of(layer);
	struct emit_context target = {.self = self, .emit = emit, .context = context};
	int result;

	if (cv_buffer_len(&self->header) == 0)
		return 0;
	if (self->vision_used)
		result = cv_vision_write(&self->vision, cv_span_of(NULL, 0), emit_unit, &target);
	else
		result = emit_with_header(self, cv_span_of(NULL, 0), emit, context);
	settle_tx(self);
	return result;
}

/* ---- life --------------------------------------------------------------------------------- */

/* An unanswered request: version 1 was refused if the peer closed on it. Version 0 is on trial, and
 * needs an answer for more than that. */
static bool is_verdict(const struct vless_layer *self)
{
	return self->version == 0 ||
	       (self->layer.peer_left && cv_buffer_len(&self->header) == 0);
}

static void vless_free(struct cv_layer *layer)
{
	struct vless_layer *self = vless_layer_of(layer);

	if (self->versions && is_verdict(self))
		cv_vless_versions_closed(self->versions, self->version);
	cv_buffer_done(&self->header);
	cv_cleanse(self, sizeof(*self));
	free(self);
}

static const struct cv_layer_ops vless_ops = {
	.name = "vless",
	.decode = vless_decode,
	.encode = vless_encode,
	.decode_eof = vless_decode_eof,
	.flush = cv_vless_client_layer_flush,
	.free = vless_free,
};

static struct vless_layer *vless_layer_new(const struct cv_vless_request *request,
					   const uint32_t *seed, bool is_server)
{
	struct vless_layer *self = calloc(1, sizeof(*self));

	if (!self)
		return NULL;
	self->layer = (struct cv_layer){.ops = &vless_ops, .rx = CV_OPAQUE, .tx = CV_OPAQUE};
	self->is_server = is_server;
	self->version = request->version;
	self->header_expected = !is_server && request->version == 0;
	self->vision_used = request->flow == CV_FLOW_VISION;
	self->layer.may_penetrate = self->vision_used;
	cv_buffer_init(&self->header, UNIT_MAX);
	if (self->vision_used)
		cv_vision_init(&self->vision, request->uuid, seed, cv_random_below);
	return self;
}

struct cv_layer *cv_vless_server_layer_new(const struct cv_vless_request *request,
					   const uint32_t *seed)
{
	struct vless_layer *self = vless_layer_new(request, seed, true);

	if (!self)
		return NULL;
	if (request->version == 0 && cv_vless_response_write(&self->header) < 0) {
		vless_free(&self->layer);
		return NULL;
	}
	settle_rx(self);
	settle_tx(self);
	return &self->layer;
}

static int write_request(const struct cv_vless_request *request, struct cv_buffer *out)
{
	return request->version == 0 ? cv_vless_request_write(request, out)
				     : cv_vless_v1_request_write(request, out);
}

struct cv_layer *cv_vless_client_layer_new(const struct cv_vless_request *request,
					   const uint32_t *seed)
{
	struct vless_layer *self = vless_layer_new(request, seed, false);

	if (!self)
		return NULL;
	if (write_request(request, &self->header) < 0) {
		vless_free(&self->layer);
		return NULL;
	}
	settle_rx(self);
	return &self->layer;
}

void cv_vless_client_layer_watch(struct cv_layer *layer, struct cv_vless_versions *versions)
{
	vless_layer_of(layer)->versions = versions;
	layer->rx = CV_OPAQUE;
}
