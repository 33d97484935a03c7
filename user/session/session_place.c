// SPDX-License-Identifier: MIT
/*
 * session_place.c - the hello first, then where its name leads.
 *
 *   EXPECT_SNI   hello whole, or none -> its place          (session_edge.c)
 *                nothing whole in 20 ms -> the answer to silence is dialled, and waits for its turn
 *                nothing whole in 5 s   -> the answer to silence
 *     pass       the inbound itself begins; where it serves nothing, the edge's target is dialled
 *     inbound    another inbound begins, with the same bytes
 *     backend    CONNECT_UPSTREAM -> RELAY: bytes as they came, and to the kernel like all others
 *                down, or not to be dialled -> its whenDown, at most PLACES_MAX of them
 *
 * observable: between a client and a backend we are a wire. Who says nothing meets the target's
 * time-outs, which count from its connection: so it is dialled as soon as the hello is late, and
 * its hanging up is relayed at once, but for the first seconds, in which a hello may still be on
 * its way. What it says first comes after 5 s.
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
#define LATE_MS 20	 /* most hellos come right behind the client's last ACK */
#define HANG_UP_MS 2000	 /* a lost hello has come again */
#define CONNECT_MS 16000
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
	session->due_ms = cv_ring_now_ms(session->worker->ring) + SNI_WAIT_MS;
	cv_session_arm(session, LATE_MS);
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
	if (is_down(backend) && !session->handshake->early.to) {
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

/* ---- ahead -------------------------------------------------------------------------------- */

struct dial { /* one of them, or neither: nothing is dialled, or nobody knows what */
	const struct cv_destination *destination;
	const struct cv_sockaddr *address;
};

static struct dial dial_of(const struct cv_destination *destination,
			   const struct cv_sockaddr *unix_address)
{
	if (unix_address->len_bytes > 0)
		return (struct dial){.address = unix_address};
	return (struct dial){.destination = destination};
}

static const void *key_of(const struct dial *dial)
{
	return dial->address ? (const void *)dial->address : dial->destination;
}

/* What is dialled first for a client that is led to @place. */
static struct dial dial_for(const struct cv_session *session, const struct cv_edge_place *place)
{
	const struct cv_inbound *inbound = session->inbound;
	const struct cv_backend *backend = NULL;
	const struct cv_reality_target *target;

	if (place->kind == CV_EDGE_INBOUND)
		inbound = &session->config->inbounds[place->inbound];
	if (place->kind == CV_EDGE_BACKEND)
		backend = place->backend;
	else if (place->kind == CV_EDGE_PASS && inbound->protocol == CV_INBOUND_EDGE)
		backend = inbound->edge->target;
	if (backend)
		return is_down(backend) ? (struct dial){0}
					: dial_of(&backend->destination, &backend->unix_address);
	if (place->kind == CV_EDGE_DROP || !inbound->reality)
		return (struct dial){0};
	target = &inbound->reality->targets[session->handshake->chosen_target];
	return dial_of(&target->destination, &target->unix_address);
}

static const struct cv_edge_place *place_of_silence(const struct cv_session *session)
{
	static const struct cv_edge_place pass;

	return session->inbound->edge ? &session->inbound->edge->silence : &pass;
}

/* Failures count when it is dialled again, for somebody who is led there. */
static void early_connected(void *owner, int fd, int reason)
{
	struct cv_session *session = owner;
	struct cv_early *early = &session->handshake->early;

	session->handshake->connector = NULL;
	if (fd < 0 || early->wanted)
		early->to = NULL;
	if (early->wanted) {
		early->wanted(session, fd, reason);
	} else if (fd >= 0) {
		session->upstream.fd = fd;
		cv_leg_recv(&session->upstream);
	}
}

static void dial_early(struct cv_session *session)
{
	struct cv_early *early = &session->handshake->early;
	const struct dial dial = dial_for(session, place_of_silence(session));
	const struct cv_connect_request request = {
		.ring = session->worker->ring,
		.resolver = session->worker->resolver,
		.destination = dial.destination,
		.address = dial.address,
		.strategy = CV_RESOLVE_ANY,
		.timeout_ms = CONNECT_MS,
		.done = early_connected,
		.owner = session,
	};

	early->was_tried = true;
	if (key_of(&dial))
		session->handshake->connector = cv_connect_start(&request);
	if (session->handshake->connector)
		early->to = key_of(&dial);
}

bool cv_place_take_early(struct cv_session *session, const void *to,
			 void (*connected)(void *owner, int fd, int reason))
{
	struct cv_early *early = &session->handshake->early;

	if (!early->to || early->to != to)
		return false;
	if (session->handshake->connector) {
		early->wanted = connected;
		return true;
	}
	early->to = NULL;
	session->depth++; /* whoever asked goes on after this */
	connected(session, session->upstream.fd, 0);
	session->depth--;
	return true;
}

void cv_step_retire_early(struct cv_session *session)
{
	struct cv_leg *early = &session->upstream;

	if (cv_leg_busy(early))
		return;
	cv_leg_done(early, false);
	early->facts = 0;
	cv_leg_init(early, session);
	go(session, &session->handshake->place);
}

/* To @place, without what was dialled for another one. */
static void lead(struct cv_session *session, const struct cv_edge_place *place)
{
	struct cv_handshake *handshake = session->handshake;
	struct cv_early *early = &handshake->early;
	const struct dial dial = dial_for(session, place);

	early->was_tried = true;
	if (!early->to || early->to == key_of(&dial)) {
		go(session, place);
		return;
	}
	handshake->place = *place;
	early->to = NULL;
	if (handshake->connector) {
		cv_connect_cancel(handshake->connector);
		handshake->connector = NULL;
	}
	session->state = CV_SESSION_RETIRE_EARLY;
	cv_session_arm(session, SNI_WAIT_MS);
	if (session->upstream.recv_op.pending)
		cv_ring_cancel(session->worker->ring, &session->upstream.recv_op);
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
	cv_edge_leave(session);
	if (session->edge_state == CV_EDGE_DROPPED) /* what came meanwhile never did */
		cv_buffer_consume(&session->client.in, cv_buffer_len(&session->client.in));
	lead(session, place_of_silence(session));
}

/* When the client counts as silent. */
static uint64_t silent_from_ms(const struct cv_session *session)
{
	const bool has_hung_up =
		session->upstream.facts & (CV_LEG_FIN_RECEIVED | CV_LEG_RESET);

	return session->due_ms - (has_hung_up ? SNI_WAIT_MS - HANG_UP_MS : 0);
}

static void wait_on(struct cv_session *session)
{
	if (session->handshake->early.was_tried)
		cv_timer_arm(session->worker->ring, &session->timer, silent_from_ms(session));
	cv_leg_recv(&session->client);
	cv_leg_recv(&session->upstream);
}

void cv_step_place(struct cv_session *session)
{
	if (session->edge_state == CV_EDGE_DROPPED)
		cv_buffer_consume(&session->client.in, cv_buffer_len(&session->client.in));
	if (left_without_a_word(session))
		cv_session_close(session, CV_PEER_CLOSED);
	else if (cv_edge_look(session) == CV_EDGE_PASSED)
		lead(session, &session->handshake->place);
	else if (session->client.facts & CV_LEG_FIN_RECEIVED)
		go_silent(session);
	else
		wait_on(session);
}

void cv_step_place_timeout(struct cv_session *session)
{
	if (cv_ring_now_ms(session->worker->ring) >= silent_from_ms(session)) {
		go_silent(session);
		return;
	}
	if (!session->handshake->early.was_tried)
		dial_early(session);
	wait_on(session);
}
