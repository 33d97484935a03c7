/* SPDX-License-Identifier: MIT */
/*
 * vision.h - XTLS Vision (flow xtls-rprx-vision): padded blocks, inner TLS detector, writer,
 * reader.
 *
 * Sans-IO. One cv_vision per leg, shared by its reader (decode) and writer (encode) because the
 * detector sees both directions. Randomness for padding lengths comes in through a function pointer
 * so that vectors are reproducible.
 */
#ifndef CV_WIRE_VISION_H
#define CV_WIRE_VISION_H

#include "base/buffer.h"

/* No block is longer, UUID and header included; also the size of one detector buffer. */
#define CV_VISION_BLOCK_MAX 8192

enum cv_vision_reader { CV_VISION_READ_PADDED, CV_VISION_READ_PLAIN, CV_VISION_READ_RAW };
enum cv_vision_writer { CV_VISION_WRITE_PADDED, CV_VISION_WRITE_PLAIN, CV_VISION_WRITE_RAW };

struct cv_vision {
	uint8_t uuid[16]; /* as sent in the VLESS header */
	uint32_t seed[4];
	uint32_t (*random_below)(uint32_t bound);
	/* detector, Vision 3 */
	int packets_to_filter;
	int32_t remaining_server_hello;
	uint16_t cipher;
	bool is_tls, is_tls12_or_above, enable_xtls;
	/* reader, Vision 2.2 */
	enum cv_vision_reader reader;
	uint8_t header[21];
	uint8_t header_len;
	bool reader_initial;   /* no block seen yet: UUID expected */
	uint8_t command;
	uint16_t content_left, padding_left;
	bool in_block;
	/* writer, Vision 4 */
	enum cv_vision_writer writer;
	bool uuid_written;
	/* where the app's own records begin and end, for cv_vision_batch_len() */
	uint8_t inner_header[5];
	uint8_t inner_header_len;
	uint16_t inner_left;
	bool inner_lost; /* not records, or no longer followed */
};

/**
 * cv_vision_init() - Start both directions of one leg in padded mode.
 * @uuid: the user id as it stands in the VLESS header, route bytes included
 * @seed: NULL = {900, 500, 900, 256}; Vision 2.1
 * @random_below: uniform in [0, bound); never called with bound 0
 */
void cv_vision_init(struct cv_vision *vision, const uint8_t uuid[16], const uint32_t seed[4],
		    uint32_t (*random_below)(uint32_t bound));

/**
 * cv_vision_read() - Unpad OUTER plaintext, cut anywhere; appends content to @out.
 * Stops obeying block structure when reader becomes PLAIN or RAW: the rest of @bytes is content.
 * A stream that does not start with the UUID becomes PLAIN at the first byte that differs; until
 * then up to 15 bytes are held back. Content is also shown to the detector, once per 8192 bytes of
 * @bytes.
 * Returns: 0; CV_PEER_UNEXPECTED_MESSAGE for an unknown command; buffer errors. After an error the
 * stream is dead. Source: Vision 2.2, 3.
 */
int cv_vision_read(struct cv_vision *vision, struct cv_span bytes, struct cv_buffer *out);
/** cv_vision_read_eof() - 0, or CV_PEER_TRUNCATED if the stream ended inside a header or block. */
int cv_vision_read_eof(const struct cv_vision *vision);

/*
 * Each block goes into one TLS record (Vision 2.2 a-c). The writer therefore emits through @emit:
 * one call per OUTER write (a whole block, or unpadded bytes after END within the same batch).
 */
typedef int (*cv_vision_emit)(void *context, struct cv_span bytes);

/**
 * cv_vision_batch_len() - How many of @bytes should be the next batch for cv_vision_write().
 * A busy source hands over reads that end inside a record, and padding would never end (Vision 4.2
 * rule a wants nothing but whole application-data records). So a batch that starts inside a record
 * ends with it, and one that starts with application data ends with the last whole record. What
 * starts with anything else is left as it was read, as other writers do.
 * Returns: 1..len_bytes; 0 only if @bytes is empty.
 */
size_t cv_vision_batch_len(const struct cv_vision *vision, struct cv_span bytes);

/**
 * cv_vision_write() - Pad one batch of app bytes (one read's result, <= 65536 bytes).
 * After return vision->writer tells how the NEXT batch is sent: PADDED, PLAIN (END was sent) or RAW
 * (DIRECT was sent). Not to be called in PLAIN or RAW. Empty @bytes emits the empty first block
 * (Vision 4.1).
 * Every unit is at most CV_VISION_BLOCK_MAX bytes and borrowed for the call only.
 * Returns: 0; the first non-zero code of @emit; CV_INTERNAL_STATE if not PADDED. Source: Vision
 * 4.2.
 */
int cv_vision_write(struct cv_vision *vision, struct cv_span bytes, cv_vision_emit emit,
		    void *context);

#endif
