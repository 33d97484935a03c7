/* SPDX-License-Identifier: MIT */
/*
 * capabilities.h - what of root's rights a thread keeps.
 *
 * Sets of capabilities are masks: bit CAP_X of <linux/capability.h>.
 */
#ifndef CV_SANDBOX_CAPABILITIES_H
#define CV_SANDBOX_CAPABILITIES_H

#include <stdbool.h>
#include <stdint.h>

#define CV_CAPABILITY(number) (1ull << (number))
#define CV_CAPABILITIES_TEXT 256

/** cv_capabilities_have() - The calling thread's effective ones. */
uint64_t cv_capabilities_have(void);
/** cv_capabilities_suspend() - Effective are @mask only, until cv_capabilities_resume() makes all
 * that are permitted effective again. 0 or -errno. */
int cv_capabilities_suspend(uint64_t mask);
int cv_capabilities_resume(void);
/** cv_capabilities_keep() - The calling thread, and threads that it starts, keep those of @mask
 * that they have, and can never get another: not by a set-uid program, not as root. 0 or -errno. */
int cv_capabilities_keep(uint64_t mask);
/** cv_capabilities_format() - "net_bind_service", "no"; names of those of @mask. */
void cv_capabilities_format(uint64_t mask, char text[CV_CAPABILITIES_TEXT]);

#endif
