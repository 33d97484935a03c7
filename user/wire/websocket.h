/* SPDX-License-Identifier: MIT */
/*
 * websocket.h - WebSocket frames: heads written, frames read as they come, payload streamed.
 *
 *   FIN RSV1-3 opcode | MASK length7 | [length 16 or 64] | [mask 4] | payload
 *
 * Messages are of no interest here: whatever text and binary frames and their continuations carry
 * is one stream of bytes. Control frames may stand between the fragments of a message.
 */
#ifndef CV_WIRE_WEBSOCKET_H
#define CV_WIRE_WEBSOCKET_H

#include "base/buffer.h"

#define CV_WEBSOCKET_HEAD_MAX 14
#define CV_WEBSOCKET_CONTROL_MAX 125
#define CV_WEBSOCKET_MASK_LEN 4
#define CV_WEBSOCKET_PIECE_MAX 65536 /* one read appends no more */

enum cv_websocket_opcode {
	CV_WEBSOCKET_CONTINUATION = 0,
	CV_WEBSOCKET_TEXT = 1,
	CV_WEBSOCKET_BINARY = 2,
	CV_WEBSOCKET_CLOSE = 8,
	CV_WEBSOCKET_PING = 9,
	CV_WEBSOCKET_PONG = 10,
};

#define CV_WEBSOCKET_NORMAL 1000 /* codes of close frames */
#define CV_WEBSOCKET_PROTOCOL_ERROR 1002
#define CV_WEBSOCKET_NO_CODE 1005 /* never on the wire: there was none */

struct cv_websocket_reader {
	bool expects_mask; /* a server's: clients mask, servers do not */
	bool in_message;   /* its last fragment has not begun yet */
	uint64_t left_bytes; /* of the payload of the data frame under way */
	uint8_t mask[CV_WEBSOCKET_MASK_LEN];
	unsigned mask_at;
};

struct cv_websocket_control { /* what a control frame says */
	enum cv_websocket_opcode opcode; /* CONTINUATION = there was none */
	size_t len_bytes;
	uint8_t payload[CV_WEBSOCKET_CONTROL_MAX]; /* unmasked */
};

/**
 * cv_websocket_read() - One step: the head of a data frame and what is there of its payload, or one
 * whole control frame.
 * @in: consumed from its front
 * @out: payload of data frames is appended
 * Returns: 0 (something was consumed); -EAGAIN (nothing was); CV_PEER_DECODE: a breach of the
 * protocol, to be answered with CV_WEBSOCKET_PROTOCOL_ERROR; CV_INTERNAL_RESOURCE: @out is full;
 * CV_INTERNAL_MEMORY. Source: RFC 6455 5.
 */
int cv_websocket_read(struct cv_websocket_reader *reader, struct cv_span *in,
		      struct cv_buffer *out, struct cv_websocket_control *ret_control);
/** cv_websocket_is_between() - Neither a frame nor a message is under way. */
bool cv_websocket_is_between(const struct cv_websocket_reader *reader);

/** cv_websocket_close_code() - Of a close frame that was read: 1000..4999, CV_WEBSOCKET_NO_CODE, or
 * CV_WEBSOCKET_PROTOCOL_ERROR for what must not be said. Source: RFC 6455 7.4. */
unsigned cv_websocket_close_code(const struct cv_websocket_control *control);

/** cv_websocket_head_write() - The head of a whole frame of @len_bytes; @mask NULL: a server's.
 * Returns its length, at most CV_WEBSOCKET_HEAD_MAX. Source: RFC 6455 5.2. */
size_t cv_websocket_head_write(enum cv_websocket_opcode opcode, uint64_t len_bytes,
			       const uint8_t *mask, uint8_t *ret_head);
/** cv_websocket_mask() - XOR @len_bytes of @from with @mask into @to (may be the same); @at: how
 * many bytes of the payload came before. Source: RFC 6455 5.3. */
void cv_websocket_mask(uint8_t *to, const uint8_t *from, size_t len_bytes, const uint8_t *mask,
		       unsigned at);

#endif
