/* SPDX-License-Identifier: MIT */
/*
 * share_link.h - links: everything a client needs to reach a user's inbounds, by VLESS or by proxy
 * protocols.
 */
#ifndef CV_CONFIG_SHARE_LINK_H
#define CV_CONFIG_SHARE_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cv_config;

/* Decoded values, "" = absent. */
struct cv_share_link {
	char id[64];    /* UUID or a text of at most 30 bytes */
	char host[256]; /* without brackets */
	uint16_t port;
	char name[256];    /* what people call it */
	char type[16];     /* "tcp", "ws", "httpupgrade" or "http" (HTTP/2) */
	char security[16]; /* "none", "tls" or "reality" */
	char flow[32];
	char path[1024], http_host[256]; /* of what is no "tcp" */
	char server_name[256];
	char alpn[64]; /* comma separated */
	char fingerprint[32];
	char public_key[64]; /* REALITY, base64 */
	char short_id[20];   /* REALITY, hex */
	char spider_x[256];
	char mldsa_public[2720]; /* base64 */
	bool allow_insecure;
};

#define CV_SHARE_LINK_MAX 8192 /* no link is longer, with its NUL */
#define CV_SHARE_ERROR_TEXT 160

/**
 * cv_share_link_parse() - Read a link; unknown keys are skipped.
 * @error_text: on failure, what is wrong
 * Returns: 0; CV_INTERNAL_CONFIG if it is malformed or asks for what this version cannot do
 * (other carriers, VLESS encryption, ECH, pinning). Source: VLESS 9.
 */
int cv_share_link_parse(const char *text, struct cv_share_link *ret_link,
			char error_text[CV_SHARE_ERROR_TEXT]);

/** cv_share_link_format() - Write @link into @text (CV_SHARE_LINK_MAX bytes). Source: VLESS 9. */
void cv_share_link_format(const struct cv_share_link *link, char *text);

struct cv_share_place {
	const char *host; /* NULL = the inbound's address, unless that is "any" */
	uint16_t port;    /* 0 = the inbound's first */
};

/**
 * cv_share_link_of_user() - The link of the user with that email or name, from the live
 * configuration. Returns: 0; CV_INTERNAL_CONFIG with the cause in @error_text.
 */
int cv_share_link_of_user(const struct cv_config *config, const char *user,
			  const struct cv_share_place *place, struct cv_share_link *ret_link,
			  char error_text[CV_SHARE_ERROR_TEXT]);

/* A way in for programs that know proxies: socks5, socks5s, http or https. */
struct cv_share_proxy {
	char scheme[8];
	char host[256]; /* without brackets */
	uint16_t port;
	char user[256], password[256]; /* "" = not known */
};

/**
 * cv_share_proxies_of_user() - Call @each for each SOCKS and HTTP inbound that lets this user in,
 * by email or name. Passwords cannot be read from their hashes: @password, if not NULL, goes into
 * the links of those inbounds that take it, and others are left out.
 * Returns: how many there were; -1 with the cause in @error_text if a place cannot be told.
 */
int cv_share_proxies_of_user(const struct cv_config *config, const char *user,
			     const struct cv_share_place *place, const char *password,
			     void (*each)(void *context, const struct cv_share_proxy *proxy),
			     void *context, char error_text[CV_SHARE_ERROR_TEXT]);
/** cv_share_proxy_format() - "socks5s://user:password@host:port" into @text (CV_SHARE_LINK_MAX). */
void cv_share_proxy_format(const struct cv_share_proxy *proxy, char *text);

#endif
