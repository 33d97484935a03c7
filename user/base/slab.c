// SPDX-License-Identifier: MIT
/*
 * slab.c - slots of one size for the objects of one worker.
 *
 *	chunks[] --> [slot][slot][slot]...     memory comes in chunks, only when slots run out
 *	free_list --> slot --> slot --> NULL   a free slot holds the pointer to the next one
 *
 * Free slots are all zero except for that pointer, so taking one is constant time and a stale
 * secret does not survive its object. Chunks are mappings of their own: objects that live long
 * would otherwise pin the heap around what was short-lived beside them. Under AddressSanitizer free
 * slots are poisoned, which turns a use after cv_slab_give() into a report.
 */
#include "base/slab.h"

#include <assert.h>
#include <stdlib.h>
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

void cv_slab_init(struct cv_slab *slab, size_t slot_bytes, uint32_t max_count)
{
	if (slot_bytes < sizeof(void *))
		slot_bytes = sizeof(void *);
	slot_bytes = (slot_bytes + SLOT_ALIGN - 1) / SLOT_ALIGN * SLOT_ALIGN;
	*slab = (struct cv_slab){.slot_bytes = slot_bytes, .max_count = max_count};
}

static void slab_push(struct cv_slab *slab, void *slot)
{
	memcpy(slot, &slab->free_list, sizeof(void *));
	slab->free_list = slot;
	ASAN_POISON_MEMORY_REGION((char *)slot + sizeof(void *), slab->slot_bytes - sizeof(void *));
}

static size_t slab_chunk_slots(const struct cv_slab *slab)
{
	const size_t slots = CHUNK_BYTES / slab->slot_bytes;

	return slots > CHUNK_SLOTS_MIN ? slots : CHUNK_SLOTS_MIN;
}

static int slab_grow(struct cv_slab *slab)
{
	const size_t slots = slab_chunk_slots(slab);
	char *chunk = mmap(NULL, slots * slab->slot_bytes, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (chunk == MAP_FAILED)
		return -1;

	void **chunks = realloc(slab->chunks, (slab->chunk_count + 1) * sizeof(*chunks));

	if (!chunks) {
		(void)munmap(chunk, slots * slab->slot_bytes);
		return -1;
	}
	slab->chunks = chunks;
	slab->chunks[slab->chunk_count++] = chunk;
	for (size_t i = slots; i > 0; i--)
		slab_push(slab, chunk + (i - 1) * slab->slot_bytes);
	return 0;
}

void *cv_slab_take(struct cv_slab *slab)
{
	if (slab->used_count >= slab->max_count)
		return NULL;
	if (!slab->free_list && slab_grow(slab) < 0)
		return NULL;

	void *slot = slab->free_list;

	ASAN_UNPOISON_MEMORY_REGION(slot, slab->slot_bytes);
	memcpy(&slab->free_list, slot, sizeof(void *));
	memset(slot, 0, sizeof(void *));
	slab->used_count++;
	return slot;
}

void cv_slab_give(struct cv_slab *slab, void *slot)
{
	if (!slot)
		return;
	assert(slab->used_count > 0);
	explicit_bzero(slot, slab->slot_bytes);
	slab_push(slab, slot);
	slab->used_count--;
}

void cv_slab_done(struct cv_slab *slab)
{
	assert(slab->used_count == 0);
	for (size_t i = 0; i < slab->chunk_count; i++) {
		ASAN_UNPOISON_MEMORY_REGION(slab->chunks[i],
					    slab_chunk_slots(slab) * slab->slot_bytes);
		(void)munmap(slab->chunks[i], slab_chunk_slots(slab) * slab->slot_bytes);
	}
	free(slab->chunks);
	cv_slab_init(slab, slab->slot_bytes, slab->max_count);
}
