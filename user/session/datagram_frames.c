// SPDX-License-Identifier: MIT
/*
 * datagram_frames.c - between the bytes of a leg and datagrams.
 *
 *   scratch   | headroom | rest of last time | what the layers give | -> take() ... -> rest
 *
 * Datagrams are taken out of the scratch where they lie: what is in front of each is the headroom,
 * its header, or one that was taken before. They go the other way through `out`, so that many
 * become one call of the layers, one record, one send.
 */
#include "session/datagram_frames.h"

#include "base/reason.h"
#include "ring/datagram.h"

#include <errno.h>

#define SCRATCH_ENOUGH (96 * 1024)

void cv_datagram_frames_init(struct cv_datagram_frames *frames)
{
	cv_buffer_init(&frames->rest, CV_VLESS_UDP_FRAME_MAX);
	cv_buffer_init(&frames->out, CV_FRAMES_QUEUE_BYTES + CV_VLESS_UDP_FRAME_MAX);
}

void cv_datagram_frames_done(struct cv_datagram_frames *frames)
{
	cv_buffer_done(&frames->rest);
	cv_buffer_done(&frames->out);
}

/* ---- reading ------------------------------------------------------------------------------ */

/* Headroom, and the frame that has begun. */
static int prepare(struct cv_datagram_frames *frames, struct cv_buffer *scratch)
{
	const struct cv_span rest = cv_buffer_span(&frames->rest);
	uint8_t *headroom;
	int error = cv_buffer_reserve(scratch, CV_DATAGRAM_HEADROOM, &headroom);

	if (error)
		return error;
	cv_buffer_commit(scratch, CV_DATAGRAM_HEADROOM);
	error = rest.len_bytes ? cv_buffer_append(scratch, rest.data, rest.len_bytes) : 0;
	cv_buffer_consume(&frames->rest, rest.len_bytes);
	cv_buffer_release_if_empty(&frames->rest);
	return error;
}

/* -EAGAIN: what is left in @scratch is no whole frame. */
static int take_all(struct cv_datagram_frames *frames, struct cv_buffer *scratch,
		    const struct cv_datagram_taker *taker)
{
	struct cv_span left = cv_buffer_span(scratch);
	struct cv_xudp_datagram datagram;
	int result;

	cv_span_skip(&left, CV_DATAGRAM_HEADROOM);
	do {
		size_t used_bytes;

		result = cv_vless_udp_read(&frames->udp, left, &datagram, &used_bytes);
		cv_span_skip(&left, used_bytes);
		if (result == 0)
			taker->take(taker->owner, &datagram.address,
				    (uint8_t *)(uintptr_t)left.data - datagram.data_bytes,
				    datagram.data_bytes);
	} while (result == 0);
	if (taker->done)
		taker->done(taker->owner);
	if (result == -EAGAIN && left.len_bytes > 0) {
		const int error = cv_buffer_append(&frames->rest, left.data, left.len_bytes);

		return error ? error : -EAGAIN;
	}
	return result;
}

int cv_datagram_frames_read(struct cv_datagram_frames *frames, struct cv_leg *leg,
			    struct cv_buffer *scratch, const struct cv_datagram_taker *taker)
{
	int decoded = 0, taken;
	const int error = prepare(frames, scratch);

	while (!error && decoded == 0 && cv_buffer_len(scratch) < SCRATCH_ENOUGH)
		decoded = cv_leg_decode(leg, scratch);
	taken = error ? error : take_all(frames, scratch, taker);
	cv_buffer_consume(scratch, cv_buffer_len(scratch));
	if (taken == CV_XUDP_END)
		return CV_LAYER_EOF;
	return taken == -EAGAIN ? decoded : taken;
}

int cv_datagram_frames_end(const struct cv_datagram_frames *frames, int truncated_reason)
{
	return cv_buffer_len(&frames->rest) > 0 ? truncated_reason : 0;
}

/* ---- writing ------------------------------------------------------------------------------ */

int cv_datagram_frames_keep(struct cv_datagram_frames *frames, const struct cv_leg *leg,
			    const struct cv_destination *address, struct cv_span data)
{
	if (cv_leg_queued(leg) + cv_buffer_len(&frames->out) + data.len_bytes >
	    CV_FRAMES_QUEUE_BYTES)
		return CV_INTERNAL_RESOURCE;
	return cv_vless_udp_append(&frames->udp, address, data, &frames->out);
}

int cv_datagram_frames_flush(struct cv_datagram_frames *frames, struct cv_leg *leg)
{
	int error = 0;

	while (cv_buffer_len(&frames->out) > 0 && !error) {
		struct cv_span batch = cv_buffer_span(&frames->out);

		if (batch.len_bytes > CV_LEG_BATCH)
			batch.len_bytes = CV_LEG_BATCH;
		error = cv_leg_encode(leg, batch);
		cv_buffer_consume(&frames->out, batch.len_bytes);
	}
	cv_buffer_release_if_empty(&frames->out);
	return error;
}
