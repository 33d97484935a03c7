// SPDX-License-Identifier: MIT
/*
 * session_upstream.c - from a request to an upstream leg that can relay.
 *
 *   ROUTE  rules (resolve once if they need addresses) -> outbound
 *     blackhole  refuse
 *     freedom    dial the destination                     -> RELAY
 *     vless      dial the server, TLS/REALITY hello       -> VLESS layer -> RELAY
 *                the real site's certificate comes back   -> spider, the request is never sent
 */
#include "session/handshake.h"
#include "session/preamble.h"
#include "session/session_front.h"
#include "session/steps.h"
#include "session/worker.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/reason.h"
#include "policy/private_address.h"
#include "protocol/vless_layer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECT_MS 16000
#define UPSTREAM_HELLO_MS 16000

static const uint8_t reality_client_version[3] = {26, 7, 28}; /* REALITY 12.2: at least 26.3.27 */

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
	       session->outbound->block_private && session->inbound->protocol == CV_INBOUND_VLESS;
}

static bool allow_address(void *owner, const struct cv_sockaddr *address)
{
	struct cv_session *session = owner;

	if (!guards_private(session) || !cv_address_is_private(address))
		return true;
	session->handshake->private_refused = true;
	return false;
}

void cv_session_connect(struct cv_session *session, const struct cv_destination *destination,
			const struct cv_sockaddr *address, enum cv_resolve_strategy strategy,
			void (*connected)(void *owner, int fd, int reason))
{
	struct cv_connect_request request = {
		.ring = session->worker->ring,
		.resolver = session->worker->resolver,
		.destination = destination,
		.address = address,
		.strategy = strategy,
		.timeout_ms = CONNECT_MS,
		.done = connected,
		.owner = session,
		.allow = allow_address,
	};

	cv_timer_disarm(session->worker->ring, &session->timer);
	session->handshake->connector = cv_connect_start(&request);
	if (!session->handshake->connector)
		cv_session_close(session, CV_INTERNAL_MEMORY);
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

/* ---- VLESS outbound ----------------------------------------------------------------------- */

static int move_client_output(struct cv_session *session)
{
	struct cv_buffer *output = cv_tls_client_output(session->handshake->tls_client);
	int error = cv_buffer_append(&session->upstream.out, cv_buffer_bytes(output),
				     cv_buffer_len(output));

	cv_buffer_consume(output, cv_buffer_len(output));
	return error;
}

static void write_key_log(struct cv_session *session)
{
	const char *path = session->outbound->key_log_path;

	if (path && path[0])
		cv_session_key_log(path, cv_tls_client_key_log(session->handshake->tls_client));
}

static void relay_vless(struct cv_session *session)
{
	struct cv_handshake *handshake = session->handshake;
	int error;

	memcpy(handshake->request.uuid, session->outbound->uuid, CV_UUID_LEN);
	handshake->request.flow = session->outbound->vision ? CV_FLOW_VISION : CV_FLOW_NONE;
	handshake->request.command = CV_VLESS_TCP;
	handshake->request.destination = handshake->destination;
	error = cv_leg_push_layer(&session->upstream,
				  cv_vless_client_layer_new(&handshake->request, NULL));
	if (!error)
		error = cv_front_accepted(session);
	session->header_held = true;
	if (error)
		cv_session_close(session, error);
	else
		cv_session_relay(session);
}

static int new_tls_client(struct cv_session *session)
{
	const struct cv_outbound *outbound = session->outbound;
	struct cv_reality_client_config reality = {.mldsa_public = outbound->mldsa_public};
	struct cv_tls_client_config config = {
		.server_name = outbound->server_name,
		.fingerprint = outbound->fingerprint,
		.alpn = (const char *const *)outbound->alpn,
		.trust = outbound->trust,
		.allow_insecure = outbound->allow_insecure,
	};

	memcpy(reality.server_public, outbound->reality_public, sizeof(reality.server_public));
	memcpy(reality.short_id, outbound->short_id, sizeof(reality.short_id));
	memcpy(reality.version, reality_client_version, sizeof(reality.version));
	if (outbound->security == CV_SECURITY_REALITY)
		config.reality = &reality;
	session->handshake->tls_client = cv_tls_client_new(&config, cv_clock_wall_ms());
	return session->handshake->tls_client ? 0 : CV_INTERNAL_CRYPTO;
}

static void vless_connected(void *owner, int fd, int reason)
{
	struct cv_session *session = owner;
	int error;

	session->handshake->connector = NULL;
	if (fd < 0) {
		cv_log(CV_LOG_WARNING, "outbound=%s: %s", session->outbound->tag,
		       cv_reason_text(reason));
		cv_session_refuse(session, reason);
		cv_session_event(session, NULL, 0);
		return;
	}
	session->upstream.fd = fd;
	if (session->outbound->security == CV_SECURITY_NONE) {
		relay_vless(session);
		cv_session_event(session, NULL, 0);
		return;
	}
	error = new_tls_client(session);
	if (!error)
		error = move_client_output(session);
	session->state = CV_SESSION_EXPECT_UPSTREAM_HELLO;
	if (error)
		cv_session_refuse(session, error);
	else
		cv_session_arm(session, UPSTREAM_HELLO_MS);
	cv_session_event(session, NULL, 0);
}

static void upstream_refused(struct cv_session *session, int reason)
{
	cv_log(CV_LOG_WARNING, "outbound=%s: %s (%s)%s%s", session->outbound->tag,
	       cv_reason_label(reason), cv_reason_text(reason),
	       reason == CV_UPSTREAM_CERTIFICATE ? ": " : "",
	       reason == CV_UPSTREAM_CERTIFICATE
		       ? cv_tls_client_error_text(session->handshake->tls_client)
		       : "");
	if (reason == CV_UPSTREAM_REAL_CERTIFICATE)
		cv_step_spider_begin(session);
	else
		cv_session_refuse(session, reason);
}

static void upstream_ready(struct cv_session *session)
{
	int error;

	write_key_log(session);
	error = cv_leg_push_layer(&session->upstream,
				  cv_tls_client_take_layer(session->handshake->tls_client));
	if (error)
		cv_session_refuse(session, error);
	else
		relay_vless(session);
}

void cv_step_upstream_hello(struct cv_session *session)
{
	struct cv_leg *upstream = &session->upstream;
	struct cv_span in = cv_buffer_span(&upstream->in);
	size_t before = in.len_bytes;
	int result = before ? cv_tls_client_read(session->handshake->tls_client, &in) : -EAGAIN;
	int error = move_client_output(session);

	cv_buffer_consume(&upstream->in, before - in.len_bytes);
	if (error)
		cv_session_refuse(session, error);
	else if (result == 0)
		upstream_ready(session);
	else if (result != -EAGAIN)
		upstream_refused(session, result);
	else if (upstream->facts & CV_LEG_RESET)
		upstream_refused(session, CV_UPSTREAM_RESET);
	else if (upstream->facts & CV_LEG_FIN_RECEIVED)
		upstream_refused(session, CV_UPSTREAM_CLOSED);
	else
		cv_leg_recv(upstream);
}

/* ---- routing ------------------------------------------------------------------------------ */

static void dial_outbound(struct cv_session *session)
{
	const struct cv_outbound *outbound = session->outbound;
	struct cv_destination destination = session->handshake->destination;

	session->state = CV_SESSION_CONNECT_UPSTREAM;
	switch (outbound->protocol) {
	case CV_OUTBOUND_BLACKHOLE:
		if (outbound->respond_http && session->inbound->protocol == CV_INBOUND_VLESS)
			(void)cv_leg_encode(&session->client,
					    cv_span_of(forbidden_response,
						       sizeof(forbidden_response) - 1));
		cv_session_refuse(session, CV_POLICY_BLOCKED);
		break;
	case CV_OUTBOUND_FREEDOM:
		if (outbound->redirect.kind != CV_ADDRESS_NONE) {
			destination = outbound->redirect;
			if (destination.port == 0)
				destination.port = session->handshake->destination.port;
		} else if (outbound->redirect.port) {
			destination.port = outbound->redirect.port;
		}
		cv_session_connect(session, &destination, NULL, outbound->strategy,
				   freedom_connected);
		break;
	case CV_OUTBOUND_VLESS:
		cv_session_connect(session, &outbound->server, NULL, outbound->strategy,
				   vless_connected);
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
	struct cv_sockaddr source = {.len_bytes = sizeof(source.in6)};
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
	};
	uint32_t rule;

	if (getpeername(session->client.fd, &source.any, &source.len_bytes) < 0)
		query.source = NULL;
	return cv_router_pick(session->config->router, &query, ret_outbound, &rule);
}

void cv_step_route(struct cv_session *session)
{
	struct cv_handshake *handshake = session->handshake;
	const struct cv_config *config = session->config;
	uint32_t outbound = 0;
	enum cv_route_result result;

	session->state = CV_SESSION_ROUTE;
	cv_destination_normalize(&handshake->destination);
	if (!handshake->was_resolved)
		cv_session_name_destination(session, &handshake->destination, NULL);
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
	if (result == CV_ROUTE_MISSING) {
		cv_session_refuse(session, CV_POLICY_NO_OUTBOUND);
		return;
	}
	session->outbound = &config->outbounds[result == CV_ROUTE_OUTBOUND ? outbound : 0];
	dial_outbound(session);
}
