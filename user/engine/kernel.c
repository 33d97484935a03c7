// SPDX-License-Identifier: MIT
/*
 * kernel.c - the BPF maps and programs of this process: opened from pins, or loaded by itself.
 *
 *   for each part:  layout in the map info as ours  ---> open its pins
 *                   no pins, and it is to be loaded ---> load, attach, keep descriptors only
 *                   else                            ---> its error and why
 *
 * A loaded part needs no skeleton afterwards: maps and programs live as long as a descriptor does.
 */
#include "engine/kernel.h"

#include "engine/kernel_parts.h"
#include "engine/kernel_pins.h"
#include "engine/kernel_types.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct cv_kernel_part *part_of(struct cv_kernel *kernel, const struct cv_kernel_kind *kind)
{
	return (struct cv_kernel_part *)((char *)kernel + kind->part_offset);
}

static int *fd_of(struct cv_kernel *kernel, const struct cv_pin *pin)
{
	return (int *)((char *)kernel + pin->fd_offset);
}

static void __attribute__((format(printf, 3, 4)))
part_fail(struct cv_kernel_part *part, int error, const char *format, ...)
{
	va_list arguments;

	part->error = error;
	va_start(arguments, format);
	(void)vsnprintf(part->why, sizeof(part->why), format, arguments);
	va_end(arguments);
}

static void part_close(struct cv_kernel *kernel, const struct cv_kernel_kind *kind)
{
	for (const struct cv_pin *pin = kind->pins; pin->name; pin++) {
		if (!pin->fd_offset)
			continue;
		if (*fd_of(kernel, pin) >= 0)
			(void)close(*fd_of(kernel, pin));
		*fd_of(kernel, pin) = -1;
	}
}

/* ---- pinned ------------------------------------------------------------------------------- */

static void part_open(struct cv_kernel *kernel, const struct cv_kernel_kind *kind,
		      const char *directory)
{
	struct cv_kernel_part *part = part_of(kernel, kind);

	for (const struct cv_pin *pin = kind->pins; pin->name; pin++) {
		int fd = pin->fd_offset ? cv_pins_open(directory, pin) : -1;

		if (!pin->fd_offset)
			continue;
		if (fd < 0) {
			part_fail(part, fd, "%.80s/%s: %s%s", directory, pin->name, strerror(-fd),
				  fd == -EACCES ? " (culvert load --user)" : "");
			part_close(kernel, kind);
			return;
		}
		*fd_of(kernel, pin) = fd;
	}
	part->error = 0;
	part->why[0] = '\0';
}

/* Layouts are equal or strange: there is no reading half of a map. */
static void open_pinned(struct cv_kernel *kernel, const struct cv_pins_info *info,
			const char *directory)
{
	kernel->origin = CV_KERNEL_PINNED;
	for (size_t i = 0; i < cv_kernel_part_count; i++) {
		const struct cv_kernel_kind *kind = &cv_kernel_parts[i];
		struct cv_kernel_part *part = part_of(kernel, kind);
		unsigned layout = info->layouts[kind->index];

		if (!layout)
			part_fail(part, -ENOENT, "culvert load could not load it on this kernel");
		else if (layout != kind->layout)
			part_fail(part, -EPROTO,
				  "pins were made by culvert %.31s with layout %u; this is layout "
				  "%u: run its culvert unload, then this culvert load",
				  info->culvert, layout, kind->layout);
		else
			part_open(kernel, kind, directory);
	}
}

/* ---- loaded by ourselves ------------------------------------------------------------------ */

static int descriptors_keep(struct cv_kernel *kernel, const struct cv_kernel_kind *kind,
			    struct bpf_object *object)
{
	for (const struct cv_pin *pin = kind->pins; pin->name; pin++) {
		int fd;

		if (!pin->fd_offset)
			continue;
		fd = pin->kind == CV_PIN_MAP
			     ? bpf_object__find_map_fd_by_name(object, pin->name)
			     : bpf_program__fd(bpf_object__find_program_by_name(object, pin->name));
		if (fd >= 0)
			fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
		if (fd < 0)
			return -errno;
		*fd_of(kernel, pin) = fd;
	}
	return 0;
}

static void part_load(struct cv_kernel *kernel, const struct cv_kernel_kind *kind,
		      const struct cv_kernel_types *types)
{
	struct cv_kernel_part *part = part_of(kernel, kind);
	struct bpf_object *object;
	void *skeleton = NULL;
	int error;

	object = kind->open(types, &skeleton);
	error = object ? kind->load(skeleton) : -errno;
	if (!error && kind->attach)
		error = kind->attach(skeleton);
	if (!error)
		error = descriptors_keep(kernel, kind, object);
	if (object)
		kind->destroy(skeleton);
	if (error) {
		part_close(kernel, kind);
		part_fail(part, error, "%s", cv_pins_load_error(error));
		return;
	}
	part->error = 0;
	part->why[0] = '\0';
	kernel->origin = CV_KERNEL_LOADED;
}

static void load_parts(struct cv_kernel *kernel, unsigned parts)
{
	libbpf_print_fn_t print = libbpf_set_print(NULL);
	struct cv_kernel_types types = {.fd = -1};

	if (parts)
		cv_kernel_types_open(&types);
	for (size_t i = 0; i < cv_kernel_part_count; i++) {
		const struct cv_kernel_kind *kind = &cv_kernel_parts[i];

		if (kind->mask & parts)
			part_load(kernel, kind, &types);
		else if (kind->mask)
			part_fail(part_of(kernel, kind), -ENOENT,
				  "not loaded: the configuration has no use for it");
	}
	cv_kernel_types_close(&types);
	libbpf_set_print(print);
}

/* ---- both --------------------------------------------------------------------------------- */

static void fail_all(struct cv_kernel *kernel, int error, const char *why)
{
	part_fail(&kernel->steer, error, "%s", why);
	part_fail(&kernel->classify, error, "%s", why);
	part_fail(&kernel->relay, error, "%s", why);
}

static void no_descriptors(struct cv_kernel *kernel)
{
	kernel->steer_ports_fd = kernel->steer_listeners_fd = kernel->steer_counters_fd = -1;
	kernel->steer_forbidden_fd = -1;
	kernel->classify_program_fd = kernel->classify_names_fd = -1;
	kernel->classify_results_fd = kernel->classify_counters_fd = -1;
	kernel->classify_ports_fd = -1;
	kernel->relay_sinks_fd = kernel->relay_sources_fd = -1;
	kernel->relay_slots_fd = kernel->relay_flows_fd = kernel->relay_chunks_fd = -1;
}

int cv_kernel_open(const char *directory, unsigned parts, struct cv_kernel **ret_kernel)
{
	struct cv_kernel *kernel = calloc(1, sizeof(*kernel));
	struct cv_pins_info info;
	char why[CV_PINS_WHY];
	int error;

	if (!kernel)
		return -ENOMEM;
	no_descriptors(kernel);
	error = directory ? cv_pins_read(directory, &info, why) : -ENOENT;
	if (!directory)
		snprintf(why, sizeof(why), "switched off");
	fail_all(kernel, error, why);
	if (!error)
		open_pinned(kernel, &info, directory);
	else if (directory || parts)
		load_parts(kernel, parts);
	*ret_kernel = kernel;
	return 0;
}

struct cv_kernel *cv_kernel_close(struct cv_kernel *kernel)
{
	if (!kernel)
		return NULL;
	for (size_t i = 0; i < cv_kernel_part_count; i++)
		part_close(kernel, &cv_kernel_parts[i]);
	free(kernel);
	return NULL;
}
