// SPDX-License-Identifier: MIT
/*
 * test_session.c - sessions on a real worker: the ends of both directions, deadlines, stopping.
 * Whatever can be handed over is run three times: in user space, with copy and with splice.
 */
#include "session_stage.h"

#include "base/clock.h"
#include "base/reason.h"
#include "session/session.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define BULK (3u << 20)

static const char *const engines[] = {NULL, "copy", "splice"};

static void pause_ms(long ms)
{
	const struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

	(void)nanosleep(&pause, NULL);
}

static void finish_write(int fd)
{
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
}

static void close_pair(struct session_pair pair)
{
	(void)close(pair.client);
	(void)close(pair.upstream);
}

static void for_each_engine(void (*play)(struct session_stage *stage))
{
	for (size_t i = 0; i < sizeof(engines) / sizeof(engines[0]); i++) {
		struct session_stage stage;

		stage_init(&stage);
		stage_start(&stage, engines[i]);
		play(&stage);
		if (engines[i])
			assert_true(stage_handovers(&stage, CV_DOWNLINK) > 0);
		stage_done(&stage);
	}
}

/* ---- half-close --------------------------------------------------------------------------- */

static void play_client_ends_first(struct session_stage *stage)
{
	struct session_pair pair = stage_open(stage);

	stage_send(pair.client, "request", 7);
	finish_write(pair.client);
	stage_expect(pair.upstream, "request", 7);
	stage_expect_fin(pair.upstream);
	pause_ms(20); /* the reverse direction lives on, also with bytes that come late */
	for (int i = 0; i < 3; i++) {
		stage_send(pair.upstream, "answer", 6);
		stage_expect(pair.client, "answer", 6);
	}
	finish_write(pair.upstream);
	stage_expect_fin(pair.client);
	stage_wait_sessions(stage, 0);
	close_pair(pair);
}

static void test_client_ends_first(void **state)
{
	(void)state;
	for_each_engine(play_client_ends_first);
}

static void play_upstream_ends_first(struct session_stage *stage)
{
	struct session_pair pair = stage_open(stage);

	stage_send(pair.upstream, "banner", 6);
	finish_write(pair.upstream);
	stage_expect(pair.client, "banner", 6);
	stage_expect_fin(pair.client);
	for (int i = 0; i < 3; i++) {
		stage_send(pair.client, "upload", 6);
		stage_expect(pair.upstream, "upload", 6);
	}
	finish_write(pair.client);
	stage_expect_fin(pair.upstream);
	stage_wait_sessions(stage, 0);
	close_pair(pair);
}

static void test_upstream_ends_first(void **state)
{
	(void)state;
	for_each_engine(play_upstream_ends_first);
}

static void play_client_that_said_all_at_once(struct session_stage *stage)
{
	const uint16_t port = cv_sockaddr_port(&stage->upstream_address);
	const uint8_t all[] = {
		5,   1,   0,   5,   1,  0, 1, 127, 0, 0, 1, (uint8_t)(port >> 8), (uint8_t)port,
		'e', 'a', 'r', 'l', 'y'};
	struct session_pair pair = {.client = stage_dial(stage)};

	stage_send(pair.client, all, sizeof(all));
	finish_write(pair.client); /* long before there is an upstream */
	pair.upstream = stage_accept(stage);
	stage_expect(pair.upstream, "early", 5);
	stage_expect_fin(pair.upstream);
	stage_send(pair.upstream, "late", 4);
	(void)close(pair.upstream);
	stage_expect(pair.client, "\005\000\005\000\000\001\000\000\000\000\000\000late", 16);
	stage_expect_fin(pair.client);
	(void)close(pair.client);
}

static void test_client_that_said_all_at_once(void **state)
{
	(void)state;
	for_each_engine(play_client_that_said_all_at_once);
}

/* ---- nothing is lost, nothing looks whole that is not ------------------------------------- */

static void play_bulk_to_slow_client(struct session_stage *stage)
{
	struct session_pair pair = stage_open(stage);
	pid_t writer = fork();

	assert_true(writer >= 0);
	if (writer == 0) {
		stage_send_pattern(pair.upstream, BULK);
		_exit(0);
	}
	(void)close(pair.upstream);
	pause_ms(100); /* everything on the way fills up */
	stage_expect_pattern(pair.client, BULK);
	stage_expect_fin(pair.client);
	(void)close(pair.client);
}

static void test_bulk_to_slow_client(void **state)
{
	(void)state;
	for_each_engine(play_bulk_to_slow_client);
}

static void play_client_reset(struct session_stage *stage)
{
	struct session_pair pair = stage_open(stage);

	stage_send(pair.client, "x", 1);
	stage_expect(pair.upstream, "x", 1);
	stage_reset(pair.client);
	stage_expect_reset(pair.upstream);
	stage_wait_sessions(stage, 0);
	assert_int_equal(stage_reason(stage, CV_PEER_RESET), 1);
	(void)close(pair.upstream);
}

static void test_client_reset(void **state)
{
	(void)state;
	for_each_engine(play_client_reset);
}

static void play_upstream_reset(struct session_stage *stage)
{
	struct session_pair pair = stage_open(stage);

	stage_send_pattern(pair.upstream, 150000);
	stage_reset(pair.upstream);
	pause_ms(50); /* the reset is there long before the client has read what came before */
	stage_expect_pattern(pair.client, 150000);
	stage_expect_reset(pair.client);
	stage_wait_sessions(stage, 0);
	assert_int_equal(stage_reason(stage, CV_UPSTREAM_RESET), 1);
	(void)close(pair.client);
}

static void test_upstream_reset(void **state)
{
	(void)state;
	for_each_engine(play_upstream_reset);
}

/* An upstream that refuses an upload answers, closes and resets what still comes: FIN, then RST. */
static void play_early_answer(struct session_stage *stage)
{
	struct session_pair pair = stage_open(stage);
	uint8_t block[65536] = {0};

	stage_send(pair.client, block, 1000);
	pause_ms(20); /* unread bytes turn the close into a reset */
	stage_send(pair.upstream, "413 too large", 13);
	finish_write(pair.upstream);
	(void)close(pair.upstream);
	for (int i = 0; i < 8; i++)
		if (send(pair.client, block, sizeof(block), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
			break;
	stage_expect(pair.client, "413 too large", 13);
	stage_expect_fin(pair.client);
	stage_wait_sessions(stage, 0);
	(void)close(pair.client);
}

static void test_early_answer(void **state)
{
	(void)state;
	for_each_engine(play_early_answer);
}

/* The client stops reading while a refused upload's answer is on its way. Who sends first after
 * the reset is told of it; the answer must not look whole all the same. */
static void play_reset_while_uploading(struct session_stage *stage)
{
	struct session_pair pair = stage_open(stage);
	int small = 16384;

	(void)setsockopt(pair.client, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	stage_send_pattern(pair.upstream, 50000);
	stage_reset(pair.upstream);
	(void)send(pair.client, "more", 4, MSG_NOSIGNAL); /* finds the upstream dead */
	pause_ms(50);
	stage_expect_pattern(pair.client, 50000);
	stage_expect_reset(pair.client);
	stage_wait_sessions(stage, 0);
	(void)close(pair.client);
}

static void test_reset_while_uploading(void **state)
{
	(void)state;
	for_each_engine(play_reset_while_uploading);
}

/* ---- deadlines ---------------------------------------------------------------------------- */

static void with_level(const char *engine, struct cv_level level,
		       void (*play)(struct session_stage *stage))
{
	struct session_stage stage;

	stage_init(&stage);
	stage.config.levels[0] = level;
	stage_start(&stage, engine);
	play(&stage);
	stage_done(&stage);
}

static void play_idle(struct session_stage *stage)
{
	struct session_pair pair = stage_open(stage);
	uint64_t quiet_ms;

	for (int i = 0; i < 6; i++) { /* what the kernel moves counts */
		pause_ms(100);
		stage_send(pair.upstream, "tick", 4);
		stage_expect(pair.client, "tick", 4);
	}
	quiet_ms = cv_clock_ms();
	stage_expect_fin(pair.client);
	assert_in_range(cv_clock_ms() - quiet_ms, 380, 3000);
	stage_wait_sessions(stage, 0);
	assert_int_equal(stage_reason(stage, CV_POLICY_IDLE), 1);
	close_pair(pair);
}

static void test_idle(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(engines) / sizeof(engines[0]); i++)
		with_level(engines[i], (struct cv_level){.handshake_ms = 5000, .idle_ms = 400},
			   play_idle);
}

static void play_short_after_half_close(struct session_stage *stage)
{
	struct session_pair pair = stage_open(stage);
	uint64_t half_ms;

	pause_ms(500); /* longer than the limit that begins with the FIN */
	finish_write(pair.client);
	stage_expect_fin(pair.upstream);
	pause_ms(200);
	stage_send(pair.upstream, "in time", 7);
	stage_expect(pair.client, "in time", 7);
	half_ms = cv_clock_ms();
	stage_expect_fin(pair.client);
	assert_in_range(cv_clock_ms() - half_ms, 380, 3000);
	close_pair(pair);
}

static void test_short_after_half_close(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(engines) / sizeof(engines[0]); i++)
		with_level(engines[i],
			   (struct cv_level){.handshake_ms = 5000,
					     .idle_ms = STAGE_WAIT_MS,
					     .downlink_only_ms = 400},
			   play_short_after_half_close);
}

static void play_silent_client(struct session_stage *stage)
{
	int client = stage_dial(stage);

	stage_send(client, "\005", 1);
	stage_expect_fin(client);
	(void)close(client);
	stage_wait_sessions(stage, 0);
	assert_int_equal(stage_reason(stage, CV_PEER_TIMEOUT), 1);
}

static void test_silent_client(void **state)
{
	(void)state;
	with_level(NULL, (struct cv_level){.handshake_ms = 200, .idle_ms = 1000},
		   play_silent_client);
}

/* ---- refusals ----------------------------------------------------------------------------- */

static void test_refused_upstream(void **state)
{
	struct session_stage stage;
	int client;

	(void)state;
	stage_init(&stage);
	stage_start(&stage, "splice");
	(void)close(stage.upstream_listener);
	client = stage_dial(&stage);
	stage_send_socks(client, cv_sockaddr_port(&stage.upstream_address));
	stage_expect(client, "\005\005\000\001\000\000\000\000\000\000", 10);
	stage_expect_fin(client);
	(void)close(client);
	stage_wait_sessions(&stage, 0);
	assert_int_equal(stage_reason(&stage, CV_UPSTREAM_REFUSED), 1);
	stage.upstream_listener = -1;
	stage_done(&stage);
}

static void test_session_limit(void **state)
{
	struct session_stage stage;
	struct session_pair pair;
	int client;

	(void)state;
	stage_init(&stage);
	stage.config.daemon.max_sessions = 1;
	stage_start(&stage, "copy");
	pair = stage_open(&stage);
	client = stage_dial(&stage);
	stage_expect_reset(client);
	assert_int_equal(stage_reason(&stage, CV_POLICY_SESSION_LIMIT), 1);
	(void)close(client);
	close_pair(pair);
	stage_done(&stage);
}

/* ---- stopping ----------------------------------------------------------------------------- */

static void test_stop_drains(void **state)
{
	struct session_stage stage;
	struct session_pair pair;
	uint64_t stop_ms = cv_clock_ms();

	(void)state;
	stage_init(&stage);
	stage_start(&stage, "splice");
	pair = stage_open(&stage);
	stage.stopped = true;
	cv_worker_stop(&stage.worker);
	pause_ms(100);
	stage_send(pair.client, "still here", 10);
	stage_expect(pair.upstream, "still here", 10);
	close_pair(pair);
	stage_done(&stage);
	assert_true(cv_clock_ms() - stop_ms < 950); /* ended sessions are not waited for */
}

static void test_stop_cuts(void **state)
{
	struct session_stage stage;
	struct session_pair pair;
	int half_open;

	(void)state;
	stage_init(&stage);
	stage_start(&stage, "splice");
	pair = stage_open(&stage);
	half_open = stage_dial(&stage);
	stage_wait_sessions(&stage, 2);
	stage.stopped = true;
	cv_worker_stop(&stage.worker);
	stage_expect_fin(pair.client);
	stage_expect_fin(pair.upstream);
	stage_expect_fin(half_open);
	assert_int_equal(stage_reason(&stage, CV_POLICY_STOPPING), 2);
	(void)close(half_open);
	close_pair(pair);
	stage_done(&stage);
}

/* Fills the upstream's backlog: whoever dials it now waits. */
static void test_stop_cuts_a_dial(void **state)
{
	const uint8_t request[] = {5, 1, 0, 5, 1, 0, 1, 127, 0, 0, 1};
	uint8_t port[2];
	struct session_stage stage;
	int waiting[64], client;

	(void)state;
	stage_init(&stage);
	stage_start(&stage, "splice");
	for (size_t i = 0; i < sizeof(waiting) / sizeof(waiting[0]); i++) {
		waiting[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		(void)connect(waiting[i], &stage.upstream_address.any,
			      stage.upstream_address.len_bytes);
	}
	client = stage_dial(&stage);
	port[0] = (uint8_t)(cv_sockaddr_port(&stage.upstream_address) >> 8);
	port[1] = (uint8_t)cv_sockaddr_port(&stage.upstream_address);
	stage_send(client, request, sizeof(request));
	stage_send(client, port, sizeof(port));
	stage_expect(client, "\005\000", 2);
	stage.stopped = true;
	cv_worker_stop(&stage.worker);
	stage_expect_fin(client);
	(void)close(client);
	stage_done(&stage); /* and nothing is left of the dial, says the sanitizer */
	for (size_t i = 0; i < sizeof(waiting) / sizeof(waiting[0]); i++)
		(void)close(waiting[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_client_ends_first),
		cmocka_unit_test(test_upstream_ends_first),
		cmocka_unit_test(test_client_that_said_all_at_once),
		cmocka_unit_test(test_bulk_to_slow_client),
		cmocka_unit_test(test_client_reset),
		cmocka_unit_test(test_upstream_reset),
		cmocka_unit_test(test_early_answer),
		cmocka_unit_test(test_reset_while_uploading),
		cmocka_unit_test(test_idle),
		cmocka_unit_test(test_short_after_half_close),
		cmocka_unit_test(test_silent_client),
		cmocka_unit_test(test_refused_upstream),
		cmocka_unit_test(test_session_limit),
		cmocka_unit_test(test_stop_drains),
		cmocka_unit_test(test_stop_cuts),
		cmocka_unit_test(test_stop_cuts_a_dial),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
