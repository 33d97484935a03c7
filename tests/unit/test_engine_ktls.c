// SPDX-License-Identifier: MIT
/*
 * test_engine_ktls.c - kernel TLS under the engine, against records sealed and opened here.
 *
 *   far (records in user space) ==TCP== leg [ up: leg -> plain ] plain ==TCP== near
 *                                           [ down: plain -> leg ]
 *
 * Every stream is a function of its position. On a kernel without TLS all of it is skipped, with
 * the reason; tests/vm/guest brings kernels that have it.
 */
#include "base/clock.h"
#include "base/container.h"
#include "base/reason.h"
#include "engine/ktls.h"
#include "engine/pipe_pool.h"
#include "protocol/record_layer.h"
#include "session/handover_ktls.h"
#include "session/worker.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define LIMIT_MS 30000
#define BULK (1u << 20)
#define MESSAGE_UPDATE 24

static struct cv_ktls_support support;
static const int none = 1;

/* One end that the test plays; @tls: with records. */
struct end {
	int fd;
	bool tls;
	struct cv_tls_keys seal, open;
	struct cv_buffer out, in;
	uint64_t sent, wanted, received;
	uint32_t send_seed, receive_seed;
	bool end_wanted, end_sent, without_notify, slow;
	bool notify_seen, fin_seen, reset_seen;
	int alert; /* description of a fatal one, -1 = none */
	unsigned updates_seen;
};

struct stage {
	struct cv_worker worker;
	struct cv_session session;
	struct cv_leg leg, other; /* other: the far end's peer is plain, or a second TLS leg */
	struct end far, near;
	struct cv_flow up, down;
	int up_result, down_result;
	struct cv_timer guard;
	uint32_t random;
};

struct options {
	uint16_t suite;
	uint32_t max_pipes;
	bool leg_is_client, both_tls;
	uint64_t tx_sequence; /* records that the leg has sent already */
	int small_buffers;    /* bytes; 0 = as the system has them */
	int leg_send_buffer;  /* likewise, only that one */
};

static uint8_t stream_byte(uint32_t seed, uint64_t position)
{
	uint64_t x = (position / 3 + seed) * UINT64_C(0x9e3779b97f4a7c15);

	return (uint8_t)(x >> 56) ^ (uint8_t)position;
}

static uint32_t next_random(struct stage *stage, uint32_t bound)
{
	stage->random = stage->random * 1664525u + 1013904223u;
	return (stage->random >> 8) % bound;
}

/* ---- set up ------------------------------------------------------------------------------- */

static void small_buffers(int fd, int size_bytes)
{
	if (size_bytes == 0)
		return;
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size_bytes, sizeof(size_bytes)), 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size_bytes, sizeof(size_bytes)), 0);
}

static void connect_pair(int *ret_outer, int *ret_inner, int size_bytes)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len_bytes = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	const int one = 1;

	small_buffers(listener, size_bytes);
	assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(listener, 4), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &len_bytes), 0);
	*ret_outer = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	small_buffers(*ret_outer, size_bytes);
	assert_int_equal(connect(*ret_outer, (struct sockaddr *)&address, len_bytes), 0);
	*ret_inner = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	assert_true(*ret_inner >= 0);
	assert_int_equal(setsockopt(*ret_outer, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)), 0);
	(void)close(listener);
}

static void end_init(struct end *end, uint32_t seed)
{
	end->alert = -1;
	end->send_seed = seed;
	end->receive_seed = seed ^ 1;
	cv_buffer_init(&end->out, 1u << 20);
	cv_buffer_init(&end->in, 1u << 20);
}

/* Keys for both sides of a TLS connection; the layer is the leg's. */
static void tls_init(struct stage *stage, struct cv_leg *leg, struct end *end,
		     const struct options *options)
{
	const struct cv_tls_suite *suite = cv_tls_suite_find(options->suite);
	struct cv_tls_keys rx, tx;
	uint8_t secrets[2][CV_HASH_MAX];

	assert_int_equal(cv_random_bytes(secrets, sizeof(secrets)), 0);
	assert_int_equal(cv_tls_keys_init(&end->seal, suite, secrets[0], true), 0);
	assert_int_equal(cv_tls_keys_init(&end->open, suite, secrets[1], false), 0);
	assert_int_equal(cv_tls_keys_init(&rx, suite, secrets[0], false), 0);
	assert_int_equal(cv_tls_keys_init(&tx, suite, secrets[1], true), 0);
	tx.sequence = end->open.sequence = options->tx_sequence;
	end->tls = true;
	(void)stage;
	assert_int_equal(cv_leg_push_layer(leg, cv_record_layer_new(&rx, &tx,
								    !options->leg_is_client)),
			 0);
}

static void up_ended(struct cv_flow *flow, int result)
{
	cv_container_of(flow, struct stage, up)->up_result = result;
}

static void down_ended(struct cv_flow *flow, int result)
{
	cv_container_of(flow, struct stage, down)->down_result = result;
}

static struct stage *stage_open(const struct options *options)
{
	const struct cv_ring_config config = {
		.entry_count = 64, .buffer_count = 16, .buffer_bytes = 16384};
	struct stage *stage = calloc(1, sizeof(*stage));

	assert_non_null(stage);
	stage->random = options->suite;
	assert_int_equal(cv_ring_new(&config, &stage->worker.ring), 0);
	stage->worker.env.ring = stage->worker.ring;
	stage->worker.env.pipes = cv_pipe_pool_new(options->max_pipes, 4, 262144);
	stage->session.worker = &stage->worker;
	cv_leg_init(&stage->leg, &stage->session);
	cv_leg_init(&stage->other, &stage->session);
	end_init(&stage->far, 2);
	end_init(&stage->near, 3);
	connect_pair(&stage->far.fd, &stage->leg.fd, options->small_buffers);
	if (options->leg_send_buffer)
		assert_int_equal(setsockopt(stage->leg.fd, SOL_SOCKET, SO_SNDBUF,
					    &options->leg_send_buffer,
					    sizeof(options->leg_send_buffer)),
				 0);
	connect_pair(&stage->near.fd, &stage->other.fd, options->small_buffers);
	tls_init(stage, &stage->leg, &stage->far, options);
	if (options->both_tls)
		tls_init(stage, &stage->other, &stage->near, options);
	stage->up_result = stage->down_result = none;
	return stage;
}

static void stage_start(struct stage *stage)
{
	assert_int_equal(cv_leg_to_kernel(&stage->leg, true, support.rekey), 0);
	assert_int_equal(cv_leg_to_kernel(&stage->leg, false, support.rekey), 0);
	assert_true(stage->leg.has_ulp);
	if (stage->near.tls) {
		assert_int_equal(cv_leg_to_kernel(&stage->other, true, support.rekey), 0);
		assert_int_equal(cv_leg_to_kernel(&stage->other, false, support.rekey), 0);
	}
	stage->up = (struct cv_flow){
		.env = &stage->worker.env,
		.source_fd = stage->leg.fd,
		.sink_fd = stage->other.fd,
		.source_tls = cv_ktls_end(&stage->leg, false),
		.sink_tls = cv_ktls_end(&stage->other, true),
		.ended = up_ended,
	};
	stage->down = (struct cv_flow){
		.env = &stage->worker.env,
		.source_fd = stage->other.fd,
		.sink_fd = stage->leg.fd,
		.source_tls = cv_ktls_end(&stage->other, false),
		.sink_tls = cv_ktls_end(&stage->leg, true),
		.ended = down_ended,
	};
	assert_int_equal(cv_engine_ktls.start(&stage->up), 0);
	assert_int_equal(cv_engine_ktls.start(&stage->down), 0);
}

/* ---- the ends ----------------------------------------------------------------------------- */

static void end_send_record(struct end *end, uint8_t type, const void *bytes, size_t count_bytes,
			    size_t total_bytes)
{
	assert_int_equal(cv_tls_record_seal(&end->seal, type, bytes, count_bytes, total_bytes,
					    &end->out),
			 0);
}

static void end_send_data(struct end *end, size_t count_bytes, size_t padding_bytes)
{
	uint8_t bytes[CV_TLS_PLAINTEXT_MAX];

	for (size_t i = 0; i < count_bytes; i++)
		bytes[i] = stream_byte(end->send_seed, end->sent + i);
	if (end->tls)
		end_send_record(end, CV_TLS_APPLICATION, bytes, count_bytes,
				padding_bytes ? CV_TLS_HEADER + count_bytes + 1 + padding_bytes +
							CV_AEAD_TAG
					      : 0);
	else
		assert_int_equal(cv_buffer_append(&end->out, bytes, count_bytes), 0);
	end->sent += count_bytes;
}

static void end_flush(struct end *end)
{
	while (cv_buffer_len(&end->out) > 0) {
		ssize_t count = send(end->fd, cv_buffer_bytes(&end->out), cv_buffer_len(&end->out),
				     MSG_DONTWAIT | MSG_NOSIGNAL);

		if (count < 0)
			break;
		cv_buffer_consume(&end->out, (size_t)count);
	}
}

static void end_take_data(struct end *end, const uint8_t *bytes, size_t count_bytes)
{
	assert_false(end->notify_seen);
	for (size_t i = 0; i < count_bytes; i++, end->received++)
		if (bytes[i] != stream_byte(end->receive_seed, end->received))
			fail_msg("wrong byte at %llu", (unsigned long long)end->received);
}

static void end_take_record(struct end *end, struct cv_span record)
{
	uint8_t plain[CV_TLS_RECORD_MAX], type;
	size_t len_bytes;

	assert_int_equal(cv_tls_record_open(&end->open, record.data, record.len_bytes, plain, &type,
					    &len_bytes),
			 0);
	if (type == CV_TLS_APPLICATION) {
		end_take_data(end, plain, len_bytes);
	} else if (type == CV_TLS_ALERT) {
		assert_int_equal(len_bytes, 2);
		end->notify_seen |= plain[1] == 0;
		if (plain[1] != 0)
			end->alert = plain[1];
	} else {
		assert_int_equal(type, CV_TLS_HANDSHAKE);
		assert_int_equal(plain[0], MESSAGE_UPDATE);
		assert_int_equal(cv_tls_keys_update(&end->open, false), 0);
		end->updates_seen++;
	}
}

static void end_receive(struct end *end, size_t limit_bytes)
{
	uint8_t *space;
	ssize_t count;
	size_t record_bytes;

	assert_int_equal(cv_buffer_reserve(&end->in, limit_bytes, &space), 0);
	count = recv(end->fd, space, limit_bytes, MSG_DONTWAIT);
	end->fin_seen |= count == 0;
	end->reset_seen |= count < 0 && errno == ECONNRESET;
	if (count <= 0)
		return;
	cv_buffer_commit(&end->in, (size_t)count);
	if (!end->tls) {
		end_take_data(end, cv_buffer_bytes(&end->in), cv_buffer_len(&end->in));
		cv_buffer_consume(&end->in, cv_buffer_len(&end->in));
		return;
	}
	while (cv_tls_record_peek(cv_buffer_span(&end->in), &record_bytes) == 0) {
		end_take_record(end, cv_span_of(cv_buffer_bytes(&end->in), record_bytes));
		cv_buffer_consume(&end->in, record_bytes);
	}
}

static void end_step(struct stage *stage, struct end *end)
{
	static const uint8_t close_notify[] = {1, 0};

	while (end->sent < end->wanted && cv_buffer_len(&end->out) < 65536) {
		uint64_t left = end->wanted - end->sent;
		size_t count_bytes = 1 + next_random(stage, next_random(stage, 4) ? 16384 : 100);

		end_send_data(end, left < count_bytes ? (size_t)left : count_bytes,
			      count_bytes < 9000 ? next_random(stage, 3) * 50 : 0);
	}
	if (end->end_wanted && !end->end_sent && end->sent >= end->wanted) {
		if (end->tls && !end->without_notify)
			end_send_record(end, CV_TLS_ALERT, close_notify, 2, 0);
		end->end_sent = true;
	}
	end_flush(end);
	if (end->end_sent && cv_buffer_len(&end->out) == 0)
		(void)shutdown(end->fd, SHUT_WR);
	end_receive(end, end->slow ? 3000 : 262144);
}

static void tick(struct cv_timer *timer)
{
	(void)timer;
}

static void step(struct stage *stage)
{
	end_step(stage, &stage->far);
	end_step(stage, &stage->near);
	stage->guard.due = tick;
	cv_timer_arm(stage->worker.ring, &stage->guard, cv_clock_ms() + 1);
	assert_int_equal(cv_ring_turn(stage->worker.ring), 0);
	/* law 3: what was moved lies between what one end sent and the other got */
	assert_true(stage->up.moved_bytes <= stage->far.sent);
	assert_true(stage->up.moved_bytes + 65536 >= stage->near.received);
	assert_true(stage->down.moved_bytes <= stage->near.sent);
}

#define STEP_UNTIL(stage, condition) \
	for (uint64_t until_ms = cv_clock_ms() + LIMIT_MS; !(condition);) { \
		step(stage); \
		if (cv_clock_ms() > until_ms) \
			fail_msg("never: " #condition); \
	}

static void stage_close(struct stage *stage)
{
	if (stage->up_result == none)
		cv_engine_ktls.stop(&stage->up);
	if (stage->down_result == none)
		cv_engine_ktls.stop(&stage->down);
	STEP_UNTIL(stage, stage->up_result != none && stage->down_result != none);
	assert_int_equal(cv_pipe_pool_used(stage->worker.env.pipes), 0);
	cv_leg_done(&stage->leg, false);
	cv_leg_done(&stage->other, false);
	cv_timer_disarm(stage->worker.ring, &stage->guard);
	cv_pipe_pool_free(stage->worker.env.pipes);
	cv_ring_free(stage->worker.ring);
	for (int i = 0; i < 2; i++) {
		struct end *end = i ? &stage->near : &stage->far;

		(void)close(end->fd);
		cv_buffer_done(&end->in);
		cv_buffer_done(&end->out);
		if (end->tls) {
			cv_tls_keys_done(&end->seal);
			cv_tls_keys_done(&end->open);
		}
	}
	free(stage);
}

/* ---- data and ends ------------------------------------------------------------------------ */

static void play_bulk(const struct options *options, uint64_t bytes, bool slow)
{
	struct stage *stage = stage_open(options);

	stage_start(stage);
	stage->far.wanted = stage->near.wanted = bytes;
	stage->far.end_wanted = stage->near.end_wanted = true;
	stage->far.slow = stage->near.slow = slow;
	STEP_UNTIL(stage, stage->up_result != none && stage->down_result != none &&
				  stage->far.fin_seen && stage->near.fin_seen);
	assert_int_equal(stage->up_result, 0);
	assert_int_equal(stage->down_result, 0);
	assert_int_equal(stage->near.received, bytes);
	assert_int_equal(stage->far.received, bytes);
	assert_int_equal(stage->up.moved_bytes, bytes);
	assert_int_equal(stage->down.moved_bytes, bytes);
	assert_true(stage->far.notify_seen);
	assert_true(stage->leg.ktls->close_notify_received);
	stage_close(stage);
}

static void test_bulk_every_suite(void **state)
{
	(void)state;
	for (uint16_t suite = 0x1301; suite <= 0x1303; suite++)
		play_bulk(&(struct options){.suite = suite, .max_pipes = 8}, BULK, false);
}

static void test_bulk_both_ends(void **state)
{
	(void)state;
	play_bulk(&(struct options){.suite = 0x1301, .max_pipes = 8, .both_tls = true}, BULK,
		  false);
}

static void test_bulk_without_pipes(void **state)
{
	(void)state;
	play_bulk(&(struct options){.suite = 0x1303}, BULK, false);
	play_bulk(&(struct options){.suite = 0x1301, .both_tls = true}, BULK, false);
}

/* Full sockets all the time: no FIN may overtake what the kernel keeps back. */
static void test_small_buffers(void **state)
{
	(void)state;
	for (int i = 0; i < 4; i++)
		play_bulk(&(struct options){.suite = 0x1301,
					    .max_pipes = i % 2 ? 8 : 0,
					    .both_tls = i > 1,
					    .small_buffers = 4096 << i},
			  200000 + 7777u * (unsigned)i, true);
}

/* A pipe that holds more than the sink: what fits must leave before the rest can come. */
static void test_pipe_larger_than_sink(void **state)
{
	(void)state;
	for (int i = 0; i < 4; i++)
		play_bulk(&(struct options){.suite = 0x1301,
					    .max_pipes = 8,
					    .leg_send_buffer = 8192 << i},
			  BULK, false);
}

/* What a full socket makes the kernel keep back is seen, and reaches TCP once there is room. */
static void test_kept_back(void **state)
{
	static const uint8_t zeros[CV_TLS_PLAINTEXT_MAX];
	struct stage *stage = stage_open(&(struct options){
		.suite = 0x1301, .max_pipes = 8, .small_buffers = 4096});
	struct cv_ktls *ktls;
	uint64_t written = 0, got = 0;
	uint8_t bytes[CV_TLS_RECORD_MAX];
	ssize_t count;

	(void)state;
	stage_start(stage);
	ktls = stage->leg.ktls;
	assert_true(cv_ktls_is_pushed(ktls));
	while ((count = send(ktls->fd, zeros, sizeof(zeros), MSG_DONTWAIT | MSG_NOSIGNAL)) > 0) {
		cv_ktls_wrote(ktls, (size_t)count);
		written += (uint64_t)count;
	}
	assert_int_equal(errno, EAGAIN);
	assert_true(written > 0);
	assert_false(cv_ktls_is_pushed(ktls));
	for (uint64_t until_ms = cv_clock_ms() + LIMIT_MS; !cv_ktls_is_pushed(ktls);) {
		count = recv(stage->far.fd, bytes, sizeof(bytes), MSG_DONTWAIT);
		got += count > 0 ? (uint64_t)count : 0;
		assert_true(cv_clock_ms() < until_ms);
	}
	assert_int_equal(cv_ktls_close_notify(ktls), 0);
	while (!cv_ktls_is_pushed(ktls))
		;
	assert_int_equal(shutdown(ktls->fd, SHUT_WR), 0);
	while ((count = recv(stage->far.fd, bytes, sizeof(bytes), 0)) > 0)
		got += (uint64_t)count;
	assert_int_equal(got, written + 2 + cv_ktls_sent_records(ktls) * 22);
	assert_int_equal(shutdown(stage->far.fd, SHUT_WR), 0);
	stage_close(stage);
}

/* A half-close: the other direction lives on. */
static void test_half_close(void **state)
{
	struct stage *stage = stage_open(&(struct options){.suite = 0x1302, .max_pipes = 8});

	(void)state;
	stage_start(stage);
	stage->far.wanted = 5;
	stage->far.end_wanted = true;
	STEP_UNTIL(stage, stage->near.fin_seen);
	assert_int_equal(stage->up_result, 0);
	assert_int_equal(stage->down_result, none);
	stage->near.wanted = 100000;
	STEP_UNTIL(stage, stage->far.received == 100000);
	stage->near.end_wanted = true;
	STEP_UNTIL(stage, stage->far.fin_seen);
	assert_true(stage->far.notify_seen);
	stage_close(stage);
}

static void test_truncation_is_told_apart(void **state)
{
	struct stage *stage = stage_open(&(struct options){.suite = 0x1301, .max_pipes = 8});

	(void)state;
	stage_start(stage);
	stage->far.wanted = 50000;
	stage->far.end_wanted = stage->far.without_notify = true;
	STEP_UNTIL(stage, stage->near.fin_seen);
	assert_int_equal(stage->up_result, 0);
	assert_int_equal(stage->near.received, 50000);
	assert_false(stage->leg.ktls->close_notify_received);
	stage_close(stage);
}

/* ---- the boundary ------------------------------------------------------------------------- */

/* One and a half records wait in the socket when the kernel takes over. */
static void test_queued_records(void **state)
{
	struct stage *stage = stage_open(&(struct options){.suite = 0x1301, .max_pipes = 8});
	size_t half_bytes;

	(void)state;
	end_send_data(&stage->far, 1000, 0);
	end_send_data(&stage->far, 3000, 100);
	half_bytes = cv_buffer_len(&stage->far.out) / 2;
	assert_true(send(stage->far.fd, cv_buffer_bytes(&stage->far.out), half_bytes,
			 MSG_NOSIGNAL) == (ssize_t)half_bytes);
	cv_buffer_consume(&stage->far.out, half_bytes);
	stage_start(stage);
	for (uint64_t until_ms = cv_clock_ms() + 5000; stage->near.received < 1000;) {
		end_receive(&stage->near, 65536);
		cv_timer_arm(stage->worker.ring, &stage->guard, cv_clock_ms() + 1);
		stage->guard.due = tick;
		assert_int_equal(cv_ring_turn(stage->worker.ring), 0);
		assert_true(cv_clock_ms() < until_ms);
	}
	assert_int_equal(stage->near.received, 1000);
	stage->far.wanted = 20000;
	STEP_UNTIL(stage, stage->near.received == 20000);
	stage_close(stage);
}

/* Records that user space opened count: the kernel goes on with the number behind them. */
static void test_records_before(void **state)
{
	struct stage *stage = stage_open(&(struct options){.suite = 0x1303, .max_pipes = 8});
	struct cv_buffer app;

	(void)state;
	cv_buffer_init(&app, 65536);
	for (int i = 0; i < 3; i++)
		end_send_data(&stage->far, 100, 0);
	assert_int_equal(cv_buffer_append(&stage->leg.in, cv_buffer_bytes(&stage->far.out),
					  cv_buffer_len(&stage->far.out)),
			 0);
	cv_buffer_consume(&stage->far.out, cv_buffer_len(&stage->far.out));
	while (cv_leg_decode(&stage->leg, &app) == 0)
		;
	assert_int_equal(cv_buffer_len(&app), 300);
	end_take_data(&stage->near, cv_buffer_bytes(&app), 300);
	cv_buffer_done(&app);
	stage->up.moved_bytes = 300;
	stage_start(stage);
	stage->up.moved_bytes = 300;
	stage->far.wanted = 1000;
	STEP_UNTIL(stage, stage->near.received == 1000);
	stage_close(stage);
}

/* ---- what is no application data ---------------------------------------------------------- */

static void expect_up(struct stage *stage, int result)
{
	STEP_UNTIL(stage, stage->up_result != none);
	if (stage->up_result != result)
		fail_msg("%s, not %s", cv_reason_label(stage->up_result), cv_reason_label(result));
	assert_int_equal(stage->up.failed_side, CV_FLOW_SOURCE);
}

static void test_fatal_alert(void **state)
{
	static const uint8_t alert[] = {2, 80};

	(void)state;
	for (int client = 0; client < 2; client++) {
		struct stage *stage = stage_open(&(struct options){
			.suite = 0x1301, .max_pipes = 8, .leg_is_client = client});

		stage_start(stage);
		end_send_data(&stage->far, 500, 0);
		end_send_record(&stage->far, CV_TLS_ALERT, alert, 2, 0);
		stage->far.wanted = 500;
		expect_up(stage, client ? CV_UPSTREAM_ALERT : CV_PEER_ALERT);
		STEP_UNTIL(stage, stage->near.received == 500); /* what came before it */
		stage_close(stage);
	}
}

static void test_bad_record(void **state)
{
	struct stage *stage = stage_open(&(struct options){.suite = 0x1302, .max_pipes = 8});

	(void)state;
	stage_start(stage);
	end_send_data(&stage->far, 500, 0);
	cv_buffer_bytes(&stage->far.out)[100] ^= 1;
	stage->far.wanted = 500;
	expect_up(stage, CV_PEER_BAD_RECORD);
	STEP_UNTIL(stage, stage->far.alert == 20);
	assert_int_equal(stage->near.received, 0);
	stage_close(stage);
}

static void test_not_tls(void **state)
{
	struct stage *stage = stage_open(&(struct options){.suite = 0x1301, .max_pipes = 8});

	(void)state;
	stage_start(stage);
	assert_int_equal(cv_buffer_append(&stage->far.out, "GET / HTTP/1.1\r\n\r\n", 18), 0);
	STEP_UNTIL(stage, stage->up_result != none);
	assert_true(stage->up_result == CV_PEER_UNEXPECTED_MESSAGE ||
		    stage->up_result == CV_PEER_TOO_LONG ||
		    stage->up_result == CV_PEER_BAD_RECORD);
	STEP_UNTIL(stage, stage->far.alert > 0);
	assert_int_equal(stage->near.received, 0);
	stage_close(stage);
}

static void test_tickets(void **state)
{
	uint8_t ticket[200] = {4, 0, 0, 196};

	(void)state;
	for (int client = 0; client < 2; client++) {
		struct stage *stage = stage_open(&(struct options){
			.suite = 0x1301, .max_pipes = 8, .leg_is_client = client});

		stage_start(stage);
		end_send_data(&stage->far, 500, 0);
		end_send_record(&stage->far, CV_TLS_HANDSHAKE, ticket, sizeof(ticket), 0);
		end_send_record(&stage->far, CV_TLS_HANDSHAKE, ticket, 150, 0); /* in two parts */
		end_send_record(&stage->far, CV_TLS_HANDSHAKE, ticket + 150, 50, 0);
		if (client) {
			stage->far.wanted = 5000;
			STEP_UNTIL(stage, stage->near.received == 5000);
		} else {
			stage->far.wanted = 500;
			expect_up(stage, CV_PEER_UNEXPECTED_MESSAGE);
		}
		stage_close(stage);
	}
}

static void test_key_update(void **state)
{
	static const uint8_t requested[] = {MESSAGE_UPDATE, 0, 0, 1, 1},
			     not_requested[] = {MESSAGE_UPDATE, 0, 0, 1, 0};

	(void)state;
	for (int ask = 0; ask < 2; ask++) {
		struct stage *stage = stage_open(&(struct options){
			.suite = 0x1301 + (uint16_t)ask, .max_pipes = 8});

		stage_start(stage);
		for (int round = 0; round < 3; round++) {
			end_send_data(&stage->far, 500, 0);
			end_send_record(&stage->far, CV_TLS_HANDSHAKE,
					ask ? requested : not_requested, 5, 0);
			assert_int_equal(cv_tls_keys_update(&stage->far.seal, true), 0);
		}
		stage->far.wanted = stage->near.wanted = BULK;
		if (!support.rekey) {
			stage->far.wanted = stage->near.wanted = 1500;
			expect_up(stage, CV_PEER_KEY_UPDATE);
			stage_close(stage);
			continue;
		}
		stage->far.end_wanted = stage->near.end_wanted = true;
		STEP_UNTIL(stage, stage->far.fin_seen && stage->near.fin_seen);
		assert_int_equal(stage->near.received, BULK);
		assert_int_equal(stage->far.received, BULK);
		assert_int_equal(stage->far.updates_seen, ask ? 3 : 0);
		assert_true(stage->far.notify_seen);
		stage_close(stage);
	}
}

/* AES-GCM's bound: a new key, or the end before it. */
static void test_key_limit(void **state)
{
	const uint64_t limit = UINT64_C(1) << 24;
	struct stage *stage = stage_open(
		&(struct options){.suite = 0x1301, .max_pipes = 8, .tx_sequence = limit - 2});

	(void)state;
	stage_start(stage);
	stage->near.wanted = BULK;
	if (support.rekey) {
		STEP_UNTIL(stage, stage->far.received == BULK);
		assert_int_equal(stage->far.updates_seen, 1);
	} else {
		STEP_UNTIL(stage, stage->down_result != none);
		assert_int_equal(stage->down_result, CV_POLICY_KEY_LIMIT);
		assert_true(cv_ktls_sent_records(stage->leg.ktls) < limit + 1000);
	}
	stage_close(stage);
}

/* ---- stopping and dying ------------------------------------------------------------------- */

static void test_stop(void **state)
{
	struct stage *stage = stage_open(&(struct options){.suite = 0x1301, .max_pipes = 8});

	(void)state;
	stage_start(stage);
	stage->far.wanted = 100;
	STEP_UNTIL(stage, stage->near.received == 100);
	cv_engine_ktls.stop(&stage->up);
	cv_engine_ktls.stop(&stage->down);
	STEP_UNTIL(stage, stage->up_result != none && stage->down_result != none);
	assert_int_equal(stage->up_result, -ECANCELED);
	assert_int_equal(stage->down_result, -ECANCELED);
	stage_close(stage);
}

static void test_reset(void **state)
{
	const struct linger linger = {.l_onoff = 1};
	struct stage *stage = stage_open(&(struct options){.suite = 0x1301, .max_pipes = 8});

	(void)state;
	stage_start(stage);
	stage->far.wanted = stage->near.wanted = 1000;
	STEP_UNTIL(stage, stage->near.received == 1000 && stage->far.received == 1000);
	assert_int_equal(setsockopt(stage->far.fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)),
			 0);
	(void)close(stage->far.fd);
	stage->far.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	STEP_UNTIL(stage, stage->up_result != none);
	assert_int_equal(stage->up_result, -ECONNRESET);
	assert_int_equal(stage->up.failed_side, CV_FLOW_SOURCE);
	stage_close(stage);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bulk_every_suite),
		cmocka_unit_test(test_bulk_both_ends),
		cmocka_unit_test(test_bulk_without_pipes),
		cmocka_unit_test(test_small_buffers),
		cmocka_unit_test(test_pipe_larger_than_sink),
		cmocka_unit_test(test_kept_back),
		cmocka_unit_test(test_half_close),
		cmocka_unit_test(test_truncation_is_told_apart),
		cmocka_unit_test(test_queued_records),
		cmocka_unit_test(test_records_before),
		cmocka_unit_test(test_fatal_alert),
		cmocka_unit_test(test_bad_record),
		cmocka_unit_test(test_not_tls),
		cmocka_unit_test(test_tickets),
		cmocka_unit_test(test_key_update),
		cmocka_unit_test(test_key_limit),
		cmocka_unit_test(test_stop),
		cmocka_unit_test(test_reset),
	};

	signal(SIGPIPE, SIG_IGN);
	cv_ktls_probe(CV_KTLS_FORCE, &support);
	if (!support.usable) {
		print_message("skipped: no kernel TLS here: %s\n", support.why);
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
