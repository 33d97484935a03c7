// SPDX-License-Identifier: MIT
/*
 * replay_cache.c - two generations of fixed-size sets, split into shards with a lock each.
 *
 *   hello -> keyed hash -> shard -> in current or previous? seen : insert into current
 *
 *   every window (or when current is full): previous <- current, current <- empty
 *
 * An entry thus lives at least one window and at most two, unless the shard is flooded; only hellos
 * that proved knowledge of the key get here, so a stranger cannot flood it. What is stored is the
 * 64-bit hash alone: a collision sends one honest client in 2^48 to the target, once.
 */
#include "policy/replay_cache.h"

#include "policy/siphash.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define SHARD_COUNT 16
#define SLOTS_MIN 64

struct generation {
	uint64_t *slots; /* 0 = free */
	uint32_t used;
};

struct shard {
	pthread_mutex_t lock;
	struct generation current, previous;
	uint64_t current_since_ms;
};

struct cv_replay_cache {
	_Atomic uint32_t owner_count;
	struct cv_siphash_key key;
	_Atomic uint64_t window_ms; /* never shorter than it was */
	uint32_t slot_count; /* per shard and generation, power of two; half of it is used */
	struct shard shards[SHARD_COUNT];
};

static uint32_t slots_for(uint32_t entry_count)
{
	const uint32_t per_shard = entry_count / SHARD_COUNT + 1;
	uint32_t slots = SLOTS_MIN;

	while (slots < 2 * (per_shard - 1) && slots < (1u << 24))
		slots *= 2;
	return slots;
}

struct cv_replay_cache *cv_replay_cache_new(uint64_t window_ms, uint32_t entry_count)
{
	struct cv_replay_cache *cache = calloc(1, sizeof(*cache));
	bool complete;

	if (!cache)
		return NULL;
	atomic_init(&cache->owner_count, 1);
	atomic_init(&cache->window_ms, window_ms ? window_ms : CV_REPLAY_WINDOW_MS);
	cache->slot_count = slots_for(entry_count);
	complete = cv_siphash_key_random(&cache->key) == 0;
	for (size_t i = 0; i < SHARD_COUNT; i++) {
		struct shard *shard = &cache->shards[i];

		pthread_mutex_init(&shard->lock, NULL);
		/* calloc: pages come with use */
		shard->current.slots = calloc(cache->slot_count, sizeof(uint64_t));
		shard->previous.slots = calloc(cache->slot_count, sizeof(uint64_t));
		complete &= shard->current.slots && shard->previous.slots;
	}
	return complete ? cache : cv_replay_cache_free(cache);
}

struct cv_replay_cache *cv_replay_cache_share(struct cv_replay_cache *cache, uint64_t window_ms)
{
	atomic_fetch_add(&cache->owner_count, 1);
	if (window_ms > atomic_load(&cache->window_ms))
		atomic_store(&cache->window_ms, window_ms);
	return cache;
}

struct cv_replay_cache *cv_replay_cache_free(struct cv_replay_cache *cache)
{
	if (!cache || atomic_fetch_sub(&cache->owner_count, 1) > 1)
		return NULL;
	for (size_t i = 0; i < SHARD_COUNT; i++) {
		pthread_mutex_destroy(&cache->shards[i].lock);
		free(cache->shards[i].current.slots);
		free(cache->shards[i].previous.slots);
	}
	free(cache);
	return NULL;
}

static void generation_clear(const struct cv_replay_cache *cache, struct generation *generation)
{
	if (generation->used)
		memset(generation->slots, 0, cache->slot_count * sizeof(uint64_t));
	generation->used = 0;
}

static void shard_turn(const struct cv_replay_cache *cache, struct shard *shard)
{
	const struct generation oldest = shard->previous;

	shard->previous = shard->current;
	shard->current = oldest;
	generation_clear(cache, &shard->current);
}

/* A wall clock may jump: both generations survive a jump back, one survives any jump ahead. */
static void shard_age(const struct cv_replay_cache *cache, struct shard *shard, uint64_t now_ms)
{
	if (shard->current_since_ms == 0 || now_ms < shard->current_since_ms) {
		shard->current_since_ms = now_ms;
	} else if (now_ms - shard->current_since_ms >= cache->window_ms) {
		shard_turn(cache, shard);
		shard->current_since_ms = now_ms;
	}
	if (shard->current.used >= cache->slot_count / 2)
		shard_turn(cache, shard);
}

/* The slot that holds @hash, or the free one where it belongs. */
static uint64_t *find(const struct cv_replay_cache *cache, const struct generation *generation,
		      uint64_t hash)
{
	const uint32_t mask = cache->slot_count - 1;
	uint32_t slot = (uint32_t)(hash >> 8) & mask;

	while (generation->slots[slot] != 0 && generation->slots[slot] != hash)
		slot = (slot + 1) & mask;
	return &generation->slots[slot];
}

bool cv_replay_cache_seen(void *context, const uint8_t random[32], const uint8_t session_id[32],
			  uint64_t now_wall_ms)
{
	struct cv_replay_cache *cache = context;
	struct shard *shard;
	uint8_t hello[64];
	uint64_t hash, *slot;
	bool seen;

	memcpy(hello, random, 32);
	memcpy(hello + 32, session_id, 32);
	hash = cv_siphash(&cache->key, hello, sizeof(hello));
	hash += hash == 0;
	shard = &cache->shards[hash % SHARD_COUNT];
	pthread_mutex_lock(&shard->lock);
	shard_age(cache, shard, now_wall_ms);
	slot = find(cache, &shard->current, hash);
	seen = *slot == hash || *find(cache, &shard->previous, hash) == hash;
	if (*slot == 0) {
		*slot = hash;
		shard->current.used++;
	}
	pthread_mutex_unlock(&shard->lock);
	return seen;
}
