// SPDX-License-Identifier: MIT
/*
 * node_import.c - nodes in the style of Clash (YAML) as outbounds of ours.
 *
 *   {name, type, server, port, uuid, network, tls, servername, ws-opts: {path, headers}, ...}
 *        -> struct cv_share_link -> client_json.c          vless, vmess
 *        -> settings of a proxy                            socks5, http
 *
 * libyaml parses; its document is looked at from the outside in, never deeper than options of a
 * carrier, so that anchors and aliases cost nothing. Keys are the ones that Clash and its kin
 * write; a server name is servername, serverName or sni.
 */
#include "config/node_import.h"

#include "config/client_json.h"

#include "base/reason.h"
#include "crypto/uuid.h"
#include "protocol/fingerprint.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#define NODES_MAX 4096
#define TEXT_MAX 512

struct import {
	yaml_document_t document;
	const struct cv_config_report *report;
	size_t error_count;
	struct json_object *outbounds;
	bool has_udp;
};

/* ---- findings ----------------------------------------------------------------------------- */

static void tell(struct import *import, bool is_error, const yaml_node_t *at, const char *format,
		 ...) __attribute__((format(printf, 4, 5)));

static void tell(struct import *import, bool is_error, const yaml_node_t *at, const char *format,
		 ...)
{
	char text[TEXT_MAX], line[TEXT_MAX + 32];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	snprintf(line, sizeof(line), "%zu: %s", at ? at->start_mark.line + 1 : (size_t)1, text);
	import->error_count += is_error;
	if (import->report->line)
		import->report->line(import->report->context, is_error, line);
}

/* ---- values ------------------------------------------------------------------------------- */

static yaml_node_t *node_at(struct import *import, int index)
{
	return yaml_document_get_node(&import->document, index);
}

static const char *scalar(const yaml_node_t *node)
{
	if (!node || node->type != YAML_SCALAR_NODE ||
	    strlen((const char *)node->data.scalar.value) != node->data.scalar.length)
		return NULL;
	return (const char *)node->data.scalar.value;
}

/* The value of the first of @names, separated by blanks, that @mapping has. */
static yaml_node_t *member(struct import *import, const yaml_node_t *mapping, const char *names)
{
	for (yaml_node_pair_t *pair = mapping ? mapping->data.mapping.pairs.start : NULL;
	     pair && pair < mapping->data.mapping.pairs.top; pair++) {
		const char *key = scalar(node_at(import, pair->key));

		for (const char *name = names; key && *name;) {
			const size_t len = strcspn(name, " ");

			if (strlen(key) == len && memcmp(key, name, len) == 0)
				return node_at(import, pair->value);
			name += len + (name[len] == ' ');
		}
	}
	return NULL;
}

/* "~" and an empty value are no value. */
static bool is_null(const yaml_node_t *node)
{
	const char *text = scalar(node);

	return !node || (text && node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
			 (!*text || strcmp(text, "~") == 0 || strcasecmp(text, "null") == 0));
}

/* True with "" if it is not there. */
static bool take_text(struct import *import, const yaml_node_t *mapping, const char *names,
		      char *ret_text, size_t size)
{
	const yaml_node_t *node = member(import, mapping, names);
	const char *text = is_null(node) ? "" : scalar(node);

	ret_text[0] = '\0';
	if (!text || strlen(text) >= size) {
		tell(import, true, node, "%.32s: expected a text of less than %zu bytes", names,
		     size);
		return false;
	}
	for (const char *c = text; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f) {
			tell(import, true, node, "%.32s: control character", names);
			return false;
		}
	strcpy(ret_text, text);
	return true;
}

static bool take_bool(struct import *import, const yaml_node_t *mapping, const char *names)
{
	static const char *const yes[] = {"true", "yes", "on", "1"};
	static const char *const no[] = {"false", "no", "off", "0"};
	const yaml_node_t *node = member(import, mapping, names);
	const char *text = scalar(node);

	if (is_null(node))
		return false;
	for (size_t i = 0; text && i < sizeof(yes) / sizeof(yes[0]); i++) {
		if (strcasecmp(text, yes[i]) == 0)
			return true;
		if (strcasecmp(text, no[i]) == 0)
			return false;
	}
	tell(import, true, node, "%.32s: expected true or false", names);
	return false;
}

static uint32_t take_number(struct import *import, const yaml_node_t *mapping, const char *names,
			    uint32_t max)
{
	const yaml_node_t *node = member(import, mapping, names);
	const char *text = is_null(node) ? "0" : scalar(node);
	char *end = NULL;
	const unsigned long number = text ? strtoul(text, &end, 10) : 0;

	if (!text || !*text || *end || text[0] < '0' || text[0] > '9' || number > max) {
		tell(import, true, node, "%.32s: expected a number from 0 to %u", names, max);
		return 0;
	}
	return (uint32_t)number;
}

static const yaml_node_t *take_mapping(struct import *import, const yaml_node_t *mapping,
				       const char *names)
{
	const yaml_node_t *node = member(import, mapping, names);

	if (is_null(node))
		return NULL;
	if (node->type == YAML_MAPPING_NODE)
		return node;
	tell(import, true, node, "%.32s: expected keys with values", names);
	return NULL;
}

/* A list of texts, or one: comma separated. */
static void take_list(struct import *import, const yaml_node_t *mapping, const char *names,
		      char *ret_text, size_t size)
{
	const yaml_node_t *node = member(import, mapping, names);
	size_t len = 0;

	ret_text[0] = '\0';
	if (!node || node->type != YAML_SEQUENCE_NODE) {
		(void)take_text(import, mapping, names, ret_text, size);
		return;
	}
	for (yaml_node_item_t *item = node->data.sequence.items.start;
	     item < node->data.sequence.items.top; item++) {
		const char *text = scalar(node_at(import, *item));
		const int put = text ? snprintf(ret_text + len, size - len, "%s%s", len ? "," : "",
						text)
				     : -1;

		if (put < 0 || (size_t)put >= size - len) {
			tell(import, true, node, "%.32s: expected a short list of texts", names);
			ret_text[0] = '\0';
			return;
		}
		len += (size_t)put;
	}
}

/* ---- keys that are none of ours ----------------------------------------------------------- */

/* With its value: NULL = any. */
static const struct known {
	const char *key;
	enum { USED, IGNORED, REFUSED } what;
} known_keys[] = {
	{"name", USED},		      {"type", USED},
	{"server", USED},	      {"port", USED},
	{"uuid", USED},		      {"udp", USED},
	{"network", USED},	      {"tls", USED},
	{"servername", USED},	      {"serverName", USED},
	{"sni", USED},		      {"skip-cert-verify", USED},
	{"ws-opts", USED},	      {"h2-opts", USED},
	{"flow", USED},		      {"alpn", USED},
	{"client-fingerprint", USED}, {"reality-opts", USED},
	{"alterId", USED},	      {"cipher", USED},
	{"username", USED},	      {"password", USED},
	{"http-opts", REFUSED},	      {"fingerprint", REFUSED},
	{"grpc-opts", REFUSED},	      {"ech-opts", REFUSED},
	{"certificate", REFUSED},     {"private-key", REFUSED},
	{"dialer-proxy", REFUSED},    {"interface-name", REFUSED},
	{"routing-mark", REFUSED},    {"smux", REFUSED},
	{"encryption", REFUSED},      {"packet-encoding", IGNORED},
	{"packet-addr", IGNORED},     {"xudp", IGNORED},
	{"tfo", IGNORED},	      {"mptcp", IGNORED},
	{"ip-version", IGNORED},      {"global-padding", IGNORED},
};

static bool is_off(const yaml_node_t *node)
{
	const char *text = scalar(node);

	return is_null(node) || (text && (!*text || strcasecmp(text, "false") == 0 ||
					  strcmp(text, "none") == 0));
}

static void check_keys(struct import *import, const yaml_node_t *node)
{
	for (yaml_node_pair_t *pair = node->data.mapping.pairs.start;
	     pair < node->data.mapping.pairs.top; pair++) {
		const yaml_node_t *key_node = node_at(import, pair->key);
		const char *key = scalar(key_node);
		const struct known *known = NULL;

		for (size_t i = 0; key && i < sizeof(known_keys) / sizeof(known_keys[0]); i++)
			if (strcmp(known_keys[i].key, key) == 0)
				known = &known_keys[i];
		if (!known)
			tell(import, false, key_node, "%.64s: unknown key", key ? key : "?");
		else if (known->what == REFUSED && !is_off(node_at(import, pair->value)))
			tell(import, true, key_node,
			     "%.64s: not supported by this version of culvert", key);
	}
}

/* ---- carriers ----------------------------------------------------------------------------- */

/* Early data is a part of the path here. */
static void take_websocket(struct import *import, const yaml_node_t *options,
			   struct cv_share_link *link)
{
	const yaml_node_t *headers = take_mapping(import, options, "headers");
	char early_header[64];
	uint32_t early_bytes;
	size_t len;

	(void)take_text(import, options, "path", link->path, sizeof(link->path));
	(void)take_text(import, headers, "Host host", link->http_host,
			sizeof(link->http_host));
	if (take_bool(import, options, "v2ray-http-upgrade"))
		strcpy(link->type, "httpupgrade");
	early_bytes = take_number(import, options, "max-early-data", 65535);
	(void)take_text(import, options, "early-data-header-name", early_header,
			sizeof(early_header));
	if (!early_bytes)
		return;
	if (strcasecmp(early_header, "Sec-WebSocket-Protocol") != 0) {
		tell(import, true, options, "max-early-data: expected early-data-header-name "
					    "Sec-WebSocket-Protocol");
		return;
	}
	len = strlen(link->path);
	if (len + 16 < sizeof(link->path) && !strchr(link->path, '?'))
		snprintf(link->path + len, sizeof(link->path) - len, "%s?ed=%u", len ? "" : "/",
			 early_bytes);
}

static void take_carrier(struct import *import, const yaml_node_t *node,
			 struct cv_share_link *link)
{
	const yaml_node_t *options;
	char network[16];

	if (!take_text(import, node, "network", network, sizeof(network)))
		return;
	if (!*network || strcmp(network, "tcp") == 0)
		return;
	if (strcmp(network, "ws") == 0) {
		strcpy(link->type, "ws");
		options = take_mapping(import, node, "ws-opts");
		take_websocket(import, options, link);
	} else if (strcmp(network, "h2") == 0 || strcmp(network, "http") == 0) {
		/* without http-opts, which are refused, "http" can only mean the same */
		strcpy(link->type, "http");
		options = take_mapping(import, node, "h2-opts");
		(void)take_text(import, options, "path", link->path, sizeof(link->path));
		take_list(import, options, "host", link->http_host,
			  sizeof(link->http_host));
	} else {
		tell(import, true, member(import, node, "network"),
		     "network: expected tcp, ws, h2 or http, found \"%.32s\"", network);
	}
}

static void take_security(struct import *import, const yaml_node_t *node,
			  struct cv_share_link *link)
{
	const yaml_node_t *reality = take_mapping(import, node, "reality-opts");
	const bool is_tls = take_bool(import, node, "tls");
	enum cv_fingerprint unused;

	strcpy(link->security, reality ? "reality" : is_tls ? "tls" : "none");
	(void)take_text(import, node, "servername serverName sni", link->server_name,
			sizeof(link->server_name));
	(void)take_text(import, node, "client-fingerprint", link->fingerprint,
			sizeof(link->fingerprint));
	if (link->fingerprint[0] && cv_fingerprint_parse(link->fingerprint, &unused) != 0) {
		tell(import, false, member(import, node, "client-fingerprint"),
		     "client-fingerprint: not known to this version of culvert, chrome's is used");
		link->fingerprint[0] = '\0';
	}
	take_list(import, node, "alpn", link->alpn, sizeof(link->alpn));
	link->allow_insecure = take_bool(import, node, "skip-cert-verify") && !reality;
	(void)take_text(import, reality, "public-key", link->public_key,
			sizeof(link->public_key));
	(void)take_text(import, reality, "short-id", link->short_id, sizeof(link->short_id));
	if (reality && !link->public_key[0])
		tell(import, true, reality, "reality-opts: public-key is required, but missing");
	if (!reality && !is_tls && link->server_name[0])
		tell(import, false, node, "a server name has no effect without tls");
}

/* ---- nodes -------------------------------------------------------------------------------- */

/* Other headers than Host. */
static void add_headers(struct import *import, const yaml_node_t *node,
			struct json_object *outbound)
{
	const yaml_node_t *headers =
		take_mapping(import, take_mapping(import, node, "ws-opts"), "headers");
	struct json_object *list, *stream = NULL, *settings = NULL;

	if (!headers)
		return;
	json_object_object_get_ex(outbound, "streamSettings", &stream);
	if (!json_object_object_get_ex(stream, "wsSettings", &settings) &&
	    !json_object_object_get_ex(stream, "httpupgradeSettings", &settings))
		return;
	list = json_object_new_object();
	for (yaml_node_pair_t *pair = headers->data.mapping.pairs.start;
	     pair < headers->data.mapping.pairs.top; pair++) {
		const char *name = scalar(node_at(import, pair->key));
		const char *value = scalar(node_at(import, pair->value));

		if (!name || !value)
			tell(import, true, headers, "headers: expected names with texts");
		else if (strcasecmp(name, "Host") != 0)
			cv_client_add(list, name, value);
	}
	if (json_object_object_length(list) > 0)
		json_object_object_add(settings, "headers", list);
	else
		json_object_put(list);
}

static void take_id(struct import *import, const yaml_node_t *node, struct cv_share_link *link)
{
	uint8_t uuid[16];

	if (take_text(import, node, "uuid", link->id, sizeof(link->id)) &&
	    cv_uuid_parse(link->id, uuid) != 0)
		tell(import, true, member(import, node, "uuid"),
		     "uuid: expected a UUID or a text of 1 to 30 bytes");
}

static struct json_object *vless_outbound(struct import *import, const yaml_node_t *node,
					  struct cv_share_link *link)
{
	take_id(import, node, link);
	(void)take_text(import, node, "flow", link->flow, sizeof(link->flow));
	take_carrier(import, node, link);
	take_security(import, node, link);
	return cv_client_outbound(link, link->name);
}

static void take_cipher(struct import *import, const yaml_node_t *node, char cipher[24])
{
	static const char *const known[] = {"auto", "aes-128-gcm", "chacha20-poly1305", "none"};

	if (!take_text(import, node, "cipher", cipher, 24))
		return;
	if (!*cipher)
		strcpy(cipher, known[0]);
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strcmp(cipher, known[i]) == 0)
			return;
	tell(import, true, member(import, node, "cipher"),
	     "cipher: expected auto, aes-128-gcm, chacha20-poly1305 or none");
}

static struct json_object *vmess_outbound(struct import *import, const yaml_node_t *node,
					  struct cv_share_link *link)
{
	struct json_object *outbound, *settings = NULL;
	char cipher[24];

	take_id(import, node, link);
	take_carrier(import, node, link);
	take_security(import, node, link);
	if (take_number(import, node, "alterId", 65535) != 0)
		tell(import, true, member(import, node, "alterId"),
		     "alterId: the old form of VMess is not supported, expected 0");
	take_cipher(import, node, cipher);
	outbound = cv_client_outbound(link, link->name);
	json_object_object_add(outbound, "protocol", json_object_new_string("vmess"));
	json_object_object_get_ex(outbound, "settings", &settings);
	json_object_object_del(settings, "encryption");
	cv_client_add(settings, "security", cipher);
	return outbound;
}

static struct json_object *proxy_outbound(struct import *import, const yaml_node_t *node,
					  struct cv_share_link *link, const char *protocol)
{
	struct json_object *outbound = json_object_new_object();
	struct json_object *settings = json_object_new_object();
	char text[256];

	take_security(import, node, link);
	cv_client_add(outbound, "tag", link->name);
	cv_client_add(outbound, "protocol", protocol);
	cv_client_add(settings, "address", link->host);
	json_object_object_add(settings, "port", json_object_new_int(link->port));
	(void)take_text(import, node, "username", text, sizeof(text));
	cv_client_add(settings, "user", text);
	(void)take_text(import, node, "password", text, sizeof(text));
	cv_client_add(settings, "pass", text);
	cv_client_add(settings, "fallback", "block"); /* nothing goes around it unasked */
	json_object_object_add(outbound, "settings", settings);
	json_object_object_add(outbound, "streamSettings", cv_client_stream(link));
	return outbound;
}

static void add_node(struct import *import, const yaml_node_t *node)
{
	struct json_object *outbound = NULL;
	struct cv_share_link link = {0};
	char type[16];

	if (!node || node->type != YAML_MAPPING_NODE) {
		tell(import, true, node, "expected a node: keys with values");
		return;
	}
	check_keys(import, node);
	(void)take_text(import, node, "name", link.name, sizeof(link.name));
	(void)take_text(import, node, "type", type, sizeof(type));
	(void)take_text(import, node, "server", link.host, sizeof(link.host));
	link.port = (uint16_t)take_number(import, node, "port", 65535);
	if (!link.host[0] || !link.port)
		tell(import, true, node, "expected server and port");
	import->has_udp |= take_bool(import, node, "udp");
	if (strcasecmp(type, "vless") == 0)
		outbound = vless_outbound(import, node, &link);
	else if (strcasecmp(type, "vmess") == 0)
		outbound = vmess_outbound(import, node, &link);
	else if (strcasecmp(type, "socks5") == 0)
		outbound = proxy_outbound(import, node, &link, "socks");
	else if (strcasecmp(type, "http") == 0)
		outbound = proxy_outbound(import, node, &link, "http");
	else
		tell(import, true, node,
		     "type: expected vless, vmess, socks5 or http, found \"%.16s\"", type);
	if (!outbound)
		return;
	add_headers(import, node, outbound);
	json_object_array_add(import->outbounds, outbound);
}

static void add_list(struct import *import, const yaml_node_t *list)
{
	const ptrdiff_t count = list->data.sequence.items.top - list->data.sequence.items.start;

	if (count == 0 || count > NODES_MAX) {
		tell(import, true, list, "expected 1 to %d nodes, found %td", NODES_MAX, count);
		return;
	}
	for (ptrdiff_t i = 0; i < count; i++)
		add_node(import, node_at(import, list->data.sequence.items.start[i]));
}

static void add_document(struct import *import)
{
	const yaml_node_t *root = yaml_document_get_root_node(&import->document);
	const yaml_node_t *list = root && root->type == YAML_MAPPING_NODE
					  ? member(import, root, "proxies Proxy")
					  : root;

	if (list && list->type == YAML_SEQUENCE_NODE)
		add_list(import, list);
	else if (root && root->type == YAML_MAPPING_NODE && !list)
		add_node(import, root);
	else
		tell(import, true, list, "expected a node, a list of nodes, or \"proxies\"");
}

/* ---- the whole ---------------------------------------------------------------------------- */

/* Two outbounds cannot be called the same. */
static void check_tags(struct import *import)
{
	const size_t count = json_object_array_length(import->outbounds);

	for (size_t i = 0; i < count; i++)
		for (size_t j = 0; j < i; j++) {
			struct json_object *one = NULL, *other = NULL;

			json_object_object_get_ex(json_object_array_get_idx(import->outbounds, i),
						  "tag", &one);
			json_object_object_get_ex(json_object_array_get_idx(import->outbounds, j),
						  "tag", &other);
			if (one && other && strcmp(json_object_get_string(one),
						   json_object_get_string(other)) == 0)
				tell(import, true, NULL, "two nodes are called \"%.64s\"",
				     json_object_get_string(one));
		}
}

static bool load(struct import *import, const char *text, size_t len)
{
	yaml_parser_t parser;
	bool good;

	if (!yaml_parser_initialize(&parser)) {
		tell(import, true, NULL, "out of memory");
		return false;
	}
	yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
	good = yaml_parser_load(&parser, &import->document);
	if (!good) {
		yaml_node_t at = {.start_mark = parser.problem_mark};

		tell(import, true, &at, "not YAML: %.128s",
		     parser.problem ? parser.problem : "unknown problem");
	}
	yaml_parser_delete(&parser);
	return good;
}

int cv_node_import(const char *text, size_t len, const struct cv_config_report *report,
		   struct json_object **ret_outbounds, bool *ret_has_udp)
{
	static const struct cv_config_report silent;
	struct import import = {.report = report ? report : &silent};

	if (!load(&import, text, len))
		return CV_INTERNAL_CONFIG;
	import.outbounds = json_object_new_array();
	add_document(&import);
	check_tags(&import);
	yaml_document_delete(&import.document);
	if (import.error_count > 0) {
		json_object_put(import.outbounds);
		return CV_INTERNAL_CONFIG;
	}
	*ret_outbounds = import.outbounds;
	*ret_has_udp = import.has_udp;
	return 0;
}
