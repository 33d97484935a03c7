/* SPDX-License-Identifier: MIT */
/*
 * slab.h - fixed-size slots of one worker with a hard cap; not thread safe by design.
 */
#ifndef CV_BASE_SLAB_H
#define CV_BASE_SLAB_H

#include <stddef.h>
#include <stdint.h>

struct cv_slab_chunk;

struct cv_slab {
	struct cv_slab_chunk *open, *full, *spare;
	size_t chunk_count, chunk_bytes;
	size_t slot_bytes;
	uint32_t used_count;
	uint32_t max_count;
};

/** cv_slab_init() - Slots of @slot_bytes, at most @max_count of them; allocates nothing yet. */
void cv_slab_init(struct cv_slab *slab, size_t slot_bytes, uint32_t max_count);
/** cv_slab_take() - A zeroed slot, or NULL when the cap or memory is reached. */
void *cv_slab_take(struct cv_slab *slab);
/** cv_slab_give() - Return @slot (NULL is fine); its bytes are cleared. */
void cv_slab_give(struct cv_slab *slab, void *slot);
/** cv_slab_done() - Free all memory; every slot must have been returned. */
void cv_slab_done(struct cv_slab *slab);

#endif
