// SPDX-License-Identifier: MIT
/*
 * culvert_table.c - see culvert_table.h.
 */
#include "culvert_table.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define COLUMNS_MAX 16

struct json_object *cv_member(struct json_object *object, const char *key)
{
	struct json_object *value = NULL;

	return json_object_object_get_ex(object, key, &value) ? value : NULL;
}

uint64_t cv_member_u64(struct json_object *object, const char *key)
{
	return json_object_get_uint64(cv_member(object, key));
}

/* Names come from clients: nothing of them may move the cursor. */
static void clean_text(struct json_object *value, char *text, size_t size)
{
	const char *string = json_object_get_string(value);

	snprintf(text, size, "%s", string && *string ? string : "-");
	for (char *c = text; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = '?';
}

void cv_text_cell(struct json_object *record, const char *key, char text[CV_CELL_MAX])
{
	clean_text(cv_member(record, key), text, CV_CELL_MAX);
}

void cv_age_cell(struct json_object *record, const char *key, char text[CV_CELL_MAX])
{
	const uint64_t s = cv_member_u64(record, key) / 1000;

	if (s < 120)
		snprintf(text, CV_CELL_MAX, "%jus", (uintmax_t)s);
	else if (s < 7200)
		snprintf(text, CV_CELL_MAX, "%jum%02jus", (uintmax_t)s / 60, (uintmax_t)s % 60);
	else
		snprintf(text, CV_CELL_MAX, "%juh%02jum", (uintmax_t)s / 3600,
			 (uintmax_t)s / 60 % 60);
}

void cv_format_bytes(uint64_t bytes, char *text, size_t size)
{
	static const char units[] = "BKMGTPE";
	double value = (double)bytes;
	size_t unit = 0;

	for (; value >= 1000 && units[unit + 1]; unit++)
		value /= 1024;
	snprintf(text, size, unit ? "%.1f%c" : "%.0f%c", value, units[unit]);
}

void cv_bytes_cell(struct json_object *record, const char *key, char text[CV_CELL_MAX])
{
	cv_format_bytes(cv_member_u64(record, key), text, CV_CELL_MAX);
}

void cv_rate_cell(struct json_object *record, const char *key, char text[CV_CELL_MAX])
{
	uint64_t rate = cv_member_u64(record, key);
	char bytes[16];

	cv_format_bytes(rate, bytes, sizeof(bytes));
	snprintf(text, CV_CELL_MAX, rate ? "%s/s" : "-", bytes);
}

/* "splice 1.2G": who carries the direction, and how much it was so far. */
void cv_direction_cell(struct json_object *record, const char *key, char text[CV_CELL_MAX])
{
	struct json_object *direction = cv_member(record, key);
	char engine[CV_CELL_MAX], bytes[16];

	cv_text_cell(direction, "engine", engine);
	cv_format_bytes(cv_member_u64(direction, "bytes"), bytes, sizeof(bytes));
	snprintf(text, CV_CELL_MAX, "%.40s %s", engine, bytes);
}

/* Cells count by characters: a name may be UTF-8. */
static int width_of(const char *text)
{
	int width = 0;

	for (; *text; text++)
		width += ((unsigned char)*text & 0xc0) != 0x80;
	return width;
}

static void print_cell(const char *text, int width, bool is_last)
{
	printf("%s%*s", text, is_last ? 0 : width - width_of(text) + 2, "");
}

static size_t shown_of(struct json_object *array, size_t limit)
{
	size_t count = json_object_array_length(array);

	return limit && limit < count ? limit : count;
}

void cv_print_columns(struct json_object *array, const struct cv_column *columns, size_t count,
		      size_t limit)
{
	size_t shown = shown_of(array, limit), all = json_object_array_length(array);
	int widths[COLUMNS_MAX];
	char text[CV_CELL_MAX];

	for (size_t c = 0; c < count; c++) {
		widths[c] = width_of(columns[c].title);
		for (size_t i = 0; i < shown; i++) {
			columns[c].cell(json_object_array_get_idx(array, i), columns[c].key, text);
			if (width_of(text) > widths[c])
				widths[c] = width_of(text);
		}
	}
	for (size_t c = 0; c < count; c++)
		print_cell(columns[c].title, widths[c], c + 1 == count);
	putchar('\n');
	for (size_t i = 0; i < shown; i++) {
		for (size_t c = 0; c < count; c++) {
			columns[c].cell(json_object_array_get_idx(array, i), columns[c].key, text);
			print_cell(text, widths[c], c + 1 == count);
		}
		putchar('\n');
	}
	if (shown < all)
		printf("(%zu more)\n", all - shown);
}

static void print_items(struct json_object *array, int depth)
{
	for (size_t i = 0; i < json_object_array_length(array); i++) {
		struct json_object *item = json_object_array_get_idx(array, i);

		if (json_object_is_type(item, json_type_object))
			cv_print_record(item, depth);
		else
			printf("%*s%s\n", depth, "", json_object_get_string(item));
	}
}

void cv_print_record(struct json_object *record, int depth)
{
	json_object_object_foreach(record, key, value)
	{
		char text[CV_CELL_MAX * 2];

		if (json_object_is_type(value, json_type_object)) {
			printf("%*s%s\n", depth, "", key);
			cv_print_record(value, depth + 2);
		} else if (json_object_is_type(value, json_type_array)) {
			printf("%*s%s%s\n", depth, "", key,
			       json_object_array_length(value) ? "" : " -");
			print_items(value, depth + 2);
		} else {
			clean_text(value, text, sizeof(text));
			printf("%*s%-*s %s\n", depth, "", 26 - depth, key, text);
		}
	}
}
