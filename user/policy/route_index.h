/* SPDX-License-Identifier: MIT */
/*
 * route_index.h - which rules may match, without a look at all of them.
 *
 * Each rule is filed under its most selective condition. What comes out are the rules whose filed
 * condition is met, and those that have none that could be filed.
 */
#ifndef CV_POLICY_ROUTE_INDEX_H
#define CV_POLICY_ROUTE_INDEX_H

#include "policy/router.h"

#define CV_ROUTE_INDEX_RULES_MAX 65536
#define CV_ROUTE_INDEX_WORDS (CV_ROUTE_INDEX_RULES_MAX / 64)

struct cv_route_index;

/** cv_route_index_new() - Of @count rules, at most CV_ROUTE_INDEX_RULES_MAX, which must stay; their
 * domain matchers lose their names to the index, so that only the index can answer for them.
 * NULL: out of memory; the rules may be used up. */
struct cv_route_index *cv_route_index_new(struct cv_route_rule *rules, size_t count);
/** cv_route_index_free() - NULL-safe, returns NULL. */
struct cv_route_index *cv_route_index_free(struct cv_route_index *index);
/**
 * cv_route_index_find() - Set the bits of rules that may match, clear the others.
 * @name: what domain conditions are about, or NULL; a rule with such a condition is set only if it
 * is met
 * @wants_resolving: rules about addresses match as long as they are not known
 * Returns the number of words of @ret_bits that were written.
 */
size_t cv_route_index_find(const struct cv_route_index *index, const struct cv_route_query *query,
			   const char *name, bool wants_resolving,
			   uint64_t ret_bits[CV_ROUTE_INDEX_WORDS]);
size_t cv_route_index_bytes(const struct cv_route_index *index);

#endif
