/* SPDX-License-Identifier: MIT */
/*
 * http_response.h - what an origin answers, how it is passed on, and what a proxy answers itself.
 */
#ifndef CV_WIRE_HTTP_RESPONSE_H
#define CV_WIRE_HTTP_RESPONSE_H

#include "wire/http_body.h"
#include "wire/http_head.h"

struct cv_http_client { /* who asked */
	unsigned minor_version;
	bool is_head, is_upgrade;
	bool keep_alive; /* wants to go on: what we may promise it */
};

struct cv_http_response {
	enum cv_http_framing framing; /* as it comes */
	uint64_t body_bytes;
	bool is_interim;    /* 1xx: another response follows */
	bool is_upgrade;    /* 101: what follows is not HTTP */
	bool is_rechunked;  /* goes out in chunks */
	bool keep_alive;    /* the client's connection can go on afterwards */
};

/** cv_http_response_judge() - What @head means for @client. 0 or CV_UPSTREAM_DECODE. Source: RFC
 * 9112 6.3; HTTP C2. */
int cv_http_response_judge(const struct cv_http_head *head, const struct cv_http_client *client,
			   struct cv_http_response *ret_response);
/** cv_http_response_write() - The head for @client. 0 or a buffer error. */
int cv_http_response_write(const struct cv_http_head *head, const struct cv_http_client *client,
			   const struct cv_http_response *response, struct cv_buffer *out);

/** cv_http_answer() - A whole response of the proxy's own, with the reason in words. @is_head: only
 * its head. 407 asks for Basic credentials. 0 or a buffer error. Source: HTTP B. */
int cv_http_answer(unsigned status, bool is_head, bool keep_alive, struct cv_buffer *out);
/** cv_http_established() - What a tunnel begins with. */
int cv_http_established(struct cv_buffer *out);
/** cv_http_status_of() - For a reason or -errno why a request could not be served. Source: HTTP B.
 */
unsigned cv_http_status_of(int reason);

#endif
