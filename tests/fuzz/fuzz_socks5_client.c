// SPDX-License-Identifier: MIT
/*
 * fuzz_socks5_client.c - a proxy's answers whole, byte by byte and in odd pieces: same result, same
 * words of ours, same number of bytes taken.
 */
#include "wire/socks5_client.h"

#include "check.h"

#include <errno.h>

struct run {
	struct cv_socks5_client client;
	struct cv_buffer out;
	size_t used;
	int result;
};

static void run_answers(struct run *run, struct cv_span answers, bool with_user, size_t piece_bytes)
{
	const struct cv_destination destination = {
		.kind = CV_ADDRESS_DOMAIN, .port = 443, .domain = "example.org"};
	size_t have = 0;

	cv_buffer_init(&run->out, 600);
	run->used = 0;
	run->result = -EAGAIN;
	check(cv_socks5_client_start(&run->client, &destination, with_user ? "bob" : "", "pw",
				     &run->out) == 0);
	while (run->result == -EAGAIN && have < answers.len_bytes) {
		const size_t left = answers.len_bytes - have;
		size_t used = 0;

		have += left < piece_bytes ? left : piece_bytes;
		run->result = cv_socks5_client_read(
			&run->client, cv_span_of(answers.data + run->used, have - run->used),
			&run->out, &used);
		check(used <= have - run->used);
		run->used += used;
	}
	check((run->result == 0) == (run->client.state == CV_SOCKS5_CLIENT_DONE));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const size_t pieces[] = {SIZE_MAX, 1, 3};
	struct cv_span input = cv_span_of(data, size);
	const bool with_user = take_u8(&input) & 1;
	struct run runs[3];

	for (unsigned int at = 0; at < 3; at++) {
		run_answers(&runs[at], input, with_user, pieces[at]);
		check(runs[at].result == runs[0].result && runs[at].used == runs[0].used);
		check(runs[at].client.state == runs[0].client.state);
		check_same(cv_buffer_span(&runs[at].out), cv_buffer_span(&runs[0].out));
	}
	for (unsigned int at = 0; at < 3; at++)
		cv_buffer_done(&runs[at].out);
	return 0;
}
