/* SPDX-License-Identifier: MIT */
/*
 * http_upgrade.h - one HTTP/1.1 request that turns a connection into something else: into WebSocket
 * frames, or into bare bytes ("HTTPUpgrade", the same without the frames and their keys).
 */
#ifndef CV_WIRE_HTTP_UPGRADE_H
#define CV_WIRE_HTTP_UPGRADE_H

#include "wire/http_head.h"

#define CV_UPGRADE_HEAD_MAX 12288 /* of a request */
#define CV_UPGRADE_ANSWER_MAX 16384
#define CV_WEBSOCKET_KEY_LEN 16
#define CV_WEBSOCKET_KEY_TEXT 24    /* base64, without NUL */
#define CV_WEBSOCKET_ACCEPT_TEXT 28 /* base64 of a SHA-1, without NUL */
#define CV_UPGRADE_EARLY_MAX 8192   /* early data; 4/3 of that in the head */

enum cv_upgrade { CV_UPGRADE_WEBSOCKET, CV_UPGRADE_BARE };

/** cv_upgrade_path_is() - Is the path of the request target @target, percent-decoded and without
 * query, @path? */
bool cv_upgrade_path_is(struct cv_span target, const char *path);
/** cv_upgrade_host_is() - Is @host, without port, one of @hosts (comma separated; "" = any)? */
bool cv_upgrade_host_is(struct cv_span host, const char *hosts);

/* ---- server ---- */

/**
 * cv_upgrade_judge() - Is @head the request for @path at @host ("" = any)?
 * Returns the status of the answer: 101; 404: another host or path; 400, 405: no proper upgrade.
 * For CV_UPGRADE_BARE anything but 101 is answered by closing. Source: RFC 6455 4.2.1, WebSocket
 * 2.1, 5.
 */
unsigned cv_upgrade_judge(enum cv_upgrade kind, const struct cv_http_head *head, const char *path,
			  const char *host);
/** cv_upgrade_key() - Sec-WebSocket-Key of a request that was judged 101. */
struct cv_span cv_upgrade_key(const struct cv_http_head *head);
/**
 * cv_upgrade_early() - Early data of a WebSocket request, appended to @out.
 * @ret_echo: what the answer's Sec-WebSocket-Protocol says then; empty: there were none, or
 * something that is no base64 (a subprotocol, which is ignored)
 * Returns: 0 or a buffer error. Source: WebSocket 2.3.
 */
int cv_upgrade_early(const struct cv_http_head *head, struct cv_buffer *out,
		     struct cv_span *ret_echo);
/** cv_upgrade_accept() - The answer 101. @accept: of CV_UPGRADE_WEBSOCKET. 0 or a buffer error.
 * Source: WebSocket 2.2. */
int cv_upgrade_accept(enum cv_upgrade kind, const char *accept, struct cv_span echo,
		      struct cv_buffer *out);
/**
 * cv_upgrade_refuse() - The answer to what was not judged 101, as the web server of the original
 * gives it. @date: of the field Date.
 * @ret_closes: the connection ends with it
 * Returns: 0 or a buffer error. Source: WebSocket 2.1.
 */
int cv_upgrade_refuse(unsigned status, const struct cv_http_head *head, const char *date,
		      struct cv_buffer *out, bool *ret_closes);

/* ---- client ---- */

struct cv_upgrade_request {
	enum cv_upgrade kind;
	const char *path, *host;
	const char *user_agent;
	const char *headers; /* whole lines, or ""; they replace ours of the same name */
	const char *key;     /* CV_WEBSOCKET_KEY_TEXT bytes and NUL; not for CV_UPGRADE_BARE */
	struct cv_span early; /* at most CV_UPGRADE_EARLY_MAX bytes; empty = none */
};

/** cv_upgrade_request() - 0; a buffer error; CV_INTERNAL_STATE: too much early data. Source: RFC
 * 6455 4.1, WebSocket 3. */
int cv_upgrade_request(const struct cv_upgrade_request *request, struct cv_buffer *out);
/**
 * cv_upgrade_answer() - Does @head agree? @accept: what it has to be, for CV_UPGRADE_WEBSOCKET;
 * @early: was there early data, which may be echoed as a subprotocol?
 * Returns: 0; CV_UPSTREAM_NO_UPGRADE; CV_UPSTREAM_DECODE. Source: RFC 6455 4.1.
 */
int cv_upgrade_answer(enum cv_upgrade kind, const struct cv_http_head *head, const char *accept,
		      bool early);

#endif
