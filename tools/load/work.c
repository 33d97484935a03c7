// SPDX-License-Identifier: MIT
/*
 * work.c - what flows through connections that stand, kind by kind; a worker's turns.
 *
 * Downloads, uploads and requests begin when all connections of all workers stand, so that the
 * first ones do not starve the others; the kinds that dial again and again need no such moment.
 *
 *   wait (submit) -> completions -> what is due by the clock -> wait ...
 *
 * A request's time runs from when it was to be sent: with --rate a slow answer makes the ones
 * behind it late, and that counts (no coordinated omission). One request is under way per
 * connection; those that found none free wait for the next.
 */
#include "connection.h"

#include "base/clock.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>

#define CONNECTING_MAX 128u /* of a worker, at once */
#define SEND_BYTES (256u << 10)
#define ENTRIES 1024
#define TURN_NS (100 * 1000000ull)
#define SETUP_TURN_NS (2 * 1000000ull)
#define SWEEP_NS (250 * 1000000ull)
#define LOW_WATER_BYTES (32 << 10) /* a bulk receiver is woken for no less; shared by all flows */
#define LOW_WATER_LEAST (4 << 10)

static bool dials_again(const struct cv_load_options *options)
{
	return options->kind == CV_LOAD_CHURN || options->kind == CV_LOAD_HANDSHAKE ||
	       options->kind == CV_LOAD_PROBE || options->kind == CV_LOAD_DECISION;
}

static void settle(struct cv_load_connection *connection)
{
	if (connection->has_settled)
		return;
	connection->has_settled = true;
	atomic_fetch_add(&connection->worker->run->settled_count, 1);
}

static void extend(struct cv_load_connection *connection)
{
	connection->deadline_ns = connection->worker->now_ns +
				  (uint64_t)(connection->worker->options->timeout_seconds * 1e9);
}

/* ---- what is asked ------------------------------------------------------------------------- */

static void say(struct cv_load_connection *connection, char what)
{
	char line[] = "GET /? HTTP/1.1\r\nHost: load\r\n\r\n";

	line[5] = what;
	if (connection->inner)
		cv_load_put_inner(connection, cv_span_of(line, sizeof(line) - 1));
	else
		cv_load_put(connection, cv_span_of(&what, 1));
}

/* @since_ns: when it was to be sent. */
static void ask(struct cv_load_connection *connection, uint64_t since_ns)
{
	const size_t message_bytes = connection->worker->options->message_bytes;

	connection->asked_ns = since_ns;
	connection->got_bytes = 0;
	extend(connection);
	if (connection->outer || connection->is_sending)
		cv_load_put(connection, cv_span_of(cv_load_message, message_bytes));
	else
		cv_load_send(connection, cv_load_message, message_bytes, MSG_WAITALL);
	if (connection->outer)
		cv_load_receive(connection);
	else
		cv_load_discard(connection, false);
}

static uint64_t due_by_now(const struct cv_load_worker *worker)
{
	const double rate = worker->options->rate / (double)worker->options->core_count;

	if (rate <= 0 || !worker->is_running)
		return worker->due_count;
	return 1 + (uint64_t)((double)(worker->now_ns - worker->begun_ns) / 1e9 * rate);
}

/* Those whose time has come, by connections that have nothing under way. */
static void ask_due(struct cv_load_worker *worker)
{
	const double rate = worker->options->rate / (double)worker->options->core_count;
	const uint64_t due = due_by_now(worker);

	while (worker->due_count < due && worker->waiting_count > 0) {
		struct cv_load_connection *free_one = worker->waiting[--worker->waiting_count];
		const double offset_ns = (double)worker->due_count / rate * 1e9;

		if (free_one->stage != CV_LOAD_RUNNING)
			continue;
		worker->due_count++;
		ask(free_one, worker->begun_ns + (uint64_t)offset_ns);
	}
}

static uint64_t until_due_ns(const struct cv_load_worker *worker)
{
	const double rate = worker->options->rate / (double)worker->options->core_count;
	uint64_t next_ns;

	if (rate <= 0 || worker->waiting_count == 0)
		return TURN_NS;
	next_ns = worker->begun_ns + (uint64_t)((double)worker->due_count / rate * 1e9);
	if (next_ns <= worker->now_ns)
		return 0;
	return next_ns - worker->now_ns < TURN_NS ? next_ns - worker->now_ns : TURN_NS;
}

static void ask_again(struct cv_load_connection *connection)
{
	struct cv_load_worker *worker = connection->worker;

	if (worker->options->rate > 0) {
		connection->deadline_ns = 0;
		worker->waiting[worker->waiting_count++] = connection;
	} else {
		ask(connection, cv_load_now_ns());
	}
}

static void pour(struct cv_load_connection *connection)
{
	size_t len_bytes = CV_LOAD_BYTES - connection->at;

	connection->is_pouring = true;
	if (len_bytes > SEND_BYTES)
		len_bytes = SEND_BYTES;
	if (!connection->outer) {
		cv_load_send(connection, cv_load_bytes + connection->at, len_bytes, 0);
		return;
	}
	if (len_bytes > CV_LOAD_MESSAGE_MAX)
		len_bytes = CV_LOAD_MESSAGE_MAX;
	connection->got_bytes = len_bytes;
	cv_load_put(connection, cv_span_of(cv_load_bytes + connection->at, len_bytes));
}

static void want_much(struct cv_load_connection *connection)
{
	int bytes = LOW_WATER_BYTES / (int)connection->worker->count;

	if (bytes >= LOW_WATER_LEAST)
		(void)setsockopt(connection->fd, SOL_SOCKET, SO_RCVLOWAT, &bytes, sizeof(bytes));
}

static void begin(struct cv_load_connection *connection)
{
	connection->stage = CV_LOAD_RUNNING;
	extend(connection);
	switch (connection->worker->options->kind) {
	case CV_LOAD_DOWNLOAD:
		say(connection, 'd');
		want_much(connection);
		cv_load_discard(connection, false);
		break;
	case CV_LOAD_UPLOAD:
		say(connection, 'u'); /* sent() goes on */
		cv_load_discard(connection, false);
		break;
	case CV_LOAD_REQUEST:
		say(connection, 'e');
		ask_again(connection);
		break;
	default:
		connection->deadline_ns = 0;
	}
}

/* ---- what comes of it ---------------------------------------------------------------------- */

/* A decision is measured without TLS: the hello alone decides, and is all that is sent. */
static void send_hello(struct cv_load_connection *connection)
{
	struct cv_load_worker *worker = connection->worker;

	connection->asked_ns = cv_load_now_ns();
	cv_load_send(connection, cv_buffer_bytes(&worker->hello), cv_buffer_len(&worker->hello),
		     MSG_WAITALL);
	cv_load_receive(connection);
}

void cv_load_stood(struct cv_load_connection *connection)
{
	struct cv_load_worker *worker = connection->worker;

	switch (worker->options->kind) {
	case CV_LOAD_CHURN:
		say(connection, 'c');
		cv_load_discard(connection, false);
		break;
	case CV_LOAD_IDLE:
		say(connection, 'i');
		cv_load_discard(connection, false);
		break;
	case CV_LOAD_DECISION:
		send_hello(connection);
		break;
	case CV_LOAD_HANDSHAKE:
	case CV_LOAD_PROBE:
		worker->counts.requests++;
		cv_load_histogram_add(&worker->latency, cv_load_now_ns() - connection->began_ns);
		connection->is_done = true;
		if (!connection->is_sending)
			cv_load_leave(connection);
		break;
	default:
		worker->counts.established++;
		connection->deadline_ns = 0;
		settle(connection);
		if (worker->is_running)
			begin(connection);
	}
}

void cv_load_sent(struct cv_load_connection *connection, int32_t result)
{
	const size_t bytes = connection->outer ? connection->got_bytes : (size_t)result;

	if (connection->is_pouring) {
		connection->is_pouring = false;
		cv_load_moved(connection->worker, bytes);
		connection->at = (connection->at + bytes) % CV_LOAD_BYTES;
	}
	if (connection->is_done) {
		if (!cv_load_say_goodbye(connection))
			cv_load_leave(connection);
	} else if (connection->worker->options->kind == CV_LOAD_UPLOAD &&
		   connection->stage == CV_LOAD_RUNNING) {
		extend(connection);
		pour(connection);
	}
}

static void answered(struct cv_load_connection *connection, int32_t result)
{
	struct cv_load_worker *worker = connection->worker;

	if (connection->outer) {
		cv_buffer_commit(&connection->in, (size_t)result);
		if (!cv_load_decode(connection))
			return;
		connection->got_bytes += cv_buffer_len(&connection->plain);
		cv_buffer_consume(&connection->plain, cv_buffer_len(&connection->plain));
	} else {
		connection->got_bytes += (size_t)result;
	}
	if (connection->got_bytes < worker->options->message_bytes) {
		if (connection->outer)
			cv_load_receive(connection);
		else
			cv_load_discard(connection, true);
		return;
	}
	worker->counts.requests++;
	cv_load_histogram_add(&worker->latency, cv_load_now_ns() - connection->asked_ns);
	ask_again(connection);
}

/* The backend says when it saw the first byte, by the clock that this machine has only one of. */
static void decided(struct cv_load_connection *connection, int32_t result)
{
	struct cv_load_worker *worker = connection->worker;
	uint64_t seen_ns;

	cv_buffer_commit(&connection->in, (size_t)result);
	if (cv_buffer_len(&connection->in) < sizeof(seen_ns)) {
		cv_load_receive(connection);
		return;
	}
	memcpy(&seen_ns, cv_buffer_bytes(&connection->in), sizeof(seen_ns));
	if (seen_ns < connection->asked_ns) {
		cv_load_fail(connection, CV_LOAD_FAIL_PROXY);
		return;
	}
	worker->counts.requests++;
	cv_load_histogram_add(&worker->latency, seen_ns - connection->asked_ns);
	cv_load_histogram_add(&worker->since_syn, seen_ns - connection->began_ns);
	connection->is_done = true;
	cv_load_leave(connection);
}

/* The answer is whole. The end that comes with it is not waited for: some relays are slow there. */
static void churned(struct cv_load_connection *connection)
{
	struct cv_load_worker *worker = connection->worker;

	worker->counts.requests++;
	cv_load_histogram_add(&worker->latency, cv_load_now_ns() - connection->began_ns);
	connection->is_done = true;
	cv_load_leave(connection);
}

void cv_load_arrived(struct cv_load_connection *connection, int32_t result, bool expect_more)
{
	const enum cv_load_kind kind = connection->worker->options->kind;

	if (result <= 0) {
		cv_load_fail(connection, result == 0 ? CV_LOAD_FAIL_CLOSED : CV_LOAD_FAIL_RESET);
		return;
	}
	if (kind == CV_LOAD_REQUEST) {
		answered(connection, result);
		return;
	}
	if (kind == CV_LOAD_DECISION) {
		decided(connection, result);
		return;
	}
	connection->got_bytes += kind == CV_LOAD_UPLOAD ? 0 : (size_t)result;
	if (kind == CV_LOAD_DOWNLOAD || kind == CV_LOAD_CHURN)
		cv_load_moved(connection->worker, (uint64_t)result);
	if (kind == CV_LOAD_DOWNLOAD)
		extend(connection);
	if (kind == CV_LOAD_IDLE && !connection->has_settled) {
		connection->worker->counts.established++;
		connection->deadline_ns = 0;
		settle(connection);
	}
	if (kind == CV_LOAD_CHURN && connection->got_bytes >= CV_LOAD_ANSWER_BYTES)
		churned(connection);
	else
		cv_load_discard(connection, expect_more);
}

void cv_load_closed(struct cv_load_connection *connection)
{
	struct cv_load_worker *worker = connection->worker;

	if (!dials_again(worker->options))
		settle(connection);
	else if (connection->is_done && worker->is_running && !worker->is_over)
		cv_load_dial(connection); /* others have failed, and wait for the next sweep */
}

/* ---- turns --------------------------------------------------------------------------------- */

static void dial_some(struct cv_load_worker *worker)
{
	while (worker->dialled_count < worker->count && worker->connecting_count < CONNECTING_MAX)
		cv_load_dial(&worker->connections[worker->dialled_count++]);
}

static void sweep(struct cv_load_worker *worker)
{
	for (uint32_t i = 0; i < worker->dialled_count; i++) {
		struct cv_load_connection *connection = &worker->connections[i];

		if (connection->deadline_ns && connection->deadline_ns < worker->now_ns)
			cv_load_fail(connection, CV_LOAD_FAIL_TIMEOUT);
		else if (connection->stage == CV_LOAD_CLOSED && dials_again(worker->options))
			cv_load_dial(connection);
	}
}

static void forget_counts(struct cv_load_worker *worker)
{
	worker->counts.bytes = worker->counts.requests = 0;
	memset(&worker->latency, 0, sizeof(worker->latency));
	memset(&worker->since_syn, 0, sizeof(worker->since_syn));
	worker->enter_base = worker->ring.enter_count;
	worker->is_warm = true;
}

/* What the clock brings: the common beginning, the end of the warm-up. */
static void keep_time(struct cv_load_worker *worker)
{
	const uint64_t start_ns = atomic_load(&worker->run->start_ns);
	const uint64_t warm_ns = (uint64_t)(worker->options->warm_seconds * 1e9);

	if (!worker->is_running && start_ns) {
		worker->is_running = true;
		worker->begun_ns = worker->now_ns;
		for (uint32_t i = 0; i < worker->dialled_count; i++)
			if (worker->connections[i].stage == CV_LOAD_STANDING)
				begin(&worker->connections[i]);
	}
	if (worker->is_running && !worker->is_warm && warm_ns &&
	    worker->now_ns >= start_ns + warm_ns)
		forget_counts(worker);
}

static void take_completions(struct cv_load_worker *worker)
{
	struct io_uring_cqe *completion;
	unsigned head, count = 0;

	io_uring_for_each_cqe(&worker->ring.uring, head, completion)
	{
		const uint64_t data = completion->user_data;

		count++;
		cv_load_connection_event(
			(struct cv_load_connection *)(uintptr_t)(data & ~(uint64_t)CV_LOAD_OP_MASK),
			data & CV_LOAD_OP_MASK, completion->res, completion->flags);
	}
	io_uring_cq_advance(&worker->ring.uring, count);
}

static void prepare(struct cv_load_worker *worker)
{
	const struct cv_tls_client_config config = {.server_name = worker->options->sni};
	const int error = cv_load_ring_init(&worker->ring, ENTRIES);
	struct cv_tls_client *client;

	if (error)
		cv_load_die("io_uring", -error);
	cv_load_pin(worker->core);
	worker->connections = calloc(worker->count, sizeof(*worker->connections));
	worker->waiting = calloc(worker->count, sizeof(struct cv_load_connection *));
	client = cv_tls_client_new(&config, cv_clock_wall_ms());
	if (!worker->connections || !worker->waiting || !client)
		cv_load_die("memory", ENOMEM);
	cv_buffer_init(&worker->hello, CV_LOAD_MESSAGE_MAX);
	if (cv_buffer_append(&worker->hello, cv_buffer_bytes(cv_tls_client_output(client)),
			     cv_buffer_len(cv_tls_client_output(client))) != 0)
		cv_load_die("memory", ENOMEM);
	cv_tls_client_free(client);
	for (uint32_t i = 0; i < worker->count; i++) {
		worker->connections[i].worker = worker;
		worker->connections[i].fd = -1;
	}
}

static uint32_t still_open(const struct cv_load_worker *worker)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < worker->dialled_count; i++)
		count += worker->connections[i].stage != CV_LOAD_CLOSED;
	return count;
}

/* What is half sent to a relay's TLS is sent whole: else it would be an attack, not an end. */
static void clean_up(struct cv_load_worker *worker)
{
	const uint64_t deadline_ns = cv_load_now_ns() + CV_LOAD_SECOND_NS;

	worker->is_over = true;
	while (still_open(worker)) {
		const bool is_late = cv_load_now_ns() > deadline_ns;

		for (uint32_t i = 0; i < worker->dialled_count; i++) {
			struct cv_load_connection *connection = &worker->connections[i];

			connection->is_done = true;
			if (is_late || !connection->outer || !connection->is_sending)
				cv_load_leave(connection);
		}
		if (!still_open(worker))
			break;
		cv_load_ring_wait(&worker->ring, TURN_NS);
		take_completions(worker);
	}
	io_uring_queue_exit(&worker->ring.uring);
	cv_buffer_done(&worker->hello);
	free(worker->connections);
	free(worker->waiting);
}

void *cv_load_work(void *opaque)
{
	struct cv_load_worker *worker = opaque;
	const bool waits_for_all = !dials_again(worker->options);
	uint64_t swept_ns;

	prepare(worker);
	worker->now_ns = swept_ns = cv_load_now_ns();
	while (!atomic_load_explicit(&worker->run->is_over, memory_order_relaxed)) {
		if (waits_for_all || worker->is_running)
			dial_some(worker);
		ask_due(worker);
		cv_load_ring_wait(&worker->ring,
				  worker->is_running ? until_due_ns(worker) : SETUP_TURN_NS);
		worker->now_ns = cv_load_now_ns();
		take_completions(worker);
		keep_time(worker);
		if (worker->now_ns - swept_ns > SWEEP_NS) {
			swept_ns = worker->now_ns;
			sweep(worker);
		}
	}
	worker->counts.unstarted = due_by_now(worker) - worker->due_count;
	worker->ring.enter_count -= worker->enter_base;
	clean_up(worker);
	return NULL;
}
