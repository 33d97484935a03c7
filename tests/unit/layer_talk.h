/* SPDX-License-Identifier: MIT */
/*
 * layer_talk.h - one layer by itself, as a leg would use it: what it emits and answers is kept,
 * what it is given stays pending until it takes it.
 */
#ifndef CV_TESTS_LAYER_TALK_H
#define CV_TESTS_LAYER_TALK_H

#include "protocol/layer.h"

#include <errno.h>

struct talker {
	struct cv_layer *layer;
	struct cv_buffer said;	  /* emitted or answered, not heard by the other side yet */
	struct cv_buffer pending; /* heard, not taken yet */
	struct cv_buffer app;
	size_t units, unit_len[256];
	int result; /* of the last decode; CV_LAYER_EOF stays */
};

static inline void talk_start(struct talker *talker, struct cv_layer *layer)
{
	*talker = (struct talker){.layer = layer};
	cv_buffer_init(&talker->said, 1 << 24);
	cv_buffer_init(&talker->pending, 1 << 24);
	cv_buffer_init(&talker->app, 1 << 24);
}

static inline void talk_stop(struct talker *talker)
{
	talker->layer->ops->free(talker->layer);
	cv_buffer_done(&talker->said);
	cv_buffer_done(&talker->pending);
	cv_buffer_done(&talker->app);
}

static inline int talk_emit(void *context, struct cv_span bytes)
{
	struct talker *talker = context;

	if (talker->units < sizeof(talker->unit_len) / sizeof(talker->unit_len[0]))
		talker->unit_len[talker->units++] = bytes.len_bytes;
	return cv_buffer_append(&talker->said, bytes.data, bytes.len_bytes);
}

static inline int talk_begin(struct talker *talker)
{
	return talker->layer->ops->start(talker->layer, talk_emit, talker);
}

static inline int talk_say(struct talker *talker, const void *bytes, size_t len_bytes)
{
	if (talker->layer->tx == CV_CLEAR)
		return talk_emit(talker, cv_span_of(bytes, len_bytes));
	return talker->layer->ops->encode(talker->layer, cv_span_of(bytes, len_bytes), talk_emit,
					  talker);
}

static inline int talk_end(struct talker *talker)
{
	return talker->layer->ops->encode_eof
		       ? talker->layer->ops->encode_eof(talker->layer, talk_emit, talker)
		       : 0;
}

/* 0, CV_LAYER_EOF or a reason; -EAGAIN is 0. */
static inline int talk_hear(struct talker *talker, const void *bytes, size_t len_bytes)
{
	int result = cv_buffer_append(&talker->pending, bytes, len_bytes);

	while (result == 0 && cv_buffer_len(&talker->pending) > 0) {
		struct cv_span in = cv_buffer_span(&talker->pending);
		const size_t before = in.len_bytes;

		if (talker->layer->rx == CV_CLEAR) {
			result = cv_buffer_append(&talker->app, in.data, in.len_bytes);
			cv_span_skip(&in, in.len_bytes);
		} else {
			result = talker->layer->ops->decode(talker->layer, &in, &talker->app,
							    &talker->said);
		}
		cv_buffer_consume(&talker->pending, before - in.len_bytes);
	}
	talker->result = result == -EAGAIN ? 0 : result;
	return talker->result;
}

/* At most @len_bytes of what @from said, in one piece. */
static inline int talk_pass(struct talker *from, struct talker *to, size_t len_bytes)
{
	struct cv_buffer heard;
	int result;

	if (len_bytes > cv_buffer_len(&from->said))
		len_bytes = cv_buffer_len(&from->said);
	if (len_bytes == 0)
		return 0;
	cv_buffer_init(&heard, 1 << 24);
	(void)cv_buffer_append(&heard, cv_buffer_bytes(&from->said), len_bytes);
	cv_buffer_consume(&from->said, len_bytes);
	result = talk_hear(to, cv_buffer_bytes(&heard), len_bytes);
	cv_buffer_done(&heard);
	return result;
}

#endif
