/* SPDX-License-Identifier: MIT */
/*
 * ip_matcher.h - the address conditions of one rule (compat 8).
 */
#ifndef CV_POLICY_IP_MATCHER_H
#define CV_POLICY_IP_MATCHER_H

#include "base/address.h"
#include "policy/private_address.h"

#include <stddef.h>

struct cv_ip_matcher;

struct cv_ip_matcher *cv_ip_matcher_new(void);
struct cv_ip_matcher *cv_ip_matcher_free(struct cv_ip_matcher *matcher);
/**
 * cv_ip_matcher_add() - One rule string: IP, CIDR or geoip:private, each also with "!".
 * Everything inverted is one union, then negated; geoip likewise; the groups are OR-ed.
 * Returns: 0; CV_INTERNAL_CONFIG with the cause in @error_text; CV_INTERNAL_MEMORY.
 * Source: compat 8.
 */
int cv_ip_matcher_add(struct cv_ip_matcher *matcher, const char *rule, char *error_text,
		      size_t error_size);
/** cv_ip_matcher_add_geoip() - A block of a list that stands for "geoip:CODE"; 0 or
 * CV_INTERNAL_MEMORY. */
int cv_ip_matcher_add_geoip(struct cv_ip_matcher *matcher, bool is_inverted,
			    const struct cv_cidr *block);
/** cv_ip_matcher_match() - False for domains. @destination is normalised. */
bool cv_ip_matcher_match(const struct cv_ip_matcher *matcher,
			 const struct cv_destination *destination);
/** cv_ip_matcher_has_inverted() - Does anything with "!" belong to it? */
bool cv_ip_matcher_has_inverted(const struct cv_ip_matcher *matcher);
/** cv_ip_matcher_each() - Call @each with every block that is not inverted; IPv4 in the first four
 * bytes. */
void cv_ip_matcher_each(const struct cv_ip_matcher *matcher,
			void (*each)(bool is_ipv6, const uint8_t first[16], const uint8_t last[16],
				     void *context),
			void *context);

#endif
