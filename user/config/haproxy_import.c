// SPDX-License-Identifier: MIT
/*
 * haproxy_import.c - from haproxy.cfg to "edge".
 *
 *   lines -> words -> section -> directive -> what it says, as JSON of our own
 *     frontends  [{name, line, binds, acls, rules, default, ssl...}]
 *     backends   {name: {servers: [{address, check, ...}]}}
 *   all read -> haproxy_build.c makes inbounds, routes and backends of it
 *
 * Ignored without a word is what has its own way here (logs, users, statistics). Whatever else is
 * not understood is told with its line.
 */
#include "config/haproxy_import.h"

#include <culvert/reason.h>

#include <ctype.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum section { GLOBAL = 1, DEFAULTS = 2, FRONTEND = 4, BACKEND = 8, OTHER = 16 };

/* ---- findings ----------------------------------------------------------------------------- */

void cv_haproxy_tell(struct cv_haproxy *import, bool is_error, unsigned line, const char *format,
		     ...)
{
	char text[512], whole[560];
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	if (line)
		(void)snprintf(whole, sizeof(whole), "line %u: %s", line, text);
	else
		(void)snprintf(whole, sizeof(whole), "%s", text);
	import->error_count += is_error;
	if (import->report->line)
		import->report->line(import->report->context, is_error, whole);
}

#define fail(import, ...) cv_haproxy_tell(import, true, (import)->line, __VA_ARGS__)
#define warn(import, ...) cv_haproxy_tell(import, false, (import)->line, __VA_ARGS__)

/* ---- words -------------------------------------------------------------------------------- */

/* One word of @at, unquoted in place; NULL at the end of the line. */
static char *take_word(char **at)
{
	char *in = *at, *out, *word, quote = '\0';

	while (*in == ' ' || *in == '\t')
		in++;
	if (!*in || *in == '#')
		return NULL;
	word = out = in;
	for (; *in && (quote || (*in != ' ' && *in != '\t' && *in != '#')); in++) {
		if (quote ? *in == quote : (*in == '"' || *in == '\''))
			quote = quote ? '\0' : *in;
		else if (*in == '\\' && in[1] && quote != '\'')
			*out++ = *++in;
		else
			*out++ = *in;
	}
	if (*in == '#')
		*in = '\0'; /* the rest is a comment */
	*at = *in ? in + 1 : in;
	*out = '\0';
	return word;
}

static size_t split(char *line, char *words[CV_HAPROXY_WORDS])
{
	size_t count = 0;

	while (count < CV_HAPROXY_WORDS && (words[count] = take_word(&line)))
		count++;
	return count;
}

/* "5s", "300ms", "1m", a number of milliseconds; -1 = none of these. */
static long time_ms(const char *text)
{
	static const struct {
		const char *unit;
		long ms;
	} units[] = {{"", 1},	 {"ms", 1},	 {"s", 1000}, {"m", 60000},
		     {"h", 3600000}, {"d", 86400000}, {"us", 0}};
	char *end;
	const long value = strtol(text, &end, 10);

	if (end == text || value < 0 || value > 100000000)
		return -1;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
		if (strcmp(end, units[i].unit) == 0)
			return value * units[i].ms;
	return -1;
}

/* ---- JSON --------------------------------------------------------------------------------- */

static struct json_object *list_of(struct json_object *object, const char *key)
{
	struct json_object *list = json_object_object_get(object, key);

	if (!list) {
		list = json_object_new_array();
		json_object_object_add(object, key, list);
	}
	return list;
}

static void set_text(struct json_object *object, const char *key, const char *text)
{
	json_object_object_add(object, key, json_object_new_string(text));
}

static void set_number(struct json_object *object, const char *key, long number)
{
	json_object_object_add(object, key, json_object_new_int64(number));
}

static void set_true(struct json_object *object, const char *key)
{
	json_object_object_add(object, key, json_object_new_boolean(true));
}

/* ---- conditions --------------------------------------------------------------------------- */

static bool is_sni_fetch(const char *word)
{
	return strcasecmp(word, "req_ssl_sni") == 0 || strcasecmp(word, "req.ssl_sni") == 0;
}

/* Names of one condition "req_ssl_sni [-i] [-m str|end] NAME..." into @patterns. */
static bool read_patterns(struct cv_haproxy *import, char **words, size_t count,
			  struct json_object *patterns)
{
	bool is_end = false;
	size_t at = 1;
	char text[512];

	if (count == 0 || !is_sni_fetch(words[0])) {
		fail(import, "\"%.64s\": only req_ssl_sni decides here", count ? words[0] : "");
		return false;
	}
	for (; at < count && words[at][0] == '-'; at++) {
		if (strcmp(words[at], "--") == 0 || strcmp(words[at], "-i") == 0)
			continue;
		if (strcmp(words[at], "-m") == 0 && at + 1 < count &&
		    (strcmp(words[at + 1], "end") == 0 || strcmp(words[at + 1], "str") == 0)) {
			is_end = strcmp(words[++at], "end") == 0;
			continue;
		}
		fail(import, "req_ssl_sni %.32s %.32s is not supported, expected -i, -m str or "
			     "-m end", words[at], at + 1 < count ? words[at + 1] : "");
		return false;
	}
	for (; at < count; at++) {
		if (is_end && words[at][0] != '.') {
			fail(import, "\"-m end %.64s\" is no whole domain, expected \".%.64s\"",
			     words[at], words[at]);
			return false;
		}
		(void)snprintf(text, sizeof(text), "%s%s", is_end ? "*" : "", words[at]);
		json_object_array_add(patterns, json_object_new_string(text));
	}
	return true;
}

static void add_acl(struct cv_haproxy *import, char **words, size_t count)
{
	struct json_object *acls = json_object_object_get(import->current, "acls"), *patterns;

	if (count < 3) {
		fail(import, "acl: expected a name and a condition");
		return;
	}
	if (!acls) {
		acls = json_object_new_object();
		json_object_object_add(import->current, "acls", acls);
	}
	patterns = list_of(acls, words[1]); /* of one name are alternatives */
	(void)read_patterns(import, words + 2, count - 2, patterns);
}

static bool add_acl_names(struct cv_haproxy *import, const char *name, struct json_object *patterns)
{
	struct json_object *acls = json_object_object_get(import->current, "acls");
	struct json_object *names = json_object_object_get(acls, name);

	if (!names) {
		fail(import, "no acl is called \"%.64s\"", name);
		return false;
	}
	for (size_t i = 0; i < json_object_array_length(names); i++)
		json_object_array_add(patterns,
				      json_object_get(json_object_array_get_idx(names, i)));
	return true;
}

static size_t find_brace(char **words, size_t count)
{
	size_t at = 0;

	while (at < count && strcmp(words[at], "}") != 0)
		at++;
	return at;
}

/* "A", "A or B", "{ req_ssl_sni -i NAME } || B": alternatives only. */
static bool read_condition(struct cv_haproxy *import, char **words, size_t count,
			   struct json_object *patterns)
{
	size_t at = 0, end;

	while (at < count) {
		if (strcmp(words[at], "{") == 0) {
			end = at + 1 + find_brace(words + at + 1, count - at - 1);
			if (!read_patterns(import, words + at + 1, end - at - 1, patterns))
				return false;
			at = end + 1;
		} else if (words[at][0] == '!') {
			fail(import, "\"%.64s\": negations are not supported", words[at]);
			return false;
		} else if (!add_acl_names(import, words[at++], patterns)) {
			return false;
		}
		if (at >= count)
			break;
		if (strcmp(words[at], "or") != 0 && strcmp(words[at], "||") != 0) {
			fail(import, "conditions that must hold together are not supported");
			return false;
		}
		at++;
	}
	return true;
}

static void add_rule(struct cv_haproxy *import, char **words, size_t count)
{
	struct json_object *rule, *patterns;

	if (count == 2) { /* always: nothing behind it counts */
		if (!json_object_object_get(import->current, "always"))
			set_text(import->current, "always", words[1]);
		return;
	}
	if (count < 4 || strcmp(words[2], "if") != 0) {
		fail(import, "use_backend: expected \"use_backend NAME if CONDITION\"");
		return;
	}
	if (json_object_object_get(import->current, "always"))
		return;
	rule = json_object_new_object();
	patterns = list_of(rule, "names");
	set_text(rule, "backend", words[1]);
	set_number(rule, "line", (long)import->line);
	if (read_condition(import, words + 3, count - 3, patterns))
		json_object_array_add(list_of(import->current, "rules"), rule);
	else
		json_object_put(rule);
}

/* ---- frontends ---------------------------------------------------------------------------- */

static void add_bind(struct cv_haproxy *import, char **words, size_t count)
{
	struct json_object *bind = json_object_new_object();

	set_text(bind, "address", count > 1 ? words[1] : "");
	for (size_t i = 2; i < count; i++) {
		const bool has_value = i + 1 < count;

		if (strcmp(words[i], "ssl") == 0)
			set_true(bind, "ssl");
		else if (strcmp(words[i], "accept-proxy") == 0)
			set_true(bind, "accept-proxy");
		else if (strcmp(words[i], "crt") == 0 && has_value)
			set_text(bind, "crt", words[++i]);
		else if (strcmp(words[i], "alpn") == 0 && has_value)
			set_text(bind, "alpn", words[++i]);
		else if (strcmp(words[i], "ssl-min-ver") == 0 && has_value)
			set_text(bind, "ssl-min-ver", words[++i]);
		else if (strcmp(words[i], "name") == 0 && has_value)
			i++;
		else if (strcmp(words[i], "v4v6") != 0 && strcmp(words[i], "tfo") != 0)
			warn(import, "bind: \"%.64s\" is ignored", words[i]);
	}
	json_object_array_add(list_of(import->current, "binds"), bind);
}

static void add_default_backend(struct cv_haproxy *import, char **words, size_t count)
{
	if (count == 2)
		set_text(import->current, "default", words[1]);
	else
		fail(import, "default_backend: expected a name");
}

static void add_tcp_request(struct cv_haproxy *import, char **words, size_t count)
{
	if (count == 3 && strcmp(words[1], "inspect-delay") == 0)
		set_number(import->current, "delay", time_ms(words[2]));
	else if (count < 4 || strcmp(words[1], "content") != 0 || strcmp(words[2], "accept") != 0)
		fail(import, "tcp-request %.32s %.32s is not supported", count > 1 ? words[1] : "",
		     count > 2 ? words[2] : "");
}

static void set_mode(struct cv_haproxy *import, char **words, size_t count)
{
	if (count == 2 && strcmp(words[1], "tcp") == 0)
		set_true(import->current, "tcp");
	else if (import->section != DEFAULTS)
		fail(import, "mode %.16s is not supported, expected mode tcp",
		     count > 1 ? words[1] : "");
}

/* ---- backends ----------------------------------------------------------------------------- */

static void read_server_option(struct cv_haproxy *import, struct json_object *server, char **words,
			       size_t count, size_t *at)
{
	static const char *const numbers[] = {"fall", "rise"};
	const char *word = words[*at];
	const bool has_value = *at + 1 < count;

	for (size_t i = 0; i < 2; i++)
		if (strcmp(word, numbers[i]) == 0 && has_value) {
			set_number(server, word, strtol(words[++*at], NULL, 10));
			return;
		}
	if (strcmp(word, "inter") == 0 && has_value)
		set_number(server, "inter", time_ms(words[++*at]));
	else if (strcmp(word, "check") == 0 || strcmp(word, "backup") == 0)
		set_true(server, word);
	else if (strcmp(word, "send-proxy") == 0)
		set_number(server, "xver", 1);
	else if (strcmp(word, "send-proxy-v2") == 0)
		set_number(server, "xver", 2);
	else if (strcmp(word, "ssl") == 0)
		fail(import, "server: TLS to a backend is not supported");
	else
		warn(import, "server: \"%.64s\" is ignored", word);
}

static struct json_object *copy_of(struct json_object *object)
{
	struct json_object *copy = NULL;

	if (object && json_object_deep_copy(object, &copy, NULL) == 0)
		return copy;
	return json_object_new_object();
}

static void set_default_server(struct cv_haproxy *import, char **words, size_t count)
{
	struct json_object *server = copy_of(json_object_object_get(import->current, "server"));

	for (size_t at = 1; at < count; at++)
		read_server_option(import, server, words, count, &at);
	json_object_object_add(import->current, "server", server);
}

static void add_server(struct cv_haproxy *import, char **words, size_t count)
{
	struct json_object *given = json_object_object_get(import->current, "server"), *server;

	if (count < 3) {
		fail(import, "server: expected a name and an address");
		return;
	}
	server = copy_of(given ? given : json_object_object_get(import->defaults, "server"));
	set_text(server, "address", words[2]);
	set_number(server, "line", (long)import->line);
	for (size_t at = 3; at < count; at++)
		read_server_option(import, server, words, count, &at);
	json_object_array_add(list_of(import->current, "servers"), server);
}

/* ---- everything else ---------------------------------------------------------------------- */

static void set_timeout(struct cv_haproxy *import, char **words, size_t count)
{
	const long ms = count == 3 ? time_ms(words[2]) : -1;

	if (count == 3 && ms < 0)
		fail(import, "timeout %.32s: \"%.32s\" is no time", words[1], words[2]);
	else if (count == 3 && import->section == DEFAULTS &&
		 (strcmp(words[1], "client") == 0 || strcmp(words[1], "server") == 0))
		import->idle_ms = ms > import->idle_ms ? ms : import->idle_ms;
}

static void set_maxconn(struct cv_haproxy *import, char **words, size_t count)
{
	if (count == 2 && import->section == GLOBAL)
		import->maxconn = strtol(words[1], NULL, 10);
}

/* "ssl-default-bind-options ssl-min-ver TLSv1.3 ..." */
static void set_ssl_options(struct cv_haproxy *import, char **words, size_t count)
{
	for (size_t i = 1; i + 1 < count; i++)
		if (strcmp(words[i], "ssl-min-ver") == 0)
			set_text(import->defaults, "ssl-min-ver", words[i + 1]);
}

static const struct {
	const char *word;
	int sections;
	void (*read)(struct cv_haproxy *import, char **words, size_t count);
} directives[] = {
	{"bind", FRONTEND, add_bind},
	{"acl", FRONTEND, add_acl},
	{"use_backend", FRONTEND, add_rule},
	{"default_backend", FRONTEND | DEFAULTS, add_default_backend},
	{"tcp-request", FRONTEND, add_tcp_request},
	{"mode", FRONTEND | BACKEND | DEFAULTS, set_mode},
	{"server", BACKEND, add_server},
	{"default-server", BACKEND | DEFAULTS, set_default_server},
	{"timeout", FRONTEND | BACKEND | DEFAULTS, set_timeout},
	{"maxconn", GLOBAL | FRONTEND | DEFAULTS, set_maxconn},
	{"ssl-default-bind-options", GLOBAL, set_ssl_options},
	/* that has its own way here, or says nothing about where bytes go */
	{"ssl-default-bind-ciphers", GLOBAL, NULL},
	{"ssl-default-bind-ciphersuites", GLOBAL, NULL},
	{"log", GLOBAL | FRONTEND | BACKEND | DEFAULTS, NULL},
	{"option", FRONTEND | BACKEND | DEFAULTS, NULL},
	{"balance", BACKEND | DEFAULTS, NULL},
	{"retries", BACKEND | DEFAULTS, NULL},
	{"description", GLOBAL | FRONTEND | BACKEND, NULL},
	{"chroot", GLOBAL, NULL},
	{"daemon", GLOBAL, NULL},
	{"user", GLOBAL, NULL},
	{"group", GLOBAL, NULL},
	{"pidfile", GLOBAL, NULL},
	{"stats", GLOBAL | DEFAULTS, NULL},
	{"nbthread", GLOBAL, NULL},
	{"tune.ssl.default-dh-param", GLOBAL, NULL},
	{"ca-base", GLOBAL, NULL},
	{"crt-base", GLOBAL, NULL},
};

static void read_directive(struct cv_haproxy *import, char **words, size_t count)
{
	if (import->section == OTHER)
		return;
	for (size_t i = 0; i < sizeof(directives) / sizeof(directives[0]); i++) {
		if (strcmp(directives[i].word, words[0]) != 0 ||
		    !(directives[i].sections & import->section))
			continue;
		if (directives[i].read)
			directives[i].read(import, words, count);
		return;
	}
	warn(import, "\"%.64s\" is not understood and ignored", words[0]);
}

/* ---- sections ----------------------------------------------------------------------------- */

static void begin_named(struct cv_haproxy *import, enum section section, const char *name)
{
	struct json_object *object = json_object_new_object();

	import->section = section;
	import->current = object;
	set_text(object, "name", name);
	set_number(object, "line", (long)import->line);
	if (section == FRONTEND) {
		json_object_array_add(import->frontends, object);
		return;
	}
	if (json_object_object_get(import->backends, name))
		fail(import, "another backend is called \"%.64s\"", name);
	json_object_object_add(import->backends, name, object);
}

static bool begin_section(struct cv_haproxy *import, char **words, size_t count)
{
	const char *name = count > 1 ? words[1] : "";

	if (strcmp(words[0], "global") == 0) {
		import->section = GLOBAL;
	} else if (strcmp(words[0], "defaults") == 0) {
		import->section = DEFAULTS;
		import->current = import->defaults;
	} else if (strcmp(words[0], "frontend") == 0) {
		begin_named(import, FRONTEND, name);
	} else if (strcmp(words[0], "backend") == 0) {
		begin_named(import, BACKEND, name);
	} else if (strcmp(words[0], "listen") == 0) {
		import->section = OTHER;
		warn(import, "listen %.64s is left out%s", name,
		     strncmp(name, "stats", 5) == 0 ? ": see culvert show" : "");
	} else if (strcmp(words[0], "userlist") == 0 || strcmp(words[0], "peers") == 0 ||
		   strcmp(words[0], "resolvers") == 0 || strcmp(words[0], "cache") == 0) {
		import->section = OTHER;
	} else {
		return false;
	}
	return true;
}

static void read_line(struct cv_haproxy *import, char *line)
{
	char *words[CV_HAPROXY_WORDS];
	const size_t count = split(line, words);

	if (count == 0 || begin_section(import, words, count))
		return;
	if (count == CV_HAPROXY_WORDS)
		fail(import, "more than %d words", CV_HAPROXY_WORDS - 1);
	else if (import->section == 0)
		fail(import, "\"%.64s\" before any section", words[0]);
	else
		read_directive(import, words, count);
}

static int read_text(struct cv_haproxy *import, const char *text, size_t len)
{
	char *copy = strndup(text, len), *at = copy, *line;

	if (!copy)
		return CV_INTERNAL_MEMORY;
	if (strlen(copy) != len)
		cv_haproxy_tell(import, true, 0, "there is a NUL in it");
	while ((line = strsep(&at, "\n"))) {
		import->line++;
		line[strcspn(line, "\r")] = '\0';
		read_line(import, line);
	}
	free(copy);
	return 0;
}

int cv_haproxy_import(const char *text, size_t len, const struct cv_config_report *report,
		      struct json_object **ret_config)
{
	static const struct cv_config_report silent;
	struct cv_haproxy import = {
		.report = report ? report : &silent,
		.frontends = json_object_new_array(),
		.backends = json_object_new_object(),
		.defaults = json_object_new_object(),
	};
	struct json_object *config = NULL;
	int error = CV_INTERNAL_MEMORY;

	if (import.frontends && import.backends && import.defaults)
		error = read_text(&import, text, len);
	if (!error)
		config = cv_haproxy_build(&import);
	if (!error && import.error_count > 0)
		error = CV_INTERNAL_CONFIG;
	json_object_put(import.frontends);
	json_object_put(import.backends);
	json_object_put(import.defaults);
	if (error)
		json_object_put(config);
	else
		*ret_config = config;
	return error;
}
