/* SPDX-License-Identifier: MIT */
/*
 * rate_limit.h - token bucket of one direction of one session; knows no clock.
 */
#ifndef CV_POLICY_RATE_LIMIT_H
#define CV_POLICY_RATE_LIMIT_H

#include <stdint.h>

struct cv_rate_limit; /* policy/config.h */

struct cv_rate_bucket {
	uint64_t free_bytes;  /* still without limit */
	uint64_t bytes_per_s; /* 0 = off */
	uint64_t capacity_bytes;
	int64_t level_millibytes; /* thousandths of bytes; below zero = debt */
	uint64_t updated_ms;
};

/** cv_rate_limit_init() - A full bucket. Source: REALITY 10. */
void cv_rate_limit_init(struct cv_rate_bucket *bucket, const struct cv_rate_limit *limit,
			uint64_t now_ms);
/**
 * cv_rate_limit_take() - @count_bytes were read at @now_ms (monotonic).
 * Returns: milliseconds to wait before the next read, 0 = none, at most one hour.
 */
uint32_t cv_rate_limit_take(struct cv_rate_bucket *bucket, uint32_t count_bytes, uint64_t now_ms);

#endif
