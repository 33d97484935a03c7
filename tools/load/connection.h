/* SPDX-License-Identifier: MIT */
/*
 * connection.h - a connection on its way to the site: dialled, led through the relay, TLS where the
 * way or the kind has it. What flows once it stands is work.c's.
 *
 *   CLOSED -> CONNECTING -> OUTER_TLS -> PROXY -> INNER_TLS -> STANDING -> RUNNING
 *      ^                                                                  |
 *      +----------------- LEAVING (until nothing is under way) <----------+  from anywhere
 */
#ifndef CV_LOAD_CONNECTION_H
#define CV_LOAD_CONNECTION_H

#include "load.h"
#include "wire/http_connect.h"
#include "wire/socks5_client.h"

enum cv_load_stage {
	CV_LOAD_CLOSED,
	CV_LOAD_CONNECTING,
	CV_LOAD_OUTER_TLS,
	CV_LOAD_PROXY,
	CV_LOAD_INNER_TLS,
	CV_LOAD_STANDING,
	CV_LOAD_RUNNING,
	CV_LOAD_LEAVING,
};

struct cv_load_connection {
	struct cv_load_worker *worker;
	enum cv_load_stage stage;
	int fd;
	unsigned pending_count; /* operations that the kernel has */
	bool is_sending, is_receiving, has_settled, is_done, is_pouring, said_goodbye;
	struct cv_tls_client *tls;
	struct cv_layer *outer; /* what the relay decrypts */
	struct cv_layer *inner; /* what the site decrypts: one request, then it is not needed */
	union {
		struct cv_socks5_client socks5;
		struct cv_http_connect http;
	};
	struct cv_buffer in, plain; /* as received; without the outer TLS */
	struct cv_buffer out, next; /* under way; behind it */
	uint64_t began_ns, asked_ns, deadline_ns;
	size_t at, got_bytes;
};

/** cv_load_dial() - From CLOSED. */
void cv_load_dial(struct cv_load_connection *connection);
/** cv_load_connection_event() - What the ring says of it. */
void cv_load_connection_event(struct cv_load_connection *connection, enum cv_load_op op,
			      int32_t result, uint32_t flags);
/** cv_load_leave() - Let go of it; cv_load_closed() follows, perhaps at once. */
void cv_load_leave(struct cv_load_connection *connection);
/** cv_load_say_goodbye() - With an outer TLS: its close_notify. False when there is nothing to say.
 */
bool cv_load_say_goodbye(struct cv_load_connection *connection);
void cv_load_fail(struct cv_load_connection *connection, enum cv_load_failure failure);
/** cv_load_put() - Send bytes as the relay takes them: through the outer TLS, if there is one. */
void cv_load_put(struct cv_load_connection *connection, struct cv_span bytes);
/** cv_load_put_inner() - The same, as the site takes them. */
void cv_load_put_inner(struct cv_load_connection *connection, struct cv_span bytes);
/** cv_load_send() - Send as it is: @bytes stay until the send ended. None may be under way.
 * @flags: MSG_WAITALL: the send ends with the last byte */
void cv_load_send(struct cv_load_connection *connection, const uint8_t *bytes, size_t len_bytes,
		  int flags);
/** cv_load_receive() - Into connection->in, or, thrown away, as much as there is. */
void cv_load_receive(struct cv_load_connection *connection);
void cv_load_discard(struct cv_load_connection *connection, bool expect_more);
/** cv_load_decode() - From ->in to ->plain. False when the connection is gone. */
bool cv_load_decode(struct cv_load_connection *connection);

/* ---- what connection.c calls in work.c ----------------------------------------------------- */

/** cv_load_stood() - It has come as far as its way goes. */
void cv_load_stood(struct cv_load_connection *connection);
/** cv_load_arrived() - Received while STANDING or RUNNING: @result as recv(2)'s, or -errno. */
void cv_load_arrived(struct cv_load_connection *connection, int32_t result, bool expect_more);
/** cv_load_sent() - All that was to be sent went out while STANDING or RUNNING. */
void cv_load_sent(struct cv_load_connection *connection, int32_t result);
void cv_load_closed(struct cv_load_connection *connection);

#endif
