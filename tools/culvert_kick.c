// SPDX-License-Identifier: MIT
/*
 * culvert_kick.c - `culvert kick USER`: end all sessions of somebody, now.
 *
 * They may come back at once: who must not is disabled in the configuration.
 */
#include "culvert.h"
#include "culvert_ask.h"

#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

/* The name goes into a line of the protocol. */
static bool is_one_line(const char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < 0x20)
			return false;
	return true;
}

static int kick(const char *control, const char *user, bool json)
{
	struct json_object *answer, *kicked = NULL, *error = NULL;
	char command[CV_COMMAND_MAX];
	int status = EXIT_FAILURE;

	if (snprintf(command, sizeof(command), "kick %s", user) >= (int)sizeof(command) ||
	    !is_one_line(user)) {
		fprintf(stderr, "culvert kick: that is no user's name\n");
		return CV_EXIT_USAGE;
	}
	answer = cv_ask(control, command);
	if (!answer)
		return EXIT_FAILURE;
	if (json_object_object_get_ex(answer, "error", &error)) {
		fprintf(stderr, "culvert kick: %s\n", json_object_get_string(error));
	} else if (json_object_object_get_ex(answer, "kicked", &kicked)) {
		status = json_object_get_int(kicked) > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
		if (json)
			puts(json_object_to_json_string_ext(answer, JSON_C_TO_STRING_PRETTY));
		else
			printf("%d session%s of %s ended\n", json_object_get_int(kicked),
			       json_object_get_int(kicked) == 1 ? "" : "s", user);
	}
	json_object_put(answer);
	return status;
}

int cv_cmd_kick(int argc, char **argv)
{
	static const struct option options[] = {
		{"control", required_argument, NULL, 'c'},
		{"json", no_argument, NULL, 'j'},
		{NULL, 0, NULL, 0},
	};
	const char *control = CV_DEFAULT_CONTROL;
	bool json = false;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'c')
			control = optarg;
		else if (option == 'j')
			json = true;
		else
			return CV_EXIT_USAGE;
	}
	if (argc - optind != 1) {
		fputs("usage: culvert kick USER [--control PATH] [--json]\n", stderr);
		return CV_EXIT_USAGE;
	}
	return kick(control, argv[optind], json);
}
