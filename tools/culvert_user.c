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
#include "culvert_ask.h"
#include "culvert_table.h"

#include "config/json_file.h"
#include "config/users_file.h"
#include "crypto/crypto.h"
#include "policy/password.h"

#include <culvert/reason.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_CONFIG "/etc/culvert/culvert.json"

struct job {
	const char *path, *config_path, *control;
	const char *who, *value; /* the arguments */
	struct cv_user_wish wish;
	char password[CV_PASSWORD_MAX + 2]; /* and a newline */
	char stored[CV_PASSWORD_STORED];
	bool json, no_reload, password_stdin, no_password;
	struct cv_users_place place;
	struct json_object *result; /* what --json prints */
};

/* ---- output ------------------------------------------------------------------------------- */

static int complain(const char *what, const char *why)
{
	fprintf(stderr, "culvert user: %s%s%s\n", what, *what ? ": " : "", why);
	return EXIT_FAILURE;
}

static void print_finding(void *context, bool is_error, const char *text)
{
	(void)context;
	if (is_error)
		fprintf(stderr, "culvert user: %s\n", text);
}

static const struct cv_config_report report = {.line = print_finding};

static void put_text(struct json_object *object, const char *key, const char *text)
{
	json_object_object_add(object, key, json_object_new_string(text));
}

static void print_json(struct json_object *object)
{
	puts(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PRETTY |
							    JSON_C_TO_STRING_NOSLASHESCAPE));
}

/* ---- the file ----------------------------------------------------------------------------- */

static const char *config_of(const struct job *job)
{
	return job->config_path ? job->config_path : DEFAULT_CONFIG;
}

/* 0, or an exit status after saying why. */
static int find_file(struct job *job)
{
	const char *config = config_of(job);
	int error;

	if (job->path && !job->config_path)
		return 0;
	error = cv_users_place(config, &report, &job->place);
	if (error > -2000 && error < 0)
		(void)complain(config, strerror(-error));
	if (error)
		return CV_EXIT_USAGE;
	if (!job->path)
		job->path = job->place.users_path;
	if (!job->control)
		job->control = job->place.control_path;
	if (job->path)
		return 0;
	(void)complain(config, "no inbound has a usersFile; give --file");
	return CV_EXIT_USAGE;
}

static int open_file(const struct job *job, bool to_change, struct cv_json_file *file,
		     struct json_object **ret_users)
{
	const int error = cv_json_file_open(job->path, to_change, file);

	if (error)
		return complain(job->path, error == -EBADMSG ? file->problem
					   : error == -EBUSY ? "somebody else keeps it locked"
							     : strerror(-error));
	*ret_users = cv_users_array(file->root);
	if (*ret_users)
		return 0;
	cv_json_file_close(file);
	return complain(job->path, "users: expected a list of users");
}

static void count_finding(void *context, bool is_error, const char *text)
{
	(void)text;
	*(size_t *)context += is_error;
}

/* Does the daemon start now, and would it not with @text? The rest of the configuration may forbid
 * what is good by itself. True after saying why. */
static bool spoils_config(const struct job *job, const char *text, size_t len)
{
	const struct cv_config_instead instead = {
		.path = job->place.users_path, .text = text, .len = len};
	size_t errors = 0;
	const struct cv_config_report before = {.line = count_finding, .context = &errors};
	const struct cv_config_report after = {.line = print_finding, .instead = &instead};
	struct cv_config *config = NULL;
	int error;

	if (!job->place.users_path || strcmp(job->place.users_path, job->path) != 0 ||
	    cv_config_load(config_of(job), &before, &config) != 0)
		return false;
	cv_config_free(config);
	config = NULL;
	error = cv_config_load(config_of(job), &after, &config);
	cv_config_free(config);
	return error == CV_INTERNAL_CONFIG;
}

/* What the daemon would not take is not written. */
static int save(const struct job *job, const struct cv_json_file *file)
{
	size_t len;
	char *text = cv_json_file_text(file, &len);
	int error = text ? cv_users_check(job->path, text, len, &report) : -ENOMEM;

	if (!error && spoils_config(job, text, len))
		error = CV_INTERNAL_CONFIG;
	if (!error)
		error = cv_json_file_write(file);
	if (text)
		cv_cleanse(text, len);
	free(text);
	if (!error)
		return 0;
	return complain(job->path, error == CV_INTERNAL_CONFIG ? "nothing was changed"
							       : strerror(-error));
}

/* The change stands, whatever the daemon says; it is told apart by the exit status. */
static int reload(const struct job *job)
{
	const char *control = job->control ? job->control : CV_DEFAULT_CONTROL;
	struct json_object *answer, *error;
	int status = EXIT_SUCCESS;

	if (job->no_reload || !*control || access(control, F_OK) != 0) {
		put_text(job->result, "reloaded", "no");
		return EXIT_SUCCESS;
	}
	answer = cv_ask_for_reload(control);
	if (!answer || json_object_object_get_ex(answer, "error", &error))
		status = complain("the daemon goes on with the former users",
				  answer ? json_object_get_string(error) : "no answer");
	put_text(job->result, "reloaded", status ? "failed" : "yes");
	json_object_put(answer);
	return status;
}

/* ---- the commands ------------------------------------------------------------------------- */

static int read_password(struct job *job)
{
	if (!fgets(job->password, sizeof(job->password), stdin))
		return complain("standard input", "no password");
	job->password[strcspn(job->password, "\r\n")] = '\0';
	if (!job->password[0] || strlen(job->password) > CV_PASSWORD_MAX)
		return complain("standard input", "expected a password of 1 to 255 bytes");
	return 0;
}

/* Sets job->password and its hash: nobody shall wait for that behind our lock. */
static int get_password(struct job *job)
{
	int status = 0;

	if (job->password_stdin)
		status = read_password(job);
	else if (!cv_users_generate(job->password))
		status = complain("", "no randomness");
	if (!status && cv_password_hash(job->password, job->stored) != 0)
		status = complain("", "no hash was made");
	return status;
}

/* The only time that a generated one is seen. */
static void show_password(const struct job *job)
{
	if (job->password_stdin)
		return;
	put_text(job->result, "password", job->password);
	if (!job->json)
		printf("password: %s\n", job->password);
}

static int add(struct job *job, struct json_object *users)
{
	struct json_object *user, *uuid;
	char error_text[CV_USER_ERROR_TEXT];

	job->wish.name = job->who;
	job->wish.stored = job->no_password ? NULL : job->stored;
	user = cv_users_add(users, &job->wish, error_text);
	if (!user)
		return complain("", error_text);
	if (json_object_object_get_ex(user, "uuid", &uuid))
		put_text(job->result, "uuid", json_object_get_string(uuid));
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
	return cv_users_remove(users, index, error_text) ? 0 : complain("", error_text);
}

static int set_password(struct job *job, struct json_object *users, struct json_object *user)
{
	(void)users;
	cv_users_set_password(user, job->stored);
	return 0;
}

static int set_proxy(struct job *job, struct json_object *users, struct json_object *user)
{
	char error_text[CV_USER_ERROR_TEXT];

	(void)users;
	return cv_users_set_proxy(user, job->value, error_text) ? 0 : complain("", error_text);
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
		return complain(job->who, "no user is called so");
	return command->change(job, users, user);
}

static int change(struct job *job, const struct command *command)
{
	struct cv_json_file file;
	struct json_object *users;
	int status = command->takes_password && !job->no_password ? get_password(job) : 0;

	if (!status)
		status = open_file(job, true, &file, &users);
	if (status)
		return status;
	status = change_users(job, command, users);
	if (!status)
		status = save(job, &file);
	cv_json_file_close(&file);
	if (status)
		return status;
	put_text(job->result, "user", job->who);
	put_text(job->result, "done", command->name);
	put_text(job->result, "file", job->path);
	if (!job->json)
		printf("%s %s\n", job->who, command->done);
	if (command->takes_password && !job->no_password)
		show_password(job);
	status = reload(job);
	if (job->json)
		print_json(job->result);
	return status;
}

static void yes_cell(struct json_object *record, const char *key, char text[CV_CELL_MAX])
{
	struct json_object *value;

	snprintf(text, CV_CELL_MAX, "%s",
		 json_object_object_get_ex(record, key, &value) && !json_object_get_boolean(value)
			 ? "no"
			 : "yes");
}

static void type_cell(struct json_object *record, const char *key, char text[CV_CELL_MAX])
{
	cv_text_cell(record, key, text);
	if (strcmp(text, "-") == 0)
		snprintf(text, CV_CELL_MAX, "both");
}

static const struct cv_column columns[] = {
	{"USER", cv_text_cell, "username"},	    {"EMAIL", cv_text_cell, "email"},
	{"ENABLED", yes_cell, "enabled"},	    {"TYPE", type_cell, "connection_type"},
	{"FLOW", cv_text_cell, "flow"},		    {"PROXY", cv_text_cell, "external_proxy_id"},
	{"EXPIRES", cv_text_cell, "expiresAt"},
};

static int list(struct job *job)
{
	struct json_object *users, *shown = json_object_new_array();
	struct cv_json_file file;
	const int status = open_file(job, false, &file, &users);

	for (size_t i = 0; !status && i < json_object_array_length(users); i++) {
		struct json_object *user = json_object_array_get_idx(users, i);

		if (json_object_is_type(user, json_type_object))
			json_object_array_add(shown, cv_users_public(user));
	}
	if (!status && job->json) {
		json_object_object_add(job->result, "users", json_object_get(shown));
		print_json(job->result);
	} else if (!status) {
		cv_print_columns(stdout, shown, columns, sizeof(columns) / sizeof(columns[0]), 0);
	}
	json_object_put(shown);
	if (!status)
		cv_json_file_close(&file);
	return status;
}

static int show(struct job *job)
{
	struct json_object *users, *user, *shown;
	struct cv_json_file file;
	int status = open_file(job, false, &file, &users);

	if (status)
		return status;
	user = cv_users_find(users, job->who, NULL);
	shown = user ? cv_users_public(user) : NULL;
	cv_json_file_close(&file);
	if (!shown)
		return complain(job->who, "no user is called so");
	if (job->json)
		print_json(shown);
	else
		cv_print_record(stdout, shown, 0);
	json_object_put(shown);
	return EXIT_SUCCESS;
}

/* ---- the command line --------------------------------------------------------------------- */

static int usage(void)
{
	fputs("usage: culvert user list [PLACE] [--json]\n"
	      "       culvert user show USER [PLACE] [--json]\n"
	      "       culvert user add NAME [--email E] [--type both|vpn|proxy] [--flow FLOW]\n"
	      "                [--proxy ID] [--disabled] [--password-stdin | --no-password] ...\n"
	      "       culvert user remove | enable | disable USER [PLACE] [--json]\n"
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
		{"config", required_argument, NULL, 'c'},
		{"file", required_argument, NULL, 'f'},
		{"control", required_argument, NULL, 's'},
		{"no-reload", no_argument, NULL, 'n'},
		{"json", no_argument, NULL, 'j'},
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

	while ((option = getopt_long(argc, argv, "c:f:", options, NULL)) != -1) {
		switch (option) {
		case 'c': job->config_path = optarg; break;
		case 'f': job->path = optarg; break;
		case 's': job->control = optarg; break;
		case 'n': job->no_reload = true; break;
		case 'j': job->json = true; break;
		case EMAIL: job->wish.email = optarg; break;
		case TYPE: job->wish.type = optarg; break;
		case FLOW: job->wish.flow = optarg; break;
		case PROXY: job->wish.proxy = optarg; break;
		case DISABLED: job->wish.disabled = true; break;
		case STDIN: job->password_stdin = true; break;
		case NO_PASSWORD: job->no_password = true; break;
		default: return false;
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
	status = find_file(job);
	if (status)
		return status;
	if (found)
		return change(job, found);
	return argument_count ? show(job) : list(job);
}

int cv_cmd_user(int argc, char **argv)
{
	struct job job = {0};
	int status;

	if (!read_options(argc, argv, &job) || argc - optind < 1 || argc - optind > 3)
		return usage();
	if (argc - optind > 1)
		job.who = argv[optind + 1];
	if (argc - optind > 2)
		job.value = argv[optind + 2];
	job.result = json_object_new_object();
	status = run(&job, argv[optind], argc - optind - 1);
	json_object_put(job.result);
	cv_cleanse(job.password, sizeof(job.password));
	free(job.place.users_path);
	free(job.place.external_path);
	free(job.place.control_path);
	return status;
}
