/* SPDX-License-Identifier: MIT */
/*
 * ban.h - source addresses from which too many logins failed; knows no clock, thread safe.
 */
#ifndef CV_POLICY_BAN_H
#define CV_POLICY_BAN_H

#include "base/address.h"

struct cv_ban_policy {
	uint32_t failures;    /* so many within window_s lead to a ban of ban_s; 0 = never */
	uint32_t window_s;    /* from the first failure on */
	uint32_t ban_s;
	uint32_t max_sources; /* remembered at once; the least interesting one is forgotten */
};

struct cv_ban_table;

/** cv_ban_table_new() - NULL: out of memory or of randomness. */
struct cv_ban_table *cv_ban_table_new(const struct cv_ban_policy *policy);
/** cv_ban_table_free() - NULL-safe, returns NULL. */
struct cv_ban_table *cv_ban_table_free(struct cv_ban_table *table);
/**
 * cv_ban_failed() - A login from @from failed at @now_ms (monotonic). True: with this one a ban
 * began. A source is an IPv4 address or an IPv6 /64. Loopback and unix sockets are never banned:
 * behind them stands a front of ours, and with it everybody.
 */
bool cv_ban_failed(struct cv_ban_table *table, const struct cv_sockaddr *from, uint64_t now_ms);
/** cv_ban_holds() - Is @from banned at @now_ms? */
bool cv_ban_holds(struct cv_ban_table *table, const struct cv_sockaddr *from, uint64_t now_ms);
/** cv_ban_is_same() - Would a ban of the one hold for the other? */
bool cv_ban_is_same(const struct cv_sockaddr *a, const struct cv_sockaddr *b);

#endif
