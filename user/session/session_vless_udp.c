// SPDX-License-Identifier: MIT
/*
 * session_vless_udp.c - datagrams of VLESS clients: command 2, and XUDP in command 3.
 *
 *   request (-> EXPECT_MUX) -> VLESS_UDP: frames of the client leg <-> cv_datagrams, until it ends
 *
 *   command 2   one target; only its answers go back, for nothing says who speaks
 *   XUDP        each datagram with its address; anybody may answer (full cone)
 *
 * A client may name its association (GlobalID): then a later stream takes over the port, and this
 * one, once it notices, says that it has ended. Datagrams for a client that does not read are
 * dropped when CV_FRAMES_QUEUE_BYTES wait.
 */
#include "session/datagram_frames.h"
#include "session/datagrams.h"
#include "session/handshake.h"
#include "session/mapped_port.h"
#include "session/session_edge.h"
#include "session/steps.h"
#include "session/worker.h"

#include "base/log.h"
#include "base/reason.h"

#include <errno.h>
#include <stdlib.h>

struct cv_vless_datagrams {
	struct cv_session *session;
	struct cv_datagrams *datagrams;
	struct cv_datagram_frames frames;
	struct cv_mapping *port; /* NULL: the client has not named it */
	uint32_t vless_route;
	uint64_t tick_ms;
	int error;	/* what it is to end for */
	bool has_begun; /* with its first datagram */
};

uint32_t cv_vless_udp_route(const struct cv_session *session)
{
	return session->state == CV_SESSION_VLESS_UDP ? session->vless_udp->vless_route
						      : CV_VLESS_ROUTE_NONE;
}

static uint64_t now_ms(const struct cv_vless_datagrams *stream)
{
	return cv_ring_now_ms(stream->session->worker->ring);
}

/* ---- the port that outlives the stream ---------------------------------------------------- */

static void take_port(struct cv_vless_datagrams *stream)
{
	const struct cv_xudp *xudp = &stream->frames.udp.xudp;

	if (stream->frames.udp.is_xudp && xudp->has_global_id)
		stream->port = cv_mapped_port_take(stream->session, xudp->global_id,
						   stream->datagrams);
}

static void opened(void *owner, struct cv_datagram_socket *direct)
{
	const struct cv_vless_datagrams *stream = owner;

	cv_mapped_port_opened(stream->port, direct);
}

/* Another stream has the port. */
static void detached(struct cv_vless_datagrams *stream)
{
	struct cv_session *session = stream->session;

	if (cv_xudp_append_end(&stream->frames.out) == 0)
		(void)cv_datagram_frames_flush(&stream->frames, &session->client);
	session->depth++;
	cv_session_finish(session, 0);
	session->depth--;
	cv_session_event(session, NULL, 0);
}

static bool may_read(void *owner)
{
	struct cv_vless_datagrams *stream = owner;

	if (!stream->port || cv_mapping_is_ours(stream->port))
		return true;
	detached(stream);
	return false;
}

/* ---- datagrams ---------------------------------------------------------------------------- */

static void deliver(void *owner, const struct cv_destination *source, uint8_t *bytes,
		    size_t len_bytes)
{
	struct cv_vless_datagrams *stream = owner;
	const int result = cv_datagram_frames_keep(&stream->frames, &stream->session->client,
						   source, cv_span_of(bytes, len_bytes));

	if (result)
		cv_worker_count(stream->session->worker,
				result == CV_INTERNAL_RESOURCE ? CV_PEER_SLOW : result);
}

/* Called by others, who may not lose us meanwhile: a failure waits for our timer. */
static void flush(void *owner)
{
	struct cv_vless_datagrams *stream = owner;
	struct cv_session *session = stream->session;

	if (cv_buffer_len(&stream->frames.out) == 0 || stream->error)
		return;
	stream->error = cv_datagram_frames_flush(&stream->frames, &session->client);
	if (stream->error)
		cv_session_arm(session, 0);
	else
		cv_leg_flush(&session->client);
}

static void begin(struct cv_vless_datagrams *stream, const struct cv_destination *address)
{
	stream->has_begun = true;
	cv_session_name_destination(stream->session, address, NULL);
	take_port(stream);
}

static void take(void *owner, const struct cv_destination *address, uint8_t *bytes,
		 size_t len_bytes)
{
	struct cv_vless_datagrams *stream = owner;

	if (!stream->has_begun)
		begin(stream, address);
	if (address->port == 0)
		cv_worker_count(stream->session->worker, CV_PEER_ADDRESS);
	else
		cv_datagrams_queue(stream->datagrams, address, bytes, len_bytes);
}

static void taken(void *owner)
{
	const struct cv_vless_datagrams *stream = owner;

	cv_datagrams_flush(stream->datagrams);
}

/* ---- the request -------------------------------------------------------------------------- */

static void stream_free(struct cv_vless_datagrams *stream)
{
	cv_datagrams_free(stream->datagrams);
	cv_mapped_port_leave(stream->session, stream->port);
	cv_datagram_frames_done(&stream->frames);
	free(stream);
}

void cv_vless_udp_leave(struct cv_session *session)
{
	if (session->state != CV_SESSION_VLESS_UDP)
		return;
	stream_free(session->vless_udp);
	session->vless_udp = NULL;
}

static int begin_frames(struct cv_vless_datagrams *stream)
{
	const struct cv_handshake *handshake = stream->session->handshake;
	const struct cv_vless_request *request = &handshake->request;
	const struct cv_span early = cv_buffer_span(&handshake->app);

	cv_datagram_frames_init(&stream->frames);
	if (request->command == CV_VLESS_UDP)
		cv_vless_udp_plain(&stream->frames.udp, &request->destination);
	else
		cv_vless_udp_xudp_server(&stream->frames.udp);
	stream->vless_route = stream->session->inbound->protocol == CV_INBOUND_VLESS
				      ? (uint32_t)request->uuid[6] << 8 | request->uuid[7]
				      : CV_VLESS_ROUTE_NONE;
	return early.len_bytes ? cv_buffer_append(&stream->frames.rest, early.data,
						  early.len_bytes)
			       : 0;
}

static int new_stream(struct cv_session *session, struct cv_vless_datagrams **ret_stream)
{
	const struct cv_vless_request *request = &session->handshake->request;
	struct cv_vless_datagrams *stream;
	struct cv_datagram_near near = {
		.deliver = deliver,
		.flush = flush,
		.may_read = may_read,
		.opened = opened,
		.by_name = true,
		.only_asked = request->command == CV_VLESS_UDP,
	};
	int reason;

	if (!cv_session_carries_datagrams(session))
		return CV_POLICY_NO_DATAGRAMS;
	stream = calloc(1, sizeof(*stream));
	if (!stream)
		return CV_INTERNAL_MEMORY;
	near.owner = stream;
	stream->session = session;
	reason = begin_frames(stream);
	if (!reason)
		reason = cv_datagrams_new(session, &near, &stream->datagrams);
	if (reason) {
		cv_datagram_frames_done(&stream->frames);
		free(stream);
		return reason;
	}
	*ret_stream = stream;
	return 0;
}

void cv_step_vless_udp_begin(struct cv_session *session)
{
	struct cv_vless_datagrams *stream;
	const int reason = new_stream(session, &stream);

	if (reason) {
		cv_log(CV_LOG_INFO, "inbound=%s user=%s: no datagrams: %s (%s)",
		       session->inbound->tag, cv_session_user_name(session),
		       cv_reason_label(reason), cv_reason_text(reason));
		cv_session_finish(session, reason);
		return;
	}
	cv_edge_leave(session);
	session->handshake = cv_handshake_free(session->handshake);
	session->vless_udp = stream;
	session->state = CV_SESSION_VLESS_UDP;
	session->last_activity_ms = now_ms(stream);
	cv_step_vless_udp_timer(session);
}

/* ---- while it lasts ----------------------------------------------------------------------- */

/* Why it ends, or -EAGAIN: it does not. */
static int end_of_stream(const struct cv_session *session, int result)
{
	const struct cv_leg *client = &session->client;

	if (client->facts & CV_LEG_RESET)
		return CV_PEER_RESET;
	if (result == CV_LAYER_EOF)
		return 0;
	if (result == -EAGAIN && (client->facts & CV_LEG_FIN_RECEIVED))
		return cv_datagram_frames_end(&session->vless_udp->frames, CV_PEER_TRUNCATED);
	return result;
}

void cv_step_vless_udp(struct cv_session *session)
{
	const struct cv_datagram_taker taker = {
		.take = take,
		.done = taken,
		.owner = session->vless_udp,
	};
	int result = 0;

	while (result == 0)
		result = cv_datagram_frames_read(&session->vless_udp->frames, &session->client,
						 &session->worker->app, &taker);
	result = end_of_stream(session, result);
	if (result == -EAGAIN)
		cv_leg_recv(&session->client);
	else
		cv_session_finish(session, result);
}

void cv_step_vless_udp_timer(struct cv_session *session)
{
	struct cv_vless_datagrams *stream = session->vless_udp;
	const uint64_t now = now_ms(stream);
	const uint64_t idle_ms = session->last_activity_ms + cv_session_level(session)->idle_ms;

	if (stream->error || now >= idle_ms) {
		cv_session_finish(session, stream->error ? stream->error : CV_POLICY_IDLE);
		return;
	}
	if (!may_read(stream))
		return;
	if (now >= stream->tick_ms)
		stream->tick_ms = now + cv_datagrams_tick(stream->datagrams);
	cv_timer_arm(session->worker->ring, &session->timer,
		     stream->tick_ms < idle_ms ? stream->tick_ms : idle_ms);
}
