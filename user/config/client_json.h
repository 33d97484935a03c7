/* SPDX-License-Identifier: MIT */
/*
 * client_json.h - parts of a client's configuration, made of what a link or another program's file
 * says.
 */
#ifndef CV_CONFIG_CLIENT_JSON_H
#define CV_CONFIG_CLIENT_JSON_H

#include "config/share_link.h"

#include <json-c/json.h>

/** cv_client_add() - Member @key with @value, unless that is "". */
void cv_client_add(struct json_object *object, const char *key, const char *value);
/** cv_client_stream() - streamSettings: carrier and security of @link. */
struct json_object *cv_client_stream(const struct cv_share_link *link);
/** cv_client_outbound() - A VLESS outbound called @tag. */
struct json_object *cv_client_outbound(const struct cv_share_link *link, const char *tag);
/** cv_client_config() - A configuration that is complete: SOCKS5 on this machine, on port 1080, and
 * @outbounds, an array, which is taken over. */
struct json_object *cv_client_config(struct json_object *outbounds, bool serves_udp);

#endif
