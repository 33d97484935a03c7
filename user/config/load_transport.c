// SPDX-License-Identifier: MIT
/*
 * load_transport.c - wsSettings, httpupgradeSettings, httpSettings: what carries VLESS over TCP or
 * TLS when that is not bare.
 */
#include "config/load.h"
#include "config/value.h"

#include "wire/http_upgrade.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEADERS_MAX 4096
#define HOSTS_MAX 1024
#define PATH_BYTES_MAX 1024

struct raw_transport {
	const char *path, *host, *method;
	uint32_t early;
	bool accepts_proxy;
	struct cv_node headers, hosts;
};

/* WebSocket and HTTPUpgrade */
static const struct cv_field upgrade_fields[] = {
	{"path", .type = CV_FIELD_TEXT, CV_FIELD(struct raw_transport, path)},
	{"host", .type = CV_FIELD_TEXT, CV_FIELD(struct raw_transport, host)},
	{"headers", .type = CV_FIELD_OBJECT, CV_FIELD(struct raw_transport, headers)},
	{"acceptProxyProtocol", .type = CV_FIELD_BOOL,
	 CV_FIELD(struct raw_transport, accepts_proxy)},
	{"maxEarlyData", .type = CV_FIELD_U32, .max = CV_UPGRADE_EARLY_MAX, .unit = "bytes",
	 CV_FIELD(struct raw_transport, early)},
	{"earlyDataHeaderName", .type = CV_FIELD_REFUSED, .text = "Sec-WebSocket-Protocol"},
	{"heartbeatPeriod", .type = CV_FIELD_WARNED},
	{"useBrowserForwarding", .type = CV_FIELD_WARNED},
	{.type = CV_FIELD_END},
};

static const struct cv_field h2_fields[] = {
	{"path", .type = CV_FIELD_TEXT, CV_FIELD(struct raw_transport, path)},
	{"host", .type = CV_FIELD_ANY, CV_FIELD(struct raw_transport, hosts)},
	{"method", .type = CV_FIELD_TEXT, .text = "PUT", CV_FIELD(struct raw_transport, method)},
	{"headers", .type = CV_FIELD_OBJECT, CV_FIELD(struct raw_transport, headers)},
	{"read_idle_timeout", .type = CV_FIELD_IGNORED},
	{"health_check_timeout", .type = CV_FIELD_IGNORED},
	{.type = CV_FIELD_END},
};

/* ---- path --------------------------------------------------------------------------------- */

static bool is_plain(const char *text)
{
	for (const char *c = text; *c; c++)
		if (*c <= ' ' || *c >= 0x7f)
			return false;
	return true;
}

/* "?ed=2048" is ours, wherever it stands in the query; the rest stays. */
static void cut_early(char *path, uint32_t *early)
{
	char *query = strchr(path, '?'), *at = query;

	while (at) {
		char *item = at + 1;
		const size_t len = strcspn(item, "&");

		if (strncmp(item, "ed=", 3) != 0) {
			at = strchr(item, '&');
			continue;
		}
		*early = (uint32_t)strtoul(item + 3, NULL, 10);
		if (item[len] == '&')
			memmove(item, item + len + 1, strlen(item + len + 1) + 1);
		else
			*at = '\0';
		return;
	}
}

static char *load_path(const struct cv_node *node, const struct raw_transport *raw,
		       bool is_inbound, uint32_t *early)
{
	const struct cv_node where = cv_node_member(node, "path");
	char path[PATH_BYTES_MAX];
	char *query;

	snprintf(path, sizeof(path), "%s%s", raw->path[0] == '/' ? "" : "/", raw->path);
	if (!is_plain(raw->path) || strlen(raw->path) + 2 > sizeof(path))
		cv_node_expected(&where, "a path of less than %zu printable characters, others "
					 "as \"%%20\"", sizeof(path) - 2);
	cut_early(path, early);
	if (*early > CV_UPGRADE_EARLY_MAX) {
		cv_node_warning(&where, "early data is limited to %d bytes", CV_UPGRADE_EARLY_MAX);
		*early = CV_UPGRADE_EARLY_MAX;
	}
	query = strchr(path, '?');
	if (is_inbound && query) {
		cv_node_warning(&where, "what stands behind \"?\" is not compared");
		*query = '\0';
	}
	return cv_load_strdup(cv_node_load(node), path);
}

/* ---- host, headers ------------------------------------------------------------------------ */

/* What the handshake says itself must not be said twice. */
static bool is_reserved(const char *name)
{
	static const char *const names[] = {"connection", "upgrade", "content-length",
					    "transfer-encoding", "te", "sec-websocket-key",
					    "sec-websocket-version", "sec-websocket-accept",
					    "sec-websocket-extensions", "sec-websocket-protocol"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcasecmp(names[i], name) == 0)
			return true;
	return false;
}

struct headers {
	const char *name;
	char *host; /* where a Host among them goes: an older spelling of "host" */
	char text[HEADERS_MAX];
	size_t len;
};

static void add_header(const struct cv_node *node, const char *value, void *context)
{
	struct headers *headers = context;
	const size_t room = sizeof(headers->text) - headers->len;

	if (!cv_value_is_token(headers->name) || !cv_value_is_field(value))
		cv_node_expected(node, "a header field");
	else if (strcasecmp(headers->name, "host") == 0)
		snprintf(headers->host, HOSTS_MAX, "%s", value);
	else if (is_reserved(headers->name))
		cv_node_error(node, "is not to be chosen");
	else if (strlen(headers->name) + strlen(value) + 5 > room)
		cv_node_error(node, "the headers are longer than %d bytes", HEADERS_MAX);
	else
		headers->len += (size_t)snprintf(headers->text + headers->len, room, "%s: %s\r\n",
						 headers->name, value);
}

static void add_value(const struct cv_node *field, struct headers *headers)
{
	const char *value;

	if (json_object_is_type(field->json, json_type_array)) {
		for (size_t i = 0; i < cv_node_count(field); i++) {
			const struct cv_node node = cv_node_element(field, i);

			value = cv_node_text(&node);
			if (value)
				add_header(&node, value, headers);
		}
		return;
	}
	value = cv_node_text(field);
	if (value)
		add_header(field, value, headers);
}

static char *load_headers(const struct cv_node *node, bool is_inbound, char host[HOSTS_MAX])
{
	struct headers headers = {.host = host};

	if (node->json && json_object_is_type(node->json, json_type_object)) {
		json_object_object_foreach(node->json, name, unused)
		{
			const struct cv_node field = cv_node_member(node, name);

			(void)unused;
			headers.name = name;
			add_value(&field, &headers);
		}
	}
	if (is_inbound && headers.len > 0)
		cv_node_warning(node, "headers are what a client says: they have no effect here");
	return cv_load_strdup(cv_node_load(node), headers.text);
}

static void add_host(const struct cv_node *node, const char *text, void *context)
{
	char *hosts = context;
	const size_t len = strlen(hosts);

	if (len + strlen(text) + 2 > HOSTS_MAX)
		cv_node_error(node, "the hosts are longer than %d bytes", HOSTS_MAX);
	else
		snprintf(hosts + len, HOSTS_MAX - len, "%s%s", len ? "," : "", text);
}

/* ---- the transport ------------------------------------------------------------------------ */

static bool is_host(const char *text)
{
	return is_plain(text) && !strpbrk(text, "/?#@\\");
}

struct cv_transport *cv_load_transport(const struct cv_node *node, enum cv_transport_kind kind,
				       bool is_inbound, bool *ret_accepts_proxy)
{
	const bool is_h2 = kind == CV_TRANSPORT_H2;
	struct cv_load *load = cv_node_load(node);
	struct cv_transport *transport = cv_load_calloc(load, 1, sizeof(*transport));
	struct raw_transport raw = {.method = ""};
	char host[HOSTS_MAX] = "";
	char *comma;

	if (!transport)
		return NULL;
	cv_schema_read(is_h2 ? h2_fields : upgrade_fields, node, &raw);
	*ret_accepts_proxy = raw.accepts_proxy;
	transport->kind = kind;
	transport->headers = load_headers(&raw.headers, is_inbound, host);
	if (*host && kind == CV_TRANSPORT_HTTPUPGRADE)
		cv_node_error(&raw.headers, "expected \"host\" instead of a header Host");
	if (is_h2)
		cv_node_each_text(&raw.hosts, add_host, host);
	else if (*raw.host)
		snprintf(host, sizeof(host), "%s", raw.host);
	if (!is_host(host))
		cv_node_expected(node, "a host name");
	comma = strchr(host, ',');
	if (comma && !is_inbound)
		*comma = '\0';
	transport->host = cv_load_strdup(load, host);
	transport->early_bytes = raw.early;
	transport->path = load_path(node, &raw, is_inbound, &transport->early_bytes);
	transport->method = cv_load_strdup(load, is_h2 ? raw.method : "GET");
	if (is_h2 && !cv_value_is_token(raw.method))
		cv_node_expected(node, "a method");
	return transport;
}

static void add_trusted(const struct cv_node *node, const char *text, void *context)
{
	char *names = context;
	const size_t len = strlen(names);

	if (!cv_value_is_token(text) || strlen(text) > 63)
		cv_node_expected(node, "the name of a header field, of at most 63 bytes");
	else if (len + strlen(text) + 2 > HOSTS_MAX)
		cv_node_error(node, "the names are longer than %d bytes", HOSTS_MAX);
	else
		snprintf(names + len, HOSTS_MAX - len, "%s%s", len ? "," : "", text);
}

void cv_load_trusted(const struct cv_node *list, struct cv_transport *transport)
{
	char names[HOSTS_MAX] = "";

	if (list->json)
		cv_node_each_text(list, add_trusted, names);
	transport->trusted = cv_load_strdup(cv_node_load(list), names);
}
