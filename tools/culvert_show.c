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

	if (strlen(path) >= sizeof(address.sun_path))
		return -1;
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

static const char *text_of(struct json_object *object, const char *key)
{
	struct json_object *value = NULL;

	return json_object_object_get_ex(object, key, &value) ? json_object_get_string(value) : "-";
}

static void print_direction(struct json_object *session, const char *direction)
{
	struct json_object *object = NULL;

	if (!json_object_object_get_ex(session, direction, &object))
		return;
	printf("  %-8s %-7s %14s bytes  (%s)\n", direction, text_of(object, "engine"),
	       text_of(object, "bytes"), text_of(object, "state"));
}

static void print_sessions(struct json_object *array)
{
	for (size_t i = 0; i < json_object_array_length(array); i++) {
		struct json_object *session = json_object_array_get_idx(array, i);

		printf("%s %s: %s user=%s %s -> %s (%s) age=%s ms idle=%s ms\n",
		       text_of(session, "id"), text_of(session, "state"),
		       text_of(session, "inbound"), text_of(session, "user"),
		       text_of(session, "client"), text_of(session, "destination"),
		       text_of(session, "outbound"), text_of(session, "age_ms"),
		       text_of(session, "idle_ms"));
		print_direction(session, "uplink");
		print_direction(session, "downlink");
	}
	printf("%zu sessions\n", json_object_array_length(array));
}

static void print_records(struct json_object *array)
{
	for (size_t i = 0; i < json_object_array_length(array); i++) {
		json_object_object_foreach(json_object_array_get_idx(array, i), key, value)
			printf("%s=%s ", key, json_object_get_string(value));
		putchar('\n');
	}
}

static void print_table(struct json_object *root)
{
	json_object_object_foreach(root, key, value)
	{
		if (strcmp(key, "sessions") == 0) {
			print_sessions(value);
		} else if (json_object_is_type(value, json_type_array)) {
			print_records(value);
		} else if (json_object_is_type(value, json_type_object)) {
			json_object_object_foreach(value, name, count)
				printf("%-28s %s\n", name, json_object_get_string(count));
		} else {
			fprintf(stderr, "culvert show: %s\n", json_object_get_string(value));
		}
	}
}

static int show(const char *path, const char *command, bool json)
{
	char *answer = ask(path, command);
	struct json_object *root = answer ? json_tokener_parse(answer) : NULL;
	int status = root && !json_object_object_get_ex(root, "error", NULL) ? EXIT_SUCCESS
									     : EXIT_FAILURE;

	if (json && root)
		puts(json_object_to_json_string_ext(root, JSON_C_TO_STRING_PRETTY));
	else if (root)
		print_table(root);
	json_object_put(root);
	free(answer);
	return status;
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
