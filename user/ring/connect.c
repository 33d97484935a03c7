// SPDX-License-Identifier: MIT
/*
 * connect.c - happy eyeballs (RFC 8305) on a ring.
 *
 *   resolve -> interleave families -> attempt 1
 *                                     250 ms, or it failed -> attempt 2 ... (four at once at most)
 *   first success -> done(fd); the others are cancelled and closed when their operation has ended
 *   all failed    -> done(-1, the first failure's reason);  deadline -> CV_UPSTREAM_TIMEOUT
 *
 * The object outlives its answer until the last operation ended: a descriptor is closed only then.
 */
#include "ring/connect.h"

#include "base/container.h"
#include "base/reason.h"
#include "ring/internal.h"
#include "ring/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG_RETRY_MS 20
#define ROOM_RETRY_MS 1 /* the next turn of the ring */

struct attempt {
	struct cv_connector *connector;
	struct cv_op op;
	int fd; /* -1 = free */
	struct cv_sockaddr address; /* the kernel reads it while the operation runs */
};

struct cv_connector {
	struct cv_connect_request request;
	struct cv_destination destination;
	struct cv_resolve_query query;
	struct cv_sockaddr addresses[CV_RESOLVE_MAX];
	size_t address_count, next_address;
	struct attempt attempts[CV_CONNECT_PARALLEL];
	struct cv_timer stagger, deadline;
	int reason; /* of the first failure */
	bool waits; /* for a descriptor */
	bool answered;
};

static int reason_of(int error)
{
	switch (error) {
	case -ECONNREFUSED:
	case -ENOENT: /* unix socket that does not exist */
		return CV_UPSTREAM_REFUSED;
	case -ENETUNREACH:
	case -ENETDOWN:
	case -EADDRNOTAVAIL:
	case -EAFNOSUPPORT:
		return CV_UPSTREAM_NO_ROUTE;
	case -EHOSTUNREACH:
	case -EHOSTDOWN:
	case -EINVAL: /* an address that no connection can go to */
		return CV_UPSTREAM_UNREACHABLE;
	case -EACCES: /* this machine's own rules forbid it: routes, packet filters, cgroups */
	case -EPERM:
		return error;
	case -ETIMEDOUT:
		return CV_UPSTREAM_TIMEOUT;
	case -ECONNRESET:
		return CV_UPSTREAM_RESET;
	case -EMFILE:
	case -ENFILE:
	case -ENOBUFS:
	case -ENOMEM:
		return CV_INTERNAL_RESOURCE;
	default:
		return CV_INTERNAL_SYSTEM;
	}
}

static bool is_quiet(const struct cv_connector *connector)
{
	for (size_t i = 0; i < CV_CONNECT_PARALLEL; i++)
		if (connector->attempts[i].op.pending)
			return false;
	return true;
}

/* No timer, no query, no answer any more; the operations still running are asked to end. */
static void retire(struct cv_connector *connector)
{
	struct cv_ring *ring = connector->request.ring;

	connector->answered = true;
	cv_timer_disarm(ring, &connector->stagger);
	cv_timer_disarm(ring, &connector->deadline);
	cv_resolve_cancel(&connector->query);
	for (size_t i = 0; i < CV_CONNECT_PARALLEL; i++)
		if (connector->attempts[i].op.pending)
			cv_ring_cancel(ring, &connector->attempts[i].op);
	if (is_quiet(connector))
		free(connector);
	else
		ring->ending_connectors++;
}

/* The last operation of a retired one is over. */
static void end(struct cv_connector *connector)
{
	connector->request.ring->ending_connectors--;
	free(connector);
}

bool cv_connect_all_ended(const struct cv_ring *ring)
{
	return ring->ending_connectors == 0;
}

static void answer(struct cv_connector *connector, int fd, int reason)
{
	void (*done)(void *owner, int fd, int reason) = connector->request.done;
	void *owner = connector->request.owner;

	retire(connector);
	if (fd >= 0)
		cv_socket_tune_upstream(fd);
	done(owner, fd, reason);
}

void cv_connect_cancel(struct cv_connector *connector)
{
	retire(connector);
}

/* ---- attempts ----------------------------------------------------------------------------- */

static void start_next(struct cv_connector *connector);

static void attempt_done(struct cv_op *op, int result, uint32_t flags)
{
	struct attempt *attempt = cv_container_of(op, struct attempt, op);
	struct cv_connector *connector = attempt->connector;
	int fd = attempt->fd;

	(void)flags;
	attempt->fd = -1;
	if (result == 0 && !connector->answered) {
		answer(connector, fd, 0);
		return;
	}
	(void)close(fd);
	if (result == -EAGAIN && !connector->answered && connector->request.address) {
		/* a unix listener's backlog is full, of which poll knows nothing */
		connector->next_address = 0;
		cv_timer_arm(connector->request.ring, &connector->stagger,
			     cv_ring_now_ms(connector->request.ring) + BACKLOG_RETRY_MS);
		return;
	}
	if (connector->answered) {
		if (is_quiet(connector))
			end(connector);
		return;
	}
	if (!connector->reason)
		connector->reason = reason_of(result);
	start_next(connector);
}

static struct attempt *free_attempt(struct cv_connector *connector)
{
	for (size_t i = 0; i < CV_CONNECT_PARALLEL; i++)
		if (connector->attempts[i].fd < 0)
			return &connector->attempts[i];
	return NULL;
}

static bool waits_for_room(struct cv_connector *connector, int error)
{
	const struct cv_connect_request *request = &connector->request;

	if ((error != -EMFILE && error != -ENFILE) || !request->make_room ||
	    !request->make_room(request->owner))
		return false;
	connector->next_address--;
	connector->waits = true;
	cv_timer_arm(request->ring, &connector->stagger,
		     cv_ring_now_ms(request->ring) + ROOM_RETRY_MS);
	return true;
}

/* True if an attempt is under way to the next address that may be dialled, or soon will be. */
static bool start_one(struct cv_connector *connector)
{
	struct attempt *attempt = free_attempt(connector);

	while (attempt && connector->next_address < connector->address_count) {
		const struct cv_sockaddr *address =
			&connector->addresses[connector->next_address++];

		if (connector->request.allow &&
		    !connector->request.allow(connector->request.owner, address))
			continue;
		attempt->fd = socket(address->any.sa_family,
				     SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		if (attempt->fd < 0) {
			const int error = -errno;

			if (waits_for_room(connector, error))
				return true;
			if (!connector->reason)
				connector->reason = reason_of(error);
			continue;
		}
		attempt->address = *address;
		attempt->op.done = attempt_done;
		cv_ring_connect(connector->request.ring, &attempt->op, attempt->fd,
				&attempt->address);
		return true;
	}
	return false;
}

static void start_next(struct cv_connector *connector)
{
	struct cv_ring *ring = connector->request.ring;

	connector->waits = false;
	if (!start_one(connector) && is_quiet(connector)) {
		answer(connector, -1,
		       connector->reason ? connector->reason : CV_UPSTREAM_UNREACHABLE);
		return;
	}
	if (!connector->waits && connector->next_address < connector->address_count)
		cv_timer_arm(ring, &connector->stagger,
			     cv_ring_now_ms(ring) + CV_CONNECT_STAGGER_MS);
}

static void stagger_due(struct cv_timer *timer)
{
	start_next(cv_container_of(timer, struct cv_connector, stagger));
}

static void deadline_due(struct cv_timer *timer)
{
	answer(cv_container_of(timer, struct cv_connector, deadline), -1, CV_UPSTREAM_TIMEOUT);
}

/* ---- addresses ---------------------------------------------------------------------------- */

/* First family as the resolver ordered it, then by turns (RFC 8305 4). */
static void interleave(struct cv_connector *connector, const struct cv_sockaddr *addresses,
		       size_t count)
{
	size_t next[2] = {0, 0};
	int family[2] = {addresses[0].any.sa_family,
			 addresses[0].any.sa_family == AF_INET ? AF_INET6 : AF_INET};
	unsigned turn = 0;

	while (connector->address_count < count) {
		size_t *at = &next[turn & 1];

		while (*at < count && addresses[*at].any.sa_family != family[turn & 1])
			++*at;
		if (*at < count)
			connector->addresses[connector->address_count++] = addresses[(*at)++];
		turn++;
	}
}

static void resolved(struct cv_resolve_query *query, int result,
		     const struct cv_sockaddr *addresses, size_t address_count)
{
	struct cv_connector *connector = cv_container_of(query, struct cv_connector, query);

	if (result) {
		answer(connector, -1, result);
		return;
	}
	interleave(connector, addresses, address_count);
	start_next(connector);
}

struct cv_connector *cv_connect_start(const struct cv_connect_request *request)
{
	static const char *const no_host = "";
	struct cv_connector *connector = calloc(1, sizeof(*connector));
	char text[INET6_ADDRSTRLEN + 1];
	const char *host = no_host;

	if (!connector)
		return NULL;
	connector->request = *request;
	connector->query.done = resolved;
	connector->stagger.due = stagger_due;
	connector->deadline.due = deadline_due;
	for (size_t i = 0; i < CV_CONNECT_PARALLEL; i++) {
		connector->attempts[i].fd = -1;
		connector->attempts[i].connector = connector;
	}
	cv_timer_arm(request->ring, &connector->deadline,
		     cv_ring_now_ms(request->ring) + request->timeout_ms);
	if (request->address) {
		connector->addresses[0] = *request->address;
		connector->address_count = 1;
		cv_timer_arm(request->ring, &connector->stagger, cv_ring_now_ms(request->ring));
		return connector;
	}
	connector->destination = *request->destination;
	switch (connector->destination.kind) {
	case CV_ADDRESS_IPV4:
		host = inet_ntop(AF_INET, connector->destination.ipv4, text, sizeof(text));
		break;
	case CV_ADDRESS_IPV6:
		host = inet_ntop(AF_INET6, connector->destination.ipv6, text, sizeof(text));
		break;
	case CV_ADDRESS_DOMAIN:
		host = connector->destination.domain;
		break;
	case CV_ADDRESS_NONE:
		break;
	}
	cv_resolve(request->resolver, request->ring, &connector->query, host,
		   connector->destination.port, request->strategy);
	return connector;
}
