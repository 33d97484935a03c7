// SPDX-License-Identifier: MIT
/* test_log.c - line format, levels, hostile text, truncation, threads and reopening. */
#include "base/log.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define THREADS 4
#define LINES 500

static char directory[] = "/tmp/culvert-log-XXXXXX";
static char path[64];
static char text[THREADS * LINES * 128];

static void log_read(void)
{
	FILE *file = fopen(path, "r");

	assert_non_null(file);
	text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
	fclose(file);
}

static int log_start(void **state)
{
	(void)state;
	snprintf(path, sizeof(path), "%s/log", directory);
	unlink(path);
	return cv_log_open(path, CV_LOG_INFO);
}

static void test_line_format(void **state)
{
	unsigned int year, month, day, hour, minute, second, ms;
	char level[16];
	int end = 0;

	(void)state;
	errno = EBADMSG;
	cv_log(CV_LOG_WARNING, "%s %d", "seven", 7);
	assert_int_equal(errno, EBADMSG);
	log_read();
	assert_int_equal(sscanf(text, "%4u-%2u-%2uT%2u:%2u:%2u.%3uZ %15s %n", &year, &month, &day,
				&hour, &minute, &second, &ms, level, &end),
			 8);
	assert_true(year >= 2024 && month <= 12 && day <= 31 && hour < 24 && minute < 60);
	assert_string_equal(level, "warning");
	assert_string_equal(text + end, "seven 7\n");
}

static void test_levels(void **state)
{
	(void)state;
	assert_false(cv_log_wants(CV_LOG_DEBUG));
	assert_true(cv_log_wants(CV_LOG_INFO));
	assert_false(cv_log_wants(CV_LOG_NONE));
	cv_log(CV_LOG_DEBUG, "not seen");
	cv_log_debug("not seen");
	cv_log(CV_LOG_NONE, "not seen");
	log_read();
	assert_string_equal(text, "");
	assert_int_equal(cv_log_open(path, CV_LOG_NONE), 0);
	assert_false(cv_log_wants(CV_LOG_ERROR));
	cv_log(CV_LOG_ERROR, "not seen");
	log_read();
	assert_string_equal(text, "");
}

static void test_control_bytes_cannot_forge_lines(void **state)
{
	(void)state;
	cv_log(CV_LOG_INFO, "sni \"a\nb\r\033[31m\x7f\"");
	log_read();
	assert_non_null(strstr(text, "sni \"a?b??[31m?\"\n"));
	assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
}

static void test_long_line_is_cut(void **state)
{
	static char longer[5000];

	(void)state;
	memset(longer, 'x', sizeof(longer) - 1);
	cv_log(CV_LOG_INFO, "%s", longer);
	log_read();
	assert_int_equal(strlen(text), 2048);
	assert_int_equal(text[2047], '\n');
	assert_int_equal(text[2046], 'x');
}

static void *log_many(void *argument)
{
	for (int i = 0; i < LINES; i++)
		cv_log(CV_LOG_INFO, "thread %d line %d end", (int)(intptr_t)argument, i);
	return NULL;
}

static void test_threads_write_whole_lines(void **state)
{
	pthread_t threads[THREADS];
	int next[THREADS] = {0};

	(void)state;
	for (intptr_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, log_many, (void *)i), 0);
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	log_read();
	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
		int thread = -1;
		int number = -1;
		char end[8] = "";

		assert_int_equal(
			sscanf(line, "%*s info thread %d line %d %7s", &thread, &number, end), 3);
		assert_in_range(thread, 0, THREADS - 1);
		assert_int_equal(number, next[thread]++);
		assert_string_equal(end, "end");
	}
	for (size_t i = 0; i < THREADS; i++)
		assert_int_equal(next[i], LINES);
}

static void test_reopen_moves_to_the_new_file(void **state)
{
	char old[80];

	(void)state;
	snprintf(old, sizeof(old), "%s.1", path);
	cv_log(CV_LOG_INFO, "before");
	assert_int_equal(rename(path, old), 0);
	assert_int_equal(cv_log_open(path, CV_LOG_INFO), 0);
	cv_log(CV_LOG_INFO, "after");
	log_read();
	assert_null(strstr(text, "before"));
	assert_non_null(strstr(text, "info after\n"));
	unlink(old);
}

static void test_open_failure_keeps_the_old_log(void **state)
{
	(void)state;
	assert_int_equal(cv_log_open("/proc/nonexistent/log", CV_LOG_DEBUG), -ENOENT);
	assert_false(cv_log_wants(CV_LOG_DEBUG));
	cv_log(CV_LOG_INFO, "still here");
	log_read();
	assert_non_null(strstr(text, "still here\n"));
}

static int directory_make(void **state)
{
	(void)state;
	return mkdtemp(directory) ? 0 : -1;
}

static int directory_remove(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(directory);
}

/* The first of many lines is logged, the others are counted. */
static void test_pace(void **state)
{
	struct cv_log_pace pace = {0};
	uint64_t held_back = 7;

	(void)state;
	assert_true(cv_log_turn(&pace, &held_back));
	assert_int_equal(held_back, 0);
	for (int i = 0; i < 1000; i++)
		assert_false(cv_log_turn(&pace, &held_back));
	atomic_store(&pace.next_ms, 1); /* its time has come */
	assert_true(cv_log_turn(&pace, &held_back));
	assert_int_equal(held_back, 1000);
	assert_false(cv_log_turn(&pace, &held_back));
}

/* So many lines are logged, the others counted, and told of when the next time begins. */
static void test_some(void **state)
{
	struct cv_log_pace pace = {0};
	uint64_t held_back = 7;

	(void)state;
	for (int i = 0; i < 3; i++) {
		assert_true(cv_log_some(&pace, 3, &held_back));
		assert_int_equal(held_back, 0);
	}
	for (int i = 0; i < 100; i++)
		assert_false(cv_log_some(&pace, 3, &held_back));
	assert_int_equal(held_back, 0);
	atomic_store(&pace.next_ms, 1); /* its time has come */
	assert_true(cv_log_some(&pace, 3, &held_back));
	assert_int_equal(held_back, 100);
	assert_true(cv_log_some(&pace, 3, &held_back));
	assert_int_equal(held_back, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pace),
		cmocka_unit_test(test_some),
		cmocka_unit_test_setup(test_line_format, log_start),
		cmocka_unit_test_setup(test_levels, log_start),
		cmocka_unit_test_setup(test_control_bytes_cannot_forge_lines, log_start),
		cmocka_unit_test_setup(test_long_line_is_cut, log_start),
		cmocka_unit_test_setup(test_threads_write_whole_lines, log_start),
		cmocka_unit_test_setup(test_reopen_moves_to_the_new_file, log_start),
		cmocka_unit_test_setup(test_open_failure_keeps_the_old_log, log_start),
	};

	return cmocka_run_group_tests(tests, directory_make, directory_remove);
}
