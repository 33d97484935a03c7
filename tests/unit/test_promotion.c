// SPDX-License-Identifier: MIT
/*
 * test_promotion.c - sessions go from splice or copy to sockmap while both directions stream.
 *
 * A thread plays clients and upstreams; streams are functions of their position, so that a byte
 * lost, doubled or moved by a change of engines is seen. The sessions start without sockmap; it
 * becomes usable while they run, and the worker's review does the rest. Of each session one
 * direction is promoted; then one session's receivers stop for a while, and so must its senders.
 */
#include "base/clock.h"
#include "engine/kernel.h"
#include "engine/sockmap_selftest.h"
#include "session_stage.h"
#include "session/session.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define PAIRS 12
#define STALL_MS 1500
#define STALL_BYTES (48u << 20) /* what buffers may take of a direction; a second moves more */

struct stream { /* one direction of a pair */
	int from, to;
	uint64_t sent, received;
	uint32_t seed, random;
	bool fin_sent, fin_seen, wrong;
};

struct traffic {
	struct stream streams[2 * PAIRS];
	_Atomic bool finish, stall; /* stall: nobody receives from the first pair */
	_Atomic uint64_t unread;    /* by the first pair, the direction that has more */
	_Atomic uint64_t received; /* of all */
};

struct enable {
	struct cv_post post;
	struct cv_worker *worker;
	const struct cv_kernel *kernel;
	const struct cv_sockmap_selftest *selftest;
	enum cv_choice_mode mode;
};

static struct cv_kernel *kernel;
static struct cv_sockmap_selftest *selftest;

static uint8_t byte_of(uint64_t position, uint32_t seed)
{
	uint64_t x = (position + 1) * 0x9e3779b97f4a7c15u ^ (uint64_t)seed * 0xc2b2ae3d27d4eb4fu;

	return (uint8_t)(x >> 29 ^ x >> 51);
}

static void stream_turn(struct stream *stream, bool finish, bool stall)
{
	static uint8_t bytes[1 << 16];
	size_t size;
	ssize_t sent, got;

	stream->random = stream->random * 1664525 + 1013904223;
	size = 1 + (stream->random >> 17);
	if (finish && !stream->fin_sent) {
		stream->fin_sent = shutdown(stream->from, SHUT_WR) == 0;
	} else if (!finish) {
		for (size_t i = 0; i < size; i++)
			bytes[i] = byte_of(stream->sent + i, stream->seed);
		sent = send(stream->from, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL);
		stream->sent += sent > 0 ? (uint64_t)sent : 0;
	}
	if (stream->fin_seen || stall)
		return;
	got = recv(stream->to, bytes, sizeof(bytes), MSG_DONTWAIT);
	stream->fin_seen = got == 0;
	for (ssize_t i = 0; i < got; i++)
		stream->wrong |= bytes[i] != byte_of(stream->received + (uint64_t)i, stream->seed);
	stream->received += got > 0 ? (uint64_t)got : 0;
}

static void *play(void *opaque)
{
	struct traffic *traffic = opaque;
	uint64_t end_ms = cv_clock_ms() + 40000;
	size_t ended = 0;

	while (ended < 2 * PAIRS && cv_clock_ms() < end_ms) {
		uint64_t received = 0, unread;

		ended = 0;
		for (size_t i = 0; i < 2 * PAIRS; i++) {
			struct stream *stream = &traffic->streams[i];

			stream_turn(stream, atomic_load(&traffic->finish),
				    i < 2 && atomic_load(&traffic->stall));
			ended += stream->fin_seen;
			received += stream->received;
			unread = stream->sent - stream->received;
			if (i < 2 && unread > atomic_load(&traffic->unread))
				atomic_store(&traffic->unread, unread);
		}
		atomic_store(&traffic->received, received);
	}
	return NULL;
}

static void enable_run(struct cv_post *post)
{
	struct enable *enable = (struct enable *)post;

	enable->worker->kernel = enable->kernel;
	enable->worker->selftest = enable->selftest;
	enable->worker->mode = enable->mode;
}

struct engines {
	struct cv_worker_visit visit;
	size_t sockmap, splice, copy;
};

static void look(struct cv_worker_visit *visit, struct cv_session *session)
{
	struct engines *engines = visit->context;

	for (int d = 0; d < 2; d++) {
		const struct cv_engine *engine =
			session->flow_active[d] ? session->flow[d].engine : NULL;

		engines->sockmap += engine == &cv_engine_sockmap;
		engines->splice += engine == &cv_engine_splice;
		engines->copy += engine == &cv_engine_copy;
	}
}

static struct engines engines_now(struct session_stage *stage)
{
	struct engines engines = {.visit = {.session = look}};

	engines.visit.context = &engines;
	cv_worker_visit_all(&stage->worker, &engines.visit);
	return engines;
}

static void traffic_open(struct session_stage *stage, struct traffic *traffic)
{
	memset(traffic, 0, sizeof(*traffic));
	for (uint32_t i = 0; i < PAIRS; i++) {
		struct session_pair pair = stage_open(stage);

		traffic->streams[2 * i] = (struct stream){
			.from = pair.client, .to = pair.upstream, .seed = i, .random = i};
		traffic->streams[2 * i + 1] = (struct stream){
			.from = pair.upstream, .to = pair.client, .seed = ~i, .random = ~i};
	}
}

static void assert_whole(const struct traffic *traffic)
{
	for (size_t i = 0; i < 2 * PAIRS; i++) {
		const struct stream *stream = &traffic->streams[i];

		if (stream->wrong || !stream->fin_seen || stream->received != stream->sent)
			fail_msg("stream %zu: sent %llu received %llu%s%s", i,
				 (unsigned long long)stream->sent,
				 (unsigned long long)stream->received,
				 stream->wrong ? ", wrong bytes" : "",
				 stream->fin_seen ? "" : ", no FIN");
	}
}

static void assert_bounded(struct traffic *traffic)
{
	atomic_store(&traffic->stall, true);
	(void)usleep(STALL_MS * 1000);
	atomic_store(&traffic->stall, false);
	print_message("both receivers stopped: %llu MiB taken\n",
		      (unsigned long long)atomic_load(&traffic->unread) >> 20);
	assert_true(atomic_load(&traffic->unread) < STALL_BYTES);
}

static void run(const char *engine, enum cv_choice_mode mode)
{
	struct session_stage stage;
	struct traffic *traffic = calloc(1, sizeof(*traffic));
	struct enable enable = {.post.run = enable_run, .kernel = kernel, .selftest = selftest,
				.mode = mode};
	uint64_t end_ms = cv_clock_ms() + 20000, before;
	struct engines engines;
	pthread_t player;

	if (kernel->relay.error) {
		print_message("no sockmap here: %s\n", kernel->relay.why);
		free(traffic);
		skip();
	}
	assert_non_null(traffic);
	stage_init(&stage);
	stage_start(&stage, engine);
	traffic_open(&stage, traffic);
	assert_int_equal(pthread_create(&player, NULL, play, traffic), 0);
	while (atomic_load(&traffic->received) < 20u << 20)
		(void)usleep(1000);
	engines = engines_now(&stage);
	assert_int_equal(engines.sockmap, 0);
	assert_int_equal(engines.splice + engines.copy, 2 * PAIRS);
	enable.worker = &stage.worker;
	cv_ring_post(stage.worker.ring, &enable.post);
	while (engines_now(&stage).sockmap < PAIRS && cv_clock_ms() < end_ms)
		(void)usleep(20000);
	engines = engines_now(&stage);
	print_message("%s: %zu of %d sessions promoted under load\n", engine, engines.sockmap,
		      PAIRS);
	assert_int_equal(engines.sockmap, PAIRS);
	assert_int_equal(engines.copy, PAIRS);
	assert_bounded(traffic);
	before = atomic_load(&traffic->received);
	while (atomic_load(&traffic->received) < before + (20u << 20) && cv_clock_ms() < end_ms)
		(void)usleep(1000);
	assert_true(atomic_load(&traffic->received) >= before + (20u << 20));
	atomic_store(&traffic->finish, true);
	pthread_join(player, NULL);
	assert_whole(traffic);
	for (size_t i = 0; i < PAIRS; i++) {
		(void)close(traffic->streams[2 * i].from);
		(void)close(traffic->streams[2 * i].to);
	}
	stage_done(&stage);
	free(traffic);
}

static void splice_to_sockmap(void **state)
{
	(void)state;
	run("splice", CV_CHOICE_SOCKMAP);
}

static void copy_to_sockmap(void **state)
{
	(void)state;
	run("copy", CV_CHOICE_SOCKMAP);
}

static int load(void **state)
{
	(void)state;
	if (cv_kernel_open(NULL, CV_KERNEL_LOAD_RELAY, &kernel) != 0 ||
	    cv_sockmap_selftest_start(kernel, "/nonexistent", &selftest) != 0)
		return -1;
	(void)cv_sockmap_selftest_wait(selftest, 30000);
	return 0;
}

static int unload(void **state)
{
	(void)state;
	selftest = cv_sockmap_selftest_free(selftest);
	kernel = cv_kernel_close(kernel);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(splice_to_sockmap),
		cmocka_unit_test(copy_to_sockmap),
	};

	return cmocka_run_group_tests(tests, load, unload);
}
