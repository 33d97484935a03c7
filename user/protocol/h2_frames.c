// SPDX-License-Identifier: MIT
/* h2_frames.c - what both ends of HTTP/2 as a transport have in common. */
#include "protocol/h2_frames.h"

#include <culvert/reason.h>

#include <string.h>

#define UNIT_MAX 16384 /* a frame with its head: one TLS record */
#define FRAME_HEAD 9

nghttp2_nv cv_h2_field_of(const char *name, size_t name_len, const char *value, size_t value_len)
{
	return (nghttp2_nv){.name = (uint8_t *)(uintptr_t)name,
			    .namelen = name_len,
			    .value = (uint8_t *)(uintptr_t)value,
			    .valuelen = value_len};
}

nghttp2_nv cv_h2_field(const char *name, const char *value)
{
	return cv_h2_field_of(name, strlen(name), value, strlen(value));
}

ssize_t cv_h2_frame_room(nghttp2_session *session, uint8_t type, int32_t stream,
			 int32_t session_window, int32_t stream_window, uint32_t frame_max,
			 void *opaque)
{
	ssize_t room = UNIT_MAX - FRAME_HEAD;

	(void)session;
	(void)type;
	(void)stream;
	(void)opaque;
	if (room > (ssize_t)frame_max)
		room = (ssize_t)frame_max;
	if (room > session_window)
		room = session_window;
	return room > stream_window ? stream_window : room;
}

static int emit_gathered(uint8_t *bytes, size_t *len, cv_layer_emit emit, void *context)
{
	const int error = *len ? emit(context, cv_span_of(bytes, *len)) : 0;

	*len = 0;
	return error;
}

int cv_h2_frames_send(nghttp2_session *session, size_t most_bytes, cv_layer_emit emit,
		      void *context)
{
	uint8_t gathered[UNIT_MAX];
	size_t gathered_len = 0, total = 0;
	int error = 0;

	while (!error && total < most_bytes) {
		const uint8_t *frame;
		const ssize_t len = nghttp2_session_mem_send(session, &frame);

		if (len < 0)
			return len == NGHTTP2_ERR_NOMEM ? CV_INTERNAL_MEMORY : CV_INTERNAL_STATE;
		if (len == 0)
			break;
		total += (size_t)len;
		if (gathered_len + (size_t)len > sizeof(gathered))
			error = emit_gathered(gathered, &gathered_len, emit, context);
		if (!error && (size_t)len > sizeof(gathered)) {
			error = emit(context, cv_span_of(frame, (size_t)len));
		} else if (!error) {
			memcpy(gathered + gathered_len, frame, (size_t)len);
			gathered_len += (size_t)len;
		}
	}
	return error ? error : emit_gathered(gathered, &gathered_len, emit, context);
}
