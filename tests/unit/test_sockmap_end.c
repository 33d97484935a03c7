// SPDX-License-Identifier: MIT
/*
 * test_sockmap_end.c - FIN behind bytes that the program left to recv(2), both directions full.
 *
 *	server --> far's socket: [ redirected from near | passed for recv(2) ], FIN
 *	                           waits for the server    waits behind it
 *
 * Meanwhile recv(2) on far says "ended". Whoever believes that loses the passed bytes.
 */
#include "engine_rig.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/socket.h>

#include <cmocka.h>

#define CALM_TURNS 200

static struct variant sockmap = {&cv_engine_sockmap, 4};

/* Both ends send until nothing more is taken from them, nobody receives; then both say FIN. */
static void fill_both(struct rig *rig, struct session *session)
{
	uint64_t before = 0;

	session->client.wanted = session->server.wanted = 24u << 20;
	for (int calm = 0; calm < CALM_TURNS; calm++) {
		uint64_t sent;

		end_send(&session->client, 1 << 20);
		end_send(&session->server, 1 << 20);
		turn(rig);
		sent = session->client.sent + session->server.sent;
		if (sent != before)
			calm = 0;
		before = sent;
	}
	session->client.wanted = session->client.sent;
	session->server.wanted = session->server.sent;
	session->client.fin_wanted = session->server.fin_wanted = true;
	end_send(&session->client, 1);
	end_send(&session->server, 1);
	for (int turns = 0; turns < CALM_TURNS; turns++)
		turn(rig);
}

/* First the client alone receives: the downlink is flushed while far's own queue is full. */
static uint64_t received_downlink(void **state, uint64_t *ret_wanted)
{
	struct session session;
	uint64_t got;
	struct rig rig;

	engine_rig_open(&rig, state);
	session_open(&rig, &session, 11);
	session_start(&session, state);
	fill_both(&rig, &session);
	for (int turns = 0; turns < CALM_TURNS; turns++) {
		turn(&rig);
		end_receive(&session.client, UINT64_MAX);
	}
	play_until_ended(&rig, &session, 2);
	*ret_wanted = session.server.wanted;
	got = session.client.received;
	session_close(&rig, &session);
	engine_rig_close(&rig);
	return got;
}

static void passed_bytes_come_before_the_end(void **state)
{
	uint64_t wanted, got = received_downlink(state, &wanted);

	assert_int_equal(got, wanted);
}

#ifdef CV_MUTATIONS
static void the_rule_is_missed(void **state)
{
	uint64_t wanted, got;

	(void)engine_rig_kernel();
	assert_int_equal(setenv("CULVERT_MUTATION", "relay-end", 1), 0);
	got = received_downlink(state, &wanted);
	assert_int_equal(unsetenv("CULVERT_MUTATION"), 0);
	assert_true(got < wanted);
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_prestate(passed_bytes_come_before_the_end, &sockmap),
#ifdef CV_MUTATIONS
		cmocka_unit_test_prestate(the_rule_is_missed, &sockmap),
#endif
	};
	int failed;

	(void)signal(SIGPIPE, SIG_IGN);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	engine_rig_done();
	return failed;
}
