/* SPDX-License-Identifier: MIT */
/*
 * ring.h - one io_uring per worker: operations, timers, posts from other threads, provided buffers.
 *
 * An operation is a struct cv_op embedded in its owner. From its start until its done() was called
 * the owner must stay alive and its descriptor open: a descriptor number reused under a pending
 * operation is the classic io_uring bug. pending_count of a struct cv_op_owner counts them.
 * Only the ring's own thread may call anything here, except cv_ring_post().
 */
#ifndef CV_RING_RING_H
#define CV_RING_RING_H

#include "base/address.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cv_ring;

struct cv_op {
	/* @result: as the CQE's res; @flags: CQE flags (IORING_CQE_F_MORE and buffer id inside) */
	void (*done)(struct cv_op *op, int result, uint32_t flags);
	/* kept by the ring */
	struct cv_op *next;
	int fd;
	uint8_t kind, place;
	bool pending; /* true until the last completion */
	bool cancelled;
};

struct cv_timer {
	void (*due)(struct cv_timer *timer);
	uint64_t due_ms;
	uint32_t heap_index; /* 0 = not armed */
};

/* Tells that a socket died (reset, timed out) although nobody reads or writes it. */
struct cv_watch {
	void (*died)(struct cv_watch *watch,
		     bool error); /* @error: a socket error, not only a hang-up */
	int fd;
	bool active;
};

/* A message to a ring from another thread; the poster owns the memory until run() is called. */
struct cv_post {
	void (*run)(struct cv_post *post);
	struct cv_post *next;
};

struct cv_ring_config {
	uint32_t entry_count;   /* submission queue size, e.g. 4096 */
	uint32_t buffer_count;  /* provided buffers, power of two, e.g. 256 */
	uint32_t buffer_bytes;  /* e.g. 32768 */
	bool plain; /* use no optional kernel feature (the tests run everything both ways) */
};

/* What the kernel has, found by probing (never by version number). */
struct cv_ring_features {
	bool single_issuer, defer_taskrun, coop_taskrun, buffer_ring, multishot_accept,
		multishot_recv, splice, send_zc;
};
/** cv_ring_allowed_operations() - Each ring is restricted to so many kinds of them. */
unsigned cv_ring_allowed_operations(void);
int cv_ring_probe(struct cv_ring_features *ret_features); /* 0, or -errno if io_uring is unusable */

/** cv_ring_new() - For the calling thread (SINGLE_ISSUER). Returns 0 or -errno (-EINVAL: counts).
 */
int cv_ring_new(const struct cv_ring_config *config, struct cv_ring **ret_ring);
/** cv_ring_free() - No operation may be pending. Posts that still wait are run here. */
struct cv_ring *cv_ring_free(struct cv_ring *ring);
/** cv_ring_turn() - Submit, wait for at least one event, timer or post, dispatch all. 0 or -errno.
 */
int cv_ring_turn(struct cv_ring *ring);
/** cv_ring_now_ms() - Monotonic time, read once per turn. */
uint64_t cv_ring_now_ms(const struct cv_ring *ring);

/* Operations. None may be started while op->pending. They cannot fail synchronously: errors arrive
 * in done() (a full submission queue is flushed). */
/** cv_ring_accept() - done() for each accepted socket (nonblocking, CLOEXEC; result = fd) until the
 * cancel. A negative result is the last one, unless op->pending: then the system is out of
 * descriptors or memory, and it goes on after 100 ms. */
void cv_ring_accept(struct cv_ring *ring, struct cv_op *op, int listener_fd);
/** cv_ring_connect() - @address must stay until done(). */
void cv_ring_connect(struct cv_ring *ring, struct cv_op *op, int fd,
		     const struct cv_sockaddr *address);
/** cv_ring_recv() - Into a provided buffer; in done() fetch it with cv_ring_buffer(). -ENOBUFS is
 * handled inside (retried when a buffer comes back), the owner never sees it. */
void cv_ring_recv(struct cv_ring *ring, struct cv_op *op, int fd);
/** cv_ring_send() - One send (MSG_NOSIGNAL); may be short. @bytes must stay until done(). */
void cv_ring_send(struct cv_ring *ring, struct cv_op *op, int fd, const void *bytes,
		  size_t count_bytes);
/** cv_ring_poll() - Oneshot poll; @mask as poll(2); result = revents. */
void cv_ring_poll(struct cv_ring *ring, struct cv_op *op, int fd, uint32_t mask);
/** cv_ring_cancel() - Ask for the end of @op; done() still comes (-ECANCELED or a real result: a
 * socket or buffer in it is the owner's). No-op if @op is not pending. */
void cv_ring_cancel(struct cv_ring *ring, struct cv_op *op);

/** cv_ring_buffer() - The provided buffer of a recv completion with result > 0. */
uint8_t *cv_ring_buffer(struct cv_ring *ring, uint32_t flags);
/** cv_ring_buffer_give() - Hand it back; exactly once per completion with result > 0. */
void cv_ring_buffer_give(struct cv_ring *ring, uint32_t flags);
size_t cv_ring_buffer_bytes(const struct cv_ring *ring); /* size of one provided buffer */
/** cv_ring_window_bytes() - Of all that the kernel may fill now; grows when they run out. */
uint64_t cv_ring_window_bytes(const struct cv_ring *ring);

/**
 * cv_ring_watch() - Report error (POLLERR) and hang-up (POLLHUP: both directions are over) of @fd
 * to
 * @watch->died, again whenever they change, until cv_ring_unwatch(), which takes effect at once and
 * must come before @fd is closed. A ring's poll cannot do this: it also ends at a peer's FIN.
 * Returns 0 (also when active already) or -errno.
 */
int cv_ring_watch(struct cv_ring *ring, struct cv_watch *watch, int fd);
void cv_ring_unwatch(struct cv_ring *ring, struct cv_watch *watch);

#define CV_TIMER_LIMIT (1u << 22) /* armed at once on one ring; more is a bug and aborts */
/** cv_timer_arm() - (Re)arm to @due_ms on the ring's clock. cv_timer_disarm() - no-op if not armed.
 */
void cv_timer_arm(struct cv_ring *ring, struct cv_timer *timer, uint64_t due_ms);
void cv_timer_disarm(struct cv_ring *ring, struct cv_timer *timer);

/** cv_ring_post() - Thread safe: run post->run on the ring's thread soon. */
void cv_ring_post(struct cv_ring *ring, struct cv_post *post);

#endif
