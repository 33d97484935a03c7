/* SPDX-License-Identifier: MIT */
/*
 * user.h - the users of one inbound, and how they are found.
 */
#ifndef CV_POLICY_USER_H
#define CV_POLICY_USER_H

#include "policy/limits.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cv_usage;

#define CV_USER_TEXT_MAX 255 /* name and password: what SOCKS5 can carry */

struct cv_user {
	uint8_t uuid[16]; /* as configured */
	char *name;       /* username, or "" */
	char *email;      /* routing identity, or "" */
	char *password;   /* as stored (policy/password.h), or "" = no login */
	char *external_proxy_id; /* of the upstream it goes out through, or "" */
	bool vision;      /* flow xtls-rprx-vision demanded */
	bool enabled;
	bool has_short_id;
	uint8_t short_id[8]; /* the user's own REALITY short id, for its share link */
	uint32_t level;
	uint32_t vision_seed[4];                       /* {0} = default */
	struct cv_limits limits; /* of this entry; those that count are the usage's */
	struct cv_usage *usage;  /* of the person, who may have further entries; NULL = no limits */
	struct cv_user_counters *counters;
};

/* Live: added by workers. They stay the same over changes of the configuration. */
struct cv_user_counters {
	_Atomic uint64_t moved_bytes[2]; /* uplink, downlink */
	_Atomic uint32_t session_count;
	_Atomic uint32_t association_count; /* of these sessions, those that carry datagrams */
	_Atomic uint32_t owner_count;
};

struct cv_user_table; /* owns its users */

/**
 * cv_user_table_new() - Takes copies of @users' fields (strings duplicated, NULL becomes "").
 * Of two users with one name, or with ids that differ in bytes 6 and 7 only, the later is found.
 * NULL: out of memory or of randomness.
 */
struct cv_user_table *cv_user_table_new(const struct cv_user *users, size_t user_count);
/** cv_user_table_free() - NULL-safe, cleanses the passwords, returns NULL. */
struct cv_user_table *cv_user_table_free(struct cv_user_table *table);
/** cv_user_find_uuid() - Bytes 6 and 7 ignored (VLESS 5.2); keyed hash. NULL if unknown. */
struct cv_user *cv_user_find_uuid(struct cv_user_table *table, const uint8_t uuid[16]);
/** cv_user_find_same() - Who in @table is @user of another one: by id, else by name; or NULL. */
struct cv_user *cv_user_find_same(struct cv_user_table *table, const struct cv_user *user);
/** cv_user_table_inherit() - Those in @table who are also in @former go on with their counters. */
void cv_user_table_inherit(struct cv_user_table *table, struct cv_user_table *former);
/**
 * cv_user_find_login() - Who logs in by this name. Names are compared in constant time. If nobody
 * does, @ret_is_known is false and some user who has a password is returned, always the same for
 * one name: to compare with for as long as with a real one, and to refuse whatever comes out. NULL:
 * no user has a password.
 */
struct cv_user *cv_user_find_login(struct cv_user_table *table, const char *name, size_t name_len,
				   bool *ret_is_known);
/** cv_user_is_called() - Is @who the user's e-mail, name, id or identity (usage.h)? Case does not
 * matter; "" is nobody. */
bool cv_user_is_called(const struct cv_user *user, const char *who);
size_t cv_user_count(const struct cv_user_table *table);
/** cv_user_at() - NULL beyond the last one. */
struct cv_user *cv_user_at(struct cv_user_table *table, size_t index);

#endif
