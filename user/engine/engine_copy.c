// SPDX-License-Identifier: MIT
/*
 * engine_copy.c - bytes through one provided buffer of the ring: recv, send until empty, recv
 * again.
 *
 *   RECEIVING --bytes, all sent--> RECEIVING
 *       |    \--sink full: the rest into a block of its own--> BLOCKED --POLLOUT, all sent-->
 * RECEIVING
 *       \--0--> FIN to the sink, ended(0)
 *
 * A flow that waits for its source holds no buffer, and nothing is allocated while the sink takes
 * what comes. A full sink costs its own flow a block, never the worker a provided buffer: slow
 * receivers must not be able to starve the others. Back-pressure: the next recv starts after the
 * last byte.
 */
#include "base/container.h"
#include "engine/flow.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>

#define TURN_BYTES (256u << 10) /* then the other flows have their turn */

enum copy_state { COPY_RECEIVING, COPY_BLOCKED };

static void received(struct cv_op *op, int result, uint32_t flags);
static void sink_ready(struct cv_op *op, int result, uint32_t flags);

/* @error: of the last delivery. */
static void go_on(struct cv_flow *flow, int error)
{
	if (error && error != -EAGAIN) {
		cv_flow_end(flow, error, CV_FLOW_SINK);
	} else if (error) {
		flow->state = COPY_BLOCKED;
		cv_flow_blocked(flow);
		cv_flow_wait_sink(flow, sink_ready);
	} else if (flow->yielding) {
		cv_flow_end(flow, CV_FLOW_YIELDED, CV_FLOW_SOURCE);
	} else {
		flow->state = COPY_RECEIVING;
		flow->op.done = received;
		cv_ring_recv(flow->env->ring, &flow->op, flow->source_fd);
	}
}

static void sink_ready(struct cv_op *op, int result, uint32_t flags)
{
	struct cv_flow *flow = cv_container_of(op, struct cv_flow, op);

	(void)flags;
	if (flow->stopping)
		cv_flow_end_stopped(flow);
	else
		go_on(flow, result < 0 ? result : cv_flow_deliver_block(flow));
}

/* A full buffer promises more: the same, still warm memory takes it without a turn in between.
 * Returns what the last recv(2) did, with -errno; -EAGAIN: go on with the ring. */
static int copy_on(struct cv_flow *flow, uint8_t *buffer, int got, int *ret_error)
{
	const size_t size_bytes = cv_ring_buffer_bytes(flow->env->ring);

	for (size_t left = TURN_BYTES; got > 0; left -= (size_t)got) {
		*ret_error = cv_flow_deliver(flow, buffer, (size_t)got);
		if (*ret_error || (size_t)got < size_bytes || left < 2 * size_bytes)
			return -EAGAIN;
		got = (int)recv(flow->source_fd, buffer, size_bytes, MSG_DONTWAIT);
		if (got < 0)
			return errno == EINTR ? -EAGAIN : -errno;
	}
	return got;
}

static void received(struct cv_op *op, int result, uint32_t flags)
{
	struct cv_flow *flow = cv_container_of(op, struct cv_flow, op);
	struct cv_ring *ring = flow->env->ring;
	int error = 0;

	cv_flow_woken(flow);
	if (result > 0) {
		int last = flow->stopping
				   ? -ECANCELED
				   : copy_on(flow, cv_ring_buffer(ring, flags), result, &error);

		cv_ring_buffer_give(ring, flags);
		result = last;
	}
	if (flow->stopping)
		cv_flow_end_stopped(flow);
	else if (result == -EAGAIN || (flow->yielding && result == -ECANCELED))
		go_on(flow, error);
	else
		cv_flow_end(flow, result, CV_FLOW_SOURCE);
}

static int copy_start(struct cv_flow *flow)
{
	cv_flow_begin(flow, &cv_engine_copy);
	go_on(flow, 0);
	return 0;
}

static void copy_poll_progress(struct cv_flow *flow)
{
	(void)flow; /* moved_bytes is set at each send */
}

static void copy_describe(const struct cv_flow *flow, char *text, size_t size_bytes)
{
	if (flow->state == COPY_BLOCKED)
		(void)snprintf(text, size_bytes, "copy: waiting for sink, %u bytes in the block",
			       flow->block_end - flow->block_at);
	else
		(void)snprintf(text, size_bytes, "copy: waiting for source");
}

const struct cv_engine cv_engine_copy = {
	.name = "copy",
	.start = copy_start,
	.poll_progress = copy_poll_progress,
	.half_close = cv_flow_half_close,
	.stop = cv_flow_stop,
	.describe = copy_describe,
};
