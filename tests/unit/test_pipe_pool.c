// SPDX-License-Identifier: MIT
/*
 * test_pipe_pool.c - the limits of the pool, and that dirty pipes never come back.
 */
#include "engine/pipe_pool.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

static size_t open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	size_t count = 0;

	assert_non_null(dir);
	while (readdir(dir))
		count++;
	(void)closedir(dir);
	return count;
}

static void pool_keeps_its_limits(void **state)
{
	struct cv_pipe_pool *pool = cv_pipe_pool_new(3, 2, 65536);
	size_t before = open_fds();
	struct cv_pipe *pipes[3];

	(void)state;
	assert_non_null(pool);
	for (int i = 0; i < 3; i++) {
		pipes[i] = cv_pipe_take(pool);
		assert_non_null(pipes[i]);
		assert_true(pipes[i]->size_bytes >= 65536);
	}
	assert_null(cv_pipe_take(pool));
	assert_int_equal(cv_pipe_pool_used(pool), 3);
	assert_int_equal(open_fds(), before + 6);
	cv_pipe_give(pool, pipes[0], 1); /* dirty: closed */
	assert_int_equal(open_fds(), before + 4);
	cv_pipe_give(pool, pipes[1], 0);
	cv_pipe_give(pool, pipes[2], 0);
	cv_pipe_give(pool, NULL, 0);
	assert_int_equal(cv_pipe_pool_used(pool), 0);
	assert_int_equal(open_fds(), before + 4);
	pipes[0] = cv_pipe_take(pool);
	assert_true(pipes[0] == pipes[1] || pipes[0] == pipes[2]);
	cv_pipe_give(pool, pipes[0], 0);
	assert_null(cv_pipe_pool_free(pool));
	assert_int_equal(open_fds(), before);
}

static void given_pipes_are_used_again(void **state)
{
	struct cv_pipe_pool *pool = cv_pipe_pool_new(100, 1, 1048576);
	struct cv_pipe *first, *second;

	(void)state;
	assert_non_null(pool);
	first = cv_pipe_take(pool);
	assert_non_null(first);
	for (int i = 0; i < 100; i++) {
		cv_pipe_give(pool, first, 0);
		second = cv_pipe_take(pool);
		assert_ptr_equal(second, first);
	}
	cv_pipe_give(pool, second, 0);
	cv_pipe_pool_free(pool);
}

static void the_first_pipes_are_the_largest(void **state)
{
	struct cv_pipe_pool *pool = cv_pipe_pool_new(100, 100, 1048576);
	struct cv_pipe *pipes[70], *last;

	(void)state;
	assert_non_null(pool);
	for (int i = 0; i < 70; i++)
		pipes[i] = cv_pipe_take(pool); /* NULL: this user's share is used up */
	for (int i = 0; i < 4; i++)
		assert_int_equal(pipes[i] ? pipes[i]->size_bytes : 1048576, 1048576);
	last = pipes[69];
	assert_true(!last || last->size_bytes == 262144);
	for (int i = 0; i < 70; i++)
		cv_pipe_give(pool, pipes[i], 0);
	cv_pipe_pool_free(pool);
}

static void out_of_descriptors_is_no_pipe(void **state)
{
	struct cv_pipe_pool *pool = cv_pipe_pool_new(100, 1, 65536);
	struct rlimit limit, tight;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	tight = limit;
	tight.rlim_cur = 3;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
	assert_null(cv_pipe_take(pool));
	assert_int_equal(cv_pipe_pool_used(pool), 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	cv_pipe_pool_free(pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pool_keeps_its_limits),
		cmocka_unit_test(given_pipes_are_used_again),
		cmocka_unit_test(the_first_pipes_are_the_largest),
		cmocka_unit_test(out_of_descriptors_is_no_pipe),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
