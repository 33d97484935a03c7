// SPDX-License-Identifier: MIT
/*
 * status_json.c - the topics of `culvert show` in one object, small enough for a page that asks
 * every few seconds.
 */
#include "control/status_report.h"

#include "base/clock.h"
#include "base/reason.h"

#include <unistd.h>

#define SESSIONS_LISTED 200
#define USERS_LISTED 200
#define CLASSES_LISTED 50
#define OTHERS_LISTED 100

static struct json_object *member(struct json_object *object, const char *key)
{
	return json_object_object_get(object, key);
}

static uint64_t number(struct json_object *object, const char *key)
{
	return json_object_get_uint64(member(object, key));
}

/* ---- gathering ---------------------------------------------------------------------------- */

static void add_reasons(const struct cv_control_view *view, struct json_object *answer)
{
	struct json_object *array = json_object_new_array();

	for (size_t r = 0; r < cv_reason_count() && r < CV_WORKER_REASONS; r++) {
		struct json_object *object;
		uint64_t count = 0;

		for (unsigned i = 0; i < view->worker_count; i++)
			count += cv_counter(&view->workers[i].counters.reasons[r]);
		if (count == 0)
			continue;
		object = json_object_new_object();
		cv_json_text(object, "reason", cv_reason_label(cv_reason_at(r)));
		cv_json_text(object, "text", cv_reason_text(cv_reason_at(r)));
		cv_json_u64(object, "count", count);
		cv_json_append(array, object);
	}
	cv_json_add(answer, "reasons", array);
}

struct json_object *cv_status_gather(const struct cv_control_view *view)
{
	const uint64_t lacks = cv_json_lacks();
	struct json_object *answer = json_object_new_object();

	cv_show_users(view, "", answer); /* the worker's counters are of now after the first look */
	cv_show_engines(view, "", answer);
	cv_show_workers(view, "", answer);
	cv_show_sni(view, "", answer);
	cv_show_outbounds(view, "", answer);
	cv_show_proxies(view, "", answer);
	cv_show_backends(view, "", answer);
	add_reasons(view, answer);
	if (cv_json_lacks() == lacks)
		return answer;
	json_object_put(answer);
	return NULL;
}

/* ---- cutting ------------------------------------------------------------------------------ */

static uint64_t weight(struct json_object *record)
{
	return number(record, "uplink_bytes") + number(record, "downlink_bytes") +
	       number(record, "sessions") + number(record, "count");
}

static int heavier(const void *one, const void *other)
{
	const uint64_t a = weight(*(struct json_object *const *)one);
	const uint64_t b = weight(*(struct json_object *const *)other);

	return a > b ? -1 : a < b;
}

/* The @limit heaviest of a list, heaviest first; @count_key is how many there were. */
static void cut(struct json_object *answer, const char *key, const char *count_key, size_t limit)
{
	struct json_object *array = member(answer, key);
	const size_t count = json_object_array_length(array);

	json_object_array_sort(array, heavier);
	if (count > limit)
		json_object_array_del_idx(array, limit, count - limit);
	cv_json_u64(answer, count_key, count);
}

static uint64_t sum(struct json_object *array, const char *key)
{
	uint64_t total = 0;

	for (size_t i = 0; i < json_object_array_length(array); i++)
		total += number(json_object_array_get_idx(array, i), key);
	return total;
}

/* ---- the report --------------------------------------------------------------------------- */

struct json_object *cv_status_json(const struct cv_control_view *view,
				   const struct cv_status_process *process)
{
	const uint64_t lacks = cv_json_lacks();
	struct json_object *answer = cv_status_gather(view);
	struct json_object *workers;

	if (!answer)
		return NULL;
	workers = member(answer, "workers");
	cv_json_text(answer, "version", process->version);
	cv_json_u64(answer, "pid", (uint64_t)getpid());
	cv_json_u64(answer, "now_ms", cv_clock_wall_ms());
	cv_json_u64(answer, "uptime_ms", cv_clock_ms() - process->started_ms);
	cv_json_u64(answer, "uplink_bytes", sum(workers, "uplink_bytes"));
	cv_json_u64(answer, "downlink_bytes", sum(workers, "downlink_bytes"));
	cv_json_u64(answer, "accepted", sum(workers, "accepted"));
	cut(answer, "users", "user_count", USERS_LISTED);
	cut(answer, "classes", "class_count", CLASSES_LISTED);
	cut(answer, "outbounds", "outbound_count", OTHERS_LISTED);
	cut(answer, "backends", "backend_count", OTHERS_LISTED);
	cut(answer, "proxies", "proxy_count", OTHERS_LISTED);
	cut(answer, "reasons", "reason_count", CV_WORKER_REASONS);
	cv_show_active_sessions(view, SESSIONS_LISTED, answer);
	if (cv_json_lacks() == lacks)
		return answer;
	json_object_put(answer);
	return NULL;
}
