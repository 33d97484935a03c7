/* SPDX-License-Identifier: MIT */
/*
 * seccomp.h - which system calls this process can make at all.
 */
#ifndef CV_SANDBOX_SECCOMP_H
#define CV_SANDBOX_SECCOMP_H

/** cv_seccomp_available() - 0, or -ENOSYS where the kernel has no filters. */
int cv_seccomp_available(void);
struct cv_seccomp;

/** cv_seccomp_new() - The filter of this process. @ret_count: how many calls it leaves.
 * 0 or -errno. */
int cv_seccomp_new(struct cv_seccomp **ret_filter, unsigned *ret_count);
/** cv_seccomp_load() - For every thread, and all that they start, for good. 0 or -errno. */
int cv_seccomp_load(struct cv_seccomp *filter);
/** cv_seccomp_free() - What was loaded stays. NULL-safe, returns NULL. */
struct cv_seccomp *cv_seccomp_free(struct cv_seccomp *filter);

#endif
