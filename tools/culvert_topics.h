/* SPDX-License-Identifier: MIT */
/*
 * culvert_topics.h - what `culvert show` can be asked, and each answer as text.
 */
#ifndef CULVERT_TOOLS_CULVERT_TOPICS_H
#define CULVERT_TOOLS_CULVERT_TOPICS_H

#include "culvert_table.h"

#include <stdbool.h>

struct cv_topic {
	const char *name;
	const char *member; /* of the answer */
	const struct cv_column *columns; /* NULL: record by record */
	size_t column_count;
	bool has_rates; /* its records are what culvert_rates.h knows */
};

/** cv_topic_find() - NULL if there is none. */
const struct cv_topic *cv_topic_find(const char *name);
/** cv_topic_records() - The list in the answer, or NULL if it holds none. */
struct json_object *cv_topic_records(const struct cv_topic *topic, struct json_object *answer);
/** cv_topic_print() - @limit: most records of a table, 0 = all. */
void cv_topic_print(FILE *out, const struct cv_topic *topic, struct json_object *answer,
		    size_t limit);

#endif
