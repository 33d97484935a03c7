// SPDX-License-Identifier: MIT
/*
 * engine_splice.c - socket -> pipe -> socket inside the kernel; user space only hears of readiness.
 *
 *   EXPECT_SOURCE --POLLIN--> take a pipe, pump --source empty--> give the pipe back, EXPECT_SOURCE
 *                                  |--sink full--> keep the pipe, EXPECT_SINK --POLLOUT--> pump
 *                                  |--no pipe left--> the same by recv and send, for this time
 *                                  \--source's FIN, pipe empty--> FIN to the sink, ended(0)
 *
 * splice(2) is called directly, nonblocking: as a ring operation it always runs on a kernel worker
 * thread, which costs two switches per call. A turn moves at most PUMP_BYTES so that one fast flow
 * does not starve the others; the poll fires again at once when more is there.
 */
#include "base/container.h"
#include "engine/flow.h"
#include "engine/pipe_pool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>

#define PUMP_BYTES (1u << 20)
#define HAND_BYTES 32768
#define SPLICE_FLAGS (SPLICE_F_NONBLOCK | SPLICE_F_MOVE)

enum splice_state { SPLICE_EXPECT_SOURCE, SPLICE_EXPECT_SINK };

static void ready(struct cv_op *op, int result, uint32_t flags);

/* Nothing is on its way. */
static void expect_source(struct cv_flow *flow)
{
	if (flow->yielding) {
		cv_flow_end(flow, CV_FLOW_YIELDED, CV_FLOW_SOURCE);
		return;
	}
	cv_pipe_give(flow->env->pipes, flow->pipe, 0);
	flow->pipe = NULL;
	flow->state = SPLICE_EXPECT_SOURCE;
	cv_flow_wait_source(flow, ready);
}

static void expect_sink(struct cv_flow *flow)
{
	cv_flow_blocked(flow);
	flow->state = SPLICE_EXPECT_SINK;
	cv_flow_wait_sink(flow, ready);
}

/* What is on its way goes into the sink. 0 = all; -EAGAIN = sink full; else -errno. */
static int drain(struct cv_flow *flow)
{
	int error = cv_flow_deliver_block(flow);

	return error ? error : cv_flow_drain_pipe(flow);
}

/* Without a pipe, as read(2); @ret_error as cv_flow_deliver(). Not inlined: the pipe's path must
 * not pay for this frame. */
static __attribute__((noinline)) ssize_t take_by_hand(struct cv_flow *flow, int *ret_error)
{
	uint8_t bytes[HAND_BYTES];
	ssize_t taken;

	do
		taken = recv(flow->source_fd, bytes, sizeof(bytes), MSG_DONTWAIT);
	while (taken < 0 && errno == EINTR);
	if (taken > 0)
		*ret_error = cv_flow_deliver(flow, bytes, (size_t)taken);
	return taken;
}

/* One step from the source, as read(2) but with -errno. */
static ssize_t take(struct cv_flow *flow, int *ret_error)
{
	ssize_t taken;

	if (flow->pipe) {
		do
			taken = splice(flow->source_fd, NULL, flow->pipe->write_fd, NULL,
				       flow->pipe->size_bytes, SPLICE_FLAGS);
		while (taken < 0 && errno == EINTR);
		flow->pipe_bytes = taken > 0 ? (uint32_t)taken : 0;
	} else {
		taken = take_by_hand(flow, ret_error);
	}
	return taken < 0 ? -errno : taken;
}

static void pump(struct cv_flow *flow)
{
	size_t moved_bytes = 0;
	int error = drain(flow);

	while (!error && moved_bytes < PUMP_BYTES) {
		ssize_t taken = take(flow, &error);

		if (taken == -EAGAIN)
			break;
		if (taken <= 0) {
			cv_flow_end(flow, (int)taken, CV_FLOW_SOURCE);
			return;
		}
		moved_bytes += (size_t)taken;
		if (!error)
			error = drain(flow);
	}
	if (error == -EAGAIN)
		expect_sink(flow);
	else if (error)
		cv_flow_end(flow, error, CV_FLOW_SINK);
	else
		expect_source(flow);
}

static void ready(struct cv_op *op, int result, uint32_t flags)
{
	struct cv_flow *flow = cv_container_of(op, struct cv_flow, op);

	(void)flags;
	if (flow->stopping) {
		cv_flow_end_stopped(flow);
		return;
	}
	if (flow->yielding && flow->state == SPLICE_EXPECT_SOURCE) {
		expect_source(flow);
		return;
	}
	if (result < 0) {
		cv_flow_end(flow, result, flow->state == SPLICE_EXPECT_SINK ? CV_FLOW_SINK
									     : CV_FLOW_SOURCE);
		return;
	}
	cv_flow_woken(flow);
	if (!flow->pipe && !flow->block)
		flow->pipe = cv_pipe_take(flow->env->pipes); /* NULL: slow sinks hold them all */
	pump(flow);
}

static int splice_start(struct cv_flow *flow)
{
	cv_flow_begin(flow, &cv_engine_splice);
	expect_source(flow);
	return 0;
}

static void splice_poll_progress(struct cv_flow *flow)
{
	(void)flow; /* moved_bytes is set at each splice into the sink */
}

static void splice_describe(const struct cv_flow *flow, char *text, size_t size_bytes)
{
	if (flow->state == SPLICE_EXPECT_SINK)
		(void)snprintf(text, size_bytes, "splice: waiting for sink, %u bytes in the %s",
			       flow->pipe ? flow->pipe_bytes : flow->block_end - flow->block_at,
			       flow->pipe ? "pipe" : "block");
	else
		(void)snprintf(text, size_bytes, "splice: waiting for source");
}

const struct cv_engine cv_engine_splice = {
	.name = "splice",
	.start = splice_start,
	.poll_progress = splice_poll_progress,
	.half_close = cv_flow_half_close,
	.stop = cv_flow_stop,
	.describe = splice_describe,
};
