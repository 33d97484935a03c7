/* SPDX-License-Identifier: MIT */
/*
 * sniffing.h - what an inbound does with the names in its clients' first bytes (compat 3.1).
 */
#ifndef CV_POLICY_SNIFFING_H
#define CV_POLICY_SNIFFING_H

#include "base/address.h"
#include "policy/domain_matcher.h"
#include "policy/ip_matcher.h"
#include "wire/sniff.h"

struct cv_sniffing {
	unsigned overrides; /* enum cv_sniffed, OR-ed: whose names replace the destination */
	bool route_only;    /* ... for rules only: what is dialled stays */
	struct cv_domain_matcher *excluded;	  /* names that replace nothing; NULL = none */
	struct cv_ip_matcher *excluded_addresses; /* destinations that are not replaced, or NULL */
};

/** cv_sniffing_free() - NULL-safe, returns NULL. */
struct cv_sniffing *cv_sniffing_free(struct cv_sniffing *sniffing);
/**
 * cv_sniffing_replaces() - Does @name, found in a @protocol, replace @destination?
 * Never where @name is an address or cannot be a name. Source: compat 3.1.
 * @ret_destination: may be @destination itself; with its port
 */
bool cv_sniffing_replaces(const struct cv_sniffing *sniffing, enum cv_sniffed protocol,
			  const char *name, const struct cv_destination *destination,
			  struct cv_destination *ret_destination);

#endif
