/* SPDX-License-Identifier: MIT */
#ifndef CV_BASE_CLOCK_H
#define CV_BASE_CLOCK_H

#include <stdint.h>

/** cv_clock_ms() - Monotonic milliseconds (CLOCK_MONOTONIC). */
uint64_t cv_clock_ms(void);
/** cv_clock_wall_ms() - Unix time in milliseconds. */
uint64_t cv_clock_wall_ms(void);

#endif
