// SPDX-License-Identifier: MIT
/*
 * datagram_carrier.c - a VLESS stream of ours for datagrams, and the session that it is.
 *
 *   carrier   IDLE --datagram--> DIALLING (datagrams wait) --> READY --stream ends--> HELD, IDLE
 *                                    \--failed--> HELD: longer each time, up to 8 s --^
 *   session   ROUTE.. as any other -> CARRIER: frames <-> datagrams -> FINISH
 *
 * Either may end first: the carrier with its association, the session with its connection; each
 * then lets go of the other. Nothing is freed under somebody who still uses it: a session goes by a
 * timer of its own, a carrier in whose functions somebody is, when that one leaves.
 */
#include "session/datagram_carrier.h"

#include "session/datagram_frames.h"
#include "session/handshake.h"
#include "session/steps.h"
#include "session/waiting.h"
#include "session/worker.h"

#include "base/log.h"
#include "base/reason.h"
#include "protocol/upstream_reason.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define HOLD_MS 500 /* after the first failure; doubled with each */
#define HOLD_MAX_MS 8000
#define SETTLED_MS 1000 /* a stream that lived longer did not fail */
#define IDLE_MS 60000

enum state { IDLE, DIALLING, READY, HELD };

struct cv_datagram_carrier {
	struct cv_datagram_carrier_config config;
	struct cv_destination only;
	bool is_xudp, has_global_id;
	uint8_t global_id[CV_MUX_GLOBAL_ID_BYTES];
	enum state state;
	struct cv_session *stream; /* NULL: none */
	struct cv_datagram_frames frames;
	struct cv_buffer waiting;
	uint64_t held_until_ms, ready_ms, used_ms;
	uint32_t hold_ms;
	struct cv_datagram_carrier *next_dirty;
	bool is_dirty;
	bool is_freed;
	unsigned depth;
};

static const struct cv_inbound nobody = {.tag = (char[]){"datagrams"},
					 .protocol = CV_INBOUND_VLESS};

bool cv_udp_carrier_is(const struct cv_session *session)
{
	return session->inbound == &nobody;
}

static uint64_t now_ms(const struct cv_datagram_carrier *carrier)
{
	return cv_ring_now_ms(carrier->config.session->worker->ring);
}

static struct cv_datagram_carrier *carrier_of(const struct cv_session *session)
{
	if (session->handshake)
		return session->handshake->udp_carrier;
	return session->state == CV_SESSION_UDP_CARRIER ? session->udp_carrier : NULL;
}

const struct cv_outbound *cv_datagram_carrier_outbound(const struct cv_datagram_carrier *carrier)
{
	return carrier->config.outbound;
}

/* ---- who may still use it ----------------------------------------------------------------- */

static void release(struct cv_datagram_carrier *carrier)
{
	if (carrier->depth == 0 && carrier->is_freed)
		free(carrier);
}

static void enter(struct cv_datagram_carrier *carrier)
{
	carrier->depth++;
}

/* False: it is gone, or goes now. */
static bool leave(struct cv_datagram_carrier *carrier)
{
	const bool stays = !carrier->is_freed;

	carrier->depth--;
	release(carrier);
	return stays;
}

/* ---- list of those to be flushed ---------------------------------------------------------- */

static void mark_dirty(struct cv_datagram_carrier *carrier)
{
	if (carrier->is_dirty)
		return;
	carrier->is_dirty = true;
	carrier->next_dirty = *carrier->config.dirty;
	*carrier->config.dirty = carrier;
}

static void unmark_dirty(struct cv_datagram_carrier *carrier)
{
	struct cv_datagram_carrier **at = carrier->config.dirty;

	if (!carrier->is_dirty)
		return;
	while (*at != carrier)
		at = &(*at)->next_dirty;
	*at = carrier->next_dirty;
	carrier->is_dirty = false;
}

/* Outside of the stream's own events: what fails is told by one of those. */
static void flush(struct cv_datagram_carrier *carrier)
{
	struct cv_session *stream = carrier->stream;
	int error;

	if (carrier->state != READY)
		return;
	error = cv_datagram_frames_flush(&carrier->frames, &stream->upstream);
	if (error)
		cv_session_event(stream, &stream->upstream, error);
	else
		cv_leg_flush(&stream->upstream);
}

void cv_datagram_carriers_flush(struct cv_datagram_carrier **dirty)
{
	while (*dirty) {
		struct cv_datagram_carrier *carrier = *dirty;

		*dirty = carrier->next_dirty;
		carrier->is_dirty = false;
		enter(carrier);
		flush(carrier);
		(void)leave(carrier);
	}
}

/* ---- the stream begins -------------------------------------------------------------------- */

static void hold(struct cv_datagram_carrier *carrier)
{
	carrier->state = HELD;
	carrier->hold_ms = carrier->hold_ms ? carrier->hold_ms * 2 : HOLD_MS;
	if (carrier->hold_ms > HOLD_MAX_MS)
		carrier->hold_ms = HOLD_MAX_MS;
	carrier->held_until_ms = now_ms(carrier) + carrier->hold_ms;
}

/* There may be a way around. */
static void give_back(struct cv_datagram_carrier *carrier)
{
	struct cv_destination name;
	uint8_t *bytes;
	size_t len_bytes;

	while (!carrier->is_freed && cv_waiting_next(&carrier->waiting, &name, &bytes, &len_bytes))
		carrier->config.lost(carrier->config.near.owner, &name, bytes, len_bytes);
}

static void dial(struct cv_datagram_carrier *carrier)
{
	struct cv_session *session = carrier->config.session;
	struct cv_session *stream = cv_session_without_client(session->worker, &nobody);

	if (!stream) {
		hold(carrier);
		give_back(carrier);
		return;
	}
	cv_session_begin_with(stream, session->config); /* a reload may have been meanwhile */
	carrier->state = DIALLING;
	carrier->stream = stream;
	stream->handshake->udp_carrier = carrier;
	stream->handshake->destination =
		carrier->is_xudp ? carrier->config.outbound->server : carrier->only;
	cv_session_name_destination(stream, &stream->handshake->destination, NULL);
	stream->outbound = carrier->config.outbound;
	stream->depth++;
	cv_step_dial(stream);
	stream->depth--;
	cv_session_event(stream, NULL, 0);
}

void cv_udp_carrier_request(const struct cv_session *session, struct cv_vless_request *request)
{
	const struct cv_datagram_carrier *carrier = carrier_of(session);

	request->command = carrier->is_xudp ? CV_VLESS_MUX : CV_VLESS_UDP;
	request->destination = carrier->only;
}

static void begin_frames(struct cv_datagram_carrier *carrier)
{
	cv_datagram_frames_done(&carrier->frames);
	cv_datagram_frames_init(&carrier->frames);
	if (carrier->is_xudp)
		cv_vless_udp_xudp_client(&carrier->frames.udp,
					 carrier->has_global_id ? carrier->global_id : NULL);
	else
		cv_vless_udp_plain(&carrier->frames.udp, &carrier->only);
}

static int keep(struct cv_datagram_carrier *carrier, const struct cv_destination *destination,
		const uint8_t *bytes, size_t len_bytes)
{
	const int result = cv_datagram_frames_keep(&carrier->frames, &carrier->stream->upstream,
						   destination, cv_span_of(bytes, len_bytes));

	return result == CV_INTERNAL_RESOURCE ? CV_UPSTREAM_SLOW : result;
}

void cv_udp_carrier_ready(struct cv_session *session)
{
	struct cv_datagram_carrier *carrier = carrier_of(session);
	struct cv_destination name;
	uint8_t *bytes;
	size_t len_bytes;
	int result;

	session->header_held = false; /* it goes with what waits */
	session->handshake = cv_handshake_free(session->handshake);
	session->state = CV_SESSION_UDP_CARRIER;
	session->udp_carrier = carrier;
	session->last_activity_ms = carrier->ready_ms = now_ms(carrier);
	cv_timer_disarm(session->worker->ring, &session->timer);
	carrier->state = READY;
	begin_frames(carrier);
	while (cv_waiting_next(&carrier->waiting, &name, &bytes, &len_bytes)) {
		result = keep(carrier, &name, bytes, len_bytes);
		if (result)
			cv_worker_count(session->worker, result);
	}
	result = cv_datagram_frames_flush(&carrier->frames, &session->upstream);
	if (result)
		cv_session_close(session, result);
}

/* ---- the stream lives --------------------------------------------------------------------- */

static void take(void *owner, const struct cv_destination *address, uint8_t *bytes,
		 size_t len_bytes)
{
	struct cv_datagram_carrier *carrier = owner;

	if (carrier->is_freed)
		return;
	carrier->used_ms = now_ms(carrier);
	carrier->config.near.deliver(carrier->config.near.owner, address, bytes, len_bytes);
}

/* As cv_datagram_frames_read(); -ECANCELED: the carrier was freed, and its session is ending. */
static int read_some(struct cv_session *session, struct cv_datagram_carrier *carrier)
{
	const struct cv_datagram_taker taker = {.take = take, .owner = carrier};
	int result;

	enter(carrier);
	result = cv_datagram_frames_read(&carrier->frames, &session->upstream,
					 &session->worker->app, &taker);
	if (!carrier->is_freed && carrier->config.near.flush)
		carrier->config.near.flush(carrier->config.near.owner);
	return leave(carrier) ? result : -ECANCELED;
}

/* Why the stream ends, or -EAGAIN: it does not. */
static int end_of_stream(const struct cv_session *session, int result)
{
	const struct cv_leg *upstream = &session->upstream;

	if (upstream->facts & (CV_LEG_RESET | CV_LEG_SEND_FAILED))
		return CV_UPSTREAM_RESET;
	if (result == CV_LAYER_EOF)
		return 0;
	if (result == -EAGAIN && (upstream->facts & CV_LEG_FIN_RECEIVED))
		return cv_datagram_frames_end(&session->udp_carrier->frames, CV_UPSTREAM_TRUNCATED);
	if (result == CV_PEER_ADDRESS || result == CV_PEER_COMMAND)
		return CV_UPSTREAM_DECODE;
	return cv_upstream_reason(result);
}

void cv_step_udp_carrier(struct cv_session *session)
{
	int result = 0;

	while (result == 0) {
		result = read_some(session, session->udp_carrier);
		if (session->state != CV_SESSION_UDP_CARRIER)
			return;
	}
	result = end_of_stream(session, result);
	if (result == -EAGAIN)
		cv_leg_recv(&session->upstream);
	else
		cv_session_finish(session, result);
}

/* ---- the stream ends ---------------------------------------------------------------------- */

static void stream_ended(struct cv_datagram_carrier *carrier)
{
	const bool was_ready = carrier->state == READY;

	carrier->stream = NULL;
	if (was_ready && carrier->ready_ms + SETTLED_MS <= now_ms(carrier)) {
		carrier->state = IDLE;
		carrier->hold_ms = 0;
	} else {
		hold(carrier);
	}
	enter(carrier);
	give_back(carrier);
	(void)leave(carrier);
}

static void forget_carrier(struct cv_session *session)
{
	if (session->handshake)
		session->handshake->udp_carrier = NULL;
	else
		session->udp_carrier = NULL;
}

void cv_udp_carrier_leave(struct cv_session *session, int reason)
{
	struct cv_datagram_carrier *carrier =
		cv_udp_carrier_is(session) ? carrier_of(session) : NULL;

	if (!carrier)
		return;
	cv_log(reason ? CV_LOG_INFO : CV_LOG_DEBUG,
	       "outbound=%s: the stream for datagrams ended: %s (%s)",
	       carrier->config.outbound->tag, cv_reason_label(reason), cv_reason_text(reason));
	forget_carrier(session);
	stream_ended(carrier);
}

/* What was sent before goes out. The session is freed by a timer: whoever called may be looking
 * through a list of sessions, or be called by this one. */
static void let_go(struct cv_session *stream)
{
	forget_carrier(stream);
	stream->depth++;
	if (stream->state == CV_SESSION_UDP_CARRIER)
		(void)cv_leg_encode_eof(&stream->upstream);
	cv_session_finish(stream, 0);
	stream->depth--;
	cv_session_arm(stream, 0);
}

/* ---- life --------------------------------------------------------------------------------- */

int cv_datagram_carrier_send(struct cv_datagram_carrier *carrier,
			     const struct cv_destination *destination, const uint8_t *bytes,
			     size_t len_bytes)
{
	int result;

	carrier->used_ms = now_ms(carrier);
	if (carrier->state == READY) {
		result = keep(carrier, destination, bytes, len_bytes);
		mark_dirty(carrier);
		return result;
	}
	if (carrier->state == HELD && carrier->held_until_ms > now_ms(carrier))
		return CV_UPSTREAM_FAILED;
	result = cv_waiting_keep(&carrier->waiting, destination, bytes, len_bytes);
	if (carrier->state == DIALLING || result)
		return result;
	enter(carrier);
	dial(carrier);
	(void)leave(carrier);
	return 0;
}

void cv_datagram_carrier_tick(struct cv_datagram_carrier *carrier)
{
	struct cv_session *stream = carrier->stream;

	if (carrier->state != READY || carrier->used_ms + IDLE_MS > now_ms(carrier))
		return;
	carrier->stream = NULL;
	carrier->state = IDLE;
	let_go(stream);
}

struct cv_datagram_carrier *cv_datagram_carrier_new(const struct cv_datagram_carrier_config *config)
{
	struct cv_datagram_carrier *carrier = calloc(1, sizeof(*carrier));

	if (!carrier)
		return NULL;
	carrier->config = *config;
	carrier->is_xudp = config->only == NULL;
	carrier->has_global_id = config->global_id != NULL;
	if (config->only)
		carrier->only = *config->only;
	if (config->global_id)
		memcpy(carrier->global_id, config->global_id, sizeof(carrier->global_id));
	carrier->config.only = NULL; /* the caller's, as is the next */
	carrier->config.global_id = NULL;
	cv_datagram_frames_init(&carrier->frames);
	cv_buffer_init(&carrier->waiting, CV_WAITING_BYTES);
	return carrier;
}

struct cv_datagram_carrier *cv_datagram_carrier_free(struct cv_datagram_carrier *carrier)
{
	struct cv_session *stream;

	if (!carrier || carrier->is_freed)
		return NULL;
	stream = carrier->stream;
	carrier->is_freed = true;
	carrier->stream = NULL;
	unmark_dirty(carrier);
	if (stream && carrier->state == READY)
		(void)cv_datagram_frames_flush(&carrier->frames, &stream->upstream);
	if (stream)
		let_go(stream);
	cv_datagram_frames_done(&carrier->frames);
	cv_buffer_done(&carrier->waiting);
	release(carrier);
	return NULL;
}
