// SPDX-License-Identifier: MIT
/*
 * load_users.c - who may come in: from the inbound's settings and from users.json.
 *
 * All users of an inbound are collected in one list, which refuses two with one identity: ids that
 * differ in bytes 6 and 7 only are one (VLESS 5.2), emails regardless of case, and names.
 */
#include "config/load.h"
#include "config/value.h"

#include "crypto/crypto.h"
#include "crypto/uuid.h"
#include "policy/password.h"
#include "wire/base64.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define UUID_LEN 16

/* ---- the list ----------------------------------------------------------------------------- */

#define CLAIM_SLOTS_MIN 64

struct cv_user_claim {
	uint64_t hash;
	const char *who; /* NULL: a free slot */
};

struct cv_user_list cv_user_list_of(struct cv_load *load)
{
	struct cv_user_list list = {.load = load};

	load->out_of_memory |= cv_siphash_key_random(&list.key) != 0;
	return list;
}

void cv_user_list_done(struct cv_user_list *list)
{
	free(list->users);
	free(list->claims);
	*list = (struct cv_user_list){0};
}

static const char *describe_user(const struct cv_user *user)
{
	return user->email[0] ? user->email : user->name[0] ? user->name : "a user without name";
}

/* Where @hash is, or belongs. */
static struct cv_user_claim *find_claim(const struct cv_user_list *list, uint64_t hash)
{
	size_t slot = hash & (list->claim_slots - 1);

	while (list->claims[slot].who && list->claims[slot].hash != hash)
		slot = (slot + 1) & (list->claim_slots - 1);
	return &list->claims[slot];
}

static bool make_room_for_claim(struct cv_user_list *list)
{
	const struct cv_user_list old = *list;

	if (2 * (list->claim_count + 1) <= list->claim_slots)
		return true;
	list->claim_slots = old.claim_slots ? 2 * old.claim_slots : CLAIM_SLOTS_MIN;
	list->claims = cv_load_calloc(list->load, list->claim_slots, sizeof(*list->claims));
	if (!list->claims) {
		*list = old;
		return false;
	}
	for (size_t i = 0; i < old.claim_slots; i++)
		if (old.claims[i].who)
			*find_claim(list, old.claims[i].hash) = old.claims[i];
	free(old.claims);
	return true;
}

/* False if somebody has that identity; remembers it otherwise. @key: where it stands in @entry. */
static bool claim(struct cv_user_list *list, const struct cv_node *entry, const char *key,
		  const char *kind, const char *value, const struct cv_user *user)
{
	struct cv_user_claim *place;
	uint64_t hash;
	char text[300];
	size_t len = 0;

	text[len++] = kind[0]; /* "id", "email", "name" */
	for (const char *c = value; *c && len < sizeof(text); c++)
		text[len++] = (char)tolower((unsigned char)*c);
	if (!make_room_for_claim(list))
		return true; /* the load has failed */
	hash = cv_siphash(&list->key, text, len);
	place = find_claim(list, hash);
	if (place->who) {
		const struct cv_node node = cv_node_member(entry, key);

		cv_node_error(&node, "same %s as %s", kind, place->who);
		return false;
	}
	place->hash = hash;
	place->who = describe_user(user);
	list->claim_count++;
	return true;
}

static bool claim_uuid(struct cv_user_list *list, const struct cv_node *entry, const char *key,
		       const struct cv_user *user)
{
	uint8_t masked[UUID_LEN];
	char hex[2 * UUID_LEN + 1];

	memcpy(masked, user->uuid, UUID_LEN);
	masked[6] = masked[7] = 0;
	cv_hex_encode(masked, UUID_LEN, hex);
	return claim(list, entry, key, "id", hex, user);
}

static void add_user(struct cv_user_list *list, const struct cv_user *user)
{
	struct cv_user *users = list->users;

	if ((list->count & (list->count - 1)) == 0) /* full: the room is a power of two */
		users = reallocarray(users, list->count ? 2 * list->count : 1, sizeof(*users));
	if (!users) {
		list->load->out_of_memory = true;
		return;
	}
	list->users = users;
	users[list->count] = *user;
	if (!user->external_proxy_id)
		users[list->count].external_proxy_id = "";
	list->count++;
}

/* Of VLESS or VMess: @node with "id" @id, and perhaps an "email". */
static void add_client(struct cv_user_list *list, const struct cv_node *node, const char *id,
		       struct cv_user *user)
{
	const struct cv_node id_node = cv_node_member(node, "id");

	if (!id_node.json)
		return;
	if (cv_uuid_parse(id, user->uuid) != 0) {
		cv_node_expected_secret(&id_node, "a UUID or a text of 1 to 30 bytes");
		return;
	}
	if (*user->email && !claim(list, node, "email", "email", user->email, user))
		return;
	if (claim_uuid(list, node, "id", user))
		add_user(list, user);
}

/* ---- VLESS: settings.clients -------------------------------------------------------------- */

struct raw_client {
	const char *id, *email, *flow;
	uint32_t level;
	struct cv_node seed;
	struct cv_raw_limits limits;
};

static const struct cv_field client_fields[] = {
	{"id", .type = CV_FIELD_TEXT, .is_required = true, .is_secret = true,
	 CV_FIELD(struct raw_client, id)},
	{"email", .type = CV_FIELD_TEXT, CV_FIELD(struct raw_client, email)},
	{"flow", .type = CV_FIELD_TEXT, CV_FIELD(struct raw_client, flow)},
	{"level", .type = CV_FIELD_U32, .max = CV_LEVELS - 1, CV_FIELD(struct raw_client, level)},
	{"testseed", .type = CV_FIELD_ARRAY, CV_FIELD(struct raw_client, seed)},
	CV_LIMIT_FIELDS(struct raw_client), /* our own */
	{"reverse", .type = CV_FIELD_REFUSED},
	{"encryption", .type = CV_FIELD_REFUSED, .why = "it belongs into the client's outbound"},
	{.type = CV_FIELD_END},
};

static void set_seed(struct cv_user *user, const struct cv_node *seed)
{
	if (!seed->json)
		return;
	for (size_t i = 0; i < 4 && cv_node_count(seed) == 4; i++) {
		const struct cv_node element = cv_node_element(seed, i);
		const int64_t number = json_object_get_int64(element.json);

		if (!json_object_is_type(element.json, json_type_int) || number < 0 ||
		    number > UINT16_MAX)
			cv_node_expected(&element, "a number from 0 to %d", UINT16_MAX);
		else
			user->vision_seed[i] = (uint32_t)number;
	}
	if (cv_node_count(seed) != 4)
		cv_node_error(seed, "expected 4 numbers, found %zu", cv_node_count(seed));
}

static void load_client(struct cv_user_list *list, const struct cv_node *node, bool vision)
{
	const struct cv_node flow_node = cv_node_member(node, "flow");
	struct cv_user user = {.enabled = true, .vision = vision, .name = "", .password = ""};
	struct raw_client raw;

	cv_schema_read(client_fields, node, &raw);
	user.email = (char *)raw.email;
	user.level = raw.level;
	if (*raw.flow)
		(void)cv_value_flow(&flow_node, raw.flow, &user.vision);
	set_seed(&user, &raw.seed);
	cv_load_limits(node, &raw.limits, &user.limits);
	add_client(list, node, raw.id, &user);
}

void cv_load_clients(struct cv_user_list *list, const struct cv_node *clients, bool vision)
{
	for (size_t i = 0; i < cv_node_count(clients); i++) {
		const struct cv_node client = cv_node_element(clients, i);

		load_client(list, &client, vision);
	}
}

/* ---- VMess: settings.clients -------------------------------------------------------------- */

struct raw_vmess_client {
	const char *id, *email;
	uint32_t level, alter_id;
	struct cv_raw_limits limits;
};

static const struct cv_field vmess_client_fields[] = {
	{"id", .type = CV_FIELD_TEXT, .is_required = true, .is_secret = true,
	 CV_FIELD(struct raw_vmess_client, id)},
	{"email", .type = CV_FIELD_TEXT, CV_FIELD(struct raw_vmess_client, email)},
	{"level", .type = CV_FIELD_U32, .max = CV_LEVELS - 1,
	 CV_FIELD(struct raw_vmess_client, level)},
	{"alterId", .type = CV_FIELD_U32, .max = 65535,
	 CV_FIELD(struct raw_vmess_client, alter_id)},
	CV_LIMIT_FIELDS(struct raw_vmess_client), /* our own */
	{"security", .type = CV_FIELD_IGNORED}, /* the client's choice */
	{"testsEnabled", .type = CV_FIELD_WARNED},
	{"experiments", .type = CV_FIELD_WARNED},
	{.type = CV_FIELD_END},
};

static void load_vmess_client(struct cv_user_list *list, const struct cv_node *node)
{
	const struct cv_node alter_node = cv_node_member(node, "alterId");
	struct cv_user user = {.enabled = true, .name = "", .password = ""};
	struct raw_vmess_client raw;

	cv_schema_read(vmess_client_fields, node, &raw);
	user.email = (char *)raw.email;
	user.level = raw.level;
	cv_load_limits(node, &raw.limits, &user.limits);
	if (raw.alter_id)
		cv_node_expected(&alter_node, "0: the form without AEAD is " CV_NOT_SUPPORTED);
	add_client(list, node, raw.id, &user);
}

void cv_load_vmess_clients(struct cv_user_list *list, const struct cv_node *clients)
{
	for (size_t i = 0; i < cv_node_count(clients); i++) {
		const struct cv_node client = cv_node_element(clients, i);

		load_vmess_client(list, &client);
	}
}

/* ---- SOCKS: settings.accounts ------------------------------------------------------------- */

struct raw_account {
	const char *user, *password;
	struct cv_raw_limits limits;
};

static const struct cv_field account_fields[] = {
	{"user", .type = CV_FIELD_TEXT, .is_required = true, CV_FIELD(struct raw_account, user)},
	{"pass", .type = CV_FIELD_TEXT, .is_required = true, .is_secret = true,
	 CV_FIELD(struct raw_account, password)},
	CV_LIMIT_FIELDS(struct raw_account), /* our own */
	{.type = CV_FIELD_END},
};

static bool password_fits(const struct cv_node *node, const char *password)
{
	const char *flaw = cv_password_flaw(password);

	if (flaw)
		cv_node_error(node, "%s", flaw); /* without the password itself */
	return !flaw;
}

static void load_account(struct cv_user_list *list, const struct cv_node *node, uint32_t level)
{
	const struct cv_node name_node = cv_node_member(node, "user");
	const struct cv_node password_node = cv_node_member(node, "pass");
	struct cv_user user = {.enabled = true, .level = level, .email = ""};
	struct raw_account raw;

	cv_schema_read(account_fields, node, &raw);
	user.name = (char *)raw.user;
	user.password = (char *)raw.password;
	cv_load_limits(node, &raw.limits, &user.limits);
	if (!name_node.json || !password_node.json)
		return;
	if (!*raw.user || strlen(raw.user) > CV_USER_TEXT_MAX)
		cv_node_expected(&name_node, "a name of 1 to %d bytes", CV_USER_TEXT_MAX);
	else if (password_fits(&password_node, raw.password) &&
		 claim(list, node, "user", "name", raw.user, &user))
		add_user(list, &user);
}

void cv_load_accounts(struct cv_user_list *list, const struct cv_node *accounts, uint32_t level)
{
	for (size_t i = 0; i < cv_node_count(accounts); i++) {
		const struct cv_node account = cv_node_element(accounts, i);

		load_account(list, &account, level);
	}
}

/* ---- users.json --------------------------------------------------------------------------- */

enum connection_type { CONNECTION_BOTH, CONNECTION_VPN, CONNECTION_PROXY };

struct raw_user {
	const char *name, *uuid, *email, *flow, *short_id, *proxy_id;
	const char *socks_password, *http_password, *proxy_password;
	int connection_type;
	bool enabled;
	struct cv_raw_limits limits;
};

static const struct cv_word connection_types[] = {
	{"both", CONNECTION_BOTH}, {"vpn", CONNECTION_VPN}, {"proxy", CONNECTION_PROXY}, {NULL, 0}};

/* Unknown keys are kept by whoever writes the file, and are none of our business. */
static const struct cv_field user_fields[] = {
	{"username", .type = CV_FIELD_TEXT, .is_required = true, CV_FIELD(struct raw_user, name)},
	{"uuid", .type = CV_FIELD_TEXT, CV_FIELD(struct raw_user, uuid)},
	{"email", .type = CV_FIELD_TEXT, CV_FIELD(struct raw_user, email)},
	{"flow", .type = CV_FIELD_TEXT, CV_FIELD(struct raw_user, flow)},
	{"socks_password", .type = CV_FIELD_TEXT, .is_secret = true,
	 CV_FIELD(struct raw_user, socks_password)},
	{"http_password", .type = CV_FIELD_TEXT, .is_secret = true,
	 CV_FIELD(struct raw_user, http_password)},
	{"proxy_password", .type = CV_FIELD_TEXT, .is_secret = true,
	 CV_FIELD(struct raw_user, proxy_password)},
	{"shortId", .type = CV_FIELD_TEXT, CV_FIELD(struct raw_user, short_id)},
	{"connection_type", .type = CV_FIELD_WORD, .words = connection_types, .text = "both",
	 CV_FIELD(struct raw_user, connection_type)},
	{"enabled", .type = CV_FIELD_BOOL, .number = true, CV_FIELD(struct raw_user, enabled)},
	CV_LIMIT_FIELDS(struct raw_user),
	{"external_proxy_id", .type = CV_FIELD_TEXT, CV_FIELD(struct raw_user, proxy_id)},
	{.type = CV_FIELD_END, .name = "*"},
};

static bool name_is_valid(const char *name)
{
	const size_t len = strlen(name);

	return len >= 3 && len <= 32 && name[0] >= 'a' && name[0] <= 'z' &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_-") == len;
}

static void set_user_short_id(const struct cv_node *node, const char *text, struct cv_user *user)
{
	const struct cv_node place = cv_node_member(node, "shortId");

	if (place.json && cv_value_short_id(&place, text, user->short_id))
		user->has_short_id = true;
}

/* 00000000-0000-4000-8000-0000000000xx: conf/users.json, which everybody can read. */
static bool is_example(const uint8_t uuid[UUID_LEN])
{
	static const uint8_t example[UUID_LEN - 1] = {[6] = 0x40, [8] = 0x80};

	return memcmp(uuid, example, sizeof(example)) == 0;
}

/* A user who never speaks VLESS needs none. */
static bool set_user_uuid(struct cv_user_list *list, const struct cv_node *node,
			  const struct raw_user *raw, bool is_needed, bool may_be_example,
			  struct cv_user *user)
{
	const struct cv_node place = cv_node_member(node, "uuid");

	if (!*raw->uuid && !is_needed)
		return true;
	if (strlen(raw->uuid) >= 32 && cv_uuid_parse(raw->uuid, user->uuid) == 0) {
		if (!is_needed || may_be_example || !is_example(user->uuid))
			return claim_uuid(list, node, "uuid", user);
		cv_node_error(&place,
			      "user %.32s: this id is the example's, everybody knows it: "
			      "\"culvert user set-id %.32s\" makes one",
			      raw->name, raw->name);
		return false;
	}
	cv_node_error(&place, "user %.32s: expected a UUID, found \"%.40s\"", raw->name, raw->uuid);
	return false;
}

/* The password's key for this way in, "" if the user has none. */
static const char *password_key(const struct raw_user *raw, enum cv_login login)
{
	if (login == CV_LOGIN_HTTP && *raw->http_password)
		return "http_password";
	if (login == CV_LOGIN_SOCKS && *raw->socks_password)
		return "socks_password";
	if (*raw->proxy_password)
		return "proxy_password";
	return login == CV_LOGIN_HTTP && *raw->socks_password ? "socks_password" : "";
}

/* False after an error. */
static bool set_user_password(const struct cv_node *node, const struct raw_user *raw,
			      const struct cv_users_file *file, struct cv_user *user)
{
	const char *key = password_key(raw, file->login);
	const struct cv_node place = cv_node_member(node, key);

	if (file->login == CV_LOGIN_ID)
		return true;
	if (!*key) {
		user->password = (char *)(file->uuid_as_password ? raw->uuid : "");
		return true;
	}
	user->password = (char *)json_object_get_string(place.json);
	if (!password_fits(&place, user->password))
		return false;
	if (!cv_password_is_plain(user->password))
		return true;
	if (file->only_check)
		return true;
	if (file->allow_plain)
		cv_node_warning(&place, "user %.32s: the password is stored in clear", raw->name);
	else
		cv_node_error(&place,
			      "user %.32s: the password is stored in clear; expected a hash, as "
			      "\"culvert user set-password\" writes it, or allowPlain",
			      raw->name);
	return file->allow_plain;
}

/* Who has an upstream of its own must not go out some other way. */
static bool set_user_proxy(const struct cv_node *node, const struct raw_user *raw,
			   const struct cv_users_file *file)
{
	struct cv_node place;

	if (!*raw->proxy_id || file->only_check ||
	    cv_node_load(node)->config->daemon.external_path[0])
		return true;
	place = cv_node_member(node, "external_proxy_id");
	cv_node_error(&place, "there is no culvert.externalProxyFile: this user would go out "
			      "directly");
	return false;
}

static bool add_file_user(struct cv_user_list *list, const struct cv_node *node,
			  const struct raw_user *raw, const char *default_email,
			  const struct cv_users_file *file)
{
	const struct cv_node flow_node = cv_node_member(node, "flow");
	const bool is_vless = file->login == CV_LOGIN_ID;
	const bool comes_here = raw->connection_type != (is_vless ? CONNECTION_PROXY
								  : CONNECTION_VPN);
	struct cv_user user = {
		.enabled = raw->enabled,
		.name = (char *)raw->name,
		.password = "",
		.external_proxy_id = (char *)raw->proxy_id,
	};

	if (!name_is_valid(raw->name)) {
		const struct cv_node name_node = cv_node_member(node, "username");

		cv_node_expected(&name_node, "a name like [a-z][a-z0-9_-]{2,31}");
		return false;
	}
	user.email = (char *)(*raw->email ? raw->email : default_email);
	set_user_short_id(node, raw->short_id, &user);
	cv_load_limits(node, &raw->limits, &user.limits);
	if (!cv_value_flow(&flow_node, raw->flow, &user.vision) ||
	    !set_user_password(node, raw, file, &user) || !set_user_proxy(node, raw, file) ||
	    !claim(list, node, "username", "name", raw->name, &user) ||
	    !claim(list, node, "email", "email", user.email, &user) ||
	    !set_user_uuid(list, node, raw, comes_here && is_vless, file->only_check, &user))
		return false;
	if (comes_here && (is_vless || *user.password))
		add_user(list, &user);
	return true;
}

struct cv_read_user {
	struct raw_user raw;
	char default_email[sizeof("@vless.local") + 32]; /* of a name that is valid */
	bool is_good;					 /* no error was found in it */
};

/* All of @users, in their order: read once, however many inbounds ask. NULL: no memory. */
static const struct cv_read_user *read_file_users(struct cv_load *load,
						  const struct cv_node *users)
{
	if (load->read_users && load->read_users_of == users->json)
		return load->read_users;
	free(load->read_users);
	load->read_users_of = users->json;
	load->read_users = cv_load_calloc(load, cv_node_count(users), sizeof(*load->read_users));
	for (size_t i = 0; load->read_users && i < cv_node_count(users); i++) {
		const struct cv_node node = cv_node_element(users, i);
		struct cv_read_user *read = &load->read_users[i];
		const size_t errors = load->error_count;

		cv_schema_read(user_fields, &node, &read->raw);
		snprintf(read->default_email, sizeof(read->default_email), "%.32s@vless.local",
			 read->raw.name);
		read->is_good = load->error_count == errors;
	}
	return load->read_users;
}

void cv_load_file_users(struct cv_user_list *list, const struct cv_document *document,
			const struct cv_users_file *file)
{
	const struct cv_node root = cv_node_root(document);
	const struct cv_node users = cv_node_member(&root, "users");
	const struct cv_read_user *read_users;

	if (!json_object_is_type(users.json, json_type_array)) {
		cv_node_expected(&users, "a list of users");
		return;
	}
	read_users = read_file_users(list->load, &users);
	for (size_t i = 0; read_users && i < cv_node_count(&users); i++) {
		const struct cv_node node = cv_node_element(&users, i);

		if (read_users[i].is_good)
			(void)add_file_user(list, &node, &read_users[i].raw,
					    read_users[i].default_email, file);
	}
}

void cv_load_check_permissions(const struct cv_node *node, const char *path, bool is_strict)
{
	struct stat status;

	if (stat(path, &status) != 0 || (status.st_mode & (S_IRGRP | S_IROTH)) == 0)
		return;
	if (is_strict)
		cv_node_error(node, "%.255s can be read by others (mode %04o)", path,
			      status.st_mode & 07777u);
	else
		cv_node_warning(node, "%.255s can be read by others (mode %04o): chmod 600", path,
				status.st_mode & 07777u);
}

static int read_users(const struct cv_load *load, const char *path, char **ret_text,
		      size_t *ret_len)
{
	const struct cv_config_instead *instead = load->report->instead;

	if (!instead || strcmp(instead->path, path) != 0)
		return cv_document_read_file(path, ret_text, ret_len);
	*ret_text = malloc(instead->len + 1);
	if (!*ret_text)
		return -ENOMEM;
	memcpy(*ret_text, instead->text, instead->len);
	(*ret_text)[instead->len] = '\0';
	*ret_len = instead->len;
	return 0;
}

void cv_load_users_done(struct cv_load *load)
{
	if (load->users_path)
		cv_document_close(&load->users);
	free(load->users_path);
	free(load->read_users);
	load->users_path = NULL;
	load->read_users = NULL;
}

/* Several inbounds name the same file, which is read once. False after reporting why not. */
static bool open_users(struct cv_load *load, const struct cv_node *node, const char *path)
{
	char *text;
	size_t len;
	int error;

	if (load->users_path && strcmp(load->users_path, path) == 0)
		return true;
	cv_load_users_done(load);
	error = read_users(load, path, &text, &len);
	if (error) {
		cv_node_error(node, "cannot read %.255s: %s", path, strerror(-error));
		return false;
	}
	load->users_path = cv_load_strdup(load, path);
	if (load->users_path &&
	    cv_document_open(load, load->users_path, text, len, &load->users) != 0) {
		free(load->users_path);
		load->users_path = NULL;
	}
	cv_cleanse(text, len);
	free(text);
	return load->users_path != NULL;
}

void cv_load_users_file(struct cv_user_list *list, const struct cv_node *node,
			const struct cv_users_file *file)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s%s", file->path[0] == '/' ? "" : list->load->directory,
		 file->path);
	if (!open_users(list->load, node, path))
		return;
	cv_load_check_permissions(node, path, file->strict_permissions);
	cv_load_file_users(list, &list->load->users, file);
}
