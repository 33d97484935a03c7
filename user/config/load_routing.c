// SPDX-License-Identifier: MIT
/*
 * load_routing.c - routing: strategy and rules (compat 8); load_balancing.c has the balancers.
 *
 * A condition that this version cannot test makes the rule an error: without it the rule would
 * catch more than it says.
 */
#include "config/load.h"
#include "config/load_geo.h"
#include "config/value.h"

#include "base/reason.h"

#include <string.h>

static const struct cv_word strategies[] = {
	{"AsIs", CV_ROUTE_AS_IS},
	{"IPIfNonMatch", CV_ROUTE_IP_IF_NON_MATCH},
	{"IPOnDemand", CV_ROUTE_IP_ON_DEMAND},
	{NULL, 0},
};

struct raw_routing {
	int strategy;
	struct cv_node rules, balancers;
};

static const struct cv_field routing_fields[] = {
	{"domainStrategy", .type = CV_FIELD_WORD, .words = strategies, .text = "AsIs",
	 CV_FIELD(struct raw_routing, strategy)},
	{"rules", .type = CV_FIELD_ARRAY, CV_FIELD(struct raw_routing, rules)},
	{"domainMatcher", .type = CV_FIELD_IGNORED},
	{"balancers", .type = CV_FIELD_ARRAY, CV_FIELD(struct raw_routing, balancers)},
	{.type = CV_FIELD_END},
};

struct raw_rule {
	const char *outbound, *balancer;
	struct cv_node domains, ip, port, source, source_port, network, user, inbound, vless_route,
		protocol;
};

static const struct cv_field rule_fields[] = {
	{"outboundTag", .type = CV_FIELD_TEXT, CV_FIELD(struct raw_rule, outbound)},
	{"domains", "domain", .type = CV_FIELD_ANY, CV_FIELD(struct raw_rule, domains)},
	{"ip", .type = CV_FIELD_ANY, CV_FIELD(struct raw_rule, ip)},
	{"port", .type = CV_FIELD_ANY, CV_FIELD(struct raw_rule, port)},
	{"sourceIP", "source", .type = CV_FIELD_ANY, CV_FIELD(struct raw_rule, source)},
	{"sourcePort", .type = CV_FIELD_ANY, CV_FIELD(struct raw_rule, source_port)},
	{"network", .type = CV_FIELD_ANY, CV_FIELD(struct raw_rule, network)},
	{"user", .type = CV_FIELD_ANY, CV_FIELD(struct raw_rule, user)},
	{"inboundTag", .type = CV_FIELD_ANY, CV_FIELD(struct raw_rule, inbound)},
	{"vlessRoute", .type = CV_FIELD_ANY, CV_FIELD(struct raw_rule, vless_route)},
	{"type", .type = CV_FIELD_REFUSED, .text = "field"},
	{"ruleTag", .type = CV_FIELD_IGNORED},
	{"domainMatcher", .type = CV_FIELD_IGNORED},
	{"balancerTag", .type = CV_FIELD_TEXT, CV_FIELD(struct raw_rule, balancer)},
	{"protocol", .type = CV_FIELD_ANY, CV_FIELD(struct raw_rule, protocol)},
	{"attrs", .type = CV_FIELD_REFUSED},
	{"localIP", .type = CV_FIELD_REFUSED},
	{"localPort", .type = CV_FIELD_REFUSED},
	{"localOS", .type = CV_FIELD_REFUSED},
	{"process", .type = CV_FIELD_REFUSED},
	{"webhook", .type = CV_FIELD_WARNED},
	{.type = CV_FIELD_END},
};

static void check(const struct cv_node *node, int error, const char *cause, const char *text)
{
	if (error == CV_INTERNAL_MEMORY)
		cv_node_load(node)->out_of_memory = true;
	else if (error)
		cv_node_error(node, "%s, found \"%.128s\"", cause, text);
}

void cv_load_domain(const struct cv_node *node, const char *text,
		    struct cv_domain_matcher **matcher)
{
	char cause[160] = "";

	if (!*matcher)
		*matcher = cv_domain_matcher_new();
	if (!*matcher)
		cv_node_load(node)->out_of_memory = true;
	else if (!cv_load_geosite(node, text, *matcher))
		check(node, cv_domain_matcher_add(*matcher, text, cause, sizeof(cause)), cause,
		      text);
}

void cv_load_block(const struct cv_node *node, const char *text, struct cv_ip_matcher **matcher)
{
	char cause[160] = "";

	if (!*matcher)
		*matcher = cv_ip_matcher_new();
	if (!*matcher)
		cv_node_load(node)->out_of_memory = true;
	else if (!cv_load_geoip(node, text, *matcher))
		check(node, cv_ip_matcher_add(*matcher, text, cause, sizeof(cause)), cause, text);
}

static void add_domain(const struct cv_node *node, const char *text, void *context)
{
	cv_load_domain(node, text, context);
}

static void add_block(const struct cv_node *node, const char *text, void *context)
{
	cv_load_block(node, text, context);
}

static void add_user(const struct cv_node *node, const char *text, void *context)
{
	char cause[160] = "";

	check(node, cv_text_set_add(context, text, true, cause, sizeof(cause)), cause, text);
}

static void add_tag(const struct cv_node *node, const char *text, void *context)
{
	char cause[160] = "";

	check(node, cv_text_set_add(context, text, false, cause, sizeof(cause)), cause, text);
}

static void add_network(const struct cv_node *node, const char *text, void *context)
{
	static const struct cv_word networks[] = {{"tcp", CV_NETWORK_TCP},
						  {"udp", CV_NETWORK_UDP},
						  {"unix", CV_NETWORK_UNIX},
						  {NULL, 0}};
	unsigned *mask = context;
	int network = 0;

	if (cv_schema_word(networks, node, text, &network))
		*mask |= (unsigned)network;
}

static void add_protocol(const struct cv_node *node, const char *text, void *context)
{
	/* a value is the beginning of what Xray calls it: "http" is "http1" too */
	static const struct cv_word protocols[] = {{"http", CV_SNIFFED_HTTP},
						   {"http1", CV_SNIFFED_HTTP},
						   {"tls", CV_SNIFFED_TLS},
						   {"http2", CV_WORD_UNSUPPORTED},
						   {"quic", CV_WORD_UNSUPPORTED},
						   {"bittorrent", CV_WORD_UNSUPPORTED},
						   {NULL, 0}};
	unsigned *mask = context;
	int protocol = 0;

	if (cv_schema_word(protocols, node, text, &protocol))
		*mask |= (unsigned)protocol;
}

static void warn_unless_sniffing(const struct cv_node *node)
{
	const struct cv_config *config = cv_node_load(node)->config;

	for (size_t i = 0; i < config->inbound_count; i++)
		if (config->inbounds[i].sniffing)
			return;
	cv_node_warning(node, "no inbound has sniffing enabled: the rule never matches");
}

/* A list that is there but empty is no condition, as in Xray. */
static void load_conditions(const struct raw_rule *raw, struct cv_route_rule *rule)
{
	cv_node_each_text(&raw->domains, add_domain, &rule->domains);
	cv_node_each_text(&raw->ip, add_block, &rule->addresses);
	cv_node_each_text(&raw->source, add_block, &rule->sources);
	cv_node_each_text(&raw->user, add_user, &rule->users);
	cv_node_each_text(&raw->inbound, add_tag, &rule->inbound_tags);
	cv_node_each_text(&raw->network, add_network, &rule->networks);
	cv_node_each_text(&raw->protocol, add_protocol, &rule->protocols);
	if (rule->protocols)
		warn_unless_sniffing(&raw->protocol);
	if (raw->port.json)
		(void)cv_value_ports(&raw->port, &rule->ports);
	if (raw->source_port.json)
		(void)cv_value_ports(&raw->source_port, &rule->source_ports);
	if (raw->vless_route.json)
		(void)cv_value_ports(&raw->vless_route, &rule->vless_routes);
}

static uint32_t find_outbound(const struct cv_node *node, const char *tag)
{
	const struct cv_config *config = cv_node_load(node)->config;
	const struct cv_node place = cv_node_member(node, "outboundTag");

	for (size_t i = 0; i < config->outbound_count; i++)
		if (config->outbounds[i].tag && strcmp(config->outbounds[i].tag, tag) == 0)
			return (uint32_t)i;
	cv_node_warning(&place, "no outbound is called \"%.64s\": sessions that match are dropped",
			tag);
	return CV_OUTBOUND_MISSING;
}

static void warn_unknown_inbound(const struct cv_node *node, const char *text, void *context)
{
	const struct cv_config *config = context;

	for (size_t i = 0; i < config->inbound_count; i++)
		if (config->inbounds[i].tag && strcmp(config->inbounds[i].tag, text) == 0)
			return;
	for (size_t i = 0; i < config->bridge_count; i++)
		if (config->bridges[i].inbound.tag &&
		    strcmp(config->bridges[i].inbound.tag, text) == 0)
			return;
	cv_node_warning(node, "no inbound is called \"%.64s\"", text);
}

static bool find_balancer(const struct cv_node *node, const char *tag, uint32_t *ret_index)
{
	const struct cv_node place = cv_node_member(node, "balancerTag");

	if (cv_load_find_balancer(cv_node_load(node)->config, tag, ret_index))
		return true;
	cv_node_error(&place, "no balancer is called \"%.64s\"", tag);
	return false;
}

static void load_rule(const struct cv_node *node, struct cv_router *router)
{
	struct cv_load *load = cv_node_load(node);
	struct cv_route_rule rule = {0};
	struct raw_rule raw;

	cv_schema_read(rule_fields, node, &raw);
	load_conditions(&raw, &rule);
	cv_node_each_text(&raw.inbound, warn_unknown_inbound, load->config);
	if (*raw.outbound)
		rule.outbound = find_outbound(node, raw.outbound);
	else if (*raw.balancer)
		rule.is_balanced = find_balancer(node, raw.balancer, &rule.outbound);
	else
		cv_node_error(node, "outboundTag: required, but missing (or balancerTag)");
	if (cv_router_add(router, &rule) != 0)
		load->out_of_memory = true;
}

void cv_load_routing(const struct cv_node *node)
{
	struct cv_load *load = cv_node_load(node);
	struct raw_routing raw;

	cv_schema_read(routing_fields, node, &raw);
	cv_load_balancers(&raw.balancers);
	load->config->router = cv_router_new((enum cv_route_strategy)raw.strategy);
	load->out_of_memory |= !load->config->router;
	for (size_t i = 0; load->config->router && i < cv_node_count(&raw.rules); i++) {
		const struct cv_node rule = cv_node_element(&raw.rules, i);

		load_rule(&rule, load->config->router);
	}
	if (load->config->router && cv_router_finish(load->config->router) != 0)
		load->out_of_memory = true;
}
