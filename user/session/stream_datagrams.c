// SPDX-License-Identifier: MIT
/*
 * stream_datagrams.c - a datagram stream that a carrier's peer has opened: a session in state
 * STREAM_DATAGRAMS.
 *
 *   Keep with address ---------> cv_datagrams_send(that address)       \ its own socket: full cone
 *   Keep without, and the New -> cv_datagrams_send(the New's target)   /
 *   Keep with the source <------ deliver()
 *
 * A name in the New is what the peer knows its target by: what comes from the address that the name
 * had is told without an address, which means the target.
 *
 * It ends with the stream, with the carrier, or when nothing moved for as long as the level says.
 */
#include "session/carrier_state.h"

#include "base/reason.h"
#include "session/datagrams.h"
#include "session/handshake.h"
#include "session/mapped_port.h"
#include "session/steps.h"

#include <stdlib.h>

struct cv_stream_datagrams {
	struct cv_session *session;
	struct cv_stream *stream;
	struct cv_datagrams *datagrams;
	struct cv_mapping *port; /* NULL: the peer has not named it */
	struct cv_destination target;
	uint64_t tick_ms;
};

static void received(void *owner, const struct cv_destination *address, uint8_t *bytes,
		     size_t len_bytes)
{
	struct cv_stream_datagrams *self = owner;
	const struct cv_destination *to =
		address->kind == CV_ADDRESS_NONE ? &self->target : address;

	if (self->session->state != CV_SESSION_STREAM_DATAGRAMS)
		return;
	if (to->port == 0) {
		cv_worker_count(self->session->worker, CV_PEER_ADDRESS);
		return;
	}
	cv_datagrams_send(self->datagrams, to, bytes, len_bytes);
}

static void deliver(void *owner, const struct cv_destination *source, uint8_t *bytes,
		    size_t len_bytes)
{
	struct cv_stream_datagrams *self = owner;

	cv_stream_send(self->stream, source, bytes, len_bytes);
}

static void opened(void *owner, struct cv_datagram_socket *direct)
{
	const struct cv_stream_datagrams *self = owner;

	cv_mapped_port_opened(self->port, direct);
}

/* Once another stream has the port, this one is over. */
static bool may_read(void *owner)
{
	const struct cv_stream_datagrams *self = owner;
	struct cv_session *session = self->session;

	if (!self->port || cv_mapping_is_ours(self->port))
		return true;
	cv_session_close(session, 0);
	cv_session_event(session, NULL, 0);
	return false;
}

int cv_stream_datagrams_begin(struct cv_session *session, struct cv_stream *stream,
			      const struct cv_destination *target, const uint8_t *global_id)
{
	struct cv_stream_datagrams *self = calloc(1, sizeof(*self));
	const struct cv_datagram_near near = {
		.deliver = deliver,
		.may_read = may_read,
		.opened = opened,
		.owner = self,
		.by_name = true,
	};
	const struct cv_stream_owner owner = {.received = received, .owner = self};
	int reason;

	if (!self)
		return CV_INTERNAL_MEMORY;
	self->session = session;
	self->stream = stream;
	self->target = *target;
	cv_destination_normalize(&self->target);
	reason = cv_session_carries_datagrams(session)
			 ? cv_datagrams_new(session, &near, &self->datagrams)
			 : CV_POLICY_NO_DATAGRAMS;
	if (reason) {
		free(self);
		return reason;
	}
	if (global_id)
		self->port = cv_mapped_port_take(session, global_id, self->datagrams);
	cv_stream_own(stream, &owner);
	stream->is_fresh = false; /* it has begun */
	session->handshake = cv_handshake_free(session->handshake);
	session->stream_datagrams = self;
	session->state = CV_SESSION_STREAM_DATAGRAMS;
	session->last_activity_ms = cv_ring_now_ms(session->worker->ring);
	cv_step_stream_datagrams_timer(session);
	return 0;
}

void cv_stream_datagrams_leave(struct cv_session *session)
{
	struct cv_stream_datagrams *self = session->stream_datagrams;

	if (session->state != CV_SESSION_STREAM_DATAGRAMS)
		return;
	session->stream_datagrams = NULL;
	self->stream->owner = (struct cv_stream_owner){.received = NULL};
	cv_datagrams_free(self->datagrams);
	cv_mapped_port_leave(session, self->port);
	free(self);
}

void cv_step_stream_datagrams(struct cv_session *session)
{
	const uint8_t facts = session->client.facts;

	if (facts & CV_LEG_RESET) {
		session->abort_client = true;
		cv_session_close(session, CV_PEER_RESET);
	} else if (facts & CV_LEG_FIN_RECEIVED) {
		cv_session_close(session, 0);
	}
}

void cv_step_stream_datagrams_timer(struct cv_session *session)
{
	struct cv_stream_datagrams *self = session->stream_datagrams;
	const uint64_t now_ms = cv_ring_now_ms(session->worker->ring);
	const uint64_t idle_ms = session->last_activity_ms + cv_session_level(session)->idle_ms;

	if (now_ms >= idle_ms) {
		cv_session_close(session, CV_POLICY_IDLE);
		return;
	}
	if (!may_read(self))
		return;
	if (now_ms >= self->tick_ms)
		self->tick_ms = now_ms + cv_datagrams_tick(self->datagrams);
	cv_timer_arm(session->worker->ring, &session->timer,
		     self->tick_ms < idle_ms ? self->tick_ms : idle_ms);
}
