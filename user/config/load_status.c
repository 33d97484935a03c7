// SPDX-License-Identifier: MIT
/*
 * load_status.c - culvert.status: the page that tells how it goes, for this machine only.
 */
#include "config/load.h"
#include "policy/password.h"

#include <string.h>

#define PORT 9000
#define USERS 100
#define USERS_MAX 1000

struct raw_status {
	const char *listen, *user, *password;
	uint32_t port, max_users;
};

static const struct cv_field status_fields[] = {
	{"listen", .type = CV_FIELD_TEXT, .text = "127.0.0.1", CV_FIELD(struct raw_status, listen)},
	{"port", .type = CV_FIELD_U32, .min = 1, .max = 65535, .number = PORT,
	 CV_FIELD(struct raw_status, port)},
	{"user", .type = CV_FIELD_TEXT, .text = "culvert", CV_FIELD(struct raw_status, user)},
	{"password", .type = CV_FIELD_TEXT, .is_required = true, .is_secret = true,
	 CV_FIELD(struct raw_status, password)},
	{"maxUsers", .type = CV_FIELD_U32, .min = 1, .max = USERS_MAX, .number = USERS,
	 CV_FIELD(struct raw_status, max_users)},
	{.type = CV_FIELD_END},
};

static bool is_loopback(const struct cv_destination *host)
{
	return (host->kind == CV_ADDRESS_IPV4 && host->ipv4[0] == 127) ||
	       (host->kind == CV_ADDRESS_IPV6 &&
		memcmp(host->ipv6, &in6addr_loopback, sizeof(host->ipv6)) == 0);
}

static bool set_address(const struct cv_node *node, const struct raw_status *raw,
			struct cv_sockaddr *ret_address)
{
	const struct cv_node listen = cv_node_member(node, "listen");
	const char *text = strcasecmp(raw->listen, "localhost") == 0 ? "127.0.0.1" : raw->listen;
	struct cv_destination host;

	if (cv_destination_set_text(&host, text, (uint16_t)raw->port) == 0 && is_loopback(&host))
		return cv_destination_to_sockaddr(&host, ret_address);
	cv_node_expected(&listen, "a loopback address (127.0.0.1, ::1), since there is no TLS");
	return false;
}

/* What Basic authentication can carry. */
static bool check_user(const struct cv_node *node, const char *user)
{
	const struct cv_node at = cv_node_member(node, "user");
	bool good = *user && strlen(user) <= CV_USER_TEXT_MAX && !strchr(user, ':');

	for (const char *c = user; *c; c++)
		good &= (unsigned char)*c >= 0x20 && *c != 0x7f;
	if (!good)
		cv_node_expected(&at, "a name of 1 to %d bytes without colon", CV_USER_TEXT_MAX);
	return good;
}

static bool check_password(const struct cv_node *node, const char *password)
{
	const struct cv_node at = cv_node_member(node, "password");
	const char *flaw = cv_password_flaw(password);

	if (!at.json)
		return false; /* which was said */
	if (cv_password_is_plain(password))
		flaw = "expected a hash, as mkpasswd prints it";
	if (flaw)
		cv_node_error(&at, "%s", flaw);
	return !flaw;
}

void cv_load_status(const struct cv_node *node, struct cv_status_settings *ret_settings)
{
	struct cv_load *load = cv_node_load(node);
	struct raw_status raw;
	bool good;

	*ret_settings = (struct cv_status_settings){0};
	if (!node->json)
		return;
	cv_schema_read(status_fields, node, &raw);
	good = set_address(node, &raw, &ret_settings->address);
	good &= check_user(node, raw.user);
	good &= check_password(node, raw.password);
	if (!good)
		return;
	ret_settings->user = cv_load_strdup(load, raw.user);
	ret_settings->password = cv_load_strdup(load, raw.password);
	ret_settings->max_users = raw.max_users;
}
