/* SPDX-License-Identifier: MIT */
/*
 * steps.h - the handlers of a session's states. Each looks at facts, makes progress, starts
 * operations, and may change the state; cv_session_event() runs the next one.
 */
#ifndef CV_SESSION_STEPS_H
#define CV_SESSION_STEPS_H

#include "session/session.h"

/* session_proxy.c: a PROXY header in front of everything */
void cv_step_proxy_begin(struct cv_session *session);
void cv_step_proxy(struct cv_session *session);

/* session_place.c: the hello, and where its name leads */
/** cv_place_waits() - Nothing may be done for a client of @inbound before its hello was read. */
bool cv_place_waits(const struct cv_inbound *inbound);
void cv_step_place_begin(struct cv_session *session);
void cv_step_place(struct cv_session *session);
void cv_step_place_timeout(struct cv_session *session);
void cv_step_retire_early(struct cv_session *session);
/** cv_place_take_early() - Is @to, of the configuration, dialled already, because the client said
 * nothing? Then @connected is told, now or later, and true returned. */
bool cv_place_take_early(struct cv_session *session, const void *to,
			 void (*connected)(void *owner, int fd, int reason));

/* session_reality.c */
void cv_step_reality_begin(struct cv_session *session);
void cv_step_reality_dialling(struct cv_session *session);
void cv_step_reality(struct cv_session *session);
void cv_step_retire_target(struct cv_session *session);

/* session_request.c: outer TLS by libssl, VLESS request, VLESS fallback */
void cv_step_tls_begin(struct cv_session *session);
void cv_step_tls(struct cv_session *session);
void cv_step_request_begin(struct cv_session *session);
/** cv_step_request_layer() - @layer, which is taken (NULL: out of memory), comes on the client leg,
 * and what was read behind the header of @header_bytes goes back below it. False: closed. */
bool cv_step_request_layer(struct cv_session *session, struct cv_layer *layer,
			   size_t header_bytes);
/** cv_step_vmess() - EXPECT_REQUEST on a VMess inbound: session_vmess.c */
void cv_step_vmess(struct cv_session *session);
void cv_step_request(struct cv_session *session);
/** cv_step_fallback() - What the client says is for the fallback, with every byte; or the end. */
void cv_step_fallback(struct cv_session *session, int reason);
/** cv_step_fallback_dial() - Dial the fallback, first or after a refusal. */
void cv_step_fallback_dial(struct cv_session *session);

/* session_transport.c: the transport of an inbound, if it has one, then its request */
void cv_step_transport_begin(struct cv_session *session);
void cv_step_transport(struct cv_session *session);
void cv_step_transport_timeout(struct cv_session *session);

/* session_socks4.c */
void cv_step_socks4_begin(struct cv_session *session);
void cv_step_socks4(struct cv_session *session);

/* session_socks5.c */
void cv_step_socks_begin(struct cv_session *session);
void cv_step_socks(struct cv_session *session);

/* session_associate.c: SOCKS5 UDP ASSOCIATE */
void cv_step_associate(struct cv_session *session);
void cv_step_datagrams(struct cv_session *session);
void cv_step_datagrams_timer(struct cv_session *session);
/** cv_association_leave() - Before the state changes; no-op without association. */
void cv_association_leave(struct cv_session *session);

/** cv_step_mux() - EXPECT_MUX: what command 3 is used for, by its first frame. */
void cv_step_mux(struct cv_session *session);

/* session_vless_udp.c: datagrams of VLESS clients */
/** cv_step_vless_udp_begin() - handshake->app is the beginning of the frames. */
void cv_step_vless_udp_begin(struct cv_session *session);
void cv_step_vless_udp(struct cv_session *session);
void cv_step_vless_udp_timer(struct cv_session *session);
/** cv_vless_udp_leave() - Before the state changes; no-op in other states. */
void cv_vless_udp_leave(struct cv_session *session);
/** cv_vless_udp_route() - What the client's id says for rules; CV_VLESS_ROUTE_NONE: nothing. */
uint32_t cv_vless_udp_route(const struct cv_session *session);

/* session_bind.c: SOCKS5 BIND */
#define CV_BIND_WAIT_MS 120000
/** cv_step_bind_begin() - Routed to session->outbound: listen, and say where. */
void cv_step_bind_begin(struct cv_session *session);
void cv_step_bind(struct cv_session *session);
struct cv_bind;
/** cv_bind_free() - Listen no more. NULL-safe, returns NULL. */
struct cv_bind *cv_bind_free(struct cv_bind *bind);
/* session_sniff.c */
/** cv_step_target() - handshake->destination is what the client asked for: look at its first bytes
 * if the inbound wants that, then route. */
void cv_step_target(struct cv_session *session);
void cv_step_sniff(struct cv_session *session);
void cv_step_sniff_timeout(struct cv_session *session);

/* session_upstream.c: route, connect */
/** cv_session_carries_datagrams() - Is there an outbound that they could be routed to at all? */
bool cv_session_carries_datagrams(struct cv_session *session);
/** cv_session_route_datagram() - The outbound for one destination of datagrams. @resolved: of a
 * name, NULL = not yet asked for. Returns 0; -EAGAIN: the rules need them; CV_POLICY_NO_OUTBOUND;
 * CV_POLICY_NO_PROXY. */
int cv_session_route_datagram(struct cv_session *session, const struct cv_destination *destination,
			      const struct cv_sockaddr *resolved, size_t resolved_count,
			      const struct cv_outbound **ret_outbound);
void cv_step_route(struct cv_session *session);
/** cv_step_leave() - @picked is what the rules want: dial it, or the user's own proxy. */
void cv_step_leave(struct cv_session *session, const struct cv_outbound *picked);
/** cv_step_dial() - Dial session->outbound, whatever it is. */
void cv_step_dial(struct cv_session *session);
/** cv_step_freedom() - Dial the destination as session->outbound, a freedom, says. */
void cv_step_freedom(struct cv_session *session);
/** cv_session_connect() - Dial @destination or @address for the upstream leg; @connected follows.
 */
void cv_session_connect(struct cv_session *session, const struct cv_destination *destination,
			const struct cv_sockaddr *address, enum cv_resolve_strategy strategy,
			void (*connected)(void *owner, int fd, int reason));
/** cv_session_connect_within() - Likewise with a time-out, 16 s otherwise. */
void cv_session_connect_within(struct cv_session *session, uint32_t timeout_ms,
			       const struct cv_destination *destination,
			       const struct cv_sockaddr *address,
			       enum cv_resolve_strategy strategy,
			       void (*connected)(void *owner, int fd, int reason));
/** cv_session_refuse() - The request cannot be served: tell the client as its protocol allows. */
void cv_session_refuse(struct cv_session *session, int reason);
/** cv_session_name_destination() - Remember what `show` and the log call the destination. */
void cv_session_name_destination(struct cv_session *session,
				 const struct cv_destination *destination,
				 const struct cv_sockaddr *address);

/* session_hops.c: servers between us and the destination, one behind the other */
/** cv_hops_dial() - Dial the first hop of session->outbound and go on from there. */
void cv_hops_dial(struct cv_session *session, uint32_t timeout_ms);
void cv_step_hop(struct cv_session *session);
/** cv_step_hop_back() - EXPECT_BACK, while a proxy listens for us. */
void cv_step_hop_back(struct cv_session *session);

/* session_retry.c: when a hop fails */
/** cv_upstream_begin() - First attempt of session->outbound, or the way around it. */
void cv_upstream_begin(struct cv_session *session);
/** cv_upstream_lost() - The attempt failed for @reason: another, the way around, or refuse. */
void cv_upstream_lost(struct cv_session *session, int reason);
/** cv_upstream_found() - The attempt succeeded. */
void cv_upstream_found(struct cv_session *session);
/** cv_upstream_left_ms() - Of @wanted_ms what the attempts' common deadline leaves. */
uint32_t cv_upstream_left_ms(struct cv_session *session, uint32_t wanted_ms);
void cv_step_retry(struct cv_session *session);

/* session_balance.c */
/** cv_balance_pick() - The outbound that handshake->balancer wants, NULL: none is left. */
const struct cv_outbound *cv_balance_pick(struct cv_session *session);
/** cv_balance_again() - Another one for session->outbound, which failed; NULL: none, or nobody
 * balances. */
const struct cv_outbound *cv_balance_again(struct cv_session *session);

/* session_spider.c */
void cv_step_spider_begin(struct cv_session *session);
void cv_step_spider(struct cv_session *session);
void cv_step_spider_timer(struct cv_session *session);

/* relay.c */
void cv_step_relay(struct cv_session *session);
void cv_step_relay_timer(struct cv_session *session);
/** cv_session_limit() - Put REALITY 10's fallback rate limits on the session. Returns 0 or
 * CV_INTERNAL_MEMORY. */
int cv_session_limit(struct cv_session *session, const struct cv_rate_limit *upload,
		     const struct cv_rate_limit *download);

/* handshake.c */
void cv_step_deadline(struct cv_session *session);

#endif
