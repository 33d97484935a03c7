/* SPDX-License-Identifier: MIT */
/*
 * router.h - which outbound a session takes (compat 8): ordered rules, first full match wins.
 */
#ifndef CV_POLICY_ROUTER_H
#define CV_POLICY_ROUTER_H

#include "base/address.h"

struct cv_route_query {
	const char *inbound_tag;
	const char *user_email, *user_name; /* "" = none */
	const struct cv_destination *destination;
	const struct cv_sockaddr *source; /* client address */
	uint32_t vless_route;             /* UUID bytes 6,7, or 0x10000 = none */
	const struct cv_sockaddr *resolved; /* addresses of a domain destination, or NULL */
	size_t resolved_count;
};

enum cv_route_result {
	CV_ROUTE_OUTBOUND,  /* *ret_outbound is valid */
	CV_ROUTE_DEFAULT,   /* no rule matched: first outbound */
	CV_ROUTE_MISSING,   /* the rule names a tag that does not exist: drop (compat 8) */
	CV_ROUTE_RESOLVE,   /* resolve the domain, then ask again with resolved (IPIfNonMatch/OnDemand) */
};

struct cv_router;

enum cv_route_result cv_router_pick(const struct cv_router *router, const struct cv_route_query *query,
				    uint32_t *ret_outbound, uint32_t *ret_rule);
struct cv_router *cv_router_free(struct cv_router *router);

#endif
