/* SPDX-License-Identifier: MIT */
/*
 * rate_limit.h - REALITY 10: some bytes are free, the rest come out of a token bucket.
 */
#ifndef CV_POLICY_RATE_LIMIT_H
#define CV_POLICY_RATE_LIMIT_H

#include <stdint.h>

struct cv_rate_limit; /* policy/config.h */

struct cv_rate_bucket {
	uint64_t free_bytes;	 /* not yet counted */
	uint64_t bytes_per_s;	 /* 0 = unlimited */
	uint64_t capacity_bytes;
	int64_t tokens_bytes;	 /* negative: debt that has to be waited for */
	uint64_t filled_ms;
};

void cv_rate_limit_init(struct cv_rate_bucket *bucket, const struct cv_rate_limit *limit,
			uint64_t now_ms);
/** cv_rate_limit_take() - Account @count_bytes already read; returns milliseconds to wait before the
 * next read. */
uint32_t cv_rate_limit_take(struct cv_rate_bucket *bucket, uint32_t count_bytes, uint64_t now_ms);

#endif
