/* SPDX-License-Identifier: MIT */
/*
 * socks5_client.h - SOCKS5 client side codec (RFC 1928, RFC 1929): lock-step.
 */
#ifndef CV_WIRE_SOCKS5_CLIENT_H
#define CV_WIRE_SOCKS5_CLIENT_H

#include "base/address.h"
#include "base/buffer.h"

enum cv_socks5_client_state {
	CV_SOCKS5_CLIENT_EXPECT_METHOD, CV_SOCKS5_CLIENT_EXPECT_STATUS,
	CV_SOCKS5_CLIENT_EXPECT_REPLY, CV_SOCKS5_CLIENT_DONE, CV_SOCKS5_CLIENT_FAILED,
};

struct cv_socks5_client {
	enum cv_socks5_client_state state;
	uint8_t command; /* enum cv_socks5_command */
	struct cv_destination destination;
	struct cv_destination bound; /* in DONE: BND of the reply; kind NONE: a name, or nonsense */
	const char *user, *password; /* borrowed; user "" = none */
};

/**
 * cv_socks5_client_start() - Append the greeting to @out.
 * @destination: copied; a name stays a name, which the proxy resolves
 * @user, @password: at most 255 bytes each; with a user nothing but passwords is offered, so that a
 * proxy that lets everybody in is not taken for the one configured
 * Returns: 0; CV_PEER_ADDRESS if @destination has no form in SOCKS5; CV_INTERNAL_CONFIG if the
 * credentials have none; buffer errors. Source: SOCKS5 A1 rule 5.
 */
int cv_socks5_client_start(struct cv_socks5_client *client,
			   const struct cv_destination *destination, const char *user,
			   const char *password, struct cv_buffer *out);
/** cv_socks5_client_associate() - The same for UDP ASSOCIATE, from an address that is not known
 * yet; once DONE, @client->bound is where datagrams go to. */
int cv_socks5_client_associate(struct cv_socks5_client *client, const char *user,
			       const char *password, struct cv_buffer *out);
/** cv_socks5_client_bind() - The same for BIND: @destination is to connect to the proxy. Once DONE,
 * @client->bound is where; cv_socks5_client_await() then reads on to the second reply: who came. */
int cv_socks5_client_bind(struct cv_socks5_client *client, const struct cv_destination *destination,
			  const char *user, const char *password, struct cv_buffer *out);
void cv_socks5_client_await(struct cv_socks5_client *client);
/**
 * cv_socks5_client_read() - Consume what is there; append what has to be said next to @out.
 * Returns: 0 = DONE, the connection is the destination's from here on; -EAGAIN more bytes needed;
 * in state FAILED CV_UPSTREAM_CREDENTIALS, CV_UPSTREAM_SAYS_ reasons, CV_UPSTREAM_DECODE,
 * CV_UPSTREAM_VERSION, or buffer errors.
 * @ret_used: bytes consumed, always set; the rest is to be passed again, or is the destination's.
 * Source: SOCKS5 A2, A3, A13.
 */
int cv_socks5_client_read(struct cv_socks5_client *client, struct cv_span bytes,
			  struct cv_buffer *out, size_t *ret_used);

#endif
