// SPDX-License-Identifier: MIT
/*
 * sniffing.c - when a sniffed name replaces the destination.
 *
 *   its protocol is listed, it is a name, it is not excluded  ->  that name, with the old port
 *
 * An address in a Host field replaces nothing: a name may lead elsewhere only by being resolved,
 * and what it resolves to is dialled under the same guard as what clients name themselves.
 */
#include "policy/sniffing.h"

#include <stdlib.h>

struct cv_sniffing *cv_sniffing_free(struct cv_sniffing *sniffing)
{
	if (!sniffing)
		return NULL;
	cv_domain_matcher_free(sniffing->excluded);
	cv_ip_matcher_free(sniffing->excluded_addresses);
	free(sniffing);
	return NULL;
}

bool cv_sniffing_replaces(const struct cv_sniffing *sniffing, enum cv_sniffed protocol,
			  const char *name, const struct cv_destination *destination,
			  struct cv_destination *ret_destination)
{
	struct cv_destination found;

	if (!(sniffing->overrides & protocol) || !*name ||
	    cv_destination_set_text(&found, name, destination->port) != 0 ||
	    found.kind != CV_ADDRESS_DOMAIN)
		return false;
	if (sniffing->excluded && cv_domain_matcher_match(sniffing->excluded, found.domain))
		return false;
	if (sniffing->excluded_addresses &&
	    cv_ip_matcher_match(sniffing->excluded_addresses, destination))
		return false;
	*ret_destination = found;
	return true;
}
