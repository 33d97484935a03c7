/* SPDX-License-Identifier: MIT */
/*
 * landlock.h - which files and ports this process can reach, whatever its user may.
 */
#ifndef CV_SANDBOX_LANDLOCK_H
#define CV_SANDBOX_LANDLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum cv_reach {
	CV_REACH_READ,	/* files and directories below */
	CV_REACH_WRITE, /* likewise, and make, change, rename and remove files and sockets there */
};

struct cv_landlock_place {
	char *path; /* of a directory, or of one file */
	enum cv_reach reach;
};

struct cv_landlock_rules {
	struct cv_landlock_place *places;
	size_t place_count;
	const uint16_t *ports; /* that may be bound, beside those that the kernel picks */
	size_t port_count;
};

/** cv_landlock_abi() - What this kernel has: a version from 1, or -ENOSYS, -EOPNOTSUPP. */
int cv_landlock_abi(void);
/** cv_landlock_enter() - The calling thread, and all that it starts, reach what @rules say and no
 * more: no program can be run, no other process traced or signalled. A place that does not exist is
 * left out. For good. Needs no_new_privs. Returns 0 or -errno. */
int cv_landlock_enter(const struct cv_landlock_rules *rules);

#endif
