// SPDX-License-Identifier: MIT
/*
 * vmess_users.c - the users of a VMess inbound by what their auth ids decrypt with.
 *
 * Nothing in an auth id tells whose it is before it is decrypted, so that it is tried with each
 * user's key, well below a microsecond each: a million users would be too many, a thousand are not.
 * All keys are tried whatever is found, so that the time does not tell whether there is such a
 * user, or which.
 */
#include "policy/vmess_users.h"

#include <culvert/reason.h>

#include <stdlib.h>
#include <string.h>

struct entry {
	struct cv_user *user;
	uint8_t command_key[CV_VMESS_KEY], auth_key[CV_VMESS_KEY];
};

struct cv_vmess_keys {
	size_t count;
	struct entry entries[];
};

static int fill(struct entry *entry, struct cv_user *user)
{
	const int error = cv_vmess_command_key(user->uuid, entry->command_key);

	entry->user = user;
	return error ? error : cv_vmess_auth_key(entry->command_key, entry->auth_key);
}

struct cv_vmess_keys *cv_vmess_keys_new(struct cv_user_table *users)
{
	const size_t count = cv_user_count(users);
	struct cv_vmess_keys *keys = calloc(1, sizeof(*keys) + count * sizeof(keys->entries[0]));

	if (!keys)
		return NULL;
	for (; keys->count < count; keys->count++)
		if (fill(&keys->entries[keys->count], cv_user_at(users, keys->count)) != 0)
			return cv_vmess_keys_free(keys);
	return keys;
}

struct cv_vmess_keys *cv_vmess_keys_free(struct cv_vmess_keys *keys)
{
	if (keys)
		cv_cleanse(keys->entries, keys->count * sizeof(keys->entries[0]));
	free(keys);
	return NULL;
}

static bool is_near(uint64_t time_s, uint64_t now_s)
{
	return time_s <= now_s + CV_VMESS_CLOCK_S && now_s <= time_s + CV_VMESS_CLOCK_S;
}

int cv_vmess_keys_find(const struct cv_vmess_keys *keys, const uint8_t auth_id[CV_VMESS_AUTH_ID],
		       uint64_t now_s, struct cv_user **ret_user,
		       uint8_t ret_command_key[CV_VMESS_KEY])
{
	const struct entry *found = NULL;
	uint64_t time_s = 0, read_s = 0;
	int error;

	for (size_t i = 0; i < keys->count; i++) {
		error = cv_vmess_auth_id_read(keys->entries[i].auth_key, auth_id, &read_s);
		if (error && error != CV_PEER_UNKNOWN_USER)
			return error;
		if (error)
			continue;
		found = &keys->entries[i];
		time_s = read_s;
	}
	if (!found)
		return CV_PEER_UNKNOWN_USER;
	if (time_s > UINT64_MAX - CV_VMESS_CLOCK_S || !is_near(time_s, now_s))
		return CV_PEER_CLOCK;
	*ret_user = found->user;
	memcpy(ret_command_key, found->command_key, CV_VMESS_KEY);
	return 0;
}
