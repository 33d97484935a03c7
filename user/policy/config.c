// SPDX-License-Identifier: MIT
/*
 * config.c - looking things up in the snapshot, and what is counted beside it.
 */
#include "policy/config.h"

#include <stdlib.h>
#include <string.h>

const struct cv_outbound *cv_config_external(const struct cv_config *config, const char *id)
{
	for (size_t i = config->external_first; i < config->outbound_count; i++)
		if (config->outbounds[i].external_id &&
		    strcmp(config->outbounds[i].external_id, id) == 0)
			return &config->outbounds[i];
	return NULL;
}

/* ---- counters ----------------------------------------------------------------------------- */

struct cv_outbound_counters *cv_outbound_counters_new(void)
{
	struct cv_outbound_counters *counters = calloc(1, sizeof(*counters));

	if (counters)
		counters->owner_count = 1;
	return counters;
}

struct cv_outbound_counters *cv_outbound_counters_leave(struct cv_outbound_counters *counters)
{
	if (counters && atomic_fetch_sub(&counters->owner_count, 1) == 1)
		free(counters);
	return NULL;
}

/* Those without a tag are known by their place. */
static const struct cv_outbound *find_same(const struct cv_config *config, const char *tag,
					   size_t place)
{
	for (size_t i = 0; i < config->outbound_count; i++)
		if (strcmp(config->outbounds[i].tag, tag) == 0 && (*tag || i == place))
			return &config->outbounds[i];
	return NULL;
}

void cv_outbound_counters_inherit(struct cv_config *next, const struct cv_config *now)
{
	for (size_t i = 0; i < next->outbound_count; i++) {
		struct cv_outbound *outbound = &next->outbounds[i];
		const struct cv_outbound *same = find_same(now, outbound->tag, i);

		if (!same || !same->counters)
			continue;
		(void)cv_outbound_counters_leave(outbound->counters);
		outbound->counters = same->counters;
		atomic_fetch_add(&outbound->counters->owner_count, 1);
	}
}
