// SPDX-License-Identifier: MIT
/*
 * show_outbounds.c - what went out by which way, whether that works, and who balances.
 *
 *   "(aside)"       what strangers exchanged with REALITY's target, a fallback or a backend of the
 *                   edge
 *   "(datagrams)"   UDP, whichever outbounds it left by
 *   "(N)"           an outbound without a tag, the N-th
 */
#include "base/clock.h"
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
		[CV_OUTBOUND_HTTP] = "http",	   [CV_OUTBOUND_VMESS] = "vmess",
		[CV_OUTBOUND_PORTAL] = "portal",
	};

	return (size_t)protocol < sizeof(names) / sizeof(names[0]) ? names[protocol] : "";
}

static const char *state_of(const struct cv_outbound *outbound)
{
	const struct cv_observation *seen = outbound->observation;
	const uint64_t now_ms = cv_clock_ms();

	if (outbound->is_disabled)
		return "disabled";
	if (seen && atomic_load(&seen->is_dead))
		return "dead";
	if (outbound->health && atomic_load(&outbound->health->held_until_ms) > now_ms)
		return "held down";
	return cv_observation_is_alive(seen, now_ms) ? "in use" : "held down";
}

static void add_observation(struct json_object *object, const struct cv_outbound *outbound)
{
	struct cv_observation *seen = outbound->observation;

	cv_json_text(object, "state", state_of(outbound));
	cv_json_bool(object, "is_observed", outbound->is_observed);
	if (!seen)
		return;
	cv_json_u64(object, "delay_us", atomic_load(&seen->delay_us));
	cv_json_u64(object, "failures_total", cv_counter(&seen->failures));
	cv_json_u64(object, "probes_total", cv_counter(&seen->probes));
	cv_json_u64(object, "failed_probes_total", cv_counter(&seen->failed_probes));
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
	add_observation(object, outbound);
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
	cv_json_append(array, sum_json("(aside)", aside));
	cv_json_append(array, sum_json("(datagrams)", datagrams));
}

static const char *strategy_of(const struct cv_balancer *balancer)
{
	static const char *const names[] = {[CV_BALANCE_RANDOM] = "random",
					    [CV_BALANCE_ROUND_ROBIN] = "roundRobin",
					    [CV_BALANCE_LEAST_PING] = "leastPing"};

	return names[balancer->strategy];
}

static struct json_object *balancer_json(const struct cv_config *config,
					 struct cv_balancer *balancer)
{
	struct json_object *object = json_object_new_object(), *members = json_object_new_array();

	for (size_t i = 0; i < balancer->member_count; i++)
		cv_json_append(members, json_object_new_string(
			config->outbounds[balancer->members[i]].tag));
	cv_json_text(object, "balancer", balancer->tag);
	cv_json_text(object, "strategy", strategy_of(balancer));
	cv_json_add(object, "outbounds", members);
	cv_json_text(object, "fallback", balancer->fallback == CV_BALANCER_NOBODY
						 ? ""
						 : config->outbounds[balancer->fallback].tag);
	cv_json_u64(object, "picks_total", cv_counter(&balancer->picks));
	cv_json_u64(object, "fallbacks_total", cv_counter(&balancer->fallbacks));
	return object;
}

void cv_show_outbounds(const struct cv_control_view *view, const char *argument,
		       struct json_object *answer)
{
	struct json_object *array = json_object_new_array();
	struct json_object *balancers = json_object_new_array();

	(void)argument;
	cv_show_visit(view, refresh, NULL);
	for (size_t i = 0; i < view->config->outbound_count; i++)
		if (view->config->outbounds[i].counters)
			cv_json_append(array,
					      outbound_json(&view->config->outbounds[i], i));
	add_sums(view, array);
	cv_json_add(answer, "outbounds", array);
	for (size_t i = 0; i < view->config->balancer_count; i++)
		cv_json_append(balancers,
				      balancer_json(view->config, &view->config->balancers[i]));
	cv_json_add(answer, "balancers", balancers);
}
