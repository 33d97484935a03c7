/* SPDX-License-Identifier: MIT */
/*
 * kernel_parts.h - the table of culvert's BPF parts, shared by kernel.c and kernel_pins.c.
 *
 * A new part is one entry of cv_kernel_parts[] in kernel_parts.c: its skeleton's three functions
 * and the list of its pins. Loading, pinning, opening and removing follow from that.
 */
#ifndef CV_ENGINE_KERNEL_PARTS_H
#define CV_ENGINE_KERNEL_PARTS_H

#include "engine/kernel.h"

#include <culvert/pins.h>
#include <stddef.h>

#define CV_PINS_INFO "info" /* the pin of struct cv_pins_info */

struct bpf_object;
struct cv_kernel_types;

enum cv_pin_kind { CV_PIN_MAP, CV_PIN_PROGRAM, CV_PIN_LINK };
enum cv_pin_access { CV_PIN_LOADER_ONLY, CV_PIN_DAEMON_READS, CV_PIN_DAEMON_WRITES };

struct cv_pin {
	const char *name; /* of the map or program, and of the file; a link is "PROGRAM_link" */
	enum cv_pin_kind kind;
	enum cv_pin_access access;
	size_t fd_offset; /* of the int in struct cv_kernel that holds it; 0 = nobody needs it */
};

struct cv_kernel_kind {
	const char *name;
	enum cv_pins_part index;
	unsigned layout;    /* CV_<PART>_VERSION */
	size_t part_offset; /* of its struct cv_kernel_part in struct cv_kernel */
	unsigned mask;	    /* CV_KERNEL_LOAD_; 0: a daemon never loads it by itself */
	/* the skeleton: opened but not loaded, NULL with errno; rodata may be set in here */
	struct bpf_object *(*open)(const struct cv_kernel_types *types, void **ret_skeleton);
	int (*load)(void *skeleton);
	void (*destroy)(void *skeleton);
	/* optional: after the load, what is neither a netns link nor the daemon's to attach */
	int (*attach)(void *skeleton);
	const struct cv_pin *pins; /* ends with name NULL */
};

extern const struct cv_kernel_kind cv_kernel_parts[];
extern const size_t cv_kernel_part_count;

/** cv_pins_path() - "DIRECTORY/NAME" into @ret_path (PATH_MAX). 0 or -ENAMETOOLONG. */
int cv_pins_path(const char *directory, const char *name, char *ret_path);
/** cv_pins_open() - Descriptor of a pin, CLOEXEC. Negative errno, -EACCES where it is not ours. */
int cv_pins_open(const char *directory, const struct cv_pin *pin);

#endif
