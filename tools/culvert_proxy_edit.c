// SPDX-License-Identifier: MIT
/*
 * culvert_proxy_edit.c - see culvert_proxy.h. Keys that nothing here knows stay as they are.
 */
#include "culvert_proxy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *text_of(struct json_object *object, const char *key)
{
	struct json_object *value;

	if (!json_object_object_get_ex(object, key, &value) ||
	    !json_object_is_type(value, json_type_string))
		return "";
	return json_object_get_string(value);
}

/* "" takes the key away. */
static void set_text(struct json_object *object, const char *key, const char *text)
{
	if (*text)
		json_object_object_add(object, key, json_object_new_string(text));
	else
		json_object_object_del(object, key);
}

/* The member @key, made if there is none. */
static struct json_object *object_of(struct json_object *proxy, const char *key)
{
	struct json_object *value;

	if (json_object_object_get_ex(proxy, key, &value) &&
	    json_object_is_type(value, json_type_object))
		return value;
	value = json_object_new_object();
	json_object_object_add(proxy, key, value);
	return value;
}

/* ---- finding ------------------------------------------------------------------------------ */

struct json_object *cv_proxies_array(struct json_object *root)
{
	struct json_object *proxies = NULL;

	if (!json_object_object_get_ex(root, "proxies", &proxies)) {
		proxies = json_object_new_array();
		json_object_object_add(root, "proxies", proxies);
	}
	return json_object_is_type(proxies, json_type_array) ? proxies : NULL;
}

struct json_object *cv_proxies_find(struct json_object *proxies, const char *id, size_t *ret_index)
{
	for (size_t i = 0; *id && i < json_object_array_length(proxies); i++) {
		struct json_object *proxy = json_object_array_get_idx(proxies, i);

		if (!json_object_is_type(proxy, json_type_object) ||
		    strcmp(text_of(proxy, "id"), id) != 0)
			continue;
		if (ret_index)
			*ret_index = i;
		return proxy;
	}
	return NULL;
}

/* ---- changing ----------------------------------------------------------------------------- */

static void set_credentials(struct json_object *proxy, const struct cv_proxy_wish *wish)
{
	struct json_object *place = proxy, *auth;

	if (json_object_object_get_ex(proxy, "auth", &auth) &&
	    json_object_is_type(auth, json_type_object))
		place = auth;
	if (wish->user)
		set_text(place, "username", wish->user);
	if (wish->password)
		set_text(place, "password", wish->password);
	if (wish->user && !*wish->user) {
		json_object_object_del(place, "password");
		json_object_object_del(proxy, "auth");
	}
}

static void set_tls(struct json_object *proxy, const struct cv_proxy_wish *wish)
{
	if (wish->server_name)
		set_text(object_of(proxy, "tls"), "server_name", wish->server_name);
	if (wish->ca_file)
		set_text(object_of(proxy, "tls"), "ca_file", wish->ca_file);
	if (wish->allow_insecure >= 0)
		json_object_object_add(object_of(proxy, "tls"), "allow_insecure",
				       json_object_new_boolean(wish->allow_insecure));
}

bool cv_proxies_update(struct json_object *proxy, const struct cv_proxy_wish *wish,
		       char error_text[CV_PROXY_ERROR_TEXT])
{
	const bool has_protocol = *text_of(proxy, "protocol") && !*text_of(proxy, "type");
	char *end = NULL;
	const long port = wish->port ? strtol(wish->port, &end, 10) : 1;

	if (wish->port && (!*wish->port || *end || port < 1 || port > 65535)) {
		snprintf(error_text, CV_PROXY_ERROR_TEXT, "port: expected a number from 1 to "
							  "65535, found \"%.60s\"", wish->port);
		return false;
	}
	if (wish->type)
		set_text(proxy, has_protocol ? "protocol" : "type", wish->type);
	if (wish->address)
		set_text(proxy, "address", wish->address);
	if (wish->port)
		json_object_object_add(proxy, "port", json_object_new_int64(port));
	set_credentials(proxy, wish);
	set_tls(proxy, wish);
	if (wish->fallback)
		set_text(proxy, "fallback", wish->fallback);
	return true;
}

static void next_id(struct json_object *proxies, char id[32])
{
	unsigned number = 1;

	do {
		snprintf(id, 32, "proxy-%u", number++);
	} while (cv_proxies_find(proxies, id, NULL));
}

struct json_object *cv_proxies_add(struct json_object *proxies, const struct cv_proxy_wish *wish,
				   char error_text[CV_PROXY_ERROR_TEXT])
{
	struct json_object *proxy;
	char made[32];

	next_id(proxies, made);
	if (wish->id && cv_proxies_find(proxies, wish->id, NULL)) {
		snprintf(error_text, CV_PROXY_ERROR_TEXT, "%.60s is there already", wish->id);
		return NULL;
	}
	proxy = json_object_new_object();
	set_text(proxy, "id", wish->id ? wish->id : made);
	if (!cv_proxies_update(proxy, wish, error_text)) {
		json_object_put(proxy);
		return NULL;
	}
	json_object_object_add(proxy, "enabled", json_object_new_boolean(!wish->disabled));
	json_object_array_add(proxies, proxy);
	return proxy;
}

static const char *owner_of(struct json_object *users, const char *id)
{
	for (size_t i = 0; users && i < json_object_array_length(users); i++) {
		struct json_object *user = json_object_array_get_idx(users, i);

		if (json_object_is_type(user, json_type_object) &&
		    strcmp(text_of(user, "external_proxy_id"), id) == 0)
			return text_of(user, "username");
	}
	return NULL;
}

bool cv_proxies_remove(struct json_object *proxies, size_t index, struct json_object *users,
		       char error_text[CV_PROXY_ERROR_TEXT])
{
	const char *id = text_of(json_object_array_get_idx(proxies, index), "id");
	const char *owner = owner_of(users, id);

	if (owner) {
		snprintf(error_text, CV_PROXY_ERROR_TEXT,
			 "user %.60s goes out through it: culvert user set-proxy %.60s none", owner,
			 owner);
		return false;
	}
	json_object_array_del_idx(proxies, index, 1);
	return true;
}

/* ---- showing ------------------------------------------------------------------------------ */

static void mask(struct json_object *shown)
{
	if (*text_of(shown, "password"))
		set_text(shown, "password", "***");
}

struct json_object *cv_proxies_public(struct json_object *proxy)
{
	struct json_object *shown = NULL, *auth;

	if (json_object_deep_copy(proxy, &shown, NULL) != 0)
		return NULL;
	mask(shown);
	if (json_object_object_get_ex(shown, "auth", &auth) &&
	    json_object_is_type(auth, json_type_object))
		mask(auth);
	if (!*text_of(shown, "type"))
		set_text(shown, "type", text_of(shown, "protocol"));
	return shown;
}
