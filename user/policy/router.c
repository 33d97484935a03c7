// SPDX-License-Identifier: MIT
/*
 * router.c - ordered rules; all conditions of a rule must hold, one value of each is enough.
 *
 * full: and domain: entries sit in a sorted table per rule and are found by binary search of the name
 * and each of its suffixes, so a list of a hundred thousand names costs no more than a few. keyword:
 * and regexp: entries are tried one after the other. Negated IPs form one union that is then negated
 * (compat 8). Domains are matched in lower case.
 */
#include "policy/router_build.h"

#include "base/reason.h"
#include "policy/private_address.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct name_entry {
	char *name;
	bool subdomains;
};

struct pattern {
	enum { PATTERN_KEYWORD, PATTERN_DOTLESS, PATTERN_REGEXP } kind;
	char *text;
	regex_t regexp;
};

struct network {
	uint8_t address[16]; /* v4 as ::ffff:a.b.c.d */
	uint8_t prefix_bits;
	bool is_private_set, negated;
};

struct range {
	uint32_t first, last;
};

struct array { /* grows by doubling */
	void *items;
	size_t count, size;
};

struct cv_rule {
	uint32_t outbound;
	bool has_network, tcp;
	struct array names, patterns, users, user_patterns, tags; /* domain side, users, inbounds */
	struct array ips, sources;
	struct array ports, source_ports, vless_routes;
};

struct cv_router {
	enum cv_domain_strategy strategy;
	struct array rules;
};

static void *array_add(struct array *array, size_t item_bytes)
{
	if (array->count == array->size) {
		size_t size = array->size ? array->size * 2 : 4;
		void *items = realloc(array->items, size * item_bytes);

		if (!items)
			return NULL;
		array->items = items;
		array->size = size;
	}
	memset((char *)array->items + array->count * item_bytes, 0, item_bytes);
	return (char *)array->items + array->count++ * item_bytes;
}

/* ---- building ----------------------------------------------------------------------------- */

struct cv_router *cv_router_new(enum cv_domain_strategy strategy)
{
	struct cv_router *router = calloc(1, sizeof(*router));

	if (router)
		router->strategy = strategy;
	return router;
}

struct cv_rule *cv_router_add_rule(struct cv_router *router, uint32_t outbound)
{
	struct cv_rule **slot, *rule;

	if (router->rules.count >= CV_ROUTE_RULES_MAX)
		return NULL;
	rule = calloc(1, sizeof(*rule));
	slot = rule ? array_add(&router->rules, sizeof(rule)) : NULL;
	if (!slot) {
		free(rule);
		return NULL;
	}
	rule->outbound = outbound;
	*slot = rule;
	return rule;
}

static char *copy_lower(const char *text)
{
	char *copy = strdup(text);

	for (char *c = copy; c && *c; c++)
		*c = (char)tolower((unsigned char)*c);
	return copy;
}

static int add_name(struct cv_rule *rule, const char *text, bool subdomains)
{
	struct name_entry *entry = array_add(&rule->names, sizeof(*entry));

	if (!entry)
		return CV_INTERNAL_MEMORY;
	entry->name = copy_lower(text);
	entry->subdomains = subdomains;
	return entry->name ? 0 : CV_INTERNAL_MEMORY;
}

static int add_pattern(struct array *array, int kind, const char *text, const char **ret_expected)
{
	struct pattern *pattern = array_add(array, sizeof(*pattern));

	if (!pattern)
		return CV_INTERNAL_MEMORY;
	pattern->kind = PATTERN_KEYWORD;
	pattern->text = kind == PATTERN_REGEXP ? strdup(text) : copy_lower(text);
	if (!pattern->text)
		return CV_INTERNAL_MEMORY;
	if (kind == PATTERN_REGEXP &&
	    regcomp(&pattern->regexp, text, REG_EXTENDED | REG_NOSUB | REG_ICASE) != 0) {
		*ret_expected = "a POSIX extended regular expression";
		return CV_INTERNAL_CONFIG;
	}
	pattern->kind = kind;
	return 0;
}

static bool take_prefix(const char **text, const char *prefix)
{
	size_t len = strlen(prefix);

	if (strncmp(*text, prefix, len) != 0)
		return false;
	*text += len;
	return true;
}

static int add_domain(struct cv_rule *rule, const char *text, const char **ret_expected)
{
	if (take_prefix(&text, "full:"))
		return add_name(rule, text, false);
	if (take_prefix(&text, "domain:"))
		return add_name(rule, text, true);
	if (take_prefix(&text, "keyword:"))
		return add_pattern(&rule->patterns, PATTERN_KEYWORD, text, ret_expected);
	if (take_prefix(&text, "dotless:"))
		return add_pattern(&rule->patterns, PATTERN_DOTLESS, text, ret_expected);
	if (take_prefix(&text, "regexp:"))
		return add_pattern(&rule->patterns, PATTERN_REGEXP, text, ret_expected);
	if (strncmp(text, "geosite:", 8) == 0 || strncmp(text, "ext:", 4) == 0) {
		*ret_expected = "full:, domain:, keyword:, regexp: or dotless: (geosite files are not "
				"supported yet)";
		return CV_INTERNAL_CONFIG;
	}
	return add_pattern(&rule->patterns, PATTERN_KEYWORD, text, ret_expected);
}

static void map_v4(const uint8_t v4[4], uint8_t mapped[16])
{
	static const uint8_t prefix[12] = {[10] = 0xff, [11] = 0xff};

	memcpy(mapped, prefix, sizeof(prefix));
	memcpy(mapped + 12, v4, 4);
}

static int parse_network(const char *text, struct network *network)
{
	char host[INET6_ADDRSTRLEN + 1];
	const char *slash = strchr(text, '/');
	size_t host_len = slash ? (size_t)(slash - text) : strlen(text);
	unsigned long bits = 128;
	uint8_t v4[4];
	bool is_v4;
	char *end;

	if (host_len >= sizeof(host))
		return CV_INTERNAL_CONFIG;
	memcpy(host, text, host_len);
	host[host_len] = '\0';
	is_v4 = inet_pton(AF_INET, host, v4) == 1;
	if (!is_v4 && inet_pton(AF_INET6, host, network->address) != 1)
		return CV_INTERNAL_CONFIG;
	if (is_v4)
		map_v4(v4, network->address);
	if (slash) {
		bits = strtoul(slash + 1, &end, 10);
		if (*end || end == slash + 1 || bits > (is_v4 ? 32u : 128u))
			return CV_INTERNAL_CONFIG;
		bits += is_v4 ? 96 : 0;
	}
	network->prefix_bits = (uint8_t)bits;
	return 0;
}

static int add_network(struct array *array, const char *text, const char **ret_expected)
{
	struct network *network = array_add(array, sizeof(*network));

	if (!network)
		return CV_INTERNAL_MEMORY;
	network->negated = take_prefix(&text, "!");
	if (take_prefix(&text, "geoip:")) {
		network->negated |= take_prefix(&text, "!");
		network->is_private_set = true;
		if (strcasecmp(text, "private") == 0)
			return 0;
		*ret_expected = "geoip:private (geoip files are not supported yet)";
		return CV_INTERNAL_CONFIG;
	}
	*ret_expected = "an IP address, CIDR or geoip:private";
	return parse_network(text, network);
}

static int add_text(struct array *array, const char *text)
{
	char **slot = array_add(array, sizeof(*slot));

	if (!slot)
		return CV_INTERNAL_MEMORY;
	*slot = strdup(text);
	return *slot ? 0 : CV_INTERNAL_MEMORY;
}

int cv_rule_add(struct cv_rule *rule, enum cv_route_list list, const char *text,
		const char **ret_expected)
{
	*ret_expected = "text that is not empty";
	if (!text[0])
		return CV_INTERNAL_CONFIG;
	switch (list) {
	case CV_RULE_DOMAIN:
		return add_domain(rule, text, ret_expected);
	case CV_RULE_IP:
		return add_network(&rule->ips, text, ret_expected);
	case CV_RULE_SOURCE:
		return add_network(&rule->sources, text, ret_expected);
	case CV_RULE_USER:
		if (take_prefix(&text, "regexp:"))
			return add_pattern(&rule->user_patterns, PATTERN_REGEXP, text, ret_expected);
		return add_text(&rule->users, text);
	case CV_RULE_INBOUND_TAG:
		return add_text(&rule->tags, text);
	}
	return CV_INTERNAL_STATE;
}

int cv_rule_add_ports(struct cv_rule *rule, enum cv_route_ports which, uint32_t first, uint32_t last)
{
	struct array *const arrays[] = {
		[CV_RULE_PORT] = &rule->ports,
		[CV_RULE_SOURCE_PORT] = &rule->source_ports,
		[CV_RULE_VLESS_ROUTE] = &rule->vless_routes,
	};
	struct range *range = array_add(arrays[which], sizeof(*range));

	if (!range)
		return CV_INTERNAL_MEMORY;
	range->first = first;
	range->last = last;
	return 0;
}

void cv_rule_set_network(struct cv_rule *rule, bool tcp)
{
	rule->has_network = true;
	rule->tcp |= tcp;
}

static int compare_names(const void *left, const void *right)
{
	return strcmp(((const struct name_entry *)left)->name, ((const struct name_entry *)right)->name);
}

void cv_router_seal(struct cv_router *router)
{
	for (size_t i = 0; i < router->rules.count; i++) {
		struct cv_rule *rule = ((struct cv_rule **)router->rules.items)[i];

		if (rule->names.count)
			qsort(rule->names.items, rule->names.count, sizeof(struct name_entry),
			      compare_names);
	}
}

/* ---- matching ----------------------------------------------------------------------------- */

/* Entries of the same name may differ in subdomains: any of the run will do. */
static bool has_name(const struct array *names, const char *name, bool as_suffix)
{
	const struct name_entry *items = names->items;
	size_t low = 0, high = names->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (strcmp(items[middle].name, name) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	for (; low < names->count && strcmp(items[low].name, name) == 0; low++)
		if (!as_suffix || items[low].subdomains)
			return true;
	return false;
}

static bool matches_names(const struct array *names, const char *domain)
{
	if (names->count == 0)
		return false;
	if (has_name(names, domain, false))
		return true;
	for (const char *dot = strchr(domain, '.'); dot; dot = strchr(dot + 1, '.'))
		if (has_name(names, dot + 1, true))
			return true;
	return false;
}

static bool matches_patterns(const struct array *patterns, const char *text)
{
	for (size_t i = 0; i < patterns->count; i++) {
		const struct pattern *pattern = &((const struct pattern *)patterns->items)[i];

		if (pattern->kind == PATTERN_REGEXP ? regexec(&pattern->regexp, text, 0, NULL, 0) == 0
						    : strstr(text, pattern->text) != NULL)
			if (pattern->kind != PATTERN_DOTLESS || !strchr(text, '.'))
				return true;
	}
	return false;
}

static bool matches_domain(const struct cv_rule *rule, const struct cv_route_query *query)
{
	char domain[CV_DOMAIN_MAX + 1];
	size_t i;

	if (rule->names.count == 0 && rule->patterns.count == 0)
		return true;
	if (query->destination->kind != CV_ADDRESS_DOMAIN)
		return false;
	for (i = 0; query->destination->domain[i]; i++)
		domain[i] = (char)tolower((unsigned char)query->destination->domain[i]);
	domain[i] = '\0';
	return matches_names(&rule->names, domain) || matches_patterns(&rule->patterns, domain);
}

static bool in_network(const struct network *network, const struct cv_sockaddr *address)
{
	struct cv_destination destination;
	uint8_t bytes[16];
	unsigned whole = network->prefix_bits / 8, rest = network->prefix_bits % 8;

	if (network->is_private_set)
		return cv_address_is_private(address);
	if (!cv_sockaddr_to_destination(address, &destination))
		return false;
	if (destination.kind == CV_ADDRESS_IPV4)
		map_v4(destination.ipv4, bytes);
	else
		memcpy(bytes, destination.ipv6, sizeof(bytes));
	if (memcmp(bytes, network->address, whole) != 0)
		return false;
	return rest == 0 || ((bytes[whole] ^ network->address[whole]) >> (8 - rest)) == 0;
}

static bool matches_networks(const struct array *networks, const struct cv_sockaddr *address)
{
	bool any_negated = false, in_negated = false;

	for (size_t i = 0; i < networks->count; i++) {
		const struct network *network = &((const struct network *)networks->items)[i];
		bool inside = in_network(network, address);

		if (inside && !network->negated)
			return true;
		any_negated |= network->negated;
		in_negated |= network->negated && inside;
	}
	return any_negated && !in_negated;
}

enum ip_match { IP_NO, IP_YES, IP_UNKNOWN };

static enum ip_match matches_ip(const struct cv_rule *rule, const struct cv_route_query *query)
{
	struct cv_sockaddr literal;

	if (rule->ips.count == 0)
		return IP_YES;
	if (cv_destination_to_sockaddr(query->destination, &literal))
		return matches_networks(&rule->ips, &literal) ? IP_YES : IP_NO;
	if (!query->resolved)
		return IP_UNKNOWN;
	for (size_t i = 0; i < query->resolved_count; i++)
		if (matches_networks(&rule->ips, &query->resolved[i]))
			return IP_YES;
	return IP_NO;
}

static bool in_ranges(const struct array *ranges, uint32_t value)
{
	const struct range *items = ranges->items;

	for (size_t i = 0; i < ranges->count; i++)
		if (value >= items[i].first && value <= items[i].last)
			return true;
	return ranges->count == 0;
}

static bool has_text(const struct array *texts, const char *text)
{
	for (size_t i = 0; i < texts->count; i++)
		if (strcmp(((char *const *)texts->items)[i], text) == 0)
			return true;
	return false;
}

static bool matches_user(const struct cv_rule *rule, const struct cv_route_query *query)
{
	if (rule->users.count == 0 && rule->user_patterns.count == 0)
		return true;
	if (query->user_email[0] && (has_text(&rule->users, query->user_email) ||
				     matches_patterns(&rule->user_patterns, query->user_email)))
		return true;
	return query->user_name[0] && has_text(&rule->users, query->user_name);
}

static bool matches_rest(const struct cv_rule *rule, const struct cv_route_query *query)
{
	if (rule->has_network && !rule->tcp)
		return false;
	if (rule->tags.count && !has_text(&rule->tags, query->inbound_tag))
		return false;
	if (rule->sources.count && (!query->source || !matches_networks(&rule->sources, query->source)))
		return false;
	if (rule->source_ports.count &&
	    (!query->source || !in_ranges(&rule->source_ports, cv_sockaddr_port(query->source))))
		return false;
	return in_ranges(&rule->ports, query->destination->port) &&
	       in_ranges(&rule->vless_routes, query->vless_route) && matches_user(rule, query) &&
	       matches_domain(rule, query);
}

enum cv_route_result cv_router_pick(const struct cv_router *router, const struct cv_route_query *query,
				    uint32_t *ret_outbound, uint32_t *ret_rule)
{
	bool unknown = false;

	for (size_t i = 0; i < router->rules.count; i++) {
		const struct cv_rule *rule = ((struct cv_rule *const *)router->rules.items)[i];
		enum ip_match ip;

		if (!matches_rest(rule, query))
			continue;
		ip = matches_ip(rule, query);
		if (ip == IP_UNKNOWN && router->strategy == CV_ROUTE_IP_ON_DEMAND)
			return CV_ROUTE_RESOLVE;
		unknown |= ip == IP_UNKNOWN;
		if (ip != IP_YES)
			continue;
		*ret_rule = (uint32_t)i;
		if (rule->outbound == UINT32_MAX)
			return CV_ROUTE_MISSING;
		*ret_outbound = rule->outbound;
		return CV_ROUTE_OUTBOUND;
	}
	return unknown && router->strategy == CV_ROUTE_IP_IF_NON_MATCH ? CV_ROUTE_RESOLVE
								       : CV_ROUTE_DEFAULT;
}

/* ---- freeing ------------------------------------------------------------------------------ */

static void free_patterns(struct array *array)
{
	for (size_t i = 0; i < array->count; i++) {
		struct pattern *pattern = &((struct pattern *)array->items)[i];

		if (pattern->kind == PATTERN_REGEXP)
			regfree(&pattern->regexp);
		free(pattern->text);
	}
	free(array->items);
}

static void free_texts(struct array *array)
{
	for (size_t i = 0; i < array->count; i++)
		free(((char **)array->items)[i]);
	free(array->items);
}

static void rule_free(struct cv_rule *rule)
{
	for (size_t i = 0; i < rule->names.count; i++)
		free(((struct name_entry *)rule->names.items)[i].name);
	free(rule->names.items);
	free_patterns(&rule->patterns);
	free_patterns(&rule->user_patterns);
	free_texts(&rule->users);
	free_texts(&rule->tags);
	free(rule->ips.items);
	free(rule->sources.items);
	free(rule->ports.items);
	free(rule->source_ports.items);
	free(rule->vless_routes.items);
	free(rule);
}

struct cv_router *cv_router_free(struct cv_router *router)
{
	if (!router)
		return NULL;
	for (size_t i = 0; i < router->rules.count; i++)
		rule_free(((struct cv_rule **)router->rules.items)[i]);
	free(router->rules.items);
	free(router);
	return NULL;
}
