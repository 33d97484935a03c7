// SPDX-License-Identifier: MIT
/*
 * load_outbound.c - where sessions go: freedom, blackhole, VLESS; load_proxy.c has socks and http.
 * The first outbound is the default.
 */
#include "config/load.h"
#include "config/value.h"

#include "crypto/uuid.h"
#include "policy/private_address.h"
#include "protocol/vless_versions.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct cv_word protocols[] = {
	{"vless", CV_OUTBOUND_VLESS},
	{"freedom", CV_OUTBOUND_FREEDOM},
	{"direct", CV_OUTBOUND_FREEDOM},
	{"blackhole", CV_OUTBOUND_BLACKHOLE},
	{"block", CV_OUTBOUND_BLACKHOLE},
	{"socks", CV_OUTBOUND_SOCKS},
	{"http", CV_OUTBOUND_HTTP},
	{"dns", CV_WORD_UNSUPPORTED},
	{"loopback", CV_WORD_UNSUPPORTED},
	{"vmess", CV_OUTBOUND_VMESS},
	{"trojan", CV_WORD_UNSUPPORTED},
	{"shadowsocks", CV_WORD_UNSUPPORTED},
	{"wireguard", CV_WORD_UNSUPPORTED},
	{"hysteria", CV_WORD_UNSUPPORTED},
	{NULL, 0},
};

struct raw_outbound {
	const char *tag;
	int protocol, strategy;
	struct cv_node settings, stream, mux, proxy;
};

static const struct cv_field outbound_fields[] = {
	{"protocol", .type = CV_FIELD_WORD, .is_required = true, .words = protocols,
	 CV_FIELD(struct raw_outbound, protocol)},
	{"tag", .type = CV_FIELD_TEXT, CV_FIELD(struct raw_outbound, tag)},
	{"settings", .type = CV_FIELD_OBJECT, CV_FIELD(struct raw_outbound, settings)},
	{"streamSettings", .type = CV_FIELD_OBJECT, CV_FIELD(struct raw_outbound, stream)},
	{"targetStrategy", .type = CV_FIELD_WORD, .words = cv_strategy_words, .text = "AsIs",
	 CV_FIELD(struct raw_outbound, strategy)},
	{"mux", .type = CV_FIELD_OBJECT, CV_FIELD(struct raw_outbound, mux)},
	{"sendThrough", .type = CV_FIELD_REFUSED, .text = "0.0.0.0",
	 .why = "upstreams would see another address"},
	{"proxySettings", .type = CV_FIELD_OBJECT, CV_FIELD(struct raw_outbound, proxy)},
	{.type = CV_FIELD_END},
};

struct raw_via {
	const char *tag;
};

static const struct cv_field via_fields[] = {
	{"tag", .type = CV_FIELD_TEXT, .is_required = true, CV_FIELD(struct raw_via, tag)},
	/* all that we could leave out of the carrier without it is TLS, which stays as well */
	{"transportLayer", .type = CV_FIELD_IGNORED},
	{.type = CV_FIELD_END},
};

static void set_strategy(struct cv_outbound *outbound, int strategy)
{
	outbound->strategy = (enum cv_resolve_strategy)(strategy & CV_STRATEGY_RESOLVE);
	outbound->force_ip = (strategy & CV_STRATEGY_FORCED) != 0;
}

/* ---- freedom ------------------------------------------------------------------------------ */

struct raw_freedom {
	int strategy;
	const char *redirect;
	uint32_t level, proxy_protocol;
	bool allow_private;
	struct cv_node final_rules;
};

static const struct cv_field freedom_fields[] = {
	{"targetStrategy", "domainStrategy", .type = CV_FIELD_WORD, .words = cv_strategy_words,
	 .text = "AsIs", CV_FIELD(struct raw_freedom, strategy)},
	{"redirect", .type = CV_FIELD_TEXT, CV_FIELD(struct raw_freedom, redirect)},
	{"userLevel", .type = CV_FIELD_U32, .max = CV_LEVELS - 1,
	 CV_FIELD(struct raw_freedom, level)},
	{"proxyProtocol", .type = CV_FIELD_U32, .max = 2,
	 CV_FIELD(struct raw_freedom, proxy_protocol)},
	{"finalRules", .type = CV_FIELD_ARRAY, CV_FIELD(struct raw_freedom, final_rules)},
	{"allowPrivate", .type = CV_FIELD_BOOL, CV_FIELD(struct raw_freedom, allow_private)},
	{"fragment", .type = CV_FIELD_REFUSED, .why = "hellos would go out in one piece"},
	{"noises", .type = CV_FIELD_WARNED, .why = "datagrams go out as they are"},
	{"noise", .type = CV_FIELD_WARNED, .why = "datagrams go out as they are"},
	{"ipsBlocked", .type = CV_FIELD_WARNED, .why = "write a routing rule"},
	{.type = CV_FIELD_END},
};

struct raw_final_rule {
	int action;
};

static const struct cv_word final_actions[] = {{"allow", 1}, {"block", 0}, {NULL, 0}};

static const struct cv_field final_rule_fields[] = {
	{"action", .type = CV_FIELD_WORD, .is_required = true, .words = final_actions,
	 .text = "block", CV_FIELD(struct raw_final_rule, action)},
	{"network", .type = CV_FIELD_REFUSED},
	{"port", .type = CV_FIELD_REFUSED},
	{"ip", .type = CV_FIELD_REFUSED},
	{"blockDelay", .type = CV_FIELD_IGNORED},
	{.type = CV_FIELD_END},
};

/* Of the final rules there is one that we can be told: everything is allowed. */
static bool allows_all(const struct cv_node *rules)
{
	struct cv_node node;
	struct raw_final_rule raw;

	if (cv_node_count(rules) == 0)
		return false;
	node = cv_node_element(rules, 0);
	cv_schema_read(final_rule_fields, &node, &raw);
	if (cv_node_count(rules) == 1 && raw.action == 1)
		return true;
	cv_node_error(rules, "only [{\"action\": \"allow\"}] is supported by this version of "
			     "culvert; write routing rules instead");
	return false;
}

static void load_redirect(const struct cv_node *node, const char *text,
			  struct cv_destination *redirect)
{
	char with_host[CV_DOMAIN_MAX + 16];

	if (!*text)
		return;
	if (text[0] != ':') {
		(void)cv_value_host_port(node, text, redirect);
		return;
	}
	/* ":port": the host is kept, which kind NONE says */
	snprintf(with_host, sizeof(with_host), "0.0.0.0%.16s", text);
	if (cv_value_host_port(node, with_host, redirect))
		redirect->kind = CV_ADDRESS_NONE;
}

static void load_freedom(const struct cv_node *node, const struct raw_outbound *raw_outbound,
			 const struct cv_stream *stream, struct cv_outbound *outbound)
{
	const struct cv_node redirect = cv_node_member(node, "redirect");
	struct raw_freedom raw;

	cv_schema_read(freedom_fields, node, &raw);
	if (!(raw.strategy & CV_STRATEGY_AS_IS))
		set_strategy(outbound, raw.strategy);
	else if (!(raw_outbound->strategy & CV_STRATEGY_AS_IS))
		set_strategy(outbound, raw_outbound->strategy);
	else
		set_strategy(outbound, stream->strategy);
	load_redirect(&redirect, raw.redirect, &outbound->redirect);
	outbound->level = raw.level;
	outbound->proxy_protocol = (int)raw.proxy_protocol;
	outbound->block_private = !raw.allow_private && !allows_all(&raw.final_rules);
	outbound->block_private_set = raw.allow_private || raw.final_rules.json;
	if (stream->security != CV_SECURITY_NONE)
		cv_node_error(node->parent, "freedom does not speak TLS");
}

/* ---- blackhole ---------------------------------------------------------------------------- */

struct raw_blackhole {
	struct cv_node response;
};

static const struct cv_field blackhole_fields[] = {
	{"response", .type = CV_FIELD_OBJECT, CV_FIELD(struct raw_blackhole, response)},
	{.type = CV_FIELD_END},
};

struct raw_response {
	int type;
};

static const struct cv_word response_types[] = {{"none", 0}, {"http", 1}, {NULL, 0}};

static const struct cv_field response_fields[] = {
	{"type", .type = CV_FIELD_WORD, .words = response_types, .text = "none",
	 CV_FIELD(struct raw_response, type)},
	{.type = CV_FIELD_END},
};

static void load_blackhole(const struct cv_node *node, struct cv_outbound *outbound)
{
	struct raw_blackhole raw;
	struct raw_response response;

	cv_schema_read(blackhole_fields, node, &raw);
	cv_schema_read(response_fields, &raw.response, &response);
	outbound->respond_http = response.type == 1;
}

/* ---- VLESS -------------------------------------------------------------------------------- */

struct raw_server {
	const char *address;
	uint32_t port;
	struct cv_node users;
};

struct raw_account {
	const char *id, *encryption, *flow, *email;
	int packets;
	uint32_t level;
	struct cv_node version;
};

static const struct cv_word packet_words[] = {
	{"", CV_PACKETS_AUTO},
	{"none", CV_PACKETS_PLAIN},
	{"xudp", CV_PACKETS_XUDP},
	{"packetaddr", CV_WORD_UNSUPPORTED},
	{NULL, 0},
};

#define SERVER_KEYS \
	{"address", .type = CV_FIELD_TEXT, .is_required = true, \
	 CV_FIELD(struct raw_server, address)}, \
	{ \
		"port", .type = CV_FIELD_U32, .is_required = true, .min = 1, .max = 65535, \
			CV_FIELD(struct raw_server, port) \
	}

#define ACCOUNT_KEYS \
	{"id", .type = CV_FIELD_TEXT, .is_required = true, .is_secret = true, \
	 CV_FIELD(struct raw_account, id)}, \
		{"encryption", .type = CV_FIELD_TEXT, .is_required = true, .text = "none", \
		 CV_FIELD(struct raw_account, encryption)}, \
		{"flow", .type = CV_FIELD_TEXT, CV_FIELD(struct raw_account, flow)}, \
		{"packetEncoding", "packet_encoding", .type = CV_FIELD_WORD, \
		 .words = packet_words, .text = "", CV_FIELD(struct raw_account, packets)}, \
		{"email", .type = CV_FIELD_TEXT, CV_FIELD(struct raw_account, email)}, \
		{"version", .type = CV_FIELD_ANY, CV_FIELD(struct raw_account, version)}, \
		{"level", .type = CV_FIELD_U32, .max = CV_LEVELS - 1, \
		 CV_FIELD(struct raw_account, level)}, \
		{"reverse", .type = CV_FIELD_REFUSED}, {"testpre", .type = CV_FIELD_WARNED}, \
		{"testseed", .type = CV_FIELD_WARNED}, \
	{ \
		"seed", .type = CV_FIELD_WARNED \
	}

/* vnext: {server, users: [account]}; flat: everything in settings, read twice. */
static const struct cv_field server_fields[] = {
	SERVER_KEYS,
	{"users", .type = CV_FIELD_ARRAY, .is_required = true, CV_FIELD(struct raw_server, users)},
	{.type = CV_FIELD_END},
};

static const struct cv_field account_fields[] = {
	ACCOUNT_KEYS,
	{"security", .type = CV_FIELD_IGNORED}, /* VMess users pasted */
	{"alterId", .type = CV_FIELD_IGNORED},
	{.type = CV_FIELD_END},
};

static const struct cv_field flat_server_fields[] = {
	SERVER_KEYS,
	{.type = CV_FIELD_END, .name = "*"},
};

static const struct cv_field flat_account_fields[] = {
	ACCOUNT_KEYS,
	{"address", .type = CV_FIELD_IGNORED},
	{"port", .type = CV_FIELD_IGNORED},
	{.type = CV_FIELD_END},
};

static void set_server(const struct cv_node *node, const struct raw_server *raw,
		       struct cv_outbound *outbound)
{
	const struct cv_node address = cv_node_member(node, "address");

	if (address.json)
		(void)cv_value_host(&address, raw->address, (uint16_t)raw->port, &outbound->server);
}

static void set_account(const struct cv_node *node, const struct raw_account *raw,
			struct cv_outbound *outbound)
{
	const struct cv_node id = cv_node_member(node, "id");
	const struct cv_node encryption = cv_node_member(node, "encryption");
	const struct cv_node flow = cv_node_member(node, "flow");
	const struct cv_node packets = cv_node_member(node, "packetEncoding");
	const char *flow_text = raw->flow;

	if (id.json && cv_uuid_parse(raw->id, outbound->uuid) != 0)
		cv_node_expected_secret(&id, "a UUID or a text of 1 to 30 bytes");
	if (strcmp(raw->encryption, "none") != 0)
		cv_node_error(&encryption,
			      "VLESS encryption is " CV_NOT_SUPPORTED ", expected \"none\"");
	if (strcmp(flow_text, "xtls-rprx-vision-udp443") == 0) {
		flow_text = "xtls-rprx-vision";
		outbound->udp443 = true;
	}
	(void)cv_value_flow(&flow, flow_text, &outbound->vision);
	outbound->packets = (enum cv_packet_encoding)raw->packets;
	if (outbound->vision && outbound->packets == CV_PACKETS_PLAIN)
		cv_node_error(&packets, "with flow xtls-rprx-vision datagrams go by xudp");
	if (raw->version.json)
		(void)cv_value_vless_version(&raw->version, "auto", &outbound->version);
	outbound->level = raw->level;
	free(outbound->user_email);
	outbound->user_email = cv_load_strdup(cv_node_load(node), raw->email);
}

/* The only element of @list, or false after saying that there must be one. */
static bool only_element(const struct cv_node *list, const char *what, struct cv_node *ret_element)
{
	if (cv_node_count(list) != 1) {
		cv_node_error(list, "expected exactly one %s, found %zu", what,
			      cv_node_count(list));
		return false;
	}
	*ret_element = cv_node_element(list, 0);
	return true;
}

static void load_vnext(const struct cv_node *list, struct cv_outbound *outbound)
{
	struct cv_node node, user;
	struct raw_server server;
	struct raw_account account;

	if (!only_element(list, "server", &node))
		return;
	cv_schema_read(server_fields, &node, &server);
	set_server(&node, &server, outbound);
	if (!server.users.json || !only_element(&server.users, "user", &user))
		return;
	cv_schema_read(account_fields, &user, &account);
	set_account(&user, &account, outbound);
}

static void load_flat(const struct cv_node *node, struct cv_outbound *outbound)
{
	struct raw_server server;
	struct raw_account account;

	cv_schema_read(flat_server_fields, node, &server);
	cv_schema_read(flat_account_fields, node, &account);
	set_server(node, &server, outbound);
	set_account(node, &account, outbound);
}

/* The name we show and verify is the server's address unless one is configured. */
void cv_load_default_server_name(struct cv_load *load, struct cv_outbound *outbound)
{
	char text[CV_DESTINATION_TEXT];
	size_t len;

	if (!outbound->server_name || outbound->server_name[0])
		return;
	cv_destination_format(&outbound->server, text);
	len = (size_t)(strrchr(text, ':') ? strrchr(text, ':') - text : 0);
	free(outbound->server_name);
	if (text[0] == '[' && len > 2)
		outbound->server_name = strndup(text + 1, len - 2);
	else
		outbound->server_name = strndup(text, len);
	load->out_of_memory |= !outbound->server_name;
}

static void refuse_clear_text(const struct cv_node *node, const struct cv_outbound *outbound)
{
	struct cv_sockaddr address;
	bool is_near;

	if (outbound->security != CV_SECURITY_NONE || outbound->server.kind == CV_ADDRESS_NONE)
		return;
	if (outbound->server.kind == CV_ADDRESS_DOMAIN)
		is_near = strcasecmp(outbound->server.domain, "localhost") == 0;
	else
		is_near = cv_destination_to_sockaddr(&outbound->server, &address) &&
			  cv_address_is_private(&address);
	if (!is_near)
		cv_node_error(node, "VLESS without TLS or REALITY to a public address: anybody on "
				    "the way could read it");
}

/* observable: a browser's hello for a WebSocket offers http/1.1 alone. */
static void load_transport_alpn(const struct cv_node *node, struct cv_outbound *outbound)
{
	const bool is_h2 = outbound->transport->kind == CV_TRANSPORT_H2;
	const char *wanted = is_h2 ? "h2" : "http/1.1";
	struct cv_load *load = cv_node_load(node);
	bool found = !outbound->alpn;

	for (size_t i = 0; outbound->alpn && outbound->alpn[i]; i++)
		found |= strcmp(outbound->alpn[i], wanted) == 0;
	if (!found)
		cv_node_error(node, "alpn: this transport needs \"%s\"", wanted);
	if (outbound->alpn)
		return;
	outbound->alpn = cv_load_calloc(load, 2, sizeof(*outbound->alpn));
	if (outbound->alpn)
		outbound->alpn[0] = cv_load_strdup(load, wanted);
}

/* What VLESS and VMess have around their settings. */
static void load_carrier(const struct cv_node *node, const struct raw_outbound *raw,
			 const struct cv_stream *stream, struct cv_outbound *outbound)
{
	const struct cv_node strategy = cv_node_member(node, "targetStrategy");

	outbound->security = stream->security;
	set_strategy(outbound, stream->strategy);
	if (!(raw->strategy & CV_STRATEGY_AS_IS))
		cv_node_error(&strategy, CV_NOT_SUPPORTED " here: names go to the server");
	if (stream->security == CV_SECURITY_REALITY)
		cv_load_reality_client(&stream->reality, outbound);
	else if (stream->security == CV_SECURITY_TLS)
		cv_load_tls_client(&stream->tls, outbound);
	if (stream->security == CV_SECURITY_TLS && outbound->transport)
		load_transport_alpn(&stream->tls, outbound);
}

static void load_vless(const struct cv_node *node, const struct raw_outbound *raw,
		       const struct cv_stream *stream, struct cv_outbound *outbound)
{
	const struct cv_node vnext = cv_node_member(&raw->settings, "vnext");
	const struct cv_node version = cv_node_member(&raw->settings, "version");
	struct cv_load *load = cv_node_load(node);

	if (vnext.json && version.json)
		(void)cv_value_vless_version(&version, "auto", &outbound->version);
	if (vnext.json)
		load_vnext(&vnext, outbound);
	else
		load_flat(&raw->settings, outbound);
	if (outbound->version == CV_VLESS_0_OR_1)
		outbound->versions = cv_load_calloc(load, 1, sizeof(*outbound->versions));
	load_carrier(node, raw, stream, outbound);
	cv_load_default_server_name(load, outbound);
	refuse_clear_text(node, outbound);
	if (outbound->vision && outbound->security == CV_SECURITY_NONE)
		cv_node_error(node, "flow xtls-rprx-vision needs TLS or REALITY");
	if (outbound->vision && outbound->transport)
		cv_node_error(node, "flow xtls-rprx-vision needs the network \"raw\"");
	if (outbound->vision && outbound->version != CV_VLESS_0)
		cv_node_error(node, "flow xtls-rprx-vision needs version 0");
}

/* ---- through another one ------------------------------------------------------------------ */

static void load_via(const struct cv_node *node, const struct raw_outbound *raw,
		     const struct cv_stream *stream, struct cv_outbound *outbound)
{
	const char *tag = stream->dialer_proxy;
	struct raw_via via;

	if (raw->proxy.json) {
		cv_schema_read(via_fields, &raw->proxy, &via);
		if (*tag)
			cv_node_error(&raw->proxy, "sockopt.dialerProxy says the same: expected "
						   "one of them");
		tag = via.tag;
	}
	outbound->via_tag = cv_load_strdup(cv_node_load(node), tag);
	if (*tag && (outbound->protocol == CV_OUTBOUND_FREEDOM ||
		     outbound->protocol == CV_OUTBOUND_BLACKHOLE))
		cv_node_error(node, "is not dialled through another outbound: only vless, vmess, "
				    "socks and http are");
}

/* ---- the outbound ------------------------------------------------------------------------- */

void cv_load_empty_texts(struct cv_load *load, struct cv_outbound *outbound)
{
	outbound->server_name = cv_load_strdup(load, "");
	outbound->spider_x = cv_load_strdup(load, "/");
	outbound->key_log_path = cv_load_strdup(load, "");
	outbound->user_email = cv_load_strdup(load, "");
	outbound->proxy_user = cv_load_strdup(load, "");
	outbound->proxy_password = cv_load_strdup(load, "");
	outbound->headers = cv_load_strdup(load, "");
	outbound->external_id = cv_load_strdup(load, "");
	outbound->observation = cv_observation_new();
	load->out_of_memory |= !outbound->observation;
}

static void load_outbound(const struct cv_node *node, struct cv_outbound *outbound)
{
	const struct cv_node protocol = cv_node_member(node, "protocol");
	const struct cv_node strategy = cv_node_member(node, "targetStrategy");
	struct cv_load *load = cv_node_load(node);
	struct raw_outbound raw;
	struct cv_stream stream;

	cv_schema_read(outbound_fields, node, &raw);
	outbound->tag = cv_load_strdup(load, raw.tag);
	outbound->protocol = (enum cv_outbound_protocol)raw.protocol;
	cv_load_empty_texts(load, outbound);
	cv_load_stream(&raw.stream, false, &stream);
	outbound->transport = stream.transport;
	if (!cv_schema_has_word(protocols, &protocol))
		return; /* its settings would only confuse */
	switch (outbound->protocol) {
	case CV_OUTBOUND_FREEDOM:
		load_freedom(&raw.settings, &raw, &stream, outbound);
		break;
	case CV_OUTBOUND_BLACKHOLE:
		load_blackhole(&raw.settings, outbound);
		break;
	case CV_OUTBOUND_VLESS:
		load_vless(node, &raw, &stream, outbound);
		break;
	case CV_OUTBOUND_VMESS:
		load_carrier(node, &raw, &stream, outbound);
		cv_load_vmess_client(node, &raw.settings, outbound);
		cv_load_default_server_name(load, outbound);
		break;
	case CV_OUTBOUND_SOCKS:
	case CV_OUTBOUND_HTTP:
		cv_load_proxy(node, &raw.settings, &stream, outbound);
		set_strategy(outbound, stream.strategy);
		cv_load_default_server_name(load, outbound);
		if (!(raw.strategy & CV_STRATEGY_AS_IS))
			cv_node_error(&strategy, CV_NOT_SUPPORTED
				      " for proxies: names go to the proxy");
		break;
	case CV_OUTBOUND_PORTAL: /* of the object "reverse" only */
		break;
	}
	load_via(node, &raw, &stream, outbound);
	if (raw.mux.json)
		cv_load_mux(&raw.mux, outbound);
	if (stream.transport && outbound->protocol != CV_OUTBOUND_VLESS &&
	    outbound->protocol != CV_OUTBOUND_VMESS)
		cv_node_error(node, "streamSettings.network: only vless and vmess go by \"ws\", "
				    "\"httpupgrade\" or \"h2\"");
}

static bool has_proxies(const struct cv_config *config)
{
	for (size_t i = 0; i < config->outbound_count; i++)
		if (config->outbounds[i].health)
			return true;
	return false;
}

static const struct cv_outbound *add_direct(struct cv_load *load)
{
	struct cv_outbound *direct = &load->config->outbounds[load->config->outbound_count++];

	direct->tag = cv_load_strdup(load, "direct");
	cv_load_empty_texts(load, direct);
	direct->via_tag = cv_load_strdup(load, "");
	direct->protocol = CV_OUTBOUND_FREEDOM;
	direct->strategy = CV_RESOLVE_ANY;
	direct->block_private = true;
	return direct;
}

void cv_load_outbounds(const struct cv_node *list, const struct cv_node *reverse)
{
	struct cv_load *load = cv_node_load(list);
	struct cv_config *config = load->config;
	const size_t count = cv_node_count(list);
	const size_t portal_count = cv_load_portal_count(reverse);

	if (list->json && !json_object_is_type(list->json, json_type_array))
		cv_node_expected(list, "a list of outbounds");
	else if (count + portal_count == 0)
		cv_node_error(list, "expected at least one outbound, found none");
	/* two more: the way around proxies, and nowhere, where they are not configured */
	config->outbounds =
		cv_load_calloc(load, count + portal_count + 2, sizeof(*config->outbounds));
	if (!config->outbounds)
		return;
	for (size_t i = 0; i < count; i++) {
		const struct cv_node node = cv_node_element(list, i);
		const struct cv_node tag = cv_node_member(&node, "tag");

		config->outbound_count = i + 1;
		load_outbound(&node, &config->outbounds[i]);
		for (size_t j = 0; j < i; j++)
			if (config->outbounds[i].tag && config->outbounds[i].tag[0] &&
			    config->outbounds[j].tag &&
			    strcmp(config->outbounds[i].tag, config->outbounds[j].tag) == 0)
				cv_node_error(&tag, "another outbound has this tag");
	}
	cv_load_portals(reverse);
	cv_load_external_proxies(load, list);
	cv_load_chains(list);
	if (!cv_load_has_direct(config) && has_proxies(config))
		config->direct = add_direct(load);
	for (size_t i = 0; i < config->outbound_count; i++) {
		config->outbounds[i].counters = cv_outbound_counters_new();
		load->out_of_memory |= !config->outbounds[i].counters;
	}
	cv_load_check_external(list);
}
