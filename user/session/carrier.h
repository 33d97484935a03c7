/* SPDX-License-Identifier: MIT */
/*
 * carrier.h - a session whose leg carries others: Mux.Cool's frames instead of bytes.
 *
 *                          carrier (state CARRIER)
 *   peer ==== wire: its client leg, or its upstream leg ==== streams -- legs of other sessions
 *
 *   SERVER  the peer opens streams: each becomes a session whose client leg is the stream
 *   CLIENT  we open them: a session's upstream leg is the stream, the carrier is shared
 *
 * Which leg is the wire and who opens are independent: a reverse tunnel is a SERVER that dialled,
 * or a CLIENT that was accepted.
 */
#ifndef CV_SESSION_CARRIER_H
#define CV_SESSION_CARRIER_H

#include "session/stream.h"
#include "wire/mux.h"

struct cv_carrier;
struct cv_handshake;

#define CV_MUX_DOMAIN "v1.mux.cool" /* a target that means: a carrier */

enum cv_carrier_role { CV_CARRIER_SERVER, CV_CARRIER_CLIENT };

struct cv_carrier_config {
	enum cv_carrier_role role;
	enum cv_mux_carrier kind;
	uint32_t max_streams; /* at a time */
	uint32_t max_total;   /* CLIENT: in its life; 0 = as many as there are ids */
	bool refuses_streams; /* SERVER: a stream that is no datagram stream ends the carrier */
	/* SERVER: the peer opens a stream. Make it cv_stream_new() and give it a leg or an owner
	 * before returning. Returns 0; or why not: the stream is refused. */
	int (*opened)(struct cv_carrier *carrier, const struct cv_mux_frame *frame);
	/* SERVER, may be NULL: the first event of a stream's session, when all that came with the
	 * New is in its leg. */
	void (*begin)(struct cv_session *session);
	/* May be NULL: it is about to be freed, whether it ever started or not. */
	void (*gone)(struct cv_carrier *carrier);
	void *context; /* of whoever made it */
};

struct cv_carrier_report { /* for people */
	enum cv_carrier_role role;
	bool is_reverse;
	uint32_t streams, streams_max;
	uint64_t streams_total;
	uint64_t received_bytes, sent_bytes; /* frames */
	size_t input_bytes, output_bytes;    /* that wait: of all streams, and for the wire */
	size_t memory_bytes;		     /* all buffers, as allocated */
	size_t input_most_bytes;	     /* there ever were, of the streams */
	uint64_t blocked_ms;		     /* the wire was not read, all in all */
	uint32_t stalled;		     /* streams that were ended for that */
	uint64_t dropped;		     /* datagrams */
};

/* ---- life ---- */

/** cv_carrier_new() - For @session, which is to become one; NULL: out of memory. Streams may be
 * opened from now on, and wait. The session's handshake owns it until cv_carrier_start(). */
struct cv_carrier *cv_carrier_new(struct cv_session *session,
				  const struct cv_carrier_config *config);
/** cv_carrier_start() - @wire, a leg of its session, is ready for frames: the session is in state
 * CARRIER, its handshake is gone. */
void cv_carrier_start(struct cv_carrier *carrier, struct cv_leg *wire);
/** cv_carrier_free() - Its streams are lost. NULL-safe, returns NULL. */
struct cv_carrier *cv_carrier_free(struct cv_carrier *carrier);
/** cv_carrier_give_up() - @session will not become one, for @reason, but goes on; no-op unless it
 * was to. */
void cv_carrier_give_up(struct cv_session *session, int reason);
/** cv_carrier_leave() - Before the state changes; no-op unless it is CARRIER. */
void cv_carrier_leave(struct cv_session *session);
/** cv_carriers_stop() - The worker stops: carriers go as soon as they are empty. */
void cv_carriers_stop(struct cv_worker *worker);

void cv_step_carrier(struct cv_session *session);
void cv_step_carrier_timer(struct cv_session *session);
/** cv_carrier_wake() - Look at it soon. */
void cv_carrier_wake(struct cv_carrier *carrier);
/** cv_carrier_report() - Of a session in state CARRIER. False: it is none. */
bool cv_carrier_report(const struct cv_session *session, struct cv_carrier_report *ret_report);
struct cv_session *cv_carrier_session(const struct cv_carrier *carrier);
const struct cv_carrier_config *cv_carrier_settings(const struct cv_carrier *carrier);
uint32_t cv_carrier_stream_count(const struct cv_carrier *carrier);
uint64_t cv_carrier_stream_total(const struct cv_carrier *carrier);

/** cv_stream_leg_relays() - @session relays; no-op without streams. */
void cv_stream_leg_relays(struct cv_session *session);

/* ---- streams ---- */

/** cv_stream_new() - @id must be free. NULL: out of memory. Give it a leg or an owner. */
struct cv_stream *cv_stream_new(struct cv_carrier *carrier, uint16_t id);
/** cv_stream_attach() - @leg has no socket. */
void cv_stream_attach(struct cv_stream *stream, struct cv_leg *leg);
/** cv_stream_own() - It is one of datagrams; it may have a leg besides. */
void cv_stream_own(struct cv_stream *stream, const struct cv_stream_owner *owner);
/** cv_stream_opening() - CLIENT: @frame, a New, is what opens it; it is sent with the first data.
 * Returns 0 or CV_INTERNAL_MEMORY. */
int cv_stream_opening(struct cv_stream *stream, const struct cv_mux_frame *frame);
/** cv_carrier_next_id() - CLIENT: of the next stream. 0: no more of them, open another carrier. */
uint16_t cv_carrier_next_id(struct cv_carrier *carrier);

/* ---- carrier_server.c: VLESS command 3, or a request for CV_MUX_DOMAIN ---- */

/** cv_mux_serve() - @session's client leg says frames from now on; the first of them may be in
 * handshake->app already. @user_id: 16 bytes as they were
 * sent, for rules. @only_datagrams: other streams end it. */
void cv_mux_serve(struct cv_session *session, const uint8_t *user_id, bool only_datagrams);
/** cv_mux_opened() / cv_mux_begin() - Of such carriers, for others that SERVE: a session with the
 * carrier's inbound, user and configuration; routed. */
int cv_mux_opened(struct cv_carrier *carrier, const struct cv_mux_frame *frame);
void cv_mux_begin(struct cv_session *session);
/** cv_mux_is_asked_for() - Does a request for @destination mean a carrier? */
bool cv_mux_is_asked_for(const struct cv_destination *destination);

/* ---- carrier_client.c: outbounds with mux ---- */

/** cv_mux_carries() - Is session->outbound to be reached by a stream of a carrier? */
bool cv_mux_carries(const struct cv_session *session);
/** cv_mux_dial() - As cv_hops_dial(), by a stream. */
void cv_mux_dial(struct cv_session *session);
/** cv_mux_ready() - The carrier that session->upstream's stream waits for is there, or
 * (@reason) is not. */
void cv_mux_ready(struct cv_session *session, int reason);
/** cv_carrier_dial() - The first event of a carrier of ours. */
void cv_carrier_dial(struct cv_session *session);
/** cv_carrier_ready() - A carrier of ours has its upstream. */
void cv_carrier_ready(struct cv_session *session);

/* ---- stream_datagrams.c: a session of state STREAM_DATAGRAMS ---- */

/** cv_stream_datagrams_begin() - @stream, of @session's client leg, has datagrams for @target, or
 * for others. @global_id: what the peer calls it, 8 bytes, or NULL. Returns 0 or why not. */
int cv_stream_datagrams_begin(struct cv_session *session, struct cv_stream *stream,
			      const struct cv_destination *target, const uint8_t *global_id);
/** cv_stream_datagrams_leave() - Before the state changes; no-op unless it is STREAM_DATAGRAMS. */
void cv_stream_datagrams_leave(struct cv_session *session);
void cv_step_stream_datagrams(struct cv_session *session);
void cv_step_stream_datagrams_timer(struct cv_session *session);

#endif
