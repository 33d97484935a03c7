// SPDX-License-Identifier: MIT
/*
 * test_udp_carrier.c - datagrams of a SOCKS5 client through a VLESS server that the test plays:
 * both forms, answers in pieces, servers that end, break or refuse, and what may not pass.
 */
#include "session_stage.h"

#include "base/reason.h"
#include "session/session.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

struct play {
	struct session_stage stage;
	int control, udp; /* of the client's association */
	int server;       /* the stream, where the test is the server */
};

static void pause_ms(long ms)
{
	const struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

	(void)nanosleep(&pause, NULL);
}

static void play_init(struct play *play)
{
	struct cv_outbound *outbound = &play->stage.outbound;

	memset(play, 0, sizeof(*play));
	play->control = play->udp = play->server = -1;
	stage_init(&play->stage);
	play->stage.inbound.serves_udp = true;
	play->stage.config.external_first = 1;
	play->stage.config.daemon.max_associations = 16;
	play->stage.config.daemon.max_user_associations = 16;
	outbound->protocol = CV_OUTBOUND_VLESS;
	outbound->uuid[0] = 7;
	assert_true(cv_sockaddr_to_destination(&play->stage.upstream_address, &outbound->server));
}

/* Associates, and connects a socket to the port that was given. */
static void play_start(struct play *play)
{
	const struct timeval limit = {.tv_sec = STAGE_WAIT_MS / 1000};
	struct sockaddr_in relay = {.sin_family = AF_INET};
	uint8_t reply[10];

	stage_start(&play->stage, NULL);
	play->control = stage_dial(&play->stage);
	stage_send(play->control, "\5\1\0", 3);
	stage_expect(play->control, "\5\0", 2);
	stage_send(play->control, "\5\3\0\1\0\0\0\0\0\0", 10);
	assert_int_equal(recv(play->control, reply, sizeof(reply), MSG_WAITALL), sizeof(reply));
	assert_memory_equal(reply, "\5\0\0\1", 4);
	memcpy(&relay.sin_addr, reply + 4, 4);
	memcpy(&relay.sin_port, reply + 8, 2);
	play->udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_true(play->udp >= 0);
	assert_int_equal(setsockopt(play->udp, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), 0);
	assert_int_equal(connect(play->udp, (struct sockaddr *)&relay, sizeof(relay)), 0);
}

static void play_done(struct play *play)
{
	(void)close(play->control);
	(void)close(play->udp);
	if (play->server >= 0)
		(void)close(play->server);
	stage_wait_sessions(&play->stage, 0);
	assert_int_equal(play->stage.worker.counters.associations, 0);
	stage_done(&play->stage);
}

/* ---- the client --------------------------------------------------------------------------- */

/* To 9.9.9.@last. */
static void ask(struct play *play, uint8_t last, uint16_t port, const char *data)
{
	uint8_t datagram[256] = {0, 0, 0, 1, 9, 9, 9, last, (uint8_t)(port >> 8), (uint8_t)port};

	memcpy(datagram + 10, data, strlen(data));
	assert_int_equal(send(play->udp, datagram, 10 + strlen(data), 0), 10 + strlen(data));
}

static void expect_answer(struct play *play, uint8_t last, uint16_t port, const char *data)
{
	const uint8_t head[] = {0, 0, 0, 1, 9, 9, 9, last, (uint8_t)(port >> 8), (uint8_t)port};
	uint8_t got[256];

	assert_int_equal(recv(play->udp, got, sizeof(got), 0), sizeof(head) + strlen(data));
	assert_memory_equal(got, head, sizeof(head));
	assert_memory_equal(got + sizeof(head), data, strlen(data));
}

/* ---- the server --------------------------------------------------------------------------- */

static void expect_header(int server, uint8_t command)
{
	const uint8_t head[19] = {0, 7, [18] = command};

	stage_expect(server, head, sizeof(head));
}

static void expect_target(int server, uint8_t last, uint16_t port)
{
	const uint8_t target[] = {(uint8_t)(port >> 8), (uint8_t)port, 1, 9, 9, 9, last};

	stage_expect(server, target, sizeof(target));
}

/* Length, data. */
static void expect_data(int server, const char *data)
{
	const uint8_t length[] = {0, (uint8_t)strlen(data)};

	stage_expect(server, length, sizeof(length));
	stage_expect(server, data, strlen(data));
}

static void expect_new(int server, uint8_t last, uint16_t port, const char *data,
		       uint8_t ret_global_id[8])
{
	stage_expect(server, "\0\24\0\0\1\1\2", 7);
	expect_target(server, last, port);
	assert_int_equal(recv(server, ret_global_id, 8, MSG_WAITALL), 8);
	expect_data(server, data);
}

static void expect_keep(int server, uint8_t last, uint16_t port, const char *data)
{
	stage_expect(server, "\0\14\0\0\2\1\2", 7);
	expect_target(server, last, port);
	expect_data(server, data);
}

static size_t write_keep(uint8_t *frame, uint8_t last, uint16_t port, const char *data)
{
	const uint8_t head[] = {0,
				12,
				0,
				0,
				2,
				1,
				2,
				(uint8_t)(port >> 8),
				(uint8_t)port,
				1,
				9,
				9,
				9,
				last,
				0,
				(uint8_t)strlen(data)};

	memcpy(frame, head, sizeof(head));
	memcpy(frame + sizeof(head), data, strlen(data));
	return sizeof(head) + strlen(data);
}

/* ---- what passes -------------------------------------------------------------------------- */

/* All destinations share one stream; anybody may answer. */
static void test_xudp(void **state)
{
	uint8_t id[8], frame[64];
	struct play play;
	size_t len;

	(void)state;
	play_init(&play);
	play_start(&play);
	ask(&play, 1, 1000, "first");
	play.server = stage_accept(&play.stage);
	expect_header(play.server, 3);
	expect_new(play.server, 1, 1000, "first", id);
	assert_memory_not_equal(id, "\0\0\0\0\0\0\0\0", 8);
	ask(&play, 2, 2000, "second");
	expect_keep(play.server, 2, 2000, "second");
	stage_send(play.server, "\0\0", 2);
	len = write_keep(frame, 3, 3000, "who is that");
	stage_send(play.server, frame, len);
	expect_answer(&play, 3, 3000, "who is that");
	stage_send(play.server, "\0\4\0\0\2\1\0\2ok", 10); /* without address: of the first */
	expect_answer(&play, 1, 1000, "ok");
	play_done(&play);
}

/* Port 53: a stream for each destination, a length in front of each datagram. */
static void test_plain(void **state)
{
	struct play play;
	int second;

	(void)state;
	play_init(&play);
	play_start(&play);
	ask(&play, 1, 53, "one");
	play.server = stage_accept(&play.stage);
	expect_header(play.server, 2);
	expect_target(play.server, 1, 53);
	expect_data(play.server, "one");
	ask(&play, 1, 53, "two");
	expect_data(play.server, "two");
	ask(&play, 2, 53, "other");
	second = stage_accept(&play.stage);
	expect_header(second, 2);
	expect_target(second, 2, 53);
	expect_data(second, "other");
	stage_send(play.server, "\0\0\0\3ann\0\0\0\3bob\0\4", 16);
	expect_answer(&play, 1, 53, "ann");
	expect_answer(&play, 1, 53, "bob");
	stage_send(second, "\0\0\0\2me", 6);
	expect_answer(&play, 2, 53, "me");
	stage_send(play.server, "last", 4);
	expect_answer(&play, 1, 53, "last");
	(void)close(second);
	play_done(&play);
}

static void test_configured_form(void **state)
{
	uint8_t id[8];
	struct play play;

	(void)state;
	play_init(&play);
	play.stage.outbound.packets = CV_PACKETS_XUDP;
	play_start(&play);
	ask(&play, 1, 53, "dns");
	play.server = stage_accept(&play.stage);
	expect_header(play.server, 3);
	expect_new(play.server, 1, 53, "dns", id);
	play_done(&play);

	play_init(&play);
	play.stage.outbound.packets = CV_PACKETS_PLAIN;
	play_start(&play);
	ask(&play, 1, 1000, "game");
	play.server = stage_accept(&play.stage);
	expect_header(play.server, 2);
	expect_target(play.server, 1, 1000);
	expect_data(play.server, "game");
	play_done(&play);
}

/* What comes before the stream is there goes out with the header, in order. */
static void test_early(void **state)
{
	uint8_t id[8];
	struct play play;

	(void)state;
	play_init(&play);
	play_start(&play);
	ask(&play, 1, 1000, "a");
	ask(&play, 2, 1000, "b");
	ask(&play, 1, 1000, "c");
	play.server = stage_accept(&play.stage);
	expect_header(play.server, 3);
	expect_new(play.server, 1, 1000, "a", id);
	expect_keep(play.server, 2, 1000, "b");
	expect_keep(play.server, 1, 1000, "c");
	play_done(&play);
}

/* Many in one read: those without address have less room in front than our header takes. */
static void test_many_answers(void **state)
{
	uint8_t frames[4096] = {0}, id[8];
	struct play play;
	char data[32];
	size_t len = 2;

	(void)state;
	play_init(&play);
	play_start(&play);
	ask(&play, 1, 1000, "x");
	play.server = stage_accept(&play.stage);
	expect_header(play.server, 3);
	expect_new(play.server, 1, 1000, "x", id);
	for (int i = 0; i < 150; i++) {
		snprintf(data, sizeof(data), "answer %03d", i);
		if (i % 5 < 3) {
			len += write_keep(frames + len, (uint8_t)(1 + i % 2), 2000, data);
			continue;
		}
		memcpy(frames + len, "\0\4\0\0\2\1\0\12", 8);
		memcpy(frames + len + 8, data, 10);
		len += 18;
	}
	stage_send(play.server, frames, len);
	for (int i = 0; i < 150; i++) {
		const bool is_named = i % 5 < 3;

		snprintf(data, sizeof(data), "answer %03d", i);
		expect_answer(&play, is_named ? (uint8_t)(1 + i % 2) : 1, is_named ? 2000 : 1000,
			      data);
	}
	play_done(&play);
}

static void test_answers_in_single_bytes(void **state)
{
	uint8_t frames[128], id[8];
	struct play play;
	size_t len = 2;

	(void)state;
	play_init(&play);
	play_start(&play);
	ask(&play, 1, 1000, "x");
	play.server = stage_accept(&play.stage);
	expect_header(play.server, 3);
	expect_new(play.server, 1, 1000, "x", id);
	memset(frames, 0, 2); /* the response header */
	len += write_keep(frames + len, 1, 1000, "one");
	memcpy(frames + len, "\0\4\1\2\4\1\0\3pad", 11); /* KeepAlive */
	len += 11;
	len += write_keep(frames + len, 2, 1000, "two");
	for (size_t i = 0; i < len; i++) {
		stage_send(play.server, frames + i, 1);
		pause_ms(1);
	}
	expect_answer(&play, 1, 1000, "one");
	expect_answer(&play, 2, 1000, "two");
	play_done(&play);
}

/* ---- servers that fail -------------------------------------------------------------------- */

/* The next datagrams go through another stream, under the same name. */
static void play_redial(bool is_reset)
{
	uint8_t ids[2][8];
	struct play play;

	play_init(&play);
	play_start(&play);
	ask(&play, 1, 1000, "x");
	play.server = stage_accept(&play.stage);
	expect_header(play.server, 3);
	expect_new(play.server, 1, 1000, "x", ids[0]);
	pause_ms(1100); /* one that ended at once would be waited for a little */
	if (is_reset)
		stage_reset(play.server);
	else
		(void)close(play.server);
	stage_wait_sessions(&play.stage, 1);
	ask(&play, 1, 1000, "y");
	play.server = stage_accept(&play.stage);
	expect_header(play.server, 3);
	expect_new(play.server, 1, 1000, "y", ids[1]);
	assert_memory_equal(ids[0], ids[1], 8);
	play_done(&play);
}

static void test_redial(void **state)
{
	(void)state;
	play_redial(false);
	play_redial(true);
}

/* RST behind each byte of an answer: what was whole arrives, the association lives on. */
static void test_resets(void **state)
{
	uint8_t frames[128] = {0}, id[8];
	size_t len = 2;

	(void)state;
	len += write_keep(frames + len, 1, 1000, "one");
	len += write_keep(frames + len, 1, 1000, "two");
	for (size_t at = 0; at <= len; at += 3) {
		struct play play;

		play_init(&play);
		play_start(&play);
		ask(&play, 1, 1000, "x");
		play.server = stage_accept(&play.stage);
		expect_header(play.server, 3);
		expect_new(play.server, 1, 1000, "x", id);
		if (at > 0)
			stage_send(play.server, frames, at);
		if (at >= 2 + (len - 2) / 2)
			expect_answer(&play, 1, 1000, "one");
		stage_reset(play.server);
		play.server = -1;
		stage_wait_sessions(&play.stage, 1);
		play_done(&play);
	}
}

/* RST before a byte was read: dialled again, but not for each datagram. */
static void test_reset_at_once(void **state)
{
	uint8_t id[8];
	struct play play;
	struct pollfd wait;
	bool came = false;

	(void)state;
	play_init(&play);
	play_start(&play);
	ask(&play, 1, 1000, "x");
	stage_reset(stage_accept(&play.stage));
	stage_wait_sessions(&play.stage, 1);
	wait = (struct pollfd){.fd = play.stage.upstream_listener, .events = POLLIN};
	for (int i = 0; i < STAGE_WAIT_MS / 50 && !came; i++) {
		ask(&play, 1, 1000, "y");
		came = poll(&wait, 1, 50) > 0;
	}
	assert_true(stage_reason(&play.stage, CV_UPSTREAM_FAILED) > 0);
	play.server = stage_accept(&play.stage);
	expect_header(play.server, 3);
	expect_new(play.server, 1, 1000, "y", id);
	play_done(&play);
}

static void play_bad_answer(const char *bytes, size_t len, int reason)
{
	uint8_t id[8];
	struct play play;

	play_init(&play);
	play_start(&play);
	ask(&play, 1, 1000, "x");
	play.server = stage_accept(&play.stage);
	expect_header(play.server, 3);
	expect_new(play.server, 1, 1000, "x", id);
	stage_send(play.server, bytes, len);
	stage_wait_sessions(&play.stage, 1);
	assert_int_equal(stage_reason(&play.stage, reason), 1);
	play_done(&play);
}

static void test_bad_answers(void **state)
{
	(void)state;
	play_bad_answer("\1\0", 2, CV_UPSTREAM_VERSION);
	play_bad_answer("\0\0\0\3\0\0\2", 7, CV_UPSTREAM_DECODE);
	play_bad_answer("\0\0\0\14\0\0\2\1\2\3\350\7\1\1\1\1\0\0", 18, CV_UPSTREAM_DECODE);
}

/* Nobody listens: it is not dialled for each datagram, and the association lives. */
static void test_refused(void **state)
{
	struct play play;

	(void)state;
	play_init(&play);
	play_start(&play);
	(void)close(play.stage.upstream_listener);
	for (int i = 0; i < 20; i++) {
		ask(&play, 1, 1000, "x");
		pause_ms(5);
	}
	stage_wait_sessions(&play.stage, 1);
	assert_int_equal(stage_reason(&play.stage, CV_UPSTREAM_REFUSED), 1);
	assert_true(stage_reason(&play.stage, CV_UPSTREAM_FAILED) >= 10);
	play.stage.upstream_listener = socket(AF_INET, SOCK_STREAM, 0); /* for stage_done() */
	play_done(&play);
}

/* ---- what may not pass -------------------------------------------------------------------- */

/* observable: QUIC inside of a Vision account's stream would not look like TLS. */
static void test_port_443_with_vision(void **state)
{
	struct play play;
	struct pollfd wait;

	(void)state;
	play_init(&play);
	play.stage.outbound.vision = true;
	play_start(&play);
	ask(&play, 1, 443, "quic");
	wait = (struct pollfd){.fd = play.stage.upstream_listener, .events = POLLIN};
	assert_int_equal(poll(&wait, 1, 100), 0);
	assert_int_equal(stage_reason(&play.stage, CV_POLICY_BLOCKED), 1);
	play_done(&play);
}

/* The client leaves while its stream is being dialled, or asked. */
static void test_client_leaves(void **state)
{
	uint8_t id[8];
	struct play play;

	(void)state;
	for (int stage = 0; stage < 3; stage++) {
		play_init(&play);
		play_start(&play);
		ask(&play, 1, 1000, "x");
		if (stage >= 1)
			play.server = stage_accept(&play.stage);
		if (stage >= 2) {
			expect_header(play.server, 3);
			expect_new(play.server, 1, 1000, "x", id);
		}
		(void)shutdown(play.control, SHUT_WR);
		if (stage >= 2)
			stage_expect_fin(play.server);
		play_done(&play);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_xudp),
		cmocka_unit_test(test_plain),
		cmocka_unit_test(test_configured_form),
		cmocka_unit_test(test_early),
		cmocka_unit_test(test_many_answers),
		cmocka_unit_test(test_answers_in_single_bytes),
		cmocka_unit_test(test_redial),
		cmocka_unit_test(test_resets),
		cmocka_unit_test(test_reset_at_once),
		cmocka_unit_test(test_bad_answers),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_port_443_with_vision),
		cmocka_unit_test(test_client_leaves),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
