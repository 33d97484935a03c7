// SPDX-License-Identifier: MIT
/*
 * datagram_proxy.c - UDP ASSOCIATE at an upstream proxy, for one client of ours.
 *
 *   IDLE --datagram--> CONNECTING -> ASKING -> READY --control connection ends--> IDLE
 *     ^  (it waits)        |           |         what waited goes out
 *     |                    +-----------+-failed-> PAUSED -> CONNECTING, as often as configured
 *     +--- held for a moment --- FAILED <- - - - -/ last time
 *
 * The control connection speaks SOCKS5 by hand: a few hundred bytes in all. Whatever the proxy says
 * on it afterwards is nobody's; its end is the end of the association, and the next datagram asks
 * for another one. Hold-downs are shared with the sessions that use this proxy.
 */
#include "session/datagram_proxy.h"

#include "session/waiting.h"
#include "session/worker.h"

#include "base/log.h"
#include "base/reason.h"
#include "protocol/upstream_reason.h"
#include "ring/connect.h"
#include "wire/socks5_client.h"
#include "wire/socks5_udp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ANSWERS_MAX 1024
#define HOLD_MS 4000 /* where the retries are not configured to end with a wait */
#define AGAIN_MS 1000 /* after an association ended */

_Static_assert(CV_SOCKS5_UDP_HEADER_MAX <= CV_DATAGRAM_HEADROOM, "a header fits in front");

enum state { IDLE, CONNECTING, ASKING, READY, PAUSED, FAILED };

struct cv_datagram_proxy {
	struct cv_session *session; /* NULL once it is freed: only operations are still to end */
	struct cv_ring *ring;
	const struct cv_outbound *outbound;
	struct cv_datagram_near near;
	cv_datagram_lost lost;
	enum state state;
	struct cv_connector *connector;
	int fd;
	struct cv_op recv_op;
	bool is_closing; /* the control connection, as soon as its recv has ended */
	struct cv_socks5_client client;
	struct cv_buffer in, out;
	struct cv_datagram_socket *socket;
	struct cv_timer timer; /* ASKING, PAUSED, FAILED */
	uint32_t attempts;
	bool is_probe;
	int reason; /* FAILED: what cv_datagram_proxy_send() says */
	struct cv_buffer waiting;
};

static void connect_now(struct cv_datagram_proxy *proxy);

static uint64_t now_ms(const struct cv_datagram_proxy *proxy)
{
	return cv_ring_now_ms(proxy->ring);
}

const struct cv_outbound *cv_datagram_proxy_outbound(const struct cv_datagram_proxy *proxy)
{
	return proxy->outbound;
}

bool cv_datagram_proxy_carries(const struct cv_outbound *outbound)
{
	return outbound->security == CV_SECURITY_NONE && !outbound->via;
}

/* ---- ends --------------------------------------------------------------------------------- */

static void release_if_over(struct cv_datagram_proxy *proxy)
{
	if (proxy->recv_op.pending)
		return;
	if (proxy->fd >= 0 && proxy->is_closing) {
		(void)close(proxy->fd);
		proxy->fd = -1;
		proxy->is_closing = false;
	}
	if (!proxy->session)
		free(proxy);
}

/* Everything of one attempt. */
static void hang_up(struct cv_datagram_proxy *proxy)
{
	cv_timer_disarm(proxy->ring, &proxy->timer);
	if (proxy->connector)
		cv_connect_cancel(proxy->connector);
	proxy->connector = NULL;
	proxy->socket = cv_datagram_close(proxy->socket);
	cv_buffer_done(&proxy->in);
	cv_buffer_done(&proxy->out);
	if (proxy->fd < 0)
		return;
	proxy->is_closing = true;
	if (proxy->recv_op.pending)
		cv_ring_cancel(proxy->ring, &proxy->recv_op);
}

/* There may be a way around. */
static void give_back(struct cv_datagram_proxy *proxy)
{
	struct cv_destination name;
	uint8_t *bytes;
	size_t len_bytes;

	while (cv_waiting_next(&proxy->waiting, &name, &bytes, &len_bytes))
		proxy->lost(proxy->near.owner, &name, bytes, len_bytes);
}

static void verdict(struct cv_datagram_proxy *proxy, bool is_alive)
{
	const struct cv_retry *retry = &proxy->outbound->retry;

	if (is_alive)
		cv_upstream_succeeded(proxy->outbound->health);
	else
		cv_upstream_failed(proxy->outbound->health, now_ms(proxy),
				   cv_retry_wait_ms(retry, retry->attempts));
	proxy->is_probe = false;
}

static void hold(struct cv_datagram_proxy *proxy, int reason)
{
	const struct cv_retry *retry = &proxy->outbound->retry;
	const uint32_t wait_ms = cv_retry_wait_ms(retry, retry->attempts);

	proxy->state = FAILED;
	proxy->reason = reason;
	cv_timer_arm(proxy->ring, &proxy->timer,
		     now_ms(proxy) + (wait_ms ? wait_ms : HOLD_MS));
	give_back(proxy);
}

static void failed(struct cv_datagram_proxy *proxy, int reason)
{
	const struct cv_retry *retry = &proxy->outbound->retry;
	const bool is_final = reason == CV_UPSTREAM_CREDENTIALS || cv_upstream_is_answer(reason);

	hang_up(proxy);
	atomic_fetch_add_explicit(&proxy->outbound->health->failures, 1, memory_order_relaxed);
	cv_log(CV_LOG_WARNING, "outbound=%s: no association for datagrams: %s (%s)",
	       proxy->outbound->tag, cv_reason_label(reason), cv_reason_text(reason));
	if (!is_final && proxy->attempts < retry->attempts) {
		proxy->state = PAUSED;
		cv_timer_arm(proxy->ring, &proxy->timer,
			     now_ms(proxy) + cv_retry_wait_ms(retry, proxy->attempts));
		return;
	}
	verdict(proxy, cv_upstream_is_answer(reason) || reason == CV_UPSTREAM_SAYS_FAILURE);
	hold(proxy, cv_upstream_is_answer(reason) ? reason : CV_UPSTREAM_FAILED);
}

/* ---- datagrams ---------------------------------------------------------------------------- */

static void received(void *owner, const struct cv_sockaddr *from, uint8_t *bytes, size_t len_bytes)
{
	struct cv_datagram_proxy *proxy = owner;
	struct cv_destination source;
	size_t header_bytes;
	const int reason =
		cv_socks5_udp_read(cv_span_of(bytes, len_bytes), &source, &header_bytes);

	(void)from; /* the socket is connected */
	if (reason)
		cv_worker_count(proxy->session->worker, CV_UPSTREAM_DECODE);
	else
		proxy->near.deliver(proxy->near.owner, &source, bytes + header_bytes,
				    len_bytes - header_bytes);
}

static void batch_done(void *owner)
{
	struct cv_datagram_proxy *proxy = owner;

	if (proxy->near.flush)
		proxy->near.flush(proxy->near.owner);
}

static int send_now(struct cv_datagram_proxy *proxy, const struct cv_destination *destination,
		    uint8_t *bytes, size_t len_bytes)
{
	const size_t header_bytes = cv_socks5_udp_write(destination, bytes);

	if (header_bytes == 0)
		return CV_PEER_ADDRESS;
	return cv_datagram_send(proxy->socket, NULL, bytes - header_bytes,
				len_bytes + header_bytes);
}

/* Where the proxy wants datagrams; one that says "any" means the address we reached it at. */
static bool relay_address(const struct cv_datagram_proxy *proxy, struct cv_sockaddr *ret_address)
{
	static const uint8_t zeros[16];
	struct cv_destination relay = proxy->client.bound;
	const size_t len_bytes = relay.kind == CV_ADDRESS_IPV4 ? 4 : 16;

	if (relay.port == 0)
		return false;
	if (relay.kind != CV_ADDRESS_NONE && memcmp(relay.ipv6, zeros, len_bytes) != 0)
		return cv_destination_to_sockaddr(&relay, ret_address);
	*ret_address = (struct cv_sockaddr){.len_bytes = sizeof(ret_address->un)};
	if (getpeername(proxy->fd, &ret_address->any, &ret_address->len_bytes) < 0 ||
	    !cv_sockaddr_to_destination(ret_address, &relay))
		return false;
	relay.port = proxy->client.bound.port;
	return cv_destination_to_sockaddr(&relay, ret_address);
}

static int open_socket(struct cv_datagram_proxy *proxy)
{
	const struct cv_datagram_config config = {
		.ring = proxy->ring,
		.pool = proxy->session->worker->datagram_pool,
		.received = received,
		.batch_done = batch_done,
		.owner = proxy,
	};
	struct cv_sockaddr relay;

	if (!relay_address(proxy, &relay))
		return CV_UPSTREAM_DECODE;
	if (cv_datagram_open(&config, &proxy->socket) != 0)
		return CV_INTERNAL_RESOURCE;
	return cv_datagram_connect(proxy->socket, &relay) ? CV_UPSTREAM_NO_ROUTE : 0;
}

static void ready(struct cv_datagram_proxy *proxy)
{
	const int error = open_socket(proxy);
	struct cv_destination name;
	uint8_t *bytes;
	size_t len_bytes;

	if (error) {
		failed(proxy, error);
		return;
	}
	verdict(proxy, true);
	cv_timer_disarm(proxy->ring, &proxy->timer);
	proxy->state = READY;
	proxy->attempts = 0;
	while (cv_waiting_next(&proxy->waiting, &name, &bytes, &len_bytes))
		(void)send_now(proxy, &name, bytes, len_bytes);
}

/* ---- control connection ------------------------------------------------------------------- */

/* A new connection has room for these few bytes. */
static int say(struct cv_datagram_proxy *proxy)
{
	const size_t len_bytes = cv_buffer_len(&proxy->out);
	ssize_t sent_bytes;

	if (len_bytes == 0)
		return 0;
	sent_bytes = send(proxy->fd, cv_buffer_bytes(&proxy->out), len_bytes,
			  MSG_DONTWAIT | MSG_NOSIGNAL);
	cv_buffer_consume(&proxy->out, len_bytes);
	return sent_bytes == (ssize_t)len_bytes ? 0 : CV_UPSTREAM_RESET;
}

static void read_answer(struct cv_datagram_proxy *proxy)
{
	size_t used_bytes = 0;
	int result = cv_socks5_client_read(&proxy->client, cv_buffer_span(&proxy->in), &proxy->out,
					   &used_bytes);
	const int error = say(proxy);

	cv_buffer_consume(&proxy->in, used_bytes);
	if (error)
		result = error;
	if (result == 0)
		ready(proxy);
	else if (result != -EAGAIN)
		failed(proxy, result);
}

/* The proxy has ended it; the next datagram asks for another, but not at once. */
static void association_ended(struct cv_datagram_proxy *proxy)
{
	cv_log(CV_LOG_INFO, "outbound=%s: the association for datagrams ended",
	       proxy->outbound->tag);
	hang_up(proxy);
	proxy->state = PAUSED;
	cv_timer_arm(proxy->ring, &proxy->timer, now_ms(proxy) + AGAIN_MS);
}

static void ended(struct cv_datagram_proxy *proxy, int result)
{
	if (proxy->state == READY)
		association_ended(proxy);
	else
		failed(proxy, result == 0 ? CV_UPSTREAM_CLOSED : CV_UPSTREAM_RESET);
}

static void heard(struct cv_op *op, int result, uint32_t flags)
{
	struct cv_datagram_proxy *proxy = cv_container_of(op, struct cv_datagram_proxy, recv_op);
	int error = 0;

	if (result > 0) {
		if (!proxy->is_closing && proxy->state == ASKING)
			error = cv_buffer_append(&proxy->in, cv_ring_buffer(proxy->ring, flags),
						 (size_t)result);
		cv_ring_buffer_give(proxy->ring, flags);
	}
	if (!proxy->is_closing) {
		if (result <= 0)
			ended(proxy, result);
		else if (error)
			failed(proxy, CV_UPSTREAM_DECODE);
		else if (proxy->state == ASKING)
			read_answer(proxy);
	}
	if (proxy->is_closing || !proxy->session)
		release_if_over(proxy);
	else if (proxy->fd >= 0)
		cv_ring_recv(proxy->ring, &proxy->recv_op, proxy->fd);
}

static void connected(void *owner, int fd, int reason)
{
	struct cv_datagram_proxy *proxy = owner;
	const struct cv_outbound *outbound = proxy->outbound;
	int error;

	proxy->connector = NULL;
	if (fd < 0) {
		failed(proxy, reason);
		return;
	}
	proxy->fd = fd;
	proxy->state = ASKING;
	cv_timer_arm(proxy->ring, &proxy->timer, now_ms(proxy) + outbound->retry.connect_ms);
	cv_ring_recv(proxy->ring, &proxy->recv_op, fd);
	error = cv_socks5_client_associate(&proxy->client, outbound->proxy_user,
					   outbound->proxy_password, &proxy->out);
	if (!error)
		error = say(proxy);
	if (error)
		failed(proxy, error);
}

static void connect_now(struct cv_datagram_proxy *proxy)
{
	struct cv_connect_request request = {
		.ring = proxy->ring,
		.resolver = proxy->session->worker->resolver,
		.destination = &proxy->outbound->server,
		.strategy = proxy->outbound->strategy,
		.timeout_ms = proxy->outbound->retry.connect_ms,
		.done = connected,
		.owner = proxy,
	};

	proxy->attempts++;
	if (proxy->fd >= 0) { /* the last one's recv has not ended yet */
		proxy->state = PAUSED;
		cv_timer_arm(proxy->ring, &proxy->timer, now_ms(proxy) + 1);
		return;
	}
	proxy->state = CONNECTING;
	proxy->connector = cv_connect_start(&request);
	if (!proxy->connector)
		hold(proxy, CV_INTERNAL_MEMORY);
}

static void begin(struct cv_datagram_proxy *proxy)
{
	const struct cv_outbound *outbound = proxy->outbound;

	proxy->attempts = 0;
	atomic_fetch_add_explicit(&outbound->health->sessions, 1, memory_order_relaxed);
	if (cv_upstream_admit(outbound->health, now_ms(proxy), outbound->retry.total_ms,
			      &proxy->is_probe))
		connect_now(proxy);
	else
		hold(proxy, CV_UPSTREAM_FAILED);
}

static void due(struct cv_timer *timer)
{
	struct cv_datagram_proxy *proxy = cv_container_of(timer, struct cv_datagram_proxy, timer);

	if (proxy->state == ASKING)
		failed(proxy, CV_UPSTREAM_TIMEOUT);
	else if (proxy->state != PAUSED || cv_buffer_len(&proxy->waiting) == 0)
		proxy->state = IDLE;
	else if (proxy->attempts > 0)
		connect_now(proxy);
	else
		begin(proxy);
}

/* ---- life --------------------------------------------------------------------------------- */

int cv_datagram_proxy_send(struct cv_datagram_proxy *proxy,
			   const struct cv_destination *destination, uint8_t *bytes,
			   size_t len_bytes)
{
	if (proxy->state == READY)
		return send_now(proxy, destination, bytes, len_bytes);
	if (proxy->state == IDLE)
		begin(proxy);
	if (proxy->state == FAILED)
		return proxy->reason;
	return cv_waiting_keep(&proxy->waiting, destination, bytes, len_bytes);
}

struct cv_datagram_proxy *cv_datagram_proxy_new(struct cv_session *session,
						const struct cv_outbound *outbound,
						const struct cv_datagram_near *near,
						cv_datagram_lost lost)
{
	struct cv_datagram_proxy *proxy = calloc(1, sizeof(*proxy));

	if (!proxy)
		return NULL;
	proxy->session = session;
	proxy->ring = session->worker->ring;
	proxy->outbound = outbound;
	proxy->near = *near;
	proxy->lost = lost;
	proxy->fd = -1;
	proxy->recv_op.done = heard;
	proxy->timer.due = due;
	cv_buffer_init(&proxy->in, ANSWERS_MAX);
	cv_buffer_init(&proxy->out, ANSWERS_MAX);
	cv_buffer_init(&proxy->waiting, CV_WAITING_BYTES);
	return proxy;
}

struct cv_datagram_proxy *cv_datagram_proxy_free(struct cv_datagram_proxy *proxy)
{
	if (!proxy)
		return NULL;
	if (proxy->is_probe)
		cv_upstream_abandoned(proxy->outbound->health);
	hang_up(proxy);
	cv_buffer_done(&proxy->waiting);
	proxy->session = NULL;
	release_if_over(proxy);
	return NULL;
}
