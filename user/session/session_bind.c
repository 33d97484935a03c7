// SPDX-License-Identifier: MIT
/*
 * session_bind.c - SOCKS5 BIND: the destination connects to us, once.
 *
 *   ROUTE [-> resolve a name] -> listen, first reply: where -> EXPECT_BACK
 *     the one expected comes   second reply: who -> RELAY, as if we had dialled it
 *     somebody else            closed, and waiting goes on
 *     nobody in two minutes    refused: TTL expired
 *     the client leaves        no more listening
 *
 * What the client says meanwhile waits in its leg and goes to whoever comes. What would go out
 * through a socks outbound comes in there: the command is passed on (session_hops.c). With the
 * other outbounds it is not supported.
 */
#include "session/handshake.h"
#include "session/preamble.h"
#include "session/session_front.h"
#include "session/steps.h"
#include "session/worker.h"

#include "base/log.h"
#include "base/reason.h"
#include "policy/private_address.h"
#include "ring/listen.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define EARLY_MAX (64 * 1024)
#define RESOLVE_MS 16000

struct cv_bind {
	struct cv_session *session; /* NULL once it is freed: only the accept is still to end */
	struct cv_ring *ring;
	struct cv_op accept_op;
	int fd;
	bool anybody;
	struct cv_destination expected[CV_RESOLVE_MAX]; /* ports do not matter */
	size_t expected_count;
};

/* ---- who may come ------------------------------------------------------------------------- */

static bool guards_private(const struct cv_session *session)
{
	return session->outbound->block_private && session->inbound->guards_private;
}

static bool is_expected(const struct cv_bind *bind, const struct cv_sockaddr *address)
{
	struct cv_destination host;

	if (!cv_sockaddr_to_destination(address, &host) ||
	    (guards_private(bind->session) && cv_address_is_private(address)))
		return false;
	for (size_t i = 0; i < bind->expected_count; i++)
		if (cv_destination_same_host(&bind->expected[i], &host))
			return true;
	return bind->anybody;
}

static int expect(struct cv_bind *bind, const struct cv_sockaddr *addresses, size_t address_count)
{
	const bool guards = guards_private(bind->session);

	for (size_t i = 0; i < address_count && bind->expected_count < CV_RESOLVE_MAX; i++)
		if (!guards || !cv_address_is_private(&addresses[i]))
			bind->expected_count += cv_sockaddr_to_destination(
				&addresses[i], &bind->expected[bind->expected_count]);
	return bind->expected_count ? 0 : CV_POLICY_PRIVATE_TARGET;
}

/* ---- listening ---------------------------------------------------------------------------- */

static void came(struct cv_bind *bind, int fd, const struct cv_sockaddr *address)
{
	struct cv_session *session = bind->session;
	struct cv_destination peer;
	int error;

	(void)cv_sockaddr_to_destination(address, &peer);
	cv_socket_tune_upstream(fd);
	session->upstream.fd = fd;
	cv_session_name_destination(session, &peer, NULL);
	error = cv_socks5_server_reply_bound(&peer, &session->handshake->answer);
	if (!error)
		error = cv_front_say(session);
	if (error)
		cv_session_close(session, error);
	else
		cv_session_relay(session); /* listens no more */
	cv_session_event(session, NULL, 0);
}

static void release_if_over(struct cv_bind *bind)
{
	if (bind->session || bind->accept_op.pending)
		return;
	(void)close(bind->fd);
	free(bind);
}

static void accepted(struct cv_op *op, int result, uint32_t flags)
{
	struct cv_bind *bind = cv_container_of(op, struct cv_bind, accept_op);
	struct cv_sockaddr address = {.len_bytes = sizeof(address.un)};
	struct cv_session *session = bind->session;

	(void)flags;
	if (result < 0 && op->pending)
		return; /* it is tried again */
	if (result >= 0 && session &&
	    getpeername(result, &address.any, &address.len_bytes) == 0 &&
	    is_expected(bind, &address)) {
		came(bind, result, &address);
		return;
	}
	if (result >= 0) {
		cv_socket_abort(result);
		if (session)
			cv_worker_count(session->worker, CV_PEER_STRANGER);
	} else if (session) {
		cv_session_refuse(session, CV_INTERNAL_SYSTEM);
		cv_session_event(session, NULL, 0);
		return;
	}
	release_if_over(bind);
}

struct cv_bind *cv_bind_free(struct cv_bind *bind)
{
	if (!bind)
		return NULL;
	bind->session = NULL;
	if (bind->fd < 0) {
		free(bind);
		return NULL;
	}
	cv_ring_cancel(bind->ring, &bind->accept_op);
	release_if_over(bind);
	return NULL;
}

/* A configured address need not be this machine's own: a router in front may have it. */
static int open_port(struct cv_bind *bind, struct cv_destination *ret_bound)
{
	struct cv_destination bound = bind->session->inbound->bind_address;
	const bool is_given = bound.kind != CV_ADDRESS_NONE;
	struct cv_sockaddr address;

	if ((!is_given && !cv_session_local_address(bind->session, &bound)) ||
	    !cv_destination_to_sockaddr(&bound, &address))
		return CV_PEER_COMMAND;
	bind->fd = cv_listen(&address, 1, 0);
	if (bind->fd == -EADDRNOTAVAIL && is_given) {
		memset(bound.kind == CV_ADDRESS_IPV4 ? (void *)&address.in.sin_addr
						     : (void *)&address.in6.sin6_addr,
		       0, bound.kind == CV_ADDRESS_IPV4 ? 4 : 16);
		bind->fd = cv_listen(&address, 1, 0);
	}
	if (bind->fd < 0)
		return bind->fd;
	address.len_bytes = sizeof(address.un);
	if (getsockname(bind->fd, &address.any, &address.len_bytes) < 0)
		return -errno;
	bound.port = cv_sockaddr_port(&address);
	*ret_bound = bound;
	return 0;
}

static int listen_and_say(struct cv_bind *bind)
{
	struct cv_session *session = bind->session;
	struct cv_destination bound;
	int error = open_port(bind, &bound);

	if (!error)
		error = cv_socks5_server_reply_bound(&bound, &session->handshake->answer);
	if (!error)
		error = cv_front_say(session);
	if (error)
		return error;
	cv_ring_accept(bind->ring, &bind->accept_op, bind->fd);
	session->state = CV_SESSION_EXPECT_BACK;
	cv_session_arm(session, CV_BIND_WAIT_MS);
	cv_leg_recv(&session->client);
	return 0;
}

/* ---- the request -------------------------------------------------------------------------- */

static void begin(struct cv_session *session, const struct cv_sockaddr *addresses,
		  size_t address_count)
{
	struct cv_bind *bind = session->handshake->bind;
	int error = bind->anybody ? 0 : expect(bind, addresses, address_count);

	if (!error)
		error = listen_and_say(bind);
	if (error)
		cv_session_refuse(session, error);
}

static void resolved(struct cv_resolve_query *query, int result,
		     const struct cv_sockaddr *addresses, size_t address_count)
{
	struct cv_handshake *handshake = cv_container_of(query, struct cv_handshake, resolve);
	struct cv_session *session = handshake->session;

	handshake->resolving = false;
	if (result)
		cv_session_refuse(session, result);
	else
		begin(session, addresses, address_count);
	cv_session_event(session, NULL, 0);
}

static void resolve(struct cv_session *session)
{
	struct cv_handshake *handshake = session->handshake;

	session->state = CV_SESSION_ROUTE;
	handshake->session = session;
	handshake->resolving = true;
	handshake->resolve.done = resolved;
	cv_session_arm(session, RESOLVE_MS);
	cv_resolve(session->worker->resolver, session->worker->ring, &handshake->resolve,
		   handshake->destination.domain, 0, CV_RESOLVE_ANY);
}

void cv_step_bind_begin(struct cv_session *session)
{
	struct cv_handshake *handshake = session->handshake;
	const struct cv_outbound *outbound = session->outbound;
	struct cv_sockaddr address = {0};

	if (outbound->protocol == CV_OUTBOUND_SOCKS) {
		cv_upstream_begin(session);
		return;
	}
	if (outbound->protocol != CV_OUTBOUND_FREEDOM ||
	    outbound->redirect.kind != CV_ADDRESS_NONE) {
		cv_session_refuse(session, CV_PEER_COMMAND);
		return;
	}
	handshake->bind = calloc(1, sizeof(*handshake->bind));
	if (!handshake->bind) {
		cv_session_close(session, CV_INTERNAL_MEMORY);
		return;
	}
	handshake->bind->session = session;
	handshake->bind->ring = session->worker->ring;
	handshake->bind->fd = -1;
	handshake->bind->accept_op.done = accepted;
	handshake->bind->anybody = cv_destination_is_any(&handshake->destination);
	if (handshake->destination.kind == CV_ADDRESS_DOMAIN && handshake->was_resolved)
		begin(session, handshake->resolved, handshake->resolved_count);
	else if (handshake->destination.kind == CV_ADDRESS_DOMAIN)
		resolve(session);
	else if (cv_destination_to_sockaddr(&handshake->destination, &address))
		begin(session, &address, 1);
}

/* The client waits, and may speak already. */
void cv_step_bind(struct cv_session *session)
{
	struct cv_leg *client = &session->client;

	if (client->facts & CV_LEG_FIN_RECEIVED) {
		cv_session_close(session, CV_PEER_CLOSED);
		return;
	}
	if (cv_leg_undecoded(client) < EARLY_MAX)
		cv_leg_recv(client);
	if (!session->handshake->bind)
		cv_step_hop_back(session);
}
