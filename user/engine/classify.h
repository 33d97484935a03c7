/* SPDX-License-Identifier: MIT */
/*
 * classify.h - the daemon's side of bpf/classify.bpf.c: names in, classes out.
 *
 *   cv_classify_add_name(), _add_port()   a table of names, then the ports where it counts
 *   cv_classify_attach()                  on the listener; what it accepts inherits it
 *   cv_classify_read()                    on what was accepted: decided?
 *   cv_classify_detach()                  at the latest when the hello has been read
 *
 * Tables are numbered by the caller from 0; in the maps they have random numbers, so that another
 * process with the same maps neither finds ours nor is found.
 */
#ifndef CV_ENGINE_CLASSIFY_H
#define CV_ENGINE_CLASSIFY_H

#include "engine/kernel.h"

#include <culvert/classify.h>

#define CV_CLASSIFY_TABLES 256

struct cv_classify;
struct classify_bpf; /* of the skeleton */

/**
 * cv_classify_new() - Classify by @kernel's program and maps, which must outlive the result.
 * @directory: of the pins, for the maps know local ports only, which are ours in one network
 * namespace; unused unless @kernel is pinned
 * Returns 0; -ENOTCONN: the pins are of another network namespace; -ENOMEM; the part's own error.
 */
int cv_classify_new(const struct cv_kernel *kernel, const char *directory,
		    struct cv_classify **ret_classify);
/** cv_classify_free() - Take ports and names back that are still ours. NULL-safe, returns NULL. */
struct cv_classify *cv_classify_free(struct cv_classify *classify);

/**
 * cv_classify_add_name() - @name ("a.example" or "*.a.example") in @table is of @class.
 * Returns 0; -EINVAL (too long, or class or table out of range); -EEXIST: it is there; -errno.
 */
int cv_classify_add_name(struct cv_classify *classify, uint32_t table, const char *name,
			 uint32_t class, enum cv_sni_action action);
/**
 * cv_classify_add_port() - @table counts for connections to local @port from now on.
 * Returns 0; -EBUSY: another table of ours has it, and now none has; -errno.
 */
int cv_classify_add_port(struct cv_classify *classify, uint16_t port, uint32_t table,
			 enum cv_sni_action not_tls);

/** cv_classify_attach() - Let the program see what @listener_fd accepts. Returns 0 or -errno. */
int cv_classify_attach(const struct cv_classify *classify, int listener_fd);
/**
 * cv_classify_read() - What is known about @fd, accepted where @table counts.
 * Returns 0, or -ENOENT: nothing (yet), undecided, or decided by another table.
 */
int cv_classify_read(const struct cv_classify *classify, int fd, uint32_t table,
		     struct cv_sni_result *ret_result);
/** cv_classify_detach() - No program looks at @fd any more, and its result is forgotten. */
void cv_classify_detach(const struct cv_classify *classify, int fd);

/** cv_classify_silence() - From now on no segment with payload reaches @fd nor is acknowledged.
 * Takes the place of any program; needs no rights and no kernel part. Returns 0 or -errno. */
int cv_classify_silence(int fd);

/** cv_classify_count() - The sum over CPUs of @class. Returns 0 or -errno. */
int cv_classify_count(int counters_fd, uint32_t class, struct cv_sni_counter *ret_counter);

/** cv_classify_mutate() - Before loading: the rules that a test leaves out. */
void cv_classify_mutate(struct classify_bpf *skeleton);

#endif
