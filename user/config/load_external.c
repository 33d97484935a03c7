// SPDX-License-Identifier: MIT
/*
 * load_external.c - external_proxy.json: upstream proxies that users are given by id.
 *
 * Each becomes an outbound called external-proxy-ID behind those of the configuration, so that
 * rules may name it as well. A disabled one stays, because its users go out directly while those of
 * an id that does not exist are refused.
 */
#include "config/load.h"
#include "config/users_file.h"
#include "config/value.h"

#include "crypto/crypto.h"

#include <culvert/reason.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ID_MAX 300 /* "proxy-", an address, and a number */
#define TAG_PREFIX "external-proxy-"

enum external_type { EXTERNAL_SOCKS5, EXTERNAL_SOCKS5S, EXTERNAL_HTTP, EXTERNAL_HTTPS };

struct raw_file {
	bool enabled;
	struct cv_node proxies, routing;
};

struct raw_routing {
	int mode, fallback;
};

struct raw_external {
	const char *id, *address, *user, *password;
	uint32_t port;
	int type, fallback;
	bool enabled;
	struct cv_node auth, tls, retry;
};

struct raw_auth {
	const char *user, *password;
};

struct raw_tls {
	const char *server_name, *ca_file;
	int min_version;
	bool allow_insecure;
};

#define FALLBACK_UNSAID 2

static const struct cv_word types[] = {{"socks5", EXTERNAL_SOCKS5}, {"socks5s", EXTERNAL_SOCKS5S},
				       {"http", EXTERNAL_HTTP}, {"https", EXTERNAL_HTTPS},
				       {NULL, 0}};
static const struct cv_word modes[] = {
	{"all-traffic", 0}, {"selective", 0}, {"disabled", 1}, {NULL, 0}};
static const struct cv_word fallbacks[] = {{"direct", 1}, {"block", 0}, {"retry-then-direct", 1},
					   {"retry-then-block", 0}, {"", FALLBACK_UNSAID},
					   {NULL, 0}};
static const struct cv_word versions[] = {{"1.2", 0}, {"1.3", 0}, {"TLSv1.2", 0}, {"TLSv1.3", 0},
					  {NULL, 0}};

/* Other keys belong to whoever writes the file. */
static const struct cv_field file_fields[] = {
	{"enabled", .type = CV_FIELD_BOOL, .number = true, CV_FIELD(struct raw_file, enabled)},
	{"proxies", .type = CV_FIELD_ARRAY, .is_required = true,
	 CV_FIELD(struct raw_file, proxies)},
	{"routing", .type = CV_FIELD_OBJECT, CV_FIELD(struct raw_file, routing)},
	{.type = CV_FIELD_END, .name = "*"},
};
static const struct cv_field routing_fields[] = {
	{"mode", .type = CV_FIELD_WORD, .words = modes, .text = "selective",
	 CV_FIELD(struct raw_routing, mode)},
	{"fallback", .type = CV_FIELD_WORD, .words = fallbacks, .text = "direct",
	 CV_FIELD(struct raw_routing, fallback)},
	{.type = CV_FIELD_END, .name = "*"},
};
static const struct cv_field external_fields[] = {
	{"id", .type = CV_FIELD_TEXT, .is_required = true, CV_FIELD(struct raw_external, id)},
	{"type", "protocol", .type = CV_FIELD_WORD, .is_required = true, .words = types,
	 .text = "socks5", CV_FIELD(struct raw_external, type)},
	{"address", .type = CV_FIELD_TEXT, .is_required = true,
	 CV_FIELD(struct raw_external, address)},
	{"port", .type = CV_FIELD_U32, .is_required = true, .min = 1, .max = 65535,
	 CV_FIELD(struct raw_external, port)},
	{"username", .type = CV_FIELD_TEXT, CV_FIELD(struct raw_external, user)},
	{"password", .type = CV_FIELD_TEXT, .is_secret = true,
	 CV_FIELD(struct raw_external, password)},
	{"auth", .type = CV_FIELD_OBJECT, CV_FIELD(struct raw_external, auth)},
	{"tls", .type = CV_FIELD_OBJECT, CV_FIELD(struct raw_external, tls)},
	{"retry", .type = CV_FIELD_OBJECT, CV_FIELD(struct raw_external, retry)},
	{"fallback", .type = CV_FIELD_WORD, .words = fallbacks, .text = "",
	 CV_FIELD(struct raw_external, fallback)},
	{"enabled", .type = CV_FIELD_BOOL, .number = true, CV_FIELD(struct raw_external, enabled)},
	{.type = CV_FIELD_END, .name = "*"},
};
static const struct cv_field auth_fields[] = {
	{"username", "user", .type = CV_FIELD_TEXT, CV_FIELD(struct raw_auth, user)},
	{"password", "pass", .type = CV_FIELD_TEXT, .is_secret = true,
	 CV_FIELD(struct raw_auth, password)},
	{.type = CV_FIELD_END, .name = "*"},
};
static const struct cv_field tls_fields[] = {
	{"server_name", "serverName", .type = CV_FIELD_TEXT, CV_FIELD(struct raw_tls, server_name)},
	{"allow_insecure", "allowInsecure", .type = CV_FIELD_BOOL,
	 CV_FIELD(struct raw_tls, allow_insecure)},
	{"ca_file", "caFile", .type = CV_FIELD_TEXT, CV_FIELD(struct raw_tls, ca_file)},
	{"min_version", "minVersion", .type = CV_FIELD_WORD, .words = versions, .text = "1.3",
	 CV_FIELD(struct raw_tls, min_version)}, /* ours is always 1.3 */
	{.type = CV_FIELD_END, .name = "*"},
};

/* ---- one proxy ---------------------------------------------------------------------------- */

static bool is_id(const char *text)
{
	const size_t len = strlen(text);

	return len >= 1 && len <= ID_MAX &&
	       strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:-") ==
		       len;
}

static bool is_taken(const struct cv_config *config, const struct cv_outbound *outbound)
{
	for (const struct cv_outbound *o = config->outbounds; o != outbound; o++)
		if (o->tag && outbound->tag && strcmp(o->tag, outbound->tag) == 0)
			return true;
	return false;
}

static void set_credentials(const struct cv_node *node, const struct raw_external *raw,
			    struct cv_outbound *outbound)
{
	struct raw_auth auth;

	cv_schema_read(auth_fields, &raw->auth, &auth);
	if (raw->auth.json && (*raw->user || *raw->password))
		cv_node_error(node, "expected username and password either here or in auth");
	cv_load_credentials(node, *auth.user ? auth.user : raw->user,
			    *auth.password ? auth.password : raw->password, outbound);
}

/* A bare word is an answer to some other question ("y", "no"): it names no certificate. */
static bool is_server_name(const char *text)
{
	struct cv_destination destination;

	return cv_destination_set_text(&destination, text, 1) == 0 &&
	       (destination.kind != CV_ADDRESS_DOMAIN || strchr(destination.domain, '.'));
}

static void set_tls(const struct cv_node *node, const struct raw_external *raw,
		    struct cv_outbound *outbound)
{
	const struct cv_node name = cv_node_member(&raw->tls, "server_name");
	const struct cv_node file = cv_node_member(&raw->tls, "ca_file");
	const struct cv_node insecure = cv_node_member(&raw->tls, "allow_insecure");
	struct raw_tls tls;

	cv_schema_read(tls_fields, &raw->tls, &tls);
	if (*tls.server_name && !is_server_name(tls.server_name))
		cv_node_expected(&name, "a name with a dot or an address");
	outbound->security = CV_SECURITY_TLS;
	free(outbound->server_name);
	outbound->server_name = cv_load_strdup(cv_node_load(node), tls.server_name);
	(void)cv_fingerprint_parse("", &outbound->fingerprint);
	outbound->allow_insecure = tls.allow_insecure;
	outbound->trust = *tls.ca_file ? cv_load_authority(&file, tls.ca_file)
				       : cv_load_system_trust(node);
	if (tls.allow_insecure)
		cv_node_warning(&insecure, CV_TLS_INSECURE_WARNING);
	else if (!outbound->trust && !*tls.ca_file)
		cv_node_error(node, "no root certificates, so that nobody can be verified");
	cv_load_proxy_alpn(node, outbound);
}

static void load_external(const struct cv_node *node, const struct raw_routing *routing,
			  bool is_on, struct cv_outbound *outbound)
{
	const struct cv_node id = cv_node_member(node, "id");
	const struct cv_node address = cv_node_member(node, "address");
	struct cv_load *load = cv_node_load(node);
	struct raw_external raw;
	char tag[sizeof(TAG_PREFIX) + ID_MAX];

	cv_schema_read(external_fields, node, &raw);
	if (id.json && !is_id(raw.id))
		cv_node_expected(&id, "1 to %d of letters, digits, \".\", \"_\", \":\", \"-\"",
				 ID_MAX);
	snprintf(tag, sizeof(tag), TAG_PREFIX "%.*s", ID_MAX, raw.id);
	outbound->tag = cv_load_strdup(load, tag);
	cv_load_empty_texts(load, outbound);
	outbound->via_tag = cv_load_strdup(load, "");
	free(outbound->external_id);
	outbound->external_id = cv_load_strdup(load, raw.id);
	outbound->is_disabled = !raw.enabled || !is_on;
	outbound->protocol = raw.type == EXTERNAL_HTTP || raw.type == EXTERNAL_HTTPS
				     ? CV_OUTBOUND_HTTP
				     : CV_OUTBOUND_SOCKS;
	outbound->strategy = CV_RESOLVE_ANY;
	if (is_taken(load->config, outbound))
		cv_node_error(&id, "another proxy or outbound has this id");
	if (address.json)
		(void)cv_value_host(&address, raw.address, (uint16_t)raw.port, &outbound->server);
	set_credentials(node, &raw, outbound);
	cv_load_retry(&raw.retry,
		      (raw.fallback == FALLBACK_UNSAID ? routing->fallback : raw.fallback) != 0,
		      outbound);
	if (raw.type == EXTERNAL_SOCKS5S || raw.type == EXTERNAL_HTTPS)
		set_tls(node, &raw, outbound);
	else if (raw.tls.json && cv_node_count(&raw.tls) > 0)
		cv_node_warning(&raw.tls, "has no effect: type is neither socks5s nor https");
	cv_load_default_server_name(load, outbound);
}

/* ---- the file ----------------------------------------------------------------------------- */

static bool make_room(struct cv_load *load, size_t count)
{
	struct cv_config *config = load->config;
	/* again one more, see cv_load_outbounds() */
	struct cv_outbound *outbounds = realloc(
		config->outbounds, (config->outbound_count + count + 1) * sizeof(*outbounds));

	if (!outbounds) {
		load->out_of_memory = true;
		return false;
	}
	memset(outbounds + config->outbound_count, 0, (count + 1) * sizeof(*outbounds));
	config->outbounds = outbounds;
	return true;
}

static void load_file(const struct cv_document *document)
{
	const struct cv_node root = cv_node_root(document);
	struct cv_load *load = document->load;
	struct cv_config *config = load->config;
	struct raw_file raw;
	struct raw_routing routing;

	cv_schema_read(file_fields, &root, &raw);
	cv_schema_read(routing_fields, &raw.routing, &routing);
	if (!make_room(load, cv_node_count(&raw.proxies)))
		return;
	for (size_t i = 0; i < cv_node_count(&raw.proxies); i++) {
		const struct cv_node node = cv_node_element(&raw.proxies, i);
		struct cv_outbound *outbound = &config->outbounds[config->outbound_count++];

		load_external(&node, &routing, raw.enabled && routing.mode == 0, outbound);
	}
}

void cv_load_external_proxies(struct cv_load *load, const struct cv_node *node)
{
	const char *path = load->config->daemon.external_path;
	struct cv_document document;
	char *text, whole_path[4096];
	size_t len;
	int error;

	load->config->external_first = load->config->outbound_count;
	if (!path || !*path)
		return;
	snprintf(whole_path, sizeof(whole_path), "%s%s", path[0] == '/' ? "" : load->directory,
		 path);
	error = cv_document_read_file(whole_path, &text, &len);
	if (error) {
		cv_node_error(node, "cannot read culvert.externalProxyFile %.255s: %s", whole_path,
			      strerror(-error));
		return;
	}
	cv_load_check_permissions(node, whole_path, false);
	if (cv_document_open(load, whole_path, text, len, &document) == 0) {
		load_file(&document);
		cv_document_close(&document);
	}
	cv_cleanse(text, len);
	free(text);
}

int cv_external_load(const char *name, const char *text, size_t len,
		     const struct cv_config_report *report, struct cv_config **ret_config)
{
	struct cv_load load = {.report = report, .config = calloc(1, sizeof(*load.config))};
	const char *slash = strrchr(name, '/');
	char *directory = strndup(name, slash ? (size_t)(slash - name) + 1 : 0);
	struct cv_document document;

	load.directory = directory;
	if (!load.config || !directory) {
		load.out_of_memory = true;
	} else if (cv_document_open(&load, name, text, len, &document) == 0) {
		load_file(&document);
		cv_document_close(&document);
	}
	free(directory);
	if (load.out_of_memory || load.error_count > 0) {
		cv_config_free(load.config);
		return load.out_of_memory ? -ENOMEM : CV_INTERNAL_CONFIG;
	}
	*ret_config = load.config;
	return 0;
}

/* ---- whose they are ----------------------------------------------------------------------- */

static void check_user(const struct cv_node *node, const struct cv_inbound *inbound,
		       const struct cv_user *user)
{
	const struct cv_config *config = cv_node_load(node)->config;

	if (user->external_proxy_id[0] && !cv_config_external(config, user->external_proxy_id))
		cv_node_warning(node, "inbound %s: user %s is to go out through external proxy %s, "
				      "which does not exist: it is refused", inbound->tag,
				user->name[0] ? user->name : user->email, user->external_proxy_id);
}

void cv_load_check_external(const struct cv_node *node)
{
	const struct cv_config *config = cv_node_load(node)->config;

	for (size_t i = 0; i < config->inbound_count; i++) {
		struct cv_user_table *users = config->inbounds[i].users;

		for (size_t u = 0; users && u < cv_user_count(users); u++)
			check_user(node, &config->inbounds[i], cv_user_at(users, u));
	}
}
