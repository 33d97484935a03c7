// SPDX-License-Identifier: MIT
/*
 * show_counters.c - workers and reasons: counters that workers keep.
 */
#include "base/reason.h"
#include "control/command.h"
#include "session/session.h"

void cv_show_workers(const struct cv_control_view *view, const char *argument,
		     struct json_object *answer)
{
	struct json_object *array = json_object_new_array();

	(void)argument;
	for (unsigned i = 0; i < view->worker_count; i++) {
		const struct cv_worker_counters *c = &view->workers[i].counters;
		struct json_object *object = json_object_new_object();

		cv_json_u64(object, "worker", i);
		cv_json_u64(object, "accepted", cv_counter(&c->accepted));
		cv_json_u64(object, "sessions",
			    atomic_load_explicit(&c->sessions, memory_order_relaxed));
		cv_json_u64(object, "associations",
			    atomic_load_explicit(&c->associations, memory_order_relaxed));
		cv_json_u64(object, "uplink_bytes", cv_counter(&c->relayed_uplink_bytes));
		cv_json_u64(object, "downlink_bytes", cv_counter(&c->relayed_downlink_bytes));
		cv_json_u64(object, "uplink_handovers", cv_counter(&c->handed_over[CV_UPLINK]));
		cv_json_u64(object, "downlink_handovers", cv_counter(&c->handed_over[CV_DOWNLINK]));
		cv_json_u64(object, "reality_accepted", cv_counter(&c->reality_accepted));
		cv_json_u64(object, "reality_hybrid", cv_counter(&c->reality_hybrid));
		cv_json_u64(object, "reality_classic", cv_counter(&c->reality_classic));
		cv_json_u64(object, "session_slot_bytes", sizeof(struct cv_session));
		cv_json_u64(object, "receive_buffer_bytes", cv_counter(&c->receive_buffer_bytes));
		cv_json_append(array, object);
	}
	cv_json_add(answer, "workers", array);
}

void cv_show_reasons(const struct cv_control_view *view, const char *argument,
		     struct json_object *answer)
{
	struct json_object *object = json_object_new_object();

	(void)argument;
	for (size_t r = 0; r < cv_reason_count() && r < CV_WORKER_REASONS; r++) {
		uint64_t total = 0;

		for (unsigned i = 0; i < view->worker_count; i++)
			total += cv_counter(&view->workers[i].counters.reasons[r]);
		if (total)
			cv_json_u64(object, cv_reason_label(cv_reason_at(r)), total);
	}
	cv_json_add(answer, "reasons", object);
}
