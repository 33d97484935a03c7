// SPDX-License-Identifier: MIT
/*
 * load_edge.c - "edge": what the server name in a hello decides before its inbound does.
 *
 *   edge.routes[] ---- names -> class, place --------------.
 *   REALITY: serverNames of each target -> its class -------+--> cv_edge of each inbound
 *   edge.notTls, unknownName, noName, silence -> place -----'
 *
 * An inbound gets one if edge means it, or if it has several targets to choose from by name. A
 * REALITY server name is an exact entry that passes: a wildcard never takes it away, and naming it
 * in a route is an error. Places come first: an inbound that something leads to is behind the edge,
 * not in front of it, unless inboundTag says so.
 */
#include "config/load.h"
#include "config/load_place.h"

#include "policy/edge.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define UPPER_CASE "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define LABEL_MAX 256 /* a server name has 253 characters at most */

struct raw_edge {
	struct cv_node inbounds, routes, not_tls, unknown, no_name, silence;
	struct cv_node backends, target, fake_site;
	const char *terminate;
};

static const struct cv_field edge_fields[] = {
	{"inboundTag", .type = CV_FIELD_ANY, CV_FIELD(struct raw_edge, inbounds)},
	{"routes", .type = CV_FIELD_ARRAY, CV_FIELD(struct raw_edge, routes)},
	{"notTls", .type = CV_FIELD_ANY, CV_FIELD(struct raw_edge, not_tls)},
	{"unknownName", .type = CV_FIELD_ANY, CV_FIELD(struct raw_edge, unknown)},
	{"noName", .type = CV_FIELD_ANY, CV_FIELD(struct raw_edge, no_name)},
	{"silence", .type = CV_FIELD_ANY, CV_FIELD(struct raw_edge, silence)},
	{"backends", .type = CV_FIELD_ARRAY, CV_FIELD(struct raw_edge, backends)},
	{"target", .type = CV_FIELD_ANY, CV_FIELD(struct raw_edge, target)},
	{"fakeSite", .type = CV_FIELD_ANY, CV_FIELD(struct raw_edge, fake_site)},
	{"terminateTag", .type = CV_FIELD_TEXT, CV_FIELD(struct raw_edge, terminate)},
	{.type = CV_FIELD_END},
};

struct raw_route {
	struct cv_node names, to;
	const char *class;
};

static const struct cv_field route_fields[] = {
	{"names", .type = CV_FIELD_ANY, CV_FIELD(struct raw_route, names)},
	{"to", .type = CV_FIELD_ANY, .is_required = true, CV_FIELD(struct raw_route, to)},
	{"class", .type = CV_FIELD_TEXT, CV_FIELD(struct raw_route, class)},
	{"inboundTag", .type = CV_FIELD_REFUSED, .why = "edge.inboundTag is for all routes"},
	{.type = CV_FIELD_END},
};

struct answers {
	struct cv_edge_place no_tls, unknown, no_name, silence;
};

struct route {
	struct cv_config *config;
	struct cv_node node;
	struct raw_route raw;
	uint32_t class;
	struct cv_edge_place place;
	bool is_good;
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
		    cv_edge_add_place(edge, text, route->class, &route->place) != 0)
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

static const struct cv_inbound *reality_of(const struct route *route)
{
	const struct cv_inbound *inbound = route->place.kind == CV_EDGE_INBOUND
						   ? &route->config->inbounds[route->place.inbound]
						   : NULL;

	return inbound && inbound->reality ? inbound : NULL;
}

/* All that REALITY inbound @context answers to. */
static void each_server_name(const struct route *route,
			     void (*each)(const struct cv_node *node, const char *text,
					  void *context),
			     void *context)
{
	const struct cv_reality_inbound *reality = reality_of(route)->reality;

	for (size_t t = 0; t < reality->target_count; t++)
		for (size_t i = 0; i < reality->targets[t].server_name_count; i++)
			each(&route->node, reality->targets[t].server_names[i], context);
}

struct overlap {
	const struct cv_reality_inbound *reality;
	bool any;
};

static void look_for_name(const struct cv_node *node, const char *text, void *context)
{
	struct overlap *overlap = context;

	(void)node;
	for (size_t t = 0; t < overlap->reality->target_count; t++)
		for (size_t i = 0; i < overlap->reality->targets[t].server_name_count; i++)
			overlap->any |=
				strcasecmp(overlap->reality->targets[t].server_names[i], text) == 0;
}

/* Its clients send its server names and nothing else. */
static void warn_disjoint(const struct route *route)
{
	const struct cv_inbound *inbound = reality_of(route);
	struct overlap overlap = {.reality = inbound ? inbound->reality : NULL};

	if (!inbound)
		return;
	cv_node_each_text(&route->raw.names, look_for_name, &overlap);
	if (!overlap.any)
		cv_node_warning(&route->raw.names,
				"none of these is a server name of inbound \"%.64s\": its clients "
				"do not get there",
				inbound->tag);
}

static void read_route(struct route *route, struct cv_places *places)
{
	cv_schema_read(route_fields, &route->node, &route->raw);
	route->is_good = route->raw.to.json &&
			 cv_load_place(&route->raw.to, places, &route->place);
	if (!route->is_good || route->raw.names.json || reality_of(route))
		return;
	cv_node_error(&route->raw.names, "required, but missing");
	route->is_good = false;
}

static void add_route(struct route *route)
{
	const bool has_names = route->raw.names.json != NULL;
	char first[LABEL_MAX] = "";

	if (!route->is_good)
		return;
	if (has_names)
		cv_node_each_text(&route->raw.names, keep_first, first);
	else
		keep_first(&route->node, reality_of(route)->tag, first);
	if (!*route->raw.class && !*first)
		return;
	route->class = class_of_label(&route->node, *route->raw.class ? route->raw.class : first);
	if (!has_names) {
		each_server_name(route, add_name, route);
		return;
	}
	cv_node_each_text(&route->raw.names, add_name, route);
	warn_disjoint(route);
}

/* ---- inbounds ----------------------------------------------------------------------------- */

static bool has_names(const struct cv_inbound *inbound)
{
	return inbound->security == CV_SECURITY_REALITY ||
	       inbound->security == CV_SECURITY_TLS || inbound->protocol == CV_INBOUND_EDGE;
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
		if (has_names(inbound))
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

static void choose_inbounds(const struct cv_node *edge, const struct raw_edge *raw,
			    const bool *is_behind)
{
	struct cv_load *load = cv_node_load(edge);
	bool any = false;

	if (raw->inbounds.json) {
		cv_node_each_text(&raw->inbounds, mean_inbound, load);
		return;
	}
	for (size_t i = 0; i < load->config->inbound_count; i++) {
		if (!has_names(&load->config->inbounds[i]) || (is_behind && is_behind[i]))
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

/* ---- answers ------------------------------------------------------------------------------ */

static bool leads_away(const struct cv_edge_place *place)
{
	return place->kind == CV_EDGE_INBOUND || place->kind == CV_EDGE_BACKEND;
}

static void set_answers(struct cv_edge *edge, const struct answers *answers)
{
	const struct cv_edge_place *all[] = {&answers->no_tls, &answers->unknown,
					     &answers->no_name};

	edge->no_tls = answers->no_tls;
	edge->unknown = answers->unknown;
	edge->no_name = answers->no_name;
	edge->silence = answers->silence;
	edge->not_tls = answers->no_tls.kind == CV_EDGE_DROP ? CV_SNI_DROP : CV_SNI_PASS;
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		edge->drops |= all[i]->kind == CV_EDGE_DROP;
		edge->leads |= leads_away(all[i]);
	}
	edge->leads |= answers->silence.kind != CV_EDGE_PASS;
}

static bool any_passes(const struct cv_edge *edge)
{
	for (size_t i = 0; i < edge->name_count; i++)
		if (edge->names[i].place.kind == CV_EDGE_PASS)
			return true;
	return edge->no_tls.kind == CV_EDGE_PASS || edge->unknown.kind == CV_EDGE_PASS ||
	       edge->no_name.kind == CV_EDGE_PASS || edge->silence.kind == CV_EDGE_PASS;
}

static void check_target(const struct cv_node *target, const struct cv_inbound *inbound)
{
	if (inbound->protocol == CV_INBOUND_EDGE && !inbound->edge->target &&
	    any_passes(inbound->edge))
		cv_node_error(target,
			      "required, but missing: inbound \"%.64s\" serves nothing itself",
			      inbound->tag);
}

/* An inbound that only routes needs routes. */
static void check_fronts(const struct cv_node *node)
{
	const struct cv_config *config = cv_node_load(node)->config;

	for (size_t i = 0; config->inbounds && i < config->inbound_count; i++)
		if (config->inbounds[i].protocol == CV_INBOUND_EDGE && !config->inbounds[i].edge)
			cv_node_error(node,
				      "required by inbound \"%.64s\", but missing or not for it",
				      config->inbounds[i].tag ? config->inbounds[i].tag : "");
}

static void finish_inbound(const struct raw_edge *raw, struct cv_places *places,
			   const struct answers *answers, size_t index)
{
	struct cv_config *config = cv_node_load(&raw->routes)->config;
	struct cv_inbound *inbound = &config->inbounds[index];
	struct cv_edge *edge = inbound->edge;

	if (!edge || cv_node_load(&raw->routes)->out_of_memory)
		return;
	edge->table = (uint32_t)index;
	if (edge->is_routed)
		set_answers(edge, answers);
	edge->leads |= inbound->protocol == CV_INBOUND_EDGE;
	edge->target = places->target;
	seal(&raw->routes, inbound);
	check_target(&raw->target, inbound);
}

/* ---- all of it ---------------------------------------------------------------------------- */

static void read_answer(const struct cv_node *node, struct cv_places *places,
			struct cv_edge_place *ret_place)
{
	if (node->json)
		(void)cv_load_place(node, places, ret_place);
}

static void mark_behind(const struct cv_edge_place *place, bool *is_behind)
{
	if (place->kind == CV_EDGE_INBOUND && is_behind)
		is_behind[place->inbound] = true;
}

static bool *find_behind(struct cv_load *load, const struct route *routes, size_t route_count,
			 const struct answers *answers)
{
	const struct cv_config *config = load->config;
	bool *is_behind = cv_load_calloc(load, config->inbound_count + 1, sizeof(*is_behind));

	for (size_t i = 0; i < route_count; i++)
		mark_behind(&routes[i].place, is_behind);
	for (size_t i = 0; i < config->backend_count; i++)
		mark_behind(&config->backends[i]->when_down, is_behind);
	mark_behind(&answers->no_tls, is_behind);
	mark_behind(&answers->unknown, is_behind);
	mark_behind(&answers->no_name, is_behind);
	mark_behind(&answers->silence, is_behind);
	return is_behind;
}

static void load_routes(const struct cv_node *node, const struct raw_edge *raw,
			struct cv_places *places, const struct answers *answers)
{
	struct cv_load *load = cv_node_load(node);
	struct cv_config *config = load->config;
	const size_t count = cv_node_count(&raw->routes);
	struct route *routes = cv_load_calloc(load, count + 1, sizeof(*routes));
	bool *is_behind;

	for (size_t i = 0; routes && i < count; i++) {
		routes[i].config = config;
		routes[i].node = cv_node_element(&raw->routes, i);
		read_route(&routes[i], places);
	}
	is_behind = find_behind(load, routes, routes ? count : 0, answers);
	if (node->json)
		choose_inbounds(node, raw, is_behind);
	for (size_t i = 0; config->inbounds && i < config->inbound_count; i++)
		add_targets(node, &config->inbounds[i]);
	for (size_t i = 0; routes && i < count; i++)
		add_route(&routes[i]);
	/* whoever reaches the edge reaches these, wherever they listen themselves */
	for (size_t i = 0; is_behind && i < config->inbound_count; i++)
		config->inbounds[i].guards_private |= is_behind[i];
	free(is_behind);
	free(routes);
}

void cv_load_edge(const struct cv_node *node)
{
	struct cv_config *config = cv_node_load(node)->config;
	struct answers answers = {0};
	struct cv_places places;
	struct raw_edge raw;

	cv_schema_read(edge_fields, node, &raw);
	cv_load_places(&raw.target, &raw.fake_site, raw.terminate, &places);
	cv_load_backends(&raw.backends, &places);
	read_answer(&raw.not_tls, &places, &answers.no_tls);
	read_answer(&raw.unknown, &places, &answers.unknown);
	read_answer(&raw.no_name, &places, &answers.no_name);
	read_answer(&raw.silence, &places, &answers.silence);
	load_routes(node, &raw, &places, &answers);
	for (size_t i = 0; config->inbounds && i < config->inbound_count; i++)
		finish_inbound(&raw, &places, &answers, i);
	check_fronts(node);
}
