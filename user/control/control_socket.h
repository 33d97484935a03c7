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

/* Commands that change the daemon itself ("restart", "retire"), on a thread of the control socket.
 * True if @command is one; then @fd is the hook's to answer and to close. */
struct cv_control_hook {
	bool (*take)(void *context, const char *command, int fd);
	void *context;
};

/** cv_control_start() - Listen on @path (its directory is made); @view and @hook are copied.
 * @takeover: replace the socket of a daemon that still answers there. 0 or -errno. */
int cv_control_start(const char *path, const struct cv_control_view *view,
		     const struct cv_control_hook *hook, bool takeover,
		     struct cv_control **ret_control);
/** cv_control_reply() - {"error": @error}, or without one {@key: @value}, to a client that a hook
 * has taken; closes @fd. */
void cv_control_reply(int fd, const char *error, const char *key, uint64_t value);
/** cv_control_use() - Answers are about @config from now on; when this returns, nobody looks at the
 * one before. NULL-safe. */
void cv_control_use(struct cv_control *control, const struct cv_config *config);
/** cv_control_stop() - Before the workers are stopped. NULL-safe; removes the socket, but not with
 * @leave_path, when a successor is about to replace it. */
struct cv_control *cv_control_stop(struct cv_control *control, bool leave_path);

#endif
