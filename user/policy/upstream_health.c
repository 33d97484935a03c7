// SPDX-License-Identifier: MIT
/*
 * upstream_health.c - hold-down of an upstream proxy, on one atomic word.
 *
 *   0 (works) --failed--> now + hold --time passes--> first session: now + lease (it is the probe)
 *       ^                     ^                           |
 *       |                     +---------- failed ---------+
 *       +------------------------------ succeeded --------+   abandoned: 1, which is long ago
 *
 * Workers share the word; the probe is whoever wins the exchange.
 */
#include "policy/upstream_health.h"

#include <stdlib.h>

#define LONG_AGO_MS 1
#define WARN_SECONDS 60

struct cv_upstream_health *cv_upstream_health_share(struct cv_upstream_health *health)
{
	atomic_fetch_add(&health->further_owners, 1);
	return health;
}

struct cv_upstream_health *cv_upstream_health_free(struct cv_upstream_health *health)
{
	if (health && atomic_fetch_sub(&health->further_owners, 1) == 0)
		free(health);
	return NULL;
}

uint32_t cv_retry_wait_ms(const struct cv_retry *retry, uint32_t failures)
{
	if (retry->wait_count == 0 || failures == 0)
		return 0;
	return retry->wait_ms[failures < retry->wait_count ? failures - 1 : retry->wait_count - 1];
}

bool cv_upstream_admit(struct cv_upstream_health *health, uint64_t now_ms, uint32_t lease_ms,
		       bool *ret_is_probe)
{
	uint64_t held_until_ms = atomic_load(&health->held_until_ms);

	if (held_until_ms > now_ms)
		return false;
	if (held_until_ms != 0 &&
	    !atomic_compare_exchange_strong(&health->held_until_ms, &held_until_ms,
					    now_ms + lease_ms))
		return false;
	*ret_is_probe = held_until_ms != 0;
	return true;
}

void cv_upstream_succeeded(struct cv_upstream_health *health)
{
	/* in good times no worker writes what all read */
	if (atomic_load(&health->held_until_ms) != 0)
		atomic_store(&health->held_until_ms, 0);
}

void cv_upstream_failed(struct cv_upstream_health *health, uint64_t now_ms, uint32_t hold_ms)
{
	atomic_store(&health->held_until_ms, hold_ms ? now_ms + hold_ms : 0);
}

void cv_upstream_abandoned(struct cv_upstream_health *health)
{
	atomic_store(&health->held_until_ms, LONG_AGO_MS);
}

static uint32_t hash_of(const char *text)
{
	uint32_t hash = 2166136261u; /* FNV-1a */

	for (; *text; text++)
		hash = (hash ^ (uint8_t)*text) * 16777619u;
	return hash;
}

bool cv_upstream_may_warn(struct cv_upstream_health *health, const char *user, uint64_t now_ms)
{
	const uint32_t who = hash_of(user), now_s = (uint32_t)(now_ms / 1000) + WARN_SECONDS;
	_Atomic uint64_t *slot = &health->warned[who % CV_RETRY_WARNED];
	uint64_t last = atomic_load(slot);

	if (last >> 32 == who && now_s - (uint32_t)last < WARN_SECONDS)
		return false;
	/* of two workers at once one warns */
	return atomic_compare_exchange_strong(slot, &last, (uint64_t)who << 32 | now_s);
}
