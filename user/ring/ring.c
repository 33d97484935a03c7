// SPDX-License-Identifier: MIT
/*
 * ring.c - one turn of a worker: hand over what is to be done, sleep, dispatch what came.
 *
 *   turn:  starved recvs -> submit and wait (until the first timer) -> completions -> timers
 *
 * One system call per turn submits everything that the previous turn started and waits. Completions
 * are copied out and given back to the kernel before done() runs, so done() may start operations
 * and even fill the submission queue. Other threads push posts on a stack; the first of a batch
 * writes to an eventfd on which the ring keeps a poll.
 */
#include "base/clock.h"
#include "base/container.h"
#include "ring/internal.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define BUFFER_COUNT_MAX 32768u

/* ---- posts -------------------------------------------------------------------------------- */

void cv_ring_post(struct cv_ring *ring, struct cv_post *post)
{
	struct cv_post *newest = atomic_load_explicit(&ring->posts, memory_order_relaxed);
	const uint64_t one = 1;

	do
		post->next = newest;
	while (!atomic_compare_exchange_weak_explicit(&ring->posts, &newest, post,
						      memory_order_release, memory_order_relaxed));
	/* Fails only when the counter is full, and then the ring is being woken anyway. */
	if (!newest && write(ring->wake_fd, &one, sizeof(one)) < 0)
		return;
}

/* Run what was posted, oldest first. */
static void posts_run(struct cv_ring *ring)
{
	struct cv_post *post = atomic_exchange_explicit(&ring->posts, NULL, memory_order_acquire);
	struct cv_post *oldest = NULL;

	while (post) {
		struct cv_post *next = post->next;

		post->next = oldest;
		oldest = post;
		post = next;
	}
	while (oldest) {
		struct cv_post *next = oldest->next; /* run() may free or post it again */

		oldest->run(oldest);
		oldest = next;
	}
}

static void woken(struct cv_op *op, int result, uint32_t flags)
{
	struct cv_ring *ring = cv_container_of(op, struct cv_ring, wake_op);
	uint64_t count;

	(void)flags;
	if (result == -ECANCELED)
		return;
	/* The counter is cleared before the stack: a post in between wakes once more, none is lost.
	 */
	if (read(ring->wake_fd, &count, sizeof(count)) < 0)
		count = 0;
	cv_ring_poll(ring, &ring->wake_op, ring->wake_fd, POLLIN);
	posts_run(ring);
}

/* ---- life --------------------------------------------------------------------------------- */

static bool config_valid(const struct cv_ring_config *config)
{
	return config->entry_count && config->buffer_bytes && config->buffer_count &&
	       config->buffer_count <= BUFFER_COUNT_MAX &&
	       !(config->buffer_count & (config->buffer_count - 1));
}

int cv_ring_new(const struct cv_ring_config *config, struct cv_ring **ret_ring)
{
	struct cv_ring *ring;
	int error;

	if (!config_valid(config))
		return -EINVAL;
	ring = calloc(1, sizeof(*ring));
	if (!ring)
		return -ENOMEM;
	error = cv_ring_setup(config, ring);
	if (error) {
		free(ring);
		return error;
	}
	ring->watch_fd = -1;
	ring->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (ring->wake_fd < 0)
		error = -errno;
	if (!error)
		error = cv_watches_init(ring);
	if (!error)
		error = cv_timers_init(&ring->timers);
	if (!error)
		error = cv_buffers_init(ring, config->buffer_count, config->buffer_bytes,
					config->plain);
	if (error) {
		cv_ring_free(ring);
		return error;
	}
	ring->now_ms = cv_clock_ms();
	ring->pause_timer.due = cv_ops_unpause;
	ring->wake_op.done = woken;
	cv_ring_poll(ring, &ring->wake_op, ring->wake_fd, POLLIN);
	*ret_ring = ring;
	return 0;
}

struct cv_ring *cv_ring_free(struct cv_ring *ring)
{
	if (!ring)
		return NULL;
	posts_run(ring);
	io_uring_queue_exit(&ring->uring);
	cv_buffers_done(ring);
	cv_timers_done(&ring->timers);
	if (ring->wake_fd >= 0)
		(void)close(ring->wake_fd);
	if (ring->watch_fd >= 0)
		(void)close(ring->watch_fd);
	free(ring);
	return NULL;
}

/* ---- turn --------------------------------------------------------------------------------- */

static int submit_and_wait(struct cv_ring *ring)
{
	bool rush = ring->finished.count || (ring->starved.count && cv_buffers_available(ring));
	int64_t wait_ms = rush ? 0 : cv_timers_wait_ms(ring);
	struct __kernel_timespec timeout = {
		.tv_sec = wait_ms / 1000,
		.tv_nsec = wait_ms % 1000 * 1000000,
	};
	struct io_uring_cqe *cqe = NULL;
	int result = io_uring_submit_and_wait_timeout(&ring->uring, &cqe, 1,
						      wait_ms < 0 ? NULL : &timeout, NULL);

	/* Busy: completions must be fetched first, which the turn does now. */
	if (result >= 0 || result == -ETIME || result == -EINTR || result == -EBUSY ||
	    result == -EAGAIN)
		return 0;
	return result;
}

static void completions_dispatch(struct cv_ring *ring)
{
	/* Only what is there now: what done() causes must not keep the timers waiting. */
	for (unsigned left = io_uring_cq_ready(&ring->uring); left; left--) {
		struct io_uring_cqe *cqe = NULL;
		struct cv_op *op;
		uint32_t flags;
		int result;

		if (io_uring_peek_cqe(&ring->uring, &cqe) || !cqe)
			return;
		op = io_uring_cqe_get_data(cqe);
		result = cqe->res;
		flags = cqe->flags;
		io_uring_cqe_seen(&ring->uring, cqe);
		if (op)
			cv_op_complete(ring, op, result, flags);
	}
}

int cv_ring_turn(struct cv_ring *ring)
{
	int error;

	cv_ops_retry(ring);
	error = submit_and_wait(ring);
	ring->now_ms = cv_clock_ms();
	completions_dispatch(ring);
	cv_ops_finish(ring);
	cv_timers_run(ring);
	return error;
}

uint64_t cv_ring_now_ms(const struct cv_ring *ring)
{
	return ring->now_ms;
}
