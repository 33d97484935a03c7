// SPDX-License-Identifier: MIT
/*
 * fuzz_socks5.c - the same flight whole, byte by byte and in odd pieces: same replies, same state,
 * same destination, same number of bytes taken.
 */
#include "wire/socks5.h"

#include "check.h"

#include <errno.h>

struct run {
	struct cv_socks5_server server;
	struct cv_buffer out;
	size_t used;
	int result;
};

/* All that can be done with the first @have bytes. */
static void advance(struct run *run, struct cv_span flight, size_t have, bool accept)
{
	do {
		size_t used = 0;

		run->result = cv_socks5_server_read(
			&run->server, cv_span_of(flight.data + run->used, have - run->used),
			&run->out, &used);
		check(used <= have - run->used);
		run->used += used;
		if (run->result != 0 || run->server.state != CV_SOCKS5_EXPECT_VERDICT)
			return;
		check(strlen(run->server.user) == run->server.user_len);
		check(run->server.user_len > 0);
		check(strlen(run->server.password) == run->server.password_len);
		run->result = cv_socks5_server_verdict(&run->server, accept, &run->out);
		check(run->server.password[0] == '\0');
	} while (run->result == 0);
}

static void run_flight(struct run *run, struct cv_span flight, uint8_t flags, size_t piece_bytes)
{
	size_t have = 0;

	cv_socks5_server_init(&run->server, flags & 1);
	if (flags & 4)
		run->server.commands |= 1u << CV_SOCKS5_BIND | 1u << CV_SOCKS5_UDP;
	cv_buffer_init(&run->out, 64);
	run->used = 0;
	run->result = -EAGAIN;
	while (run->result == -EAGAIN && have < flight.len_bytes) {
		const size_t left = flight.len_bytes - have;

		have += left < piece_bytes ? left : piece_bytes;
		advance(run, flight, have, flags & 2);
	}
}

static void check_equal(const struct run *left, const struct run *right)
{
	check(left->result == right->result && left->server.state == right->server.state);
	check(left->used == right->used);
	check_same(cv_buffer_span(&left->out), cv_buffer_span(&right->out));
	if (left->server.state != CV_SOCKS5_EXPECT_SERVICE)
		return;

	char texts[2][CV_DESTINATION_TEXT];

	check(left->result == 0 && left->server.destination.kind != CV_ADDRESS_NONE);
	check(left->server.command == right->server.command);
	cv_destination_format(&left->server.destination, texts[0]);
	cv_destination_format(&right->server.destination, texts[1]);
	check(strcmp(texts[0], texts[1]) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const size_t pieces[] = {SIZE_MAX, 1, 5};
	struct cv_span input = cv_span_of(data, size);
	const uint8_t flags = take_u8(&input);
	struct run runs[3];

	for (unsigned int at = 0; at < 3; at++) {
		run_flight(&runs[at], input, flags, pieces[at]);
		check_equal(&runs[0], &runs[at]);
	}
	for (unsigned int at = 0; at < 3; at++)
		cv_buffer_done(&runs[at].out);
	return 0;
}
