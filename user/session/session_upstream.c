// SPDX-License-Identifier: MIT
/*
 * session_upstream.c - from a request to the outbound that carries it.
 *
 *   ROUTE  rules (resolve once if they need addresses) -> outbound
 *     blackhole           refuse
 *     portal              reverse_portal.c: a tunnel, or into one
 *     freedom             dial the destination -> RELAY
 *     vless, vmess, socks, http  session_retry.c: the first attempt
 */
#include "session/datagram_proxy.h"
#include "session/handshake.h"
#include "session/preamble.h"
#include "session/reverse.h"
#include "session/room.h"
#include "session/session_front.h"
#include "session/session_probe.h"
#include "session/steps.h"
#include "session/worker.h"

#include "base/log.h"
#include "base/reason.h"
#include "policy/private_address.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#define CONNECT_MS 16000

static const char forbidden_response[] = "HTTP/1.1 403 Forbidden\r\nConnection: close\r\n"
					 "Cache-Control: max-age=3600, public\r\n"
					 "Content-Length: 0\r\n\r\n";

void cv_session_name_destination(struct cv_session *session,
				 const struct cv_destination *destination,
				 const struct cv_sockaddr *address)
{
	char text[CV_DESTINATION_TEXT];

	if (destination)
		cv_destination_format(destination, text);
	else
		cv_sockaddr_format(address, text);
	cv_worker_forget_text(session->worker, session->destination_text);
	session->destination_text = cv_worker_keep_text(session->worker, text);
}

void cv_session_refuse(struct cv_session *session, int reason)
{
	cv_front_refuse(session, reason);
}

/* ---- dialling ----------------------------------------------------------------------------- */

static bool guards_private(const struct cv_session *session)
{
	return session->outbound && session->outbound->protocol == CV_OUTBOUND_FREEDOM &&
	       session->outbound->block_private && session->inbound->guards_private;
}

static bool allow_address(void *owner, const struct cv_sockaddr *address)
{
	struct cv_session *session = owner;

	if (!guards_private(session) || !cv_address_is_private(address))
		return true;
	session->handshake->private_refused = true;
	return false;
}

/* It must not make room itself, whoever has to. */
static bool make_room(void *owner)
{
	struct cv_session *session = owner;

	session->depth++;
	cv_room_make(session->worker, 1, CV_INTERNAL_RESOURCE);
	session->depth--;
	return session->worker->leaving > 0;
}

void cv_session_connect_within(struct cv_session *session, uint32_t timeout_ms,
			       const struct cv_destination *destination,
			       const struct cv_sockaddr *address,
			       enum cv_resolve_strategy strategy,
			       void (*connected)(void *owner, int fd, int reason))
{
	struct cv_connect_request request = {
		.ring = session->worker->ring,
		.resolver = session->worker->resolver,
		.destination = destination,
		.address = address,
		.strategy = strategy,
		.timeout_ms = timeout_ms,
		.done = connected,
		.owner = session,
		.allow = allow_address,
		.make_room = make_room,
	};

	cv_timer_disarm(session->worker->ring, &session->timer);
	if (cv_place_take_early(session, address ? (const void *)address : destination, connected))
		return;
	session->handshake->connector = cv_connect_start(&request);
	if (!session->handshake->connector)
		cv_session_close(session, CV_INTERNAL_MEMORY);
}

void cv_session_connect(struct cv_session *session, const struct cv_destination *destination,
			const struct cv_sockaddr *address, enum cv_resolve_strategy strategy,
			void (*connected)(void *owner, int fd, int reason))
{
	const uint32_t timeout_ms = cv_probe_is(session) ? cv_upstream_left_ms(session, CONNECT_MS)
							 : CONNECT_MS;

	cv_session_connect_within(session, timeout_ms, destination, address, strategy, connected);
}

static void freedom_connected(void *owner, int fd, int reason)
{
	struct cv_session *session = owner;
	int error;

	session->handshake->connector = NULL;
	if (fd < 0) {
		if (session->handshake->private_refused)
			reason = CV_POLICY_PRIVATE_TARGET;
		cv_session_refuse(session, reason);
		cv_session_event(session, NULL, 0);
		return;
	}
	session->upstream.fd = fd;
	error = cv_session_proxy_header(session, session->outbound->proxy_protocol);
	if (!error)
		error = cv_front_accepted(session);
	if (error)
		cv_session_close(session, error);
	else
		cv_session_relay(session);
	cv_session_event(session, NULL, 0);
}

/* ---- routing ------------------------------------------------------------------------------ */

void cv_step_freedom(struct cv_session *session)
{
	const struct cv_outbound *outbound = session->outbound;
	struct cv_destination destination = session->handshake->destination;

	session->state = CV_SESSION_CONNECT_UPSTREAM;
	if (outbound->redirect.kind != CV_ADDRESS_NONE) {
		destination = outbound->redirect;
		if (destination.port == 0)
			destination.port = session->handshake->destination.port;
	} else if (outbound->redirect.port) {
		destination.port = outbound->redirect.port;
	}
	cv_session_connect(session, &destination, NULL, outbound->strategy, freedom_connected);
}

void cv_step_dial(struct cv_session *session)
{
	const struct cv_outbound *outbound = session->outbound;

	session->state = CV_SESSION_CONNECT_UPSTREAM;
	if (session->handshake->is_bind && outbound->protocol != CV_OUTBOUND_BLACKHOLE) {
		cv_step_bind_begin(session);
		return;
	}
	switch (outbound->protocol) {
	case CV_OUTBOUND_BLACKHOLE:
		if (outbound->respond_http && session->handshake->front == CV_FRONT_NONE)
			(void)cv_leg_encode(&session->client,
					    cv_span_of(forbidden_response,
						       sizeof(forbidden_response) - 1));
		cv_session_refuse(session, CV_POLICY_BLOCKED);
		break;
	case CV_OUTBOUND_FREEDOM:
		cv_step_freedom(session);
		break;
	case CV_OUTBOUND_PORTAL:
		cv_portal_dial(session);
		break;
	case CV_OUTBOUND_VLESS:
	case CV_OUTBOUND_VMESS:
	case CV_OUTBOUND_SOCKS:
	case CV_OUTBOUND_HTTP:
		cv_upstream_begin(session);
		break;
	}
}

static void resolved(struct cv_resolve_query *query, int result,
		     const struct cv_sockaddr *addresses, size_t address_count)
{
	struct cv_handshake *handshake = cv_container_of(query, struct cv_handshake, resolve);
	struct cv_session *session = handshake->session;

	handshake->resolving = false;
	handshake->was_resolved = true;
	if (result == 0) {
		if (address_count > CV_RESOLVE_MAX)
			address_count = CV_RESOLVE_MAX;
		memcpy(handshake->resolved, addresses, address_count * sizeof(*addresses));
		handshake->resolved_count = address_count;
	}
	cv_step_route(session);
	cv_session_event(session, NULL, 0);
}

static enum cv_route_result pick_route(struct cv_session *session, uint32_t *ret_outbound)
{
	struct cv_handshake *handshake = session->handshake;
	struct cv_sockaddr source;
	const uint8_t *uuid = handshake->request.uuid;
	struct cv_route_query query = {
		.inbound_tag = session->inbound->tag,
		.user_email = session->user ? session->user->email : "",
		.user_name = session->user ? session->user->name : "",
		.destination = &handshake->destination,
		.source = &source,
		.vless_route = session->inbound->protocol == CV_INBOUND_VLESS
				       ? (uint32_t)uuid[6] << 8 | uuid[7]
				       : 0x10000,
		.resolved = handshake->was_resolved ? handshake->resolved : NULL,
		.resolved_count = handshake->resolved_count,
		.name = handshake->route_name[0] ? handshake->route_name : NULL,
		.protocol = handshake->sniffed,
	};
	uint32_t rule;

	if (!cv_session_client_address(session, &source))
		query.source = NULL;
	return cv_router_pick(session->config->router, &query, ret_outbound, &rule);
}

/* What would go out directly goes through the user's own proxy, if it has one. NULL: that does not
 * exist, so that we do not know what was meant. */
static const struct cv_outbound *users_way(struct cv_session *session,
					   const struct cv_outbound *picked)
{
	const char *id = session->user ? session->user->external_proxy_id : "";
	const struct cv_outbound *external;

	if (picked->is_disabled) /* a rule named it */
		return session->config->direct;
	if (!*id || picked->protocol != CV_OUTBOUND_FREEDOM || picked->redirect.port ||
	    picked->redirect.kind != CV_ADDRESS_NONE)
		return picked;
	external = cv_config_external(session->config, id);
	if (!external)
		cv_log(CV_LOG_ERROR, "external-proxy %s of user %s does not exist: refused", id,
		       cv_session_user_name(session));
	return external && external->is_disabled ? picked : external;
}

void cv_step_leave(struct cv_session *session, const struct cv_outbound *picked)
{
	session->outbound = users_way(session, picked);
	if (session->outbound != picked) /* a user's own proxy is not to be gone around */
		session->handshake->balancer = NULL;
	if (session->outbound && session->outbound->counters)
		atomic_fetch_add_explicit(&session->outbound->counters->sessions, 1,
					  memory_order_relaxed);
	if (session->outbound)
		cv_step_dial(session);
	else
		cv_session_refuse(session, CV_POLICY_NO_PROXY);
}

void cv_step_route(struct cv_session *session)
{
	struct cv_handshake *handshake = session->handshake;
	const struct cv_config *config = session->config;
	const struct cv_outbound *picked = config->outbounds; /* the default */
	uint32_t outbound = 0;
	enum cv_route_result result;

	session->state = CV_SESSION_ROUTE;
	cv_destination_normalize(&handshake->destination);
	if (!handshake->was_resolved)
		cv_session_name_destination(session, &handshake->destination, NULL);
	if (cv_reverse_is_domain(session)) /* which nobody resolves */
		handshake->was_resolved = true;
	result = pick_route(session, &outbound);
	if (result == CV_ROUTE_RESOLVE && !handshake->was_resolved) {
		handshake->session = session;
		handshake->resolving = true;
		handshake->resolve.done = resolved;
		cv_session_arm(session, CONNECT_MS); /* not the client's clock any more */
		cv_resolve(session->worker->resolver, session->worker->ring, &handshake->resolve,
			   handshake->destination.domain, handshake->destination.port,
			   CV_RESOLVE_ANY);
		return;
	}
	if (result == CV_ROUTE_OUTBOUND)
		picked = &config->outbounds[outbound];
	if (result == CV_ROUTE_MISSING) {
		cv_session_refuse(session, CV_POLICY_NO_OUTBOUND);
		return;
	}
	if (result == CV_ROUTE_BALANCER) {
		handshake->balancer = &config->balancers[outbound];
		picked = cv_balance_pick(session);
	}
	if (picked)
		cv_step_leave(session, picked);
	else
		cv_session_refuse(session, CV_POLICY_NO_OUTBOUND);
}

int cv_session_route_datagram(struct cv_session *session, const struct cv_destination *destination,
			      const struct cv_sockaddr *resolved, size_t resolved_count,
			      const struct cv_outbound **ret_outbound)
{
	const struct cv_config *config = session->config;
	const struct cv_outbound *outbound;
	struct cv_sockaddr source;
	struct cv_route_query query = {
		.inbound_tag = session->inbound->tag,
		.user_email = session->user ? session->user->email : "",
		.user_name = session->user ? session->user->name : "",
		.network = CV_NETWORK_UDP,
		.destination = destination,
		.source = cv_session_client_address(session, &source) ? &source : NULL,
		.vless_route = cv_vless_udp_route(session),
		.resolved = resolved,
		.resolved_count = resolved_count,
	};
	struct cv_balancer_tries tries = {0};
	uint32_t index = 0, rule;

	switch (cv_router_pick(config->router, &query, &index, &rule)) {
	case CV_ROUTE_RESOLVE:
		return -EAGAIN;
	case CV_ROUTE_MISSING:
		return CV_POLICY_NO_OUTBOUND;
	case CV_ROUTE_DEFAULT:
		index = 0;
		break;
	case CV_ROUTE_OUTBOUND:
		break;
	case CV_ROUTE_BALANCER:
		index = cv_balancer_pick(&config->balancers[index], config, &tries,
					 cv_ring_now_ms(session->worker->ring));
		if (index == CV_BALANCER_NOBODY)
			return CV_POLICY_NO_OUTBOUND;
		break;
	}
	outbound = users_way(session, &config->outbounds[index]);
	if (!outbound)
		return CV_POLICY_NO_PROXY;
	if (outbound->version != CV_VLESS_0)
		return CV_POLICY_NO_DATAGRAMS;
	*ret_outbound = outbound;
	return 0;
}

bool cv_session_carries_datagrams(struct cv_session *session)
{
	const struct cv_config *config = session->config;

	for (size_t i = 0; i < config->external_first; i++) {
		const struct cv_outbound *way = users_way(session, &config->outbounds[i]);

		if (way && (way->protocol == CV_OUTBOUND_FREEDOM || way->udp_goes_around ||
			    (way->protocol == CV_OUTBOUND_VLESS && way->version == CV_VLESS_0) ||
			    way->protocol == CV_OUTBOUND_VMESS ||
			    way->protocol == CV_OUTBOUND_PORTAL ||
			    (way->protocol == CV_OUTBOUND_SOCKS && cv_datagram_proxy_carries(way))))
			return true;
	}
	return false;
}
