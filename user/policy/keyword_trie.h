/* SPDX-License-Identifier: MIT */
/*
 * keyword_trie.h - which of many words occur in a text.
 */
#ifndef CV_POLICY_KEYWORD_TRIE_H
#define CV_POLICY_KEYWORD_TRIE_H

#include <stddef.h>
#include <stdint.h>

struct cv_trie_node {
	uint32_t child, sibling; /* 0 = none */
	uint32_t entry;		 /* first of the words that end here; 0 = none */
	char letter;
};

struct cv_trie_entry {
	uint32_t number, next;
};

struct cv_keyword_trie {
	uint32_t first[256];	    /* nodes of words' first letters */
	struct cv_trie_node *nodes; /* [0] is the root: the empty word ends there */
	size_t node_count, node_size;
	struct cv_trie_entry *entries; /* [0] is nobody's */
	size_t entry_count, entry_size;
};

/** cv_keyword_trie_new() - No words. NULL: out of memory. */
struct cv_keyword_trie *cv_keyword_trie_new(void);
/** cv_keyword_trie_free() - NULL-safe, returns NULL. */
struct cv_keyword_trie *cv_keyword_trie_free(struct cv_keyword_trie *trie);
/** cv_keyword_trie_add() - File @number under @word; the empty one is in every text. 0 or
 * CV_INTERNAL_MEMORY. */
int cv_keyword_trie_add(struct cv_keyword_trie *trie, const char *word, uint32_t number);
/** cv_keyword_trie_find() - Call @found with the number of each word in @text, maybe several times.
 */
void cv_keyword_trie_find(const struct cv_keyword_trie *trie, const char *text,
			  void (*found)(uint32_t number, void *context), void *context);
size_t cv_keyword_trie_bytes(const struct cv_keyword_trie *trie);

#endif
