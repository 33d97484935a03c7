/* SPDX-License-Identifier: MIT */
/*
 * usage_file.h - what users with a quota have used, kept over restarts.
 *
 *   {"version": 1, "users": {"alice@example.com": {"uplinkBytes": 1, "downlinkBytes": 2,
 *	"periodStart": 1764547200, "saved": 1764600000}}}
 *
 * DIRECTORY/usage.json, replaced as a whole (write beside, fsync, rename). What it says counts: it
 * is read again before each write, under a lock, and only what moved since the last time is added.
 * Thus two daemons (one taking over from the other) share it, and an operator may edit it.
 */
#ifndef CV_CONTROL_USAGE_FILE_H
#define CV_CONTROL_USAGE_FILE_H

#include "policy/usage.h"

#define CV_USAGE_FILE_S 30 /* between two writes */

struct cv_usage_file;

/**
 * cv_usage_file_start() - Read @directory (made if its parent is there) into @usages and keep both
 * together from a thread of its own. @ret_file stays NULL where no user has a quota. @directory "":
 * nothing is kept, only periods end. A damaged file is set aside as usage.json.damaged-TIME, what
 * cannot be written is logged once and tried again; neither is an error.
 * Returns 0, -ENOMEM, or -errno of the thread.
 */
int cv_usage_file_start(const char *directory, struct cv_usage_table *usages,
			struct cv_usage_file **ret_file);
/** cv_usage_file_reread() - One round, now, from another thread: quotas or people are new. */
void cv_usage_file_reread(struct cv_usage_file *file);
/** cv_usage_file_stop() - After the workers ended: write a last time. NULL-safe, returns NULL. */
struct cv_usage_file *cv_usage_file_stop(struct cv_usage_file *file);

/** cv_usage_file_sync() - One round, now: what the thread does every CV_USAGE_FILE_S seconds.
 * @wall_ms: Unix time. For the thread and for tests. */
void cv_usage_file_sync(struct cv_usage_file *file, uint64_t wall_ms);

#endif
