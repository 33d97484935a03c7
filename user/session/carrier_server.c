// SPDX-License-Identifier: MIT
/*
 * carrier_server.c - a client's carrier: VLESS command 3, and any request for v1.mux.cool.
 *
 *   request -> CARRIER     New TCP -> session, its client leg the stream -> (sniff) -> ROUTE ...
 *                          New UDP -> session in STREAM_DATAGRAMS
 *
 * Each is a session like any other: with the carrier's user, inbound, configuration and address it
 * is routed, counted, limited, shown and ended for itself. What cannot be served is refused with an
 * End that says "error", and leaves the carrier alone.
 */
#include "session/carrier_state.h"

#include "base/reason.h"
#include "session/handshake.h"
#include "session/preamble.h"
#include "session/session_limits.h"
#include "session/steps.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* The ends of the carrier's own connection: rules, limits and PROXY headers ask for them. */
int cv_carrier_inherit_ends(struct cv_session *session, const struct cv_session *from)
{
	struct cv_sockaddr source;
	struct cv_destination local;

	if (!cv_session_client_address(from, &source))
		return 0; /* a unix socket has none, and neither has a tunnel that we dialled */
	session->proxied = calloc(1, sizeof(*session->proxied));
	if (!session->proxied)
		return CV_INTERNAL_MEMORY;
	session->proxied->source = source;
	if (from->proxied)
		session->proxied->destination = from->proxied->destination;
	else if (!cv_session_local_address(from, &local) ||
		 !cv_destination_to_sockaddr(&local, &session->proxied->destination))
		session->proxied->destination = source;
	return 0;
}

static int inherit(struct cv_session *session, struct cv_carrier *carrier)
{
	const struct cv_session *from = carrier->session;
	int reason;

	cv_session_begin_with(session, from->config);
	memcpy(session->handshake->request.uuid, carrier->user_id, sizeof(carrier->user_id));
	reason = cv_carrier_inherit_ends(session, from);
	if (!reason && from->user)
		reason = cv_limits_admit(session, from->user);
	return reason;
}

/* The stream is gone with its session, without a word: the caller refuses it. */
static int give_up(struct cv_session *session, struct cv_stream *stream, int reason)
{
	cv_stream_over(stream);
	cv_session_close(session, reason);
	cv_stream_wake(stream); /* which frees both */
	return reason;
}

int cv_mux_opened(struct cv_carrier *carrier, const struct cv_mux_frame *frame)
{
	struct cv_worker *worker = carrier->streams->worker;
	struct cv_stream *stream;
	struct cv_session *session;
	int reason;

	if (cv_mux_is_asked_for(&frame->address))
		return CV_PEER_ADDRESS; /* carriers do not carry carriers */
	session = cv_session_without_client(worker, carrier->session->inbound);
	if (!session)
		return CV_POLICY_SESSION_LIMIT;
	session->state = CV_SESSION_ROUTE;
	stream = cv_stream_new(carrier, frame->session);
	if (!stream) {
		cv_session_close(session, CV_INTERNAL_MEMORY);
		cv_session_event(session, NULL, 0);
		return CV_INTERNAL_MEMORY;
	}
	cv_stream_attach(stream, &session->client);
	session->handshake->destination = frame->address;
	cv_session_name_destination(session, &frame->address, NULL);
	reason = inherit(session, carrier);
	if (!reason && frame->network == CV_MUX_UDP)
		reason = cv_stream_datagrams_begin(session, stream, &frame->address,
						   frame->has_global_id ? frame->global_id
									: NULL);
	if (reason)
		return give_up(session, stream, reason);
	cv_stream_wake(stream); /* its first data come with the New: then it is looked at */
	return 0;
}

void cv_mux_begin(struct cv_session *session)
{
	cv_step_target(session);
}

bool cv_mux_is_asked_for(const struct cv_destination *destination)
{
	return destination->kind == CV_ADDRESS_DOMAIN &&
	       strcasecmp(destination->domain, CV_MUX_DOMAIN) == 0;
}

void cv_mux_serve(struct cv_session *session, const uint8_t *user_id, bool only_datagrams)
{
	const struct cv_carrier_config config = {
		.role = CV_CARRIER_SERVER,
		.kind = CV_MUX_FORWARD,
		.max_streams = session->config->daemon.max_streams,
		.refuses_streams = only_datagrams,
		.opened = cv_mux_opened,
		.begin = cv_mux_begin,
	};
	struct cv_carrier *carrier = cv_carrier_new(session, &config);
	const struct cv_span early = cv_buffer_span(&session->handshake->app);
	struct cv_destination name = {.kind = CV_ADDRESS_DOMAIN};

	session->handshake->carrier = carrier;
	if (!carrier || cv_buffer_append(&carrier->in, early.data, early.len_bytes) < 0) {
		cv_session_close(session, CV_INTERNAL_MEMORY);
		return;
	}
	carrier->received_bytes = early.len_bytes;
	strcpy(name.domain, CV_MUX_DOMAIN);
	cv_session_name_destination(session, &name, NULL);
	memcpy(carrier->user_id, user_id, sizeof(carrier->user_id));
	cv_carrier_start(carrier, &session->client);
}
