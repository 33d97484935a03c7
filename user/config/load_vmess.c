// SPDX-License-Identifier: MIT
/*
 * load_vmess.c - VMess, in and out, as others write it; the form before AEAD (alterId above 0) is
 * refused.
 */
#include "config/load.h"
#include "config/value.h"

#include "crypto/uuid.h"
#include "policy/replay_cache.h"
#include "policy/vmess_users.h"
#include "wire/vmess.h"

#include <stdlib.h>

#include <string.h>

#define AUTO 0 /* which of the two is faster here is nobody's secret: AES has instructions */

/* ---- server ------------------------------------------------------------------------------- */

struct raw_server {
	struct cv_node clients, detour;
};

static const struct cv_field server_fields[] = {
	{"clients", "users", .type = CV_FIELD_ARRAY, CV_FIELD(struct raw_server, clients)},
	{"default", .type = CV_FIELD_IGNORED},
	{"disableInsecureEncryption", .type = CV_FIELD_IGNORED}, /* there is none here */
	{"detour", .type = CV_FIELD_OBJECT, CV_FIELD(struct raw_server, detour)},
	{.type = CV_FIELD_END},
};

void cv_load_vmess_server(const struct cv_node *node, struct cv_user_list *users)
{
	struct raw_server raw;

	cv_schema_read(server_fields, node, &raw);
	cv_load_vmess_clients(users, &raw.clients);
	if (raw.detour.json)
		cv_node_warning(&raw.detour, "has no effect: clients stay on this port");
	if (users->count == 0 && users->load->error_count == 0)
		cv_node_warning(node, "no users: nobody can come in");
}

void cv_load_vmess_keys(struct cv_load *load, struct cv_inbound *inbound)
{
	inbound->vmess = cv_vmess_keys_new(inbound->users);
	inbound->vmess_replay = cv_replay_cache_new(CV_VMESS_REPLAY_MS, CV_REPLAY_ENTRIES);
	load->out_of_memory |= !inbound->vmess || !inbound->vmess_replay;
}

/* ---- client ------------------------------------------------------------------------------- */

static const struct cv_word ciphers[] = {
	{"auto", AUTO},
	{"aes-128-gcm", CV_VMESS_AES_128_GCM},
	{"chacha20-poly1305", CV_VMESS_CHACHA20_POLY1305},
	{"none", CV_VMESS_NONE},
	{"zero", CV_WORD_UNSUPPORTED},
	{"aes-128-cfb", CV_WORD_UNSUPPORTED},
	{NULL, 0},
};

struct raw_client {
	const char *address, *id, *email;
	uint32_t port, alter_id, level;
	int cipher;
	struct cv_node users;
};

#define CLIENT_SERVER_KEYS \
	{"address", .type = CV_FIELD_TEXT, .is_required = true, \
	 CV_FIELD(struct raw_client, address)}, \
	{ \
		"port", .type = CV_FIELD_U32, .is_required = true, .min = 1, .max = 65535, \
			CV_FIELD(struct raw_client, port) \
	}

#define CLIENT_USER_KEYS \
	{"id", .type = CV_FIELD_TEXT, .is_required = true, .is_secret = true, \
	 CV_FIELD(struct raw_client, id)}, \
		{"alterId", .type = CV_FIELD_U32, .max = 65535, \
		 CV_FIELD(struct raw_client, alter_id)}, \
		{"security", .type = CV_FIELD_WORD, .words = ciphers, .text = "auto", \
		 CV_FIELD(struct raw_client, cipher)}, \
		{"email", .type = CV_FIELD_TEXT, CV_FIELD(struct raw_client, email)}, \
		{"level", .type = CV_FIELD_U32, .max = CV_LEVELS - 1, \
		 CV_FIELD(struct raw_client, level)}, \
		{"experiments", .type = CV_FIELD_REFUSED}, \
	{ \
		"testsEnabled", .type = CV_FIELD_REFUSED \
	}

/* vnext: {server, users: [user]}; flat: everything in settings, read twice. */
static const struct cv_field vnext_fields[] = {
	CLIENT_SERVER_KEYS,
	{"users", .type = CV_FIELD_ARRAY, .is_required = true, CV_FIELD(struct raw_client, users)},
	{.type = CV_FIELD_END},
};

static const struct cv_field user_fields[] = {
	CLIENT_USER_KEYS,
	{.type = CV_FIELD_END},
};

static const struct cv_field flat_fields[] = {
	CLIENT_SERVER_KEYS,
	CLIENT_USER_KEYS,
	{.type = CV_FIELD_END},
};

static void set_server(const struct cv_node *node, const struct raw_client *raw,
		       struct cv_outbound *outbound)
{
	const struct cv_node address = cv_node_member(node, "address");

	if (address.json)
		(void)cv_value_host(&address, raw->address, (uint16_t)raw->port, &outbound->server);
}

static void set_user(const struct cv_node *node, const struct raw_client *raw,
		     struct cv_outbound *outbound)
{
	const struct cv_node id = cv_node_member(node, "id");
	const struct cv_node alter_id = cv_node_member(node, "alterId");

	if (id.json && cv_uuid_parse(raw->id, outbound->uuid) != 0)
		cv_node_expected_secret(&id, "a UUID or a text of 1 to 30 bytes");
	if (raw->alter_id)
		cv_node_expected(&alter_id, "0: the form without AEAD is " CV_NOT_SUPPORTED);
	outbound->vmess_cipher =
		(uint8_t)(raw->cipher == AUTO ? CV_VMESS_AES_128_GCM : raw->cipher);
	outbound->level = raw->level;
	free(outbound->user_email);
	outbound->user_email = cv_load_strdup(cv_node_load(node), raw->email);
}

static void load_vnext(const struct cv_node *list, struct cv_outbound *outbound)
{
	struct cv_node node, user;
	struct raw_client raw;

	if (cv_node_count(list) != 1) {
		cv_node_error(list, "expected exactly one server, found %zu", cv_node_count(list));
		return;
	}
	node = cv_node_element(list, 0);
	cv_schema_read(vnext_fields, &node, &raw);
	set_server(&node, &raw, outbound);
	if (cv_node_count(&raw.users) != 1) {
		cv_node_error(&raw.users, "expected exactly one user, found %zu",
			      cv_node_count(&raw.users));
		return;
	}
	user = cv_node_element(&raw.users, 0);
	cv_schema_read(user_fields, &user, &raw);
	set_user(&user, &raw, outbound);
}

void cv_load_vmess_client(const struct cv_node *node, const struct cv_node *settings,
			  struct cv_outbound *outbound)
{
	const struct cv_node vnext = cv_node_member(settings, "vnext");
	struct raw_client raw;

	if (vnext.json) {
		load_vnext(&vnext, outbound);
	} else {
		cv_schema_read(flat_fields, settings, &raw);
		set_server(settings, &raw, outbound);
		set_user(settings, &raw, outbound);
	}
	if (outbound->vmess_cipher == CV_VMESS_NONE && outbound->security == CV_SECURITY_NONE)
		cv_node_warning(node, "VMess with security \"none\" and without TLS is readable by "
				      "anybody on the way");
}
