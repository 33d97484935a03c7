// SPDX-License-Identifier: MIT
/*
 * mutation.c - see mutation.h; empty in every build but those for tests.
 *
 * The environment is read at each call: these builds are not made for speed.
 */
#include "base/mutation.h"

#ifdef CV_MUTATIONS
#include <stdlib.h>
#include <string.h>

bool cv_rule_holds(const char *name)
{
	const char *left_out = getenv("CULVERT_MUTATION");

	return !left_out || strcmp(left_out, name) != 0;
}
#endif
