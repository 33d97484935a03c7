/* SPDX-License-Identifier: MIT */
/*
 * domain_matcher.h - the domain conditions of one rule (compat 8).
 */
#ifndef CV_POLICY_DOMAIN_MATCHER_H
#define CV_POLICY_DOMAIN_MATCHER_H

#include <stdbool.h>
#include <stddef.h>

struct cv_domain_matcher;

/** cv_domain_matcher_new() - Matches nothing yet. NULL: out of memory or of randomness. */
struct cv_domain_matcher *cv_domain_matcher_new(void);
struct cv_domain_matcher *cv_domain_matcher_free(struct cv_domain_matcher *matcher);
/**
 * cv_domain_matcher_add() - One rule string: full: domain: keyword: regexp: dotless: or plain
 * (= keyword).
 * Returns: 0; CV_INTERNAL_CONFIG with the cause in @error_text; CV_INTERNAL_MEMORY.
 * Source: compat 8.
 */
int cv_domain_matcher_add(struct cv_domain_matcher *matcher, const char *rule, char *error_text,
			  size_t error_size);
/** cv_domain_matcher_match() - Case of @domain does not matter; at most 255 bytes. */
bool cv_domain_matcher_match(const struct cv_domain_matcher *matcher, const char *domain);

#endif
