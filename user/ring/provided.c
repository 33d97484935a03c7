// SPDX-License-Identifier: MIT
/*
 * provided.c - the receive buffers of a ring, which the kernel picks only when bytes are there.
 *
 *   spare[] --give--> kernel's buffer ring --recv completes--> owner --cv_ring_buffer_give()--> ...
 *
 * An idle recv holds no buffer. The kernel takes buffers first in first out, so the ring shows it
 * only a window of them and widens that when a recv found none: few flows stay within the cache.
 * Without buffer rings (before 5.19) recv is done by hand from spare[] after a poll.
 */
#include "ring/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#define WINDOW_FIRST 32u

static size_t shared_bytes(const struct cv_buffers *buffers)
{
	return buffers->count * sizeof(struct io_uring_buf);
}

static uint8_t *buffer_at(const struct cv_buffers *buffers, uint32_t id)
{
	return buffers->base + (size_t)id * buffers->size_bytes;
}

static void kernel_give(struct cv_buffers *buffers, uint16_t id)
{
	io_uring_buf_ring_add(buffers->shared, buffer_at(buffers, id), buffers->size_bytes, id,
			      io_uring_buf_ring_mask(buffers->count), 0);
	io_uring_buf_ring_advance(buffers->shared, 1);
	buffers->kernel_count++;
}

static void window_fill(struct cv_buffers *buffers)
{
	while (buffers->shared && buffers->spare_count &&
	       buffers->kernel_count < buffers->window_count)
		kernel_give(buffers, buffers->spare[--buffers->spare_count]);
}

static int shared_register(struct cv_ring *ring)
{
	struct cv_buffers *buffers = &ring->buffers;
	struct io_uring_buf_reg reg = {
		.ring_entries = buffers->count,
		.bgid = CV_RING_BUFFER_GROUP,
	};
	void *memory = mmap(NULL, shared_bytes(buffers), PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int error;

	if (memory == MAP_FAILED)
		return -errno;
	reg.ring_addr = (uintptr_t)memory;
	error = io_uring_register_buf_ring(&ring->uring, &reg, 0);
	if (error) {
		(void)munmap(memory, shared_bytes(buffers));
		return error;
	}
	buffers->shared = memory;
	io_uring_buf_ring_init(buffers->shared);
	return 0;
}

int cv_buffers_init(struct cv_ring *ring, uint32_t count, uint32_t size_bytes, bool plain)
{
	struct cv_buffers *buffers = &ring->buffers;

	buffers->count = count;
	buffers->size_bytes = size_bytes;
	buffers->window_count = count < WINDOW_FIRST ? count : WINDOW_FIRST;
	buffers->spare = calloc(count, sizeof(buffers->spare[0]));
	buffers->base = mmap(NULL, (size_t)count * size_bytes, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (buffers->base == MAP_FAILED)
		buffers->base = NULL;
	if (!buffers->spare || !buffers->base)
		return -ENOMEM;
	for (uint32_t i = 0; i < count; i++)
		buffers->spare[buffers->spare_count++] = (uint16_t)(count - 1 - i);
	ring->features.buffer_ring = !plain && !shared_register(ring);
	window_fill(buffers);
	return 0;
}

void cv_buffers_done(struct cv_ring *ring)
{
	struct cv_buffers *buffers = &ring->buffers;

	if (buffers->shared)
		(void)munmap(buffers->shared, shared_bytes(buffers));
	if (buffers->base)
		(void)munmap(buffers->base, (size_t)buffers->count * buffers->size_bytes);
	free(buffers->spare);
}

void cv_buffers_taken(struct cv_ring *ring)
{
	ring->buffers.kernel_count--;
	if (ring->buffers.kernel_count < ring->buffers.window_count / 2)
		window_fill(&ring->buffers);
}

void cv_buffers_widen(struct cv_ring *ring)
{
	struct cv_buffers *buffers = &ring->buffers;

	if (buffers->window_count < buffers->count)
		buffers->window_count *= 2;
	window_fill(buffers);
}

uint64_t cv_ring_window_bytes(const struct cv_ring *ring)
{
	return (uint64_t)ring->buffers.window_count * ring->buffers.size_bytes;
}

bool cv_buffers_available(const struct cv_ring *ring)
{
	return ring->buffers.kernel_count + ring->buffers.spare_count > 0;
}

bool cv_buffers_pop(struct cv_ring *ring, uint32_t *ret_flags)
{
	struct cv_buffers *buffers = &ring->buffers;

	if (!buffers->spare_count)
		return false;
	*ret_flags = (uint32_t)buffers->spare[--buffers->spare_count] << IORING_CQE_BUFFER_SHIFT |
		     IORING_CQE_F_BUFFER;
	return true;
}

uint8_t *cv_ring_buffer(struct cv_ring *ring, uint32_t flags)
{
	return buffer_at(&ring->buffers, flags >> IORING_CQE_BUFFER_SHIFT);
}

void cv_ring_buffer_give(struct cv_ring *ring, uint32_t flags)
{
	struct cv_buffers *buffers = &ring->buffers;
	uint16_t id = (uint16_t)(flags >> IORING_CQE_BUFFER_SHIFT);

	if (buffers->shared && buffers->kernel_count < buffers->window_count)
		kernel_give(buffers, id);
	else
		buffers->spare[buffers->spare_count++] = id;
}

size_t cv_ring_buffer_bytes(const struct cv_ring *ring)
{
	return ring->buffers.size_bytes;
}
