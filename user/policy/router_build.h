/* SPDX-License-Identifier: MIT */
/*
 * router_build.h - how config/ fills a router; everything is copied, strings are checked here.
 */
#ifndef CV_POLICY_ROUTER_BUILD_H
#define CV_POLICY_ROUTER_BUILD_H

#include "policy/router.h"

#define CV_ROUTE_RULES_MAX 65536

enum cv_domain_strategy { CV_ROUTE_AS_IS, CV_ROUTE_IP_IF_NON_MATCH, CV_ROUTE_IP_ON_DEMAND };

enum cv_route_list { /* lists of text in a rule */
	CV_RULE_DOMAIN,	    /* full: domain: keyword: regexp: dotless: or plain = keyword */
	CV_RULE_IP,	    /* IP, CIDR, geoip:private, each with ! */
	CV_RULE_SOURCE,	    /* as IP */
	CV_RULE_USER,	    /* e-mail, user name, or regexp: */
	CV_RULE_INBOUND_TAG,
};

enum cv_route_ports { CV_RULE_PORT, CV_RULE_SOURCE_PORT, CV_RULE_VLESS_ROUTE };

struct cv_rule;

struct cv_router *cv_router_new(enum cv_domain_strategy strategy);
/** cv_router_add_rule() - The next rule; @outbound UINT32_MAX = its tag does not exist. NULL: memory. */
struct cv_rule *cv_router_add_rule(struct cv_router *router, uint32_t outbound);
/** cv_rule_add() - One entry. 0; CV_INTERNAL_CONFIG with @ret_expected set to what was expected. */
int cv_rule_add(struct cv_rule *rule, enum cv_route_list list, const char *text,
		const char **ret_expected);
/** cv_rule_add_ports() - One inclusive range. */
int cv_rule_add_ports(struct cv_rule *rule, enum cv_route_ports which, uint32_t first, uint32_t last);
/** cv_rule_set_network() - TCP wanted or not (a rule for UDP only never matches yet). */
void cv_rule_set_network(struct cv_rule *rule, bool tcp);
/** cv_router_seal() - After the last rule: ready for cv_router_pick(). */
void cv_router_seal(struct cv_router *router);

#endif
