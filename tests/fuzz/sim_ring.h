/* SPDX-License-Identifier: MIT */
/*
 * sim_ring.h - the ring of user/ring/ring.h without io_uring: the world decides which operation
 * ends next, with how much, and when its owner is told.
 *
 *   started --sim_ring_complete()--> completed --sim_ring_dispatch()--> done()
 *
 * Between the two the kernel has done its part and the program does not know it yet: it may cancel
 * what is over, or call the socket itself.
 */
#ifndef CV_FUZZ_SIM_RING_H
#define CV_FUZZ_SIM_RING_H

#include "ring/ring.h"

/* The world's part of each turn. */
extern void (*sim_turn)(struct cv_ring *ring);

/** sim_is_running() - There is a simulated ring, or there will be one at once. */
bool sim_is_running(void);
void sim_ring_start(void);
/** sim_ring_stop() - Aborts unless everything was given back. */
void sim_ring_stop(void);

/** sim_ring_complete() - The @index-th operation that can end now does: with at most @most_bytes,
 * and if it was cancelled as @cancel_wins says. False: there are not so many. */
bool sim_ring_complete(struct cv_ring *ring, unsigned index, size_t most_bytes, bool cancel_wins);
/** sim_ring_dispatch() - Tell of at most @most completed ones. Returns of how many. */
unsigned sim_ring_dispatch(struct cv_ring *ring, unsigned most);
/** sim_ring_watches() - Tell of sockets that died. True: some did. */
bool sim_ring_watches(void);
/** sim_ring_forward() - The clock: to @ms from now. */
void sim_ring_forward(struct cv_ring *ring, uint64_t ms);
/** sim_ring_next_ms() - Until the next timer; -1 = none is armed. */
int64_t sim_ring_next_ms(const struct cv_ring *ring);
/** sim_ring_buffers() - No more than @most provided buffers from now on. */
void sim_ring_buffers(unsigned most);
/** sim_is_awaited() - An operation is under way on @fd. */
bool sim_is_awaited(int fd);
void sim_run_posts(void);
/** sim_random_start() - The same randomness as in the run before. */
void sim_random_start(void);

#endif
