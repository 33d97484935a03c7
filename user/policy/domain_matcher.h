/* SPDX-License-Identifier: MIT */
/*
 * domain_matcher.h - the domain conditions of one rule (compat 8).
 */
#ifndef CV_POLICY_DOMAIN_MATCHER_H
#define CV_POLICY_DOMAIN_MATCHER_H

#include "policy/regexp.h"

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

/* For an index over many matchers: what is in it. */
/** cv_domain_matcher_take_names() - Call @each with every name, then forget them all. */
void cv_domain_matcher_take_names(struct cv_domain_matcher *matcher,
				  void (*each)(const char *text, size_t len, bool with_subdomains,
					       void *context),
				  void *context);
/** cv_domain_matcher_each_word() - Keywords, and those for names without a dot. */
void cv_domain_matcher_each_word(const struct cv_domain_matcher *matcher,
				 void (*each)(const char *word, bool is_dotless, void *context),
				 void *context);
/** cv_domain_matcher_each_regexp() - @literal: what is in each name that it matches, or "". */
void cv_domain_matcher_each_regexp(const struct cv_domain_matcher *matcher,
				   void (*each)(const regex_t *regexp, const char *literal,
						void *context),
				   void *context);

#endif
