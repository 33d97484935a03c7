// SPDX-License-Identifier: MIT
/*
 * culvert_selftest_files.c - who may read what holds secrets, and whether the log holds any.
 *
 * Secrets and the files that hold them are found by their keys, wherever in the JSON they stand:
 * what the configuration names is looked at in the same way.
 */
#include "culvert_selftest.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define SECRET_MIN 8 /* shorter ones would be found in any text */
#define SEARCHED 256
#define LOG_TAIL_BYTES (64u << 20)
#define FILES_MAX 256

/* The first SEARCHED are looked for anywhere, the rest (people's ids) as words of their own. */
struct secrets {
	char *texts[SEARCHED];
	size_t count;
	struct json_object *words; /* all of them, as keys */
};

struct walk {
	struct cv_selftest *test;
	struct secrets *secrets;
	char *files[FILES_MAX]; /* that hold secrets, besides the configuration */
	size_t file_count;
};

static bool is_one_of(const char *key, const char *const *list)
{
	for (; *list; list++)
		if (strcasecmp(key, *list) == 0)
			return true;
	return false;
}

/* ---- what the JSON says ------------------------------------------------------------------- */

static void keep_secret(struct secrets *secrets, const char *text)
{
	if (strlen(text) < SECRET_MIN || json_object_object_get_ex(secrets->words, text, NULL))
		return;
	json_object_object_add(secrets->words, text, NULL);
	if (secrets->count == SEARCHED)
		return;
	secrets->texts[secrets->count] = strdup(text);
	secrets->count += secrets->texts[secrets->count] != NULL;
}

static void keep_file(struct walk *walk, const char *path)
{
	const char *slash = strrchr(walk->test->path, '/');
	char whole[PATH_MAX];

	if (!*path || walk->file_count == FILES_MAX)
		return;
	if (*path == '/' || !slash)
		(void)snprintf(whole, sizeof(whole), "%s", path);
	else
		(void)snprintf(whole, sizeof(whole), "%.*s/%s", (int)(slash - walk->test->path),
			       walk->test->path, path);
	for (size_t i = 0; i < walk->file_count; i++)
		if (strcmp(walk->files[i], whole) == 0)
			return;
	walk->files[walk->file_count] = strdup(whole);
	walk->file_count += walk->files[walk->file_count] != NULL;
}

static void walk_json(struct walk *walk, struct json_object *value);

static void walk_member(struct walk *walk, const char *key, struct json_object *value)
{
	static const char *const secret_keys[] = {"id",
						  "uuid",
						  "pass",
						  "password",
						  "socks_password",
						  "http_password",
						  "proxy_password",
						  "privateKey",
						  "mldsa65Seed",
						  "key",
						  NULL};
	static const char *const file_keys[] = {"usersFile", "externalProxyFile", "keyFile",
						"certificateFile", NULL};

	if (!json_object_is_type(value, json_type_string)) {
		walk_json(walk, value);
		return;
	}
	if (is_one_of(key, secret_keys))
		keep_secret(walk->secrets, json_object_get_string(value));
	if (is_one_of(key, file_keys))
		keep_file(walk, json_object_get_string(value));
}

static void walk_json(struct walk *walk, struct json_object *value)
{
	if (json_object_is_type(value, json_type_array)) {
		for (size_t i = 0; i < json_object_array_length(value); i++)
			walk_json(walk, json_object_array_get_idx(value, i));
	} else if (json_object_is_type(value, json_type_object)) {
		json_object_object_foreach(value, key, member)
		{
			walk_member(walk, key, member);
		}
	}
}

/* ---- permissions -------------------------------------------------------------------------- */

/* Certificates are for everybody, unless the key stands in the same file. */
static bool holds_key(const char *path)
{
	FILE *file = fopen(path, "re");
	bool found = false;
	char line[256];

	while (file && !found && fgets(line, sizeof(line), file))
		found = strstr(line, "PRIVATE KEY-----") != NULL;
	if (file)
		(void)fclose(file);
	return found;
}

static bool is_json_or_key(const char *path)
{
	const char *dot = strrchr(path, '.');

	return (dot && strcmp(dot, ".json") == 0) || holds_key(path);
}

static bool check_directory(struct cv_selftest *test, const char *path)
{
	const char *slash = strrchr(path, '/');
	char directory[PATH_MAX];
	struct stat status;

	(void)snprintf(directory, sizeof(directory), "%.*s", slash ? (int)(slash - path) : 1,
		       slash ? path : ".");
	if (stat(*directory ? directory : "/", &status) != 0)
		return true;
	if (!(status.st_mode & S_IWOTH) || status.st_mode & S_ISVTX)
		return true;
	cv_selftest_say(test, CV_VERDICT_FAIL, "permissions", directory,
			"anybody may replace files in it: chmod o-w it");
	return false;
}

static void check_file(struct cv_selftest *test, const char *path)
{
	struct stat status;

	if (stat(path, &status) != 0) {
		cv_selftest_say(test, CV_VERDICT_WARN, "permissions", path, "%s: not looked at",
				strerror(errno));
		return;
	}
	if (!check_directory(test, path))
		return;
	if (status.st_mode & S_IWOTH)
		cv_selftest_say(test, CV_VERDICT_FAIL, "permissions", path,
				"anybody may write it (%04o): chmod 0640 it",
				(unsigned)status.st_mode & 07777);
	else if (status.st_mode & S_IROTH)
		cv_selftest_say(test, CV_VERDICT_FAIL, "permissions", path,
				"holds secrets and anybody may read it (%04o): chmod 0640 it, and "
				"give it to culvertd's group",
				(unsigned)status.st_mode & 07777);
	else
		cv_selftest_say(test, CV_VERDICT_OK, "permissions", path, "%04o",
				(unsigned)status.st_mode & 07777);
}

/* ---- the log ------------------------------------------------------------------------------ */

static bool has_word(const struct secrets *secrets, char *line)
{
	static const char between[] = " \t\r\n\"'=,:;()[]{}<>@";
	char *rest = line, *word;

	while ((word = strtok_r(rest, between, &rest)) != NULL)
		if (json_object_object_get_ex(secrets->words, word, NULL))
			return true;
	return false;
}

static bool line_holds(const struct secrets *secrets, char *line)
{
	for (size_t i = 0; i < secrets->count; i++)
		if (strcasestr(line, secrets->texts[i]))
			return true;
	return has_word(secrets, line);
}

static void check_log(struct cv_selftest *test, const char *path, const struct secrets *secrets)
{
	FILE *file = fopen(path, "re");
	unsigned long number = 0, first = 0, found = 0;
	char *line = NULL;
	size_t room = 0;
	struct stat status;

	if (!file) {
		cv_selftest_say(test, CV_VERDICT_WARN, "log", path, "%s: not looked at",
				strerror(errno));
		return;
	}
	if (fstat(fileno(file), &status) == 0 && status.st_size > (off_t)LOG_TAIL_BYTES)
		(void)fseeko(file, -(off_t)LOG_TAIL_BYTES, SEEK_END);
	while (getline(&line, &room, file) > 0) {
		number++;
		if (!line_holds(secrets, line))
			continue;
		found++;
		first = first ? first : number;
	}
	free(line);
	(void)fclose(file);
	if (found)
		cv_selftest_say(test, CV_VERDICT_FAIL, "log", path,
				"a password, id or key of the configuration stands in line %lu and "
				"in %lu more: change it, and remove those lines",
				first, found - 1);
	else
		cv_selftest_say(test, CV_VERDICT_OK, "log", path,
				"%lu lines, and none of the %d secrets in them", number,
				json_object_object_length(secrets->words));
}

static bool is_file(const char *path)
{
	return *path && strcmp(path, "none") != 0;
}

static void check_logs(struct cv_selftest *test, const struct secrets *secrets)
{
	const struct cv_config *config = test->config;

	if (test->log_path)
		check_log(test, test->log_path, secrets);
	else if (is_file(config->log_error_path))
		check_log(test, config->log_error_path, secrets);
	else
		cv_selftest_say(test, CV_VERDICT_OK, "log", "",
				"goes to standard error (the journal) and was not read: --log FILE "
				"reads a copy of it");
	if (is_file(config->log_access_path) &&
	    strcmp(config->log_access_path, config->log_error_path) != 0)
		check_log(test, config->log_access_path, secrets);
}

/* ------------------------------------------------------------------------------------------- */

void cv_selftest_files(struct cv_selftest *test)
{
	struct secrets secrets = {.words = json_object_new_object()};
	struct walk walk = {.test = test, .secrets = &secrets};

	walk_json(&walk, test->root);
	check_file(test, test->path);
	for (size_t i = 0; i < walk.file_count; i++) {
		struct json_object *more;

		if (!is_json_or_key(walk.files[i]))
			continue;
		check_file(test, walk.files[i]);
		more = holds_key(walk.files[i]) ? NULL : cv_selftest_read_json(walk.files[i]);
		walk_json(&walk, more);
		json_object_put(more);
	}
	check_logs(test, &secrets);
	for (size_t i = 0; i < secrets.count; i++) {
		explicit_bzero(secrets.texts[i], strlen(secrets.texts[i]));
		free(secrets.texts[i]);
	}
	json_object_put(secrets.words);
	for (size_t i = 0; i < walk.file_count; i++)
		free(walk.files[i]);
}
