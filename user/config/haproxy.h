/* SPDX-License-Identifier: MIT */
/*
 * haproxy.h - haproxy.cfg to and from our configuration, as far as routing by server name goes.
 */
#ifndef CV_CONFIG_HAPROXY_H
#define CV_CONFIG_HAPROXY_H

#include "config/config_load.h"

#include <json-c/json.h>
#include <stdio.h>

/**
 * cv_haproxy_import() - A configuration of ours that does what the haproxy.cfg in @text does.
 * Frontends that route by name become inbounds with protocol edge, those with "bind ... ssl"
 * inbounds with TLS whose fallback is the backend. What would be done otherwise here is an error,
 * what makes no difference a warning; each begins with the line's number.
 * @ret_config: to be released with json_object_put()
 * Returns: 0; CV_INTERNAL_CONFIG after errors; CV_INTERNAL_MEMORY.
 */
int cv_haproxy_import(const char *text, size_t len, const struct cv_config_report *report,
		      struct json_object **ret_config);

/**
 * cv_haproxy_export() - A haproxy.cfg that routes as the edge of @config does.
 * @behind: where an inbound that is routed itself listens then, "host:port"
 * Inbounds that the edge leads to must have an address of their own.
 * Returns: 0; CV_INTERNAL_CONFIG after reporting why there is none.
 */
int cv_haproxy_export(const struct cv_config *config, const char *behind,
		      const struct cv_config_report *report, FILE *out);

#endif
