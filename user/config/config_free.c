// SPDX-License-Identifier: MIT
/*
 * config_free.c - undoing what the loader made, also when it stopped half way.
 */
#include "config/config_load.h"

#include "crypto/crypto.h"
#include "policy/edge.h"
#include "policy/fallback.h"
#include "policy/ip_matcher.h"
#include "policy/replay_cache.h"
#include "policy/vmess_users.h"
#include "protocol/tls_server.h"

#include <stdlib.h>
#include <string.h>

static void free_reality(struct cv_reality_inbound *reality)
{
	if (!reality)
		return;
	for (size_t i = 0; i < reality->target_count; i++) {
		cv_cleanse(&reality->targets[i].reality, sizeof(reality->targets[i].reality));
		free(reality->targets[i].address_text);
		free(reality->targets[i].server_names);
	}
	free(reality->targets);
	free(reality->key_log_path);
	free(reality->short_ids);
	cv_mldsa65_free(reality->mldsa);
	cv_replay_cache_free(reality->replay);
	free(reality);
}

static void free_transport(struct cv_transport *transport)
{
	if (!transport)
		return;
	free(transport->path);
	free(transport->host);
	if (transport->headers) /* they may hold somebody's password */
		cv_cleanse(transport->headers, strlen(transport->headers));
	free(transport->headers);
	free(transport->method);
	free(transport->trusted);
	free(transport);
}

static void free_inbound(struct cv_inbound *inbound)
{
	free(inbound->tag);
	free(inbound->listen_addresses);
	cv_user_table_free(inbound->users);
	for (size_t i = 0; i < inbound->fallback_count; i++)
		cv_fallback_done(&inbound->fallbacks[i]);
	free(inbound->fallbacks);
	free_reality(inbound->reality);
	cv_tls_server_context_free(inbound->tls);
	free_transport(inbound->transport);
	cv_edge_free(inbound->edge);
	cv_ip_matcher_free(inbound->proxy_sources);
	cv_sniffing_free(inbound->sniffing);
	cv_tunnel_free(inbound->tunnel);
	cv_vmess_keys_free(inbound->vmess);
	cv_replay_cache_free(inbound->vmess_replay);
}

static void free_outbound(struct cv_outbound *outbound)
{
	free(outbound->tag);
	free_transport(outbound->transport);
	free(outbound->server_name);
	free(outbound->versions);
	for (size_t i = 0; outbound->alpn && outbound->alpn[i]; i++)
		free(outbound->alpn[i]);
	free(outbound->alpn);
	free(outbound->mldsa_public);
	free(outbound->spider_x);
	free(outbound->key_log_path);
	free(outbound->user_email);
	free(outbound->proxy_user);
	if (outbound->proxy_password)
		cv_cleanse(outbound->proxy_password, strlen(outbound->proxy_password));
	free(outbound->proxy_password);
	free(outbound->headers);
	outbound->health = cv_upstream_health_free(outbound->health);
	outbound->counters = cv_outbound_counters_leave(outbound->counters);
	free(outbound->external_id);
	cv_observation_release(outbound->observation);
	free(outbound->via_tag);
	outbound->portal = cv_portal_free(outbound->portal);
	cv_cleanse(outbound, sizeof(*outbound));
}

struct cv_config *cv_config_free(struct cv_config *config)
{
	if (!config)
		return NULL;
	for (size_t i = 0; i < config->inbound_count; i++)
		free_inbound(&config->inbounds[i]);
	for (size_t i = 0; i < config->outbound_count; i++)
		free_outbound(&config->outbounds[i]);
	for (size_t i = 0; i < config->bridge_count; i++) {
		free(config->bridges[i].domain);
		free_inbound(&config->bridges[i].inbound);
	}
	free(config->bridges);
	for (size_t i = 0; i < config->trust_store_count; i++)
		cv_trust_store_free(config->trust_stores[i]);
	for (size_t i = 0; i < config->sni_class_count; i++)
		free(config->sni_classes[i]);
	free(config->sni_classes);
	for (size_t i = 0; i < config->backend_count; i++)
		cv_backend_free(config->backends[i]);
	free(config->backends);
	free(config->inbounds);
	free(config->outbounds);
	free(config->trust_stores);
	free(config->log_error_path);
	free(config->log_access_path);
	free(config->daemon.engine);
	free(config->daemon.control_path);
	free(config->daemon.external_path);
	free(config->daemon.pin_directory);
	free(config->daemon.state_directory);
	free(config->daemon.user);
	free(config->daemon.status.user);
	if (config->daemon.status.password)
		cv_cleanse(config->daemon.status.password, strlen(config->daemon.status.password));
	free(config->daemon.status.password);
	cv_usage_table_free(config->usages);
	cv_router_free(config->router);
	for (size_t i = 0; i < config->balancer_count; i++) {
		free(config->balancers[i].tag);
		free(config->balancers[i].members);
	}
	free(config->balancers);
	free(config->observatory.request);
	cv_ed25519_free(config->certificate_key);
	free(config);
	return NULL;
}
