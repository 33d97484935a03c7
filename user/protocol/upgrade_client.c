// SPDX-License-Identifier: MIT
/*
 * upgrade_client.c - a client's side of an HTTP upgrade.
 *
 * Interim answers (1xx but 101) are skipped. Whatever else is no 101 ends the attempt: a redirect
 * or a page would come from somebody who does not know us.
 */
#include "protocol/upgrade_client.h"

#include "crypto/crypto.h"
#include "protocol/spider.h"
#include "wire/base64.h"

#include <culvert/reason.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define REQUEST_MAX 32768

static const char accept_suffix[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

int cv_websocket_accept(struct cv_span key, char *ret_text)
{
	uint8_t message[CV_WEBSOCKET_KEY_TEXT + sizeof(accept_suffix) - 1], digest[20];

	if (key.len_bytes != CV_WEBSOCKET_KEY_TEXT)
		return CV_INTERNAL_STATE;
	memcpy(message, key.data, key.len_bytes);
	memcpy(message + key.len_bytes, accept_suffix, sizeof(accept_suffix) - 1);
	if (cv_hash(CV_SHA1, message, sizeof(message), digest) != 0)
		return CV_INTERNAL_CRYPTO;
	cv_base64_encode(digest, sizeof(digest), ret_text);
	return 0;
}

int cv_upgrade_client_init(struct cv_upgrade_client *client, enum cv_upgrade kind,
			   const struct cv_transport *transport,
			   const struct cv_transport_place *place)
{
	uint8_t key[CV_WEBSOCKET_KEY_LEN];

	*client = (struct cv_upgrade_client){
		.kind = kind,
		.transport = transport,
		.user_agent = cv_spider_user_agent(place->fingerprint),
	};
	snprintf(client->host, sizeof(client->host), "%s",
		 transport->host[0] ? transport->host : place->host);
	if (cv_random_bytes(key, sizeof(key)) != 0)
		return CV_INTERNAL_CRYPTO;
	cv_base64_encode(key, sizeof(key), client->key);
	return cv_websocket_accept(cv_span_of(client->key, CV_WEBSOCKET_KEY_TEXT), client->accept);
}

int cv_upgrade_client_start(struct cv_upgrade_client *client, struct cv_span early,
			    cv_layer_emit emit, void *context)
{
	const struct cv_upgrade_request request = {
		.kind = client->kind,
		.path = client->transport->path,
		.host = client->host,
		.user_agent = client->user_agent,
		.headers = client->transport->headers,
		.key = client->key,
		.early = early,
	};
	struct cv_buffer out;
	int error;

	client->early = early.len_bytes > 0;
	cv_buffer_init(&out, REQUEST_MAX);
	error = cv_upgrade_request(&request, &out);
	if (!error)
		error = emit(context, cv_buffer_span(&out));
	cv_buffer_done(&out);
	return error;
}

int cv_upgrade_client_read(struct cv_upgrade_client *client, struct cv_span *in)
{
	struct cv_http_head head;
	int result;

	do {
		result = cv_http_response_head_read(*in, &head);
		if (result == -EAGAIN && in->len_bytes > CV_UPGRADE_ANSWER_MAX)
			result = CV_UPSTREAM_DECODE;
		if (result)
			return result;
		result = head.status / 100 == 1 && head.status != 101
				 ? -EAGAIN
				 : cv_upgrade_answer(client->kind, &head, client->accept,
						     client->early);
		if (result == -EAGAIN || result == 0)
			cv_span_skip(in, head.len_bytes);
	} while (result == -EAGAIN);
	return result;
}
