// SPDX-License-Identifier: MIT
/*
 * reverse_link.c - datagrams of a worker without tunnels, for the tunnels of another one.
 *
 *   association --stream--> carrier ==== pair of sockets ==== carrier --stream--> passage
 *                   here, CLIENT                          there, SERVER              |
 *                                                tunnel to the bridge <----stream----'
 *
 * A link is made when it is needed, for all datagrams into one portal, and goes as any carrier that
 * is empty for a while. Like all datagrams these are dropped where a queue is full, so nobody waits
 * for anybody; connections have their own ways (reverse_portal.c).
 */
#include "session/reverse_state.h"

#include "base/reason.h"
#include "session/handshake.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static const struct cv_inbound from_elsewhere = {.tag = (char[]){"portal"},
						 .protocol = CV_INBOUND_TUNNEL};

/* ---- passages ----------------------------------------------------------------------------- */

struct passage {
	struct cv_stream *near, *far; /* of the link, and of a tunnel */
};

static const struct cv_destination *or_target(const struct cv_destination *address)
{
	return address->kind == CV_ADDRESS_NONE ? NULL : address;
}

static void from_near(void *owner, const struct cv_destination *address, uint8_t *bytes,
		      size_t len_bytes)
{
	const struct passage *passage = owner;

	cv_stream_send(passage->far, or_target(address), bytes, len_bytes);
}

static void from_far(void *owner, const struct cv_destination *address, uint8_t *bytes,
		     size_t len_bytes)
{
	const struct passage *passage = owner;

	cv_stream_send(passage->near, or_target(address), bytes, len_bytes);
}

/* Either end, or what it is on: then the other one as well. */
static void ended(void *owner, int reason)
{
	struct passage *passage = owner;

	(void)reason;
	cv_stream_close(passage->near);
	cv_stream_close(passage->far);
	free(passage);
}

static int opened(struct cv_carrier *carrier, const struct cv_mux_frame *frame)
{
	struct cv_worker *worker = cv_carrier_session(carrier)->worker;
	struct cv_mux_frame opening = {
		.status = CV_MUX_NEW, .network = CV_MUX_UDP, .address = frame->address};
	struct cv_stream_owner owner;
	struct passage *passage;
	int reason;

	if (frame->network != CV_MUX_UDP)
		return CV_INTERNAL_STATE;
	passage = calloc(1, sizeof(*passage));
	if (!passage)
		return CV_INTERNAL_MEMORY;
	reason = cv_portal_open_stream(worker, cv_carrier_settings(carrier)->context, &opening,
				       &passage->far);
	if (!reason) {
		passage->near = cv_stream_new(carrier, frame->session);
		reason = passage->near ? 0 : CV_INTERNAL_MEMORY;
	}
	if (reason) {
		cv_stream_close(passage->far);
		free(passage);
		return reason;
	}
	owner = (struct cv_stream_owner){.received = from_near, .ended = ended, .owner = passage};
	cv_stream_own(passage->near, &owner);
	owner.received = from_far;
	cv_stream_own(passage->far, &owner);
	return 0;
}

/* ---- either end --------------------------------------------------------------------------- */

/* Takes @fd over. */
static struct cv_carrier *begin(struct cv_worker *worker, const struct cv_carrier_config *config,
				int fd)
{
	struct cv_session *session = cv_session_without_client(worker, &from_elsewhere);
	struct cv_carrier *carrier;

	if (!session) {
		(void)close(fd);
		return NULL;
	}
	session->client.fd = fd;
	session->state = CV_SESSION_ROUTE;
	carrier = cv_carrier_new(session, config);
	if (!carrier) {
		cv_session_close(session, CV_INTERNAL_MEMORY);
		cv_session_event(session, NULL, 0);
		return NULL;
	}
	session->handshake->carrier = carrier;
	cv_carrier_start(carrier, &session->client); /* which wakes it */
	return carrier;
}

struct coming { /* on its way to the worker that has tunnels */
	struct cv_post post;
	struct cv_worker *worker;
	struct cv_portal *portal; /* shared */
	int fd;
};

static void server_gone(struct cv_carrier *carrier)
{
	cv_portal_free(cv_carrier_settings(carrier)->context);
}

static void arrived(struct cv_post *post)
{
	struct coming *coming = cv_container_of(post, struct coming, post);
	const struct cv_carrier_config config = {
		.role = CV_CARRIER_SERVER,
		.kind = CV_MUX_FORWARD,
		.max_streams = UINT16_MAX,
		.opened = opened,
		.gone = server_gone,
		.context = coming->portal,
	};

	if (coming->worker->stopping) {
		(void)close(coming->fd); /* the other end sees that */
		cv_portal_free(coming->portal);
	} else if (!begin(coming->worker, &config, coming->fd)) {
		cv_portal_free(coming->portal);
	}
	free(coming);
}

/* ---- links -------------------------------------------------------------------------------- */

struct link {
	struct cv_list all; /* of the worker */
	struct cv_portal *portal; /* shared */
	struct cv_carrier *carrier;
	size_t place; /* where it leads */
};

static void client_gone(struct cv_carrier *carrier)
{
	struct link *link = cv_carrier_settings(carrier)->context;

	cv_list_remove(&link->all);
	cv_portal_free(link->portal);
	free(link);
}

static void send_to(void *worker, void *context)
{
	struct coming *coming = context;

	coming->worker = worker;
	cv_ring_post(coming->worker->ring, &coming->post);
}

/* Returns the place it leads to; CV_PORTAL_PLACES: none has a tunnel. Takes @fd over. */
static size_t send_end(struct cv_portal *portal, size_t from_place, int fd)
{
	struct coming *coming = calloc(1, sizeof(*coming));
	size_t place = CV_PORTAL_PLACES;

	if (coming) {
		*coming = (struct coming){.post.run = arrived, .portal = portal, .fd = fd};
		cv_portal_share(portal);
		place = cv_portal_elsewhere(portal, from_place, send_to, coming);
	}
	if (coming && place < CV_PORTAL_PLACES)
		return place;
	if (coming)
		cv_portal_free(portal);
	free(coming);
	(void)close(fd);
	return CV_PORTAL_PLACES;
}

static struct cv_carrier *new_link(struct cv_reverse *reverse, struct cv_portal *portal)
{
	struct link *link = calloc(1, sizeof(*link));
	const struct cv_carrier_config config = {
		.role = CV_CARRIER_CLIENT,
		.kind = CV_MUX_FORWARD,
		.max_streams = UINT16_MAX,
		.max_total = CV_REVERSE_IDS_MAX,
		.gone = client_gone,
		.context = link,
	};
	int fds[2];

	if (!link || socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) < 0) {
		free(link);
		return NULL;
	}
	link->place = send_end(portal, reverse->worker->index, fds[1]);
	if (link->place == CV_PORTAL_PLACES) {
		(void)close(fds[0]);
		free(link);
		return NULL;
	}
	link->portal = cv_portal_share(portal);
	cv_list_add(&reverse->links, &link->all);
	link->carrier = begin(reverse->worker, &config, fds[0]);
	if (link->carrier)
		return link->carrier;
	cv_list_remove(&link->all);
	cv_portal_free(link->portal);
	free(link);
	return NULL;
}

struct cv_carrier *cv_reverse_link(struct cv_worker *worker, struct cv_portal *portal)
{
	struct cv_reverse *reverse = cv_reverse_of(worker);

	if (!reverse)
		return NULL;
	for (struct cv_list *at = reverse->links.next; at != &reverse->links; at = at->next) {
		const struct link *link = cv_container_of(at, struct link, all);

		if (link->portal == portal && cv_portal_has_tunnel(portal, link->place) &&
		    cv_carrier_stream_total(link->carrier) < CV_REVERSE_IDS_MAX)
			return link->carrier;
	}
	return new_link(reverse, portal);
}
