// SPDX-License-Identifier: MIT
/*
 * test_mappings.c - ports that outlive streams: who owns one, what is kept, for how long, and that
 * no descriptor is left behind.
 */
#include "session/mappings.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define NOW 1000000

static const struct cv_mapping_name alice = {.user = "alice", .global_id = "1"},
				    bob = {.user = "bob", .global_id = "1"};

static unsigned descriptors(void)
{
	DIR *directory = opendir("/proc/self/fd");
	unsigned count = 0;

	assert_non_null(directory);
	while (readdir(directory))
		count++;
	(void)closedir(directory);
	return count;
}

static int some_file(void)
{
	const int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static struct cv_mapping *take(const struct cv_mapping_name *name, uint64_t now_ms, bool has_socket)
{
	int fd = -2;
	struct cv_mapping *mapping = cv_mapping_take(name, now_ms, &fd);

	assert_non_null(mapping);
	assert_int_equal(fd >= 0, has_socket);
	if (fd >= 0)
		(void)close(fd);
	return mapping;
}

/* Whatever is kept, far in the future. */
static int sweep(void **state)
{
	(void)state;
	return cv_mappings_sweep(NOW * 100) == 0 ? 0 : -1;
}

static void test_kept_and_taken_again(void **state)
{
	const unsigned before = descriptors();
	struct cv_mapping *mapping = take(&alice, NOW, false);

	(void)state;
	cv_mapping_set(mapping, some_file());
	assert_true(cv_mapping_is_ours(mapping));
	assert_null(cv_mapping_leave(mapping, NOW));
	assert_int_equal(cv_mappings_sweep(NOW), CV_MAPPING_KEPT_MS);
	mapping = take(&alice, NOW + CV_MAPPING_KEPT_MS - 1, true);
	assert_int_equal(cv_mappings_sweep(NOW * 2), 0); /* it is in use */
	assert_true(cv_mapping_is_ours(mapping));
	cv_mapping_leave(mapping, NOW * 2);
	assert_int_equal(descriptors(), before + 1);
	assert_int_equal(cv_mappings_sweep(NOW * 2 + CV_MAPPING_KEPT_MS), 0);
	assert_int_equal(descriptors(), before);
}

static void test_time_is_over(void **state)
{
	const unsigned before = descriptors();
	struct cv_mapping *mapping = take(&alice, NOW, false);

	(void)state;
	cv_mapping_set(mapping, some_file());
	cv_mapping_leave(mapping, NOW);
	mapping = take(&alice, NOW + CV_MAPPING_KEPT_MS, false);
	cv_mapping_leave(mapping, NOW);
	assert_int_equal(descriptors(), before);
}

static void test_taken_over(void **state)
{
	const unsigned before = descriptors();
	struct cv_mapping *first = take(&alice, NOW, false), *second;

	(void)state;
	cv_mapping_set(first, some_file());
	second = take(&alice, NOW, true);
	assert_false(cv_mapping_is_ours(first));
	assert_true(cv_mapping_is_ours(second));
	cv_mapping_set(first, -1); /* has no say any more */
	cv_mapping_set(first, some_file());
	cv_mapping_leave(first, NOW);
	assert_int_equal(cv_mappings_sweep(NOW * 2), 0);
	cv_mapping_set(second, some_file()); /* another socket */
	assert_int_equal(descriptors(), before + 1);
	cv_mapping_set(second, -1); /* and none */
	assert_int_equal(descriptors(), before);
	cv_mapping_leave(second, NOW);
	cv_mapping_leave(take(&alice, NOW, false), NOW);
	assert_null(cv_mapping_leave(NULL, NOW));
}

static void test_names_are_the_users(void **state)
{
	struct cv_mapping *one = take(&alice, NOW, false), *other;

	(void)state;
	cv_mapping_set(one, some_file());
	other = take(&bob, NOW, false);
	assert_true(cv_mapping_is_ours(one) && cv_mapping_is_ours(other));
	cv_mapping_leave(one, NOW);
	cv_mapping_leave(other, NOW);
}

static void test_limit(void **state)
{
	static struct cv_mapping *all[CV_MAPPINGS_MAX];
	int fd;

	(void)state;
	for (size_t i = 0; i < CV_MAPPINGS_MAX; i++) {
		struct cv_mapping_name name = {.user = "many"};

		memcpy(name.global_id, &i, sizeof(i));
		all[i] = take(&name, NOW, false);
	}
	assert_null(cv_mapping_take(&alice, NOW, &fd));
	for (size_t i = 0; i < CV_MAPPINGS_MAX; i++)
		cv_mapping_leave(all[i], NOW);
	cv_mapping_leave(take(&alice, NOW, false), NOW);
}

/* Who names many keeps only so many, and keeps nobody else from it. */
static void test_kept_of_a_user(void **state)
{
	const unsigned before = descriptors();
	struct cv_mapping *mapping;
	struct cv_mapping_name name = {.user = "many"};

	(void)state;
	for (size_t i = 0; i < CV_MAPPINGS_KEPT_MAX + 5; i++) {
		memcpy(name.global_id, &i, sizeof(i));
		mapping = take(&name, NOW, false);
		cv_mapping_set(mapping, some_file());
		cv_mapping_leave(mapping, NOW);
	}
	assert_int_equal(descriptors(), before + CV_MAPPINGS_KEPT_MAX);
	mapping = take(&alice, NOW, false);
	cv_mapping_set(mapping, some_file());
	cv_mapping_leave(mapping, NOW);
	cv_mapping_leave(take(&alice, NOW, true), NOW);
	memset(name.global_id, 0, sizeof(name.global_id));
	cv_mapping_leave(take(&name, NOW, true), NOW);
	assert_int_equal(cv_mappings_sweep(NOW * 2), 0);
	assert_int_equal(descriptors(), before);
	mapping = take(&name, NOW, false);
	cv_mapping_set(mapping, some_file());
	cv_mapping_leave(mapping, NOW);
	cv_mapping_leave(take(&name, NOW, true), NOW); /* there is room again */
}

static void *take_often(void *unused)
{
	(void)unused;
	for (int i = 0; i < 2000; i++) {
		int fd = -1;
		struct cv_mapping *mapping = cv_mapping_take(&alice, NOW, &fd);

		if (fd < 0)
			cv_mapping_set(mapping, open("/dev/null", O_RDONLY | O_CLOEXEC));
		else
			(void)close(fd);
		cv_mapping_leave(mapping, NOW);
	}
	return NULL;
}

static void test_many_workers(void **state)
{
	const unsigned before = descriptors();
	pthread_t threads[4];

	(void)state;
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, take_often, NULL), 0);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(cv_mappings_sweep(NOW * 2), 0);
	assert_int_equal(descriptors(), before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_kept_and_taken_again, sweep),
		cmocka_unit_test_teardown(test_time_is_over, sweep),
		cmocka_unit_test_teardown(test_taken_over, sweep),
		cmocka_unit_test_teardown(test_names_are_the_users, sweep),
		cmocka_unit_test_teardown(test_limit, sweep),
		cmocka_unit_test_teardown(test_kept_of_a_user, sweep),
		cmocka_unit_test_teardown(test_many_workers, sweep),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
