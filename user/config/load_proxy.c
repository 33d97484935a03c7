// SPDX-License-Identifier: MIT
/*
 * load_proxy.c - outbounds that ask a proxy: socks and http, plain or over TLS; what happens when
 * it fails; and which outbound is dialled through which.
 */
#include "config/load.h"
#include "config/value.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_MAX 255 /* of user names and passwords: SOCKS5 has one byte for the length */
#define HEADERS_MAX 4096
#define HOPS_MAX 3

struct raw_proxy {
	const char *address, *user, *password;
	uint32_t port, level;
	int fallback, udp_over_tls;
	struct cv_node servers, headers, retry;
};

/* 1 = direct. In clear text beside a connection in TLS nobody would expect them. */
static const struct cv_word udp_over_tls_words[] = {
	{"drop", 0}, {"direct", 1}, {"clear", CV_WORD_UNSUPPORTED}, {NULL, 0}};

const struct cv_word cv_fallback_words[] = {{"direct", 1}, {"block", 0}, {NULL, 0}};

#define OWN_KEYS \
	{"retry", .type = CV_FIELD_OBJECT, CV_FIELD(struct raw_proxy, retry)}, /* our own */ \
	{"udpOverTls", "udp_over_socks5s", .type = CV_FIELD_WORD, .words = udp_over_tls_words, \
	 .text = "drop", CV_FIELD(struct raw_proxy, udp_over_tls)}, \
	{ \
		"fallback", .type = CV_FIELD_WORD, .words = cv_fallback_words, .text = "direct", \
			    CV_FIELD(struct raw_proxy, fallback) \
	}
#define ACCOUNT_KEYS \
	{"user", .type = CV_FIELD_TEXT, CV_FIELD(struct raw_proxy, user)}, \
		{"pass", .type = CV_FIELD_TEXT, .is_secret = true, \
		 CV_FIELD(struct raw_proxy, password)}, \
		{"level", .type = CV_FIELD_U32, .max = CV_LEVELS - 1, \
		 CV_FIELD(struct raw_proxy, level)}, \
	{ \
		"email", .type = CV_FIELD_IGNORED \
	}
#define SERVER_KEYS \
	{"address", .type = CV_FIELD_TEXT, .is_required = true, \
	 CV_FIELD(struct raw_proxy, address)}, \
	{ \
		"port", .type = CV_FIELD_U32, .is_required = true, .min = 1, .max = 65535, \
			CV_FIELD(struct raw_proxy, port) \
	}

/* flat: everything in settings; else servers[1] of {address, port, users[0..1]} */
static const struct cv_field flat_fields[] = {
	SERVER_KEYS,
	ACCOUNT_KEYS,
	{"headers", .type = CV_FIELD_OBJECT, CV_FIELD(struct raw_proxy, headers)},
	OWN_KEYS,
	{.type = CV_FIELD_END},
};
static const struct cv_field nested_fields[] = {
	{"servers", .type = CV_FIELD_ARRAY, CV_FIELD(struct raw_proxy, servers)},
	{"headers", .type = CV_FIELD_OBJECT, CV_FIELD(struct raw_proxy, headers)},
	OWN_KEYS,
	{.type = CV_FIELD_END},
};
struct raw_server {
	const char *address;
	uint32_t port;
	struct cv_node users;
};
static const struct cv_field server_fields[] = {
	{"address", .type = CV_FIELD_TEXT, .is_required = true,
	 CV_FIELD(struct raw_server, address)},
	{"port", .type = CV_FIELD_U32, .is_required = true, .min = 1, .max = 65535,
	 CV_FIELD(struct raw_server, port)},
	{"users", .type = CV_FIELD_ARRAY, CV_FIELD(struct raw_server, users)},
	{.type = CV_FIELD_END},
};
static const struct cv_field account_fields[] = {
	ACCOUNT_KEYS,
	{.type = CV_FIELD_END},
};

/* ---- what to do when it fails ------------------------------------------------------------- */

struct raw_retry {
	uint32_t attempts, connect_ms, total_ms;
	struct cv_node waits;
};

static const struct cv_field retry_fields[] = {
	{"maxAttempts", "max_attempts", .type = CV_FIELD_U32, .min = 1,
	 .max = CV_RETRY_ATTEMPTS_MAX, .number = 3, CV_FIELD(struct raw_retry, attempts)},
	{"backoffMs", "backoff_ms", .type = CV_FIELD_ARRAY, CV_FIELD(struct raw_retry, waits)},
	{"connectMs", "connect_ms", .type = CV_FIELD_U32, .min = 100, .max = 60000,
	 .number = 10000, .unit = "milliseconds", CV_FIELD(struct raw_retry, connect_ms)},
	{"totalMs", "total_ms", .type = CV_FIELD_U32, .min = 100, .max = 300000, .number = 15000,
	 .unit = "milliseconds", CV_FIELD(struct raw_retry, total_ms)},
	{"enabled", .type = CV_FIELD_IGNORED},
	{.type = CV_FIELD_END},
};

static void set_waits(const struct cv_node *list, struct cv_retry *retry)
{
	retry->wait_count = cv_node_count(list);
	if (retry->wait_count > CV_RETRY_WAITS) {
		cv_node_expected(list, "at most %d waits", CV_RETRY_WAITS);
		retry->wait_count = CV_RETRY_WAITS;
	}
	for (size_t i = 0; i < retry->wait_count; i++) {
		const struct cv_node node = cv_node_element(list, i);
		const int64_t number = json_object_get_int64(node.json);

		if (!json_object_is_type(node.json, json_type_int) || number < 0 || number > 60000)
			cv_node_expected(&node, "a number of milliseconds from 0 to 60000");
		else
			retry->wait_ms[i] = (uint32_t)number;
	}
}

void cv_load_retry(const struct cv_node *node, bool goes_around, struct cv_outbound *outbound)
{
	struct raw_retry raw;

	cv_schema_read(retry_fields, node, &raw);
	outbound->retry = (struct cv_retry){
		.attempts = raw.attempts,
		.wait_ms = {1000, 2000, 4000},
		.wait_count = 3,
		.connect_ms = raw.connect_ms,
		.total_ms = raw.total_ms,
		.goes_around = goes_around,
	};
	if (raw.waits.json)
		set_waits(&raw.waits, &outbound->retry);
	outbound->health = cv_load_calloc(cv_node_load(node), 1, sizeof(*outbound->health));
}

/* ---- the proxy ---------------------------------------------------------------------------- */

static void set_headers(const struct cv_node *node, struct cv_outbound *outbound)
{
	char text[HEADERS_MAX] = "";
	size_t len = 0;

	if (node->json && outbound->protocol != CV_OUTBOUND_HTTP)
		cv_node_error(node, "only http has headers");
	if (!node->json || outbound->protocol != CV_OUTBOUND_HTTP)
		return;
	json_object_object_foreach(node->json, name, value)
	{
		const struct cv_node field = cv_node_member(node, name);
		const char *content = cv_node_text(&field);

		(void)value;
		if (!content)
			continue;
		if (!cv_value_is_token(name) || !cv_value_is_field(content))
			cv_node_expected(&field, "a header field");
		else if (strcasecmp(name, "Host") == 0 || strcasecmp(name, "Content-Length") == 0 ||
			 strcasecmp(name, "Transfer-Encoding") == 0)
			cv_node_error(&field, "is not to be chosen");
		else if (len + strlen(name) + strlen(content) + 5 > sizeof(text))
			cv_node_error(&field, "the headers are longer than %d bytes", HEADERS_MAX);
		else
			len += (size_t)snprintf(text + len, sizeof(text) - len, "%s: %s\r\n", name,
						content);
	}
	free(outbound->headers);
	outbound->headers = cv_load_strdup(cv_node_load(node), text);
}

void cv_load_credentials(const struct cv_node *node, const char *user, const char *password,
			 struct cv_outbound *outbound)
{
	struct cv_load *load = cv_node_load(node);

	if (!*user != !*password)
		cv_node_error(node, "expected a user name and a password, or neither");
	if (strlen(user) > TEXT_MAX || strlen(password) > TEXT_MAX)
		cv_node_error(node, "expected a user name and a password of at most %d bytes each",
			      TEXT_MAX);
	if (outbound->protocol == CV_OUTBOUND_HTTP && strchr(user, ':'))
		cv_node_error(node, "HTTP cannot express a colon in a user name");
	free(outbound->proxy_user);
	free(outbound->proxy_password);
	outbound->proxy_user = cv_load_strdup(load, user);
	outbound->proxy_password = cv_load_strdup(load, password);
}

static void load_nested(const struct cv_node *node, struct raw_proxy *raw,
			struct cv_outbound *outbound)
{
	struct cv_node server_node, user_node;
	struct raw_server server;
	struct raw_proxy account;

	cv_schema_read(nested_fields, node, raw);
	if (cv_node_count(&raw->servers) != 1) {
		cv_node_error(&raw->servers, "expected exactly one server, found %zu",
			      cv_node_count(&raw->servers));
		return;
	}
	server_node = cv_node_element(&raw->servers, 0);
	cv_schema_read(server_fields, &server_node, &server);
	if (*server.address)
		(void)cv_value_host(&server_node, server.address, (uint16_t)server.port,
				    &outbound->server);
	if (cv_node_count(&server.users) > 1)
		cv_node_error(&server.users, "expected at most one user, found %zu",
			      cv_node_count(&server.users));
	if (cv_node_count(&server.users) != 1)
		return;
	user_node = cv_node_element(&server.users, 0);
	cv_schema_read(account_fields, &user_node, &account);
	outbound->level = account.level;
	cv_load_credentials(&user_node, account.user, account.password, outbound);
}

static void load_flat(const struct cv_node *node, struct raw_proxy *raw,
		      struct cv_outbound *outbound)
{
	const struct cv_node address = cv_node_member(node, "address");

	cv_schema_read(flat_fields, node, raw);
	if (address.json)
		(void)cv_value_host(&address, raw->address, (uint16_t)raw->port,
				    &outbound->server);
	outbound->level = raw->level;
	cv_load_credentials(node, raw->user, raw->password, outbound);
}

/* A proxy speaks HTTP/1.1 or SOCKS, so nothing else may be negotiated. */
void cv_load_proxy_alpn(const struct cv_node *node, struct cv_outbound *outbound)
{
	struct cv_load *load = cv_node_load(node);

	for (size_t i = 0; outbound->alpn && outbound->alpn[i]; i++)
		if (strcmp(outbound->alpn[i], "http/1.1") != 0)
			cv_node_error(node, "alpn: a proxy is spoken to in HTTP/1.1 or SOCKS, "
					    "expected \"http/1.1\" or nothing");
	if (outbound->alpn)
		return;
	outbound->alpn = cv_load_calloc(load, 2, sizeof(*outbound->alpn));
	if (outbound->alpn && outbound->protocol == CV_OUTBOUND_HTTP)
		outbound->alpn[0] = cv_load_strdup(load, "http/1.1");
}

void cv_load_proxy(const struct cv_node *node, const struct cv_node *settings,
		   const struct cv_stream *stream, struct cv_outbound *outbound)
{
	const struct cv_node servers = cv_node_member(settings, "servers");
	const struct cv_node fallback = cv_node_member(settings, "fallback");
	struct raw_proxy raw;

	if (servers.json)
		load_nested(settings, &raw, outbound);
	else
		load_flat(settings, &raw, outbound);
	set_headers(&raw.headers, outbound);
	outbound->udp_goes_around = raw.udp_over_tls == 1;
	cv_load_retry(&raw.retry, raw.fallback == 1, outbound);
	if (!fallback.json)
		cv_node_warning(node, "if this proxy fails, sessions go out directly: write "
				      "\"fallback\": \"block\" or \"direct\" into its settings");
	outbound->security = stream->security;
	if (stream->security == CV_SECURITY_REALITY)
		cv_node_error(&stream->reality, "only vless is carried by REALITY");
	if (stream->security != CV_SECURITY_TLS)
		return;
	cv_load_tls_client(&stream->tls, outbound);
	cv_load_proxy_alpn(&stream->tls, outbound);
}

/* ---- through one another ------------------------------------------------------------------ */

static struct cv_outbound *find(struct cv_config *config, const char *tag)
{
	for (size_t i = 0; i < config->outbound_count; i++)
		if (config->outbounds[i].tag && strcmp(config->outbounds[i].tag, tag) == 0)
			return &config->outbounds[i];
	return NULL;
}

static void set_via(const struct cv_node *node, struct cv_config *config,
		    struct cv_outbound *outbound)
{
	const struct cv_outbound *via = find(config, outbound->via_tag);

	if (!via)
		cv_node_error(node, "is to be dialled through \"%.64s\", an outbound that does not "
				    "exist", outbound->via_tag);
	else if (via->protocol == CV_OUTBOUND_BLACKHOLE)
		cv_node_error(node, "is to be dialled through \"%.64s\", which lets nothing pass",
			      outbound->via_tag);
	else if (via->protocol != CV_OUTBOUND_FREEDOM) /* that is what dialling is anyway */
		outbound->via = via;
}

static bool is_too_long(const struct cv_outbound *outbound)
{
	unsigned hops = 0;

	for (; outbound && hops <= HOPS_MAX; outbound = outbound->via)
		hops++;
	return hops > HOPS_MAX;
}

void cv_load_chains(const struct cv_node *list)
{
	struct cv_config *config = cv_node_load(list)->config;

	for (size_t i = 0; i < cv_node_count(list); i++) {
		const struct cv_node node = cv_node_element(list, i);

		if (config->outbounds[i].via_tag && config->outbounds[i].via_tag[0])
			set_via(&node, config, &config->outbounds[i]);
	}
	for (size_t i = 0; i < cv_node_count(list); i++) {
		const struct cv_node node = cv_node_element(list, i);

		if (is_too_long(&config->outbounds[i]))
			cv_node_error(&node, "is dialled through more than %d others, or through "
					     "itself", HOPS_MAX - 1);
	}
}

/* ---- the way around ----------------------------------------------------------------------- */

/* The freedom called "direct", else the first one. */
static const struct cv_outbound *find_direct(struct cv_config *config)
{
	const struct cv_outbound *direct = find(config, "direct");

	if (direct && direct->protocol == CV_OUTBOUND_FREEDOM)
		return direct;
	for (size_t i = 0; i < config->outbound_count; i++)
		if (config->outbounds[i].protocol == CV_OUTBOUND_FREEDOM &&
		    config->outbounds[i].redirect.kind == CV_ADDRESS_NONE &&
		    config->outbounds[i].redirect.port == 0)
			return &config->outbounds[i];
	return NULL;
}

bool cv_load_has_direct(struct cv_config *config)
{
	config->direct = find_direct(config);
	return config->direct != NULL;
}
