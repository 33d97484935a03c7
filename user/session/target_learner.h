/* SPDX-License-Identifier: MIT */
/*
 * target_learner.h - keeps what is known about one target up to date, off the workers.
 */
#ifndef CV_SESSION_TARGET_LEARNER_H
#define CV_SESSION_TARGET_LEARNER_H

#include "base/address.h"
#include "protocol/reality_server.h"

struct cv_target_learner_config {
	const char *target_text;            /* as configured, for the log */
	struct cv_destination destination;  /* tcp: kind != NONE */
	struct cv_sockaddr unix_address;    /* unix: len_bytes > 0 */
	int xver;
	char (*server_names)[256];          /* copied */
	size_t server_name_count;
	uint32_t interval_s;                /* learn again, about 10 % jitter; 0 = never */
	uint32_t window_ms;                 /* 0 = CV_TARGET_PROBE_WINDOW_MS */
	uint32_t timeout_ms;                /* 0 = CV_TARGET_PROBE_TIMEOUT_MS */
};

struct cv_target_learner;

/**
 * cv_target_learner_start() - Start learning on a thread of its own; returns at once.
 * The thread resolves, connects and waits; it blocks all signals. @config is copied.
 * Returns: 0; CV_INTERNAL_MEMORY; CV_INTERNAL_RESOURCE (no descriptor or thread).
 */
int cv_target_learner_start(const struct cv_target_learner_config *config,
			    struct cv_target_learner **ret_learner);

/** cv_target_learner_wait_ready() - Until the first round is over, whatever came of it; else
 * -ETIMEDOUT. */
int cv_target_learner_wait_ready(struct cv_target_learner *learner, uint32_t timeout_ms);

/**
 * cv_target_learner_profile() - What is known; thread safe, never waits for the network.
 * @learner: a struct cv_target_learner (the profile callback of struct cv_reality_config)
 * Where several lists of lengths were seen, one of them at random.
 * Unknown name or class, or nothing learned yet: no list known, ccs_limit CV_CCS_LIMIT_UNKNOWN.
 */
struct cv_target_profile cv_target_learner_profile(void *learner, const char *server_name,
						   enum cv_alpn_class alpn_class);

/** cv_target_learner_stop() - Ends the thread (cancels probes) and frees. NULL is fine.
 * A resolver that hangs is left behind and freed by the thread itself later. */
struct cv_target_learner *cv_target_learner_stop(struct cv_target_learner *learner);

#endif
