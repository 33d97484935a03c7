/* SPDX-License-Identifier: MIT */
/*
 * places.h - the files and directories that a configuration makes the daemon need.
 */
#ifndef CV_SANDBOX_PLACES_H
#define CV_SANDBOX_PLACES_H

#include "sandbox/landlock.h"

struct cv_place_set {
	struct cv_landlock_place *places;
	size_t count;
};

/** cv_place_set_add() - @path as it is. 0 or -ENOMEM; likewise below. */
int cv_place_set_add(struct cv_place_set *places, const char *path, enum cv_reach reach);
/** cv_place_set_add_file() - The directory of @path, so that another file may take its place;
 * behind symbolic links that of what they lead to as well. What is no regular file (/dev/stdout)
 * is added itself. */
int cv_place_set_add_file(struct cv_place_set *places, const char *path, enum cv_reach reach);
/** cv_place_set_add_system() - What libc, the resolver and libcrypto read. */
int cv_place_set_add_system(struct cv_place_set *places);
/** cv_place_set_done() - Frees all. */
void cv_place_set_done(struct cv_place_set *places);

#endif
