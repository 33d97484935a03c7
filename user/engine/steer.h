/* SPDX-License-Identifier: MIT */
/*
 * steer.h - the daemon's side of bpf/steer.bpf.c: listeners into slots, addresses onto slots.
 *
 *   cv_steer_check()   nobody else holds the address
 *   cv_steer_listen()  listeners of all workers into free slots: nothing leads there yet
 *   cv_steer_commit()  every address leads to our slots from now on, whoever had it before
 *   cv_steer_free()    what still leads to us leads nowhere
 */
#ifndef CV_ENGINE_STEER_H
#define CV_ENGINE_STEER_H

#include "base/address.h"
#include "engine/kernel.h"

#include <culvert/steer.h>

struct cv_steer;

/**
 * cv_steer_new() - Steer by @kernel's maps, which must outlive the result.
 * @directory: of the pins, locked while addresses change hands
 * Returns 0; -ENOTCONN: the pins steer another network namespace; -ENOMEM; the part's own error.
 */
int cv_steer_new(const struct cv_kernel *kernel, const char *directory,
		 struct cv_steer **ret_steer);
/** cv_steer_free() - Take back the addresses that are still ours. The listeners are the caller's to
 * close. NULL-safe, returns NULL. */
struct cv_steer *cv_steer_free(struct cv_steer *steer);

/** cv_steer_holder() - The process that listens on @address through these maps, 0 if none does. */
uint32_t cv_steer_holder(const struct cv_steer *steer, const struct cv_sockaddr *address);

/** cv_steer_allows() - May @address be steered (culvert load --ports)? */
bool cv_steer_allows(const struct cv_steer *steer, const struct cv_sockaddr *address);

/**
 * cv_steer_listen() - @count listeners for @address, in slots of their own.
 * @inbound: for people
 * @ret_fds: @count of them, the caller's
 * Returns 0, -ENOSPC (slots or addresses), or -errno; then no descriptor is left.
 */
int cv_steer_listen(struct cv_steer *steer, const struct cv_sockaddr *address, const char *inbound,
		    int backlog, unsigned count, int *ret_fds);

/**
 * cv_steer_commit() - Put all addresses of cv_steer_listen() in force.
 * @takeover: also those that another living process holds
 * Returns 0; -EADDRINUSE without @takeover; -errno. On failure none is in force.
 */
int cv_steer_commit(struct cv_steer *steer, bool takeover);

/** cv_steer_count() - The sum over CPUs of @counter. Returns 0 or -errno. */
int cv_steer_count(int counters_fd, uint32_t counter, struct cv_steer_counter *ret_counter);
/** cv_steer_alive() - Does a listener stand in any slot of @port? */
bool cv_steer_alive(int listeners_fd, const struct cv_steer_port *port);
/** cv_steer_key_format() - "10.0.0.1:443", "0.0.0.0:443", "[::]:443" (both families) into @text
 * (CV_DESTINATION_TEXT). */
void cv_steer_key_format(const struct cv_steer_key *key, char *text);

#endif
