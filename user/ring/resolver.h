/* SPDX-License-Identifier: MIT */
/*
 * resolver.h - names to addresses on helper threads, with a shared cache; the loop never blocks.
 */
#ifndef CV_RING_RESOLVER_H
#define CV_RING_RESOLVER_H

#include "ring/ring.h"

#define CV_RESOLVE_MAX 16

enum cv_resolve_strategy {
	CV_RESOLVE_ANY,
	CV_RESOLVE_V4,
	CV_RESOLVE_V6,
	CV_RESOLVE_V4V6,
	CV_RESOLVE_V6V4
};

struct cv_resolver; /* one per process; thread safe */

struct cv_resolver_config {
	unsigned thread_count; /* e.g. 4 */
	unsigned thread_most;  /* while all are busy; 0 = no more than these */
	uint32_t cache_entries; /* cap, e.g. 4096 */
	uint32_t ttl_ms;        /* positive, 60000 */
	uint32_t negative_ttl_ms; /* 5000 */
	uint32_t queue_limit;   /* waiting queries, e.g. 4096; beyond: CV_INTERNAL_RESOURCE */
	uint32_t timeout_ms;    /* per query; 0 = 10000 */
};

int cv_resolver_new(const struct cv_resolver_config *config, struct cv_resolver **ret_resolver);
/** cv_resolver_free() - After the last turn of every asking ring and before cv_ring_free().
 * NULL-safe; waits at most a second for lookups under way. */
struct cv_resolver *cv_resolver_free(struct cv_resolver *resolver);

/* Embedded in the asker, which must stay alive until done() or until cv_resolve_cancel() returned.
 */
struct cv_resolve_query {
	/* @result: 0, CV_UPSTREAM_RESOLVE, CV_UPSTREAM_TIMEOUT or CV_INTERNAL_RESOURCE */
	void (*done)(struct cv_resolve_query *query, int result,
		     const struct cv_sockaddr *addresses, size_t address_count);
	/* the resolver's own */
	void *internal;
	struct cv_ring *ring;
	struct cv_timer refused; /* the answer when there was no memory for anything else */
};
/** cv_resolve() - done() is always called later on @ring's thread (also on a cache hit). */
void cv_resolve(struct cv_resolver *resolver, struct cv_ring *ring, struct cv_resolve_query *query,
		const char *host, uint16_t port, enum cv_resolve_strategy strategy);
/** cv_resolve_cancel() - done() will not be called any more. No-op if not under way. */
void cv_resolve_cancel(struct cv_resolve_query *query);

#endif
