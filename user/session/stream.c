// SPDX-License-Identifier: MIT
/*
 * stream.c - the streams of a worker's carriers: where they are, and who is woken when.
 *
 * A leg names its stream by a number, an index into the worker's table: a session has no room for
 * two more pointers. Sessions and carriers never run each other's events. Whoever has news for
 * another puts it into a list, and a timer that is due at once goes through the lists when the
 * present event is over, in the same turn of the ring:
 *
 *   carrier reads 64 KiB -> 20 streams woken -> each session moves its bytes -> carrier woken
 *                                                            carrier writes once for all <-'
 *
 * So a carrier may be freed while its streams' sessions are at work, and the other way round: what
 * is left of the other end says so (carrier NULL, or leg NULL).
 */
#include "session/carrier_state.h"

#include "base/reason.h"
#include "session/handshake.h"
#include "session/steps.h"

#include <stdlib.h>
#include <string.h>

#define ROUNDS 4 /* then the ring has its turn */
#define SLOTS_FIRST 64

/* ---- waking ------------------------------------------------------------------------------- */

static void run_due(struct cv_timer *timer);

static void arm(struct cv_streams *streams)
{
	struct cv_ring *ring = streams->worker->ring;

	if (streams->timer.heap_index == 0)
		cv_timer_arm(ring, &streams->timer, cv_ring_now_ms(ring));
}

void cv_stream_wake(struct cv_stream *stream)
{
	cv_list_add(&stream->streams->woken_streams, &stream->woken);
	if (!stream->streams->is_running)
		arm(stream->streams);
}

void cv_carrier_wake(struct cv_carrier *carrier)
{
	cv_list_add(&carrier->streams->woken_carriers, &carrier->woken);
	if (!carrier->streams->is_running)
		arm(carrier->streams);
}

static void begin_session(struct cv_stream *stream)
{
	struct cv_session *session = stream->leg->session;
	const struct cv_carrier *carrier = stream->carrier;

	stream->is_fresh = false;
	if (!carrier || !carrier->config.begin || session->state != CV_SESSION_ROUTE)
		return;
	session->depth++;
	carrier->config.begin(session);
	session->depth--;
}

static void end_wait(struct cv_stream *stream)
{
	struct cv_session *session = stream->leg->session;

	if (stream->carrier && !stream->carrier->wire)
		return; /* woken for something else */
	stream->is_waiting = false;
	session->depth++;
	cv_mux_ready(session, stream->carrier ? 0 : stream->lost_reason);
	session->depth--;
}

/* It may be gone afterwards. */
static void run_stream(struct cv_stream *stream)
{
	struct cv_leg *leg = stream->leg;
	struct cv_carrier *carrier = stream->carrier; /* only its own event frees it */

	if (!leg) {
		if (stream->is_over || !stream->carrier) {
			if (stream->owner.ended)
				stream->owner.ended(stream->owner.owner, stream->lost_reason);
		} else if (stream->owner.flush) {
			stream->owner.flush(stream->owner.owner);
		}
		return;
	}
	if (stream->is_fresh)
		begin_session(stream);
	else if (stream->is_waiting)
		end_wait(stream);
	cv_session_event(leg->session, NULL, 0);
	if (carrier)
		cv_carrier_look_at_blocker(carrier);
}

static void run_carrier(struct cv_carrier *carrier)
{
	struct cv_session *session = carrier->session;

	if (carrier->is_fresh) {
		carrier->is_fresh = false;
		session->depth++;
		cv_carrier_dial(session);
		session->depth--;
	}
	cv_session_event(session, NULL, 0);
}

static bool anybody_is_woken(const struct cv_streams *streams)
{
	return !cv_list_is_empty(&streams->woken_streams) ||
	       !cv_list_is_empty(&streams->woken_carriers);
}

static void run_due(struct cv_timer *timer)
{
	struct cv_streams *streams = cv_container_of(timer, struct cv_streams, timer);

	streams->is_running = true;
	for (int round = 0; round < ROUNDS && anybody_is_woken(streams); round++) {
		struct cv_stream *stream;
		struct cv_carrier *carrier;

		while ((stream = cv_list_first(&streams->woken_streams, struct cv_stream, woken))) {
			cv_list_remove(&stream->woken);
			run_stream(stream);
		}
		while ((carrier = cv_list_first(&streams->woken_carriers, struct cv_carrier,
						woken))) {
			cv_list_remove(&carrier->woken);
			run_carrier(carrier);
		}
	}
	streams->is_running = false;
	if (anybody_is_woken(streams))
		arm(streams);
}

/* ---- the worker's table ------------------------------------------------------------------- */

struct cv_streams *cv_streams_of(struct cv_worker *worker)
{
	struct cv_streams *streams = worker->streams;

	if (streams)
		return streams;
	streams = calloc(1, sizeof(*streams));
	if (!streams)
		return NULL;
	streams->worker = worker;
	streams->timer.due = run_due;
	cv_list_init(&streams->carriers);
	cv_list_init(&streams->woken_streams);
	cv_list_init(&streams->woken_carriers);
	worker->streams = streams;
	return streams;
}

struct cv_streams *cv_streams_free(struct cv_streams *streams)
{
	if (!streams)
		return NULL;
	cv_timer_disarm(streams->worker->ring, &streams->timer);
	free(streams->slots);
	free(streams->free_slots);
	free(streams);
	return NULL;
}

static bool grow(struct cv_streams *streams)
{
	const uint32_t size = streams->slot_size ? streams->slot_size * 2 : SLOTS_FIRST;
	struct cv_stream **slots = reallocarray(streams->slots, size, sizeof(struct cv_stream *));
	uint32_t *free_slots;

	if (!slots)
		return false;
	streams->slots = slots;
	free_slots = reallocarray(streams->free_slots, size, sizeof(*free_slots));
	if (!free_slots)
		return false;
	streams->free_slots = free_slots;
	for (uint32_t i = size - 1; i >= streams->slot_size && i > 0; i--) {
		slots[i] = NULL;
		free_slots[streams->free_count++] = i;
	}
	slots[0] = NULL;
	streams->slot_size = size;
	return true;
}

struct cv_stream *cv_stream_of(const struct cv_leg *leg)
{
	return leg->stream ? leg->session->worker->streams->slots[leg->stream] : NULL;
}

static void give_slot(struct cv_stream *stream)
{
	struct cv_streams *streams = stream->streams;

	if (stream->slot == 0)
		return;
	streams->slots[stream->slot] = NULL;
	streams->free_slots[streams->free_count++] = stream->slot;
	stream->slot = 0;
}

/* ---- the carrier's table ------------------------------------------------------------------ */

static struct cv_stream **bucket_of(struct cv_carrier *carrier, uint16_t id)
{
	return &carrier->buckets[id & (CV_CARRIER_BUCKETS - 1)]; /* most count from 1 on */
}

struct cv_stream *cv_stream_find(const struct cv_carrier *carrier, uint16_t id)
{
	struct cv_stream *stream = carrier->buckets[id & (CV_CARRIER_BUCKETS - 1)];

	while (stream && stream->id != id)
		stream = stream->next;
	return stream;
}

struct cv_stream *cv_stream_new(struct cv_carrier *carrier, uint16_t id)
{
	struct cv_streams *streams = carrier->streams;
	struct cv_stream *stream, **bucket = bucket_of(carrier, id);

	if (streams->free_count == 0 && !grow(streams))
		return NULL; /* here, where it is easy to say no: a leg may be attached later */
	stream = calloc(1, sizeof(*stream));
	if (!stream)
		return NULL;
	stream->slot = streams->free_slots[--streams->free_count];
	streams->slots[stream->slot] = stream;
	stream->streams = streams;
	stream->carrier = carrier;
	stream->id = id;
	stream->received_ms = cv_carrier_now_ms(carrier);
	stream->next = *bucket;
	*bucket = stream;
	cv_list_add(&carrier->members, &stream->all);
	carrier->stream_count++;
	carrier->total++;
	return stream;
}

void cv_stream_attach(struct cv_stream *stream, struct cv_leg *leg)
{
	stream->leg = leg;
	stream->is_fresh = stream->carrier->config.role == CV_CARRIER_SERVER;
	leg->stream = stream->slot;
	leg->in.limit_bytes = CV_CARRIER_INPUT_MAX / 2 + CV_CARRIER_PIECE;
}

void cv_stream_own(struct cv_stream *stream, const struct cv_stream_owner *owner)
{
	stream->owner = *owner;
}

int cv_stream_opening(struct cv_stream *stream, const struct cv_mux_frame *frame)
{
	stream->opening = malloc(sizeof(*frame));
	if (!stream->opening)
		return CV_INTERNAL_MEMORY;
	*stream->opening = *frame;
	return 0;
}

void cv_stream_over(struct cv_stream *stream)
{
	struct cv_carrier *carrier = stream->carrier;
	struct cv_stream **at;

	if (stream->is_over || !carrier)
		return;
	at = bucket_of(carrier, stream->id);
	while (*at != stream)
		at = &(*at)->next;
	*at = stream->next;
	stream->is_over = true;
	cv_list_remove(&stream->ready);
	cv_list_remove(&stream->closing);
	if (carrier->reader == stream)
		carrier->reader = NULL;
	if (carrier->blocker == stream) /* what still comes for it is thrown away */
		cv_carrier_unblock(carrier);
}

/* The carrier has nothing to do with it any more. */
static void leave(struct cv_stream *stream)
{
	struct cv_carrier *carrier = stream->carrier;

	if (!carrier)
		return;
	cv_stream_over(stream);
	cv_list_remove(&stream->all);
	carrier->stream_count--;
	carrier->input_bytes -= stream->counted_bytes;
	if (carrier->h2)
		cv_carrier_h2_used(carrier, stream->id, stream->counted_bytes);
	stream->counted_bytes = 0;
	stream->carrier = NULL;
	if (carrier->stream_count == 0)
		cv_carrier_wake(carrier); /* which may have waited for that */
}

void cv_stream_lose(struct cv_stream *stream, int reason)
{
	const bool was_over = stream->is_over;

	leave(stream);
	if (was_over) /* all that the peer said is there: the leg goes on with it */
		return;
	stream->lost_reason = reason ? reason : CV_UPSTREAM_CLOSED;
	if (stream->leg && !stream->is_waiting)
		stream->leg->facts |= CV_LEG_RESET;
	cv_stream_wake(stream);
}

static void stream_free(struct cv_stream *stream, bool is_error)
{
	struct cv_carrier *carrier = stream->carrier;
	int error = 0;

	if (carrier && !stream->is_over && !stream->opening)
		error = cv_carrier_say_end(carrier, stream->id, is_error);
	if (error)
		carrier->failed = error;
	leave(stream);
	give_slot(stream);
	cv_list_remove(&stream->woken);
	free(stream->opening);
	free(stream);
}

/* ---- for legs ----------------------------------------------------------------------------- */

size_t cv_stream_recount(struct cv_stream *stream)
{
	const size_t now_bytes = stream->leg ? cv_buffer_len(&stream->leg->in) : 0;
	const size_t used_bytes =
		now_bytes < stream->counted_bytes ? stream->counted_bytes - now_bytes : 0;

	if (stream->carrier)
		stream->carrier->input_bytes -= used_bytes;
	if (stream->carrier && stream->carrier->h2)
		cv_carrier_h2_used(stream->carrier, stream->id, used_bytes);
	stream->counted_bytes -= used_bytes;
	stream->has_moved |= used_bytes > 0;
	return used_bytes;
}

void cv_stream_recv(struct cv_leg *leg)
{
	struct cv_stream *stream = cv_stream_of(leg);

	if (!stream || !stream->carrier)
		return;
	if (cv_stream_recount(stream) > 0)
		cv_carrier_look_at_blocker(stream->carrier); /* there may be room for it now */
}

/* Its session may have waited for that. */
static void flush_to_nobody(struct cv_stream *stream)
{
	struct cv_leg *leg = stream->leg;
	const size_t count = cv_buffer_len(&leg->out);
	const bool is_fin = (leg->facts & CV_LEG_FIN_WANTED) && !(leg->facts & CV_LEG_FIN_SENT);

	cv_buffer_consume(&leg->out, count);
	cv_buffer_release_if_empty(&leg->out);
	if (is_fin)
		leg->facts |= CV_LEG_FIN_SENT;
	if (is_fin || count > 0)
		cv_stream_wake(stream);
}

void cv_stream_flush(struct cv_leg *leg)
{
	struct cv_stream *stream = cv_stream_of(leg);

	if (!stream)
		return;
	if (!stream->carrier || stream->is_over) {
		flush_to_nobody(stream);
		return;
	}
	if (cv_buffer_len(&leg->out) == 0 &&
	    (!(leg->facts & CV_LEG_FIN_WANTED) || (leg->facts & CV_LEG_FIN_SENT) ||
	     cv_list_is_in(&stream->closing)))
		return;
	cv_list_add(&stream->carrier->ready, &stream->ready);
	cv_carrier_wake(stream->carrier);
}

void cv_stream_announce(struct cv_leg *leg)
{
	struct cv_stream *stream = cv_stream_of(leg);

	if (!stream || !stream->carrier || !stream->opening)
		return;
	cv_list_add(&stream->carrier->ready, &stream->ready);
	cv_carrier_wake(stream->carrier);
}

void cv_stream_detach(struct cv_leg *leg, bool is_error)
{
	struct cv_stream *stream = cv_stream_of(leg);

	leg->stream = 0;
	if (!stream)
		return;
	stream->leg = NULL;
	stream_free(stream, is_error);
}

struct cv_stream *cv_stream_close(struct cv_stream *stream)
{
	if (stream)
		stream_free(stream, stream->lost_reason != 0);
	return NULL;
}
