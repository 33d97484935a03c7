// SPDX-License-Identifier: MIT
/*
 * culvert_show.c - `culvert show`: asks a running daemon over its control socket and prints tables.
 *
 * The socket takes one line and answers with one JSON document (control/control_socket.h); --json
 * prints that as it is.
 */
#include "culvert.h"

#include <errno.h>
#include <getopt.h>
#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define DEFAULT_CONTROL "/run/culvert/control.sock"
#define ANSWER_MAX (256u << 20)

static int dial(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd;

	if (strlen(path) >= sizeof(address.sun_path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	strcpy(address.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		int error = errno;

		(void)close(fd);
		errno = error;
		return -1;
	}
	return fd;
}

static char *read_answer(int fd)
{
	size_t len = 0, size = 65536;
	char *text = malloc(size);
	ssize_t got = 1;

	while (text && got > 0) {
		if (len + 1 == size) {
			char *larger = size < ANSWER_MAX ? realloc(text, size * 2) : NULL;

			if (!larger) {
				free(text);
				return NULL;
			}
			text = larger;
			size *= 2;
		}
		got = read(fd, text + len, size - 1 - len);
		len += got > 0 ? (size_t)got : 0;
	}
	if (text)
		text[len] = '\0';
	return text;
}

static char *ask(const char *path, const char *command)
{
	int fd = dial(path);
	char *answer;

	if (fd < 0) {
		fprintf(stderr, "culvert show: %s: %s (is culvertd running?)\n", path,
			strerror(errno));
		return NULL;
	}
	if (dprintf(fd, "%s\n", command) < 0 || !(answer = read_answer(fd))) {
		fprintf(stderr, "culvert show: %s: no answer\n", path);
		answer = NULL;
	}
	(void)close(fd);
	return answer;
}

/* ---- tables ------------------------------------------------------------------------------- */

#define COLUMNS_MAX 16
#define CELL_MAX 64

struct column {
	const char *title;
	void (*cell)(struct json_object *record, const char *key, char text[CELL_MAX]);
	const char *key;
};

static struct json_object *member(struct json_object *object, const char *key)
{
	struct json_object *value = NULL;

	return json_object_object_get_ex(object, key, &value) ? value : NULL;
}

static void text_cell(struct json_object *record, const char *key, char text[CELL_MAX])
{
	const char *value = json_object_get_string(member(record, key));

	snprintf(text, CELL_MAX, "%.63s", value && *value ? value : "-");
	for (char *c = text; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = '?'; /* names come from clients */
}

static void age_cell(struct json_object *record, const char *key, char text[CELL_MAX])
{
	const uint64_t s = json_object_get_uint64(member(record, key)) / 1000;

	if (s < 120)
		snprintf(text, CELL_MAX, "%jus", (uintmax_t)s);
	else if (s < 7200)
		snprintf(text, CELL_MAX, "%jum%02jus", (uintmax_t)s / 60, (uintmax_t)s % 60);
	else
		snprintf(text, CELL_MAX, "%juh%02jum", (uintmax_t)s / 3600, (uintmax_t)s / 60 % 60);
}

static void format_bytes(uint64_t bytes, char *text, size_t size)
{
	static const char units[] = "BKMGTPE";
	double value = (double)bytes;
	size_t unit = 0;

	for (; value >= 10000 && units[unit + 1]; unit++)
		value /= 1024;
	snprintf(text, size, unit ? "%.1f%c" : "%.0f%c", value, units[unit]);
}

static void bytes_cell(struct json_object *record, const char *key, char text[CELL_MAX])
{
	format_bytes(json_object_get_uint64(member(record, key)), text, CELL_MAX);
}

/* "splice 1.2G": who carries the direction, and how much it was so far. */
static void direction_cell(struct json_object *record, const char *key, char text[CELL_MAX])
{
	struct json_object *direction = member(record, key);
	char engine[CELL_MAX], bytes[16];

	text_cell(direction, "engine", engine);
	format_bytes(json_object_get_uint64(member(direction, "bytes")), bytes, sizeof(bytes));
	snprintf(text, CELL_MAX, "%.40s %s", engine, bytes);
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

static void print_columns(struct json_object *array, const struct column *columns, size_t count)
{
	int widths[COLUMNS_MAX];
	char text[CELL_MAX];

	for (size_t c = 0; c < count; c++) {
		widths[c] = width_of(columns[c].title);
		for (size_t i = 0; i < json_object_array_length(array); i++) {
			columns[c].cell(json_object_array_get_idx(array, i), columns[c].key, text);
			if (width_of(text) > widths[c])
				widths[c] = width_of(text);
		}
	}
	for (size_t c = 0; c < count; c++)
		print_cell(columns[c].title, widths[c], c + 1 == count);
	putchar('\n');
	for (size_t i = 0; i < json_object_array_length(array); i++) {
		for (size_t c = 0; c < count; c++) {
			columns[c].cell(json_object_array_get_idx(array, i), columns[c].key, text);
			print_cell(text, widths[c], c + 1 == count);
		}
		putchar('\n');
	}
}

static const struct column session_columns[] = {
	{"ID", text_cell, "id"},
	{"STATE", text_cell, "state"},
	{"INBOUND", text_cell, "inbound"},
	{"USER", text_cell, "user"},
	{"CLIENT", text_cell, "client"},
	{"DESTINATION", text_cell, "destination"},
	{"VIA", text_cell, "outbound"},
	{"UPLINK", direction_cell, "uplink"},
	{"DOWNLINK", direction_cell, "downlink"},
	{"AGE", age_cell, "age_ms"},
	{"IDLE", age_cell, "idle_ms"},
};

static const struct column user_columns[] = {
	{"INBOUND", text_cell, "inbound"},      {"NAME", text_cell, "name"},
	{"EMAIL", text_cell, "email"},          {"SESSIONS", text_cell, "sessions"},
	{"UPLINK", bytes_cell, "uplink_bytes"}, {"DOWNLINK", bytes_cell, "downlink_bytes"},
};

/* One session, everything that is known about it. */
static void print_whole(struct json_object *object, int depth)
{
	json_object_object_foreach(object, key, value)
	{
		if (json_object_is_type(value, json_type_object)) {
			printf("%*s%s\n", depth, "", key);
			print_whole(value, depth + 2);
		} else {
			char text[CELL_MAX];

			text_cell(object, key, text);
			printf("%*s%-*s %s\n", depth, "", 24 - depth, key, text);
		}
	}
}

static void print_each(struct json_object *array)
{
	for (size_t i = 0; i < json_object_array_length(array); i++) {
		if (i)
			putchar('\n');
		print_whole(json_object_array_get_idx(array, i), 0);
	}
}

static void print_array(const char *key, struct json_object *array, bool whole)
{
	if (!whole && strcmp(key, "sessions") == 0)
		print_columns(array, session_columns,
			      sizeof(session_columns) / sizeof(session_columns[0]));
	else if (strcmp(key, "users") == 0)
		print_columns(array, user_columns, sizeof(user_columns) / sizeof(user_columns[0]));
	else
		print_each(array);
}

static void print_answer(struct json_object *root, bool whole)
{
	json_object_object_foreach(root, key, value)
	{
		if (json_object_is_type(value, json_type_array))
			print_array(key, value, whole);
		else if (json_object_is_type(value, json_type_object))
			print_whole(value, 0);
		else
			fprintf(stderr, "culvert show: %s\n", json_object_get_string(value));
	}
}

static int show(const char *path, const char *command, bool json)
{
	char *answer = ask(path, command);
	struct json_object *root = answer ? json_tokener_parse(answer) : NULL;
	const bool whole = strncmp(command, "session ", 8) == 0;
	bool found = root && !json_object_object_get_ex(root, "error", NULL);

	if (found && whole && json_object_array_length(member(root, "sessions")) == 0) {
		fprintf(stderr, "culvert show: no session is called %s\n", command + 8);
		found = false;
	}
	if (json && root)
		puts(json_object_to_json_string_ext(root, JSON_C_TO_STRING_PRETTY));
	else if (root)
		print_answer(root, whole);
	json_object_put(root);
	free(answer);
	return found ? EXIT_SUCCESS : EXIT_FAILURE;
}

int cv_cmd_show(int argc, char **argv)
{
	static const struct option options[] = {
		{"control", required_argument, NULL, 'c'},
		{"json", no_argument, NULL, 'j'},
		{NULL, 0, NULL, 0},
	};
	const char *path = DEFAULT_CONTROL;
	char command[128];
	bool json = false;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'c')
			path = optarg;
		else if (option == 'j')
			json = true;
		else
			return CV_EXIT_USAGE;
	}
	if (optind == argc || argc - optind > 2) {
		fputs("usage: culvert show sessions | session ID | workers | reasons | users "
		      "[--control PATH] [--json]\n",
		      stderr);
		return CV_EXIT_USAGE;
	}
	(void)snprintf(command, sizeof(command), "%s%s%s", argv[optind],
		       argc - optind == 2 ? " " : "", argc - optind == 2 ? argv[optind + 1] : "");
	return show(path, command, json);
}
