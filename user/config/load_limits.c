// SPDX-License-Identifier: MIT
/*
 * load_limits.c - what a user may use, and who of all inbounds is one person.
 */
#include "config/load.h"

const struct cv_word cv_quota_reset_words[] = {{"never", CV_QUOTA_NEVER},
					       {"daily", CV_QUOTA_DAILY},
					       {"monthly", CV_QUOTA_MONTHLY},
					       {NULL, 0}};

/* By either name; for messages. */
static struct cv_node place_of(const struct cv_node *node, const char *key, const char *alias)
{
	const struct cv_node place = cv_node_member(node, key);

	return place.json ? place : cv_node_member(node, alias);
}

void cv_load_limits(const struct cv_node *node, const struct cv_raw_limits *raw,
		    struct cv_limits *ret_limits)
{
	struct cv_node place; /* looked for only when something is said about it */
	uint64_t expires_ms = 0;

	if (*raw->expires && !cv_limits_time_parse(raw->expires, &expires_ms)) {
		place = place_of(node, "expiresAt", "expires_at");
		cv_node_expected(&place,
				 "a time like 2026-12-31T18:00:00Z, or a day like 2026-12-31");
	} else if (*raw->expires && expires_ms == 0) {
		expires_ms = 1; /* long ago, not never */
	}
	if (raw->quota_resets != CV_QUOTA_NEVER && raw->quota_bytes == 0) {
		place = place_of(node, "quotaResets", "quota_resets");
		cv_node_warning(&place, "no quotaBytes that could be reset");
	}
	*ret_limits = (struct cv_limits){
		.quota_bytes = raw->quota_bytes,
		.expires_ms = expires_ms,
		.bytes_per_s = {raw->uplink_bytes_per_s, raw->downlink_bytes_per_s},
		.max_sessions = raw->max_sessions,
		.max_source_addresses = raw->max_source_addresses,
		.quota_resets = (enum cv_quota_reset)raw->quota_resets,
	};
}

void cv_load_usages(struct cv_user_list *list, const struct cv_node *inbound)
{
	struct cv_load *load = list->load;

	for (size_t i = 0; i < list->count && !load->out_of_memory; i++) {
		struct cv_user *user = &list->users[i];
		char key[CV_USAGE_KEY];
		bool differ = false;

		cv_usage_key(user, key);
		user->usage = cv_usage_join(load->config->usages, key, &user->limits, &differ);
		load->out_of_memory |= !user->usage;
		if (differ)
			cv_node_warning(inbound,
					"%.255s is in several inbounds with different limits: the "
					"stricter ones count",
					key);
	}
}
