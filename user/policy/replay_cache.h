/* SPDX-License-Identifier: MIT */
/*
 * replay_cache.h - ClientHellos that authenticated once and must not do so again.
 */
#ifndef CV_POLICY_REPLAY_CACHE_H
#define CV_POLICY_REPLAY_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cv_replay_cache; /* one per REALITY target; thread safe */

/**
 * cv_replay_cache_new() - Remember hellos for at least @window_ms.
 * @max_entries: per generation; two generations exist. A full generation starts the next one early,
 * so memory is bounded and a flood by a holder of the key shortens the memory instead.
 * Returns NULL when out of memory.
 */
struct cv_replay_cache *cv_replay_cache_new(uint64_t window_ms, uint32_t max_entries);
struct cv_replay_cache *cv_replay_cache_free(struct cv_replay_cache *cache);
/** cv_replay_cache_seen() - The seen_before callback of struct cv_reality_config. */
bool cv_replay_cache_seen(void *cache, const uint8_t random[32], const uint8_t session_id[32],
			  uint64_t now_wall_ms);

#endif
