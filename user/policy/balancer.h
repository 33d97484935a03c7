/* SPDX-License-Identifier: MIT */
/*
 * balancer.h - one of several outbounds for each session (compat 8.1).
 */
#ifndef CV_POLICY_BALANCER_H
#define CV_POLICY_BALANCER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cv_config;

#define CV_BALANCER_MEMBERS_MAX 256
#define CV_BALANCER_TRIES_MAX 8 /* outbounds of one session */
#define CV_BALANCER_NOBODY UINT32_MAX

enum cv_balance { CV_BALANCE_RANDOM, CV_BALANCE_ROUND_ROBIN, CV_BALANCE_LEAST_PING };

struct cv_balancer {
	char *tag;
	enum cv_balance strategy;
	uint32_t *members; /* indices of outbounds, in the order of their tags */
	size_t member_count;
	uint32_t fallback;     /* index, or CV_BALANCER_NOBODY */
	_Atomic uint64_t turn; /* of round robin, and of the random numbers */
	_Atomic uint64_t picks, fallbacks; /* for people */
};

/* The outbounds a session has tried, in order. */
struct cv_balancer_tries {
	uint32_t outbounds[CV_BALANCER_TRIES_MAX];
	size_t count;
};

/**
 * cv_balancer_pick() - The outbound for a session, noted in @tries: of the members that are alive
 * and not tried, by the strategy; else the fallback; else, at the first try, any member.
 * Returns its index, or CV_BALANCER_NOBODY when nothing is left to try. Thread safe. Takes time by
 * the number of members. Source: compat 8.1.
 */
uint32_t cv_balancer_pick(struct cv_balancer *balancer, const struct cv_config *config,
			  struct cv_balancer_tries *tries, uint64_t now_ms);
/** cv_balancer_may_use() - Is the outbound alive, as far as is known? */
bool cv_balancer_may_use(const struct cv_config *config, uint32_t outbound, uint64_t now_ms);

#endif
