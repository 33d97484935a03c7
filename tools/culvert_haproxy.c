// SPDX-License-Identifier: MIT
/*
 * culvert_haproxy.c - `culvert export haproxy FILE`: routing by server name as a haproxy.cfg, for
 * people who keep HAProxy.
 *
 * The result goes to standard output, findings to standard error. Exit status 2: there is none.
 */
#include "culvert.h"

#include "config/haproxy.h"

#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_BEHIND "127.0.0.1:8443"

static void print_finding(void *context, bool is_error, const char *text)
{
	const char *path = context;

	fprintf(stderr, "%s%s%s: %s\n", path ? path : "", path ? ": " : "",
		is_error ? "error" : "warning", text);
}

static int export_to(FILE *out, const char *path, const char *behind)
{
	const struct cv_config_report report = {.line = print_finding};
	struct cv_config *config = NULL;
	int error = cv_config_load(path, &report, &config);

	if (error < 0 && error > -2000)
		fprintf(stderr, "culvert export: %s: %s\n", path, strerror(-error));
	if (!error)
		error = cv_haproxy_export(config, behind, &report, out);
	cv_config_free(config);
	return error ? CV_EXIT_USAGE : EXIT_SUCCESS;
}

int cv_cmd_export(int argc, char **argv)
{
	static const struct option options[] = {
		{"behind", required_argument, NULL, 'b'},
		{NULL, 0, NULL, 0},
	};
	const char *behind = DEFAULT_BEHIND;
	bool good = true;
	char *text = NULL;
	size_t len = 0;
	FILE *memory;
	int option, status;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		good &= option == 'b';
		behind = option == 'b' ? optarg : behind;
	}
	if (!good || argc - optind != 2 || strcmp(argv[optind], "haproxy") != 0) {
		fputs("usage: culvert export haproxy FILE [--behind HOST:PORT]\n", stderr);
		return CV_EXIT_USAGE;
	}
	memory = open_memstream(&text, &len);
	if (!memory) {
		perror("culvert export");
		return EXIT_FAILURE;
	}
	status = export_to(memory, argv[optind + 1], behind);
	(void)fclose(memory);
	if (status == EXIT_SUCCESS) /* all of it or nothing */
		fputs(text, stdout);
	free(text);
	return status;
}
