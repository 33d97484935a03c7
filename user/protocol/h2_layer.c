// SPDX-License-Identifier: MIT
/*
 * h2_layer.c - HTTP/2 by nghttp2, client side: a connection with one stream.
 *
 *   start  preface, SETTINGS, HEADERS ->   is_opening   <- HEADERS :status 200: is open
 *   bytes  DATA frames of at most one TLS record; what the peer's windows do not allow is held,
 *          and emitted as answer to its WINDOW_UPDATE
 *   end    END_STREAM, each direction for itself; the connection stays until both have ended
 *
 * Received bytes are passed on at once and the windows kept open: with one stream, who reads too
 * fast is stopped by TCP, like with every other transport.
 */
#include "protocol/h2_layer.h"
#include "protocol/h2_frames.h"

#include "base/container.h"
#include "protocol/spider.h"
#include "wire/http_head.h"

#include <culvert/reason.h>

#include <ctype.h>
#include <errno.h>
#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HELD_MAX (512 * 1024)
#define FEED_MAX 65536
#define STREAM_WINDOW (4 << 20)
#define CONNECTION_WINDOW (16 << 20)
#define FIELDS_MAX 32

struct h2_layer {
	struct cv_layer layer;
	nghttp2_session *session;
	const struct cv_transport *transport;
	struct cv_transport_place place;
	char host[262];
	int32_t stream; /* 0 = not yet asked for */
	int status;
	bool end_received, end_told; /* END_STREAM; that was passed on */
	bool end_wanted;	     /* END_STREAM follows what is held */
	int reason;		     /* of a callback's failure */
	struct cv_buffer held;
	struct cv_buffer *out; /* during decode */
};

static struct h2_layer *h2_layer_of(struct cv_layer *layer)
{
	return cv_container_of(layer, struct h2_layer, layer);
}

/* ---- out ---------------------------------------------------------------------------------- */

static int pump(struct h2_layer *self, cv_layer_emit emit, void *context)
{
	const int error = cv_h2_frames_send(self->session, SIZE_MAX, emit, context);

	self->layer.held_bytes = cv_buffer_len(&self->held);
	return error;
}

static ssize_t read_held(nghttp2_session *session, int32_t stream, uint8_t *to, size_t room_bytes,
			 uint32_t *flags, nghttp2_data_source *source, void *opaque)
{
	struct h2_layer *self = opaque;
	size_t len = cv_buffer_len(&self->held);

	(void)session;
	(void)stream;
	(void)source;
	if (len == 0 && !self->end_wanted)
		return NGHTTP2_ERR_DEFERRED;
	if (len > room_bytes)
		len = room_bytes;
	if (len > 0)
		memcpy(to, cv_buffer_bytes(&self->held), len);
	cv_buffer_consume(&self->held, len);
	if (self->end_wanted && cv_buffer_len(&self->held) == 0)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	return (ssize_t)len;
}

/* ---- heads -------------------------------------------------------------------------------- */

static int judge_response(struct h2_layer *self)
{
	if (self->status / 100 == 1)
		return 0;
	if (self->status != 200)
		return CV_UPSTREAM_NO_UPGRADE;
	self->layer.is_opening = false;
	return 0;
}

/* ---- callbacks ---------------------------------------------------------------------------- */

static int fail(struct h2_layer *self, int reason)
{
	if (reason && !self->reason)
		self->reason = reason;
	return reason ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
		     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
		     void *opaque)
{
	struct h2_layer *self = opaque;

	(void)session;
	(void)flags;
	if (frame->hd.stream_id == self->stream && value_len == 3 &&
	    cv_http_span_is(cv_span_of(name, name_len), ":status"))
		self->status = (value[0] - '0') * 100 + (value[1] - '0') * 10 + (value[2] - '0');
	return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *opaque)
{
	struct h2_layer *self = opaque;
	int reason = 0;

	(void)session;
	if (frame->hd.type == NGHTTP2_HEADERS && self->layer.is_opening)
		reason = judge_response(self);
	if ((frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA) &&
	    frame->hd.stream_id == self->stream && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
		self->end_received = true;
	return fail(self, reason);
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream, const uint8_t *bytes,
		   size_t len, void *opaque)
{
	struct h2_layer *self = opaque;

	(void)session;
	(void)flags;
	if (stream != self->stream || self->layer.is_opening || len == 0)
		return 0;
	return fail(self, cv_buffer_append(self->out, bytes, len));
}

static int on_stream_close(nghttp2_session *session, int32_t stream, uint32_t code, void *opaque)
{
	struct h2_layer *self = opaque;

	(void)session;
	if (stream != self->stream)
		return 0;
	self->layer.is_over = true;
	cv_buffer_consume(&self->held, cv_buffer_len(&self->held));
	if (self->end_received)
		return 0;
	/* who has heard all may leave like this, too; not one to whom something happened */
	self->end_received = code == NGHTTP2_NO_ERROR ||
			     (code == NGHTTP2_CANCEL && self->end_wanted);
	return self->end_received ? 0 : fail(self, CV_UPSTREAM_RESET);
}

/* ---- the layer ---------------------------------------------------------------------------- */

static int append(void *context, struct cv_span bytes)
{
	return cv_buffer_append(context, bytes.data, bytes.len_bytes);
}

/* As many as fit into @out even if all of them are payload. */
static int feed(struct h2_layer *self, struct cv_span *in, struct cv_buffer *out)
{
	size_t len = in->len_bytes;
	ssize_t taken;

	if (len > FEED_MAX)
		len = FEED_MAX;
	if (len > cv_buffer_room(out))
		len = cv_buffer_room(out);
	if (len == 0)
		return CV_INTERNAL_RESOURCE;
	self->out = out;
	taken = nghttp2_session_mem_recv(self->session, in->data, len);
	self->out = NULL;
	if (taken > 0)
		cv_span_skip(in, (size_t)taken);
	if (self->reason)
		return self->reason;
	if (taken == NGHTTP2_ERR_NOMEM)
		return CV_INTERNAL_MEMORY;
	return taken < 0 ? CV_UPSTREAM_DECODE : 0;
}

static int h2_decode(struct cv_layer *layer, struct cv_span *in, struct cv_buffer *out,
		     struct cv_buffer *reply)
{
	struct h2_layer *self = h2_layer_of(layer);
	int result, pumped;

	if (in->len_bytes == 0)
		return -EAGAIN;
	result = feed(self, in, out);
	pumped = pump(self, append, reply);
	if (result == 0)
		result = pumped;
	/* after a breach nghttp2 says goodbye and listens no more */
	if (result == 0 && !self->layer.is_over && !nghttp2_session_want_read(self->session) &&
	    !nghttp2_session_want_write(self->session))
		result = CV_UPSTREAM_DECODE;
	if (result || !self->end_received || self->end_told || self->layer.is_opening)
		return result;
	self->end_told = true; /* once: what follows is for the other direction */
	return CV_LAYER_EOF;
}

static int h2_encode(struct cv_layer *layer, struct cv_span bytes, cv_layer_emit emit,
		     void *context)
{
	struct h2_layer *self = h2_layer_of(layer);
	int error;

	if (self->layer.is_over || self->end_wanted)
		return CV_UPSTREAM_RESET;
	error = cv_buffer_append(&self->held, bytes.data, bytes.len_bytes);
	if (error)
		return error;
	(void)nghttp2_session_resume_data(self->session, self->stream); /* unless it is blocked */
	return pump(self, emit, context);
}

static int h2_encode_eof(struct cv_layer *layer, cv_layer_emit emit, void *context)
{
	struct h2_layer *self = h2_layer_of(layer);

	if (self->end_wanted || self->layer.is_over)
		return 0;
	self->end_wanted = true;
	if (self->stream)
		(void)nghttp2_session_resume_data(self->session, self->stream);
	return pump(self, emit, context);
}

static int h2_decode_eof(struct cv_layer *layer)
{
	const struct h2_layer *self = h2_layer_of(layer);

	return self->end_received || self->layer.is_over ? 0 : CV_UPSTREAM_TRUNCATED;
}

/* Configured lines as fields: names in lower case, and none twice. @text is written to. */
static size_t configured_fields(char *text, nghttp2_nv *fields, size_t room)
{
	size_t count = 0;

	for (char *line = text, *end; count < room; line = end + 2) {
		char *colon;

		end = strstr(line, "\r\n");
		if (!end)
			break;
		colon = memchr(line, ':', (size_t)(end - line));
		if (!colon)
			continue;
		for (char *c = line; c < colon; c++)
			*c = (char)tolower((unsigned char)*c);
		fields[count++] = cv_h2_field_of(line, (size_t)(colon - line), colon + 2,
					   (size_t)(end - colon - 2));
	}
	return count;
}

static int h2_start(struct cv_layer *layer, cv_layer_emit emit, void *context)
{
	struct h2_layer *self = h2_layer_of(layer);
	const nghttp2_data_provider body = {.read_callback = read_held};
	const struct cv_transport *transport = self->transport;
	nghttp2_nv fields[FIELDS_MAX] = {
		cv_h2_field(":method", transport->method),
		cv_h2_field(":scheme", self->place.is_tls ? "https" : "http"),
		cv_h2_field(":authority", self->host),
		cv_h2_field(":path", transport->path),
	};
	size_t count = 4;
	char *lines;
	int32_t stream;

	lines = strdup(transport->headers);
	if (!lines)
		return CV_INTERNAL_MEMORY;
	count += configured_fields(lines, fields + count, FIELDS_MAX - count - 1);
	if (!strcasestr(transport->headers, "user-agent:"))
		fields[count++] =
			cv_h2_field("user-agent", cv_spider_user_agent(self->place.fingerprint));
	stream = nghttp2_submit_request(self->session, NULL, fields, count, &body, NULL);
	free(lines);
	if (stream < 0)
		return stream == NGHTTP2_ERR_NOMEM ? CV_INTERNAL_MEMORY : CV_INTERNAL_STATE;
	self->stream = stream;
	return pump(self, emit, context);
}

static void h2_free(struct cv_layer *layer)
{
	struct h2_layer *self = h2_layer_of(layer);

	nghttp2_session_del(self->session);
	cv_buffer_done(&self->held);
	free(self);
}

static const struct cv_layer_ops h2_ops = {
	.name = "h2",
	.start = h2_start,
	.decode = h2_decode,
	.encode = h2_encode,
	.encode_eof = h2_encode_eof,
	.decode_eof = h2_decode_eof,
	.free = h2_free,
};

/* ---- life --------------------------------------------------------------------------------- */

static int open_session(struct h2_layer *self)
{
	nghttp2_session_callbacks *callbacks;
	int error;

	if (nghttp2_session_callbacks_new(&callbacks) != 0)
		return CV_INTERNAL_MEMORY;
	nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
	nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
	nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
	nghttp2_session_callbacks_set_data_source_read_length_callback(callbacks, cv_h2_frame_room);
	error = nghttp2_session_client_new(&self->session, callbacks, self);
	nghttp2_session_callbacks_del(callbacks);
	return error ? CV_INTERNAL_MEMORY : 0;
}

static int submit_settings(struct h2_layer *self)
{
	const nghttp2_settings_entry settings[] = {
		{NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
		{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW},
	};

	if (nghttp2_submit_settings(self->session, NGHTTP2_FLAG_NONE, settings, 2) != 0 ||
	    nghttp2_session_set_local_window_size(self->session, NGHTTP2_FLAG_NONE, 0,
						  CONNECTION_WINDOW) != 0)
		return CV_INTERNAL_MEMORY;
	return 0;
}

struct cv_layer *cv_h2_client_layer_new(const struct cv_transport *transport,
					const struct cv_transport_place *place)
{
	struct h2_layer *self = calloc(1, sizeof(*self));

	if (!self)
		return NULL;
	self->layer = (struct cv_layer){.ops = &h2_ops,
					.rx = CV_OPAQUE,
					.tx = CV_OPAQUE,
					.is_opening = true,
					.ending = CV_ENDS_INSIDE};
	self->transport = transport;
	cv_buffer_init(&self->held, HELD_MAX);
	self->place = *place;
	self->place.host = NULL; /* only borrowed */
	snprintf(self->host, sizeof(self->host), "%s",
		 transport->host[0] ? transport->host : place->host);
	if (open_session(self) != 0 || submit_settings(self) != 0) {
		h2_free(&self->layer);
		return NULL;
	}
	return &self->layer;
}
