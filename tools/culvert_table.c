// SPDX-License-Identifier: MIT
/*
 * culvert_table.c - see culvert_table.h.
 */
#include "culvert_table.h"

#include "culvert_format.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define KEY_WIDTH 26

struct json_object *cv_member(struct json_object *object, const char *key)
{
	struct json_object *value = NULL;

	return json_object_object_get_ex(object, key, &value) ? value : NULL;
}

uint64_t cv_member_u64(struct json_object *object, const char *key)
{
	return json_object_get_uint64(cv_member(object, key));
}

/* ---- cells -------------------------------------------------------------------------------- */

/* Nothing of it may move the cursor: no C0, no DEL, no C1 (0x80 to 0x9f, in UTF-8 after 0xc2). */
static void clean_text(struct json_object *value, char *text, size_t size)
{
	const char *string = json_object_get_string(value);

	snprintf(text, size, "%s", string && *string ? string : "-");
	for (unsigned char *c = (unsigned char *)text; *c; c++) {
		if (c[0] == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0)
			c[0] = c[1] = '?';
		else if (*c < 0x20 || *c == 0x7f)
			*c = '?';
	}
}

void cv_text_cell(struct json_object *record, const char *key, char text[CV_CELL_MAX])
{
	clean_text(cv_member(record, key), text, CV_CELL_MAX);
}

static void number_cell(struct json_object *record, const char *key, char text[CV_CELL_MAX],
			void (*format)(uint64_t number, char *text))
{
	struct json_object *value = cv_member(record, key);

	if (value)
		format(json_object_get_uint64(value), text);
	else
		strcpy(text, "-");
}

void cv_age_cell(struct json_object *record, const char *key, char text[CV_CELL_MAX])
{
	number_cell(record, key, text, cv_format_age);
}

void cv_bytes_cell(struct json_object *record, const char *key, char text[CV_CELL_MAX])
{
	number_cell(record, key, text, cv_format_bytes);
}

void cv_rate_cell(struct json_object *record, const char *key, char text[CV_CELL_MAX])
{
	if (cv_member_u64(record, key) > 0)
		number_cell(record, key, text, cv_format_rate);
	else
		strcpy(text, "-");
}

void cv_direction_cell(struct json_object *record, const char *key, char text[CV_CELL_MAX])
{
	struct json_object *direction = cv_member(record, key);
	char engine[CV_CELL_MAX], bytes[CV_NUMBER_TEXT];

	cv_text_cell(direction, "engine", engine);
	cv_format_bytes(cv_member_u64(direction, "bytes"), bytes);
	snprintf(text, CV_CELL_MAX, "%.40s %s", engine, bytes);
}

/* ---- columns ------------------------------------------------------------------------------ */

/* Cells count by characters: a name may be UTF-8. */
static int width_of(const char *text)
{
	int width = 0;

	for (; *text; text++)
		width += ((unsigned char)*text & 0xc0) != 0x80;
	return width;
}

static void print_cell(FILE *out, const char *text, int width, bool is_last)
{
	fprintf(out, "%s%*s", text, is_last ? 0 : width - width_of(text) + 2, "");
}

static void print_table(FILE *out, char (*cells)[CV_CELL_MAX], size_t rows, size_t columns,
			const int *widths)
{
	for (size_t r = 0; r < rows; r++) {
		for (size_t c = 0; c < columns; c++)
			print_cell(out, cells[r * columns + c], widths[c], c + 1 == columns);
		fputc('\n', out);
	}
}

void cv_print_columns(FILE *out, struct json_object *array, const struct cv_column *columns,
		      size_t count, size_t limit)
{
	size_t all = json_object_array_length(array), shown = limit && limit < all ? limit : all;
	char(*cells)[CV_CELL_MAX] = calloc((shown + 1) * count, sizeof(*cells));
	int *widths = calloc(count, sizeof(*widths));

	if (cells && widths) {
		for (size_t c = 0; c < count; c++)
			snprintf(cells[c], CV_CELL_MAX, "%s", columns[c].title);
		for (size_t i = 0; i < shown * count; i++)
			columns[i % count].cell(json_object_array_get_idx(array, i / count),
						columns[i % count].key, cells[count + i]);
		for (size_t i = 0; i < (shown + 1) * count; i++)
			if (width_of(cells[i]) > widths[i % count])
				widths[i % count] = width_of(cells[i]);
		print_table(out, cells, shown + 1, count, widths);
	}
	free(widths);
	free(cells);
	if (shown < all)
		fprintf(out, "(%zu more)\n", all - shown);
}

/* ---- records ------------------------------------------------------------------------------ */

/* "vless, receiving opaque, sending clear": one of several small things. */
static void print_item(FILE *out, struct json_object *item)
{
	const char *before = "";

	json_object_object_foreach(item, key, value)
	{
		char text[CV_CELL_MAX * 2];

		clean_text(value, text, sizeof(text));
		fprintf(out, "%s%s%s%s", before, *before ? key : "", *before ? " " : "", text);
		before = ", ";
	}
	fputc('\n', out);
}

static void print_items(FILE *out, struct json_object *array, int depth)
{
	for (size_t i = 0; i < json_object_array_length(array); i++) {
		struct json_object *item = json_object_array_get_idx(array, i);
		char text[CV_CELL_MAX * 2];

		if (json_object_is_type(item, json_type_object)) {
			fprintf(out, "%*s", depth, "");
			print_item(out, item);
			continue;
		}
		clean_text(item, text, sizeof(text));
		fprintf(out, "%*s%s\n", depth, "", text);
	}
}

void cv_print_record(FILE *out, struct json_object *record, int depth)
{
	json_object_object_foreach(record, key, value)
	{
		char text[CV_CELL_MAX * 2];

		if (json_object_is_type(value, json_type_object)) {
			fprintf(out, "%*s%s\n", depth, "", key);
			cv_print_record(out, value, depth + 2);
		} else if (json_object_is_type(value, json_type_array)) {
			fprintf(out, "%*s%s%s\n", depth, "", key,
				json_object_array_length(value) ? "" : " -");
			print_items(out, value, depth + 2);
		} else {
			clean_text(value, text, sizeof(text));
			if (json_object_is_type(value, json_type_int))
				cv_format_by_key(key, json_object_get_uint64(value), text);
			fprintf(out, "%*s%-*s %s\n", depth, "", KEY_WIDTH - depth, key, text);
		}
	}
}

/* ---- a terminal --------------------------------------------------------------------------- */

#define HOME "\033[H"
#define CLEAR_LINE "\033[K"
#define CLEAR_BELOW "\033[J"

void cv_print_screen(FILE *out, const char *text, size_t rows, size_t columns)
{
	fputs(HOME, out);
	for (size_t row = 0; row < rows && *text; row++) {
		size_t column = 0;

		for (; *text && *text != '\n'; text++) {
			column += ((unsigned char)*text & 0xc0) != 0x80;
			if (column <= columns)
				fputc(*text, out);
		}
		text += *text == '\n';
		/* no line end in the last row: it would scroll */
		fputs(row + 1 < rows ? CLEAR_LINE "\n" : CLEAR_LINE, out);
	}
	fputs(CLEAR_BELOW, out);
}
