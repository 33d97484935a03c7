// SPDX-License-Identifier: MIT
/*
 * rate_limit.c - REALITY 10: the first bytes are free, then a token bucket that is paid afterwards.
 *
 *   read n bytes -> take(n): level -= n; level < 0 -> wait until it is 0 again
 *
 * The level is kept in thousandths of bytes, so that one millisecond of the smallest rate (one byte
 * per second) still counts.
 */
#include "policy/rate_limit.h"

#include "policy/config.h"

#define WAIT_MAX_MS (3600u * 1000u)
#define RATE_MAX ((uint64_t)1 << 50) /* bytes per second; keeps the sums inside 63 bits */

static uint64_t at_most(uint64_t value, uint64_t most)
{
	return value < most ? value : most;
}

void cv_rate_limit_init(struct cv_rate_bucket *bucket, const struct cv_rate_limit *limit,
			uint64_t now_ms)
{
	const uint64_t rate = at_most(limit->bytes_per_s, RATE_MAX);
	const uint64_t burst = at_most(limit->burst_bytes_per_s, RATE_MAX);

	*bucket = (struct cv_rate_bucket){
		.free_bytes = limit->after_bytes,
		.bytes_per_s = rate,
		.capacity_bytes = burst > rate ? burst : rate,
		.updated_ms = now_ms,
	};
	bucket->level_millibytes = (int64_t)(bucket->capacity_bytes * 1000);
}

static void refill(struct cv_rate_bucket *bucket, uint64_t now_ms)
{
	const int64_t capacity = (int64_t)(bucket->capacity_bytes * 1000);
	uint64_t elapsed_ms = now_ms > bucket->updated_ms ? now_ms - bucket->updated_ms : 0;
	uint64_t room = (uint64_t)(capacity - bucket->level_millibytes);

	/* a millisecond of rate r is r thousandths of bytes */
	if (elapsed_ms >= room / bucket->bytes_per_s + 1)
		bucket->level_millibytes = capacity;
	else
		bucket->level_millibytes += (int64_t)(elapsed_ms * bucket->bytes_per_s);
	if (bucket->level_millibytes > capacity)
		bucket->level_millibytes = capacity;
	bucket->updated_ms = now_ms;
}

uint32_t cv_rate_limit_take(struct cv_rate_bucket *bucket, uint32_t count_bytes, uint64_t now_ms)
{
	uint64_t free_now = at_most(count_bytes, bucket->free_bytes);
	uint64_t wait_ms;

	bucket->free_bytes -= free_now;
	count_bytes -= (uint32_t)free_now;
	if (bucket->bytes_per_s == 0)
		return 0;
	refill(bucket, now_ms);
	bucket->level_millibytes -= (int64_t)count_bytes * 1000;
	if (bucket->level_millibytes >= 0)
		return 0;
	wait_ms = ((uint64_t)-bucket->level_millibytes + bucket->bytes_per_s - 1) /
		  bucket->bytes_per_s;
	return (uint32_t)at_most(wait_ms, WAIT_MAX_MS);
}
