// SPDX-License-Identifier: MIT
/*
 * load_place.c - where the edge leads.
 *
 *   "target"               edge.target, else the inbound itself ("pass")
 *   "drop"                 nowhere
 *   "raw80"                edge.fakeSite as it is, without TLS
 *   "terminate"            the inbound edge.terminateTag, which has TLS
 *   {"inboundTag": TAG}    another inbound
 *   {"backend": NAME}      one of edge.backends; else an address, which becomes a backend
 */
#include "config/load_place.h"

#include "config/value.h"

#include <stdlib.h>
#include <string.h>

#define DEFAULT_FAKE_SITE "127.0.0.1:80"

enum word { WORD_PASS, WORD_DROP, WORD_RAW80, WORD_TERMINATE };

static const struct cv_word words[] = {
	{"pass", WORD_PASS},   {"target", WORD_PASS}, {"dest", WORD_PASS},
	{"drop", WORD_DROP},   {"raw80", WORD_RAW80}, {"terminate", WORD_TERMINATE},
	{NULL, 0},
};

/* ---- inbounds ----------------------------------------------------------------------------- */

static bool find_inbound(const struct cv_node *node, const char *tag, uint32_t *ret_index)
{
	const struct cv_config *config = cv_node_load(node)->config;

	for (size_t i = 0; config->inbounds && i < config->inbound_count; i++) {
		if (!config->inbounds[i].tag || strcmp(config->inbounds[i].tag, tag) != 0)
			continue;
		if (config->inbounds[i].protocol == CV_INBOUND_EDGE) {
			cv_node_error(node, "inbound \"%.64s\" only routes: nothing can lead to it",
				      tag);
			return false;
		}
		*ret_index = (uint32_t)i;
		return true;
	}
	cv_node_error(node, "no inbound is called \"%.64s\"", tag);
	return false;
}

static bool place_inbound(const struct cv_node *node, const char *tag, struct cv_edge_place *place)
{
	place->kind = CV_EDGE_INBOUND;
	return find_inbound(node, tag, &place->inbound);
}

static bool place_terminate(const struct cv_node *node, struct cv_places *places,
			    struct cv_edge_place *place)
{
	const struct cv_config *config = cv_node_load(node)->config;

	if (!*places->terminate) {
		cv_node_error(node, "needs edge.terminateTag: the inbound with TLS that answers");
		return false;
	}
	if (!place_inbound(node, places->terminate, place))
		return false;
	if (config->inbounds[place->inbound].security == CV_SECURITY_TLS)
		return true;
	cv_node_error(node, "inbound \"%.64s\" has no TLS of its own", places->terminate);
	return false;
}

/* ---- backends ----------------------------------------------------------------------------- */

static struct cv_backend *new_backend(struct cv_load *load)
{
	struct cv_config *config = load->config;
	struct cv_backend **more = cv_load_grow(load, config->backends, config->backend_count,
						sizeof(struct cv_backend *));
	struct cv_backend *backend = more ? cv_backend_new() : NULL;

	if (more)
		config->backends = more;
	load->out_of_memory |= !backend;
	if (backend)
		more[config->backend_count++] = backend;
	return backend;
}

static struct cv_backend *find_backend(const struct cv_config *config, const char *name)
{
	for (size_t i = 0; i < config->backend_count; i++)
		if (config->backends[i]->name && strcmp(config->backends[i]->name, name) == 0)
			return config->backends[i];
	return NULL;
}

/* A backend that is only an address; NULL after an error. */
static struct cv_backend *backend_at(const struct cv_node *address, uint32_t xver)
{
	struct cv_load *load = cv_node_load(address);
	struct cv_backend parsed = {.xver = (int)xver}, *backend;

	if (!cv_value_target(address, "", &parsed.address_text, &parsed.destination,
			     &parsed.unix_address))
		return NULL;
	backend = new_backend(load);
	if (!backend) {
		free(parsed.address_text);
		return NULL;
	}
	backend->xver = parsed.xver;
	backend->destination = parsed.destination;
	backend->unix_address = parsed.unix_address;
	backend->address_text = parsed.address_text;
	backend->name = cv_load_strdup(load, parsed.address_text ? parsed.address_text : "");
	return backend;
}

static bool place_fake_site(const struct cv_node *node, struct cv_places *places,
			    struct cv_edge_place *place)
{
	struct cv_node address = places->fake_site;

	if (!address.json) {
		address.json = json_object_new_string(DEFAULT_FAKE_SITE);
		if (!address.json)
			cv_node_load(node)->out_of_memory = true;
	}
	if (!places->fake_site_backend)
		places->fake_site_backend = backend_at(&address, 0);
	if (!places->fake_site.json)
		json_object_put(address.json);
	if (places->fake_site_backend)
		places->fake_site_backend->is_target = true;
	place->kind = CV_EDGE_BACKEND;
	place->backend = places->fake_site_backend;
	return place->backend != NULL;
}

void cv_load_places(const struct cv_node *target, const struct cv_node *fake_site,
		    const char *terminate, struct cv_places *ret_places)
{
	*ret_places = (struct cv_places){.fake_site = *fake_site, .terminate = terminate};
	if (target->json)
		ret_places->target = backend_at(target, 0);
	if (ret_places->target)
		ret_places->target->is_target = true;
}

/* ---- places ------------------------------------------------------------------------------- */

struct raw_place {
	const char *inbound;
	struct cv_node backend;
	uint32_t xver;
};

static const struct cv_field place_fields[] = {
	{"inboundTag", .type = CV_FIELD_TEXT, CV_FIELD(struct raw_place, inbound)},
	{"backend", .type = CV_FIELD_ANY, CV_FIELD(struct raw_place, backend)},
	{"xver", .type = CV_FIELD_U32, .max = 2, CV_FIELD(struct raw_place, xver)},
	{.type = CV_FIELD_END},
};

static bool place_backend(const struct cv_node *node, const struct raw_place *raw,
			  struct cv_edge_place *place)
{
	const struct cv_config *config = cv_node_load(node)->config;
	const char *name = json_object_is_type(raw->backend.json, json_type_string)
				   ? json_object_get_string(raw->backend.json)
				   : NULL;
	struct cv_backend *known = name ? find_backend(config, name) : NULL;

	place->kind = CV_EDGE_BACKEND;
	/* the same address with another PROXY header is another backend */
	if (known && (raw->xver == 0 || known->xver == (int)raw->xver))
		place->backend = known;
	else if (known && known->is_checked)
		cv_node_error(node, "xver of backend \"%.64s\" is said where it is defined", name);
	else
		place->backend = backend_at(&raw->backend, raw->xver);
	return place->backend != NULL;
}

static bool place_object(const struct cv_node *node, struct cv_edge_place *place)
{
	struct raw_place raw;

	cv_schema_read(place_fields, node, &raw);
	if (!*raw.inbound == !raw.backend.json) {
		cv_node_error(node, "expected either \"inboundTag\" or \"backend\"");
		return false;
	}
	return *raw.inbound ? place_inbound(node, raw.inbound, place)
			    : place_backend(node, &raw, place);
}

static bool place_word(const struct cv_node *node, struct cv_places *places,
		       struct cv_edge_place *place)
{
	const char *text = cv_node_text(node);
	int word;

	if (!text || !cv_schema_word(words, node, text, &word))
		return false;
	switch ((enum word)word) {
	case WORD_DROP:
		place->kind = CV_EDGE_DROP;
		return true;
	case WORD_RAW80:
		return place_fake_site(node, places, place);
	case WORD_TERMINATE:
		return place_terminate(node, places, place);
	case WORD_PASS:
		break;
	}
	place->kind = CV_EDGE_PASS;
	return true;
}

bool cv_load_place(const struct cv_node *node, struct cv_places *places,
		   struct cv_edge_place *ret_place)
{
	struct cv_edge_place place = {0};
	const bool is_good = json_object_is_type(node->json, json_type_object)
				     ? place_object(node, &place)
				     : place_word(node, places, &place);

	if (is_good)
		*ret_place = place;
	return is_good;
}

/* ---- the list ----------------------------------------------------------------------------- */

struct raw_backend {
	const char *name;
	struct cv_node address, check, when_down;
	uint32_t xver;
};

static const struct cv_field backend_fields[] = {
	{"name", .type = CV_FIELD_TEXT, .is_required = true, CV_FIELD(struct raw_backend, name)},
	{"address", .type = CV_FIELD_ANY, .is_required = true,
	 CV_FIELD(struct raw_backend, address)},
	{"xver", .type = CV_FIELD_U32, .max = 2, CV_FIELD(struct raw_backend, xver)},
	{"check", .type = CV_FIELD_ANY, CV_FIELD(struct raw_backend, check)},
	{"whenDown", .type = CV_FIELD_ANY, CV_FIELD(struct raw_backend, when_down)},
	{.type = CV_FIELD_END},
};

struct raw_check {
	uint32_t interval_s, timeout_s, fall, rise;
};

/* as HAProxy's in the systems that this replaces */
static const struct cv_field check_fields[] = {
	{"interval", .type = CV_FIELD_U32, .min = 1, .max = 3600, .number = 10, .unit = "seconds",
	 CV_FIELD(struct raw_check, interval_s)},
	{"timeout", .type = CV_FIELD_U32, .min = 1, .max = 60, .number = 5, .unit = "seconds",
	 CV_FIELD(struct raw_check, timeout_s)},
	{"fall", .type = CV_FIELD_U32, .min = 1, .max = 100, .number = 3,
	 CV_FIELD(struct raw_check, fall)},
	{"rise", .type = CV_FIELD_U32, .min = 1, .max = 100, .number = 2,
	 CV_FIELD(struct raw_check, rise)},
	{.type = CV_FIELD_END},
};

static void load_check(const struct cv_node *node, struct cv_backend *backend)
{
	const bool is_bool = json_object_is_type(node->json, json_type_boolean);
	struct cv_node object = *node;
	struct raw_check raw;

	if (!node->json || (is_bool && !json_object_get_boolean(node->json)))
		return;
	if (is_bool)
		object.json = NULL; /* all defaults */
	cv_schema_read(check_fields, &object, &raw);
	backend->is_checked = true;
	backend->interval_ms = raw.interval_s * 1000;
	backend->timeout_ms = raw.timeout_s * 1000;
	backend->fall = raw.fall;
	backend->rise = raw.rise;
}

static struct cv_backend *load_backend(const struct cv_node *node, struct raw_backend *ret_raw)
{
	const struct cv_node name = cv_node_member(node, "name");
	struct cv_backend *backend;

	cv_schema_read(backend_fields, node, ret_raw);
	if (*ret_raw->name && find_backend(cv_node_load(node)->config, ret_raw->name))
		cv_node_error(&name, "another backend has this name");
	backend = ret_raw->address.json ? backend_at(&ret_raw->address, ret_raw->xver) : NULL;
	if (!backend)
		return NULL;
	free(backend->name);
	backend->name = cv_load_strdup(cv_node_load(node), ret_raw->name);
	load_check(&ret_raw->check, backend);
	return backend;
}

void cv_load_backends(const struct cv_node *list, struct cv_places *places)
{
	struct cv_load *load = cv_node_load(list);
	const size_t count = cv_node_count(list);
	struct cv_backend **made = cv_load_calloc(load, count + 1, sizeof(struct cv_backend *));

	for (size_t i = 0; made && i < count; i++) {
		const struct cv_node node = cv_node_element(list, i);
		struct raw_backend raw;

		made[i] = load_backend(&node, &raw);
	}
	for (size_t i = 0; made && i < count; i++) { /* these may name each other */
		const struct cv_node node = cv_node_element(list, i);
		const struct cv_node when_down = cv_node_member(&node, "whenDown");

		if (made[i] && when_down.json)
			(void)cv_load_place(&when_down, places, &made[i]->when_down);
	}
	free(made);
}
