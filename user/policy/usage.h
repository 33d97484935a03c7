/* SPDX-License-Identifier: MIT */
/*
 * usage.h - what each person uses at present, whichever inbounds and workers they come through.
 *
 * One record for each identity: e-mail, else name, else a hash of the id. Several entries of the
 * configuration with one identity are one person, held to the stricter of each limit. Counters are
 * atomic; only source addresses need a lock, taken when a session comes and goes.
 *
 *   used = moved (by this process, only grows) + offset (wraps)
 *
 * A table lives as long as the process: each configuration joins it. Its limits become those of the
 * records all at once, when the configuration does (cv_usage_table_commit()); a person whom it does
 * not name keeps the record, without a way to use it.
 *
 * The offset brings in what past and other processes moved, and takes out what belongs to an
 * earlier period. One thread sets it (control/usage_file.c), any worker reads it.
 */
#ifndef CV_POLICY_USAGE_H
#define CV_POLICY_USAGE_H

#include "base/address.h"
#include "policy/limits.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>

struct cv_user;

#define CV_USAGE_KEY 320 /* with the NUL; longer identities are cut */

struct cv_source { /* an IPv4 address (v4-mapped) or an IPv6 /64 */
	uint8_t bytes[16];
	uint32_t session_count;
};

struct cv_usage {
	char *key; /* lower case */
	struct { /* see cv_usage_limits() */
		_Atomic uint64_t quota_bytes, expires_ms, bytes_per_s[2];
		_Atomic uint32_t max_sessions, max_source_addresses;
		_Atomic int quota_resets;
	} limits;
	struct cv_limits next; /* of the configuration that is being loaded */
	bool is_settled, has_next;
	_Atomic uint64_t moved_bytes[2], offset_bytes[2]; /* uplink, downlink */
	_Atomic uint32_t session_count;
	/* rates: sessions that could use more, and what the others use; kept by those sessions */
	_Atomic uint32_t hungry_count[2];
	_Atomic uint64_t modest_bytes_per_s[2];
	pthread_mutex_t lock;	   /* of the rest */
	struct cv_source *sources; /* NULL until the first */
	uint32_t source_count, source_room;
};

struct cv_usage_table;

/** cv_usage_table_new() - NULL: out of memory or of randomness. */
struct cv_usage_table *cv_usage_table_new(void);
/** cv_usage_table_share() - One more owner. */
struct cv_usage_table *cv_usage_table_share(struct cv_usage_table *table);
/** cv_usage_table_free() - One owner less; the last one frees it. NULL-safe, returns NULL. */
struct cv_usage_table *cv_usage_table_free(struct cv_usage_table *table);
/** cv_usage_key() - The identity of @user: e-mail, else name, else "id:" and 16 hex digits of the
 * id's SHA-256 (an id lets people in, so it is written nowhere). */
void cv_usage_key(const struct cv_user *user, char ret_key[CV_USAGE_KEY]);
/** cv_usage_table_begin() - A configuration is about to be loaded: limits that join from now on
 * wait for cv_usage_table_commit(). What waited until now is forgotten. */
void cv_usage_table_begin(struct cv_usage_table *table);
/** cv_usage_table_commit() - What joined since cv_usage_table_begin() counts now. */
void cv_usage_table_commit(struct cv_usage_table *table);
/** cv_usage_join() - The record for @key, made if it is new; @limits tighten those that joined with
 * the same configuration. @ret_differ: other entries with this key have other limits. NULL: out of
 * memory. */
struct cv_usage *cv_usage_join(struct cv_usage_table *table, const char *key,
			       const struct cv_limits *limits, bool *ret_differ);
/** cv_usage_find() - By key; NULL if nobody is called so. */
struct cv_usage *cv_usage_find(struct cv_usage_table *table, const char *key);
size_t cv_usage_count(struct cv_usage_table *table);
/** cv_usage_at() - NULL beyond the last one. */
struct cv_usage *cv_usage_at(struct cv_usage_table *table, size_t index);

/** cv_usage_limits() - Those that count now; safe while another thread commits. */
struct cv_limits cv_usage_limits(const struct cv_usage *usage);
/** cv_usage_used() - Bytes of one direction in this period. */
uint64_t cv_usage_used(const struct cv_usage *usage, int direction);
/** cv_usage_check() - cv_limits_check() of what is used now. */
int cv_usage_check(const struct cv_usage *usage, uint64_t wall_ms);

/**
 * cv_usage_enter() - One more session, from @from (NULL or not IP: no address to count).
 * Returns 0 or, with nothing changed: CV_POLICY_EXPIRED, CV_POLICY_QUOTA, CV_POLICY_USER_SESSIONS,
 * CV_POLICY_USER_ADDRESSES, CV_INTERNAL_MEMORY. @ret_holds_source: cv_usage_leave() wants @from.
 */
int cv_usage_enter(struct cv_usage *usage, const struct cv_sockaddr *from, uint64_t wall_ms,
		   bool *ret_holds_source);
/** cv_usage_leave() - One session less; @from as at its cv_usage_enter() if it held a source. */
void cv_usage_leave(struct cv_usage *usage, const struct cv_sockaddr *from);

#endif
