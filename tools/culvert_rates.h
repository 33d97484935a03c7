/* SPDX-License-Identifier: MIT */
/*
 * culvert_rates.h - what moved between two answers of the daemon, and records in order of it.
 */
#ifndef CULVERT_TOOLS_CULVERT_RATES_H
#define CULVERT_TOOLS_CULVERT_RATES_H

#include <json-c/json.h>

enum cv_order { CV_ORDER_RATE, CV_ORDER_BYTES, CV_ORDER_AGE, CV_ORDER_IDLE, CV_ORDER_NONE };

/** cv_rates_add() - Give each record of @after "uplink_bytes_per_s" and "downlink_bytes_per_s", by
 * its bytes and those of the same session or user in @before (NULL or absent there: 0). */
void cv_rates_add(struct json_object *before, struct json_object *after, double seconds);
/** cv_records_sort() - The largest first. Returns a new array, or NULL out of memory. */
struct json_object *cv_records_sort(struct json_object *records, enum cv_order order);
/** cv_order_find() - By name, CV_ORDER_NONE if unknown. */
enum cv_order cv_order_find(const char *name);

#endif
