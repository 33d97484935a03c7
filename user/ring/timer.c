// SPDX-License-Identifier: MIT
/*
 * timer.c - deadlines of one ring: a binary min-heap of pointers to embedded timers.
 *
 * A timer knows its place in the heap (1-based, 0 = not armed), so disarming costs no search. The
 * heap reserves address space for CV_TIMER_LIMIT timers at the start and touches memory only as it
 * grows: arming cannot fail, which a deadline may not.
 */
#include "base/log.h"
#include "ring/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#define HEAP_BYTES ((CV_TIMER_LIMIT + 1) * sizeof(struct cv_timer *))

int cv_timers_init(struct cv_timers *timers)
{
	void *memory = mmap(NULL, HEAP_BYTES, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (memory == MAP_FAILED)
		return -errno;
	timers->heap = memory;
	timers->count = 0;
	return 0;
}

void cv_timers_done(struct cv_timers *timers)
{
	if (timers->heap)
		(void)munmap(timers->heap, HEAP_BYTES);
	timers->heap = NULL;
}

static void heap_put(struct cv_timers *timers, uint32_t index, struct cv_timer *timer)
{
	timers->heap[index] = timer;
	timer->heap_index = index;
}

/* Put @timer at @index or at the ancestor where it belongs. */
static void heap_rise(struct cv_timers *timers, uint32_t index, struct cv_timer *timer)
{
	while (index > 1 && timers->heap[index / 2]->due_ms > timer->due_ms) {
		heap_put(timers, index, timers->heap[index / 2]);
		index /= 2;
	}
	heap_put(timers, index, timer);
}

/* Put @timer at @index or at the descendant where it belongs. */
static void heap_sink(struct cv_timers *timers, uint32_t index, struct cv_timer *timer)
{
	for (uint32_t child; (child = 2 * index) <= timers->count; index = child) {
		if (child < timers->count &&
		    timers->heap[child + 1]->due_ms < timers->heap[child]->due_ms)
			child++;
		if (timers->heap[child]->due_ms >= timer->due_ms)
			break;
		heap_put(timers, index, timers->heap[child]);
	}
	heap_put(timers, index, timer);
}

static void heap_settle(struct cv_timers *timers, uint32_t index, struct cv_timer *timer)
{
	if (index > 1 && timers->heap[index / 2]->due_ms > timer->due_ms)
		heap_rise(timers, index, timer);
	else
		heap_sink(timers, index, timer);
}

void cv_timer_arm(struct cv_ring *ring, struct cv_timer *timer, uint64_t due_ms)
{
	struct cv_timers *timers = &ring->timers;

	timer->due_ms = due_ms;
	if (timer->heap_index) {
		heap_settle(timers, timer->heap_index, timer);
		return;
	}
	if (timers->count >= CV_TIMER_LIMIT) {
		/* Sessions are capped far below this; going on without a deadline is no option. */
		cv_log(CV_LOG_ERROR, "more than %u timers armed", CV_TIMER_LIMIT);
		abort();
	}
	heap_rise(timers, ++timers->count, timer);
}

void cv_timer_disarm(struct cv_ring *ring, struct cv_timer *timer)
{
	struct cv_timers *timers = &ring->timers;
	uint32_t index = timer->heap_index;
	struct cv_timer *last;

	if (!index)
		return;
	timer->heap_index = 0;
	last = timers->heap[timers->count--];
	if (last != timer)
		heap_settle(timers, index, last);
}

void cv_timers_run(struct cv_ring *ring)
{
	/* Timers armed from within due() for right now wait for the next turn. */
	for (uint32_t left = ring->timers.count; left && ring->timers.count; left--) {
		struct cv_timer *timer = ring->timers.heap[1];

		if (timer->due_ms > ring->now_ms)
			return;
		cv_timer_disarm(ring, timer);
		timer->due(timer);
	}
}

int64_t cv_timers_wait_ms(const struct cv_ring *ring)
{
	uint64_t due_ms;

	if (!ring->timers.count)
		return -1;
	due_ms = ring->timers.heap[1]->due_ms;
	return due_ms > ring->now_ms ? (int64_t)(due_ms - ring->now_ms) : 0;
}
