// SPDX-License-Identifier: MIT
/*
 * culvert_check.c - `culvert check FILE`: the daemon's own loader, without the daemon.
 */
#include "culvert.h"

#include "config/config_load.h"

#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print_finding(void *context, bool is_error, const char *text)
{
	(void)context;
	printf("%s: %s\n", is_error ? "error" : "warning", text);
}

static void add_finding(void *context, bool is_error, const char *text)
{
	struct json_object *finding = json_object_new_object();

	json_object_object_add(finding, "severity",
			       json_object_new_string(is_error ? "error" : "warning"));
	json_object_object_add(finding, "text", json_object_new_string(text));
	json_object_array_add(context, finding);
}

int cv_cmd_check(int argc, char **argv)
{
	struct json_object *findings = json_object_new_array(), *root = json_object_new_object();
	bool json = argc == 3 && strcmp(argv[2], "--json") == 0;
	const struct cv_config_report report = {
		.line = json ? add_finding : print_finding,
		.context = findings,
	};
	struct cv_config *config = NULL;
	int error = 0;

	if (argc < 2 || (argc > 2 && !json)) {
		fputs("usage: culvert check FILE [--json]\n", stderr);
		json_object_put(findings);
		json_object_put(root);
		return CV_EXIT_USAGE;
	}
	error = cv_config_load(argv[1], &report, &config);
	if (error < 0 && error > -2000)
		fprintf(stderr, "culvert check: %s: %s\n", argv[1], strerror(-error));
	json_object_object_add(root, "good", json_object_new_boolean(error == 0));
	json_object_object_add(root, "findings", findings);
	if (json)
		puts(json_object_to_json_string_ext(root, JSON_C_TO_STRING_PRETTY));
	else if (!error)
		printf("%s: good\n", argv[1]);
	json_object_put(root);
	cv_config_free(config);
	return error ? CV_EXIT_USAGE : EXIT_SUCCESS;
}
