/* SPDX-License-Identifier: MIT */
/*
 * culvert_database.h - a JSON file that commands change: users.json, external_proxy.json.
 */
#ifndef CULVERT_TOOLS_CULVERT_DATABASE_H
#define CULVERT_TOOLS_CULVERT_DATABASE_H

#include "culvert_table.h"

#include "config/config_load.h"
#include "config/json_file.h"
#include "config/users_file.h"

#include <getopt.h>
#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>

struct cv_database {
	const char *command; /* "user": complaints begin with it */
	const char *records; /* "users", the member that is a list of them */
	bool says_warnings;
	const char *path, *config_path, *control; /* as given, or NULL */
	bool json, no_reload;
	struct cv_users_place place;
	struct json_object *result; /* what --json prints */
};

/* Options of every such command, for getopt_long()'s table; read by cv_database_option(). */
#define CV_DATABASE_SHORT "c:f:"
#define CV_DATABASE_OPTIONS \
	{"config", required_argument, NULL, 'c'}, {"file", required_argument, NULL, 'f'}, \
		{"control", required_argument, NULL, 's'}, {"no-reload", no_argument, NULL, 'n'}, \
		{"json", no_argument, NULL, 'j'}

/** cv_database_option() - False if @option is none of CV_DATABASE_OPTIONS. */
bool cv_database_option(struct cv_database *database, int option);
void cv_database_begin(struct cv_database *database);
void cv_database_end(struct cv_database *database);

/** cv_database_complain() - On standard error; returns EXIT_FAILURE. */
int cv_database_complain(const struct cv_database *database, const char *what, const char *why);
/** cv_database_report() - Findings of the loader become complaints. */
struct cv_config_report cv_database_report(const struct cv_database *database);
/** cv_database_config() - The configuration that is meant. */
const char *cv_database_config(const struct cv_database *database);
/**
 * cv_database_find() - Path and control socket by the configuration, unless they are given.
 * @path_of_config: where in database->place the file's path is put
 * @missing: what to say if the configuration names none
 * Returns 0, or an exit status after saying why.
 */
int cv_database_find(struct cv_database *database, char *const *path_of_config,
		     const char *missing);
/** cv_database_open() - Locked if @to_change. @array_of: the list in the file's root, or NULL.
 * Returns 0, or an exit status after saying why. */
int cv_database_open(const struct cv_database *database, bool to_change,
		     struct json_object *(*array_of)(struct json_object *root),
		     struct cv_json_file *file, struct json_object **ret_array);
/** cv_database_save() - What the daemon would not take (@check: 0 or its reason, after reporting)
 * is not written. Returns 0, or an exit status after saying why. */
int cv_database_save(const struct cv_database *database, const struct cv_json_file *file,
		     int (*check)(const struct cv_database *database, const char *text,
				  size_t len));
/** cv_database_reload() - Tell a running daemon; what came of it is "reloaded" of the result. The
 * change stands in any case. Returns an exit status. */
int cv_database_reload(const struct cv_database *database);

/** cv_database_list() - All records as @public_of makes them, as a table or as JSON. */
int cv_database_list(struct cv_database *database,
		     struct json_object *(*array_of)(struct json_object *root),
		     struct json_object *(*public_of)(struct json_object *record),
		     const struct cv_column *columns, size_t column_count);
/** cv_database_show() - The record that @find finds by @key, or @missing. */
int cv_database_show(struct cv_database *database,
		     struct json_object *(*array_of)(struct json_object *root),
		     struct json_object *(*find)(struct json_object *array, const char *key,
						 size_t *ret_index),
		     struct json_object *(*public_of)(struct json_object *record), const char *key,
		     const char *missing);

/** cv_database_put() - @object[@key] = @text. */
void cv_database_put(struct json_object *object, const char *key, const char *text);
void cv_database_print(struct json_object *object);
/** cv_database_yes_cell() - A flag that is true unless it is there and false. */
void cv_database_yes_cell(struct json_object *record, const char *key, char text[CV_CELL_MAX]);
/** cv_database_password() - A line of standard input, 1 to @size - 2 bytes. Returns 0, or an exit
 * status after saying why. */
int cv_database_password(const struct cv_database *database, char *password, size_t size);

#endif
