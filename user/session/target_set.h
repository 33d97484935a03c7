/* SPDX-License-Identifier: MIT */
/*
 * target_set.h - the learners of all REALITY targets of one configuration.
 */
#ifndef CV_SESSION_TARGET_SET_H
#define CV_SESSION_TARGET_SET_H

#include "policy/config.h"

struct cv_target_set;

/**
 * cv_target_set_new() - Start a learner for each target of @config and make the target ask it. What
 * a target of @former (NULL = none) is learned for, by the same settings, is shared and known at
 * once. Returns 0, CV_INTERNAL_MEMORY or CV_INTERNAL_RESOURCE.
 */
int cv_target_set_new(struct cv_config *config, const struct cv_target_set *former,
		      struct cv_target_set **ret_set);
size_t cv_target_set_count(const struct cv_target_set *set);
/** cv_target_set_wait() - Until all have learned once, or a minute has passed (which is logged, and
 * returns 0 too). -EINTR when @must_stop says so. */
int cv_target_set_wait(const struct cv_target_set *set, bool (*must_stop)(void));
/** cv_target_set_free() - After the last session that could ask. Learners of another set go on.
 * NULL-safe, returns NULL. */
struct cv_target_set *cv_target_set_free(struct cv_target_set *set);

#endif
