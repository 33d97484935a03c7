// SPDX-License-Identifier: MIT
/*
 * buffer.c - the growable, bounded byte queue every leg reads into and writes from.
 *
 *	data            head                 tail        size_bytes   limit_bytes
 *	 |   consumed    |   queued bytes     |   room    |   not allocated   |
 *
 * Space at the tail is found in this order: it is there; sliding the queued bytes to the front
 * makes it; the memory doubles, from 512 bytes, never past limit_bytes. Memory that held bytes may
 * have held secrets, so it is cleansed before the allocator gets it back.
 *
 * A relay in user space takes and releases large memory for every batch. Each thread keeps a few
 * pieces of two sizes, the last released is the first taken: it is still in the cache, and nothing
 * is allocated or cleansed between batches. They are given back once all is quiet.
 */
#include "base/buffer.h"

#include <culvert/reason.h>

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_SIZE_BYTES 512
#define STORE_SIZES 2 /* CV_BUFFER_BLOCK, twice that */
#ifdef CV_SANITIZED
#define STORE_MAX 0 /* the sanitizer is to see every use after a release */
#else
#define STORE_MAX 8
#endif

static _Thread_local struct {
	uint8_t *memory[STORE_MAX + 1];
	size_t count;
} store[STORE_SIZES];

static size_t store_of(size_t size_bytes)
{
	if (size_bytes == CV_BUFFER_BLOCK)
		return 0;
	return size_bytes == 2 * CV_BUFFER_BLOCK ? 1 : STORE_SIZES;
}

static uint8_t *memory_take(size_t size_bytes)
{
	const size_t place = store_of(size_bytes);

	if (place < STORE_SIZES && store[place].count > 0)
		return store[place].memory[--store[place].count];
	return malloc(size_bytes);
}

static void memory_give(uint8_t *memory, size_t size_bytes)
{
	const size_t place = store_of(size_bytes);

	if (place < STORE_SIZES && store[place].count != STORE_MAX) {
		store[place].memory[store[place].count++] = memory;
		return;
	}
	explicit_bzero(memory, size_bytes);
	free(memory);
}

void cv_buffer_store_empty(void)
{
	for (size_t place = 0; place < STORE_SIZES; place++) {
		while (store[place].count > 0) {
			uint8_t *memory = store[place].memory[--store[place].count];

			explicit_bzero(memory, CV_BUFFER_BLOCK << place);
			free(memory);
		}
	}
}

void cv_span_skip(struct cv_span *span, size_t count_bytes)
{
	if (count_bytes > span->len_bytes)
		count_bytes = span->len_bytes;
	if (count_bytes == 0)
		return;
	span->data += count_bytes;
	span->len_bytes -= count_bytes;
}

void cv_buffer_init(struct cv_buffer *buffer, size_t limit_bytes)
{
	*buffer = (struct cv_buffer){.limit_bytes = limit_bytes};
}

void cv_buffer_done(struct cv_buffer *buffer)
{
	if (buffer->data)
		memory_give(buffer->data, buffer->size_bytes);
	cv_buffer_init(buffer, buffer->limit_bytes);
}

struct cv_span cv_buffer_span(const struct cv_buffer *buffer)
{
	if (!buffer->data)
		return cv_span_of(NULL, 0);
	return cv_span_of(buffer->data + buffer->head, cv_buffer_len(buffer));
}

size_t cv_buffer_room(const struct cv_buffer *buffer)
{
	const size_t len = cv_buffer_len(buffer);

	return len < buffer->limit_bytes ? buffer->limit_bytes - len : 0;
}

/* The next size that holds @needed_bytes (<= limit): a power of two, or the limit itself. */
static size_t buffer_grown_size(const struct cv_buffer *buffer, size_t needed_bytes)
{
	size_t size = buffer->size_bytes > FIRST_SIZE_BYTES ? buffer->size_bytes : FIRST_SIZE_BYTES;

	while (size < needed_bytes && size <= buffer->limit_bytes / 2)
		size *= 2;
	if (size < needed_bytes || size > buffer->limit_bytes)
		size = buffer->limit_bytes;
	return size;
}

static int buffer_grow(struct cv_buffer *buffer, size_t needed_bytes)
{
	const size_t len = cv_buffer_len(buffer);
	const size_t size = buffer_grown_size(buffer, needed_bytes);
	uint8_t *data = memory_take(size);

	if (!data)
		return CV_INTERNAL_MEMORY;
	if (buffer->data) {
		memcpy(data, buffer->data + buffer->head, len);
		memory_give(buffer->data, buffer->size_bytes);
	}
	buffer->data = data;
	buffer->size_bytes = size;
	buffer->head = 0;
	buffer->tail = len;
	return 0;
}

static void buffer_slide(struct cv_buffer *buffer)
{
	const size_t len = cv_buffer_len(buffer);

	memmove(buffer->data, buffer->data + buffer->head, len);
	buffer->head = 0;
	buffer->tail = len;
}

int cv_buffer_reserve(struct cv_buffer *buffer, size_t count_bytes, uint8_t **ret_space)
{
	if (count_bytes > cv_buffer_room(buffer))
		return CV_PEER_TOO_LONG;

	const size_t needed = cv_buffer_len(buffer) + count_bytes;

	if (!buffer->data || needed > buffer->size_bytes) {
		const int error = buffer_grow(buffer, needed);

		if (error)
			return error;
	} else if (count_bytes > buffer->size_bytes - buffer->tail) {
		buffer_slide(buffer);
	}
	*ret_space = buffer->data + buffer->tail;
	return 0;
}

void cv_buffer_commit(struct cv_buffer *buffer, size_t count_bytes)
{
	assert(count_bytes <= buffer->size_bytes - buffer->tail);
	buffer->tail += count_bytes;
}

int cv_buffer_append(struct cv_buffer *buffer, const void *bytes, size_t count_bytes)
{
	uint8_t *space;

	if (count_bytes == 0)
		return 0;

	const int error = cv_buffer_reserve(buffer, count_bytes, &space);

	if (error)
		return error;
	memcpy(space, bytes, count_bytes);
	cv_buffer_commit(buffer, count_bytes);
	return 0;
}

void cv_buffer_consume(struct cv_buffer *buffer, size_t count_bytes)
{
	assert(count_bytes <= cv_buffer_len(buffer));
	buffer->head += count_bytes;
	if (buffer->head == buffer->tail)
		buffer->head = buffer->tail = 0;
}

void cv_buffer_release_if_empty(struct cv_buffer *buffer)
{
	if (cv_buffer_len(buffer) == 0)
		cv_buffer_done(buffer);
}
