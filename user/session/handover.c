// SPDX-License-Identifier: MIT
/*
 * handover.c - a direction leaves user space, and comes back when its engine is done.
 *
 *   due:      source and sink are transparent     -> relay.c stops reading
 *   drained:  nothing of it is left in user space -> engine.start(), relay.c's part is over
 *   ended:    the engine's result becomes facts of the legs, the session goes on from these
 *
 * An end whose only layer is record protection is given to the kernel first (handover_ktls.c).
 * Law 1 is "drained"; laws 2 and 3 are the engine's.
 */
#include "session/handover.h"

#include "base/mutation.h"
#include "base/reason.h"
#include "engine/ktls.h"
#include "session/handover_ktls.h"
#include "session/worker.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static void flow_ended(struct cv_flow *flow, int result)
{
	struct cv_session *session;
	enum cv_direction direction = flow->owner_tag;

	session = direction == CV_DOWNLINK ? cv_container_of(flow, struct cv_session, flow[1])
					   : cv_container_of(flow, struct cv_session, flow[0]);
	session->flow_active[direction] = false;
	if (result == CV_FLOW_YIELDED && session->state == CV_SESSION_RELAY) {
		cv_handover_yielded(session, direction);
		cv_session_event(session, NULL, 0); /* who watches the sink is told again */
		return;
	}
	session->flow_ended[direction] = true;
	cv_session_source(session, direction)->received_bytes += (uint32_t)flow->moved_bytes;
	if (result == 0) {
		cv_session_source(session, direction)->facts |=
			CV_LEG_FIN_RECEIVED | CV_LEG_APP_ENDED;
		cv_session_sink(session, direction)->facts |= CV_LEG_FIN_WANTED | CV_LEG_FIN_SENT;
		session->last_activity_ms = cv_ring_now_ms(session->worker->ring);
		if (flow->source_tls && !flow->source_tls->close_notify_received)
			cv_ktls_note_truncation(session, direction);
	} else if (cv_reason_index(result) >= 0) {
		session->flow_reason = result;
		session->flow_failed_client =
			(flow->failed_side == CV_FLOW_SOURCE) == (direction == CV_UPLINK);
	} else if (result < 0 && result != -ECANCELED && flow->failed_side == CV_FLOW_SOURCE) {
		cv_session_source(session, direction)->facts |= CV_LEG_RESET;
	} else if (result < 0 && result != -ECANCELED) {
		cv_leg_send_failed(cv_session_sink(session, direction), result);
	}
	cv_session_event(session, NULL, 0);
}

static bool ends_are_clear(struct cv_session *session, enum cv_direction direction)
{
	return cv_leg_rx_clear(cv_session_source(session, direction)) &&
	       cv_leg_tx_clear(cv_session_sink(session, direction));
}

bool cv_handover_is_due(struct cv_session *session, enum cv_direction direction)
{
	const struct cv_leg *source = cv_session_source(session, direction);
	const struct cv_leg *sink = cv_session_sink(session, direction);

	return session->worker->engine && !session->limit && !session->flow_refused[direction] &&
	       !(source->facts & (CV_LEG_FIN_RECEIVED | CV_LEG_APP_ENDED | CV_LEG_RESET)) &&
	       !(sink->facts & (CV_LEG_FIN_WANTED | CV_LEG_RESET)) &&
	       (ends_are_clear(session, direction) || cv_ktls_is_due(session, direction));
}

void cv_handover_read_rest(struct cv_session *session, enum cv_direction direction)
{
	struct cv_leg *source = cv_session_source(session, direction);

	if (cv_rule_holds("ktls-boundary") && !cv_leg_rx_clear(source) &&
	    cv_buffer_len(&source->in) > 0 &&
	    cv_leg_queued(cv_session_sink(session, direction)) < CV_LEG_OUT_HIGH)
		cv_leg_recv_rest(source);
}

bool cv_handover_is_drained(struct cv_session *session, enum cv_direction direction)
{
	const struct cv_leg *source = cv_session_source(session, direction);
	const struct cv_leg *sink = cv_session_sink(session, direction);

	return (cv_leg_undecoded(source) == 0 || !cv_rule_holds("ktls-boundary")) &&
	       !source->recv_op.pending && cv_leg_queued(sink) == 0 && !sink->send_op.pending;
}

/* User space goes on reading, which always works. */
static void stay(struct cv_session *session, enum cv_direction direction)
{
	session->flow[direction].engine = NULL;
	cv_leg_recv(cv_session_source(session, direction));
}

void cv_handover_start(struct cv_session *session, enum cv_direction direction)
{
	struct cv_flow *flow = &session->flow[direction];
	const struct cv_engine *engine;

	if (!ends_are_clear(session, direction) && cv_ktls_take(session, direction) < 0) {
		atomic_fetch_add_explicit(
			&session->worker->counters.engine_refused[cv_engine_index(&cv_engine_ktls)],
			1, memory_order_relaxed);
		stay(session, direction);
		return;
	}
	flow->source_tls = cv_ktls_end(cv_session_source(session, direction), false);
	flow->sink_tls = cv_ktls_end(cv_session_sink(session, direction), true);
	engine = flow->source_tls || flow->sink_tls ? &cv_engine_ktls
						    : cv_handover_first_engine(session, direction);
	flow->env = &session->worker->env;
	flow->source_fd = cv_session_source(session, direction)->fd;
	flow->source_before_bytes = cv_session_source(session, direction)->received_bytes;
	flow->sink_fd = cv_session_sink(session, direction)->fd;
	flow->last_move_ms = session->last_activity_ms;
	flow->owner_tag = (uint8_t)direction;
	flow->ended = flow_ended;
	if (cv_handover_try(session, direction, engine) < 0) {
		cv_worker_count(session->worker, CV_INTERNAL_RESOURCE);
		session->flow_refused[direction] = true;
		stay(session, direction);
		return;
	}
	atomic_fetch_add_explicit(&session->worker->counters.handed_over[direction], 1,
				  memory_order_relaxed);
}

/* ---- for people --------------------------------------------------------------------------- */

/* The layer that the direction still needs: next to the app first. NULL if none does. */
static const struct cv_layer *needed_layer(const struct cv_leg *leg, bool receiving)
{
	for (size_t i = leg->stack ? leg->stack->count : 0; i-- > 0;) {
		const struct cv_layer *layer = leg->stack->layers[i];

		if ((receiving ? layer->rx : layer->tx) != CV_CLEAR)
			return layer;
		if (receiving ? layer->rx_penetrated : layer->tx_penetrated)
			return NULL;
	}
	return NULL;
}

void cv_handover_describe(const struct cv_session *session, enum cv_direction direction,
			  char text[CV_HANDOVER_TEXT])
{
	const struct cv_leg *sink = direction == CV_UPLINK ? &session->upstream : &session->client;
	const struct cv_flow *flow = &session->flow[direction];

	if (session->flow_active[direction])
		flow->engine->describe(flow, text, CV_HANDOVER_TEXT);
	else if (session->flow_ended[direction] || (sink->facts & CV_LEG_FIN_SENT))
		snprintf(text, CV_HANDOVER_TEXT, "ended");
	else
		snprintf(text, CV_HANDOVER_TEXT, "user space");
}

/* Of a direction that user space moves. */
static void why_no_engine(const struct cv_session *session, enum cv_direction direction,
			  char text[CV_HANDOVER_TEXT])
{
	bool uplink = direction == CV_UPLINK;
	const struct cv_leg *source = uplink ? &session->client : &session->upstream;
	const struct cv_leg *sink = uplink ? &session->upstream : &session->client;
	const struct cv_layer *receiving = needed_layer(source, true);
	const struct cv_layer *sending = needed_layer(sink, false);
	const char *why = "handing over";

	if (session->state < CV_SESSION_RELAY)
		why = "handshake";
	else if (session->state >= CV_SESSION_DATAGRAMS &&
		 session->state <= CV_SESSION_STREAM_DATAGRAMS)
		why = "datagrams";
	else if (session->state == CV_SESSION_CARRIER)
		why = "a carrier of other sessions";
	else if (source->stream || sink->stream)
		why = "a stream of a carrier";
	else if (session->limit)
		why = "a fallback with rate limits";
	else if (session->flow_refused[direction])
		why = "the engine refused the direction";
	else if (receiving || sending) {
		const struct cv_layer *layer = receiving ? receiving : sending;
		bool records = (receiving ? layer->rx : layer->tx) == CV_RECORDS;

		snprintf(text, CV_HANDOVER_TEXT, "layer %s of the %s leg %s%s", layer->ops->name,
			 (receiving != NULL) == uplink ? "client" : "upstream",
			 records ? "protects its bytes; kernel TLS: " : "must see its bytes",
			 records ? cv_ktls_hint(session, receiving ? source : sink) : "");
		return;
	}
	snprintf(text, CV_HANDOVER_TEXT, "%s", why);
}

void cv_handover_why(const struct cv_session *session, enum cv_direction direction,
		     char text[CV_HANDOVER_TEXT])
{
	const struct cv_leg *sink = direction == CV_UPLINK ? &session->upstream : &session->client;
	const struct cv_engine *engine = session->flow[direction].engine;

	text[0] = '\0';
	if (session->flow_active[direction] && engine != &cv_engine_ktls)
		snprintf(text, CV_HANDOVER_TEXT, "%s",
			 cv_choice_text(session->engine_why[direction]));
	else if (!session->flow_active[direction] && !session->flow_ended[direction] &&
		 !(sink->facts & CV_LEG_FIN_SENT))
		why_no_engine(session, direction, text);
}
