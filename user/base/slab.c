// SPDX-License-Identifier: MIT
/*
 * slab.c - slots of one size for the objects of one worker.
 *
 *	open  --> [head|slot|slot|...] --> [...]	chunks with room, taken from the first
 *	full  --> [...] --> [...]
 *	spare --> [...]					at most one that is empty; others go back
 *
 * Memory comes in chunks, only when slots run out, and what a flood needed goes back with its last
 * slot. A chunk lies at a multiple of its size, so a slot knows its chunk. Free slots are all zero
 * except for the pointer to the next one, so taking one is constant time and a stale secret does
 * not survive its object. Chunks are mappings of their own: objects that live long would otherwise
 * pin the heap around what was short-lived beside them. Under AddressSanitizer free slots are
 * poisoned, which turns a use after cv_slab_give() into a report.
 */
#include "base/slab.h"

#include <assert.h>
#include <string.h>
#include <sys/mman.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SLAB_POISONS 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define SLAB_POISONS 1
#endif

#ifdef SLAB_POISONS
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(at, size) ((void)(at), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(at, size) ((void)(at), (void)(size))
#endif

#define SLOT_ALIGN _Alignof(max_align_t)
#define CHUNK_BYTES 65536
#define CHUNK_SLOTS_MIN 8

struct cv_slab_chunk {
	struct cv_slab_chunk *next, *previous;
	void *free_list;
	uint32_t used_count, touched_count; /* slots behind the touched ones were never taken */
};

#define HEAD_BYTES ((sizeof(struct cv_slab_chunk) + SLOT_ALIGN - 1) / SLOT_ALIGN * SLOT_ALIGN)

void cv_slab_init(struct cv_slab *slab, size_t slot_bytes, uint32_t max_count)
{
	size_t chunk_bytes = CHUNK_BYTES;

	if (slot_bytes < sizeof(void *))
		slot_bytes = sizeof(void *);
	slot_bytes = (slot_bytes + SLOT_ALIGN - 1) / SLOT_ALIGN * SLOT_ALIGN;
	while (chunk_bytes < HEAD_BYTES + CHUNK_SLOTS_MIN * slot_bytes)
		chunk_bytes *= 2;
	*slab = (struct cv_slab){
		.slot_bytes = slot_bytes, .max_count = max_count, .chunk_bytes = chunk_bytes};
}

static uint32_t chunk_slots(const struct cv_slab *slab)
{
	return (uint32_t)((slab->chunk_bytes - HEAD_BYTES) / slab->slot_bytes);
}

static char *chunk_slot(const struct cv_slab *slab, struct cv_slab_chunk *chunk, uint32_t index)
{
	return (char *)chunk + HEAD_BYTES + index * slab->slot_bytes;
}

static void chunk_link(struct cv_slab_chunk **list, struct cv_slab_chunk *chunk)
{
	chunk->previous = NULL;
	chunk->next = *list;
	if (*list)
		(*list)->previous = chunk;
	*list = chunk;
}

static void chunk_unlink(struct cv_slab_chunk **list, struct cv_slab_chunk *chunk)
{
	if (chunk->previous)
		chunk->previous->next = chunk->next;
	else
		*list = chunk->next;
	if (chunk->next)
		chunk->next->previous = chunk->previous;
}

/* At a multiple of its size: the mapping is twice as large first. */
static struct cv_slab_chunk *chunk_map(struct cv_slab *slab)
{
	const size_t bytes = slab->chunk_bytes;
	char *region = mmap(NULL, 2 * bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			    -1, 0);
	size_t before;

	if (region == MAP_FAILED)
		return NULL;
	before = -(uintptr_t)region & (bytes - 1);
	if (before > 0)
		(void)munmap(region, before);
	(void)munmap(region + before + bytes, bytes - before);
	region += before;
	ASAN_POISON_MEMORY_REGION(region + HEAD_BYTES, bytes - HEAD_BYTES);
	slab->chunk_count++;
	return (struct cv_slab_chunk *)(void *)region;
}

static void chunk_unmap(struct cv_slab *slab, struct cv_slab_chunk *chunk)
{
	ASAN_UNPOISON_MEMORY_REGION(chunk, slab->chunk_bytes);
	(void)munmap(chunk, slab->chunk_bytes);
	slab->chunk_count--;
}

void *cv_slab_take(struct cv_slab *slab)
{
	struct cv_slab_chunk *chunk = slab->open;
	void *slot;

	if (slab->used_count >= slab->max_count)
		return NULL;
	if (!chunk) {
		chunk = slab->spare ? slab->spare : chunk_map(slab);
		if (!chunk)
			return NULL;
		slab->spare = NULL;
		chunk_link(&slab->open, chunk);
	}
	slot = chunk->free_list ? chunk->free_list
				: chunk_slot(slab, chunk, chunk->touched_count++);
	ASAN_UNPOISON_MEMORY_REGION(slot, slab->slot_bytes);
	memcpy(&chunk->free_list, slot, sizeof(void *));
	memset(slot, 0, sizeof(void *));
	slab->used_count++;
	if (++chunk->used_count == chunk_slots(slab)) {
		chunk_unlink(&slab->open, chunk);
		chunk_link(&slab->full, chunk);
	}
	return slot;
}

void cv_slab_give(struct cv_slab *slab, void *slot)
{
	struct cv_slab_chunk *chunk;

	if (!slot)
		return;
	chunk = (void *)((char *)slot - ((uintptr_t)slot & (slab->chunk_bytes - 1)));
	assert(slab->used_count > 0 && chunk->used_count > 0);
	if (chunk->used_count == chunk_slots(slab)) {
		chunk_unlink(&slab->full, chunk);
		chunk_link(&slab->open, chunk);
	}
	explicit_bzero(slot, slab->slot_bytes);
	memcpy(slot, &chunk->free_list, sizeof(void *));
	chunk->free_list = slot;
	ASAN_POISON_MEMORY_REGION((char *)slot + sizeof(void *), slab->slot_bytes - sizeof(void *));
	slab->used_count--;
	if (--chunk->used_count > 0)
		return;
	chunk_unlink(&slab->open, chunk);
	if (slab->spare)
		chunk_unmap(slab, slab->spare);
	slab->spare = chunk;
}

void cv_slab_done(struct cv_slab *slab)
{
	struct cv_slab_chunk *lists[] = {slab->open, slab->full, slab->spare};

	assert(slab->used_count == 0);
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		while (lists[i]) {
			struct cv_slab_chunk *next = i == 2 ? NULL : lists[i]->next;

			chunk_unmap(slab, lists[i]);
			lists[i] = next;
		}
	}
	cv_slab_init(slab, slab->slot_bytes, slab->max_count);
}
