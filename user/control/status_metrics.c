// SPDX-License-Identifier: MIT
/*
 * status_metrics.c - counters for Prometheus: a table says which member of which topic becomes
 * which family.
 *
 *   {"users": [{"identity": "alice", "uplink_bytes": 7, ...}]}
 *	-> culvert_user_bytes_total{user="alice",direction="uplink"} 7
 *
 * Samples of a family with equal labels are added up, so no name, however chosen, makes two lines
 * of one time series. Labels come from the configuration or from constants, and never from peers:
 * their number is bounded by the configuration, that of users by maxUsers besides.
 */
#include "control/status_report.h"
#include "base/utf8.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VALUE_MAX 255
#define LABELS_TEXT (VALUE_MAX * 2 + 128)
#define OTHER "other"

struct family {
	const char *name, *type, *help;
	const char *list;	/* member of what was gathered */
	const char *label, *key; /* the label, and the member that is its value */
	const char *value; /* a member; with directions: "uplink_" or "downlink_" ahead of it */
	const char *is; /* not NULL: 1 where the member is this text, 0 where it is another */
	bool has_directions;
};

/* NAME, list, label, key, value, help */
#define FAMILY(name_, type_, list_, label_, key_, value_, help_) \
	.name = "culvert_" name_, .type = (type_), .list = (list_), .label = (label_), \
	.key = (key_), .value = (value_), .help = (help_)
#define COUNT(name_, ...) {FAMILY(name_, "counter", __VA_ARGS__)}
#define COUNT_BOTH(name_, ...) {FAMILY(name_, "counter", __VA_ARGS__), .has_directions = true}
#define NOW(name_, ...) {FAMILY(name_, "gauge", __VA_ARGS__)}
#define NOW_BOTH(name_, ...) {FAMILY(name_, "gauge", __VA_ARGS__), .has_directions = true}
/* ... state instead of value: 1 where it is that */
#define STATE(name_, list_, label_, key_, state_, help_) \
	{FAMILY(name_, "gauge", list_, label_, key_, "state", help_), .is = (state_)}

static const struct family families[] = {
	COUNT_BOTH("user_bytes_total", "users", "user", "identity", "bytes",
	           "Bytes moved for a user, of all inbounds together"),
	NOW("user_sessions", "users", "user", "identity", "sessions",
	    "Sessions of a user at this moment"),
	COUNT_BOTH("sni_class_bytes_total", "classes", "class", "class", "bytes",
	           "Bytes of sessions by class of server name"),
	COUNT("sni_class_sessions_total", "classes", "class", "class", "sessions_total",
	      "Sessions by class of server name"),
	NOW("sni_class_sessions", "classes", "class", "class", "sessions",
	    "Sessions by class of server name at this moment"),
	COUNT("sni_class_kernel_connections_total", "classes", "class", "class",
	      "kernel_connections",
	      "Connections whose name the kernel looked up"),
	COUNT("sni_class_dropped_segments_total", "classes", "class", "class",
	      "kernel_dropped_segments",
	      "Segments that the kernel dropped for their name"),
	COUNT_BOTH("outbound_bytes_total", "outbounds", "outbound", "outbound", "bytes",
	           "Bytes by outbound; (aside): strangers to targets, backends; (datagrams): UDP"),
	COUNT("outbound_sessions_total", "outbounds", "outbound", "outbound", "sessions_total",
	      "Sessions routed to an outbound"),
	COUNT_BOTH("engine_bytes_total", "engines", "engine", "engine", "bytes",
	           "Bytes by what moved them; layers: user space"),
	NOW_BOTH("engine_flows", "engines", "engine", "engine", "flows",
	         "Directions that an engine carries at this moment"),
	COUNT_BOTH("engine_given_total", "engines", "engine", "engine", "flows_total",
	           "Directions given to an engine"),
	COUNT("engine_refused_total", "engines", "engine", "engine", "refused_total",
	      "Directions that an engine did not take"),
	STATE("engine_usable", "engines", "engine", "engine", "usable",
	      "May an engine be used here"),
	COUNT("reasons_total", "reasons", "reason", "reason", "count",
	      "Why sessions ended, or went to the target"),
	COUNT("proxy_sessions_total", "proxies", "outbound", "outbound", "sessions_total",
	      "Sessions for an upstream proxy"),
	COUNT("proxy_failures_total", "proxies", "outbound", "outbound", "failures_total",
	      "Failed attempts to reach an upstream proxy"),
	COUNT("proxy_gone_around_total", "proxies", "outbound", "outbound", "gone_around_total",
	      "Sessions that went out directly instead"),
	COUNT("proxy_refused_total", "proxies", "outbound", "outbound", "refused_total",
	      "Sessions refused since an upstream proxy failed"),
	STATE("proxy_in_use", "proxies", "outbound", "outbound", "in use",
	      "Is an upstream proxy believed to work"),
	COUNT("backend_sessions_total", "backends", "backend", "backend", "sessions_total",
	      "Sessions led to a backend"),
	COUNT("backend_failed_dials_total", "backends", "backend", "backend", "failed_dials",
	      "Backends that could not be dialled"),
	COUNT("backend_failed_checks_total", "backends", "backend", "backend", "failed_checks",
	      "Failed checks of a backend"),
	STATE("backend_up", "backends", "backend", "backend", "up",
	      "Does a checked backend answer"),
	COUNT("worker_accepted_total", "workers", "worker", "worker", "accepted",
	      "Connections accepted"),
	NOW("worker_sessions", "workers", "worker", "worker", "sessions",
	    "Sessions at this moment"),
	COUNT_BOTH("worker_bytes_total", "workers", "worker", "worker", "bytes",
	           "Bytes moved, whoever moved them"),
	COUNT_BOTH("worker_handovers_total", "workers", "worker", "worker", "handovers",
	           "Directions handed over to an engine"),
	COUNT("worker_reality_accepted_total", "workers", "worker", "worker", "reality_accepted",
	      "REALITY handshakes accepted"),
};

#define FAMILY_COUNT (sizeof(families) / sizeof(families[0]))

/* ---- labels ------------------------------------------------------------------------------- */

/* Backslash, quote and end of line escaped; what is no UTF-8 becomes '?', what is too long is cut.
 * @text holds VALUE_MAX * 2 + 1 bytes. */
static void escape(const char *value, char *text)
{
	const char *at = value;
	size_t left = VALUE_MAX;

	while (*at) {
		const size_t len = cv_utf8_len(at), taken = len ? len : 1;

		if (taken > left)
			break;
		left -= taken;
		if (*at == '\\' || *at == '"' || *at == '\n') {
			*text++ = '\\';
			*text++ = *at == '\n' ? 'n' : *at;
		} else if (len == 0 || (unsigned char)*at < 0x20 || *at == 0x7f) {
			*text++ = '?';
		} else {
			memcpy(text, at, len);
			text += len;
		}
		at += taken;
	}
	*text = '\0';
}

static void labels_text(const struct family *family, struct json_object *record,
			const char *direction, char text[LABELS_TEXT])
{
	char value[VALUE_MAX * 2 + 1];

	escape(json_object_get_string(json_object_object_get(record, family->key)), value);
	(void)snprintf(text, LABELS_TEXT, "{%s=\"%s\"%s%s%s}", family->label, value,
		       *direction ? ",direction=\"" : "", direction, *direction ? "\"" : "");
}

/* Whoever comes after the first @max people is "other"; by the order of the configuration, so that
 * counters of one process only grow. */
static void name_users(struct json_object *users, uint32_t max)
{
	struct json_object *named = json_object_new_object();

	for (size_t i = 0; i < json_object_array_length(users); i++) {
		struct json_object *user = json_object_array_get_idx(users, i);
		const char *identity =
			json_object_get_string(json_object_object_get(user, "identity"));

		if (!named || json_object_object_get_ex(named, identity, NULL))
			continue;
		if ((uint32_t)json_object_object_length(named) < max)
			cv_json_bool(named, identity, true);
		else
			cv_json_text(user, "identity", OTHER);
	}
	json_object_put(named);
}

/* ---- samples ------------------------------------------------------------------------------ */

static void add_sample(struct json_object *samples, const char *labels, uint64_t value)
{
	struct json_object *there = json_object_object_get(samples, labels);

	if (there)
		json_object_set_uint64(there, json_object_get_uint64(there) + value);
	else
		cv_json_u64(samples, labels, value);
}

static void add_record(const struct family *family, struct json_object *record,
		       const char *direction, struct json_object *samples)
{
	char key[64], labels[LABELS_TEXT];
	struct json_object *value;
	const char *text;

	(void)snprintf(key, sizeof(key), "%s%s%s", direction, *direction ? "_" : "", family->value);
	value = json_object_object_get(record, key);
	if (!value)
		return;
	labels_text(family, record, direction, labels);
	if (!family->is) {
		add_sample(samples, labels, json_object_get_uint64(value));
		return;
	}
	text = json_object_get_string(value);
	if (text && *text)
		add_sample(samples, labels, strcmp(text, family->is) == 0);
}

/* A stream of memory that cannot grow tells so nowhere else. */
struct output {
	FILE *file;
	bool failed;
};

static void __attribute__((format(printf, 2, 3)))
put(struct output *out, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	out->failed |= vfprintf(out->file, format, arguments) < 0;
	va_end(arguments);
}

static void put_head(struct output *out, const char *name, const char *type, const char *help)
{
	put(out, "# HELP %s %s.\n# TYPE %s %s\n", name, help, name, type);
}

static void put_family(struct output *out, const struct family *family,
		       struct json_object *gathered)
{
	struct json_object *list = json_object_object_get(gathered, family->list);
	struct json_object *samples = json_object_new_object();

	for (size_t i = 0; i < json_object_array_length(list); i++) {
		struct json_object *record = json_object_array_get_idx(list, i);

		add_record(family, record, family->has_directions ? "uplink" : "", samples);
		if (family->has_directions)
			add_record(family, record, "downlink", samples);
	}
	if (!samples)
		return; /* which its samples have counted */
	if (json_object_object_length(samples) > 0)
		put_head(out, family->name, family->type, family->help);
	json_object_object_foreach(samples, labels, value)
	{
		put(out, "%s%s %" PRIu64 "\n", family->name, labels,
			      json_object_get_uint64(value));
	}
	json_object_put(samples);
}

static void put_process(struct output *out, const struct cv_status_process *process)
{
	char version[VALUE_MAX * 2 + 1];

	escape(process->version, version);
	put_head(out, "culvert_info", "gauge", "The version that runs");
	put(out, "culvert_info{version=\"%s\"} 1\n", version);
	put_head(out, "culvert_start_time_seconds", "gauge", "When it started, in Unix time");
	put(out, "culvert_start_time_seconds %" PRIu64 ".%03u\n",
		      process->started_wall_ms / 1000,
		      (unsigned)(process->started_wall_ms % 1000));
}

char *cv_status_metrics(const struct cv_control_view *view, const struct cv_status_process *process,
			size_t *ret_len)
{
	const uint64_t lacks = cv_json_lacks();
	struct json_object *gathered = cv_status_gather(view);
	char *text = NULL;
	struct output out = {.file = gathered ? open_memstream(&text, ret_len) : NULL};

	out.failed = !out.file;
	if (out.file) {
		name_users(json_object_object_get(gathered, "users"),
			   view->config->daemon.status.max_users);
		put_process(&out, process);
		for (size_t i = 0; i < FAMILY_COUNT; i++)
			put_family(&out, &families[i], gathered);
		out.failed |= fclose(out.file) != 0;
	}
	json_object_put(gathered);
	if (!out.failed && cv_json_lacks() == lacks)
		return text;
	free(text);
	return NULL;
}
