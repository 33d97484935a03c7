// SPDX-License-Identifier: MIT
/* test_json_file.c - a database is whole for whoever reads it; one changes it at a time. */
#include "config/json_file.h"

#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static char directory[] = "/tmp/culvert-json-XXXXXX";
static char path[64], lock[72], new[72], link_path[64];

static int setup(void **state)
{
	(void)state;
	if (!mkdtemp(directory))
		return -1;
	snprintf(path, sizeof(path), "%s/db.json", directory);
	snprintf(lock, sizeof(lock), "%s.lock", path);
	snprintf(new, sizeof(new), "%s.new", path);
	snprintf(link_path, sizeof(link_path), "%s/link.json", directory);
	return 0;
}

static int clean(void **state)
{
	(void)state;
	(void)unlink(path);
	(void)unlink(lock);
	(void)unlink(new);
	(void)unlink(link_path);
	return 0;
}

static int teardown(void **state)
{
	(void)clean(state);
	return rmdir(directory);
}

static void put(const char *text, mode_t mode)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(chmod(path, mode), 0);
}

static void get(char text[512])
{
	FILE *file = fopen(path, "r");
	size_t len;

	assert_non_null(file);
	len = fread(text, 1, 511, file);
	text[len] = '\0';
	(void)fclose(file);
}

static mode_t mode_of(const char *name)
{
	struct stat status;

	assert_int_equal(stat(name, &status), 0);
	return status.st_mode & 0777;
}

static void change(const char *name, int value)
{
	struct cv_json_file file;

	assert_int_equal(cv_json_file_open(name, true, &file), 0);
	json_object_object_add(file.root, "n", json_object_new_int(value));
	assert_int_equal(cv_json_file_write(&file), 0);
	cv_json_file_close(&file);
}

static void test_new_file(void **state)
{
	struct cv_json_file file;
	char text[512];

	(void)state;
	assert_int_equal(cv_json_file_open(path, false, &file), -ENOENT);
	change(path, 1);
	get(text);
	assert_string_equal(text, "{\n  \"n\":1\n}\n");
	assert_int_equal(mode_of(path), 0600);
	assert_int_equal(mode_of(lock), 0600);
	assert_int_equal(access(new, F_OK), -1);
}

static void test_what_is_there_is_kept(void **state)
{
	char text[512];

	(void)state;
	put("{\"z\": 1.50, \"a\": [true, null], \"n\": 0, \"big\": 18446744073709551615,"
	    " \"u\": \"a/b \\u00e4\"}",
	    0600);
	change(path, 2);
	get(text);
	assert_non_null(strstr(text, "\"z\":1.50"));
	assert_non_null(strstr(text, "18446744073709551615"));
	assert_non_null(strstr(text, "a/b \xc3\xa4"));
	assert_true(strstr(text, "\"z\"") < strstr(text, "\"a\"") &&
		    strstr(text, "\"a\"") < strstr(text, "\"n\""));
}

static void test_modes(void **state)
{
	(void)state;
	put("{}", 0644);
	change(path, 1);
	assert_int_equal(mode_of(path), 0600);
	put("{}", 0640);
	change(path, 1);
	assert_int_equal(mode_of(path), 0640);
	put("{}", 0666);
	change(path, 1);
	assert_int_equal(mode_of(path), 0600);
}

/* The file behind a link is replaced, not the link. */
static void test_link(void **state)
{
	struct stat status;
	char text[512];

	(void)state;
	put("{}", 0600);
	assert_int_equal(symlink(path, link_path), 0);
	change(link_path, 7);
	assert_int_equal(lstat(link_path, &status), 0);
	assert_true(S_ISLNK(status.st_mode));
	get(text);
	assert_non_null(strstr(text, "\"n\":7"));
}

static void test_no_plain_json(void **state)
{
	static const char *const texts[] = {"", "{", "[]", "{} x", "{\"a\": 1 /* comment */}",
					    "{\"a\": 1} // comment", "null", "\"text\""};
	struct cv_json_file file;

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		char text[512];

		put(texts[i], 0600);
		assert_int_equal(cv_json_file_open(path, true, &file), -EBADMSG);
		assert_non_null(file.problem);
		get(text);
		assert_string_equal(text, texts[i]);
		assert_int_equal(cv_json_file_open(path, false, &file), -EBADMSG);
		cv_json_file_close(&file);
	}
}

/* What a killed program left beside the file, be it a link to somewhere else. */
static void test_leftover(void **state)
{
	struct stat status;

	(void)state;
	put("{}", 0600);
	assert_int_equal(symlink("/nonexistent/elsewhere", new), 0);
	change(path, 3);
	assert_int_equal(lstat(path, &status), 0);
	assert_true(S_ISREG(status.st_mode));
}

static int count_up(void)
{
	for (int i = 0; i < 50; i++) {
		struct json_object *n = NULL;
		struct cv_json_file file;

		if (cv_json_file_open(path, true, &file) != 0)
			return 1;
		(void)json_object_object_get_ex(file.root, "n", &n);
		json_object_object_add(file.root, "n",
				       json_object_new_int(json_object_get_int(n) + 1));
		if (cv_json_file_write(&file) != 0)
			return 1;
		cv_json_file_close(&file);
	}
	return 0;
}

/* No change is lost between programs. */
static void test_programs_at_once(void **state)
{
	char text[512];
	int status;

	(void)state;
	for (int i = 0; i < 4; i++) {
		const pid_t child = fork();

		assert_true(child >= 0);
		if (child == 0)
			_exit(count_up());
	}
	for (int i = 0; i < 4; i++) {
		assert_true(wait(&status) > 0);
		assert_int_equal(status, 0);
	}
	get(text);
	assert_non_null(strstr(text, "\"n\":200"));
}

/* Killed at any instant: the file is whole, and nobody is locked out afterwards. */
static void test_killed(void **state)
{
	(void)state;
	change(path, 0);
	for (int i = 0; i < 40; i++) {
		const struct timespec pause = {.tv_nsec = 100000 * (i % 20)};
		const pid_t child = fork();
		struct cv_json_file file;

		assert_true(child >= 0);
		if (child == 0)
			for (;;)
				(void)count_up();
		(void)nanosleep(&pause, NULL);
		assert_int_equal(kill(child, SIGKILL), 0);
		assert_int_equal(waitpid(child, NULL, 0), child);
		assert_int_equal(cv_json_file_open(path, false, &file), 0);
		assert_true(json_object_object_get_ex(file.root, "n", NULL));
		cv_json_file_close(&file);
	}
	change(path, 1);
	assert_int_equal(access(new, F_OK), -1);
}

#define TEST(name) cmocka_unit_test_teardown(name, clean)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_new_file),	 TEST(test_what_is_there_is_kept),
		TEST(test_modes),	 TEST(test_link),
		TEST(test_no_plain_json), TEST(test_leftover),
		TEST(test_programs_at_once), TEST(test_killed),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
