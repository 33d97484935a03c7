// SPDX-License-Identifier: MIT
/*
 * engine_copy.c - bytes through one provided buffer of the ring: recv, send until empty, recv again.
 *
 *   RECEIVING --bytes--> SENDING --all sent--> RECEIVING
 *       |                   \--sink full--> rest into a block of its own, BLOCKED --POLLOUT--> SENDING
 *       \--0--> FIN to the sink, ended(0)
 *
 * A flow that waits for its source holds no buffer, and nothing is allocated while the sink takes what
 * comes. A full sink costs its own flow a block, never the worker a provided buffer: slow receivers
 * must not be able to starve the others. Back-pressure: the next recv starts after the last byte.
 */
#include "base/container.h"
#include "engine/flow.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum copy_state { COPY_RECEIVING, COPY_BLOCKED };

static void receive(struct cv_flow *flow);
static void sink_ready(struct cv_op *op, int result, uint32_t flags);

static void end(struct cv_flow *flow, int result, enum cv_flow_side side)
{
	free(flow->block);
	flow->block = NULL;
	cv_flow_end(flow, result, side);
}

/* Sends [buffer_at, buffer_end) of @bytes. 0 = all; -EAGAIN = sink full; else -errno. */
static int deliver(struct cv_flow *flow, const uint8_t *bytes)
{
	while (flow->buffer_at < flow->buffer_end) {
		ssize_t sent = send(flow->sink_fd, bytes + flow->buffer_at,
				    flow->buffer_end - flow->buffer_at, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (sent < 0)
			return -errno;
		flow->buffer_at += (uint32_t)sent;
		cv_flow_moved(flow, (size_t)sent);
	}
	return 0;
}

static void expect_sink(struct cv_flow *flow)
{
	flow->state = COPY_BLOCKED;
	flow->op.done = sink_ready;
	cv_ring_poll(flow->env->ring, &flow->op, flow->sink_fd, POLLOUT);
}

static void sink_ready(struct cv_op *op, int result, uint32_t flags)
{
	struct cv_flow *flow = cv_container_of(op, struct cv_flow, op);
	int error;

	(void)flags;
	if (flow->stopping) {
		end(flow, -ECANCELED, CV_FLOW_SINK);
		return;
	}
	error = result < 0 ? result : deliver(flow, flow->block);
	if (error == -EAGAIN) {
		expect_sink(flow);
	} else if (error) {
		end(flow, error, CV_FLOW_SINK);
	} else {
		free(flow->block);
		flow->block = NULL;
		receive(flow);
	}
}

/* The rest moves out of the worker's buffer. */
static int keep_rest(struct cv_flow *flow, const uint8_t *bytes)
{
	uint32_t rest_bytes = flow->buffer_end - flow->buffer_at;

	flow->block = malloc(rest_bytes);
	if (!flow->block)
		return -ENOMEM;
	memcpy(flow->block, bytes + flow->buffer_at, rest_bytes);
	flow->buffer_at = 0;
	flow->buffer_end = rest_bytes;
	return 0;
}

static void received(struct cv_op *op, int result, uint32_t flags)
{
	struct cv_flow *flow = cv_container_of(op, struct cv_flow, op);
	struct cv_ring *ring = flow->env->ring;
	int error;

	if (result <= 0) {
		end(flow, flow->stopping ? -ECANCELED : result, CV_FLOW_SOURCE);
		return;
	}
	flow->buffer_at = 0;
	flow->buffer_end = (uint32_t)result;
	error = flow->stopping ? -ECANCELED : deliver(flow, cv_ring_buffer(ring, flags));
	if (error == -EAGAIN) {
		error = keep_rest(flow, cv_ring_buffer(ring, flags));
		if (!error)
			error = -EAGAIN;
	}
	cv_ring_buffer_give(ring, flags);
	if (error == -EAGAIN)
		expect_sink(flow);
	else if (error)
		end(flow, error, CV_FLOW_SINK);
	else
		receive(flow);
}

static void receive(struct cv_flow *flow)
{
	flow->state = COPY_RECEIVING;
	flow->op.done = received;
	cv_ring_recv(flow->env->ring, &flow->op, flow->source_fd);
}

static int copy_start(struct cv_flow *flow)
{
	flow->engine = &cv_engine_copy;
	receive(flow);
	return 0;
}

static void copy_poll_progress(struct cv_flow *flow)
{
	(void)flow; /* moved_bytes is set at each completion */
}

static void copy_stop(struct cv_flow *flow)
{
	if (flow->stopping)
		return;
	flow->stopping = true;
	cv_ring_cancel(flow->env->ring, &flow->op);
}

static void copy_describe(const struct cv_flow *flow, char *text, size_t size_bytes)
{
	snprintf(text, size_bytes, "copy: waiting for %s",
		 flow->state == COPY_RECEIVING ? "source" : "sink");
}

const struct cv_engine cv_engine_copy = {
	.name = "copy",
	.start = copy_start,
	.poll_progress = copy_poll_progress,
	.half_close = cv_flow_half_close,
	.stop = copy_stop,
	.describe = copy_describe,
};
