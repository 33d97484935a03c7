// SPDX-License-Identifier: MIT
/*
 * pipe_pool.c - pipes of one worker. A flow holds one only while bytes are in it, so a few pipes
 * serve thousands of sessions. Beyond pipe-user-pages-soft the kernel grants an unprivileged user
 * only pipes of two pages: those are not worth having, and the pool asks again only after a while.
 */
#include "engine/pipe_pool.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#define SMALLEST_BYTES 65536u
/* The first pipes have the whole size: one splice then takes what a socket has. They serve whenever
 * no sink is full, and some dozens of busy flows. The others wait with a slow sink most of the time
 * and are smaller. */
#define LARGE_MIN 4u
#define LARGE_MAX 64u
#define SMALLER 4u
#define REFUSED_ASKS 1024 /* this many asks are answered without trying again */

struct cv_pipe_pool {
	struct cv_pipe *idle;
	uint32_t refused_asks;
	uint32_t idle_count, count, max_count, keep_count, size_bytes, large_count;
};

/* As many as take half of what an unprivileged user may have, each worker its share. */
static uint32_t large_count(uint32_t size_bytes)
{
	FILE *file = fopen("/proc/sys/fs/pipe-user-pages-soft", "re");
	unsigned long pages = 0, count;
	bool is_limited = !file || fscanf(file, "%lu", &pages) != 1 || pages > 0;

	if (file)
		(void)fclose(file);
	if (!is_limited)
		return LARGE_MAX;
	count = pages / 2 * (unsigned long)sysconf(_SC_PAGESIZE) / size_bytes /
		(unsigned long)get_nprocs();
	if (count < LARGE_MIN)
		return LARGE_MIN;
	return count < LARGE_MAX ? (uint32_t)count : LARGE_MAX;
}

struct cv_pipe_pool *cv_pipe_pool_new(uint32_t max_count, uint32_t keep_count, uint32_t size_bytes)
{
	struct cv_pipe_pool *pool = calloc(1, sizeof(*pool));

	if (!pool)
		return NULL;
	pool->max_count = max_count;
	pool->keep_count = keep_count;
	pool->size_bytes = size_bytes;
	pool->large_count = large_count(size_bytes);
	return pool;
}

static void pipe_close(struct cv_pipe_pool *pool, struct cv_pipe *pipe)
{
	(void)close(pipe->read_fd);
	(void)close(pipe->write_fd);
	free(pipe);
	pool->count--;
}

struct cv_pipe_pool *cv_pipe_pool_free(struct cv_pipe_pool *pool)
{
	if (!pool)
		return NULL;
	while (pool->idle) {
		struct cv_pipe *pipe = pool->idle;

		pool->idle = pipe->next;
		pipe_close(pool, pipe);
	}
	free(pool);
	return NULL;
}

static struct cv_pipe *pipe_open(struct cv_pipe_pool *pool)
{
	struct cv_pipe *pipe = calloc(1, sizeof(*pipe));
	uint32_t size_bytes = pool->size_bytes;
	int fds[2], granted;

	if (pool->count >= pool->large_count && size_bytes / SMALLER >= SMALLEST_BYTES)
		size_bytes /= SMALLER;
	if (!pipe || pipe2(fds, O_NONBLOCK | O_CLOEXEC) < 0) {
		free(pipe);
		return NULL;
	}
	pipe->read_fd = fds[0];
	pipe->write_fd = fds[1];
	pool->count++;
	granted = fcntl(pipe->write_fd, F_SETPIPE_SZ, (int)size_bytes);
	if (granted < 0)
		granted = fcntl(pipe->write_fd, F_GETPIPE_SZ);
	pipe->size_bytes = granted > 0 ? (uint32_t)granted : 0;
	if (pipe->size_bytes >= SMALLEST_BYTES || pipe->size_bytes >= pool->size_bytes)
		return pipe;
	pipe_close(pool, pipe);
	return NULL;
}

static struct cv_pipe *pipe_new(struct cv_pipe_pool *pool)
{
	struct cv_pipe *pipe;

	if (pool->count >= pool->max_count)
		return NULL;
	if (pool->refused_asks > 0) {
		pool->refused_asks--;
		return NULL;
	}
	pipe = pipe_open(pool);
	if (!pipe)
		pool->refused_asks = REFUSED_ASKS;
	return pipe;
}

struct cv_pipe *cv_pipe_take(struct cv_pipe_pool *pool)
{
	struct cv_pipe *pipe = pool->idle;

	if (!pipe)
		return pipe_new(pool);
	pool->idle = pipe->next;
	pool->idle_count--;
	pipe->next = NULL;
	return pipe;
}

void cv_pipe_give(struct cv_pipe_pool *pool, struct cv_pipe *pipe, int dirty)
{
	if (!pipe)
		return;
	if (dirty || pool->idle_count >= pool->keep_count) {
		pipe_close(pool, pipe);
		return;
	}
	pipe->next = pool->idle;
	pool->idle = pipe;
	pool->idle_count++;
}

uint32_t cv_pipe_pool_used(const struct cv_pipe_pool *pool)
{
	return pool->count - pool->idle_count;
}
