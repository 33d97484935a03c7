// SPDX-License-Identifier: MIT
/*
 * session_tunnel.c - whoever comes is led to the place that the configuration names.
 *
 *   TCP   accept -> [TLS] -> destination set -> SNIFF, ROUTE, as for anybody
 *   UDP   datagram -> whose? -> a new session: TUNNEL_DATAGRAMS -> cv_datagrams_send()
 *                  \-> known ----------------------------------/
 *         answer <- the listener's socket <- cv_datagrams
 *
 * The kernel leads the datagrams of one source always to the same worker's socket. The client knows
 * of one peer only: what comes from anywhere else than the destination is dropped.
 *
 * observable: a socket that is bound to every address answers from the one that the way to the
 * client begins with.
 */
#include "session/session_tunnel.h"

#include "session/datagrams.h"
#include "session/handshake.h"
#include "session/preamble.h"
#include "session/steps.h"
#include "session/worker.h"

#include "base/log.h"
#include "base/reason.h"
#include "policy/reload.h"
#include "policy/siphash.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define IDLE_MS 60000
#define BUCKETS 256 /* power of two */

struct cv_tunnel_flow { /* one source */
	struct cv_session *session;
	struct cv_tunnel_listener *listener; /* NULL: it is closed */
	struct cv_tunnel_flow *next;	     /* in the bucket */
	struct cv_datagrams *datagrams;
	struct cv_sockaddr peer;
	struct cv_destination target;
	uint64_t tick_ms;
};

struct cv_tunnel_listener {
	struct cv_worker *worker;
	const struct cv_inbound *inbound;
	struct cv_datagram_socket *socket;
	struct cv_sockaddr address;
	struct cv_siphash_key key;
	struct cv_tunnel_flow *buckets[BUCKETS];
	struct cv_tunnel_listener *next;
};

/* ---- connections -------------------------------------------------------------------------- */

static bool came_to(struct cv_session *session, struct cv_destination *ret_local)
{
	struct cv_sockaddr address = {.len_bytes = sizeof(address.un)};

	if (session->proxied)
		address = session->proxied->destination;
	else if (session->client.fd < 0 ||
		 getsockname(session->client.fd, &address.any, &address.len_bytes) < 0)
		return false;
	*ret_local = (struct cv_destination){.kind = CV_ADDRESS_NONE}; /* a unix socket */
	(void)cv_sockaddr_to_destination(&address, ret_local);
	return true;
}

void cv_step_tunnel_begin(struct cv_session *session)
{
	struct cv_destination local;

	if (!came_to(session, &local)) {
		cv_session_close(session, CV_PEER_RESET);
		return;
	}
	cv_tunnel_target(session->inbound->tunnel, &local, &session->handshake->destination);
	if (session->handshake->destination.port == 0) /* a unix socket has none to lend */
		cv_session_refuse(session, CV_PEER_ADDRESS);
	else
		cv_step_target(session);
}

/* ---- sources of datagrams ----------------------------------------------------------------- */

/* Of an IP socket; padding of struct sockaddr is zero, as the kernel writes it. */
static struct cv_tunnel_flow **find(struct cv_tunnel_listener *listener,
				    const struct cv_sockaddr *peer)
{
	const uint64_t hash = cv_siphash(&listener->key, &peer->any, peer->len_bytes);
	struct cv_tunnel_flow **at = &listener->buckets[hash % BUCKETS];

	while (*at && ((*at)->peer.len_bytes != peer->len_bytes ||
		       memcmp(&(*at)->peer.any, &peer->any, peer->len_bytes) != 0))
		at = &(*at)->next;
	return at;
}

static void flow_free(struct cv_tunnel_flow *flow)
{
	if (flow->listener) {
		struct cv_tunnel_flow **at = find(flow->listener, &flow->peer);

		if (*at == flow)
			*at = flow->next;
	}
	cv_datagrams_free(flow->datagrams);
	free(flow);
}

void cv_tunnel_leave(struct cv_session *session)
{
	if (session->state != CV_SESSION_TUNNEL_DATAGRAMS)
		return;
	flow_free(session->tunnel_flow);
	session->tunnel_flow = NULL;
}

static void to_client(void *owner, const struct cv_destination *source, uint8_t *bytes,
		      size_t len_bytes)
{
	struct cv_tunnel_flow *flow = owner;

	(void)source; /* it has sent to one place only */
	if (flow->listener)
		(void)cv_datagram_send(flow->listener->socket, &flow->peer, bytes, len_bytes);
}

/* Who it is, for rules by source and for logs. */
static int tell_ends(struct cv_session *session, const struct cv_tunnel_listener *listener,
		     const struct cv_sockaddr *peer)
{
	session->proxied = calloc(1, sizeof(*session->proxied));
	if (!session->proxied)
		return CV_INTERNAL_MEMORY;
	session->proxied->source = *peer;
	session->proxied->destination = listener->address;
	return 0;
}

static int begin(struct cv_session *session, struct cv_tunnel_listener *listener,
		 const struct cv_sockaddr *peer, struct cv_tunnel_flow **ret_flow)
{
	struct cv_tunnel_flow *flow = calloc(1, sizeof(*flow));
	const struct cv_datagram_near near = {
		.deliver = to_client, .only_asked = true, .owner = flow};
	struct cv_destination local;
	int reason = flow ? tell_ends(session, listener, peer) : CV_INTERNAL_MEMORY;

	if (!reason && !cv_sockaddr_to_destination(&listener->address, &local))
		reason = CV_INTERNAL_STATE;
	if (!reason && !cv_session_carries_datagrams(session))
		reason = CV_POLICY_NO_DATAGRAMS;
	if (!reason)
		reason = cv_datagrams_new(session, &near, &flow->datagrams);
	if (reason) {
		free(flow);
		return reason;
	}
	flow->session = session;
	flow->peer = *peer;
	cv_tunnel_target(listener->inbound->tunnel, &local, &flow->target);
	flow->listener = listener;
	*find(listener, peer) = flow; /* there is none yet: the end of its bucket */
	*ret_flow = flow;
	return 0;
}

static struct cv_tunnel_flow *admit(struct cv_tunnel_listener *listener,
				    const struct cv_sockaddr *peer)
{
	struct cv_session *session =
		cv_session_without_client(listener->worker, listener->inbound);
	struct cv_tunnel_flow *flow = NULL;
	int reason;

	if (!session)
		return NULL;
	reason = begin(session, listener, peer, &flow);
	if (reason) {
		cv_session_close(session, reason);
		cv_session_event(session, NULL, 0);
		return NULL;
	}
	cv_session_name_destination(session, &flow->target, NULL);
	session->handshake = cv_handshake_free(session->handshake);
	session->tunnel_flow = flow;
	session->state = CV_SESSION_TUNNEL_DATAGRAMS;
	cv_step_tunnel_timer(session);
	return flow;
}

static void received(void *owner, const struct cv_sockaddr *from, uint8_t *bytes, size_t len_bytes)
{
	struct cv_tunnel_listener *listener = owner;
	struct cv_tunnel_flow *flow = *find(listener, from);

	if (!flow)
		flow = admit(listener, from);
	if (flow)
		cv_datagrams_send(flow->datagrams, &flow->target, bytes, len_bytes);
}

void cv_step_tunnel_timer(struct cv_session *session)
{
	struct cv_tunnel_flow *flow = session->tunnel_flow;
	const uint64_t now_ms = cv_ring_now_ms(session->worker->ring);
	const uint64_t idle_ms = session->last_activity_ms + IDLE_MS;

	if (now_ms >= idle_ms) {
		cv_session_close(session, 0); /* UDP has no other end */
		return;
	}
	if (now_ms >= flow->tick_ms)
		flow->tick_ms = now_ms + cv_datagrams_tick(flow->datagrams);
	cv_timer_arm(session->worker->ring, &session->timer,
		     flow->tick_ms < idle_ms ? flow->tick_ms : idle_ms);
}

/* ---- listening ---------------------------------------------------------------------------- */

static int bind_socket(const struct cv_sockaddr *address, bool is_shared)
{
	const int on = 1, off = 0;
	int fd = socket(address->any.sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int error;

	if (fd < 0)
		return -errno;
	if (address->any.sa_family == AF_INET6)
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	if (is_shared)
		(void)setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
	if (bind(fd, &address->any, address->len_bytes) == 0)
		return fd;
	error = -errno;
	(void)close(fd);
	return error;
}

int cv_tunnel_bind(const struct cv_sockaddr *address)
{
	return bind_socket(address, true);
}

int cv_tunnel_expect_free(const struct cv_sockaddr *address)
{
	const int fd = bind_socket(address, false);

	if (fd >= 0)
		(void)close(fd);
	return fd < 0 ? fd : 0;
}

int cv_tunnel_listen(struct cv_worker *worker, const struct cv_inbound *inbound, int fd)
{
	struct cv_tunnel_listener *listener = calloc(1, sizeof(*listener));
	const struct cv_datagram_config config = {
		.ring = worker->ring,
		.pool = cv_datagrams_pool(worker),
		.received = received,
		.owner = listener,
	};
	int error = listener && config.pool ? cv_siphash_key_random(&listener->key)
					    : CV_INTERNAL_MEMORY;

	if (!error && cv_datagram_adopt(&config, fd, &listener->socket) != 0)
		error = CV_INTERNAL_MEMORY;
	if (error) {
		(void)close(fd);
		free(listener);
		return error;
	}
	listener->worker = worker;
	listener->inbound = inbound;
	(void)cv_datagram_local(listener->socket, &listener->address);
	listener->next = worker->tunnels;
	worker->tunnels = listener;
	return 0;
}

void cv_tunnel_use(struct cv_worker *worker, struct cv_config *config)
{
	for (struct cv_tunnel_listener *l = worker->tunnels; l; l = l->next)
		l->inbound = cv_reload_successor(l->inbound, config);
}

/* Without the socket no answer can be passed on. */
static void end_flows(struct cv_tunnel_listener *listener, size_t bucket)
{
	struct cv_tunnel_flow *flow;

	while ((flow = listener->buckets[bucket])) {
		struct cv_session *session = flow->session;

		listener->buckets[bucket] = flow->next;
		flow->listener = NULL;
		cv_session_close(session, CV_POLICY_STOPPING);
		cv_session_event(session, NULL, 0);
	}
}

void cv_tunnel_close_all(struct cv_worker *worker)
{
	while (worker->tunnels) {
		struct cv_tunnel_listener *listener = worker->tunnels;

		worker->tunnels = listener->next;
		for (size_t i = 0; i < BUCKETS; i++)
			end_flows(listener, i);
		cv_datagram_close(listener->socket);
		free(listener);
	}
}
