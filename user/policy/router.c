// SPDX-License-Identifier: MIT
/*
 * router.c - ordered rules; all conditions of a rule must match, one value of each is enough.
 *
 *   inbound tag, network, ports, user, source, domain     known at once
 *   addresses                                             last: may need the domain resolved
 *
 *   AsIs          a domain has no addresses
 *   IPOnDemand    the first rule that comes down to its addresses asks for them (RESOLVE)
 *   IPIfNonMatch  asks when no rule matched, then all rules run again with the addresses
 */
#include "policy/router.h"

#include "policy/regexp.h"
#include "policy/route_index.h"

#include <culvert/reason.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct cv_router {
	enum cv_route_strategy strategy;
	struct cv_route_rule *rules;
	size_t rule_count, rule_size;
	struct cv_route_index *index; /* NULL = each rule is looked at */
};

struct cv_text_set {
	char **texts;
	size_t text_count;
	regex_t *regexps;
	size_t regexp_count;
};

/* ---- sets --------------------------------------------------------------------------------- */

int cv_port_set_add(struct cv_port_set *set, uint16_t first, uint16_t last)
{
	void *ranges = reallocarray(set->ranges, set->count + 1, sizeof(*set->ranges));

	if (!ranges)
		return CV_INTERNAL_MEMORY;
	set->ranges = ranges;
	set->ranges[set->count].first = first;
	set->ranges[set->count++].last = last;
	return 0;
}

bool cv_port_set_contains(const struct cv_port_set *set, uint32_t port)
{
	for (size_t i = 0; i < set->count; i++)
		if (set->ranges[i].first <= port && port <= set->ranges[i].last)
			return true;
	return false;
}

static int add_regexp(struct cv_text_set *set, const char *pattern, char *error_text,
		      size_t error_size)
{
	regex_t *regexps = reallocarray(set->regexps, set->regexp_count + 1, sizeof(*regexps));
	char cause[CV_REGEXP_ERROR_TEXT];

	if (!regexps)
		return CV_INTERNAL_MEMORY;
	set->regexps = regexps;
	if (cv_regexp_compile(pattern, &regexps[set->regexp_count], cause) != 0) {
		snprintf(error_text, error_size, "%s", cause);
		return CV_INTERNAL_CONFIG;
	}
	set->regexp_count++;
	return 0;
}

static int add_text(struct cv_text_set *set, const char *text)
{
	char **texts = reallocarray(set->texts, set->text_count + 1, sizeof(*texts));

	if (!texts)
		return CV_INTERNAL_MEMORY;
	set->texts = texts;
	texts[set->text_count] = strdup(text);
	if (!texts[set->text_count])
		return CV_INTERNAL_MEMORY;
	set->text_count++;
	return 0;
}

int cv_text_set_add(struct cv_text_set **set, const char *rule, bool with_regexp, char *error_text,
		    size_t error_size)
{
	if (!*set)
		*set = calloc(1, sizeof(**set));
	if (!*set)
		return CV_INTERNAL_MEMORY;
	if (with_regexp && strncmp(rule, "regexp:", 7) == 0)
		return add_regexp(*set, rule + 7, error_text, error_size);
	return add_text(*set, rule);
}

size_t cv_text_set_count(const struct cv_text_set *set)
{
	return set->text_count;
}

const char *cv_text_set_at(const struct cv_text_set *set, size_t index)
{
	return set->texts[index];
}

bool cv_text_set_has_regexp(const struct cv_text_set *set)
{
	return set->regexp_count > 0;
}

static bool text_set_contains(const struct cv_text_set *set, const char *text)
{
	for (size_t i = 0; i < set->text_count; i++)
		if (strcmp(set->texts[i], text) == 0)
			return true;
	for (size_t i = 0; i < set->regexp_count; i++)
		if (regexec(&set->regexps[i], text, 0, NULL, 0) == 0)
			return true;
	return false;
}

static void text_set_free(struct cv_text_set *set)
{
	if (!set)
		return;
	for (size_t i = 0; i < set->text_count; i++)
		free(set->texts[i]);
	for (size_t i = 0; i < set->regexp_count; i++)
		regfree(&set->regexps[i]);
	free(set->texts);
	free(set->regexps);
	free(set);
}

void cv_route_rule_done(struct cv_route_rule *rule)
{
	cv_domain_matcher_free(rule->domains);
	cv_ip_matcher_free(rule->addresses);
	cv_ip_matcher_free(rule->sources);
	free(rule->ports.ranges);
	free(rule->source_ports.ranges);
	free(rule->vless_routes.ranges);
	text_set_free(rule->inbound_tags);
	text_set_free(rule->users);
	*rule = (struct cv_route_rule){0};
}

/* ---- router ------------------------------------------------------------------------------- */

struct cv_router *cv_router_new(enum cv_route_strategy strategy)
{
	struct cv_router *router = calloc(1, sizeof(*router));

	if (router)
		router->strategy = strategy;
	return router;
}

int cv_router_add(struct cv_router *router, struct cv_route_rule *rule)
{
	if (router->rule_count == router->rule_size) {
		const size_t size = router->rule_size ? 2 * router->rule_size : 8;
		struct cv_route_rule *rules = reallocarray(router->rules, size, sizeof(*rules));

		if (!rules) {
			cv_route_rule_done(rule);
			return CV_INTERNAL_MEMORY;
		}
		router->rules = rules;
		router->rule_size = size;
	}
	router->rules[router->rule_count++] = *rule;
	*rule = (struct cv_route_rule){0};
	return 0;
}

int cv_router_finish(struct cv_router *router)
{
	if (router->rule_count > CV_ROUTE_INDEX_RULES_MAX || router->index)
		return 0;
	router->index = cv_route_index_new(router->rules, router->rule_count);
	return router->index ? 0 : CV_INTERNAL_MEMORY;
}

size_t cv_router_bytes(const struct cv_router *router)
{
	return router->index ? cv_route_index_bytes(router->index) : 0;
}

struct cv_router *cv_router_free(struct cv_router *router)
{
	if (!router)
		return NULL;
	cv_route_index_free(router->index);
	for (size_t i = 0; i < router->rule_count; i++)
		cv_route_rule_done(&router->rules[i]);
	free(router->rules);
	free(router);
	return NULL;
}

/* ---- matching ----------------------------------------------------------------------------- */

/* An empty name is nobody's: it matches no text and no pattern. */
static bool match_user(const struct cv_text_set *users, const struct cv_route_query *query)
{
	return (query->user_email[0] && text_set_contains(users, query->user_email)) ||
	       (query->user_name[0] && text_set_contains(users, query->user_name));
}

static bool match_source(const struct cv_route_rule *rule, const struct cv_sockaddr *source)
{
	struct cv_destination address = {0};

	if (!rule->sources && rule->source_ports.count == 0)
		return true;
	if (!source || !cv_sockaddr_to_destination(source, &address))
		return false;
	return (!rule->sources || cv_ip_matcher_match(rule->sources, &address)) &&
	       (rule->source_ports.count == 0 ||
		cv_port_set_contains(&rule->source_ports, address.port));
}

static const char *name_of(const struct cv_route_query *query)
{
	if (query->name)
		return query->name;
	return query->destination->kind == CV_ADDRESS_DOMAIN ? query->destination->domain : NULL;
}

static bool match_simple(const struct cv_route_rule *rule, const struct cv_route_query *query)
{
	const struct cv_destination *destination = query->destination;
	const unsigned network = query->network ? query->network : (unsigned)CV_NETWORK_TCP;

	return (!rule->inbound_tags || text_set_contains(rule->inbound_tags, query->inbound_tag)) &&
	       (rule->protocols == 0 || (rule->protocols & query->protocol)) &&
	       (rule->networks == 0 || (rule->networks & network)) &&
	       (rule->ports.count == 0 || cv_port_set_contains(&rule->ports, destination->port)) &&
	       (rule->vless_routes.count == 0 ||
		cv_port_set_contains(&rule->vless_routes, query->vless_route)) &&
	       (!rule->users || match_user(rule->users, query)) &&
	       match_source(rule, query->source);
}

static bool match_addresses(const struct cv_route_rule *rule, const struct cv_route_query *query)
{
	if (!rule->addresses || cv_ip_matcher_match(rule->addresses, query->destination))
		return true;
	if (query->destination->kind != CV_ADDRESS_DOMAIN)
		return false;
	for (size_t i = 0; query->resolved && i < query->resolved_count; i++) {
		struct cv_destination address;

		if (cv_sockaddr_to_destination(&query->resolved[i], &address) &&
		    cv_ip_matcher_match(rule->addresses, &address))
			return true;
	}
	return false;
}

/* What comes of a rule; its domain condition is met. DEFAULT: it does not match. */
static enum cv_route_result try_rule(const struct cv_router *router, uint32_t number,
				     const struct cv_route_query *query, bool wants_resolving,
				     uint32_t *ret_outbound, uint32_t *ret_rule)
{
	const struct cv_route_rule *rule = &router->rules[number];

	if (!match_simple(rule, query))
		return CV_ROUTE_DEFAULT;
	if (rule->addresses && wants_resolving)
		return CV_ROUTE_RESOLVE;
	if (!match_addresses(rule, query))
		return CV_ROUTE_DEFAULT;
	*ret_rule = number;
	if (rule->outbound == CV_OUTBOUND_MISSING)
		return CV_ROUTE_MISSING;
	*ret_outbound = rule->outbound;
	return rule->is_balanced ? CV_ROUTE_BALANCER : CV_ROUTE_OUTBOUND;
}

static enum cv_route_result try_all(const struct cv_router *router,
				    const struct cv_route_query *query, bool wants_resolving,
				    uint32_t *ret_outbound, uint32_t *ret_rule)
{
	const char *name = name_of(query);
	enum cv_route_result result = CV_ROUTE_DEFAULT;

	for (size_t i = 0; i < router->rule_count && result == CV_ROUTE_DEFAULT; i++) {
		const struct cv_domain_matcher *domains = router->rules[i].domains;

		if (!domains || (name && cv_domain_matcher_match(domains, name)))
			result = try_rule(router, (uint32_t)i, query, wants_resolving,
					  ret_outbound, ret_rule);
	}
	return result;
}

static enum cv_route_result try_some(const struct cv_router *router,
				     const struct cv_route_query *query, bool wants_resolving,
				     uint32_t *ret_outbound, uint32_t *ret_rule)
{
	uint64_t bits[CV_ROUTE_INDEX_WORDS];
	const size_t word_count = cv_route_index_find(router->index, query, name_of(query),
						      wants_resolving, bits);
	enum cv_route_result result = CV_ROUTE_DEFAULT;

	for (size_t i = 0; i < word_count; i++)
		for (; bits[i] && result == CV_ROUTE_DEFAULT; bits[i] &= bits[i] - 1)
			result = try_rule(router,
					  (uint32_t)(64 * i) +
						  (uint32_t)__builtin_ctzll(bits[i]),
					  query, wants_resolving, ret_outbound, ret_rule);
	return result;
}

enum cv_route_result cv_router_pick(const struct cv_router *router,
				    const struct cv_route_query *query, uint32_t *ret_outbound,
				    uint32_t *ret_rule)
{
	const bool could_resolve =
		query->destination->kind == CV_ADDRESS_DOMAIN && !query->resolved;
	const bool wants_resolving = could_resolve && router->strategy == CV_ROUTE_IP_ON_DEMAND;
	const enum cv_route_result result =
		router->index
			? try_some(router, query, wants_resolving, ret_outbound, ret_rule)
			: try_all(router, query, wants_resolving, ret_outbound, ret_rule);

	if (result == CV_ROUTE_DEFAULT && could_resolve &&
	    router->strategy == CV_ROUTE_IP_IF_NON_MATCH)
		return CV_ROUTE_RESOLVE;
	return result;
}
