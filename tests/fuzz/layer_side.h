/* SPDX-License-Identifier: MIT */
/* layer_side.h - one end of a connection whose only layer is fuzzed, and what it said and heard. */
#ifndef CV_FUZZ_LAYER_SIDE_H
#define CV_FUZZ_LAYER_SIDE_H

#include "check.h"
#include "protocol/layer.h"

struct side {
	struct cv_layer *layer;
	struct cv_buffer wire, pending, sent, got;
};

static inline void start(struct side *side, struct cv_layer *layer)
{
	check(layer != NULL);
	side->layer = layer;
	cv_buffer_init(&side->wire, 1 << 24);
	cv_buffer_init(&side->pending, 1 << 24);
	cv_buffer_init(&side->sent, 1 << 24);
	cv_buffer_init(&side->got, 1 << 24);
}

static inline void stop(struct side *side)
{
	side->layer->ops->free(side->layer);
	cv_buffer_done(&side->wire);
	cv_buffer_done(&side->pending);
	cv_buffer_done(&side->sent);
	cv_buffer_done(&side->got);
}

/* What a layer emits goes onto the wire. */
static inline int collect(void *context, struct cv_span bytes)
{
	struct side *side = context;

	check(bytes.len_bytes > 0);
	return cv_buffer_append(&side->wire, bytes.data, bytes.len_bytes);
}

#endif
