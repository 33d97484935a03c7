/* SPDX-License-Identifier: MIT */
/*
 * status.h - HTTP for the operator of this machine: a page, JSON, counters for Prometheus.
 *
 * What is served is in control/status_site.c. On loopback only, with a password; off unless
 * culvert.status is configured.
 */
#ifndef CV_CONTROL_STATUS_H
#define CV_CONTROL_STATUS_H

#include "control/command.h"

struct cv_status;

/** cv_status_start() - Serve @view (copied) at its configuration's address, on a thread of its own.
 * @version: for people; borrowed
 * @takeover: a daemon that is about to leave may still serve there, too
 * Returns: 0; -EADDRINUSE; -errno; CV_INTERNAL_CRYPTO. */
int cv_status_start(const struct cv_control_view *view, const char *version, bool takeover,
		    struct cv_status **ret_status);
/** cv_status_use() - Answers are about @config from now on; when this returns, nobody looks at the
 * one before. NULL-safe. */
void cv_status_use(struct cv_status *status, const struct cv_config *config);
/** cv_status_stop() - Before the workers are stopped. NULL-safe, returns NULL. */
struct cv_status *cv_status_stop(struct cv_status *status);

#endif
