// SPDX-License-Identifier: MIT
/*
 * reverse_portal.c - tunnels that bridges opened to us, and sessions that go into them.
 *
 *   session routed to a portal
 *     for its domain    -> carrier on the client leg, we open the streams; the first is the
 *                          control: heartbeat every 10 s; after 256 streams DRAIN, and it ends
 *     for anything else -> the tunnel with the fewest streams -> RELAY, its upstream leg a stream
 *                          none on this worker -> one that has some: a pair of sockets leads there
 *                          none at all -> refused
 */
#include "session/reverse_state.h"

#include "base/log.h"
#include "base/reason.h"
#include "crypto/crypto.h"
#include "session/handshake.h"
#include "session/preamble.h"
#include "session/session_front.h"
#include "session/steps.h"
#include "wire/reverse_control.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define TUNNELS_MAX 1024 /* of a worker */

struct tunnel {
	struct cv_list all; /* of the worker */
	struct cv_reverse *reverse;
	struct cv_portal *portal; /* shared */
	struct cv_carrier *carrier;
	struct cv_stream *control;  /* NULL: drained */
	struct cv_timer timer;
	uint32_t ticks;
};

static const struct cv_inbound from_elsewhere = {.tag = (char[]){"portal"},
						 .protocol = CV_INBOUND_TUNNEL};

/* ---- what others know --------------------------------------------------------------------- */

static void note(struct cv_reverse *reverse, struct cv_portal *portal)
{
	uint32_t active = 0, draining = 0;

	for (struct cv_list *at = reverse->tunnels.next; at != &reverse->tunnels; at = at->next) {
		const struct tunnel *tunnel = cv_container_of(at, struct tunnel, all);

		active += tunnel->portal == portal && tunnel->control;
		draining += tunnel->portal == portal && !tunnel->control;
	}
	cv_portal_note(portal, reverse->worker->index, reverse->worker, active, draining);
}

/* ---- control ------------------------------------------------------------------------------ */

static void say(struct tunnel *tunnel, enum cv_reverse_state state)
{
	uint8_t message[CV_REVERSE_CONTROL_MAX], random[CV_REVERSE_RANDOM_MAX];
	const size_t random_bytes = 1 + cv_random_below(CV_REVERSE_RANDOM_MAX);
	size_t len;

	if (cv_random_bytes(random, sizeof(random)) != 0)
		return; /* the next one may do */
	len = cv_reverse_control_write(state, cv_span_of(random, random_bytes), message);
	cv_stream_send(tunnel->control, NULL, message, len);
}

static void drain(struct tunnel *tunnel)
{
	say(tunnel, CV_REVERSE_DRAIN);
	tunnel->control = cv_stream_close(tunnel->control);
	note(tunnel->reverse, tunnel->portal);
}

static void drain_if_worn(struct tunnel *tunnel)
{
	if (tunnel->control && cv_reverse_is_worn(cv_carrier_stream_total(tunnel->carrier)))
		drain(tunnel);
}

static void tick(struct cv_timer *timer)
{
	struct tunnel *tunnel = cv_container_of(timer, struct tunnel, timer);
	struct cv_ring *ring = tunnel->reverse->worker->ring;

	drain_if_worn(tunnel);
	if (tunnel->control && ++tunnel->ticks % CV_REVERSE_BEAT_TICKS == 0)
		say(tunnel, CV_REVERSE_ACTIVE);
	cv_timer_arm(ring, &tunnel->timer, cv_ring_now_ms(ring) + CV_REVERSE_TICK_MS);
}

/* Bridges say nothing on it. */
static void heard(void *owner, const struct cv_destination *address, uint8_t *bytes,
		  size_t len_bytes)
{
	(void)owner;
	(void)address;
	(void)bytes;
	(void)len_bytes;
}

/* Without control a tunnel is as good as drained. */
static void control_ended(void *owner, int reason)
{
	struct tunnel *tunnel = owner;

	(void)reason;
	tunnel->control = cv_stream_close(tunnel->control);
	note(tunnel->reverse, tunnel->portal);
}

static int open_control(struct tunnel *tunnel)
{
	const struct cv_stream_owner owner = {
		.received = heard, .ended = control_ended, .owner = tunnel};
	struct cv_mux_frame opening = {
		.status = CV_MUX_NEW,
		.network = CV_MUX_UDP,
		.address = {.kind = CV_ADDRESS_DOMAIN}, /* port 0 */
	};

	snprintf(opening.address.domain, sizeof(opening.address.domain), "%s",
		 cv_portal_control_domain(tunnel->portal));
	opening.session = cv_carrier_next_id(tunnel->carrier);
	tunnel->control = cv_stream_new(tunnel->carrier, opening.session);
	if (!tunnel->control)
		return CV_INTERNAL_MEMORY;
	cv_stream_own(tunnel->control, &owner);
	return cv_stream_opening(tunnel->control, &opening);
}

/* ---- tunnels ------------------------------------------------------------------------------ */

static void gone(struct cv_carrier *carrier)
{
	struct tunnel *tunnel = cv_carrier_settings(carrier)->context;

	cv_list_remove(&tunnel->all);
	cv_timer_disarm(tunnel->reverse->worker->ring, &tunnel->timer);
	tunnel->control = cv_stream_close(tunnel->control);
	note(tunnel->reverse, tunnel->portal);
	cv_portal_free(tunnel->portal);
	free(tunnel);
}

static struct tunnel *new_tunnel(struct cv_session *session)
{
	struct cv_reverse *reverse = cv_reverse_of(session->worker);
	struct tunnel *tunnel = reverse ? calloc(1, sizeof(*tunnel)) : NULL;
	const struct cv_carrier_config config = {
		.role = CV_CARRIER_CLIENT,
		.kind = CV_MUX_FORWARD,
		.max_streams = UINT16_MAX,
		.max_total = CV_REVERSE_IDS_MAX,
		.gone = gone,
		.context = tunnel,
	};

	if (!tunnel)
		return NULL;
	tunnel->reverse = reverse;
	tunnel->timer.due = tick;
	tunnel->carrier = cv_carrier_new(session, &config);
	if (!tunnel->carrier) {
		free(tunnel);
		return NULL;
	}
	tunnel->portal = cv_portal_share(session->outbound->portal);
	cv_list_add(&reverse->tunnels, &tunnel->all);
	return tunnel;
}

static uint32_t tunnel_count(const struct cv_reverse *reverse)
{
	uint32_t count = 0;

	for (struct cv_list *at = reverse ? reverse->tunnels.next : NULL;
	     reverse && at != &reverse->tunnels; at = at->next)
		count++;
	return count;
}

/* What sniffing took out of the layers goes back: it would be frames. */
static int give_back_early(struct cv_session *session)
{
	struct cv_buffer *early = &session->handshake->app;
	int error = 0;

	if (cv_buffer_len(early) > 0)
		error = cv_leg_unread(&session->client, cv_buffer_span(early));
	cv_buffer_consume(early, cv_buffer_len(early));
	return error;
}

static void accept_tunnel(struct cv_session *session)
{
	struct tunnel *tunnel;
	struct cv_ring *ring = session->worker->ring;
	int error;

	if (tunnel_count(session->worker->reverse) >= TUNNELS_MAX) {
		cv_session_refuse(session, CV_POLICY_SESSION_LIMIT);
		return;
	}
	error = cv_front_accepted(session);
	if (!error)
		error = give_back_early(session);
	tunnel = error ? NULL : new_tunnel(session);
	if (!tunnel) {
		cv_session_close(session, error ? error : CV_INTERNAL_MEMORY);
		return;
	}
	session->handshake->carrier = tunnel->carrier;
	error = open_control(tunnel);
	if (error) {
		cv_session_close(session, error); /* and the tunnel with it */
		return;
	}
	cv_log(CV_LOG_INFO, "portal %s: tunnel %u.%" PRIu64 " from a bridge is open",
	       session->outbound->tag, session->worker->index, session->id);
	cv_carrier_start(tunnel->carrier, &session->client);
	say(tunnel, CV_REVERSE_ACTIVE);
	note(tunnel->reverse, tunnel->portal);
	cv_timer_arm(ring, &tunnel->timer, cv_ring_now_ms(ring) + CV_REVERSE_TICK_MS);
}

/* ---- sessions ----------------------------------------------------------------------------- */

static struct tunnel *pick(struct cv_worker *worker, const struct cv_portal *portal)
{
	struct cv_reverse *reverse = worker->reverse;
	struct cv_tunnel_view views[TUNNELS_MAX];
	struct tunnel *tunnels[TUNNELS_MAX];
	size_t count = 0, picked;

	for (struct cv_list *at = reverse ? reverse->tunnels.next : NULL;
	     reverse && at != &reverse->tunnels && count < TUNNELS_MAX; at = at->next) {
		struct tunnel *tunnel = cv_container_of(at, struct tunnel, all);

		if (tunnel->portal != portal)
			continue;
		tunnels[count] = tunnel;
		views[count++] = (struct cv_tunnel_view){
			.streams = cv_carrier_stream_count(tunnel->carrier),
			.total = cv_carrier_stream_total(tunnel->carrier),
			.draining = !tunnel->control,
		};
	}
	picked = cv_reverse_pick(views, count);
	return picked == CV_REVERSE_NO_TUNNEL ? NULL : tunnels[picked];
}

static int open_stream(struct tunnel *tunnel, struct cv_mux_frame *opening,
		       struct cv_stream **ret_stream)
{
	struct cv_stream *stream;

	opening->session = cv_carrier_next_id(tunnel->carrier);
	if (opening->session == 0)
		return CV_UPSTREAM_NO_TUNNEL;
	stream = cv_stream_new(tunnel->carrier, opening->session);
	if (!stream)
		return CV_INTERNAL_MEMORY;
	if (cv_stream_opening(stream, opening) != 0) {
		cv_stream_close(stream);
		return CV_INTERNAL_MEMORY;
	}
	*ret_stream = stream;
	return 0;
}

static int carry(struct cv_session *session, struct tunnel *tunnel)
{
	struct cv_mux_frame opening = {
		.status = CV_MUX_NEW,
		.network = CV_MUX_TCP,
		.address = session->handshake->destination,
	};
	struct cv_stream *stream = NULL;
	const int reason = open_stream(tunnel, &opening, &stream);

	if (reason)
		return reason;
	session->state = CV_SESSION_CONNECT_UPSTREAM;
	cv_timer_disarm(session->worker->ring, &session->timer);
	cv_stream_attach(stream, &session->upstream);
	drain_if_worn(tunnel);
	cv_mux_ready(session, 0);
	return 0;
}

/* ---- sessions of other workers ------------------------------------------------------------ */

struct visitor { /* on its way to the worker that has a tunnel */
	struct cv_post post;
	struct cv_worker *worker;
	struct cv_portal *portal; /* shared */
	int fd;
	struct cv_destination destination;
	struct cv_proxied ends;
	bool has_ends;
};

/* A portal of the worker's present configuration, for its tag and its counters. */
static const struct cv_outbound *outbound_of(const struct cv_config *config,
					     const struct cv_portal *portal)
{
	for (size_t i = 0; i < config->outbound_count; i++)
		if (config->outbounds[i].portal == portal)
			return &config->outbounds[i];
	return NULL;
}

static int receive(struct cv_session *session, const struct visitor *visitor)
{
	struct tunnel *tunnel = pick(session->worker, visitor->portal);

	session->outbound = outbound_of(session->config, visitor->portal);
	session->handshake->destination = visitor->destination;
	cv_session_name_destination(session, &visitor->destination, NULL);
	if (visitor->has_ends) {
		session->proxied = malloc(sizeof(*session->proxied));
		if (!session->proxied)
			return CV_INTERNAL_MEMORY;
		*session->proxied = visitor->ends;
	}
	if (!tunnel || !session->outbound)
		return CV_UPSTREAM_NO_TUNNEL;
	return carry(session, tunnel);
}

static void arrived(struct cv_post *post)
{
	struct visitor *visitor = cv_container_of(post, struct visitor, post);
	struct cv_session *session =
		visitor->worker->stopping
			? NULL
			: cv_session_without_client(visitor->worker, &from_elsewhere);
	int reason;

	if (!session) {
		(void)close(visitor->fd); /* the other end sees that */
	} else {
		session->state = CV_SESSION_ROUTE;
		session->client.fd = visitor->fd;
		session->depth++;
		reason = receive(session, visitor);
		if (reason)
			cv_session_close(session, reason);
		session->depth--;
		cv_session_event(session, NULL, 0);
	}
	cv_portal_free(visitor->portal);
	free(visitor);
}

static bool send_to(void *worker, void *context)
{
	struct visitor *visitor = context;

	visitor->worker = worker;
	cv_ring_post(visitor->worker->ring, &visitor->post);
	return true;
}

static int new_visitor(const struct cv_session *session, struct visitor **ret_visitor,
		       int *ret_fd)
{
	struct visitor *visitor = calloc(1, sizeof(*visitor));
	struct cv_sockaddr source;
	int fds[2];

	if (!visitor)
		return CV_INTERNAL_MEMORY;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) < 0) {
		free(visitor);
		return CV_INTERNAL_RESOURCE;
	}
	visitor->post.run = arrived;
	visitor->portal = cv_portal_share(session->outbound->portal);
	visitor->fd = fds[1];
	visitor->destination = session->handshake->destination;
	visitor->has_ends = cv_session_client_address(session, &source);
	visitor->ends = (struct cv_proxied){.source = source, .destination = source};
	if (session->proxied)
		visitor->ends = *session->proxied;
	*ret_fd = fds[0];
	*ret_visitor = visitor;
	return 0;
}

/* 0: it relays, to a socket whose other end a worker with a tunnel has. */
static int lead_elsewhere(struct cv_session *session)
{
	struct cv_portal *portal = session->outbound->portal;
	struct visitor *visitor = NULL;
	int fd = -1, error = new_visitor(session, &visitor, &fd);

	if (error)
		return error;
	if (!cv_portal_elsewhere(portal, session->worker->index, send_to, visitor)) {
		(void)close(fd);
		(void)close(visitor->fd);
		cv_portal_free(visitor->portal);
		free(visitor);
		return CV_UPSTREAM_NO_TUNNEL;
	}
	session->state = CV_SESSION_CONNECT_UPSTREAM;
	cv_timer_disarm(session->worker->ring, &session->timer);
	session->upstream.fd = fd;
	error = cv_front_accepted(session);
	if (error)
		cv_session_close(session, error);
	else
		cv_session_relay(session);
	return 0;
}

/* ---- for others --------------------------------------------------------------------------- */

void cv_portal_dial(struct cv_session *session)
{
	const struct cv_portal *portal = session->outbound->portal;
	struct tunnel *tunnel;
	int reason;

	if (cv_portal_is_tunnel(portal, &session->handshake->destination)) {
		if (session->handshake->carrier) /* a bridge of this process, led to its portal
						    without anything in between */
			cv_session_refuse(session, CV_POLICY_NO_OUTBOUND);
		else
			accept_tunnel(session);
		return;
	}
	tunnel = pick(session->worker, portal);
	reason = tunnel ? carry(session, tunnel) : lead_elsewhere(session);
	if (reason)
		cv_session_refuse(session, reason);
}

int cv_portal_open_datagrams(struct cv_session *session, const struct cv_outbound *outbound,
			     const struct cv_destination *target,
			     const struct cv_stream_owner *owner, struct cv_stream **ret_stream)
{
	struct tunnel *tunnel = pick(session->worker, outbound->portal);
	struct cv_mux_frame opening = {
		.status = CV_MUX_NEW, .network = CV_MUX_UDP, .address = *target};
	int reason;

	if (!tunnel)
		return CV_UPSTREAM_NO_TUNNEL;
	reason = open_stream(tunnel, &opening, ret_stream);
	if (reason)
		return reason;
	cv_stream_own(*ret_stream, owner);
	drain_if_worn(tunnel);
	return 0;
}

bool cv_reverse_is_domain(const struct cv_session *session)
{
	const struct cv_config *config = session->config;

	if (session->handshake->carrier)
		return true;
	for (size_t i = 0; i < config->outbound_count; i++)
		if (config->outbounds[i].portal &&
		    cv_portal_is_tunnel(config->outbounds[i].portal,
					&session->handshake->destination))
			return true;
	return false;
}

void cv_portal_stop(struct cv_worker *worker)
{
	struct cv_reverse *reverse = worker->reverse;

	for (struct cv_list *at = reverse ? reverse->tunnels.next : NULL;
	     reverse && at != &reverse->tunnels; at = at->next) {
		struct tunnel *tunnel = cv_container_of(at, struct tunnel, all);

		if (tunnel->control)
			drain(tunnel);
	}
}
