// SPDX-License-Identifier: MIT
/*
 * share_link.c - vless://ID@HOST:PORT?KEY=VALUE&...#NAME, both ways; and socks5s://USER@HOST:PORT.
 *
 * One table says which key is which member and serves reader and writer alike. Values are
 * percent-encoded except for unreserved characters, so that every reader splits them alike.
 */
#include "config/share_link.h"

#include "base/reason.h"
#include "crypto/crypto.h"
#include "crypto/uuid.h"
#include "policy/config.h"
#include "policy/password.h"
#include "wire/base64.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SCHEME "vless://"

struct text_key {
	const char *key;
	size_t offset, size;
};

#define TEXT_KEY(key_, member_) \
	{ \
		key_, offsetof(struct cv_share_link, member_), \
			sizeof(((struct cv_share_link *)NULL)->member_) \
	}

/* In the order in which they are written. */
static const struct text_key text_keys[] = {
	TEXT_KEY("type", type),         TEXT_KEY("path", path),       TEXT_KEY("host", http_host),
	TEXT_KEY("security", security), TEXT_KEY("sni", server_name), TEXT_KEY("alpn", alpn),
	TEXT_KEY("fp", fingerprint),    TEXT_KEY("pbk", public_key),  TEXT_KEY("sid", short_id),
	TEXT_KEY("spx", spider_x),      TEXT_KEY("flow", flow),       TEXT_KEY("pqv", mldsa_public),
};

#define TEXT_KEY_COUNT (sizeof(text_keys) / sizeof(text_keys[0]))

/* Other names for a key, of which readers elsewhere know the first only. */
static const char *const spellings[][2] = {
	{"sni", "servername"},
	{"sni", "serverName"},
	{"sni", "peer"},
};

static const char *usual_spelling(const char *key)
{
	for (size_t i = 0; i < sizeof(spellings) / sizeof(spellings[0]); i++)
		if (strcmp(spellings[i][1], key) == 0)
			return spellings[i][0];
	return key;
}

/* Keys of which we know one value; any other would make a different connection. */
static const struct fixed_key {
	const char *key, *values[3];
} fixed_keys[] = {
	{"encryption", {"none", "", NULL}}, {"headerType", {"none", "", NULL}},
	{"ech", {"", NULL, NULL}},          {"pcs", {"", NULL, NULL}},
	{"vcn", {"", NULL, NULL}},
};

#define FIXED_KEY_COUNT (sizeof(fixed_keys) / sizeof(fixed_keys[0]))

/* ---- percent encoding --------------------------------------------------------------------- */

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Control characters are nobody's name or key. */
static bool decode(const char *from, size_t len, char *to, size_t size)
{
	size_t put = 0;

	for (size_t i = 0; i < len; i++) {
		int byte = (unsigned char)from[i];

		if (byte == '%') {
			const int high = i + 2 < len ? hex_value(from[i + 1]) : -1;
			const int low = i + 2 < len ? hex_value(from[i + 2]) : -1;

			if (high < 0 || low < 0)
				return false;
			byte = high << 4 | low;
			i += 2;
		}
		if (byte < 0x20 || byte == 0x7f || put + 1 >= size)
			return false;
		to[put++] = (char)byte;
	}
	to[put] = '\0';
	return true;
}

static bool is_unreserved(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c && strchr("-._~", c));
}

struct writer {
	char *text;
	size_t len;
};

static void put(struct writer *writer, const char *text)
{
	const size_t len = strlen(text);

	if (writer->len + len >= CV_SHARE_LINK_MAX)
		return;
	memcpy(writer->text + writer->len, text, len + 1);
	writer->len += len;
}

static void put_encoded(struct writer *writer, const char *text)
{
	char part[4];

	for (; *text; text++) {
		if (is_unreserved(*text))
			snprintf(part, sizeof(part), "%c", *text);
		else
			snprintf(part, sizeof(part), "%%%02X", (unsigned char)*text);
		put(writer, part);
	}
}

/* ---- reading ------------------------------------------------------------------------------ */

static int fail(char error_text[CV_SHARE_ERROR_TEXT], const char *what, const char *key)
{
	snprintf(error_text, CV_SHARE_ERROR_TEXT, "%s%s%.32s", what, *key ? ": " : "", key);
	return CV_INTERNAL_CONFIG;
}

static int read_text(const char *key, const char *value, size_t len, struct cv_share_link *link,
		     unsigned *seen, char *error_text)
{
	for (size_t i = 0; i < TEXT_KEY_COUNT; i++) {
		if (strcmp(text_keys[i].key, key) != 0)
			continue;
		if (*seen & 1u << i)
			return fail(error_text, "given twice", key);
		*seen |= 1u << i;
		if (!decode(value, len, (char *)link + text_keys[i].offset, text_keys[i].size))
			return fail(error_text, "value malformed or too long", key);
	}
	return 0;
}

static int check_fixed(const char *key, const char *value, size_t len, char *error_text)
{
	char text[32];

	for (size_t i = 0; i < FIXED_KEY_COUNT; i++) {
		bool found = false;

		if (strcmp(fixed_keys[i].key, key) != 0)
			continue;
		if (!decode(value, len, text, sizeof(text)))
			return fail(error_text, "not supported by this version of culvert", key);
		for (size_t v = 0; v < 3 && fixed_keys[i].values[v]; v++)
			found |= strcmp(fixed_keys[i].values[v], text) == 0;
		if (!found)
			return fail(error_text, "not supported by this version of culvert", key);
	}
	return 0;
}

static int read_pair(const char *pair, size_t len, struct cv_share_link *link, unsigned *seen,
		     char *error_text)
{
	const char *equals = memchr(pair, '=', len);
	const char *value = equals ? equals + 1 : pair + len;
	const size_t value_len = (size_t)(pair + len - value);
	char key[32];
	int error;

	/* longer keys are none of ours */
	if ((size_t)(value - pair) > sizeof(key) - 1)
		return 0;
	if (!decode(pair, (size_t)(equals ? equals - pair : value - pair), key, sizeof(key)))
		return fail(error_text, "malformed key", "");
	if (strcmp(key, "allowInsecure") == 0)
		link->allow_insecure = value_len == 1 && *value == '1';
	error = read_text(usual_spelling(key), value, value_len, link, seen, error_text);
	return error ? error : check_fixed(key, value, value_len, error_text);
}

static int read_query(const char *query, struct cv_share_link *link, char *error_text)
{
	unsigned seen = 0;
	int error = 0;

	while (*query && *query != '#' && !error) {
		const size_t len = strcspn(query, "&#");

		error = read_pair(query, len, link, &seen, error_text);
		query += len + (query[len] == '&');
	}
	return error;
}

/* "id@host:port" or "id@[v6]:port"; returns what follows, or NULL. */
static const char *read_authority(const char *text, struct cv_share_link *link)
{
	const char *end = text + strcspn(text, "/?#");
	const char *at = memchr(text, '@', (size_t)(end - text));
	const char *host = at ? at + 1 : NULL;
	const char *host_end, *port;
	unsigned long number = 0;

	if (!at || !decode(text, (size_t)(at - text), link->id, sizeof(link->id)) || !link->id[0])
		return NULL;
	if (*host == '[') {
		host++;
		host_end = memchr(host, ']', (size_t)(end - host));
		port = host_end ? host_end + 1 : NULL;
	} else {
		host_end = port = memchr(host, ':', (size_t)(end - host));
	}
	if (!port || *port != ':' || end - port < 2 || end - port > 6)
		return NULL;
	for (const char *digit = port + 1; digit < end; digit++) {
		if (*digit < '0' || *digit > '9')
			return NULL;
		number = number * 10 + (unsigned long)(*digit - '0');
	}
	if (number == 0 || number > 65535 ||
	    !decode(host, (size_t)(host_end - host), link->host, sizeof(link->host)))
		return NULL;
	link->port = (uint16_t)number;
	return end;
}

/* One spelling of each carrier; a path or host without one that has them means nothing. */
static int check_type(struct cv_share_link *link, char *error_text)
{
	static const char *const types[][2] = {
		{"", "tcp"},  {"tcp", "tcp"},	{"raw", "tcp"}, {"ws", "ws"}, {"websocket", "ws"},
		{"h2", "http"}, {"http", "http"}, {"httpupgrade", "httpupgrade"},
	};

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		char type[sizeof(link->type)] = "";

		if (strcmp(link->type, types[i][0]) != 0)
			continue;
		snprintf(type, sizeof(type), "%s", types[i][1]);
		memcpy(link->type, type, sizeof(type));
		if (strcmp(type, "tcp") == 0) {
			memset(link->path, 0, sizeof(link->path));
			memset(link->http_host, 0, sizeof(link->http_host));
		}
		return 0;
	}
	return fail(error_text, "not supported by this version of culvert", "type");
}

static int check_link(struct cv_share_link *link, char *error_text)
{
	struct cv_destination destination;
	uint8_t uuid[16];

	if (cv_uuid_parse(link->id, uuid) != 0)
		return fail(error_text, "expected a UUID or a text of 1 to 30 bytes before \"@\"",
			    "");
	if (cv_destination_set_text(&destination, link->host, link->port) != 0)
		return fail(error_text, "expected an IP address or a domain behind \"@\"", "");
	if (!link->security[0])
		strcpy(link->security, "none");
	if (strcmp(link->security, "none") != 0 && strcmp(link->security, "tls") != 0 &&
	    strcmp(link->security, "reality") != 0)
		return fail(error_text, "expected none, tls or reality", "security");
	if (strcmp(link->security, "reality") == 0 && !link->public_key[0])
		return fail(error_text, "required by REALITY, but missing", "pbk");
	return check_type(link, error_text);
}

int cv_share_link_parse(const char *text, struct cv_share_link *ret_link,
			char error_text[CV_SHARE_ERROR_TEXT])
{
	struct cv_share_link link = {0};
	const char *at, *fragment;
	int error;

	if (strnlen(text, CV_SHARE_LINK_MAX) == CV_SHARE_LINK_MAX)
		return fail(error_text, "too long", "");
	if (strncasecmp(text, SCHEME, strlen(SCHEME)) != 0)
		return fail(error_text, "expected " SCHEME, "");
	at = read_authority(text + strlen(SCHEME), &link);
	if (!at)
		return fail(error_text, "expected " SCHEME "ID@HOST:PORT", "");
	at += *at == '/';
	error = *at == '?' ? read_query(at + 1, &link, error_text) : 0;
	fragment = strchr(at, '#');
	if (!error && fragment &&
	    !decode(fragment + 1, strlen(fragment + 1), link.name, sizeof(link.name)))
		return fail(error_text, "malformed or too long", "name");
	if (!error)
		error = check_link(&link, error_text);
	if (!error)
		*ret_link = link;
	return error;
}

/* ---- writing ------------------------------------------------------------------------------ */

void cv_share_link_format(const struct cv_share_link *link, char *text)
{
	struct writer writer = {.text = text};
	const bool is_ipv6 = strchr(link->host, ':') != NULL;
	char port[8];

	snprintf(port, sizeof(port), ":%u", link->port);
	put(&writer, SCHEME);
	put_encoded(&writer, link->id);
	put(&writer, is_ipv6 ? "@[" : "@");
	put(&writer, link->host);
	put(&writer, is_ipv6 ? "]" : "");
	put(&writer, port);
	put(&writer, link->type[0] ? "?encryption=none" : "?encryption=none&type=tcp");
	for (size_t i = 0; i < TEXT_KEY_COUNT; i++) {
		const char *value = (const char *)link + text_keys[i].offset;

		if (!*value)
			continue; /* an empty key breaks clients */
		put(&writer, "&");
		put(&writer, text_keys[i].key);
		put(&writer, "=");
		put_encoded(&writer, value);
	}
	if (link->allow_insecure)
		put(&writer, "&allowInsecure=1");
	put(&writer, link->name[0] ? "#" : "");
	put_encoded(&writer, link->name);
}

/* ---- from the configuration --------------------------------------------------------------- */

static bool is_called(const struct cv_user *user, const char *name)
{
	return *name && (strcasecmp(user->email, name) == 0 || strcmp(user->name, name) == 0);
}

static const struct cv_inbound *find_user(const struct cv_config *config, const char *name,
					  const struct cv_user **ret_user)
{
	for (size_t i = 0; i < config->inbound_count; i++) {
		const struct cv_inbound *inbound = &config->inbounds[i];

		if (inbound->protocol != CV_INBOUND_VLESS)
			continue;
		for (size_t u = 0; u < cv_user_count(inbound->users); u++) {
			*ret_user = cv_user_at(inbound->users, u);
			if (is_called(*ret_user, name))
				return inbound;
		}
	}
	return NULL;
}

static bool leads_to(const struct cv_edge *edge, size_t inbound)
{
	for (size_t i = 0; edge && i < edge->name_count; i++)
		if (edge->names[i].place.kind == CV_EDGE_INBOUND &&
		    edge->names[i].place.inbound == inbound)
			return true;
	return false;
}

/* Where clients of @inbound arrive: itself, or an edge that leads to it. NULL = nowhere. */
static const struct cv_inbound *entrance(const struct cv_config *config,
					 const struct cv_inbound *inbound)
{
	const size_t index = (size_t)(inbound - config->inbounds);

	if (inbound->listen_count > 0)
		return inbound;
	for (size_t i = 0; i < config->inbound_count; i++)
		if (config->inbounds[i].listen_count > 0 &&
		    leads_to(config->inbounds[i].edge, index))
			return &config->inbounds[i];
	return NULL;
}

static int set_place(const struct cv_config *config, const struct cv_inbound *inbound,
		     const struct cv_share_place *place, char ret_host[256], uint16_t *ret_port,
		     char *error_text)
{
	struct cv_destination listen = {0}, any = {0};
	char text[CV_DESTINATION_TEXT];

	inbound = entrance(config, inbound);
	if (inbound)
		(void)cv_sockaddr_to_destination(&inbound->listen_addresses[0], &listen);
	*ret_port = place->port ? place->port : listen.port;
	if (*ret_port == 0)
		return fail(error_text, "this inbound has no port: give --port", "");
	if (place->host) {
		const bool bracketed = place->host[0] == '[';

		if (cv_destination_set_text(&any, place->host, 1) != 0)
			return fail(error_text, "no IP address or domain", place->host);
		snprintf(ret_host, 256, "%.*s",
			 (int)strlen(place->host) - 2 * bracketed, place->host + bracketed);
		return 0;
	}
	if (listen.kind == CV_ADDRESS_NONE ||
	    memcmp(listen.ipv6, any.ipv6, listen.kind == CV_ADDRESS_IPV4 ? 4 : 16) == 0)
		return fail(error_text, "this inbound listens on every address: give --host", "");
	cv_destination_format(&listen, text);
	*strrchr(text, ':') = '\0';
	snprintf(ret_host, 256, "%.*s",
		 (int)(strlen(text) - (text[0] == '[') - (text[0] == '[')),
		 text + (text[0] == '['));
	return 0;
}

/* Trailing zero bytes are padding (REALITY 2): a shorter text means the same. */
static void format_short_id(const uint8_t short_id[CV_SHORT_ID_LEN], char text[20])
{
	size_t len = CV_SHORT_ID_LEN;

	while (len > 0 && short_id[len - 1] == 0)
		len--;
	cv_hex_encode(short_id, len, text);
}

static int set_reality(const struct cv_reality_inbound *reality, const struct cv_user *user,
		       struct cv_share_link *link, char *error_text)
{
	const struct cv_reality_target *target = &reality->targets[0];
	uint8_t public_key[CV_X25519_LEN], mldsa_public[CV_MLDSA65_PUBLIC];

	if (cv_x25519_public(target->reality.private_key, public_key) != 0)
		return fail(error_text, "the private key has no public key", "");
	cv_base64url_encode(public_key, sizeof(public_key), link->public_key);
	snprintf(link->server_name, sizeof(link->server_name), "%s", target->server_names[0]);
	format_short_id(user->has_short_id ? user->short_id : reality->short_ids[0],
			link->short_id);
	if (!reality->mldsa)
		return 0;
	if (cv_mldsa65_public(reality->mldsa, mldsa_public) != 0)
		return fail(error_text, "no ML-DSA-65 public key", "");
	cv_base64url_encode(mldsa_public, sizeof(mldsa_public), link->mldsa_public);
	return 0;
}

static void set_tls(struct cv_share_link *link)
{
	struct cv_destination host;

	if (cv_destination_set_text(&host, link->host, 1) == 0 && host.kind == CV_ADDRESS_DOMAIN)
		snprintf(link->server_name, sizeof(link->server_name), "%s", link->host);
}

static void set_transport(const struct cv_transport *transport, struct cv_share_link *link)
{
	static const char *const types[] = {
		[CV_TRANSPORT_RAW] = "tcp",
		[CV_TRANSPORT_WEBSOCKET] = "ws",
		[CV_TRANSPORT_HTTPUPGRADE] = "httpupgrade",
		[CV_TRANSPORT_H2] = "http",
	};

	strcpy(link->type, types[transport ? transport->kind : CV_TRANSPORT_RAW]);
	if (!transport)
		return;
	snprintf(link->path, sizeof(link->path), "%s", transport->path);
	snprintf(link->http_host, sizeof(link->http_host), "%.*s",
		 (int)strcspn(transport->host, ","), transport->host);
	/* what a browser's hello offers would be answered with another protocol */
	if (transport->kind == CV_TRANSPORT_H2)
		strcpy(link->alpn, "h2");
}

int cv_share_link_of_user(const struct cv_config *config, const char *user,
			  const struct cv_share_place *place, struct cv_share_link *ret_link,
			  char error_text[CV_SHARE_ERROR_TEXT])
{
	static const char *const securities[] = {[CV_SECURITY_NONE] = "none",
						 [CV_SECURITY_TLS] = "tls",
						 [CV_SECURITY_REALITY] = "reality"};
	const struct cv_user *found = NULL;
	const struct cv_inbound *inbound = find_user(config, user, &found);
	struct cv_share_link link = {0};
	int error;

	if (!inbound)
		return fail(error_text, "no VLESS user has this email or name", user);
	error = set_place(config, inbound, place, link.host, &link.port, error_text);
	if (error)
		return error;
	cv_uuid_format(found->uuid, link.id);
	snprintf(link.name, sizeof(link.name), "%.255s",
		 found->name[0] ? found->name : found->email);
	strcpy(link.security, securities[inbound->security]);
	strcpy(link.flow, found->vision ? "xtls-rprx-vision" : "");
	if (inbound->security != CV_SECURITY_NONE)
		strcpy(link.fingerprint, "chrome");
	set_transport(inbound->transport, &link);
	if (inbound->security == CV_SECURITY_TLS)
		set_tls(&link);
	if (inbound->security == CV_SECURITY_REALITY)
		error = set_reality(inbound->reality, found, &link, error_text);
	if (!error)
		*ret_link = link;
	return error;
}

/* ---- proxies ------------------------------------------------------------------------------ */

static struct cv_user *find_login(const struct cv_inbound *inbound, const char *name)
{
	for (size_t u = 0; inbound->users && u < cv_user_count(inbound->users); u++) {
		struct cv_user *user = cv_user_at(inbound->users, u);

		if (is_called(user, name) && user->enabled && user->password[0])
			return user;
	}
	return NULL;
}

static int set_proxy(const struct cv_config *config, const struct cv_inbound *inbound,
		     const struct cv_user *user, const struct cv_share_place *place,
		     struct cv_share_proxy *proxy, char *error_text)
{
	*proxy = (struct cv_share_proxy){0};
	snprintf(proxy->scheme, sizeof(proxy->scheme), "%s%s",
		 inbound->protocol == CV_INBOUND_SOCKS ? "socks5" : "http",
		 inbound->security == CV_SECURITY_TLS ? "s" : "");
	snprintf(proxy->user, sizeof(proxy->user), "%.255s", user->name);
	return set_place(config, inbound, place, proxy->host, &proxy->port, error_text);
}

int cv_share_proxies_of_user(const struct cv_config *config, const char *user,
			     const struct cv_share_place *place, const char *password,
			     void (*each)(void *context, const struct cv_share_proxy *proxy),
			     void *context, char error_text[CV_SHARE_ERROR_TEXT])
{
	int count = 0;

	for (size_t i = 0; i < config->inbound_count; i++) {
		const struct cv_inbound *inbound = &config->inbounds[i];
		const struct cv_user *found = inbound->protocol == CV_INBOUND_VLESS
						      ? NULL
						      : find_login(inbound, user);
		struct cv_share_proxy proxy;

		if (!found || (password && !cv_password_verify(found->password, password,
							       strlen(password))))
			continue;
		if (set_proxy(config, inbound, found, place, &proxy, error_text) != 0)
			return -1;
		if (password)
			snprintf(proxy.password, sizeof(proxy.password), "%.255s", password);
		each(context, &proxy);
		cv_cleanse(&proxy, sizeof(proxy));
		count++;
	}
	return count;
}

void cv_share_proxy_format(const struct cv_share_proxy *proxy, char *text)
{
	struct writer writer = {.text = text};
	const bool is_ipv6 = strchr(proxy->host, ':') != NULL;
	char port[8];

	snprintf(port, sizeof(port), ":%u", proxy->port);
	put(&writer, proxy->scheme);
	put(&writer, "://");
	put_encoded(&writer, proxy->user);
	put(&writer, proxy->password[0] ? ":" : "");
	put_encoded(&writer, proxy->password);
	put(&writer, is_ipv6 ? "@[" : "@");
	put(&writer, proxy->host);
	put(&writer, is_ipv6 ? "]" : "");
	put(&writer, port);
}
