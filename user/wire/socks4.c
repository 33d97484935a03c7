// SPDX-License-Identifier: MIT
/*
 * socks4.c - SOCKS4 and SOCKS4a.
 *
 *   04 | command | port u16 | IPv4 | user id ... 00 [| name ... 00]
 *                             \ 0.0.0.x, x > 0: the name follows (4a)
 *   00 | 5A or 5B | six bytes of zeros
 */
#include "wire/socks4.h"

#include <culvert/reason.h>

#include <errno.h>
#include <string.h>

#define VERSION 4
#define FIXED_BYTES 8
#define TEXT_MAX 255
#define GRANTED 0x5a
#define REJECTED 0x5b

/* A text up to its NUL, which is taken too. */
static int take_text(struct cv_span *rest, struct cv_span *ret_text)
{
	const uint8_t *end = rest->len_bytes ? memchr(rest->data, 0, rest->len_bytes) : NULL;
	const size_t len = end ? (size_t)(end - rest->data) : rest->len_bytes;

	if (len > TEXT_MAX)
		return CV_PEER_TOO_LONG;
	if (!end)
		return -EAGAIN;
	*ret_text = cv_span_of(rest->data, len);
	cv_span_skip(rest, len + 1);
	return 0;
}

static int read_name(struct cv_span *rest, struct cv_destination *destination, uint16_t port)
{
	struct cv_span text;
	char name[TEXT_MAX + 1];
	const int result = take_text(rest, &text);

	if (result)
		return result;
	memcpy(name, text.data, text.len_bytes);
	name[text.len_bytes] = '\0';
	return cv_destination_set_text(destination, name, port);
}

int cv_socks4_request_read(struct cv_span bytes, struct cv_socks4_request *ret_request)
{
	struct cv_socks4_request request = {0};
	struct cv_span rest = bytes, user_id;
	const uint8_t *data = bytes.data;
	uint16_t port;
	int result;

	if (bytes.len_bytes > 0 && data[0] != VERSION)
		return CV_PEER_PROTOCOL_VERSION;
	if (bytes.len_bytes < FIXED_BYTES)
		return -EAGAIN;
	cv_span_skip(&rest, FIXED_BYTES);
	result = take_text(&rest, &user_id);
	if (result)
		return result;
	request.command = data[1];
	port = (uint16_t)(data[2] << 8 | data[3]);
	if (data[4] == 0 && data[5] == 0 && data[6] == 0 && data[7] != 0) {
		result = read_name(&rest, &request.destination, port);
		if (result)
			return result;
	} else {
		request.destination.kind = CV_ADDRESS_IPV4;
		request.destination.port = port;
		memcpy(request.destination.ipv4, data + 4, 4);
	}
	if (port == 0 || (data[4] | data[5] | data[6] | data[7]) == 0)
		return CV_PEER_ADDRESS;
	request.len_bytes = bytes.len_bytes - rest.len_bytes;
	*ret_request = request;
	return 0;
}

int cv_socks4_reply(bool is_granted, struct cv_buffer *out)
{
	const uint8_t reply[8] = {0, is_granted ? GRANTED : REJECTED};

	return cv_buffer_append(out, reply, sizeof(reply));
}
