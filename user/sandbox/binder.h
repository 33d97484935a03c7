/* SPDX-License-Identifier: MIT */
#ifndef CV_SANDBOX_BINDER_H
#define CV_SANDBOX_BINDER_H

struct cv_binder;

/** cv_binder_new() - A thread with the capabilities that the caller has just now. 0 or -errno. */
int cv_binder_new(struct cv_binder **ret_binder);
/** cv_binder_run() - @run(@context) on that thread; waits. Returns its result. */
int cv_binder_run(struct cv_binder *binder, int (*run)(void *context), void *context);
/** cv_binder_free() - Ends the thread, and its capabilities with it. NULL-safe, returns NULL. */
struct cv_binder *cv_binder_free(struct cv_binder *binder);

#endif
