/* SPDX-License-Identifier: MIT */
/*
 * carrier_state.h - what stream.c and carrier_*.c know of each other; for these only.
 */
#ifndef CV_SESSION_CARRIER_STATE_H
#define CV_SESSION_CARRIER_STATE_H

#include "base/list.h"
#include "session/carrier.h"
#include "session/carrier_h2.h"
#include "session/session.h"
#include "session/worker.h"

#define CV_CARRIER_BUCKETS 128 /* a power of two */
#define CV_CARRIER_FRAMES_LIMIT (1024 * 1024)
#define CV_CARRIER_DATAGRAMS_HIGH (256 * 1024) /* that wait for the wire: above they are dropped */
#define CV_CARRIER_CHECK_MS 250
/* Input that waits in the legs of all streams; one stream may have half of what the others leave,
 * so that the last one to come still has room. */
#define CV_CARRIER_INPUT_MAX (8 * 1024 * 1024)
#define CV_CARRIER_PIECE 16384 /* that an empty leg takes in any case */

struct cv_stream {
	struct cv_streams *streams;
	struct cv_carrier *carrier; /* NULL: lost */
	struct cv_leg *leg;	    /* NULL: of datagrams, with an owner alone */
	struct cv_stream *next;	    /* in its bucket, until it is over */
	struct cv_list all, ready, closing, woken;
	struct cv_mux_frame *opening; /* CLIENT: until it is sent */
	struct cv_stream_owner owner; /* received NULL: no datagrams */
	uint64_t received_ms;
	uint64_t acked_bytes; /* of its other side, while it is watched */
	uint32_t still_looks; /* in a row at which nothing had moved */
	size_t counted_bytes; /* of leg->in, in input_bytes */
	int lost_reason;
	uint32_t slot; /* 0: none */
	uint16_t id;
	bool is_fresh;	 /* SERVER: its session has not begun */
	bool is_waiting; /* CLIENT: for the carrier */
	bool has_moved;	 /* bytes out of its leg, since the last look */
	bool is_over;	 /* one side has said End: the peer does not know it any more */
};

struct cv_streams {
	struct cv_worker *worker;
	struct cv_stream **slots; /* [0] is nobody's */
	uint32_t *free_slots;
	uint32_t slot_size, free_count;
	struct cv_list carriers, woken_streams, woken_carriers;
	struct cv_timer timer;
	bool is_running;
};

struct cv_carrier {
	struct cv_session *session;
	struct cv_leg *wire; /* NULL: not yet */
	struct cv_streams *streams;
	struct cv_carrier_config config;
	struct cv_carrier_h2 *h2; /* NULL: the frames are Mux.Cool's */
	struct cv_list all, woken;
	struct cv_stream *buckets[CV_CARRIER_BUCKETS];
	struct cv_list members; /* those that are over as well, while they hold memory */
	uint32_t stream_count;
	uint64_t total;
	uint32_t next_id;
	bool is_fresh; /* CLIENT: not dialled yet */
	int failed;    /* it is to be ended for this */
	uint8_t user_id[16];
	/* reading */
	struct cv_buffer in; /* out of the wire's layers, not looked at */
	struct cv_mux_frame frame;
	uint32_t data_left_bytes; /* of that frame */
	struct cv_stream *reader; /* whose they are; NULL: nobody's */
	struct cv_buffer datagram; /* headroom, and what has come of one */
	struct cv_stream *blocker; /* its leg is full: nothing is read */
	uint64_t blocked_since_ms;
	size_t input_bytes;
	uint16_t unknown_id; /* the last that End was said of */
	bool unknown_said;
	/* writing */
	struct cv_buffer frames; /* for the wire's layers */
	struct cv_list ready;	 /* streams with something to say */
	struct cv_list closing;	 /* CLIENT: streams whose End waits for the other direction */
	/* time */
	uint64_t tick_ms, total_at_tick;
	bool was_empty;
	/* for people */
	uint64_t received_bytes, sent_bytes, blocked_ms, dropped;
	size_t input_most_bytes;
	uint32_t stalled;
};

static inline uint64_t cv_carrier_now_ms(const struct cv_carrier *carrier)
{
	return cv_ring_now_ms(carrier->streams->worker->ring);
}

/* stream.c */
/** cv_streams_of() - NULL: out of memory. */
struct cv_streams *cv_streams_of(struct cv_worker *worker);
void cv_stream_wake(struct cv_stream *stream);
struct cv_stream *cv_stream_find(const struct cv_carrier *carrier, uint16_t id);
/** cv_stream_of() - Of @leg; NULL: it has a socket, or nothing. */
struct cv_stream *cv_stream_of(const struct cv_leg *leg);
/** cv_stream_recount() - What its leg has used since the last time. Returns how much. */
size_t cv_stream_recount(struct cv_stream *stream);
/** cv_stream_over() - End was said by one side. */
void cv_stream_over(struct cv_stream *stream);
/** cv_stream_lose() - The peer broke it (@reason), or the carrier has gone with it. */
void cv_stream_lose(struct cv_stream *stream, int reason);

/* carrier_server.c */
/** cv_carrier_inherit_ends() - @session's client and our end are those of @from. 0 or
 * CV_INTERNAL_MEMORY. */
int cv_carrier_inherit_ends(struct cv_session *session, const struct cv_session *from);

/* carrier_read.c */
/** cv_carrier_read() - All that is there. 0: nothing more just now; CV_LAYER_EOF; or why the
 * carrier cannot go on. */
int cv_carrier_read(struct cv_carrier *carrier);
/** cv_carrier_unblock() - The blocker has room again, or is gone. */
void cv_carrier_unblock(struct cv_carrier *carrier);
/** cv_carrier_look_at_blocker() - Unblock if it has room. */
void cv_carrier_look_at_blocker(struct cv_carrier *carrier);

/* carrier_write.c */
/** cv_carrier_write() - What streams have to say, in turn, as long as the wire takes it. 0 or a
 * reason. */
int cv_carrier_write(struct cv_carrier *carrier);
/** cv_carrier_say_end() - Of a stream, known or not. 0 or a buffer error. */
int cv_carrier_say_end(struct cv_carrier *carrier, uint16_t id, bool is_error);
/** cv_carrier_end_stream() - We have nothing more to say on it: End, and it is over. */
int cv_carrier_end_stream(struct cv_carrier *carrier, struct cv_stream *stream);
/** cv_carrier_check_closing() - Those of which the other direction has been silent for a while. */
int cv_carrier_check_closing(struct cv_carrier *carrier);

#endif
