// SPDX-License-Identifier: MIT
/*
 * test_sockmap.c - the self-test and what it notices; slots; the verdict that is kept.
 *
 * Mutations are tried where they are compiled in (the sanitizer builds): with a rule left out the
 * self-test must say that this kernel cannot be used.
 */
#include "engine/sockmap.h"

#include "base/clock.h"
#include "base/mutation.h"
#include "engine/sockmap_selftest.h"
#include "engine_rig.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static struct variant sockmap = {&cv_engine_sockmap, 4};

/* ---- self-test ---------------------------------------------------------------------------- */

static void this_kernel_keeps_the_rules(void **state)
{
	char why[CV_SELFTEST_WHY] = "?";
	uint64_t before_ms;

	(void)state;
	before_ms = cv_clock_ms();
	if (cv_sockmap_selftest_run(engine_rig_kernel(), why) != 0)
		fail_msg("%s", why);
	assert_string_equal(why, "");
	print_message("self-test: %llu ms\n", (unsigned long long)(cv_clock_ms() - before_ms));
}

#ifdef CV_MUTATIONS

static void notices(const char *rule)
{
	char why[CV_SELFTEST_WHY] = "";
	struct cv_kernel *kernel;
	int error;

	(void)engine_rig_kernel(); /* or skip */
	assert_int_equal(setenv("CULVERT_MUTATION", rule, 1), 0);
	assert_int_equal(cv_kernel_open(NULL, CV_KERNEL_LOAD_RELAY, &kernel), 0);
	error = cv_sockmap_selftest_run(kernel, why);
	assert_int_equal(unsetenv("CULVERT_MUTATION"), 0);
	cv_kernel_close(kernel);
	print_message("without %s: %s\n", rule, why);
	assert_int_equal(error, -EILSEQ);
}

static void the_limit_is_missed(void **state)
{
	(void)state;
	notices("relay-limit");
}

static void the_fin_rule_is_missed(void **state)
{
	(void)state;
	notices("relay-fin");
}

static void the_close_recipe_is_missed(void **state)
{
	(void)state;
	notices("relay-close");
}

#endif

/* ---- kick --------------------------------------------------------------------------------- */

static void *send_soon(void *opaque)
{
	struct end *end = opaque;
	uint8_t bytes[1000];

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = byte_at(i, end->send_seed);
	(void)usleep(30000);
	if (send(end->fd, bytes, sizeof(bytes), MSG_NOSIGNAL) == (ssize_t)sizeof(bytes))
		end->sent = sizeof(bytes);
	return NULL;
}

/* Bytes that come between the last recv and the insertion; without the rule the engine waits for
 * them there. Returns what arrived. */
static uint64_t received_over_the_gap(void **state)
{
	uint64_t end_ms, received;
	struct session session;
	pthread_t sender;
	struct rig rig;

	engine_rig_open(&rig, state);
	session_open(&rig, &session, 5);
	assert_int_equal(pthread_create(&sender, NULL, send_soon, &session.client), 0);
	assert_int_equal(cv_engine_sockmap.start(&session.up), 0);
	assert_int_equal(cv_engine_sockmap.start(&session.down), 0);
	pthread_join(sender, NULL);
	for (end_ms = cv_clock_ms() + 1000;
	     session.server.received < 1000 && cv_clock_ms() < end_ms;) {
		turn(&rig);
		end_receive(&session.server, UINT64_MAX);
	}
	received = session.server.received;
	session_close(&rig, &session);
	engine_rig_close(&rig);
	return received;
}

static void nothing_is_left_in_the_gap(void **state)
{
	assert_int_equal(received_over_the_gap(state), 1000);
}

#ifdef CV_MUTATIONS
static void the_kick_is_missed(void **state)
{
	uint64_t received;

	(void)engine_rig_kernel();
	assert_int_equal(setenv("CULVERT_MUTATION", "relay-kick", 1), 0);
	received = received_over_the_gap(state);
	assert_int_equal(unsetenv("CULVERT_MUTATION"), 0);
	assert_int_equal(received, 0);
}
#endif

/* ---- slots -------------------------------------------------------------------------------- */

static void slots_are_used_again_once_closed(void **state)
{
	enum { ROUNDS = 3 * CV_RELAY_CHUNK };
	uint32_t highest = 0;
	struct rig rig;

	engine_rig_open(&rig, state);
	for (uint32_t i = 0; i < ROUNDS; i++) {
		struct session session;

		session_open(&rig, &session, i);
		session.client.wanted = session.server.wanted = 100 + i;
		session.client.fin_wanted = session.server.fin_wanted = true;
		session_start(&session, state);
		if (session.up.slot > highest)
			highest = session.up.slot;
		assert_int_not_equal(session.up.slot, session.down.slot);
		play_until_ended(&rig, &session, 2);
		assert_all_arrived(&session);
		session_close(&rig, &session);
	}
	assert_true(highest < CV_RELAY_CHUNK); /* one chunk is enough for one session at a time */
	engine_rig_close(&rig);
}

/* Its sockets are still in their places: a live socket must not be taken out of a sockmap. */
static void slots_of_live_sockets_wait(void **state)
{
	enum { COUNT = CV_RELAY_CHUNK };
	struct session *sessions = calloc(COUNT, sizeof(*sessions)), last;
	struct rig rig;

	assert_non_null(sessions);
	engine_rig_open(&rig, state);
	for (uint32_t i = 0; i < COUNT; i++) {
		session_open(&rig, &sessions[i], i);
		session_start(&sessions[i], state);
		sessions[i].up.engine->stop(&sessions[i].up);
		sessions[i].down.engine->stop(&sessions[i].down);
	}
	for (int i = 0; i < 400 && cv_sockmap_used(rig.env.sockmap); i++)
		turn(&rig);
	assert_int_equal(cv_sockmap_used(rig.env.sockmap), 0);
	session_open(&rig, &last, COUNT);
	last.client.wanted = last.server.wanted = 100000;
	last.client.fin_wanted = last.server.fin_wanted = true;
	session_start(&last, state);
	play_until_ended(&rig, &last, 2);
	assert_all_arrived(&last);
	session_close(&rig, &last);
	for (uint32_t i = 0; i < COUNT; i++)
		session_close(&rig, &sessions[i]);
	engine_rig_close(&rig);
	free(sessions);
}

static struct cv_relay_chunk *chunks_map(const struct cv_kernel *kernel)
{
	void *memory = mmap(NULL, CV_RELAY_CHUNKS * sizeof(struct cv_relay_chunk),
			    PROT_READ | PROT_WRITE, MAP_SHARED, kernel->relay_chunks_fd, 0);

	assert_true(memory != MAP_FAILED);
	return memory;
}

/* Two daemons share the maps during a restart; a third one died in them. */
static void chunks_of_the_living_are_theirs(void **state)
{
	struct cv_relay_chunk *chunks = chunks_map(engine_rig_kernel());
	const pid_t living = fork();
	struct session session;
	struct rig rig;
	pid_t dead;

	if (living == 0) {
		chunks[0].owner = cv_sockmap_process();
		(void)pause();
		_exit(0);
	}
	dead = fork();
	if (dead == 0) {
		chunks[1].owner = cv_sockmap_process();
		_exit(0);
	}
	assert_int_equal(waitpid(dead, NULL, 0), dead);
	while (!__atomic_load_n(&chunks[0].owner, __ATOMIC_ACQUIRE))
		(void)usleep(1000);
	assert_int_not_equal(chunks[1].owner, 0);
	engine_rig_open(&rig, state);
	session_open(&rig, &session, 1);
	session_start(&session, state);
	assert_int_equal(session.up.slot / CV_RELAY_CHUNK, 1);
	assert_int_equal(chunks[1].owner, cv_sockmap_process());
	session_close(&rig, &session);
	engine_rig_close(&rig);
	assert_int_equal(chunks[1].owner, 0);
	assert_int_not_equal(chunks[0].owner, 0);
	assert_int_equal(kill(living, SIGKILL), 0);
	assert_int_equal(waitpid(living, NULL, 0), living);
	chunks[0].owner = 0;
	(void)munmap(chunks, CV_RELAY_CHUNKS * sizeof(*chunks));
}

/* ---- verdict ------------------------------------------------------------------------------ */

static void put_line(const char *path, const char *line)
{
	FILE *file = fopen(path, "we");

	assert_non_null(file);
	assert_true(fputs(line, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

/* @known: the test is not made again. */
static enum cv_sockmap_state verdict(const char *directory, bool known, char why[CV_SELFTEST_WHY])
{
	struct cv_sockmap_selftest *test;
	enum cv_sockmap_state verdict;

	assert_int_equal(cv_sockmap_selftest_start(engine_rig_kernel(), directory, &test), 0);
	assert_int_equal(cv_sockmap_selftest_state(test) != CV_SOCKMAP_TESTING, known);
	verdict = cv_sockmap_selftest_wait(test, 30000);
	(void)snprintf(why, CV_SELFTEST_WHY, "%s", cv_sockmap_selftest_why(test));
	cv_sockmap_selftest_free(test);
	return verdict;
}

static void a_verdict_holds_for_this_boot_and_kernel(void **state)
{
	char directory[] = "/tmp/culvert-selftest-XXXXXX", path[128], line[512], bad[640];
	char why[CV_SELFTEST_WHY], *result;
	FILE *file;

	(void)state;
	(void)engine_rig_kernel();
	assert_non_null(mkdtemp(directory));
	(void)snprintf(path, sizeof(path), "%s/sockmap.selftest", directory);
	assert_int_equal(verdict(directory, false, why), CV_SOCKMAP_USABLE);
	file = fopen(path, "re");
	assert_non_null(file);
	assert_non_null(fgets(line, sizeof(line), file));
	(void)fclose(file);
	assert_int_equal(verdict(directory, true, why), CV_SOCKMAP_USABLE);
	result = strstr(line, " 0 \n");
	assert_non_null(result);
	(void)snprintf(bad, sizeof(bad), "%.*s -84 FIN after 1 of 2 bytes\n", (int)(result - line),
		       line);
	put_line(path, bad);
	assert_int_equal(verdict(directory, true, why), CV_SOCKMAP_FAILED);
	assert_string_equal(why, "FIN after 1 of 2 bytes");
	bad[0] = bad[0] == 'f' ? 'e' : 'f'; /* of another boot */
	put_line(path, bad);
	assert_int_equal(verdict(directory, false, why), CV_SOCKMAP_USABLE);
	put_line(path, "\n");
	assert_int_equal(verdict(directory, false, why), CV_SOCKMAP_USABLE);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rmdir(directory), 0);
}

static void without_maps_it_is_absent(void **state)
{
	struct cv_sockmap_selftest *test;
	struct cv_kernel *kernel;

	(void)state;
	assert_int_equal(cv_kernel_open(NULL, CV_KERNEL_LOAD_NONE, &kernel), 0);
	assert_int_equal(cv_sockmap_selftest_start(kernel, "/nonexistent", &test), 0);
	assert_int_equal(cv_sockmap_selftest_state(test), CV_SOCKMAP_ABSENT);
	assert_true(cv_sockmap_selftest_why(test)[0] != '\0');
	cv_sockmap_selftest_free(test);
	cv_kernel_close(kernel);
	assert_int_equal(cv_sockmap_selftest_state(NULL), CV_SOCKMAP_ABSENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(this_kernel_keeps_the_rules),
#ifdef CV_MUTATIONS
		cmocka_unit_test(the_limit_is_missed),
		cmocka_unit_test(the_fin_rule_is_missed),
		cmocka_unit_test(the_close_recipe_is_missed),
		cmocka_unit_test_prestate(the_kick_is_missed, &sockmap),
#endif
		cmocka_unit_test_prestate(nothing_is_left_in_the_gap, &sockmap),
		cmocka_unit_test_prestate(slots_are_used_again_once_closed, &sockmap),
		cmocka_unit_test_prestate(slots_of_live_sockets_wait, &sockmap),
		cmocka_unit_test_prestate(chunks_of_the_living_are_theirs, &sockmap),
		cmocka_unit_test(a_verdict_holds_for_this_boot_and_kernel),
		cmocka_unit_test(without_maps_it_is_absent),
	};
	int failed;

	(void)signal(SIGPIPE, SIG_IGN);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	engine_rig_done();
	return failed;
}
