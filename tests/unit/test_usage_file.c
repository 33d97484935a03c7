// SPDX-License-Identifier: MIT
/*
 * test_usage_file.c - quotas survive restarts, two daemons at once, periods, damage, a full disk.
 */
#include "control/usage_file.h"

#include "base/clock.h"
#include "base/log.h"

#include <culvert/reason.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define DAY_MS 86400000u

static char directory[64], path[96], log_path[96];

/* One daemon's view. */
struct view {
	struct cv_usage_table *usages;
	struct cv_usage *alice, *bob, *carol;
	struct cv_usage_file *file;
};

static void view_start(struct view *view, enum cv_quota_reset resets)
{
	const struct cv_limits limits = {.quota_bytes = 1000, .quota_resets = resets};
	const struct cv_limits none = {.max_sessions = 1};
	bool differ;

	*view = (struct view){.usages = cv_usage_table_new()};
	assert_non_null(view->usages);
	view->alice = cv_usage_join(view->usages, "alice@x", &limits, &differ);
	view->bob = cv_usage_join(view->usages, "bob@x", &limits, &differ);
	view->carol = cv_usage_join(view->usages, "carol@x", &none, &differ);
	assert_int_equal(cv_usage_file_start(directory, view->usages, &view->file), 0);
	assert_non_null(view->file);
}

static void view_stop(struct view *view)
{
	view->file = cv_usage_file_stop(view->file);
	view->usages = cv_usage_table_free(view->usages);
}

/* As after kill -9: nothing is written. */
static void view_forget(struct view *view)
{
	view->alice->moved_bytes[0] = view->alice->moved_bytes[1] = 0;
	view->bob->moved_bytes[0] = view->bob->moved_bytes[1] = 0;
	(void)unlink(path);
	view_stop(view);
}

static void move(struct cv_usage *usage, uint64_t up, uint64_t down)
{
	usage->moved_bytes[0] += up;
	usage->moved_bytes[1] += down;
}

static void expect_used(const struct cv_usage *usage, uint64_t up, uint64_t down)
{
	assert_int_equal(cv_usage_used(usage, 0), up);
	assert_int_equal(cv_usage_used(usage, 1), down);
}

static void sync_now(struct view *view)
{
	cv_usage_file_sync(view->file, cv_clock_wall_ms());
}

static void write_file(const char *text)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static char *read_whole(const char *name)
{
	static char text[65536];
	FILE *file = fopen(name, "r");
	size_t len = 0;

	if (file) {
		len = fread(text, 1, sizeof(text) - 1, file);
		(void)fclose(file);
	}
	text[len] = '\0';
	return text;
}

static unsigned count_files(const char *part)
{
	DIR *listing = opendir(directory);
	struct dirent *entry;
	unsigned count = 0;

	assert_non_null(listing);
	while ((entry = readdir(listing)) != NULL)
		count += strstr(entry->d_name, part) != NULL;
	(void)closedir(listing);
	return count;
}

static int set_up(void **state)
{
	(void)state;
	strcpy(directory, "/tmp/culvert-usage-XXXXXX");
	assert_non_null(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/usage.json", directory);
	snprintf(log_path, sizeof(log_path), "%s/log", directory);
	assert_int_equal(cv_log_open(log_path, CV_LOG_WARNING), 0);
	return 0;
}

static int clean_up(void **state)
{
	char command[128];

	(void)state;
	assert_int_equal(cv_log_open("", CV_LOG_NONE), 0);
	snprintf(command, sizeof(command), "rm -rf %s", directory);
	return system(command);
}

/* ---- restarts ----------------------------------------------------------------------------- */

static void test_restart(void **state)
{
	struct stat status;
	struct view view;

	(void)state;
	view_start(&view, CV_QUOTA_NEVER);
	expect_used(view.alice, 0, 0);
	assert_int_equal(count_files("usage.json"), 0); /* nothing to say yet */
	move(view.alice, 10, 200);
	move(view.carol, 5, 5);
	view_stop(&view);
	assert_int_equal(stat(path, &status), 0);
	assert_int_equal(status.st_mode & 0777, 0600);
	view_start(&view, CV_QUOTA_NEVER);
	expect_used(view.alice, 10, 200);
	expect_used(view.bob, 0, 0);
	expect_used(view.carol, 0, 0); /* without a quota */
	move(view.alice, 1, 2);
	expect_used(view.alice, 11, 202);
	view_stop(&view);
	view_start(&view, CV_QUOTA_NEVER);
	expect_used(view.alice, 11, 202);
	assert_null(strstr(read_whole(path), "carol"));
	assert_int_equal(count_files("new"), 0);
	view_stop(&view);
	assert_string_equal(read_whole(log_path), "");
}

static void test_nobody_has_a_quota(void **state)
{
	struct cv_usage_table *usages = cv_usage_table_new();
	const struct cv_limits none = {.max_sessions = 1};
	struct cv_usage_file *file = NULL;
	bool differ;

	(void)state;
	assert_non_null(cv_usage_join(usages, "alice", &none, &differ));
	assert_int_equal(cv_usage_file_start(directory, usages, &file), 0);
	assert_null(file);
	assert_int_equal(count_files("usage"), 0);
	cv_usage_table_free(usages);
}

/* The old one drains while the new one serves. */
static void test_two_daemons(void **state)
{
	struct view old, young;

	(void)state;
	view_start(&old, CV_QUOTA_NEVER);
	move(old.alice, 100, 0);
	sync_now(&old);
	view_start(&young, CV_QUOTA_NEVER);
	expect_used(young.alice, 100, 0);
	for (int i = 0; i < 5; i++) {
		move(old.alice, 10, 1);
		move(young.alice, 20, 2);
		sync_now(i % 2 ? &old : &young);
		sync_now(i % 2 ? &young : &old);
	}
	sync_now(&young); /* nothing moved here, but the other one wrote */
	sync_now(&old);
	expect_used(young.alice, 250, 15);
	expect_used(old.alice, 250, 15);
	move(old.alice, 7, 0);
	view_stop(&old);
	move(young.alice, 3, 0);
	view_stop(&young);
	view_start(&young, CV_QUOTA_NEVER);
	expect_used(young.alice, 260, 15);
	view_stop(&young);
}

static void test_killed(void **state)
{
	struct view view;

	(void)state;
	view_start(&view, CV_QUOTA_NEVER);
	move(view.alice, 50, 0);
	sync_now(&view);
	move(view.alice, 5, 0);
	assert_int_equal(rename(path, log_path), 0); /* what the disk has at this moment */
	view_forget(&view);
	assert_int_equal(rename(log_path, path), 0);
	write_file(read_whole(path));
	view_start(&view, CV_QUOTA_NEVER);
	expect_used(view.alice, 50, 0);
	view_stop(&view);
}

static void test_edited(void **state)
{
	struct view view;

	(void)state;
	view_start(&view, CV_QUOTA_NEVER);
	move(view.alice, 500, 500);
	move(view.bob, 1, 0);
	sync_now(&view);
	assert_int_equal(cv_usage_check(view.alice, 1), CV_POLICY_QUOTA);
	write_file("{\"version\": 1, \"users\": {\"alice@x\": {\"uplinkBytes\": 0, "
		   "\"downlinkBytes\": 9, \"periodStart\": 0, \"saved\": 1}, \"long-gone\": {"
		   "\"uplinkBytes\": 1, \"downlinkBytes\": 1, \"periodStart\": 0, \"saved\": 1},"
		   "\"zoe\": {\"uplinkBytes\": 1, "
		   "\"downlinkBytes\": 18446744073709551615, \"periodStart\": 0, \"saved\": "
		   "99999999999}}}");
	sync_now(&view);
	expect_used(view.alice, 0, 9);
	expect_used(view.bob, 0, 0); /* was taken out */
	assert_int_equal(cv_usage_check(view.alice, 1), 0);
	move(view.alice, 1, 0);
	view_stop(&view);
	assert_non_null(strstr(read_whole(path), "18446744073709551615")); /* not ours: kept */
	assert_null(strstr(read_whole(path), "bob"));
	assert_null(strstr(read_whole(path), "long-gone"));
}

/* ---- periods ------------------------------------------------------------------------------ */

static void test_periods(void **state)
{
	const uint64_t now_ms = cv_clock_wall_ms();
	struct view view;

	(void)state;
	view_start(&view, CV_QUOTA_DAILY);
	move(view.alice, 900, 200);
	cv_usage_file_sync(view.file, now_ms);
	assert_int_equal(cv_usage_check(view.alice, now_ms), CV_POLICY_QUOTA);
	cv_usage_file_sync(view.file, now_ms + DAY_MS); /* nothing moved, yet a day began */
	expect_used(view.alice, 0, 0);
	move(view.alice, 3, 0);
	cv_usage_file_sync(view.file, now_ms + DAY_MS);
	expect_used(view.alice, 3, 0);
	move(view.alice, 4, 0);
	cv_usage_file_sync(view.file, now_ms + 2ull * DAY_MS);
	expect_used(view.alice, 0, 0); /* up to one round counts for no day */
	move(view.alice, 5, 0);
	cv_usage_file_sync(view.file, now_ms + 2ull * DAY_MS);
	expect_used(view.alice, 5, 0);
	assert_non_null(strstr(read_whole(path), "\"uplinkBytes\":5"));
	view_forget(&view);
}

/* Of yesterday, read today; and of a shorter period that lies inside ours. */
static void test_period_of_the_file(void **state)
{
	const uint64_t today = cv_limits_period_ms(CV_QUOTA_DAILY, cv_clock_wall_ms()) / 1000;
	char text[512];
	struct view view;

	(void)state;
	snprintf(text, sizeof(text),
		 "{\"version\": 1, \"users\": {\"alice@x\": {\"uplinkBytes\": 7, "
		 "\"downlinkBytes\": 8, \"periodStart\": %ju, \"saved\": %ju}, \"bob@x\": {"
		 "\"uplinkBytes\": 9, \"downlinkBytes\": 0, \"periodStart\": %ju, "
		 "\"saved\": %ju}}}",
		 (uintmax_t)today - 86400, (uintmax_t)today, (uintmax_t)today, (uintmax_t)today);
	write_file(text);
	view_start(&view, CV_QUOTA_DAILY);
	expect_used(view.alice, 0, 0);
	expect_used(view.bob, 9, 0);
	view_stop(&view);
	write_file(text);
	view_start(&view, CV_QUOTA_NEVER);
	expect_used(view.alice, 7, 8);
	expect_used(view.bob, 9, 0);
	view_stop(&view);
}

/* ---- trouble ------------------------------------------------------------------------------ */

/* A reload makes daily quotas monthly ones, then quotas for good: what was used, was used. */
static void test_longer_period(void **state)
{
	const struct cv_limits limits[] = {
		{.quota_bytes = 1000, .quota_resets = CV_QUOTA_MONTHLY},
		{.quota_bytes = 1000, .quota_resets = CV_QUOTA_NEVER},
	};
	struct view view;
	bool differ;

	(void)state;
	view_start(&view, CV_QUOTA_DAILY);
	move(view.alice, 100, 10);
	sync_now(&view);
	for (size_t i = 0; i < 2; i++) {
		move(view.alice, 1, 2); /* in no file yet */
		cv_usage_table_begin(view.usages);
		(void)cv_usage_join(view.usages, "alice@x", &limits[i], &differ);
		cv_usage_table_commit(view.usages);
		cv_usage_file_reread(view.file);
		expect_used(view.alice, 101 + i, 12 + 2 * i);
	}
	view_stop(&view);
}

static void test_damaged(void **state)
{
	static const char *const texts[] = {
		"", "{", "[]", "{\"version\": 1}", "{\"version\": 1, \"users\": []}", "\1\2\3",
		"{\"version\": 1, \"users\": {\"alice@x\": 5}}",
		("{\"version\": 1, \"users\": {\"a\": {\"uplinkBytes\": -1, \"downlinkBytes\": 0,"
		 " \"periodStart\": 0, \"saved\": 0}}}"),
		"{\"version\": 1, \"users\": {}} and more"};
	struct view view;

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		write_file(texts[i]);
		view_start(&view, CV_QUOTA_NEVER);
		expect_used(view.alice, 0, 0);
		assert_int_equal(count_files("damaged"), 1);
		assert_non_null(strstr(read_whole(log_path), "not whole"));
		move(view.alice, 40, 2);
		sync_now(&view);
		write_file(texts[i]); /* while we run: nothing is forgotten */
		move(view.alice, 1, 0);
		sync_now(&view);
		expect_used(view.alice, 41, 2);
		view_stop(&view);
		view_start(&view, CV_QUOTA_NEVER);
		expect_used(view.alice, 41, 2);
		view_stop(&view);
		(void)clean_up(state);
		(void)set_up(state);
	}
}

static void test_later_version(void **state)
{
	static const char text[] = "{\"version\": 2, \"people\": []}";
	struct view view;

	(void)state;
	write_file(text);
	view_start(&view, CV_QUOTA_NEVER);
	move(view.alice, 40, 2);
	sync_now(&view);
	expect_used(view.alice, 40, 2);
	view_stop(&view);
	assert_string_equal(read_whole(path), text);
}

static unsigned count_lines(void)
{
	unsigned count = 0;

	for (const char *c = read_whole(log_path); *c; c++)
		count += *c == '\n';
	return count;
}

/* RLIMIT_FSIZE stands in for a full disk. */
static void test_disk_full(void **state)
{
	struct rlimit before, none;
	struct view view;

	(void)state;
	view_start(&view, CV_QUOTA_NEVER);
	move(view.alice, 10, 0);
	sync_now(&view);
	move(view.alice, 5, 0);
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	none = (struct rlimit){.rlim_cur = 10, .rlim_max = before.rlim_max};
	assert_int_equal(cv_log_open("", CV_LOG_NONE), 0); /* the log would be full as well */
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
	for (int i = 0; i < 3; i++)
		sync_now(&view);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	assert_int_equal(cv_log_open(log_path, CV_LOG_WARNING), 0);
	expect_used(view.alice, 15, 0);
	assert_non_null(strstr(read_whole(path), "\"uplinkBytes\":10"));
	assert_int_equal(count_files("new"), 0);
	sync_now(&view);
	assert_non_null(strstr(read_whole(path), "\"uplinkBytes\":15"));
	assert_non_null(strstr(read_whole(log_path), "written again"));
	view_stop(&view);
}

static void test_no_directory(void **state)
{
	struct view view;

	(void)state;
	strcat(directory, "/a/b"); /* only one level is made */
	view_start(&view, CV_QUOTA_NEVER);
	for (int i = 0; i < 3; i++) {
		move(view.alice, 10, 0);
		sync_now(&view);
	}
	expect_used(view.alice, 30, 0);
	view_stop(&view);
	directory[strlen(directory) - 4] = '\0';
	assert_int_equal(count_lines(), 1);
}

static void test_locked_by_somebody(void **state)
{
	char lock_path[96];
	struct view view;
	int fd;

	(void)state;
	view_start(&view, CV_QUOTA_NEVER);
	snprintf(lock_path, sizeof(lock_path), "%s/usage.lock", directory);
	fd = open(lock_path, O_RDWR);
	assert_int_equal(flock(fd, LOCK_EX), 0);
	move(view.alice, 10, 0);
	sync_now(&view); /* gives up after a second */
	expect_used(view.alice, 10, 0);
	assert_int_equal(count_files("usage.json"), 0);
	(void)close(fd);
	view_stop(&view);
	assert_non_null(strstr(read_whole(path), "\"uplinkBytes\":10"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_restart, set_up, clean_up),
		cmocka_unit_test_setup_teardown(test_nobody_has_a_quota, set_up, clean_up),
		cmocka_unit_test_setup_teardown(test_two_daemons, set_up, clean_up),
		cmocka_unit_test_setup_teardown(test_killed, set_up, clean_up),
		cmocka_unit_test_setup_teardown(test_edited, set_up, clean_up),
		cmocka_unit_test_setup_teardown(test_periods, set_up, clean_up),
		cmocka_unit_test_setup_teardown(test_period_of_the_file, set_up, clean_up),
		cmocka_unit_test_setup_teardown(test_longer_period, set_up, clean_up),
		cmocka_unit_test_setup_teardown(test_damaged, set_up, clean_up),
		cmocka_unit_test_setup_teardown(test_later_version, set_up, clean_up),
		cmocka_unit_test_setup_teardown(test_disk_full, set_up, clean_up),
		cmocka_unit_test_setup_teardown(test_no_directory, set_up, clean_up),
		cmocka_unit_test_setup_teardown(test_locked_by_somebody, set_up, clean_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
