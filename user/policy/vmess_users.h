/* SPDX-License-Identifier: MIT */
/*
 * vmess_users.h - whose is this VMess auth id? The keys of all users of an inbound, tried in turn.
 */
#ifndef CV_POLICY_VMESS_USERS_H
#define CV_POLICY_VMESS_USERS_H

#include "crypto/vmess_keys.h"
#include "policy/user.h"

#define CV_VMESS_CLOCK_S 120 /* a client's clock may be off by as much */
#define CV_VMESS_REPLAY_MS (2u * CV_VMESS_CLOCK_S * 1000u) /* so long an id could come again */

struct cv_vmess_keys; /* read only once it is made: for all threads */

/** cv_vmess_keys_new() - Of those in @users, which must outlive it. NULL: out of memory, or
 * libcrypto failed. */
struct cv_vmess_keys *cv_vmess_keys_new(struct cv_user_table *users);
/** cv_vmess_keys_free() - NULL-safe, cleanses, returns NULL. */
struct cv_vmess_keys *cv_vmess_keys_free(struct cv_vmess_keys *keys);
/**
 * cv_vmess_keys_find() - @now_s: Unix time. One AES block for each user.
 * Returns: 0 with the user and his command key; CV_PEER_UNKNOWN_USER; CV_PEER_CLOCK: made for
 * another time; CV_INTERNAL_CRYPTO.
 */
int cv_vmess_keys_find(const struct cv_vmess_keys *keys, const uint8_t auth_id[CV_VMESS_AUTH_ID],
		       uint64_t now_s, struct cv_user **ret_user,
		       uint8_t ret_command_key[CV_VMESS_KEY]);

#endif
