// SPDX-License-Identifier: MIT
/*
 * culvert_probe.c - `culvert probe TARGET [--sni NAME]`: does this site make a good REALITY target?
 *
 *   resolve -> 3 length probes (no ALPN, http/1.1, h2; the last also checks the certificate)
 *              1 CCS probe
 *           -> rules, each with its numbers -> verdict, exit status
 *
 * A rule FAILs if the server would have to forward our own clients (REALITY 5, 6.3) or if browsers
 * would not trust the site; it WARNs if the target works but stands out.
 */
#include "culvert_probe.h"

#include "base/clock.h"
#include "base/reason.h"
#include "crypto/crypto.h"
#include "session/target_probe.h"

#include <getopt.h>
#include <json.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ADDRESSES_MAX 8
#define PROBES (CV_ALPN_CLASSES + 1) /* lengths per class, CCS; the checked one is the h2 class */
#define RULES_MAX 16
#define TEXT_MAX 200
#define COMBINED_ABOVE 512 /* REALITY 5: a second record longer than this holds the whole flight */
#define RECORD_LIMIT 16640 /* ours */
#define XRAY_RECORD_LIMIT 8192
#define DEFAULT_PORT 443

enum level { LEVEL_PASS, LEVEL_WARN, LEVEL_FAIL };

static const char *const level_text[] = {"ok", "warn", "FAIL"};

struct rule {
	const char *name;
	enum level level;
	char text[TEXT_MAX];
};

struct options {
	char host[256], server_name[256];
	struct cv_destination destination;
	struct cv_sockaddr unix_address;
	const char *target, *ca_file;
	uint32_t window_ms, timeout_ms;
	int xver;
	bool json;
};

struct report {
	struct rule rules[RULES_MAX];
	size_t rule_count;
	bool good, good_mldsa;
	struct cv_target_probe_result results[PROBES];
};

static const char *const class_name[CV_ALPN_CLASSES] = {"none", "http/1.1", "h2"};

__attribute__((format(printf, 4, 5)))
static void add_rule(struct report *report, const char *name, enum level level, const char *format,
		     ...)
{
	struct rule *rule;
	va_list arguments;

	if (report->rule_count == RULES_MAX)
		return;
	rule = &report->rules[report->rule_count++];
	rule->name = name;
	rule->level = level;
	va_start(arguments, format);
	vsnprintf(rule->text, sizeof(rule->text), format, arguments);
	va_end(arguments);
	if (level == LEVEL_FAIL)
		report->good = report->good_mldsa = false;
}

/* ---- rules ---- */

static const char *group_name(uint16_t group)
{
	switch (group) {
	case 0x11ec:
		return "X25519MLKEM768";
	case 0x001d:
		return "X25519";
	case 0x0017:
		return "P-256";
	case 0x0018:
		return "P-384";
	default:
		return "unknown group";
	}
}

static const char *suite_name(uint16_t suite)
{
	switch (suite) {
	case 0x1301:
		return "AES-128-GCM-SHA256";
	case 0x1302:
		return "AES-256-GCM-SHA384";
	case 0x1303:
		return "CHACHA20-POLY1305-SHA256";
	default:
		return "unknown suite";
	}
}

static void rule_version(struct report *report, const struct cv_target_probe_result *result)
{
	if (result->facts.version == 0x0304 && result->reason != CV_UPSTREAM_NOT_TLS13)
		add_rule(report, "tls13", LEVEL_PASS, "TLS 1.3, %s",
			 suite_name(result->facts.suite));
	else
		add_rule(report, "tls13", LEVEL_FAIL, "no TLS 1.3: %s", result->error_text);
}

static void rule_group(struct report *report, const struct cv_tls_client_facts *facts)
{
	if (facts->hello_retry)
		add_rule(report, "group", LEVEL_FAIL,
			 "HelloRetryRequest for %s: cannot be imitated", group_name(facts->group));
	else if (facts->group == 0x11ec)
		add_rule(report, "group", LEVEL_PASS, "%s", group_name(facts->group));
	else if (facts->group == 0x001d)
		add_rule(report, "group", LEVEL_WARN,
			 "X25519 only: recorded traffic is open to later quantum computers");
	else
		add_rule(report, "group", LEVEL_FAIL, "chose %s (0x%04x), not X25519 or its hybrid",
			 group_name(facts->group), facts->group);
}

static void rule_alpn(struct report *report, const struct cv_tls_client_facts *facts)
{
	if (strcmp(facts->alpn, "h2") == 0)
		add_rule(report, "alpn", LEVEL_PASS, "h2");
	else
		add_rule(report, "alpn", LEVEL_WARN, "%s: browsers expect h2 of most sites",
			 facts->alpn[0] ? facts->alpn : "no ALPN answer");
}

static void rule_certificate(struct report *report, const struct options *options,
			     const struct cv_tls_client_facts *facts)
{
	if (!facts->certificate_checked)
		add_rule(report, "certificate", LEVEL_FAIL, "none seen");
	else if (facts->certificate_result < 0)
		add_rule(report, "certificate", LEVEL_FAIL, "not valid for %s: %s",
			 options->server_name,
			 facts->certificate_error ? facts->certificate_error : "not verified");
	else
		add_rule(report, "certificate", LEVEL_PASS, "valid for %s, %zu bytes%s",
			 options->server_name, facts->certificate_bytes,
			 facts->compressed_certificate ? " compressed" : "");
}

/* REALITY 6.3: smallest total record lengths our own flight needs. */
struct minimum {
	const char *what;
	size_t plain, mldsa;
};

static void fits(struct report *report, size_t have, const struct minimum *need, char *text,
		 enum level *level)
{
	size_t used = strlen(text);

	used += (size_t)snprintf(text + used, TEXT_MAX - used, "%s%s %zu (min %zu",
				 used ? ", " : "", need->what, have, need->plain);
	if (need->mldsa > need->plain)
		used += (size_t)snprintf(text + used, TEXT_MAX - used, ", ML-DSA %zu",
					 need->mldsa);
	snprintf(text + used, TEXT_MAX - used, ")");
	if (have < need->plain)
		*level = LEVEL_FAIL;
	if (have < need->mldsa)
		report->good_mldsa = false;
}

static void rule_records_combined(struct report *report, const struct cv_tls_client_facts *facts)
{
	size_t finished = facts->suite == 0x1302 ? 16 : 0;
	const struct minimum need = {"flight in one record:", 327 + finished, 3658 + finished};
	enum level level = LEVEL_PASS;
	char text[TEXT_MAX] = "";

	fits(report, facts->record_len[1], &need, text, &level);
	add_rule(report, "records", level, "%s", text);
}

static void rule_records_normal(struct report *report, const struct cv_tls_client_facts *facts)
{
	size_t finished = facts->suite == 0x1302 ? 74 : 58;
	const struct minimum need[] = {{"EncryptedExtensions", 28, 28}, {"Certificate", 213, 3544},
				       {"CertificateVerify", 94, 94},
				       {"Finished", finished, finished}};
	enum level level = LEVEL_PASS;
	char text[TEXT_MAX] = "";

	if (facts->record_count < 5) {
		add_rule(report, "records", LEVEL_FAIL,
			 "%zu records up to Finished, the second %zu bytes: no template for us",
			 facts->record_count, facts->record_len[1]);
		return;
	}
	for (size_t i = 0; i < 4; i++)
		fits(report, facts->record_len[1 + i], &need[i], text, &level);
	add_rule(report, "records", level, "%s", text);
}

static void rule_records(struct report *report, const struct cv_tls_client_facts *facts)
{
	if (facts->record_len[1] > COMBINED_ABOVE)
		rule_records_combined(report, facts);
	else
		rule_records_normal(report, facts);
}

static void rule_record_sizes(struct report *report, const struct cv_tls_client_facts *facts)
{
	size_t longest = 0;

	for (size_t i = 0; i < facts->record_count; i++)
		if (facts->record_len[i] > longest)
			longest = facts->record_len[i];
	if (longest > RECORD_LIMIT)
		add_rule(report, "record size", LEVEL_FAIL, "a record of %zu bytes, limit %d",
			 longest, RECORD_LIMIT);
	else if (longest > XRAY_RECORD_LIMIT)
		add_rule(report, "record size", LEVEL_WARN,
			 "a record of %zu bytes: fine here, but Xray servers stop at %d", longest,
			 XRAY_RECORD_LIMIT);
	else
		add_rule(report, "record size", LEVEL_PASS, "longest %zu of %d", longest,
			 XRAY_RECORD_LIMIT);
}

static void rule_post_handshake(struct report *report, int alpn_class)
{
	static const char *const names[CV_ALPN_CLASSES] = {
		"after, no ALPN", "after, http/1.1", "after, h2"};
	const struct cv_target_probe_result *result = &report->results[alpn_class];
	const struct cv_post_handshake *after = &result->after;
	char text[TEXT_MAX] = "";
	size_t used = 0;

	if (result->reason < 0) {
		add_rule(report, names[alpn_class], LEVEL_WARN, "not learned: %s",
			 result->error_text);
		return;
	}
	for (int i = 0; i < after->count && used + 16 < sizeof(text); i++)
		used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%u", i ? ", " : ": ",
					 after->len[i]);
	add_rule(report, names[alpn_class],
		 result->post_handshake_seen > CV_POST_HANDSHAKE_MAX ? LEVEL_WARN : LEVEL_PASS,
		 "%zu records%s", result->post_handshake_seen, text);
}

static void rule_ccs(struct report *report)
{
	const struct cv_target_probe_result *result = &report->results[CV_ALPN_CLASSES];

	if (result->reason < 0)
		add_rule(report, "ccs", LEVEL_WARN, "not learned: %s", result->error_text);
	else if (result->ccs_limit < 0)
		add_rule(report, "ccs", LEVEL_PASS, "more than 32 ChangeCipherSpec ignored");
	else
		add_rule(report, "ccs", LEVEL_PASS, "%d ChangeCipherSpec ignored",
			 result->ccs_limit);
}

static void judge(struct report *report, const struct options *options)
{
	const struct cv_target_probe_result *checked = &report->results[CV_ALPN_H2];

	report->good = report->good_mldsa = true;
	rule_version(report, checked);
	if (checked->reason < 0) {
		if (report->good)
			add_rule(report, "handshake", LEVEL_FAIL, "%s", checked->error_text);
		return;
	}
	rule_group(report, &checked->facts);
	rule_alpn(report, &checked->facts);
	rule_certificate(report, options, &checked->facts);
	if (!checked->facts.hello_retry)
		rule_records(report, &checked->facts);
	rule_record_sizes(report, &checked->facts);
	for (int i = 0; i < CV_ALPN_CLASSES; i++)
		rule_post_handshake(report, i);
	rule_ccs(report);
}

/* ---- printing ---- */

static const char *verdict_of(const struct report *report)
{
	if (!report->good)
		return "not usable as a target";
	return report->good_mldsa ? "good target, also with ML-DSA (mldsa65Seed)"
				  : "good target; records too small for ML-DSA (mldsa65Seed)";
}

static void print_text(const struct report *report, const struct options *options)
{
	const struct cv_target_probe_result *checked = &report->results[CV_ALPN_H2];

	printf("%s, serverName %s\n", options->target,
	       options->server_name[0] ? options->server_name : "(none)");
	for (size_t i = 0; i < report->rule_count; i++)
		printf("  %-4s  %-16s %s\n", level_text[report->rules[i].level],
		       report->rules[i].name, report->rules[i].text);
	if (checked->reason == 0)
		printf("        %-16s connect %u ms, handshake %u ms\n", "time",
		       checked->connect_ms, checked->handshake_ms);
	printf("%s\n", verdict_of(report));
}

static void add_string(struct json_object *object, const char *key, const char *value)
{
	json_object_object_add(object, key, json_object_new_string(value));
}

static void add_number(struct json_object *object, const char *key, int64_t value)
{
	json_object_object_add(object, key, json_object_new_int64(value));
}

static void add_flag(struct json_object *object, const char *key, bool value)
{
	json_object_object_add(object, key, json_object_new_boolean(value));
}

static struct json_object *json_rules(const struct report *report)
{
	static const char *const levels[] = {"pass", "warn", "fail"};
	struct json_object *list = json_object_new_array();

	for (size_t i = 0; i < report->rule_count; i++) {
		struct json_object *rule = json_object_new_object();

		add_string(rule, "rule", report->rules[i].name);
		add_string(rule, "level", levels[report->rules[i].level]);
		add_string(rule, "text", report->rules[i].text);
		json_object_array_add(list, rule);
	}
	return list;
}

static struct json_object *json_facts(const struct cv_target_probe_result *result)
{
	const struct cv_tls_client_facts *facts = &result->facts;
	struct json_object *object = json_object_new_object();
	struct json_object *records = json_object_new_array();

	add_number(object, "version", facts->version);
	add_number(object, "suite", facts->suite);
	add_number(object, "group", facts->group);
	add_string(object, "alpn", facts->alpn);
	add_flag(object, "helloRetryRequest", facts->hello_retry);
	add_number(object, "certificateBytes", (int64_t)facts->certificate_bytes);
	add_flag(object, "compressedCertificate", facts->compressed_certificate);
	for (size_t i = 0; i < facts->record_count; i++)
		json_object_array_add(records,
				      json_object_new_int64((int64_t)facts->record_len[i]));
	json_object_object_add(object, "records", records);
	add_number(object, "connectMs", result->connect_ms);
	add_number(object, "handshakeMs", result->handshake_ms);
	return object;
}

static struct json_object *json_post_handshake(const struct report *report)
{
	struct json_object *object = json_object_new_object();

	for (int i = 0; i < CV_ALPN_CLASSES; i++) {
		const struct cv_post_handshake *after = &report->results[i].after;
		struct json_object *list = json_object_new_array();

		for (int j = 0; j < after->count; j++)
			json_object_array_add(list, json_object_new_int64(after->len[j]));
		json_object_object_add(object, class_name[i], list);
	}
	return object;
}

static void print_json(const struct report *report, const struct options *options)
{
	struct json_object *object = json_object_new_object();

	add_string(object, "target", options->target);
	add_string(object, "serverName", options->server_name);
	add_flag(object, "usable", report->good);
	add_flag(object, "usableWithMldsa", report->good_mldsa);
	add_string(object, "verdict", verdict_of(report));
	json_object_object_add(object, "rules", json_rules(report));
	json_object_object_add(object, "facts", json_facts(&report->results[CV_ALPN_H2]));
	json_object_object_add(object, "postHandshake", json_post_handshake(report));
	add_number(object, "ccsLimit", report->results[CV_ALPN_CLASSES].ccs_limit);
	puts(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PRETTY |
							    JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(object);
}

/* ---- options ---- */

static int usage(FILE *out)
{
	fputs("usage: culvert probe TARGET [--sni NAME] [--ca FILE] [--xver 0|1|2] [--window MS]\n"
	      "                     [--timeout MS] [--json]\n"
	      "TARGET is HOST[:PORT] (443), [IPV6]:PORT, /path or @name of a unix socket.\n"
	      "Exit status: 0 good target, 1 not usable, 2 cannot be tried.\n", out);
	return out == stdout ? 0 : 2;
}

/* "host:port", "[v6]:port", "v6", "host". */
static bool split_target(struct options *options)
{
	const char *target = options->target, *host = target, *end, *colon;
	unsigned long port = DEFAULT_PORT;
	char *rest;

	if (target[0] == '[') {
		host = target + 1;
		end = strchr(host, ']');
		colon = end && end[1] == ':' ? end + 1 : NULL;
		if (!end || (end[1] && !colon))
			return false;
	} else {
		colon = strchr(target, ':');
		if (colon && strchr(colon + 1, ':')) /* bare IPv6 */
			colon = NULL;
		end = colon ? colon : target + strlen(target);
	}
	if (colon) {
		port = strtoul(colon + 1, &rest, 10);
		if (colon[1] < '0' || colon[1] > '9' || *rest || port == 0 || port > 65535)
			return false;
	}
	if (end == host || (size_t)(end - host) >= sizeof(options->host))
		return false;
	memcpy(options->host, host, (size_t)(end - host));
	return cv_destination_set_text(&options->destination, options->host, (uint16_t)port) == 0;
}

static bool read_target(struct options *options)
{
	if (options->target[0] == '/' || options->target[0] == '@')
		return cv_sockaddr_from_unix(options->target, &options->unix_address) == 0;
	if (!split_target(options))
		return false;
	if (!options->server_name[0] && options->destination.kind == CV_ADDRESS_DOMAIN)
		strcpy(options->server_name, options->destination.domain);
	return true;
}

static bool read_option(struct options *options, int option, const char *value)
{
	switch (option) {
	case 's':
		if (strlen(value) >= sizeof(options->server_name))
			return false;
		strcpy(options->server_name, value);
		return true;
	case 'c':
		options->ca_file = value;
		return true;
	case 'x':
		options->xver = value[0] - '0';
		return options->xver >= 0 && options->xver <= 2 && !value[1];
	case 'w':
		options->window_ms = (uint32_t)strtoul(value, NULL, 10);
		return options->window_ms >= 1 && options->window_ms <= 60000;
	case 't':
		options->timeout_ms = (uint32_t)strtoul(value, NULL, 10);
		return options->timeout_ms >= 1 && options->timeout_ms <= 60000;
	case 'j':
		options->json = true;
		return true;
	default:
		return false;
	}
}

/* Returns -1 to go on, else the exit status. */
static int read_options(int argc, char **argv, struct options *options)
{
	static const struct option long_options[] = {
		{"sni", required_argument, NULL, 's'},     {"ca", required_argument, NULL, 'c'},
		{"xver", required_argument, NULL, 'x'},    {"window", required_argument, NULL, 'w'},
		{"timeout", required_argument, NULL, 't'}, {"json", no_argument, NULL, 'j'},
		{"help", no_argument, NULL, 'h'},          {NULL, 0, NULL, 0},
	};
	int option;

	memset(options, 0, sizeof(*options));
	optind = 1;
	while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		if (option == 'h')
			return usage(stdout);
		if (!read_option(options, option, optarg))
			return usage(stderr);
	}
	if (optind + 1 != argc)
		return usage(stderr);
	options->target = argv[optind];
	if (!read_target(options)) {
		fprintf(stderr, "culvert probe: %s: not a target\n", options->target);
		return 2;
	}
	return -1;
}

/* ---- the command ---- */

static void run_probes(const struct options *options, const struct cv_trust_store *trust,
		       const struct cv_sockaddr *addresses, size_t address_count,
		       struct report *report)
{
	struct cv_target_probe_config configs[PROBES];

	for (int i = 0; i < PROBES; i++)
		configs[i] = (struct cv_target_probe_config){
			.kind = i < CV_ALPN_CLASSES ? CV_TARGET_PROBE_LENGTHS : CV_TARGET_PROBE_CCS,
			.addresses = addresses,
			.address_count = address_count,
			.xver = options->xver,
			.server_name = options->server_name,
			.alpn_class = i < CV_ALPN_CLASSES ? (enum cv_alpn_class)i : CV_ALPN_H2,
			.trust = i == CV_ALPN_H2 ? trust : NULL,
			.window_ms = options->window_ms,
			.timeout_ms = options->timeout_ms,
		};
	cv_target_probe_run(configs, PROBES, -1, report->results);
}

static int probe_target(const struct options *options, struct report *report)
{
	struct cv_sockaddr addresses[ADDRESSES_MAX];
	struct cv_trust_store *trust;
	int address_count;

	address_count = cv_target_resolve(&options->destination, &options->unix_address, addresses,
					  ADDRESSES_MAX);
	if (address_count < 0) {
		fprintf(stderr, "culvert probe: %s: name does not resolve\n", options->target);
		return 2;
	}
	trust = cv_trust_store_new(options->ca_file, true);
	if (!trust) {
		fprintf(stderr, "culvert probe: no CA certificates to check against\n");
		return 2;
	}
	run_probes(options, trust, addresses, (size_t)address_count, report);
	cv_trust_store_free(trust);
	if (report->results[CV_ALPN_H2].reason == CV_TARGET_UNREACHABLE) {
		fprintf(stderr, "culvert probe: %s: cannot connect: %s\n", options->target,
			report->results[CV_ALPN_H2].error_text);
		return 2;
	}
	return 0;
}

int cv_cmd_probe(int argc, char **argv)
{
	static struct report report;
	struct options options;
	int status = read_options(argc, argv, &options);

	if (status >= 0)
		return status;
	memset(&report, 0, sizeof(report));
	status = probe_target(&options, &report);
	if (status)
		return status;
	judge(&report, &options);
	if (options.json)
		print_json(&report, &options);
	else
		print_text(&report, &options);
	return report.good ? 0 : 1;
}
