// SPDX-License-Identifier: MIT
/*
 * connection.c - see connection.h.
 *
 * One receive and one send are under way at most. What has to be said while a send is under way
 * waits in ->next. A connection that leaves is shut down, which ends both; its descriptor is closed
 * behind them, so that no completion is taken for another connection's.
 */
#include "connection.h"

#include "base/clock.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

#define RECEIVE_BYTES 16384
#define BUFFER_BYTES (1 << 20)

static bool is_open(const struct cv_load_connection *connection)
{
	return connection->stage != CV_LOAD_CLOSED && connection->stage != CV_LOAD_LEAVING;
}

/* Neither gone nor, since then, dialled again. */
static bool is_on_its_way(const struct cv_load_connection *connection)
{
	return connection->stage > CV_LOAD_CONNECTING && connection->stage < CV_LOAD_STANDING;
}

/* ---- ends ---------------------------------------------------------------------------------- */

static struct cv_layer *free_layer(struct cv_layer *layer)
{
	if (layer)
		layer->ops->free(layer);
	return NULL;
}

static void finish(struct cv_load_connection *connection)
{
	connection->tls = cv_tls_client_free(connection->tls);
	connection->outer = free_layer(connection->outer);
	connection->inner = free_layer(connection->inner);
	cv_buffer_done(&connection->in);
	cv_buffer_done(&connection->plain);
	cv_buffer_done(&connection->out);
	cv_buffer_done(&connection->next);
	if (connection->fd >= 0)
		(void)close(connection->fd);
	connection->fd = -1;
	connection->stage = CV_LOAD_CLOSED;
	connection->deadline_ns = 0;
	cv_load_closed(connection);
}

void cv_load_leave(struct cv_load_connection *connection)
{
	if (!is_open(connection))
		return;
	if (connection->stage < CV_LOAD_STANDING)
		connection->worker->connecting_count--;
	connection->stage = CV_LOAD_LEAVING;
	if (connection->pending_count == 0)
		finish(connection);
	else
		(void)shutdown(connection->fd, SHUT_RDWR);
}

void cv_load_fail(struct cv_load_connection *connection, enum cv_load_failure failure)
{
	if (!is_open(connection))
		return;
	connection->worker->counts.failed[failure]++;
	cv_load_leave(connection);
}

static void fail_by(struct cv_load_connection *connection, int32_t result)
{
	if (result == 0)
		cv_load_fail(connection, CV_LOAD_FAIL_CLOSED);
	else
		cv_load_fail(connection, CV_LOAD_FAIL_RESET);
}

/* ---- sending ------------------------------------------------------------------------------- */

void cv_load_send(struct cv_load_connection *connection, const uint8_t *bytes, size_t len_bytes,
		  int flags)
{
	struct io_uring_sqe *entry =
		cv_load_ring_entry(&connection->worker->ring, connection, CV_LOAD_OP_SEND);

	io_uring_prep_send(entry, connection->fd, bytes, len_bytes, MSG_NOSIGNAL | flags);
	connection->is_sending = true;
	connection->pending_count++;
}

static void flush(struct cv_load_connection *connection)
{
	if (connection->is_sending || !is_open(connection))
		return;
	if (cv_buffer_len(&connection->out) == 0) {
		const struct cv_buffer empty = connection->out;

		connection->out = connection->next;
		connection->next = empty;
	}
	if (cv_buffer_len(&connection->out) > 0)
		cv_load_send(connection, cv_buffer_bytes(&connection->out),
			     cv_buffer_len(&connection->out), 0);
}

static int emit(void *context, struct cv_span bytes)
{
	struct cv_load_connection *connection = context;
	struct cv_buffer *to = connection->is_sending ? &connection->next : &connection->out;

	return cv_buffer_append(to, bytes.data, bytes.len_bytes);
}

static int emit_outer(void *context, struct cv_span bytes)
{
	struct cv_load_connection *connection = context;

	if (!connection->outer)
		return emit(connection, bytes);
	return connection->outer->ops->encode(connection->outer, bytes, emit, connection);
}

void cv_load_put(struct cv_load_connection *connection, struct cv_span bytes)
{
	if (emit_outer(connection, bytes) != 0)
		cv_load_fail(connection, CV_LOAD_FAIL_TLS);
	else
		flush(connection);
}

void cv_load_put_inner(struct cv_load_connection *connection, struct cv_span bytes)
{
	if (!connection->inner) {
		cv_load_put(connection, bytes);
		return;
	}
	if (connection->inner->ops->encode(connection->inner, bytes, emit_outer, connection) != 0)
		cv_load_fail(connection, CV_LOAD_FAIL_TLS);
	else
		flush(connection);
}

bool cv_load_say_goodbye(struct cv_load_connection *connection)
{
	struct cv_layer *outer = connection->outer;

	if (!outer || connection->said_goodbye)
		return false;
	connection->said_goodbye = true;
	if (outer->ops->encode_eof(outer, emit, connection) != 0)
		return false;
	flush(connection);
	return true;
}

static void put_all_of(struct cv_load_connection *connection, struct cv_buffer *bytes)
{
	if (cv_buffer_len(bytes) > 0)
		cv_load_put(connection, cv_buffer_span(bytes));
	cv_buffer_consume(bytes, cv_buffer_len(bytes));
}

/* ---- receiving ----------------------------------------------------------------------------- */

void cv_load_receive(struct cv_load_connection *connection)
{
	struct io_uring_sqe *entry;
	uint8_t *space;

	if (connection->is_receiving || !is_open(connection))
		return;
	if (cv_buffer_reserve(&connection->in, RECEIVE_BYTES, &space) != 0) {
		cv_load_fail(connection, CV_LOAD_FAIL_PROXY);
		return;
	}
	entry = cv_load_ring_entry(&connection->worker->ring, connection, CV_LOAD_OP_RECV);
	io_uring_prep_recv(entry, connection->fd, space, RECEIVE_BYTES, 0);
	connection->is_receiving = true;
	connection->pending_count++;
}

void cv_load_discard(struct cv_load_connection *connection, bool expect_more)
{
	struct io_uring_sqe *entry;

	if (connection->is_receiving || !is_open(connection))
		return;
	entry = cv_load_ring_entry(&connection->worker->ring, connection, CV_LOAD_OP_RECV);
	io_uring_prep_recv(entry, connection->fd, cv_load_scratch, sizeof(cv_load_scratch),
			   MSG_TRUNC);
	if (!expect_more)
		entry->ioprio = IORING_RECVSEND_POLL_FIRST;
	connection->is_receiving = true;
	connection->pending_count++;
}

bool cv_load_decode(struct cv_load_connection *connection)
{
	struct cv_span span = cv_buffer_span(&connection->in);
	struct cv_buffer reply;
	int result;

	cv_buffer_init(&reply, BUFFER_BYTES);
	do {
		result = connection->outer->ops->decode(connection->outer, &span,
							&connection->plain, &reply);
	} while (result == 0);
	cv_buffer_consume(&connection->in, cv_buffer_len(&connection->in) - span.len_bytes);
	if (cv_buffer_len(&reply) > 0 && emit(connection, cv_buffer_span(&reply)) == 0)
		flush(connection);
	cv_buffer_done(&reply);
	if (result == -EAGAIN)
		return true;
	cv_load_fail(connection, result == CV_LAYER_EOF ? CV_LOAD_FAIL_CLOSED : CV_LOAD_FAIL_TLS);
	return false;
}

/* ---- steps --------------------------------------------------------------------------------- */

static void stand(struct cv_load_connection *connection)
{
	connection->stage = CV_LOAD_STANDING;
	connection->worker->connecting_count--;
	cv_load_stood(connection);
}

static void start_tls(struct cv_load_connection *connection, enum cv_load_stage stage)
{
	const struct cv_load_options *options = connection->worker->options;
	const struct cv_tls_client_config config = {
		.server_name = options->sni,
		.reality = options->has_public_key ? &options->reality : NULL,
		.omit.hybrid = options->only_x25519,
	};

	connection->stage = stage;
	connection->tls = cv_tls_client_new(&config, cv_clock_wall_ms());
	if (connection->tls)
		put_all_of(connection, cv_tls_client_output(connection->tls));
	else
		cv_load_fail(connection, CV_LOAD_FAIL_TLS);
}

static void reach_site(struct cv_load_connection *connection)
{
	if (connection->worker->options->inner_tls)
		start_tls(connection, CV_LOAD_INNER_TLS);
	else
		stand(connection);
}

static void reach_proxy(struct cv_load_connection *connection)
{
	const struct cv_load_options *options = connection->worker->options;
	struct cv_buffer request;
	int result;

	connection->stage = CV_LOAD_PROXY;
	cv_buffer_init(&request, BUFFER_BYTES);
	if (options->way == CV_LOAD_HTTP || options->way == CV_LOAD_HTTP_TLS) {
		memset(&connection->http, 0, sizeof(connection->http));
		result = cv_http_connect_write(&options->to, options->user, options->password, "",
					       &request);
	} else {
		result = cv_socks5_client_start(&connection->socks5, &options->to, options->user,
						options->password, &request);
	}
	if (result == 0)
		put_all_of(connection, &request);
	else
		cv_load_fail(connection, CV_LOAD_FAIL_PROXY);
	cv_buffer_done(&request);
}

static void connected(struct cv_load_connection *connection)
{
	switch (connection->worker->options->way) {
	case CV_LOAD_SOCKS5:
	case CV_LOAD_HTTP:
		reach_proxy(connection);
		break;
	case CV_LOAD_SOCKS5_TLS:
	case CV_LOAD_HTTP_TLS:
		start_tls(connection, CV_LOAD_OUTER_TLS);
		break;
	default:
		reach_site(connection);
	}
	if (is_on_its_way(connection))
		cv_load_receive(connection);
}

/* The next two return true when the step is done and what follows may be in the same bytes. */
static bool read_tls(struct cv_load_connection *connection, struct cv_buffer *from)
{
	struct cv_span span = cv_buffer_span(from);
	const int result = cv_tls_client_read(connection->tls, &span);

	cv_buffer_consume(from, cv_buffer_len(from) - span.len_bytes);
	put_all_of(connection, cv_tls_client_output(connection->tls));
	if (result == -EAGAIN || !is_open(connection))
		return false;
	if (result != 0) {
		cv_load_fail(connection, CV_LOAD_FAIL_TLS);
		return false;
	}
	if (connection->stage == CV_LOAD_OUTER_TLS) {
		connection->outer = cv_tls_client_take_layer(connection->tls);
		connection->tls = cv_tls_client_free(connection->tls);
		reach_proxy(connection);
	} else {
		connection->inner = cv_tls_client_take_layer(connection->tls);
		connection->tls = cv_tls_client_free(connection->tls);
		stand(connection);
	}
	return true;
}

static bool read_proxy(struct cv_load_connection *connection, struct cv_buffer *from)
{
	const enum cv_load_way way = connection->worker->options->way;
	struct cv_buffer answer;
	size_t used;
	int result;

	cv_buffer_init(&answer, BUFFER_BYTES);
	if (way == CV_LOAD_HTTP || way == CV_LOAD_HTTP_TLS)
		result = cv_http_connect_read(&connection->http, cv_buffer_span(from), &used);
	else
		result = cv_socks5_client_read(&connection->socks5, cv_buffer_span(from), &answer,
					       &used);
	cv_buffer_consume(from, used);
	put_all_of(connection, &answer);
	cv_buffer_done(&answer);
	if (result != 0 && result != -EAGAIN)
		cv_load_fail(connection, CV_LOAD_FAIL_PROXY);
	if (result != 0 || !is_open(connection))
		return false;
	reach_site(connection);
	return true;
}

static void advance(struct cv_load_connection *connection)
{
	bool goes_on = true;

	while (goes_on && is_on_its_way(connection)) {
		struct cv_buffer *from = connection->outer ? &connection->plain : &connection->in;

		if (connection->outer && !cv_load_decode(connection))
			return;
		goes_on = connection->stage == CV_LOAD_PROXY ? read_proxy(connection, from)
							     : read_tls(connection, from);
	}
	if (is_on_its_way(connection))
		cv_load_receive(connection);
}

/* ---- events -------------------------------------------------------------------------------- */

void cv_load_dial(struct cv_load_connection *connection)
{
	struct cv_load_worker *worker = connection->worker;
	const struct cv_sockaddr *address = &worker->options->dial;
	const int one = 1;
	struct io_uring_sqe *entry;

	connection->stage = CV_LOAD_CONNECTING;
	worker->connecting_count++;
	connection->at = connection->got_bytes = 0;
	connection->is_done = connection->is_pouring = connection->said_goodbye = false;
	cv_buffer_init(&connection->in, BUFFER_BYTES);
	cv_buffer_init(&connection->plain, BUFFER_BYTES);
	cv_buffer_init(&connection->out, BUFFER_BYTES);
	cv_buffer_init(&connection->next, BUFFER_BYTES);
	connection->began_ns = cv_load_now_ns();
	connection->deadline_ns =
		connection->began_ns + (uint64_t)(worker->options->timeout_seconds * 1e9);
	connection->fd = socket(address->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (connection->fd < 0) {
		cv_load_fail(connection, CV_LOAD_FAIL_SOCKET);
		return;
	}
	(void)setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	entry = cv_load_ring_entry(&worker->ring, connection, CV_LOAD_OP_CONNECT);
	io_uring_prep_connect(entry, connection->fd, &address->any, address->len_bytes);
	connection->pending_count++;
}

static void sent(struct cv_load_connection *connection, int32_t result)
{
	connection->is_sending = false;
	if (result < 0) {
		fail_by(connection, result);
		return;
	}
	if (cv_buffer_len(&connection->out) > 0) {
		cv_buffer_consume(&connection->out, (size_t)result);
		flush(connection);
	}
	if (!connection->is_sending && connection->stage >= CV_LOAD_STANDING)
		cv_load_sent(connection, result);
}

static void received(struct cv_load_connection *connection, int32_t result, uint32_t flags)
{
	connection->is_receiving = false;
	if (connection->stage >= CV_LOAD_STANDING) {
		cv_load_arrived(connection, result, flags & IORING_CQE_F_SOCK_NONEMPTY);
		return;
	}
	if (result <= 0) {
		fail_by(connection, result);
		return;
	}
	cv_buffer_commit(&connection->in, (size_t)result);
	advance(connection);
}

void cv_load_connection_event(struct cv_load_connection *connection, enum cv_load_op op,
			      int32_t result, uint32_t flags)
{
	connection->pending_count--;
	if (connection->stage == CV_LOAD_LEAVING) {
		if (op == CV_LOAD_OP_SEND)
			connection->is_sending = false;
		else if (op == CV_LOAD_OP_RECV)
			connection->is_receiving = false;
		if (connection->pending_count == 0)
			finish(connection);
	} else if (op == CV_LOAD_OP_SEND) {
		sent(connection, result);
	} else if (op == CV_LOAD_OP_RECV) {
		received(connection, result, flags);
	} else if (result < 0) {
		cv_load_fail(connection, CV_LOAD_FAIL_CONNECT);
	} else {
		connected(connection);
	}
}
