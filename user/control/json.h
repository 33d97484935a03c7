/* SPDX-License-Identifier: MIT */
/*
 * json.h - short names for what answers are built of. Each takes NULL for what could not be made.
 */
#ifndef CV_CONTROL_JSON_H
#define CV_CONTROL_JSON_H

#include <json-c/json.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/** cv_json_lacks() - How often memory was missing for a part of an answer, of all threads: when it
 * is more than before, the answer is not whole. */
uint64_t cv_json_lacks(void);
/** cv_json_add() / cv_json_append() - A member, an element; @value is consumed in any case. */
void cv_json_add(struct json_object *object, const char *key, struct json_object *value);
void cv_json_append(struct json_object *array, struct json_object *value);

static inline void cv_json_text(struct json_object *object, const char *key, const char *text)
{
	cv_json_add(object, key, json_object_new_string(text ? text : ""));
}

static inline void cv_json_u64(struct json_object *object, const char *key, uint64_t value)
{
	cv_json_add(object, key, json_object_new_uint64(value));
}

static inline void cv_json_bool(struct json_object *object, const char *key, bool value)
{
	cv_json_add(object, key, json_object_new_boolean(value));
}

static inline uint64_t cv_counter(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

#endif
