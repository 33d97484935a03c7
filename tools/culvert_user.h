/* SPDX-License-Identifier: MIT */
/*
 * culvert_user.h - changes of a users.json, in memory.
 */
#ifndef CULVERT_TOOLS_CULVERT_USER_H
#define CULVERT_TOOLS_CULVERT_USER_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>

#define CV_USER_ERROR_TEXT 160
#define CV_GENERATED_PASSWORD 33 /* 32 hex digits (128 bits) and the NUL */

struct cv_user_wish { /* what `user add` is told; NULL = the default */
	const char *name, *email, *flow, *type, *proxy, *stored; /* the last: a password's hash */
	bool disabled;
};

/** cv_users_array() - root.users, made if there is none; NULL if it is something else. */
struct json_object *cv_users_array(struct json_object *root);
/** cv_users_find() - By user name or e-mail (case ignored); NULL if nobody is called so. */
struct json_object *cv_users_find(struct json_object *users, const char *who, size_t *ret_index);
/**
 * cv_users_add() - Append the user, with a random uuid and short id. Returns the entry, or NULL
 * with @error_text.
 */
struct json_object *cv_users_add(struct json_object *users, const struct cv_user_wish *wish,
				 char error_text[CV_USER_ERROR_TEXT]);
/** cv_users_set_id() - A random uuid and short id; false if there is no randomness. */
bool cv_users_set_id(struct json_object *user);
/** cv_users_remove() - False with @error_text if it is the only one. */
bool cv_users_remove(struct json_object *users, size_t index, char error_text[CV_USER_ERROR_TEXT]);
/** cv_users_set_password() - For every way in: other keys' passwords are taken away. */
void cv_users_set_password(struct json_object *user, const char *stored);
/** cv_users_set_proxy() - "none" takes it away. False with @error_text if it is no id. */
bool cv_users_set_proxy(struct json_object *user, const char *id,
			char error_text[CV_USER_ERROR_TEXT]);
/** cv_users_public() - @user as it may be shown: hashes by their kind, the uuid's middle hidden. */
struct json_object *cv_users_public(struct json_object *user);
/** cv_users_generate() - A password; false if there is no randomness. */
bool cv_users_generate(char ret_password[CV_GENERATED_PASSWORD]);

#endif
