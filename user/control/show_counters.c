// SPDX-License-Identifier: MIT
/*
 * show_counters.c - users, workers and reasons: sums of counters that workers keep.
 */
#include "base/reason.h"
#include "control/command.h"
#include "policy/usage.h"
#include "session/session.h"

#include <time.h>

static void refresh(struct cv_worker_visit *visit, struct cv_session *session)
{
	(void)visit;
	cv_session_account(session);
}

static void add_time(struct json_object *object, const char *key, uint64_t unix_ms)
{
	time_t at = (time_t)(unix_ms / 1000);
	char text[32] = "";
	struct tm parts;

	if (gmtime_r(&at, &parts))
		(void)strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts);
	cv_json_text(object, key, text);
}

/* What the person may still use; a person with several entries has one of these. */
static void add_limits(struct json_object *object, const struct cv_usage *usage)
{
	const struct cv_limits *limits = &usage->limits;
	uint64_t used = cv_usage_used(usage, CV_UPLINK) + cv_usage_used(usage, CV_DOWNLINK);
	struct json_object *member = json_object_new_object();

	cv_json_u64(member, "used_bytes", used);
	if (limits->quota_bytes) {
		cv_json_u64(member, "quota_bytes", limits->quota_bytes);
		cv_json_u64(member, "left_bytes",
			    used < limits->quota_bytes ? limits->quota_bytes - used : 0);
	}
	if (limits->expires_ms)
		add_time(member, "expires", limits->expires_ms);
	if (limits->bytes_per_s[CV_UPLINK])
		cv_json_u64(member, "uplink_bytes_per_s", limits->bytes_per_s[CV_UPLINK]);
	if (limits->bytes_per_s[CV_DOWNLINK])
		cv_json_u64(member, "downlink_bytes_per_s", limits->bytes_per_s[CV_DOWNLINK]);
	if (limits->max_sessions)
		cv_json_u64(member, "max_sessions", limits->max_sessions);
	if (limits->max_source_addresses)
		cv_json_u64(member, "max_source_addresses", limits->max_source_addresses);
	json_object_object_add(object, "limits", member);
}

static struct json_object *user_json(const struct cv_inbound *inbound, struct cv_user *user)
{
	struct json_object *object = json_object_new_object();

	cv_json_text(object, "inbound", inbound->tag);
	cv_json_text(object, "name", user->name);
	cv_json_text(object, "email", user->email);
	cv_json_u64(object, "uplink_bytes", cv_counter(&user->uplink_bytes));
	cv_json_u64(object, "downlink_bytes", cv_counter(&user->downlink_bytes));
	cv_json_u64(object, "sessions",
		    atomic_load_explicit(&user->session_count, memory_order_relaxed));
	if (user->usage)
		add_limits(object, user->usage);
	return object;
}

void cv_show_users(const struct cv_control_view *view, const char *argument,
		   struct json_object *answer)
{
	struct json_object *array = json_object_new_array();

	(void)argument;
	cv_show_visit(view, refresh, NULL);
	for (size_t i = 0; i < view->config->inbound_count; i++) {
		const struct cv_inbound *inbound = &view->config->inbounds[i];

		for (size_t u = 0; inbound->users && u < cv_user_count(inbound->users); u++)
			json_object_array_add(array,
					      user_json(inbound, cv_user_at(inbound->users, u)));
	}
	json_object_object_add(answer, "users", array);
}

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
		cv_json_u64(object, "uplink_bytes", cv_counter(&c->relayed_uplink_bytes));
		cv_json_u64(object, "downlink_bytes", cv_counter(&c->relayed_downlink_bytes));
		cv_json_u64(object, "uplink_handovers", cv_counter(&c->handed_over[CV_UPLINK]));
		cv_json_u64(object, "downlink_handovers", cv_counter(&c->handed_over[CV_DOWNLINK]));
		cv_json_u64(object, "reality_accepted", cv_counter(&c->reality_accepted));
		cv_json_u64(object, "reality_hybrid", cv_counter(&c->reality_hybrid));
		cv_json_u64(object, "reality_classic", cv_counter(&c->reality_classic));
		cv_json_u64(object, "session_slot_bytes", sizeof(struct cv_session));
		json_object_array_add(array, object);
	}
	json_object_object_add(answer, "workers", array);
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
	json_object_object_add(answer, "reasons", object);
}
