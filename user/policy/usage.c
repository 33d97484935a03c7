// SPDX-License-Identifier: MIT
/*
 * usage.c - people found by identity; sessions and source addresses counted in and out.
 *
 * An open-addressing index over an array of records, which never move: users and sessions point at
 * them. The index is only changed while a configuration is loaded.
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

	if (!table || cv_siphash_key_random(&table->key) != 0 || !resize(table, SLOTS_MIN))
		return cv_usage_table_free(table);
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
	if (!table)
		return NULL;
	for (size_t i = 0; i < table->usage_count; i++)
		usage_free(table->usages[i]);
	free(table->usages);
	free(table->slots);
	free(table);
	return NULL;
}

static struct cv_usage *usage_new(const char *key, const struct cv_limits *limits)
{
	struct cv_usage *usage = calloc(1, sizeof(*usage));

	if (!usage)
		return NULL;
	pthread_mutex_init(&usage->lock, NULL);
	usage->limits = *limits;
	usage->key = strdup(key);
	return usage->key ? usage : usage_free(usage);
}

struct cv_usage *cv_usage_join(struct cv_usage_table *table, const char *key,
			       const struct cv_limits *limits, bool *ret_differ)
{
	size_t slot = find_slot(table, key);
	struct cv_usage *usage;

	if (table->slots[slot]) {
		usage = table->usages[table->slots[slot] - 1];
		*ret_differ = !cv_limits_equal(&usage->limits, limits);
		cv_limits_tighten(&usage->limits, limits);
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

struct cv_usage *cv_usage_find(const struct cv_usage_table *table, const char *key)
{
	const uint32_t index = table->slots[find_slot(table, key)];

	return index ? table->usages[index - 1] : NULL;
}

size_t cv_usage_count(const struct cv_usage_table *table)
{
	return table->usage_count;
}

struct cv_usage *cv_usage_at(const struct cv_usage_table *table, size_t index)
{
	return index < table->usage_count ? table->usages[index] : NULL;
}

/* ---- use ---------------------------------------------------------------------------------- */

uint64_t cv_usage_used(const struct cv_usage *usage, int direction)
{
	return atomic_load_explicit(&usage->moved_bytes[direction], memory_order_relaxed) +
	       atomic_load_explicit(&usage->offset_bytes[direction], memory_order_relaxed);
}

int cv_usage_check(const struct cv_usage *usage, uint64_t wall_ms)
{
	return cv_limits_check(&usage->limits, cv_usage_used(usage, 0) + cv_usage_used(usage, 1),
			       wall_ms);
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

static int add_source(struct cv_usage *usage, const struct cv_source *source)
{
	struct cv_source *known = find_source(usage, source);
	const uint32_t max = usage->limits.max_source_addresses;

	if (known) {
		known->session_count++;
		return 0;
	}
	if (usage->source_count >= max)
		return CV_POLICY_USER_ADDRESSES;
	if (!usage->sources)
		usage->sources = calloc(max, sizeof(*usage->sources));
	if (!usage->sources)
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
	const uint32_t max = usage->limits.max_sessions;
	struct cv_source source;
	int reason = cv_usage_check(usage, wall_ms);

	if (reason)
		return reason;
	if (atomic_fetch_add(&usage->session_count, 1) >= max && max)
		reason = CV_POLICY_USER_SESSIONS;
	if (!reason && usage->limits.max_source_addresses && source_of(from, &source)) {
		pthread_mutex_lock(&usage->lock);
		reason = add_source(usage, &source);
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
