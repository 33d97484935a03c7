// SPDX-License-Identifier: MIT
/*
 * reverse_portal.c - tunnels that bridges opened to us, and sessions that go into them.
 *
 *   session routed to a portal
 *     for its domain    -> carrier on the client leg, we open the streams; the first is the
 *                          control: heartbeat every 10 s; after 256 streams DRAIN, and it ends
 *     for anything else -> the tunnel with the fewest streams -> RELAY, its upstream leg a stream
 *                          none on this worker -> one that has some: the client's socket goes
 *                          there, or, if it has layers, a connection leads there
 *                          none at all -> refused
 */
#include "session/reverse_state.h"

#include "base/log.h"
#include "base/reason.h"
#include "crypto/crypto.h"
#include "ring/listen.h"
#include "session/handshake.h"
#include "session/preamble.h"
#include "session/session_front.h"
#include "session/steps.h"
#include "wire/reverse_control.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <linux/tcp.h>
#include <netinet/in.h>
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
	const struct cv_session *session = cv_carrier_session(tunnel->carrier);

	cv_log(CV_LOG_INFO, "portal %s: tunnel %u.%" PRIu64 " is drained after %" PRIu64 " streams",
	       session->outbound->tag, session->worker->index, session->id,
	       cv_carrier_stream_total(tunnel->carrier));
	say(tunnel, CV_REVERSE_DRAIN);
	tunnel->control = cv_stream_close(tunnel->control);
	note(tunnel->reverse, tunnel->portal);
}

static void drain_if_worn(struct tunnel *tunnel)
{
	if (tunnel->control && cv_reverse_is_worn(cv_carrier_stream_total(tunnel->carrier)))
		drain(tunnel);
}

/* Is nobody there to acknowledge what we said? A bridge's machine may be gone without a word. */
static bool is_dead(const struct tunnel *tunnel)
{
	const int fd = cv_carrier_session(tunnel->carrier)->client.fd;
	struct tcp_info info = {0};
	socklen_t len = sizeof(info);

	return fd >= 0 && getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0 &&
	       info.tcpi_unacked > 0 && info.tcpi_last_ack_recv > CV_REVERSE_DEAD_MS;
}

static void close_dead(struct tunnel *tunnel)
{
	struct cv_session *session = cv_carrier_session(tunnel->carrier);

	cv_session_close(session, CV_PEER_TIMEOUT);
	cv_session_event(session, NULL, 0);
}

/* A portal of @config, for its tag and its counters. */
static const struct cv_outbound *outbound_of(const struct cv_config *config,
					     const struct cv_portal *portal)
{
	for (size_t i = 0; i < config->outbound_count; i++)
		if (config->outbounds[i].portal == portal)
			return &config->outbounds[i];
	return NULL;
}

static void tick(struct cv_timer *timer)
{
	struct tunnel *tunnel = cv_container_of(timer, struct tunnel, timer);
	struct cv_ring *ring = tunnel->reverse->worker->ring;

	if (is_dead(tunnel)) {
		close_dead(tunnel);
		return;
	}
	if (tunnel->control && !outbound_of(tunnel->reverse->worker->config, tunnel->portal))
		drain(tunnel); /* a reload took the portal away */
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
		.received = heard, .ended = control_ended, .owner = tunnel, .is_patient = true};
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

	if (session->worker->stopping || session->worker->retiring) { /* there is a successor */
		cv_session_refuse(session, CV_POLICY_STOPPING);
		return;
	}
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

static int open_stream(struct cv_carrier *carrier, struct cv_mux_frame *opening,
		       struct cv_stream **ret_stream)
{
	struct cv_stream *stream;

	opening->session = cv_carrier_next_id(carrier);
	if (opening->session == 0)
		return CV_UPSTREAM_NO_TUNNEL;
	stream = cv_stream_new(carrier, opening->session);
	if (!stream)
		return CV_INTERNAL_MEMORY;
	if (cv_stream_opening(stream, opening) != 0) {
		cv_stream_close(stream);
		return CV_INTERNAL_MEMORY;
	}
	*ret_stream = stream;
	return 0;
}

int cv_portal_open_stream(struct cv_worker *worker, const struct cv_portal *portal,
			  struct cv_mux_frame *opening, struct cv_stream **ret_stream)
{
	struct tunnel *tunnel = pick(worker, portal);
	const int reason = tunnel ? open_stream(tunnel->carrier, opening, ret_stream)
				  : CV_UPSTREAM_NO_TUNNEL;

	if (!reason)
		drain_if_worn(tunnel);
	return reason;
}

static int carry(struct cv_session *session)
{
	struct cv_mux_frame opening = {
		.status = CV_MUX_NEW,
		.network = CV_MUX_TCP,
		.address = session->handshake->destination,
	};
	struct cv_stream *stream = NULL;
	const int reason = cv_portal_open_stream(session->worker, session->outbound->portal,
						 &opening, &stream);

	if (reason)
		return reason;
	session->state = CV_SESSION_CONNECT_UPSTREAM;
	cv_timer_disarm(session->worker->ring, &session->timer);
	cv_stream_attach(stream, &session->upstream);
	cv_mux_ready(session, 0);
	return 0;
}

/* ---- sessions of other workers ------------------------------------------------------------ */

struct visitor { /* on its way to the worker that has a tunnel */
	struct cv_post post;
	struct cv_worker *worker;
	struct cv_portal *portal; /* shared */
	struct cv_config *config; /* it counts in it, so that the inbound stays */
	const struct cv_inbound *inbound;
	int fd;
	uint32_t received_bytes;
	uint8_t facts;
	struct cv_buffer in; /* received, and for the tunnel */
	struct cv_destination destination;
	struct cv_proxied ends;
	bool has_ends;
};

static struct visitor *visitor_free(struct visitor *visitor)
{
	if (visitor->fd >= 0)
		(void)close(visitor->fd);
	cv_buffer_done(&visitor->in);
	atomic_fetch_sub(&visitor->config->session_count, 1);
	cv_portal_free(visitor->portal);
	free(visitor);
	return NULL;
}

static int receive(struct cv_session *session, struct visitor *visitor)
{
	cv_session_begin_with(session, visitor->config);
	session->outbound = outbound_of(session->config, visitor->portal);
	session->handshake->destination = visitor->destination;
	cv_session_name_destination(session, &visitor->destination, NULL);
	session->client.fd = visitor->fd;
	session->client.received_bytes = visitor->received_bytes;
	session->client.facts = visitor->facts;
	visitor->fd = -1;
	if (cv_buffer_append(&session->client.in, cv_buffer_bytes(&visitor->in),
			     cv_buffer_len(&visitor->in)) < 0)
		return CV_INTERNAL_MEMORY;
	if (visitor->has_ends) {
		session->proxied = malloc(sizeof(*session->proxied));
		if (!session->proxied)
			return CV_INTERNAL_MEMORY;
		*session->proxied = visitor->ends;
	}
	return session->outbound ? carry(session) : CV_UPSTREAM_NO_TUNNEL;
}

static void arrived(struct cv_post *post)
{
	struct visitor *visitor = cv_container_of(post, struct visitor, post);
	struct cv_session *session =
		visitor->worker->stopping
			? NULL
			: cv_session_without_client(visitor->worker, visitor->inbound);
	int reason;

	if (session) { /* else its socket closes, which the client sees */
		session->state = CV_SESSION_ROUTE;
		session->depth++;
		reason = receive(session, visitor);
		if (reason)
			cv_session_close(session, reason);
		session->depth--;
		cv_session_event(session, NULL, 0);
	}
	visitor_free(visitor);
}

static void send_to(void *worker, void *context)
{
	struct visitor *visitor = context;

	visitor->worker = worker;
	cv_ring_post(visitor->worker->ring, &visitor->post);
}

static bool leads_elsewhere(struct visitor *visitor, const struct cv_session *session)
{
	return cv_portal_elsewhere(visitor->portal, session->worker->index, send_to, visitor) <
	       CV_PORTAL_PLACES;
}

static struct visitor *new_visitor(const struct cv_session *session)
{
	struct visitor *visitor = calloc(1, sizeof(*visitor));
	struct cv_sockaddr source;

	if (!visitor)
		return NULL;
	visitor->fd = -1;
	visitor->post.run = arrived;
	visitor->portal = cv_portal_share(session->outbound->portal);
	visitor->config = session->config;
	atomic_fetch_add(&visitor->config->session_count, 1);
	cv_buffer_init(&visitor->in, CV_LEG_IN_LIMIT);
	visitor->destination = session->handshake->destination;
	visitor->has_ends = cv_session_client_address(session, &source);
	visitor->ends = (struct cv_proxied){.source = source, .destination = source};
	if (session->proxied)
		visitor->ends = *session->proxied;
	return visitor;
}

/* Its socket is all there is of it: nobody who can be limited, no layers, nothing to be said. */
static bool is_movable(const struct cv_session *session)
{
	const struct cv_leg *client = &session->client;

	return client->fd >= 0 && !client->stack && !client->ktls && !session->user &&
	       !cv_leg_busy(client) && cv_leg_queued(client) == 0 &&
	       session->handshake->front == CV_FRONT_NONE &&
	       cv_buffer_len(&session->handshake->app) == 0;
}

/* Here it is over, there it begins. */
static int move(struct cv_session *session)
{
	struct visitor *visitor = new_visitor(session);
	struct cv_leg *client = &session->client;

	if (!visitor)
		return CV_INTERNAL_MEMORY;
	visitor->inbound = session->inbound;
	visitor->has_ends = session->proxied; /* else its socket tells */
	visitor->fd = client->fd;
	visitor->received_bytes = client->received_bytes;
	visitor->facts = client->facts;
	if (cv_buffer_append(&visitor->in, cv_buffer_bytes(&client->in),
			     cv_buffer_len(&client->in)) < 0 ||
	    !leads_elsewhere(visitor, session)) {
		visitor->fd = -1;
		visitor_free(visitor);
		return CV_UPSTREAM_NO_TUNNEL;
	}
	client->fd = -1;
	cv_session_close(session, 0);
	return 0;
}

/* It stays here, and relays to a socket whose other end a worker with a tunnel has. A reset of the
 * one end must be one at the other: so it is TCP. */
static int lead(struct cv_session *session)
{
	struct visitor *visitor = new_visitor(session);
	int fds[2], error;

	if (!visitor)
		return CV_INTERNAL_MEMORY;
	if (cv_socket_pair(fds) < 0) {
		visitor_free(visitor);
		return CV_INTERNAL_RESOURCE;
	}
	visitor->inbound = &from_elsewhere;
	visitor->fd = fds[1];
	if (!leads_elsewhere(visitor, session)) {
		(void)close(fds[0]);
		visitor_free(visitor);
		return CV_UPSTREAM_NO_TUNNEL;
	}
	session->state = CV_SESSION_CONNECT_UPSTREAM;
	cv_timer_disarm(session->worker->ring, &session->timer);
	session->upstream.fd = fds[0];
	error = cv_front_accepted(session);
	if (error)
		cv_session_close(session, error);
	else
		cv_session_relay(session);
	return 0;
}

static int lead_elsewhere(struct cv_session *session)
{
	uint32_t active, draining;

	cv_portal_count(session->outbound->portal, &active, &draining);
	if (active + draining == 0)
		return CV_UPSTREAM_NO_TUNNEL;
	return is_movable(session) ? move(session) : lead(session);
}

/* ---- for others --------------------------------------------------------------------------- */

void cv_portal_dial(struct cv_session *session)
{
	const struct cv_portal *portal = session->outbound->portal;
	int reason;

	if (cv_portal_is_tunnel(portal, &session->handshake->destination)) {
		if (session->handshake->carrier) /* a bridge of this process, led to its portal
						    without anything in between */
			cv_session_refuse(session, CV_POLICY_NO_OUTBOUND);
		else
			accept_tunnel(session);
		return;
	}
	reason = carry(session);
	if (reason == CV_UPSTREAM_NO_TUNNEL)
		reason = lead_elsewhere(session);
	if (reason)
		cv_session_refuse(session, reason);
}

int cv_portal_open_datagrams(struct cv_session *session, const struct cv_outbound *outbound,
			     const struct cv_destination *target,
			     const struct cv_stream_owner *owner, struct cv_stream **ret_stream)
{
	struct cv_mux_frame opening = {
		.status = CV_MUX_NEW, .network = CV_MUX_UDP, .address = *target};
	struct cv_carrier *link;
	int reason = cv_portal_open_stream(session->worker, outbound->portal, &opening, ret_stream);

	if (reason == CV_UPSTREAM_NO_TUNNEL) {
		link = cv_reverse_link(session->worker, outbound->portal);
		reason = link ? open_stream(link, &opening, ret_stream) : reason;
	}
	if (!reason)
		cv_stream_own(*ret_stream, owner);
	return reason;
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
