/* SPDX-License-Identifier: MIT */
/*
 * successor.h - a restart without a gap: this daemon starts the next one and hears how it went.
 *
 *   old: "restart" -- starter: culvertd ... --takeover, report pipe ----> new: config, targets
 *        keeps serving                                              <---- "retire" (control socket)
 *        MAINPID=new, accepts 2 s more, drains                            new has the addresses
 *        answers the client                                         <---- "ready" (report pipe)
 *
 * A successor that fails says why in the pipe, or by its end; the old daemon then goes on as ever.
 */
#ifndef CV_CONTROL_SUCCESSOR_H
#define CV_CONTROL_SUCCESSOR_H

#include "control/starter.h"

#include <stdbool.h>
#include <stddef.h>

struct cv_successor;

/** cv_successor_new() - @starter, borrowed, starts the same program again with --takeover appended.
 * Returns 0 or -ENOMEM. */
int cv_successor_new(struct cv_starter *starter, struct cv_successor **ret_successor);
/** cv_successor_leave() - Listening sockets for a successor to inherit; borrowed, see
 * session/inherited.h. */
void cv_successor_leave(struct cv_successor *successor, const int *fds, size_t count);
/** cv_successor_start() - Thread safe. Start one unless one is on its way, and answer the control
 * client at @client_fd (taken over) with {"pid": N} or {"error": why}. */
void cv_successor_start(struct cv_successor *successor, int client_fd);
/** cv_successor_cancel() - End a successor that is not ready yet, and start no other. */
void cv_successor_cancel(struct cv_successor *successor);
/** cv_successor_free() - Waits until the client has its answer. NULL-safe, returns NULL. */
struct cv_successor *cv_successor_free(struct cv_successor *successor);

/** cv_report_open() - In the successor: errors go to the old daemon as well from now on; no-op if
 * nobody asked for a report. */
void cv_report_open(void);
/** cv_report_line() - A finding that is not in the log. */
void cv_report_line(const char *text);
/** cv_report_ready() - The last word. */
void cv_report_ready(void);

/* Commands on the control socket: the successor has the addresses; and all the sockets that were
 * left to it, so that whoever waits in their queues is its own. */
#define CV_RETIRE "retire"
#define CV_RETIRE_SHARED "retire shared"
/** cv_retire_old() - Tell the daemon behind the control socket @path that we have its addresses;
 * @has_sockets: and accept from all the sockets that it left to us.
 * Returns 0; -ENOENT: nobody is there; -errno. */
int cv_retire_old(const char *path, bool has_sockets);

#endif
