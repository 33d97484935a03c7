// SPDX-License-Identifier: MIT
/*
 * usage.c - people found by identity; sessions and source addresses counted in and out.
 *
 * An open-addressing index over an array of records, which never move: users and sessions point at
 * them, and read their limits without a lock. The index is changed while a configuration is loaded,
 * when others may look something up.
 */
#include "policy/usage.h"

#include "crypto/crypto.h"
#include "policy/siphash.h"
#include "policy/user.h"

#include <culvert/reason.h>

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLOTS_MIN 16

struct cv_usage_table {
	pthread_mutex_t lock; /* of the rest */
	uint32_t owner_count;
	struct cv_siphash_key key;
	struct cv_usage **usages; /* slot_count / 2 */
	size_t usage_count;
	uint32_t *slots; /* index + 1; 0 = free */
	size_t slot_count; /* power of two */
};

/* ---- identities --------------------------------------------------------------------------- */

void cv_usage_key(const struct cv_user *user, char ret_key[CV_USAGE_KEY])
{
	const char *text = user->email && user->email[0] ? user->email : user->name;
	uint8_t hash[32] = {0};

	if (text && text[0]) {
		(void)snprintf(ret_key, CV_USAGE_KEY, "%s", text);
	} else {
		(void)cv_hash(CV_SHA256, user->uuid, sizeof(user->uuid), hash);
		(void)snprintf(ret_key, CV_USAGE_KEY, "id:%02x%02x%02x%02x%02x%02x%02x%02x",
			       hash[0], hash[1], hash[2], hash[3], hash[4], hash[5], hash[6],
			       hash[7]);
	}
	for (char *c = ret_key; *c; c++)
		*c = (char)tolower((unsigned char)*c);
}

/* The slot that holds @key, or the free one where it belongs. */
static size_t find_slot(const struct cv_usage_table *table, const char *key)
{
	const size_t mask = table->slot_count - 1;
	size_t slot = cv_siphash(&table->key, key, strlen(key)) & mask;

	while (table->slots[slot] && strcmp(table->usages[table->slots[slot] - 1]->key, key) != 0)
		slot = (slot + 1) & mask;
	return slot;
}

static bool resize(struct cv_usage_table *table, size_t slot_count)
{
	struct cv_usage **usages =
		realloc(table->usages, slot_count / 2 * sizeof(*table->usages));
	uint32_t *slots = calloc(slot_count, sizeof(*slots));

	if (usages)
		table->usages = usages;
	if (!usages || !slots) {
		free(slots);
		return false;
	}
	free(table->slots);
	table->slots = slots;
	table->slot_count = slot_count;
	for (size_t i = 0; i < table->usage_count; i++)
		table->slots[find_slot(table, table->usages[i]->key)] = (uint32_t)i + 1;
	return true;
}

struct cv_usage_table *cv_usage_table_new(void)
{
	struct cv_usage_table *table = calloc(1, sizeof(*table));

	if (!table)
		return NULL;
	table->owner_count = 1;
	pthread_mutex_init(&table->lock, NULL);
	if (cv_siphash_key_random(&table->key) != 0 || !resize(table, SLOTS_MIN))
		return cv_usage_table_free(table);
	return table;
}

struct cv_usage_table *cv_usage_table_share(struct cv_usage_table *table)
{
	pthread_mutex_lock(&table->lock);
	table->owner_count++;
	pthread_mutex_unlock(&table->lock);
	return table;
}

static struct cv_usage *usage_free(struct cv_usage *usage)
{
	if (!usage)
		return NULL;
	pthread_mutex_destroy(&usage->lock);
	free(usage->sources);
	free(usage->key);
	free(usage);
	return NULL;
}

struct cv_usage_table *cv_usage_table_free(struct cv_usage_table *table)
{
	uint32_t owners;

	if (!table)
		return NULL;
	pthread_mutex_lock(&table->lock);
	owners = --table->owner_count;
	pthread_mutex_unlock(&table->lock);
	if (owners > 0)
		return NULL;
	pthread_mutex_destroy(&table->lock);
	for (size_t i = 0; i < table->usage_count; i++)
		usage_free(table->usages[i]);
	free(table->usages);
	free(table->slots);
	free(table);
	return NULL;
}

struct cv_limits cv_usage_limits(const struct cv_usage *usage)
{
	return (struct cv_limits){
		.quota_bytes = atomic_load_explicit(&usage->limits.quota_bytes,
						    memory_order_relaxed),
		.expires_ms = atomic_load_explicit(&usage->limits.expires_ms,
						   memory_order_relaxed),
		.bytes_per_s = {atomic_load_explicit(&usage->limits.bytes_per_s[0],
						     memory_order_relaxed),
				atomic_load_explicit(&usage->limits.bytes_per_s[1],
						     memory_order_relaxed)},
		.max_sessions = atomic_load_explicit(&usage->limits.max_sessions,
						     memory_order_relaxed),
		.max_source_addresses = atomic_load_explicit(&usage->limits.max_source_addresses,
							     memory_order_relaxed),
		.quota_resets = (enum cv_quota_reset)atomic_load_explicit(
			&usage->limits.quota_resets, memory_order_relaxed),
	};
}

static void set_limits(struct cv_usage *usage, const struct cv_limits *limits)
{
	atomic_store_explicit(&usage->limits.quota_bytes, limits->quota_bytes,
			      memory_order_relaxed);
	atomic_store_explicit(&usage->limits.expires_ms, limits->expires_ms, memory_order_relaxed);
	for (int d = 0; d < 2; d++)
		atomic_store_explicit(&usage->limits.bytes_per_s[d], limits->bytes_per_s[d],
				      memory_order_relaxed);
	atomic_store_explicit(&usage->limits.max_sessions, limits->max_sessions,
			      memory_order_relaxed);
	atomic_store_explicit(&usage->limits.max_source_addresses, limits->max_source_addresses,
			      memory_order_relaxed);
	atomic_store_explicit(&usage->limits.quota_resets, (int)limits->quota_resets,
			      memory_order_relaxed);
}

static struct cv_usage *usage_new(const char *key, const struct cv_limits *limits)
{
	struct cv_usage *usage = calloc(1, sizeof(*usage));

	if (!usage)
		return NULL;
	pthread_mutex_init(&usage->lock, NULL);
	set_limits(usage, limits);
	usage->key = strdup(key);
	return usage->key ? usage : usage_free(usage);
}

void cv_usage_table_begin(struct cv_usage_table *table)
{
	for (size_t i = 0; i < table->usage_count; i++) {
		table->usages[i]->is_settled = true;
		table->usages[i]->has_next = false;
	}
}

void cv_usage_table_commit(struct cv_usage_table *table)
{
	for (size_t i = 0; i < table->usage_count; i++) {
		struct cv_usage *usage = table->usages[i];

		if (usage->has_next)
			set_limits(usage, &usage->next);
		usage->has_next = false;
		usage->is_settled = true;
	}
}

/* One more entry for somebody who is known, from this configuration or from an earlier one. */
static void join_again(struct cv_usage *usage, const struct cv_limits *limits, bool *ret_differ)
{
	struct cv_limits stricter = usage->is_settled ? usage->next : cv_usage_limits(usage);

	if (usage->is_settled && !usage->has_next)
		stricter = *limits;
	*ret_differ = !cv_limits_equal(&stricter, limits);
	cv_limits_tighten(&stricter, limits);
	if (usage->is_settled)
		usage->next = stricter;
	else
		set_limits(usage, &stricter);
	usage->has_next = usage->is_settled;
}

static struct cv_usage *join(struct cv_usage_table *table, const char *key,
			     const struct cv_limits *limits, bool *ret_differ)
{
	size_t slot = find_slot(table, key);
	struct cv_usage *usage;

	if (table->slots[slot]) {
		usage = table->usages[table->slots[slot] - 1];
		join_again(usage, limits, ret_differ);
		return usage;
	}
	if (2 * (table->usage_count + 1) > table->slot_count) {
		if (!resize(table, 2 * table->slot_count))
			return NULL;
		slot = find_slot(table, key);
	}
	usage = usage_new(key, limits);
	if (!usage)
		return NULL;
	*ret_differ = false;
	table->usages[table->usage_count++] = usage;
	table->slots[slot] = (uint32_t)table->usage_count;
	return usage;
}

struct cv_usage *cv_usage_join(struct cv_usage_table *table, const char *key,
			       const struct cv_limits *limits, bool *ret_differ)
{
	struct cv_usage *usage;

	pthread_mutex_lock(&table->lock);
	usage = join(table, key, limits, ret_differ);
	pthread_mutex_unlock(&table->lock);
	return usage;
}

struct cv_usage *cv_usage_find(struct cv_usage_table *table, const char *key)
{
	struct cv_usage *usage = NULL;
	uint32_t index;

	pthread_mutex_lock(&table->lock);
	index = table->slots[find_slot(table, key)];
	if (index)
		usage = table->usages[index - 1];
	pthread_mutex_unlock(&table->lock);
	return usage;
}

size_t cv_usage_count(struct cv_usage_table *table)
{
	size_t count;

	pthread_mutex_lock(&table->lock);
	count = table->usage_count;
	pthread_mutex_unlock(&table->lock);
	return count;
}

struct cv_usage *cv_usage_at(struct cv_usage_table *table, size_t index)
{
	struct cv_usage *usage;

	pthread_mutex_lock(&table->lock);
	usage = index < table->usage_count ? table->usages[index] : NULL;
	pthread_mutex_unlock(&table->lock);
	return usage;
}

/* ---- use ---------------------------------------------------------------------------------- */

uint64_t cv_usage_used(const struct cv_usage *usage, int direction)
{
	return atomic_load_explicit(&usage->moved_bytes[direction], memory_order_relaxed) +
	       atomic_load_explicit(&usage->offset_bytes[direction], memory_order_relaxed);
}

int cv_usage_check(const struct cv_usage *usage, uint64_t wall_ms)
{
	const struct cv_limits limits = cv_usage_limits(usage);

	return cv_limits_check(&limits, cv_usage_used(usage, 0) + cv_usage_used(usage, 1), wall_ms);
}

/* ---- source addresses --------------------------------------------------------------------- */

/* One house has one IPv4 address, or one IPv6 /64 in which each device makes up its own. */
static bool source_of(const struct cv_sockaddr *from, struct cv_source *ret_source)
{
	*ret_source = (struct cv_source){.session_count = 1};
	if (!from)
		return false;
	if (from->any.sa_family == AF_INET) {
		ret_source->bytes[10] = ret_source->bytes[11] = 0xff;
		memcpy(ret_source->bytes + 12, &from->in.sin_addr, 4);
	} else if (from->any.sa_family == AF_INET6) {
		const bool mapped = IN6_IS_ADDR_V4MAPPED(&from->in6.sin6_addr);

		memcpy(ret_source->bytes, &from->in6.sin6_addr, mapped ? 16 : 8);
	} else {
		return false;
	}
	return true;
}

static struct cv_source *find_source(struct cv_usage *usage, const struct cv_source *wanted)
{
	for (uint32_t i = 0; i < usage->source_count; i++)
		if (memcmp(usage->sources[i].bytes, wanted->bytes, sizeof(wanted->bytes)) == 0)
			return &usage->sources[i];
	return NULL;
}

/* Another configuration may allow more than there was room for. */
static bool make_room(struct cv_usage *usage, uint32_t max)
{
	struct cv_source *sources;

	if (usage->source_count < usage->source_room)
		return true;
	sources = realloc(usage->sources, max * sizeof(*sources));
	if (!sources)
		return false;
	usage->sources = sources;
	usage->source_room = max;
	return true;
}

static int add_source(struct cv_usage *usage, const struct cv_source *source, uint32_t max)
{
	struct cv_source *known = find_source(usage, source);

	if (known) {
		known->session_count++;
		return 0;
	}
	if (usage->source_count >= max)
		return CV_POLICY_USER_ADDRESSES;
	if (!make_room(usage, max))
		return CV_INTERNAL_MEMORY;
	usage->sources[usage->source_count++] = *source;
	return 0;
}

static void forget_source(struct cv_usage *usage, const struct cv_source *source)
{
	struct cv_source *known = find_source(usage, source);

	if (known && --known->session_count == 0)
		*known = usage->sources[--usage->source_count];
}

/* ---- sessions ----------------------------------------------------------------------------- */

int cv_usage_enter(struct cv_usage *usage, const struct cv_sockaddr *from, uint64_t wall_ms,
		   bool *ret_holds_source)
{
	const struct cv_limits limits = cv_usage_limits(usage);
	const uint32_t max = limits.max_sessions;
	struct cv_source source;
	int reason = cv_usage_check(usage, wall_ms);

	if (reason)
		return reason;
	if (atomic_fetch_add(&usage->session_count, 1) >= max && max)
		reason = CV_POLICY_USER_SESSIONS;
	if (!reason && limits.max_source_addresses && source_of(from, &source)) {
		pthread_mutex_lock(&usage->lock);
		reason = add_source(usage, &source, limits.max_source_addresses);
		pthread_mutex_unlock(&usage->lock);
		*ret_holds_source = reason == 0;
	} else {
		*ret_holds_source = false;
	}
	if (reason)
		atomic_fetch_sub(&usage->session_count, 1);
	return reason;
}

void cv_usage_leave(struct cv_usage *usage, const struct cv_sockaddr *from)
{
	struct cv_source source;

	if (source_of(from, &source)) {
		pthread_mutex_lock(&usage->lock);
		forget_source(usage, &source);
		pthread_mutex_unlock(&usage->lock);
	}
	atomic_fetch_sub(&usage->session_count, 1);
}
