// SPDX-License-Identifier: MIT
/*
 * datagram.c - poll, recvmmsg until nothing is left or others had to wait long enough, poll again.
 *
 *   POLLIN -> recvmmsg (16) -> received() ... batch_done() -> again, at most 4 times -> poll
 *   close during received(), or with a poll under way -> the last of both closes and frees
 *
 * One of the 16 may be many of one sender, all of one length but the last; they lie behind each
 * other, so that the headroom of each is the one before, which was dealt with. What is sent in
 * batches is in datagram_queue.c.
 *
 * A socket for either family is an IPv6 one that takes IPv4 in its mapped form, so that a client
 * has one port for both; where the kernel has no IPv6, an IPv4 one.
 */
#include "ring/datagram_internal.h"

#include "base/container.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define ROUNDS 4
#define RECEIVE_BYTES (1 << 20) /* some milliseconds of a busy host; what is empty costs nothing */
#define SLOT_BYTES (CV_DATAGRAM_HEADROOM + 65536)

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

	for (size_t i = 0; i < BATCH; i++) {
		struct msghdr *header = &pool->messages[i].msg_hdr;

		header->msg_namelen = sizeof(pool->sources[i].un);
		header->msg_control = pool->controls[i].bytes;
		header->msg_controllen = sizeof(pool->controls[i].bytes);
	}
	count = recvmmsg(socket->fd, pool->messages, BATCH, MSG_DONTWAIT, NULL);
	return count < 0 ? -errno : count;
}

/* How long each of them is that the kernel put together; 0: there is one. */
static size_t segment_bytes(struct msghdr *header)
{
	for (struct cmsghdr *part = CMSG_FIRSTHDR(header); part; part = CMSG_NXTHDR(header, part)) {
		int len_bytes;

		if (part->cmsg_level != SOL_UDP || part->cmsg_type != UDP_GRO)
			continue;
		memcpy(&len_bytes, CMSG_DATA(part), sizeof(len_bytes));
		return len_bytes > 0 ? (size_t)len_bytes : 0;
	}
	return 0;
}

static void hand_over(struct cv_datagram_socket *socket, int index)
{
	struct cv_datagram_pool *pool = socket->config.pool;
	struct mmsghdr *message = &pool->messages[index];
	const size_t segment = segment_bytes(&message->msg_hdr);
	uint8_t *bytes = pool->pieces[index].iov_base;
	size_t left_bytes = message->msg_len;

	pool->sources[index].len_bytes = message->msg_hdr.msg_namelen;
	do {
		const size_t len_bytes =
			segment && segment < left_bytes ? segment : left_bytes;

		socket->config.received(socket->config.owner, &pool->sources[index], bytes,
					len_bytes);
		bytes += len_bytes;
		left_bytes -= len_bytes;
	} while (left_bytes > 0 && !socket->closed);
}

static void drain(struct cv_datagram_socket *socket)
{
	for (int round = 0; round < ROUNDS && !socket->closed; round++) {
		int count;

		if (socket->config.may_read && !socket->config.may_read(socket->config.owner))
			return;
		count = receive_batch(socket);

		/* an error is what an earlier datagram met, told once; the next call reads on */
		if (count == 0 || count == -EAGAIN)
			return;
		for (int i = 0; i < count && !socket->closed; i++)
			hand_over(socket, i);
		if (count > 0 && !socket->closed && socket->config.batch_done)
			socket->config.batch_done(socket->config.owner);
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

int cv_datagram_adopt(const struct cv_datagram_config *config, int fd,
		      struct cv_datagram_socket **ret_socket)
{
	struct cv_sockaddr address = {.len_bytes = sizeof(address.un)};
	struct cv_datagram_socket *socket;
	const int on = 1, wanted = RECEIVE_BYTES;

	if (getsockname(fd, &address.any, &address.len_bytes) < 0)
		return -errno;
	socket = calloc(1, sizeof(*socket));
	if (!socket)
		return -ENOMEM;
	socket->config = *config;
	socket->config.address = NULL; /* the caller's */
	socket->op.done = readable;
	socket->family = address.any.sa_family;
	socket->fd = fd;
	socket->is_shared = true;
	(void)setsockopt(fd, SOL_UDP, UDP_GRO, &on, sizeof(on));
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &wanted, sizeof(wanted)) < 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &wanted, sizeof(wanted));
	cv_ring_poll(config->ring, &socket->op, fd, POLLIN);
	*ret_socket = socket;
	return 0;
}

int cv_datagram_open(const struct cv_datagram_config *config,
		     struct cv_datagram_socket **ret_socket)
{
	sa_family_t family;
	const int fd = config->address ? open_bound(config->address, false) : open_any(&family);
	int error;

	if (fd < 0)
		return fd;
	error = cv_datagram_adopt(config, fd, ret_socket);
	if (error)
		(void)close(fd);
	else
		(*ret_socket)->is_shared = false;
	return error;
}

int cv_datagram_dup(struct cv_datagram_socket *socket)
{
	const int fd = fcntl(socket->fd, F_DUPFD_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	socket->is_shared = true;
	return fd;
}

struct cv_datagram_socket *cv_datagram_close(struct cv_datagram_socket *socket)
{
	if (!socket || socket->closed)
		return NULL;
	cv_datagram_flush(socket);
	socket->closed = true;
	if (!socket->is_shared) /* ends the poll, where a cancel found no room */
		(void)shutdown(socket->fd, SHUT_RDWR);
	if (socket->op.pending)
		cv_ring_cancel(socket->config.ring, &socket->op);
	else if (!socket->draining)
		release(socket);
	return NULL;
}

/* ---- sending ------------------------------------------------------------------------------ */

int cv_datagram_fit(const struct cv_datagram_socket *socket, const struct cv_sockaddr *address,
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
	const int error = cv_datagram_fit(socket, address, &fitting);

	if (error)
		return error;
	return connect(socket->fd, &fitting.any, fitting.len_bytes) < 0 ? -errno : 0;
}

int cv_datagram_send(struct cv_datagram_socket *socket, const struct cv_sockaddr *to,
		     const uint8_t *bytes, size_t len_bytes)
{
	struct cv_sockaddr fitting = {0};
	const int error = to ? cv_datagram_fit(socket, to, &fitting) : 0;

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
