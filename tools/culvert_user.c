// SPDX-License-Identifier: MIT
/*
 * culvert_user.c - `culvert user`: people come, go and change in users.json.
 *
 *   hash -> lock -> read -> change in memory -> would the daemon take it? -> replace -> reload
 *
 * A password is generated, shown once and stored as a hash; one of the operator's own comes by
 * standard input, since a command line is no secret. A daemon that runs takes the change up at
 * once; if it does not run, the file is all there is to do.
 */
#include "culvert_user.h"

#include "culvert.h"
#include "culvert_database.h"

#include "crypto/crypto.h"
#include "policy/password.h"

#include <culvert/reason.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct job {
	struct cv_database database;
	const char *who, *value; /* the arguments */
	struct cv_user_wish wish;
	char password[CV_PASSWORD_MAX + 2]; /* and a newline */
	char stored[CV_PASSWORD_STORED];
	bool password_stdin, no_password;
};

static int complain(const struct job *job, const char *what, const char *why)
{
	return cv_database_complain(&job->database, what, why);
}

/* ---- what the daemon would take ----------------------------------------------------------- */

static void count_finding(void *context, bool is_error, const char *text)
{
	(void)text;
	*(size_t *)context += is_error;
}

/* Does the daemon start now, and would it not with @text? The rest of the configuration may forbid
 * what is good by itself. True after saying why. */
static bool spoils_config(const struct cv_database *database, const char *text, size_t len)
{
	const char *config_path = cv_database_config(database);
	const char *users_path = database->place.users_path;
	const struct cv_config_instead instead = {.path = users_path, .text = text, .len = len};
	size_t errors = 0;
	const struct cv_config_report before = {.line = count_finding, .context = &errors};
	struct cv_config_report after = cv_database_report(database);
	struct cv_config *config = NULL;
	int error;

	after.instead = &instead;
	if (!users_path || strcmp(users_path, database->path) != 0 ||
	    cv_config_load(config_path, &before, &config) != 0)
		return false;
	cv_config_free(config);
	config = NULL;
	error = cv_config_load(config_path, &after, &config);
	cv_config_free(config);
	return error == CV_INTERNAL_CONFIG;
}

static int check(const struct cv_database *database, const char *text, size_t len)
{
	const struct cv_config_report report = cv_database_report(database);
	const int error = cv_users_check(database->path, text, len, &report);

	if (!error && spoils_config(database, text, len))
		return CV_INTERNAL_CONFIG;
	return error;
}

/* ---- the commands ------------------------------------------------------------------------- */

/* Sets job->password and its hash: nobody shall wait for that behind our lock. */
static int get_password(struct job *job)
{
	int status = 0;

	if (job->password_stdin)
		status = cv_database_password(&job->database, job->password, sizeof(job->password));
	else if (!cv_users_generate(job->password))
		status = complain(job, "", "no randomness");
	if (!status && cv_password_hash(job->password, job->stored) != 0)
		status = complain(job, "", "no hash was made");
	return status;
}

/* The only time that a generated one is seen. */
static void show_password(const struct job *job)
{
	if (job->password_stdin)
		return;
	cv_database_put(job->database.result, "password", job->password);
	if (!job->database.json)
		printf("password: %s\n", job->password);
}

static void tell_uuid(struct job *job, struct json_object *user)
{
	struct json_object *uuid = cv_member(user, "uuid");

	if (uuid)
		cv_database_put(job->database.result, "uuid", json_object_get_string(uuid));
}

static int add(struct job *job, struct json_object *users)
{
	struct json_object *user;
	char error_text[CV_USER_ERROR_TEXT];

	job->wish.name = job->who;
	job->wish.stored = job->no_password ? NULL : job->stored;
	user = cv_users_add(users, &job->wish, error_text);
	if (!user)
		return complain(job, "", error_text);
	tell_uuid(job, user);
	return 0;
}

static int set_enabled(struct json_object *user, bool enabled)
{
	json_object_object_add(user, "enabled", json_object_new_boolean(enabled));
	return 0;
}

static int enable(struct job *job, struct json_object *users, struct json_object *user)
{
	(void)job;
	(void)users;
	return set_enabled(user, true);
}

static int disable(struct job *job, struct json_object *users, struct json_object *user)
{
	(void)job;
	(void)users;
	return set_enabled(user, false);
}

static int remove_user(struct job *job, struct json_object *users, struct json_object *user)
{
	char error_text[CV_USER_ERROR_TEXT];
	size_t index = 0;

	(void)user;
	(void)cv_users_find(users, job->who, &index);
	return cv_users_remove(users, index, error_text) ? 0 : complain(job, "", error_text);
}

static int set_password(struct job *job, struct json_object *users, struct json_object *user)
{
	(void)users;
	cv_users_set_password(user, job->stored);
	return 0;
}

static int set_id(struct job *job, struct json_object *users, struct json_object *user)
{
	(void)users;
	if (!cv_users_set_id(user))
		return complain(job, "", "no randomness");
	tell_uuid(job, user);
	return 0;
}

static int set_proxy(struct job *job, struct json_object *users, struct json_object *user)
{
	char error_text[CV_USER_ERROR_TEXT];

	(void)users;
	return cv_users_set_proxy(user, job->value, error_text) ? 0 : complain(job, "", error_text);
}

static const struct command {
	const char *name;
	int argument_count;
	/* NULL: add, which has no user yet */
	int (*change)(struct job *job, struct json_object *users, struct json_object *user);
	const char *done;
	bool takes_password;
} changes[] = {
	{"add", 1, NULL, "added", true},
	{"remove", 1, remove_user, "removed", false},
	{"enable", 1, enable, "enabled", false},
	{"disable", 1, disable, "disabled", false},
	{"set-id", 1, set_id, "has another id", false},
	{"set-password", 1, set_password, "has another password", true},
	{"set-proxy", 2, set_proxy, "goes out another way", false},
};

static int change_users(struct job *job, const struct command *command,
			struct json_object *users)
{
	struct json_object *user = cv_users_find(users, job->who, NULL);

	if (!command->change)
		return add(job, users);
	if (!user)
		return complain(job, job->who, "no user is called so");
	return command->change(job, users, user);
}

static int change(struct job *job, const struct command *command)
{
	struct json_object *users, *result = job->database.result;
	struct cv_json_file file;
	int status = command->takes_password && !job->no_password ? get_password(job) : 0;

	if (!status)
		status = cv_database_open(&job->database, true, cv_users_array, &file, &users);
	if (status)
		return status;
	status = change_users(job, command, users);
	if (!status)
		status = cv_database_save(&job->database, &file, check);
	cv_json_file_close(&file);
	if (status)
		return status;
	cv_database_put(result, "user", job->who);
	cv_database_put(result, "done", command->name);
	cv_database_put(result, "file", job->database.path);
	if (!job->database.json)
		printf("%s %s\n", job->who, command->done);
	if (command->takes_password && !job->no_password)
		show_password(job);
	status = cv_database_reload(&job->database);
	if (job->database.json)
		cv_database_print(result);
	return status;
}

static void type_cell(struct json_object *record, const char *key, char text[CV_CELL_MAX])
{
	cv_text_cell(record, key, text);
	if (strcmp(text, "-") == 0)
		snprintf(text, CV_CELL_MAX, "both");
}

static const struct cv_column columns[] = {
	{"USER", cv_text_cell, "username"},	    {"EMAIL", cv_text_cell, "email"},
	{"ENABLED", cv_database_yes_cell, "enabled"}, {"TYPE", type_cell, "connection_type"},
	{"FLOW", cv_text_cell, "flow"},		    {"PROXY", cv_text_cell, "external_proxy_id"},
	{"EXPIRES", cv_text_cell, "expiresAt"},
};

static int look(struct job *job)
{
	if (!job->who)
		return cv_database_list(&job->database, cv_users_array, cv_users_public, columns,
					sizeof(columns) / sizeof(columns[0]));
	return cv_database_show(&job->database, cv_users_array, cv_users_find, cv_users_public,
				job->who, "no user is called so");
}

/* ---- the command line --------------------------------------------------------------------- */

static int usage(void)
{
	fputs("usage: culvert user list [PLACE] [--json]\n"
	      "       culvert user show USER [PLACE] [--json]\n"
	      "       culvert user add NAME [--email E] [--type both|vpn|proxy] [--flow FLOW]\n"
	      "                [--proxy ID] [--disabled] [--password-stdin | --no-password] ...\n"
	      "       culvert user remove | enable | disable USER [PLACE] [--json]\n"
	      "       culvert user set-id USER [PLACE] [--json]\n"
	      "       culvert user set-password USER [--password-stdin] [PLACE] [--json]\n"
	      "       culvert user set-proxy USER ID|none [PLACE] [--json]\n"
	      "PLACE: [-c CONFIG | --file USERS.JSON] [--control PATH] [--no-reload]\n",
	      stderr);
	return CV_EXIT_USAGE;
}

static bool read_options(int argc, char **argv, struct job *job)
{
	enum { EMAIL = 256, TYPE, FLOW, PROXY, DISABLED, STDIN, NO_PASSWORD };
	static const struct option options[] = {
		CV_DATABASE_OPTIONS,
		{"email", required_argument, NULL, EMAIL},
		{"type", required_argument, NULL, TYPE},
		{"flow", required_argument, NULL, FLOW},
		{"proxy", required_argument, NULL, PROXY},
		{"disabled", no_argument, NULL, DISABLED},
		{"password-stdin", no_argument, NULL, STDIN},
		{"no-password", no_argument, NULL, NO_PASSWORD},
		{NULL, 0, NULL, 0},
	};
	int option;

	while ((option = getopt_long(argc, argv, CV_DATABASE_SHORT, options, NULL)) != -1) {
		switch (option) {
		case EMAIL: job->wish.email = optarg; break;
		case TYPE: job->wish.type = optarg; break;
		case FLOW: job->wish.flow = optarg; break;
		case PROXY: job->wish.proxy = optarg; break;
		case DISABLED: job->wish.disabled = true; break;
		case STDIN: job->password_stdin = true; break;
		case NO_PASSWORD: job->no_password = true; break;
		default:
			if (!cv_database_option(&job->database, option))
				return false;
		}
	}
	return !(job->password_stdin && job->no_password);
}

static int run(struct job *job, const char *name, int argument_count)
{
	const struct command *found = NULL;
	int status;

	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++)
		if (strcmp(name, changes[i].name) == 0)
			found = &changes[i];
	if (found ? argument_count != found->argument_count
		  : !(strcmp(name, "list") == 0 && argument_count == 0) &&
			    !(strcmp(name, "show") == 0 && argument_count == 1))
		return usage();
	if (job->no_password && (!found || found->change))
		return usage(); /* of add only */
	status = cv_database_find(&job->database, &job->database.place.users_path,
				  "no inbound has a usersFile; give --file");
	if (status)
		return status;
	return found ? change(job, found) : look(job);
}

int cv_cmd_user(int argc, char **argv)
{
	struct job job = {.database = {.command = "user", .records = "users"}};
	int status;

	if (!read_options(argc, argv, &job) || argc - optind < 1 || argc - optind > 3)
		return usage();
	if (argc - optind > 1)
		job.who = argv[optind + 1];
	if (argc - optind > 2)
		job.value = argv[optind + 2];
	cv_database_begin(&job.database);
	status = run(&job, argv[optind], argc - optind - 1);
	cv_database_end(&job.database);
	cv_cleanse(job.password, sizeof(job.password));
	return status;
}
