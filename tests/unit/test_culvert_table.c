// SPDX-License-Identifier: MIT
/* test_culvert_table.c - records as columns, one by one, and on a terminal of some size. */
#include "culvert_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct cv_column columns[] = {
	{"NAME", cv_text_cell, "name"},
	{"UP", cv_direction_cell, "uplink"},
	{"RATE", cv_rate_cell, "rate"},
	{"AGE", cv_age_cell, "age_ms"},
};

#define COLUMN_COUNT (sizeof(columns) / sizeof(columns[0]))

static struct json_object *parsed(const char *text)
{
	struct json_object *object = json_tokener_parse(text);

	assert_non_null(object);
	return object;
}

/* What @print wrote; static, until the next call. */
static const char *printed_columns(const char *array_text, size_t limit)
{
	static char text[4096];
	struct json_object *array = parsed(array_text);
	FILE *out = fmemopen(text, sizeof(text), "w");

	assert_non_null(out);
	cv_print_columns(out, array, columns, COLUMN_COUNT, limit);
	assert_int_equal(fclose(out), 0);
	json_object_put(array);
	return text;
}

static void test_columns_are_aligned(void **state)
{
	(void)state;
	assert_string_equal(printed_columns("[{\"name\":\"a\",\"rate\":1500,\"age_ms\":3000,"
					    "\"uplink\":{\"engine\":\"splice\",\"bytes\":2048}},"
					    "{\"name\":\"longer\",\"rate\":0,\"age_ms\":60000,"
					    "\"uplink\":{\"engine\":\"copy\",\"bytes\":1}}]",
					    0),
			    "NAME    UP              RATE      AGE\n"
			    "a       splice 2.0 KiB  1.5 kB/s  3s\n"
			    "longer  copy 1 B        -         60s\n");
}

static void test_what_is_missing_is_a_dash(void **state)
{
	(void)state;
	assert_string_equal(printed_columns("[{}]", 0), "NAME  UP     RATE  AGE\n"
							"-     - 0 B  -     -\n");
	assert_string_equal(printed_columns("[]", 0), "NAME  UP  RATE  AGE\n");
}

static void test_limit_says_what_it_left_out(void **state)
{
	const char *three = "[{\"name\":\"1\"},{\"name\":\"2\"},{\"name\":\"3\"}]";

	(void)state;
	assert_non_null(strstr(printed_columns(three, 1), "\n(2 more)\n"));
	assert_null(strstr(printed_columns(three, 1), "\n2 "));
	assert_null(strstr(printed_columns(three, 3), "more"));
	assert_null(strstr(printed_columns(three, 0), "more"));
}

/* Names come from the network. U+009B begins a control sequence as ESC [ does. */
static void test_control_characters_do_not_reach_the_terminal(void **state)
{
	const char *text = printed_columns("[{\"name\":\"a\\u001b[2Jb\\nc\\u009bd\\u007f\"}]", 0);

	(void)state;
	assert_string_equal(strchr(text, '\n') + 1, "a?[2Jb?c??d?  - 0 B  -     -\n");
}

static void test_width_counts_characters(void **state)
{
	const char *text =
		printed_columns("[{\"name\":\"m\xc3\xbcller\"},{\"name\":\"abcdef\"}]", 0);

	(void)state;
	assert_non_null(strstr(text, "\nm\xc3\xbcller  - 0 B"));
	assert_non_null(strstr(text, "\nabcdef  - 0 B"));
}

static void test_long_texts_are_cut(void **state)
{
	char text[1000];
	char json[1100];

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	snprintf(json, sizeof(json), "[{\"name\":\"%s\"}]", text);
	assert_true(strlen(printed_columns(json, 0)) < 4 * CV_CELL_MAX);
}

static void test_records(void **state)
{
	char text[1024];
	FILE *out = fmemopen(text, sizeof(text), "w");
	struct json_object *record =
		parsed("{\"id\":\"0.7\",\"queued_bytes\":2048,\"usable\":true,\"empty\":[],"
		       "\"facts\":[\"one\",\"t\\u001bwo\",{\"name\":\"x\",\"rx\":\"a\\nb\"}],"
		       "\"tcp\":{\"rtt_us\":1500}}");

	(void)state;
	cv_print_record(out, record, 0);
	assert_int_equal(fclose(out), 0);
	assert_string_equal(text, "id                         0.7\n"
				  "queued_bytes               2.0 KiB\n"
				  "usable                     true\n"
				  "empty -\n"
				  "facts\n"
				  "  one\n"
				  "  t?wo\n"
				  "  x, rx a?b\n"
				  "tcp\n"
				  "  rtt_us                   1.5 ms\n");
	json_object_put(record);
}

static const char *screen(const char *text, size_t rows, size_t width)
{
	static char shown[1024];
	FILE *out = fmemopen(shown, sizeof(shown), "w");

	cv_print_screen(out, text, rows, width);
	assert_int_equal(fclose(out), 0);
	return shown;
}

static void test_screen_shows_what_fits(void **state)
{
	(void)state;
	assert_string_equal(screen("one\ntwo\n", 5, 80), "\033[Hone\033[K\ntwo\033[K\n\033[J");
	/* the last row ends without a line feed, which would scroll */
	assert_string_equal(screen("one\ntwo\nthree\n", 2, 80), "\033[Hone\033[K\ntwo\033[K\033[J");
	assert_string_equal(screen("abcdef\ng\n", 5, 3), "\033[Habc\033[K\ng\033[K\n\033[J");
	/* cut by characters, not within one */
	assert_string_equal(screen("\xc3\xbc\xc3\xbc\xc3\xbc", 5, 2),
			    "\033[H\xc3\xbc\xc3\xbc\033[K\n\033[J");
	assert_string_equal(screen("", 5, 80), "\033[H\033[J");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_columns_are_aligned),
		cmocka_unit_test(test_what_is_missing_is_a_dash),
		cmocka_unit_test(test_limit_says_what_it_left_out),
		cmocka_unit_test(test_control_characters_do_not_reach_the_terminal),
		cmocka_unit_test(test_width_counts_characters),
		cmocka_unit_test(test_long_texts_are_cut),
		cmocka_unit_test(test_records),
		cmocka_unit_test(test_screen_shows_what_fits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
