/* SPDX-License-Identifier: MIT */
/*
 * observation.h - what is known of an outbound: by its sessions, and by probes.
 *
 * Shared by all workers, and by the configurations of one daemon that have the same outbound.
 */
#ifndef CV_POLICY_OBSERVATION_H
#define CV_POLICY_OBSERVATION_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define CV_OBSERVATION_HOLD_MS 10000 /* what failed is left alone so long, if others can do it */

struct cv_observation {
	_Atomic uint32_t references;
	_Atomic uint32_t delay_us; /* of the last probe that succeeded; 0 = none has */
	_Atomic bool is_dead;	   /* the last probe failed */
	_Atomic bool is_probing;
	_Atomic uint64_t held_until_ms; /* sessions saw it fail */
	_Atomic uint64_t probed_ms;	/* when the last probe ended; 0 = never */
	_Atomic uint64_t failures, probes, failed_probes; /* for people */
};

/** cv_observation_new() - Nothing known, one reference; NULL: out of memory. */
struct cv_observation *cv_observation_new(void);
/** cv_observation_share() - Another reference. */
struct cv_observation *cv_observation_share(struct cv_observation *observation);
/** cv_observation_release() - NULL-safe, returns NULL. */
struct cv_observation *cv_observation_release(struct cv_observation *observation);

/* All of these take NULL for: nobody keeps it in mind. */
/** cv_observation_probed() - A probe ended; @delay_us 0: it failed. */
void cv_observation_probed(struct cv_observation *observation, uint32_t delay_us, uint64_t now_ms);
/** cv_observation_failed() - A session could not use it. */
void cv_observation_failed(struct cv_observation *observation, uint64_t now_ms);
/** cv_observation_succeeded() - A session could. */
void cv_observation_succeeded(struct cv_observation *observation);
/** cv_observation_is_alive() - As far as is known; who was never tried is. */
bool cv_observation_is_alive(const struct cv_observation *observation, uint64_t now_ms);

#endif
