// SPDX-License-Identifier: MIT
/*
 * load_inbound.c - where we listen, what is spoken there, and with whom.
 */
#include "config/load.h"
#include "config/value.h"

#include "policy/fallback.h"
#include "policy/private_address.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LISTEN_MAX 4096

static const struct cv_word protocols[] = {
	{"vless", CV_INBOUND_VLESS},
	{"socks", CV_INBOUND_SOCKS},
	{"mixed", CV_INBOUND_MIXED},
	{"edge", CV_INBOUND_EDGE}, /* our own: routes by name, serves nothing itself */
	{"http", CV_INBOUND_HTTP},
	{"dokodemo-door", CV_INBOUND_TUNNEL},
	{"tunnel", CV_INBOUND_TUNNEL},
	{"vmess", CV_INBOUND_VMESS},
	{"trojan", CV_WORD_UNSUPPORTED},
	{"shadowsocks", CV_WORD_UNSUPPORTED},
	{"wireguard", CV_WORD_UNSUPPORTED},
	{"tun", CV_WORD_UNSUPPORTED},
	{"hysteria", CV_WORD_UNSUPPORTED},
	{NULL, 0},
};

struct raw_inbound {
	const char *listen, *tag;
	int protocol;
	struct cv_node port, settings, stream, sniffing;
};

static const struct cv_field inbound_fields[] = {
	{"listen", .type = CV_FIELD_TEXT, CV_FIELD(struct raw_inbound, listen)},
	{"port", .type = CV_FIELD_ANY, CV_FIELD(struct raw_inbound, port)},
	{"protocol", .type = CV_FIELD_WORD, .is_required = true, .words = protocols,
	 CV_FIELD(struct raw_inbound, protocol)},
	{"settings", .type = CV_FIELD_OBJECT, CV_FIELD(struct raw_inbound, settings)},
	{"streamSettings", .type = CV_FIELD_OBJECT, CV_FIELD(struct raw_inbound, stream)},
	{"sniffing", .type = CV_FIELD_OBJECT, CV_FIELD(struct raw_inbound, sniffing)},
	{"tag", .type = CV_FIELD_TEXT, CV_FIELD(struct raw_inbound, tag)},
	{"allocate", .type = CV_FIELD_WARNED},
	{.type = CV_FIELD_END},
};

/* ---- listening ---------------------------------------------------------------------------- */

static bool ipv6_exists(void)
{
	const int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd >= 0)
		(void)close(fd);
	return fd >= 0;
}

/* "/path,0666" */
static void listen_unix(const struct cv_node *node, const char *text, struct cv_inbound *inbound)
{
	const char *comma = strrchr(text, ',');
	char *path = cv_load_strdup(cv_node_load(node), text);

	if (!path)
		return;
	if (comma && comma[1] && comma[1 + strspn(comma + 1, "01234567")] == '\0') {
		inbound->unix_mode = (unsigned)strtoul(comma + 1, NULL, 8) & 0777;
		path[comma - text] = '\0';
	}
	inbound->listen_addresses =
		cv_load_calloc(cv_node_load(node), 1, sizeof(struct cv_sockaddr));
	if (inbound->listen_addresses &&
	    cv_sockaddr_from_unix(path, &inbound->listen_addresses[0]) == 0)
		inbound->listen_count = 1;
	else
		cv_node_expected(node, "a unix socket like \"/path\" or \"@name\"");
	free(path);
}

static bool listen_host(const struct cv_node *node, const char *text, struct cv_destination *host)
{
	if (!*text)
		text = ipv6_exists() ? "::" : "0.0.0.0"; /* :: is IPv4 too */
	else if (strcasecmp(text, "localhost") == 0)
		text = "127.0.0.1";
	if (cv_destination_set_text(host, text, 0) == 0 && host->kind != CV_ADDRESS_DOMAIN)
		return true;
	cv_node_expected(node, "an IP address, \"localhost\" or a unix socket");
	return false;
}

static void listen_ip(const struct cv_node *node, const struct raw_inbound *raw,
		      struct cv_inbound *inbound)
{
	const struct cv_node listen_node = cv_node_member(node, "listen");
	struct cv_destination host;
	struct cv_port_set ports = {0};
	size_t count = 0;

	bool good = listen_host(&listen_node, raw->listen, &host);

	if (!raw->port.json)
		cv_node_error(&raw->port, "required, but missing");
	good &= raw->port.json && cv_value_ports(&raw->port, &ports);
	if (!good) {
		free(ports.ranges);
		return;
	}
	for (size_t i = 0; i < ports.count; i++)
		count += ports.ranges[i].last - ports.ranges[i].first + 1u;
	if (count > LISTEN_MAX || cv_port_set_contains(&ports, 0)) {
		cv_node_error(&raw->port, "expected 1 to %d ports from 1 to 65535, found %zu",
			      LISTEN_MAX, count);
		count = 0;
	}
	inbound->listen_addresses =
		cv_load_calloc(cv_node_load(node), count, sizeof(struct cv_sockaddr));
	for (size_t i = 0; i < ports.count && count && inbound->listen_addresses; i++)
		for (unsigned port = ports.ranges[i].first; port <= ports.ranges[i].last; port++) {
			host.port = (uint16_t)port;
			(void)cv_destination_to_sockaddr(
				&host, &inbound->listen_addresses[inbound->listen_count++]);
		}
	free(ports.ranges);
}

/* Is it within reach of others than this machine? */
static bool is_public(const struct cv_inbound *inbound)
{
	struct cv_destination host;

	if (inbound->listen_count == 0 ||
	    !cv_sockaddr_to_destination(&inbound->listen_addresses[0], &host))
		return false;
	return host.kind == CV_ADDRESS_IPV4 ? host.ipv4[0] != 127
					    : memcmp(host.ipv6, &in6addr_loopback, 16) != 0;
}

/* ---- VLESS -------------------------------------------------------------------------------- */

struct raw_fallback {
	const char *name, *alpn, *path, *type;
	uint32_t xver;
	struct cv_node dest;
};

static const struct cv_field fallback_fields[] = {
	{"name", .type = CV_FIELD_TEXT, CV_FIELD(struct raw_fallback, name)},
	{"alpn", .type = CV_FIELD_TEXT, CV_FIELD(struct raw_fallback, alpn)},
	{"path", .type = CV_FIELD_TEXT, CV_FIELD(struct raw_fallback, path)},
	{"dest", .type = CV_FIELD_ANY, .is_required = true, CV_FIELD(struct raw_fallback, dest)},
	{"type", .type = CV_FIELD_TEXT, CV_FIELD(struct raw_fallback, type)},
	{"xver", .type = CV_FIELD_U32, .max = 2, CV_FIELD(struct raw_fallback, xver)},
	{.type = CV_FIELD_END},
};

static char *lower_copy(struct cv_load *load, const char *text)
{
	char *copy = cv_load_strdup(load, text);

	for (char *c = copy; c && *c; c++)
		*c = (char)tolower((unsigned char)*c);
	return copy;
}

static void load_fallback(const struct cv_node *node, struct cv_fallback *fallback)
{
	const struct cv_node path = cv_node_member(node, "path");
	struct cv_load *load = cv_node_load(node);
	struct raw_fallback raw;
	char *text = NULL;

	cv_schema_read(fallback_fields, node, &raw);
	if (*raw.path && raw.path[0] != '/')
		cv_node_expected(&path, "a path that starts with \"/\"");
	fallback->name = lower_copy(load, raw.name);
	fallback->alpn = lower_copy(load, raw.alpn);
	fallback->path = cv_load_strdup(load, raw.path);
	fallback->xver = (int)raw.xver;
	if (raw.dest.json)
		(void)cv_value_target(&raw.dest, raw.type, &text, &fallback->destination,
				      &fallback->unix_address);
	free(text);
}

void cv_load_fallbacks(const struct cv_node *list, struct cv_inbound *inbound)
{
	struct cv_load *load = cv_node_load(list);
	const size_t count = cv_node_count(list);

	if (count == 0)
		return;
	inbound->fallbacks = cv_load_calloc(load, count, sizeof(*inbound->fallbacks));
	if (!inbound->fallbacks)
		return;
	inbound->fallback_count = count;
	for (size_t i = 0; i < count; i++) {
		const struct cv_node node = cv_node_element(list, i);

		load_fallback(&node, &inbound->fallbacks[i]);
	}
	if (!load->out_of_memory &&
	    cv_fallback_inherit(&inbound->fallbacks, &inbound->fallback_count) != 0)
		load->out_of_memory = true;
}

struct raw_vless {
	const char *decryption, *flow;
	struct cv_users_file users;
	struct cv_node clients, fallbacks, version;
};

static const struct cv_field vless_fields[] = {
	{"clients", "users", .type = CV_FIELD_ARRAY, CV_FIELD(struct raw_vless, clients)},
	{"decryption", .type = CV_FIELD_TEXT, .is_required = true, .text = "none",
	 CV_FIELD(struct raw_vless, decryption)},
	{"flow", .type = CV_FIELD_TEXT, CV_FIELD(struct raw_vless, flow)},
	{"fallbacks", .type = CV_FIELD_ARRAY, CV_FIELD(struct raw_vless, fallbacks)},
	{"testseed", .type = CV_FIELD_WARNED, .why = "give it to each user"},
	/* our own */
	{"version", .type = CV_FIELD_ANY, CV_FIELD(struct raw_vless, version)},
	CV_USERS_FILE_FIELDS(struct raw_vless),
	{.type = CV_FIELD_END},
};

static void load_vless(const struct cv_node *node, struct cv_user_list *users,
		       struct cv_inbound *inbound)
{
	const struct cv_node decryption = cv_node_member(node, "decryption");
	const struct cv_node flow = cv_node_member(node, "flow");
	const struct cv_node file = cv_node_member(node, "usersFile");
	struct raw_vless raw = {.users.login = CV_LOGIN_ID};
	bool vision = false;

	cv_schema_read(vless_fields, node, &raw);
	if (strcmp(raw.decryption, "none") != 0)
		cv_node_error(&decryption,
			      "VLESS encryption is " CV_NOT_SUPPORTED ", expected \"none\"");
	(void)cv_value_flow(&flow, raw.flow, &vision);
	if (raw.version.json)
		(void)cv_value_vless_version(&raw.version, "-1", &inbound->version);
	cv_load_clients(users, &raw.clients, vision);
	if (*raw.users.path)
		cv_load_users_file(users, &file, &raw.users);
	cv_load_fallbacks(&raw.fallbacks, inbound);
	if (users->count == 0 && users->load->error_count == 0)
		cv_node_warning(node, "no users: nobody can come in");
}

static void load_security(const struct cv_stream *stream, const struct cv_user_list *users,
			  struct cv_inbound *inbound)
{
	inbound->security = stream->security;
	if (stream->security == CV_SECURITY_REALITY)
		cv_load_reality_server(&stream->reality, users, inbound);
	else if (stream->security == CV_SECURITY_TLS)
		cv_load_tls_server(&stream->tls, inbound);
}

static void warn_vision(const struct cv_node *node, const struct cv_user_list *users,
			const char *what)
{
	for (size_t i = 0; i < users->count; i++)
		if (users->users[i].vision) {
			cv_node_warning(node, "flow xtls-rprx-vision needs %s: such users are "
					      "refused here", what);
			return;
		}
}

static void warn_plain_vless(const struct cv_node *node, const struct cv_user_list *users,
			     const struct cv_inbound *inbound)
{
	if (inbound->security != CV_SECURITY_NONE && inbound->transport)
		warn_vision(node, users, "a \"raw\" transport");
	else if (inbound->security != CV_SECURITY_NONE && inbound->version == CV_VLESS_1)
		warn_vision(node, users, "version 0");
	if (inbound->security != CV_SECURITY_NONE)
		return;
	if (is_public(inbound))
		cv_node_warning(node, "VLESS without TLS or REALITY is readable by anybody on the "
				      "way");
	warn_vision(node, users, "TLS or REALITY");
}

/* ---- SOCKS -------------------------------------------------------------------------------- */

enum socks_auth { SOCKS_OPEN, SOCKS_PASSWORD };

struct raw_socks {
	int auth;
	const char *udp_ip, *bind_ip;
	bool udp, bind;
	struct cv_users_file users;
	uint32_t level;
	struct cv_node accounts;
};

static const struct cv_word socks_auths[] = {
	{"noauth", SOCKS_OPEN}, {"password", SOCKS_PASSWORD}, {NULL, 0}};

static const struct cv_field socks_fields[] = {
	{"auth", .type = CV_FIELD_WORD, .words = socks_auths, .text = "noauth",
	 CV_FIELD(struct raw_socks, auth)},
	{"accounts", "users", .type = CV_FIELD_ARRAY, CV_FIELD(struct raw_socks, accounts)},
	{"udp", .type = CV_FIELD_BOOL, CV_FIELD(struct raw_socks, udp)},
	{"ip", "udp_ip", .type = CV_FIELD_TEXT, CV_FIELD(struct raw_socks, udp_ip)},
	{"userLevel", .type = CV_FIELD_U32, .max = CV_LEVELS - 1,
	 CV_FIELD(struct raw_socks, level)},
	/* our own */
	{"bind", .type = CV_FIELD_BOOL, CV_FIELD(struct raw_socks, bind)},
	{"bindIp", "bind_ip", .type = CV_FIELD_TEXT, CV_FIELD(struct raw_socks, bind_ip)},
	CV_USERS_FILE_FIELDS(struct raw_socks),
	CV_LOGIN_FIELDS(struct raw_socks),
	{.type = CV_FIELD_END},
};

/* An address that clients, or those who connect to them, can reach. "" = none given. */
static void load_reachable(const struct cv_node *node, const char *key, const char *text,
			   struct cv_destination *ret_address)
{
	const struct cv_node address = cv_node_member(node, key);

	if (*text && (cv_destination_set_text(ret_address, text, 0) != 0 ||
		      ret_address->kind == CV_ADDRESS_DOMAIN ||
		      cv_destination_is_any(ret_address))) {
		cv_node_error(&address, "expected an IP address that others can reach, found "
					"\"%.64s\"", text);
		*ret_address = (struct cv_destination){0};
	}
}

/* Behind TLS datagrams would be the only thing in clear text: there an address has to be given. */
static void load_datagrams(const struct cv_node *node, const struct raw_socks *raw,
			   const struct cv_stream *stream, struct cv_inbound *inbound)
{
	const struct cv_node udp = cv_node_member(node, "udp");
	const bool is_tls = stream->security != CV_SECURITY_NONE;

	load_reachable(node, "ip", raw->udp_ip, &inbound->udp_address);
	load_reachable(node, "bindIp", raw->bind_ip, &inbound->bind_address);
	inbound->serves_bind = raw->bind;
	inbound->serves_udp = udp.json ? raw->udp : is_tls && *raw->udp_ip;
	if (!is_tls || !inbound->serves_udp)
		return;
	if (*raw->udp_ip)
		cv_node_warning(&udp, "TLS protects the connection only: datagrams cross the "
				      "network in clear text");
	else
		cv_node_warning(&udp, "off: TLS would not protect datagrams; \"udp_ip\" says where "
				      "they may come nevertheless");
	inbound->serves_udp = *raw->udp_ip != '\0';
}

static void load_socks(const struct cv_node *node, const struct cv_stream *stream,
		       struct cv_user_list *users, struct cv_inbound *inbound, bool *ret_open)
{
	const struct cv_node file = cv_node_member(node, "usersFile");
	struct raw_socks raw = {.users.login = CV_LOGIN_SOCKS};

	cv_schema_read(socks_fields, node, &raw);
	load_datagrams(node, &raw, stream, inbound);
	inbound->level = raw.level;
	*ret_open = raw.auth == SOCKS_OPEN;
	cv_load_accounts(users, &raw.accounts, raw.level);
	if (*raw.users.path)
		cv_load_users_file(users, &file, &raw.users);
	if (*ret_open && (raw.accounts.json || *raw.users.path))
		cv_node_error(node, "users are listed, but auth is \"noauth\": anybody could come "
				    "in; expected auth \"password\"");
	if (!*ret_open && users->count == 0 && !*raw.users.path)
		cv_node_error(&raw.accounts, "expected at least one account, found none");
}

/* ---- HTTP --------------------------------------------------------------------------------- */

struct raw_http {
	struct cv_users_file users;
	uint32_t level;
	struct cv_node accounts, hide;
};

static const struct cv_field http_fields[] = {
	{"accounts", "users", .type = CV_FIELD_ARRAY, CV_FIELD(struct raw_http, accounts)},
	{"allowTransparent", .type = CV_FIELD_REFUSED},
	{"timeout", .type = CV_FIELD_WARNED, .why = "policy.levels says how long to wait"},
	{"userLevel", .type = CV_FIELD_U32, .max = CV_LEVELS - 1,
	 CV_FIELD(struct raw_http, level)},
	/* our own */
	{"hide", .type = CV_FIELD_ANY, CV_FIELD(struct raw_http, hide)},
	CV_USERS_FILE_FIELDS(struct raw_http),
	CV_LOGIN_FIELDS(struct raw_http),
	{.type = CV_FIELD_END},
};

/* Where requests go that are not for a proxy. */
static void load_hide(const struct cv_node *node, struct cv_inbound *inbound)
{
	struct cv_load *load = cv_node_load(node);
	struct cv_fallback *fallback = cv_load_calloc(load, 1, sizeof(*fallback));
	char *text = NULL;

	if (!fallback)
		return;
	inbound->fallbacks = fallback;
	inbound->fallback_count = 1;
	fallback->name = cv_load_strdup(load, "");
	fallback->alpn = cv_load_strdup(load, "");
	fallback->path = cv_load_strdup(load, "");
	(void)cv_value_target(node, "", &text, &fallback->destination, &fallback->unix_address);
	free(text);
}

static void load_http(const struct cv_node *node, struct cv_user_list *users,
		      struct cv_inbound *inbound, bool *ret_open)
{
	const struct cv_node file = cv_node_member(node, "usersFile");
	struct raw_http raw = {.users.login = CV_LOGIN_HTTP};

	cv_schema_read(http_fields, node, &raw);
	inbound->level = raw.level;
	*ret_open = !raw.accounts.json && !*raw.users.path;
	cv_load_accounts(users, &raw.accounts, raw.level);
	if (*raw.users.path)
		cv_load_users_file(users, &file, &raw.users);
	if (raw.accounts.json && users->count == 0 && !*raw.users.path)
		cv_node_error(&raw.accounts, "expected at least one account, found none");
	if (raw.hide.json)
		load_hide(&raw.hide, inbound);
}

static void warn_public_proxy(const struct cv_node *node, const struct cv_inbound *inbound,
			      bool is_open)
{
	if (!is_public(inbound))
		return;
	if (is_open)
		cv_node_warning(node, "an open proxy for everybody who reaches this address; "
				      "expected \"listen\": \"127.0.0.1\" or auth \"password\"");
	else if (inbound->security == CV_SECURITY_NONE)
		cv_node_warning(node, "passwords and destinations cross the network in clear text");
}

/* ---- PROXY headers ------------------------------------------------------------------------ */

static void add_source(const struct cv_node *node, const char *text, void *context)
{
	char cause[160] = "";

	if (cv_ip_matcher_add(context, text, cause, sizeof(cause)) != 0)
		cv_node_error(node, "%s", *cause ? cause : "out of memory");
}

/* Who may claim to be anybody, and who is banned for it: not every stranger. */
static void load_proxy_sources(const struct cv_node *node, const struct cv_stream *stream,
			       struct cv_inbound *inbound)
{
	const struct cv_node from = cv_node_member(&stream->sockopt, "proxyProtocolFrom");

	inbound->accepts_proxy = stream->accepts_proxy;
	if (!stream->accepts_proxy)
		return;
	if (!from.json) {
		if (is_public(inbound))
			cv_node_warning(node,
					"whoever reaches this address can claim to be anybody; "
					"expected sockopt.proxyProtocolFrom, the proxies whose "
					"PROXY header counts");
		return;
	}
	inbound->proxy_sources = cv_ip_matcher_new();
	if (inbound->proxy_sources)
		cv_node_each_text(&from, add_source, inbound->proxy_sources);
	else
		cv_node_load(node)->out_of_memory = true;
}

/* ---- the inbound -------------------------------------------------------------------------- */

static void load_plain_or_tls(const struct cv_node *node, const struct cv_stream *stream,
			      const struct cv_user_list *users, struct cv_inbound *inbound)
{
	if (stream->security == CV_SECURITY_REALITY)
		cv_node_error(node, "REALITY without VLESS is " CV_NOT_SUPPORTED);
	else
		load_security(stream, users, inbound);
}

static void load_by_protocol(const struct cv_node *node, const struct raw_inbound *raw,
			     const struct cv_stream *stream, struct cv_inbound *inbound)
{
	struct cv_load *load = cv_node_load(node);
	struct cv_user_list users = cv_user_list_of(load);
	bool is_open = false;

	inbound->transport = stream->transport;
	if (stream->transport && raw->protocol != CV_INBOUND_VLESS &&
	    raw->protocol != CV_INBOUND_VMESS)
		cv_node_error(node, "streamSettings.network: only vless and vmess come by \"ws\", "
				    "\"httpupgrade\" or \"h2\"");
	if (raw->protocol == CV_INBOUND_EDGE) {
		is_open = true;
		if (stream->security != CV_SECURITY_NONE)
			cv_node_error(node, "the edge reads names and decrypts nothing: expected "
					    "no security");
	} else if (raw->protocol == CV_INBOUND_VLESS) {
		load_vless(&raw->settings, &users, inbound);
		load_security(stream, &users, inbound);
		warn_plain_vless(node, &users, inbound);
	} else if (raw->protocol == CV_INBOUND_VMESS) {
		cv_load_vmess_server(&raw->settings, &users);
		load_plain_or_tls(node, stream, &users, inbound);
	} else if (raw->protocol == CV_INBOUND_TUNNEL) {
		is_open = true;
		cv_load_tunnel(&raw->settings, inbound);
		load_plain_or_tls(node, stream, &users, inbound);
	} else {
		if (raw->protocol == CV_INBOUND_HTTP)
			load_http(&raw->settings, &users, inbound, &is_open);
		else
			load_socks(&raw->settings, stream, &users, inbound, &is_open);
		load_plain_or_tls(node, stream, &users, inbound);
		warn_public_proxy(node, inbound, is_open);
	}
	cv_load_usages(&users, node);
	if (!is_open && !load->out_of_memory) {
		inbound->users = cv_user_table_new(users.users, users.count);
		load->out_of_memory |= !inbound->users;
	}
	cv_user_list_done(&users);
	if (raw->protocol == CV_INBOUND_VMESS && inbound->users)
		cv_load_vmess_keys(load, inbound);
}

/* Its users get no private addresses: strangers may be among them. A tunnel leads where the
 * operator wants, unless a name that the client says counts. Without an address an inbound is
 * reached through one that has a public one; so it is behind a proxy. */
static bool guards_private(const struct cv_inbound *inbound)
{
	if (inbound->tunnel && (!inbound->sniffing || inbound->sniffing->route_only))
		return false;
	return inbound->protocol == CV_INBOUND_VLESS || inbound->protocol == CV_INBOUND_VMESS ||
	       is_public(inbound) || inbound->listen_count == 0 || inbound->accepts_proxy;
}

static void load_inbound(const struct cv_node *node, struct cv_inbound *inbound)
{
	static const char *const default_tags[] = {
		[CV_INBOUND_VLESS] = "vless-in",
		[CV_INBOUND_SOCKS] = "socks-in",
		[CV_INBOUND_HTTP] = "http-in",
		[CV_INBOUND_MIXED] = "mixed-in",
		[CV_INBOUND_EDGE] = "edge-in",
		[CV_INBOUND_TUNNEL] = "tunnel-in",
		[CV_INBOUND_VMESS] = "vmess-in",
	};
	const struct cv_node listen_node = cv_node_member(node, "listen");
	const struct cv_node protocol = cv_node_member(node, "protocol");
	struct raw_inbound raw;
	struct cv_stream stream;

	cv_schema_read(inbound_fields, node, &raw);
	inbound->protocol = (enum cv_inbound_protocol)raw.protocol;
	inbound->tag =
		cv_load_strdup(cv_node_load(node), *raw.tag ? raw.tag : default_tags[raw.protocol]);
	if (raw.listen[0] == '/' || raw.listen[0] == '@')
		listen_unix(&listen_node, raw.listen, inbound);
	else if (strcasecmp(raw.listen, "none") != 0) /* else only the edge leads here */
		listen_ip(node, &raw, inbound);
	cv_load_stream(&raw.stream, true, &stream);
	load_proxy_sources(node, &stream, inbound);
	if (!cv_schema_has_word(protocols, &protocol)) {
		inbound->transport = stream.transport; /* to be freed */
		return; /* its settings would only confuse */
	}
	load_by_protocol(node, &raw, &stream, inbound);
	if (raw.sniffing.json)
		cv_load_sniffing(&raw.sniffing, inbound);
	inbound->guards_private = guards_private(inbound);
}

static void check_tags(const struct cv_node *list)
{
	const struct cv_config *config = cv_node_load(list)->config;

	for (size_t i = 0; i < config->inbound_count; i++)
		for (size_t j = 0; j < i; j++) {
			const struct cv_node node = cv_node_element(list, i);
			const struct cv_node tag = cv_node_member(&node, "tag");

			if (tag.json && config->inbounds[i].tag && config->inbounds[j].tag &&
			    strcmp(config->inbounds[i].tag, config->inbounds[j].tag) == 0)
				cv_node_error(&tag, "another inbound has this tag");
		}
}

void cv_load_inbounds(const struct cv_node *list)
{
	struct cv_load *load = cv_node_load(list);
	struct cv_config *config = load->config;
	const size_t count = cv_node_count(list);

	if (list->json && !json_object_is_type(list->json, json_type_array))
		cv_node_expected(list, "a list of inbounds");
	else if (count == 0 && config->bridge_count == 0)
		cv_node_error(list, "expected at least one inbound, found none");
	config->inbounds = cv_load_calloc(load, count, sizeof(*config->inbounds));
	if (!config->inbounds)
		return;
	for (size_t i = 0; i < count; i++) {
		const struct cv_node node = cv_node_element(list, i);

		config->inbound_count = i + 1;
		load_inbound(&node, &config->inbounds[i]);
	}
	check_tags(list);
}
