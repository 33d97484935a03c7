// SPDX-License-Identifier: MIT
/*
 * culvert_restart.c - `culvert restart`: asks the running daemon to start its successor.
 *
 * The answer comes when the successor has the addresses, or when it failed and why; that takes as
 * long as learning its targets does.
 */
#include "culvert.h"

#include "base/address.h"

#include <errno.h>
#include <getopt.h>
#include <json-c/json.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_CONTROL "/run/culvert/control.sock"
#define ANSWER_MAX 16384

static int dial(const char *path)
{
	struct cv_sockaddr address;
	int fd;

	if (cv_sockaddr_from_unix(path, &address) != 0) {
		errno = EINVAL;
		return -1;
	}
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, &address.any, address.len_bytes) != 0) {
		int error = errno;

		(void)close(fd);
		errno = error;
		return -1;
	}
	return fd;
}

static struct json_object *ask_for_restart(int fd)
{
	char text[ANSWER_MAX];
	size_t len = 0;
	ssize_t got = 1;

	if (dprintf(fd, "restart\n") < 0)
		return NULL;
	while (got > 0 && len < sizeof(text) - 1) {
		got = read(fd, text + len, sizeof(text) - 1 - len);
		len += got > 0 ? (size_t)got : 0;
	}
	text[len] = '\0';
	return len ? json_tokener_parse(text) : NULL;
}

static int report(struct json_object *root, bool json)
{
	struct json_object *error = NULL, *pid = NULL, *retired = NULL;

	if (json && root)
		puts(json_object_to_json_string_ext(root, JSON_C_TO_STRING_PRETTY));
	if (!root) {
		fputs("culvert restart: no answer\n", stderr);
		return EXIT_FAILURE;
	}
	if (json_object_object_get_ex(root, "error", &error)) {
		fprintf(stderr, "culvert restart: the old culvertd goes on: %s\n",
			json_object_get_string(error));
		return EXIT_FAILURE;
	}
	json_object_object_get_ex(root, "pid", &pid);
	json_object_object_get_ex(root, "retired", &retired);
	if (!json)
		printf("culvertd %d serves, %d finishes its sessions\n", json_object_get_int(pid),
		       json_object_get_int(retired));
	return EXIT_SUCCESS;
}

int cv_cmd_restart(int argc, char **argv)
{
	static const struct option options[] = {
		{"control", required_argument, NULL, 'c'},
		{"json", no_argument, NULL, 'j'},
		{NULL, 0, NULL, 0},
	};
	const char *path = DEFAULT_CONTROL;
	struct json_object *root;
	bool json = false, good = true;
	int option, fd, status;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'c')
			path = optarg;
		else if (option == 'j')
			json = true;
		else
			good = false;
	}
	if (!good || optind != argc) {
		fputs("usage: culvert restart [--control PATH] [--json]\n", stderr);
		return CV_EXIT_USAGE;
	}
	fd = dial(path);
	if (fd < 0) {
		fprintf(stderr, "culvert restart: %s: %s (is culvertd running?)\n", path,
			strerror(errno));
		return EXIT_FAILURE;
	}
	root = ask_for_restart(fd);
	(void)close(fd);
	status = report(root, json);
	json_object_put(root);
	return status;
}
