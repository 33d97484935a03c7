// SPDX-License-Identifier: MIT
/*
 * carrier_read.c - frames that a carrier receives, and what becomes of them.
 *
 *   wire --layers--> in: header | data ...  -> New        config.opened(), SERVER only
 *                                              Keep       data to the stream's leg or owner
 *                                              End        the stream is over; KeepAlive  nothing
 *
 * A stream's data goes on in whatever pieces it comes. A datagram is put together first.
 *
 * The protocol has no flow control: whoever is slow to take its data holds up all others, at the
 * latest when memory is used up. What there is for that, from the first to the last:
 *   - a leg may hold half of what the others leave of CV_CARRIER_INPUT_MAX: a short delay of one
 *     costs the others nothing, and many slow ones leave room for the last that comes;
 *   - then the wire is not read any more, and TCP tells the peer ("blocked");
 *   - who has not taken a single byte for a second while others wait is ended with an error
 *     (carrier.c). One that is only slow is waited for, as TCP makes us.
 * Datagrams never wait: the sockets behind them drop what they cannot take.
 */
#include "session/carrier_state.h"

#include "base/reason.h"

#include <errno.h>
#include <stdlib.h>

#define ROOM_TO_GO_ON (256 * 1024)

/* ---- blocking ----------------------------------------------------------------------------- */

void cv_carrier_unblock(struct cv_carrier *carrier)
{
	if (!carrier->blocker)
		return;
	carrier->blocked_ms += cv_carrier_now_ms(carrier) - carrier->blocked_since_ms;
	carrier->blocker = NULL;
	cv_carrier_wake(carrier);
}

static void block(struct cv_carrier *carrier, struct cv_stream *stream)
{
	carrier->blocker = stream;
	carrier->blocked_since_ms = cv_carrier_now_ms(carrier);
	/* it may have room before anybody looks at it again */
	cv_stream_wake(stream);
}

static size_t most_of(const struct cv_carrier *carrier, const struct cv_stream *stream)
{
	const size_t held = carrier->input_bytes - stream->counted_bytes;

	return held < CV_CARRIER_INPUT_MAX ? (CV_CARRIER_INPUT_MAX - held) / 2 : 0;
}

static size_t room_of(struct cv_carrier *carrier, struct cv_stream *stream)
{
	size_t most;

	(void)cv_stream_recount(stream);
	if (stream->counted_bytes == 0)
		return CV_CARRIER_PIECE;
	most = most_of(carrier, stream);
	return most > stream->counted_bytes ? most - stream->counted_bytes : 0;
}

/* A full buffer moves all it holds whenever a little was taken out of it and more comes: so much
 * more is to be taken first. Nobody else waits for the only one. */
static size_t room_to_go_on(const struct cv_carrier *carrier, const struct cv_stream *stream)
{
	const size_t most = most_of(carrier, stream);

	if (stream->counted_bytes == 0)
		return 1;
	if (carrier->stream_count == 1)
		return most / 2;
	return most / 4 < ROOM_TO_GO_ON ? most / 4 + 1 : ROOM_TO_GO_ON;
}

void cv_carrier_look_at_blocker(struct cv_carrier *carrier)
{
	struct cv_stream *blocker = carrier->blocker;

	if (blocker && room_of(carrier, blocker) >= room_to_go_on(carrier, blocker))
		cv_carrier_unblock(carrier);
}

/* ---- data --------------------------------------------------------------------------------- */

static int to_leg(struct cv_carrier *carrier, struct cv_stream *stream, struct cv_span *data)
{
	const size_t room = room_of(carrier, stream);
	const size_t count = data->len_bytes < room ? data->len_bytes : room;
	int error;

	if (count == 0) {
		block(carrier, stream);
		return -EBUSY;
	}
	error = cv_buffer_append(&stream->leg->in, data->data, count);
	if (error)
		return error;
	stream->has_moved |= stream->counted_bytes == 0;
	stream->counted_bytes += count;
	carrier->input_bytes += count;
	if (carrier->input_bytes > carrier->input_most_bytes)
		carrier->input_most_bytes = carrier->input_bytes;
	stream->received_ms = cv_carrier_now_ms(carrier);
	stream->leg->session->last_activity_ms = stream->received_ms;
	cv_stream_wake(stream);
	cv_span_skip(data, count);
	return 0;
}

static int to_datagram(struct cv_carrier *carrier, struct cv_span *data)
{
	static const uint8_t headroom[CV_STREAM_HEADROOM];
	struct cv_buffer *datagram = &carrier->datagram;
	int error = 0;

	if (cv_buffer_len(datagram) == 0)
		error = cv_buffer_append(datagram, headroom, sizeof(headroom));
	if (!error)
		error = cv_buffer_append(datagram, data->data, data->len_bytes);
	cv_span_skip(data, data->len_bytes);
	return error;
}

static void datagram_is_whole(struct cv_carrier *carrier, struct cv_stream *stream)
{
	struct cv_buffer *datagram = &carrier->datagram;
	const size_t len_bytes = cv_buffer_len(datagram);

	stream->received_ms = cv_carrier_now_ms(carrier);
	if (len_bytes >= CV_STREAM_HEADROOM)
		stream->owner.received(stream->owner.owner, &carrier->frame.address,
				       cv_buffer_bytes(datagram) + CV_STREAM_HEADROOM,
				       len_bytes - CV_STREAM_HEADROOM);
	cv_buffer_consume(datagram, len_bytes);
	if (!stream->leg && stream->owner.flush)
		cv_stream_wake(stream);
}

/* Of the frame that has begun: as much as is there and somebody takes. */
static int read_data(struct cv_carrier *carrier)
{
	struct cv_span in = cv_buffer_span(&carrier->in), data = in;
	struct cv_stream *reader = carrier->reader;
	size_t used;
	int result = 0;

	if (data.len_bytes > carrier->data_left_bytes)
		data.len_bytes = carrier->data_left_bytes;
	in = data;
	if (!reader)
		cv_span_skip(&data, data.len_bytes);
	else if (reader->owner.received)
		result = to_datagram(carrier, &data);
	else if (!reader->leg || (reader->leg->facts & CV_LEG_RESET))
		cv_span_skip(&data, data.len_bytes);
	else
		result = to_leg(carrier, reader, &data);
	used = in.len_bytes - data.len_bytes;
	cv_buffer_consume(&carrier->in, used);
	carrier->data_left_bytes -= (uint32_t)used;
	if (!result && carrier->data_left_bytes == 0 && reader && reader->owner.received)
		datagram_is_whole(carrier, reader);
	return result;
}

/* ---- frames ------------------------------------------------------------------------------- */

/* The peer is told of each once in a row: it may have said much before it heard of the End. */
static int unknown(struct cv_carrier *carrier)
{
	const uint16_t id = carrier->frame.session;

	if (!carrier->frame.has_data || (carrier->unknown_said && carrier->unknown_id == id))
		return 0;
	carrier->unknown_id = id;
	carrier->unknown_said = true;
	return cv_carrier_say_end(carrier, id, false);
}

static int refuse(struct cv_carrier *carrier, int reason)
{
	cv_worker_count(carrier->streams->worker, reason);
	return cv_carrier_say_end(carrier, carrier->frame.session, true);
}

static int opened(struct cv_carrier *carrier)
{
	const struct cv_carrier_config *config = &carrier->config;
	struct cv_stream *stream = cv_stream_find(carrier, carrier->frame.session);
	int reason = 0;

	if (config->role == CV_CARRIER_CLIENT)
		return 0; /* nobody is there for it: its data is skipped (Mux.Cool 2.1) */
	if (config->refuses_streams && carrier->frame.network == CV_MUX_TCP)
		return CV_PEER_FLOW;
	if (stream) { /* what comes for the one would be taken for the other's: both end */
		cv_stream_lose(stream, CV_PEER_UNEXPECTED_MESSAGE);
		reason = CV_PEER_UNEXPECTED_MESSAGE;
	} else if (carrier->stream_count >= config->max_streams) {
		reason = CV_POLICY_SESSION_LIMIT;
	} else {
		reason = config->opened(carrier, &carrier->frame);
	}
	carrier->unknown_said &= carrier->unknown_id != carrier->frame.session;
	if (reason)
		return refuse(carrier, reason);
	carrier->reader = cv_stream_find(carrier, carrier->frame.session);
	return 0;
}

/* Nothing can be said on it any more; what was said before is still there. */
static void ended(struct cv_carrier *carrier, struct cv_stream *stream)
{
	cv_stream_over(stream);
	if (!stream->leg) {
		stream->lost_reason = carrier->frame.is_error ? CV_UPSTREAM_RESET : 0;
	} else if (carrier->frame.is_error) {
		stream->leg->facts |= CV_LEG_RESET;
	} else {
		stream->leg->facts |= CV_LEG_FIN_RECEIVED | CV_LEG_FIN_WANTED | CV_LEG_FIN_SENT;
		cv_buffer_consume(&stream->leg->out, cv_buffer_len(&stream->leg->out));
	}
	cv_stream_wake(stream);
}

static bool is_too_long(const struct cv_carrier *carrier)
{
	return carrier->reader && carrier->reader->owner.received &&
	       carrier->frame.data_bytes > CV_MUX_DATAGRAM_MAX;
}

static int begin_frame(struct cv_carrier *carrier)
{
	struct cv_stream *stream;
	int error = 0;

	carrier->reader = NULL;
	cv_buffer_consume(&carrier->datagram, cv_buffer_len(&carrier->datagram));
	carrier->data_left_bytes = carrier->frame.data_bytes;
	switch (carrier->frame.status) {
	case CV_MUX_NEW:
		error = opened(carrier);
		break;
	case CV_MUX_KEEP:
		carrier->reader = cv_stream_find(carrier, carrier->frame.session);
		if (!carrier->reader)
			error = unknown(carrier);
		break;
	case CV_MUX_END:
		stream = cv_stream_find(carrier, carrier->frame.session);
		if (stream)
			ended(carrier, stream);
		break;
	case CV_MUX_KEEP_ALIVE:
		break;
	}
	if (!error && is_too_long(carrier))
		return CV_PEER_TOO_LONG; /* the peers we know end the carrier as well */
	if (!error && carrier->reader && carrier->reader->owner.received &&
	    carrier->frame.has_data && carrier->data_left_bytes == 0) {
		struct cv_span none = cv_span_of(NULL, 0);

		error = to_datagram(carrier, &none);
		if (!error)
			datagram_is_whole(carrier, carrier->reader);
	}
	return error;
}

/* 0: everything is used; -EAGAIN: a header is not all there; -EBUSY: blocked; or a reason. */
static int read_frames(struct cv_carrier *carrier)
{
	int result = 0;

	while (result == 0) {
		size_t header_bytes;

		if (carrier->data_left_bytes > 0) {
			if (cv_buffer_len(&carrier->in) == 0)
				return -EAGAIN;
			result = read_data(carrier);
			continue;
		}
		result = cv_mux_frame_read(cv_buffer_span(&carrier->in), carrier->config.kind,
					   &carrier->frame, &header_bytes);
		if (result)
			return result;
		cv_buffer_consume(&carrier->in, header_bytes);
		result = begin_frame(carrier);
	}
	return result;
}

/* More for in. 0: some; -EAGAIN; CV_LAYER_EOF; or a layer's reason. */
static int decode(struct cv_carrier *carrier)
{
	const size_t before = cv_buffer_len(&carrier->in);
	int result;

	if (carrier->wire->facts & CV_LEG_APP_ENDED)
		return CV_LAYER_EOF;
	result = cv_leg_decode(carrier->wire, &carrier->in);
	carrier->received_bytes += cv_buffer_len(&carrier->in) - before;
	if (result != CV_LAYER_EOF)
		return result;
	carrier->wire->facts |= CV_LEG_APP_ENDED;
	return cv_buffer_len(&carrier->in) > before ? 0 : CV_LAYER_EOF;
}

int cv_carrier_read(struct cv_carrier *carrier)
{
	int result = carrier->blocker ? -EBUSY : 0;

	while (result == 0) {
		result = read_frames(carrier);
		if (result == -EAGAIN)
			result = decode(carrier);
	}
	cv_buffer_release_if_empty(&carrier->in);
	cv_buffer_release_if_empty(&carrier->datagram);
	return result == -EAGAIN || result == -EBUSY ? 0 : result;
}
