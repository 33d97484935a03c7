// SPDX-License-Identifier: MIT
/*
 * test_session_vless_udp.c - datagrams of a VLESS client on a real worker: both forms, in pieces,
 * who is heard, ports that outlive streams, limits, and streams that break anywhere.
 */
#include "session_stage.h"

#include "base/reason.h"
#include "policy/user.h"
#include "ring/listen.h"
#include "session/session.h"

#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static char nothing[] = "";

struct play {
	struct session_stage stage;
	int client;
	int hosts[2]; /* UDP, outside */
	uint16_t ports[2];
};

static int open_host(uint16_t *ret_port)
{
	const struct timeval limit = {.tv_sec = STAGE_WAIT_MS / 1000};
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);
	const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), 0);
	*ret_port = ntohs(address.sin_port);
	return fd;
}

static void play_init(struct play *play)
{
	struct cv_user users[2] = {
		{.uuid = {1},
		 .name = nothing,
		 .email = nothing,
		 .password = nothing,
		 .enabled = true},
		{.uuid = {2},
		 .name = nothing,
		 .email = nothing,
		 .password = nothing,
		 .enabled = true,
		 .vision = true},
	};

	memset(play, 0, sizeof(*play));
	stage_init(&play->stage);
	play->stage.inbound.protocol = CV_INBOUND_VLESS;
	play->stage.inbound.users = cv_user_table_new(users, 2);
	assert_non_null(play->stage.inbound.users);
	play->stage.config.external_first = 1;
	play->stage.config.daemon.max_associations = 16;
	play->stage.config.daemon.max_user_associations = 2;
	for (int i = 0; i < 2; i++)
		play->hosts[i] = open_host(&play->ports[i]);
}

static void play_start(struct play *play)
{
	stage_start(&play->stage, NULL);
	play->client = stage_dial(&play->stage);
}

static void play_done(struct play *play)
{
	if (play->client >= 0)
		(void)close(play->client);
	stage_wait_sessions(&play->stage, 0);
	for (size_t i = 0; i < 2; i++) {
		const struct cv_user *user = cv_user_at(play->stage.inbound.users, i);

		assert_int_equal(user->counters->session_count, 0);
		assert_int_equal(user->counters->association_count, 0);
		(void)close(play->hosts[i]);
	}
	stage_done(&play->stage);
	cv_user_table_free(play->stage.inbound.users);
}

/* ---- bytes -------------------------------------------------------------------------------- */

struct text {
	uint8_t bytes[4096];
	size_t len;
};

static void add(struct text *text, const void *bytes, size_t len)
{
	assert_true(text->len + len <= sizeof(text->bytes));
	memcpy(text->bytes + text->len, bytes, len);
	text->len += len;
}

static void add_header(struct text *text, uint8_t user, uint8_t command, uint16_t port)
{
	const uint8_t id[17] = {0, user}, tail[] = {0, command};
	const uint8_t target[] = {(uint8_t)(port >> 8), (uint8_t)port, 1, 127, 0, 0, 1};

	add(text, id, sizeof(id));
	add(text, tail, sizeof(tail));
	if (command == 2)
		add(text, target, sizeof(target));
}

static void add_plain(struct text *text, const char *data)
{
	const uint8_t length[] = {0, (uint8_t)strlen(data)};

	add(text, length, sizeof(length));
	add(text, data, strlen(data));
}

static void add_xudp(struct text *text, uint8_t status, uint16_t port, const char *global_id,
		     const char *data)
{
	const uint8_t head[] = {0,
				global_id ? 20 : 12,
				0,
				0,
				status,
				1,
				2,
				(uint8_t)(port >> 8),
				(uint8_t)port,
				1,
				127,
				0,
				0,
				1};
	const uint8_t length[] = {0, (uint8_t)strlen(data)};

	add(text, head, sizeof(head));
	if (global_id)
		add(text, global_id, 8);
	add(text, length, sizeof(length));
	add(text, data, strlen(data));
}

static void expect_text(int fd, const struct text *text)
{
	stage_expect(fd, text->bytes, text->len);
}

/* Returns the port it came from. */
static uint16_t expect_datagram(int host, const char *data)
{
	struct sockaddr_in from;
	socklen_t len = sizeof(from);
	char got[256];
	const ssize_t count = recvfrom(host, got, sizeof(got), 0, (struct sockaddr *)&from, &len);

	assert_int_equal(count, strlen(data));
	assert_memory_equal(got, data, strlen(data));
	return ntohs(from.sin_port);
}

static void send_datagram(int host, uint16_t port, const char *data)
{
	const struct sockaddr_in to = {.sin_family = AF_INET,
				       .sin_port = htons(port),
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

	assert_int_equal(
		sendto(host, data, strlen(data), 0, (const struct sockaddr *)&to, sizeof(to)),
		strlen(data));
}

static void pause_ms(long ms)
{
	const struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

	(void)nanosleep(&pause, NULL);
}

static void wait_reason(struct play *play, int reason, uint64_t count)
{
	for (int i = 0; i < STAGE_WAIT_MS / 5 && stage_reason(&play->stage, reason) < count; i++)
		pause_ms(5);
	assert_int_equal(stage_reason(&play->stage, reason), count);
}

/* ---- command 2 ---------------------------------------------------------------------------- */

static void test_plain(void **state)
{
	struct text sent = {0}, expected = {.bytes = {0, 0}, .len = 2};
	struct play play;
	uint16_t port;

	(void)state;
	play_init(&play);
	play_start(&play);
	add_header(&sent, 1, 2, play.ports[0]);
	add_plain(&sent, "one");
	add_plain(&sent, "");
	add_plain(&sent, "two");
	add_plain(&sent, "three");
	stage_send(play.client, sent.bytes, sent.len);
	port = expect_datagram(play.hosts[0], "one");
	assert_int_equal(expect_datagram(play.hosts[0], "two"), port);
	assert_int_equal(expect_datagram(play.hosts[0], "three"), port);
	send_datagram(play.hosts[0], port, "answer");
	send_datagram(play.hosts[0], port, "another");
	add_plain(&expected, "answer");
	add_plain(&expected, "another");
	expect_text(play.client, &expected);
	assert_int_equal(stage_reason(&play.stage, CV_PEER_STRANGER), 0);
	play_done(&play);
}

/* Nothing would say that somebody else speaks. */
static void test_plain_hears_its_target_only(void **state)
{
	struct text sent = {0}, expected = {.bytes = {0, 0}, .len = 2};
	struct play play;
	uint16_t port;

	(void)state;
	play_init(&play);
	play_start(&play);
	add_header(&sent, 1, 2, play.ports[0]);
	add_plain(&sent, "ask");
	stage_send(play.client, sent.bytes, sent.len);
	port = expect_datagram(play.hosts[0], "ask");
	send_datagram(play.hosts[1], port, "not asked");
	wait_reason(&play, CV_PEER_STRANGER, 1);
	send_datagram(play.hosts[0], port, "answer");
	add_plain(&expected, "answer");
	expect_text(play.client, &expected);
	play_done(&play);
}

static void play_single_bytes(bool is_xudp)
{
	struct text sent = {0}, expected = {.bytes = {0, 0}, .len = 2};
	struct play play;
	uint16_t port;

	play_init(&play);
	play_start(&play);
	add_header(&sent, 1, is_xudp ? 3 : 2, play.ports[0]);
	if (is_xudp) {
		add_xudp(&sent, 1, play.ports[0], NULL, "first");
		add_xudp(&sent, 2, play.ports[1], NULL, "second");
	} else {
		add_plain(&sent, "first");
		add_plain(&sent, "second");
	}
	for (size_t i = 0; i < sent.len; i++) {
		stage_send(play.client, sent.bytes + i, 1);
		pause_ms(1);
	}
	port = expect_datagram(play.hosts[0], "first");
	assert_int_equal(expect_datagram(play.hosts[is_xudp], "second"), port);
	send_datagram(play.hosts[0], port, "answer");
	if (is_xudp)
		add_xudp(&expected, 2, play.ports[0], NULL, "answer");
	else
		add_plain(&expected, "answer");
	expect_text(play.client, &expected);
	play_done(&play);
}

static void test_single_bytes(void **state)
{
	(void)state;
	play_single_bytes(false);
	play_single_bytes(true);
}

/* ---- XUDP --------------------------------------------------------------------------------- */

/* Two hosts see one port, and each is heard with its own address, asked or not. */
static void test_full_cone(void **state)
{
	struct text sent = {0}, expected = {.bytes = {0, 0}, .len = 2};
	struct play play;
	uint16_t port;

	(void)state;
	play_init(&play);
	play_start(&play);
	add_header(&sent, 1, 3, 0);
	add_xudp(&sent, 1, play.ports[0], NULL, "one");
	stage_send(play.client, sent.bytes, sent.len);
	port = expect_datagram(play.hosts[0], "one");
	send_datagram(play.hosts[1], port, "never asked");
	add_xudp(&expected, 2, play.ports[1], NULL, "never asked");
	expect_text(play.client, &expected);
	sent.len = 0;
	add_xudp(&sent, 2, play.ports[1], NULL, "two");
	stage_send(play.client, sent.bytes, sent.len);
	assert_int_equal(expect_datagram(play.hosts[1], "two"), port);
	stage_send(play.client, "\0\4\0\0\3\0", 6); /* End */
	stage_expect_fin(play.client);
	play_done(&play);
}

static uint16_t open_named(struct play *play, int client, uint8_t user, const char *data)
{
	struct text sent = {0};

	add_header(&sent, user, 3, 0);
	add_xudp(&sent, 1, play->ports[0], "GLOBALID", data);
	stage_send(client, sent.bytes, sent.len);
	return expect_datagram(play->hosts[0], data);
}

/* The next stream goes on with the port of the one that broke; what came meanwhile is not lost. */
static void test_port_outlives_stream(void **state)
{
	struct text expected = {.bytes = {0, 0}, .len = 2};
	struct play play;
	uint16_t port;

	(void)state;
	play_init(&play);
	play_start(&play);
	port = open_named(&play, play.client, 1, "before");
	stage_reset(play.client);
	stage_wait_sessions(&play.stage, 0);
	send_datagram(play.hosts[1], port, "meanwhile");
	play.client = stage_dial(&play.stage);
	assert_int_equal(open_named(&play, play.client, 1, "after"), port);
	add_xudp(&expected, 2, play.ports[1], NULL, "meanwhile");
	expect_text(play.client, &expected);
	play_done(&play);
}

/* A second stream while the first lives: the first is ended, in good order. */
static void test_port_is_taken_over(void **state)
{
	struct text expected = {.bytes = {0, 0}, .len = 2}, end = {0};
	struct play play;
	uint16_t port;
	int second;

	(void)state;
	play_init(&play);
	play_start(&play);
	port = open_named(&play, play.client, 1, "first");
	second = stage_dial(&play.stage);
	assert_int_equal(open_named(&play, second, 1, "second"), port);
	send_datagram(play.hosts[1], port, "whom");
	add_xudp(&expected, 2, play.ports[1], NULL, "whom");
	expect_text(second, &expected);
	add(&end, "\0\0\0\4\0\0\3\0", 8); /* the response header was still to come */
	expect_text(play.client, &end);
	stage_expect_fin(play.client);
	(void)close(second);
	play_done(&play);
}

/* The name is the user's: another one's does not lead to it. */
static void test_ports_are_the_users(void **state)
{
	struct play play;
	uint16_t port;
	int second;

	(void)state;
	play_init(&play);
	play_start(&play);
	port = open_named(&play, play.client, 1, "mine");
	second = stage_dial(&play.stage);
	assert_int_not_equal(open_named(&play, second, 2, "yours"), port);
	(void)close(second);
	play_done(&play);
}

/* ---- what is refused ---------------------------------------------------------------------- */

static void play_refused(const struct text *sent, int reason)
{
	struct play play;

	play_init(&play);
	play_start(&play);
	stage_send(play.client, sent->bytes, sent->len);
	stage_expect_fin(play.client);
	wait_reason(&play, reason, 1);
	play_done(&play);
}

static void test_refused(void **state)
{
	struct text sent = {0};

	(void)state;
	add_header(&sent, 2, 3, 0); /* a Vision account without flow may use XUDP only */
	add(&sent, "\0\14\0\1\1\0\1\0\120\1\177\0\0\1", 14);
	play_refused(&sent, CV_PEER_FLOW);
	sent.len = 0;
	add_header(&sent, 1, 4, 0);
	play_refused(&sent, CV_PEER_COMMAND);
	sent.len = 0;
	add_header(&sent, 1, 3, 0);
	add(&sent, "\2\1\0\0\1\1\2", 7); /* metadata longer than it may be */
	play_refused(&sent, CV_PEER_DECODE);
}

static void test_user_limit(void **state)
{
	struct text sent = {0};
	struct play play;
	int more[2];

	(void)state;
	play_init(&play);
	play_start(&play);
	add_header(&sent, 1, 2, play.ports[0]);
	add_plain(&sent, "x");
	stage_send(play.client, sent.bytes, sent.len);
	(void)expect_datagram(play.hosts[0], "x");
	more[0] = stage_dial(&play.stage);
	stage_send(more[0], sent.bytes, sent.len);
	(void)expect_datagram(play.hosts[0], "x");
	more[1] = stage_dial(&play.stage);
	stage_send(more[1], sent.bytes, sent.len);
	stage_expect_fin(more[1]);
	wait_reason(&play, CV_POLICY_USER_SESSIONS, 1);
	(void)close(more[0]);
	(void)close(more[1]);
	play_done(&play);
}

/* ---- streams that break ------------------------------------------------------------------- */

/* RST, or FIN, behind each byte of a request with two datagrams. */
static void play_break(size_t at, bool is_reset)
{
	struct text sent = {0};
	struct play play;

	play_init(&play);
	play_start(&play);
	add_header(&sent, 1, 3, 0);
	add_xudp(&sent, 1, play.ports[0], NULL, "a");
	add_xudp(&sent, 2, play.ports[1], NULL, "b");
	if (at > sent.len)
		at = sent.len;
	stage_send(play.client, sent.bytes, at);
	if (is_reset) {
		stage_reset(play.client);
	} else {
		assert_int_equal(shutdown(play.client, SHUT_WR), 0);
		stage_expect_fin(play.client);
		(void)close(play.client);
	}
	play.client = -1;
	play_done(&play);
}

static void test_breaks(void **state)
{
	(void)state;
	for (size_t at = 1; at < 52; at += 3) {
		play_break(at, true);
		play_break(at, false);
	}
}

/* What nobody reads is dropped, and stands in nobody's way. */
static void test_client_that_does_not_read(void **state)
{
	struct text sent = {0};
	static char much[1400];
	struct play play;
	uint16_t port;

	(void)state;
	play_init(&play);
	play_start(&play);
	add_header(&sent, 1, 3, 0);
	add_xudp(&sent, 1, play.ports[0], NULL, "go");
	stage_send(play.client, sent.bytes, sent.len);
	port = expect_datagram(play.hosts[0], "go");
	memset(much, 'm', sizeof(much) - 1);
	for (int i = 0; i < 40000 && stage_reason(&play.stage, CV_PEER_SLOW) == 0; i++) {
		send_datagram(play.hosts[0], port, much);
		if (i % 32 == 0)
			pause_ms(1);
	}
	assert_true(stage_reason(&play.stage, CV_PEER_SLOW) > 0);
	sent.len = 0;
	add_xudp(&sent, 2, play.ports[1], NULL, "still there");
	stage_send(play.client, sent.bytes, sent.len);
	assert_int_equal(expect_datagram(play.hosts[1], "still there"), port);
	stage_reset(play.client);
	play.client = -1;
	play_done(&play);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plain),
		cmocka_unit_test(test_plain_hears_its_target_only),
		cmocka_unit_test(test_single_bytes),
		cmocka_unit_test(test_full_cone),
		cmocka_unit_test(test_port_outlives_stream),
		cmocka_unit_test(test_port_is_taken_over),
		cmocka_unit_test(test_ports_are_the_users),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_user_limit),
		cmocka_unit_test(test_breaks),
		cmocka_unit_test(test_client_that_does_not_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
