// SPDX-License-Identifier: MIT
/*
 * fuzz_http_body.c - a body in every segmentation: the same content, the same end; and what is cut
 * into chunks anew holds that content again.
 */
#include "wire/http_body.h"

#include "check.h"

#include <errno.h>

struct run {
	struct cv_buffer out;
	size_t used;
	int result;
};

static struct run run_body(enum cv_http_framing framing, uint64_t len, bool is_rechunked,
			   struct cv_span input, size_t piece)
{
	struct run run = {.result = -EAGAIN};
	struct cv_http_body body;

	cv_buffer_init(&run.out, 8 << 20);
	cv_http_body_init(&body, framing, len, is_rechunked);
	do {
		const size_t left = input.len_bytes - run.used;
		struct cv_span span =
			cv_span_of(input.data + run.used, left < piece ? left : piece);
		const size_t before = span.len_bytes;

		run.result = cv_http_body_read(&body, &span, &run.out);
		run.used += before - span.len_bytes;
		check(run.result != -EAGAIN || span.len_bytes == 0);
	} while (run.result == -EAGAIN && run.used < input.len_bytes);
	if (run.result == -EAGAIN && framing == CV_HTTP_UNTIL_CLOSE)
		run.result = cv_http_body_end(&body, &run.out);
	return run;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const size_t pieces[] = {SIZE_MAX, 1, 7};
	struct cv_span input = cv_span_of(data, size);
	const enum cv_http_framing framing = take_u8(&input) % 4;
	const uint64_t len = take_u16(&input);
	struct run first = run_body(framing, len, false, input, SIZE_MAX);

	if (first.result == 0 && framing == CV_HTTP_LENGTH)
		check(cv_buffer_len(&first.out) == len && first.used == len);
	for (size_t i = 0; i < 3; i++) {
		struct run other = run_body(framing, len, false, input, pieces[i]);
		struct run chunks = run_body(framing, len, true, input, pieces[i]);

		check(other.result == first.result && other.used == first.used);
		check_same(cv_buffer_span(&other.out), cv_buffer_span(&first.out));
		check(chunks.result == first.result && chunks.used == first.used);
		if (first.result == 0 && framing != CV_HTTP_NO_BODY) {
			struct run back = run_body(CV_HTTP_CHUNKED, 0, false,
						   cv_buffer_span(&chunks.out), SIZE_MAX);

			check(back.result == 0 && back.used == cv_buffer_len(&chunks.out));
			check_same(cv_buffer_span(&back.out), cv_buffer_span(&first.out));
			cv_buffer_done(&back.out);
		}
		cv_buffer_done(&other.out);
		cv_buffer_done(&chunks.out);
	}
	cv_buffer_done(&first.out);
	return 0;
}
