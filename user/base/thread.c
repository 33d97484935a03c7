// SPDX-License-Identifier: MIT
/*
 * thread.c - pthread_join with a deadline by the clock that nobody sets.
 *
 * It tries and sleeps a millisecond instead of calling pthread_clockjoin_np(): ThreadSanitizer of
 * GCC 12 does not know that one, and takes what the thread did for a race with what comes after.
 */
#include "base/thread.h"

#include "base/clock.h"

#include <errno.h>
#include <time.h>

int cv_thread_join(pthread_t thread, uint32_t timeout_ms)
{
	const struct timespec pause = {.tv_nsec = 1000000};
	const uint64_t until_ms = cv_clock_ms() + timeout_ms;

	while (pthread_tryjoin_np(thread, NULL) != 0) {
		if (cv_clock_ms() >= until_ms) {
			(void)pthread_detach(thread);
			return -ETIMEDOUT;
		}
		(void)nanosleep(&pause, NULL);
	}
	return 0;
}
