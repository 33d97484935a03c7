// SPDX-License-Identifier: MIT
/*
 * culvert_topics.c - see culvert_topics.h. The keys are explained in culvert-show(8).
 */
#include "culvert_topics.h"

#include "base/reason.h"
#include "culvert_format.h"
#include "culvert_rates.h"

#include <string.h>

/* ---- cells of users ----------------------------------------------------------------------- */

static void sessions_cell(struct json_object *record, const char *key, char text[CV_CELL_MAX])
{
	uint64_t most = cv_member_u64(cv_member(record, "limits"), "max_sessions");
	uintmax_t count = cv_member_u64(record, key);

	if (most) /* which is about the person, who may have other entries */
		count = cv_member_u64(cv_member(record, "limits"), key);
	if (most)
		snprintf(text, CV_CELL_MAX, "%ju of %ju", count, (uintmax_t)most);
	else
		snprintf(text, CV_CELL_MAX, "%ju", count);
}

static void left_cell(struct json_object *record, const char *key, char text[CV_CELL_MAX])
{
	struct json_object *limits = cv_member(record, key);
	char left[CV_NUMBER_TEXT], quota[CV_NUMBER_TEXT];

	snprintf(text, CV_CELL_MAX, "-");
	if (!cv_member(limits, "quota_bytes"))
		return;
	cv_format_bytes(cv_member_u64(limits, "left_bytes"), left);
	cv_format_bytes(cv_member_u64(limits, "quota_bytes"), quota);
	snprintf(text, CV_CELL_MAX, "%s of %s", left, quota);
}

/* To the minute: "2026-12-31 18:00". */
static void expires_cell(struct json_object *record, const char *key, char text[CV_CELL_MAX])
{
	cv_text_cell(cv_member(record, key), "expires", text);
	if (strlen(text) > 16 && text[10] == 'T') {
		text[10] = ' ';
		text[16] = '\0';
	}
}

static void most_rate_cell(struct json_object *record, const char *key, char text[CV_CELL_MAX])
{
	struct json_object *limits = cv_member(record, key);
	char up[CV_CELL_MAX], down[CV_CELL_MAX];

	cv_rate_cell(limits, "uplink_bytes_per_s", up);
	cv_rate_cell(limits, "downlink_bytes_per_s", down);
	if (strcmp(up, down) == 0)
		snprintf(text, CV_CELL_MAX, "%s", up);
	else
		snprintf(text, CV_CELL_MAX, "%.40s / %.40s", up, down);
}

/* ---- topics ------------------------------------------------------------------------------- */

static const struct cv_column session_columns[] = {
	{"ID", cv_text_cell, "id"},
	{"STATE", cv_text_cell, "state"},
	{"INBOUND", cv_text_cell, "inbound"},
	{"USER", cv_text_cell, "user"},
	{"CLIENT", cv_text_cell, "client"},
	{"DESTINATION", cv_text_cell, "destination"},
	{"CLASS", cv_text_cell, "sni_class"},
	{"VIA", cv_text_cell, "outbound"},
	{"UPLINK", cv_direction_cell, "uplink"},
	{"RATE", cv_rate_cell, "uplink_bytes_per_s"},
	{"DOWNLINK", cv_direction_cell, "downlink"},
	{"RATE", cv_rate_cell, "downlink_bytes_per_s"},
	{"AGE", cv_age_cell, "age_ms"},
	{"IDLE", cv_age_cell, "idle_ms"},
};

static const struct cv_column user_columns[] = {
	{"INBOUND", cv_text_cell, "inbound"},
	{"NAME", cv_text_cell, "name"},
	{"EMAIL", cv_text_cell, "email"},
	{"STATE", cv_text_cell, "state"},
	{"SESSIONS", sessions_cell, "sessions"},
	{"UPLINK", cv_bytes_cell, "uplink_bytes"},
	{"RATE", cv_rate_cell, "uplink_bytes_per_s"},
	{"DOWNLINK", cv_bytes_cell, "downlink_bytes"},
	{"RATE", cv_rate_cell, "downlink_bytes_per_s"},
	{"QUOTA LEFT", left_cell, "limits"},
	{"RATE LIMIT", most_rate_cell, "limits"},
	{"EXPIRES (UTC)", expires_cell, "limits"},
};

static const struct cv_column engine_columns[] = {
	{"ENGINE", cv_text_cell, "engine"},
	{"UPLINK NOW", cv_text_cell, "uplink_flows"},
	{"EVER", cv_text_cell, "uplink_flows_total"},
	{"BYTES", cv_bytes_cell, "uplink_bytes"},
	{"DOWNLINK NOW", cv_text_cell, "downlink_flows"},
	{"EVER", cv_text_cell, "downlink_flows_total"},
	{"BYTES", cv_bytes_cell, "downlink_bytes"},
	{"REFUSED", cv_text_cell, "refused_total"},
	{"STATE", cv_text_cell, "state"},
};

static const struct cv_column sni_columns[] = {
	{"NUMBER", cv_text_cell, "number"},
	{"CLASS", cv_text_cell, "class"},
	{"ACTION", cv_text_cell, "action"},
	{"NAMES", cv_text_cell, "names"},
	{"LEADS TO", cv_text_cell, "leads_to"},
	{"SESSIONS NOW", cv_text_cell, "sessions"},
	{"EVER", cv_text_cell, "sessions_total"},
	{"UPLINK", cv_bytes_cell, "uplink_bytes"},
	{"DOWNLINK", cv_bytes_cell, "downlink_bytes"},
	{"KERNEL CONNECTIONS", cv_text_cell, "kernel_connections"},
	{"DROPPED SEGMENTS", cv_text_cell, "kernel_dropped_segments"},
};

static const struct cv_column backend_columns[] = {
	{"BACKEND", cv_text_cell, "backend"},
	{"ADDRESS", cv_text_cell, "address"},
	{"STATE", cv_text_cell, "state"},
	{"WHEN DOWN", cv_text_cell, "when_down"},
	{"SESSIONS NOW", cv_text_cell, "sessions"},
	{"EVER", cv_text_cell, "sessions_total"},
	{"FAILED DIALS", cv_text_cell, "failed_dials"},
	{"CHECKS", cv_text_cell, "checks"},
	{"FAILED", cv_text_cell, "failed_checks"},
};

static void delay_cell(struct json_object *record, const char *key, char text[CV_CELL_MAX])
{
	const uint64_t delay_us = cv_member_u64(record, key);

	if (delay_us)
		snprintf(text, CV_CELL_MAX, "%ju.%ju ms", (uintmax_t)(delay_us / 1000),
			 (uintmax_t)(delay_us % 1000 / 100));
	else
		snprintf(text, CV_CELL_MAX, "-");
}

static const struct cv_column outbound_columns[] = {
	{"OUTBOUND", cv_text_cell, "outbound"},
	{"PROTOCOL", cv_text_cell, "protocol"},
	{"STATE", cv_text_cell, "state"},
	{"DELAY", delay_cell, "delay_us"},
	{"SESSIONS", cv_text_cell, "sessions_total"},
	{"UPLINK", cv_bytes_cell, "uplink_bytes"},
	{"DOWNLINK", cv_bytes_cell, "downlink_bytes"},
	{"FAILURES", cv_text_cell, "failures_total"},
	{"PROBES", cv_text_cell, "probes_total"},
	{"FAILED", cv_text_cell, "failed_probes_total"},
};

static const struct cv_column proxy_columns[] = {
	{"OUTBOUND", cv_text_cell, "outbound"},
	{"SERVER", cv_text_cell, "server"},
	{"PROTOCOL", cv_text_cell, "protocol"},
	{"STATE", cv_text_cell, "state"},
	{"FALLBACK", cv_text_cell, "fallback"},
	{"SESSIONS", cv_text_cell, "sessions_total"},
	{"FAILURES", cv_text_cell, "failures_total"},
	{"DIRECT", cv_text_cell, "gone_around_total"},
	{"REFUSED", cv_text_cell, "refused_total"},
};

static const struct cv_column carrier_columns[] = {
	{"ID", cv_text_cell, "id"},
	{"ROLE", cv_text_cell, "role"},
	{"INBOUND", cv_text_cell, "inbound"},
	{"USER", cv_text_cell, "user"},
	{"VIA", cv_text_cell, "outbound"},
	{"STREAMS", cv_text_cell, "streams"},
	{"EVER", cv_text_cell, "streams_total"},
	{"RECEIVED", cv_bytes_cell, "received_bytes"},
	{"SENT", cv_bytes_cell, "sent_bytes"},
	{"WAITING IN", cv_bytes_cell, "input_bytes"},
	{"OUT", cv_bytes_cell, "output_bytes"},
	{"MEMORY", cv_bytes_cell, "memory_bytes"},
	{"BLOCKED", cv_age_cell, "blocked_ms"},
	{"STALLED", cv_text_cell, "stalled_total"},
	{"AGE", cv_age_cell, "age_ms"},
};

static const struct cv_column worker_columns[] = {
	{"WORKER", cv_text_cell, "worker"},
	{"ACCEPTED", cv_text_cell, "accepted"},
	{"SESSIONS", cv_text_cell, "sessions"},
	{"UPLINK", cv_bytes_cell, "uplink_bytes"},
	{"HANDOVERS", cv_text_cell, "uplink_handovers"},
	{"DOWNLINK", cv_bytes_cell, "downlink_bytes"},
	{"HANDOVERS", cv_text_cell, "downlink_handovers"},
	{"REALITY", cv_text_cell, "reality_accepted"},
	{"HYBRID", cv_text_cell, "reality_hybrid"},
	{"CLASSIC", cv_text_cell, "reality_classic"},
};

static const struct cv_column reason_columns[] = {
	{"COUNT", cv_text_cell, "uplink_bytes"},
	{"REASON", cv_text_cell, "reason"},
	{"MEANING", cv_text_cell, "text"},
};

#define TABLE(columns) columns, sizeof(columns) / sizeof(columns[0])

static const struct cv_topic topics[] = {
	{"sessions", "sessions", TABLE(session_columns), true},
	{"session", "sessions", NULL, 0, true},
	{"carriers", "carriers", TABLE(carrier_columns), false},
	{"users", "users", TABLE(user_columns), true},
	{"engines", "engines", TABLE(engine_columns), false},
	{"sni", "classes", TABLE(sni_columns), false},
	{"backends", "backends", TABLE(backend_columns), false},
	{"proxies", "proxies", TABLE(proxy_columns), false},
	{"outbounds", "outbounds", TABLE(outbound_columns), false},
	{"kernel", "kernel", NULL, 0, false},
	{"workers", "workers", TABLE(worker_columns), false},
	{"reasons", "reasons", TABLE(reason_columns), false},
};

const struct cv_topic *cv_topic_find(const char *name)
{
	for (size_t i = 0; i < sizeof(topics) / sizeof(topics[0]); i++)
		if (strcmp(topics[i].name, name) == 0)
			return &topics[i];
	return NULL;
}

struct json_object *cv_topic_records(const struct cv_topic *topic, struct json_object *answer)
{
	struct json_object *records = cv_member(answer, topic->member);

	return json_object_is_type(records, json_type_array) ? records : NULL;
}

/* ---- as text ------------------------------------------------------------------------------ */

static const char *meaning_of(const char *label)
{
	for (size_t i = 0; i < cv_reason_count(); i++)
		if (strcmp(cv_reason_label(cv_reason_at(i)), label) == 0)
			return cv_reason_text(cv_reason_at(i));
	return "";
}

/* {"label": count} as a list, most frequent first. */
static struct json_object *reason_records(struct json_object *reasons)
{
	struct json_object *records = json_object_new_array(), *sorted;

	json_object_object_foreach(reasons, label, count)
	{
		struct json_object *record = json_object_new_object();

		json_object_object_add(record, "uplink_bytes", json_object_get(count));
		json_object_object_add(record, "reason", json_object_new_string(label));
		json_object_object_add(record, "text", json_object_new_string(meaning_of(label)));
		json_object_array_add(records, record);
	}
	sorted = cv_records_sort(records, CV_ORDER_BYTES);
	json_object_put(records);
	return sorted;
}

static void print_records(FILE *out, struct json_object *records)
{
	for (size_t i = 0; i < json_object_array_length(records); i++) {
		if (i)
			fputc('\n', out);
		cv_print_record(out, json_object_array_get_idx(records, i), 0);
	}
}

void cv_topic_print(FILE *out, const struct cv_topic *topic, struct json_object *answer,
		    size_t limit)
{
	struct json_object *member = cv_member(answer, topic->member);
	bool is_list = json_object_is_type(member, json_type_array);
	struct json_object *records =
		is_list || !topic->columns ? json_object_get(member) : reason_records(member);

	if (records && topic->columns)
		cv_print_columns(out, records, topic->columns, topic->column_count, limit);
	else if (records && is_list)
		print_records(out, records);
	else if (records)
		cv_print_record(out, records, 0);
	json_object_put(records);
}
