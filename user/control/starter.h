/* SPDX-License-Identifier: MIT */
/*
 * starter.h - a process that does nothing but start the daemon's successors.
 *
 *   culvertd ---- fork, before anything is read ----> starter: all the rights of the start,
 *      |  gives its own rights up (sandbox/)            hears one socket, nothing from the network
 *      |--- START + report pipe, listening sockets --->  spawns the command line it began with
 *      |<-- pid, or an error --------------------------
 *      |--- END -------------------------------------->  the successor that it just started
 *      `--- end of file ------------------------------>  ends itself
 *
 * A successor has to open what a new configuration names: ports, files, kernel maps. Were it the
 * daemon's own child, the daemon would have to keep all rights to that, and that to run programs.
 * What is run, with which arguments and which environment, is settled before the daemon is: whoever
 * takes the daemon over can ask for another culvertd, and for nothing else.
 */
#ifndef CV_CONTROL_STARTER_H
#define CV_CONTROL_STARTER_H

#include <stddef.h>
#include <sys/types.h>

struct cv_starter;

/** cv_starter_new() - While there is one thread; @argv is this process's own. 0 or -errno. */
int cv_starter_new(char **argv, struct cv_starter **ret_starter);
/** cv_starter_start() - Start a successor that finds @report_fd and the @count sockets of @fds
 * (at most CV_INHERITED_MAX) in its environment. Blocks; one caller at a time.
 * Returns 0 or -errno of the spawn, -EPIPE: the starter is gone. */
int cv_starter_start(struct cv_starter *starter, int report_fd, const int *fds, size_t count,
		     pid_t *ret_pid);
/** cv_starter_end() - End the successor that was started last, and wait for that. */
void cv_starter_end(struct cv_starter *starter);
/** cv_starter_free() - A successor that runs goes on. NULL-safe, returns NULL. */
struct cv_starter *cv_starter_free(struct cv_starter *starter);

/* Where a successor finds the descriptor for its report. */
#define CV_REPORT_VARIABLE "CULVERT_REPORT_FD"

#endif
