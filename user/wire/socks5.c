// SPDX-License-Identifier: MIT
/*
 * socks5.c - SOCKS5 server side.
 *
 *   EXPECT_GREETING --00--> EXPECT_REQUEST -------------------------> EXPECT_SERVICE
 *          |  \--02--> EXPECT_AUTH -> EXPECT_VERDICT --ok--^              |
 *          |                 |             |                              v
 *          +-----------------+-------------+------> FAILED         cv_socks5_server_reply()
 *
 * Every step looks at a prefix of the stream: it takes its whole message or nothing, so that
 * greeting, credentials, request and data may come in one segment or byte by byte. The reply of
 * each step is appended in order. A step that fails leaves its reply in @out; what follows is
 * never looked at.
 */
#include "wire/socks5.h"

#include <culvert/reason.h>

#include "base/cursor.h"
#include "wire/socks5_address.h"

#include <errno.h>
#include <string.h>

#define VERSION 5
#define AUTH_VERSION 1
#define METHOD_NONE 0x00
#define METHOD_PASSWORD 0x02
#define METHOD_REFUSED 0xff
#define AUTH_OK 0x00
#define AUTH_FAILURE 0x01

enum address_type { ADDRESS_IPV4 = 1, ADDRESS_DOMAIN = 3, ADDRESS_IPV6 = 4 };

void cv_socks5_server_init(struct cv_socks5_server *server, bool need_auth)
{
	*server = (struct cv_socks5_server){
		.state = CV_SOCKS5_EXPECT_GREETING,
		.need_auth = need_auth,
		.commands = 1u << CV_SOCKS5_CONNECT,
	};
}

static int append_pair(struct cv_buffer *out, uint8_t first, uint8_t second)
{
	const uint8_t pair[2] = {first, second};

	return cv_buffer_append(out, pair, sizeof(pair));
}

static int fail(struct cv_socks5_server *server, int reason)
{
	server->state = CV_SOCKS5_FAILED;
	return reason;
}

/* A buffer that is full outranks the reason: then the reply is lost. */
static int fail_after(struct cv_socks5_server *server, int reply_error, int reason)
{
	return fail(server, reply_error ? reply_error : reason);
}

/* Goes on to @next unless the answer did not fit. */
static int answer(struct cv_socks5_server *server, int append_error, enum cv_socks5_state next)
{
	if (append_error)
		return fail(server, append_error);
	server->state = next;
	return 0;
}

/* ---- greeting ---- */

static int read_greeting(struct cv_socks5_server *server, struct cv_reader *reader,
			 struct cv_buffer *out)
{
	const uint8_t version = cv_read_u8(reader);

	if (!reader->failed && version != VERSION)
		return fail(server, CV_PEER_PROTOCOL_VERSION); /* observable: not one byte back */

	const struct cv_reader methods = cv_read_vector8(reader);
	const uint8_t wanted = server->need_auth ? METHOD_PASSWORD : METHOD_NONE;

	if (reader->failed)
		return -EAGAIN;
	if (!memchr(methods.at, wanted, cv_reader_left(&methods)))
		return fail_after(server, append_pair(out, VERSION, METHOD_REFUSED),
				  CV_PEER_NO_METHOD);
	return answer(server, append_pair(out, VERSION, wanted),
		      server->need_auth ? CV_SOCKS5_EXPECT_AUTH : CV_SOCKS5_EXPECT_REQUEST);
}

/* ---- credentials ---- */

/* NUL is legal in the protocol but never part of a stored credential. */
static bool take_text(const struct cv_reader *bytes, char text[256], uint8_t *ret_len)
{
	const size_t len_bytes = cv_reader_left(bytes);

	if (len_bytes > 0 && memchr(bytes->at, 0, len_bytes))
		return false;
	if (len_bytes > 0)
		memcpy(text, bytes->at, len_bytes);
	text[len_bytes] = '\0';
	*ret_len = (uint8_t)len_bytes;
	return true;
}

static int refuse_auth(struct cv_socks5_server *server, struct cv_buffer *out, int reason)
{
	return fail_after(server, append_pair(out, AUTH_VERSION, AUTH_FAILURE), reason);
}

static int read_auth(struct cv_socks5_server *server, struct cv_reader *reader,
		     struct cv_buffer *out)
{
	const uint8_t version = cv_read_u8(reader);

	if (!reader->failed && version != AUTH_VERSION)
		return refuse_auth(server, out, CV_PEER_PROTOCOL_VERSION);

	const struct cv_reader user = cv_read_vector8(reader);
	const struct cv_reader password = cv_read_vector8(reader);

	if (reader->failed)
		return -EAGAIN;
	if (cv_reader_left(&user) == 0 || !take_text(&user, server->user, &server->user_len) ||
	    !take_text(&password, server->password, &server->password_len))
		return refuse_auth(server, out, CV_PEER_CREDENTIALS);
	server->state = CV_SOCKS5_EXPECT_VERDICT;
	return 0;
}

int cv_socks5_server_verdict(struct cv_socks5_server *server, bool accepted, struct cv_buffer *out)
{
	explicit_bzero(server->password, sizeof(server->password));
	server->password_len = 0;
	if (server->state != CV_SOCKS5_EXPECT_VERDICT)
		return CV_INTERNAL_STATE;
	if (!accepted)
		return refuse_auth(server, out, CV_PEER_CREDENTIALS);
	return answer(server, append_pair(out, AUTH_VERSION, AUTH_OK), CV_SOCKS5_EXPECT_REQUEST);
}

/* ---- request ---- */

static int refuse_request(struct cv_socks5_server *server, enum cv_socks5_reply reply, int reason,
			  struct cv_buffer *out)
{
	return fail_after(server, cv_socks5_server_reply(reply, out), reason);
}

static int read_destination(struct cv_socks5_server *server, uint8_t type, struct cv_reader *reader,
			    struct cv_buffer *out)
{
	struct cv_destination destination = {.kind = CV_ADDRESS_NONE};
	const size_t len_bytes = type == ADDRESS_IPV4 ? 4 :
				 type == ADDRESS_IPV6 ? 16 :
							cv_read_u8(reader);

	if (!reader->failed && len_bytes == 0)
		return refuse_request(server, CV_SOCKS5_GENERAL, CV_PEER_ADDRESS, out);

	const uint8_t *bytes = cv_read_bytes(reader, len_bytes);

	destination.port = cv_read_u16(reader);
	if (reader->failed)
		return -EAGAIN;
	if (type == ADDRESS_DOMAIN) {
		if (cv_socks5_set_domain(&destination, bytes, len_bytes))
			return refuse_request(server, CV_SOCKS5_HOST_UNREACHABLE, CV_PEER_ADDRESS,
					      out);
	} else {
		destination.kind = type == ADDRESS_IPV4 ? CV_ADDRESS_IPV4 : CV_ADDRESS_IPV6;
		memcpy(destination.ipv6, bytes, len_bytes);
	}
	cv_destination_normalize(&destination);
	server->destination = destination;
	server->state = CV_SOCKS5_EXPECT_SERVICE;
	return 0;
}

/* The order of the checks is that of SOCKS5 A3. */
static int read_request(struct cv_socks5_server *server, struct cv_reader *reader,
			struct cv_buffer *out)
{
	const uint8_t version = cv_read_u8(reader);

	if (!reader->failed && version != VERSION)
		return fail(server, CV_PEER_PROTOCOL_VERSION);

	const uint8_t command = cv_read_u8(reader);

	cv_read_u8(reader); /* RSV: tolerated whatever it is */

	const uint8_t type = cv_read_u8(reader);

	if (reader->failed)
		return -EAGAIN;
	if (command > CV_SOCKS5_UDP || !(server->commands & 1u << command))
		return refuse_request(server, CV_SOCKS5_COMMAND, CV_PEER_COMMAND, out);
	if (type != ADDRESS_IPV4 && type != ADDRESS_DOMAIN && type != ADDRESS_IPV6)
		return refuse_request(server, CV_SOCKS5_ADDRESS_TYPE, CV_PEER_ADDRESS, out);
	server->command = (enum cv_socks5_command)command;
	return read_destination(server, type, reader, out);
}

static int read_step(struct cv_socks5_server *server, struct cv_reader *reader,
		     struct cv_buffer *out)
{
	switch (server->state) {
	case CV_SOCKS5_EXPECT_GREETING:
		return read_greeting(server, reader, out);
	case CV_SOCKS5_EXPECT_AUTH:
		return read_auth(server, reader, out);
	case CV_SOCKS5_EXPECT_REQUEST:
		return read_request(server, reader, out);
	default:
		return CV_INTERNAL_STATE;
	}
}

static bool waits_for_caller(const struct cv_socks5_server *server)
{
	return server->state == CV_SOCKS5_EXPECT_VERDICT ||
	       server->state == CV_SOCKS5_EXPECT_SERVICE;
}

int cv_socks5_server_read(struct cv_socks5_server *server, struct cv_span bytes,
			  struct cv_buffer *out, size_t *ret_used)
{
	size_t used_bytes = 0;
	int result = 0;

	while (result == 0 && !waits_for_caller(server)) {
		struct cv_reader reader = cv_reader_of(bytes.data, bytes.len_bytes);

		result = read_step(server, &reader, out);
		if (result == 0) {
			used_bytes += bytes.len_bytes - cv_reader_left(&reader);
			cv_span_skip(&bytes, bytes.len_bytes - cv_reader_left(&reader));
		}
	}
	*ret_used = used_bytes;
	return result;
}

/* ---- replies ---- */

int cv_socks5_server_reply(enum cv_socks5_reply reply, struct cv_buffer *out)
{
	/* observable: BND stays zero, the egress address is nobody's business. SOCKS5 A4. */
	const uint8_t message[10] = {VERSION, (uint8_t)reply, 0, ADDRESS_IPV4};

	return cv_buffer_append(out, message, sizeof(message));
}

int cv_socks5_server_reply_bound(const struct cv_destination *bound, struct cv_buffer *out)
{
	uint8_t message[3 + CV_SOCKS5_ADDRESS_MAX];
	struct cv_writer writer = cv_writer_of(message, sizeof(message));

	cv_write_u8(&writer, VERSION);
	cv_write_u8(&writer, CV_SOCKS5_SUCCEEDED);
	cv_write_u8(&writer, 0);
	cv_socks5_write_address(&writer, bound);
	return writer.failed ? CV_INTERNAL_STATE
			     : cv_buffer_append(out, message, cv_writer_len(&writer));
}

static const struct {
	int reason;
	enum cv_socks5_reply reply;
} replies[] = {
	{0, CV_SOCKS5_SUCCEEDED},
	{CV_POLICY_BLOCKED, CV_SOCKS5_NOT_ALLOWED},
	{CV_POLICY_PRIVATE_TARGET, CV_SOCKS5_NOT_ALLOWED},
	{CV_POLICY_NO_PROXY, CV_SOCKS5_NOT_ALLOWED},
	{CV_POLICY_USER_DISABLED, CV_SOCKS5_NOT_ALLOWED},
	{-EPERM, CV_SOCKS5_NOT_ALLOWED},
	{-EACCES, CV_SOCKS5_NOT_ALLOWED},
	{CV_UPSTREAM_NO_ROUTE, CV_SOCKS5_NET_UNREACHABLE},
	{-ENETUNREACH, CV_SOCKS5_NET_UNREACHABLE},
	{-ENETDOWN, CV_SOCKS5_NET_UNREACHABLE},
	{-EADDRNOTAVAIL, CV_SOCKS5_NET_UNREACHABLE},
	{-EAFNOSUPPORT, CV_SOCKS5_NET_UNREACHABLE},
	{CV_UPSTREAM_UNREACHABLE, CV_SOCKS5_HOST_UNREACHABLE},
	{CV_UPSTREAM_RESOLVE, CV_SOCKS5_HOST_UNREACHABLE},
	{-EHOSTUNREACH, CV_SOCKS5_HOST_UNREACHABLE},
	{-EHOSTDOWN, CV_SOCKS5_HOST_UNREACHABLE},
	{-ETIMEDOUT, CV_SOCKS5_HOST_UNREACHABLE}, /* the kernel's: not one SYN was answered */
	{CV_UPSTREAM_REFUSED, CV_SOCKS5_REFUSED},
	{CV_UPSTREAM_RESET, CV_SOCKS5_REFUSED},
	{-ECONNREFUSED, CV_SOCKS5_REFUSED},
	{-ECONNRESET, CV_SOCKS5_REFUSED},
	{CV_UPSTREAM_TIMEOUT, CV_SOCKS5_TTL_EXPIRED}, /* our own deadline */
	{CV_UPSTREAM_CREDENTIALS, CV_SOCKS5_NOT_ALLOWED},
	/* what an upstream proxy said is passed on */
	{CV_UPSTREAM_SAYS_FORBIDDEN, CV_SOCKS5_NOT_ALLOWED},
	{CV_UPSTREAM_SAYS_NO_ROUTE, CV_SOCKS5_NET_UNREACHABLE},
	{CV_UPSTREAM_SAYS_UNREACHABLE, CV_SOCKS5_HOST_UNREACHABLE},
	{CV_UPSTREAM_SAYS_REFUSED, CV_SOCKS5_REFUSED},
	{CV_UPSTREAM_SAYS_UNAVAILABLE, CV_SOCKS5_REFUSED},
	{CV_UPSTREAM_SAYS_TIMEOUT, CV_SOCKS5_TTL_EXPIRED},
	{CV_UPSTREAM_SAYS_COMMAND, CV_SOCKS5_COMMAND},
	{CV_UPSTREAM_SAYS_ADDRESS_TYPE, CV_SOCKS5_ADDRESS_TYPE},
	{CV_PEER_COMMAND, CV_SOCKS5_COMMAND},
	{CV_POLICY_NO_DATAGRAMS, CV_SOCKS5_COMMAND},
	{CV_PEER_STRANGER, CV_SOCKS5_NOT_ALLOWED},
	{CV_PEER_ADDRESS, CV_SOCKS5_ADDRESS_TYPE},
};

enum cv_socks5_reply cv_socks5_reply_of(int reason)
{
	for (size_t at = 0; at < sizeof(replies) / sizeof(replies[0]); at++) {
		if (replies[at].reason == reason)
			return replies[at].reply;
	}
	return CV_SOCKS5_GENERAL;
}
