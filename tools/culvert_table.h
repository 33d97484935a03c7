/* SPDX-License-Identifier: MIT */
/*
 * culvert_table.h - records of an answer as text for people: aligned columns, or one by one.
 */
#ifndef CULVERT_TOOLS_CULVERT_TABLE_H
#define CULVERT_TOOLS_CULVERT_TABLE_H

#include <json-c/json.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define CV_CELL_MAX 96

struct cv_column {
	const char *title;
	void (*cell)(struct json_object *record, const char *key, char text[CV_CELL_MAX]);
	const char *key;
};

/** cv_member() - The member @key of @object, NULL if there is none. */
struct json_object *cv_member(struct json_object *object, const char *key);
/** cv_member_u64() - The same as a number, 0 if there is none. */
uint64_t cv_member_u64(struct json_object *object, const char *key);

/* Cells; "-" for what is not there. Names come from clients: control characters become "?". */
void cv_text_cell(struct json_object *record, const char *key, char text[CV_CELL_MAX]);
void cv_age_cell(struct json_object *record, const char *key, char text[CV_CELL_MAX]);
void cv_bytes_cell(struct json_object *record, const char *key, char text[CV_CELL_MAX]);
void cv_rate_cell(struct json_object *record, const char *key, char text[CV_CELL_MAX]);
/** cv_direction_cell() - "splice 1.2 GiB": who carries it, and how much it was so far. */
void cv_direction_cell(struct json_object *record, const char *key, char text[CV_CELL_MAX]);

/** cv_print_columns() - @array's records, the columns as wide as they need; a title line first. At
 * most @limit records, 0 = all; says how many were left out. */
void cv_print_columns(FILE *out, struct json_object *array, const struct cv_column *columns,
		      size_t count, size_t limit);
/** cv_print_record() - One record as "key value" lines, objects and arrays indented below; objects
 * in arrays in a line each. Numbers in the unit that their key names. */
void cv_print_record(FILE *out, struct json_object *record, int depth);
/** cv_print_screen() - @text's first @rows lines, cut after @columns characters, onto a terminal
 * that may show something else now. */
void cv_print_screen(FILE *out, const char *text, size_t rows, size_t columns);

#endif
