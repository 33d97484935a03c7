// SPDX-License-Identifier: MIT
/*
 * socks5_client.c - SOCKS5 client side.
 *
 *   greeting -> EXPECT_METHOD --00--------------------> request -> EXPECT_REPLY --00--> DONE
 *                     \--02--> auth -> EXPECT_STATUS --00--^            |
 *                                           |                           |
 *                     any other answer -----+---------------------------+-------------> FAILED
 *
 * One message at a time: servers that read once per step lose what is sent ahead (A8). A message is
 * taken whole or not at all; of a refusal the code is enough, since some servers send no more.
 */
#include "wire/socks5_client.h"

#include <culvert/reason.h>

#include "base/cursor.h"
#include "wire/socks5.h"
#include "wire/socks5_address.h"

#include <errno.h>
#include <string.h>

#define VERSION 5
#define AUTH_VERSION 1
#define METHOD_NONE 0x00
#define METHOD_PASSWORD 0x02
#define METHOD_REFUSED 0xff
#define TEXT_MAX 255

enum address_type { ADDRESS_IPV4 = 1, ADDRESS_DOMAIN = 3, ADDRESS_IPV6 = 4 };

static uint8_t method_of(const struct cv_socks5_client *client)
{
	return client->user[0] ? METHOD_PASSWORD : METHOD_NONE;
}

int cv_socks5_client_start(struct cv_socks5_client *client,
			   const struct cv_destination *destination, const char *user,
			   const char *password, struct cv_buffer *out)
{
	*client = (struct cv_socks5_client){
		.state = CV_SOCKS5_CLIENT_EXPECT_METHOD,
		.command = CV_SOCKS5_CONNECT,
		.destination = *destination,
		.user = user,
		.password = password,
	};
	if (!cv_socks5_has_address(destination))
		return CV_PEER_ADDRESS;
	if (strlen(user) > TEXT_MAX || strlen(password) > TEXT_MAX)
		return CV_INTERNAL_CONFIG;

	const uint8_t greeting[3] = {VERSION, 1, method_of(client)};

	return cv_buffer_append(out, greeting, sizeof(greeting));
}

int cv_socks5_client_associate(struct cv_socks5_client *client, const char *user,
			       const char *password, struct cv_buffer *out)
{
	const struct cv_destination unknown = {.kind = CV_ADDRESS_IPV4};
	const int error = cv_socks5_client_start(client, &unknown, user, password, out);

	client->command = CV_SOCKS5_UDP;
	return error;
}

int cv_socks5_client_bind(struct cv_socks5_client *client, const struct cv_destination *destination,
			  const char *user, const char *password, struct cv_buffer *out)
{
	const int error = cv_socks5_client_start(client, destination, user, password, out);

	client->command = CV_SOCKS5_BIND;
	return error;
}

void cv_socks5_client_await(struct cv_socks5_client *client)
{
	if (client->state == CV_SOCKS5_CLIENT_DONE)
		client->state = CV_SOCKS5_CLIENT_EXPECT_REPLY;
}

static int fail(struct cv_socks5_client *client, int reason)
{
	client->state = CV_SOCKS5_CLIENT_FAILED;
	return reason;
}

static int say(struct cv_socks5_client *client, const struct cv_writer *writer,
	       enum cv_socks5_client_state next, struct cv_buffer *out)
{
	const int error = writer->failed ? CV_INTERNAL_STATE
					 : cv_buffer_append(out, writer->start,
							    cv_writer_len(writer));

	if (error)
		return fail(client, error);
	client->state = next;
	return 0;
}

static int say_credentials(struct cv_socks5_client *client, struct cv_buffer *out)
{
	uint8_t message[1 + 2 * (1 + TEXT_MAX)];
	struct cv_writer writer = cv_writer_of(message, sizeof(message));
	int result;

	cv_write_u8(&writer, AUTH_VERSION);
	cv_write_u8(&writer, (uint8_t)strlen(client->user));
	cv_write_bytes(&writer, client->user, strlen(client->user));
	cv_write_u8(&writer, (uint8_t)strlen(client->password));
	cv_write_bytes(&writer, client->password, strlen(client->password));
	result = say(client, &writer, CV_SOCKS5_CLIENT_EXPECT_STATUS, out);
	explicit_bzero(message, sizeof(message));
	return result;
}

static int say_request(struct cv_socks5_client *client, struct cv_buffer *out)
{
	const struct cv_destination *destination = &client->destination;
	uint8_t message[3 + CV_SOCKS5_ADDRESS_MAX];
	struct cv_writer writer = cv_writer_of(message, sizeof(message));

	cv_write_u8(&writer, VERSION);
	cv_write_u8(&writer, client->command);
	cv_write_u8(&writer, 0);
	cv_socks5_write_address(&writer, destination);
	return say(client, &writer, CV_SOCKS5_CLIENT_EXPECT_REPLY, out);
}

static int read_method(struct cv_socks5_client *client, struct cv_reader *reader,
		       struct cv_buffer *out)
{
	const uint8_t version = cv_read_u8(reader);

	if (!reader->failed && version != VERSION)
		return fail(client, CV_UPSTREAM_VERSION);

	const uint8_t method = cv_read_u8(reader);

	if (reader->failed)
		return -EAGAIN;
	if (method == METHOD_REFUSED)
		return fail(client, CV_UPSTREAM_CREDENTIALS);
	if (method != method_of(client))
		return fail(client, CV_UPSTREAM_DECODE);
	return method == METHOD_PASSWORD ? say_credentials(client, out) : say_request(client, out);
}

static int read_status(struct cv_socks5_client *client, struct cv_reader *reader,
		       struct cv_buffer *out)
{
	const uint8_t version = cv_read_u8(reader);
	const uint8_t status = cv_read_u8(reader);

	if (reader->failed)
		return -EAGAIN;
	if (version != AUTH_VERSION)
		return fail(client, CV_UPSTREAM_DECODE);
	return status ? fail(client, CV_UPSTREAM_CREDENTIALS) : say_request(client, out);
}

static int reason_of(uint8_t reply)
{
	static const int reasons[] = {
		[CV_SOCKS5_NOT_ALLOWED] = CV_UPSTREAM_SAYS_FORBIDDEN,
		[CV_SOCKS5_NET_UNREACHABLE] = CV_UPSTREAM_SAYS_NO_ROUTE,
		[CV_SOCKS5_HOST_UNREACHABLE] = CV_UPSTREAM_SAYS_UNREACHABLE,
		[CV_SOCKS5_REFUSED] = CV_UPSTREAM_SAYS_REFUSED,
		[CV_SOCKS5_TTL_EXPIRED] = CV_UPSTREAM_SAYS_TIMEOUT,
		[CV_SOCKS5_COMMAND] = CV_UPSTREAM_SAYS_COMMAND,
		[CV_SOCKS5_ADDRESS_TYPE] = CV_UPSTREAM_SAYS_ADDRESS_TYPE,
	};

	if (reply < sizeof(reasons) / sizeof(reasons[0]) && reasons[reply])
		return reasons[reply];
	return CV_UPSTREAM_SAYS_FAILURE;
}

/* Where the proxy is bound; of use for datagrams only. */
static void set_bound(struct cv_socks5_client *client, uint8_t type, const uint8_t *bytes,
		      uint16_t port)
{
	client->bound = (struct cv_destination){.kind = CV_ADDRESS_NONE, .port = port};
	if (type == ADDRESS_DOMAIN)
		return;
	client->bound.kind = type == ADDRESS_IPV4 ? CV_ADDRESS_IPV4 : CV_ADDRESS_IPV6;
	memcpy(client->bound.ipv6, bytes, type == ADDRESS_IPV4 ? 4 : 16);
	cv_destination_normalize(&client->bound);
}

static int read_reply(struct cv_socks5_client *client, struct cv_reader *reader)
{
	const uint8_t version = cv_read_u8(reader);

	if (!reader->failed && version != VERSION)
		return fail(client, CV_UPSTREAM_VERSION);

	const uint8_t reply = cv_read_u8(reader);

	if (!reader->failed && reply != CV_SOCKS5_SUCCEEDED)
		return fail(client, reason_of(reply));
	cv_read_u8(reader); /* RSV */

	const uint8_t type = cv_read_u8(reader);
	size_t len_bytes = 0;

	if (type == ADDRESS_IPV4)
		len_bytes = 4;
	else if (type == ADDRESS_IPV6)
		len_bytes = 16;
	else if (type == ADDRESS_DOMAIN)
		len_bytes = cv_read_u8(reader);
	else if (!reader->failed)
		return fail(client, CV_UPSTREAM_DECODE);

	const uint8_t *bytes = len_bytes > 0 ? cv_read_bytes(reader, len_bytes) : NULL;
	const uint16_t port = cv_read_u16(reader);

	if (reader->failed)
		return -EAGAIN;
	set_bound(client, type, bytes, port);
	client->state = CV_SOCKS5_CLIENT_DONE;
	return 0;
}

static int read_step(struct cv_socks5_client *client, struct cv_reader *reader,
		     struct cv_buffer *out)
{
	switch (client->state) {
	case CV_SOCKS5_CLIENT_EXPECT_METHOD:
		return read_method(client, reader, out);
	case CV_SOCKS5_CLIENT_EXPECT_STATUS:
		return read_status(client, reader, out);
	case CV_SOCKS5_CLIENT_EXPECT_REPLY:
		return read_reply(client, reader);
	default:
		return CV_INTERNAL_STATE;
	}
}

int cv_socks5_client_read(struct cv_socks5_client *client, struct cv_span bytes,
			  struct cv_buffer *out, size_t *ret_used)
{
	size_t used_bytes = 0;
	int result = 0;

	while (result == 0 && client->state != CV_SOCKS5_CLIENT_DONE) {
		struct cv_reader reader = cv_reader_of(bytes.data, bytes.len_bytes);

		result = read_step(client, &reader, out);
		if (result == 0) {
			used_bytes += bytes.len_bytes - cv_reader_left(&reader);
			cv_span_skip(&bytes, bytes.len_bytes - cv_reader_left(&reader));
		}
	}
	*ret_used = used_bytes;
	return result;
}
