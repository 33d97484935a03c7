/* SPDX-License-Identifier: MIT */
/*
 * listeners.h - all addresses of the configuration, bound or steered, one listener per worker.
 */
#ifndef CV_SESSION_LISTENERS_H
#define CV_SESSION_LISTENERS_H

#include "engine/kernel.h"
#include "session/worker.h"

struct cv_listeners;

struct cv_listeners_request {
	const struct cv_config *config;
	struct cv_worker *workers;
	unsigned worker_count;
	const struct cv_kernel *kernel; /* borrowed */
	bool takeover;                  /* another culvertd may hold the addresses: take them */
};

/** cv_listeners_new() - Decide how to listen, and log it. Returns 0, -ENOMEM, or why steering,
 * which the configuration requires, cannot be had. */
int cv_listeners_new(const struct cv_listeners_request *request,
		     struct cv_listeners **ret_listeners);
/** cv_listeners_expect_free() - Before the long start: is an address somebody's? Logs whose.
 * Returns 0 or -errno (-EADDRINUSE). */
int cv_listeners_expect_free(struct cv_listeners *listeners);
/** cv_listeners_open() - Listen everywhere; steered addresses change hands at the end, at once.
 * Needs running workers. Returns 0 or -errno, logged. */
int cv_listeners_open(struct cv_listeners *listeners);
/** cv_listeners_bound() - Sockets that are bound, not steered, for a successor to inherit. Open as
 * long as the workers accept. */
const int *cv_listeners_bound(const struct cv_listeners *listeners, size_t *ret_count);
/** cv_listeners_has_inherited() - After cv_listeners_open(): there were inherited sockets, and the
 * workers accept from all of them. */
bool cv_listeners_has_inherited(const struct cv_listeners *listeners);
/** cv_listeners_free() - Give steered addresses back, if they are still ours; the workers close the
 * sockets. NULL-safe, returns NULL. */
struct cv_listeners *cv_listeners_free(struct cv_listeners *listeners);

#endif
