/* SPDX-License-Identifier: MIT */
/*
 * datagrams_state.h - what datagrams.c, its table and its carriers share.
 */
#ifndef CV_SESSION_DATAGRAMS_STATE_H
#define CV_SESSION_DATAGRAMS_STATE_H

#include "policy/rate_limit.h"
#include "session/datagram_carrier.h"
#include "session/datagram_proxy.h"
#include "session/datagram_stream.h"
#include "session/datagrams.h"
#include "session/worker.h"
#include "wire/mux.h"

#define CV_DATAGRAM_BUCKETS 64 /* a power of two */
#define CV_DATAGRAM_WAYS_MAX 4 /* proxies, and as many carriers for many destinations */
#define CV_DATAGRAM_ADDRESSES_MAX 4

enum cv_datagram_way {
	CV_WAY_UNKNOWN,
	CV_WAY_NONE,
	CV_WAY_DIRECT,
	CV_WAY_PROXY,
	CV_WAY_CARRIER,
	CV_WAY_STREAM,
};

struct cv_datagram_destination {
	struct cv_datagram_destination *next;          /* in its bucket */
	struct cv_datagram_destination *newer, *older; /* by last use */
	struct cv_datagrams *datagrams;
	struct cv_destination name; /* as the client calls it */
	uint64_t used_ms, until_ms; /* until_ms: then it is looked at anew */
	enum cv_datagram_way way;
	int reason; /* NONE: why */
	const struct cv_outbound *outbound;
	struct cv_datagram_proxy *proxy;
	struct cv_datagram_carrier *carrier; /* CARRIER: it has its own, or shares one */
	bool owns_carrier;
	struct cv_datagram_stream *stream; /* STREAM */
	bool is_renamed; /* what comes back comes from another address than its name */
	struct cv_sockaddr addresses[CV_DATAGRAM_ADDRESSES_MAX]; /* [0] is used, then the others */
	size_t address_count;
	struct cv_resolve_query query;
	bool resolving;
	struct cv_buffer waiting;
};

struct cv_datagrams {
	struct cv_session *session;
	struct cv_datagram_near near;
	struct cv_datagram_socket *direct;
	uint64_t direct_used_ms;
	struct cv_datagram_proxy *proxies[CV_DATAGRAM_WAYS_MAX];
	size_t proxy_count;
	struct cv_datagram_carrier *carriers[CV_DATAGRAM_WAYS_MAX];
	size_t carrier_count;
	struct cv_datagram_stream *streams[CV_DATAGRAM_WAYS_MAX];
	size_t stream_count;
	struct cv_datagram_carrier *dirty;         /* they hold what is to be flushed */
	uint8_t global_id[CV_MUX_GLOBAL_ID_BYTES]; /* all zero: not yet made */
	struct cv_datagram_destination *buckets[CV_DATAGRAM_BUCKETS];
	struct cv_datagram_destination *newest, *oldest;
	uint32_t destination_count, resolving_count, renamed_count, owned_carriers;
	struct cv_rate_bucket rate[2];
	uint64_t resume_ms[2];
};

static inline uint64_t cv_datagrams_now_ms(const struct cv_datagrams *datagrams)
{
	return cv_ring_now_ms(datagrams->session->worker->ring);
}

/** cv_datagram_destination_find() - And note its use; NULL: unknown, or known for too long. */
struct cv_datagram_destination *cv_datagram_destination_find(struct cv_datagrams *datagrams,
							     const struct cv_destination *name);
/** cv_datagram_destination_add() - In place of the one longest unused where there are too many.
 * NULL: out of memory. */
struct cv_datagram_destination *cv_datagram_destination_add(struct cv_datagrams *datagrams,
							    const struct cv_destination *name);
void cv_datagram_destination_forget(struct cv_datagram_destination *destination);
/** cv_datagram_destination_behind() - Whose datagram comes from @source; NULL: nobody's that was
 * sent to. */
const struct cv_datagram_destination *
cv_datagram_destination_behind(struct cv_datagrams *datagrams, const struct cv_destination *source);

#endif
