// SPDX-License-Identifier: MIT
/*
 * culvert_load.c - `culvert load` and `culvert unload`: the one privileged moment.
 *
 * After a load the daemon runs as any user that --user or --group names, with no capability.
 */
#include "culvert.h"

#include "engine/kernel_pins.h"
#include "version.h"

#include <bpf/libbpf.h>
#include <culvert/steer.h>
#include <errno.h>
#include <getopt.h>
#include <grp.h>
#include <json-c/json.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct request {
	struct cv_pins_request pins;
	uint64_t forbidden[CV_STEER_PORT_WORDS];
	bool json, force, verbose;
};

static int print_debug(enum libbpf_print_level level, const char *format, va_list arguments)
{
	return level == LIBBPF_DEBUG ? 0 : vfprintf(stderr, format, arguments);
}

static bool find_user(const char *name, uid_t *ret_uid)
{
	const struct passwd *user = getpwnam(name);
	char *end;

	if (user)
		*ret_uid = user->pw_uid;
	else
		*ret_uid = (uid_t)strtoul(name, &end, 10);
	return user || (*name && !*end);
}

static bool find_group(const char *name, gid_t *ret_gid)
{
	const struct group *group = getgrnam(name);
	char *end;

	if (group)
		*ret_gid = group->gr_gid;
	else
		*ret_gid = (gid_t)strtoul(name, &end, 10);
	return group || (*name && !*end);
}

/* "443,8000-8100": everything else is forbidden. */
static bool read_ports(const char *text, struct request *request)
{
	memset(request->forbidden, 0xff, sizeof(request->forbidden));
	request->pins.forbidden = request->forbidden;
	do {
		char *end;
		unsigned long first = strtoul(text, &end, 10), last = first;

		if (end != text && *end == '-')
			last = strtoul(text = end + 1, &end, 10);
		if (end == text || first < 1 || last > 65535 || first > last ||
		    (*end && *end != ','))
			return false;
		for (unsigned long port = first; port <= last; port++)
			request->forbidden[port / 64] &= ~(1ull << port % 64);
		text = *end ? end + 1 : end;
	} while (*text);
	return true;
}

/* False after telling what is wrong. */
static bool read_options(int argc, char **argv, const char *usage, struct request *request)
{
	static const struct option options[] = {
		{"directory", required_argument, NULL, 'd'}, {"user", required_argument, NULL, 'u'},
		{"group", required_argument, NULL, 'g'},     {"json", no_argument, NULL, 'j'},
		{"ports", required_argument, NULL, 'p'},     {"force", no_argument, NULL, 'f'},
		{"verbose", no_argument, NULL, 'v'},         {NULL, 0, NULL, 0},
	};
	bool good = true;
	int option;

	while (good && (option = getopt_long(argc, argv, "v", options, NULL)) != -1) {
		if (option == 'd')
			request->pins.directory = optarg;
		else if (option == 'u')
			good = find_user(optarg, &request->pins.uid);
		else if (option == 'g')
			good = find_group(optarg, &request->pins.gid);
		else if (option == 'p')
			good = read_ports(optarg, request);
		else if (option == 'j')
			request->json = true;
		else if (option == 'f')
			request->force = true;
		else if (option == 'v')
			request->verbose = true;
		else
			good = false;
		if (!good && (option == 'u' || option == 'g'))
			fprintf(stderr, "%s: nobody is called %s\n", argv[0], optarg);
	}
	if (good && optind == argc)
		return true;
	fprintf(stderr, "usage: culvert %s\n", usage);
	return false;
}

static void set_defaults(struct request *request)
{
	*request = (struct request){
		.pins = {.directory = CV_KERNEL_DIRECTORY,
			 .culvert = CULVERT_VERSION,
			 .uid = (uid_t)-1,
			 .gid = (gid_t)-1},
	};
}

static void print_json(const struct cv_pins_request *request, const struct cv_pins_result *result,
		       int error)
{
	struct json_object *root = json_object_new_object(), *parts = json_object_new_object();

	for (size_t i = 0; i < result->part_count; i++)
		json_object_object_add(parts, result->parts[i].name,
				       json_object_new_string(result->parts[i].error
								      ? result->parts[i].why
								      : "pinned"));
	json_object_object_add(root, "directory", json_object_new_string(request->directory));
	json_object_object_add(root, "loaded", json_object_new_boolean(!error));
	json_object_object_add(root, "existed", json_object_new_boolean(result->existed));
	json_object_object_add(root, "mounted_bpffs", json_object_new_boolean(result->mounted));
	json_object_object_add(root, "parts", parts);
	if (error)
		json_object_object_add(root, "error", json_object_new_string(result->why));
	puts(json_object_to_json_string_ext(root, JSON_C_TO_STRING_PRETTY));
	json_object_put(root);
}

static void print_text(const struct cv_pins_request *request, const struct cv_pins_result *result)
{
	if (result->mounted)
		puts("mounted a bpffs");
	for (size_t i = 0; i < result->part_count; i++)
		if (result->parts[i].error)
			printf("%s left out: %s\n", result->parts[i].name, result->parts[i].why);
	printf("%s in %s\n", result->existed ? "already pinned" : "pinned", request->directory);
}

int cv_cmd_load(int argc, char **argv)
{
	struct request request;
	struct cv_pins_result result;
	int error;

	set_defaults(&request);
	if (!read_options(argc, argv,
			  "load [--directory D] [--user NAME] [--group NAME] [--ports LIST] "
			  "[--verbose] [--json]",
			  &request))
		return CV_EXIT_USAGE;
	libbpf_set_print(request.verbose ? print_debug : NULL);
	error = cv_pins_load(&request.pins, &result);
	if (request.json)
		print_json(&request.pins, &result, error);
	else if (!error)
		print_text(&request.pins, &result);
	if (error)
		fprintf(stderr, "culvert load: %s\n", result.why);
	return error ? EXIT_FAILURE : EXIT_SUCCESS;
}

int cv_cmd_unload(int argc, char **argv)
{
	struct request request;
	char why[CV_PINS_WHY];
	int error;

	set_defaults(&request);
	if (!read_options(argc, argv, "unload [--directory D] [--force]", &request))
		return CV_EXIT_USAGE;
	libbpf_set_print(NULL);
	error = cv_pins_unload(request.pins.directory, request.force, why);
	if (error)
		fprintf(stderr, "culvert unload: %s\n", why);
	return error ? EXIT_FAILURE : EXIT_SUCCESS;
}
