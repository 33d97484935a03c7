// SPDX-License-Identifier: MIT
/*
 * reload.c - from one configuration to the next in a process that goes on.
 *
 *   the same inbound      one with the same addresses: its listeners go on, for the new one
 *   not without restart   what listeners, kernel maps and workers were made from
 *
 * Live sessions keep the configuration that they began with; only what counts (usage, counters of
 * users) and what must not be forgotten (hellos seen) is common to both.
 */
#include "policy/reload.h"

#include "policy/replay_cache.h"

#include <culvert/reason.h>
#include <stdio.h>
#include <string.h>

static bool same_text(const char *one, const char *other)
{
	return strcmp(one ? one : "", other ? other : "") == 0;
}

static bool same_addresses(const struct cv_inbound *one, const struct cv_inbound *other)
{
	if (one->listen_count != other->listen_count || one->unix_mode != other->unix_mode)
		return false;
	if (one->listen_count == 0) /* only the edge leads there */
		return same_text(one->tag, other->tag);
	for (size_t i = 0; i < one->listen_count; i++) {
		const struct cv_sockaddr *a = &one->listen_addresses[i];
		const struct cv_sockaddr *b = &other->listen_addresses[i];

		if (a->len_bytes != b->len_bytes || memcmp(&a->any, &b->any, a->len_bytes) != 0)
			return false;
	}
	return true;
}

struct cv_inbound *cv_reload_successor(const struct cv_inbound *inbound,
				       const struct cv_config *next)
{
	for (size_t i = 0; i < next->inbound_count; i++)
		if (same_addresses(&next->inbounds[i], inbound))
			return &next->inbounds[i];
	return NULL;
}

/* The kernel has a copy of these. */
static bool same_names(const struct cv_edge *one, const struct cv_edge *other)
{
	if (!one || !other)
		return one == other;
	if (one->name_count != other->name_count || one->table != other->table ||
	    one->not_tls != other->not_tls || one->drops != other->drops)
		return false;
	for (size_t i = 0; i < one->name_count; i++)
		if (!same_text(one->names[i].text, other->names[i].text) ||
		    one->names[i].class != other->names[i].class ||
		    one->names[i].action != other->names[i].action)
			return false;
	return true;
}

/* The first key of "culvert" that differs; NULL = none. */
static const char *changed_setting(const struct cv_daemon_settings *now,
				   const struct cv_daemon_settings *next)
{
	const struct {
		const char *key;
		bool same;
	} settings[] = {
		{"workers", now->worker_count == next->worker_count},
		{"engine", same_text(now->engine, next->engine)},
		{"stateDirectory", same_text(now->state_directory, next->state_directory)},
		{"control", same_text(now->control_path, next->control_path)},
		{"maxSessions", now->max_sessions == next->max_sessions},
		{"maxPipes", now->max_pipes == next->max_pipes},
		{"bpf", now->bpf == next->bpf},
		{"pinDirectory", same_text(now->pin_directory, next->pin_directory)},
		{"steer", now->steer == next->steer},
		{"ktls", now->ktls == next->ktls},
		{"loginFailures", now->ban.failures == next->ban.failures},
		{"loginFailureSeconds", now->ban.window_s == next->ban.window_s},
		{"loginBanSeconds", now->ban.ban_s == next->ban.ban_s},
	};

	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
		if (!settings[i].same)
			return settings[i].key;
	return NULL;
}

int cv_reload_obstacle(const struct cv_config *now, const struct cv_config *next,
		       char ret_text[CV_RELOAD_TEXT])
{
	const char *setting = changed_setting(&now->daemon, &next->daemon);

	if (setting) {
		(void)snprintf(ret_text, CV_RELOAD_TEXT, "culvert.%s", setting);
		return CV_POLICY_NEEDS_RESTART;
	}
	for (size_t i = 0; i < now->inbound_count; i++) {
		const struct cv_inbound *inbound = &now->inbounds[i];
		const struct cv_inbound *successor = cv_reload_successor(inbound, next);

		if (successor && inbound->accepts_proxy != successor->accepts_proxy) {
			(void)snprintf(ret_text, CV_RELOAD_TEXT,
				       "acceptProxyProtocol of inbound %.200s", inbound->tag);
			return CV_POLICY_NEEDS_RESTART;
		}
		if (successor && same_names(inbound->edge, successor->edge))
			continue;
		(void)snprintf(ret_text, CV_RELOAD_TEXT, "%s of inbound %.200s",
			       successor ? "edge, or serverNames," : "listen or port",
			       inbound->tag);
		return CV_POLICY_NEEDS_RESTART;
	}
	if (next->inbound_count != now->inbound_count) {
		(void)snprintf(ret_text, CV_RELOAD_TEXT, "the number of inbounds");
		return CV_POLICY_NEEDS_RESTART;
	}
	return 0;
}

static void inherit_hellos(struct cv_reality_inbound *next, const struct cv_reality_inbound *now)
{
	cv_replay_cache_free(next->replay);
	next->replay = cv_replay_cache_share(now->replay, next->replay_window_ms);
	for (size_t t = 0; t < next->target_count; t++)
		next->targets[t].reality.seen_context = next->replay;
}

void cv_reload_inherit(struct cv_config *next, const struct cv_config *now)
{
	for (size_t i = 0; i < now->inbound_count; i++) {
		const struct cv_inbound *inbound = &now->inbounds[i];
		struct cv_inbound *successor = cv_reload_successor(inbound, next);

		if (successor && successor->users && inbound->users)
			cv_user_table_inherit(successor->users, inbound->users);
		if (successor && successor->reality && inbound->reality)
			inherit_hellos(successor->reality, inbound->reality);
	}
}

bool cv_reload_removes(const struct cv_config *next, const struct cv_inbound *inbound,
		       const struct cv_user *user)
{
	const struct cv_inbound *successor = cv_reload_successor(inbound, next);
	const struct cv_user *same =
		successor && successor->users ? cv_user_find_same(successor->users, user) : NULL;

	return !same || !same->enabled;
}
