// SPDX-License-Identifier: MIT
/*
 * mappings.c - names of associations, and the sockets behind them.
 *
 *   entry   ACTIVE (a right is out) --leave--> KEPT --60 s, sweep--> gone
 *              ^ take: a new right, the old one is void \--take--> ACTIVE
 *
 * The table holds a descriptor of its own of each socket, so that neither the end of a worker's
 * socket nor a race between two workers closes the port. A right is a small object of its owner;
 * which one counts is a number in the entry. Entries live as long as the table or any right
 * refers to them. What arrives while nobody reads waits in the socket.
 */
#include "session/mappings.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BUCKETS 1024 /* a power of two */

struct entry {
	struct entry *next; /* in its bucket */
	struct cv_mapping_name name;
	_Atomic uint64_t right; /* the one that counts */
	uint64_t kept_until_ms; /* 0: a right is out */
	int fd;                 /* -1 = none */
	unsigned references;    /* rights, and the table's */
	bool is_listed;
};

struct cv_mapping {
	struct entry *entry;
	uint64_t right;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct entry *buckets[BUCKETS];
static size_t entry_count;
static uint64_t last_right;
static unsigned kept_counts[BUCKETS]; /* by user; two that meet here share */

static size_t hash_of(const uint8_t *bytes, size_t len_bytes)
{
	uint32_t hash = 2166136261u;

	for (size_t i = 0; i < len_bytes; i++)
		hash = (hash ^ bytes[i]) * 16777619u;
	return (hash ^ hash >> 16) & (BUCKETS - 1);
}

/* The user's id cannot be chosen by the client, and the rest spoils only its own bucket. */
static struct entry **bucket_of(const struct cv_mapping_name *name)
{
	return &buckets[hash_of((const uint8_t *)name, sizeof(*name))];
}

static unsigned *kept_count_of(const struct entry *entry)
{
	return &kept_counts[hash_of(entry->name.user, sizeof(entry->name.user))];
}

static struct entry *find(const struct cv_mapping_name *name)
{
	struct entry *entry = *bucket_of(name);

	while (entry && memcmp(&entry->name, name, sizeof(*name)) != 0)
		entry = entry->next;
	return entry;
}

static struct entry *add(const struct cv_mapping_name *name)
{
	struct entry **bucket = bucket_of(name), *entry;

	if (entry_count >= CV_MAPPINGS_MAX)
		return NULL;
	entry = calloc(1, sizeof(*entry));
	if (!entry)
		return NULL;
	entry->name = *name;
	entry->fd = -1;
	entry->references = 1;
	entry->is_listed = true;
	entry->next = *bucket;
	*bucket = entry;
	entry_count++;
	return entry;
}

static void unrefer(struct entry *entry)
{
	if (--entry->references == 0)
		free(entry);
}

static void set_fd(struct entry *entry, int fd)
{
	if (entry->fd >= 0)
		(void)close(entry->fd);
	entry->fd = fd;
}

static void unkeep(struct entry *entry)
{
	*kept_count_of(entry) -= entry->kept_until_ms != 0;
	entry->kept_until_ms = 0;
}

static void unlist(struct entry *entry)
{
	struct entry **at = bucket_of(&entry->name);

	unkeep(entry);
	while (*at != entry)
		at = &(*at)->next;
	*at = entry->next;
	entry->is_listed = false;
	entry_count--;
	set_fd(entry, -1);
	unrefer(entry);
}

struct cv_mapping *cv_mapping_take(const struct cv_mapping_name *name, uint64_t now_ms, int *ret_fd)
{
	struct cv_mapping *mapping = malloc(sizeof(*mapping));
	struct entry *entry;

	if (!mapping)
		return NULL;
	(void)pthread_mutex_lock(&lock);
	entry = find(name);
	if (entry && entry->kept_until_ms && entry->kept_until_ms <= now_ms) {
		unlist(entry);
		entry = NULL;
	}
	if (!entry)
		entry = add(name);
	if (entry) {
		entry->references++;
		unkeep(entry);
		*mapping = (struct cv_mapping){.entry = entry, .right = ++last_right};
		atomic_store(&entry->right, mapping->right);
		*ret_fd = entry->fd < 0 ? -1 : fcntl(entry->fd, F_DUPFD_CLOEXEC, 0);
	}
	(void)pthread_mutex_unlock(&lock);
	if (!entry) {
		free(mapping);
		return NULL;
	}
	return mapping;
}

bool cv_mapping_is_ours(const struct cv_mapping *mapping)
{
	return atomic_load_explicit(&mapping->entry->right, memory_order_acquire) == mapping->right;
}

void cv_mapping_set(struct cv_mapping *mapping, int fd)
{
	(void)pthread_mutex_lock(&lock);
	if (cv_mapping_is_ours(mapping) && mapping->entry->is_listed)
		set_fd(mapping->entry, fd);
	else if (fd >= 0)
		(void)close(fd);
	(void)pthread_mutex_unlock(&lock);
}

struct cv_mapping *cv_mapping_leave(struct cv_mapping *mapping, uint64_t now_ms)
{
	struct entry *entry;

	if (!mapping)
		return NULL;
	entry = mapping->entry;
	(void)pthread_mutex_lock(&lock);
	if (cv_mapping_is_ours(mapping) && entry->is_listed) {
		if (entry->fd < 0 || *kept_count_of(entry) >= CV_MAPPINGS_KEPT_MAX) {
			unlist(entry);
		} else {
			entry->kept_until_ms = now_ms + CV_MAPPING_KEPT_MS;
			++*kept_count_of(entry);
		}
	}
	unrefer(entry);
	(void)pthread_mutex_unlock(&lock);
	free(mapping);
	return NULL;
}

uint64_t cv_mappings_sweep(uint64_t now_ms)
{
	uint64_t first_ms = UINT64_MAX;

	(void)pthread_mutex_lock(&lock);
	for (size_t i = 0; i < BUCKETS; i++) {
		for (struct entry *entry = buckets[i], *next; entry; entry = next) {
			next = entry->next;
			if (entry->kept_until_ms == 0)
				continue;
			if (entry->kept_until_ms <= now_ms)
				unlist(entry);
			else if (entry->kept_until_ms < first_ms)
				first_ms = entry->kept_until_ms;
		}
	}
	(void)pthread_mutex_unlock(&lock);
	return first_ms == UINT64_MAX ? 0 : first_ms - now_ms;
}
