/* SPDX-License-Identifier: MIT */
/*
 * flow.h - what the engines share; for engines only.
 */
#ifndef CV_ENGINE_FLOW_H
#define CV_ENGINE_FLOW_H

#include "engine/engine.h"

/** cv_flow_begin() - Reset the engine's own fields. */
void cv_flow_begin(struct cv_flow *flow, const struct cv_engine *engine);
/** cv_flow_wait_source/sink() - One poll on the ring; @done as its completion. While the sink is
 * waited for, an error of the source (a reset) ends the flow too. */
void cv_flow_wait_source(struct cv_flow *flow,
			 void (*done)(struct cv_op *op, int result, uint32_t flags));
void cv_flow_wait_sink(struct cv_flow *flow,
		       void (*done)(struct cv_op *op, int result, uint32_t flags));
/** cv_flow_drain_pipe() - The pipe's bytes into the sink. 0 = all; -EAGAIN = sink full; -errno. */
int cv_flow_drain_pipe(struct cv_flow *flow);
/** cv_flow_deliver() - Send @count_bytes to the sink; what a full sink does not take is kept in a
 * block of the flow's own. 0 = all sent; -EAGAIN = the rest is in the block; CV_INTERNAL_MEMORY;
 * else -errno. */
int cv_flow_deliver(struct cv_flow *flow, const uint8_t *bytes, size_t count_bytes);
/** cv_flow_deliver_block() - 0 = nothing left of it; -EAGAIN = sink full; else -errno. */
int cv_flow_deliver_block(struct cv_flow *flow);
/** cv_flow_moved() - @count_bytes reached the sink's socket now. */
void cv_flow_moved(struct cv_flow *flow, size_t count_bytes);
/** cv_flow_half_close(), cv_flow_stop() - As in struct cv_engine. */
int cv_flow_half_close(struct cv_flow *flow);
void cv_flow_stop(struct cv_flow *flow);
/** cv_flow_stop_with() - Stop, and report @result and @side then. */
void cv_flow_stop_with(struct cv_flow *flow, int result, enum cv_flow_side side);
/** cv_flow_end() - Free what the flow holds and report; @result 0 sends the FIN first. No operation
 * may be pending. The flow may be gone afterwards. */
void cv_flow_end(struct cv_flow *flow, int result, enum cv_flow_side side);
/** cv_flow_woken() / cv_flow_blocked() - Count a turn that begins / that a full sink ended. */
void cv_flow_woken(struct cv_flow *flow);
void cv_flow_blocked(struct cv_flow *flow);
/** cv_flow_end_stopped() - The end of a flow that is stopping. */
void cv_flow_end_stopped(struct cv_flow *flow);

#endif
