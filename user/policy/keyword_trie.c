// SPDX-License-Identifier: MIT
/*
 * keyword_trie.c - words as paths of letters; from each letter of a text down as far as it goes.
 *
 * Few words of a text begin like a keyword and fewer go on like one, so that a look takes about as
 * many steps as the text has letters, however many keywords there are.
 */
#include "policy/keyword_trie.h"

#include <culvert/reason.h>

#include <stdlib.h>

struct cv_keyword_trie *cv_keyword_trie_new(void)
{
	struct cv_keyword_trie *trie = calloc(1, sizeof(*trie));

	if (!trie)
		return NULL;
	trie->node_count = trie->entry_count = 1;
	trie->node_size = trie->entry_size = 16;
	trie->nodes = calloc(trie->node_size, sizeof(*trie->nodes));
	trie->entries = calloc(trie->entry_size, sizeof(*trie->entries));
	if (!trie->nodes || !trie->entries)
		return cv_keyword_trie_free(trie);
	return trie;
}

struct cv_keyword_trie *cv_keyword_trie_free(struct cv_keyword_trie *trie)
{
	if (!trie)
		return NULL;
	free(trie->nodes);
	free(trie->entries);
	free(trie);
	return NULL;
}

static uint32_t child_of(const struct cv_keyword_trie *trie, uint32_t node, char letter)
{
	uint32_t child;

	if (node == 0)
		return trie->first[(unsigned char)letter];
	child = trie->nodes[node].child;
	while (child && trie->nodes[child].letter != letter)
		child = trie->nodes[child].sibling;
	return child;
}

static int add_child(struct cv_keyword_trie *trie, uint32_t node, char letter, uint32_t *ret_child)
{
	const uint32_t child = (uint32_t)trie->node_count;

	if (trie->node_count == trie->node_size) {
		struct cv_trie_node *nodes =
			reallocarray(trie->nodes, 2 * trie->node_size, sizeof(*nodes));

		if (!nodes || trie->node_size > UINT32_MAX / 4)
			return CV_INTERNAL_MEMORY;
		trie->nodes = nodes;
		trie->node_size *= 2;
	}
	trie->nodes[child] = (struct cv_trie_node){.letter = letter};
	if (node == 0) {
		trie->first[(unsigned char)letter] = child;
	} else {
		trie->nodes[child].sibling = trie->nodes[node].child;
		trie->nodes[node].child = child;
	}
	trie->node_count++;
	*ret_child = child;
	return 0;
}

static int add_entry(struct cv_keyword_trie *trie, uint32_t node, uint32_t number)
{
	if (trie->entry_count == trie->entry_size) {
		struct cv_trie_entry *entries =
			reallocarray(trie->entries, 2 * trie->entry_size, sizeof(*entries));

		if (!entries || trie->entry_size > UINT32_MAX / 4)
			return CV_INTERNAL_MEMORY;
		trie->entries = entries;
		trie->entry_size *= 2;
	}
	trie->entries[trie->entry_count] =
		(struct cv_trie_entry){.number = number, .next = trie->nodes[node].entry};
	trie->nodes[node].entry = (uint32_t)trie->entry_count++;
	return 0;
}

int cv_keyword_trie_add(struct cv_keyword_trie *trie, const char *word, uint32_t number)
{
	uint32_t node = 0;

	for (; *word; word++) {
		uint32_t child = child_of(trie, node, *word);

		if (!child && add_child(trie, node, *word, &child) != 0)
			return CV_INTERNAL_MEMORY;
		node = child;
	}
	return add_entry(trie, node, number);
}

static void report(const struct cv_keyword_trie *trie, uint32_t node,
		   void (*found)(uint32_t number, void *context), void *context)
{
	for (uint32_t i = trie->nodes[node].entry; i; i = trie->entries[i].next)
		found(trie->entries[i].number, context);
}

void cv_keyword_trie_find(const struct cv_keyword_trie *trie, const char *text,
			  void (*found)(uint32_t number, void *context), void *context)
{
	report(trie, 0, found, context);
	for (; *text; text++) {
		const char *at = text;

		uint32_t node = child_of(trie, 0, *at);

		while (node) {
			report(trie, node, found, context);
			node = *++at ? child_of(trie, node, *at) : 0;
		}
	}
}

size_t cv_keyword_trie_bytes(const struct cv_keyword_trie *trie)
{
	return sizeof(*trie) + trie->node_size * sizeof(*trie->nodes) +
	       trie->entry_size * sizeof(*trie->entries);
}
