// SPDX-License-Identifier: MIT
/*
 * replay_cache.c - two generations of a fixed-size set of keyed 128-bit hashes.
 *
 * A hello is looked up in both generations and added to the younger. When the younger is older than
 * the window, or full, the older is emptied and the two change places: nothing is forgotten before
 * one window has passed, nothing is kept longer than two.
 */
#include "policy/replay_cache.h"

#include "crypto/crypto.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct mark {
	uint64_t high, low; /* 0,0 = free */
};

struct generation {
	struct mark *slots;
	uint32_t used;
	uint64_t started_ms;
};

struct cv_replay_cache {
	pthread_mutex_t lock;
	uint8_t key[32];
	uint64_t window_ms;
	uint32_t max_entries, slot_mask;
	struct generation young, old;
};

struct cv_replay_cache *cv_replay_cache_new(uint64_t window_ms, uint32_t max_entries)
{
	struct cv_replay_cache *cache = calloc(1, sizeof(*cache));
	uint32_t slot_count = 16;

	if (!cache)
		return NULL;
	pthread_mutex_init(&cache->lock, NULL);
	while (slot_count < max_entries * 2)
		slot_count *= 2;
	cache->window_ms = window_ms;
	cache->max_entries = max_entries;
	cache->slot_mask = slot_count - 1;
	cache->young.slots = calloc(slot_count, sizeof(struct mark));
	cache->old.slots = calloc(slot_count, sizeof(struct mark));
	if (!cache->young.slots || !cache->old.slots ||
	    cv_random_bytes(cache->key, sizeof(cache->key)) != 0)
		return cv_replay_cache_free(cache);
	return cache;
}

struct cv_replay_cache *cv_replay_cache_free(struct cv_replay_cache *cache)
{
	if (!cache)
		return NULL;
	free(cache->young.slots);
	free(cache->old.slots);
	pthread_mutex_destroy(&cache->lock);
	free(cache);
	return NULL;
}

static struct mark mark_of(const struct cv_replay_cache *cache, const uint8_t random[32],
			   const uint8_t session_id[32])
{
	const struct cv_mac_part parts[] = {{random, 32}, {session_id, 32}};
	uint8_t mac[CV_HASH_MAX] = {0};
	struct mark mark;

	if (cv_hmac(CV_SHA256, cache->key, sizeof(cache->key), parts, 2, mac) != 0)
		memcpy(mac, random, 32); /* unkeyed, but still one mark per hello */
	memcpy(&mark, mac, sizeof(mark));
	mark.high |= 1; /* never the free mark */
	return mark;
}

static struct mark *slot_of(const struct cv_replay_cache *cache, const struct generation *generation,
			    struct mark mark)
{
	uint32_t slot = (uint32_t)mark.low & cache->slot_mask;

	while (generation->slots[slot].high && memcmp(&generation->slots[slot], &mark, sizeof(mark)))
		slot = (slot + 1) & cache->slot_mask;
	return &generation->slots[slot];
}

static void turn_generation(struct cv_replay_cache *cache, uint64_t now_ms)
{
	struct generation emptied = cache->old;

	memset(emptied.slots, 0, ((size_t)cache->slot_mask + 1) * sizeof(struct mark));
	emptied.used = 0;
	emptied.started_ms = now_ms;
	cache->old = cache->young;
	cache->young = emptied;
}

bool cv_replay_cache_seen(void *opaque, const uint8_t random[32], const uint8_t session_id[32],
			  uint64_t now_wall_ms)
{
	struct cv_replay_cache *cache = opaque;
	struct mark mark = mark_of(cache, random, session_id);
	struct mark *slot;
	bool seen;

	pthread_mutex_lock(&cache->lock);
	if (now_wall_ms - cache->young.started_ms > cache->window_ms ||
	    cache->young.used >= cache->max_entries)
		turn_generation(cache, now_wall_ms);
	slot = slot_of(cache, &cache->young, mark);
	seen = slot->high || slot_of(cache, &cache->old, mark)->high;
	if (!slot->high) {
		*slot = mark;
		cache->young.used++;
	}
	pthread_mutex_unlock(&cache->lock);
	return seen;
}
