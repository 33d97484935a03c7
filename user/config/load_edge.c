// SPDX-License-Identifier: MIT
/*
 * load_edge.c - "edge": what the server name in a hello decides before its inbound does.
 *
 *   edge.routes[] ---- names -> class, pass or drop ----.
 *   REALITY: serverNames of each target -> its class ----+--> cv_edge of each inbound
 *   edge.notTls ------------------------------------------'
 *
 * An inbound gets one if edge means it, or if it has several targets to choose from by name. A
 * REALITY server name is an exact entry that passes: a wildcard never takes it away, and naming it
 * in a route is an error. What the router of services will do more is refused by name.
 */
#include "config/load.h"

#include "policy/edge.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PASS CV_SNI_PASS
#define DROP CV_SNI_DROP
#define UPPER_CASE "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define NOT_YET CV_WORD_UNSUPPORTED
#define LABEL_MAX 256 /* a server name has 253 characters at most */

struct raw_edge {
	struct cv_node inbounds, routes;
	int not_tls, unknown, no_name;
};

static const struct cv_word not_tls_words[] = {
	{"pass", PASS},     {"drop", DROP},         {"target", NOT_YET},
	{"raw80", NOT_YET}, {"terminate", NOT_YET}, {NULL, 0},
};

static const struct cv_word only_pass[] = {
	{"pass", PASS},     {"drop", NOT_YET},      {"target", NOT_YET},
	{"raw80", NOT_YET}, {"terminate", NOT_YET}, {NULL, 0},
};

static const struct cv_word actions[] = {
	{"pass", PASS}, {"drop", DROP}, {"target", NOT_YET}, {"terminate", NOT_YET}, {NULL, 0},
};

static const struct cv_field edge_fields[] = {
	{"inboundTag", .type = CV_FIELD_ANY, CV_FIELD(struct raw_edge, inbounds)},
	{"routes", .type = CV_FIELD_ARRAY, CV_FIELD(struct raw_edge, routes)},
	{"notTls", .type = CV_FIELD_WORD, .words = not_tls_words, .text = "pass",
	 CV_FIELD(struct raw_edge, not_tls)},
	{"unknownName", .type = CV_FIELD_WORD, .words = only_pass, .text = "pass",
	 CV_FIELD(struct raw_edge, unknown)},
	{"noName", .type = CV_FIELD_WORD, .words = only_pass, .text = "pass",
	 CV_FIELD(struct raw_edge, no_name)},
	{"silence", .type = CV_FIELD_REFUSED},
	{.type = CV_FIELD_END},
};

struct raw_route {
	struct cv_node names, to;
	const char *class;
};

static const struct cv_field route_fields[] = {
	{"names", .type = CV_FIELD_ANY, .is_required = true, CV_FIELD(struct raw_route, names)},
	{"to", .type = CV_FIELD_ANY, .is_required = true, CV_FIELD(struct raw_route, to)},
	{"class", .type = CV_FIELD_TEXT, CV_FIELD(struct raw_route, class)},
	{"inboundTag", .type = CV_FIELD_REFUSED, .why = "edge.inboundTag is for all routes"},
	{.type = CV_FIELD_END},
};

/* ---- classes ------------------------------------------------------------------------------ */

/* CV_SNI_CLASS_OTHER when there are too many (reported) or there is no memory (remembered). */
static uint32_t class_new(const struct cv_node *node, const char *label)
{
	struct cv_load *load = cv_node_load(node);
	struct cv_config *config = load->config;
	char **more;

	if (config->sni_class_count == CV_CLASSIFY_CLASSES - CV_SNI_CLASS_FIRST) {
		cv_node_error(node, "more than %d classes of names",
			      CV_CLASSIFY_CLASSES - CV_SNI_CLASS_FIRST);
		return CV_SNI_CLASS_OTHER;
	}
	more = cv_load_grow(load, config->sni_classes, config->sni_class_count, sizeof(*more));
	if (!more)
		return CV_SNI_CLASS_OTHER;
	config->sni_classes = more;
	more[config->sni_class_count] = cv_load_strdup(load, label);
	if (!more[config->sni_class_count])
		return CV_SNI_CLASS_OTHER;
	return CV_SNI_CLASS_FIRST + (uint32_t)config->sni_class_count++;
}

static uint32_t class_of_label(const struct cv_node *node, const char *label)
{
	const struct cv_config *config = cv_node_load(node)->config;

	for (size_t i = 0; i < config->sni_class_count; i++)
		if (strcmp(config->sni_classes[i], label) == 0)
			return CV_SNI_CLASS_FIRST + (uint32_t)i;
	return class_new(node, label);
}

/* ---- routes ------------------------------------------------------------------------------- */

struct route {
	struct cv_config *config;
	uint32_t class;
	int action;
};

static void add_name(const struct cv_node *node, const char *text, void *context)
{
	const struct route *route = context;

	if (!cv_edge_name_is_good(text)) {
		cv_node_expected(node, "a server name like \"a.example\" or \"*.a.example\"");
		return;
	}
	for (size_t i = 0; i < route->config->inbound_count; i++) {
		struct cv_edge *edge = route->config->inbounds[i].edge;

		if (edge && edge->is_routed &&
		    cv_edge_add(edge, text, route->class, (enum cv_sni_action)route->action) != 0)
			cv_node_load(node)->out_of_memory = true;
	}
}

/* A copy: what a list of names in one text is cut into does not last. */
static void keep_first(const struct cv_node *node, const char *text, void *context)
{
	char *first = context;

	(void)node;
	if (!*first)
		(void)snprintf(first, LABEL_MAX, "%s", text);
}

static bool read_action(const struct cv_node *node, int *ret_action)
{
	const char *text;

	if (json_object_is_type(node->json, json_type_object)) {
		cv_node_error(node, "inbounds, targets and backends are " CV_NOT_SUPPORTED
				    ", expected \"drop\" or \"pass\"");
		return false;
	}
	text = node->json ? cv_node_text(node) : NULL;
	return text && cv_schema_word(actions, node, text, ret_action);
}

static void load_route(const struct cv_node *node)
{
	struct route route = {.config = cv_node_load(node)->config};
	char first[LABEL_MAX] = "";
	struct raw_route raw;

	cv_schema_read(route_fields, node, &raw);
	if (!read_action(&raw.to, &route.action) || !raw.names.json)
		return;
	cv_node_each_text(&raw.names, keep_first, first);
	if (!*raw.class && !*first)
		return;
	route.class = class_of_label(node, *raw.class ? raw.class : first);
	cv_node_each_text(&raw.names, add_name, &route);
}

/* ---- inbounds ----------------------------------------------------------------------------- */

static bool speaks_tls(const struct cv_inbound *inbound)
{
	return inbound->security == CV_SECURITY_REALITY || inbound->security == CV_SECURITY_TLS;
}

static struct cv_edge *edge_of(struct cv_load *load, struct cv_inbound *inbound)
{
	if (!inbound->edge) {
		inbound->edge = cv_edge_new();
		load->out_of_memory |= !inbound->edge;
	}
	return inbound->edge;
}

static void set_routed(struct cv_load *load, struct cv_inbound *inbound)
{
	struct cv_edge *edge = edge_of(load, inbound);

	if (edge)
		edge->is_routed = true;
}

static void mean_inbound(const struct cv_node *node, const char *tag, void *context)
{
	struct cv_load *load = context;

	for (size_t i = 0; i < load->config->inbound_count; i++) {
		struct cv_inbound *inbound = &load->config->inbounds[i];

		if (!inbound->tag || strcmp(inbound->tag, tag) != 0)
			continue;
		if (speaks_tls(inbound))
			set_routed(load, inbound);
		else
			cv_node_error(node,
				      "inbound \"%.64s\" has neither REALITY nor TLS: there "
				      "are no server names",
				      tag);
		return;
	}
	cv_node_error(node, "no inbound is called \"%.64s\"", tag);
}

static void choose_inbounds(const struct cv_node *edge, const struct raw_edge *raw)
{
	struct cv_load *load = cv_node_load(edge);
	bool any = false;

	if (raw->inbounds.json) {
		cv_node_each_text(&raw->inbounds, mean_inbound, load);
		return;
	}
	for (size_t i = 0; i < load->config->inbound_count; i++) {
		if (!speaks_tls(&load->config->inbounds[i]))
			continue;
		set_routed(load, &load->config->inbounds[i]);
		any = true;
	}
	if (!any)
		cv_node_warning(edge, "no inbound has REALITY or TLS: there are no server names");
}

static void add_target(const struct cv_node *node, const struct cv_inbound *inbound,
		       const struct cv_reality_target *target)
{
	struct cv_load *load = cv_node_load(node);
	char label[512];
	uint32_t class;

	(void)snprintf(label, sizeof(label), "%s/%s", inbound->tag ? inbound->tag : "",
		       target->address_text ? target->address_text : "");
	class = class_new(node, label);
	inbound->edge->target_count++;
	for (size_t i = 0; i < target->server_name_count; i++) {
		const char *name = target->server_names[i];

		/* whoever sends it in lower case means another target */
		if (cv_edge_add(inbound->edge, name,
				name[strcspn(name, UPPER_CASE)] ? CV_SNI_CLASS_UNDECIDED : class,
				CV_SNI_PASS) != 0)
			load->out_of_memory = true;
	}
}

static void add_targets(const struct cv_node *node, struct cv_inbound *inbound)
{
	const struct cv_reality_inbound *reality = inbound->reality;
	struct cv_load *load = cv_node_load(node);

	if (!reality || (reality->target_count < 2 && !inbound->edge) || !edge_of(load, inbound))
		return;
	inbound->edge->first_target =
		CV_SNI_CLASS_FIRST + (uint32_t)cv_node_load(node)->config->sni_class_count;
	for (size_t t = 0; t < reality->target_count; t++)
		add_target(node, inbound, &reality->targets[t]);
}

static void seal(const struct cv_node *routes, struct cv_inbound *inbound)
{
	const char *twice = cv_edge_seal(inbound->edge);

	if (twice)
		cv_node_error(routes,
			      "\"%.255s\" is listed twice, or is a server name of inbound "
			      "\"%.64s\"",
			      twice, inbound->tag);
}

void cv_load_edge(const struct cv_node *node)
{
	struct cv_config *config = cv_node_load(node)->config;
	struct raw_edge raw;

	cv_schema_read(edge_fields, node, &raw);
	if (node->json)
		choose_inbounds(node, &raw);
	for (size_t i = 0; config->inbounds && i < config->inbound_count; i++)
		add_targets(node, &config->inbounds[i]);
	for (size_t i = 0; i < cv_node_count(&raw.routes); i++) {
		const struct cv_node route = cv_node_element(&raw.routes, i);

		load_route(&route);
	}
	for (size_t i = 0; config->inbounds && i < config->inbound_count; i++) {
		struct cv_edge *edge = config->inbounds[i].edge;

		if (!edge || cv_node_load(node)->out_of_memory)
			continue;
		edge->table = (uint32_t)i;
		if (edge->is_routed)
			edge->not_tls = (enum cv_sni_action)raw.not_tls;
		edge->drops |= edge->not_tls == CV_SNI_DROP;
		seal(&raw.routes, &config->inbounds[i]);
	}
}
