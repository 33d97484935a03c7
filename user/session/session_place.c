// SPDX-License-Identifier: MIT
/*
 * session_place.c - the hello first, then where its name leads.
 *
 *   EXPECT_SNI   hello whole, or none -> its place          (session_edge.c)
 *                nothing whole in 5 s -> the answer to silence
 *     pass       the inbound itself begins; where it serves nothing, the edge's target is dialled
 *     inbound    another inbound begins, with the same bytes
 *     backend    CONNECT_UPSTREAM -> RELAY: bytes as they came, and to the kernel like all others
 *                down, or not to be dialled -> its whenDown, at most PLACES_MAX of them
 *
 * observable: between a client and a backend we are a wire. Who says nothing for 5 s and then is
 * relayed to a target meets the target's time-out 5 s late.
 */
#include "session/handshake.h"
#include "session/preamble.h"
#include "session/session_edge.h"
#include "session/steps.h"
#include "session/worker.h"

#include "base/log.h"
#include "base/reason.h"

#include <stdatomic.h>

#define SNI_WAIT_MS 5000
#define PLACES_MAX 8

static void go(struct cv_session *session, const struct cv_edge_place *place);

bool cv_place_waits(const struct cv_inbound *inbound)
{
	return (inbound->edge && inbound->edge->leads) ||
	       (inbound->reality && inbound->reality->target_count > 1);
}

void cv_step_place_begin(struct cv_session *session)
{
	session->state = CV_SESSION_EXPECT_SNI;
	cv_session_arm(session, SNI_WAIT_MS);
	cv_leg_recv(&session->client);
}

/* ---- backends ----------------------------------------------------------------------------- */

static bool is_down(const struct cv_backend *backend)
{
	return atomic_load_explicit(&backend->is_down, memory_order_relaxed);
}

/* What else there is for whoever wanted a backend; nothing: closed, and not a byte was sent. */
static void go_elsewhere(struct cv_session *session, const struct cv_backend *backend, int reason)
{
	const bool may_pass = session->inbound->reality || session->inbound->edge->target;
	const struct cv_edge_place *place = &backend->when_down;

	if (place->kind == CV_EDGE_PASS && (backend->is_target || !may_pass)) {
		cv_session_close(session, reason);
		return;
	}
	go(session, place);
}

/* Strangers make us dial: only the first of a row of failures is worth a line. */
static void note_failure(const struct cv_session *session, struct cv_backend *backend, int reason)
{
	const bool is_known = atomic_exchange(&backend->is_failing, true);

	atomic_fetch_add_explicit(&backend->failed_dials, 1, memory_order_relaxed);
	cv_log(is_known ? CV_LOG_DEBUG : CV_LOG_WARNING, "inbound=%s backend=%s: %s",
	       session->inbound->tag, backend->name, cv_reason_text(reason));
}

static void backend_connected(void *owner, int fd, int reason)
{
	struct cv_session *session = owner;
	struct cv_backend *backend = session->backend;
	int error;

	session->handshake->connector = NULL;
	if (fd < 0) {
		note_failure(session, backend, reason);
		go_elsewhere(session, backend, reason);
		cv_session_event(session, NULL, 0);
		return;
	}
	session->upstream.fd = fd;
	session->is_fallback = backend->is_target;
	atomic_fetch_add_explicit(&backend->sessions, 1, memory_order_relaxed);
	if (atomic_load_explicit(&backend->is_failing, memory_order_relaxed) &&
	    atomic_exchange(&backend->is_failing, false))
		cv_log(CV_LOG_WARNING, "backend=%s can be dialled again", backend->name);
	error = cv_session_proxy_header(session, backend->xver);
	if (error)
		cv_session_close(session, error);
	else
		cv_session_relay(session);
	cv_session_event(session, NULL, 0);
}

static void dial(struct cv_session *session, struct cv_backend *backend)
{
	const bool is_unix = backend->unix_address.len_bytes > 0;
	const struct cv_destination *destination = is_unix ? NULL : &backend->destination;
	const struct cv_sockaddr *address = is_unix ? &backend->unix_address : NULL;

	if (++session->handshake->backend_dials > PLACES_MAX) {
		cv_session_close(session, CV_UPSTREAM_UNREACHABLE);
		return;
	}
	session->backend = backend;
	if (is_down(backend)) {
		go_elsewhere(session, backend, CV_UPSTREAM_UNREACHABLE);
		return;
	}
	session->state = CV_SESSION_CONNECT_UPSTREAM;
	cv_session_name_destination(session, destination, address);
	cv_session_connect(session, destination, address, CV_RESOLVE_ANY, backend_connected);
}

/* ---- places ------------------------------------------------------------------------------- */

static void serve(struct cv_session *session, const struct cv_inbound *inbound)
{
	session->backend = NULL;
	session->inbound = inbound;
	cv_session_serve(session);
}

static void go(struct cv_session *session, const struct cv_edge_place *place)
{
	struct cv_backend *target = session->inbound->edge ? session->inbound->edge->target : NULL;

	switch (place->kind) {
	case CV_EDGE_DROP:
		cv_worker_count(session->worker, CV_POLICY_EDGE_DROP);
		cv_session_close(session, CV_POLICY_EDGE_DROP);
		break;
	case CV_EDGE_INBOUND:
		serve(session, &session->config->inbounds[place->inbound]);
		break;
	case CV_EDGE_BACKEND:
		dial(session, place->backend);
		break;
	case CV_EDGE_PASS:
		if (session->inbound->protocol == CV_INBOUND_EDGE)
			dial(session, target);
		else
			serve(session, session->inbound);
		break;
	}
}

/* ---- the hello ---------------------------------------------------------------------------- */

/* Who left before a word has nothing to be led to, as long as no target expects to see it. */
static bool left_without_a_word(const struct cv_session *session)
{
	return (session->client.facts & CV_LEG_FIN_RECEIVED) &&
	       cv_buffer_len(&session->client.in) == 0 && session->edge_state != CV_EDGE_DROPPED &&
	       session->inbound->edge && session->inbound->edge->leads;
}

static void go_silent(struct cv_session *session)
{
	static const struct cv_edge_place pass;
	const struct cv_edge *edge = session->inbound->edge;
	const struct cv_edge_place *place = edge ? &edge->silence : &pass;

	cv_edge_leave(session);
	if (session->edge_state == CV_EDGE_DROPPED) /* what came meanwhile never did */
		cv_buffer_consume(&session->client.in, cv_buffer_len(&session->client.in));
	go(session, place);
}

void cv_step_place(struct cv_session *session)
{
	if (session->edge_state == CV_EDGE_DROPPED)
		cv_buffer_consume(&session->client.in, cv_buffer_len(&session->client.in));
	if (left_without_a_word(session))
		cv_session_close(session, CV_PEER_CLOSED);
	else if (cv_edge_look(session) == CV_EDGE_PASSED)
		go(session, &session->handshake->place);
	else if (session->client.facts & CV_LEG_FIN_RECEIVED)
		go_silent(session);
	else
		cv_leg_recv(&session->client);
}

void cv_step_place_timeout(struct cv_session *session)
{
	go_silent(session);
}
