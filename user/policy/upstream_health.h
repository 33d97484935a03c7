/* SPDX-License-Identifier: MIT */
/*
 * upstream_health.h - how often a failing upstream proxy is tried, and who may try it.
 */
#ifndef CV_POLICY_UPSTREAM_HEALTH_H
#define CV_POLICY_UPSTREAM_HEALTH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CV_RETRY_WAITS 8
#define CV_RETRY_ATTEMPTS_MAX 10
#define CV_RETRY_WARNED 64

struct cv_retry {
	uint32_t attempts;		   /* 1..CV_RETRY_ATTEMPTS_MAX */
	uint32_t wait_ms[CV_RETRY_WAITS];  /* after the first failure, the second, ... */
	size_t wait_count;		   /* 0 = never wait */
	uint32_t connect_ms;		   /* of each attempt */
	uint32_t total_ms;		   /* of all attempts with their waits */
	bool goes_around;		   /* in the end: out directly; else refuse */
};

/* Of one upstream proxy, shared by all workers. */
struct cv_upstream_health {
	_Atomic uint64_t held_until_ms; /* 0 = it is believed to work */
	_Atomic uint64_t warned[CV_RETRY_WARNED]; /* who << 32 | second of the last warning */
	_Atomic uint64_t sessions, failures, gone_around, refused; /* for people */
	_Atomic uint32_t further_owners; /* configurations that share it, beyond the first */
};

/** cv_upstream_health_share() - One more owner. */
struct cv_upstream_health *cv_upstream_health_share(struct cv_upstream_health *health);
/** cv_upstream_health_free() - One owner less; the last one frees it. NULL-safe, returns NULL. */
struct cv_upstream_health *cv_upstream_health_free(struct cv_upstream_health *health);

/** cv_retry_wait_ms() - To wait after the @failures th failure (1 = first); for the last one that
 * is the hold-down. Beyond the series its last value. */
uint32_t cv_retry_wait_ms(const struct cv_retry *retry, uint32_t failures);

/**
 * cv_upstream_admit() - May a new session try the upstream? No during the hold-down, and afterwards
 * for nobody but one, the probe, until its verdict or @lease_ms later.
 * @ret_is_probe: set when admitted; the probe must call succeeded, failed or abandoned
 * Source: the systems' upstream outbound, 6.5.
 */
bool cv_upstream_admit(struct cv_upstream_health *health, uint64_t now_ms, uint32_t lease_ms,
		       bool *ret_is_probe);
/** cv_upstream_succeeded() - It answered: everybody may. */
void cv_upstream_succeeded(struct cv_upstream_health *health);
/** cv_upstream_failed() - The last attempt failed: nobody for @hold_ms. */
void cv_upstream_failed(struct cv_upstream_health *health, uint64_t now_ms, uint32_t hold_ms);
/** cv_upstream_abandoned() - The probe ended without verdict: the next session is one. */
void cv_upstream_abandoned(struct cv_upstream_health *health);
/** cv_upstream_may_warn() - True once a minute for each user (of 64 at once, by hash). */
bool cv_upstream_may_warn(struct cv_upstream_health *health, const char *user, uint64_t now_ms);

#endif
