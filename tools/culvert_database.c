// SPDX-License-Identifier: MIT
/*
 * culvert_database.c - what `culvert user` and `culvert proxy` do alike with their files.
 *
 *   lock -> read -> change in memory -> would the daemon take it? -> replace the file -> reload
 *
 * The change is in the file whatever the daemon says to it; the exit status tells that apart.
 */
#include "culvert_database.h"

#include "culvert.h"
#include "culvert_ask.h"

#include "crypto/crypto.h"

#include <culvert/reason.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_CONFIG "/etc/culvert/culvert.json"

/* ---- the command line --------------------------------------------------------------------- */

bool cv_database_option(struct cv_database *database, int option)
{
	switch (option) {
	case 'c': database->config_path = optarg; break;
	case 'f': database->path = optarg; break;
	case 's': database->control = optarg; break;
	case 'n': database->no_reload = true; break;
	case 'j': database->json = true; break;
	default: return false;
	}
	return true;
}

void cv_database_begin(struct cv_database *database)
{
	database->result = json_object_new_object();
}

void cv_database_end(struct cv_database *database)
{
	json_object_put(database->result);
	free(database->place.users_path);
	free(database->place.external_path);
	free(database->place.control_path);
}

int cv_database_password(const struct cv_database *database, char *password, size_t size)
{
	char why[64];

	if (!fgets(password, (int)size, stdin))
		return cv_database_complain(database, "standard input", "no password");
	password[strcspn(password, "\r\n")] = '\0';
	if (password[0] && strlen(password) <= size - 2)
		return 0;
	snprintf(why, sizeof(why), "expected a password of 1 to %zu bytes", size - 2);
	return cv_database_complain(database, "standard input", why);
}

/* ---- output ------------------------------------------------------------------------------- */

int cv_database_complain(const struct cv_database *database, const char *what, const char *why)
{
	fprintf(stderr, "culvert %s: %s%s%s\n", database->command, what, *what ? ": " : "", why);
	return EXIT_FAILURE;
}

static void print_finding(void *context, bool is_error, const char *text)
{
	const struct cv_database *database = context;

	if (is_error || database->says_warnings)
		fprintf(stderr, "culvert %s: %s%s\n", database->command,
			is_error ? "" : "warning: ", text);
}

struct cv_config_report cv_database_report(const struct cv_database *database)
{
	return (struct cv_config_report){.line = print_finding, .context = (void *)database};
}

void cv_database_put(struct json_object *object, const char *key, const char *text)
{
	json_object_object_add(object, key, json_object_new_string(text));
}

void cv_database_print(struct json_object *object)
{
	puts(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PRETTY |
							    JSON_C_TO_STRING_NOSLASHESCAPE));
}

void cv_database_yes_cell(struct json_object *record, const char *key, char text[CV_CELL_MAX])
{
	struct json_object *value = cv_member(record, key);

	snprintf(text, CV_CELL_MAX, "%s", value && !json_object_get_boolean(value) ? "no" : "yes");
}

/* ---- the file ----------------------------------------------------------------------------- */

const char *cv_database_config(const struct cv_database *database)
{
	return database->config_path ? database->config_path : DEFAULT_CONFIG;
}

int cv_database_find(struct cv_database *database, char *const *path_of_config,
		     const char *missing)
{
	const struct cv_config_report report = cv_database_report(database);
	const char *config = cv_database_config(database);
	int error;

	if (database->path && !database->config_path)
		return 0;
	error = cv_users_place(config, &report, &database->place);
	if (error > -2000 && error < 0)
		(void)cv_database_complain(database, config, strerror(-error));
	if (error)
		return CV_EXIT_USAGE;
	if (!database->path)
		database->path = *path_of_config;
	if (!database->control)
		database->control = database->place.control_path;
	if (database->path)
		return 0;
	(void)cv_database_complain(database, config, missing);
	return CV_EXIT_USAGE;
}

int cv_database_open(const struct cv_database *database, bool to_change,
		     struct json_object *(*array_of)(struct json_object *root),
		     struct cv_json_file *file, struct json_object **ret_array)
{
	const int error = cv_json_file_open(database->path, to_change, file);
	char why[80];

	if (error)
		return cv_database_complain(database, database->path,
					    error == -EBADMSG ? file->problem
					    : error == -EBUSY ? "somebody else keeps it locked"
							      : strerror(-error));
	*ret_array = array_of(file->root);
	if (*ret_array)
		return 0;
	cv_json_file_close(file);
	snprintf(why, sizeof(why), "%s: expected a list of %s", database->records,
		 database->records);
	return cv_database_complain(database, database->path, why);
}

int cv_database_save(const struct cv_database *database, const struct cv_json_file *file,
		     int (*check)(const struct cv_database *database, const char *text, size_t len))
{
	size_t len;
	char *text = cv_json_file_text(file, &len);
	int error = text ? check(database, text, len) : -ENOMEM;

	if (!error)
		error = cv_json_file_write(file);
	if (text)
		cv_cleanse(text, len);
	free(text);
	if (!error)
		return 0;
	return cv_database_complain(database, database->path,
				    error == CV_INTERNAL_CONFIG ? "nothing was changed"
								: strerror(-error));
}

int cv_database_reload(const struct cv_database *database)
{
	const char *control = database->control ? database->control : CV_DEFAULT_CONTROL;
	struct json_object *answer, *error;
	int status = EXIT_SUCCESS;
	char what[80];

	if (database->no_reload || !*control || access(control, F_OK) != 0) {
		cv_database_put(database->result, "reloaded", "no");
		return EXIT_SUCCESS;
	}
	answer = cv_ask_for_reload(control);
	snprintf(what, sizeof(what), "the daemon goes on with the former %s", database->records);
	if (!answer || json_object_object_get_ex(answer, "error", &error))
		status = cv_database_complain(database, what,
					      answer ? json_object_get_string(error) : "no answer");
	cv_database_put(database->result, "reloaded", status ? "failed" : "yes");
	json_object_put(answer);
	return status;
}

/* ---- looking ------------------------------------------------------------------------------ */

int cv_database_list(struct cv_database *database,
		     struct json_object *(*array_of)(struct json_object *root),
		     struct json_object *(*public_of)(struct json_object *record),
		     const struct cv_column *columns, size_t column_count)
{
	struct json_object *records, *shown;
	struct cv_json_file file;
	const int status = cv_database_open(database, false, array_of, &file, &records);

	if (status)
		return status;
	shown = json_object_new_array();
	for (size_t i = 0; i < json_object_array_length(records); i++) {
		struct json_object *record = json_object_array_get_idx(records, i);

		if (json_object_is_type(record, json_type_object))
			json_object_array_add(shown, public_of(record));
	}
	if (database->json) {
		json_object_object_add(database->result, database->records,
				       json_object_get(shown));
		cv_database_print(database->result);
	} else {
		cv_print_columns(stdout, shown, columns, column_count, 0);
	}
	json_object_put(shown);
	cv_json_file_close(&file);
	return EXIT_SUCCESS;
}

int cv_database_show(struct cv_database *database,
		     struct json_object *(*array_of)(struct json_object *root),
		     struct json_object *(*find)(struct json_object *array, const char *key,
						 size_t *ret_index),
		     struct json_object *(*public_of)(struct json_object *record), const char *key,
		     const char *missing)
{
	struct json_object *records, *record, *shown;
	struct cv_json_file file;
	const int status = cv_database_open(database, false, array_of, &file, &records);

	if (status)
		return status;
	record = find(records, key, NULL);
	shown = record ? public_of(record) : NULL;
	cv_json_file_close(&file);
	if (!shown)
		return cv_database_complain(database, key, missing);
	if (database->json)
		cv_database_print(shown);
	else
		cv_print_record(stdout, shown, 0);
	json_object_put(shown);
	return EXIT_SUCCESS;
}
