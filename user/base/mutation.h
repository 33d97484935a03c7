/* SPDX-License-Identifier: MIT */
/*
 * mutation.h - rules that a test build can switch off, to show that a test notices.
 *
 * In a build with -DCV_MUTATIONS (the sanitizer builds) the environment variable CULVERT_MUTATION
 * names at most one rule, e.g. "relay-limit"; everywhere else each rule is a constant true and the
 * switch is not in the program at all.
 */
#ifndef CV_BASE_MUTATION_H
#define CV_BASE_MUTATION_H

#include <stdbool.h>

#ifdef CV_MUTATIONS
/** cv_rule_holds() - False if the environment asks to leave out the rule called @name. */
bool cv_rule_holds(const char *name);
#else
static inline bool cv_rule_holds(const char *name)
{
	(void)name;
	return true;
}
#endif

#endif
