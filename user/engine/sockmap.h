/* SPDX-License-Identifier: MIT */
/*
 * sockmap.h - one worker's share of the relay maps; for engine_sockmap.c and those who set it up.
 */
#ifndef CV_ENGINE_SOCKMAP_H
#define CV_ENGINE_SOCKMAP_H

#include "engine/engine.h"
#include "engine/kernel.h"

#include <culvert/relay.h>

#define CV_SOCKMAP_NO_SLOT UINT32_MAX

struct cv_sockmap;

struct cv_sockmap_slot {
	struct cv_flow *flow; /* NULL = unused, or its sockets are not closed yet */
	struct cv_relay_flow *kernel; /* mapped */
	uint64_t read_bytes;	/* recv(2) returned since the source is in relay_sources */
	uint64_t seen_bytes;	/* of kernel->moved_bytes, already in flow->moved_bytes */
	uint64_t written_bytes; /* of kernel->moved_bytes, what the sink had when last asked */
	uint64_t live_ms, hold_until_ms;
	uint64_t asked_ms;	/* the sink's count last grew, or waiting for it began */
	uint64_t early_end_ms;	/* recv(2) said that the source ended, before all was read */
	uint64_t due_ms;
	uint32_t index;
	uint32_t next;	     /* of the waiting, or of the retired */
	uint32_t hold_ms;    /* how long it is left to the daemon when it hits the limit again */
	int16_t refused;     /* -errno: relay_sources does not take the source */
	uint8_t wait_ms;
	bool in_sources, waiting, fin_seen;
};

/**
 * cv_sockmap_new() - For the ring's thread.
 * @kernel: with a usable relay part; borrowed, must outlive it.
 * Returns 0 or -errno.
 */
int cv_sockmap_new(const struct cv_kernel *kernel, struct cv_ring *ring,
		   struct cv_sockmap **ret_sockmap);
/** cv_sockmap_free() - Every socket that was in it must be closed. NULL-safe, returns NULL. */
struct cv_sockmap *cv_sockmap_free(struct cv_sockmap *sockmap);
const struct cv_kernel *cv_sockmap_kernel(const struct cv_sockmap *sockmap);

/** cv_sockmap_take() - An unused slot, @sink_fd in its relay_sinks. 0; -EOPNOTSUPP: not an
 * established connection; -ENOSPC: all taken; else -errno. */
int cv_sockmap_take(struct cv_sockmap *sockmap, struct cv_flow *flow,
		    struct cv_sockmap_slot **ret_slot);
/** cv_sockmap_give() - Done with it: used again once its sockets are closed. */
void cv_sockmap_give(struct cv_sockmap *sockmap, struct cv_sockmap_slot *slot);
struct cv_sockmap_slot *cv_sockmap_slot(struct cv_sockmap *sockmap, uint32_t index);
/** cv_sockmap_wait() - Call cv_sockmap_due() in @delay_ms, at the earliest in the next turn. */
void cv_sockmap_wait(struct cv_sockmap *sockmap, struct cv_sockmap_slot *slot, uint32_t delay_ms);
/** cv_sockmap_active() - Bytes move: look often whether the program stopped a flow. */
void cv_sockmap_active(struct cv_sockmap *sockmap);
uint32_t cv_sockmap_used(const struct cv_sockmap *sockmap);

/* engine_sockmap.c's part: */
/** cv_sockmap_due() - The wait of @slot is over. */
void cv_sockmap_due(struct cv_sockmap_slot *slot);
/** cv_sockmap_limited() - The program may have stopped redirecting this flow. */
void cv_sockmap_limited(struct cv_sockmap_slot *slot);

/** cv_sockmap_process() - This process as struct cv_relay_chunk has it; 0 if /proc does not tell.
 */
uint64_t cv_sockmap_process(void);

#endif
