// SPDX-License-Identifier: MIT
/*
 * reload.c - from one configuration to the next in a process that goes on.
 *
 *   the same inbound      one with the same addresses: its listeners go on, for the new one
 *   not without restart   what listeners, kernel maps and workers were made from
 *
 * Live sessions keep the configuration that they began with; only what counts (usage, counters of
 * users) and what must not be forgotten (hellos seen, proxies and backends that fail) is common to
 * both, or goes on from one to the other.
 */
#include "policy/reload.h"

#include "policy/replay_cache.h"
#include "policy/vmess_users.h"

#include <culvert/reason.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static bool same_text(const char *one, const char *other)
{
	return strcmp(one ? one : "", other ? other : "") == 0;
}

static bool same_address(const struct cv_sockaddr *one, const struct cv_sockaddr *other)
{
	return one->len_bytes == other->len_bytes &&
	       memcmp(&one->any, &other->any, one->len_bytes) == 0;
}

static bool same_addresses(const struct cv_inbound *one, const struct cv_inbound *other)
{
	if (one->listen_count != other->listen_count || one->unix_mode != other->unix_mode)
		return false;
	if (one->listen_count == 0) /* only the edge leads there */
		return same_text(one->tag, other->tag);
	for (size_t i = 0; i < one->listen_count; i++)
		if (!same_address(&one->listen_addresses[i], &other->listen_addresses[i]))
			return false;
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
		{"sandbox", now->sandbox == next->sandbox},
		{"user", same_text(now->user, next->user)},
		{"status", same_address(&now->status.address, &next->status.address)},
	};

	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
		if (!settings[i].same)
			return settings[i].key;
	return NULL;
}

/* What is listened for. */
static bool same_networks(const struct cv_tunnel *one, const struct cv_tunnel *other)
{
	const bool tcp = !one || one->carries_tcp, other_tcp = !other || other->carries_tcp;
	const bool udp = one && one->carries_udp, other_udp = other && other->carries_udp;

	return tcp == other_tcp && udp == other_udp;
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
		if (successor && !same_networks(inbound->tunnel, successor->tunnel)) {
			(void)snprintf(ret_text, CV_RELOAD_TEXT,
				       "protocol or network of inbound %.200s", inbound->tag);
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

/* Asked in the same way: only then its failures say something about the next one. */
static bool same_proxy(const struct cv_outbound *one, const struct cv_outbound *other)
{
	char server[CV_DESTINATION_TEXT], other_server[CV_DESTINATION_TEXT];

	cv_destination_format(&one->server, server);
	cv_destination_format(&other->server, other_server);
	return other->health && one->protocol == other->protocol && one->via == NULL &&
	       other->via == NULL && one->security == other->security &&
	       one->allow_insecure == other->allow_insecure &&
	       one->is_disabled == other->is_disabled && same_text(one->tag, other->tag) &&
	       same_text(server, other_server) &&
	       same_text(one->server_name, other->server_name) &&
	       same_text(one->proxy_user, other->proxy_user) &&
	       same_text(one->proxy_password, other->proxy_password);
}

static void inherit_proxies(struct cv_config *next, const struct cv_config *now)
{
	for (size_t i = 0; i < next->outbound_count; i++) {
		struct cv_outbound *outbound = &next->outbounds[i];
		const struct cv_outbound *same = now->outbounds;
		const struct cv_outbound *end = now->outbounds + now->outbound_count;

		if (!outbound->health)
			continue;
		while (same < end && !same_proxy(outbound, same))
			same++;
		if (same == end)
			continue;
		cv_upstream_health_free(outbound->health);
		outbound->health = cv_upstream_health_share(same->health);
	}
}

/* Its checks begin anew: what they found is what they begin with. */
static void inherit_backend(struct cv_backend *next, const struct cv_backend *now)
{
	atomic_store(&next->is_down, now->is_down && next->is_checked);
	atomic_store(&next->is_failing, now->is_failing);
	atomic_store(&next->sessions, now->sessions);
	atomic_store(&next->failed_dials, now->failed_dials);
	atomic_store(&next->checks, now->checks);
	atomic_store(&next->failed_checks, now->failed_checks);
}

static bool same_backend(const struct cv_backend *one, const struct cv_backend *other)
{
	return same_text(one->name, other->name) && one->xver == other->xver &&
	       same_text(one->address_text, other->address_text);
}

/* Several may be no more than one address: they are told apart by their order. */
static void inherit_backends(struct cv_config *next, const struct cv_config *now)
{
	for (size_t i = 0; i < next->backend_count; i++) {
		size_t before = 0;

		for (size_t j = 0; j < i; j++)
			before += same_backend(next->backends[j], next->backends[i]);
		for (size_t j = 0; j < now->backend_count; j++)
			if (same_backend(now->backends[j], next->backends[i]) && before-- == 0)
				inherit_backend(next->backends[i], now->backends[j]);
	}
}

static bool same_upstream(const struct cv_outbound *one, const struct cv_outbound *other)
{
	char server[CV_DESTINATION_TEXT], other_server[CV_DESTINATION_TEXT];

	if (!same_text(one->tag, other->tag) || one->protocol != other->protocol ||
	    one->server.kind != other->server.kind)
		return false;
	if (one->server.kind == CV_ADDRESS_NONE)
		return true;
	cv_destination_format(&one->server, server);
	cv_destination_format(&other->server, other_server);
	return strcmp(server, other_server) == 0;
}

/* How it was a moment ago. */
static void inherit_observation(struct cv_outbound *next, const struct cv_config *now)
{
	for (size_t i = 0; i < now->outbound_count; i++) {
		const struct cv_outbound *one = &now->outbounds[i];

		if (!same_upstream(next, one) || !one->observation)
			continue;
		cv_observation_release(next->observation);
		next->observation = cv_observation_share(one->observation);
		return;
	}
}

static bool same_portal(const struct cv_outbound *one, const struct cv_outbound *other)
{
	return one->portal && other->portal && same_text(one->tag, other->tag) &&
	       strcasecmp(cv_portal_domain(one->portal), cv_portal_domain(other->portal)) == 0 &&
	       strcmp(cv_portal_control_domain(one->portal),
		      cv_portal_control_domain(other->portal)) == 0;
}

/* Its bridges' tunnels are there, whatever the configuration they came by. */
static void inherit_portals(struct cv_config *next, const struct cv_config *now)
{
	for (size_t i = 0; i < next->outbound_count; i++)
		for (size_t j = 0; next->outbounds[i].portal && j < now->outbound_count; j++)
			if (same_portal(&next->outbounds[i], &now->outbounds[j])) {
				cv_portal_free(next->outbounds[i].portal);
				next->outbounds[i].portal =
					cv_portal_share(now->outbounds[j].portal);
				break;
			}
}

void cv_reload_inherit(struct cv_config *next, const struct cv_config *now)
{
	inherit_proxies(next, now);
	inherit_backends(next, now);
	cv_outbound_counters_inherit(next, now);
	inherit_portals(next, now);
	for (size_t i = 0; i < next->outbound_count; i++)
		inherit_observation(&next->outbounds[i], now);
	for (size_t i = 0; i < now->inbound_count; i++) {
		const struct cv_inbound *inbound = &now->inbounds[i];
		struct cv_inbound *successor = cv_reload_successor(inbound, next);

		if (successor && successor->users && inbound->users)
			cv_user_table_inherit(successor->users, inbound->users);
		if (successor && successor->reality && inbound->reality)
			inherit_hellos(successor->reality, inbound->reality);
		if (successor && successor->vmess_replay && inbound->vmess_replay) {
			cv_replay_cache_free(successor->vmess_replay);
			successor->vmess_replay = cv_replay_cache_share(
				inbound->vmess_replay, CV_VMESS_REPLAY_MS);
		}
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
