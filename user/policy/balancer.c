// SPDX-License-Identifier: MIT
/*
 * balancer.c - choosing among members.
 *
 *   random       the n-th of those who may be used, n from a counter that is mixed
 *   roundRobin   the counter says where to begin; who may not be used passes its turn on
 *   leastPing    the smallest delay of the last probes; as long as there is none: random
 */
#include "policy/balancer.h"

#include "policy/config.h"

static bool was_tried(const struct cv_balancer_tries *tries, uint32_t outbound)
{
	for (size_t i = 0; i < tries->count; i++)
		if (tries->outbounds[i] == outbound)
			return true;
	return false;
}

bool cv_balancer_may_use(const struct cv_config *config, uint32_t outbound, uint64_t now_ms)
{
	const struct cv_outbound *one = &config->outbounds[outbound];

	if (one->is_disabled)
		return false;
	if (one->health && atomic_load(&one->health->held_until_ms) > now_ms)
		return false;
	return cv_observation_is_alive(one->observation, now_ms);
}

/* Members that may be used, in order. */
static size_t usable(const struct cv_balancer *balancer, const struct cv_config *config,
		     const struct cv_balancer_tries *tries, uint64_t now_ms,
		     uint32_t ret_members[CV_BALANCER_MEMBERS_MAX])
{
	size_t count = 0;

	for (size_t i = 0; i < balancer->member_count; i++)
		if (!was_tried(tries, balancer->members[i]) &&
		    cv_balancer_may_use(config, balancer->members[i], now_ms))
			ret_members[count++] = balancer->members[i];
	return count;
}

static size_t enabled(const struct cv_balancer *balancer, const struct cv_config *config,
		      uint32_t ret_members[CV_BALANCER_MEMBERS_MAX])
{
	size_t count = 0;

	for (size_t i = 0; i < balancer->member_count; i++)
		if (!config->outbounds[balancer->members[i]].is_disabled)
			ret_members[count++] = balancer->members[i];
	return count;
}

/* SplitMix64: neighbours become unrelated. */
static uint64_t mixed(uint64_t turn)
{
	turn = turn * 0x9e3779b97f4a7c15u + 0x9e3779b97f4a7c15u;
	turn = (turn ^ turn >> 30) * 0xbf58476d1ce4e5b9u;
	turn = (turn ^ turn >> 27) * 0x94d049bb133111ebu;
	return turn ^ turn >> 31;
}

static uint32_t any(struct cv_balancer *balancer, const uint32_t *members, size_t count)
{
	return members[mixed(atomic_fetch_add(&balancer->turn, 1)) % count];
}

static uint32_t next(struct cv_balancer *balancer, const uint32_t *members, size_t count)
{
	const uint64_t turn = atomic_fetch_add(&balancer->turn, 1);

	for (size_t i = 0; i < balancer->member_count; i++) {
		const uint32_t member = balancer->members[(turn + i) % balancer->member_count];

		for (size_t m = 0; m < count; m++)
			if (members[m] == member)
				return member;
	}
	return members[0];
}

static uint32_t nearest(struct cv_balancer *balancer, const struct cv_config *config,
			const uint32_t *members, size_t count)
{
	uint32_t best = CV_BALANCER_NOBODY, best_us = UINT32_MAX;

	for (size_t i = 0; i < count; i++) {
		const struct cv_observation *seen = config->outbounds[members[i]].observation;
		const uint32_t delay_us = seen ? atomic_load(&seen->delay_us) : 0;

		if (delay_us && delay_us < best_us) {
			best = members[i];
			best_us = delay_us;
		}
	}
	return best == CV_BALANCER_NOBODY ? any(balancer, members, count) : best;
}

static uint32_t choose(struct cv_balancer *balancer, const struct cv_config *config,
		       const uint32_t *members, size_t count)
{
	switch (balancer->strategy) {
	case CV_BALANCE_ROUND_ROBIN:
		return next(balancer, members, count);
	case CV_BALANCE_LEAST_PING:
		return nearest(balancer, config, members, count);
	default:
		return any(balancer, members, count);
	}
}

uint32_t cv_balancer_pick(struct cv_balancer *balancer, const struct cv_config *config,
			  struct cv_balancer_tries *tries, uint64_t now_ms)
{
	uint32_t members[CV_BALANCER_MEMBERS_MAX], picked;
	size_t count;

	if (tries->count == CV_BALANCER_TRIES_MAX)
		return CV_BALANCER_NOBODY;
	count = usable(balancer, config, tries, now_ms, members);
	if (count > 0) {
		picked = choose(balancer, config, members, count);
		atomic_fetch_add_explicit(&balancer->picks, 1, memory_order_relaxed);
	} else if (balancer->fallback != CV_BALANCER_NOBODY &&
		   !was_tried(tries, balancer->fallback)) {
		picked = balancer->fallback;
		atomic_fetch_add_explicit(&balancer->fallbacks, 1, memory_order_relaxed);
	} else if (tries->count == 0 && (count = enabled(balancer, config, members)) > 0) {
		picked = any(balancer, members, count);
		atomic_fetch_add_explicit(&balancer->picks, 1, memory_order_relaxed);
	} else {
		return CV_BALANCER_NOBODY;
	}
	tries->outbounds[tries->count++] = picked;
	return picked;
}
