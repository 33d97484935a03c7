/* SPDX-License-Identifier: MIT */
/*
 * replay_cache.h - has this authenticated hello been here before?
 */
#ifndef CV_POLICY_REPLAY_CACHE_H
#define CV_POLICY_REPLAY_CACHE_H

#include <stdbool.h>
#include <stdint.h>

struct cv_replay_cache; /* thread safe */

#define CV_REPLAY_WINDOW_MS 120000u /* remembered when maxTimeDiff sets no limit */
#define CV_REPLAY_ENTRIES 65536u    /* per generation, of which there are two */

/**
 * cv_replay_cache_new() - Remembers each hello for at least @window_ms (0 = CV_REPLAY_WINDOW_MS).
 * @window_ms: how long the server would accept a hello again: twice maxTimeDiff, because the
 * client's clock may be ahead as well as behind
 * @entry_count: per generation, rounded up to a power of two, at least 512; more hellos than that
 * in a window push out the oldest, so that memory stays bounded (16 bytes per entry) Returns NULL
 * when memory or randomness is missing.
 */
struct cv_replay_cache *cv_replay_cache_new(uint64_t window_ms, uint32_t entry_count);
/** cv_replay_cache_share() - One more owner, who wants @window_ms at least; what is in it stays. */
struct cv_replay_cache *cv_replay_cache_share(struct cv_replay_cache *cache, uint64_t window_ms);
/** cv_replay_cache_free() - One owner less; the last one frees it. NULL-safe, returns NULL. */
struct cv_replay_cache *cv_replay_cache_free(struct cv_replay_cache *cache);

/**
 * cv_replay_cache_seen() - Remember the hello; true if it was there already.
 * @context: the cache. Made for the seen_before callback of protocol/reality_server.h.
 */
bool cv_replay_cache_seen(void *context, const uint8_t random[32], const uint8_t session_id[32],
			  uint64_t now_wall_ms);

#endif
