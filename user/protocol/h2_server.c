// SPDX-License-Identifier: MIT
/*
 * h2_server.c - HTTP/2 by nghttp2, server side.
 *
 *   HEADERS for our path and host -> opened(), 200      any other -> 404, or (strict) not for us
 *   DATA -> received()            END_STREAM -> ended()
 *   pull() -> DATA, at most one TLS record each, as the client's windows allow
 *
 * Windows follow what owners have used, so a stream that nobody reads holds no other one up.
 */
#include "protocol/h2_server.h"

#include "protocol/h2_frames.h"
#include "wire/http_head.h"
#include "wire/http_upgrade.h"

#include <culvert/reason.h>

#include <nghttp2/nghttp2.h>
#include <stdlib.h>
#include <string.h>

#define LAST_STREAM 0x1ffff /* owners have 16 bits for a name */

struct cv_h2_server {
	nghttp2_session *session;
	const struct cv_transport *transport;
	struct cv_h2_server_owner owner;
	bool is_strict; /* until the first stream is opened */
	bool says_goodbye;
	int32_t asking; /* whose head is being read */
	bool path_fits, host_fits;
	int reason; /* of a callback's failure */
};

/* ---- out ---------------------------------------------------------------------------------- */

int cv_h2_server_write(struct cv_h2_server *server, size_t most_bytes, cv_layer_emit emit,
		       void *context)
{
	return cv_h2_frames_send(server->session, most_bytes, emit, context);
}

static ssize_t pull(nghttp2_session *session, int32_t stream, uint8_t *to, size_t room_bytes,
		    uint32_t *flags, nghttp2_data_source *source, void *opaque)
{
	struct cv_h2_server *server = opaque;
	bool is_last = false;
	const size_t len = server->owner.pull(server->owner.context, stream, to, room_bytes,
					      &is_last);

	(void)session;
	(void)source;
	if (is_last)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	return len == 0 && !is_last ? NGHTTP2_ERR_DEFERRED : (ssize_t)len;
}

/* ---- requests ----------------------------------------------------------------------------- */

static int agree(struct cv_h2_server *server, int32_t stream)
{
	const nghttp2_data_provider body = {.read_callback = pull};
	const nghttp2_nv fields[] = {cv_h2_field(":status", "200"),
				     cv_h2_field("cache-control", "no-store")};

	if (stream > LAST_STREAM || server->owner.opened(server->owner.context, stream) != 0)
		return nghttp2_submit_rst_stream(server->session, NGHTTP2_FLAG_NONE, stream,
						 NGHTTP2_REFUSED_STREAM);
	server->is_strict = false;
	return nghttp2_submit_response(server->session, stream, fields, 2, &body);
}

static int refuse(struct cv_h2_server *server, int32_t stream)
{
	const nghttp2_nv status = cv_h2_field(":status", "404");

	return nghttp2_submit_response(server->session, stream, &status, 1, NULL);
}

/* 0, or why the connection cannot go on. */
static int judge(struct cv_h2_server *server, int32_t stream)
{
	const bool fits = server->path_fits && server->host_fits;

	if (!fits && server->is_strict)
		return CV_PEER_NO_UPGRADE;
	if ((fits ? agree(server, stream) : refuse(server, stream)) != 0)
		return CV_INTERNAL_MEMORY;
	if (stream < LAST_STREAM - 2 || server->says_goodbye)
		return 0;
	server->says_goodbye = true;
	return nghttp2_submit_goaway(server->session, NGHTTP2_FLAG_NONE, stream, NGHTTP2_NO_ERROR,
				     NULL, 0)
		       ? CV_INTERNAL_MEMORY
		       : 0;
}

/* ---- callbacks ---------------------------------------------------------------------------- */

static int fail(struct cv_h2_server *server, int reason)
{
	if (reason && !server->reason)
		server->reason = reason;
	return reason ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *opaque)
{
	struct cv_h2_server *server = opaque;

	(void)session;
	if (frame->headers.cat != NGHTTP2_HCAT_REQUEST)
		return 0;
	server->asking = frame->hd.stream_id;
	server->path_fits = false;
	server->host_fits = server->transport->host[0] == '\0';
	return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
		     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
		     void *opaque)
{
	struct cv_h2_server *server = opaque;
	const struct cv_span called = cv_span_of(name, name_len);
	const struct cv_span text = cv_span_of(value, value_len);

	(void)session;
	(void)flags;
	if (frame->hd.stream_id != server->asking)
		return 0;
	if (cv_http_span_is(called, ":path"))
		server->path_fits = cv_upgrade_path_is(text, server->transport->path);
	else if (cv_http_span_is(called, ":authority") || cv_http_span_is(called, "host"))
		server->host_fits = cv_upgrade_host_is(text, server->transport->host);
	return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *opaque)
{
	struct cv_h2_server *server = opaque;
	const bool is_headers = frame->hd.type == NGHTTP2_HEADERS;
	int reason = 0;

	(void)session;
	if (is_headers && frame->headers.cat == NGHTTP2_HCAT_REQUEST)
		reason = judge(server, frame->hd.stream_id);
	if (!reason && (is_headers || frame->hd.type == NGHTTP2_DATA) &&
	    (frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
		server->owner.ended(server->owner.context, frame->hd.stream_id);
	return fail(server, reason);
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream, const uint8_t *bytes,
		   size_t len, void *opaque)
{
	struct cv_h2_server *server = opaque;

	(void)session;
	(void)flags;
	return fail(server, server->owner.received(server->owner.context, stream,
						   cv_span_of(bytes, len)));
}

static int on_stream_close(nghttp2_session *session, int32_t stream, uint32_t code, void *opaque)
{
	struct cv_h2_server *server = opaque;

	(void)session;
	server->owner.closed(server->owner.context, stream, code != NGHTTP2_NO_ERROR);
	return 0;
}

/* ---- in ----------------------------------------------------------------------------------- */

int cv_h2_server_read(struct cv_h2_server *server, struct cv_span bytes)
{
	const ssize_t taken =
		nghttp2_session_mem_recv(server->session, bytes.data, bytes.len_bytes);

	if (server->reason)
		return server->reason;
	if (taken == NGHTTP2_ERR_NOMEM)
		return CV_INTERNAL_MEMORY;
	if (taken < 0)
		return CV_PEER_DECODE;
	/* after a breach nghttp2 says goodbye and listens no more */
	return nghttp2_session_want_read(server->session) ? 0 : CV_LAYER_EOF;
}

void cv_h2_server_resume(struct cv_h2_server *server, int32_t stream)
{
	(void)nghttp2_session_resume_data(server->session, stream); /* unless it is blocked */
}

void cv_h2_server_used(struct cv_h2_server *server, int32_t stream, size_t len_bytes)
{
	if (len_bytes > 0)
		(void)nghttp2_session_consume(server->session, stream, len_bytes);
}

void cv_h2_server_reset(struct cv_h2_server *server, int32_t stream, bool is_error)
{
	(void)nghttp2_submit_rst_stream(server->session, NGHTTP2_FLAG_NONE, stream,
					is_error ? NGHTTP2_INTERNAL_ERROR : NGHTTP2_NO_ERROR);
}

/* ---- life --------------------------------------------------------------------------------- */

static int open_session(struct cv_h2_server *server)
{
	nghttp2_session_callbacks *callbacks = NULL;
	nghttp2_option *option = NULL;
	int error = nghttp2_session_callbacks_new(&callbacks);

	if (!error)
		error = nghttp2_option_new(&option);
	if (!error) {
		nghttp2_option_set_no_auto_window_update(option, 1);
		nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks,
									on_begin_headers);
		nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
		nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
		nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
		nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
		nghttp2_session_callbacks_set_data_source_read_length_callback(callbacks,
									       cv_h2_frame_room);
		error = nghttp2_session_server_new2(&server->session, callbacks, server, option);
	}
	nghttp2_option_del(option);
	nghttp2_session_callbacks_del(callbacks);
	return error;
}

struct cv_h2_server *cv_h2_server_new(const struct cv_transport *transport, bool is_strict,
				      uint32_t streams_max,
				      const struct cv_h2_server_owner *owner)
{
	const nghttp2_settings_entry settings[] = {
		{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, streams_max},
		{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, CV_H2_STREAM_WINDOW},
	};
	struct cv_h2_server *server = calloc(1, sizeof(*server));

	if (!server)
		return NULL;
	server->transport = transport;
	server->is_strict = is_strict;
	server->owner = *owner;
	if (open_session(server) != 0 ||
	    nghttp2_submit_settings(server->session, NGHTTP2_FLAG_NONE, settings, 2) != 0 ||
	    nghttp2_session_set_local_window_size(server->session, NGHTTP2_FLAG_NONE, 0,
						  CV_H2_CONNECTION_WINDOW) != 0)
		return cv_h2_server_free(server);
	return server;
}

struct cv_h2_server *cv_h2_server_free(struct cv_h2_server *server)
{
	if (server)
		nghttp2_session_del(server->session);
	free(server);
	return NULL;
}
