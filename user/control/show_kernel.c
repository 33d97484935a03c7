// SPDX-License-Identifier: MIT
/*
 * show_kernel.c - what this kernel has and lets culvert use: features found by trying them at the
 * start, the BPF parts as the daemon holds them, kernel TLS, and which rights it has given up.
 */
#include "control/command.h"
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

void cv_kernel_find(struct cv_kernel_found *ret_found)
{
	struct cv_kernel_found found = {.ring_error = 0};

	found.features_error = cv_kernel_probe(&found.features);
	found.ring_error = cv_ring_probe(&found.ring);
	*ret_found = found;
}

static void add_found(struct json_object *object, const struct cv_kernel_found *found)
{
	const struct cv_kernel_features *features = &found->features;

	if (found->features_error == 0) {
		cv_json_text(object, "release", features->release);
		add_verdict(object, "sk_lookup", features->sk_lookup);
		add_verdict(object, "sockmap_verdict", features->sk_skb_verdict);
		add_verdict(object, "socket_filter", features->socket_filter);
		add_verdict(object, "tls", features->tls_ulp);
	}
	add_verdict(object, "io_uring", found->ring_error);
	cv_json_bool(object, "io_uring_single_issuer", found->ring.single_issuer);
	cv_json_bool(object, "io_uring_defer_taskrun", found->ring.defer_taskrun);
	cv_json_bool(object, "io_uring_buffer_ring", found->ring.buffer_ring);
	cv_json_bool(object, "io_uring_multishot_accept", found->ring.multishot_accept);
}

void cv_show_kernel(const struct cv_control_view *view, const char *argument,
		    struct json_object *answer)
{
	struct json_object *object = json_object_new_object();

	(void)argument;
	if (view->found)
		add_found(object, view->found);
	add_ktls(object, view->workers[0].ktls);
	add_bpf(object, view->kernel);
	if (view->sandbox)
		cv_json_text(object, "sandbox", view->sandbox);
	cv_json_add(answer, "kernel", object);
}
