// SPDX-License-Identifier: MIT
/*
 * carrier_client.c - outbounds with mux: their sessions share carriers.
 *
 *   session, routed here -> a carrier of this outbound with room? -- no --> a new one, dialled
 *        |                                | yes                             like any session
 *        |                                v                                 (command 3)
 *        | CONNECT_UPSTREAM: waits for the carrier, if need be                    |
 *        v                                                                        v
 *      RELAY, its upstream leg a stream    <-------- ready, or lost: as a failed dial
 *
 * The first carrier that is not full is taken: so few are open, and the last ones run empty. A
 * carrier belongs to the outbound of one configuration; after a reload new sessions find none.
 */
#include "session/carrier_state.h"

#include "base/reason.h"
#include "session/datagram_carrier.h"
#include "session/handshake.h"
#include "session/reverse.h"
#include "session/session_front.h"
#include "session/session_probe.h"
#include "session/steps.h"

#include <stdlib.h>
#include <string.h>

#define TOTAL_MIN 128 /* streams in the life of a carrier, unless more may be on it at a time */

static const struct cv_inbound nobody = {.tag = (char[]){"mux"}, .protocol = CV_INBOUND_VLESS};

/* ---- carriers ----------------------------------------------------------------------------- */

/* What they are for: one outbound's sessions, or its datagrams, if these have their own. */
struct purpose {
	const struct cv_outbound *outbound;
	uint32_t concurrency;
	bool only_datagrams;
};

static const char only_datagrams[] = "datagrams"; /* config.context of such a carrier */

static bool fits(const struct cv_carrier *carrier, const struct purpose *purpose)
{
	return carrier->config.role == CV_CARRIER_CLIENT &&
	       carrier->session->inbound == &nobody &&
	       carrier->session->outbound == purpose->outbound &&
	       (carrier->config.context == (const void *)only_datagrams) ==
		       purpose->only_datagrams &&
	       carrier->stream_count < carrier->config.max_streams && !carrier->failed &&
	       carrier->next_id < carrier->config.max_total;
}

static struct cv_carrier *find(struct cv_streams *streams, const struct purpose *purpose)
{
	for (struct cv_list *at = streams->carriers.next; at != &streams->carriers;
	     at = at->next) {
		struct cv_carrier *carrier = cv_container_of(at, struct cv_carrier, all);

		if (fits(carrier, purpose))
			return carrier;
	}
	return NULL;
}

static struct cv_carrier *add(struct cv_session *asker, const struct purpose *purpose)
{
	const struct cv_carrier_config config = {
		.role = CV_CARRIER_CLIENT,
		.kind = CV_MUX_FORWARD,
		.max_streams = purpose->concurrency,
		.max_total = purpose->concurrency > TOTAL_MIN ? purpose->concurrency : TOTAL_MIN,
		.context = purpose->only_datagrams ? (void *)(uintptr_t)only_datagrams : NULL,
	};
	struct cv_session *session = cv_session_without_client(asker->worker, &nobody);
	struct cv_carrier *carrier;
	struct cv_destination *destination;

	if (!session)
		return NULL;
	cv_session_begin_with(session, asker->config);
	session->state = CV_SESSION_ROUTE;
	session->outbound = purpose->outbound;
	destination = &session->handshake->destination;
	destination->kind = CV_ADDRESS_DOMAIN;
	strcpy(destination->domain, CV_MUX_DOMAIN);
	cv_session_name_destination(session, destination, NULL);
	carrier = cv_carrier_new(session, &config);
	if (!carrier) {
		cv_session_close(session, CV_INTERNAL_MEMORY);
		cv_session_event(session, NULL, 0);
		return NULL;
	}
	session->handshake->carrier = carrier;
	carrier->is_fresh = true;
	cv_carrier_wake(carrier);
	return carrier;
}

void cv_carrier_dial(struct cv_session *session)
{
	if (session->state == CV_SESSION_ROUTE)
		cv_step_dial(session);
}

void cv_carrier_ready(struct cv_session *session)
{
	struct cv_carrier *carrier = session->handshake->carrier;
	int error = 0;

	/* who serves has nothing to say before he is asked, and is not before he has said so */
	if (carrier->config.role == CV_CARRIER_SERVER)
		error = cv_leg_flush_held(&session->upstream);
	if (error)
		cv_session_close(session, error);
	else
		cv_carrier_start(carrier, &session->upstream);
}

static int open_stream(struct cv_session *session, const struct purpose *purpose,
		       struct cv_mux_frame *opening, struct cv_stream **ret_stream)
{
	struct cv_streams *streams = cv_streams_of(session->worker);
	struct cv_carrier *carrier = streams ? find(streams, purpose) : NULL;
	struct cv_stream *stream;

	if (!streams)
		return CV_INTERNAL_MEMORY;
	if (!carrier)
		carrier = add(session, purpose);
	if (!carrier)
		return CV_POLICY_SESSION_LIMIT;
	opening->session = cv_carrier_next_id(carrier);
	stream = cv_stream_new(carrier, opening->session);
	if (!stream)
		return CV_INTERNAL_MEMORY;
	if (cv_stream_opening(stream, opening) < 0) {
		cv_stream_close(stream);
		return CV_INTERNAL_MEMORY;
	}
	*ret_stream = stream;
	return 0;
}

/* ---- sessions ----------------------------------------------------------------------------- */

bool cv_mux_carries(const struct cv_session *session)
{
	const struct cv_mux_settings *mux = &session->outbound->mux;

	return mux->enabled && mux->concurrency > 0 && !session->handshake->carrier &&
	       !session->handshake->is_bind && !cv_probe_is(session) &&
	       !cv_udp_carrier_is(session);
}

void cv_mux_dial(struct cv_session *session)
{
	const struct purpose purpose = {.outbound = session->outbound,
					.concurrency = session->outbound->mux.concurrency};
	struct cv_mux_frame opening = {
		.status = CV_MUX_NEW,
		.network = CV_MUX_TCP,
		.address = session->handshake->destination,
	};
	struct cv_stream *stream;
	int reason;

	session->state = CV_SESSION_CONNECT_UPSTREAM;
	cv_timer_disarm(session->worker->ring, &session->timer); /* the carrier has a clock */
	reason = open_stream(session, &purpose, &opening, &stream);
	if (reason) {
		cv_session_refuse(session, reason);
		return;
	}
	cv_stream_attach(stream, &session->upstream);
	if (stream->carrier->wire)
		cv_mux_ready(session, 0);
	else
		stream->is_waiting = true;
}

void cv_mux_ready(struct cv_session *session, int reason)
{
	int error;

	if (session->state != CV_SESSION_CONNECT_UPSTREAM)
		return;
	if (reason) {
		cv_upstream_lost(session, reason);
		return;
	}
	cv_upstream_found(session);
	session->header_held = true;
	error = cv_front_accepted(session);
	if (error)
		cv_session_close(session, error);
	else
		cv_session_relay(session);
}

/* ---- datagrams ---------------------------------------------------------------------------- */

int cv_stream_open_datagrams(struct cv_session *session, const struct cv_outbound *outbound,
			     const struct cv_destination *target, const uint8_t *global_id,
			     const struct cv_stream_owner *owner, struct cv_stream **ret_stream)
{
	const struct cv_mux_settings *mux = &outbound->mux;
	const struct purpose purpose = {
		.outbound = outbound,
		.concurrency = mux->xudp_concurrency ? mux->xudp_concurrency : mux->concurrency,
		.only_datagrams = mux->xudp_concurrency > 0 || mux->concurrency == 0,
	};
	struct cv_mux_frame opening = {
		.status = CV_MUX_NEW, .network = CV_MUX_UDP, .address = *target};
	int reason;

	if (session->worker->stopping)
		return CV_POLICY_STOPPING;
	if (outbound->protocol == CV_OUTBOUND_PORTAL)
		return cv_portal_open_datagrams(session, outbound, target, owner, ret_stream);
	if (!mux->enabled || purpose.concurrency == 0)
		return CV_POLICY_NO_DATAGRAMS;
	if (global_id) {
		opening.has_global_id = true;
		memcpy(opening.global_id, global_id, sizeof(opening.global_id));
	}
	reason = open_stream(session, &purpose, &opening, ret_stream);
	if (!reason)
		cv_stream_own(*ret_stream, owner);
	return reason;
}
