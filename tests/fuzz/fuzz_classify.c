// SPDX-License-Identifier: MIT
/*
 * fuzz_classify.c - the kernel's reading of a hello against user space's, which is the authority.
 *
 * The input is a stream as it is, or the body of a message that gets its headers here. The kernel's
 * parser sees it grow by pieces, as segments come; whatever it decides, user space must have found
 * the same in all bytes up to then; and it decides about whatever is short, whole, in one record.
 */
#include "wire/client_hello.h"

#include "../../bpf/client_hello.h"
#include "check.h"

#include <culvert/reason.h>

#include <ctype.h>
#include <errno.h>

static struct cv_sni_hello hello; /* too large for a stack */

struct authority {
	int assembled, parsed;
	struct cv_client_hello hello;
	struct cv_hello_assembler assembler;
};

static void ask(struct authority *authority, struct cv_span stream)
{
	size_t used;

	cv_hello_assembler_init(&authority->assembler);
	authority->assembled = cv_hello_assembler_add(&authority->assembler, stream, &used);
	authority->parsed = CV_PEER_DECODE;
	if (authority->assembled == 0)
		authority->parsed = cv_client_hello_parse(
			cv_buffer_span(&authority->assembler.message), &authority->hello);
}

static enum cv_sni_verdict read_in_pieces(struct cv_span stream, size_t piece_bytes)
{
	enum cv_sni_verdict verdict = CV_SNI_MORE;

	memset(&hello, 0, sizeof(hello));
	while (verdict == CV_SNI_MORE && stream.len_bytes > 0 &&
	       hello.len_bytes < CV_SNI_HELLO_BYTES) {
		struct cv_span piece = take_span(&stream, piece_bytes);

		if (piece.len_bytes > CV_SNI_HELLO_BYTES - hello.len_bytes)
			piece.len_bytes = CV_SNI_HELLO_BYTES - hello.len_bytes;
		memcpy(hello.bytes + hello.len_bytes, piece.data, piece.len_bytes);
		hello.len_bytes += (uint32_t)piece.len_bytes;
		verdict = cv_sni_read(&hello);
	}
	return verdict;
}

static void check_name(const char *name)
{
	const char *ours = hello.name + 1;
	bool has_uppercase = false;

	check(strlen(ours) == strlen(name));
	for (size_t i = 0; name[i]; i++) {
		const char letter = name[i];
		const bool is_upper = letter >= 'A' && letter <= 'Z';

		check(ours[i] == (is_upper ? letter + 0x20 : letter));
		has_uppercase = has_uppercase || is_upper;
	}
	check(hello.has_uppercase == has_uppercase);
}

static void check_not_tls(struct cv_span stream)
{
	uint8_t head[5] = {0};
	struct authority authority;

	memcpy(head, stream.data, stream.len_bytes < 5 ? stream.len_bytes : 5);
	ask(&authority, cv_span_of(head, sizeof(head)));
	check(authority.assembled == CV_PEER_NOT_TLS);
	cv_hello_assembler_done(&authority.assembler);
}

/* Do two of the extension types leave the same bit? @hello is well formed. */
static bool shares_bits(const struct cv_client_hello *parsed)
{
	const uint8_t *end = parsed->message.data + parsed->message.len_bytes;
	const uint8_t *at = parsed->cipher_suites.data + parsed->cipher_suites.len_bytes;
	static uint8_t seen[4096];

	memset(seen, 0, sizeof(seen));
	for (at += 1 + at[0] + 2; at < end; at += 4 + (at[2] << 8 | at[3])) {
		uint8_t *mark = &seen[(at[0] << 8 | at[1]) & 4095];

		if (*mark)
			return true;
		*mark = 1;
	}
	return false;
}

/* What is short, whole and in one record must be decided. */
static void check_undecided(struct cv_span stream, const struct authority *authority)
{
	check(authority->assembled != CV_PEER_NOT_TLS);
	if (authority->parsed != 0)
		return;
	if ((size_t)(stream.data[3] << 8 | stream.data[4]) != authority->assembler.needed_bytes ||
	    authority->assembler.needed_bytes > CV_SNI_HELLO_BYTES - 5)
		return;
	check(shares_bits(&authority->hello));
}

static void compare(struct cv_span stream, size_t piece_bytes)
{
	const enum cv_sni_verdict verdict = read_in_pieces(stream, piece_bytes);
	struct authority authority;

	ask(&authority, stream);
	switch (verdict) {
	case CV_SNI_NAMED:
		check(authority.parsed == 0 && authority.hello.has_server_name);
		check_name(authority.hello.server_name);
		break;
	case CV_SNI_NAMELESS:
		check(authority.parsed == 0 && !authority.hello.has_server_name);
		break;
	case CV_SNI_NOT_TLS:
		check_not_tls(stream);
		break;
	case CV_SNI_MORE:
		check(authority.assembled != 0 && authority.assembled != CV_PEER_NOT_TLS);
		break;
	case CV_SNI_UNDECIDED:
		check_undecided(stream, &authority);
		break;
	}
	cv_hello_assembler_done(&authority.assembler);
}

/* Headers that fit, so that the fuzzer need not find lengths. */
static void compare_message(struct cv_span body, size_t piece_bytes)
{
	const size_t message_bytes = body.len_bytes + 4;
	struct cv_buffer stream;
	const uint8_t headers[9] = {
		22,
		3,
		1,
		(uint8_t)(message_bytes >> 8),
		(uint8_t)message_bytes,
		1,
		0,
		(uint8_t)(body.len_bytes >> 8),
		(uint8_t)body.len_bytes,
	};

	if (body.len_bytes > 16384)
		return;
	cv_buffer_init(&stream, 1 << 16);
	check(cv_buffer_append(&stream, headers, sizeof(headers)) == 0);
	check(cv_buffer_append(&stream, body.data, body.len_bytes) == 0);
	compare(cv_buffer_span(&stream), piece_bytes);
	cv_buffer_done(&stream);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const size_t pieces[] = {SIZE_MAX, 1, 7, 1400};
	struct cv_span input = cv_span_of(data, size);
	const uint8_t mode = take_u8(&input);
	const size_t piece_bytes = pieces[mode / 2 % 4];

	if (mode % 2 == 0)
		compare(input, piece_bytes);
	else
		compare_message(input, piece_bytes);
	return 0;
}
