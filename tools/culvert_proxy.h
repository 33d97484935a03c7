/* SPDX-License-Identifier: MIT */
/*
 * culvert_proxy.h - changes of an external_proxy.json in memory, and a try of a proxy in it.
 */
#ifndef CULVERT_TOOLS_CULVERT_PROXY_H
#define CULVERT_TOOLS_CULVERT_PROXY_H

#include "policy/config.h"

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>

#define CV_PROXY_ERROR_TEXT 256

struct cv_proxy_wish { /* what `proxy add` and `proxy update` are told; NULL = as it is */
	const char *id, *type, *address, *port, *user, *password, *server_name, *ca_file, *fallback;
	int allow_insecure; /* 0, 1; -1 = as it is */
	bool disabled;	    /* add only */
};

/** cv_proxies_array() - root.proxies, made if there is none; NULL if it is something else. */
struct json_object *cv_proxies_array(struct json_object *root);
/** cv_proxies_find() - NULL if none has this id. */
struct json_object *cv_proxies_find(struct json_object *proxies, const char *id,
				    size_t *ret_index);
/** cv_proxies_add() - Append a proxy; without an id it becomes proxy-N. Returns it, or NULL with
 * @error_text. */
struct json_object *cv_proxies_add(struct json_object *proxies, const struct cv_proxy_wish *wish,
				   char error_text[CV_PROXY_ERROR_TEXT]);
/** cv_proxies_update() - Change what @wish names; both shapes of the file keep theirs. "" takes the
 * credentials, server name or roots away. False with @error_text. */
bool cv_proxies_update(struct json_object *proxy, const struct cv_proxy_wish *wish,
		       char error_text[CV_PROXY_ERROR_TEXT]);
/** cv_proxies_remove() - False with @error_text if a user of @users (users.json) has it. */
bool cv_proxies_remove(struct json_object *proxies, size_t index, struct json_object *users,
		       char error_text[CV_PROXY_ERROR_TEXT]);
/** cv_proxies_public() - @proxy as it may be shown: no password. */
struct json_object *cv_proxies_public(struct json_object *proxy);

struct cv_proxy_trial {
	const char *http, *https; /* "host:port" to ask for through it; "none" */
	const char *ca_file;	  /* whom to believe about https; NULL = this machine's roots */
	uint32_t timeout_ms;	  /* of each request */
	unsigned tries;
};

/** cv_proxy_try() - Ask for pages through @outbound, blocking. Adds "status" (success, failed),
 * "latency_ms" of the slower one, and for each request what came of it to @result. */
bool cv_proxy_try(const struct cv_outbound *outbound, const struct cv_proxy_trial *trial,
		  struct json_object *result);

#endif
