/* SPDX-License-Identifier: MIT */
/*
 * handshake.h - the arena of a session before it relays; freed at the start of relaying.
 */
#ifndef CV_SESSION_HANDSHAKE_H
#define CV_SESSION_HANDSHAKE_H

#include "protocol/reality_server.h"
#include "protocol/spider.h"
#include "protocol/tls_client.h"
#include "protocol/tls_server.h"
#include "policy/sniffing.h"
#include "ring/connect.h"
#include "session/room.h"
#include "session/session.h"
#include "session/verify.h"
#include "wire/http_connect.h"
#include "wire/socks5.h"
#include "wire/socks5_client.h"
#include "wire/vless.h"

struct cv_bind; /* session/session_bind.c */
struct cv_carrier; /* session/carrier.h */
struct cv_http_exchange; /* session/session_http.h */

enum cv_front { /* the proxy protocol that the client speaks; NONE: another kind of inbound */
	CV_FRONT_NONE,
	CV_FRONT_SOCKS5,
	CV_FRONT_SOCKS4,
	CV_FRONT_HTTP,
};

struct cv_early { /* the answer to silence, dialled while a hello is awaited: session_place.c */
	const void *to; /* of the configuration: its destination, or address; NULL = nothing */
	void (*wanted)(void *owner, int fd, int reason); /* NULL: nobody knows yet whether it is */
	bool was_tried;
};

struct cv_handshake {
	struct cv_session *session;
	struct cv_room_place place_in_line;
	bool has_spoken; /* the client, though nothing was read yet */
	/* server */
	struct cv_reality_server *reality;
	const struct cv_reality_target *target;
	uint32_t mirrored_bytes; /* of the client's, to it */
	struct cv_hello_assembler assembler; /* only to read a name before anybody else does */
	bool assembler_used;
	size_t chosen_target; /* of a REALITY inbound's, by the name in the hello */
	struct cv_edge_place place; /* where the edge leads */
	unsigned backend_dials;
	struct cv_early early;
	struct cv_tls_server *tls_server;
	char server_name[256]; /* of the outer TLS, for fallbacks */
	char alpn[32];
	bool outer_is_tls13;
	const struct cv_fallback *fallback; /* NULL = not on the way to one */
	unsigned fallback_failures;
	struct cv_buffer app; /* decrypted bytes of the request, kept for fallbacks */
	size_t judged_bytes;  /* of app: nothing came since */
	size_t h2_seen_bytes; /* of app, by the carrier that it is to become */
	bool is_carried;      /* by a transport, which is open: web servers are behind us no more */
	struct cv_buffer answer; /* what a proxy protocol is about to say */
	/* front door */
	enum cv_front front;
	struct cv_http_exchange *http;
	struct cv_socks5_server socks5;
	bool is_bind; /* the destination is to connect to us */
	struct cv_bind *bind;
	struct cv_verify_query verify;
	void (*judged)(struct cv_session *session, int reason);
	/* request */
	struct cv_vless_request request; /* as received (server) or to be sent (client) */
	struct cv_user *vmess_user; /* whose auth id came; NULL: not yet known */
	uint8_t vmess_key[16];
	int refused; /* a VMess request: why, while what follows is thrown away */
	struct cv_destination destination;
	/* sniffing: session_sniff.c */
	struct cv_sniff *sniff; /* NULL = nobody looked */
	uint64_t sniff_end_ms;
	size_t sniff_seen_bytes;
	enum cv_sniffed sniffed;
	char route_name[256]; /* for rules, where the destination stays; "" = none */
	bool is_answered;     /* the client was told that its upstream is there */
	struct cv_carrier *carrier; /* it is to become one */
	/* upstream */
	struct cv_connector *connector;
	struct cv_resolve_query resolve;
	bool resolving;
	struct cv_sockaddr resolved[CV_RESOLVE_MAX];
	size_t resolved_count;
	bool was_resolved;
	bool private_refused;
	/* hops of the upstream: session_hops.c */
	const struct cv_outbound *hop; /* whose handshake is under way */
	struct cv_buffer hop_in;       /* for it, out of the layers of the hops before */
	struct cv_buffer hop_out;      /* empty between events */
	struct cv_tls_client *tls_client;
	struct cv_socks5_client socks5_client;
	struct cv_http_connect http_connect;
	struct cv_spider *spider;
	/* balancing: session_balance.c */
	struct cv_balancer *balancer; /* NULL = a rule named the outbound */
	struct cv_balancer_tries tries;
	const struct cv_outbound *next; /* RETRY_UPSTREAM: to be dialled in place of the one lost */
	/* a probe: session_probe.c */
	struct cv_observation *probed; /* it waits for the verdict */
	uint64_t probe_began_us;
	struct cv_datagram_carrier *udp_carrier; /* whose stream it will be, or NULL */
	/* attempts: session_retry.c */
	struct cv_upstream_health *health; /* NULL unless there may be several */
	uint32_t attempts;
	uint64_t attempts_end_ms;
	bool is_probe;
	bool retry_due, retry_around; /* RETRY_UPSTREAM: time has come; to go around */
};

/** cv_handshake_new() / _free() - _free() cancels connector and resolve query; NULL-safe. */
struct cv_handshake *cv_handshake_new(void);
struct cv_handshake *cv_handshake_free(struct cv_handshake *handshake);

#endif
