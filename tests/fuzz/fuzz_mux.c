// SPDX-License-Identifier: MIT
/*
 * fuzz_mux.c - a frame's verdict does not depend on how much of it has arrived; what was read is
 * written and read again as the same; a run of frames is never read past its end.
 */
#include "wire/mux.h"

#include "check.h"

#include <culvert/reason.h>

#include <errno.h>

static void check_same_address(const struct cv_destination *left,
			       const struct cv_destination *right)
{
	char texts[2][CV_DESTINATION_TEXT];

	check(left->kind == right->kind);
	if (left->kind == CV_ADDRESS_NONE)
		return;
	cv_destination_format(left, texts[0]);
	cv_destination_format(right, texts[1]);
	check(strcmp(texts[0], texts[1]) == 0);
}

static void check_round_trip(const struct cv_mux_frame *frame, enum cv_mux_carrier carrier)
{
	uint8_t header[CV_MUX_HEADER_MAX];
	struct cv_mux_frame again;
	const size_t written = cv_mux_frame_write(frame, carrier, header);
	size_t len = 0;

	check(written > 0 && written <= sizeof(header));
	check(cv_mux_frame_read(cv_span_of(header, written), carrier, &again, &len) == 0);
	check(len == written);
	check(again.session == frame->session && again.status == frame->status);
	check(again.has_data == frame->has_data && again.is_error == frame->is_error);
	check(again.data_bytes == frame->data_bytes && again.network == frame->network);
	check_same_address(&again.address, &frame->address);
	check(again.has_global_id == frame->has_global_id);
	if (frame->has_global_id)
		check(memcmp(again.global_id, frame->global_id, sizeof(frame->global_id)) == 0);
	check(again.source_network == frame->source_network);
	check(again.local_network == frame->local_network);
	check_same_address(&again.source, &frame->source);
	check_same_address(&again.local, &frame->local);
}

static void check_prefixes(struct cv_span input, enum cv_mux_carrier carrier, int verdict,
			   size_t header_bytes)
{
	bool is_decided = false;

	for (size_t have = 0; have <= input.len_bytes && have <= CV_MUX_HEADER_MAX; have++) {
		struct cv_mux_frame frame;
		size_t len = 0;
		const int result = cv_mux_frame_read(cv_span_of(input.data, have), carrier, &frame,
						     &len);

		is_decided |= result != -EAGAIN;
		check(result == (is_decided ? verdict : -EAGAIN));
		check(result != 0 || (len == header_bytes && have >= len));
	}
}

static void fuzz_frames(struct cv_span input, enum cv_mux_carrier carrier)
{
	for (int count = 0; count < 8; count++) {
		struct cv_mux_frame frame;
		size_t len = 0;
		const int result = cv_mux_frame_read(input, carrier, &frame, &len);

		check(result == 0 || result == -EAGAIN || result == CV_PEER_DECODE ||
		      result == CV_PEER_ADDRESS);
		check_prefixes(input, carrier, result, len);
		if (result)
			return;
		check(len >= 6 && len <= CV_MUX_HEADER_MAX && len <= input.len_bytes);
		check(frame.has_data || frame.data_bytes == 0);
		/* three names may be longer together than what is written is allowed to be */
		if (carrier == CV_MUX_FORWARD || frame.source.kind != CV_ADDRESS_DOMAIN)
			check_round_trip(&frame, carrier);
		cv_span_skip(&input, len);
		take_span(&input, frame.data_bytes);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* memory of its own: a read behind its end is found */
	uint8_t *copy = malloc(size ? size : 1);

	check(copy != NULL);
	if (size)
		memcpy(copy, data, size);
	fuzz_frames(cv_span_of(copy, size), CV_MUX_FORWARD);
	fuzz_frames(cv_span_of(copy, size), CV_MUX_REVERSE);
	free(copy);
	return 0;
}
