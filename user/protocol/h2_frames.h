/* SPDX-License-Identifier: MIT */
/*
 * h2_frames.h - what both ends of HTTP/2 as a transport have in common: fields of heads, how large
 * frames are, and how they leave. For h2_layer.c and h2_server.c only.
 */
#ifndef CV_PROTOCOL_H2_FRAMES_H
#define CV_PROTOCOL_H2_FRAMES_H

#include "protocol/layer.h"

#include <nghttp2/nghttp2.h>

/** cv_h2_field_of() - A field whose texts must live until it is submitted. */
nghttp2_nv cv_h2_field_of(const char *name, size_t name_len, const char *value, size_t value_len);
/** cv_h2_field() - The same, of texts that end with a zero. */
nghttp2_nv cv_h2_field(const char *name, const char *value);
/** cv_h2_frame_room() - Callback of nghttp2: DATA with its head fits one TLS record. */
ssize_t cv_h2_frame_room(nghttp2_session *session, uint8_t type, int32_t stream,
			 int32_t session_window, int32_t stream_window, uint32_t frame_max,
			 void *opaque);
/**
 * cv_h2_frames_send() - Emit frames until @most_bytes are out, or there are no more. Small ones
 * leave together, so that they share a record.
 * Returns: 0; what @emit said; CV_INTERNAL_MEMORY; CV_INTERNAL_STATE.
 */
int cv_h2_frames_send(nghttp2_session *session, size_t most_bytes, cv_layer_emit emit,
		      void *context);

#endif
