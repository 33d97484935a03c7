/* SPDX-License-Identifier: MIT */
/*
 * text_table.h - texts and the numbers filed under each of them: read often, written once.
 */
#ifndef CV_POLICY_TEXT_TABLE_H
#define CV_POLICY_TEXT_TABLE_H

#include "policy/siphash.h"

#include <stdint.h>

struct cv_text_entry {
	uint32_t number, next; /* of the same text; 0 = last */
};

struct cv_text_slot {
	uint32_t text;	/* where in texts; its length is in the two bytes there */
	uint32_t entry; /* first one; 0 = free slot */
};

struct cv_text_table {
	struct cv_siphash_key key;
	struct cv_text_slot *slots; /* slot_count, power of two, at most three quarters used */
	size_t slot_count, text_count;
	char *texts;
	size_t texts_bytes, texts_size;
	struct cv_text_entry *entries; /* [0] is nobody's */
	size_t entry_count, entry_size;
};

/** cv_text_table_init() - Empty. 0 or CV_INTERNAL_CRYPTO. */
int cv_text_table_init(struct cv_text_table *table);
void cv_text_table_done(struct cv_text_table *table);
/** cv_text_table_add() - File @number under @len bytes at @text (at most 65535), once more if it is
 * there already. 0 or CV_INTERNAL_MEMORY (also beyond 4 GiB of texts). */
int cv_text_table_add(struct cv_text_table *table, const char *text, size_t len, uint32_t number);
/** cv_text_table_find() - Index of the first entry, 0 = none; then entries[i].next. */
uint32_t cv_text_table_find(const struct cv_text_table *table, const char *text, size_t len);
size_t cv_text_table_bytes(const struct cv_text_table *table);

#endif
