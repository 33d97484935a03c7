// SPDX-License-Identifier: MIT
/*
 * test_engine.c - the three laws of a handover, for every engine.
 *
 *   client ==TCP== near [ up: near -> far ] far ==TCP== server
 *                       [down: far -> near]
 *
 * Every stream is a function of its position, so a byte lost, doubled or moved is seen where it
 * happens. One thread plays both ends between the turns of the ring.
 */
#include "engine_rig.h"

#include "base/clock.h"
#include "engine/pipe_pool.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- law 1: every byte, in order ---------------------------------------------------------- */

static void both_directions_arrive_whole(void **state)
{
	static const size_t limits[] = {1, 7, 1500, 100000};
	struct session session;
	struct rig rig;

	engine_rig_open(&rig, state);
	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		session_open(&rig, &session, (uint32_t)i);
		session.client.chunk_limit = limits[i];
		session.server.chunk_limit = limits[3 - i];
		session.client.wanted = limits[i] < 10 ? 20000 : 20000000;
		session.server.wanted = limits[3 - i] < 10 ? 20001 : 17000001;
		session.client.fin_wanted = session.server.fin_wanted = true;
		session_start(&session, state);
		play_until_ended(&rig, &session, 2);
		assert_all_arrived(&session);
		session_close(&rig, &session);
	}
	engine_rig_close(&rig);
}

static void queued_before_start_comes_first(void **state)
{
	struct session session;
	struct rig rig;

	engine_rig_open(&rig, state);
	session_open(&rig, &session, 3);
	session.client.wanted = session.server.wanted = 60000;
	session.server.fin_wanted = true; /* even the FIN is there already */
	end_send(&session.client, UINT64_MAX);
	end_send(&session.server, UINT64_MAX);
	assert_int_equal(session.client.sent, 60000);
	assert_true(session.server.fin_sent);
	session_start(&session, state);
	session.client.wanted = 400000;
	session.client.fin_wanted = true;
	play_until_ended(&rig, &session, 2);
	assert_all_arrived(&session);
	session_close(&rig, &session);
	engine_rig_close(&rig);
}

static void slow_reader_blocks_the_sender(void **state)
{
	const uint64_t much = 200000000;
	const int small = 65536;
	struct session session;
	uint64_t held;
	struct rig rig;

	engine_rig_open(&rig, state);
	session_open(&rig, &session, 4);
	assert_int_equal(
		setsockopt(session.server.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)), 0);
	assert_int_equal(setsockopt(session.far, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
	assert_int_equal(
		setsockopt(session.client.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
	assert_int_equal(setsockopt(session.near, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)), 0);
	session.client.wanted = much;
	session_start(&session, state);
	for (int i = 0; i < 300; i++) {
		end_send(&session.client, UINT64_MAX);
		turn(&rig);
	}
	held = session.client.sent;
	assert_true(held > 0);
	assert_true(held < 4000000); /* sockets' buffers and one pipe */
	for (int i = 0; i < 20; i++) {
		end_send(&session.client, UINT64_MAX);
		turn(&rig);
	}
	assert_int_equal(session.client.sent, held); /* blocked, not trickling into memory */
	session.client.wanted = held + 3000000;
	session.client.fin_wanted = session.server.fin_wanted = true;
	for (int i = 0; i < 200; i++) { /* still slow, then fast */
		end_send(&session.client, 20000);
		turn(&rig);
		end_receive(&session.server, 5000);
	}
	play_until_ended(&rig, &session, 2);
	assert_all_arrived(&session);
	session_close(&rig, &session);
	engine_rig_close(&rig);
}

static void many_flows_at_once(void **state)
{
	enum { SESSIONS = 250, BYTES = 150000 };
	struct session *sessions = calloc(SESSIONS, sizeof(*sessions));
	uint64_t end_ms = cv_clock_ms() + 3 * LIMIT_MS;
	struct rig rig;
	int ended = 0;

	assert_non_null(sessions);
	engine_rig_open(&rig, state);
	for (int i = 0; i < SESSIONS; i++) {
		session_open(&rig, &sessions[i], (uint32_t)i);
		sessions[i].client.wanted = BYTES + (uint64_t)i;
		sessions[i].server.wanted = BYTES - (uint64_t)i;
		sessions[i].client.fin_wanted = sessions[i].server.fin_wanted = true;
		session_start(&sessions[i], state);
	}
	while (ended < 2 * SESSIONS && cv_clock_ms() < end_ms) {
		ended = 0;
		for (int i = 0; i < SESSIONS; i++) {
			end_send(&sessions[i].client, 10000);
			end_send(&sessions[i].server, 10000);
		}
		turn(&rig);
		for (int i = 0; i < SESSIONS; i++) {
			end_receive(&sessions[i].client, 20000);
			end_receive(&sessions[i].server, 20000);
			ended += sessions[i].ended;
		}
	}
	for (int i = 0; i < SESSIONS; i++) {
		end_receive(&sessions[i].client, UINT64_MAX);
		end_receive(&sessions[i].server, UINT64_MAX);
		assert_all_arrived(&sessions[i]);
		session_close(&rig, &sessions[i]);
	}
	engine_rig_close(&rig);
	free(sessions);
}

/* Sinks that take nothing hold every pipe; the others must not notice. */
static void blocked_flows_hold_up_nobody(void **state)
{
	/* more than there are pipes; without pipes, what fits into a small machine */
	const struct variant *variant = *state;
	const int count = variant->engine == &cv_engine_splice ? PIPES + 10 : 6;
	struct session *blocked = calloc((size_t)count, sizeof(*blocked)), session;
	struct rig rig;

	assert_non_null(blocked);
	engine_rig_open(&rig, state);
	for (int i = 0; i < count; i++) {
		session_open(&rig, &blocked[i], (uint32_t)i);
		blocked[i].client.wanted = 50000000;
		session_start(&blocked[i], state);
	}
	for (int round = 0; round < 90; round++) {
		for (int i = 0; i < count; i++)
			end_send(&blocked[i].client, 1 << 17);
		turn(&rig);
	}
	session_open(&rig, &session, 99);
	session.client.wanted = session.server.wanted = 3000000;
	session.client.fin_wanted = session.server.fin_wanted = true;
	session_start(&session, state);
	play_until_ended(&rig, &session, 2);
	assert_all_arrived(&session);
	session_close(&rig, &session);
	for (int i = 0; i < count; i++)
		session_close(&rig, &blocked[i]);
	engine_rig_close(&rig);
	free(blocked);
}

/* ---- law 2: half-close -------------------------------------------------------------------- */

static void fin_leaves_the_other_direction_alive(void **state)
{
	for (int reverse = 0; reverse < 2; reverse++) {
		struct session session;
		struct end *first, *second;
		struct rig rig;

		engine_rig_open(&rig, state);
		session_open(&rig, &session, 5);
		first = reverse ? &session.server : &session.client;
		second = reverse ? &session.client : &session.server;
		first->wanted = 100000;
		first->fin_wanted = true;
		session_start(&session, state);
		play_until_ended(&rig, &session, 1);
		for (int i = 0; i < 5000 && !second->fin_seen; i++)
			play(&rig, &session);
		assert_true(second->fin_seen);
		assert_false(first->fin_seen);
		assert_int_equal(second->received, 100000);
		for (int part = 1; part <= 3; part++) {
			second->wanted = (uint64_t)part * 500000;
			play_until_received(&rig, &session, first, second->wanted);
			for (int i = 0; i < 20; i++)
				turn(&rig);
			assert_int_equal(session.ended, 1);
		}
		second->fin_wanted = true;
		play_until_ended(&rig, &session, 2);
		assert_all_arrived(&session);
		session_close(&rig, &session);
		engine_rig_close(&rig);
	}
}

/* ---- law 3: the count is live ------------------------------------------------------------- */

static void count_is_live(void **state)
{
	const struct variant *variant = *state;
	struct session session;
	struct rig rig;
	char text[128];

	engine_rig_open(&rig, state);
	session_open(&rig, &session, 6);
	session_start(&session, state);
	for (uint64_t total = 1; total < 200000; total = total * 3 + 1) {
		session.client.wanted = total;
		play_until_received(&rig, &session, &session.server, total);
		variant->engine->poll_progress(&session.up);
		assert_int_equal(session.up.moved_bytes, total);
		assert_in_range(session.up.last_move_ms, cv_clock_ms() - 1000, cv_clock_ms());
		assert_int_equal(session.down.moved_bytes, 0);
		assert_int_equal(session.ended, 0);
	}
	for (int i = 0; i < 5; i++)
		turn(&rig);
	assert_int_equal(cv_pipe_pool_used(rig.env.pipes), 0); /* idle flows hold none */
	assert_null(session.up.block);
	variant->engine->describe(&session.up, text, sizeof(text));
	assert_non_null(strstr(text, variant->engine->name));
	assert_non_null(strstr(text, "source"));
	session_close(&rig, &session);
	engine_rig_close(&rig);
}

/* ---- ends --------------------------------------------------------------------------------- */

/* What came before the reset is still delivered. */
static void source_reset_ends_after_its_bytes(void **state)
{
	struct session session;
	struct rig rig;

	engine_rig_open(&rig, state);
	session_open(&rig, &session, 7);
	session_start(&session, state);
	session.client.wanted = 30000;
	play_until_received(&rig, &session, &session.server, 30000);
	reset(&session.client);
	for (int i = 0; i < 1000 && session.up_result == none; i++)
		turn(&rig);
	assert_int_equal(session.up_result, -ECONNRESET);
	assert_int_equal(session.up.failed_side, CV_FLOW_SOURCE);
	assert_int_equal(session.server.received, 30000);
	assert_false(session.server.fin_seen);
	session_close(&rig, &session);
	engine_rig_close(&rig);
}

static void sink_reset_ends_a_writing_flow(void **state)
{
	uint64_t end_ms = cv_clock_ms() + LIMIT_MS;
	struct session session;
	struct rig rig;

	engine_rig_open(&rig, state);
	session_open(&rig, &session, 8);
	session.client.wanted = 1000000000;
	assert_int_equal(((const struct variant *)*state)->engine->start(&session.up), 0);
	session.ended++; /* only one direction here */
	session.down_result = 0;
	for (int i = 0; i < 20; i++)
		play(&rig, &session);
	reset(&session.server);
	while (session.up_result == none && cv_clock_ms() < end_ms) {
		end_send(&session.client, 1 << 18);
		turn(&rig);
	}
	assert_true(session.up_result == -EPIPE || session.up_result == -ECONNRESET);
	assert_int_equal(session.up.failed_side, CV_FLOW_SINK);
	session_close(&rig, &session);
	engine_rig_close(&rig);
}

/* The sink said FIN long ago and nothing is to be written: only a watch can tell that it is gone.
 */
static void sink_reset_ends_a_silent_flow(void **state)
{
	struct session session;
	struct rig rig;

	engine_rig_open(&rig, state);
	session_open(&rig, &session, 9);
	session.client.wanted = 1000;
	session.client.fin_wanted = true;
	session_start(&session, state);
	play_until_ended(&rig, &session, 1);
	for (int i = 0; i < 50; i++)
		turn(&rig);
	assert_int_equal(session.ended, 1);
	reset(&session.client);
	for (int i = 0; i < 1000 && session.ended < 2; i++)
		turn(&rig);
	assert_int_equal(session.down_result, -ECONNRESET);
	assert_int_equal(session.down.failed_side, CV_FLOW_SINK);
	session_close(&rig, &session);
	engine_rig_close(&rig);
}

static void block_up(struct rig *rig, struct session *session)
{
	uint64_t before, end_ms = cv_clock_ms() + LIMIT_MS;
	char text[128];

	session->client.wanted = 1000000000;
	do {
		before = session->client.sent;
		for (int i = 0; i < 30; i++) {
			end_send(&session->client, 1 << 20);
			turn(rig);
		}
		session->up.engine->describe(&session->up, text, sizeof(text));
	} while ((session->client.sent != before || !strstr(text, "waiting for sink")) &&
		 cv_clock_ms() < end_ms);
}

static void source_reset_ends_a_blocked_flow(void **state)
{
	struct session session;
	struct rig rig;
	char text[128];

	engine_rig_open(&rig, state);
	session_open(&rig, &session, 10);
	session_start(&session, state);
	block_up(&rig, &session);
	session.up.engine->describe(&session.up, text, sizeof(text));
	assert_non_null(strstr(text, "waiting for sink"));
	reset(&session.client);
	for (int i = 0; i < 1000 && session.up_result == none; i++)
		turn(&rig);
	assert_int_equal(session.up_result, -ECONNRESET);
	assert_int_equal(session.up.failed_side, CV_FLOW_SOURCE);
	session_close(&rig, &session);
	engine_rig_close(&rig);
}

/* Both FINs make a hang-up of the source; the bytes before its FIN still have to arrive. */
static void fins_of_both_are_no_death(void **state)
{
	struct session session;
	struct rig rig;

	engine_rig_open(&rig, state);
	session_open(&rig, &session, 11);
	session_start(&session, state);
	block_up(&rig, &session);
	session.client.wanted = session.client.sent;
	session.client.fin_wanted = session.server.fin_wanted = true;
	end_send(&session.client, 0);
	end_send(&session.server, 0);
	assert_true(session.client.fin_sent && session.server.fin_sent);
	for (int i = 0; i < 100; i++)
		turn(&rig);
	assert_int_equal(session.up_result, none);
	play_until_ended(&rig, &session, 2);
	assert_all_arrived(&session);
	session_close(&rig, &session);
	engine_rig_close(&rig);
}

static void stop_at_any_time(void **state)
{
	for (int when = 0; when < 40; when++) {
		struct session session;
		struct rig rig;

		engine_rig_open(&rig, state);
		session_open(&rig, &session, 12);
		session.client.wanted = session.server.wanted = 100000000;
		if (when % 4 == 1)
			end_send(&session.client, 1 << 18);
		session_start(&session, state);
		if (when % 4 == 2)
			block_up(&rig, &session);
		for (int i = 0; i < when / 4; i++)
			play(&rig, &session);
		if (session.up_result == none)
			session.up.engine->stop(&session.up);
		if (session.down_result == none)
			session.down.engine->stop(&session.down);
		session.down.engine->stop(&session.down); /* twice is once */
		for (int i = 0; i < 100 && session.ended < 2; i++)
			turn(&rig);
		assert_int_equal(session.up_result, -ECANCELED);
		assert_int_equal(session.down_result, -ECANCELED);
		session_close(&rig, &session);
		engine_rig_close(&rig);
	}
}

/* What a stopped flow had on its way must never reach another session. */
static void stopped_flows_leave_nothing_behind(void **state)
{
	struct rig rig;

	engine_rig_open(&rig, state);
	for (uint32_t i = 0; i < 6; i++) {
		struct session blocked, session;

		session_open(&rig, &blocked, 2 * i);
		session_start(&blocked, state);
		block_up(&rig, &blocked);
		session_close(&rig, &blocked);
		session_open(&rig, &session, 2 * i + 1);
		session.client.wanted = session.server.wanted = 300000;
		session.client.fin_wanted = session.server.fin_wanted = true;
		session_start(&session, state);
		play_until_ended(&rig, &session, 2);
		assert_all_arrived(&session);
		session_close(&rig, &session);
	}
	engine_rig_close(&rig);
}

/* ---- table ------------------------------------------------------------------------------- */

static void engines_are_found_by_name(void **state)
{
	(void)state;
	assert_ptr_equal(cv_engine_find("copy"), &cv_engine_copy);
	assert_ptr_equal(cv_engine_find("splice"), &cv_engine_splice);
	assert_ptr_equal(cv_engine_find("sockmap"), &cv_engine_sockmap);
	assert_null(cv_engine_find("sockmap "));
	assert_null(cv_engine_find(""));
}

static struct variant variants[] = {
	{&cv_engine_copy, PIPES},
	{&cv_engine_splice, PIPES},
	{&cv_engine_splice, 0}, /* as if all pipes were always taken */
	{&cv_engine_sockmap, PIPES},
};

#define EACH(test)                                                                                 \
	{#test ", copy", test, NULL, NULL, &variants[0]},                                          \
	{#test ", splice", test, NULL, NULL, &variants[1]},                                        \
	{#test ", sockmap", test, NULL, NULL, &variants[3]},                                       \
	{                                                                                          \
		#test ", splice without pipes", test, NULL, NULL, &variants[2]                     \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		EACH(both_directions_arrive_whole),
		EACH(queued_before_start_comes_first),
		EACH(slow_reader_blocks_the_sender),
		EACH(many_flows_at_once),
		EACH(blocked_flows_hold_up_nobody),
		EACH(fin_leaves_the_other_direction_alive),
		EACH(count_is_live),
		EACH(source_reset_ends_after_its_bytes),
		EACH(sink_reset_ends_a_writing_flow),
		EACH(sink_reset_ends_a_silent_flow),
		EACH(source_reset_ends_a_blocked_flow),
		EACH(fins_of_both_are_no_death),
		EACH(stop_at_any_time),
		EACH(stopped_flows_leave_nothing_behind),
		cmocka_unit_test(engines_are_found_by_name),
	};
	int failed;

	(void)signal(SIGPIPE, SIG_IGN);
	srand(11);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	engine_rig_done();
	return failed;
}
