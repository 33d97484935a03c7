/* SPDX-License-Identifier: MIT */
/*
 * datagram_stream.h - datagrams of an association through an outbound with mux: one stream of a
 * carrier that other sessions share, for all destinations.
 */
#ifndef CV_SESSION_DATAGRAM_STREAM_H
#define CV_SESSION_DATAGRAM_STREAM_H

#include "session/datagrams.h"

struct cv_datagram_stream; /* heap object */

struct cv_datagram_stream_config {
	struct cv_session *session; /* the association's */
	const struct cv_outbound *outbound;
	const uint8_t *global_id; /* XUDP's, borrowed; NULL: none */
	struct cv_datagram_near near; /* deliver() and flush() are used */
};

/** cv_datagram_stream_takes() - Do datagrams to @port go through @outbound in this way?
 * Returns 0; CV_POLICY_BLOCKED: not at all; CV_POLICY_NO_DATAGRAMS: in another way. */
int cv_datagram_stream_takes(const struct cv_outbound *outbound, uint16_t port);
/** cv_datagram_stream_find() - The one of @streams through @config's outbound, or a new one:
 * nothing is opened before its first datagram. NULL: out of memory, or there are @max already. */
struct cv_datagram_stream *
cv_datagram_stream_find(struct cv_datagram_stream **streams, size_t *count, size_t max,
			const struct cv_datagram_stream_config *config);
/** cv_datagram_stream_free() - NULL-safe, returns NULL. */
struct cv_datagram_stream *cv_datagram_stream_free(struct cv_datagram_stream *stream);
/** cv_datagram_stream_send() - Returns 0; CV_UPSTREAM_FAILED: it failed a moment ago;
 * CV_POLICY_SESSION_LIMIT, CV_POLICY_STOPPING, CV_INTERNAL_MEMORY. */
int cv_datagram_stream_send(struct cv_datagram_stream *stream,
			    const struct cv_destination *destination, const uint8_t *bytes,
			    size_t len_bytes);
/** cv_datagram_stream_tick() - Close it when it was idle for a minute; the next datagram opens
 * another one. */
void cv_datagram_stream_tick(struct cv_datagram_stream *stream);

#endif
