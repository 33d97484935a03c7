// SPDX-License-Identifier: MIT
/*
 * watch.c - sockets whose death must be noticed although no operation of theirs can tell.
 *
 * The peer of a half-closed socket has said all it has to say; what can still come is a reset, or
 * the keepalive's verdict. A ring's poll always ends at the peer's FIN as well (and would end again
 * at once), epoll with an empty mask does not: so the ring keeps one epoll instance for such
 * sockets and a poll on that. Few sockets are watched and few events come; they are taken one by
 * one, so that died() may end any other watch.
 */
#include "base/container.h"
#include "ring/internal.h"

#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>

static void watch_ready(struct cv_op *op, int result, uint32_t flags)
{
	struct cv_ring *ring = cv_container_of(op, struct cv_ring, watch_op);
	struct epoll_event event;

	(void)flags;
	if (result == -ECANCELED)
		return;
	while (epoll_wait(ring->watch_fd, &event, 1, 0) == 1) {
		struct cv_watch *watch = event.data.ptr;

		watch->died(watch, event.events & EPOLLERR);
	}
	cv_ring_poll(ring, &ring->watch_op, ring->watch_fd, POLLIN);
}

int cv_watches_init(struct cv_ring *ring)
{
	ring->watch_fd = epoll_create1(EPOLL_CLOEXEC);
	if (ring->watch_fd < 0)
		return -errno;
	ring->watch_op.done = watch_ready;
	return 0;
}

int cv_ring_watch(struct cv_ring *ring, struct cv_watch *watch, int fd)
{
	struct epoll_event event = {.events = EPOLLET, .data.ptr = watch};

	if (watch->active)
		return 0;
	if (epoll_ctl(ring->watch_fd, EPOLL_CTL_ADD, fd, &event) < 0)
		return -errno;
	watch->fd = fd;
	watch->active = true;
	if (!ring->watch_op.pending)
		cv_ring_poll(ring, &ring->watch_op, ring->watch_fd, POLLIN);
	return 0;
}

void cv_ring_unwatch(struct cv_ring *ring, struct cv_watch *watch)
{
	if (!watch->active)
		return;
	watch->active = false;
	(void)epoll_ctl(ring->watch_fd, EPOLL_CTL_DEL, watch->fd, NULL);
}
