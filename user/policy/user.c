// SPDX-License-Identifier: MIT
/*
 * user.c - who may use an inbound: by UUID in a keyed hash table, or by name and password.
 *
 * Bytes 6 and 7 of a UUID are not part of the identity (VLESS 5.2). The hash is keyed per process, so
 * nobody outside can choose UUIDs that collide. Passwords are compared in constant time, and a name
 * that does not exist costs the same as one that does.
 */
#include "policy/user.h"

#include "base/reason.h"
#include "crypto/crypto.h"

#include <stdlib.h>
#include <string.h>

#define PASSWORD_MAX 256

struct cv_user_table {
	struct cv_user *users;
	size_t user_count;
	uint32_t *slots; /* index + 1 into users, open addressing */
	size_t slot_count; /* power of two, at least twice user_count */
	uint8_t key[32];
};

static void mask_uuid(const uint8_t uuid[16], uint8_t masked[16])
{
	memcpy(masked, uuid, 16);
	masked[6] = masked[7] = 0;
}

static size_t slot_of(const struct cv_user_table *table, const uint8_t masked[16])
{
	const struct cv_mac_part part = {.bytes = masked, .count_bytes = 16};
	uint8_t mac[CV_HASH_MAX];
	uint64_t hash = 0;

	if (cv_hmac(CV_SHA256, table->key, sizeof(table->key), &part, 1, mac) == 0)
		memcpy(&hash, mac, sizeof(hash));
	return (size_t)hash & (table->slot_count - 1);
}

struct cv_user *cv_user_find_uuid(struct cv_user_table *table, const uint8_t uuid[16])
{
	uint8_t masked[16], other[16];
	size_t slot;

	if (!table || table->slot_count == 0)
		return NULL;
	mask_uuid(uuid, masked);
	for (slot = slot_of(table, masked); table->slots[slot];
	     slot = (slot + 1) & (table->slot_count - 1)) {
		struct cv_user *user = &table->users[table->slots[slot] - 1];

		mask_uuid(user->uuid, other);
		if (cv_equal_constant_time(masked, other, sizeof(masked)))
			return user;
	}
	return NULL;
}

static void insert(struct cv_user_table *table, size_t index)
{
	uint8_t masked[16], other[16];
	size_t slot;

	mask_uuid(table->users[index].uuid, masked);
	for (slot = slot_of(table, masked); table->slots[slot];
	     slot = (slot + 1) & (table->slot_count - 1)) {
		mask_uuid(table->users[table->slots[slot] - 1].uuid, other);
		if (memcmp(masked, other, sizeof(masked)) == 0)
			break; /* the later one wins (VLESS 5.2) */
	}
	table->slots[slot] = (uint32_t)index + 1;
}

/* 1 if @text equals the stored one; takes the same time for every input of that length. */
static bool equal_padded(const char *stored, const char *text, size_t text_len)
{
	uint8_t a[PASSWORD_MAX] = {0}, b[PASSWORD_MAX] = {0};
	size_t stored_len = strlen(stored);
	bool equal;

	if (stored_len >= PASSWORD_MAX || text_len >= PASSWORD_MAX)
		return false;
	memcpy(a, stored, stored_len);
	memcpy(b, text, text_len);
	equal = cv_equal_constant_time(a, b, sizeof(a)) & (stored_len == text_len);
	cv_cleanse(a, sizeof(a));
	cv_cleanse(b, sizeof(b));
	return equal;
}

struct cv_user *cv_user_find_password(struct cv_user_table *table, const char *name, size_t name_len,
				      const char *password, size_t password_len)
{
	static const struct cv_user nobody = {.name = (char *)"", .password = (char *)""};
	const struct cv_user *candidate = &nobody;
	struct cv_user *found = NULL;
	bool equal;

	for (size_t i = 0; table && i < table->user_count; i++) {
		if (strlen(table->users[i].name) == name_len && name_len > 0 &&
		    memcmp(table->users[i].name, name, name_len) == 0)
			candidate = found = &table->users[i];
	}
	equal = equal_padded(candidate->password, password, password_len);
	return equal ? found : NULL;
}

size_t cv_user_count(const struct cv_user_table *table)
{
	return table ? table->user_count : 0;
}

struct cv_user *cv_user_at(struct cv_user_table *table, size_t index)
{
	return &table->users[index];
}

static char *copy_text(const char *text)
{
	return strdup(text ? text : "");
}

static bool copy_user(struct cv_user *to, const struct cv_user *from)
{
	memcpy(to->uuid, from->uuid, sizeof(to->uuid));
	memcpy(to->vision_seed, from->vision_seed, sizeof(to->vision_seed));
	to->vision = from->vision;
	to->enabled = from->enabled;
	to->level = from->level;
	to->name = copy_text(from->name);
	to->email = copy_text(from->email);
	to->password = copy_text(from->password);
	return to->name && to->email && to->password;
}

struct cv_user_table *cv_user_table_new(const struct cv_user *users, size_t user_count)
{
	struct cv_user_table *table = calloc(1, sizeof(*table));
	bool good = table && cv_random_bytes(table->key, sizeof(table->key)) == 0;

	if (!good)
		return cv_user_table_free(table);
	table->slot_count = 4;
	while (table->slot_count < user_count * 2)
		table->slot_count *= 2;
	table->users = calloc(user_count + 1, sizeof(*table->users));
	table->slots = calloc(table->slot_count, sizeof(*table->slots));
	good = table->users && table->slots;
	for (size_t i = 0; good && i < user_count; i++) {
		table->user_count = i + 1;
		good = copy_user(&table->users[i], &users[i]);
		if (good)
			insert(table, i);
	}
	return good ? table : cv_user_table_free(table);
}

struct cv_user_table *cv_user_table_free(struct cv_user_table *table)
{
	if (!table)
		return NULL;
	for (size_t i = 0; i < table->user_count; i++) {
		struct cv_user *user = &table->users[i];

		if (user->password)
			cv_cleanse(user->password, strlen(user->password));
		free(user->name);
		free(user->email);
		free(user->password);
	}
	free(table->users);
	free(table->slots);
	cv_cleanse(table, sizeof(*table));
	free(table);
	return NULL;
}
