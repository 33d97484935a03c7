/* SPDX-License-Identifier: MIT */
/*
 * h2_server.h - HTTP/2 as a transport, server side: a connection with streams, each of which is
 * what a socket is elsewhere.
 *
 * Sans-IO: bytes are read in pieces, what is to be said is emitted. What becomes of the streams is
 * the owner's affair: it is told of them while bytes are read, asked for their bytes while frames
 * are written, and says how many of those it got it has used, which is what their windows follow.
 */
#ifndef CV_PROTOCOL_H2_SERVER_H
#define CV_PROTOCOL_H2_SERVER_H

#include "protocol/transport.h"

struct cv_h2_server;

#define CV_H2_STREAM_WINDOW (2 << 20)
#define CV_H2_CONNECTION_WINDOW (8 << 20) /* all that may wait for owners of streams */

struct cv_h2_server_owner {
	/* A request for our path and host. 0, or why not: it is refused. */
	int (*opened)(void *owner, int32_t stream);
	/* 0, or why the connection cannot go on. */
	int (*received)(void *owner, int32_t stream, struct cv_span bytes);
	/* END_STREAM: nothing more comes. */
	void (*ended)(void *owner, int32_t stream);
	/* Neither side says anything more; @is_reset: before its time. */
	void (*closed)(void *owner, int32_t stream, bool is_reset);
	/* At most @room_bytes to @to; @ret_is_last: nothing follows. Returns how many; 0 and not
	 * the last: cv_h2_server_resume() will be called. */
	size_t (*pull)(void *owner, int32_t stream, uint8_t *to, size_t room_bytes,
		       bool *ret_is_last);
	void *context;
};

/** cv_h2_server_new() - @transport must outlive it. @is_strict: a request for another path or host
 * ahead of the first of ours is CV_PEER_NO_UPGRADE, and not 404. @streams_max: at a time. NULL:
 * out of memory. */
struct cv_h2_server *cv_h2_server_new(const struct cv_transport *transport, bool is_strict,
				      uint32_t streams_max,
				      const struct cv_h2_server_owner *owner);
/** cv_h2_server_free() - Nobody is told. NULL-safe, returns NULL. */
struct cv_h2_server *cv_h2_server_free(struct cv_h2_server *server);

/** cv_h2_server_read() - All of @bytes. Returns: 0; CV_LAYER_EOF: the client has said goodbye, and
 * no stream is left; CV_PEER_NO_UPGRADE; CV_PEER_DECODE; CV_INTERNAL_MEMORY; what received() said.
 */
int cv_h2_server_read(struct cv_h2_server *server, struct cv_span bytes);
/** cv_h2_server_write() - Emit frames until @most_bytes are out, or there are no more. 0; what
 * @emit said; CV_INTERNAL_MEMORY; CV_INTERNAL_STATE. */
int cv_h2_server_write(struct cv_h2_server *server, size_t most_bytes, cv_layer_emit emit,
		       void *context);
/** cv_h2_server_resume() - pull() has something for @stream again. */
void cv_h2_server_resume(struct cv_h2_server *server, int32_t stream);
/** cv_h2_server_used() - Of what @stream received; once for each byte, also when it is gone. */
void cv_h2_server_used(struct cv_h2_server *server, int32_t stream, size_t len_bytes);
/** cv_h2_server_reset() - No more of @stream. @is_error: because something broke. */
void cv_h2_server_reset(struct cv_h2_server *server, int32_t stream, bool is_error);

#endif
