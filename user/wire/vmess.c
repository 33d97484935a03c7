// SPDX-License-Identifier: MIT
/*
 * vmess.c - VMess headers in clear.
 *
 * They come out of an AEAD, so that whoever made them knows a user's key; lengths are checked all
 * the same. The checksum is what is left of the form without AEAD.
 */
#include "wire/vmess.h"

#include <culvert/reason.h>

#include "base/cursor.h"
#include "wire/vless_address.h"

#include <errno.h>
#include <string.h>

#define VERSION 1
#define CHECKSUM_BYTES 4

/* FNV-1a, 32 bits. */
static uint32_t checksum(const uint8_t *bytes, size_t count_bytes)
{
	uint32_t hash = 2166136261u;

	for (size_t i = 0; i < count_bytes; i++)
		hash = (hash ^ bytes[i]) * 16777619u;
	return hash;
}

/* ---- request ------------------------------------------------------------------------------ */

/* Padding without a length that hides it, or an option of the future, would be misread. */
static bool options_are_known(uint8_t options)
{
	const uint8_t known = CV_VMESS_CHUNKS | CV_VMESS_REUSE | CV_VMESS_MASKING |
			      CV_VMESS_PADDING;

	if (options & ~known)
		return false;
	return !(options & CV_VMESS_PADDING) || (options & CV_VMESS_MASKING);
}

/* Sealed is always in chunks; of what is neither, datagrams would have no borders. */
static bool cipher_is_known(uint8_t cipher, uint8_t options, enum cv_vmess_command command)
{
	if (cipher == CV_VMESS_AES_128_GCM || cipher == CV_VMESS_CHACHA20_POLY1305)
		return true;
	return cipher == CV_VMESS_NONE &&
	       ((options & CV_VMESS_CHUNKS) || command != CV_VMESS_UDP);
}

static int read_target(struct cv_reader *reader, struct cv_vmess_request *request)
{
	const uint8_t command = cv_read_u8(reader);
	uint16_t port;
	int error;

	if (command < CV_VMESS_TCP || command > CV_VMESS_MUX)
		return CV_PEER_COMMAND;
	request->command = (enum cv_vmess_command)command;
	if (command == CV_VMESS_MUX)
		return 0;
	port = cv_read_u16(reader);
	error = cv_vless_address_read(reader, port, &request->destination);
	return error == -EAGAIN ? CV_PEER_DECODE : error;
}

int cv_vmess_request_read(struct cv_span bytes, struct cv_vmess_request *ret_request)
{
	struct cv_vmess_request request = {.options = 0};
	struct cv_reader reader = cv_reader_of(bytes.data, bytes.len_bytes);
	const uint8_t *iv, *key;
	uint8_t shared;
	int error;

	if (bytes.len_bytes < CV_VMESS_INSTRUCTION_MIN)
		return CV_PEER_DECODE;
	if (cv_read_u8(&reader) != VERSION)
		return CV_PEER_PROTOCOL_VERSION;
	iv = cv_read_bytes(&reader, sizeof(request.body_iv));
	key = cv_read_bytes(&reader, sizeof(request.body_key));
	memcpy(request.body_iv, iv, sizeof(request.body_iv));
	memcpy(request.body_key, key, sizeof(request.body_key));
	request.response_mark = cv_read_u8(&reader);
	request.options = cv_read_u8(&reader);
	shared = cv_read_u8(&reader);
	cv_read_u8(&reader); /* reserved */
	error = read_target(&reader, &request);
	if (error)
		return error;
	cv_read_bytes(&reader, shared >> 4);
	const size_t checked_bytes = bytes.len_bytes - cv_reader_left(&reader);
	const uint32_t sum = cv_read_u32(&reader);

	if (!cv_reader_ended(&reader) || sum != checksum(bytes.data, checked_bytes))
		return CV_PEER_DECODE;
	if (!options_are_known(request.options) ||
	    !cipher_is_known(shared & 15, request.options, request.command))
		return CV_PEER_DECODE;
	request.cipher = (enum cv_vmess_cipher)(shared & 15);
	*ret_request = request;
	return 0;
}

int cv_vmess_request_write(const struct cv_vmess_request *request, const uint8_t *padding,
			   size_t padding_bytes, struct cv_buffer *out)
{
	uint8_t bytes[CV_VMESS_INSTRUCTION_MAX];
	struct cv_writer writer = cv_writer_of(bytes, sizeof(bytes));
	int error = padding_bytes > CV_VMESS_PADDING_MAX ? CV_INTERNAL_STATE : 0;

	cv_write_u8(&writer, VERSION);
	cv_write_bytes(&writer, request->body_iv, sizeof(request->body_iv));
	cv_write_bytes(&writer, request->body_key, sizeof(request->body_key));
	cv_write_u8(&writer, request->response_mark);
	cv_write_u8(&writer, request->options);
	cv_write_u8(&writer, (uint8_t)(padding_bytes << 4 | request->cipher));
	cv_write_u8(&writer, 0);
	cv_write_u8(&writer, (uint8_t)request->command);
	if (!error && request->command != CV_VMESS_MUX) {
		cv_write_u16(&writer, request->destination.port);
		error = cv_vless_address_write(&request->destination, &writer);
	}
	if (!error)
		cv_write_bytes(&writer, padding, padding_bytes);
	cv_write_u32(&writer, checksum(bytes, cv_writer_len(&writer)));
	if (error || writer.failed)
		return CV_INTERNAL_STATE;
	return cv_buffer_append(out, bytes, cv_writer_len(&writer));
}

/* ---- response ----------------------------------------------------------------------------- */

int cv_vmess_response_read(struct cv_span bytes, uint8_t mark)
{
	struct cv_reader reader = cv_reader_of(bytes.data, bytes.len_bytes);
	const uint8_t found = cv_read_u8(&reader);
	uint8_t command;

	cv_read_u8(&reader); /* options: none means anything */
	command = cv_read_u8(&reader);
	if (command != 0)
		cv_read_vector8(&reader);
	if (reader.failed || found != mark)
		return CV_UPSTREAM_DECODE;
	return 0;
}

void cv_vmess_response_write(uint8_t mark, uint8_t ret_bytes[CV_VMESS_RESPONSE_MIN])
{
	ret_bytes[0] = mark;
	ret_bytes[1] = 0;
	ret_bytes[2] = 0;
	ret_bytes[3] = 0;
}
