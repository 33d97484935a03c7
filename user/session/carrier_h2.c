// SPDX-License-Identifier: MIT
/*
 * carrier_h2.c - HTTP/2 with streams that are clients' connections: each becomes a session that
 * expects a request, as if it had come by a socket.
 *
 *   EXPECT_TRANSPORT  bytes -> nghttp2 -> a request for us: the session is a carrier
 *   CARRIER           DATA -> leg.in     what the leg has used opens its window again
 *                     leg.out -> DATA    when the client's windows and the wire have room
 *                     END_STREAM is the FIN of either direction, RST_STREAM a reset
 *
 * Unlike Mux.Cool there is flow control: a stream that is not read holds nobody up, and needs no
 * more than its window; all together no more than the connection's.
 */
#include "session/carrier_h2.h"

#include "base/reason.h"
#include "protocol/h2_server.h"
#include "session/carrier_state.h"
#include "session/handshake.h"
#include "session/steps.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define STREAMS_MAX 128 /* of one connection */

struct cv_carrier_h2 {
	struct cv_h2_server *server;
};

/* A client's streams have odd numbers. */
static uint16_t id_of(int32_t stream)
{
	return (uint16_t)(stream >> 1);
}

static int32_t number_of(uint16_t id)
{
	return (int32_t)id * 2 + 1;
}

/* ---- what nghttp2 tells ------------------------------------------------------------------- */

static int begin_session(struct cv_carrier *carrier, int32_t number)
{
	struct cv_worker *worker = carrier->streams->worker;
	struct cv_session *session =
		cv_session_without_client(worker, carrier->session->inbound);
	struct cv_stream *stream;
	int reason;

	if (!session)
		return CV_POLICY_SESSION_LIMIT;
	cv_session_begin_with(session, carrier->session->config);
	stream = cv_stream_new(carrier, id_of(number));
	reason = stream ? cv_carrier_inherit_ends(session, carrier->session) : CV_INTERNAL_MEMORY;
	if (stream)
		cv_stream_attach(stream, &session->client);
	session->handshake->is_carried = true;
	session->depth++;
	if (!reason)
		cv_step_request_begin(session);
	session->depth--;
	if (stream)
		cv_stream_wake(stream);
	if (!reason)
		return 0;
	if (stream) /* refused without a word of its own */
		cv_stream_over(stream);
	cv_session_close(session, reason);
	if (!stream)
		cv_session_event(session, NULL, 0);
	return reason;
}

static int opened(void *context, int32_t number)
{
	struct cv_carrier *carrier = context;
	const int reason = begin_session(carrier, number);

	if (reason)
		cv_worker_count(carrier->streams->worker, reason);
	return reason;
}

static int received(void *context, int32_t number, struct cv_span bytes)
{
	struct cv_carrier *carrier = context;
	struct cv_stream *stream = cv_stream_find(carrier, id_of(number));
	int error;

	if (!stream || !stream->leg || (stream->leg->facts & CV_LEG_RESET)) {
		cv_carrier_h2_used(carrier, id_of(number), bytes.len_bytes);
		return 0;
	}
	(void)cv_stream_recount(stream);
	error = cv_buffer_append(&stream->leg->in, bytes.data, bytes.len_bytes);
	if (error)
		return error;
	stream->counted_bytes += bytes.len_bytes;
	carrier->input_bytes += bytes.len_bytes;
	if (carrier->input_bytes > carrier->input_most_bytes)
		carrier->input_most_bytes = carrier->input_bytes;
	stream->received_ms = cv_carrier_now_ms(carrier);
	stream->leg->session->last_activity_ms = stream->received_ms;
	cv_stream_wake(stream);
	return 0;
}

static void ended(void *context, int32_t number)
{
	struct cv_stream *stream = cv_stream_find(context, id_of(number));

	if (!stream || !stream->leg)
		return;
	stream->leg->facts |= CV_LEG_FIN_RECEIVED;
	cv_stream_wake(stream);
}

static void closed(void *context, int32_t number, bool is_reset)
{
	struct cv_stream *stream = cv_stream_find(context, id_of(number));
	struct cv_leg *leg = stream ? stream->leg : NULL;

	if (!stream)
		return;
	cv_stream_over(stream);
	if (!leg)
		return;
	if (is_reset && (leg->facts & (CV_LEG_FIN_RECEIVED | CV_LEG_FIN_SENT)) !=
				(CV_LEG_FIN_RECEIVED | CV_LEG_FIN_SENT))
		leg->facts |= CV_LEG_RESET;
	cv_stream_wake(stream);
}

/* Its session has reason to look: more may be read for it, or it waited for the last byte. */
static bool is_awaited(const struct cv_leg *leg, bool was_full)
{
	return was_full || (cv_buffer_len(&leg->out) == 0 &&
			    ((leg->facts & CV_LEG_FIN_WANTED) ||
			     leg->session->state != CV_SESSION_RELAY));
}

static size_t pull(void *context, int32_t number, uint8_t *to, size_t room_bytes,
		   bool *ret_is_last)
{
	struct cv_stream *stream = cv_stream_find(context, id_of(number));
	struct cv_leg *leg = stream ? stream->leg : NULL;
	size_t len = leg ? cv_buffer_len(&leg->out) : 0;
	bool was_full;

	if (!leg)
		return 0;
	was_full = !cv_leg_has_room(leg);
	if (len > room_bytes)
		len = room_bytes;
	if (len > 0) {
		memcpy(to, cv_buffer_bytes(&leg->out), len);
		cv_buffer_consume(&leg->out, len);
		leg->session->last_activity_ms = cv_carrier_now_ms(context);
	}
	cv_buffer_release_if_empty(&leg->out);
	*ret_is_last = cv_buffer_len(&leg->out) == 0 && (leg->facts & CV_LEG_FIN_WANTED);
	if (*ret_is_last)
		leg->facts |= CV_LEG_FIN_SENT;
	if (is_awaited(leg, was_full))
		cv_stream_wake(stream);
	return len;
}

/* ---- beginning ---------------------------------------------------------------------------- */

static struct cv_carrier_h2 *new_h2(struct cv_carrier *carrier, bool is_strict)
{
	const struct cv_h2_server_owner owner = {
		.opened = opened,
		.received = received,
		.ended = ended,
		.closed = closed,
		.pull = pull,
		.context = carrier,
	};
	struct cv_carrier_h2 *h2 = calloc(1, sizeof(*h2));

	if (!h2)
		return NULL;
	h2->server = cv_h2_server_new(carrier->session->inbound->transport, is_strict,
				      STREAMS_MAX, &owner);
	return h2->server ? h2 : cv_carrier_h2_free(h2);
}

struct cv_carrier_h2 *cv_carrier_h2_free(struct cv_carrier_h2 *h2)
{
	if (h2)
		cv_h2_server_free(h2->server);
	free(h2);
	return NULL;
}

int cv_h2_begin(struct cv_session *session, bool is_strict)
{
	const struct cv_carrier_config config = {
		.role = CV_CARRIER_SERVER, .kind = CV_MUX_FORWARD, .max_streams = STREAMS_MAX};
	struct cv_carrier *carrier = cv_carrier_new(session, &config);

	session->handshake->carrier = carrier;
	if (carrier)
		carrier->h2 = new_h2(carrier, is_strict);
	return carrier && carrier->h2 ? 0 : CV_INTERNAL_MEMORY;
}

static int to_leg(void *context, struct cv_span bytes)
{
	struct cv_carrier *carrier = context;

	carrier->sent_bytes += bytes.len_bytes;
	return cv_leg_encode(carrier->wire, bytes);
}

static int to_answer(void *context, struct cv_span bytes)
{
	return cv_leg_encode(context, bytes);
}

int cv_h2_judge(struct cv_session *session, struct cv_span bytes)
{
	struct cv_carrier *carrier = session->handshake->carrier;
	const bool is_strict = session->inbound->fallback_count > 0;
	int result = cv_h2_server_read(carrier->h2->server, bytes), error = 0;

	if (result < 0)
		return result;
	if (carrier->total > 0) {
		cv_carrier_start(carrier, &session->client);
		return 1;
	}
	if (!is_strict) /* nobody else will answer: SETTINGS, 404 */
		error = cv_h2_server_write(carrier->h2->server, SIZE_MAX, to_answer,
					   &session->client);
	if (error)
		return error;
	return result == CV_LAYER_EOF ? CV_PEER_CLOSED : 0;
}

/* ---- the wire ----------------------------------------------------------------------------- */

int cv_carrier_h2_read(struct cv_carrier *carrier)
{
	int result = 0;

	while (result == 0) {
		struct cv_span bytes;

		if (carrier->wire->facts & CV_LEG_APP_ENDED)
			return CV_LAYER_EOF;
		result = cv_leg_decode(carrier->wire, &carrier->in);
		if (result == CV_LAYER_EOF)
			carrier->wire->facts |= CV_LEG_APP_ENDED;
		bytes = cv_buffer_span(&carrier->in);
		if (bytes.len_bytes > 0 && (result == 0 || result == CV_LAYER_EOF)) {
			const int error = cv_h2_server_read(carrier->h2->server, bytes);

			carrier->received_bytes += bytes.len_bytes;
			cv_buffer_consume(&carrier->in, bytes.len_bytes);
			result = error ? error : result;
		}
	}
	cv_buffer_release_if_empty(&carrier->in);
	return result == -EAGAIN ? 0 : result;
}

int cv_carrier_h2_write(struct cv_carrier *carrier)
{
	struct cv_h2_server *server = carrier->h2->server;
	struct cv_stream *stream;
	size_t queued;
	int error = 0;

	while ((stream = cv_list_first(&carrier->ready, struct cv_stream, ready))) {
		cv_list_remove(&stream->ready);
		cv_h2_server_resume(server, number_of(stream->id));
	}
	queued = cv_leg_queued(carrier->wire);
	if (queued < CV_LEG_OUT_HIGH)
		error = cv_h2_server_write(server, CV_LEG_OUT_HIGH - queued, to_leg, carrier);
	return error;
}

void cv_carrier_h2_end(struct cv_carrier *carrier, uint16_t id, bool is_error)
{
	cv_h2_server_reset(carrier->h2->server, number_of(id), is_error);
	cv_carrier_wake(carrier);
}

void cv_carrier_h2_used(struct cv_carrier *carrier, uint16_t id, size_t len_bytes)
{
	if (len_bytes == 0)
		return;
	cv_h2_server_used(carrier->h2->server, number_of(id), len_bytes);
	cv_carrier_wake(carrier);
}
