/* SPDX-License-Identifier: MIT */
/*
 * sandbox.h - from what a daemon needs to start to what it needs to run.
 *
 *   fork of the starter (control/starter.h): keeps all rights, for successors
 *   read the configuration        every file that is read, is noted
 *   cv_sandbox_identity()         root -> culvert.user, with root's capabilities for now
 *   open logs, kernel parts
 *   cv_sandbox_enter()            no_new_privs, no core, Landlock, capabilities; one thread yet
 *   threads start, targets are learned
 *   cv_sandbox_seal()             seccomp, all threads
 *   cv_sandbox_bind()             the one thread that may still bind ports below 1024 does, ends
 *
 * Landlock and capabilities belong to a thread and go on to those that it starts, therefore they
 * come first; seccomp can be put onto all threads, therefore it comes when rings are made.
 * What a kernel does not have is a warning; what it has and refuses is an error.
 */
#ifndef CV_SANDBOX_SANDBOX_H
#define CV_SANDBOX_SANDBOX_H

#include "policy/config.h"

struct cv_sandbox;

/** cv_sandbox_new() - Before the configuration is read. NULL: out of memory. */
struct cv_sandbox *cv_sandbox_new(void);
/** cv_sandbox_note() - For cv_document_watch(): @path was read, or could not be (@error). */
void cv_sandbox_note(void *sandbox, const char *path, int error);
/** cv_sandbox_identity() - Become culvert.user, if there is one. 0 or -errno, which was logged. */
int cv_sandbox_identity(struct cv_sandbox *sandbox, const struct cv_config *config);
/** cv_sandbox_enter() - @run_directory: the daemon's own, for small files.
 * 0 or -errno, which was logged. */
int cv_sandbox_enter(struct cv_sandbox *sandbox, const struct cv_config *config,
		     const char *run_directory);
/** cv_sandbox_bind() - @run(@context) on the thread that may bind any port; it ends after the
 * @last. Returns the result. */
int cv_sandbox_bind(struct cv_sandbox *sandbox, int (*run)(void *context), void *context,
		    bool last);
/** cv_sandbox_seal() - Rings are made and programs loaded. 0 or -errno, which was logged. */
int cv_sandbox_seal(struct cv_sandbox *sandbox);
/** cv_sandbox_refused() - A file that the last configuration named was refused, and the sandbox may
 * be why: a sentence about that; else NULL. Forgets it. */
const char *cv_sandbox_refused(struct cv_sandbox *sandbox);
/** cv_sandbox_text() - "user culvert, capabilities no, ...", settled when cv_sandbox_enter() has
 * returned. */
const char *cv_sandbox_text(const struct cv_sandbox *sandbox);
/** cv_sandbox_free() - What is in force stays. NULL-safe, returns NULL. */
struct cv_sandbox *cv_sandbox_free(struct cv_sandbox *sandbox);

#endif
