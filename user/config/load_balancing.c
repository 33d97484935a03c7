// SPDX-License-Identifier: MIT
/*
 * load_balancing.c - balancers, and the observatory that looks at their outbounds (compat 8.1).
 */
#include "config/load.h"
#include "config/value.h"

#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_PROBE "http://www.gstatic.com/generate_204"
#define PATH_MAX_BYTES 1024
#define INTERVAL_MIN_MS 1000
#define INTERVAL_MAX_MS (24u * 3600u * 1000u)

/* ---- observatory -------------------------------------------------------------------------- */

struct raw_observatory {
	const char *probe, *interval;
	struct cv_node subjects;
};

static const struct cv_field observatory_fields[] = {
	{"subjectSelector", .type = CV_FIELD_ANY, .is_required = true,
	 CV_FIELD(struct raw_observatory, subjects)},
	{"probeUrl", .type = CV_FIELD_TEXT, .text = DEFAULT_PROBE,
	 CV_FIELD(struct raw_observatory, probe)},
	{"probeInterval", .type = CV_FIELD_TEXT, .text = "10s",
	 CV_FIELD(struct raw_observatory, interval)},
	{"enableConcurrency", .type = CV_FIELD_IGNORED}, /* probes do not wait for one another */
	{.type = CV_FIELD_END},
};

static void observe(const struct cv_node *node, const char *prefix, void *context)
{
	struct cv_config *config = context;
	size_t count = 0;

	for (size_t i = 0; i < config->outbound_count; i++) {
		struct cv_outbound *outbound = &config->outbounds[i];

		if (!outbound->tag || !outbound->observation ||
		    strncmp(outbound->tag, prefix, strlen(prefix)) != 0)
			continue;
		count++;
		outbound->is_observed =
			outbound->protocol != CV_OUTBOUND_BLACKHOLE && !outbound->is_disabled;
	}
	if (count == 0)
		cv_node_warning(node, "no outbound's tag begins with \"%.64s\"", prefix);
}

/* "10s", "1m30s", "500ms" as milliseconds; 0: it is none of that. */
static uint64_t duration_ms(const char *text)
{
	static const struct {
		const char *unit;
		unsigned ms;
	} units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}};
	uint64_t total_ms = 0;

	while (*text) {
		char *end;
		const unsigned long number = strtoul(text, &end, 10);
		size_t i = 0;

		if (end == text || *text < '0' || *text > '9' || number > INTERVAL_MAX_MS)
			return 0;
		while (i < 4 && strncmp(end, units[i].unit, strlen(units[i].unit)) != 0)
			i++;
		if (i == 4)
			return 0;
		total_ms += (uint64_t)number * units[i].ms;
		text = end + strlen(units[i].unit);
	}
	return total_ms;
}

static void set_probe(const struct cv_node *node, const char *url, struct cv_config *config)
{
	const struct cv_node place = cv_node_member(node, "probeUrl");
	const char *host = strncasecmp(url, "http://", 7) == 0 ? url + 7 : NULL;
	const size_t host_len = host ? strcspn(host, "/?#") : 0;
	char text[CV_DOMAIN_MAX + 8], request[PATH_MAX_BYTES + 2 * CV_DOMAIN_MAX];
	const char *path;
	size_t with_port;

	if (strncasecmp(url, "https://", 8) == 0) {
		cv_node_error(&place, "https is " CV_NOT_SUPPORTED ", expected http://HOST/PATH");
		return;
	}
	if (!host || host_len == 0 || host_len > CV_DOMAIN_MAX ||
	    strlen(url) > PATH_MAX_BYTES || url[strcspn(url, " \r\n#@")]) {
		cv_node_expected(&place, "http://HOST/PATH");
		return;
	}
	snprintf(text, sizeof(text), "%.*s", (int)host_len, host);
	with_port = strcspn(text, "]");
	if (!strchr(text[with_port] ? text + with_port : text, ':'))
		strcat(text, ":80");
	if (!cv_value_host_port(&place, text, &config->observatory.destination))
		return;
	path = host + host_len;
	snprintf(request, sizeof(request),
		 "GET %s%s HTTP/1.1\r\nHost: %.*s\r\nConnection: close\r\n\r\n",
		 *path == '/' ? "" : "/", path, (int)host_len, host);
	config->observatory.request = cv_load_strdup(cv_node_load(node), request);
}

void cv_load_observatory(const struct cv_node *node)
{
	struct cv_config *config = cv_node_load(node)->config;
	const struct cv_node interval = cv_node_member(node, "probeInterval");
	struct raw_observatory raw;
	uint64_t interval_ms;

	if (!node->json)
		return;
	cv_schema_read(observatory_fields, node, &raw);
	cv_node_each_text(&raw.subjects, observe, config);
	interval_ms = duration_ms(raw.interval);
	if (interval_ms < INTERVAL_MIN_MS || interval_ms > INTERVAL_MAX_MS)
		cv_node_expected(&interval, "a duration like \"10s\" or \"1m\", from 1s to 24h");
	else
		config->observatory.interval_ms = (uint32_t)interval_ms;
	set_probe(node, raw.probe, config);
}

/* ---- balancers ---------------------------------------------------------------------------- */

struct raw_balancer {
	const char *tag, *fallback;
	struct cv_node selector, strategy;
};

static const struct cv_field balancer_fields[] = {
	{"tag", .type = CV_FIELD_TEXT, .is_required = true, CV_FIELD(struct raw_balancer, tag)},
	{"selector", .type = CV_FIELD_ANY, .is_required = true,
	 CV_FIELD(struct raw_balancer, selector)},
	{"strategy", .type = CV_FIELD_OBJECT, CV_FIELD(struct raw_balancer, strategy)},
	{"fallbackTag", .type = CV_FIELD_TEXT, CV_FIELD(struct raw_balancer, fallback)},
	{.type = CV_FIELD_END},
};

struct raw_strategy {
	int type;
};

static const struct cv_word strategies[] = {
	{"random", CV_BALANCE_RANDOM},
	{"roundRobin", CV_BALANCE_ROUND_ROBIN},
	{"leastPing", CV_BALANCE_LEAST_PING},
	{"leastLoad", CV_WORD_UNSUPPORTED},
	{NULL, 0},
};

static const struct cv_field strategy_fields[] = {
	{"type", .type = CV_FIELD_WORD, .words = strategies, .text = "random",
	 CV_FIELD(struct raw_strategy, type)},
	{"settings", .type = CV_FIELD_REFUSED, .why = "only leastLoad has them"},
	{.type = CV_FIELD_END},
};

static uint32_t outbound_index(const struct cv_config *config, const char *tag)
{
	for (size_t i = 0; i < config->outbound_count; i++)
		if (config->outbounds[i].tag && strcmp(config->outbounds[i].tag, tag) == 0)
			return (uint32_t)i;
	return CV_BALANCER_NOBODY;
}

struct selection {
	struct cv_config *config;
	bool *is_member;
};

static void select_outbounds(const struct cv_node *node, const char *prefix, void *context)
{
	const struct selection *selection = context;
	const struct cv_config *config = selection->config;
	size_t count = 0;

	for (size_t i = 0; i < config->outbound_count; i++) {
		const char *tag = config->outbounds[i].tag;

		if (!tag || !*tag || strncmp(tag, prefix, strlen(prefix)) != 0)
			continue;
		count++;
		selection->is_member[i] = true;
	}
	if (count == 0)
		cv_node_warning(node, "no outbound's tag begins with \"%.64s\"", prefix);
}

static int compare_tags(const void *one, const void *other, void *context)
{
	const struct cv_config *config = context;

	return strcmp(config->outbounds[*(const uint32_t *)one].tag,
		      config->outbounds[*(const uint32_t *)other].tag);
}

static void set_members(const struct cv_node *node, const struct cv_node *selector,
			struct cv_balancer *balancer)
{
	struct cv_load *load = cv_node_load(node);
	struct selection selection = {
		.config = load->config,
		.is_member = cv_load_calloc(load, load->config->outbound_count + 1, sizeof(bool)),
	};
	size_t count = 0;

	if (!selection.is_member)
		return;
	cv_node_each_text(selector, select_outbounds, &selection);
	for (size_t i = 0; i < load->config->outbound_count; i++)
		count += selection.is_member[i];
	if (count == 0 || count > CV_BALANCER_MEMBERS_MAX)
		cv_node_error(selector, "expected 1 to %d outbounds whose tags begin like that, "
					"found %zu", CV_BALANCER_MEMBERS_MAX, count);
	else
		balancer->members = cv_load_calloc(load, count, sizeof(*balancer->members));
	for (size_t i = 0; balancer->members && i < load->config->outbound_count; i++)
		if (selection.is_member[i])
			balancer->members[balancer->member_count++] = (uint32_t)i;
	if (balancer->member_count > 1)
		qsort_r(balancer->members, balancer->member_count, sizeof(*balancer->members),
			compare_tags, load->config);
	free(selection.is_member);
}

static void check_observed(const struct cv_node *node, const struct cv_balancer *balancer)
{
	const struct cv_config *config = cv_node_load(node)->config;

	for (size_t i = 0; i < balancer->member_count; i++) {
		const struct cv_outbound *member = &config->outbounds[balancer->members[i]];

		if (member->is_observed || member->is_disabled)
			continue;
		cv_node_error(node, "leastPing needs an observatory whose subjectSelector names "
				    "outbound \"%.64s\"", member->tag);
		return;
	}
}

static void load_balancer(const struct cv_node *node, struct cv_balancer *balancer)
{
	const struct cv_node tag = cv_node_member(node, "tag");
	const struct cv_node fallback = cv_node_member(node, "fallbackTag");
	struct cv_config *config = cv_node_load(node)->config;
	struct raw_balancer raw;
	struct raw_strategy strategy;

	cv_schema_read(balancer_fields, node, &raw);
	cv_schema_read(strategy_fields, &raw.strategy, &strategy);
	balancer->tag = cv_load_strdup(cv_node_load(node), raw.tag);
	balancer->strategy = (enum cv_balance)strategy.type;
	balancer->fallback = CV_BALANCER_NOBODY;
	atomic_init(&balancer->turn, cv_clock_wall_ms());
	for (const struct cv_balancer *other = config->balancers; other < balancer; other++)
		if (other->tag && strcmp(other->tag, raw.tag) == 0)
			cv_node_error(&tag, "another balancer has this tag");
	if (raw.selector.json)
		set_members(node, &raw.selector, balancer);
	if (*raw.fallback)
		balancer->fallback = outbound_index(config, raw.fallback);
	if (*raw.fallback && balancer->fallback == CV_BALANCER_NOBODY)
		cv_node_error(&fallback, "no outbound is called \"%.64s\"", raw.fallback);
	if (balancer->strategy == CV_BALANCE_LEAST_PING)
		check_observed(node, balancer);
}

void cv_load_balancers(const struct cv_node *list)
{
	struct cv_load *load = cv_node_load(list);
	struct cv_config *config = load->config;
	const size_t count = cv_node_count(list);

	if (count == 0)
		return;
	config->balancers = cv_load_calloc(load, count, sizeof(*config->balancers));
	for (size_t i = 0; config->balancers && i < count; i++) {
		const struct cv_node node = cv_node_element(list, i);

		config->balancer_count = i + 1;
		load_balancer(&node, &config->balancers[i]);
	}
}

bool cv_load_find_balancer(const struct cv_config *config, const char *tag, uint32_t *ret_index)
{
	for (size_t i = 0; i < config->balancer_count; i++)
		if (config->balancers[i].tag && strcmp(config->balancers[i].tag, tag) == 0) {
			*ret_index = (uint32_t)i;
			return true;
		}
	return false;
}
