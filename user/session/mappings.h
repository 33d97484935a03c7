/* SPDX-License-Identifier: MIT */
/*
 * mappings.h - UDP ports that outlive the stream whose datagrams went through them (Mux.Cool 5.2).
 *
 * A client names its association by 8 bytes of its own choice. When its stream breaks, or it opens
 * another one under that name, the new stream goes on with the same port: who talks to the client
 * notices nothing. Names are a user's own: nobody takes another one's port.
 *
 * There is one table for the process, since streams of one client come to several workers. All
 * functions are thread safe.
 */
#ifndef CV_SESSION_MAPPINGS_H
#define CV_SESSION_MAPPINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CV_MAPPINGS_MAX 16384
#define CV_MAPPING_KEPT_MS 60000 /* without a stream */
#define CV_MAPPINGS_KEPT_MAX 256 /* of a user at a time: who names many does not crowd others out */

struct cv_mapping; /* an entry, and the right to it: others may have taken it over */

struct cv_mapping_name {
	uint8_t user[16]; /* its id; zeros: none */
	uint8_t global_id[8];
};

/**
 * cv_mapping_take() - Become the owner of @name; whoever was is not any more.
 * @ret_fd: the socket to go on with, another descriptor of it, the caller's; -1: there is none yet
 * Returns: the right to it, for cv_mapping_leave(); NULL: too many, or out of memory.
 */
struct cv_mapping *cv_mapping_take(const struct cv_mapping_name *name, uint64_t now_ms,
				   int *ret_fd);
/** cv_mapping_is_ours() - Cheap: before each batch of datagrams. */
bool cv_mapping_is_ours(const struct cv_mapping *mapping);
/** cv_mapping_set() - @fd, which is taken over, is the socket's; -1: there is none any more. Closes
 * it where the mapping is somebody else's by now. */
void cv_mapping_set(struct cv_mapping *mapping, int fd);
/** cv_mapping_leave() - It is kept for CV_MAPPING_KEPT_MS, if it is still ours, and its user has
 * fewer than CV_MAPPINGS_KEPT_MAX. NULL-safe, returns NULL. */
struct cv_mapping *cv_mapping_leave(struct cv_mapping *mapping, uint64_t now_ms);
/** cv_mappings_sweep() - Close what was kept for long enough. Returns in how many milliseconds to
 * call it again; 0: nothing is kept. */
uint64_t cv_mappings_sweep(uint64_t now_ms);

#endif
