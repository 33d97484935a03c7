// SPDX-License-Identifier: MIT
/*
 * json.c - see json.h.
 *
 * json-c ends the process when something is added to nothing, which is what an object that could
 * not be allocated is. Here that is counted, and whoever makes an answer looks at the count.
 */
#include "control/json.h"

static _Atomic uint64_t lacks;

uint64_t cv_json_lacks(void)
{
	return atomic_load(&lacks);
}

static void lack(struct json_object *value)
{
	json_object_put(value);
	atomic_fetch_add(&lacks, 1);
}

void cv_json_add(struct json_object *object, const char *key, struct json_object *value)
{
	if (!object || !value || json_object_object_add(object, key, value) != 0)
		lack(value);
}

void cv_json_append(struct json_object *array, struct json_object *value)
{
	if (!array || !value || json_object_array_add(array, value) != 0)
		lack(value);
}
