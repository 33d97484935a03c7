// SPDX-License-Identifier: MIT
/*
 * culvert_proxy.c - `culvert proxy`: upstream proxies come, go and change in external_proxy.json.
 *
 *   lock -> read -> change in memory -> would the daemon take it? -> replace the file -> reload
 *
 * Passwords come by standard input, since a command line is no secret, and are never shown again.
 */
#include "culvert_proxy.h"

#include "culvert.h"
#include "culvert_ask.h"
#include "culvert_database.h"
#include "culvert_topics.h"
#include "culvert_user.h"

#include "crypto/crypto.h"

#include <culvert/reason.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define TRY_MS 10000
#define TRIES 3
#define PASSWORD_MAX 255

struct job {
	struct cv_database database;
	const char *users_path, *id;
	struct cv_proxy_wish wish;
	struct cv_proxy_trial trial;
	char password[PASSWORD_MAX + 2]; /* and a newline */
	bool password_stdin;
};

static int complain(const struct job *job, const char *what, const char *why)
{
	return cv_database_complain(&job->database, what, why);
}

static int find_file(struct job *job)
{
	const int status =
		cv_database_find(&job->database, &job->database.place.external_path,
				 "there is no culvert.externalProxyFile; give --file");

	if (!status && !job->users_path)
		job->users_path = job->database.place.users_path;
	return status;
}

static int open_file(const struct job *job, bool to_change, struct cv_json_file *file,
		     struct json_object **ret_proxies)
{
	return cv_database_open(&job->database, to_change, cv_proxies_array, file, ret_proxies);
}

static int check(const struct cv_database *database, const char *text, size_t len)
{
	const struct cv_config_report report = cv_database_report(database);
	struct cv_config *config = NULL;
	const int error = cv_external_load(database->path, text, len, &report, &config);

	cv_config_free(config);
	return error;
}

/* ---- changes ------------------------------------------------------------------------------ */

static int add(struct job *job, struct json_object *proxies, struct json_object *proxy)
{
	char error_text[CV_PROXY_ERROR_TEXT];
	struct json_object *id;

	(void)proxy;
	proxy = cv_proxies_add(proxies, &job->wish, error_text);
	if (!proxy)
		return complain(job, "", error_text);
	if (json_object_object_get_ex(proxy, "id", &id))
		cv_database_put(job->database.result, "proxy", json_object_get_string(id));
	return 0;
}

static int update(struct job *job, struct json_object *proxies, struct json_object *proxy)
{
	char error_text[CV_PROXY_ERROR_TEXT];

	(void)proxies;
	return cv_proxies_update(proxy, &job->wish, error_text) ? 0 : complain(job, "", error_text);
}

static int remove_proxy(struct job *job, struct json_object *proxies, struct json_object *proxy)
{
	char error_text[CV_PROXY_ERROR_TEXT];
	struct json_object *users = NULL;
	struct cv_json_file file = {.lock_fd = -1};
	size_t index = 0;
	int status = 0;

	(void)proxy;
	if (!job->users_path)
		return complain(job, "",
				"who has it cannot be told: give -c CONFIG or --users FILE");
	if (access(job->users_path, F_OK) == 0 &&
	    cv_json_file_open(job->users_path, false, &file) != 0)
		return complain(job, job->users_path, "cannot be read");
	if (file.root)
		users = cv_users_array(file.root);
	(void)cv_proxies_find(proxies, job->id, &index);
	if (!cv_proxies_remove(proxies, index, users, error_text))
		status = complain(job, job->id, error_text);
	if (file.root)
		cv_json_file_close(&file);
	return status;
}

static void set_enabled(struct json_object *object, bool enabled)
{
	json_object_object_add(object, "enabled", json_object_new_boolean(enabled));
}

static int enable(struct job *job, struct json_object *proxies, struct json_object *proxy)
{
	(void)job;
	(void)proxies;
	set_enabled(proxy, true);
	return 0;
}

static int disable(struct job *job, struct json_object *proxies, struct json_object *proxy)
{
	(void)job;
	(void)proxies;
	set_enabled(proxy, false);
	return 0;
}

static const struct command {
	const char *name;
	int least, most; /* arguments */
	int (*change)(struct job *job, struct json_object *proxies, struct json_object *proxy);
	const char *done;
} changes[] = {
	{"add", 3, 3, add, "added"},
	{"update", 1, 1, update, "changed"},
	{"remove", 1, 1, remove_proxy, "removed"},
	/* without an id: the whole file */
	{"enable", 0, 1, enable, "enabled"},
	{"disable", 0, 1, disable, "disabled"},
};

static int apply(struct job *job, const struct command *command, struct cv_json_file *file,
		 struct json_object *proxies)
{
	struct json_object *proxy = NULL;

	if (command->change == add)
		return add(job, proxies, NULL);
	if (job->id)
		proxy = cv_proxies_find(proxies, job->id, NULL);
	if (job->id && !proxy)
		return complain(job, job->id, "no proxy has this id");
	return command->change(job, proxies, proxy ? proxy : file->root);
}

static int change(struct job *job, const struct command *command)
{
	struct json_object *proxies, *result = job->database.result;
	struct cv_json_file file;
	int status = open_file(job, true, &file, &proxies);

	if (status)
		return status;
	if (job->id && command->change != add)
		cv_database_put(result, "proxy", job->id);
	status = apply(job, command, &file, proxies);
	if (!status)
		status = cv_database_save(&job->database, &file, check);
	cv_json_file_close(&file);
	if (status)
		return status;
	cv_database_put(result, "done", command->name);
	cv_database_put(result, "file", job->database.path);
	if (!job->database.json)
		printf("%s %s\n",
		       cv_member(result, "proxy")
			       ? json_object_get_string(cv_member(result, "proxy"))
			       : "all proxies",
		       command->done);
	status = cv_database_reload(&job->database);
	if (job->database.json)
		cv_database_print(result);
	return status;
}

/* ---- looking ------------------------------------------------------------------------------ */

static void test_cell(struct json_object *record, const char *key, char text[CV_CELL_MAX])
{
	struct json_object *result = cv_member(record, key);

	cv_text_cell(result, "status", text);
	if (cv_member(result, "latency_ms"))
		snprintf(text, CV_CELL_MAX, "success, %ju ms",
			 (uintmax_t)cv_member_u64(result, "latency_ms"));
}

static const struct cv_column list_columns[] = {
	{"PROXY", cv_text_cell, "id"},	       {"TYPE", cv_text_cell, "type"},
	{"ADDRESS", cv_text_cell, "address"},  {"PORT", cv_text_cell, "port"},
	{"ENABLED", cv_database_yes_cell, "enabled"}, {"FALLBACK", cv_text_cell, "fallback"},
	{"LAST TEST", test_cell, "test_result"},
};

static int list(struct job *job)
{
	return cv_database_list(&job->database, cv_proxies_array, cv_proxies_public, list_columns,
				sizeof(list_columns) / sizeof(list_columns[0]));
}

static int show(struct job *job)
{
	return cv_database_show(&job->database, cv_proxies_array, cv_proxies_find,
				cv_proxies_public, job->id, "no proxy has this id");
}

/* Of the running daemon, which also knows the proxies of its configuration. */
static int show_status(struct job *job)
{
	const char *control = job->database.control ? job->database.control : CV_DEFAULT_CONTROL;
	const struct cv_topic *topic = cv_topic_find("proxies");
	struct json_object *answer = cv_ask(control, topic->name);
	struct json_object *error = cv_member(answer, "error");
	int status = EXIT_SUCCESS;

	if (!answer)
		return EXIT_FAILURE;
	if (error)
		status = complain(job, "", json_object_get_string(error));
	else if (job->database.json)
		cv_database_print(answer);
	else
		cv_print_columns(stdout, cv_member(answer, "proxies"), topic->columns,
				 topic->column_count, 0);
	json_object_put(answer);
	return status;
}

/* ---- trying ------------------------------------------------------------------------------- */

static void put_time(struct json_object *result)
{
	const time_t now = time(NULL);
	char text[32] = "";
	struct tm parts;

	if (gmtime_r(&now, &parts))
		(void)strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts);
	cv_database_put(result, "timestamp", text);
}

/* The proxy may have changed meanwhile, or be gone; then there is nothing to remember. */
static void remember(const struct job *job, struct json_object *result)
{
	static const char *const keys[] = {"status", "latency_ms", "timestamp"};
	struct json_object *proxies, *proxy, *kept = json_object_new_object();
	struct cv_json_file file;

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		if (cv_member(result, keys[i]))
			json_object_object_add(kept, keys[i],
					       json_object_get(cv_member(result, keys[i])));
	if (open_file(job, true, &file, &proxies) != 0) {
		json_object_put(kept);
		return;
	}
	proxy = cv_proxies_find(proxies, job->id, NULL);
	if (proxy)
		json_object_object_add(proxy, "test_result", json_object_get(kept));
	if (proxy)
		(void)cv_database_save(&job->database, &file, check);
	cv_json_file_close(&file);
	json_object_put(kept);
}

static int try_loaded(struct job *job, const struct cv_config *config)
{
	const struct cv_outbound *outbound = cv_config_external(config, job->id);
	struct json_object *result = job->database.result;
	bool good;

	if (!outbound)
		return complain(job, job->id, "no proxy has this id");
	cv_database_put(result, "proxy", job->id);
	good = cv_proxy_try(outbound, &job->trial, result);
	put_time(result);
	remember(job, result);
	if (job->database.json)
		cv_database_print(result);
	else
		cv_print_record(stdout, result, 0);
	return good ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int try_proxy(struct job *job)
{
	const struct cv_config_report report = cv_database_report(&job->database);
	struct cv_config *config = NULL;
	struct json_object *proxies;
	struct cv_json_file file;
	int status = open_file(job, false, &file, &proxies);
	size_t len = 0;
	char *text = status ? NULL : cv_json_file_text(&file, &len);

	if (status)
		return status;
	cv_json_file_close(&file);
	if (!text || cv_external_load(job->database.path, text, len, &report, &config) != 0)
		status = complain(job, job->database.path, "cannot be used");
	else
		status = try_loaded(job, config);
	if (text)
		cv_cleanse(text, len);
	free(text);
	cv_config_free(config);
	return status;
}

/* ---- the command line --------------------------------------------------------------------- */

static int usage(void)
{
	fputs("usage: culvert proxy list [PLACE] [--json]\n"
	      "       culvert proxy show ID [PLACE] [--json]\n"
	      "       culvert proxy add socks5|socks5s|http|https ADDRESS PORT [--id ID]\n"
	      "                [--disabled] [SETTINGS] [PLACE] [--json]\n"
	      "       culvert proxy update ID [--type T] [--address A] [--port P] [SETTINGS] ...\n"
	      "       culvert proxy remove ID [--users USERS.JSON] [PLACE] [--json]\n"
	      "       culvert proxy enable | disable [ID] [PLACE] [--json]\n"
	      "       culvert proxy test ID [--http HOST:PORT|none] [--https HOST:PORT|none]\n"
	      "                [--ca FILE] [PLACE] [--json]\n"
	      "       culvert proxy status [--control PATH] [--json]\n"
	      "SETTINGS: [--user NAME --password-stdin] [--server-name NAME] [--ca-file FILE]\n"
	      "          [--allow-insecure yes|no] [--fallback direct|block]\n"
	      "PLACE: [-c CONFIG | --file EXTERNAL_PROXY.JSON] [--control PATH] [--no-reload]\n",
	      stderr);
	return CV_EXIT_USAGE;
}

enum { TYPE = 256, ADDRESS, PORT, ID, USER, STDIN, SERVER_NAME, CA_FILE, INSECURE, FALLBACK,
       DISABLED, USERS, HTTP, HTTPS, CA };

static bool read_setting(int option, struct job *job)
{
	switch (option) {
	case TYPE: job->wish.type = optarg; break;
	case ADDRESS: job->wish.address = optarg; break;
	case PORT: job->wish.port = optarg; break;
	case ID: job->wish.id = optarg; break;
	case USER: job->wish.user = optarg; break;
	case STDIN: job->password_stdin = true; break;
	case SERVER_NAME: job->wish.server_name = optarg; break;
	case CA_FILE: job->wish.ca_file = optarg; break;
	case INSECURE:
		job->wish.allow_insecure = strcmp(optarg, "yes") == 0;
		return job->wish.allow_insecure || strcmp(optarg, "no") == 0;
	case FALLBACK: job->wish.fallback = optarg; break;
	case DISABLED: job->wish.disabled = true; break;
	default: return false;
	}
	return true;
}

static bool read_options(int argc, char **argv, struct job *job)
{
	static const struct option options[] = {
		CV_DATABASE_OPTIONS,
		{"users", required_argument, NULL, USERS},
		{"http", required_argument, NULL, HTTP},
		{"https", required_argument, NULL, HTTPS},
		{"ca", required_argument, NULL, CA},
		{"type", required_argument, NULL, TYPE},
		{"address", required_argument, NULL, ADDRESS},
		{"port", required_argument, NULL, PORT},
		{"id", required_argument, NULL, ID},
		{"user", required_argument, NULL, USER},
		{"password-stdin", no_argument, NULL, STDIN},
		{"server-name", required_argument, NULL, SERVER_NAME},
		{"ca-file", required_argument, NULL, CA_FILE},
		{"allow-insecure", required_argument, NULL, INSECURE},
		{"fallback", required_argument, NULL, FALLBACK},
		{"disabled", no_argument, NULL, DISABLED},
		{NULL, 0, NULL, 0},
	};
	int option;

	while ((option = getopt_long(argc, argv, CV_DATABASE_SHORT, options, NULL)) != -1) {
		switch (option) {
		case USERS: job->users_path = optarg; break;
		case HTTP: job->trial.http = optarg; break;
		case HTTPS: job->trial.https = optarg; break;
		case CA: job->trial.ca_file = optarg; break;
		default:
			if (!cv_database_option(&job->database, option) &&
			    !read_setting(option, job))
				return false;
		}
	}
	return true;
}

static int read_password(struct job *job)
{
	if (!job->password_stdin)
		return 0;
	job->wish.password = job->password;
	return cv_database_password(&job->database, job->password, sizeof(job->password));
}

static const struct {
	const char *name;
	int argument_count;
	int (*run)(struct job *job);
} looks[] = {{"list", 0, list}, {"show", 1, show}, {"test", 1, try_proxy}};

static int run(struct job *job, const char *name, char **arguments, int count)
{
	int status;

	if (strcmp(name, "status") == 0 && count == 0) {
		status = job->database.config_path ? find_file(job) : 0;
		return status ? status : show_status(job);
	}
	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		if (strcmp(name, changes[i].name) != 0)
			continue;
		if (count < changes[i].least || count > changes[i].most)
			return usage();
		if (changes[i].change == add) {
			job->wish.type = arguments[0];
			job->wish.address = arguments[1];
			job->wish.port = arguments[2];
		} else if (count) {
			job->id = arguments[0];
		}
		status = find_file(job);
		if (!status)
			status = read_password(job);
		return status ? status : change(job, &changes[i]);
	}
	for (size_t i = 0; i < sizeof(looks) / sizeof(looks[0]); i++) {
		if (strcmp(name, looks[i].name) != 0 || count != looks[i].argument_count)
			continue;
		job->id = count ? arguments[0] : NULL;
		status = find_file(job);
		return status ? status : looks[i].run(job);
	}
	return usage();
}

int cv_cmd_proxy(int argc, char **argv)
{
	struct job job = {
		.database = {.command = "proxy", .records = "proxies", .says_warnings = true},
		.wish.allow_insecure = -1,
		.trial = {.http = "example.com:80", .https = "example.com:443",
			  .timeout_ms = TRY_MS, .tries = TRIES},
	};
	int status;

	if (!read_options(argc, argv, &job) || argc - optind < 1)
		return usage();
	cv_database_begin(&job.database);
	status = run(&job, argv[optind], argv + optind + 1, argc - optind - 1);
	cv_database_end(&job.database);
	cv_cleanse(job.password, sizeof(job.password));
	return status;
}
