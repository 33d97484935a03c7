// SPDX-License-Identifier: MIT
/*
 * fuzz_vision.c - two uses of the input.
 *
 * Reader: the input is what a hostile peer sends. Whole, byte by byte and in odd pieces it must
 * yield the same content, the same end and the same verdict.
 *
 * Conversation: the input is a script for two ends that talk. Each step lets one end write a batch
 * - raw bytes, inner hellos, application records - or moves some bytes of one direction. Both apps
 * must receive exactly what the other sent, and a reader must leave OUTER exactly where its writer
 * did.
 */
#include "wire/vision.h"

#include "check.h"

static const uint8_t uuid[16] = {0x57, 0x83, 0xa3, 0xe7, 0xe3, 0x73, 0x51, 0xcd,
				 0x86, 0x42, 0xc8, 0x37, 0x82, 0xb8, 0x07, 0xc5};
static uint32_t generator_state;

static uint32_t random_below(uint32_t bound)
{
	check(bound > 0);
	generator_state = generator_state * 1664525 + 1013904223;
	return (uint32_t)((uint64_t)generator_state * bound >> 32);
}

/* ---- reader ---- */

static int read_pieces(struct cv_vision *vision, struct cv_span stream, size_t piece_bytes,
		       struct cv_buffer *out)
{
	while (stream.len_bytes > 0) {
		const int error = cv_vision_read(vision, take_span(&stream, piece_bytes), out);

		check(vision->packets_to_filter >= 0);
		if (error)
			return error;
	}
	return 0;
}

static void fuzz_reader(struct cv_span stream)
{
	static const size_t pieces[] = {SIZE_MAX, 1, 11};
	struct cv_vision visions[3];
	struct cv_buffer outs[3];
	int results[3];

	for (unsigned int at = 0; at < 3; at++) {
		cv_vision_init(&visions[at], uuid, NULL, random_below);
		cv_buffer_init(&outs[at], 1 << 20);
		results[at] = read_pieces(&visions[at], stream, pieces[at], &outs[at]);
		check(results[at] == results[0]);
		check(visions[at].reader == visions[0].reader);
		check(cv_vision_read_eof(&visions[at]) == cv_vision_read_eof(&visions[0]));
		check_same(cv_buffer_span(&outs[at]), cv_buffer_span(&outs[0]));
	}
	for (unsigned int at = 0; at < 3; at++)
		cv_buffer_done(&outs[at]);
}

/* ---- conversation ---- */

struct direction {
	struct cv_vision *writer, *reader;
	struct cv_buffer sent, wire, received;
	size_t outer_left; /* once raw: bytes of wire that are still inside OUTER */
	bool raw;
	bool first;
};

static int to_wire(void *context, struct cv_span bytes)
{
	struct direction *direction = context;

	check(bytes.len_bytes > 0 && bytes.len_bytes <= CV_VISION_BLOCK_MAX);
	if (direction->first)
		check(bytes.len_bytes >= 21 && memcmp(bytes.data, uuid, sizeof(uuid)) == 0);
	direction->first = false;
	return cv_buffer_append(&direction->wire, bytes.data, bytes.len_bytes);
}

static void send_batch(struct direction *direction, struct cv_span bytes)
{
	struct cv_vision *vision = direction->writer;

	check(bytes.len_bytes == 0 ||
	      cv_buffer_append(&direction->sent, bytes.data, bytes.len_bytes) == 0);
	if (vision->writer != CV_VISION_WRITE_PADDED) {
		check(bytes.len_bytes == 0 ||
		      cv_buffer_append(&direction->wire, bytes.data, bytes.len_bytes) == 0);
		return;
	}
	check(cv_vision_write(vision, bytes, to_wire, direction) == 0);
	check(vision->packets_to_filter >= 0);
	if (vision->writer != CV_VISION_WRITE_RAW)
		return;
	check(vision->enable_xtls);
	direction->raw = true;
	direction->outer_left = cv_buffer_len(&direction->wire);
}

static void receive(struct direction *direction, size_t count_bytes)
{
	struct cv_span wire = cv_buffer_span(&direction->wire);
	struct cv_vision *vision = direction->reader;
	const struct cv_span piece = take_span(&wire, count_bytes);

	if (piece.len_bytes == 0)
		return;
	if (vision->reader == CV_VISION_READ_RAW)
		check(cv_buffer_append(&direction->received, piece.data, piece.len_bytes) == 0);
	else
		check(cv_vision_read(vision, piece, &direction->received) == 0);
	cv_buffer_consume(&direction->wire, piece.len_bytes);

	const size_t outer_bytes = direction->outer_left < piece.len_bytes ?
					   direction->outer_left :
					   piece.len_bytes;

	direction->outer_left -= outer_bytes;
	check((vision->reader == CV_VISION_READ_RAW) ==
	      (direction->raw && direction->outer_left == 0));
}

/* As the layer does it: each batch ends where the app's records let padding end. */
static void send_cut(struct direction *direction, struct cv_span bytes)
{
	while (bytes.len_bytes > 0) {
		const size_t len_bytes = cv_vision_batch_len(direction->writer, bytes);

		check(len_bytes > 0 && len_bytes <= bytes.len_bytes);
		send_batch(direction, take_span(&bytes, len_bytes));
	}
}

static void direction_init(struct direction *direction, struct cv_vision *writer,
			   struct cv_vision *reader)
{
	*direction = (struct direction){.writer = writer, .reader = reader, .first = true};
	cv_buffer_init(&direction->sent, 1 << 22);
	cv_buffer_init(&direction->wire, 1 << 23);
	cv_buffer_init(&direction->received, 1 << 22);
}

static void direction_end(struct direction *direction)
{
	while (cv_buffer_len(&direction->wire) > 0)
		receive(direction, 1 << 14);
	check(cv_vision_read_eof(direction->reader) == 0);
	check_same(cv_buffer_span(&direction->sent), cv_buffer_span(&direction->received));
	cv_buffer_done(&direction->sent);
	cv_buffer_done(&direction->wire);
	cv_buffer_done(&direction->received);
}

static void put(struct cv_buffer *batch, const void *bytes, size_t len)
{
	if (len > cv_buffer_room(batch))
		len = cv_buffer_room(batch);
	check(len == 0 || cv_buffer_append(batch, bytes, len) == 0);
}

static void put_record(struct cv_buffer *batch, uint8_t type, uint16_t len)
{
	static const uint8_t zeros[65535];
	const uint8_t header[5] = {type, 3, 3, (uint8_t)(len >> 8), (uint8_t)len};

	put(batch, header, sizeof(header));
	put(batch, zeros, len);
}

static void put_server_hello(struct cv_buffer *batch, uint8_t cipher)
{
	uint8_t hello[127] = {0x16, 3, 3, 0, 122, 2, 0, 0, 118, 3, 3};

	hello[43] = 32;
	hello[76] = 0x13;
	hello[77] = cipher;
	memcpy(hello + 81, "\0\x2b\0\2\3\4", 6);
	put(batch, hello, sizeof(hello));
}

/* One app read of up to four parts. */
static void build_batch(struct cv_span *input, struct cv_buffer *batch)
{
	const uint8_t parts = take_u8(input) % 5;

	for (uint8_t part = 0; part < parts; part++) {
		const uint8_t kind = take_u8(input);
		struct cv_span bytes;

		switch (kind % 5) {
		case 0:
			bytes = take_span(input, take_u8(input));
			put(batch, bytes.data, bytes.len_bytes);
			break;
		case 1:
			put_record(batch, 0x17, take_u16(input));
			break;
		case 2:
			put(batch, "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", 10);
			break;
		case 3:
			put_server_hello(batch, take_u8(input) % 7);
			break;
		case 4:
			put_record(batch, take_u8(input), (uint16_t)(take_u16(input) % 9000));
			break;
		}
	}
}

static void fuzz_conversation(struct cv_span input)
{
	uint32_t seed[4] = {900, 500, 900, 256};
	struct cv_vision client, server;
	struct direction directions[2];

	generator_state = take_u16(&input);
	if (generator_state % 2 == 1) {
		for (unsigned int at = 0; at < 4; at++) {
			seed[at] = take_u16(&input);
			seed[at] <<= take_u8(&input) % 17;
		}
	}
	cv_vision_init(&client, uuid, seed, random_below);
	cv_vision_init(&server, uuid, NULL, random_below);
	direction_init(&directions[0], &client, &server);
	direction_init(&directions[1], &server, &client);
	for (unsigned int steps = 0; input.len_bytes > 0 && steps < 40; steps++) {
		const uint8_t step = take_u8(&input);
		struct direction *direction = &directions[step & 1];

		if (step & 2) {
			receive(direction, 1 + (step & 4 ? take_u16(&input) : take_u8(&input)));
			continue;
		}
		struct cv_buffer batch;

		cv_buffer_init(&batch, 65536);
		build_batch(&input, &batch);
		if (step & 8)
			send_cut(direction, cv_buffer_span(&batch));
		else
			send_batch(direction, cv_buffer_span(&batch));
		cv_buffer_done(&batch);
	}
	direction_end(&directions[0]);
	direction_end(&directions[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cv_span input = cv_span_of(data, size);

	if (take_u8(&input) % 2 == 0)
		fuzz_reader(input);
	else
		fuzz_conversation(input);
	return 0;
}
