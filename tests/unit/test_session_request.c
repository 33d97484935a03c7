// SPDX-License-Identifier: MIT
/*
 * test_session_request.c - a plain VLESS inbound on a real worker: the request in pieces, who is
 * refused, and fallbacks that get every byte that was read.
 */
#include "session_stage.h"

#include "base/reason.h"
#include "policy/user.h"
#include "ring/listen.h"
#include "session/session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static char nothing[] = "";
static const char http[] = "GET /index.html HTTP/1.1\r\n", more[] = "Host: a.example\r\n\r\n";

struct play {
	struct session_stage stage;
	struct cv_fallback fallback;
	int client, upstream;
};

static void pause_ms(long ms)
{
	const struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

	(void)nanosleep(&pause, NULL);
}

static void play_init(struct play *play, int xver)
{
	struct cv_user users[2] = {
		{.uuid = {1},
		 .name = nothing,
		 .email = nothing,
		 .password = nothing,
		 .enabled = true},
		{.uuid = {2}, .name = nothing, .email = nothing, .password = nothing},
	};
	struct cv_inbound *inbound = &play->stage.inbound;

	memset(play, 0, sizeof(*play));
	stage_init(&play->stage);
	inbound->protocol = CV_INBOUND_VLESS;
	inbound->users = cv_user_table_new(users, 2);
	assert_non_null(inbound->users);
	play->fallback = (struct cv_fallback){
		.name = nothing, .alpn = nothing, .path = nothing, .xver = xver};
	assert_true(cv_sockaddr_to_destination(&play->stage.upstream_address,
					       &play->fallback.destination));
}

static void play_start(struct play *play, const char *engine, bool with_fallback)
{
	if (with_fallback) {
		play->stage.inbound.fallbacks = &play->fallback;
		play->stage.inbound.fallback_count = 1;
	}
	stage_start(&play->stage, engine);
	play->client = stage_dial(&play->stage);
}

static void play_done(struct play *play)
{
	stage_wait_sessions(&play->stage, 0);
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(cv_user_at(play->stage.inbound.users, i)->counters->session_count,
				 0);
	(void)close(play->client);
	if (play->upstream)
		(void)close(play->upstream);
	stage_done(&play->stage);
	cv_user_table_free(play->stage.inbound.users);
}

static size_t request_for(struct play *play, uint8_t user, uint8_t request[26])
{
	uint16_t port = cv_sockaddr_port(&play->stage.upstream_address);
	const uint8_t tail[] = {0, 1, (uint8_t)(port >> 8), (uint8_t)port, 1, 127, 0, 0, 1};

	memset(request, 0, 26);
	request[1] = user;
	memcpy(request + 17, tail, sizeof(tail));
	return 26;
}

/* ---- fallback ----------------------------------------------------------------------------- */

static void play_fallback(const char *engine, int xver)
{
	struct sockaddr_in own;
	socklen_t own_bytes = sizeof(own);
	struct play play;
	char header[108];

	play_init(&play, xver);
	play_start(&play, engine, true);
	stage_send(play.client, http, sizeof(http) - 1);
	play.upstream = stage_accept(&play.stage);
	assert_int_equal(getsockname(play.client, (struct sockaddr *)&own, &own_bytes), 0);
	snprintf(header, sizeof(header), "PROXY TCP4 127.0.0.1 127.0.0.1 %u %u\r\n",
		 ntohs(own.sin_port), cv_sockaddr_port(&play.stage.inbound_address));
	if (xver)
		stage_expect(play.upstream, header, strlen(header));
	stage_expect(play.upstream, http, sizeof(http) - 1);
	stage_send(play.client, more, sizeof(more) - 1);
	stage_expect(play.upstream, more, sizeof(more) - 1);
	(void)shutdown(play.client, SHUT_WR);
	stage_expect_fin(play.upstream);
	stage_send(play.upstream, "page", 4);
	(void)shutdown(play.upstream, SHUT_WR);
	stage_expect(play.client, "page", 4);
	stage_expect_fin(play.client);
	stage_wait_sessions(&play.stage, 0);
	assert_int_equal(stage_reason(&play.stage, CV_PEER_PROTOCOL_VERSION), 1);
	play_done(&play);
}

static void test_fallback(void **state)
{
	(void)state;
	play_fallback(NULL, 0);
	play_fallback("copy", 1);
	play_fallback("splice", 1);
}

static void test_fallback_of_short_and_unknown(void **state)
{
	uint8_t request[26];
	struct play play;

	(void)state;
	play_init(&play, 0);
	play_start(&play, "splice", true);
	stage_send(play.client, "\000\001", 2); /* VLESS comes at once or not at all */
	play.upstream = stage_accept(&play.stage);
	stage_expect(play.upstream, "\000\001", 2);
	(void)close(play.upstream);
	(void)close(play.client);
	play.client = stage_dial(&play.stage);
	stage_send(play.client, request, request_for(&play, 9, request));
	play.upstream = stage_accept(&play.stage);
	stage_expect(play.upstream, request, sizeof(request));
	(void)shutdown(play.upstream, SHUT_WR);
	stage_expect_fin(play.client);
	(void)shutdown(play.client, SHUT_WR);
	stage_wait_sessions(&play.stage, 0);
	assert_int_equal(stage_reason(&play.stage, CV_PEER_DECODE), 1);
	assert_int_equal(stage_reason(&play.stage, CV_PEER_UNKNOWN_USER), 1);
	play_done(&play);
}

static void test_fallback_that_refuses(void **state)
{
	struct play play;

	(void)state;
	play_init(&play, 0);
	play_start(&play, "splice", true);
	(void)close(play.stage.upstream_listener);
	stage_send(play.client, http, sizeof(http) - 1);
	stage_expect_fin(play.client);
	(void)shutdown(play.client, SHUT_WR);
	stage_wait_sessions(&play.stage, 0);
	assert_int_equal(stage_reason(&play.stage, CV_UPSTREAM_REFUSED), 1);
	play.stage.upstream_listener = -1;
	play_done(&play);
}

/* The web server restarts: it refuses for a moment, then it is there and gets everything. */
static void test_fallback_that_comes_back(void **state)
{
	struct cv_sockaddr *address;
	struct play play;

	(void)state;
	play_init(&play, 0);
	play_start(&play, "splice", true);
	address = &play.stage.upstream_address;
	(void)close(play.stage.upstream_listener);
	stage_send(play.client, http, sizeof(http) - 1);
	pause_ms(150);
	play.stage.upstream_listener = cv_listen(address, 16, 0);
	assert_true(play.stage.upstream_listener >= 0);
	play.upstream = stage_accept(&play.stage);
	stage_expect(play.upstream, http, sizeof(http) - 1);
	(void)shutdown(play.client, SHUT_WR);
	stage_expect_fin(play.upstream);
	(void)shutdown(play.upstream, SHUT_WR);
	stage_expect_fin(play.client);
	play_done(&play);
}

/* ---- requests ----------------------------------------------------------------------------- */

static void test_no_fallback(void **state)
{
	struct play play;

	(void)state;
	play_init(&play, 0);
	play_start(&play, "splice", false);
	stage_send(play.client, http, sizeof(http) - 1);
	stage_expect_fin(play.client);
	(void)shutdown(play.client, SHUT_WR);
	stage_wait_sessions(&play.stage, 0);
	assert_int_equal(stage_reason(&play.stage, CV_PEER_PROTOCOL_VERSION), 1);
	play_done(&play);
}

static void test_disabled_user(void **state)
{
	uint8_t request[26];
	struct play play;

	(void)state;
	play_init(&play, 0);
	play_start(&play, "splice", true);
	stage_send(play.client, request, request_for(&play, 2, request));
	stage_expect_fin(play.client); /* known, so no fallback */
	(void)shutdown(play.client, SHUT_WR);
	stage_wait_sessions(&play.stage, 0);
	assert_int_equal(stage_reason(&play.stage, CV_POLICY_USER_DISABLED), 1);
	play_done(&play);
}

static void play_request_in_pieces(const char *engine)
{
	uint8_t request[26];
	struct play play;

	play_init(&play, 0);
	play_start(&play, engine, false);
	(void)request_for(&play, 1, request);
	for (size_t i = 0; i < sizeof(request) - 1; i += 5) {
		stage_send(play.client, request + i, 5);
		pause_ms(3);
	}
	stage_send(play.client, (const uint8_t[]){1, 'u', 'p'}, 3);
	play.upstream = stage_accept(&play.stage);
	stage_expect(play.upstream, "up", 2);
	stage_send(play.client, "load", 4);
	stage_expect(play.upstream, "load", 4);
	(void)shutdown(play.client, SHUT_WR);
	stage_expect_fin(play.upstream);
	stage_send(play.upstream, "down", 4);
	stage_expect(play.client, "\000\000down", 6);
	stage_send_pattern(play.upstream, 100000);
	(void)shutdown(play.upstream, SHUT_WR);
	stage_expect_pattern(play.client, 100000);
	stage_expect_fin(play.client);
	if (engine)
		assert_int_equal(stage_handovers(&play.stage, CV_UPLINK), 1);
	play_done(&play);
}

static void test_request_in_pieces(void **state)
{
	(void)state;
	play_request_in_pieces(NULL);
	play_request_in_pieces("copy");
	play_request_in_pieces("splice");
}

static void test_blackhole_answers_then_ends(void **state)
{
	uint8_t request[26];
	struct play play;

	(void)state;
	play_init(&play, 0);
	play.stage.outbound.protocol = CV_OUTBOUND_BLACKHOLE;
	play.stage.outbound.respond_http = true;
	play_start(&play, "splice", false);
	stage_send(play.client, request, request_for(&play, 1, request));
	stage_expect(play.client, "\000\000HTTP/1.1 403 Forbidden\r\n", 26);
	(void)shutdown(play.client, SHUT_WR);
	stage_wait_sessions(&play.stage, 0);
	assert_int_equal(stage_reason(&play.stage, CV_POLICY_BLOCKED), 1);
	play_done(&play);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fallback),
		cmocka_unit_test(test_fallback_of_short_and_unknown),
		cmocka_unit_test(test_fallback_that_refuses),
		cmocka_unit_test(test_fallback_that_comes_back),
		cmocka_unit_test(test_no_fallback),
		cmocka_unit_test(test_disabled_user),
		cmocka_unit_test(test_request_in_pieces),
		cmocka_unit_test(test_blackhole_answers_then_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
