// SPDX-License-Identifier: MIT
/*
 * address_tree.c - blocks sorted by their first address, the larger ahead; each knows the smallest
 * one around it.
 *
 *   10.0.0.0/8  10.1.0.0/16  10.1.2.0/24  10.1.2.0/24  10.7.0.0/16  ...
 *        ^----------' ^-----------' ^----------'
 *
 * The last block that begins at or before an address, or one of those around it, is the smallest
 * that holds the address; all others that do are around that one.
 */
#include "policy/address_tree.h"

#include <culvert/reason.h>

#include <stdlib.h>
#include <string.h>

#define ADDRESS_BYTES 16

void cv_address_tree_done(struct cv_address_tree *tree)
{
	free(tree->blocks);
	*tree = (struct cv_address_tree){0};
}

int cv_address_tree_add(struct cv_address_tree *tree, const uint8_t first[16],
			const uint8_t last[16], uint32_t number)
{
	struct cv_block *block;

	if (tree->count == tree->size) {
		const size_t size = tree->size ? 2 * tree->size : 64;
		struct cv_block *blocks = reallocarray(tree->blocks, size, sizeof(*blocks));

		if (!blocks || size > UINT32_MAX / 2)
			return CV_INTERNAL_MEMORY;
		tree->blocks = blocks;
		tree->size = size;
	}
	block = &tree->blocks[tree->count++];
	memcpy(block->first, first, ADDRESS_BYTES);
	memcpy(block->last, last, ADDRESS_BYTES);
	block->number = number;
	block->parent = 0;
	return 0;
}

static int compare(const void *one, const void *other)
{
	const struct cv_block *a = one, *b = other;
	const int order = memcmp(a->first, b->first, ADDRESS_BYTES);

	return order ? order : memcmp(b->last, a->last, ADDRESS_BYTES);
}

static int holds(const struct cv_block *block, const uint8_t *address)
{
	return memcmp(block->last, address, ADDRESS_BYTES) >= 0;
}

void cv_address_tree_finish(struct cv_address_tree *tree)
{
	uint32_t around = 0; /* plus one, as parent */

	if (tree->count > 1)
		qsort(tree->blocks, tree->count, sizeof(*tree->blocks), compare);
	for (size_t i = 0; i < tree->count; i++) {
		while (around && !holds(&tree->blocks[around - 1], tree->blocks[i].first))
			around = tree->blocks[around - 1].parent;
		tree->blocks[i].parent = around;
		around = (uint32_t)i + 1;
	}
}

void cv_address_tree_find(const struct cv_address_tree *tree, const uint8_t address[16],
			  void (*found)(uint32_t number, void *context), void *context)
{
	size_t low = 0, high = tree->count;

	while (low < high) { /* to the first block that begins behind the address */
		const size_t middle = low + (high - low) / 2;

		if (memcmp(tree->blocks[middle].first, address, ADDRESS_BYTES) <= 0)
			low = middle + 1;
		else
			high = middle;
	}
	for (size_t at = low; at; at = tree->blocks[at - 1].parent)
		if (holds(&tree->blocks[at - 1], address))
			found(tree->blocks[at - 1].number, context);
}
