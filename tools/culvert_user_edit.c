// SPDX-License-Identifier: MIT
/*
 * culvert_user_edit.c - see culvert_user.h. Keys that nothing here knows stay as they are.
 */
#include "culvert_user.h"

#include "crypto/crypto.h"
#include "crypto/uuid.h"
#include "wire/base64.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define SHORT_ID_BYTES 8
#define PROXY_ID_MAX 300

static const char *const password_keys[] = {"proxy_password", "socks_password", "http_password"};

#define PASSWORD_KEYS (sizeof(password_keys) / sizeof(password_keys[0]))

static const char *text_of(struct json_object *user, const char *key)
{
	struct json_object *value;

	if (!json_object_object_get_ex(user, key, &value) ||
	    !json_object_is_type(value, json_type_string))
		return "";
	return json_object_get_string(value);
}

static void set_text(struct json_object *user, const char *key, const char *text)
{
	json_object_object_add(user, key, json_object_new_string(text));
}

/* ---- finding ------------------------------------------------------------------------------ */

struct json_object *cv_users_array(struct json_object *root)
{
	struct json_object *users = NULL;

	if (!json_object_object_get_ex(root, "users", &users)) {
		users = json_object_new_array();
		json_object_object_add(root, "users", users);
	}
	return json_object_is_type(users, json_type_array) ? users : NULL;
}

struct json_object *cv_users_find(struct json_object *users, const char *who, size_t *ret_index)
{
	for (size_t i = 0; *who && i < json_object_array_length(users); i++) {
		struct json_object *user = json_object_array_get_idx(users, i);

		if (!json_object_is_type(user, json_type_object) ||
		    (strcmp(text_of(user, "username"), who) != 0 &&
		     strcasecmp(text_of(user, "email"), who) != 0))
			continue;
		if (ret_index)
			*ret_index = i;
		return user;
	}
	return NULL;
}

/* ---- changing ----------------------------------------------------------------------------- */

bool cv_users_generate(char ret_password[CV_GENERATED_PASSWORD])
{
	uint8_t bytes[CV_GENERATED_PASSWORD / 2];
	const bool good = cv_random_bytes(bytes, sizeof(bytes)) == 0;

	if (good)
		cv_hex_encode(bytes, sizeof(bytes), ret_password);
	cv_cleanse(bytes, sizeof(bytes));
	return good;
}

void cv_users_set_password(struct json_object *user, const char *stored)
{
	for (size_t i = 1; i < PASSWORD_KEYS; i++)
		json_object_object_del(user, password_keys[i]);
	set_text(user, password_keys[0], stored);
}

static const char id_characters[] =
	"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:-";

bool cv_users_set_proxy(struct json_object *user, const char *id,
			char error_text[CV_USER_ERROR_TEXT])
{
	const size_t len = strlen(id);

	if (strcmp(id, "none") == 0) {
		json_object_object_add(user, "external_proxy_id", NULL);
		return true;
	}
	if (len == 0 || len > PROXY_ID_MAX || strspn(id, id_characters) != len) {
		snprintf(error_text, CV_USER_ERROR_TEXT, "\"%.60s\" is no id of a proxy", id);
		return false;
	}
	set_text(user, "external_proxy_id", id);
	return true;
}

bool cv_users_set_id(struct json_object *user)
{
	char uuid_text[CV_UUID_TEXT], short_id_text[2 * SHORT_ID_BYTES + 1];
	uint8_t uuid[16], short_id[SHORT_ID_BYTES];

	if (cv_uuid_random(uuid) != 0 || cv_random_bytes(short_id, sizeof(short_id)) != 0)
		return false;
	cv_uuid_format(uuid, uuid_text);
	cv_hex_encode(short_id, sizeof(short_id), short_id_text);
	set_text(user, "uuid", uuid_text);
	set_text(user, "shortId", short_id_text);
	return true;
}

struct json_object *cv_users_add(struct json_object *users, const struct cv_user_wish *wish,
				 char error_text[CV_USER_ERROR_TEXT])
{
	struct json_object *user;
	char email[64];

	snprintf(email, sizeof(email), "%.40s@vless.local", wish->name);
	if (cv_users_find(users, wish->name, NULL) ||
	    cv_users_find(users, wish->email ? wish->email : email, NULL)) {
		snprintf(error_text, CV_USER_ERROR_TEXT, "%.60s is there already", wish->name);
		return NULL;
	}
	user = json_object_new_object();
	set_text(user, "username", wish->name);
	snprintf(error_text, CV_USER_ERROR_TEXT, "no randomness, or no memory");
	if (wish->stored)
		cv_users_set_password(user, wish->stored);
	if (!cv_users_set_id(user) ||
	    (wish->proxy && !cv_users_set_proxy(user, wish->proxy, error_text))) {
		json_object_put(user);
		return NULL;
	}
	set_text(user, "email", wish->email ? wish->email : email);
	set_text(user, "flow", wish->flow ? wish->flow : "xtls-rprx-vision");
	set_text(user, "connection_type", wish->type ? wish->type : "both");
	json_object_object_add(user, "enabled", json_object_new_boolean(!wish->disabled));
	if (!wish->proxy)
		json_object_object_add(user, "external_proxy_id", NULL);
	json_object_array_add(users, user);
	return user;
}

bool cv_users_remove(struct json_object *users, size_t index, char error_text[CV_USER_ERROR_TEXT])
{
	if (json_object_array_length(users) <= 1) {
		snprintf(error_text, CV_USER_ERROR_TEXT, "the last user is not removed");
		return false;
	}
	json_object_array_del_idx(users, index, 1);
	return true;
}

/* ---- showing ------------------------------------------------------------------------------ */

/* "$y$..." of a hash, nothing else of it. */
static void mask_password(const char *stored, char text[32])
{
	const char *end = stored[0] == '$' ? strchr(stored + 1, '$') : NULL;

	if (end)
		snprintf(text, 32, "%.*s...", (int)(end - stored < 16 ? end - stored + 1 : 16),
			 stored);
	else
		snprintf(text, 32, "(clear text)");
}

struct json_object *cv_users_public(struct json_object *user)
{
	struct json_object *shown = json_object_new_object();

	json_object_object_foreach(user, key, value)
		json_object_object_add(shown, key, json_object_get(value));
	for (size_t i = 0; i < PASSWORD_KEYS; i++) {
		const char *stored = text_of(user, password_keys[i]);
		char text[32];

		if (!*stored)
			continue;
		mask_password(stored, text);
		set_text(shown, password_keys[i], text);
	}
	if (strlen(text_of(user, "uuid")) > 12) {
		char text[16];

		snprintf(text, sizeof(text), "%.8s-...", text_of(user, "uuid"));
		set_text(shown, "uuid", text);
	}
	return shown;
}
