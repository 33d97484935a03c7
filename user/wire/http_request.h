/* SPDX-License-Identifier: MIT */
/*
 * http_request.h - what a request to an HTTP proxy asks for, and how it is passed on.
 */
#ifndef CV_WIRE_HTTP_REQUEST_H
#define CV_WIRE_HTTP_REQUEST_H

#include "base/address.h"
#include "wire/http_body.h"
#include "wire/http_head.h"

enum cv_http_form {
	CV_HTTP_TUNNEL,	     /* CONNECT host:port */
	CV_HTTP_FORWARD,     /* METHOD http://host/path */
	CV_HTTP_ORIGIN_FORM, /* METHOD /path: not a request to a proxy */
};

struct cv_http_request { /* borrows the bytes of its head */
	enum cv_http_form form;
	struct cv_destination destination;
	struct cv_span authority; /* FORWARD: "host" or "host:port", without user */
	struct cv_span path;	  /* FORWARD: may be empty or begin with '?' */
	enum cv_http_framing framing;
	uint64_t body_bytes; /* of CV_HTTP_LENGTH */
	bool keep_alive;     /* the client wants to go on afterwards */
	bool is_head;	     /* the response has no body */
	bool is_upgrade;     /* Connection: upgrade, with Upgrade */
};

/**
 * cv_http_request_judge() - What @head asks for, if it can only be understood in one way.
 * @ret_status: only on failure: 400 or 501
 * Returns: 0; CV_PEER_DECODE; CV_PEER_ADDRESS. Source: RFC 9112 3.2, 6; RFC 9110 7.6.1, 9.3.6;
 * HTTP B, C1, C2.
 */
int cv_http_request_judge(const struct cv_http_head *head, struct cv_http_request *ret_request,
			  unsigned *ret_status);
/** cv_http_request_write() - The head for the origin: origin form, Host of the target, nothing that
 * was meant for us; Connection: close, or upgrade. 0 or a buffer error. */
int cv_http_request_write(const struct cv_http_head *head, const struct cv_http_request *request,
			  struct cv_buffer *out);

#define CV_HTTP_CREDENTIAL_MAX 255

struct cv_http_credentials {
	char user[CV_HTTP_CREDENTIAL_MAX + 1], password[CV_HTTP_CREDENTIAL_MAX + 1];
	size_t user_len, password_len;
};

/** cv_http_basic() - Of the field called @name, "Basic ...". 0; CV_PEER_NO_METHOD without that
 * field; CV_PEER_DECODE. The caller cleanses them. Source: RFC 7617 2. */
int cv_http_basic(const struct cv_http_head *head, const char *name,
		  struct cv_http_credentials *ret_credentials);
/** cv_http_credentials() - cv_http_basic() of Proxy-Authorization. */
int cv_http_credentials(const struct cv_http_head *head,
			struct cv_http_credentials *ret_credentials);

#endif
