// SPDX-License-Identifier: MIT
/*
 * clock.c - the two clocks: monotonic for every deadline, wall time for REALITY's and the log's.
 *
 * Both are vDSO calls on Linux; neither enters the kernel.
 */
#include "base/clock.h"

#include <time.h>

static uint64_t clock_read_ms(clockid_t clock)
{
	struct timespec now = {0};

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

uint64_t cv_clock_ms(void)
{
	return clock_read_ms(CLOCK_MONOTONIC);
}

uint64_t cv_clock_wall_ms(void)
{
	return clock_read_ms(CLOCK_REALTIME);
}
