// SPDX-License-Identifier: MIT
/*
 * haproxy_build.c - a configuration of ours out of what a haproxy.cfg says.
 *
 *   frontend, bind without ssl   inbound "edge"; use_backend -> edge.routes, the rest -> answers
 *   frontend, bind with ssl      inbound with TLS whose fallback is the backend
 *   backend                      edge.backends, a server each: the next when one is down
 *
 * HAProxy takes the first rule that fits, we the most exact name: a name that an earlier rule has
 * already is left out.
 */
#include "config/haproxy_import.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_MAX 512

/* ---- JSON --------------------------------------------------------------------------------- */

static const char *text_of(struct json_object *object, const char *key)
{
	struct json_object *member = json_object_object_get(object, key);

	return member ? json_object_get_string(member) : "";
}

static long number_of(struct json_object *object, const char *key, long missing)
{
	struct json_object *member = json_object_object_get(object, key);

	return member ? (long)json_object_get_int64(member) : missing;
}

static void add_text(struct json_object *object, const char *key, const char *text)
{
	json_object_object_add(object, key, json_object_new_string(text));
}

static void add_number(struct json_object *object, const char *key, long number)
{
	json_object_object_add(object, key, json_object_new_int64(number));
}

static struct json_object *add_object(struct json_object *object, const char *key)
{
	struct json_object *member = json_object_new_object();

	json_object_object_add(object, key, member);
	return member;
}

static struct json_object *add_list(struct json_object *object, const char *key)
{
	struct json_object *member = json_object_new_array();

	json_object_object_add(object, key, member);
	return member;
}

static size_t count_of(struct json_object *list)
{
	return list ? json_object_array_length(list) : 0;
}

/* ---- addresses ---------------------------------------------------------------------------- */

/* As ours are written; false if HAProxy's has another meaning. */
static bool server_address(const char *address, char text[TEXT_MAX])
{
	if (strncmp(address, "unix@", 5) == 0)
		address += 5;
	else if (strncmp(address, "ipv4@", 5) == 0 || strncmp(address, "ipv6@", 5) == 0)
		address += 5;
	if (strncmp(address, "abns@", 5) == 0) {
		(void)snprintf(text, TEXT_MAX, "@%s", address + 5);
		return true;
	}
	(void)snprintf(text, TEXT_MAX, "%s", address);
	return address[0] == '/' || (strrchr(address, ':') && !strchr(address, '@'));
}

static void add_listen(struct cv_haproxy *import, struct json_object *inbound, unsigned line,
		       const char *bind)
{
	char host[TEXT_MAX], *colon;

	if (!server_address(bind, host)) {
		cv_haproxy_tell(import, true, line, "bind %.64s: expected address:port or a path",
				bind);
		return;
	}
	if (host[0] == '/' || host[0] == '@') {
		add_text(inbound, "listen", host);
		return;
	}
	colon = strrchr(host, ':');
	*colon = '\0';
	add_text(inbound, "listen", !*host || strcmp(host, "*") == 0 ? "0.0.0.0" : host);
	if (strchr(colon + 1, '-'))
		add_text(inbound, "port", colon + 1);
	else
		add_number(inbound, "port", strtol(colon + 1, NULL, 10));
}

/* ---- backends ----------------------------------------------------------------------------- */

static struct json_object *place_of(const char *name)
{
	struct json_object *place = json_object_new_object();

	add_text(place, "backend", name);
	return place;
}

static struct json_object *servers_of(struct cv_haproxy *import, const char *name, long line)
{
	struct json_object *backend = json_object_object_get(import->backends, name);
	struct json_object *servers = json_object_object_get(backend, "servers");

	if (!backend)
		cv_haproxy_tell(import, true, (unsigned)line, "no backend is called \"%.64s\"",
				name);
	else if (count_of(servers) == 0)
		cv_haproxy_tell(import, true, (unsigned)number_of(backend, "line", 0),
				"backend %.64s has no server", name);
	return servers;
}

static void name_server(char text[TEXT_MAX], const char *backend, size_t index)
{
	if (index == 0)
		(void)snprintf(text, TEXT_MAX, "%s", backend);
	else
		(void)snprintf(text, TEXT_MAX, "%.400s/%zu", backend, index + 1);
}

static void add_check(struct json_object *object, struct json_object *server)
{
	struct json_object *check;
	const long inter_ms = number_of(server, "inter", 2000);

	if (!json_object_object_get(server, "check"))
		return;
	check = add_object(object, "check");
	add_number(check, "interval", inter_ms < 1000 ? 1 : (inter_ms + 500) / 1000);
	add_number(check, "fall", number_of(server, "fall", 3));
	add_number(check, "rise", number_of(server, "rise", 2));
}

static struct json_object *backend_of(struct cv_haproxy *import, const char *backend,
				      struct json_object *servers, size_t index)
{
	struct json_object *server = json_object_array_get_idx(servers, index);
	struct json_object *object = json_object_new_object();
	const long line = number_of(server, "line", 0);
	char text[TEXT_MAX];

	name_server(text, backend, index);
	add_text(object, "name", text);
	if (!server_address(text_of(server, "address"), text))
		cv_haproxy_tell(import, true, (unsigned)line,
				"server address %.64s: expected host:port or a path",
				text_of(server, "address"));
	add_text(object, "address", text);
	add_number(object, "xver", number_of(server, "xver", 0));
	add_check(object, server);
	if (index + 1 < count_of(servers)) {
		name_server(text, backend, index + 1);
		json_object_object_add(object, "whenDown", place_of(text));
		if (!json_object_object_get(json_object_array_get_idx(servers, index + 1),
					    "backup"))
			cv_haproxy_tell(import, false, (unsigned)line,
					"backend %.64s: one server at a time serves, the next when "
					"it is down", backend);
	} else {
		add_text(object, "whenDown", "drop");
	}
	return object;
}

/* Once; then it can be led to. */
static bool add_backend(struct cv_haproxy *import, struct json_object *edge, const char *name,
			long line)
{
	struct json_object *list = json_object_object_get(edge, "backends");
	struct json_object *servers = servers_of(import, name, line);

	for (size_t i = 0; i < count_of(list); i++)
		if (strcmp(text_of(json_object_array_get_idx(list, i), "name"), name) == 0)
			return true;
	for (size_t i = 0; i < count_of(servers); i++)
		json_object_array_add(list, backend_of(import, name, servers, i));
	return count_of(servers) > 0;
}

/* ---- routes ------------------------------------------------------------------------------- */

/* Would @earlier, a name of ours, take what @name takes? */
static bool covers(const char *earlier, const char *name)
{
	const size_t earlier_len = strlen(earlier), len = strlen(name);

	if (strcasecmp(earlier, name) == 0)
		return true;
	return strncmp(earlier, "*.", 2) == 0 && len > earlier_len - 1 &&
	       strcasecmp(name + len - (earlier_len - 1), earlier + 1) == 0;
}

static bool is_covered(struct json_object *routes, const char *name)
{
	for (size_t i = 0; i < count_of(routes); i++) {
		struct json_object *names =
			json_object_object_get(json_object_array_get_idx(routes, i), "names");

		for (size_t n = 0; n < count_of(names); n++)
			if (covers(json_object_get_string(json_object_array_get_idx(names, n)),
				   name))
				return true;
	}
	return false;
}

static void add_route(struct cv_haproxy *import, struct json_object *edge, struct json_object *rule)
{
	struct json_object *routes = json_object_object_get(edge, "routes");
	struct json_object *wanted = json_object_object_get(rule, "names");
	struct json_object *route = json_object_new_object(), *names = add_list(route, "names");
	const char *backend = text_of(rule, "backend");
	const long line = number_of(rule, "line", 0);

	for (size_t i = 0; i < count_of(wanted); i++) {
		struct json_object *name = json_object_array_get_idx(wanted, i);

		if (is_covered(routes, json_object_get_string(name)))
			cv_haproxy_tell(import, false, (unsigned)line,
					"\"%.128s\" is led elsewhere by a rule before this one",
					json_object_get_string(name));
		else
			json_object_array_add(names, json_object_get(name));
	}
	if (count_of(names) == 0 || !add_backend(import, edge, backend, line)) {
		json_object_put(route);
		return;
	}
	json_object_object_add(route, "to", place_of(backend));
	add_text(route, "class", backend);
	json_object_array_add(routes, route);
}

static void add_answers(struct cv_haproxy *import, struct json_object *edge,
			struct json_object *frontend)
{
	static const char *const keys[] = {"unknownName", "noName", "notTls", "silence"};
	const long line = number_of(frontend, "line", 0);
	const char *name = text_of(frontend, "always");
	bool is_led;

	if (!*name)
		name = text_of(frontend, "default");
	if (!*name)
		name = text_of(import->defaults, "default");
	is_led = *name && add_backend(import, edge, name, line);
	if (!*name)
		cv_haproxy_tell(import, false, (unsigned)line,
				"no default_backend: what no rule leads anywhere is dropped");
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		if (is_led)
			json_object_object_add(edge, keys[i], place_of(name));
		else
			add_text(edge, keys[i], "drop");
	}
}

/* ---- inbounds ----------------------------------------------------------------------------- */

static struct json_object *new_inbound(struct cv_haproxy *import, struct json_object *inbounds,
				       struct json_object *frontend, struct json_object *bind,
				       size_t index)
{
	struct json_object *inbound = json_object_new_object();
	char tag[TEXT_MAX];

	name_server(tag, text_of(frontend, "name"), index);
	add_text(inbound, "tag", tag);
	add_listen(import, inbound, (unsigned)number_of(frontend, "line", 0),
		   text_of(bind, "address"));
	json_object_array_add(inbounds, inbound);
	return inbound;
}

static struct json_object *add_stream(struct json_object *inbound, struct json_object *bind)
{
	struct json_object *stream;

	stream = add_object(inbound, "streamSettings");
	if (json_object_object_get(bind, "accept-proxy"))
		json_object_object_add(add_object(stream, "sockopt"), "acceptProxyProtocol",
				       json_object_new_boolean(true));
	return stream;
}

static void add_alpn(struct cv_haproxy *import, struct json_object *tls, const char *words,
		     unsigned line)
{
	struct json_object *list;
	char copy[TEXT_MAX], *at = copy, *word;

	if (!*words)
		return;
	list = add_list(tls, "alpn");
	(void)snprintf(copy, sizeof(copy), "%s", words);
	while ((word = strsep(&at, ",")))
		if (strcmp(word, "h2") == 0)
			cv_haproxy_tell(import, false, line,
					"alpn h2 is left out: nothing here speaks HTTP/2");
		else
			json_object_array_add(list, json_object_new_string(word));
}

static void add_tls(struct cv_haproxy *import, struct json_object *stream, struct json_object *bind,
		    unsigned line)
{
	struct json_object *tls = add_object(stream, "tlsSettings");
	struct json_object *certificate = json_object_new_object();
	const char *version = text_of(bind, "ssl-min-ver");

	if (!*version)
		version = text_of(import->defaults, "ssl-min-ver");
	add_text(stream, "security", "tls");
	if (!*text_of(bind, "crt"))
		cv_haproxy_tell(import, true, line, "bind ssl: no crt FILE");
	add_text(certificate, "certificateFile", text_of(bind, "crt"));
	add_text(certificate, "keyFile", text_of(bind, "crt"));
	json_object_array_add(add_list(tls, "certificates"), certificate);
	if (strncmp(version, "TLSv", 4) == 0)
		add_text(tls, "minVersion", version + 4);
	add_alpn(import, tls, text_of(bind, "alpn"), line);
}

/* TLS ends here, and what is inside goes on in clear text. */
static void build_terminator(struct cv_haproxy *import, struct json_object *inbound,
			     struct json_object *frontend, struct json_object *bind)
{
	const unsigned line = (unsigned)number_of(frontend, "line", 0);
	const char *name = text_of(frontend, "default");
	struct json_object *servers = servers_of(import, name, line), *settings, *fallback;
	struct json_object *server =
		count_of(servers) ? json_object_array_get_idx(servers, 0) : NULL;
	char address[TEXT_MAX];

	if (count_of(json_object_object_get(frontend, "rules")))
		cv_haproxy_tell(import, true, line, "use_backend behind TLS is not supported");
	if (!server)
		return;
	if (!server_address(text_of(server, "address"), address))
		cv_haproxy_tell(import, true, (unsigned)number_of(server, "line", 0),
				"server address %.64s: expected host:port or a path",
				text_of(server, "address"));
	add_text(inbound, "protocol", "vless");
	settings = add_object(inbound, "settings");
	add_text(settings, "decryption", "none");
	fallback = json_object_new_object();
	add_text(fallback, "dest", address);
	add_number(fallback, "xver", number_of(server, "xver", 0));
	json_object_array_add(add_list(settings, "fallbacks"), fallback);
	add_tls(import, add_stream(inbound, bind), bind, line);
	cv_haproxy_tell(import, false, line,
			"frontend %.64s: TLS ends here and %.64s gets what is inside, once the "
			"client has spoken", text_of(frontend, "name"), address);
}

static bool routes_names(struct json_object *frontend)
{
	struct json_object *binds = json_object_object_get(frontend, "binds");

	for (size_t i = 0; i < count_of(binds); i++)
		if (!json_object_object_get(json_object_array_get_idx(binds, i), "ssl"))
			return true;
	return false;
}

static void build_inbounds(struct cv_haproxy *import, struct json_object *inbounds,
			   struct json_object *tags, struct json_object *frontend)
{
	struct json_object *binds = json_object_object_get(frontend, "binds");

	for (size_t i = 0; i < count_of(binds); i++) {
		struct json_object *bind = json_object_array_get_idx(binds, i);
		struct json_object *inbound = new_inbound(import, inbounds, frontend, bind, i);

		if (json_object_object_get(bind, "ssl")) {
			build_terminator(import, inbound, frontend, bind);
			continue;
		}
		add_text(inbound, "protocol", "edge");
		(void)add_stream(inbound, bind);
		json_object_array_add(tags, json_object_new_string(text_of(inbound, "tag")));
	}
}

static void build_edge(struct cv_haproxy *import, struct json_object *edge,
		       struct json_object *frontend)
{
	struct json_object *rules = json_object_object_get(frontend, "rules");
	const long line = number_of(frontend, "line", 0);

	if (count_of(json_object_object_get(edge, "backends"))) {
		cv_haproxy_tell(import, true, (unsigned)line,
				"a second frontend that routes by name is not supported");
		return;
	}
	if (count_of(rules) && number_of(frontend, "delay", 0) <= 0)
		cv_haproxy_tell(import, false, (unsigned)line,
				"no inspect-delay: HAProxy leads hellos in two segments to the "
				"default backend; here they have 5 s");
	for (size_t i = 0; i < count_of(rules); i++)
		add_route(import, edge, json_object_array_get_idx(rules, i));
	add_answers(import, edge, frontend);
}

static void add_settings(const struct cv_haproxy *import, struct json_object *config)
{
	struct json_object *level;

	if (import->idle_ms >= 1000) {
		level = add_object(add_object(add_object(config, "policy"), "levels"), "0");
		add_number(level, "connIdle", import->idle_ms / 1000);
	}
	if (import->maxconn > 0)
		add_number(add_object(config, "culvert"), "maxSessions", import->maxconn);
}

struct json_object *cv_haproxy_build(struct cv_haproxy *import)
{
	struct json_object *config = json_object_new_object();
	struct json_object *inbounds = add_list(config, "inbounds");
	struct json_object *direct = json_object_new_object();
	struct json_object *edge = json_object_new_object(), *tags = add_list(edge, "inboundTag");

	(void)add_list(edge, "backends");
	(void)add_list(edge, "routes");
	for (size_t i = 0; i < count_of(import->frontends); i++) {
		struct json_object *frontend = json_object_array_get_idx(import->frontends, i);

		if (!json_object_object_get(frontend, "tcp") &&
		    !json_object_object_get(import->defaults, "tcp"))
			cv_haproxy_tell(import, true, (unsigned)number_of(frontend, "line", 0),
					"frontend %.64s: expected mode tcp",
					text_of(frontend, "name"));
		build_inbounds(import, inbounds, tags, frontend);
		if (routes_names(frontend))
			build_edge(import, edge, frontend);
	}
	if (count_of(inbounds) == 0)
		cv_haproxy_tell(import, true, 0, "no frontend with a bind line");
	add_text(direct, "tag", "direct");
	add_text(direct, "protocol", "freedom");
	json_object_array_add(add_list(config, "outbounds"), direct);
	if (count_of(tags))
		json_object_object_add(config, "edge", edge);
	else
		json_object_put(edge);
	add_settings(import, config);
	return config;
}
