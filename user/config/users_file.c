// SPDX-License-Identifier: MIT
/*
 * users_file.c - see users_file.h.
 */
#include "config/users_file.h"

#include "config/load.h"
#include "crypto/crypto.h"

#include <culvert/reason.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int cv_users_check(const char *name, const char *text, size_t len,
		   const struct cv_config_report *report)
{
	static const enum cv_login logins[] = {CV_LOGIN_ID, CV_LOGIN_SOCKS, CV_LOGIN_HTTP};
	struct cv_load load = {.report = report, .directory = ""};
	struct cv_document document;

	if (cv_document_open(&load, name, text, len, &document) != 0)
		return load.out_of_memory ? -ENOMEM : CV_INTERNAL_CONFIG;
	for (size_t i = 0; i < sizeof(logins) / sizeof(logins[0]) && !load.error_count; i++) {
		const struct cv_users_file file = {
			.login = logins[i], .allow_plain = true, .only_check = true};
		struct cv_user_list list = cv_user_list_of(&load);

		cv_load_file_users(&list, &document, &file);
		cv_user_list_done(&list);
	}
	cv_load_users_done(&load);
	cv_document_close(&document);
	if (load.out_of_memory)
		return -ENOMEM;
	return load.error_count ? CV_INTERNAL_CONFIG : 0;
}

/* ---- where ----------------------------------------------------------------------------------- */

static bool take_path(const char *config_path, const struct cv_node *node, char **path)
{
	const char *slash = strrchr(config_path, '/'), *text;
	char *whole = NULL;
	bool good;

	text = json_object_is_type(node->json, json_type_string)
		       ? json_object_get_string(node->json)
		       : "";
	if (!*text)
		return true;
	if (asprintf(&whole, "%.*s%s",
		     *text == '/' || !slash ? 0 : (int)(slash - config_path) + 1, config_path,
		     text) < 0)
		return false;
	good = !*path || strcmp(*path, whole) == 0;
	if (!good)
		cv_node_error(node, "another inbound names %.255s", *path);
	if (*path)
		free(whole);
	else
		*path = whole;
	return good;
}

static bool find_places(const char *config_path, const struct cv_document *document,
			struct cv_users_place *place)
{
	const struct cv_node root = cv_node_root(document);
	const struct cv_node inbounds = cv_node_member(&root, "inbounds");
	const struct cv_node culvert = cv_node_member(&root, "culvert");
	const struct cv_node control = cv_node_member(&culvert, "controlSocket");
	const struct cv_node external = cv_node_member(&culvert, "externalProxyFile");
	bool good = true;

	for (size_t i = 0; i < cv_node_count(&inbounds) && good; i++) {
		const struct cv_node inbound = cv_node_element(&inbounds, i);
		const struct cv_node settings = cv_node_member(&inbound, "settings");
		const struct cv_node file = cv_node_member(&settings, "usersFile");

		good = take_path(config_path, &file, &place->users_path);
	}
	if (good)
		good = take_path(config_path, &external, &place->external_path);
	if (json_object_is_type(control.json, json_type_string))
		place->control_path = strdup(json_object_get_string(control.json));
	return good;
}

int cv_users_place(const char *path, const struct cv_config_report *report,
		   struct cv_users_place *ret_place)
{
	struct cv_load load = {.report = report, .directory = ""};
	struct cv_users_place place = {0};
	struct cv_document document;
	char *text;
	size_t len;
	int error = cv_document_read_file(path, &text, &len);

	if (error)
		return error;
	error = cv_document_open(&load, path, text, len, &document);
	if (!error) {
		error = find_places(path, &document, &place) ? 0 : CV_INTERNAL_CONFIG;
		cv_document_close(&document);
	}
	cv_cleanse(text, len);
	free(text);
	if (!error) {
		*ret_place = place;
		return 0;
	}
	free(place.users_path);
	free(place.external_path);
	free(place.control_path);
	return load.out_of_memory ? -ENOMEM : error;
}
