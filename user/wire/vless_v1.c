// SPDX-License-Identifier: MIT
/*
 * vless_v1.c - VLESS version 1: the request header of a TCP stream.
 *
 *   request   01 | uuid 16 | addon 1 | command 1 | port 2 | type 1 | address
 *
 * Where version 0 has the length of its addons there is one addon's type. Of those one means
 * nothing for TCP, and its clients send it nevertheless; the others change what follows, and are
 * refused as the other commands are. As in version 0 what is decided by the bytes at hand is
 * answered at once.
 */
#include "wire/vless_v1.h"

#include <culvert/reason.h>

#include "wire/vless_address.h"

#include <errno.h>
#include <string.h>

#define VERSION 1

enum addon { ADDON_NONE = 0, ADDON_UDP_SEPARATE = 1 };

static int read_target(struct cv_reader *reader, struct cv_destination *ret_destination)
{
	const uint16_t port = cv_read_u16(reader);

	if (reader->failed)
		return -EAGAIN;
	if (port == 0)
		return CV_PEER_ADDRESS;
	return cv_vless_address_read(reader, port, ret_destination);
}

static int read_request(struct cv_reader *reader, struct cv_vless_request *request)
{
	const uint8_t *uuid = cv_read_bytes(reader, CV_UUID_LEN);
	const uint8_t addon = cv_read_u8(reader);

	if (!uuid || reader->failed)
		return -EAGAIN;
	memcpy(request->uuid, uuid, CV_UUID_LEN);
	if (addon != ADDON_NONE && addon != ADDON_UDP_SEPARATE)
		return CV_PEER_DECODE;

	const uint8_t command = cv_read_u8(reader);

	if (reader->failed)
		return -EAGAIN;
	if (command != CV_VLESS_TCP)
		return CV_PEER_COMMAND;
	return read_target(reader, &request->destination);
}

int cv_vless_v1_request_read(struct cv_span bytes, struct cv_vless_request *ret_request,
			     size_t *ret_len)
{
	struct cv_vless_request request = {
		.version = VERSION,
		.flow = CV_FLOW_NONE,
		.command = CV_VLESS_TCP,
	};
	struct cv_reader reader = cv_reader_of(bytes.data, bytes.len_bytes);
	int error;

	if (bytes.len_bytes == 0)
		return -EAGAIN;
	if (cv_read_u8(&reader) != VERSION)
		return CV_PEER_PROTOCOL_VERSION;
	error = read_request(&reader, &request);
	if (error)
		return error;
	*ret_request = request;
	*ret_len = bytes.len_bytes - cv_reader_left(&reader);
	return 0;
}

int cv_vless_v1_request_write(const struct cv_vless_request *request, struct cv_buffer *out)
{
	uint8_t header[CV_VLESS_REQUEST_MAX];
	struct cv_writer writer = cv_writer_of(header, sizeof(header));

	if (request->flow != CV_FLOW_NONE || request->command != CV_VLESS_TCP ||
	    request->destination.port == 0)
		return CV_INTERNAL_STATE;
	cv_write_u8(&writer, VERSION);
	cv_write_bytes(&writer, request->uuid, CV_UUID_LEN);
	cv_write_u8(&writer, ADDON_NONE);
	cv_write_u8(&writer, (uint8_t)request->command);
	cv_write_u16(&writer, request->destination.port);
	if (cv_vless_address_write(&request->destination, &writer) != 0 || writer.failed)
		return CV_INTERNAL_STATE;
	return cv_buffer_append(out, header, cv_writer_len(&writer));
}
