// SPDX-License-Identifier: MIT
/*
 * datagram_stream.c - an association's stream on a shared carrier.
 *
 *   none --datagram--> open: New for its destination, Keep with address for all that follow
 *    ^                   |
 *    '--- ended, idle ---'   broken: not before HOLD_MS have passed
 *
 * The carrier's queues are bounded: what does not fit is dropped there, and counted.
 */
#include "session/datagram_stream.h"

#include "session/stream.h"
#include "session/worker.h"

#include "base/reason.h"

#include <stdlib.h>

#define HOLD_MS 1000
#define IDLE_MS 60000

struct cv_datagram_stream {
	struct cv_datagram_stream_config config;
	struct cv_stream *stream;     /* NULL: none is open */
	struct cv_destination target; /* of the New: what comes without address comes from there */
	uint64_t used_ms, held_until_ms;
};

static uint64_t now_ms(const struct cv_datagram_stream *stream)
{
	return cv_ring_now_ms(stream->config.session->worker->ring);
}

int cv_datagram_stream_takes(const struct cv_outbound *outbound, uint16_t port)
{
	const struct cv_mux_settings *mux = &outbound->mux;
	const bool is_possible = mux->enabled && !mux->udp_apart &&
				 (mux->xudp_concurrency > 0 || mux->concurrency > 0);

	if (outbound->protocol == CV_OUTBOUND_PORTAL)
		return 0;
	if (!is_possible || (port == 443 && mux->udp443 == CV_MUX_UDP443_SKIP))
		return CV_POLICY_NO_DATAGRAMS;
	return port == 443 && mux->udp443 == CV_MUX_UDP443_REJECT ? CV_POLICY_BLOCKED : 0;
}

struct cv_datagram_stream *
cv_datagram_stream_find(struct cv_datagram_stream **streams, size_t *count, size_t max,
			const struct cv_datagram_stream_config *config)
{
	struct cv_datagram_stream *stream;

	for (size_t i = 0; i < *count; i++)
		if (streams[i]->config.outbound == config->outbound)
			return streams[i];
	stream = *count < max ? calloc(1, sizeof(*stream)) : NULL;
	if (!stream)
		return NULL;
	stream->config = *config;
	streams[(*count)++] = stream;
	return stream;
}

struct cv_datagram_stream *cv_datagram_stream_free(struct cv_datagram_stream *stream)
{
	if (stream)
		cv_stream_close(stream->stream);
	free(stream);
	return NULL;
}

static void received(void *owner, const struct cv_destination *address, uint8_t *bytes,
		     size_t len_bytes)
{
	struct cv_datagram_stream *stream = owner;
	const struct cv_datagram_near *near = &stream->config.near;

	stream->used_ms = now_ms(stream);
	near->deliver(near->owner,
		      address->kind == CV_ADDRESS_NONE ? &stream->target : address, bytes,
		      len_bytes);
	if (near->borrows && near->flush) /* the next one takes this one's place */
		near->flush(near->owner);
}

static void flush(void *owner)
{
	const struct cv_datagram_near *near = &((struct cv_datagram_stream *)owner)->config.near;

	if (near->flush)
		near->flush(near->owner);
}

static void ended(void *owner, int reason)
{
	struct cv_datagram_stream *stream = owner;

	stream->stream = cv_stream_close(stream->stream);
	if (reason)
		stream->held_until_ms = now_ms(stream) + HOLD_MS;
}

static int open_stream(struct cv_datagram_stream *stream, const struct cv_destination *target)
{
	const struct cv_stream_owner owner = {
		.received = received, .flush = flush, .ended = ended, .owner = stream};
	const struct cv_datagram_stream_config *config = &stream->config;

	if (now_ms(stream) < stream->held_until_ms)
		return CV_UPSTREAM_FAILED;
	stream->target = *target;
	return cv_stream_open_datagrams(config->session, config->outbound, target,
					config->global_id, &owner, &stream->stream);
}

int cv_datagram_stream_send(struct cv_datagram_stream *stream,
			    const struct cv_destination *destination, const uint8_t *bytes,
			    size_t len_bytes)
{
	const int error = stream->stream ? 0 : open_stream(stream, destination);

	if (error)
		return error;
	stream->used_ms = now_ms(stream);
	cv_stream_send(stream->stream, destination, bytes, len_bytes);
	return 0;
}

void cv_datagram_stream_tick(struct cv_datagram_stream *stream)
{
	if (stream->stream && now_ms(stream) >= stream->used_ms + IDLE_MS)
		stream->stream = cv_stream_close(stream->stream);
}
