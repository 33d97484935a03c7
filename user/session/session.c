// SPDX-License-Identifier: MIT
/*
 * session.c - life of a session: start, dispatch of events to the state's handler, orderly end.
 *
 * Every completion, timer and callback ends up in cv_session_event(). It runs the handler of the
 * present state, which looks at facts (bytes in a leg, FIN received, leg reset), makes progress and
 * starts the operations that it can derive from the new state. Nothing is freed while a handler is
 * on the stack (depth) or an operation is in flight (legs busy, flows active): the slot is given
 * back by the last event.
 *
 *   completion -> cv_session_event -> run(state) -> flush legs -> closed and quiet? -> free slot
 */
#include "session/session.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/reason.h"
#include "engine/ktls.h"
#include "ring/listen.h"
#include "session/carrier.h"
#include "session/datagram_carrier.h"
#include "session/handshake.h"
#include "session/room.h"
#include "session/session_edge.h"
#include "session/session_front.h"
#include "session/session_http.h"
#include "session/session_limits.h"
#include "session/session_probe.h"
#include "session/session_tunnel.h"
#include "session/steps.h"
#include "session/worker.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define FINISH_MS 5000 /* without progress */
#define FINISH_CAP_MS 60000
#define LINGER_MS 2000
#define DRAIN_POLL_MS 5

static const char *const state_names[] = {
	[CV_SESSION_EXPECT_PROXY] = "expect-proxy",
	[CV_SESSION_EXPECT_SNI] = "expect-sni",
	[CV_SESSION_RETIRE_EARLY] = "retire-early",
	[CV_SESSION_CONNECT_TARGET] = "connect-target",
	[CV_SESSION_EXPECT_HELLO] = "expect-hello",
	[CV_SESSION_EXPECT_FINISHED] = "expect-finished",
	[CV_SESSION_RETIRE_TARGET] = "retire-target",
	[CV_SESSION_EXPECT_TLS] = "expect-tls",
	[CV_SESSION_EXPECT_REQUEST] = "expect-request",
	[CV_SESSION_EXPECT_MUX] = "expect-mux",
	[CV_SESSION_EXPECT_FRONT] = "expect-front",
	[CV_SESSION_EXPECT_SOCKS] = "expect-socks",
	[CV_SESSION_EXPECT_SOCKS4] = "expect-socks4",
	[CV_SESSION_VERIFY] = "verify",
	[CV_SESSION_EXPECT_HTTP] = "expect-http",
	[CV_SESSION_SNIFF] = "sniff",
	[CV_SESSION_ROUTE] = "route",
	[CV_SESSION_CONNECT_UPSTREAM] = "connect-upstream",
	[CV_SESSION_EXPECT_UPSTREAM_HELLO] = "expect-upstream-hello",
	[CV_SESSION_EXPECT_TRANSPORT] = "expect-transport",
	[CV_SESSION_EXPECT_UPSTREAM_TRANSPORT] = "expect-upstream-transport",
	[CV_SESSION_EXPECT_UPSTREAM_PROXY] = "expect-upstream-proxy",
	[CV_SESSION_RETRY_UPSTREAM] = "retry-upstream",
	[CV_SESSION_PROBE] = "probe",
	[CV_SESSION_HTTP_EXCHANGE] = "http-exchange",
	[CV_SESSION_HTTP_RETIRE] = "http-retire",
	[CV_SESSION_EXPECT_BACK] = "expect-back",
	[CV_SESSION_RELAY] = "relay",
	[CV_SESSION_DATAGRAMS] = "datagrams",
	[CV_SESSION_TUNNEL_DATAGRAMS] = "tunnel-datagrams",
	[CV_SESSION_VLESS_UDP] = "vless-udp",
	[CV_SESSION_UDP_CARRIER] = "udp-carrier",
	[CV_SESSION_CARRIER] = "carrier",
	[CV_SESSION_STREAM_DATAGRAMS] = "stream-datagrams",
	[CV_SESSION_SPIDER] = "spider",
	[CV_SESSION_FINISH] = "finish",
	[CV_SESSION_CLOSED] = "closed",
};

const char *cv_session_state_name(const struct cv_session *session)
{
	return state_names[session->state];
}

const char *cv_session_user_name(const struct cv_session *session)
{
	if (!session->user)
		return "";
	return session->user->email[0] ? session->user->email : session->user->name;
}

const char *cv_session_outbound_name(const struct cv_session *session)
{
	if (session->is_fallback)
		return "fallback";
	if (session->backend)
		return session->backend->name;
	return session->outbound ? session->outbound->tag : "";
}

const struct cv_level *cv_session_level(const struct cv_session *session)
{
	uint32_t level = session->user ? session->user->level : session->inbound->level;

	return &session->config->levels[level < CV_LEVELS ? level : 0];
}

struct cv_leg *cv_session_source(struct cv_session *session, enum cv_direction direction)
{
	return direction == CV_UPLINK ? &session->client : &session->upstream;
}

struct cv_leg *cv_session_sink(struct cv_session *session, enum cv_direction direction)
{
	return direction == CV_UPLINK ? &session->upstream : &session->client;
}

/* ---- bytes and time ----------------------------------------------------------------------- */

uint64_t cv_session_bytes(struct cv_session *session, enum cv_direction direction)
{
	struct cv_flow *flow = &session->flow[direction];

	if (session->flow_active[direction])
		flow->engine->poll_progress(flow);
	return session->user_moved_bytes[direction] + flow->moved_bytes;
}

static void add(_Atomic uint64_t *counter, uint64_t bytes)
{
	atomic_fetch_add_explicit(counter, bytes, memory_order_relaxed);
}

static void account_direction(struct cv_session *session, enum cv_direction direction)
{
	struct cv_worker_counters *counters = &session->worker->counters;
	const uint64_t total_bytes = cv_session_bytes(session, direction);
	const uint64_t user_bytes = session->user_moved_bytes[direction];
	const uint64_t by_user = user_bytes - session->accounted_user_bytes[direction];
	const uint64_t by_flow =
		total_bytes - user_bytes - session->accounted_flow_bytes[direction];
	const bool is_uplink = direction == CV_UPLINK;
	struct cv_user *user = session->user;

	if (by_user + by_flow == 0)
		return;
	session->accounted_user_bytes[direction] = user_bytes;
	session->accounted_flow_bytes[direction] = total_bytes - user_bytes;
	add(is_uplink ? &counters->relayed_uplink_bytes : &counters->relayed_downlink_bytes,
	    by_user + by_flow);
	add(&counters->engine_bytes[CV_ENGINE_LAYERS][direction], by_user);
	add(&counters->engine_bytes[cv_engine_index(session->flow[direction].engine)][direction],
	    by_flow);
	add(&counters->class_bytes[session->sni_class][direction], by_user + by_flow);
	if (session->is_fallback || session->backend)
		add(&counters->aside_bytes[direction], by_user + by_flow);
	else if (session->outbound && session->outbound->counters)
		add(&session->outbound->counters->moved_bytes[direction], by_user + by_flow);
	if (!user)
		return;
	add(&user->counters->moved_bytes[is_uplink ? CV_UPLINK : CV_DOWNLINK], by_user + by_flow);
	if (user->usage)
		add(&user->usage->moved_bytes[direction], by_user + by_flow);
}

void cv_session_account(struct cv_session *session)
{
	for (int d = CV_UPLINK; d <= CV_DOWNLINK; d++)
		account_direction(session, d);
}

uint64_t cv_session_idle_since_ms(struct cv_session *session)
{
	uint64_t since_ms = session->last_activity_ms;

	for (int d = CV_UPLINK; d <= CV_DOWNLINK; d++) {
		if (!session->flow_active[d])
			continue;
		session->flow[d].engine->poll_progress(&session->flow[d]);
		if (session->flow[d].last_move_ms > since_ms)
			since_ms = session->flow[d].last_move_ms;
	}
	return since_ms;
}

void cv_session_arm(struct cv_session *session, uint64_t delay_ms)
{
	struct cv_ring *ring = session->worker->ring;

	cv_timer_arm(ring, &session->timer, cv_ring_now_ms(ring) + delay_ms);
}

/* ---- end ---------------------------------------------------------------------------------- */

static bool session_is_quiet(const struct cv_session *session)
{
	return !cv_leg_busy(&session->client) && !cv_leg_busy(&session->upstream) &&
	       !session->flow_active[CV_UPLINK] && !session->flow_active[CV_DOWNLINK];
}

static void log_end(struct cv_session *session)
{
	uint64_t age_ms = cv_ring_now_ms(session->worker->ring) - session->started_ms;
	/* who connects and leaves without a word checks our health */
	const enum cv_log_level level = session->client.received_bytes == 0 && !session->user &&
							!session->client.stream
						? CV_LOG_DEBUG
						: CV_LOG_INFO;

	if (!cv_log_wants(level))
		return;
	cv_log(level,
	       "session %u.%" PRIu64 " end: inbound=%s user=%s outbound=%s to=%s uplink=%" PRIu64
	       "/%s downlink=%" PRIu64 "/%s ms=%" PRIu64 " reason=%s (%s)",
	       session->worker->index, session->id, session->inbound->tag,
	       cv_session_user_name(session)[0] ? cv_session_user_name(session) : "-",
	       cv_session_outbound_name(session)[0] ? cv_session_outbound_name(session) : "-",
	       session->destination_text ? session->destination_text : "-",
	       cv_session_bytes(session, CV_UPLINK),
	       session->flow[CV_UPLINK].engine ? session->flow[CV_UPLINK].engine->name : "layers",
	       cv_session_bytes(session, CV_DOWNLINK),
	       session->flow[CV_DOWNLINK].engine ? session->flow[CV_DOWNLINK].engine->name
						 : "layers",
	       age_ms, cv_reason_label(session->reason), cv_reason_text(session->reason));
}

static void session_free(struct cv_session *session)
{
	struct cv_worker *worker = session->worker;

	cv_timer_disarm(worker->ring, &session->timer);
	cv_session_account(session); /* what moved while its operations ended */
	log_end(session);
	cv_limits_leave(session);
	cv_room_made(session);
	cv_leg_done(&session->client, session->abort_client);
	cv_leg_done(&session->upstream, session->abort_upstream);
	cv_worker_forget_text(worker, session->destination_text);
	free(session->limit);
	free(session->proxied);
	cv_worker_forget(worker, session);
}

static void cancel_leg(struct cv_leg *leg)
{
	struct cv_ring *ring = leg->session->worker->ring;

	if (leg->recv_op.pending)
		cv_ring_cancel(ring, &leg->recv_op);
	if (leg->send_op.pending)
		cv_ring_cancel(ring, &leg->send_op);
}

static void stop_flows(struct cv_session *session)
{
	session->depth++; /* a flow may end at once */
	for (int d = CV_UPLINK; d <= CV_DOWNLINK; d++)
		if (session->flow_active[d])
			session->flow[d].engine->stop(&session->flow[d]);
	session->depth--;
}

/* Before the state changes. */
static void leave_datagrams(struct cv_session *session, int reason)
{
	cv_association_leave(session);
	cv_vless_udp_leave(session);
	cv_udp_carrier_leave(session, reason);
	cv_tunnel_leave(session);
}

/* observable: both sides get RST. What we break off in the middle must not look whole. */
static void break_off(struct cv_session *session, int reason)
{
	if (reason == CV_INTERNAL_MEMORY || reason == CV_INTERNAL_CRYPTO ||
	    reason == CV_INTERNAL_SYSTEM || reason == CV_INTERNAL_STATE)
		session->abort_client = session->abort_upstream = true;
}

void cv_session_close(struct cv_session *session, int reason)
{
	if (session->state == CV_SESSION_CLOSED)
		return;
	break_off(session, reason);
	leave_datagrams(session, reason);
	if (session->state != CV_SESSION_FINISH) {
		session->reason = reason;
		cv_worker_count(session->worker, reason);
	}
	cv_edge_leave(session);
	cv_carrier_leave(session);
	cv_stream_datagrams_leave(session);
	session->state = CV_SESSION_CLOSED;
	cv_timer_disarm(session->worker->ring, &session->timer);
	session->handshake = cv_handshake_free(session->handshake);
	cancel_leg(&session->client);
	cancel_leg(&session->upstream);
	stop_flows(session);
	cv_session_account(session);
}

static bool leg_is_flushed(const struct cv_leg *leg)
{
	return (leg->fd < 0 && !leg->stream) ||
	       (leg->facts & (CV_LEG_RESET | CV_LEG_SEND_FAILED)) ||
	       (cv_leg_queued(leg) == 0 && !leg->send_op.pending);
}

static bool session_is_flushed(const struct cv_session *session)
{
	return leg_is_flushed(&session->client) && leg_is_flushed(&session->upstream) &&
	       !session->flow_active[CV_UPLINK] && !session->flow_active[CV_DOWNLINK];
}

/* Everything the kernel took was acknowledged: an RST cannot swallow it any more. With
 * @sent_is_enough it only has to be on its way. */
static bool leg_is_delivered(const struct cv_leg *leg, bool sent_is_enough)
{
	int left = 0;

	if (leg->fd >= 0 && leg->ktls && leg->ktls->tx_on && !cv_ktls_is_pushed(leg->ktls))
		return false;
	return leg->fd < 0 || (leg->facts & CV_LEG_RESET) ||
	       ioctl(leg->fd, sent_is_enough ? SIOCOUTQNSD : SIOCOUTQ, &left) < 0 || left == 0;
}

/* observable: a target's RST follows its last words at once; ours must not wait a round trip, or
 * the 40 ms of a delayed acknowledgement, where we stand for one. */
static bool stands_for_target(const struct cv_session *session)
{
	return (session->inbound->security == CV_SECURITY_REALITY || session->backend) &&
	       !session->user;
}

/* Flush both legs; then RST where that is what a side must see, once it has got what came before;
 * else FIN for the client and a short linger, so that unread input does not turn the close into a
 * reset that destroys what was just sent. */
static void run_finish(struct cv_session *session)
{
	struct cv_leg *client = &session->client;
	/* a stream needs no time; the socket on the other side of it does */
	struct cv_leg *last = client->stream ? &session->upstream : client;

	cv_buffer_consume(&client->in, cv_buffer_len(&client->in));
	cv_buffer_consume(&session->upstream.in, cv_buffer_len(&session->upstream.in));
	if (!session_is_flushed(session))
		return;
	if ((session->abort_client && !leg_is_delivered(client, stands_for_target(session))) ||
	    (session->abort_upstream && !leg_is_delivered(&session->upstream, false))) {
		cv_session_arm(session, DRAIN_POLL_MS);
		return;
	}
	if (session->abort_client || (client->stream && session->abort_upstream) || last->fd < 0 ||
	    (last->facts & (CV_LEG_FIN_RECEIVED | CV_LEG_RESET))) {
		cv_session_close(session, session->reason);
		return;
	}
	if (!session->lingering) {
		session->lingering = true;
		client->facts |= CV_LEG_FIN_WANTED;
		last->facts |= CV_LEG_FIN_WANTED;
		cv_session_arm(session, LINGER_MS);
	}
	cv_leg_recv(last);
}

void cv_session_finish(struct cv_session *session, int reason)
{
	if (session->state >= CV_SESSION_FINISH)
		return;
	break_off(session, reason);
	leave_datagrams(session, reason);
	session->reason = reason;
	cv_worker_count(session->worker, reason);
	if (!session->abort_client && !(session->client.facts & CV_LEG_FIN_WANTED)) {
		session->client.facts |= CV_LEG_END_SAID;
		(void)cv_leg_encode_eof(&session->client); /* close_notify, where there is TLS */
	}
	cv_carrier_leave(session);
	cv_stream_datagrams_leave(session);
	session->state = CV_SESSION_FINISH;
	session->handshake = cv_handshake_free(session->handshake);
	session->last_activity_ms = cv_ring_now_ms(session->worker->ring);
	session->due_ms = session->last_activity_ms + FINISH_CAP_MS;
	stop_flows(session);
	cv_session_arm(session, FINISH_MS);
	run_finish(session);
}

/* Whoever takes what is queued gets time to, but neither much at once nor for ever. */
static void finish_due(struct cv_session *session)
{
	uint64_t due_ms = session->last_activity_ms + FINISH_MS;

	if (due_ms > session->due_ms)
		due_ms = session->due_ms;
	if (session->lingering || cv_ring_now_ms(session->worker->ring) >= due_ms)
		cv_session_close(session, session->reason);
	else
		cv_timer_arm(session->worker->ring, &session->timer, due_ms);
}

/* ---- dispatch ----------------------------------------------------------------------------- */

static void run(struct cv_session *session)
{
	switch (session->state) {
	case CV_SESSION_EXPECT_PROXY:
		cv_step_proxy(session);
		break;
	case CV_SESSION_EXPECT_SNI:
		cv_step_place(session);
		break;
	case CV_SESSION_RETIRE_EARLY:
		cv_step_retire_early(session);
		break;
	case CV_SESSION_CONNECT_TARGET:
		cv_step_reality_dialling(session);
		break;
	case CV_SESSION_EXPECT_HELLO:
	case CV_SESSION_EXPECT_FINISHED:
		cv_step_reality(session);
		break;
	case CV_SESSION_RETIRE_TARGET:
		cv_step_retire_target(session);
		break;
	case CV_SESSION_EXPECT_TLS:
		cv_step_tls(session);
		break;
	case CV_SESSION_EXPECT_TRANSPORT:
		cv_step_transport(session);
		break;
	case CV_SESSION_EXPECT_REQUEST:
		cv_step_request(session);
		break;
	case CV_SESSION_EXPECT_MUX:
		cv_step_mux(session);
		break;
	case CV_SESSION_EXPECT_FRONT:
		cv_step_front(session);
		break;
	case CV_SESSION_EXPECT_SOCKS4:
		cv_step_socks4(session);
		break;
	case CV_SESSION_EXPECT_SOCKS:
		cv_step_socks(session);
		break;
	case CV_SESSION_SNIFF:
		cv_step_sniff(session);
		break;
	case CV_SESSION_EXPECT_HTTP:
		cv_step_http(session);
		break;
	case CV_SESSION_HTTP_EXCHANGE:
		cv_step_http_exchange(session);
		break;
	case CV_SESSION_HTTP_RETIRE:
		cv_step_http_retire(session);
		break;
	case CV_SESSION_EXPECT_UPSTREAM_HELLO:
	case CV_SESSION_EXPECT_UPSTREAM_TRANSPORT:
	case CV_SESSION_EXPECT_UPSTREAM_PROXY:
		cv_step_hop(session);
		break;
	case CV_SESSION_RETRY_UPSTREAM:
		cv_step_retry(session);
		break;
	case CV_SESSION_PROBE:
		cv_step_probe(session);
		break;
	case CV_SESSION_RELAY:
		cv_step_relay(session);
		break;
	case CV_SESSION_DATAGRAMS:
		cv_step_datagrams(session);
		break;
	case CV_SESSION_CARRIER:
		cv_step_carrier(session);
		break;
	case CV_SESSION_STREAM_DATAGRAMS:
		cv_step_stream_datagrams(session);
		break;
	case CV_SESSION_VLESS_UDP:
		cv_step_vless_udp(session);
		break;
	case CV_SESSION_UDP_CARRIER:
		cv_step_udp_carrier(session);
		break;
	case CV_SESSION_EXPECT_BACK:
		cv_step_bind(session);
		break;
	case CV_SESSION_SPIDER:
		cv_step_spider(session);
		break;
	case CV_SESSION_FINISH:
		run_finish(session);
		break;
	default: /* CONNECT_*, VERIFY, ROUTE: a callback goes on; CLOSED: operations end */
		break;
	}
}

/* Until relaying, a reset client ends everything; the target must see the same (REALITY 9). */
static bool ended_by_client_reset(struct cv_session *session)
{
	if (session->state >= CV_SESSION_RELAY || !(session->client.facts & CV_LEG_RESET))
		return false;
	session->abort_upstream = true;
	cv_session_close(session, CV_PEER_RESET);
	return true;
}

void cv_session_event(struct cv_session *session, struct cv_leg *leg, int error)
{
	uint8_t state;

	session->depth++;
	if (error < 0 && leg && session->state < CV_SESSION_CLOSED &&
	    !(leg->facts & CV_LEG_RESET)) /* our own limit or memory, not the socket */
		cv_session_close(session, error);
	if (session->depth == 1 && !ended_by_client_reset(session)) {
		do {
			state = session->state;
			run(session);
		} while (session->state != state && session->state != CV_SESSION_CLOSED);
		if (session->state != CV_SESSION_CLOSED) {
			cv_leg_flush(&session->client);
			cv_leg_flush(&session->upstream);
		}
	}
	session->depth--;
	if (session->depth == 0 && session->state == CV_SESSION_CLOSED && session_is_quiet(session))
		session_free(session);
}

static void timer_due(struct cv_timer *timer)
{
	struct cv_session *session = cv_container_of(timer, struct cv_session, timer);

	session->depth++;
	switch (session->state) {
	case CV_SESSION_EXPECT_SNI:
		cv_step_place_timeout(session);
		break;
	case CV_SESSION_RELAY:
		cv_step_relay_timer(session);
		break;
	case CV_SESSION_DATAGRAMS:
		cv_step_datagrams_timer(session);
		break;
	case CV_SESSION_TUNNEL_DATAGRAMS:
		cv_step_tunnel_timer(session);
		break;
	case CV_SESSION_CARRIER:
		cv_step_carrier_timer(session);
		break;
	case CV_SESSION_STREAM_DATAGRAMS:
		cv_step_stream_datagrams_timer(session);
		break;
	case CV_SESSION_VLESS_UDP:
		cv_step_vless_udp_timer(session);
		break;
	case CV_SESSION_SPIDER:
		cv_step_spider_timer(session);
		break;
	case CV_SESSION_FINISH:
		finish_due(session);
		break;
	default:
		cv_step_deadline(session);
		break;
	}
	session->depth--;
	cv_session_event(session, NULL, 0);
}

/* ---- start -------------------------------------------------------------------------------- */

void cv_session_serve(struct cv_session *session)
{
	if (session->inbound->security == CV_SECURITY_REALITY)
		cv_step_reality_begin(session);
	else if (session->inbound->security == CV_SECURITY_TLS)
		cv_step_tls_begin(session);
	else if (cv_front_serves(session->inbound))
		cv_front_begin(session);
	else
		cv_step_transport_begin(session);
}

void cv_session_enter(struct cv_session *session)
{
	if (cv_place_waits(session->inbound))
		cv_step_place_begin(session);
	else
		cv_session_serve(session);
}

struct cv_session *cv_session_without_client(struct cv_worker *worker,
					     const struct cv_inbound *inbound)
{
	struct cv_handshake *handshake = cv_handshake_new();
	struct cv_session *session;

	if (cv_room_is_short(worker))
		cv_room_make(worker, 1, CV_POLICY_SESSION_LIMIT);
	session = handshake ? cv_worker_adopt(worker) : NULL;

	if (!session) {
		cv_worker_count(worker, handshake ? CV_POLICY_SESSION_LIMIT : CV_INTERNAL_MEMORY);
		cv_handshake_free(handshake);
		return NULL;
	}
	session->inbound = inbound;
	session->handshake = handshake;
	session->started_ms = session->last_activity_ms = cv_ring_now_ms(worker->ring);
	session->timer.due = timer_due;
	cv_leg_init(&session->client, session);
	cv_leg_init(&session->upstream, session);
	return session;
}

void cv_session_begin_with(struct cv_session *session, struct cv_config *config)
{
	atomic_fetch_add(&config->session_count, 1);
	atomic_fetch_sub(&session->config->session_count, 1);
	session->config = config;
}

void cv_session_start(struct cv_worker *worker, const struct cv_inbound *inbound, int client_fd)
{
	struct cv_session *session = cv_session_without_client(worker, inbound);

	if (!session) {
		cv_socket_abort(client_fd);
		return;
	}
	session->client.fd = client_fd;
	cv_room_enter(session);
	cv_socket_tune_client(client_fd);
	session->depth++;
	if (inbound->accepts_proxy)
		cv_step_proxy_begin(session);
	else
		cv_session_enter(session);
	session->depth--;
	cv_session_event(session, NULL, 0);
}
