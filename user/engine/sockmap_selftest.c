// SPDX-License-Identifier: MIT
/*
 * sockmap_selftest.c - the rules of engine_sockmap.c on loopback pairs, before anybody's bytes.
 *
 *   client ==TCP== near [ 0: near -> far, 1: far -> near ] far ==TCP== server
 *
 *   bursts	a thread writes while directions are handed over: nothing lost, doubled, stalled
 *   ends	FIN close behind the data; an answer over the half-closed side; FIN again
 *   close	FIN while most of the data waits in front of a full sink
 *   reset	a reset of the source is a reset, and not a FIN
 *   limit	a receiver that does not read stops the sender; FIN then comes after the last byte
 *
 * Every stream is a function of its position. The engine itself is used, with a ring and slots of
 * its own; its sockets are nobody else's. A wrong byte or an early FIN is enough; who is late gets
 * a second chance.
 */
#include "engine/sockmap_selftest.h"

#include "base/clock.h"
#include "base/container.h"
#include "engine/pipe_pool.h"
#include "engine/sockmap.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PAIRS 48
#define STILL_MS 3000  /* without a byte or an end: stalled */
#define STAGE_MS 20000 /* a stage that works takes 50, on an emulated machine 2000 */
#define CHUNK_BYTES 16384
#define LIMIT_PUSH_BYTES (96u << 20)
#define QUEUED_BYTES 900000 /* less than CV_RELAY_LIMIT_BYTES, more than both buffers */
#define NOT_ENDED 1000

struct pair {
	struct bench *bench;
	struct cv_flow flow[2];
	int end[2]; /* client, server */
	int inner[2]; /* near, far */
	int result[2];
	_Atomic uint64_t sent[2];
	uint64_t received[2], wanted[2]; /* of direction 0, 1 */
	bool fin_wanted[2], fin_sent[2], fin_seen[2];
};

struct bench {
	struct cv_ring *ring;
	struct cv_engine_env env;
	struct cv_timer guard;
	int listener;
	struct sockaddr_in address;
	struct pair pairs[PAIRS];
	size_t count;
	char *why;
};

static int __attribute__((format(printf, 2, 3)))
broken(struct bench *bench, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(bench->why, CV_SELFTEST_WHY, format, arguments);
	va_end(arguments);
	return -EILSEQ;
}

/* ---- pairs -------------------------------------------------------------------------------- */

static void ended(struct cv_flow *flow, int result)
{
	struct pair *pair = flow->owner_tag ? cv_container_of(flow, struct pair, flow[1])
					    : cv_container_of(flow, struct pair, flow[0]);

	pair->result[flow->owner_tag] = result;
}

static int connect_one(struct bench *bench, int *ret_outer, int *ret_inner)
{
	const int one = 1;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	*ret_outer = fd;
	if (fd < 0 ||
	    connect(fd, (struct sockaddr *)&bench->address, sizeof(bench->address)) < 0)
		return -errno;
	*ret_inner = accept4(bench->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return *ret_inner < 0 ? -errno : 0;
}

static int pair_open(struct bench *bench, struct pair *pair)
{
	int error;

	memset(pair, 0, sizeof(*pair));
	pair->bench = bench;
	pair->end[0] = pair->end[1] = pair->inner[0] = pair->inner[1] = -1;
	pair->result[0] = pair->result[1] = -ECANCELED;
	error = connect_one(bench, &pair->end[0], &pair->inner[0]);
	if (!error)
		error = connect_one(bench, &pair->end[1], &pair->inner[1]);
	for (int d = 0; d < 2; d++)
		pair->flow[d] = (struct cv_flow){
			.env = &bench->env,
			.source_fd = pair->inner[d],
			.sink_fd = pair->inner[!d],
			.ended = ended,
			.owner_tag = (uint8_t)d,
		};
	return error;
}

static int pair_start(struct pair *pair)
{
	int error = 0;

	for (int d = 0; d < 2 && !error; d++) {
		pair->result[d] = NOT_ENDED;
		error = cv_engine_sockmap.start(&pair->flow[d]);
		if (error)
			pair->result[d] = -ECANCELED;
	}
	return error;
}

static int pairs_open(struct bench *bench, size_t count)
{
	int error = 0;

	for (bench->count = 0; bench->count < count && !error; bench->count++)
		error = pair_open(bench, &bench->pairs[bench->count]);
	return error;
}

static void close_fd(int fd)
{
	if (fd >= 0)
		(void)close(fd);
}

static void turn(struct bench *bench)
{
	cv_timer_arm(bench->ring, &bench->guard, cv_clock_ms() + 1);
	if (cv_ring_turn(bench->ring) < 0)
		usleep(1000);
}

static void pairs_close(struct bench *bench)
{
	for (size_t i = 0; i < bench->count; i++)
		for (int d = 0; d < 2; d++)
			if (bench->pairs[i].result[d] == NOT_ENDED)
				cv_engine_sockmap.stop(&bench->pairs[i].flow[d]);
	while (cv_sockmap_used(bench->env.sockmap))
		turn(bench);
	for (size_t i = 0; i < bench->count; i++)
		for (int d = 0; d < 2; d++) {
			const struct linger reset = {.l_onoff = 1};

			if (bench->pairs[i].end[d] >= 0) /* no TIME_WAIT */
				(void)setsockopt(bench->pairs[i].end[d], SOL_SOCKET, SO_LINGER,
						 &reset, sizeof(reset));
			close_fd(bench->pairs[i].end[d]);
			close_fd(bench->pairs[i].inner[d]);
		}
	bench->count = 0;
}

/* ---- streams ------------------------------------------------------------------------------ */

static uint8_t byte_at(uint64_t position, int direction)
{
	uint64_t x = (position + 1) * 0x9e3779b97f4a7c15u + (uint64_t)direction;

	return (uint8_t)(x >> 29 ^ x >> 51);
}

static void send_some(struct pair *pair, int d, size_t limit)
{
	uint8_t bytes[CHUNK_BYTES];
	size_t size = pair->wanted[d] - pair->sent[d];
	ssize_t sent;

	if (size > limit)
		size = limit;
	if (size > sizeof(bytes))
		size = sizeof(bytes);
	for (size_t i = 0; i < size; i++)
		bytes[i] = byte_at(pair->sent[d] + i, d);
	sent = size ? send(pair->end[d], bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;
	if (sent > 0)
		pair->sent[d] += (uint64_t)sent;
	if (pair->fin_wanted[d] && !pair->fin_sent[d] && pair->sent[d] == pair->wanted[d])
		pair->fin_sent[d] = shutdown(pair->end[d], SHUT_WR) == 0;
}

/* What direction @d brings to its far end. 0, or the reason why that is wrong. */
static int receive(struct pair *pair, int d)
{
	static _Thread_local uint8_t bytes[8 * CHUNK_BYTES];
	ssize_t got = 1;

	while (!pair->fin_seen[d] && got > 0) {
		got = recv(pair->end[!d], bytes, sizeof(bytes), MSG_DONTWAIT);
		pair->fin_seen[d] = got == 0;
		for (ssize_t i = 0; i < got; i++)
			if (bytes[i] != byte_at(pair->received[d] + (uint64_t)i, d))
				return broken(pair->bench, "wrong byte at %llu",
					      (unsigned long long)pair->received[d] + i);
		pair->received[d] += got > 0 ? (uint64_t)got : 0;
	}
	if (pair->fin_seen[d] && pair->received[d] < pair->wanted[d])
		return broken(pair->bench, "FIN after %llu of %llu bytes",
			      (unsigned long long)pair->received[d],
			      (unsigned long long)pair->wanted[d]);
	return 0;
}

static bool is_complete(const struct pair *pair)
{
	for (int d = 0; d < 2; d++)
		if (pair->received[d] < pair->wanted[d] ||
		    (pair->fin_wanted[d] && (!pair->fin_seen[d] || pair->result[d] != 0)))
			return false;
	return true;
}

static uint64_t progress(const struct bench *bench)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < bench->count; i++)
		for (int d = 0; d < 2; d++)
			sum += bench->pairs[i].received[d] + bench->pairs[i].fin_seen[d] +
			       (bench->pairs[i].result[d] != NOT_ENDED);
	return sum;
}

/* Until each pair has got all it wants. */
static int play(struct bench *bench, bool sending, const char *stage)
{
	uint64_t end_ms = cv_clock_ms() + STAGE_MS, moved_ms = cv_clock_ms(), before = 0;
	size_t complete = 0;
	int error = 0;

	while (complete < bench->count && !error) {
		uint64_t now_ms = cv_clock_ms();

		if (progress(bench) != before)
			moved_ms = now_ms;
		before = progress(bench);
		if (now_ms > end_ms || now_ms > moved_ms + STILL_MS) {
			(void)broken(bench, "%s: %zu of %zu pairs stalled", stage,
				     bench->count - complete, bench->count);
			return -ETIMEDOUT;
		}
		for (size_t i = 0; i < bench->count && sending; i++)
			for (int d = 0; d < 2; d++)
				send_some(&bench->pairs[i], d, 3000);
		turn(bench);
		complete = 0;
		for (size_t i = 0; i < bench->count && !error; i++) {
			error = receive(&bench->pairs[i], 0);
			if (!error)
				error = receive(&bench->pairs[i], 1);
			complete += is_complete(&bench->pairs[i]);
		}
	}
	return error;
}

/* ---- stages ------------------------------------------------------------------------------- */

static void *send_bursts(void *opaque)
{
	struct bench *bench = opaque;
	uint64_t end_ms = cv_clock_ms() + STAGE_MS;
	bool more = true;

	while (more && cv_clock_ms() < end_ms) {
		more = false;
		for (size_t i = 0; i < bench->count; i++)
			for (int d = 0; d < 2; d++) {
				send_some(&bench->pairs[i], d, 700 + 977 * (i % 16));
				more |= bench->pairs[i].sent[d] < bench->pairs[i].wanted[d];
			}
	}
	return NULL;
}

static int stage_bursts(struct bench *bench)
{
	pthread_t sender;
	int error = pairs_open(bench, PAIRS);

	for (size_t i = 0; i < bench->count; i++)
		bench->pairs[i].wanted[0] = bench->pairs[i].wanted[1] = 100000 + 777 * i;
	if (!error)
		error = -pthread_create(&sender, NULL, send_bursts, bench);
	if (error)
		return error;
	for (size_t i = 0; i < bench->count && !error; i++)
		error = pair_start(&bench->pairs[i]);
	if (!error)
		error = play(bench, false, "bursts at the handover");
	pthread_join(sender, NULL);
	return error;
}

/* One side says FIN behind its last byte, the other answers all of it only then. */
static int stage_ends(struct bench *bench)
{
	static const uint32_t sizes[] = {1, 500, 3000, 4000, 60000, 100000};
	int error = pairs_open(bench, PAIRS);

	for (size_t i = 0; i < bench->count && !error; i++) {
		struct pair *pair = &bench->pairs[i];

		error = pair_start(pair);
		pair->wanted[i & 1] = sizes[i / 2 % 6];
		pair->fin_wanted[i & 1] = true;
		while (!pair->fin_sent[i & 1] && !error)
			send_some(pair, i & 1, UINT32_MAX);
	}
	if (!error)
		error = play(bench, true, "FIN behind data");
	for (size_t i = 0; i < bench->count; i++) {
		bench->pairs[i].wanted[!(i & 1)] = sizes[(i / 2 + 3) % 6];
		bench->pairs[i].fin_wanted[!(i & 1)] = true;
	}
	return error ? error : play(bench, true, "answer over a half-closed side");
}

/* All is redirected, most of it cannot be in the sink's queue yet, and the source says FIN. */
static int stage_close(struct bench *bench)
{
	const int small = 131072; /* below some packets of loopback it takes seconds */
	struct pair *pair = &bench->pairs[0];
	uint64_t end_ms = cv_clock_ms() + STILL_MS;
	int error = pairs_open(bench, 1);

	pair->wanted[0] = QUEUED_BYTES;
	pair->fin_wanted[0] = true;
	if (!error &&
	    (setsockopt(pair->end[1], SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)) < 0 ||
	     setsockopt(pair->inner[1], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)) < 0))
		error = -errno;
	if (!error)
		error = pair_start(pair);
	while (!error && !pair->fin_sent[0] && cv_clock_ms() < end_ms) {
		send_some(pair, 0, UINT32_MAX);
		turn(bench);
	}
	for (int i = 0; i < 30 && !error; i++)
		turn(bench);
	return error ? error : play(bench, true, "FIN behind what is on its way");
}

static int stage_reset(struct bench *bench)
{
	const struct linger reset = {.l_onoff = 1};
	struct pair *pair = &bench->pairs[0];
	uint64_t end_ms;
	int error = pairs_open(bench, 1);

	pair->wanted[0] = 20000;
	if (!error)
		error = pair_start(pair);
	if (!error)
		error = play(bench, true, "before a reset");
	if (error)
		return error;
	(void)setsockopt(pair->end[0], SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	(void)close(pair->end[0]);
	pair->end[0] = -1;
	end_ms = cv_clock_ms() + STAGE_MS;
	while (pair->result[0] == NOT_ENDED && cv_clock_ms() < end_ms)
		turn(bench);
	if (pair->result[0] != -ECONNRESET)
		return broken(bench, "a reset ended as %d", pair->result[0]);
	return 0;
}

/* Nobody reads. The sender must be stopped, and with a bounded amount on its way into the sink. */
static int stage_limit(struct bench *bench)
{
	struct pair *pair = &bench->pairs[0];
	uint64_t last = 0, since_ms = cv_clock_ms();
	int error = pairs_open(bench, 1);
	char text[128];

	if (!error)
		error = pair_start(pair);
	pair->wanted[0] = LIMIT_PUSH_BYTES;
	while (!error && cv_clock_ms() < since_ms + 100) {
		send_some(pair, 0, UINT32_MAX);
		if (pair->sent[0] != last) {
			last = pair->sent[0];
			since_ms = cv_clock_ms();
			if (last % 8 == 0)
				continue;
		}
		turn(bench);
		if (last == LIMIT_PUSH_BYTES)
			error = broken(bench, "a receiver that does not read got %llu MiB parked",
				       (unsigned long long)last >> 20);
	}
	if (error)
		return error;
	cv_engine_sockmap.describe(&pair->flow[0], text, sizeof(text));
	if (!strstr(text, "waiting for sink"))
		return broken(bench, "the limit was not reached: %.80s", text);
	pair->wanted[0] = pair->sent[0];
	pair->fin_wanted[0] = true;
	return play(bench, true, "FIN behind a full sink");
}

/* ---- all ---------------------------------------------------------------------------------- */

static void tick(struct cv_timer *timer)
{
	(void)timer;
}

static int bench_open(const struct cv_kernel *kernel, struct bench *bench)
{
	const struct cv_ring_config ring = {
		.entry_count = 256,
		.buffer_count = 16,
		.buffer_bytes = 4096,
	};
	socklen_t len_bytes = sizeof(bench->address);
	int error = cv_ring_new(&ring, &bench->ring);

	bench->listener = -1;
	if (error)
		return error;
	bench->guard.due = tick;
	bench->env.ring = bench->ring;
	bench->env.pipes = cv_pipe_pool_new(1, 1, 65536);
	if (!bench->env.pipes)
		return -ENOMEM;
	error = cv_sockmap_new(kernel, bench->ring, &bench->env.sockmap);
	if (error)
		return error;
	bench->address.sin_family = AF_INET;
	bench->address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	bench->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bench->listener < 0 ||
	    bind(bench->listener, (struct sockaddr *)&bench->address, len_bytes) < 0 ||
	    listen(bench->listener, 16) < 0 ||
	    getsockname(bench->listener, (struct sockaddr *)&bench->address, &len_bytes) < 0)
		return -errno;
	return 0;
}

static void bench_close(struct bench *bench)
{
	close_fd(bench->listener);
	bench->env.sockmap = cv_sockmap_free(bench->env.sockmap);
	bench->env.pipes = cv_pipe_pool_free(bench->env.pipes);
	if (bench->ring)
		cv_timer_disarm(bench->ring, &bench->guard);
	bench->ring = cv_ring_free(bench->ring);
}

static int run_stages(struct bench *bench)
{
	static int (*const stages[])(struct bench *) = {stage_bursts, stage_bursts, stage_ends,
							stage_ends,   stage_close,  stage_reset,
							stage_limit};
	int error = 0;

	for (size_t i = 0; i < sizeof(stages) / sizeof(stages[0]) && !error; i++) {
		error = stages[i](bench);
		pairs_close(bench);
	}
	return error;
}

int cv_sockmap_selftest_run(const struct cv_kernel *kernel, char *ret_why)
{
	struct bench *bench = calloc(1, sizeof(*bench));
	int error = bench ? 0 : -ENOMEM;

	ret_why[0] = '\0';
	if (error)
		return error;
	bench->why = ret_why;
	error = bench_open(kernel, bench);
	if (!error)
		error = run_stages(bench);
	if (error == -ETIMEDOUT) { /* once may be a machine that had no time */
		ret_why[0] = '\0';
		error = run_stages(bench);
		error = error == -ETIMEDOUT ? -EILSEQ : error;
	}
	if (error && !ret_why[0])
		(void)snprintf(ret_why, CV_SELFTEST_WHY, "cannot be tested: %s", strerror(-error));
	bench_close(bench);
	free(bench);
	return error;
}
