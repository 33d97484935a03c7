/* SPDX-License-Identifier: MIT */
/*
 * kernel_pins.h - making and removing the pins: what `culvert load` and `culvert unload` do.
 */
#ifndef CV_ENGINE_KERNEL_PINS_H
#define CV_ENGINE_KERNEL_PINS_H

#include "engine/kernel.h"

#include <culvert/pins.h>
#include <stdbool.h>
#include <sys/types.h>

#define CV_PINS_WHY 256

/**
 * cv_pins_read() - Who made the pins in @directory.
 * @ret_why: CV_PINS_WHY bytes, the failure for people ("" on success)
 *
 * Returns 0 for every culvert's pins, also newer ones (see layouts); -ENOENT where there are none,
 * -EACCES where they are not ours to open, -EPROTO where the map info is not culvert's.
 */
int cv_pins_read(const char *directory, struct cv_pins_info *ret_info, char *ret_why);

/** cv_pins_load_error() - Text for what libbpf's load said: rights, or the kernel. */
const char *cv_pins_load_error(int error);

struct cv_pins_request {
	const char *directory;
	const char *culvert;       /* our version, for the map info */
	uid_t uid;                 /* owner of the pins, (uid_t)-1 = whoever loads */
	gid_t gid;                 /* group that may use them, (gid_t)-1 = none */
	const uint64_t *forbidden; /* CV_STEER_PORT_WORDS, ports never to be steered; NULL = none */
};

struct cv_pins_result {
	bool existed, mounted; /* the same pins were there already; a bpffs was mounted */
	struct {
		const char *name;
		int error;
		const char *why; /* text of the error */
	} parts[CV_PINS_PARTS];
	size_t part_count;
	char why[CV_PINS_WHY]; /* of the whole, "" on success */
};

/**
 * cv_pins_load() - Load every part and pin it below @request->directory.
 *
 * All or nothing, with one exception: a part that this kernel refuses for another reason than
 * rights is left out and named in @ret_result (if none is left, the whole fails). Pins of the same
 * layouts are kept as they are, of older ones replaced unless a daemon listens through them. Needs
 * CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON; CAP_SYS_ADMIN to mount a bpffs, CAP_CHOWN for an owner.
 *
 * Returns 0; -EPROTO: newer pins are there; -EBUSY: older ones are in use; -errno.
 */
int cv_pins_load(const struct cv_pins_request *request, struct cv_pins_result *ret_result);

/**
 * cv_pins_unload() - Detach and remove everything in @directory, and the directory.
 * @force: also newer layouts, pins in use, and what a loader that died has left
 * Returns 0, -ENOENT (nothing there), -EPROTO, -EBUSY or -errno with @ret_why (CV_PINS_WHY).
 */
int cv_pins_unload(const char *directory, bool force, char *ret_why);

/** cv_pins_netns() - The inode of the caller's network namespace, 0 if unknown. */
uint64_t cv_pins_netns(void);

#endif
