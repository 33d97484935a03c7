// SPDX-License-Identifier: MIT
/*
 * test_flow_end.c - a flow whose source was reset, where a send of the other direction was told of
 * it: the sink gets what came before and no FIN. A FIN stays one, whatever came behind it.
 *
 *   their[0] ==TCP== our[0] [ flow ] our[1] ==TCP== their[1]
 */
#include "base/clock.h"
#include "base/container.h"
#include "engine/engine.h"
#include "engine/pipe_pool.h"
#include "ring/listen.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define LIMIT_MS 5000

struct stage {
	struct cv_ring *ring;
	struct cv_engine_env env;
	struct cv_timer guard;
	struct cv_flow flow;
	int their[2], our[2];
	int result;
	bool ended;
};

static void tick(struct cv_timer *timer)
{
	(void)timer;
}

static void flow_ended(struct cv_flow *flow, int result)
{
	struct stage *stage = cv_container_of(flow, struct stage, flow);

	stage->result = result;
	stage->ended = true;
}

static void connect_pair(int *ret_their, int *ret_our)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(bind(listener, (struct sockaddr *)&address, len), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &len), 0);
	*ret_their = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(connect(*ret_their, (struct sockaddr *)&address, len), 0);
	*ret_our = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
	assert_true(*ret_our >= 0);
	close(listener);
}

static void stage_open(struct stage *stage)
{
	const struct cv_ring_config config = {
		.entry_count = 64, .buffer_count = 8, .buffer_bytes = 16384};

	memset(stage, 0, sizeof(*stage));
	assert_int_equal(cv_ring_new(&config, &stage->ring), 0);
	stage->env.ring = stage->ring;
	stage->env.pipes = cv_pipe_pool_new(4, 1, 65536);
	assert_non_null(stage->env.pipes);
	stage->guard.due = tick;
	for (int i = 0; i < 2; i++)
		connect_pair(&stage->their[i], &stage->our[i]);
}

static void stage_run(struct stage *stage, const struct cv_engine *engine, uint32_t read_before)
{
	uint64_t until_ms = cv_clock_ms() + LIMIT_MS;

	stage->flow.env = &stage->env;
	stage->flow.source_fd = stage->our[0];
	stage->flow.sink_fd = stage->our[1];
	stage->flow.source_before_bytes = read_before;
	stage->flow.ended = flow_ended;
	assert_int_equal(engine->start(&stage->flow), 0);
	while (!stage->ended && cv_clock_ms() < until_ms) {
		cv_timer_arm(stage->ring, &stage->guard, cv_clock_ms() + 1);
		assert_int_equal(cv_ring_turn(stage->ring), 0);
	}
	assert_true(stage->ended);
}

static void stage_close(struct stage *stage)
{
	for (int i = 0; i < 2; i++) {
		close(stage->our[i]);
		if (stage->their[i] >= 0)
			close(stage->their[i]);
	}
	cv_timer_disarm(stage->ring, &stage->guard);
	cv_pipe_pool_free(stage->env.pipes);
	cv_ring_free(stage->ring);
}

static void expect_event(int fd, short event)
{
	struct pollfd polled = {.fd = fd, .events = event};

	assert_int_equal(poll(&polled, 1, LIMIT_MS), 1);
	assert_true(polled.revents & event);
}

static void expect_answer(struct stage *stage, bool fin)
{
	char bytes[32];

	expect_event(stage->their[1], POLLIN);
	assert_int_equal(recv(stage->their[1], bytes, sizeof(bytes), 0), 6);
	assert_memory_equal(bytes, "answer", 6);
	assert_int_equal(recv(stage->their[1], bytes, sizeof(bytes), MSG_DONTWAIT), fin ? 0 : -1);
}

/* Four bytes before the flow, then "answer". */
static void their_words(struct stage *stage)
{
	char bytes[4];

	assert_int_equal(send(stage->their[0], "headanswer", 10, MSG_NOSIGNAL), 10);
	expect_event(stage->our[0], POLLIN);
	assert_int_equal(recv(stage->our[0], bytes, 4, MSG_WAITALL), 4);
}

static void a_reset_that_a_send_was_told(void **state)
{
	struct stage stage;

	stage_open(&stage);
	their_words(&stage);
	cv_socket_abort(stage.their[0]);
	stage.their[0] = -1;
	expect_event(stage.our[0], POLLERR);
	assert_int_equal(send(stage.our[0], "x", 1, MSG_NOSIGNAL), -1);
	assert_int_equal(errno, ECONNRESET);
	stage_run(&stage, *state, 4);
	assert_int_equal(stage.result, -ECONNRESET);
	assert_int_equal(stage.flow.failed_side, CV_FLOW_SOURCE);
	expect_answer(&stage, false);
	stage_close(&stage);
}

static void a_reset_behind_the_fin(void **state)
{
	struct stage stage;

	stage_open(&stage);
	their_words(&stage);
	close(stage.their[0]);
	stage.their[0] = -1;
	expect_event(stage.our[0], POLLRDHUP);
	assert_int_equal(send(stage.our[0], "x", 1, MSG_NOSIGNAL), 1); /* answered with RST */
	expect_event(stage.our[0], POLLERR);
	stage_run(&stage, *state, 4);
	assert_int_equal(stage.result, 0);
	expect_answer(&stage, true);
	stage_close(&stage);
}

#define WITH(test, engine)                                                                         \
	{                                                                                          \
		.name = #test ", " #engine, .test_func = test, .initial_state = (void *)(engine)   \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH(a_reset_that_a_send_was_told, &cv_engine_splice),
		WITH(a_reset_that_a_send_was_told, &cv_engine_copy),
		WITH(a_reset_behind_the_fin, &cv_engine_splice),
		WITH(a_reset_behind_the_fin, &cv_engine_copy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
