/* SPDX-License-Identifier: MIT */
/*
 * control_socket.h - the operator's view: one line in, one JSON document out, over a unix socket.
 *
 *   sessions | session WORKER.ID | workers | reasons | users
 *
 * Answered on a thread of its own; each worker lists its sessions itself (posts), so what is shown
 * is exact at one instant per worker. Mode 0600.
 */
#ifndef CV_CONTROL_CONTROL_SOCKET_H
#define CV_CONTROL_CONTROL_SOCKET_H

#include "session/worker.h"

struct cv_control;

/** cv_control_start() - Listen on @path (its directory is made). 0 or -errno. */
int cv_control_start(const char *path, const struct cv_config *config, struct cv_worker *workers,
		     unsigned worker_count, struct cv_control **ret_control);
/** cv_control_stop() - Before the workers are stopped. NULL-safe; removes the socket. */
struct cv_control *cv_control_stop(struct cv_control *control);

#endif
