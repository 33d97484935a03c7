/* SPDX-License-Identifier: MIT */
/*
 * flow.h - what the engines share; for engines only.
 */
#ifndef CV_ENGINE_FLOW_H
#define CV_ENGINE_FLOW_H

#include "engine/engine.h"

/** cv_flow_half_close() - FIN to the sink. 0 or -errno. */
int cv_flow_half_close(struct cv_flow *flow);
/** cv_flow_moved() - @count_bytes reached the sink's socket now. */
void cv_flow_moved(struct cv_flow *flow, size_t count_bytes);
/** cv_flow_end() - Report the end; @result 0 sends the FIN first. The flow may be gone afterwards. */
void cv_flow_end(struct cv_flow *flow, int result, enum cv_flow_side side);

#endif
