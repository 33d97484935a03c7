/* SPDX-License-Identifier: MIT */
/*
 * value.h - values with a syntax of their own. Each reports what is wrong about @node and then
 * returns false with its output untouched.
 */
#ifndef CV_CONFIG_VALUE_H
#define CV_CONFIG_VALUE_H

#include "config/node.h"

/** cv_value_ports() - PortList: 443, "443", "53,1000-2000", "env:NAME"; compat 1. */
bool cv_value_ports(const struct cv_node *node, struct cv_port_set *ret_ports);
/** cv_value_host_port() - "host:port", "[v6]:port". */
bool cv_value_host_port(const struct cv_node *node, const char *text,
			struct cv_destination *ret_destination);
/** cv_value_host() - IP or domain. */
bool cv_value_host(const struct cv_node *node, const char *text, uint16_t port,
		   struct cv_destination *ret_destination);
/**
 * cv_value_target() - Where REALITY's target or a fallback is: a number N = localhost:N, "/path" or
 * "@name" = unix, "host:port".
 * @type: "" = derive; "tcp" or "unix" must agree
 * @ret_text: as configured, to be freed; exactly one of the two addresses is set
 * Source: REALITY 2, VLESS 7.
 */
bool cv_value_target(const struct cv_node *node, const char *type, char **ret_text,
		     struct cv_destination *ret_destination, struct cv_sockaddr *ret_unix);
/** cv_value_key() - Base64 raw-URL of exactly @len bytes; the text is not shown. */
bool cv_value_key(const struct cv_node *node, const char *text, uint8_t *ret_key, size_t len);
/** cv_value_short_id() - Up to 16 hex digits, an even number, padded with zeros. REALITY 2. */
bool cv_value_short_id(const struct cv_node *node, const char *text, uint8_t ret_short_id[8]);
/** cv_value_version() - "x.y.z" as x<<16|y<<8|z, missing parts 0. REALITY 2. */
bool cv_value_version(const struct cv_node *node, const char *text, uint32_t *ret_version);
/** cv_value_is_token() - Of HTTP: a field's name, a method. Source: RFC 9110 5.6.2. */
bool cv_value_is_token(const char *text);
/** cv_value_is_field() - What a field of HTTP may contain: no control characters but tabs. */
bool cv_value_is_field(const char *text);
/** cv_value_flow() - "" and "none" are no flow. */
bool cv_value_flow(const struct cv_node *node, const char *text, bool *ret_vision);
/** cv_value_vless_version() - 0, 1, or @both for CV_VLESS_0_OR_1. */
bool cv_value_vless_version(const struct cv_node *node, const char *both,
			    enum cv_vless_version *ret_version);

#endif
