/* SPDX-License-Identifier: MIT */
/*
 * stream.h - one sub-session of a carrier (Mux.Cool): what a leg has instead of a socket.
 *
 *   socket    recv -> leg.in      leg.out -> send       a full socket: EAGAIN
 *   stream    carrier -> leg.in   leg.out -> carrier    a full leg.in: the carrier is not read
 *
 * leg.c calls these where it would start an operation. None of them runs anybody's event: who has
 * to look at something is woken, and looks when the present event is over.
 *
 * A datagram stream has no bytes in a leg: its owner is told of each datagram.
 */
#ifndef CV_SESSION_STREAM_H
#define CV_SESSION_STREAM_H

#include "base/address.h"
#include "session/leg.h"

struct cv_outbound;
struct cv_stream;
struct cv_streams; /* all of a worker */
struct cv_worker;

#define CV_STREAM_HEADROOM 264 /* writable, in front of each datagram received */

struct cv_stream_owner { /* of a datagram stream */
	/* One datagram from the peer; its @bytes are writable until it returns, and the headroom.
	 * @address: where it goes or comes from; kind NONE: the stream's own target. It must not
	 * close the stream. */
	void (*received)(void *owner, const struct cv_destination *address, uint8_t *bytes,
			 size_t len_bytes);
	/* Streams without a leg, each may be NULL. flush: some were received, and no more come just
	 * now. ended: by the peer (@reason 0), or it broke. Both may close the stream. */
	void (*flush)(void *owner);
	void (*ended)(void *owner, int reason);
	void *owner;
	bool is_patient; /* nobody is to be hurried for its sake */
};

/* ---- for legs ---- */

/** cv_stream_recv() - The leg has room again. */
void cv_stream_recv(struct cv_leg *leg);
/** cv_stream_flush() - Something is in leg->out, or FIN_WANTED is set. */
void cv_stream_flush(struct cv_leg *leg);
/** cv_stream_announce() - The peer is told of the stream even if there is nothing to say yet. */
void cv_stream_announce(struct cv_leg *leg);
/** cv_stream_detach() - The leg has no stream any more. @is_error: the peer is told that. */
void cv_stream_detach(struct cv_leg *leg, bool is_error);

/* ---- datagrams ---- */

/**
 * cv_stream_open_datagrams() - A datagram sub-session through @outbound, which has mux enabled, for
 * @session (its worker and configuration). What is sent before its carrier is there waits, within
 * limits. @global_id: XUDP's, 8 bytes, or NULL.
 * Returns 0; CV_INTERNAL_MEMORY; CV_POLICY_SESSION_LIMIT; CV_POLICY_STOPPING.
 */
int cv_stream_open_datagrams(struct cv_session *session, const struct cv_outbound *outbound,
			     const struct cv_destination *target, const uint8_t *global_id,
			     const struct cv_stream_owner *owner, struct cv_stream **ret_stream);
/** cv_stream_send() - One datagram to the peer. @address: where it goes or comes from; NULL: the
 * stream's own target. Too long, or above what may be queued: dropped and counted. */
void cv_stream_send(struct cv_stream *stream, const struct cv_destination *address,
		    const uint8_t *bytes, size_t len_bytes);
/** cv_stream_close() - Of one without a leg. NULL-safe, returns NULL. */
struct cv_stream *cv_stream_close(struct cv_stream *stream);

/** cv_streams_free() - After the worker's last session. NULL-safe, returns NULL. */
struct cv_streams *cv_streams_free(struct cv_streams *streams);

#endif
