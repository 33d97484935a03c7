/* SPDX-License-Identifier: MIT */
/*
 * socks5.h - SOCKS5 server side codec (RFC 1928, RFC 1929): a byte parser that accepts any
 * segmentation and pipelined flights.
 */
#ifndef CV_WIRE_SOCKS5_H
#define CV_WIRE_SOCKS5_H

#include "base/address.h"
#include "base/buffer.h"

enum cv_socks5_reply {
	CV_SOCKS5_SUCCEEDED = 0, CV_SOCKS5_GENERAL = 1, CV_SOCKS5_NOT_ALLOWED = 2,
	CV_SOCKS5_NET_UNREACHABLE = 3, CV_SOCKS5_HOST_UNREACHABLE = 4, CV_SOCKS5_REFUSED = 5,
	CV_SOCKS5_TTL_EXPIRED = 6, CV_SOCKS5_COMMAND = 7, CV_SOCKS5_ADDRESS_TYPE = 8,
};
enum cv_socks5_command { CV_SOCKS5_CONNECT = 1, CV_SOCKS5_BIND = 2, CV_SOCKS5_UDP = 3 };
enum cv_socks5_state {
	CV_SOCKS5_EXPECT_GREETING, CV_SOCKS5_EXPECT_AUTH, CV_SOCKS5_EXPECT_VERDICT,
	CV_SOCKS5_EXPECT_REQUEST, CV_SOCKS5_EXPECT_SERVICE, CV_SOCKS5_FAILED,
};

struct cv_socks5_server {
	enum cv_socks5_state state;
	bool need_auth;
	uint8_t commands; /* 1 << of each that is served; CONNECT always is */
	char user[256];      /* NUL terminated; valid in EXPECT_VERDICT and later */
	uint8_t user_len;
	char password[256];  /* cleansed by cv_socks5_server_verdict() */
	uint8_t password_len;
	enum cv_socks5_command command;	   /* valid in EXPECT_SERVICE */
	struct cv_destination destination; /* the same */
};

/** cv_socks5_server_init() - @need_auth: the listener has users, so that method 02 is demanded.
 * Other commands than CONNECT are served where the caller then adds them to @server->commands. */
void cv_socks5_server_init(struct cv_socks5_server *server, bool need_auth);
/**
 * cv_socks5_server_read() - Consume what is there; append replies to @out.
 * Returns: 0 progress made to EXPECT_VERDICT (caller checks credentials, then calls _verdict and
 * reads again) or EXPECT_SERVICE (request complete); -EAGAIN more bytes needed; a CV_PEER_ reason
 * in state FAILED (send @out, then close). @ret_used: bytes consumed, always set; the rest has to
 * be passed again (no message is longer than 513 bytes) or belongs to what follows.
 * Source: SOCKS5 A1-A3, A7, A8.
 */
int cv_socks5_server_read(struct cv_socks5_server *server, struct cv_span bytes,
			  struct cv_buffer *out, size_t *ret_used);
/**
 * cv_socks5_server_verdict() - Answer the credentials; refused -> FAILED. Cleanses the password.
 * Returns: 0; CV_PEER_CREDENTIALS if refused (send @out, then close); CV_INTERNAL_STATE if no
 * verdict is due; buffer errors. Source: SOCKS5 A2.
 */
int cv_socks5_server_verdict(struct cv_socks5_server *server, bool accepted, struct cv_buffer *out);
/** cv_socks5_server_reply() - Append the reply to the request, BND 0.0.0.0:0. SOCKS5 A3, A4. */
int cv_socks5_server_reply(enum cv_socks5_reply reply, struct cv_buffer *out);
/** cv_socks5_server_reply_bound() - Append "succeeded" with an address: where datagrams go to,
 * where we listen, who came. SOCKS5 A5, A6. */
int cv_socks5_server_reply_bound(const struct cv_destination *bound, struct cv_buffer *out);
/** cv_socks5_reply_of() - REP for a reason or -errno; 1 if it has no code of its own. SOCKS5 A3. */
enum cv_socks5_reply cv_socks5_reply_of(int reason);

#endif
