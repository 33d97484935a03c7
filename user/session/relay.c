// SPDX-License-Identifier: MIT
/*
 * relay.c - moving bytes, each direction for itself.
 *
 *   while layers are needed:   recv -> decode -> encode -> send (user space, a batch at a time)
 *   source and sink are CLEAR, nothing of the direction is left in user space: engine.start()
 *   source ended:              encode_eof, flush, FIN to the sink; the other direction goes on
 *
 * Law 1: an engine starts only when in, pending and out are empty and no recv or send is in flight.
 * Law 2: one direction's end sends FIN one way and touches nothing else.
 * Law 3: idle time and counters ask the engines (cv_session_idle_since_ms, cv_session_bytes).
 *
 * A reset of either socket ends the session; the other side sees a reset too, after it has got what
 * came before. Fallback with rate limits stays in user space: the bucket is asked after each batch.
 */
#include "session/carrier.h"
#include "session/datagram_carrier.h"
#include "session/handover.h"
#include "session/handover_ktls.h"
#include "session/handshake.h"
#include "session/session_edge.h"
#include "session/session_front.h"
#include "session/session_http.h"
#include "session/session_limits.h"
#include "session/session_probe.h"
#include "session/steps.h"
#include "session/worker.h"

#include "base/log.h"
#include "base/reason.h"
#include "policy/rate_limit.h"

#include <errno.h>
#include <stdlib.h>

#define HEADER_HOLD_MS 500
#define STREAM_HOLD_MS 100 /* of a stream that is to be opened */
/* Without half-close: one side has said all, or has left, which is not to be told from it, and the
 * other is silent: as long as others give it then. */
#define HALF_OVER_MS 5000
#define LEAVING_MS 30000 /* all is said; what a server allows to be sent comes seldom */
#define FALLBACK_CAP_MS (3600u * 1000u)
#define NO_EVENT UINT64_MAX

struct cv_fallback_limit {
	struct cv_rate_bucket bucket[2];
	uint64_t resume_ms[2]; /* that direction is not read before */
};

int cv_session_limit(struct cv_session *session, const struct cv_rate_limit *upload,
		     const struct cv_rate_limit *download)
{
	uint64_t now_ms = cv_ring_now_ms(session->worker->ring);

	if (upload->bytes_per_s == 0 && download->bytes_per_s == 0)
		return 0;
	session->limit = calloc(1, sizeof(*session->limit));
	if (!session->limit)
		return CV_INTERNAL_MEMORY;
	cv_rate_limit_init(&session->limit->bucket[CV_UPLINK], upload, now_ms);
	cv_rate_limit_init(&session->limit->bucket[CV_DOWNLINK], download, now_ms);
	return 0;
}

static bool direction_ended(struct cv_session *session, enum cv_direction direction)
{
	const struct cv_leg *sink = cv_session_sink(session, direction);

	return session->flow_ended[direction] || (sink->facts & CV_LEG_FIN_SENT) ||
	       ((sink->facts & CV_LEG_END_SAID) && cv_leg_queued(sink) == 0);
}

static bool says_no_more(const struct cv_leg *leg)
{
	return (leg->facts & (CV_LEG_FIN_RECEIVED | CV_LEG_APP_ENDED)) != 0;
}

/* The client has said all, and the carrier of its bytes has no half-close: saying it would end the
 * answer too. It is said when the answer is over. */
static bool end_is_deferred(const struct cv_session *session)
{
	return (session->client.facts & CV_LEG_APP_ENDED) && !says_no_more(&session->upstream) &&
	       !(session->upstream.facts & CV_LEG_FIN_WANTED) &&
	       cv_leg_ending(&session->upstream) == CV_ENDS_BOTH;
}

/* One side said goodbye for both directions, and what it said is passed on. */
static bool is_over(struct cv_session *session)
{
	return (cv_leg_is_over(&session->client) && direction_ended(session, CV_UPLINK)) ||
	       (cv_leg_is_over(&session->upstream) && direction_ended(session, CV_DOWNLINK));
}

static bool has_ended(struct cv_session *session)
{
	return direction_ended(session, CV_UPLINK) && direction_ended(session, CV_DOWNLINK);
}

/* ---- deadlines ---------------------------------------------------------------------------- */

static uint64_t idle_limit_ms(struct cv_session *session)
{
	const struct cv_level *level = cv_session_level(session);

	if (session->is_fallback && !session->user)
		return FALLBACK_CAP_MS; /* observable: the target's own time-outs must come first */
	if (has_ended(session)) /* but for the upstream's FIN */
		return LEAVING_MS;
	if (end_is_deferred(session))
		return level->downlink_only_ms ? level->downlink_only_ms : HALF_OVER_MS;
	if (direction_ended(session, CV_DOWNLINK) && !level->uplink_only_ms &&
	    cv_leg_ending(&session->client) == CV_ENDS_BOTH)
		return HALF_OVER_MS;
	if (direction_ended(session, CV_DOWNLINK) && level->uplink_only_ms)
		return level->uplink_only_ms;
	if (direction_ended(session, CV_UPLINK) && level->downlink_only_ms)
		return level->downlink_only_ms;
	return level->idle_ms;
}

static uint64_t limit_resume_ms(struct cv_session *session)
{
	uint64_t first_ms = NO_EVENT, now_ms = cv_ring_now_ms(session->worker->ring);

	for (int d = CV_UPLINK; session->limit && d <= CV_DOWNLINK; d++)
		if (session->limit->resume_ms[d] > now_ms &&
		    session->limit->resume_ms[d] < first_ms)
			first_ms = session->limit->resume_ms[d];
	return first_ms;
}

static void arm_relay(struct cv_session *session)
{
	uint64_t due_ms = cv_session_idle_since_ms(session) + idle_limit_ms(session);
	uint64_t resume_ms = limit_resume_ms(session);

	if (session->header_held && session->due_ms < due_ms)
		due_ms = session->due_ms;
	cv_timer_arm(session->worker->ring, &session->timer,
		     resume_ms < due_ms ? resume_ms : due_ms);
}

static int flush_header(struct cv_session *session)
{
	session->header_held = false;
	return cv_leg_flush_held(&session->upstream);
}

void cv_step_relay_timer(struct cv_session *session)
{
	uint64_t now_ms = cv_ring_now_ms(session->worker->ring);
	int error = 0;

	if (session->header_held && now_ms >= session->due_ms)
		error = flush_header(session);
	if (error)
		cv_session_close(session, error);
	else if (now_ms < cv_session_idle_since_ms(session) + idle_limit_ms(session))
		arm_relay(session);
	else if (end_is_deferred(session)) /* the step follows and says so to both */
		session->upstream.facts |= CV_LEG_APP_ENDED;
	else
		cv_session_close(session, has_ended(session) ? 0 : CV_POLICY_IDLE);
}

/* ---- end of a direction, end of all ------------------------------------------------------- */

static void fail(struct cv_session *session, struct cv_leg *leg, int error)
{
	bool is_client = leg == &session->client;
	bool reset = (leg->facts & CV_LEG_RESET) != 0;

	if (reset)
		error = is_client ? CV_PEER_RESET : CV_UPSTREAM_RESET;
	/* What broke off in the middle must not look whole to the other side. */
	if (is_client)
		session->abort_upstream = true;
	else
		session->abort_client = true;
	if (is_client && reset)
		cv_session_close(session, error);
	else
		cv_session_finish(session, error); /* what was said before goes out first */
}

/* ---- one direction ------------------------------------------------------------------------ */

/* Much is sent while it is still in the cache; what the socket does not take ends the batch. */
static bool has_room(struct cv_leg *sink)
{
	if (!cv_leg_has_room(sink))
		cv_leg_flush_bulk(sink);
	return cv_leg_has_room(sink);
}

/* What is next to be passed on; without layers it stays where it is. As cv_leg_decode(). */
static int take_batch(struct cv_leg *source, struct cv_buffer *app, struct cv_span *ret_bytes)
{
	int result = 0;

	if (!source->stack && cv_buffer_len(&source->in) > 0) {
		*ret_bytes = cv_buffer_span(&source->in);
		if (ret_bytes->len_bytes > CV_LEG_BATCH)
			ret_bytes->len_bytes = CV_LEG_BATCH;
		return 0;
	}
	result = cv_leg_decode(source, app);
	*ret_bytes = cv_buffer_span(app);
	return result;
}

static void batch_taken(struct cv_leg *source, struct cv_buffer *app, struct cv_span bytes)
{
	struct cv_buffer *place = cv_buffer_len(app) > 0 ? app : &source->in;

	cv_buffer_consume(place, bytes.len_bytes);
	if (place != app)
		cv_buffer_release_if_empty(place);
}

/* Returns 0 when nothing more can be done now, or the reason that ended the session's life. */
static int move_batches(struct cv_session *session, enum cv_direction direction)
{
	struct cv_leg *source = cv_session_source(session, direction),
		      *sink = cv_session_sink(session, direction);
	struct cv_buffer *app = &session->worker->app;
	int result = 0;

	while (result == 0 && has_room(sink)) {
		struct cv_span batch;
		size_t app_bytes;
		int error = 0;

		result = take_batch(source, app, &batch);
		app_bytes = batch.len_bytes;
		if (app_bytes && !cv_leg_is_over(sink)) /* else nobody would hear it */
			error = cv_leg_encode(sink, batch);
		batch_taken(source, app, batch);
		session->user_moved_bytes[direction] += app_bytes;
		if (app_bytes && direction == CV_UPLINK)
			session->header_held = false;
		if (app_bytes && session->limit) {
			uint64_t now_ms = cv_ring_now_ms(session->worker->ring);

			session->limit->resume_ms[direction] =
				now_ms + cv_rate_limit_take(&session->limit->bucket[direction],
							    (uint32_t)app_bytes, now_ms);
		}
		if (error)
			return error;
		if (result == CV_LAYER_EOF)
			source->facts |= CV_LEG_APP_ENDED;
		if (result == CV_LAYER_EOF && cv_leg_ending(source) != CV_ENDS_INSIDE)
			/* nothing counts that comes after it */
			cv_buffer_consume(&source->in, cv_buffer_len(&source->in));
	}
	return result < 0 && result != -EAGAIN ? result : 0;
}

static int end_of_source(struct cv_session *session, struct cv_leg *source, struct cv_leg *sink)
{
	bool is_uplink = source == &session->client;
	int error = cv_leg_decode_eof(source,
				      is_uplink ? CV_PEER_TRUNCATED : CV_UPSTREAM_TRUNCATED);

	if (!error && !(source->facts & CV_LEG_APP_ENDED) && cv_leg_rx_protected(source))
		cv_ktls_note_truncation(session, is_uplink ? CV_UPLINK : CV_DOWNLINK);
	source->facts |= CV_LEG_APP_ENDED;
	if (!error && session->header_held && is_uplink)
		error = flush_header(session);
	if (error || (is_uplink && end_is_deferred(session)))
		return error;
	error = cv_leg_encode_eof(sink);
	if (!error) /* else the other side must not take it for the end */
		sink->facts |= cv_leg_ending(sink) == CV_ENDS_INSIDE ? CV_LEG_END_SAID
								     : CV_LEG_FIN_WANTED;
	return error;
}

static void read_more(struct cv_session *session, enum cv_direction direction)
{
	struct cv_leg *source = cv_session_source(session, direction);

	if (cv_leg_has_room(cv_session_sink(session, direction)) &&
	    !(source->facts & CV_LEG_APP_ENDED))
		cv_leg_recv(source);
}

/* The end of what @leg says was inside its carrier, which still tells us what may be sent on it. */
static int keep_up(struct cv_session *session, struct cv_leg *leg)
{
	struct cv_buffer *app = &session->worker->app;
	int result = 0;

	if (!(leg->facts & CV_LEG_APP_ENDED) || cv_leg_is_over(leg) || cv_leg_has_rest(leg) ||
	    cv_leg_ending(leg) != CV_ENDS_INSIDE)
		return 0;
	while (result == 0) {
		result = cv_leg_decode(leg, app);
		cv_buffer_consume(app, cv_buffer_len(app)); /* nobody is there to read it */
	}
	if (result == -EAGAIN)
		cv_leg_recv(leg);
	return result == -EAGAIN || result == CV_LAYER_EOF ? 0 : result;
}

static void run_direction(struct cv_session *session, enum cv_direction direction)
{
	struct cv_leg *source = cv_session_source(session, direction),
		      *sink = cv_session_sink(session, direction);
	int error = keep_up(session, sink);

	if (error) {
		fail(session, sink, error);
		return;
	}
	if (session->flow_active[direction] &&
	    (sink->facts & (CV_LEG_FIN_RECEIVED | CV_LEG_APP_ENDED)))
		cv_flow_watch_sink(&session->flow[direction]); /* its reader has left */
	if (session->flow_active[direction] || direction_ended(session, direction) ||
	    (sink->facts & CV_LEG_SEND_FAILED))
		return;
	if (session->limit &&
	    session->limit->resume_ms[direction] > cv_ring_now_ms(session->worker->ring))
		return;
	if (!(source->facts & CV_LEG_APP_ENDED) || cv_leg_has_rest(source))
		error = move_batches(session, direction);
	if (!error && (source->facts & (CV_LEG_APP_ENDED | CV_LEG_FIN_RECEIVED)) &&
	    !(sink->facts & (CV_LEG_FIN_WANTED | CV_LEG_END_SAID)) &&
	    cv_leg_has_room(sink))
		error = end_of_source(session, source, sink);
	if (error) {
		fail(session, source, error);
		return;
	}
	cv_leg_settle(source);
	cv_leg_settle(sink);
	if (cv_leg_has_room(sink)) /* else there is more to come, which a completion has to tell */
		cv_leg_flush_bulk(sink);
	cv_leg_flush(sink);
	if (!cv_handover_is_due(session, direction))
		read_more(session, direction);
	else if (cv_handover_is_drained(session, direction))
		cv_handover_start(session, direction);
	else /* no further; the rest or the send's completion brings us back here */
		cv_handover_read_rest(session, direction);
}

/* Ends the session if the upstream takes nothing more and all that it said is said. */
static void fail_if_upstream_is_lost(struct cv_session *session)
{
	if ((session->upstream.facts & CV_LEG_SEND_FAILED) &&
	    direction_ended(session, CV_DOWNLINK)) /* its FIN goes out before our RST */
		session->upstream.facts |= CV_LEG_RESET;
	if (!(session->upstream.facts & CV_LEG_RESET))
		return;
	if (!session->flow_active[CV_DOWNLINK])
		(void)move_batches(session, CV_DOWNLINK);
	fail(session, &session->upstream, CV_UPSTREAM_RESET);
}

/* Who ends a stream, or a carrier that says its end inside, ends both directions at once, while the
 * socket on the other side may still speak: closed on, it would answer with a reset, which destroys
 * what was just delivered. */
static bool ends_gently(const struct cv_session *session)
{
	const struct cv_leg *socket =
		session->client.stream ? &session->upstream : &session->client;
	const bool is_stream = session->client.stream || session->upstream.stream;

	return (is_stream && !(socket->facts & CV_LEG_FIN_RECEIVED)) ||
	       cv_leg_ending(&session->client) != CV_ENDS_BY_FIN ||
	       cv_leg_is_over(&session->upstream);
}

static void end(struct cv_session *session)
{
	if (ends_gently(session))
		cv_session_finish(session, 0);
	else
		cv_session_close(session, 0);
}

/* Its end was said inside: it takes what is still on the way to it, and says what it allows us to
 * send meanwhile. Read by nobody, that would be answered with a reset, which destroys what is on
 * the way: so it leaves first. */
static bool waits_for_upstream(struct cv_session *session)
{
	struct cv_leg *upstream = &session->upstream;
	/* over inside, and the last of it is not in the socket yet */
	const bool is_going_out = (upstream->facts & CV_LEG_END_SAID) && cv_leg_is_over(upstream) &&
				  direction_ended(session, CV_DOWNLINK);

	if (cv_leg_ending(upstream) != CV_ENDS_INSIDE || !(has_ended(session) || is_going_out) ||
	    (upstream->facts & (CV_LEG_FIN_RECEIVED | CV_LEG_RESET | CV_LEG_SEND_FAILED)))
		return false;
	if (!(upstream->facts & CV_LEG_FIN_WANTED))
		(void)cv_leg_encode_eof(upstream);
	upstream->facts |= CV_LEG_FIN_WANTED;
	cv_buffer_consume(&upstream->in, cv_buffer_len(&upstream->in));
	cv_leg_recv(upstream);
	arm_relay(session);
	return true;
}

void cv_step_relay(struct cv_session *session)
{
	bool was_deferred;
	int error = 0;

	fail_if_upstream_is_lost(session);
	if (session->state != CV_SESSION_RELAY)
		return;
	if (session->client.facts & CV_LEG_RESET) {
		fail(session, &session->client, CV_PEER_RESET);
		return;
	}
	if (session->flow_reason) {
		fail(session, session->flow_failed_client ? &session->client : &session->upstream,
		     session->flow_reason);
		return;
	}
	run_direction(session, CV_UPLINK);
	was_deferred = session->state == CV_SESSION_RELAY && end_is_deferred(session);
	if (session->state == CV_SESSION_RELAY)
		run_direction(session, CV_DOWNLINK);
	if (session->state == CV_SESSION_RELAY && was_deferred && !end_is_deferred(session))
		run_direction(session, CV_UPLINK);
	if (session->state == CV_SESSION_RELAY) /* its end may be of just now */
		error = keep_up(session, &session->upstream);
	if (error)
		fail(session, &session->upstream, error);
	if (session->state == CV_SESSION_RELAY)
		fail_if_upstream_is_lost(session);
	if (session->state != CV_SESSION_RELAY)
		return;
	if (waits_for_upstream(session))
		return;
	if (has_ended(session) || is_over(session)) {
		end(session);
		return;
	}
	if (direction_ended(session, CV_UPLINK) || direction_ended(session, CV_DOWNLINK) ||
	    was_deferred || (session->limit && limit_resume_ms(session) != NO_EVENT))
		arm_relay(session); /* these change what the timer waits for */
}

void cv_session_relay(struct cv_session *session)
{
	int error;

	cv_edge_leave(session);
	if (session->handshake->carrier) {
		cv_carrier_ready(session);
		return;
	}
	if (cv_probe_is(session)) {
		cv_probe_ready(session);
		return;
	}
	if (cv_udp_carrier_is(session)) {
		cv_udp_carrier_ready(session);
		return;
	}
	if (cv_http_is_forward(session)) {
		cv_http_exchange_begin(session);
		return;
	}
	error = cv_front_relay(session);
	if (error) {
		cv_session_close(session, error);
		return;
	}
	session->state = CV_SESSION_RELAY;
	session->handshake = cv_handshake_free(session->handshake);
	/* they hold what was said to come in, and nothing cleans them while the kernel relays */
	cv_buffer_release_if_empty(&session->client.in);
	cv_buffer_release_if_empty(&session->upstream.in);
	session->last_activity_ms = cv_ring_now_ms(session->worker->ring);
	session->due_ms = session->last_activity_ms +
			  (session->upstream.stream ? STREAM_HOLD_MS : HEADER_HOLD_MS);
	cv_stream_leg_relays(session);
	cv_limits_relay(session);
	arm_relay(session);
}
