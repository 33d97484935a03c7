// SPDX-License-Identifier: MIT
/*
 * text_table.c - open addressing over texts that lie one behind the other.
 *
 *   slots: [text, entry] -> texts: len len t e x t ...     entries: [number, next] -> ...
 *
 * A name of a list of hundred thousand costs its letters and about twenty-five bytes.
 */
#include "policy/text_table.h"

#include <culvert/reason.h>

#include <stdlib.h>
#include <string.h>

#define LEN_BYTES 2
#define SLOTS_MIN 16

int cv_text_table_init(struct cv_text_table *table)
{
	*table = (struct cv_text_table){.entry_count = 1};
	return cv_siphash_key_random(&table->key);
}

void cv_text_table_done(struct cv_text_table *table)
{
	free(table->slots);
	free(table->texts);
	free(table->entries);
	*table = (struct cv_text_table){0};
}

static size_t len_at(const struct cv_text_table *table, uint32_t at)
{
	uint16_t len;

	memcpy(&len, table->texts + at, LEN_BYTES);
	return len;
}

/* The slot of @text, or the free one where it belongs. */
static struct cv_text_slot *find_slot(const struct cv_text_table *table, const char *text,
				      size_t len)
{
	const size_t mask = table->slot_count - 1;
	size_t at = cv_siphash(&table->key, text, len) & mask;

	while (table->slots[at].entry &&
	       (len_at(table, table->slots[at].text) != len ||
		memcmp(table->texts + table->slots[at].text + LEN_BYTES, text, len) != 0))
		at = (at + 1) & mask;
	return &table->slots[at];
}

static int grow_slots(struct cv_text_table *table)
{
	struct cv_text_table bigger = *table;

	bigger.slot_count = table->slot_count ? 2 * table->slot_count : SLOTS_MIN;
	bigger.slots = calloc(bigger.slot_count, sizeof(*bigger.slots));
	if (!bigger.slots)
		return CV_INTERNAL_MEMORY;
	for (size_t i = 0; i < table->slot_count; i++) {
		const struct cv_text_slot *slot = &table->slots[i];

		if (slot->entry)
			*find_slot(&bigger, table->texts + slot->text + LEN_BYTES,
				   len_at(table, slot->text)) = *slot;
	}
	free(table->slots);
	*table = bigger;
	return 0;
}

/* Room for @wanted more of @item_size bytes behind the @count there are. */
static int grow(void *array_at, size_t *size, size_t count, size_t wanted, size_t item_size)
{
	void *array;
	size_t bigger = *size ? *size : 64;

	memcpy(&array, array_at, sizeof(array));
	if (count + wanted > UINT32_MAX)
		return CV_INTERNAL_MEMORY;
	while (bigger < count + wanted)
		bigger += bigger / 2;
	if (bigger == *size)
		return 0;
	array = reallocarray(array, bigger, item_size);
	if (!array)
		return CV_INTERNAL_MEMORY;
	memcpy(array_at, &array, sizeof(array));
	*size = bigger;
	return 0;
}

static int add_text(struct cv_text_table *table, struct cv_text_slot *slot, const char *text,
		    uint16_t len)
{
	if (grow(&table->texts, &table->texts_size, table->texts_bytes, LEN_BYTES + len, 1) != 0)
		return CV_INTERNAL_MEMORY;
	slot->text = (uint32_t)table->texts_bytes;
	memcpy(table->texts + table->texts_bytes, &len, LEN_BYTES);
	memcpy(table->texts + table->texts_bytes + LEN_BYTES, text, len);
	table->texts_bytes += LEN_BYTES + len;
	table->text_count++;
	return 0;
}

int cv_text_table_add(struct cv_text_table *table, const char *text, size_t len, uint32_t number)
{
	struct cv_text_slot *slot;

	if (4 * (table->text_count + 1) > 3 * table->slot_count && grow_slots(table) != 0)
		return CV_INTERNAL_MEMORY;
	if (len > UINT16_MAX || grow(&table->entries, &table->entry_size, table->entry_count, 1,
				     sizeof(*table->entries)) != 0)
		return CV_INTERNAL_MEMORY;
	slot = find_slot(table, text, len);
	if (!slot->entry && add_text(table, slot, text, (uint16_t)len) != 0)
		return CV_INTERNAL_MEMORY;
	table->entries[table->entry_count] =
		(struct cv_text_entry){.number = number, .next = slot->entry};
	slot->entry = (uint32_t)table->entry_count++;
	return 0;
}

uint32_t cv_text_table_find(const struct cv_text_table *table, const char *text, size_t len)
{
	return table->slot_count ? find_slot(table, text, len)->entry : 0;
}

size_t cv_text_table_bytes(const struct cv_text_table *table)
{
	return table->slot_count * sizeof(*table->slots) + table->texts_size +
	       table->entry_size * sizeof(*table->entries);
}
