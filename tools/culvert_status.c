// SPDX-License-Identifier: MIT
/*
 * culvert_status.c - `culvert status`: what is pinned, and who listens through it.
 *
 * Reads the pins only: works without a daemon, and tells of one that died.
 */
#include "culvert.h"

#include "engine/kernel_parts.h"
#include "engine/kernel_pins.h"
#include "engine/steer.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <getopt.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static struct json_object *array_of(struct json_object *object, const char *key)
{
	struct json_object *array = json_object_new_array();

	json_object_object_add(object, key, array);
	return array;
}

static void add(struct json_object *object, const char *key, const char *text)
{
	json_object_object_add(object, key, json_object_new_string(text));
}

static void add_u64(struct json_object *object, const char *key, uint64_t value)
{
	json_object_object_add(object, key, json_object_new_uint64(value));
}

/* ---- what is there ------------------------------------------------------------------------ */

static void describe_link(struct json_object *object, int fd)
{
	struct bpf_link_info info = {0};
	uint32_t len_bytes = sizeof(info);

	if (bpf_obj_get_info_by_fd(fd, &info, &len_bytes) != 0)
		return;
	add_u64(object, "id", info.id);
	add_u64(object, "netns", info.netns.netns_ino);
	if (info.netns.netns_ino == 0)
		add(object, "error", "detached: its network namespace is gone");
}

static void describe_map(struct json_object *object, int fd)
{
	struct bpf_map_info info = {0};
	uint32_t len_bytes = sizeof(info);

	if (bpf_obj_get_info_by_fd(fd, &info, &len_bytes) == 0) {
		add_u64(object, "id", info.id);
		add_u64(object, "max_entries", info.max_entries);
	}
}

static void describe_program(struct json_object *object, int fd)
{
	struct bpf_prog_info info = {0};
	uint32_t len_bytes = sizeof(info);

	if (bpf_obj_get_info_by_fd(fd, &info, &len_bytes) == 0)
		add_u64(object, "id", info.id);
}

static struct json_object *pin_json(const char *directory, const struct cv_pin *pin)
{
	static const char *const kinds[] = {"map", "program", "link"};
	struct json_object *object = json_object_new_object();
	int fd = cv_pins_open(directory, pin);

	add(object, "name", pin->name);
	add(object, "kind", kinds[pin->kind]);
	if (fd < 0) {
		add(object, "error", strerror(-fd));
		return object;
	}
	if (pin->kind == CV_PIN_MAP)
		describe_map(object, fd);
	else if (pin->kind == CV_PIN_PROGRAM)
		describe_program(object, fd);
	else
		describe_link(object, fd);
	(void)close(fd);
	return object;
}

static void add_parts(struct json_object *root, const char *directory,
		      const struct cv_pins_info *info)
{
	struct json_object *parts = array_of(root, "parts");

	for (size_t i = 0; i < cv_kernel_part_count; i++) {
		const struct cv_kernel_kind *kind = &cv_kernel_parts[i];
		struct json_object *object = json_object_new_object(), *pins;

		add(object, "name", kind->name);
		add_u64(object, "layout", info->layouts[kind->index]);
		add_u64(object, "our_layout", kind->layout);
		pins = array_of(object, "pins");
		for (const struct cv_pin *pin = kind->pins; pin->name && info->layouts[kind->index];
		     pin++)
			json_object_array_add(pins, pin_json(directory, pin));
		json_object_array_add(parts, object);
	}
}

/* ---- who listens -------------------------------------------------------------------------- */

static struct json_object *port_json(const struct cv_kernel *kernel, const struct cv_steer_key *key,
				     const struct cv_steer_port *port)
{
	struct json_object *object = json_object_new_object();
	struct cv_steer_counter counter = {0};
	char text[CV_DESTINATION_TEXT], name[CV_STEER_NAME_BYTES + 1];

	cv_steer_key_format(key, text);
	add(object, "address", text);
	(void)snprintf(name, sizeof(name), "%.*s", CV_STEER_NAME_BYTES, port->inbound);
	add(object, "inbound", name);
	add_u64(object, "pid", port->owner_pid);
	json_object_object_add(
		object, "alive",
		json_object_new_boolean(cv_steer_alive(kernel->steer_listeners_fd, port)));
	add_u64(object, "first_slot", port->first_slot);
	add_u64(object, "slots", port->slot_count);
	(void)cv_steer_count(kernel->steer_counters_fd, port->counter, &counter);
	add_u64(object, "steered", counter.steered);
	add_u64(object, "empty", counter.empty);
	add_u64(object, "errors", counter.errors);
	return object;
}

/* "443,8000-8100", "" for all. */
static void add_allowed(struct json_object *root, const struct cv_kernel *kernel)
{
	char text[256] = "";
	size_t len = 0;
	uint64_t bits = 0;
	bool any = false;
	int first = -1;

	for (uint32_t port = 0; port <= 65536 && len < sizeof(text); port++) {
		const uint32_t word = port / 64;
		bool allowed;

		if (port % 64 == 0 && port < 65536 &&
		    bpf_map_lookup_elem(kernel->steer_forbidden_fd, &word, &bits) != 0)
			return;
		allowed = port < 65536 && !(bits >> port % 64 & 1);
		any |= !allowed && port < 65536;
		if (allowed && first < 0)
			first = (int)port;
		if (allowed || first < 0)
			continue;
		len += (size_t)snprintf(text + len, sizeof(text) - len,
					first + 1 < (int)port ? "%s%d-%u" : "%s%d", len ? "," : "",
					first, port - 1);
		first = -1;
	}
	add(root, "ports", any ? text : "");
}

static void add_ports(struct json_object *root, const char *directory)
{
	struct json_object *ports = array_of(root, "addresses");
	struct cv_steer_key key, *previous = NULL;
	struct cv_steer_port port;
	struct cv_kernel *kernel;

	if (cv_kernel_open(directory, CV_KERNEL_LOAD_NONE, &kernel) != 0)
		return;
	if (kernel->steer.error)
		add(root, "steer_error", kernel->steer.why);
	else
		add_allowed(root, kernel);
	while (!kernel->steer.error &&
	       bpf_map_get_next_key(kernel->steer_ports_fd, previous, &key) == 0) {
		if (bpf_map_lookup_elem(kernel->steer_ports_fd, &key, &port) == 0)
			json_object_array_add(ports, port_json(kernel, &key, &port));
		previous = &key;
	}
	(void)cv_kernel_close(kernel);
}

static struct json_object *status_json(const char *directory, const struct cv_pins_info *info)
{
	struct json_object *root = json_object_new_object();
	const time_t loaded = (time_t)info->loaded_at_s;
	char text[32] = "";
	struct tm utc;

	if (gmtime_r(&loaded, &utc))
		strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &utc);
	add(root, "directory", directory);
	add(root, "culvert", info->culvert);
	add(root, "loaded_at", text);
	add_u64(root, "netns", info->netns_inode);
	json_object_object_add(root, "netns_is_ours",
			       json_object_new_boolean(info->netns_inode == cv_pins_netns()));
	json_object_object_add(root, "mounted_bpffs", json_object_new_boolean(info->mounted_bpffs));
	add_parts(root, directory, info);
	add_ports(root, directory);
	return root;
}

/* ---- for people --------------------------------------------------------------------------- */

static struct json_object *get(struct json_object *object, const char *key)
{
	struct json_object *value = NULL;

	return json_object_object_get_ex(object, key, &value) ? value : NULL;
}

static const char *text_of(struct json_object *object, const char *key)
{
	const char *text = json_object_get_string(get(object, key));

	return text ? text : "";
}

static void print_pins(struct json_object *part)
{
	struct json_object *pins = get(part, "pins");

	for (size_t i = 0; i < json_object_array_length(pins); i++) {
		struct json_object *pin = json_object_array_get_idx(pins, i);

		printf("  %-8s %-16s %s%s\n", text_of(pin, "kind"), text_of(pin, "name"),
		       get(pin, "error") ? "" : "id ",
		       text_of(pin, get(pin, "error") ? "error" : "id"));
	}
}

static void print_ports(struct json_object *ports)
{
	if (json_object_array_length(ports))
		printf("%-24s %-14s %9s %6s %10s %6s %6s\n", "ADDRESS", "INBOUND", "CULVERTD",
		       "SLOTS", "STEERED", "EMPTY", "ERRORS");
	for (size_t i = 0; i < json_object_array_length(ports); i++) {
		struct json_object *port = json_object_array_get_idx(ports, i);

		printf("%-24s %-14s %9s %6s %10s %6s %6s\n", text_of(port, "address"),
		       text_of(port, "inbound"),
		       json_object_get_boolean(get(port, "alive")) ? text_of(port, "pid") : "gone",
		       text_of(port, "slots"), text_of(port, "steered"), text_of(port, "empty"),
		       text_of(port, "errors"));
	}
}

static void print_status(struct json_object *root)
{
	struct json_object *parts = get(root, "parts");

	printf("%s: pinned by culvert %s at %s\n", text_of(root, "directory"),
	       text_of(root, "culvert"), text_of(root, "loaded_at"));
	if (!json_object_get_boolean(get(root, "netns_is_ours")))
		puts("in another network namespace than this one");
	for (size_t i = 0; i < json_object_array_length(parts); i++) {
		struct json_object *part = json_object_array_get_idx(parts, i);

		if (strcmp(text_of(part, "layout"), "0") == 0)
			printf("%s: not on this kernel\n", text_of(part, "name"));
		else
			printf("%s: layout %s\n", text_of(part, "name"), text_of(part, "layout"));
		print_pins(part);
	}
	if (get(root, "steer_error"))
		printf("steer: %s\n", text_of(root, "steer_error"));
	if (*text_of(root, "ports"))
		printf("only these ports: %s\n", text_of(root, "ports"));
	print_ports(get(root, "addresses"));
}

int cv_cmd_status(int argc, char **argv)
{
	static const struct option options[] = {
		{"directory", required_argument, NULL, 'd'},
		{"json", no_argument, NULL, 'j'},
		{NULL, 0, NULL, 0},
	};
	const char *directory = CV_KERNEL_DIRECTORY;
	struct cv_pins_info info;
	char why[CV_PINS_WHY];
	bool json = false, good = true;
	int option, error;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'd')
			directory = optarg;
		else if (option == 'j')
			json = true;
		else
			good = false;
	}
	if (!good || optind != argc) {
		fputs("usage: culvert status [--directory D] [--json]\n", stderr);
		return CV_EXIT_USAGE;
	}
	libbpf_set_print(NULL);
	error = cv_pins_read(directory, &info, why);
	if (error) {
		fprintf(stderr, "culvert status: %s\n", why);
		return EXIT_FAILURE;
	}
	struct json_object *root = status_json(directory, &info);

	if (json)
		puts(json_object_to_json_string_ext(root, JSON_C_TO_STRING_PRETTY));
	else
		print_status(root);
	json_object_put(root);
	return EXIT_SUCCESS;
}
