// SPDX-License-Identifier: MIT
/*
 * fuzz_client_hello.c - input once as a TLS stream, once as a message.
 *
 * As a stream it must end the same way whether it comes whole, byte by byte or in odd pieces. As a
 * message it must come back identical out of records of any size, and every view the parser hands
 * out must lie inside it.
 */
#include "wire/client_hello.h"

#include "check.h"

#include <errno.h>

static int assemble(struct cv_hello_assembler *assembler, struct cv_span stream, size_t piece_bytes,
		    size_t *ret_total)
{
	int result = -EAGAIN;

	*ret_total = 0;
	while (result == -EAGAIN && stream.len_bytes > 0) {
		const struct cv_span piece = take_span(&stream, piece_bytes);
		size_t used = 0;

		result = cv_hello_assembler_add(assembler, piece, &used);
		check(used <= piece.len_bytes);
		check(result != -EAGAIN || used == piece.len_bytes);
		*ret_total += used;
	}
	return result;
}

static void check_inside(struct cv_span outer, struct cv_span inner)
{
	if (inner.len_bytes > 0)
		check(inner.data >= outer.data &&
		      inner.data + inner.len_bytes <= outer.data + outer.len_bytes);
}

static void parse(struct cv_span message)
{
	struct cv_client_hello hello;

	if (cv_client_hello_parse(message, &hello) != 0)
		return;
	check(message.data[0] == 1 && hello.random == message.data + CV_HELLO_RANDOM_OFFSET);
	check_inside(message, hello.session_id);
	check(hello.session_id.len_bytes <= 32);
	check_inside(message, hello.cipher_suites);
	check(hello.cipher_suites.len_bytes % 2 == 0);
	check_inside(message, hello.x25519_share);
	check(hello.x25519_share.len_bytes == 0 || hello.x25519_share.len_bytes == 32);
	check_inside(message, hello.hybrid_share);
	check(hello.hybrid_share.len_bytes == 0 || hello.hybrid_share.len_bytes == 1216);
	check(!hello.hybrid_before_x25519 || hello.hybrid_share.len_bytes > 0);
	check_inside(message, hello.alpn);
	check((hello.alpn.len_bytes > 0) == (hello.alpn_class != CV_ALPN_NONE));
	check(memchr(hello.server_name, 0, sizeof(hello.server_name)) != NULL);
	check(hello.has_server_name == (hello.server_name[0] != '\0'));
}

static void fuzz_stream(struct cv_span stream)
{
	static const size_t pieces[] = {SIZE_MAX, 1, 7};
	struct cv_hello_assembler assemblers[3];
	size_t totals[3];
	int results[3];

	for (unsigned int at = 0; at < 3; at++) {
		cv_hello_assembler_init(&assemblers[at]);
		results[at] = assemble(&assemblers[at], stream, pieces[at], &totals[at]);
		check(results[at] == results[0]);
		check(assemblers[at].complete == (results[0] == 0));
		if (results[0] == 0 || results[0] == -EAGAIN) {
			check(totals[at] == totals[0]);
			check_same(cv_buffer_span(&assemblers[at].message),
				   cv_buffer_span(&assemblers[0].message));
		}
	}
	if (results[0] == 0)
		parse(cv_buffer_span(&assemblers[0].message));
	for (unsigned int at = 0; at < 3; at++)
		cv_hello_assembler_done(&assemblers[at]);
}

static void put_records(struct cv_span message, size_t record_bytes, struct cv_buffer *stream)
{
	while (message.len_bytes > 0) {
		const struct cv_span fragment = take_span(&message, record_bytes);
		const uint8_t header[5] = {22, 3, 1, (uint8_t)(fragment.len_bytes >> 8),
					   (uint8_t)fragment.len_bytes};

		check(cv_buffer_append(stream, header, sizeof(header)) == 0);
		check(cv_buffer_append(stream, fragment.data, fragment.len_bytes) == 0);
	}
}

static void fuzz_message(struct cv_span body, size_t record_bytes, size_t piece_bytes)
{
	const uint8_t header[4] = {1, (uint8_t)(body.len_bytes >> 16),
				   (uint8_t)(body.len_bytes >> 8), (uint8_t)body.len_bytes};
	struct cv_hello_assembler assembler;
	struct cv_buffer message, stream;
	size_t total;

	if (body.len_bytes == 0 || body.len_bytes > CV_HELLO_MAX)
		return;
	cv_buffer_init(&message, 1 << 17);
	cv_buffer_init(&stream, 1 << 20);
	check(cv_buffer_append(&message, header, sizeof(header)) == 0);
	check(cv_buffer_append(&message, body.data, body.len_bytes) == 0);
	put_records(cv_buffer_span(&message), record_bytes, &stream);

	cv_hello_assembler_init(&assembler);
	check(assemble(&assembler, cv_buffer_span(&stream), piece_bytes, &total) == 0);
	check(total == cv_buffer_len(&stream));
	check_same(cv_buffer_span(&assembler.message), cv_buffer_span(&message));
	parse(cv_buffer_span(&message));

	cv_hello_assembler_done(&assembler);
	cv_buffer_done(&message);
	cv_buffer_done(&stream);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cv_span input = cv_span_of(data, size);
	const uint8_t mode = take_u8(&input);

	if (mode % 2 == 0) {
		fuzz_stream(input);
	} else {
		const size_t record_bytes = 1 + take_u16(&input) % 18432;
		const size_t piece_bytes = 1 + take_u8(&input);

		fuzz_message(input, record_bytes, piece_bytes);
	}
	return 0;
}
