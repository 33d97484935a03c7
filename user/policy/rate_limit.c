// SPDX-License-Identifier: MIT
/*
 * rate_limit.c - a token bucket that may go into debt: bytes are read first and waited for after.
 */
#include "policy/rate_limit.h"

#include "policy/config.h"

void cv_rate_limit_init(struct cv_rate_bucket *bucket, const struct cv_rate_limit *limit,
			uint64_t now_ms)
{
	bucket->free_bytes = limit->after_bytes;
	bucket->bytes_per_s = limit->bytes_per_s;
	bucket->capacity_bytes = limit->burst_bytes_per_s > limit->bytes_per_s
					 ? limit->burst_bytes_per_s
					 : limit->bytes_per_s;
	bucket->tokens_bytes = (int64_t)bucket->capacity_bytes;
	bucket->filled_ms = now_ms;
}

static void refill(struct cv_rate_bucket *bucket, uint64_t now_ms)
{
	uint64_t elapsed_ms = now_ms - bucket->filled_ms;
	double tokens = (double)bucket->tokens_bytes +
			(double)bucket->bytes_per_s * (double)elapsed_ms / 1000;

	if (tokens > (double)bucket->capacity_bytes)
		tokens = (double)bucket->capacity_bytes;
	bucket->tokens_bytes = (int64_t)tokens;
	bucket->filled_ms = now_ms;
}

uint32_t cv_rate_limit_take(struct cv_rate_bucket *bucket, uint32_t count_bytes, uint64_t now_ms)
{
	uint64_t wait_ms;

	if (bucket->bytes_per_s == 0)
		return 0;
	if (count_bytes <= bucket->free_bytes) {
		bucket->free_bytes -= count_bytes;
		return 0;
	}
	count_bytes -= (uint32_t)bucket->free_bytes;
	bucket->free_bytes = 0;
	refill(bucket, now_ms);
	bucket->tokens_bytes -= count_bytes;
	if (bucket->tokens_bytes >= 0)
		return 0;
	wait_ms = ((uint64_t)-bucket->tokens_bytes * 1000 + bucket->bytes_per_s - 1) /
		  bucket->bytes_per_s;
	return wait_ms < UINT32_MAX ? (uint32_t)wait_ms : UINT32_MAX;
}
