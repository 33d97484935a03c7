// SPDX-License-Identifier: MIT
/*
 * session_associate.c - SOCKS5 UDP ASSOCIATE: the client's side of its datagrams.
 *
 *   request -> a port of its own, told to the client -> DATAGRAMS until its connection ends
 *
 *   client's datagram  from its address?  header taken off -> cv_datagrams_send()
 *   answer             header with the source put on <- cv_datagrams
 *
 * Only the client's own address may use the port: that of its connection (or what its PROXY header
 * said), and from the first good datagram on only its port. A client whose port changes has to be
 * silent for half a minute first. Everybody else is dropped and counted. What comes on the
 * connection meanwhile is read and thrown away, so that its end is seen.
 */
#include "session/datagrams.h"
#include "session/handshake.h"
#include "session/preamble.h"
#include "session/session_front.h"
#include "session/steps.h"
#include "session/worker.h"

#include "base/reason.h"
#include "wire/socks5_udp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PORT_CHANGE_MS 30000

struct cv_association {
	struct cv_session *session;
	struct cv_datagrams *datagrams;
	struct cv_datagram_socket *socket;
	struct cv_destination client; /* its IP; port 0: not known yet */
	bool is_port_given;	      /* by the request: it does not change */
	struct cv_sockaddr peer;      /* where answers go; len_bytes 0: nowhere yet */
	uint64_t heard_ms;
	uint64_t tick_ms;
	const uint8_t *queued, *queued_end; /* the last answer that is to go out with others */
};

/* ---- datagrams ---------------------------------------------------------------------------- */

static bool is_client(const struct cv_association *association,
		      const struct cv_destination *source)
{
	const uint64_t now_ms = cv_ring_now_ms(association->session->worker->ring);

	if (!cv_destination_same_host(&association->client, source))
		return false;
	if (association->client.port == 0 || association->client.port == source->port)
		return true;
	return !association->is_port_given && association->heard_ms + PORT_CHANGE_MS <= now_ms;
}

static void from_client(void *owner, const struct cv_sockaddr *from, uint8_t *bytes,
			size_t len_bytes)
{
	struct cv_association *association = owner;
	struct cv_worker *worker = association->session->worker;
	struct cv_destination source, destination;
	size_t header_bytes;
	int reason;

	if (!cv_sockaddr_to_destination(from, &source) || !is_client(association, &source)) {
		cv_worker_count(worker, CV_PEER_STRANGER);
		return;
	}
	reason = cv_socks5_udp_read(cv_span_of(bytes, len_bytes), &destination, &header_bytes);
	if (!reason && destination.port == 0)
		reason = CV_PEER_ADDRESS;
	if (reason) {
		cv_worker_count(worker, reason);
		return;
	}
	association->client.port = source.port;
	association->peer = *from;
	association->heard_ms = cv_ring_now_ms(worker->ring);
	cv_datagrams_queue(association->datagrams, &destination, bytes + header_bytes,
			   len_bytes - header_bytes);
}

static void batch_done(void *owner)
{
	const struct cv_association *association = owner;

	cv_datagrams_flush(association->datagrams);
}

static void to_client(void *owner, const struct cv_destination *source, uint8_t *bytes,
		      size_t len_bytes)
{
	struct cv_association *association = owner;
	uint8_t header[CV_SOCKS5_UDP_HEADER_MAX], *start;
	const size_t header_bytes = cv_socks5_udp_header(source, header);

	if (header_bytes == 0 || association->peer.len_bytes == 0)
		return;
	start = bytes - header_bytes;
	/* our header may be longer than what is in front: then it is where the one before ends */
	if (start < association->queued_end && bytes > association->queued)
		cv_datagram_flush(association->socket);
	memcpy(start, header, header_bytes);
	if (cv_datagram_queue(association->socket, &association->peer, start,
			      len_bytes + header_bytes) != 0)
		return;
	association->queued = start;
	association->queued_end = bytes + len_bytes;
}

static void flush_to_client(void *owner)
{
	struct cv_association *association = owner;

	cv_datagram_flush(association->socket);
	association->queued = association->queued_end = NULL;
}

/* ---- the request -------------------------------------------------------------------------- */

/* Who may use it. SOCKS5 A6, "Address filtering". */
static int set_client(struct cv_association *association, const struct cv_destination *asked)
{
	struct cv_sockaddr address;

	if (!cv_session_client_address(association->session, &address) ||
	    !cv_sockaddr_to_destination(&address, &association->client))
		return CV_POLICY_NO_DATAGRAMS; /* a unix socket: it has no address of its own */
	association->client.port = 0;
	if (asked->kind == CV_ADDRESS_DOMAIN || cv_destination_is_any(asked))
		return 0;
	if (!cv_destination_same_host(&association->client, asked))
		return CV_PEER_STRANGER; /* or anybody could be made to get our answers */
	association->client.port = asked->port;
	association->is_port_given = asked->port != 0;
	return 0;
}

/* A configured address need not be this machine's own: a router in front may have it. */
static int open_port(struct cv_association *association, struct cv_destination *ret_bound)
{
	struct cv_session *session = association->session;
	struct cv_destination bound = session->inbound->udp_address;
	const bool is_given = bound.kind != CV_ADDRESS_NONE;
	struct cv_sockaddr address;
	struct cv_datagram_config config = {
		.ring = session->worker->ring,
		.pool = cv_datagrams_pool(session->worker),
		.address = &address,
		.received = from_client,
		.batch_done = batch_done,
		.owner = association,
	};
	int error;

	if (!config.pool)
		return CV_INTERNAL_MEMORY;
	if ((!is_given && !cv_session_local_address(session, &bound)) ||
	    !cv_destination_to_sockaddr(&bound, &address))
		return CV_POLICY_NO_DATAGRAMS;
	error = cv_datagram_open(&config, &association->socket);
	if (is_given && (error == -EADDRNOTAVAIL || error == -EAFNOSUPPORT)) {
		config.address = NULL;
		error = cv_datagram_open(&config, &association->socket);
	}
	if (!error)
		error = cv_datagram_local(association->socket, &address);
	if (error)
		return CV_INTERNAL_RESOURCE;
	bound.port = cv_sockaddr_port(&address);
	*ret_bound = bound;
	return 0;
}

static void association_free(struct cv_association *association)
{
	cv_datagrams_free(association->datagrams);
	cv_datagram_close(association->socket);
	free(association);
}

void cv_association_leave(struct cv_session *session)
{
	if (session->state != CV_SESSION_DATAGRAMS)
		return;
	association_free(session->association);
	session->association = NULL;
}

static int associate(struct cv_association *association, struct cv_destination *ret_bound)
{
	struct cv_session *session = association->session;
	const struct cv_datagram_near near = {
		.deliver = to_client,
		.flush = flush_to_client,
		.borrows = true,
		.owner = association,
	};
	int reason = set_client(association, &session->handshake->destination);

	if (!reason && !cv_session_carries_datagrams(session))
		reason = CV_POLICY_NO_DATAGRAMS;
	if (!reason)
		reason = cv_datagrams_new(session, &near, &association->datagrams);
	if (!reason)
		reason = open_port(association, ret_bound);
	if (!reason)
		reason = cv_socks5_server_reply_bound(ret_bound, &session->handshake->answer);
	if (!reason)
		reason = cv_front_say(session);
	return reason;
}

void cv_step_associate(struct cv_session *session)
{
	struct cv_association *association = calloc(1, sizeof(*association));
	struct cv_destination bound;
	int reason;

	if (!association) {
		cv_front_refuse(session, CV_INTERNAL_MEMORY);
		return;
	}
	association->session = session;
	reason = associate(association, &bound);
	if (reason) {
		association_free(association);
		cv_front_refuse(session, reason);
		return;
	}
	cv_session_name_destination(session, &bound, NULL);
	session->handshake = cv_handshake_free(session->handshake);
	session->association = association;
	session->state = CV_SESSION_DATAGRAMS;
	session->last_activity_ms = cv_ring_now_ms(session->worker->ring);
	cv_step_datagrams_timer(session);
}

/* ---- while it lasts ----------------------------------------------------------------------- */

/* 0: the client's connection goes on. */
static int throw_away(struct cv_session *session)
{
	struct cv_buffer *app = &session->worker->app;
	int result = 0;

	while (result == 0) {
		result = cv_leg_decode(&session->client, app);
		cv_buffer_consume(app, cv_buffer_len(app));
	}
	if (session->client.facts & CV_LEG_RESET)
		return CV_PEER_RESET;
	if (result == CV_LAYER_EOF || (session->client.facts & CV_LEG_FIN_RECEIVED))
		return CV_LAYER_EOF;
	return result == -EAGAIN ? 0 : result;
}

void cv_step_datagrams(struct cv_session *session)
{
	const int result = throw_away(session);

	if (result == 0)
		cv_leg_recv(&session->client);
	else
		cv_session_finish(session, result == CV_LAYER_EOF ? 0 : result);
}

void cv_step_datagrams_timer(struct cv_session *session)
{
	struct cv_association *association = session->association;
	const uint64_t now_ms = cv_ring_now_ms(session->worker->ring);
	const uint64_t idle_ms = session->last_activity_ms + cv_session_level(session)->idle_ms;

	if (now_ms >= idle_ms) {
		cv_session_close(session, CV_POLICY_IDLE);
		return;
	}
	if (now_ms >= association->tick_ms)
		association->tick_ms = now_ms + cv_datagrams_tick(association->datagrams);
	cv_timer_arm(session->worker->ring, &session->timer,
		     association->tick_ms < idle_ms ? association->tick_ms : idle_ms);
}
