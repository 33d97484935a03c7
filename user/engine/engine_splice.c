// SPDX-License-Identifier: MIT
/*
 * engine_splice.c - socket -> pipe -> socket inside the kernel; user space only hears of readiness.
 *
 *   EXPECT_SOURCE --POLLIN--> take a pipe, pump --source empty--> give the pipe back, EXPECT_SOURCE
 *                                  |--sink full--> keep the pipe, EXPECT_SINK --POLLOUT--> pump
 *                                  |--no pipe left--> the copy engine takes the flow over
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
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#define PUMP_BYTES (1u << 20)

enum splice_state { SPLICE_EXPECT_SOURCE, SPLICE_EXPECT_SINK };

static void ready(struct cv_op *op, int result, uint32_t flags);

static void expect(struct cv_flow *flow, enum splice_state state)
{
	flow->state = (uint8_t)state;
	flow->op.done = ready;
	if (state == SPLICE_EXPECT_SINK)
		cv_ring_poll(flow->env->ring, &flow->op, flow->sink_fd, POLLOUT);
	else
		cv_ring_poll(flow->env->ring, &flow->op, flow->source_fd, POLLIN | POLLRDHUP);
}

static void give_pipe(struct cv_flow *flow)
{
	cv_pipe_give(flow->env->pipes, flow->pipe, flow->pipe_bytes > 0);
	flow->pipe = NULL;
	flow->pipe_bytes = 0;
}

static void end(struct cv_flow *flow, int result, enum cv_flow_side side)
{
	give_pipe(flow);
	cv_flow_end(flow, result, side);
}

/* Empties the pipe into the sink. 0 = empty; -EAGAIN = sink full; else -errno. */
static int drain(struct cv_flow *flow)
{
	while (flow->pipe_bytes > 0) {
		ssize_t moved = splice(flow->pipe->read_fd, NULL, flow->sink_fd, NULL,
				       flow->pipe_bytes, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);

		if (moved < 0)
			return -errno;
		flow->pipe_bytes -= (uint32_t)moved;
		cv_flow_moved(flow, (size_t)moved);
	}
	return 0;
}

static void pump(struct cv_flow *flow)
{
	size_t budget_bytes = PUMP_BYTES;

	for (;;) {
		int error = drain(flow);
		ssize_t got;

		if (error == -EAGAIN) {
			expect(flow, SPLICE_EXPECT_SINK);
			return;
		}
		if (error) {
			end(flow, error, CV_FLOW_SINK);
			return;
		}
		if (budget_bytes == 0)
			break;
		got = splice(flow->source_fd, NULL, flow->pipe->write_fd, NULL,
			     flow->pipe->size_bytes, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
		if (got < 0 && errno == EAGAIN)
			break;
		if (got <= 0) {
			end(flow, got < 0 ? -errno : 0, CV_FLOW_SOURCE);
			return;
		}
		flow->pipe_bytes = (uint32_t)got;
		budget_bytes -= (size_t)got < budget_bytes ? (size_t)got : budget_bytes;
	}
	give_pipe(flow);
	expect(flow, SPLICE_EXPECT_SOURCE);
}

static void ready(struct cv_op *op, int result, uint32_t flags)
{
	struct cv_flow *flow = cv_container_of(op, struct cv_flow, op);

	(void)flags;
	if (flow->stopping) {
		end(flow, -ECANCELED, CV_FLOW_SOURCE);
		return;
	}
	if (result < 0) {
		end(flow, result, CV_FLOW_SOURCE);
		return;
	}
	if (!flow->pipe)
		flow->pipe = cv_pipe_take(flow->env->pipes);
	if (flow->pipe)
		pump(flow);
	else
		(void)cv_engine_copy.start(flow); /* slow sinks hold all pipes: nobody else must wait */
}

static int splice_start(struct cv_flow *flow)
{
	flow->engine = &cv_engine_splice;
	expect(flow, SPLICE_EXPECT_SOURCE);
	return 0;
}

static void splice_poll_progress(struct cv_flow *flow)
{
	(void)flow; /* moved_bytes is set at each splice into the sink */
}

static void splice_stop(struct cv_flow *flow)
{
	if (flow->stopping)
		return;
	flow->stopping = true;
	cv_ring_cancel(flow->env->ring, &flow->op);
}

static void splice_describe(const struct cv_flow *flow, char *text, size_t size_bytes)
{
	if (flow->state == SPLICE_EXPECT_SINK)
		snprintf(text, size_bytes, "splice: waiting for sink, %u bytes in the pipe",
			 flow->pipe_bytes);
	else
		snprintf(text, size_bytes, "splice: waiting for source");
}

const struct cv_engine cv_engine_splice = {
	.name = "splice",
	.start = splice_start,
	.poll_progress = splice_poll_progress,
	.half_close = cv_flow_half_close,
	.stop = splice_stop,
	.describe = splice_describe,
};
