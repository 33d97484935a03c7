// SPDX-License-Identifier: MIT
/*
 * limits.c - rules about people: quota, expiry, rates, how many at a time.
 *
 * Pure: everything that a rule depends on is an argument. Calendar days are UTC everywhere: a
 * server's people live in many zones, and no day may be longer than another.
 */
#include "policy/limits.h"

#include "base/mutation.h"

#include <culvert/reason.h>

#include <stddef.h>
#include <time.h>

#define DAY_S 86400
#define SECOND_MS 1000u

/* ---- rules -------------------------------------------------------------------------------- */

bool cv_limits_any(const struct cv_limits *limits)
{
	return limits->quota_bytes || limits->expires_ms || limits->bytes_per_s[0] ||
	       limits->bytes_per_s[1] || limits->max_sessions || limits->max_source_addresses;
}

bool cv_limits_equal(const struct cv_limits *one, const struct cv_limits *other)
{
	return one->quota_bytes == other->quota_bytes && one->expires_ms == other->expires_ms &&
	       one->bytes_per_s[0] == other->bytes_per_s[0] &&
	       one->bytes_per_s[1] == other->bytes_per_s[1] &&
	       one->max_sessions == other->max_sessions &&
	       one->max_source_addresses == other->max_source_addresses &&
	       one->quota_resets == other->quota_resets;
}

static uint64_t stricter(uint64_t one, uint64_t other)
{
	if (one == 0 || other == 0)
		return one | other;
	return one < other ? one : other;
}

void cv_limits_tighten(struct cv_limits *limits, const struct cv_limits *other)
{
	if (limits->quota_bytes == 0)
		limits->quota_resets = other->quota_resets;
	else if (other->quota_bytes && (other->quota_resets == CV_QUOTA_NEVER ||
					limits->quota_resets == CV_QUOTA_DAILY))
		limits->quota_resets = other->quota_resets;
	limits->quota_bytes = stricter(limits->quota_bytes, other->quota_bytes);
	limits->expires_ms = stricter(limits->expires_ms, other->expires_ms);
	for (int d = 0; d < 2; d++)
		limits->bytes_per_s[d] = stricter(limits->bytes_per_s[d], other->bytes_per_s[d]);
	limits->max_sessions = (uint32_t)stricter(limits->max_sessions, other->max_sessions);
	limits->max_source_addresses =
		(uint32_t)stricter(limits->max_source_addresses, other->max_source_addresses);
}

int cv_limits_check(const struct cv_limits *limits, uint64_t used_bytes, uint64_t wall_ms)
{
	if (limits->expires_ms && wall_ms >= limits->expires_ms)
		return CV_POLICY_EXPIRED;
	if (limits->quota_bytes && used_bytes >= limits->quota_bytes && cv_rule_holds("quota"))
		return CV_POLICY_QUOTA;
	return 0;
}

uint64_t cv_limits_share(uint64_t bytes_per_s, uint64_t modest_bytes_per_s, uint32_t hungry_count)
{
	uint64_t left = bytes_per_s > modest_bytes_per_s ? bytes_per_s - modest_bytes_per_s : 0;

	if (hungry_count > 1)
		left /= hungry_count;
	if (left > CV_LIMITS_SHARE_MAX)
		return CV_LIMITS_SHARE_MAX;
	return left > CV_LIMITS_SHARE_MIN ? left : CV_LIMITS_SHARE_MIN;
}

/* ---- periods ------------------------------------------------------------------------------ */

static uint64_t month_ms(uint64_t wall_ms, int months_later)
{
	time_t now = (time_t)(wall_ms / SECOND_MS);
	struct tm day = {0};

	(void)gmtime_r(&now, &day);
	day.tm_mon += months_later;
	day = (struct tm){.tm_year = day.tm_year, .tm_mon = day.tm_mon, .tm_mday = 1};
	return (uint64_t)timegm(&day) * SECOND_MS;
}

uint64_t cv_limits_period_ms(enum cv_quota_reset resets, uint64_t wall_ms)
{
	const uint64_t day_ms = (uint64_t)DAY_S * SECOND_MS;

	if (resets == CV_QUOTA_DAILY)
		return wall_ms - wall_ms % day_ms;
	return resets == CV_QUOTA_MONTHLY ? month_ms(wall_ms, 0) : 0;
}

uint64_t cv_limits_next_period_ms(enum cv_quota_reset resets, uint64_t wall_ms)
{
	const uint64_t day_ms = (uint64_t)DAY_S * SECOND_MS;

	if (resets == CV_QUOTA_DAILY)
		return wall_ms - wall_ms % day_ms + day_ms;
	return resets == CV_QUOTA_MONTHLY ? month_ms(wall_ms, 1) : CV_LIMITS_NEVER_MS;
}

/* ---- times -------------------------------------------------------------------------------- */

/* @count digits at @*text, which moves on; -1 if there are fewer. */
static int digits(const char **text, int count)
{
	int number = 0;

	for (; count > 0; count--, (*text)++) {
		if (**text < '0' || **text > '9')
			return -1;
		number = number * 10 + (**text - '0');
	}
	return number;
}

static bool skip(const char **text, char wanted)
{
	if (**text != wanted)
		return false;
	(*text)++;
	return true;
}

static bool parse_date(const char **text, struct tm *ret_day)
{
	static const int month_days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	int year, month, day, last;

	year = digits(text, 4);
	if (year < 1970 || !skip(text, '-'))
		return false;
	month = digits(text, 2);
	if (month < 1 || month > 12 || !skip(text, '-'))
		return false;
	day = digits(text, 2);
	last = month_days[month - 1];
	if (month == 2 && year % 4 == 0 && (year % 100 != 0 || year % 400 == 0))
		last = 29;
	*ret_day = (struct tm){.tm_year = year - 1900, .tm_mon = month - 1, .tm_mday = day};
	return day >= 1 && day <= last;
}

/* Of the day's seconds; milliseconds of a fraction in @ret_ms, further digits mean nothing here. */
static bool parse_time(const char **text, struct tm *day, int *ret_ms)
{
	int scale = 100;

	*ret_ms = 0;
	day->tm_hour = digits(text, 2);
	if (day->tm_hour < 0 || day->tm_hour > 23 || !skip(text, ':'))
		return false;
	day->tm_min = digits(text, 2);
	if (day->tm_min < 0 || day->tm_min > 59 || !skip(text, ':'))
		return false;
	day->tm_sec = digits(text, 2);
	if (day->tm_sec < 0 || day->tm_sec > 60)
		return false;
	if (!skip(text, '.'))
		return true;
	if (**text < '0' || **text > '9')
		return false;
	for (; **text >= '0' && **text <= '9'; (*text)++, scale /= 10)
		*ret_ms += (**text - '0') * scale;
	return true;
}

/* Seconds east of Greenwich. */
static bool parse_zone(const char **text, int *ret_s)
{
	int sign = **text == '-' ? -1 : 1;
	int hours, minutes;

	*ret_s = 0;
	if (skip(text, 'Z') || skip(text, 'z'))
		return true;
	if (!skip(text, '+') && !skip(text, '-'))
		return false;
	hours = digits(text, 2);
	if (hours < 0 || hours > 23 || !skip(text, ':'))
		return false;
	minutes = digits(text, 2);
	*ret_s = sign * (hours * 3600 + minutes * 60);
	return minutes >= 0 && minutes <= 59;
}

bool cv_limits_time_parse(const char *text, uint64_t *ret_ms)
{
	struct tm day;
	int ms = 0, zone_s = 0;
	int64_t s;

	if (!parse_date(&text, &day))
		return false;
	if (!*text)
		day.tm_mday++;
	else if ((!skip(&text, 'T') && !skip(&text, 't') && !skip(&text, ' ')) ||
		 !parse_time(&text, &day, &ms) || !parse_zone(&text, &zone_s) || *text)
		return false;
	s = (int64_t)timegm(&day) - zone_s;
	if (s < 0)
		return false;
	*ret_ms = (uint64_t)s * SECOND_MS + (uint64_t)ms;
	return true;
}
