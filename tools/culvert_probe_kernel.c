// SPDX-License-Identifier: MIT
/*
 * culvert_probe_kernel.c - `culvert probe-kernel`: what this kernel and these rights give culvert.
 */
#include "culvert.h"

#include "engine/kernel_probe.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

static void print_json(const struct cv_kernel_trial *trials, size_t count, const char *release)
{
	struct json_object *root = json_object_new_object(), *array = json_object_new_array();

	for (size_t i = 0; i < count; i++) {
		struct json_object *object = json_object_new_object();

		json_object_object_add(object, "name", json_object_new_string(trials[i].name));
		json_object_object_add(object, "usable",
				       json_object_new_boolean(trials[i].error == 0));
		json_object_object_add(object, "errno", json_object_new_int(-trials[i].error));
		json_object_object_add(object, "why", json_object_new_string(trials[i].why));
		json_object_object_add(object, "without",
				       json_object_new_string(trials[i].without));
		json_object_array_add(array, object);
	}
	json_object_object_add(root, "kernel", json_object_new_string(release));
	json_object_object_add(root, "features", array);
	puts(json_object_to_json_string_ext(root, JSON_C_TO_STRING_PRETTY));
	json_object_put(root);
}

static void print_text(const struct cv_kernel_trial *trials, size_t count, const char *release)
{
	printf("Linux %s\n", release);
	for (size_t i = 0; i < count; i++) {
		if (trials[i].error == 0)
			printf("  %-26s yes\n", trials[i].name);
		else
			printf("  %-26s no: %s\n  %-26s     -> %s\n", trials[i].name, trials[i].why,
			       "", trials[i].without);
	}
}

int cv_cmd_probe_kernel(int argc, char **argv)
{
	struct cv_kernel_trial trials[CV_KERNEL_TRIALS];
	bool json = argc == 2 && strcmp(argv[1], "--json") == 0;
	struct utsname name = {0};
	size_t count;

	if (argc > 2 || (argc == 2 && !json)) {
		fputs("usage: culvert probe-kernel [--json]\n", stderr);
		return CV_EXIT_USAGE;
	}
	(void)uname(&name);
	count = cv_kernel_try_all(trials);
	if (json)
		print_json(trials, count, name.release);
	else
		print_text(trials, count, name.release);
	return EXIT_SUCCESS;
}
