/* SPDX-License-Identifier: MIT */
#ifndef CV_BASE_THREAD_H
#define CV_BASE_THREAD_H

#include <pthread.h>
#include <stdint.h>

/**
 * cv_thread_join() - Wait until a thread has ended, but no longer than @timeout_ms.
 *
 * Joined, or detached if it takes longer; @thread is not valid any more in either case.
 *
 * Returns 0; -ETIMEDOUT if it still runs: what it uses must stay.
 */
int cv_thread_join(pthread_t thread, uint32_t timeout_ms);

#endif
