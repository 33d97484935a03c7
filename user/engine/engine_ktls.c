// SPDX-License-Identifier: MIT
/*
 * engine_ktls.c - like splice, where the kernel does TLS at one end or at both.
 *
 *   EXPECT_SOURCE --POLLIN--> pump: source -> empty pipe -> sink, record by record
 *                                |--sink full--> EXPECT_SINK --POLLOUT--> pump
 *                                |--EINVAL: not application data--> recvmsg with its type
 *                                |     close_notify ---------------\
 *                                |     anything else: control()     v
 *                                \--source's FIN ----------------> CLOSING
 *   CLOSING  our close_notify, then everything pushed to TCP, then FIN, ended(0)
 *
 * What differs from plain splice and must not be forgotten:
 *  - a record goes into an empty pipe of at least 64 KiB, or some kernels lose its end;
 *  - after a recvmsg() that may have stopped inside a record the rest is fetched the same way;
 *  - SPLICE_F_MORE would hold the tail of the data back, so it is never set;
 *  - but splice(2) sets the like by itself between the buffers of a pipe, and a sink that is full
 *    of such records never sends them unless it is told to;
 *  - no close_notify is sent unless we send it, and a FIN must not overtake sealed records;
 *  - a failed read is final: some kernels never say so again.
 */
#include "base/container.h"
#include "base/mutation.h"
#include "engine/flow.h"
#include "engine/ktls.h"
#include "engine/pipe_pool.h"

#include <culvert/reason.h>

#include "crypto/tls_record.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>

#define PUMP_BYTES (1u << 20)
#define HAND_BYTES 32768
#define PIPE_MIN 65536
#define PUSH_LOOKS 1000 /* turns that a work item of the kernel may take */

enum ktls_state {
	KTLS_EXPECT_SOURCE,
	KTLS_EXPECT_SINK,
	KTLS_CLOSING,
	KTLS_STATES = 7,
	KTLS_BY_HAND = 8, /* flag: the source may stand inside a record */
};

/* What a step found besides bytes and -errno. */
#define TAKEN_CONTROL (-EPROTO) /* a control record was dealt with, go on */

static void ready(struct cv_op *op, int result, uint32_t flags);

static void set_state(struct cv_flow *flow, enum ktls_state state)
{
	flow->state = (uint8_t)((flow->state & KTLS_BY_HAND) | state);
}

static void expect_source(struct cv_flow *flow)
{
	cv_pipe_give(flow->env->pipes, flow->pipe, 0);
	flow->pipe = NULL;
	set_state(flow, KTLS_EXPECT_SOURCE);
	cv_flow_wait_source(flow, ready);
}

static void expect_sink(struct cv_flow *flow)
{
	set_state(flow, KTLS_EXPECT_SINK);
	cv_flow_wait_sink(flow, ready);
}

/* ---- end ---------------------------------------------------------------------------------- */

/* Everything that was sealed must be TCP's before FIN. block_end counts the looks: the state needs
 * no block any more. */
static void close_sink(struct cv_flow *flow)
{
	struct cv_ktls *sink = flow->sink_tls;
	int error = sink ? cv_ktls_close_notify(sink) : 0;

	if (error == -EAGAIN || (sink && !error && !cv_ktls_is_pushed(sink) &&
				 ++flow->block_end < PUSH_LOOKS)) {
		set_state(flow, KTLS_CLOSING);
		cv_flow_wait_sink(flow, ready);
		return;
	}
	cv_flow_end(flow, error, CV_FLOW_SINK);
}

static void source_ended(struct cv_flow *flow)
{
	flow->block_end = 0;
	close_sink(flow);
}

/* ---- the source --------------------------------------------------------------------------- */

/* By recvmsg(), which alone tells what kind of record it is. As read(2), but -errno, a reason, or
 * TAKEN_CONTROL. Not inlined: the pipe's path must not pay for this frame. */
static __attribute__((noinline)) ssize_t take_by_hand(struct cv_flow *flow, int *ret_error)
{
	struct cv_ktls *source = flow->source_tls;
	uint8_t bytes[HAND_BYTES], type = CV_TLS_APPLICATION;
	ssize_t taken = cv_ktls_recv(flow->source_fd, bytes, sizeof(bytes), &type);
	int result;

	if (!source || taken == -EAGAIN || taken == 0 ||
	    (taken > 0 && type == CV_TLS_APPLICATION)) {
		if (taken > 0)
			*ret_error = cv_flow_deliver(flow, bytes, (size_t)taken);
		if (source && taken > 0)
			source->data_received = true;
		if (source && (size_t)taken == sizeof(bytes))
			flow->state |= KTLS_BY_HAND;
		else
			flow->state &= (uint8_t)~KTLS_BY_HAND;
		return taken;
	}
	flow->state &= (uint8_t)~KTLS_BY_HAND;
	result = source->control(source, taken < 0 ? 0 : type,
				 cv_span_of(bytes, taken < 0 ? 0 : (size_t)taken),
				 taken < 0 ? (int)taken : 0);
	if (result == 0)
		return TAKEN_CONTROL;
	source->close_notify_received |= result > 0;
	return result > 0 ? 0 : result;
}

/* A splice that failed with EINVAL met a control record or what is no record at all; recvmsg()
 * tells which, unless the kernel has said all it is going to say. Every other error is final. */
static ssize_t take_after_failure(struct cv_flow *flow, int error, int *ret_error)
{
	struct cv_ktls *source = flow->source_tls;
	ssize_t taken = -EAGAIN;

	if (!source)
		return error;
	if (error == -EINVAL)
		taken = take_by_hand(flow, ret_error);
	if (taken != -EAGAIN)
		return taken;
	return source->control(source, 0, cv_span_of(NULL, 0), error);
}

/* One step from the source, as read(2) but with -errno or a reason. */
static ssize_t take(struct cv_flow *flow, int *ret_error)
{
	ssize_t taken;

	if (!flow->pipe || (flow->state & KTLS_BY_HAND))
		return take_by_hand(flow, ret_error);
	taken = splice(flow->source_fd, NULL, flow->pipe->write_fd, NULL, flow->pipe->size_bytes,
		       SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
	if (taken < 0)
		return errno == EAGAIN ? -EAGAIN : take_after_failure(flow, -errno, ret_error);
	flow->pipe_bytes = (uint32_t)taken;
	if (flow->source_tls && taken > 0)
		flow->source_tls->data_received = true;
	return taken;
}

/* ---- the sink ----------------------------------------------------------------------------- */

static int drain(struct cv_flow *flow)
{
	int error = 0;

	if (flow->sink_tls && (flow->pipe_bytes > 0 || flow->block))
		error = flow->sink_tls->pay(flow->sink_tls);
	if (!error)
		error = cv_flow_deliver_block(flow);
	if (!error)
		error = cv_flow_drain_pipe(flow);
	if (error == -EAGAIN && flow->sink_tls && cv_rule_holds("ktls-push"))
		cv_ktls_push(flow->sink_tls);
	return error;
}

static void pump(struct cv_flow *flow)
{
	size_t moved_bytes = 0;
	int error = drain(flow);

	while (!error && moved_bytes < PUMP_BYTES) {
		ssize_t taken = take(flow, &error);

		if (taken == -EAGAIN)
			break;
		if (taken == TAKEN_CONTROL)
			continue;
		if (taken == 0) {
			source_ended(flow);
			return;
		}
		if (taken < 0) {
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
	if (result < 0) {
		cv_flow_end(flow, result,
			    (flow->state & KTLS_STATES) == KTLS_EXPECT_SOURCE ? CV_FLOW_SOURCE
									      : CV_FLOW_SINK);
		return;
	}
	if ((flow->state & KTLS_STATES) == KTLS_CLOSING) {
		close_sink(flow);
		return;
	}
	if (!flow->pipe && !flow->block)
		flow->pipe = cv_pipe_take(flow->env->pipes); /* NULL: slow sinks hold them all */
	if (flow->pipe && flow->pipe->size_bytes < PIPE_MIN) {
		cv_pipe_give(flow->env->pipes, flow->pipe, 0);
		flow->pipe = NULL;
	}
	pump(flow);
}

/* ---- engine ------------------------------------------------------------------------------- */

static int ktls_start(struct cv_flow *flow)
{
	cv_flow_begin(flow, &cv_engine_ktls);
	flow->state = 0;
	expect_source(flow);
	return 0;
}

static void ktls_poll_progress(struct cv_flow *flow)
{
	(void)flow; /* moved_bytes is set at each splice into the sink */
}

static int ktls_half_close(struct cv_flow *flow)
{
	if (flow->sink_tls)
		(void)cv_ktls_close_notify(flow->sink_tls);
	return cv_flow_half_close(flow);
}

static void ktls_describe(const struct cv_flow *flow, char *text, size_t size_bytes)
{
	const char *ends = !flow->sink_tls     ? "opens records"
			   : !flow->source_tls ? "seals records"
					       : "opens and seals records";

	switch (flow->state & KTLS_STATES) {
	case KTLS_EXPECT_SINK:
		(void)snprintf(text, size_bytes, "ktls: %s, waiting for sink, %u bytes in the %s",
			       ends,
			       flow->pipe_bytes ? flow->pipe_bytes
						: flow->block_end - flow->block_at,
			       flow->pipe_bytes ? "pipe" : "block");
		break;
	case KTLS_CLOSING:
		(void)snprintf(text, size_bytes, "ktls: %s, sending its end", ends);
		break;
	default:
		(void)snprintf(text, size_bytes, "ktls: %s, waiting for source", ends);
		break;
	}
}

const struct cv_engine cv_engine_ktls = {
	.name = "ktls",
	.start = ktls_start,
	.poll_progress = ktls_poll_progress,
	.half_close = ktls_half_close,
	.stop = cv_flow_stop,
	.describe = ktls_describe,
};
