/* SPDX-License-Identifier: MIT */
/*
 * backend_checks.h - are the edge's backends there? A TCP connection to each, again and again.
 */
#ifndef CV_SESSION_BACKEND_CHECKS_H
#define CV_SESSION_BACKEND_CHECKS_H

#include "policy/config.h"
#include "ring/ring.h"

struct cv_backend_checks;

/**
 * cv_backend_checks_new() - Check what @config wants checked, at once and then each interval.
 * All on @ring's thread. NULL: nothing to check, or out of memory (then logged).
 */
struct cv_backend_checks *cv_backend_checks_new(struct cv_ring *ring, struct cv_resolver *resolver,
						const struct cv_config *config);
/** cv_backend_checks_free() - NULL-safe, returns NULL. Dials may end later. */
struct cv_backend_checks *cv_backend_checks_free(struct cv_backend_checks *checks);

#endif
