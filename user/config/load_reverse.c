// SPDX-License-Identifier: MIT
/*
 * load_reverse.c - the object "reverse": bridges and portals, several of each, both in one process.
 *
 * A portal is an outbound for rules to name. A bridge is an inbound without an address: what comes
 * out of its tunnels has its tag, and so has the request that opens one.
 */
#include "config/load.h"
#include "config/value.h"

#include "wire/reverse_control.h"

#include <stdlib.h>
#include <string.h>

struct raw_reverse {
	struct cv_node bridges, portals;
};

static const struct cv_field reverse_fields[] = {
	{"bridges", .type = CV_FIELD_ARRAY, CV_FIELD(struct raw_reverse, bridges)},
	{"portals", .type = CV_FIELD_ARRAY, CV_FIELD(struct raw_reverse, portals)},
	{.type = CV_FIELD_END},
};

struct raw_end {
	const char *tag, *domain, *control;
};

#define END_KEYS \
	{"tag", .type = CV_FIELD_TEXT, .is_required = true, CV_FIELD(struct raw_end, tag)}, \
	{ \
		"domain", .type = CV_FIELD_TEXT, .is_required = true, \
			CV_FIELD(struct raw_end, domain) \
	}

static const struct cv_field bridge_fields[] = {
	END_KEYS,
	{.type = CV_FIELD_END},
};

static const struct cv_field portal_fields[] = {
	END_KEYS,
	{"internalDomain", .type = CV_FIELD_TEXT, .text = CV_REVERSE_DOMAIN, /* our own */
	 CV_FIELD(struct raw_end, control)},
	{.type = CV_FIELD_END},
};

static void check_domain(const struct cv_node *node, const char *key, const char *text)
{
	const struct cv_node place = cv_node_member(node, key);
	struct cv_destination destination;

	if (*text && (cv_destination_set_text(&destination, text, 0) != 0 ||
		      destination.kind != CV_ADDRESS_DOMAIN))
		cv_node_expected(&place, "a domain, which need not exist");
}

/* ---- bridges ------------------------------------------------------------------------------ */

static void load_bridge(const struct cv_node *node, struct cv_bridge *bridge)
{
	struct cv_load *load = cv_node_load(node);
	struct raw_end raw;

	cv_schema_read(bridge_fields, node, &raw);
	check_domain(node, "domain", raw.domain);
	bridge->domain = cv_load_strdup(load, raw.domain);
	bridge->inbound.tag = cv_load_strdup(load, raw.tag);
	bridge->inbound.protocol = CV_INBOUND_TUNNEL;
}

void cv_load_bridges(const struct cv_node *reverse)
{
	struct cv_load *load = cv_node_load(reverse);
	struct cv_config *config = load->config;
	struct raw_reverse raw;
	size_t count;

	if (!reverse->json)
		return;
	cv_schema_read(reverse_fields, reverse, &raw);
	count = cv_node_count(&raw.bridges);
	if (count == 0 && cv_node_count(&raw.portals) == 0)
		cv_node_warning(reverse, "neither bridges nor portals: has no effect");
	if (count == 0)
		return;
	config->bridges = cv_load_calloc(load, count, sizeof(*config->bridges));
	for (size_t i = 0; config->bridges && i < count; i++) {
		const struct cv_node node = cv_node_element(&raw.bridges, i);

		config->bridge_count = i + 1;
		load_bridge(&node, &config->bridges[i]);
	}
}

/* ---- portals ------------------------------------------------------------------------------ */

static struct cv_node portals_of(const struct cv_node *reverse)
{
	return cv_node_member(reverse, "portals");
}

size_t cv_load_portal_count(const struct cv_node *reverse)
{
	const struct cv_node portals = portals_of(reverse);

	return cv_node_count(&portals);
}

static bool tag_is_free(const struct cv_config *config, const char *tag)
{
	for (size_t i = 0; i < config->outbound_count; i++)
		if (config->outbounds[i].tag && strcmp(config->outbounds[i].tag, tag) == 0)
			return false;
	return true;
}

static void load_portal(const struct cv_node *node, struct cv_config *config)
{
	struct cv_load *load = cv_node_load(node);
	const struct cv_node tag = cv_node_member(node, "tag");
	struct cv_outbound *outbound;
	struct raw_end raw;

	cv_schema_read(portal_fields, node, &raw);
	check_domain(node, "domain", raw.domain);
	check_domain(node, "internalDomain", raw.control);
	if (*raw.tag && !tag_is_free(config, raw.tag))
		cv_node_error(&tag, "another outbound has this tag");
	outbound = &config->outbounds[config->outbound_count++];
	outbound->tag = cv_load_strdup(load, raw.tag);
	cv_load_empty_texts(load, outbound);
	outbound->via_tag = cv_load_strdup(load, "");
	outbound->protocol = CV_OUTBOUND_PORTAL;
	outbound->portal = cv_portal_new(raw.domain, raw.control);
	load->out_of_memory |= !outbound->portal;
}

/* Where there is no outbound, nobody goes out by default. */
static void add_nowhere(struct cv_load *load)
{
	struct cv_outbound *outbound = &load->config->outbounds[load->config->outbound_count++];

	outbound->tag = cv_load_strdup(load, "");
	cv_load_empty_texts(load, outbound);
	outbound->via_tag = cv_load_strdup(load, "");
	outbound->protocol = CV_OUTBOUND_BLACKHOLE;
}

void cv_load_portals(const struct cv_node *reverse)
{
	const struct cv_node portals = portals_of(reverse);
	struct cv_load *load = cv_node_load(reverse);
	const size_t count = cv_node_count(&portals);

	if (count > 0 && load->config->outbound_count == 0)
		add_nowhere(load);
	for (size_t i = 0; i < count; i++) {
		const struct cv_node node = cv_node_element(&portals, i);

		load_portal(&node, load->config);
	}
}
