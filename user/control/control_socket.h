/* SPDX-License-Identifier: MIT */
/*
 * control_socket.h - the operator's view: one line in, one JSON document out, over a unix socket.
 *
 * What can be asked is in control/command.c. Mode 0600.
 */
#ifndef CV_CONTROL_CONTROL_SOCKET_H
#define CV_CONTROL_CONTROL_SOCKET_H

#include "control/command.h"

struct cv_control;

/** cv_control_start() - Listen on @path (its directory is made); @view is copied. 0 or -errno. */
int cv_control_start(const char *path, const struct cv_control_view *view,
		     struct cv_control **ret_control);
/** cv_control_stop() - Before the workers are stopped. NULL-safe; removes the socket. */
struct cv_control *cv_control_stop(struct cv_control *control);

#endif
