// SPDX-License-Identifier: MIT
/*
 * show_outbounds.c - what went out by which way.
 *
 *   "(aside)"       what strangers exchanged with REALITY's target, a fallback or a backend of the
 *                   edge
 *   "(datagrams)"   UDP, whichever outbounds it left by
 *   "(N)"           an outbound without a tag, the N-th
 */
#include "control/command.h"
#include "session/session.h"

#include <stdio.h>

static void refresh(struct cv_worker_visit *visit, struct cv_session *session)
{
	(void)visit;
	cv_session_account(session);
}

static const char *protocol_name(enum cv_outbound_protocol protocol)
{
	static const char *const names[] = {
		[CV_OUTBOUND_FREEDOM] = "freedom", [CV_OUTBOUND_BLACKHOLE] = "blackhole",
		[CV_OUTBOUND_VLESS] = "vless",	   [CV_OUTBOUND_SOCKS] = "socks",
		[CV_OUTBOUND_HTTP] = "http",
	};

	return (size_t)protocol < sizeof(names) / sizeof(names[0]) ? names[protocol] : "";
}

static struct json_object *outbound_json(const struct cv_outbound *outbound, size_t index)
{
	struct json_object *object = json_object_new_object();
	const struct cv_outbound_counters *counters = outbound->counters;
	char name[32];

	snprintf(name, sizeof(name), "(%zu)", index);
	cv_json_text(object, "outbound", outbound->tag[0] ? outbound->tag : name);
	cv_json_text(object, "protocol", protocol_name(outbound->protocol));
	cv_json_u64(object, "sessions_total", cv_counter(&counters->sessions));
	cv_json_u64(object, "uplink_bytes", cv_counter(&counters->moved_bytes[CV_UPLINK]));
	cv_json_u64(object, "downlink_bytes", cv_counter(&counters->moved_bytes[CV_DOWNLINK]));
	return object;
}

static struct json_object *sum_json(const char *name, const uint64_t bytes[2])
{
	struct json_object *object = json_object_new_object();

	cv_json_text(object, "outbound", name);
	cv_json_text(object, "protocol", "");
	cv_json_u64(object, "uplink_bytes", bytes[CV_UPLINK]);
	cv_json_u64(object, "downlink_bytes", bytes[CV_DOWNLINK]);
	return object;
}

static void add_sums(const struct cv_control_view *view, struct json_object *array)
{
	uint64_t aside[2] = {0}, datagrams[2] = {0};

	for (unsigned i = 0; i < view->worker_count; i++)
		for (int d = CV_UPLINK; d <= CV_DOWNLINK; d++) {
			const struct cv_worker_counters *c = &view->workers[i].counters;

			aside[d] += cv_counter(&c->aside_bytes[d]);
			datagrams[d] += cv_counter(&c->datagram_bytes[d]);
		}
	json_object_array_add(array, sum_json("(aside)", aside));
	json_object_array_add(array, sum_json("(datagrams)", datagrams));
}

void cv_show_outbounds(const struct cv_control_view *view, const char *argument,
		       struct json_object *answer)
{
	struct json_object *array = json_object_new_array();

	(void)argument;
	cv_show_visit(view, refresh, NULL);
	for (size_t i = 0; i < view->config->outbound_count; i++)
		if (view->config->outbounds[i].counters)
			json_object_array_add(array,
					      outbound_json(&view->config->outbounds[i], i));
	add_sums(view, array);
	json_object_object_add(answer, "outbounds", array);
}
