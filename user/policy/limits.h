/* SPDX-License-Identifier: MIT */
/*
 * limits.h - what one person may use: rules over (limits, usage, time), nothing else.
 */
#ifndef CV_POLICY_LIMITS_H
#define CV_POLICY_LIMITS_H

#include <stdbool.h>
#include <stdint.h>

enum cv_quota_reset { CV_QUOTA_NEVER, CV_QUOTA_DAILY, CV_QUOTA_MONTHLY };

#define CV_LIMITS_ADDRESSES_MAX 256 /* the most that max_source_addresses can be */
#define CV_LIMITS_NEVER_MS UINT64_MAX

struct cv_limits {		  /* 0 = no such limit, each */
	uint64_t quota_bytes;	  /* uplink and downlink together, of one period */
	uint64_t expires_ms;	  /* Unix time */
	uint64_t bytes_per_s[2];  /* uplink, downlink; all sessions together */
	uint32_t max_sessions;
	uint32_t max_source_addresses; /* IPv4 addresses and IPv6 /64 networks at a time */
	enum cv_quota_reset quota_resets;
};

/** cv_limits_any() - Is there any limit? */
bool cv_limits_any(const struct cv_limits *limits);
bool cv_limits_equal(const struct cv_limits *one, const struct cv_limits *other);
/** cv_limits_tighten() - Of each limit the stricter one; of quota periods the longer one. */
void cv_limits_tighten(struct cv_limits *limits, const struct cv_limits *other);

/**
 * cv_limits_check() - May somebody who has used @used_bytes in this period go on at @wall_ms?
 * Returns 0, CV_POLICY_EXPIRED (from the very millisecond on) or CV_POLICY_QUOTA (once all of it
 * is used).
 */
int cv_limits_check(const struct cv_limits *limits, uint64_t used_bytes, uint64_t wall_ms);

/** cv_limits_period_ms() - Unix time at which the period that @wall_ms lies in began: 0, or the
 * midnight (UTC) of the day or of the month's first day. */
uint64_t cv_limits_period_ms(enum cv_quota_reset resets, uint64_t wall_ms);
/** cv_limits_next_period_ms() - ... at which the next one begins; CV_LIMITS_NEVER_MS. */
uint64_t cv_limits_next_period_ms(enum cv_quota_reset resets, uint64_t wall_ms);

/**
 * cv_limits_time_parse() - RFC 3339: "2026-12-31T18:00:00Z", "...+02:00", with a fraction or not,
 * "T" also as "t" or a space; or a date alone: the end of that day, UTC. Years 1970 to 9999; a leap
 * second is the second after it. Returns false if it is none, @ret_ms untouched.
 * Source: RFC 3339 5.6.
 */
bool cv_limits_time_parse(const char *text, uint64_t *ret_ms);

/**
 * cv_limits_share() - What one session may send of @bytes_per_s: an equal part of what those leave
 * over that do not use up their parts (@modest_bytes_per_s together), for each of @hungry_count
 * sessions. At least CV_LIMITS_SHARE_MIN, below which TCP would look dead; at most ..._MAX.
 */
#define CV_LIMITS_SHARE_MIN 1024
#define CV_LIMITS_SHARE_MAX (UINT64_C(1) << 50) /* keeps sums of it inside 63 bits */
uint64_t cv_limits_share(uint64_t bytes_per_s, uint64_t modest_bytes_per_s, uint32_t hungry_count);

#endif
