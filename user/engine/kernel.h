/* SPDX-License-Identifier: MIT */
/*
 * kernel.h - culvert's BPF programs and maps as this process holds them.
 *
 *   culvert load (privileged, short):  load -> pin under /sys/fs/bpf/culvert/
 *   culvertd:  pins present -> open them, no capability needed
 *              else, with the rights -> load by itself, unpinned, gone with the process
 *              else -> each part is absent with its reason, and everything works without
 *
 * The three parts are independent: a kernel that refuses one still gets the others.
 */
#ifndef CV_ENGINE_KERNEL_H
#define CV_ENGINE_KERNEL_H

#include <stddef.h>
#include <stdint.h>

#define CV_KERNEL_DIRECTORY "/sys/fs/bpf/culvert"

enum cv_kernel_origin { CV_KERNEL_ABSENT, CV_KERNEL_PINNED, CV_KERNEL_LOADED };

struct cv_kernel_part {
	int error; /* 0 = usable; -errno why not: -EPERM rights, -EPROTO layout version, ... */
	char why[160]; /* the same for people, "" when usable */
};

struct cv_kernel {
	enum cv_kernel_origin origin;

	struct cv_kernel_part steer; /* <culvert/steer.h> */
	int steer_ports_fd, steer_listeners_fd, steer_counters_fd, steer_forbidden_fd;

	struct cv_kernel_part classify; /* <culvert/classify.h> */
	int classify_program_fd;
	int classify_names_fd, classify_ports_fd, classify_results_fd, classify_counters_fd;

	struct cv_kernel_part relay; /* <culvert/relay.h> */
	int relay_sinks_fd, relay_sources_fd, relay_slots_fd, relay_flows_fd, relay_chunks_fd;
};

/* Parts that a process may load by itself. */
#define CV_KERNEL_LOAD_NONE 0u
#define CV_KERNEL_LOAD_CLASSIFY 1u
#define CV_KERNEL_LOAD_RELAY 2u

/**
 * cv_kernel_open() - Open the pins in @directory, or where there are none load @parts.
 * @parts: CV_KERNEL_LOAD_; loading costs milliseconds and megabytes, so only what there is a use
 * for. Always succeeds but for memory: what is missing is said in each part.
 * @ret_kernel: freed by cv_kernel_close(). Returns 0 or -ENOMEM.
 */
int cv_kernel_open(const char *directory, unsigned parts, struct cv_kernel **ret_kernel);
/** cv_kernel_close() - Close every descriptor; pins stay. NULL-safe, returns NULL. */
struct cv_kernel *cv_kernel_close(struct cv_kernel *kernel);

#endif
