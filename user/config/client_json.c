// SPDX-License-Identifier: MIT
/*
 * client_json.c - outbounds and whole configurations for a client, as JSON that is loaded by
 * config_load.c, here or elsewhere.
 */
#include "config/client_json.h"

#include <string.h>

#define SOCKS_PORT 1080

void cv_client_add(struct json_object *object, const char *key, const char *value)
{
	if (*value)
		json_object_object_add(object, key, json_object_new_string(value));
}

/* ---- carriers ----------------------------------------------------------------------------- */

static struct json_object *list_of(const char *text)
{
	struct json_object *list = json_object_new_array();

	while (*text) {
		const size_t len = strcspn(text, ",");

		if (len)
			json_object_array_add(list, json_object_new_string_len(text, (int)len));
		text += len + (text[len] == ',');
	}
	return list;
}

/* Path and host of a carrier that has them. */
static void add_carrier(struct json_object *stream, const struct cv_share_link *link)
{
	const bool is_http2 = strcmp(link->type, "http") == 0;
	struct json_object *settings;
	const char *key;

	if (!link->type[0] || strcmp(link->type, "tcp") == 0) {
		cv_client_add(stream, "network", "raw");
		return;
	}
	cv_client_add(stream, "network", is_http2 ? "h2" : link->type);
	key = strcmp(link->type, "ws") == 0 ? "wsSettings"
	      : is_http2		    ? "httpSettings"
					    : "httpupgradeSettings";
	settings = json_object_new_object();
	cv_client_add(settings, "path", link->path);
	if (is_http2 && link->http_host[0])
		json_object_object_add(settings, "host", list_of(link->http_host));
	else
		cv_client_add(settings, "host", link->http_host);
	json_object_object_add(stream, key, settings);
}

struct json_object *cv_client_stream(const struct cv_share_link *link)
{
	struct json_object *stream = json_object_new_object(), *layer = json_object_new_object();
	const bool is_reality = strcmp(link->security, "reality") == 0;
	const bool is_tls = strcmp(link->security, "tls") == 0;

	add_carrier(stream, link);
	cv_client_add(stream, "security", link->security);
	cv_client_add(layer, "serverName", link->server_name);
	cv_client_add(layer, "fingerprint", link->fingerprint);
	if (is_reality) {
		cv_client_add(layer, "password", link->public_key);
		cv_client_add(layer, "shortId", link->short_id);
		cv_client_add(layer, "spiderX", link->spider_x);
		cv_client_add(layer, "mldsa65Verify", link->mldsa_public);
	} else {
		cv_client_add(layer, "alpn", link->alpn);
	}
	if (is_tls && link->allow_insecure)
		json_object_object_add(layer, "allowInsecure", json_object_new_boolean(true));
	if (is_reality || is_tls)
		json_object_object_add(stream, is_reality ? "realitySettings" : "tlsSettings",
				       layer);
	else
		json_object_put(layer);
	return stream;
}

/* ---- the whole ---------------------------------------------------------------------------- */

struct json_object *cv_client_outbound(const struct cv_share_link *link, const char *tag)
{
	struct json_object *outbound = json_object_new_object(),
			   *settings = json_object_new_object();

	cv_client_add(outbound, "tag", tag);
	cv_client_add(outbound, "protocol", "vless");
	cv_client_add(settings, "address", link->host);
	json_object_object_add(settings, "port", json_object_new_int(link->port));
	cv_client_add(settings, "id", link->id);
	cv_client_add(settings, "encryption", "none");
	cv_client_add(settings, "flow", link->flow);
	cv_client_add(settings, "email", link->name);
	json_object_object_add(outbound, "settings", settings);
	json_object_object_add(outbound, "streamSettings", cv_client_stream(link));
	return outbound;
}

struct json_object *cv_client_config(struct json_object *outbounds, bool serves_udp)
{
	struct json_object *root = json_object_new_object();
	struct json_object *inbounds = json_object_new_array();
	struct json_object *inbound = json_object_new_object();

	cv_client_add(inbound, "listen", "127.0.0.1");
	json_object_object_add(inbound, "port", json_object_new_int(SOCKS_PORT));
	cv_client_add(inbound, "protocol", "socks");
	if (serves_udp) {
		struct json_object *settings = json_object_new_object();

		json_object_object_add(settings, "udp", json_object_new_boolean(true));
		json_object_object_add(inbound, "settings", settings);
	}
	json_object_array_add(inbounds, inbound);
	json_object_object_add(root, "inbounds", inbounds);
	json_object_object_add(root, "outbounds", outbounds);
	return root;
}
