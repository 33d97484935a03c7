// SPDX-License-Identifier: MIT
/*
 * value.c - port lists, addresses, keys, short ids, versions.
 */
#include "config/value.h"

#include "config/schema.h"
#include "crypto/crypto.h"
#include "wire/base64.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEY_MAX 2048
#define VISION "xtls-rprx-vision"

/* ---- ports -------------------------------------------------------------------------------- */

static bool all_digits(const char *text)
{
	return *text && text[strspn(text, "0123456789")] == '\0';
}

static bool port_of(const char *text, uint16_t *ret_port)
{
	const unsigned long port =
		strlen(text) <= 5 && all_digits(text) ? strtoul(text, NULL, 10) : 65536;

	if (port > 65535)
		return false;
	*ret_port = (uint16_t)port;
	return true;
}

static bool add_range(struct cv_load *load, struct cv_port_set *ports, const char *text)
{
	char first_text[8];
	const char *dash = strchr(text, '-');
	uint16_t first, last;

	if (dash) {
		snprintf(first_text, sizeof(first_text), "%.*s", (int)(dash - text), text);
		if (dash - text > 5 || !port_of(first_text, &first) || !port_of(dash + 1, &last))
			return false;
	} else if (!port_of(text, &first) || !port_of(text, &last)) {
		return false;
	}
	if (first > last)
		return false;
	if (cv_port_set_add(ports, first, last) != 0)
		load->out_of_memory = true;
	return true;
}

static bool add_ranges(const struct cv_node *node, struct cv_port_set *ports, const char *text)
{
	char *copy = cv_load_strdup(cv_node_load(node), text);
	char *at = copy, *part;
	bool good = copy != NULL;

	while (good && (part = strsep(&at, ","))) {
		part += strspn(part, " ");
		part[strcspn(part, " ")] = '\0';
		good = add_range(cv_node_load(node), ports, part);
	}
	free(copy);
	return good;
}

bool cv_value_ports(const struct cv_node *node, struct cv_port_set *ret_ports)
{
	struct cv_port_set ports = {0};
	char number[24];
	const char *text = NULL;
	bool good = false;

	if (json_object_is_type(node->json, json_type_int)) {
		snprintf(number, sizeof(number), "%jd",
			 (intmax_t)json_object_get_int64(node->json));
		text = number;
	} else if (json_object_is_type(node->json, json_type_string)) {
		text = cv_node_text(node);
	}
	if (text && strncmp(text, "env:", 4) == 0) {
		const char *value = getenv(text + 4);

		if (!value) {
			cv_node_error(node, "the environment has no %.64s", text + 4);
			return false;
		}
		text = value;
	}
	good = text && add_ranges(node, &ports, text);
	if (!good || ports.count == 0) {
		cv_node_expected(node, "ports like 443, \"1000-2000\" or \"53,443\"");
		free(ports.ranges);
		return false;
	}
	*ret_ports = ports;
	return true;
}

/* ---- addresses ---------------------------------------------------------------------------- */

bool cv_value_host(const struct cv_node *node, const char *text, uint16_t port,
		   struct cv_destination *ret_destination)
{
	if (cv_destination_set_text(ret_destination, text, port) == 0)
		return true;
	cv_node_expected(node, "an IP address or a domain");
	return false;
}

static bool split_host_port(const char *text, struct cv_destination *ret_destination)
{
	const char *colon = strrchr(text, ':');
	char host[CV_DOMAIN_MAX + 3];
	uint16_t port;

	if (!colon || (size_t)(colon - text) >= sizeof(host) || !port_of(colon + 1, &port))
		return false;
	snprintf(host, sizeof(host), "%.*s", (int)(colon - text), text);
	if (strchr(host, ':') && host[0] != '[')
		return false;
	return cv_destination_set_text(ret_destination, host, port) == 0;
}

bool cv_value_host_port(const struct cv_node *node, const char *text,
			struct cv_destination *ret_destination)
{
	if (split_host_port(text, ret_destination))
		return true;
	cv_node_expected(node, "host:port");
	return false;
}

static bool set_target(const char *text, struct cv_destination *destination,
		       struct cv_sockaddr *unix_address)
{
	uint16_t port;

	if (text[0] == '/' || text[0] == '@') {
		if (cv_sockaddr_from_unix(text, unix_address) != 0)
			return false;
		if (text[0] == '/')
			cv_document_seen(text, 0);
		return true;
	}
	if (port_of(text, &port))
		return port > 0 && cv_destination_set_text(destination, "localhost", port) == 0;
	return split_host_port(text, destination) && destination->port > 0;
}

bool cv_value_target(const struct cv_node *node, const char *type, char **ret_text,
		     struct cv_destination *ret_destination, struct cv_sockaddr *ret_unix)
{
	struct cv_destination destination = {0};
	struct cv_sockaddr unix_address = {0};
	char number[24];
	const char *text = number;

	if (json_object_is_type(node->json, json_type_int))
		snprintf(number, sizeof(number), "%jd",
			 (intmax_t)json_object_get_int64(node->json));
	else if (json_object_is_type(node->json, json_type_string))
		text = cv_node_text(node);
	else
		text = NULL;
	if (!text || !set_target(text, &destination, &unix_address)) {
		cv_node_expected(node,
				 "host:port, a port, or a unix socket (\"/path\", \"@name\")");
		return false;
	}
	if (*type && strcasecmp(type, unix_address.len_bytes ? "unix" : "tcp") != 0) {
		cv_node_error(node, "this is %s, but type says \"%.16s\"",
			      unix_address.len_bytes ? "a unix socket" : "a TCP address", type);
		return false;
	}
	*ret_text = cv_load_strdup(cv_node_load(node), text);
	*ret_destination = destination;
	*ret_unix = unix_address;
	return true;
}

/* ---- keys --------------------------------------------------------------------------------- */

bool cv_value_key(const struct cv_node *node, const char *text, uint8_t *ret_key, size_t len)
{
	uint8_t key[KEY_MAX];
	size_t got = sizeof(key);
	const bool good = cv_base64url_decode(text, key, &got) == 0 && got == len;

	if (good)
		memcpy(ret_key, key, len);
	else
		cv_node_expected_secret(
			node, "base64 (raw URL) of %zu bytes, as \"culvert keys\" prints it", len);
	cv_cleanse(key, sizeof(key));
	return good;
}

bool cv_value_short_id(const struct cv_node *node, const char *text, uint8_t ret_short_id[8])
{
	uint8_t short_id[8] = {0};
	size_t len = sizeof(short_id);

	if (cv_hex_decode(text, short_id, &len) != 0) {
		cv_node_expected(node, "an even number of hex digits, at most 16");
		return false;
	}
	memcpy(ret_short_id, short_id, sizeof(short_id));
	return true;
}

bool cv_value_version(const struct cv_node *node, const char *text, uint32_t *ret_version)
{
	unsigned part[3] = {0};
	const char *at = text;
	bool good = *text != '\0';

	for (int i = 0; i < 3 && good && *at; i++) {
		char *end;

		good = isdigit((unsigned char)*at);
		part[i] = (unsigned)strtoul(at, &end, 10);
		good = good && end - at <= 3 && part[i] <= 255 && (*end == '\0' || *end == '.');
		at = *end == '.' ? end + 1 : end;
		good = good && (*end != '.' || (i < 2 && *at));
	}
	if (!good || *at) {
		cv_node_expected(node, "a version x.y.z, each from 0 to 255");
		return false;
	}
	*ret_version = part[0] << 16 | part[1] << 8 | part[2];
	return true;
}

bool cv_value_flow(const struct cv_node *node, const char *text, bool *ret_vision)
{
	const bool is_vision = strcmp(text, VISION) == 0;

	if (!is_vision && *text && strcmp(text, "none") != 0) {
		cv_node_expected(node, "\"\" or \"" VISION "\"");
		return false;
	}
	*ret_vision = is_vision;
	return true;
}

bool cv_value_vless_version(const struct cv_node *node, const char *both,
			    enum cv_vless_version *ret_version)
{
	const char *const words[] = {[CV_VLESS_0] = "0", [CV_VLESS_1] = "1",
				     [CV_VLESS_0_OR_1] = both};
	const char *text = json_object_get_string(node->json);

	for (size_t i = 0; text && i < sizeof(words) / sizeof(words[0]); i++)
		if (strcmp(text, words[i]) == 0) {
			*ret_version = (enum cv_vless_version)i;
			return true;
		}
	cv_node_expected(node, "0, 1 or %s", both);
	return false;
}

bool cv_value_is_token(const char *text)
{
	for (const char *c = text; *c; c++)
		if (!isalnum((unsigned char)*c) && !strchr("!#$%&'*+-.^_`|~", *c))
			return false;
	return *text != '\0';
}

bool cv_value_is_field(const char *text)
{
	for (const char *c = text; *c; c++)
		if (((unsigned char)*c < ' ' && *c != '\t') || *c == 0x7f)
			return false;
	return true;
}
