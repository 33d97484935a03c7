// SPDX-License-Identifier: MIT
/*
 * engine.c - the table of engines, and what they all do: wait, deliver, notice a death, end.
 *
 * A flow has one operation at a time. Whoever wants it to end early (the owner, a watch) sets
 * stopping and cancels that operation; its completion then ends the flow. A dead socket is found by
 * the operation itself where it waits for that socket; by a watch where it waits for the other one:
 *
 *   waiting for source:  source by the poll, after its last byte;  sink by sink_watch, which the
 * owner asks for once nobody reads the sink (until then its reader notices first) waiting for sink:
 * sink by the poll;                         source by source_watch, errors only
 */
#include "base/container.h"
#include "engine/flow.h"
#include "engine/ktls.h"
#include "engine/pipe_pool.h"
#include "ring/stream_end.h"

#include <culvert/reason.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { SEND_FLAGS = MSG_NOSIGNAL | MSG_DONTWAIT };

static const struct cv_engine *const engines[] = {&cv_engine_copy, &cv_engine_splice,
						   &cv_engine_sockmap, &cv_engine_ktls};

const struct cv_engine *cv_engine_find(const char *name)
{
	for (size_t i = 0; i < sizeof(engines) / sizeof(engines[0]); i++)
		if (strcmp(engines[i]->name, name) == 0)
			return engines[i];
	return NULL;
}

_Static_assert(sizeof(engines) / sizeof(engines[0]) < CV_ENGINES, "room for each one's counters");

size_t cv_engine_index(const struct cv_engine *engine)
{
	for (size_t i = 0; i < sizeof(engines) / sizeof(engines[0]); i++)
		if (engines[i] == engine)
			return i + 1;
	return CV_ENGINE_LAYERS;
}

const char *cv_engine_name(size_t index)
{
	if (index == CV_ENGINE_LAYERS)
		return "layers";
	return index <= sizeof(engines) / sizeof(engines[0]) ? engines[index - 1]->name : NULL;
}

/* ---- early ends --------------------------------------------------------------------------- */

void cv_flow_stop_with(struct cv_flow *flow, int result, enum cv_flow_side side)
{
	if (flow->stopping)
		return;
	flow->stopping = true;
	flow->stop_result = result;
	flow->failed_side = side;
	cv_ring_cancel(flow->env->ring, &flow->op);
}

void cv_flow_stop(struct cv_flow *flow)
{
	cv_flow_stop_with(flow, -ECANCELED, CV_FLOW_SOURCE);
}

static void sink_died(struct cv_watch *watch, bool error)
{
	(void)error; /* a hang-up says that writing is over, and it was not us who ended it */
	cv_flow_stop_with(cv_container_of(watch, struct cv_flow, sink_watch), -ECONNRESET,
			  CV_FLOW_SINK);
}

static void source_died(struct cv_watch *watch, bool error)
{
	struct cv_flow *flow = cv_container_of(watch, struct cv_flow, source_watch);

	/* A hang-up is just both FINs, and its last bytes may still be on their way. */
	if (error && flow->op.fd == flow->sink_fd)
		cv_flow_stop_with(flow, -ECONNRESET, CV_FLOW_SOURCE);
}

void cv_flow_yield(struct cv_flow *flow)
{
	if (flow->engine != &cv_engine_copy && flow->engine != &cv_engine_splice)
		return;
	flow->yielding = true;
	/* A flow that waits for its source holds nothing; what its recv got by now is delivered. */
	if (flow->op.pending && flow->op.fd == flow->source_fd)
		cv_ring_cancel(flow->env->ring, &flow->op);
}

void cv_flow_watch_sink(struct cv_flow *flow)
{
	flow->sink_watch.died = sink_died;
	/* Without a watch the next write notices, or the idle limit. */
	(void)cv_ring_watch(flow->env->ring, &flow->sink_watch, flow->sink_fd);
}

/* ---- waiting ------------------------------------------------------------------------------ */

void cv_flow_begin(struct cv_flow *flow, const struct cv_engine *engine)
{
	flow->engine = engine;
	flow->stopping = flow->yielding = false;
	flow->wake_count = flow->full_count = 0;
	flow->pipe = NULL;
	flow->block = NULL;
	flow->pipe_bytes = flow->block_at = flow->block_end = 0;
	memset(&flow->source_watch, 0, sizeof(flow->source_watch));
	memset(&flow->sink_watch, 0, sizeof(flow->sink_watch));
}

void cv_flow_wait_source(struct cv_flow *flow,
			 void (*done)(struct cv_op *op, int result, uint32_t flags))
{
	flow->op.done = done;
	cv_ring_poll(flow->env->ring, &flow->op, flow->source_fd, POLLIN | POLLRDHUP);
}

void cv_flow_wait_sink(struct cv_flow *flow,
		       void (*done)(struct cv_op *op, int result, uint32_t flags))
{
	flow->op.done = done;
	cv_ring_poll(flow->env->ring, &flow->op, flow->sink_fd, POLLOUT);
	/* Once blocked, the watch stays: a full sink will be full again. */
	flow->source_watch.died = source_died;
	(void)cv_ring_watch(flow->env->ring, &flow->source_watch, flow->source_fd);
}

/* ---- bytes in the pipe -------------------------------------------------------------------- */

int cv_flow_drain_pipe(struct cv_flow *flow)
{
	int error = 0;

	while (!error && flow->pipe_bytes > 0) {
		ssize_t moved = splice(flow->pipe->read_fd, NULL, flow->sink_fd, NULL,
				       flow->pipe_bytes, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);

		if (moved > 0) {
			flow->pipe_bytes -= (uint32_t)moved;
			cv_flow_moved(flow, (size_t)moved);
		} else if (moved == 0 || errno != EINTR) {
			error = moved < 0 ? -errno : -EIO; /* 0: the pipe lost bytes we counted */
		}
	}
	return error;
}

/* ---- bytes that go through user space ----------------------------------------------------- */

/* Sends from @bytes, counting from @at; returns where it stopped, errors in @ret_error. */
static size_t send_from(struct cv_flow *flow, const uint8_t *bytes, size_t at, size_t end,
			int *ret_error)
{
	*ret_error = 0;
	while (at < end) {
		ssize_t sent = send(flow->sink_fd, bytes + at, end - at, SEND_FLAGS);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0) {
			*ret_error = -errno;
			break;
		}
		at += (size_t)sent;
		cv_flow_moved(flow, (size_t)sent);
	}
	return at;
}

int cv_flow_deliver(struct cv_flow *flow, const uint8_t *bytes, size_t count_bytes)
{
	int error;
	size_t at = send_from(flow, bytes, 0, count_bytes, &error);

	if (error != -EAGAIN)
		return error;
	flow->block = malloc(count_bytes - at);
	if (!flow->block)
		return CV_INTERNAL_MEMORY;
	memcpy(flow->block, bytes + at, count_bytes - at);
	flow->block_at = 0;
	flow->block_end = (uint32_t)(count_bytes - at);
	return -EAGAIN;
}

int cv_flow_deliver_block(struct cv_flow *flow)
{
	int error;

	if (!flow->block)
		return 0;
	flow->block_at =
		(uint32_t)send_from(flow, flow->block, flow->block_at, flow->block_end, &error);
	if (error)
		return error;
	free(flow->block);
	flow->block = NULL;
	return 0;
}

void cv_flow_woken(struct cv_flow *flow)
{
	if (flow->wake_count < UINT16_MAX)
		flow->wake_count++;
}

void cv_flow_blocked(struct cv_flow *flow)
{
	if (flow->full_count < UINT16_MAX)
		flow->full_count++;
}

void cv_flow_moved(struct cv_flow *flow, size_t count_bytes)
{
	flow->moved_bytes += count_bytes;
	if (flow->sink_tls)
		cv_ktls_wrote(flow->sink_tls, count_bytes);
	flow->last_move_ms = cv_ring_now_ms(flow->env->ring);
}

/* ---- end ---------------------------------------------------------------------------------- */

int cv_flow_half_close(struct cv_flow *flow)
{
	return shutdown(flow->sink_fd, SHUT_WR) < 0 ? -errno : 0;
}

void cv_flow_end(struct cv_flow *flow, int result, enum cv_flow_side side)
{
	cv_ring_unwatch(flow->env->ring, &flow->source_watch);
	cv_ring_unwatch(flow->env->ring, &flow->sink_watch);
	cv_pipe_give(flow->env->pipes, flow->pipe, flow->pipe_bytes > 0);
	flow->pipe = NULL;
	free(flow->block);
	flow->block = NULL;
	flow->failed_side = side;
	/* observable: a reset whose error went to a send must not become a FIN */
	if (result == 0 && !flow->source_tls && /* bytes of records are not counted */
	    cv_stream_was_reset(flow->source_fd,
				flow->source_before_bytes + (uint32_t)flow->moved_bytes))
		result = -ECONNRESET;
	if (result == 0 && cv_flow_half_close(flow) < 0) {
		/* ENOTCONN: the sink was reset before it could get its FIN */
		flow->failed_side = CV_FLOW_SINK;
		result = -ECONNRESET;
	}
	flow->ended(flow, result);
}

void cv_flow_end_stopped(struct cv_flow *flow)
{
	cv_flow_end(flow, flow->stop_result, flow->failed_side);
}
