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
#include "culvert_table.h"
#include "culvert_topics.h"
#include "culvert_user.h"

#include "config/json_file.h"
#include "config/users_file.h"
#include "crypto/crypto.h"

#include <culvert/reason.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define DEFAULT_CONFIG "/etc/culvert/culvert.json"
#define TRY_MS 10000
#define TRIES 3
#define PASSWORD_MAX 255

struct job {
	const char *path, *config_path, *users_path, *control;
	const char *id;
	struct cv_proxy_wish wish;
	struct cv_proxy_trial trial;
	char password[PASSWORD_MAX + 2]; /* and a newline */
	bool json, no_reload, password_stdin;
	struct cv_users_place place;
	struct json_object *result; /* what --json prints */
};

/* ---- output ------------------------------------------------------------------------------- */

static int complain(const char *what, const char *why)
{
	fprintf(stderr, "culvert proxy: %s%s%s\n", what, *what ? ": " : "", why);
	return EXIT_FAILURE;
}

static void print_finding(void *context, bool is_error, const char *text)
{
	(void)context;
	fprintf(stderr, "culvert proxy: %s%s\n", is_error ? "" : "warning: ", text);
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

static int find_file(struct job *job)
{
	const char *config = job->config_path ? job->config_path : DEFAULT_CONFIG;
	int error;

	if (job->path && !job->config_path)
		return 0;
	error = cv_users_place(config, &report, &job->place);
	if (error > -2000 && error < 0)
		(void)complain(config, strerror(-error));
	if (error)
		return CV_EXIT_USAGE;
	if (!job->path)
		job->path = job->place.external_path;
	if (!job->users_path)
		job->users_path = job->place.users_path;
	if (!job->control)
		job->control = job->place.control_path;
	if (job->path)
		return 0;
	(void)complain(config, "there is no culvert.externalProxyFile; give --file");
	return CV_EXIT_USAGE;
}

static int open_file(const struct job *job, bool to_change, struct cv_json_file *file,
		     struct json_object **ret_proxies)
{
	const int error = cv_json_file_open(job->path, to_change, file);

	if (error)
		return complain(job->path, error == -EBADMSG ? file->problem
					   : error == -EBUSY ? "somebody else keeps it locked"
							     : strerror(-error));
	*ret_proxies = cv_proxies_array(file->root);
	if (*ret_proxies)
		return 0;
	cv_json_file_close(file);
	return complain(job->path, "proxies: expected a list of proxies");
}

/* What the daemon would not take is not written. */
static int save(const struct job *job, const struct cv_json_file *file)
{
	struct cv_config *config = NULL;
	size_t len;
	char *text = cv_json_file_text(file, &len);
	int error = text ? cv_external_load(job->path, text, len, &report, &config) : -ENOMEM;

	cv_config_free(config);
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
		status = complain("the daemon goes on with the former proxies",
				  answer ? json_object_get_string(error) : "no answer");
	put_text(job->result, "reloaded", status ? "failed" : "yes");
	json_object_put(answer);
	return status;
}

/* ---- changes ------------------------------------------------------------------------------ */

static int add(struct job *job, struct json_object *proxies, struct json_object *proxy)
{
	char error_text[CV_PROXY_ERROR_TEXT];
	struct json_object *id;

	(void)proxy;
	proxy = cv_proxies_add(proxies, &job->wish, error_text);
	if (!proxy)
		return complain("", error_text);
	if (json_object_object_get_ex(proxy, "id", &id))
		put_text(job->result, "proxy", json_object_get_string(id));
	return 0;
}

static int update(struct job *job, struct json_object *proxies, struct json_object *proxy)
{
	char error_text[CV_PROXY_ERROR_TEXT];

	(void)proxies;
	return cv_proxies_update(proxy, &job->wish, error_text) ? 0 : complain("", error_text);
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
		return complain("", "who has it cannot be told: give -c CONFIG or --users FILE");
	if (access(job->users_path, F_OK) == 0 &&
	    cv_json_file_open(job->users_path, false, &file) != 0)
		return complain(job->users_path, "cannot be read");
	if (file.root)
		users = cv_users_array(file.root);
	(void)cv_proxies_find(proxies, job->id, &index);
	if (!cv_proxies_remove(proxies, index, users, error_text))
		status = complain(job->id, error_text);
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
		return complain(job->id, "no proxy has this id");
	return command->change(job, proxies, proxy ? proxy : file->root);
}

static int change(struct job *job, const struct command *command)
{
	struct json_object *proxies, *id;
	struct cv_json_file file;
	int status = open_file(job, true, &file, &proxies);

	if (status)
		return status;
	if (job->id && command->change != add)
		put_text(job->result, "proxy", job->id);
	status = apply(job, command, &file, proxies);
	if (!status)
		status = save(job, &file);
	cv_json_file_close(&file);
	if (status)
		return status;
	put_text(job->result, "done", command->name);
	put_text(job->result, "file", job->path);
	if (!job->json)
		printf("%s %s\n",
		       json_object_object_get_ex(job->result, "proxy", &id)
			       ? json_object_get_string(id)
			       : "all proxies",
		       command->done);
	status = reload(job);
	if (job->json)
		print_json(job->result);
	return status;
}

/* ---- looking ------------------------------------------------------------------------------ */

static void yes_cell(struct json_object *record, const char *key, char text[CV_CELL_MAX])
{
	struct json_object *value = cv_member(record, key);

	snprintf(text, CV_CELL_MAX, "%s", value && !json_object_get_boolean(value) ? "no" : "yes");
}

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
	{"ENABLED", yes_cell, "enabled"},      {"FALLBACK", cv_text_cell, "fallback"},
	{"LAST TEST", test_cell, "test_result"},
};

static int list(struct job *job)
{
	struct json_object *proxies, *shown = json_object_new_array();
	struct cv_json_file file;
	const int status = open_file(job, false, &file, &proxies);

	for (size_t i = 0; !status && i < json_object_array_length(proxies); i++) {
		struct json_object *proxy = json_object_array_get_idx(proxies, i);

		if (json_object_is_type(proxy, json_type_object))
			json_object_array_add(shown, cv_proxies_public(proxy));
	}
	if (!status && job->json) {
		json_object_object_add(job->result, "proxies", json_object_get(shown));
		print_json(job->result);
	} else if (!status) {
		cv_print_columns(stdout, shown, list_columns,
				 sizeof(list_columns) / sizeof(list_columns[0]), 0);
	}
	json_object_put(shown);
	if (!status)
		cv_json_file_close(&file);
	return status;
}

static int show(struct job *job)
{
	struct json_object *proxies, *proxy, *shown;
	struct cv_json_file file;
	int status = open_file(job, false, &file, &proxies);

	if (status)
		return status;
	proxy = cv_proxies_find(proxies, job->id, NULL);
	shown = proxy ? cv_proxies_public(proxy) : NULL;
	cv_json_file_close(&file);
	if (!shown)
		return complain(job->id, "no proxy has this id");
	if (job->json)
		print_json(shown);
	else
		cv_print_record(stdout, shown, 0);
	json_object_put(shown);
	return EXIT_SUCCESS;
}

/* Of the running daemon, which also knows the proxies of its configuration. */
static int show_status(struct job *job)
{
	const char *control = job->control ? job->control : CV_DEFAULT_CONTROL;
	const struct cv_topic *topic = cv_topic_find("proxies");
	struct json_object *answer = cv_ask(control, topic->name);
	struct json_object *error = cv_member(answer, "error");
	int status = EXIT_SUCCESS;

	if (!answer)
		return EXIT_FAILURE;
	if (error)
		status = complain("", json_object_get_string(error));
	else if (job->json)
		print_json(answer);
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
	put_text(result, "timestamp", text);
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
		(void)save(job, &file);
	cv_json_file_close(&file);
	json_object_put(kept);
}

static int try_loaded(struct job *job, const struct cv_config *config)
{
	const struct cv_outbound *outbound = cv_config_external(config, job->id);
	bool good;

	if (!outbound)
		return complain(job->id, "no proxy has this id");
	put_text(job->result, "proxy", job->id);
	good = cv_proxy_try(outbound, &job->trial, job->result);
	put_time(job->result);
	remember(job, job->result);
	if (job->json)
		print_json(job->result);
	else
		cv_print_record(stdout, job->result, 0);
	return good ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int try_proxy(struct job *job)
{
	struct cv_config *config = NULL;
	struct json_object *proxies;
	struct cv_json_file file;
	int status = open_file(job, false, &file, &proxies);
	size_t len = 0;
	char *text = status ? NULL : cv_json_file_text(&file, &len);

	if (status)
		return status;
	cv_json_file_close(&file);
	if (!text || cv_external_load(job->path, text, len, &report, &config) != 0)
		status = complain(job->path, "cannot be used");
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
		{"config", required_argument, NULL, 'c'},
		{"file", required_argument, NULL, 'f'},
		{"control", required_argument, NULL, 's'},
		{"no-reload", no_argument, NULL, 'n'},
		{"json", no_argument, NULL, 'j'},
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

	while ((option = getopt_long(argc, argv, "c:f:", options, NULL)) != -1) {
		switch (option) {
		case 'c': job->config_path = optarg; break;
		case 'f': job->path = optarg; break;
		case 's': job->control = optarg; break;
		case 'n': job->no_reload = true; break;
		case 'j': job->json = true; break;
		case USERS: job->users_path = optarg; break;
		case HTTP: job->trial.http = optarg; break;
		case HTTPS: job->trial.https = optarg; break;
		case CA: job->trial.ca_file = optarg; break;
		default:
			if (!read_setting(option, job))
				return false;
		}
	}
	return true;
}

static int read_password(struct job *job)
{
	if (!job->password_stdin)
		return 0;
	if (!fgets(job->password, sizeof(job->password), stdin))
		return complain("standard input", "no password");
	job->password[strcspn(job->password, "\r\n")] = '\0';
	if (!job->password[0] || strlen(job->password) > PASSWORD_MAX)
		return complain("standard input", "expected a password of 1 to 255 bytes");
	job->wish.password = job->password;
	return 0;
}

static const struct {
	const char *name;
	int argument_count;
	int (*run)(struct job *job);
} looks[] = {{"list", 0, list}, {"show", 1, show}, {"test", 1, try_proxy}};

static int run(struct job *job, const char *name, char **arguments, int count)
{
	int status;

	if (strcmp(name, "status") == 0 && count == 0)
		return job->config_path && (status = find_file(job)) ? status : show_status(job);
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
		.wish.allow_insecure = -1,
		.trial = {.http = "example.com:80", .https = "example.com:443",
			  .timeout_ms = TRY_MS, .tries = TRIES},
	};
	int status;

	if (!read_options(argc, argv, &job) || argc - optind < 1)
		return usage();
	job.result = json_object_new_object();
	status = run(&job, argv[optind], argv + optind + 1, argc - optind - 1);
	json_object_put(job.result);
	cv_cleanse(job.password, sizeof(job.password));
	free(job.place.users_path);
	free(job.place.external_path);
	free(job.place.control_path);
	return status;
}
