/* SPDX-License-Identifier: MIT */
/*
 * internal.h - what the files of the ring floor share: the ring itself. Nobody above includes this.
 */
#ifndef CV_RING_INTERNAL_H
#define CV_RING_INTERNAL_H

#include "ring/ring.h"

#include <liburing.h>
#include <stdatomic.h>

#define CV_RING_BUFFER_GROUP 1
#define CV_ACCEPT_PAUSE_MS 100

enum cv_op_kind { CV_OP_PLAIN, CV_OP_ACCEPT, CV_OP_RECV };

/* Where a pending operation is. */
enum cv_op_place {
	CV_OP_IN_KERNEL,
	CV_OP_STARVED,  /* a recv without a buffer */
	CV_OP_PAUSED,   /* an accept without descriptors */
	CV_OP_FINISHED, /* fd holds its result, done() follows in this or the next turn */
};

struct cv_op_list {
	struct cv_op *first, *last;
	uint32_t count;
};

/*
 * Provided buffers. Only window_count of them are with the kernel, which takes them first in first
 * out; the others wait in spare[], so that light load keeps using the same, cache-warm few.
 */
struct cv_buffers {
	struct io_uring_buf_ring *shared; /* NULL: the kernel has no buffer rings */
	uint8_t *base;
	uint16_t *spare;
	uint32_t count, size_bytes, window_count;
	uint32_t spare_count, kernel_count;
};

struct cv_timers {
	struct cv_timer **heap; /* [1..count]; address space for all, memory only as touched */
	uint32_t count;
};

struct cv_ring {
	struct io_uring uring;
	struct cv_ring_features features;
	uint64_t now_ms;
	struct cv_buffers buffers;
	struct cv_timers timers;
	struct cv_op_list starved, paused, finished;
	bool sweep_wanted; /* a starved or paused operation was cancelled */
	struct cv_timer pause_timer;
	struct cv_op wake_op;
	int wake_fd;  /* eventfd */
	int watch_fd; /* epoll */
	struct cv_op watch_op;
	_Atomic(struct cv_post *) posts; /* newest first */
	uint32_t ending_connectors; /* connect.c */
};

/* Setup, in setup.c. */
int cv_ring_setup(const struct cv_ring_config *config, struct cv_ring *ring);

/* Buffers, in provided.c. */
int cv_buffers_init(struct cv_ring *ring, uint32_t count, uint32_t size_bytes, bool plain);
void cv_buffers_done(struct cv_ring *ring);
/* A completion carried a buffer: it is the owner's now. */
void cv_buffers_taken(struct cv_ring *ring);
/* The kernel found none: let it have more. */
void cv_buffers_widen(struct cv_ring *ring);
bool cv_buffers_available(const struct cv_ring *ring);
/* Take one for a recv by hand, where the kernel has no buffer rings. */
bool cv_buffers_pop(struct cv_ring *ring, uint32_t *ret_flags);

/* Timers, in timer.c. */
int cv_timers_init(struct cv_timers *timers);
void cv_timers_done(struct cv_timers *timers);
void cv_timers_run(struct cv_ring *ring);
/* Milliseconds until the first timer is due, or -1. */
int64_t cv_timers_wait_ms(const struct cv_ring *ring);

/* Watches, in watch.c. */
int cv_watches_init(struct cv_ring *ring);

/* Operations, in operation.c. */
void cv_op_complete(struct cv_ring *ring, struct cv_op *op, int result, uint32_t flags);
void cv_ops_retry(struct cv_ring *ring);
void cv_ops_finish(struct cv_ring *ring);
void cv_ops_unpause(struct cv_timer *timer);

#endif
