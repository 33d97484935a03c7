// SPDX-License-Identifier: MIT
/*
 * show_engines.c - which engine carries how many directions at this moment, what each has moved
 * since the start, and what the kernel lets culvert use.
 *
 * A direction that no engine carries counts as "layers": user space moves it.
 */
#include "control/command.h"
#include "engine/kernel_probe.h"
#include "session/session.h"

#include <string.h>

struct tally {
	uint64_t flows[CV_ENGINES][2]; /* by cv_engine_index() */
};

static void count_session(struct cv_worker_visit *visit, struct cv_session *session)
{
	struct tally *tally = visit->context;

	cv_session_account(session);
	for (int d = CV_UPLINK; d <= CV_DOWNLINK; d++) {
		const struct cv_engine *engine =
			session->flow_active[d] ? session->flow[d].engine : NULL;

		tally->flows[cv_engine_index(engine)][d]++;
	}
}

static uint64_t bytes_of(const struct cv_control_view *view, size_t index,
			 enum cv_direction direction)
{
	uint64_t total = 0;

	for (unsigned i = 0; i < view->worker_count; i++)
		total += cv_counter(&view->workers[i].counters.engine_bytes[index][direction]);
	return total;
}

void cv_show_engines(const struct cv_control_view *view, const char *argument,
		     struct json_object *answer)
{
	struct json_object *array = json_object_new_array();
	struct tally tally = {0};

	(void)argument;
	cv_show_visit(view, count_session, &tally);
	for (size_t i = 0; i < CV_ENGINES; i++) {
		struct json_object *object;

		if (!cv_engine_name(i))
			continue;
		object = json_object_new_object();
		cv_json_text(object, "engine", cv_engine_name(i));
		cv_json_u64(object, "uplink_flows", tally.flows[i][CV_UPLINK]);
		cv_json_u64(object, "downlink_flows", tally.flows[i][CV_DOWNLINK]);
		cv_json_u64(object, "uplink_bytes", bytes_of(view, i, CV_UPLINK));
		cv_json_u64(object, "downlink_bytes", bytes_of(view, i, CV_DOWNLINK));
		json_object_array_add(array, object);
	}
	json_object_object_add(answer, "engines", array);
	cv_json_text(answer, "configured", view->config->daemon.engine);
}

/* ---- kernel ------------------------------------------------------------------------------- */

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
	json_object_object_add(object, "bpf", member);
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
	add_bpf(object, view->kernel);
	json_object_object_add(answer, "kernel", object);
}
