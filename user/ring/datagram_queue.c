// SPDX-License-Identifier: MIT
/*
 * datagram_queue.c - datagrams that are sent together: one call for up to 64 of them, and one
 * message for a run to one address of one length, which the kernel cuts again (UDP_SEGMENT).
 *
 *   queue: A 200, A 200, A 200, A 90, B 500, A 200   ->  sendmmsg: [A 200 200 200 90] [B] [A]
 *
 * There is one queue for all sockets of a worker: whoever else wants it has it sent first. A run
 * that cannot be sent as one (longer than the way there allows, no offload) goes out one by one.
 */
#include "ring/datagram_internal.h"

#include <errno.h>
#include <string.h>

#define RUN_BYTES 60000    /* of one message */
#define SEGMENT_BYTES 1452 /* longer ones would not fit into one packet of most ways */

static bool same_address(const struct cv_sockaddr *one, const struct cv_sockaddr *other)
{
	return one->len_bytes == other->len_bytes &&
	       memcmp(&one->any, &other->any, one->len_bytes) == 0;
}

/* How many from @first on can be one message. */
static size_t run_of(const struct cv_datagram_pool *pool, size_t first)
{
	const struct cv_datagram_socket *socket = pool->queue.socket;
	const size_t segment = pool->queue.pieces[first].iov_len;
	size_t end = first + 1, sum_bytes = segment;

	if (socket->sends_one_by_one || segment == 0 || segment > SEGMENT_BYTES)
		return 1;
	while (end < pool->queue.count && sum_bytes + segment <= RUN_BYTES) {
		const size_t len_bytes = pool->queue.pieces[end].iov_len;

		if (len_bytes == 0 || len_bytes > segment ||
		    !same_address(&pool->queue.to[first], &pool->queue.to[end]))
			break;
		sum_bytes += len_bytes;
		end++;
		if (len_bytes < segment) /* only the last may be shorter */
			break;
	}
	return end - first;
}

static void set_message(struct cv_datagram_pool *pool, size_t index, size_t first, size_t run)
{
	struct msghdr *header = &pool->queue.messages[index].msg_hdr;
	const uint16_t segment = (uint16_t)pool->queue.pieces[first].iov_len;
	struct cmsghdr *part;

	*header = (struct msghdr){
		.msg_name = &pool->queue.to[first].any,
		.msg_namelen = pool->queue.to[first].len_bytes,
		.msg_iov = &pool->queue.pieces[first],
		.msg_iovlen = run,
	};
	if (run == 1)
		return;
	header->msg_control = pool->queue.controls[index].bytes;
	header->msg_controllen = CMSG_SPACE(sizeof(segment));
	part = CMSG_FIRSTHDR(header);
	part->cmsg_level = SOL_UDP;
	part->cmsg_type = UDP_SEGMENT;
	part->cmsg_len = CMSG_LEN(sizeof(segment));
	memcpy(CMSG_DATA(part), &segment, sizeof(segment));
}

static void tell_unsent(const struct cv_datagram_socket *socket, size_t count, int error)
{
	for (size_t i = 0; i < count && socket->config.unsent; i++)
		socket->config.unsent(socket->config.owner, error);
}

static void send_one_by_one(struct cv_datagram_socket *socket, const struct msghdr *run)
{
	for (size_t i = 0; i < run->msg_iovlen; i++)
		if (sendto(socket->fd, run->msg_iov[i].iov_base, run->msg_iov[i].iov_len,
			   MSG_DONTWAIT | MSG_NOSIGNAL, run->msg_name, run->msg_namelen) < 0)
			tell_unsent(socket, 1, -errno);
}

/* The first of @messages could not be sent. */
static void send_failed(struct cv_datagram_socket *socket, const struct msghdr *run, int error)
{
	const bool is_about_run =
		error == -EIO || error == -EINVAL || error == -EMSGSIZE || error == -EOPNOTSUPP;

	if (run->msg_iovlen == 1 || !is_about_run) {
		tell_unsent(socket, run->msg_iovlen, error);
		return;
	}
	socket->sends_one_by_one |= error == -EIO || error == -EOPNOTSUPP;
	send_one_by_one(socket, run);
}

static void send_all(struct cv_datagram_pool *pool, unsigned count)
{
	struct cv_datagram_socket *socket = pool->queue.socket;
	unsigned done = 0;

	while (done < count) {
		const int sent = sendmmsg(socket->fd, &pool->queue.messages[done], count - done,
					  MSG_DONTWAIT | MSG_NOSIGNAL);

		if (sent > 0) {
			done += (unsigned)sent;
			continue;
		}
		send_failed(socket, &pool->queue.messages[done].msg_hdr, sent < 0 ? -errno : -EIO);
		done++;
	}
}

static void flush(struct cv_datagram_pool *pool)
{
	unsigned count = 0;

	for (size_t first = 0; first < pool->queue.count; count++) {
		const size_t run = run_of(pool, first);

		set_message(pool, count, first, run);
		first += run;
	}
	send_all(pool, count);
	pool->queue.count = 0;
	pool->queue.socket = NULL;
}

void cv_datagram_flush(struct cv_datagram_socket *socket)
{
	if (socket && socket->config.pool->queue.socket == socket)
		flush(socket->config.pool);
}

int cv_datagram_queue(struct cv_datagram_socket *socket, const struct cv_sockaddr *to,
		      const uint8_t *bytes, size_t len_bytes)
{
	struct cv_datagram_pool *pool = socket->config.pool;
	struct cv_sockaddr fitting;
	const int error = cv_datagram_fit(socket, to, &fitting);

	if (error)
		return error;
	if (pool->queue.socket && (pool->queue.socket != socket || pool->queue.count == QUEUE))
		flush(pool);
	pool->queue.socket = socket;
	pool->queue.to[pool->queue.count] = fitting;
	pool->queue.pieces[pool->queue.count].iov_base = (void *)(uintptr_t)bytes;
	pool->queue.pieces[pool->queue.count].iov_len = len_bytes;
	pool->queue.count++;
	return 0;
}
