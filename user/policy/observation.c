// SPDX-License-Identifier: MIT
/*
 * observation.c - two opinions of an outbound, kept apart.
 *
 *   probes     dead until one succeeds
 *   sessions   held for a while after a failure, until one succeeds
 *
 * A probe that succeeds ends the hold as well: it came later than the failure.
 */
#include "policy/observation.h"

#include <stdlib.h>

struct cv_observation *cv_observation_new(void)
{
	struct cv_observation *observation = calloc(1, sizeof(*observation));

	if (observation)
		atomic_init(&observation->references, 1);
	return observation;
}

struct cv_observation *cv_observation_share(struct cv_observation *observation)
{
	atomic_fetch_add(&observation->references, 1);
	return observation;
}

struct cv_observation *cv_observation_release(struct cv_observation *observation)
{
	if (observation && atomic_fetch_sub(&observation->references, 1) == 1)
		free(observation);
	return NULL;
}

void cv_observation_probed(struct cv_observation *observation, uint32_t delay_us, uint64_t now_ms)
{
	if (!observation)
		return;
	atomic_fetch_add(&observation->probes, 1);
	if (delay_us) {
		atomic_store(&observation->delay_us, delay_us);
		atomic_store(&observation->held_until_ms, 0);
	} else {
		atomic_fetch_add(&observation->failed_probes, 1);
	}
	atomic_store(&observation->is_dead, delay_us == 0);
	atomic_store(&observation->probed_ms, now_ms);
}

void cv_observation_failed(struct cv_observation *observation, uint64_t now_ms)
{
	if (!observation)
		return;
	atomic_fetch_add(&observation->failures, 1);
	atomic_store(&observation->held_until_ms, now_ms + CV_OBSERVATION_HOLD_MS);
}

void cv_observation_succeeded(struct cv_observation *observation)
{
	/* in good times no worker writes what all read */
	if (observation && atomic_load(&observation->held_until_ms) != 0)
		atomic_store(&observation->held_until_ms, 0);
}

bool cv_observation_is_alive(const struct cv_observation *observation, uint64_t now_ms)
{
	return !observation || (!atomic_load(&observation->is_dead) &&
				atomic_load(&observation->held_until_ms) <= now_ms);
}
