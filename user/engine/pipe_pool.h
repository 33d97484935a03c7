/* SPDX-License-Identifier: MIT */
#ifndef CV_ENGINE_PIPE_POOL_H
#define CV_ENGINE_PIPE_POOL_H

#include <stdint.h>

struct cv_pipe {
	int read_fd, write_fd;
	uint32_t size_bytes;
	struct cv_pipe *next;
};

struct cv_pipe_pool;

/** cv_pipe_pool_new() - At most @max_count pipes exist, at most @keep_count are kept idle. */
struct cv_pipe_pool *cv_pipe_pool_new(uint32_t max_count, uint32_t keep_count, uint32_t size_bytes);
struct cv_pipe_pool *cv_pipe_pool_free(struct cv_pipe_pool *pool);
/** cv_pipe_take() - An empty pipe, or NULL (cap reached or out of descriptors). */
struct cv_pipe *cv_pipe_take(struct cv_pipe_pool *pool);
/** cv_pipe_give() - @dirty: it still holds bytes and must be closed instead of reused. */
void cv_pipe_give(struct cv_pipe_pool *pool, struct cv_pipe *pipe, int dirty);
uint32_t cv_pipe_pool_used(const struct cv_pipe_pool *pool);

#endif
