// SPDX-License-Identifier: MIT
/*
 * sockmap_verdict.c - the self-test of the sockmap engine in a thread, once per boot and kernel.
 *
 *   DIRECTORY/sockmap.selftest: "BOOT-ID RELEASE LAYOUT RESULT WHY" of the last test
 *	of this boot and kernel -> that is the verdict
 *	else, or unreadable     -> TESTING -> USABLE or FAILED, written there if it can be
 *
 * Only verdicts are kept. A test that could not be made (no memory, no loopback) says FAILED for
 * this process, and the next one tries again.
 */
#include "engine/sockmap_selftest.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mutation.h"

#include <culvert/relay.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#define KEY_BYTES 192

struct cv_sockmap_selftest {
	const struct cv_kernel *kernel;
	_Atomic int state; /* enum cv_sockmap_state */
	bool started;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t done;
	char path[PATH_MAX]; /* "" = not kept */
	char key[KEY_BYTES];
	char why[CV_SELFTEST_WHY];
};

/* ---- what is kept ------------------------------------------------------------------------- */

static int key_make(char key[KEY_BYTES])
{
	char boot[64] = "";
	struct utsname name;
	FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");

	if (file && fscanf(file, "%63s", boot) != 1)
		boot[0] = '\0';
	if (file)
		(void)fclose(file);
	if (!boot[0] || uname(&name) < 0)
		return -ENOENT;
	(void)snprintf(key, KEY_BYTES, "%s %s %d ", boot, name.release, CV_RELAY_VERSION);
	return 0;
}

/* 0 and the verdict, or -ENOENT. */
static int verdict_read(struct cv_sockmap_selftest *test, int *ret_result)
{
	char line[KEY_BYTES + CV_SELFTEST_WHY + 16] = "", *at, *end;
	FILE *file = test->path[0] ? fopen(test->path, "re") : NULL;
	size_t key_len = strlen(test->key);

	if (!file)
		return -ENOENT;
	at = fgets(line, sizeof(line), file);
	(void)fclose(file);
	if (!at || strncmp(line, test->key, key_len) != 0)
		return -ENOENT;
	line[strcspn(line, "\n")] = '\0';
	*ret_result = (int)strtol(line + key_len, &end, 10);
	if (end == line + key_len || (*ret_result != 0 && *ret_result != -EILSEQ))
		return -ENOENT;
	(void)snprintf(test->why, sizeof(test->why), "%.*s", CV_SELFTEST_WHY - 1,
		       *end ? end + 1 : "");
	return 0;
}

static void verdict_write(const struct cv_sockmap_selftest *test, int result)
{
	char path[PATH_MAX + 16];
	FILE *file;

	if (!test->path[0] || (result != 0 && result != -EILSEQ))
		return;
	(void)snprintf(path, sizeof(path), "%s.%d", test->path, (int)getpid());
	file = fopen(path, "we");
	if (!file)
		return;
	(void)fprintf(file, "%s%d %s\n", test->key, result, test->why);
	if (fclose(file) != 0 || rename(path, test->path) < 0)
		(void)unlink(path);
}

/* ---- thread ------------------------------------------------------------------------------- */

static void decide(struct cv_sockmap_selftest *test, int result)
{
	pthread_mutex_lock(&test->lock);
	atomic_store(&test->state, result == 0 ? CV_SOCKMAP_USABLE : CV_SOCKMAP_FAILED);
	pthread_cond_broadcast(&test->done);
	pthread_mutex_unlock(&test->lock);
}

static void *thread_main(void *opaque)
{
	struct cv_sockmap_selftest *test = opaque;
	int result = cv_sockmap_selftest_run(test->kernel, test->why);

	if (result)
		cv_log(CV_LOG_WARNING, "no sockmap: self-test: %s", test->why);
	else
		cv_log(CV_LOG_INFO, "sockmap: self-test passed");
	verdict_write(test, result);
	decide(test, result);
	return NULL;
}

static int thread_start(struct cv_sockmap_selftest *test)
{
	sigset_t all, before;
	int error;

	sigfillset(&all); /* signals are the main thread's */
	pthread_sigmask(SIG_SETMASK, &all, &before);
	error = pthread_create(&test->thread, NULL, thread_main, test);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	test->started = error == 0;
	return -error;
}

/* A test with a rule left out says nothing about the kernel. */
static bool may_keep(void)
{
	return cv_rule_holds("relay-limit") && cv_rule_holds("relay-fin") &&
	       cv_rule_holds("relay-close") && cv_rule_holds("relay-kick") &&
	       cv_rule_holds("relay-repeated");
}

int cv_sockmap_selftest_start(const struct cv_kernel *kernel, const char *directory,
			      struct cv_sockmap_selftest **ret_test)
{
	struct cv_sockmap_selftest *test = calloc(1, sizeof(*test));
	int result, error = 0;

	if (!test)
		return -ENOMEM;
	test->kernel = kernel;
	pthread_mutex_init(&test->lock, NULL);
	pthread_cond_init(&test->done, NULL);
	atomic_store(&test->state, CV_SOCKMAP_TESTING);
	if (may_keep() && key_make(test->key) == 0 &&
	    snprintf(test->path, sizeof(test->path), "%s/sockmap.selftest", directory) >=
		    (int)sizeof(test->path) - 16)
		test->path[0] = '\0';
	if (kernel->relay.error) {
		(void)snprintf(test->why, sizeof(test->why), "%.*s", CV_SELFTEST_WHY - 1,
			       kernel->relay.why);
		atomic_store(&test->state, CV_SOCKMAP_ABSENT);
	} else if (verdict_read(test, &result) == 0) {
		if (result)
			cv_log(CV_LOG_WARNING, "no sockmap: self-test of this boot: %s", test->why);
		decide(test, result);
	} else {
		if (test->path[0])
			(void)mkdir(directory, 0755);
		error = thread_start(test);
	}
	if (error)
		cv_sockmap_selftest_free(test);
	else
		*ret_test = test;
	return error;
}

enum cv_sockmap_state cv_sockmap_selftest_state(const struct cv_sockmap_selftest *test)
{
	return test ? (enum cv_sockmap_state)atomic_load(&test->state) : CV_SOCKMAP_ABSENT;
}

enum cv_sockmap_state cv_sockmap_selftest_wait(struct cv_sockmap_selftest *test, uint32_t wait_ms)
{
	uint64_t until_ms = cv_clock_ms() + wait_ms;
	const struct timespec until = {
		.tv_sec = (time_t)(until_ms / 1000),
		.tv_nsec = (long)(until_ms % 1000) * 1000000,
	};

	pthread_mutex_lock(&test->lock);
	while (atomic_load(&test->state) == CV_SOCKMAP_TESTING &&
	       pthread_cond_clockwait(&test->done, &test->lock, CLOCK_MONOTONIC, &until) == 0)
		;
	pthread_mutex_unlock(&test->lock);
	return cv_sockmap_selftest_state(test);
}

const char *cv_sockmap_selftest_why(const struct cv_sockmap_selftest *test)
{
	return cv_sockmap_selftest_state(test) == CV_SOCKMAP_TESTING ? "" : test->why;
}

struct cv_sockmap_selftest *cv_sockmap_selftest_free(struct cv_sockmap_selftest *test)
{
	if (!test)
		return NULL;
	if (test->started)
		pthread_join(test->thread, NULL);
	pthread_mutex_destroy(&test->lock);
	pthread_cond_destroy(&test->done);
	free(test);
	return NULL;
}
