/* SPDX-License-Identifier: MIT */
/*
 * router.h - which outbound a session takes (compat 8): ordered rules, first full match wins.
 */
#ifndef CV_POLICY_ROUTER_H
#define CV_POLICY_ROUTER_H

#include "base/address.h"
#include "policy/domain_matcher.h"
#include "policy/ip_matcher.h"
#include "policy/sniffing.h"

#include <stddef.h>

struct cv_route_query {
	const char *inbound_tag;
	const char *user_email, *user_name; /* "" = none */
	unsigned network; /* enum cv_network; 0 = TCP */
	const struct cv_destination *destination;
	const struct cv_sockaddr *source;   /* client address */
	uint32_t vless_route;               /* UUID bytes 6,7, or 0x10000 = none */
	const struct cv_sockaddr *resolved; /* addresses of a domain destination, or NULL */
	size_t resolved_count;
	const char *name; /* sniffed; domain conditions are about it, not the destination */
	enum cv_sniffed protocol;
};

enum cv_route_result {
	CV_ROUTE_OUTBOUND, /* *ret_outbound is valid */
	CV_ROUTE_DEFAULT,  /* no rule matched: first outbound */
	CV_ROUTE_BALANCER, /* *ret_outbound is the number of a balancer, which picks one */
	CV_ROUTE_MISSING,  /* the rule names a tag that does not exist: drop (compat 8) */
	CV_ROUTE_RESOLVE,  /* resolve the domain, then ask again with its addresses */
};

#define CV_VLESS_ROUTE_NONE 0x10000u

enum cv_route_strategy { CV_ROUTE_AS_IS, CV_ROUTE_IP_IF_NON_MATCH, CV_ROUTE_IP_ON_DEMAND };

enum cv_network { CV_NETWORK_TCP = 1, CV_NETWORK_UDP = 2, CV_NETWORK_UNIX = 4 };

/* Inclusive ranges; no range = no condition. */
struct cv_port_set {
	struct {
		uint16_t first, last;
	} * ranges;
	size_t count;
};

/** cv_port_set_add() - 0 or CV_INTERNAL_MEMORY. */
int cv_port_set_add(struct cv_port_set *set, uint16_t first, uint16_t last);
bool cv_port_set_contains(const struct cv_port_set *set, uint32_t port);

/* Exact texts, and with "regexp:" in front patterns; no text = no condition. */
struct cv_text_set;
/** cv_text_set_add() - *set may be NULL and is then made. 0, CV_INTERNAL_MEMORY, or
 * CV_INTERNAL_CONFIG with the cause in @error_text. */
int cv_text_set_add(struct cv_text_set **set, const char *rule, bool with_regexp, char *error_text,
		    size_t error_size);

size_t cv_text_set_count(const struct cv_text_set *set);
const char *cv_text_set_at(const struct cv_text_set *set, size_t index);
bool cv_text_set_has_regexp(const struct cv_text_set *set);

#define CV_OUTBOUND_MISSING UINT32_MAX

/* NULL or empty = no condition of that kind; a rule with none matches everything. */
struct cv_route_rule {
	struct cv_domain_matcher *domains;
	struct cv_ip_matcher *addresses, *sources;
	struct cv_port_set ports, source_ports, vless_routes;
	unsigned networks;  /* enum cv_network, OR-ed */
	unsigned protocols; /* enum cv_sniffed, OR-ed */
	struct cv_text_set *inbound_tags, *users;
	uint32_t outbound; /* index, or CV_OUTBOUND_MISSING */
	bool is_balanced;  /* outbound is the index of a balancer */
};

/** cv_route_rule_done() - Free what @rule owns. */
void cv_route_rule_done(struct cv_route_rule *rule);

struct cv_router;

/** cv_router_new() - Without rules. NULL: out of memory. */
struct cv_router *cv_router_new(enum cv_route_strategy strategy);
/** cv_router_add() - Last in order; takes what @rule owns, also on failure (CV_INTERNAL_MEMORY). */
int cv_router_add(struct cv_router *router, struct cv_route_rule *rule);
/** cv_router_finish() - After the last rule: decisions need not look at every rule from now on. Up
 * to then, and beyond 65536 rules, they do. 0 or CV_INTERNAL_MEMORY: it cannot be used any more. */
int cv_router_finish(struct cv_router *router);
/** cv_router_bytes() - About what the index of cv_router_finish() takes, 0 without one. */
size_t cv_router_bytes(const struct cv_router *router);

/**
 * cv_router_pick() - The first rule whose conditions all match.
 * @ret_outbound: set with CV_ROUTE_OUTBOUND and CV_ROUTE_BALANCER
 * @ret_rule: index of the rule, set with these and CV_ROUTE_MISSING
 * CV_ROUTE_RESOLVE is only returned while query->resolved is NULL. An address condition on a domain
 * matches if one of its addresses does. Thread safe. Source: compat 8.
 */
enum cv_route_result cv_router_pick(const struct cv_router *router,
				    const struct cv_route_query *query, uint32_t *ret_outbound,
				    uint32_t *ret_rule);
/** cv_router_free() - NULL-safe, returns NULL. */
struct cv_router *cv_router_free(struct cv_router *router);

#endif
