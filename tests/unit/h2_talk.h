/* SPDX-License-Identifier: MIT */
/*
 * h2_talk.h - the server of HTTP/2 with its first stream as a layer, so that it talks to the
 * client's layer in layer_talk.h; further streams are only counted, and get nothing.
 */
#ifndef CV_TESTS_H2_TALK_H
#define CV_TESTS_H2_TALK_H

#include "base/container.h"
#include "protocol/h2_server.h"

#include <culvert/reason.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct h2_talk {
	struct cv_layer layer;
	struct cv_h2_server *server;
	int32_t first; /* 0: none yet */
	unsigned opened;
	int refuses; /* opened() says so */
	bool end_heard, end_told, end_wanted, was_reset, keeps_unused;
	size_t unused_bytes;
	struct cv_buffer held;
	struct cv_buffer *out;
};

static inline struct h2_talk *h2_talk_of(struct cv_layer *layer)
{
	return cv_container_of(layer, struct h2_talk, layer);
}

static inline int h2_talk_opened(void *context, int32_t stream)
{
	struct h2_talk *self = context;

	if (self->refuses)
		return self->refuses;
	self->opened++;
	if (!self->first) {
		self->first = stream;
		self->layer.is_opening = false;
	}
	return 0;
}

static inline int h2_talk_received(void *context, int32_t stream, struct cv_span bytes)
{
	struct h2_talk *self = context;

	if (!self->keeps_unused)
		cv_h2_server_used(self->server, stream, bytes.len_bytes);
	else
		self->unused_bytes += bytes.len_bytes;
	return stream == self->first ? cv_buffer_append(self->out, bytes.data, bytes.len_bytes)
				     : 0;
}

static inline void h2_talk_ended(void *context, int32_t stream)
{
	struct h2_talk *self = context;

	self->end_heard |= stream == self->first;
}

static inline void h2_talk_closed(void *context, int32_t stream, bool is_reset)
{
	struct h2_talk *self = context;

	if (stream != self->first)
		return;
	self->layer.is_over = true;
	self->was_reset = is_reset;
}

static inline size_t h2_talk_pull(void *context, int32_t stream, uint8_t *to, size_t room_bytes,
				  bool *ret_is_last)
{
	struct h2_talk *self = context;
	size_t len = stream == self->first ? cv_buffer_len(&self->held) : 0;

	if (len > room_bytes)
		len = room_bytes;
	if (len > 0)
		memcpy(to, cv_buffer_bytes(&self->held), len);
	cv_buffer_consume(&self->held, len);
	*ret_is_last = stream == self->first && self->end_wanted &&
		       cv_buffer_len(&self->held) == 0;
	return len;
}

static inline int h2_talk_append(void *context, struct cv_span bytes)
{
	return cv_buffer_append(context, bytes.data, bytes.len_bytes);
}

static inline int h2_talk_pump(struct h2_talk *self, cv_layer_emit emit, void *context)
{
	const int error = cv_h2_server_write(self->server, SIZE_MAX, emit, context);

	self->layer.held_bytes = cv_buffer_len(&self->held);
	return error;
}

static inline int h2_talk_decode(struct cv_layer *layer, struct cv_span *in, struct cv_buffer *out,
				 struct cv_buffer *reply)
{
	struct h2_talk *self = h2_talk_of(layer);
	int result, error;

	if (in->len_bytes == 0)
		return -EAGAIN;
	self->out = out;
	result = cv_h2_server_read(self->server, *in);
	cv_span_skip(in, in->len_bytes);
	error = h2_talk_pump(self, h2_talk_append, reply);
	if (result < 0 || error)
		return result < 0 ? result : error;
	if (!self->end_heard || self->end_told)
		return 0;
	self->end_told = true;
	return CV_LAYER_EOF;
}

static inline int h2_talk_encode(struct cv_layer *layer, struct cv_span bytes, cv_layer_emit emit,
				 void *context)
{
	struct h2_talk *self = h2_talk_of(layer);
	const int error = cv_buffer_append(&self->held, bytes.data, bytes.len_bytes);

	if (error)
		return error;
	cv_h2_server_resume(self->server, self->first);
	return h2_talk_pump(self, emit, context);
}

static inline int h2_talk_encode_eof(struct cv_layer *layer, cv_layer_emit emit, void *context)
{
	struct h2_talk *self = h2_talk_of(layer);

	self->end_wanted = true;
	cv_h2_server_resume(self->server, self->first);
	return h2_talk_pump(self, emit, context);
}

static inline int h2_talk_decode_eof(struct cv_layer *layer)
{
	const struct h2_talk *self = h2_talk_of(layer);

	return self->end_heard || layer->is_over ? 0 : CV_PEER_TRUNCATED;
}

static inline void h2_talk_free(struct cv_layer *layer)
{
	struct h2_talk *self = h2_talk_of(layer);

	cv_h2_server_free(self->server);
	cv_buffer_done(&self->held);
	free(self);
}

static inline struct cv_layer *h2_talk_new(const struct cv_transport *transport, bool is_strict)
{
	static const struct cv_layer_ops ops = {
		.name = "h2 server",
		.decode = h2_talk_decode,
		.encode = h2_talk_encode,
		.encode_eof = h2_talk_encode_eof,
		.decode_eof = h2_talk_decode_eof,
		.free = h2_talk_free,
	};
	struct h2_talk *self = calloc(1, sizeof(*self));
	const struct cv_h2_server_owner owner = {
		.opened = h2_talk_opened,
		.received = h2_talk_received,
		.ended = h2_talk_ended,
		.closed = h2_talk_closed,
		.pull = h2_talk_pull,
		.context = self,
	};

	if (!self)
		return NULL;
	self->layer = (struct cv_layer){
		.ops = &ops, .rx = CV_OPAQUE, .tx = CV_OPAQUE, .is_opening = true};
	cv_buffer_init(&self->held, 1 << 24);
	self->server = cv_h2_server_new(transport, is_strict, 100, &owner);
	if (!self->server) {
		free(self);
		return NULL;
	}
	return &self->layer;
}

/* ---- frames by hand ---- */

#define H2_PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

static inline size_t h2_put_frame(uint8_t *to, uint8_t type, uint8_t flags, uint8_t stream,
			const void *payload, size_t len)
{
	const uint8_t head[9] = {0, (uint8_t)(len >> 8), (uint8_t)len, type, flags, 0, 0, 0,
				 stream};

	memcpy(to, head, sizeof(head));
	if (len > 0)
		memcpy(to + sizeof(head), payload, len);
	return sizeof(head) + len;
}

/* PUT https://a.test/x, without any compression but the static table's. */
static inline size_t h2_put_request(uint8_t *to, uint8_t stream, const char *wanted)
{
	uint8_t block[64];
	size_t len = 0;

	block[len++] = 0x02; /* :method, literal, not indexed */
	block[len++] = 3;
	memcpy(block + len, "PUT", 3);
	len += 3;
	block[len++] = 0x87; /* :scheme https */
	block[len++] = 0x01; /* :authority */
	block[len++] = 6;
	memcpy(block + len, "a.test", 6);
	len += 6;
	block[len++] = 0x04; /* :path */
	block[len++] = (uint8_t)strlen(wanted);
	memcpy(block + len, wanted, strlen(wanted));
	len += strlen(wanted);
	return h2_put_frame(to, 1, 0x4, stream, block, len);
}

static inline size_t h2_put_preface(uint8_t *to)
{
	memcpy(to, H2_PREFACE, sizeof(H2_PREFACE) - 1);
	return sizeof(H2_PREFACE) - 1 + h2_put_frame(to + sizeof(H2_PREFACE) - 1, 4, 0, 0, NULL, 0);
}

#endif
