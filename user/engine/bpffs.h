/* SPDX-License-Identifier: MIT */
/*
 * bpffs.h - the file system that pins live in: is it there, make a directory, leave no trace.
 */
#ifndef CV_ENGINE_BPFFS_H
#define CV_ENGINE_BPFFS_H

#include <stdbool.h>
#include <stdint.h>

#define CV_BPFFS_MOUNT "/sys/fs/bpf"

/* What was changed around a directory of pins, to be undone by cv_bpffs_undo(). */
struct cv_bpffs_traces {
	bool mounted;
	uint16_t parent_mode; /* 0 = as it was */
};

/**
 * cv_bpffs_make() - Make @directory, whose parent is a bpffs; mounts one on /sys/fs/bpf if needed.
 * @open_parent: let other users pass through the parent (systemd mounts it 0700)
 *
 * Returns 0; -EEXIST, with the traces of this call; -EMEDIUMTYPE: the parent is no bpffs; -errno.
 */
int cv_bpffs_make(const char *directory, bool open_parent, struct cv_bpffs_traces *ret_traces);
/** cv_bpffs_empty() - Remove every file in @directory. Returns 0 or -errno. */
int cv_bpffs_empty(const char *directory);
/** cv_bpffs_remove() - cv_bpffs_empty() and rmdir. Returns 0 or -errno. */
int cv_bpffs_remove(const char *directory);
/** cv_bpffs_undo() - After cv_bpffs_remove() and the end of the lock: @traces of @directory. A
 * bpffs that holds something else stays mounted. */
void cv_bpffs_undo(const char *directory, const struct cv_bpffs_traces *traces);
/** cv_bpffs_lock() - Exclusive among culverts, until the returned descriptor is closed; -errno. */
int cv_bpffs_lock(const char *directory);

#endif
