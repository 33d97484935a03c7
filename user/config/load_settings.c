// SPDX-License-Identifier: MIT
/*
 * load_settings.c - log, policy, and our own object "culvert".
 */
#include "config/load.h"
#include "engine/ktls.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define DAY_S 86400u
#define BAN_SOURCES 16384 /* 640 KiB */
#define STATE_DIRECTORY "/var/lib/culvert"
#define CONTROL_PATH "/run/culvert/control.sock"
#define PIN_DIRECTORY "/sys/fs/bpf/culvert"

/* ---- log ---------------------------------------------------------------------------------- */

struct raw_log {
	const char *access, *error;
	int level;
};

static const struct cv_word log_levels[] = {
	{"debug", CV_LOG_DEBUG}, {"info", CV_LOG_INFO}, {"warning", CV_LOG_WARNING},
	{"error", CV_LOG_ERROR}, {"none", CV_LOG_NONE}, {NULL, 0},
};

static const struct cv_field log_fields[] = {
	{"access", .type = CV_FIELD_TEXT, CV_FIELD(struct raw_log, access)},
	{"error", .type = CV_FIELD_TEXT, CV_FIELD(struct raw_log, error)},
	{"loglevel", .type = CV_FIELD_WORD, .words = log_levels, .text = "warning",
	 CV_FIELD(struct raw_log, level)},
	{"dnsLog", .type = CV_FIELD_WARNED},
	{"maskAddress", .type = CV_FIELD_REFUSED, .why = "addresses would be logged in full"},
	{.type = CV_FIELD_END},
};

void cv_load_log(const struct cv_node *node)
{
	struct cv_load *load = cv_node_load(node);
	struct raw_log raw;

	cv_schema_read(log_fields, node, &raw);
	load->config->log_level = (enum cv_log_level)raw.level;
	load->config->log_error_path = cv_load_strdup(load, raw.error);
	load->config->log_access_path = cv_load_strdup(load, node->json ? raw.access : "none");
}

/* ---- policy ------------------------------------------------------------------------------- */

struct raw_policy {
	struct cv_node levels;
};

static const struct cv_field policy_fields[] = {
	{"levels", .type = CV_FIELD_OBJECT, CV_FIELD(struct raw_policy, levels)},
	{"system", .type = CV_FIELD_IGNORED}, /* our counters are always on */
	{.type = CV_FIELD_END},
};

struct raw_level {
	uint32_t handshake_s, idle_s, uplink_only_s, downlink_only_s;
};

static const struct cv_field level_fields[] = {
	{"handshake", .type = CV_FIELD_U32, .min = 1, .max = DAY_S, .number = 60, .unit = "seconds",
	 CV_FIELD(struct raw_level, handshake_s)},
	{"connIdle", .type = CV_FIELD_U32, .min = 1, .max = 7 * DAY_S, .number = 300,
	 .unit = "seconds", CV_FIELD(struct raw_level, idle_s)},
	{"uplinkOnly", .type = CV_FIELD_U32, .max = 7 * DAY_S, .unit = "seconds",
	 CV_FIELD(struct raw_level, uplink_only_s)},
	{"downlinkOnly", .type = CV_FIELD_U32, .max = 7 * DAY_S, .unit = "seconds",
	 CV_FIELD(struct raw_level, downlink_only_s)},
	{"statsUserUplink", .type = CV_FIELD_IGNORED},
	{"statsUserDownlink", .type = CV_FIELD_IGNORED},
	{"statsUserOnline", .type = CV_FIELD_IGNORED},
	{"bufferSize", .type = CV_FIELD_IGNORED}, /* the kernel's pipes have their own size */
	{.type = CV_FIELD_END},
};

static void set_level(struct cv_level *level, const struct cv_node *node)
{
	struct raw_level raw;

	cv_schema_read(level_fields, node, &raw);
	*level = (struct cv_level){
		.handshake_ms = raw.handshake_s * 1000,
		.idle_ms = raw.idle_s * 1000,
		.uplink_only_ms = raw.uplink_only_s * 1000,
		.downlink_only_ms = raw.downlink_only_s * 1000,
	};
}

static void load_level(const struct cv_node *levels, const char *key)
{
	const struct cv_node node = cv_node_member(levels, key);
	char *end;
	const unsigned long number = strtoul(key, &end, 10);

	if (!*key || *end || number >= CV_LEVELS)
		cv_node_error(&node, "expected a level from \"0\" to \"%d\"", CV_LEVELS - 1);
	else
		set_level(&cv_node_load(levels)->config->levels[number], &node);
}

void cv_load_policy(const struct cv_node *node)
{
	const struct cv_node defaults = {.document = node->document, .parent = node, .key = ""};
	struct raw_policy raw;

	for (size_t i = 0; i < CV_LEVELS; i++)
		set_level(&cv_node_load(node)->config->levels[i], &defaults);
	cv_schema_read(policy_fields, node, &raw);
	if (!raw.levels.json)
		return;
	json_object_object_foreach(raw.levels.json, key, value)
	{
		(void)value;
		load_level(&raw.levels, key);
	}
}

/* ---- culvert ------------------------------------------------------------------------------ */

struct raw_culvert {
	struct cv_daemon_settings settings;
	int engine, bpf, ktls, sandbox;
	uint32_t ktls_after_kb;
	const char *control, *pins, *state, *external, *user;
	struct cv_node status;
};

static const struct cv_word engines[] = {
	{"auto", 0}, {"copy", 1}, {"splice", 2}, {"sockmap", 3}, {NULL, 0},
};

static const struct cv_word bpf_words[] = {
	{"auto", CV_BPF_AUTO}, {"off", CV_BPF_OFF}, {"require", CV_BPF_REQUIRE}, {NULL, 0},
};
static const struct cv_word sandbox_words[] = {
	{"auto", CV_SANDBOX_AUTO},
	{"off", CV_SANDBOX_OFF},
	{"require", CV_SANDBOX_REQUIRE},
	{NULL, 0},
};
static const struct cv_word ktls_policies[] = {
	{"auto", CV_KTLS_AUTO}, {"off", CV_KTLS_OFF}, {"force", CV_KTLS_FORCE}, {NULL, 0}};

static const struct cv_field culvert_fields[] = {
	{"workers", .type = CV_FIELD_U32, .max = 256,
	 CV_FIELD(struct raw_culvert, settings.worker_count)},
	{"engine", .type = CV_FIELD_WORD, .words = engines, .text = "auto",
	 CV_FIELD(struct raw_culvert, engine)},
	{"controlSocket", .type = CV_FIELD_TEXT, .text = CONTROL_PATH,
	 CV_FIELD(struct raw_culvert, control)},
	{"stateDirectory", .type = CV_FIELD_TEXT, .text = STATE_DIRECTORY,
	 CV_FIELD(struct raw_culvert, state)},
	{"externalProxyFile", .type = CV_FIELD_TEXT, CV_FIELD(struct raw_culvert, external)},
	{"maxSessions", .type = CV_FIELD_U32, .min = 1, .max = 1u << 24, .number = 65536,
	 CV_FIELD(struct raw_culvert, settings.max_sessions)},
	{"maxAssociations", .type = CV_FIELD_U32, .max = 1u << 20, .number = 4096,
	 CV_FIELD(struct raw_culvert, settings.max_associations)},
	{"maxStreams", .type = CV_FIELD_U32, .min = 1, .max = 65535, .number = 1024,
	 CV_FIELD(struct raw_culvert, settings.max_streams)},
	{"maxUserAssociations", .type = CV_FIELD_U32, .min = 1, .max = 1u << 20, .number = 256,
	 CV_FIELD(struct raw_culvert, settings.max_user_associations)},
	{"drainSeconds", .type = CV_FIELD_U32, .max = DAY_S, .number = 30, .unit = "seconds",
	 CV_FIELD(struct raw_culvert, settings.drain_s)},
	{"maxPipes", .type = CV_FIELD_U32, .min = 1, .max = 1u << 20, .number = 4096,
	 CV_FIELD(struct raw_culvert, settings.max_pipes)},
	{"loginFailures", .type = CV_FIELD_U32, .max = 1000000, .number = 5,
	 CV_FIELD(struct raw_culvert, settings.ban.failures)},
	{"loginFailureSeconds", .type = CV_FIELD_U32, .min = 1, .max = DAY_S, .number = 600,
	 .unit = "seconds", CV_FIELD(struct raw_culvert, settings.ban.window_s)},
	{"loginBanSeconds", .type = CV_FIELD_U32, .min = 1, .max = 30 * DAY_S, .number = 3600,
	 .unit = "seconds", CV_FIELD(struct raw_culvert, settings.ban.ban_s)},
	{"bpf", .type = CV_FIELD_WORD, .words = bpf_words, .text = "auto",
	 CV_FIELD(struct raw_culvert, bpf)},
	{"pinDirectory", .type = CV_FIELD_TEXT, .text = PIN_DIRECTORY,
	 CV_FIELD(struct raw_culvert, pins)},
	{"steer", .type = CV_FIELD_BOOL, .number = true,
	 CV_FIELD(struct raw_culvert, settings.steer)},
	{"ktls", .type = CV_FIELD_WORD, .words = ktls_policies, .text = "auto",
	 CV_FIELD(struct raw_culvert, ktls)},
	{"ktlsAfterKB", .type = CV_FIELD_U32, .max = 1u << 30, .number = 64,
	 CV_FIELD(struct raw_culvert, ktls_after_kb)},
	{"sandbox", .type = CV_FIELD_WORD, .words = sandbox_words, .text = "auto",
	 CV_FIELD(struct raw_culvert, sandbox)},
	{"user", .type = CV_FIELD_TEXT, CV_FIELD(struct raw_culvert, user)},
	{"status", .type = CV_FIELD_OBJECT, CV_FIELD(struct raw_culvert, status)},
	{.type = CV_FIELD_END},
};

void cv_load_culvert(const struct cv_node *node)
{
	struct cv_load *load = cv_node_load(node);
	struct raw_culvert raw;

	cv_schema_read(culvert_fields, node, &raw);
	if (*raw.control && raw.control[0] != '/')
		cv_node_error(node, "controlSocket: expected an absolute path or \"\"");
	if (raw.pins[0] != '/')
		cv_node_error(node, "pinDirectory: expected an absolute path");
	if (*raw.state && raw.state[0] != '/')
		cv_node_error(node, "stateDirectory: expected an absolute path or \"\"");
	load->config->daemon = raw.settings;
	load->config->daemon.external_path = cv_load_strdup(load, raw.external);
	load->config->daemon.ban.max_sources = BAN_SOURCES;
	load->config->daemon.bpf = (enum cv_bpf)raw.bpf;
	load->config->daemon.sandbox = (enum cv_sandbox_mode)raw.sandbox;
	load->config->daemon.user = cv_load_strdup(load, raw.user);
	load->config->daemon.pin_directory = cv_load_strdup(load, raw.pins);
	load->config->daemon.engine = cv_load_strdup(load, engines[raw.engine].text);
	load->config->daemon.state_directory = cv_load_strdup(load, raw.state);
	load->config->daemon.ktls = raw.ktls;
	load->config->daemon.ktls_after_bytes = (uint64_t)raw.ktls_after_kb << 10;
	load->config->daemon.control_path = cv_load_strdup(load, raw.control);
	cv_load_status(&raw.status, &load->config->daemon.status);
}
