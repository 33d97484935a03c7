// SPDX-License-Identifier: MIT
/*
 * culvert_check.c - `culvert check FILE`: the daemon's own loader without the daemon, and what else
 * can be known before it runs. Exit status 0 = it would start, 2 = it would not.
 */
#include "culvert.h"
#include "culvert_check.h"

#include <getopt.h>
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

static int check(const char *path, bool json, bool online)
{
	struct json_object *findings = json_object_new_array(), *root = json_object_new_object();
	const struct cv_config_report report = {
		.line = json ? add_finding : print_finding,
		.context = findings,
	};
	struct cv_config *config = NULL;
	const int error = cv_config_load(path, &report, &config);
	char text[512];

	if (error < 0 && error > -2000) {
		snprintf(text, sizeof(text), "%.400s: %s", path, strerror(-error));
		report.line(report.context, true, text);
	}
	if (config)
		cv_check_targets(config, online, &report);
	json_object_object_add(root, "good", json_object_new_boolean(error == 0));
	json_object_object_add(root, "findings", findings);
	if (json)
		puts(json_object_to_json_string_ext(root, JSON_C_TO_STRING_PRETTY |
								  JSON_C_TO_STRING_NOSLASHESCAPE));
	else if (!error)
		printf("%s: good\n", path);
	json_object_put(root);
	cv_config_free(config);
	return error ? CV_EXIT_USAGE : EXIT_SUCCESS;
}

int cv_cmd_check(int argc, char **argv)
{
	static const struct option options[] = {
		{"json", no_argument, NULL, 'j'},
		{"offline", no_argument, NULL, 'o'},
		{NULL, 0, NULL, 0},
	};
	bool json = false, online = true;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'j')
			json = true;
		else if (option == 'o')
			online = false;
		else
			return CV_EXIT_USAGE;
	}
	if (argc - optind != 1) {
		fputs("usage: culvert check FILE [--json] [--offline]\n", stderr);
		return CV_EXIT_USAGE;
	}
	return check(argv[optind], json, online);
}
