// SPDX-License-Identifier: MIT
/*
 * culvert_rates.c - see culvert_rates.h.
 *
 * Each in one pass over thousands of records: an index by key, and weights taken before sorting.
 */
#include "culvert_rates.h"

#include "culvert_table.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define KEY_MAX 800

static uint64_t moved(struct json_object *record, bool uplink)
{
	struct json_object *direction = cv_member(record, uplink ? "uplink" : "downlink");

	if (direction)
		return cv_member_u64(direction, "bytes");
	return cv_member_u64(record, uplink ? "uplink_bytes" : "downlink_bytes");
}

static const char *text_of(struct json_object *record, const char *key)
{
	const char *text = json_object_get_string(cv_member(record, key));

	return text ? text : "";
}

/* The same record in both answers has one key: a session's id, a user's inbound and names. */
static void key_of(struct json_object *record, char key[KEY_MAX])
{
	if (cv_member(record, "id"))
		snprintf(key, KEY_MAX, "%s", text_of(record, "id"));
	else
		snprintf(key, KEY_MAX, "%s\n%s\n%s", text_of(record, "inbound"),
			 text_of(record, "name"), text_of(record, "email"));
}

static void add_rate(struct json_object *record, struct json_object *before, bool uplink,
		     double seconds)
{
	uint64_t now = moved(record, uplink), then = before ? moved(before, uplink) : now;
	double rate = now > then && seconds > 0 ? (double)(now - then) / seconds : 0;

	json_object_object_add(record, uplink ? "uplink_bytes_per_s" : "downlink_bytes_per_s",
			       json_object_new_uint64((uint64_t)rate));
}

void cv_rates_add(struct json_object *before, struct json_object *after, double seconds)
{
	struct json_object *index = json_object_new_object();
	char key[KEY_MAX];

	for (size_t i = 0; before && i < json_object_array_length(before); i++) {
		struct json_object *record = json_object_array_get_idx(before, i);

		key_of(record, key);
		json_object_object_add(index, key, json_object_get(record));
	}
	for (size_t i = 0; i < json_object_array_length(after); i++) {
		struct json_object *record = json_object_array_get_idx(after, i);

		key_of(record, key);
		add_rate(record, cv_member(index, key), true, seconds);
		add_rate(record, cv_member(index, key), false, seconds);
	}
	json_object_put(index);
}

/* ---- order -------------------------------------------------------------------------------- */

struct weighed {
	uint64_t first, second; /* @second decides between equals */
	size_t at;		/* and then: as they came */
	struct json_object *record;
};

static void weigh(struct weighed *weighed, struct json_object *record, enum cv_order order)
{
	uint64_t bytes = moved(record, true) + moved(record, false);
	uint64_t rate = cv_member_u64(record, "uplink_bytes_per_s") +
			cv_member_u64(record, "downlink_bytes_per_s");

	weighed->record = record;
	weighed->second = order == CV_ORDER_BYTES ? rate : bytes;
	weighed->first = order == CV_ORDER_RATE	   ? rate
			 : order == CV_ORDER_BYTES ? bytes
			 : order == CV_ORDER_AGE   ? cv_member_u64(record, "age_ms")
						   : cv_member_u64(record, "idle_ms");
}

static int heavier_first(const void *a, const void *b)
{
	const struct weighed *l = a, *r = b;

	if (l->first != r->first)
		return l->first < r->first ? 1 : -1;
	if (l->second != r->second)
		return l->second < r->second ? 1 : -1;
	return l->at < r->at ? -1 : 1;
}

struct json_object *cv_records_sort(struct json_object *records, enum cv_order order)
{
	size_t count = json_object_array_length(records);
	struct weighed *weighed = calloc(count + 1, sizeof(*weighed));
	struct json_object *sorted = json_object_new_array();

	if (!weighed || !sorted) {
		free(weighed);
		json_object_put(sorted);
		return NULL;
	}
	for (size_t i = 0; i < count; i++) {
		weigh(&weighed[i], json_object_array_get_idx(records, i), order);
		weighed[i].at = i;
	}
	if (order != CV_ORDER_NONE)
		qsort(weighed, count, sizeof(*weighed), heavier_first);
	for (size_t i = 0; i < count; i++)
		json_object_array_add(sorted, json_object_get(weighed[i].record));
	free(weighed);
	return sorted;
}

enum cv_order cv_order_find(const char *name)
{
	static const char *const names[] = {[CV_ORDER_RATE] = "rate",
					    [CV_ORDER_BYTES] = "bytes",
					    [CV_ORDER_AGE] = "age",
					    [CV_ORDER_IDLE] = "idle"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(names[i], name) == 0)
			return (enum cv_order)i;
	return CV_ORDER_NONE;
}
