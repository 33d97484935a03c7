// SPDX-License-Identifier: MIT
/*
 * show_engines.c - which engine carries how many directions at this moment, what each has moved
 * since the start, and which of them this kernel lets culvert use.
 *
 * A direction that no engine carries counts as "layers": user space moves it.
 */
#include "control/command.h"
#include "engine/ktls.h"
#include "engine/sockmap_selftest.h"
#include "session/session.h"

#define USABLE "usable"

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

struct totals {
	uint64_t bytes[2], flows[2], refused;
};

static struct totals totals_of(const struct cv_control_view *view, size_t index)
{
	struct totals totals = {0};

	for (unsigned i = 0; i < view->worker_count; i++) {
		const struct cv_worker_counters *c = &view->workers[i].counters;

		for (int d = CV_UPLINK; d <= CV_DOWNLINK; d++) {
			totals.bytes[d] += cv_counter(&c->engine_bytes[index][d]);
			totals.flows[d] += cv_counter(&c->engine_flows[index][d]);
		}
		totals.refused += cv_counter(&c->engine_refused[index]);
	}
	return totals;
}

/* ---- may it be used? ---------------------------------------------------------------------- */

static const char *sockmap_state(const struct cv_control_view *view)
{
	const struct cv_sockmap_selftest *test = view->workers[0].selftest;

	if (!test)
		return "not wanted by culvert.engine";
	switch (cv_sockmap_selftest_state(test)) {
	case CV_SOCKMAP_USABLE:
		return USABLE;
	case CV_SOCKMAP_TESTING:
		return "self-test is running";
	default:
		return cv_sockmap_selftest_why(test);
	}
}

static const char *ktls_state(const struct cv_control_view *view)
{
	const struct cv_ktls_support *support = view->workers[0].ktls;

	if (!support)
		return "not tried";
	return support->usable ? USABLE : support->why;
}

/* "usable", or why not. */
static const char *state_of(const struct cv_control_view *view, size_t index)
{
	if (index == cv_engine_index(&cv_engine_sockmap))
		return sockmap_state(view);
	return index == cv_engine_index(&cv_engine_ktls) ? ktls_state(view) : USABLE;
}

/* ---- the topic ---------------------------------------------------------------------------- */

static struct json_object *engine_json(const struct cv_control_view *view, size_t index,
				       const struct tally *tally)
{
	const struct totals totals = totals_of(view, index);
	struct json_object *object = json_object_new_object();

	cv_json_text(object, "engine", cv_engine_name(index));
	cv_json_u64(object, "uplink_flows", tally->flows[index][CV_UPLINK]);
	cv_json_u64(object, "downlink_flows", tally->flows[index][CV_DOWNLINK]);
	if (index != CV_ENGINE_LAYERS) {
		cv_json_u64(object, "uplink_flows_total", totals.flows[CV_UPLINK]);
		cv_json_u64(object, "downlink_flows_total", totals.flows[CV_DOWNLINK]);
		cv_json_u64(object, "refused_total", totals.refused);
	}
	cv_json_u64(object, "uplink_bytes", totals.bytes[CV_UPLINK]);
	cv_json_u64(object, "downlink_bytes", totals.bytes[CV_DOWNLINK]);
	cv_json_text(object, "state", state_of(view, index));
	return object;
}

void cv_show_engines(const struct cv_control_view *view, const char *argument,
		     struct json_object *answer)
{
	struct json_object *array = json_object_new_array();
	struct tally tally = {0};
	uint64_t promoted = 0;

	(void)argument;
	cv_show_visit(view, count_session, &tally);
	for (size_t i = 0; i < CV_ENGINES; i++)
		if (cv_engine_name(i))
			cv_json_append(array, engine_json(view, i, &tally));
	for (unsigned i = 0; i < view->worker_count; i++)
		promoted += cv_counter(&view->workers[i].counters.promoted);
	cv_json_add(answer, "engines", array);
	cv_json_text(answer, "configured", view->config->daemon.engine);
	cv_json_u64(answer, "promoted_sessions", promoted);
}
