// SPDX-License-Identifier: MIT
/*
 * ban.c - a fixed table of sources, in sets of WAYS, chosen by a keyed hash.
 *
 * No source can make another's set be looked through longer, and no number of sources can make the
 * table grow: in a full set the place of one that is not banned and failed longest ago is taken,
 * else of the one whose ban ends first.
 */
#include "policy/ban.h"

#include "policy/siphash.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define WAYS 8

struct entry {
	uint8_t source[16]; /* v4-mapped, or an IPv6 /64 */
	uint64_t since_ms;  /* the window's first failure */
	uint64_t until_ms;  /* end of the ban; 0 = none */
	uint32_t failures;  /* 0 = a free place */
};

struct cv_ban_table {
	struct cv_ban_policy policy;
	struct cv_siphash_key key;
	pthread_mutex_t lock;
	size_t set_count;
	struct entry (*sets)[WAYS];
};

struct cv_ban_table *cv_ban_table_new(const struct cv_ban_policy *policy)
{
	struct cv_ban_table *table = calloc(1, sizeof(*table));

	if (!table)
		return NULL;
	table->policy = *policy;
	table->set_count = policy->max_sources / WAYS + 1;
	table->sets = calloc(table->set_count, sizeof(*table->sets));
	if (!table->sets || cv_siphash_key_random(&table->key) != 0) {
		free(table->sets);
		free(table);
		return NULL;
	}
	pthread_mutex_init(&table->lock, NULL);
	return table;
}

struct cv_ban_table *cv_ban_table_free(struct cv_ban_table *table)
{
	if (!table)
		return NULL;
	pthread_mutex_destroy(&table->lock);
	free(table->sets);
	free(table);
	return NULL;
}

/* False if @from is nobody's who could be banned. */
static bool source_of(const struct cv_sockaddr *from, uint8_t ret_source[16])
{
	struct cv_destination destination;

	if (!cv_sockaddr_to_destination(from, &destination))
		return false;
	memset(ret_source, 0, 16);
	if (destination.kind == CV_ADDRESS_IPV4) {
		ret_source[10] = ret_source[11] = 0xff;
		memcpy(ret_source + 12, destination.ipv4, 4);
		return destination.ipv4[0] != 127;
	}
	if (memcmp(destination.ipv6, &in6addr_loopback, 16) == 0)
		return false;
	memcpy(ret_source, destination.ipv6, 8);
	return true;
}

bool cv_ban_is_same(const struct cv_sockaddr *a, const struct cv_sockaddr *b)
{
	uint8_t sources[2][16];
	const bool can_be[] = {source_of(a, sources[0]), source_of(b, sources[1])};

	return can_be[0] == can_be[1] && (!can_be[0] || memcmp(sources[0], sources[1], 16) == 0);
}

static struct entry *set_of(struct cv_ban_table *table, const uint8_t source[16])
{
	return table->sets[cv_siphash(&table->key, source, 16) % table->set_count];
}

static struct entry *find(struct entry *set, const uint8_t source[16])
{
	for (size_t i = 0; i < WAYS; i++)
		if (set[i].failures && memcmp(set[i].source, source, 16) == 0)
			return &set[i];
	return NULL;
}

/* How much is lost if this one is forgotten. */
static uint64_t worth(const struct entry *entry, uint64_t now_ms)
{
	if (!entry->failures)
		return 0;
	return entry->until_ms > now_ms ? UINT64_MAX / 2 + entry->until_ms : 1 + entry->since_ms;
}

static struct entry *take_place(struct entry *set, const uint8_t source[16], uint64_t now_ms)
{
	struct entry *place = &set[0];

	for (size_t i = 1; i < WAYS; i++)
		if (worth(&set[i], now_ms) < worth(place, now_ms))
			place = &set[i];
	*place = (struct entry){.since_ms = now_ms};
	memcpy(place->source, source, 16);
	return place;
}

bool cv_ban_failed(struct cv_ban_table *table, const struct cv_sockaddr *from, uint64_t now_ms)
{
	const struct cv_ban_policy *policy = &table->policy;
	uint8_t source[16];
	struct entry *entry, *set;
	bool begins = false;

	if (!policy->failures || !source_of(from, source))
		return false;
	pthread_mutex_lock(&table->lock);
	set = set_of(table, source);
	entry = find(set, source);
	if (!entry)
		entry = take_place(set, source, now_ms);
	if (entry->until_ms <= now_ms) {
		if (entry->until_ms || now_ms - entry->since_ms > policy->window_s * 1000ull) {
			entry->failures = 0;
			entry->since_ms = now_ms;
			entry->until_ms = 0;
		}
		if (++entry->failures >= policy->failures) {
			entry->until_ms = now_ms + policy->ban_s * 1000ull;
			begins = true;
		}
	}
	pthread_mutex_unlock(&table->lock);
	return begins;
}

bool cv_ban_holds(struct cv_ban_table *table, const struct cv_sockaddr *from, uint64_t now_ms)
{
	const struct entry *entry;
	uint8_t source[16];
	bool holds;

	if (!table->policy.failures || !source_of(from, source))
		return false;
	pthread_mutex_lock(&table->lock);
	entry = find(set_of(table, source), source);
	holds = entry && entry->until_ms > now_ms;
	pthread_mutex_unlock(&table->lock);
	return holds;
}
