/* SPDX-License-Identifier: MIT */
/*
 * buffer.h - byte views and one growable, bounded byte queue.
 *
 * cv_span is a borrowed view. cv_buffer owns memory; bytes live in data[head..tail). Appending
 * moves or grows the memory up to limit_bytes and never beyond. A buffer that became empty can be
 * released, so that an idle session holds none. What busy sessions release and take again all the
 * time, memory of CV_BUFFER_BLOCK and twice that, goes through a small store of the thread.
 */
#ifndef CV_BASE_BUFFER_H
#define CV_BASE_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CV_BUFFER_BLOCK 65536

struct cv_span {
	const uint8_t *data; /* borrowed */
	size_t len_bytes;
};

struct cv_buffer {
	uint8_t *data;
	size_t head;
	size_t tail;
	size_t size_bytes;  /* allocated */
	size_t limit_bytes; /* never more than this is allocated */
};

static inline struct cv_span cv_span_of(const void *data, size_t len_bytes)
{
	return (struct cv_span){.data = data, .len_bytes = len_bytes};
}

/** cv_span_skip() - Drop the first @count_bytes (clamped) of @span. */
void cv_span_skip(struct cv_span *span, size_t count_bytes);

/** cv_buffer_init() - Empty buffer without memory; @limit_bytes > 0. */
void cv_buffer_init(struct cv_buffer *buffer, size_t limit_bytes);

/** cv_buffer_done() - Give the memory up: cleansed and freed, or as it is to the thread's store;
 * the buffer may be used again. */
void cv_buffer_done(struct cv_buffer *buffer);

/** cv_buffer_store_empty() - Cleanse and free what this thread's store of memory holds. */
void cv_buffer_store_empty(void);

static inline size_t cv_buffer_len(const struct cv_buffer *buffer)
{
	return buffer->tail - buffer->head;
}

static inline uint8_t *cv_buffer_bytes(struct cv_buffer *buffer)
{
	return buffer->data ? buffer->data + buffer->head : NULL;
}

struct cv_span cv_buffer_span(const struct cv_buffer *buffer);

/** cv_buffer_room() - How many bytes may still be appended before limit_bytes. */
size_t cv_buffer_room(const struct cv_buffer *buffer);

/**
 * cv_buffer_reserve() - Make @count_bytes of contiguous space at the tail.
 * @ret_space: where to write; call cv_buffer_commit() afterwards
 * Returns: 0; CV_PEER_TOO_LONG beyond the limit; CV_INTERNAL_MEMORY.
 */
int cv_buffer_reserve(struct cv_buffer *buffer, size_t count_bytes, uint8_t **ret_space);
void cv_buffer_commit(struct cv_buffer *buffer, size_t count_bytes);

/** cv_buffer_append() - Copy bytes to the tail. Returns as cv_buffer_reserve(). */
int cv_buffer_append(struct cv_buffer *buffer, const void *bytes, size_t count_bytes);

/** cv_buffer_consume() - Drop @count_bytes (<= len) from the head; rewinds when empty. */
void cv_buffer_consume(struct cv_buffer *buffer, size_t count_bytes);

/** cv_buffer_release_if_empty() - Give the memory back when nothing is queued. */
void cv_buffer_release_if_empty(struct cv_buffer *buffer);

#endif
