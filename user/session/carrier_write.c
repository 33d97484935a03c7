// SPDX-License-Identifier: MIT
/*
 * carrier_write.c - what streams have to say becomes frames on a carrier's wire.
 *
 *   ready: A -> B -> C      A's turn: at most TURN_BYTES of its leg.out, as frames of 8 KiB at most
 *          B -> C -> A      then the others; all together leave in one piece for the wire's layers
 *
 * Nothing is taken while the wire has CV_LEG_OUT_HIGH queued: then bytes stay in the legs, which
 * stop reading what is behind them at CV_STREAM_OUT_HIGH. So a carrier holds little of each stream,
 * and a stream that begins waits for one turn of the others.
 *
 * The first data of a stream of ours travels in its New. Its End waits, after the client has said
 * that nothing more will come, until the other direction was silent for HALF_CLOSE_MS: End closes
 * both, and an answer that is on its way would be lost.
 */
#include "session/carrier_state.h"

#include "base/reason.h"

#include <stdlib.h>

#define TURN_BYTES (2 * CV_MUX_CHUNK)
#define FRAMES_ENOUGH (48 * 1024) /* for one piece */
#define HALF_CLOSE_MS 1000	  /* as long as others give the answer then */

/* ---- ends --------------------------------------------------------------------------------- */

int cv_carrier_say_end(struct cv_carrier *carrier, uint16_t id, bool is_error)
{
	const struct cv_mux_frame frame = {
		.session = id, .status = CV_MUX_END, .is_error = is_error};

	if (carrier->h2) {
		cv_carrier_h2_end(carrier, id, is_error);
		return 0;
	}
	cv_carrier_wake(carrier);
	return cv_mux_frame_append(frame, carrier->config.kind, cv_span_of(NULL, 0),
				   &carrier->frames);
}

int cv_carrier_end_stream(struct cv_carrier *carrier, struct cv_stream *stream)
{
	const int error = cv_carrier_say_end(carrier, stream->id, false);

	stream->leg->facts |= CV_LEG_FIN_RECEIVED | CV_LEG_FIN_SENT;
	cv_stream_over(stream);
	cv_stream_wake(stream);
	return error;
}

int cv_carrier_check_closing(struct cv_carrier *carrier)
{
	const uint64_t now_ms = cv_carrier_now_ms(carrier);
	struct cv_list *at = carrier->closing.next;
	int error = 0;

	while (at != &carrier->closing && !error) {
		struct cv_stream *stream = cv_container_of(at, struct cv_stream, closing);

		at = at->next;
		if (now_ms >= stream->received_ms + HALF_CLOSE_MS)
			error = cv_carrier_end_stream(carrier, stream);
	}
	return error;
}

/* What the peer's client waits for is the end of an answer; what ours has ended is a question. */
static int fin(struct cv_carrier *carrier, struct cv_stream *stream)
{
	if (carrier->config.role == CV_CARRIER_SERVER)
		return cv_carrier_end_stream(carrier, stream);
	stream->received_ms = cv_carrier_now_ms(carrier);
	cv_list_add(&carrier->closing, &stream->closing);
	return 0;
}

/* ---- a turn ------------------------------------------------------------------------------- */

/* Takes at most one frame's worth off @data. */
static int announce(struct cv_carrier *carrier, struct cv_stream *stream, struct cv_span *data)
{
	struct cv_span first = *data;
	int error;

	if (first.len_bytes > CV_MUX_CHUNK)
		first.len_bytes = CV_MUX_CHUNK;
	if (first.len_bytes == 0)
		first.data = NULL;
	error = cv_mux_frame_append(*stream->opening, carrier->config.kind, first,
				    &carrier->frames);
	free(stream->opening);
	stream->opening = NULL;
	cv_span_skip(data, first.len_bytes);
	return error;
}

/* Its session has reason to look: more may be read for it, or it waited for the last byte. */
static bool is_awaited(const struct cv_leg *leg, bool was_full)
{
	return was_full || (cv_buffer_len(&leg->out) == 0 &&
			    ((leg->facts & CV_LEG_FIN_WANTED) ||
			     leg->session->state != CV_SESSION_RELAY));
}

static int take_turn(struct cv_carrier *carrier, struct cv_stream *stream)
{
	struct cv_leg *leg = stream->leg;
	const bool was_full = !cv_leg_has_room(leg);
	struct cv_span data = cv_buffer_span(&leg->out);
	size_t count;
	int error = 0;

	if (data.len_bytes > TURN_BYTES)
		data.len_bytes = TURN_BYTES;
	count = data.len_bytes;
	if (stream->opening)
		error = announce(carrier, stream, &data);
	if (!error)
		error = cv_mux_stream_append(stream->id, data, &carrier->frames);
	if (error)
		return error;
	cv_buffer_consume(&leg->out, count);
	if (count > 0)
		leg->session->last_activity_ms = cv_carrier_now_ms(carrier);
	if (cv_buffer_len(&leg->out) > 0) {
		cv_list_add(&carrier->ready, &stream->ready);
	} else {
		cv_buffer_release_if_empty(&leg->out);
		if ((leg->facts & CV_LEG_FIN_WANTED) && !(leg->facts & CV_LEG_FIN_SENT))
			error = fin(carrier, stream);
	}
	if (is_awaited(leg, was_full))
		cv_stream_wake(stream);
	return error;
}

/* ---- the wire ----------------------------------------------------------------------------- */

static int to_wire(struct cv_carrier *carrier)
{
	int error = 0;

	while (cv_buffer_len(&carrier->frames) > 0 && !error) {
		struct cv_span piece = cv_buffer_span(&carrier->frames);

		if (piece.len_bytes > CV_LEG_BATCH)
			piece.len_bytes = CV_LEG_BATCH;
		error = cv_leg_encode(carrier->wire, piece);
		cv_buffer_consume(&carrier->frames, piece.len_bytes);
		carrier->sent_bytes += piece.len_bytes;
		if (cv_leg_queued(carrier->wire) >= CV_LEG_OUT_LIMIT / 2)
			break;
	}
	return error;
}

int cv_carrier_write(struct cv_carrier *carrier)
{
	int error = 0;

	while (!error && cv_leg_queued(carrier->wire) < CV_LEG_OUT_HIGH) {
		struct cv_stream *stream;

		while (!error && cv_buffer_len(&carrier->frames) < FRAMES_ENOUGH &&
		       (stream = cv_list_first(&carrier->ready, struct cv_stream, ready))) {
			cv_list_remove(&stream->ready);
			error = take_turn(carrier, stream);
		}
		if (cv_buffer_len(&carrier->frames) == 0)
			break;
		if (!error)
			error = to_wire(carrier);
	}
	cv_buffer_release_if_empty(&carrier->frames);
	return error;
}

/* ---- datagrams ---------------------------------------------------------------------------- */

static bool fits(const struct cv_carrier *carrier, size_t len_bytes)
{
	const size_t queued = cv_buffer_len(&carrier->frames) +
			      (carrier->wire ? cv_leg_queued(carrier->wire) : 0);

	return len_bytes <= CV_MUX_DATAGRAM_MAX && queued < CV_CARRIER_DATAGRAMS_HIGH;
}

void cv_stream_send(struct cv_stream *stream, const struct cv_destination *address,
		    const uint8_t *bytes, size_t len_bytes)
{
	struct cv_carrier *carrier = stream->carrier;
	struct cv_mux_frame frame;
	int error;

	if (!carrier || stream->is_over)
		return;
	if (!fits(carrier, len_bytes)) {
		carrier->dropped++;
		cv_worker_count(stream->streams->worker, len_bytes > CV_MUX_DATAGRAM_MAX
								 ? CV_PEER_TOO_LONG
								 : CV_INTERNAL_RESOURCE);
		return;
	}
	if (stream->opening) {
		frame = *stream->opening;
		free(stream->opening);
		stream->opening = NULL;
	} else {
		frame = (struct cv_mux_frame){.session = stream->id, .status = CV_MUX_KEEP};
		if (address)
			frame.address = *address;
	}
	error = cv_mux_frame_append(frame, carrier->config.kind,
				    cv_span_of(bytes ? bytes : (const uint8_t *)"", len_bytes),
				    &carrier->frames);
	if (error)
		carrier->failed = error;
	cv_carrier_wake(carrier);
}
