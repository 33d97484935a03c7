/* SPDX-License-Identifier: MIT */
/*
 * culvert_table.h - records of an answer as aligned columns for people.
 */
#ifndef CULVERT_TOOLS_CULVERT_TABLE_H
#define CULVERT_TOOLS_CULVERT_TABLE_H

#include <json-c/json.h>
#include <stddef.h>
#include <stdint.h>

#define CV_CELL_MAX 64

struct cv_column {
	const char *title;
	void (*cell)(struct json_object *record, const char *key, char text[CV_CELL_MAX]);
	const char *key;
};

/** cv_member() - The member @key of @object, NULL if there is none. */
struct json_object *cv_member(struct json_object *object, const char *key);
/** cv_member_u64() - The same as a number, 0 if there is none. */
uint64_t cv_member_u64(struct json_object *object, const char *key);
/** cv_format_bytes() - "512B", "1.2M", five characters or so. */
void cv_format_bytes(uint64_t bytes, char *text, size_t size);

/* Cells: text with control characters replaced; "2m05s"; "1.2M"; "1.2M/s"; "splice 1.2G". */
void cv_text_cell(struct json_object *record, const char *key, char text[CV_CELL_MAX]);
void cv_age_cell(struct json_object *record, const char *key, char text[CV_CELL_MAX]);
void cv_bytes_cell(struct json_object *record, const char *key, char text[CV_CELL_MAX]);
void cv_rate_cell(struct json_object *record, const char *key, char text[CV_CELL_MAX]);
void cv_direction_cell(struct json_object *record, const char *key, char text[CV_CELL_MAX]);

/** cv_print_columns() - @array's records, the columns as wide as they need; a title line first. At
 * most @limit records, 0 = all; says how many were left out. */
void cv_print_columns(struct json_object *array, const struct cv_column *columns, size_t count,
		      size_t limit);
/** cv_print_record() - One record as "key value" lines, objects and arrays indented below. */
void cv_print_record(struct json_object *record, int depth);

#endif
