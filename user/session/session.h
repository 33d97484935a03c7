/* SPDX-License-Identifier: MIT */
/*
 * session.h - one accepted client until both directions have ended.
 *
 * A session lives on one worker, in one slab slot. It owns both legs, the handshake arena (freed
 * when relaying starts), its timer and its two flows. Nothing else points to it except the worker's
 * list and operations in flight; the slot is given back only when no operation is pending.
 *
 *   front   EXPECT_PROXY? -> EXPECT_SNI? -> below, or CONNECT_UPSTREAM (a backend) -> RELAY
 *                               \-> RETIRE_EARLY: without what was dialled for who says nothing
 *   server  EXPECT_SNI? -> CONNECT_TARGET -> EXPECT_HELLO -> EXPECT_FINISHED -> RETIRE_TARGET
 *                                 not ours \-> RELAY (fallback to the target)      |
 *           EXPECT_TLS -> (EXPECT_TRANSPORT) --------------------> EXPECT_REQUEST <-/
 *   http    EXPECT_HTTP <-> VERIFY, HTTP_EXCHANGE, HTTP_RETIRE: session_http.h
 *   client  EXPECT_SOCKS <-> VERIFY ---------------------------------------\  |
 *           \-> UDP ASSOCIATE: DATAGRAMS;  BIND: ROUTE, EXPECT_BACK -> RELAY | |
 *               of VLESS: VLESS_UDP;  a stream of ours for them: UDP_CARRIER | |
 *                                                      ROUTE <- (SNIFF) <-- --/
 *           RELAY <- (EXPECT_UPSTREAM_HELLO, _TRANSPORT, _PROXY) <- CONNECT_UPSTREAM <--/
 *                            proxy failed \-> RETRY_UPSTREAM --^
 *   carrier EXPECT_REQUEST -> CARRIER;  CONNECT_UPSTREAM -> CARRIER: carrier.h. A session on one
 *           begins in ROUTE, or is STREAM_DATAGRAMS
 *   end     any -> FINISH (flush what is queued, FIN, linger) -> CLOSED
 */
#ifndef CV_SESSION_SESSION_H
#define CV_SESSION_SESSION_H

#include "engine/engine.h"
#include "policy/config.h"
#include "session/leg.h"

enum cv_session_state {
	CV_SESSION_EXPECT_PROXY,
	CV_SESSION_EXPECT_SNI,
	CV_SESSION_RETIRE_EARLY,
	CV_SESSION_CONNECT_TARGET,
	CV_SESSION_EXPECT_HELLO,
	CV_SESSION_EXPECT_FINISHED,
	CV_SESSION_RETIRE_TARGET,
	CV_SESSION_EXPECT_TLS,
	CV_SESSION_EXPECT_TRANSPORT,
	CV_SESSION_EXPECT_REQUEST,
	CV_SESSION_EXPECT_MUX,
	CV_SESSION_EXPECT_FRONT,
	CV_SESSION_EXPECT_SOCKS,
	CV_SESSION_EXPECT_SOCKS4,
	CV_SESSION_VERIFY,
	CV_SESSION_EXPECT_HTTP,
	CV_SESSION_SNIFF,
	CV_SESSION_ROUTE,
	CV_SESSION_CONNECT_UPSTREAM,
	CV_SESSION_EXPECT_UPSTREAM_HELLO,
	CV_SESSION_EXPECT_UPSTREAM_TRANSPORT,
	CV_SESSION_EXPECT_UPSTREAM_PROXY,
	CV_SESSION_RETRY_UPSTREAM,
	CV_SESSION_PROBE,
	CV_SESSION_HTTP_EXCHANGE,
	CV_SESSION_HTTP_RETIRE,
	CV_SESSION_EXPECT_BACK,
	CV_SESSION_RELAY,
	CV_SESSION_DATAGRAMS,
	CV_SESSION_TUNNEL_DATAGRAMS,
	CV_SESSION_VLESS_UDP,
	CV_SESSION_UDP_CARRIER,
	CV_SESSION_STREAM_DATAGRAMS,
	CV_SESSION_CARRIER,
	CV_SESSION_SPIDER,
	CV_SESSION_FINISH,
	CV_SESSION_CLOSED,
};

enum cv_direction { CV_UPLINK, CV_DOWNLINK };

struct cv_handshake; /* session/handshake.h: what only exists before relaying */
struct cv_association; /* session/session_associate.c */
struct cv_tunnel_flow; /* session/session_tunnel.c */
struct cv_carrier; /* session/carrier.h */
struct cv_stream_datagrams; /* session/stream_datagrams.c */
struct cv_datagram_carrier; /* session/datagram_carrier.c */
struct cv_vless_datagrams; /* session/session_vless_udp.c */
struct cv_fallback_limit; /* session/relay.c */
struct cv_limited; /* session/session_limits.c */
struct cv_proxied; /* session/preamble.h */

struct cv_session {
	struct cv_worker *worker;
	struct cv_session *next, *previous; /* the worker's list */
	uint64_t id;
	struct cv_config *config; /* it began with, and counts in */
	const struct cv_inbound *inbound;
	const struct cv_outbound *outbound; /* NULL = fallback or not yet routed */
	struct cv_backend *backend;	    /* where the edge led to; NULL = nowhere */
	struct cv_proxied *proxied; /* the ends that a PROXY header told; NULL = the socket's */
	struct cv_user *user;		    /* NULL = unauthenticated */
	struct cv_leg client, upstream;	    /* upstream: also the target while REALITY decides */
	struct cv_handshake *handshake;
	union { /* six states have their own, every other one the first */
		struct cv_fallback_limit *limit; /* REALITY 10; NULL = none */
		struct cv_association *association;	/* DATAGRAMS */
		struct cv_tunnel_flow *tunnel_flow;	/* TUNNEL_DATAGRAMS */
		struct cv_vless_datagrams *vless_udp;	/* VLESS_UDP */
		struct cv_datagram_carrier *udp_carrier; /* UDP_CARRIER; NULL: it let go */
		struct cv_carrier *carrier;		 /* CARRIER */
		struct cv_stream_datagrams *stream_datagrams; /* STREAM_DATAGRAMS */
	};
	struct cv_limited *limited; /* its user has limits; else NULL */
	struct cv_flow flow[2];
	struct cv_timer timer;
	uint64_t started_ms, last_activity_ms;
	uint64_t due_ms; /* RELAY: of the header held back; EXPECT_SNI, SPIDER, FINISH: the end */
	uint64_t user_moved_bytes[2]; /* app bytes moved by user space */
	uint64_t accounted_user_bytes[2], accounted_flow_bytes[2]; /* what counters have of it */
	char *destination_text;	      /* NULL until known; kept by the worker */
	int reason;		      /* why it ended; 0 = both sides finished */
	int flow_reason;	      /* what kernel TLS found wrong, or no memory */
	uint16_t sni_class; /* of culvert/classify.h, below CV_CLASSIFY_CLASSES; 0 = none */
	uint8_t state;
	uint8_t edge_state : 6; /* enum cv_edge_state: session_edge.h */
	uint8_t leaving_descriptors : 2; /* had to make room, and holds so many yet; 0: had not */
	uint8_t depth; /* of cv_session_run(): nobody frees the slot above 0 */
	bool flow_active[2], flow_ended[2], flow_refused[2];
	bool flow_failed_client : 1; /* ... on the client's leg, else on the upstream's */
	bool is_fallback : 1; /* relays to a target or fallback, not to what the client asked for */
	bool abort_client : 1, abort_upstream : 1; /* close that leg with RST */
	bool lingering : 1;   /* FINISH: FIN is sent, input is thrown away for a while */
	bool header_held : 1; /* VLESS client: the request header waits for the first app bytes */
	bool in_sockmap : 1;  /* a socket is, until it closes: no more splice */
	bool promoting : 1;   /* flows yield to go to sockmap */
	uint32_t reviewed_bytes[2]; /* of each direction at the last review, modulo 2^32 */
	/* what that review was told of the second before it, for people */
	uint32_t second_bytes[2];
	uint16_t second_wakes[2], second_fulls[2];
	uint8_t engine_why[2]; /* enum cv_choice_why: why not a faster engine */
};

_Static_assert(sizeof(struct cv_session) <= 1024, "an idle session costs at most 1 KiB");

/** cv_session_start() - Take over @client_fd, just accepted by @inbound. Closes it on failure. */
void cv_session_start(struct cv_worker *worker, const struct cv_inbound *inbound, int client_fd);

/** cv_session_without_client() - One of our own making, with handshake, legs without sockets, in no
 * state yet; NULL: none is left. */
struct cv_session *cv_session_without_client(struct cv_worker *worker,
					     const struct cv_inbound *inbound);

/** cv_session_begin_with() - It follows @config, not the worker's latest: that of the carrier it is
 * on, or is for. */
void cv_session_begin_with(struct cv_session *session, struct cv_config *config);

/** cv_session_event() - Something happened on @leg (NULL = the session as a whole): @error is 0, a
 * reason or -errno. Drives the session; it may be gone afterwards. */
void cv_session_event(struct cv_session *session, struct cv_leg *leg, int error);

/** cv_session_finish() - Send what is queued, then FIN or RST, then close: at the latest 5 s after
 * the last progress, 60 s after all. Flows are stopped. */
void cv_session_finish(struct cv_session *session, int reason);
/** cv_session_close() - Cancel everything and close now; the slot follows when nothing is pending.
 */
void cv_session_close(struct cv_session *session, int reason);
/** cv_session_relay() - Both legs are ready: free the arena and move bytes from now on. */
void cv_session_relay(struct cv_session *session);
/** cv_session_arm() - (Re)arm the session's timer @delay_ms from now. */
void cv_session_arm(struct cv_session *session, uint64_t delay_ms);

/** cv_session_source() / sink() - The leg that @direction is read from / written to. */
struct cv_leg *cv_session_source(struct cv_session *session, enum cv_direction direction);
struct cv_leg *cv_session_sink(struct cv_session *session, enum cv_direction direction);
/** cv_session_bytes() - Live byte count of a direction, engines included. */
uint64_t cv_session_bytes(struct cv_session *session, enum cv_direction direction);
/** cv_session_account() - Add what moved since the last call to the user's and worker's counters.
 */
void cv_session_account(struct cv_session *session);
/** cv_session_idle_since_ms() - When a byte last moved, kernel-moved ones included. */
uint64_t cv_session_idle_since_ms(struct cv_session *session);
const struct cv_level *cv_session_level(const struct cv_session *session);
/** cv_session_serve() - The inbound's protocol begins, with what client.in holds already. */
void cv_session_serve(struct cv_session *session);
/** cv_session_enter() - The edge first, where there is something for it to decide. */
void cv_session_enter(struct cv_session *session);
/** cv_session_outbound_name() - What people call where it goes; "" = not known yet. */
const char *cv_session_outbound_name(const struct cv_session *session);
/** cv_session_user_name() - What people call the user: e-mail, else name; "" = none yet. */
const char *cv_session_user_name(const struct cv_session *session);
const char *cv_session_state_name(const struct cv_session *session);

#endif
