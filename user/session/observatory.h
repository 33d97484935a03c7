/* SPDX-License-Identifier: MIT */
/*
 * observatory.h - probes of outbounds, again and again (compat 8.1).
 */
#ifndef CV_SESSION_OBSERVATORY_H
#define CV_SESSION_OBSERVATORY_H

struct cv_observatory;
struct cv_worker;

/** cv_observatory_new() - Probe what the worker's configuration wants observed, on its thread: at
 * once, or when it is due after the last probe. NULL: nothing to observe, or out of memory (then
 * logged). */
struct cv_observatory *cv_observatory_new(struct cv_worker *worker);
/** cv_observatory_free() - No more probes; those under way go on. NULL-safe, returns NULL. */
struct cv_observatory *cv_observatory_free(struct cv_observatory *observatory);

#endif
