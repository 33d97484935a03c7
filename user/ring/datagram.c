// SPDX-License-Identifier: MIT
/*
 * datagram.c - poll, recvmmsg until nothing is left or others had to wait long enough, poll again.
 *
 *   POLLIN -> recvmmsg (16) -> received() ... -> again, at most 4 times -> poll
 *   close during received(), or with a poll under way -> the last of both closes and frees
 *
 * A socket for either family is an IPv6 one that takes IPv4 in its mapped form, so that a client
 * has one port for both; where the kernel has no IPv6, an IPv4 one.
 */
#include "ring/datagram.h"

#include "base/container.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define BATCH 16
#define ROUNDS 4
#define SLOT_BYTES (CV_DATAGRAM_HEADROOM + 65536)

struct cv_datagram_pool {
	uint8_t *memory; /* BATCH slots */
	struct mmsghdr messages[BATCH];
	struct iovec pieces[BATCH];
	struct cv_sockaddr sources[BATCH];
};

struct cv_datagram_socket {
	struct cv_datagram_config config;
	struct cv_op op;
	int fd;
	sa_family_t family;
	bool closed, draining;
};

/* ---- memory ------------------------------------------------------------------------------- */

struct cv_datagram_pool *cv_datagram_pool_new(void)
{
	struct cv_datagram_pool *pool = calloc(1, sizeof(*pool));

	if (!pool)
		return NULL;
	pool->memory = mmap(NULL, (size_t)BATCH * SLOT_BYTES, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (pool->memory == MAP_FAILED) {
		free(pool);
		return NULL;
	}
	for (size_t i = 0; i < BATCH; i++) {
		pool->pieces[i].iov_base =
			pool->memory + i * SLOT_BYTES + CV_DATAGRAM_HEADROOM;
		pool->pieces[i].iov_len = SLOT_BYTES - CV_DATAGRAM_HEADROOM;
		pool->messages[i].msg_hdr.msg_iov = &pool->pieces[i];
		pool->messages[i].msg_hdr.msg_iovlen = 1;
		pool->messages[i].msg_hdr.msg_name = &pool->sources[i].any;
	}
	return pool;
}

struct cv_datagram_pool *cv_datagram_pool_free(struct cv_datagram_pool *pool)
{
	if (!pool)
		return NULL;
	(void)munmap(pool->memory, (size_t)BATCH * SLOT_BYTES);
	free(pool);
	return NULL;
}

/* ---- receiving ---------------------------------------------------------------------------- */

static void release(struct cv_datagram_socket *socket)
{
	(void)close(socket->fd);
	free(socket);
}

static int receive_batch(struct cv_datagram_socket *socket)
{
	struct cv_datagram_pool *pool = socket->config.pool;
	int count;

	for (size_t i = 0; i < BATCH; i++)
		pool->messages[i].msg_hdr.msg_namelen = sizeof(pool->sources[i].un);
	count = recvmmsg(socket->fd, pool->messages, BATCH, MSG_DONTWAIT, NULL);
	return count < 0 ? -errno : count;
}

static void drain(struct cv_datagram_socket *socket)
{
	struct cv_datagram_pool *pool = socket->config.pool;

	for (int round = 0; round < ROUNDS && !socket->closed; round++) {
		const int count = receive_batch(socket);

		/* an error is what an earlier datagram met, told once; the next call reads on */
		if (count == 0 || count == -EAGAIN)
			return;
		for (int i = 0; i < count && !socket->closed; i++) {
			pool->sources[i].len_bytes = pool->messages[i].msg_hdr.msg_namelen;
			socket->config.received(socket->config.owner, &pool->sources[i],
						pool->pieces[i].iov_base,
						pool->messages[i].msg_len);
		}
		if (count > 0 && count < BATCH)
			return;
	}
}

static void readable(struct cv_op *op, int result, uint32_t flags)
{
	struct cv_datagram_socket *socket = cv_container_of(op, struct cv_datagram_socket, op);

	(void)flags;
	socket->draining = true;
	if (result > 0)
		drain(socket);
	socket->draining = false;
	if (socket->closed)
		release(socket);
	else
		cv_ring_poll(socket->config.ring, &socket->op, socket->fd, POLLIN);
}

/* ---- life --------------------------------------------------------------------------------- */

static int open_bound(const struct cv_sockaddr *address, bool both)
{
	const int fd = socket(address->any.sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	const int off = 0;
	int error;

	if (fd < 0)
		return -errno;
	if (both)
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	if (bind(fd, &address->any, address->len_bytes) == 0)
		return fd;
	error = -errno;
	(void)close(fd);
	return error;
}

static int open_any(sa_family_t *ret_family)
{
	struct cv_sockaddr any = {.len_bytes = sizeof(any.in6)};
	int fd;

	any.in6.sin6_family = *ret_family = AF_INET6;
	fd = open_bound(&any, true);
	if (fd != -EAFNOSUPPORT && fd != -EADDRNOTAVAIL)
		return fd;
	any = (struct cv_sockaddr){.len_bytes = sizeof(any.in)};
	any.in.sin_family = *ret_family = AF_INET;
	return open_bound(&any, false);
}

int cv_datagram_open(const struct cv_datagram_config *config,
		     struct cv_datagram_socket **ret_socket)
{
	struct cv_datagram_socket *socket = calloc(1, sizeof(*socket));

	if (!socket)
		return -ENOMEM;
	socket->config = *config;
	socket->op.done = readable;
	socket->family = config->address ? config->address->any.sa_family : AF_UNSPEC;
	socket->fd = config->address ? open_bound(config->address, false)
				     : open_any(&socket->family);
	socket->config.address = NULL; /* the caller's */
	if (socket->fd < 0) {
		const int error = socket->fd;

		free(socket);
		return error;
	}
	cv_ring_poll(config->ring, &socket->op, socket->fd, POLLIN);
	*ret_socket = socket;
	return 0;
}

struct cv_datagram_socket *cv_datagram_close(struct cv_datagram_socket *socket)
{
	if (!socket || socket->closed)
		return NULL;
	socket->closed = true;
	(void)shutdown(socket->fd, SHUT_RDWR); /* ends the poll, where a cancel found no room */
	if (socket->op.pending)
		cv_ring_cancel(socket->config.ring, &socket->op);
	else if (!socket->draining)
		release(socket);
	return NULL;
}

/* ---- sending ------------------------------------------------------------------------------ */

/* @address as this socket's family has it. */
static int fit(const struct cv_datagram_socket *socket, const struct cv_sockaddr *address,
	       struct cv_sockaddr *ret_fitting)
{
	*ret_fitting = *address;
	if (address->any.sa_family == socket->family)
		return 0;
	if (socket->family != AF_INET6 || address->any.sa_family != AF_INET)
		return -EAFNOSUPPORT;
	*ret_fitting = (struct cv_sockaddr){.len_bytes = sizeof(ret_fitting->in6)};
	ret_fitting->in6.sin6_family = AF_INET6;
	ret_fitting->in6.sin6_port = address->in.sin_port;
	ret_fitting->in6.sin6_addr.s6_addr[10] = ret_fitting->in6.sin6_addr.s6_addr[11] = 0xff;
	memcpy(&ret_fitting->in6.sin6_addr.s6_addr[12], &address->in.sin_addr,
	       sizeof(address->in.sin_addr));
	return 0;
}

int cv_datagram_connect(struct cv_datagram_socket *socket, const struct cv_sockaddr *address)
{
	struct cv_sockaddr fitting;
	const int error = fit(socket, address, &fitting);

	if (error)
		return error;
	return connect(socket->fd, &fitting.any, fitting.len_bytes) < 0 ? -errno : 0;
}

int cv_datagram_send(struct cv_datagram_socket *socket, const struct cv_sockaddr *to,
		     const uint8_t *bytes, size_t len_bytes)
{
	struct cv_sockaddr fitting = {0};
	const int error = to ? fit(socket, to, &fitting) : 0;

	if (error)
		return error;
	if (sendto(socket->fd, bytes, len_bytes, MSG_DONTWAIT | MSG_NOSIGNAL,
		   to ? &fitting.any : NULL, fitting.len_bytes) < 0)
		return -errno;
	return 0;
}

int cv_datagram_local(const struct cv_datagram_socket *socket, struct cv_sockaddr *ret_address)
{
	struct cv_sockaddr address = {.len_bytes = sizeof(address.un)};

	if (getsockname(socket->fd, &address.any, &address.len_bytes) < 0)
		return -errno;
	*ret_address = address;
	return 0;
}
