/* SPDX-License-Identifier: MIT */
/*
 * inherited.h - bound listeners that a daemon leaves to its successor (session/listeners.c).
 *
 * A port that is bound, not steered, cannot change hands by a map; but the successor is a child,
 * and gets the sockets themselves: their queues go on. What each is, the socket tells.
 */
#ifndef CV_SESSION_INHERITED_H
#define CV_SESSION_INHERITED_H

#include "base/address.h"

#include <stddef.h>

#define CV_INHERITED_VARIABLE "CULVERT_LISTEN_FDS" /* "17,18" */
#define CV_INHERITED_MAX 4096

struct cv_inherited {
	int fds[CV_INHERITED_MAX]; /* -1: taken */
	size_t count;
};

/** cv_inherited_find() - Those that the old daemon has left; none without one. */
void cv_inherited_find(struct cv_inherited *ret_inherited);
/** cv_inherited_has() - Is one of them bound to @address? */
bool cv_inherited_has(const struct cv_inherited *inherited, const struct cv_sockaddr *address);
/** cv_inherited_take() - One of @address, the caller's from now on, or -1. */
int cv_inherited_take(struct cv_inherited *inherited, const struct cv_sockaddr *address);
/** cv_inherited_all_taken() - There were some, and none is left. */
bool cv_inherited_all_taken(const struct cv_inherited *inherited);
/** cv_inherited_close() - Those that nobody took. */
void cv_inherited_close(struct cv_inherited *inherited);

#endif
