/* SPDX-License-Identifier: MIT */
/*
 * address_tree.h - address blocks and the numbers filed under each: all blocks around an address.
 */
#ifndef CV_POLICY_ADDRESS_TREE_H
#define CV_POLICY_ADDRESS_TREE_H

#include <stddef.h>
#include <stdint.h>

struct cv_block {
	uint8_t first[16], last[16]; /* IPv4 in the first four bytes */
	uint32_t number;
	uint32_t parent; /* the smallest block around it, plus one; 0 = none */
};

struct cv_address_tree { /* of one family */
	struct cv_block *blocks;
	size_t count, size;
};

void cv_address_tree_done(struct cv_address_tree *tree);
/** cv_address_tree_add() - A block, which must be inside, around or apart from every other. 0 or
 * CV_INTERNAL_MEMORY. */
int cv_address_tree_add(struct cv_address_tree *tree, const uint8_t first[16],
			const uint8_t last[16], uint32_t number);
/** cv_address_tree_finish() - After the last block and before the first search. */
void cv_address_tree_finish(struct cv_address_tree *tree);
/** cv_address_tree_find() - Call @found with the number of each block around @address. */
void cv_address_tree_find(const struct cv_address_tree *tree, const uint8_t address[16],
			  void (*found)(uint32_t number, void *context), void *context);

#endif
