// SPDX-License-Identifier: MIT
/*
 * culvert_reload.c - `culvert reload`: the running daemon reads its configuration again.
 *
 * The answer comes when sessions begin with the new one, or when it is refused and why: then
 * nothing has changed. New REALITY targets are learned first, which takes some seconds.
 */
#include "culvert.h"
#include "culvert_ask.h"

#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

static int reload(const char *control, bool json)
{
	struct json_object *answer = cv_ask(control, "reload"), *error = NULL, *took = NULL;

	if (!answer)
		return EXIT_FAILURE;
	if (json)
		puts(json_object_to_json_string_ext(answer, JSON_C_TO_STRING_PRETTY));
	if (json_object_object_get_ex(answer, "error", &error))
		fprintf(stderr, "culvert reload: nothing has changed:\n%s\n",
			json_object_get_string(error));
	else if (json_object_object_get_ex(answer, "took_ms", &took) && !json)
		printf("configuration read again in %d ms\n", json_object_get_int(took));
	json_object_put(answer);
	return error ? EXIT_FAILURE : EXIT_SUCCESS;
}

int cv_cmd_reload(int argc, char **argv)
{
	static const struct option options[] = {
		{"control", required_argument, NULL, 'c'},
		{"json", no_argument, NULL, 'j'},
		{NULL, 0, NULL, 0},
	};
	const char *control = CV_DEFAULT_CONTROL;
	bool json = false, good = true;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'c')
			control = optarg;
		else if (option == 'j')
			json = true;
		else
			good = false;
	}
	if (!good || optind != argc) {
		fputs("usage: culvert reload [--control PATH] [--json]\n", stderr);
		return CV_EXIT_USAGE;
	}
	return reload(control, json);
}
