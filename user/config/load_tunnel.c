// SPDX-License-Identifier: MIT
/*
 * load_tunnel.c - settings of an inbound of protocol tunnel, once called dokodemo-door (compat
 * 4.4).
 */
#include "config/load.h"
#include "config/value.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PORTS_MAX 4096

struct raw_tunnel {
	const char *address, *network;
	uint32_t port, level;
	bool follows;
	struct cv_node networks, map;
};

/* The old names win where both are given. */
static const struct cv_field tunnel_fields[] = {
	{"address", "rewriteAddress", .type = CV_FIELD_TEXT, CV_FIELD(struct raw_tunnel, address)},
	{"port", "rewritePort", .type = CV_FIELD_U32, .max = 65535,
	 CV_FIELD(struct raw_tunnel, port)},
	{"network", "allowedNetwork", .type = CV_FIELD_ANY, CV_FIELD(struct raw_tunnel, networks)},
	{"portMap", .type = CV_FIELD_OBJECT, CV_FIELD(struct raw_tunnel, map)},
	{"followRedirect", .type = CV_FIELD_BOOL, CV_FIELD(struct raw_tunnel, follows)},
	{"userLevel", .type = CV_FIELD_U32, .max = CV_LEVELS - 1,
	 CV_FIELD(struct raw_tunnel, level)},
	{"timeout", .type = CV_FIELD_WARNED, .why = "policy.levels says how long to wait"},
	{.type = CV_FIELD_END},
};

static void add_network(const struct cv_node *node, const char *text, void *context)
{
	struct cv_tunnel *tunnel = context;

	if (strcasecmp(text, "tcp") == 0)
		tunnel->carries_tcp = true;
	else if (strcasecmp(text, "udp") == 0)
		tunnel->carries_udp = true;
	else
		cv_node_expected(node, "tcp, udp or both");
}

/* "host:port", ":port" keeps the address, "host:0" the port. */
static bool load_entry(const struct cv_node *node, const char *port_text,
		       struct cv_tunnel_port *entry)
{
	const char *text = cv_node_text(node);
	char with_host[CV_DOMAIN_MAX + 16], *end;
	const unsigned long port = strtoul(port_text, &end, 10);

	if (*end || port == 0 || port > 65535) {
		cv_node_error(node, "expected a port from 1 to 65535 as its key");
		return false;
	}
	if (!text)
		return false;
	entry->port = (uint16_t)port;
	if (text[0] != ':')
		return cv_value_host_port(node, text, &entry->to);
	snprintf(with_host, sizeof(with_host), "0.0.0.0%.16s", text);
	if (!cv_value_host_port(node, with_host, &entry->to))
		return false;
	entry->to.kind = CV_ADDRESS_NONE;
	return true;
}

static void load_map(const struct cv_node *node, struct cv_tunnel *tunnel)
{
	const int count = node->json ? json_object_object_length(node->json) : 0;

	if (count == 0)
		return;
	if (count > PORTS_MAX) {
		cv_node_error(node, "expected at most %d ports, found %d", PORTS_MAX, count);
		return;
	}
	tunnel->ports = cv_load_calloc(cv_node_load(node), (size_t)count, sizeof(*tunnel->ports));
	if (!tunnel->ports)
		return;
	json_object_object_foreach(node->json, key, value)
	{
		const struct cv_node entry = cv_node_member(node, key);

		(void)value;
		if (load_entry(&entry, key, &tunnel->ports[tunnel->port_count]))
			tunnel->port_count++;
	}
}

void cv_load_tunnel(const struct cv_node *node, struct cv_inbound *inbound)
{
	const struct cv_node address = cv_node_member(node, "address");
	const struct cv_node follows = cv_node_member(node, "followRedirect");
	struct cv_tunnel *tunnel = cv_load_calloc(cv_node_load(node), 1, sizeof(*tunnel));
	struct raw_tunnel raw;

	if (!tunnel)
		return;
	inbound->tunnel = tunnel;
	cv_schema_read(tunnel_fields, node, &raw);
	inbound->level = raw.level;
	if (raw.follows)
		cv_node_error(&follows, "where a packet filter redirected a connection from is "
					CV_NOT_SUPPORTED);
	if (*raw.address)
		(void)cv_value_host(&address, raw.address, (uint16_t)raw.port, &tunnel->to);
	tunnel->to.port = (uint16_t)raw.port;
	if (raw.networks.json)
		cv_node_each_text(&raw.networks, add_network, tunnel);
	if (!tunnel->carries_tcp && !tunnel->carries_udp)
		tunnel->carries_tcp = true;
	load_map(&raw.map, tunnel);
}
