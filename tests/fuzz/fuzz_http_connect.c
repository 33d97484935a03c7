// SPDX-License-Identifier: MIT
/*
 * fuzz_http_connect.c - an answer to CONNECT whole, byte by byte and in odd pieces: same result,
 * same status, same number of bytes taken; and requests never hold a line that was not asked for.
 */
#include "wire/http_connect.h"

#include "check.h"

#include <errno.h>

struct run {
	struct cv_http_connect connect;
	size_t used;
	int result;
};

static void run_answer(struct run *run, struct cv_span answer, size_t piece_bytes)
{
	size_t have = 0;

	*run = (struct run){.result = -EAGAIN};
	while (run->result == -EAGAIN && have < answer.len_bytes) {
		const size_t left = answer.len_bytes - have;
		size_t used = 0;

		have += left < piece_bytes ? left : piece_bytes;
		run->result = cv_http_connect_read(
			&run->connect, cv_span_of(answer.data + run->used, have - run->used),
			&used);
		check(used <= have - run->used);
		run->used += used;
	}
}

static void check_request(struct cv_span name)
{
	struct cv_destination destination = {.kind = CV_ADDRESS_DOMAIN, .port = 1};
	struct cv_buffer out;
	unsigned lines = 0;

	if (name.len_bytes > CV_DOMAIN_MAX)
		name.len_bytes = CV_DOMAIN_MAX;
	if (name.len_bytes > 0)
		memcpy(destination.domain, name.data, name.len_bytes);
	cv_buffer_init(&out, 4096);
	if (cv_http_connect_write(&destination, "u", "p", "", &out) == 0) {
		for (size_t i = 0; i < cv_buffer_len(&out); i++)
			lines += cv_buffer_bytes(&out)[i] == '\n';
		check(lines == 4);
	}
	cv_buffer_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const size_t pieces[] = {SIZE_MAX, 1, 7};
	const struct cv_span input = cv_span_of(data, size);
	struct run runs[3];

	for (unsigned int at = 0; at < 3; at++) {
		run_answer(&runs[at], input, pieces[at]);
		check(runs[at].result == runs[0].result && runs[at].used == runs[0].used);
		check(runs[at].connect.status == runs[0].connect.status);
	}
	check_request(input);
	return 0;
}
