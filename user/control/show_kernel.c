// SPDX-License-Identifier: MIT
/*
 * show_kernel.c - what this kernel has and lets culvert use: features found by trying them, the BPF
 * parts as the daemon holds them, kernel TLS as its start-up test found it.
 */
#include "control/command.h"
#include "engine/kernel_probe.h"
#include "engine/ktls.h"

#include <string.h>

static void add_verdict(struct json_object *object, const char *name, int error)
{
	cv_json_text(object, name, error == 0 ? "yes" : strerror(-error));
}

static void add_part(struct json_object *object, const char *name,
		     const struct cv_kernel_part *part)
{
	cv_json_text(object, name, part->error == 0 ? "in use" : part->why);
}

static void add_bpf(struct json_object *object, const struct cv_kernel *kernel)
{
	static const char *const origins[] = {[CV_KERNEL_ABSENT] = "none",
					      [CV_KERNEL_PINNED] = "pinned",
					      [CV_KERNEL_LOADED] = "loaded by this process"};
	struct json_object *member = json_object_new_object();

	cv_json_text(member, "origin", origins[kernel ? kernel->origin : CV_KERNEL_ABSENT]);
	if (kernel) {
		add_part(member, "steer", &kernel->steer);
		add_part(member, "classify", &kernel->classify);
		add_part(member, "relay", &kernel->relay);
	}
	cv_json_add(object, "bpf", member);
}

static void add_ktls(struct json_object *object, const struct cv_ktls_support *support)
{
	struct json_object *member = json_object_new_object();

	cv_json_bool(member, "usable", support && support->usable);
	cv_json_bool(member, "rekey", support && support->rekey);
	cv_json_text(member, "found", support ? support->why : "not tried");
	cv_json_add(object, "ktls", member);
}

void cv_show_kernel(const struct cv_control_view *view, const char *argument,
		    struct json_object *answer)
{
	struct json_object *object = json_object_new_object();
	struct cv_kernel_features features = {0};
	struct cv_ring_features ring = {0};

	(void)argument;
	if (cv_kernel_probe(&features) == 0) {
		cv_json_text(object, "release", features.release);
		add_verdict(object, "sk_lookup", features.sk_lookup);
		add_verdict(object, "sockmap_verdict", features.sk_skb_verdict);
		add_verdict(object, "socket_filter", features.socket_filter);
		add_verdict(object, "tls", features.tls_ulp);
	}
	add_verdict(object, "io_uring", cv_ring_probe(&ring));
	cv_json_bool(object, "io_uring_single_issuer", ring.single_issuer);
	cv_json_bool(object, "io_uring_defer_taskrun", ring.defer_taskrun);
	cv_json_bool(object, "io_uring_buffer_ring", ring.buffer_ring);
	cv_json_bool(object, "io_uring_multishot_accept", ring.multishot_accept);
	add_ktls(object, view->workers[0].ktls);
	add_bpf(object, view->kernel);
	cv_json_add(answer, "kernel", object);
}
