// SPDX-License-Identifier: MIT
/*
 * user.c - the users of an inbound, found by id or by name.
 *
 * Two open-addressing indexes over one array of users; the hash is keyed, so that bucket and probe
 * length say nothing about the ids (VLESS 5.3). An id is looked up with bytes 6 and 7 cleared
 * (VLESS 5.2). Names are compared as padded blocks of one size, in constant time, and an unknown
 * name is compared with a random block and answered by a stand-in: how long a refusal takes does
 * not tell a wrong password from a name that does not exist.
 */
#include "policy/user.h"

#include "crypto/crypto.h"
#include "crypto/uuid.h"
#include "policy/siphash.h"
#include "policy/usage.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define UUID_LEN 16
#define NO_USER UINT32_MAX

/* Length and bytes, zero padded. */
struct user_text {
	uint8_t len;
	uint8_t bytes[CV_USER_TEXT_MAX];
};

struct cv_user_table {
	struct cv_siphash_key key;
	struct cv_user *users;
	struct user_text *names; /* beside users */
	char *texts;	 /* what users point at */
	size_t texts_bytes;
	struct user_text nobody; /* random: no name equals it */
	size_t user_count;
	uint32_t *logins; /* users with a password */
	size_t login_count;
	uint32_t *by_uuid, *by_name; /* slot_count each; NO_USER = free */
	size_t slot_count;           /* power of two, at least twice user_count */
};

static void mask_uuid(const uint8_t uuid[UUID_LEN], uint8_t ret_masked[UUID_LEN])
{
	memcpy(ret_masked, uuid, UUID_LEN);
	ret_masked[6] = 0;
	ret_masked[7] = 0;
}

/* False if @text does not fit. */
static bool text_set(struct user_text *text, const char *bytes, size_t len)
{
	memset(text, 0, sizeof(*text));
	if (len > CV_USER_TEXT_MAX)
		return false;
	text->len = (uint8_t)len;
	memcpy(text->bytes, bytes, len);
	return true;
}

static size_t text_bytes(const char *text)
{
	return (text ? strlen(text) : 0) + 1;
}

static char *put_text(char **end, const char *text)
{
	char *const start = *end;
	const size_t bytes = text_bytes(text);

	memcpy(start, text ? text : "", bytes);
	*end += bytes;
	return start;
}

/* @texts: where there is room for its strings; moved behind them. */
static bool copy_user(struct cv_user *to, const struct cv_user *from, char **texts)
{
	memcpy(to->uuid, from->uuid, UUID_LEN);
	memcpy(to->short_id, from->short_id, sizeof(to->short_id));
	to->has_short_id = from->has_short_id;
	to->vision = from->vision;
	to->enabled = from->enabled;
	to->level = from->level;
	to->limits = from->limits;
	to->usage = from->usage;
	memcpy(to->vision_seed, from->vision_seed, sizeof(to->vision_seed));
	to->name = put_text(texts, from->name);
	to->email = put_text(texts, from->email);
	to->password = put_text(texts, from->password);
	to->external_proxy_id = put_text(texts, from->external_proxy_id);
	to->counters = calloc(1, sizeof(*to->counters));
	if (!to->counters)
		return false;
	to->counters->owner_count = 1;
	return true;
}

static void counters_leave(struct cv_user_counters *counters)
{
	if (counters && atomic_fetch_sub(&counters->owner_count, 1) == 1)
		free(counters);
}

static void index_uuid(struct cv_user_table *table, uint32_t user)
{
	const size_t mask = table->slot_count - 1;
	uint8_t wanted[UUID_LEN], there[UUID_LEN];
	size_t slot;

	mask_uuid(table->users[user].uuid, wanted);
	slot = cv_siphash(&table->key, wanted, UUID_LEN) & mask;
	for (; table->by_uuid[slot] != NO_USER; slot = (slot + 1) & mask) {
		mask_uuid(table->users[table->by_uuid[slot]].uuid, there);
		if (memcmp(there, wanted, UUID_LEN) == 0)
			break;
	}
	table->by_uuid[slot] = user; /* the later of two that collide wins (VLESS 5.2) */
}

static void index_name(struct cv_user_table *table, uint32_t user)
{
	const size_t mask = table->slot_count - 1;
	const struct user_text *name = &table->names[user];
	size_t slot = cv_siphash(&table->key, name, sizeof(*name)) & mask;

	while (table->by_name[slot] != NO_USER &&
	       memcmp(&table->names[table->by_name[slot]], name, sizeof(*name)) != 0)
		slot = (slot + 1) & mask;
	table->by_name[slot] = user;
}

static bool make_texts(struct cv_user_table *table, const struct cv_user *users)
{
	for (size_t i = 0; i < table->user_count; i++)
		table->texts_bytes += text_bytes(users[i].name) + text_bytes(users[i].email) +
				      text_bytes(users[i].password) +
				      text_bytes(users[i].external_proxy_id);
	table->texts = malloc(table->texts_bytes + 1);
	return table->texts != NULL;
}

static bool fill(struct cv_user_table *table, const struct cv_user *users)
{
	char *texts = table->texts;

	for (uint32_t i = 0; i < table->user_count; i++) {
		struct cv_user *user = &table->users[i];

		if (!copy_user(user, &users[i], &texts))
			return false;
		index_uuid(table, i);
		if (!user->password[0] ||
		    !text_set(&table->names[i], user->name, strlen(user->name)))
			continue;
		index_name(table, i);
		table->logins[table->login_count++] = i;
	}
	return true;
}

static bool make_indexes(struct cv_user_table *table)
{
	table->slot_count = 8;
	while (table->slot_count < 2 * table->user_count)
		table->slot_count *= 2;
	table->by_uuid = malloc(table->slot_count * sizeof(*table->by_uuid));
	table->by_name = malloc(table->slot_count * sizeof(*table->by_name));
	if (!table->by_uuid || !table->by_name)
		return false;
	for (size_t i = 0; i < table->slot_count; i++)
		table->by_uuid[i] = table->by_name[i] = NO_USER;
	return true;
}

struct cv_user_table *cv_user_table_new(const struct cv_user *users, size_t user_count)
{
	struct cv_user_table *table = calloc(1, sizeof(*table));

	if (!table || user_count >= NO_USER)
		return cv_user_table_free(table);
	table->users = calloc(user_count + 1, sizeof(*table->users));
	table->names = calloc(user_count + 1, sizeof(*table->names));
	table->logins = calloc(user_count + 1, sizeof(*table->logins));
	if (!table->users || !table->names || !table->logins)
		return cv_user_table_free(table);
	table->user_count = user_count;
	if (cv_siphash_key_random(&table->key) != 0 ||
	    cv_random_bytes(&table->nobody, sizeof(table->nobody)) != 0 || !make_indexes(table) ||
	    !make_texts(table, users) || !fill(table, users))
		return cv_user_table_free(table);
	return table;
}

struct cv_user_table *cv_user_table_free(struct cv_user_table *table)
{
	if (!table)
		return NULL;
	for (size_t i = 0; table->users && i < table->user_count; i++)
		counters_leave(table->users[i].counters);
	if (table->texts)
		cv_cleanse(table->texts, table->texts_bytes);
	free(table->texts);
	free(table->users);
	free(table->names);
	free(table->logins);
	free(table->by_uuid);
	free(table->by_name);
	free(table);
	return NULL;
}

struct cv_user *cv_user_find_uuid(struct cv_user_table *table, const uint8_t uuid[UUID_LEN])
{
	const size_t mask = table->slot_count - 1;
	uint8_t wanted[UUID_LEN], there[UUID_LEN];
	size_t slot;

	mask_uuid(uuid, wanted);
	slot = cv_siphash(&table->key, wanted, UUID_LEN) & mask;
	for (; table->by_uuid[slot] != NO_USER; slot = (slot + 1) & mask) {
		struct cv_user *user = &table->users[table->by_uuid[slot]];

		mask_uuid(user->uuid, there);
		if (cv_equal_constant_time(there, wanted, UUID_LEN))
			return user;
	}
	return NULL;
}

/* Index of the user so named, or NO_USER; one comparison at least. */
static uint32_t find_name(const struct cv_user_table *table, const struct user_text *name)
{
	const size_t mask = table->slot_count - 1;
	size_t slot = cv_siphash(&table->key, name, sizeof(*name)) & mask;

	do {
		const uint32_t user = table->by_name[slot];
		const struct user_text *there =
			user == NO_USER ? &table->nobody : &table->names[user];

		if (cv_equal_constant_time(there, name, sizeof(*name)))
			return user;
		slot = (slot + 1) & mask;
	} while (table->by_name[slot] != NO_USER);
	return NO_USER;
}

struct cv_user *cv_user_find_same(struct cv_user_table *table, const struct cv_user *user)
{
	static const uint8_t none[UUID_LEN];
	struct cv_user *same = NULL;
	struct user_text name;
	uint32_t index;

	if (memcmp(user->uuid, none, UUID_LEN) != 0) {
		same = cv_user_find_uuid(table, user->uuid);
	} else if (text_set(&name, user->name, strlen(user->name))) {
		index = find_name(table, &name);
		same = index == NO_USER ? NULL : &table->users[index];
	}
	return same;
}

void cv_user_table_inherit(struct cv_user_table *table, struct cv_user_table *former)
{
	for (size_t i = 0; i < table->user_count; i++) {
		struct cv_user *user = &table->users[i];
		struct cv_user *same = cv_user_find_same(former, user);

		if (!same)
			continue;
		counters_leave(user->counters);
		user->counters = same->counters;
		atomic_fetch_add(&user->counters->owner_count, 1);
	}
}

struct cv_user *cv_user_find_login(struct cv_user_table *table, const char *name, size_t name_len,
				   bool *ret_is_known)
{
	struct user_text given;
	const bool fits = text_set(&given, name, name_len);
	uint32_t user = find_name(table, &given);
	const bool is_known = fits && user != NO_USER;

	if (table->login_count == 0)
		return NULL;
	if (!is_known)
		user = table->logins[cv_siphash(&table->key, name, name_len) % table->login_count];
	*ret_is_known = is_known;
	return &table->users[user];
}

bool cv_user_is_called(const struct cv_user *user, const char *who)
{
	uint8_t uuid[UUID_LEN];

	if (!*who)
		return false;
	if (strcasecmp(user->email, who) == 0 || strcasecmp(user->name, who) == 0 ||
	    (user->usage && strcasecmp(user->usage->key, who) == 0))
		return true;
	return cv_uuid_is_id(who) && cv_uuid_parse(who, uuid) == 0 &&
	       memcmp(user->uuid, uuid, UUID_LEN) == 0;
}

size_t cv_user_count(const struct cv_user_table *table)
{
	return table->user_count;
}

struct cv_user *cv_user_at(struct cv_user_table *table, size_t index)
{
	return index < table->user_count ? &table->users[index] : NULL;
}
