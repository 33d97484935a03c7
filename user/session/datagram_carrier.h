/* SPDX-License-Identifier: MIT */
/*
 * datagram_carrier.h - a VLESS stream of ours that carries datagrams: to one destination with a
 * length in front of each (command 2), or to all of an association (XUDP, command 3).
 *
 * The stream is a session without a client (session_carrier.c): it is dialled, secured, chained and
 * judged like any other.
 */
#ifndef CV_SESSION_DATAGRAM_CARRIER_H
#define CV_SESSION_DATAGRAM_CARRIER_H

#include "session/datagram_proxy.h"

#include "wire/vless.h"

struct cv_datagram_carrier; /* heap object */

struct cv_datagram_carrier_config {
	struct cv_session *session; /* the association's */
	const struct cv_outbound *outbound;
	const struct cv_destination *only; /* command 2; NULL: XUDP */
	const uint8_t *global_id;          /* XUDP; NULL: none */
	struct cv_datagram_near near;      /* deliver() and flush() are used */
	cv_datagram_lost lost;
	struct cv_datagram_carrier **dirty; /* list of those to be flushed */
};

/** cv_datagram_carrier_new() - Dials nothing before the first datagram. NULL: out of memory. */
struct cv_datagram_carrier *
cv_datagram_carrier_new(const struct cv_datagram_carrier_config *config);
/** cv_datagram_carrier_free() - What was sent still goes out, deliver() will not be called any
 * more. NULL-safe, returns NULL. */
struct cv_datagram_carrier *cv_datagram_carrier_free(struct cv_datagram_carrier *carrier);
const struct cv_outbound *cv_datagram_carrier_outbound(const struct cv_datagram_carrier *carrier);
/** cv_datagram_carrier_send() - Returns 0: it goes with the next flush, or waits until the stream
 * is there; CV_UPSTREAM_FAILED: that failed a moment ago; CV_UPSTREAM_SLOW: the stream is full;
 * CV_INTERNAL_RESOURCE: too many wait; CV_PEER_TOO_LONG, CV_PEER_ADDRESS: it has no form there. */
int cv_datagram_carrier_send(struct cv_datagram_carrier *carrier,
			     const struct cv_destination *destination, const uint8_t *bytes,
			     size_t len_bytes);
/** cv_datagram_carrier_tick() - Hang up on a stream that was idle for a minute; the next datagram
 * dials another one. */
void cv_datagram_carrier_tick(struct cv_datagram_carrier *carrier);
/** cv_datagram_carriers_flush() - Let the streams of the list have what is kept for them. */
void cv_datagram_carriers_flush(struct cv_datagram_carrier **dirty);

/* ---- for its session (session_carrier.c and the states before) ---------------------------- */

/** cv_udp_carrier_is() - Is @session one of these streams? */
bool cv_udp_carrier_is(const struct cv_session *session);
/** cv_udp_carrier_request() - What a VLESS server is asked for: command and destination. */
void cv_udp_carrier_request(const struct cv_session *session, struct cv_vless_request *request);
/** cv_udp_carrier_ready() - The server was asked. */
void cv_udp_carrier_ready(struct cv_session *session);
void cv_step_udp_carrier(struct cv_session *session);
/** cv_udp_carrier_leave() - The stream ends for @reason: before its state changes. No-op for other
 * sessions, and a second time. */
void cv_udp_carrier_leave(struct cv_session *session, int reason);

#endif
