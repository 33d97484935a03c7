// SPDX-License-Identifier: MIT
/*
 * culvert_format.c - see culvert_format.h.
 *
 * A number is given in the unit in which it is below 1000, with one digit after the point.
 */
#include "culvert_format.h"

#include <stdio.h>
#include <string.h>

/* What would be printed as 1000.0 belongs to the next unit. */
#define UNIT_MAX 999.95

static void scale(double value, double step, const char *const *units, char *text)
{
	size_t unit = 0;

	for (; value >= (unit ? UNIT_MAX : 1000) && units[unit + 1]; unit++)
		value /= step;
	snprintf(text, CV_NUMBER_TEXT, unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
}

void cv_format_bytes(uint64_t bytes, char text[CV_NUMBER_TEXT])
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", NULL};

	scale((double)bytes, 1024, units, text);
}

void cv_format_rate(uint64_t bytes_per_s, char text[CV_NUMBER_TEXT])
{
	static const char *const units[] = {"B/s", "kB/s", "MB/s", "GB/s", "TB/s", NULL};

	scale((double)bytes_per_s, 1000, units, text);
}

void cv_format_us(uint64_t us, char text[CV_NUMBER_TEXT])
{
	static const char *const units[] = {"us", "ms", "s", NULL};

	scale((double)us, 1000, units, text);
}

void cv_format_age(uint64_t ms, char text[CV_NUMBER_TEXT])
{
	const uintmax_t s = ms / 1000;

	if (s < 120)
		snprintf(text, CV_NUMBER_TEXT, "%jus", s);
	else if (s < 7200)
		snprintf(text, CV_NUMBER_TEXT, "%jum%02jus", s / 60, s % 60);
	else if (s < 48 * 3600)
		snprintf(text, CV_NUMBER_TEXT, "%juh%02jum", s / 3600, s / 60 % 60);
	else
		snprintf(text, CV_NUMBER_TEXT, "%jud%02juh", s / 86400, s / 3600 % 24);
}

static int ends_with(const char *text, const char *end)
{
	size_t text_len = strlen(text), end_len = strlen(end);

	return text_len >= end_len && strcmp(text + text_len - end_len, end) == 0;
}

void cv_format_by_key(const char *key, uint64_t value, char text[CV_NUMBER_TEXT])
{
	if (ends_with(key, "bytes"))
		cv_format_bytes(value, text);
	else if (ends_with(key, "bytes_per_s"))
		cv_format_rate(value, text);
	else if (ends_with(key, "_ms"))
		cv_format_age(value, text);
	else if (ends_with(key, "_us"))
		cv_format_us(value, text);
	else
		snprintf(text, CV_NUMBER_TEXT, "%ju", (uintmax_t)value);
}
