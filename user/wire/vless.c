// SPDX-License-Identifier: MIT
/*
 * vless.c - VLESS version 0 headers.
 *
 *   request   00 | uuid 16 | M | addons M | command | [port 2 | type 1 | address]
 *   response  00 | M | addons M
 *
 * Both readers work on a growing prefix: what is decided by the bytes at hand is answered at once,
 * and only a header that is fine so far asks for more. The addons are a protobuf message of which
 * only field 1 (flow) means anything; everything else is skipped, but has to be well formed.
 */
#include "wire/vless.h"

#include <culvert/reason.h>

#include "wire/vless_address.h"

#include <errno.h>
#include <string.h>

#define VERSION 0
#define FLOW_FIELD 1
#define FIELD_NUMBER_MAX ((UINT32_C(1) << 29) - 1)
/* Every open group takes a byte for its start and one for its end. */
#define GROUP_DEPTH_MAX (255 / 2)

enum wire_type {
	WIRE_VARINT = 0,
	WIRE_FIXED64 = 1,
	WIRE_BYTES = 2,
	WIRE_GROUP_START = 3,
	WIRE_GROUP_END = 4,
	WIRE_FIXED32 = 5,
};

static const char vision_flow[] = "xtls-rprx-vision";

/* ---- addons ---- */

struct addons {
	struct cv_reader reader;
	uint32_t groups[GROUP_DEPTH_MAX]; /* field numbers of the groups that are open */
	size_t depth;
	enum cv_vless_flow flow;
};

static enum cv_vless_flow flow_of(const uint8_t *text, size_t len_bytes)
{
	if (len_bytes == 0)
		return CV_FLOW_NONE;
	if (len_bytes == sizeof(vision_flow) - 1 && memcmp(text, vision_flow, len_bytes) == 0)
		return CV_FLOW_VISION;
	return CV_FLOW_OTHER;
}

static void read_bytes_field(struct addons *addons, uint32_t number)
{
	const uint64_t len_bytes = cv_read_varint(&addons->reader);

	if (len_bytes > cv_reader_left(&addons->reader)) {
		addons->reader.failed = true;
		return;
	}

	const uint8_t *bytes = cv_read_bytes(&addons->reader, (size_t)len_bytes);

	if (number == FLOW_FIELD && addons->depth == 0 && !addons->reader.failed)
		addons->flow = flow_of(bytes, (size_t)len_bytes); /* the last one wins */
}

static void open_group(struct addons *addons, uint32_t number)
{
	if (addons->depth == GROUP_DEPTH_MAX)
		addons->reader.failed = true;
	else
		addons->groups[addons->depth++] = number;
}

static void close_group(struct addons *addons, uint32_t number)
{
	if (addons->depth == 0 || addons->groups[addons->depth - 1] != number)
		addons->reader.failed = true;
	else
		addons->depth--;
}

static void read_field(struct addons *addons)
{
	const uint64_t tag = cv_read_varint(&addons->reader);
	const uint64_t number = tag >> 3;

	if (number == 0 || number > FIELD_NUMBER_MAX) {
		addons->reader.failed = true;
		return;
	}
	switch ((enum wire_type)(tag & 7)) {
	case WIRE_VARINT:
		cv_read_varint(&addons->reader);
		break;
	case WIRE_FIXED64:
		cv_read_u64(&addons->reader);
		break;
	case WIRE_BYTES:
		read_bytes_field(addons, (uint32_t)number);
		break;
	case WIRE_GROUP_START:
		open_group(addons, (uint32_t)number);
		break;
	case WIRE_GROUP_END:
		close_group(addons, (uint32_t)number);
		break;
	case WIRE_FIXED32:
		cv_read_u32(&addons->reader);
		break;
	default:
		addons->reader.failed = true;
	}
}

static bool read_addons(struct cv_reader body, enum cv_vless_flow *ret_flow)
{
	struct addons addons = {.reader = body, .flow = CV_FLOW_NONE};

	while (!addons.reader.failed && cv_reader_left(&addons.reader) > 0)
		read_field(&addons);
	if (addons.reader.failed || addons.depth > 0)
		return false;
	*ret_flow = addons.flow;
	return true;
}

/* ---- request ---- */

static int read_target(struct cv_reader *reader, struct cv_vless_request *request)
{
	const uint8_t command = cv_read_u8(reader);

	if (reader->failed)
		return -EAGAIN;
	if (command < CV_VLESS_TCP || command > CV_VLESS_RVS)
		return CV_PEER_COMMAND;
	request->command = (enum cv_vless_command)command;
	if (command == CV_VLESS_MUX || command == CV_VLESS_RVS)
		return 0; /* the header ends here */

	const uint16_t port = cv_read_u16(reader);

	return cv_vless_address_read(reader, port, &request->destination);
}

int cv_vless_request_read(struct cv_span bytes, struct cv_vless_request *ret_request,
			  size_t *ret_len)
{
	struct cv_vless_request request = {.flow = CV_FLOW_NONE};
	struct cv_reader reader = cv_reader_of(bytes.data, bytes.len_bytes);

	if (cv_read_u8(&reader) != VERSION)
		return CV_PEER_PROTOCOL_VERSION;

	const uint8_t *uuid = cv_read_bytes(&reader, CV_UUID_LEN);
	const struct cv_reader addons = cv_read_vector8(&reader);

	if (!uuid || reader.failed)
		return -EAGAIN;
	memcpy(request.uuid, uuid, CV_UUID_LEN);
	if (!read_addons(addons, &request.flow))
		return CV_PEER_DECODE;

	const int error = read_target(&reader, &request);

	if (error)
		return error;
	*ret_request = request;
	*ret_len = bytes.len_bytes - cv_reader_left(&reader);
	return 0;
}

static void write_addons(enum cv_vless_flow flow, struct cv_writer *writer)
{
	const size_t addons = cv_write_open8(writer);

	if (flow == CV_FLOW_VISION) {
		cv_write_u8(writer, FLOW_FIELD << 3 | WIRE_BYTES);
		const size_t text = cv_write_open8(writer);

		cv_write_bytes(writer, vision_flow, sizeof(vision_flow) - 1);
		cv_write_close8(writer, text);
	}
	cv_write_close8(writer, addons);
}

int cv_vless_request_write(const struct cv_vless_request *request, struct cv_buffer *out)
{
	uint8_t header[CV_VLESS_REQUEST_MAX];
	struct cv_writer writer = cv_writer_of(header, sizeof(header));
	int error = 0;

	if (request->flow == CV_FLOW_OTHER)
		return CV_INTERNAL_STATE;
	cv_write_u8(&writer, VERSION);
	cv_write_bytes(&writer, request->uuid, CV_UUID_LEN);
	write_addons(request->flow, &writer);
	cv_write_u8(&writer, (uint8_t)request->command);
	if (request->command == CV_VLESS_TCP || request->command == CV_VLESS_UDP) {
		cv_write_u16(&writer, request->destination.port);
		error = cv_vless_address_write(&request->destination, &writer);
	}
	if (error || writer.failed)
		return CV_INTERNAL_STATE;
	return cv_buffer_append(out, header, cv_writer_len(&writer));
}

/* ---- response ---- */

int cv_vless_response_read(struct cv_span bytes, size_t *ret_len)
{
	struct cv_reader reader = cv_reader_of(bytes.data, bytes.len_bytes);

	if (cv_read_u8(&reader) != VERSION)
		return CV_UPSTREAM_VERSION;
	cv_read_vector8(&reader); /* addons of a response mean nothing yet */
	if (reader.failed)
		return -EAGAIN;
	*ret_len = bytes.len_bytes - cv_reader_left(&reader);
	return 0;
}

int cv_vless_response_write(struct cv_buffer *out)
{
	static const uint8_t response[2] = {VERSION, 0};

	return cv_buffer_append(out, response, sizeof(response));
}
