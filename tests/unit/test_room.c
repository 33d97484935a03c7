// SPDX-License-Identifier: MIT
/*
 * test_room.c - who has to leave when slots run out, on a real worker.
 */
#include "session_stage.h"

#include "base/clock.h"
#include "base/reason.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define SILENT 200 /* many times the slots */

static void finish_socks(struct session_stage *stage, int client)
{
	const uint16_t port = cv_sockaddr_port(&stage->upstream_address);
	const uint8_t rest[] = {5, 1, 0, 1, 127, 0, 0, 1, (uint8_t)(port >> 8), (uint8_t)port};
	int upstream;

	stage_send(client, rest, sizeof(rest));
	upstream = stage_accept(stage);
	stage_expect(client, "\005\000\000\001\000\000\000\000\000\000", 10);
	(void)close(upstream);
	(void)close(client);
}

/* The listener's queue is short, and a SYN that it drops costs a second. */
static int dial_accepted(struct session_stage *stage, uint64_t accepted)
{
	const uint64_t until_ms = cv_clock_ms() + STAGE_WAIT_MS;
	const int client = stage_dial(stage);

	while (atomic_load(&stage->worker.counters.accepted) < accepted && cv_clock_ms() < until_ms)
		(void)usleep(1000);
	assert_int_equal(atomic_load(&stage->worker.counters.accepted), accepted);
	return client;
}

static int dial_and_begin(struct session_stage *stage)
{
	const int client = stage_dial(stage);

	stage_send(client, "\005\001\000", 3);
	stage_expect(client, "\005\000", 2);
	return client;
}

/* It came before all of them, and has spoken. */
static void test_silent_ones_go_first(void **state)
{
	struct session_stage stage;
	int client, silent[SILENT];

	(void)state;
	stage_init(&stage);
	stage_start(&stage, "copy");
	client = dial_and_begin(&stage);
	for (size_t i = 0; i < SILENT; i++)
		silent[i] = dial_accepted(&stage, i + 2);
	stage_expect_fin(silent[0]);
	finish_socks(&stage, client);
	assert_true(stage_reason(&stage, CV_POLICY_SESSION_LIMIT) >= SILENT - 64);
	for (size_t i = 0; i < SILENT; i++)
		(void)close(silent[i]);
	stage_done(&stage);
}

/* When there is nobody else the oldest of those who have spoken goes. */
static void test_then_those_who_dawdle(void **state)
{
	struct session_stage stage;
	int dawdlers[SILENT];

	(void)state;
	stage_init(&stage);
	stage_start(&stage, "copy");
	for (size_t i = 0; i < SILENT; i++) {
		dawdlers[i] = dial_accepted(&stage, i + 1);
		stage_send(dawdlers[i], "\005", 1);
	}
	stage_expect_fin(dawdlers[0]);
	finish_socks(&stage, dial_and_begin(&stage));
	for (size_t i = 0; i < SILENT; i++)
		(void)close(dawdlers[i]);
	stage_done(&stage);
}

/* The slots are nearly all users', and there are enough for those who come. */
static void test_two_newcomers_beside_users(void **state)
{
	struct session_stage stage;
	struct session_pair pairs[13];
	int newcomers[2];

	(void)state;
	stage_init(&stage);
	stage.config.daemon.max_sessions = 16;
	stage_start(&stage, "copy");
	for (size_t i = 0; i < 13; i++)
		pairs[i] = stage_open(&stage);
	newcomers[0] = dial_and_begin(&stage);
	newcomers[1] = dial_and_begin(&stage);
	for (size_t i = 0; i < 2; i++)
		finish_socks(&stage, newcomers[i]);
	assert_int_equal(stage_reason(&stage, CV_POLICY_SESSION_LIMIT), 0);
	for (size_t i = 0; i < 13; i++) {
		(void)close(pairs[i].client);
		(void)close(pairs[i].upstream);
	}
	stage_done(&stage);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_silent_ones_go_first),
		cmocka_unit_test(test_then_those_who_dawdle),
		cmocka_unit_test(test_two_newcomers_beside_users),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
