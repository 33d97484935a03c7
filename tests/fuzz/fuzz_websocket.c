// SPDX-License-Identifier: MIT
/*
 * fuzz_websocket.c - frames whole, byte by byte and in odd pieces: the same payload, the same
 * control frames, the same end; and what is written reads as what it was.
 *
 *   input:  side 1 | frames ..
 */
#include "wire/websocket.h"

#include <culvert/reason.h>

#include "check.h"

#include <errno.h>

struct run {
	struct cv_websocket_reader reader;
	struct cv_buffer data, controls; /* opcode, length, payload of each */
	size_t taken;
	int result;
};

static void keep(struct run *run, const struct cv_websocket_control *control)
{
	const uint8_t head[2] = {(uint8_t)control->opcode, (uint8_t)control->len_bytes};
	const unsigned code = cv_websocket_close_code(control);

	check(control->opcode >= CV_WEBSOCKET_CLOSE && control->opcode <= CV_WEBSOCKET_PONG);
	check(control->len_bytes <= CV_WEBSOCKET_CONTROL_MAX);
	check(code >= 1000 && code <= 4999);
	check(cv_buffer_append(&run->controls, head, sizeof(head)) == 0);
	check(cv_buffer_append(&run->controls, control->payload, control->len_bytes) == 0);
}

static void run_frames(struct run *run, bool is_server, struct cv_span input, size_t piece_bytes)
{
	size_t there = 0;

	*run = (struct run){.reader = {.expects_mask = is_server}};
	cv_buffer_init(&run->data, 1 << 24);
	cv_buffer_init(&run->controls, 1 << 24);
	while (there < input.len_bytes && (run->result == 0 || run->result == -EAGAIN)) {
		const size_t left = input.len_bytes - there;

		there += left < piece_bytes ? left : piece_bytes;
		run->result = 0;
		while (run->result == 0 && run->taken < there) {
			struct cv_span in = cv_span_of(input.data + run->taken, there - run->taken);
			const size_t before = in.len_bytes;
			struct cv_websocket_control control;

			run->result =
				cv_websocket_read(&run->reader, &in, &run->data, &control);
			check(run->result != 0 || in.len_bytes < before);
			check(run->result != -EAGAIN || in.len_bytes == before);
			run->taken += before - in.len_bytes;
			if (run->result == 0 && control.opcode != CV_WEBSOCKET_CONTINUATION)
				keep(run, &control);
		}
	}
}

static void end_run(struct run *run)
{
	cv_buffer_done(&run->data);
	cv_buffer_done(&run->controls);
}

static void check_written(bool is_server, struct cv_span payload)
{
	static const uint8_t mask[CV_WEBSOCKET_MASK_LEN] = {0xa5, 0, 0xff, 0x5a};
	struct cv_websocket_reader reader = {.expects_mask = is_server};
	uint8_t *frame = malloc(payload.len_bytes + CV_WEBSOCKET_HEAD_MAX);
	struct cv_websocket_control control;
	struct cv_buffer data;
	struct cv_span in;
	size_t len;

	check(frame != NULL);
	len = cv_websocket_head_write(CV_WEBSOCKET_BINARY, payload.len_bytes,
				      is_server ? mask : NULL, frame);
	check(len <= CV_WEBSOCKET_HEAD_MAX);
	if (payload.len_bytes > 0 && is_server)
		cv_websocket_mask(frame + len, payload.data, payload.len_bytes, mask, 0);
	else if (payload.len_bytes > 0)
		memcpy(frame + len, payload.data, payload.len_bytes);
	in = cv_span_of(frame, len + payload.len_bytes);
	cv_buffer_init(&data, 1 << 24);
	while (in.len_bytes > 0)
		check(cv_websocket_read(&reader, &in, &data, &control) == 0);
	check(cv_websocket_is_between(&reader));
	check_same(cv_buffer_span(&data), payload);
	cv_buffer_done(&data);
	free(frame);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const size_t pieces[] = {SIZE_MAX, 1, 7};
	struct cv_span input = cv_span_of(data, size);
	const bool is_server = take_u8(&input) & 1;
	struct run runs[3];

	for (unsigned int at = 0; at < 3; at++) {
		run_frames(&runs[at], is_server, input, pieces[at]);
		check(runs[at].result == 0 || runs[at].result == -EAGAIN ||
		      runs[at].result == CV_PEER_DECODE);
		check(runs[at].result == runs[0].result);
		check_same(cv_buffer_span(&runs[at].data), cv_buffer_span(&runs[0].data));
		check_same(cv_buffer_span(&runs[at].controls), cv_buffer_span(&runs[0].controls));
	}
	for (unsigned int at = 0; at < 3; at++)
		end_run(&runs[at]);
	check_written(is_server, input);
	return 0;
}
