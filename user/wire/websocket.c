// SPDX-License-Identifier: MIT
/*
 * websocket.c - frames of RFC 6455.
 *
 * Reading keeps no bytes: a head is read when it is whole, a control frame when it is whole (at
 * most 131 bytes), the payload of a data frame as it comes, so that a frame of 2^63 bytes costs no
 * more memory than a short one.
 */
#include "wire/websocket.h"

#include "base/cursor.h"

#include <culvert/reason.h>

#include <errno.h>
#include <string.h>

#define FIN 0x80
#define RESERVED 0x70
#define MASKED 0x80
#define LEN_16 126
#define LEN_64 127

/* ---- masks -------------------------------------------------------------------------------- */

void cv_websocket_mask(uint8_t *to, const uint8_t *from, size_t len_bytes, const uint8_t *mask,
		       unsigned at)
{
	uint8_t turned[8];
	uint64_t pattern, word;
	size_t i;

	for (i = 0; i < sizeof(turned); i++)
		turned[i] = mask[(at + i) % CV_WEBSOCKET_MASK_LEN];
	memcpy(&pattern, turned, sizeof(pattern));
	for (i = 0; i + sizeof(word) <= len_bytes; i += sizeof(word)) {
		memcpy(&word, from + i, sizeof(word));
		word ^= pattern;
		memcpy(to + i, &word, sizeof(word));
	}
	for (; i < len_bytes; i++)
		to[i] = from[i] ^ turned[i % sizeof(turned)];
}

/* ---- reading ------------------------------------------------------------------------------ */

struct head {
	uint8_t opcode;
	bool is_final, is_masked;
	uint64_t len_bytes;
	uint8_t mask[CV_WEBSOCKET_MASK_LEN];
};

static bool is_control(uint8_t opcode)
{
	return (opcode & 8) != 0;
}

/* What two bytes are enough to refuse is refused with two. */
static bool is_allowed(const struct cv_websocket_reader *reader, uint8_t first, uint8_t second)
{
	const uint8_t opcode = first & 15;

	if ((first & RESERVED) || (second & MASKED) != (reader->expects_mask ? MASKED : 0))
		return false;
	if (is_control(opcode))
		return opcode <= CV_WEBSOCKET_PONG && (first & FIN) &&
		       (second & (MASKED - 1)) <= CV_WEBSOCKET_CONTROL_MAX;
	if (opcode == CV_WEBSOCKET_CONTINUATION)
		return reader->in_message;
	return opcode <= CV_WEBSOCKET_BINARY && !reader->in_message;
}

/* 0 and the head taken from @in; -EAGAIN; CV_PEER_DECODE. */
static int take_head(const struct cv_websocket_reader *reader, struct cv_span *in,
		     struct head *ret_head)
{
	struct cv_reader bytes = cv_reader_of(in->data, in->len_bytes);
	const uint8_t first = cv_read_u8(&bytes), second = cv_read_u8(&bytes);
	const uint8_t *mask = NULL;
	uint64_t len_bytes = second & (MASKED - 1);

	if (bytes.failed)
		return -EAGAIN;
	if (!is_allowed(reader, first, second))
		return CV_PEER_DECODE;
	/* not only the shortest form, as it is prescribed: nobody refuses the others */
	if (len_bytes == LEN_16)
		len_bytes = cv_read_u16(&bytes);
	else if (len_bytes == LEN_64)
		len_bytes = cv_read_u64(&bytes);
	if (second & MASKED)
		mask = cv_read_bytes(&bytes, CV_WEBSOCKET_MASK_LEN);
	if (bytes.failed)
		return -EAGAIN;
	if (len_bytes >> 63)
		return CV_PEER_DECODE;
	*ret_head = (struct head){.opcode = first & 15,
				  .is_final = (first & FIN) != 0,
				  .is_masked = mask != NULL,
				  .len_bytes = len_bytes};
	if (mask)
		memcpy(ret_head->mask, mask, sizeof(ret_head->mask));
	cv_span_skip(in, in->len_bytes - cv_reader_left(&bytes));
	return 0;
}

static int take_control(const struct head *head, struct cv_span *in,
			struct cv_websocket_control *control)
{
	static const uint8_t no_mask[CV_WEBSOCKET_MASK_LEN];

	if (in->len_bytes < head->len_bytes)
		return -EAGAIN;
	control->opcode = (enum cv_websocket_opcode)head->opcode;
	control->len_bytes = (size_t)head->len_bytes;
	cv_websocket_mask(control->payload, in->data, control->len_bytes,
			  head->is_masked ? head->mask : no_mask, 0);
	cv_span_skip(in, control->len_bytes);
	return 0;
}

static int take_payload(struct cv_websocket_reader *reader, struct cv_span *in,
			struct cv_buffer *out)
{
	size_t len_bytes = in->len_bytes;
	uint8_t *space;
	int error;

	if (len_bytes > reader->left_bytes)
		len_bytes = (size_t)reader->left_bytes;
	if (len_bytes > CV_WEBSOCKET_PIECE_MAX)
		len_bytes = CV_WEBSOCKET_PIECE_MAX;
	if (len_bytes > cv_buffer_room(out))
		len_bytes = cv_buffer_room(out);
	if (len_bytes == 0)
		return CV_INTERNAL_RESOURCE;
	error = cv_buffer_reserve(out, len_bytes, &space);
	if (error)
		return error;
	if (reader->expects_mask)
		cv_websocket_mask(space, in->data, len_bytes, reader->mask, reader->mask_at);
	else
		memcpy(space, in->data, len_bytes);
	cv_buffer_commit(out, len_bytes);
	cv_span_skip(in, len_bytes);
	reader->mask_at = (reader->mask_at + (unsigned)len_bytes) % CV_WEBSOCKET_MASK_LEN;
	reader->left_bytes -= len_bytes;
	return 0;
}

static void begin_payload(struct cv_websocket_reader *reader, const struct head *head)
{
	memcpy(reader->mask, head->mask, sizeof(reader->mask));
	reader->mask_at = 0;
	reader->left_bytes = head->len_bytes;
	reader->in_message = !head->is_final;
}

int cv_websocket_read(struct cv_websocket_reader *reader, struct cv_span *in,
		      struct cv_buffer *out, struct cv_websocket_control *ret_control)
{
	struct cv_span rest = *in;
	struct head head;
	int result = 0;

	ret_control->opcode = CV_WEBSOCKET_CONTINUATION;
	if (in->len_bytes == 0)
		return -EAGAIN;
	if (reader->left_bytes > 0)
		return take_payload(reader, in, out);
	result = take_head(reader, &rest, &head);
	if (result == 0 && is_control(head.opcode))
		result = take_control(&head, &rest, ret_control);
	else if (result == 0)
		begin_payload(reader, &head);
	if (result)
		return result;
	*in = rest;
	return reader->left_bytes > 0 && in->len_bytes > 0 ? take_payload(reader, in, out) : 0;
}

bool cv_websocket_is_between(const struct cv_websocket_reader *reader)
{
	return reader->left_bytes == 0 && !reader->in_message;
}

/* ---- closing ------------------------------------------------------------------------------ */

unsigned cv_websocket_close_code(const struct cv_websocket_control *control)
{
	const unsigned code = control->len_bytes < 2
				      ? 0
				      : (unsigned)control->payload[0] << 8 | control->payload[1];

	if (control->len_bytes == 0)
		return CV_WEBSOCKET_NO_CODE;
	if (code < 1000 || code == 1004 || code == 1005 || code == 1006 || code == 1015 ||
	    (code > 1014 && code < 3000) || code > 4999)
		return CV_WEBSOCKET_PROTOCOL_ERROR;
	return code;
}

/* ---- writing ------------------------------------------------------------------------------ */

size_t cv_websocket_head_write(enum cv_websocket_opcode opcode, uint64_t len_bytes,
			       const uint8_t *mask, uint8_t *ret_head)
{
	struct cv_writer writer = cv_writer_of(ret_head, CV_WEBSOCKET_HEAD_MAX);
	const uint8_t masked = mask ? MASKED : 0;

	cv_write_u8(&writer, (uint8_t)(FIN | opcode));
	if (len_bytes < LEN_16) {
		cv_write_u8(&writer, (uint8_t)(masked | len_bytes));
	} else if (len_bytes <= UINT16_MAX) {
		cv_write_u8(&writer, masked | LEN_16);
		cv_write_u16(&writer, (uint16_t)len_bytes);
	} else {
		cv_write_u8(&writer, masked | LEN_64);
		cv_write_u64(&writer, len_bytes);
	}
	if (mask)
		cv_write_bytes(&writer, mask, CV_WEBSOCKET_MASK_LEN);
	return cv_writer_len(&writer);
}
