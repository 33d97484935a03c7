// SPDX-License-Identifier: MIT
/*
 * config.c - looking things up in the snapshot.
 */
#include "policy/config.h"

#include <string.h>

const struct cv_outbound *cv_config_external(const struct cv_config *config, const char *id)
{
	for (size_t i = config->external_first; i < config->outbound_count; i++)
		if (config->outbounds[i].external_id &&
		    strcmp(config->outbounds[i].external_id, id) == 0)
			return &config->outbounds[i];
	return NULL;
}
