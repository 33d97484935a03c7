// SPDX-License-Identifier: MIT
/*
 * test_carrier_client.c - an outbound with mux on a real worker: SOCKS5 clients, and the test as
 * the VLESS server of their carriers.
 */
#include "carrier_talk.h"

#include "base/clock.h"
#include "base/reason.h"
#include "session/carrier.h"
#include "session/session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

struct play {
	struct session_stage stage;
	struct talk talk;
};

static void pause_ms(long ms)
{
	const struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

	(void)nanosleep(&pause, NULL);
}

static void play_init(struct play *play, uint32_t concurrency)
{
	struct cv_outbound *outbound = &play->stage.outbound;

	memset(play, 0, sizeof(*play));
	stage_init(&play->stage);
	outbound->protocol = CV_OUTBOUND_VLESS;
	outbound->uuid[0] = 9;
	assert_true(cv_sockaddr_to_destination(&play->stage.upstream_address, &outbound->server));
	outbound->mux.enabled = true;
	outbound->mux.concurrency = concurrency;
	stage_start(&play->stage, "splice");
}

/* The worker goes with its empty carriers: they would stay for another half minute. */
static void play_done(struct play *play)
{
	cv_worker_stop(&play->stage.worker);
	play->stage.stopped = true;
	talk_done(&play->talk);
	stage_done(&play->stage);
}

/* Its request is read and found to be for a carrier; the answer is sent. */
static void accept_carrier(struct play *play, struct talk *talk)
{
	uint8_t request[19], expected[19] = {0, 9};
	const int fd = stage_accept(&play->stage);

	expected[18] = 3;
	assert_int_equal(recv(fd, request, sizeof(request), MSG_WAITALL), sizeof(request));
	assert_memory_equal(request, expected, sizeof(expected));
	talk_init(talk, fd, 0);
	stage_send(fd, "\000\000", 2);
}

/* A client of the SOCKS inbound that wants 127.0.0.1:@port. */
static int dial(struct play *play, uint16_t port)
{
	const int client = stage_dial(&play->stage);

	stage_send_socks(client, port);
	return client;
}

static void expect_granted(int client)
{
	stage_expect(client, "\005\000\000\001\000\000\000\000\000\000", 10);
}

static void expect_new(struct talk *talk, uint16_t id, uint16_t port, const char *text)
{
	uint8_t data[CV_MUX_DATAGRAM_MAX];
	const struct cv_mux_frame frame = talk_frame(talk, data);

	assert_int_equal(frame.status, CV_MUX_NEW);
	assert_int_equal(frame.network, CV_MUX_TCP);
	assert_int_equal(frame.session, id);
	assert_int_equal(frame.address.kind, CV_ADDRESS_IPV4);
	assert_int_equal(frame.address.port, port);
	assert_int_equal(frame.data_bytes, strlen(text));
	assert_int_equal(frame.has_data, *text != '\0');
	assert_memory_equal(data, text, strlen(text));
}

static void test_two_on_one_carrier(void **state)
{
	struct play play;
	int first, second;

	(void)state;
	play_init(&play, 2);
	first = dial(&play, 1000);
	expect_granted(first);
	stage_send(first, "one", 3);
	accept_carrier(&play, &play.talk);
	expect_new(&play.talk, 1, 1000, "one");
	second = dial(&play, 2000);
	expect_granted(second);
	stage_send(second, "two", 3);
	expect_new(&play.talk, 2, 2000, "two");
	talk_keep(&play.talk, 2, "22", 2);
	talk_keep(&play.talk, 1, "1", 1);
	stage_expect(second, "22", 2);
	stage_expect(first, "1", 1);
	stage_send(first, "more", 4);
	talk_expect(&play.talk, 1, "more");
	talk_keep(&play.talk, 1, "last", 4);
	talk_end(&play.talk, 1, false);
	stage_expect(first, "last", 4);
	stage_expect_fin(first);
	(void)close(first);
	stage_reset(second);
	talk_expect_end(&play.talk, 2, true);
	stage_wait_sessions(&play.stage, 1);
	(void)close(play.talk.fd);
	play_done(&play);
}

static void test_silent_client(void **state)
{
	struct play play;
	int client;

	(void)state;
	play_init(&play, 8);
	client = dial(&play, 1000);
	expect_granted(client);
	accept_carrier(&play, &play.talk);
	expect_new(&play.talk, 1, 1000, ""); /* the server may speak first */
	talk_keep(&play.talk, 1, "hello", 5);
	stage_expect(client, "hello", 5);
	(void)close(client);
	(void)talk_frame(&play.talk, NULL);
	(void)close(play.talk.fd);
	play_done(&play);
}

/* End closes both directions, so it waits for an answer that is on its way. */
static void test_half_close(void **state)
{
	struct play play;
	uint64_t ended_ms;
	int client;

	(void)state;
	play_init(&play, 8);
	client = dial(&play, 1000);
	expect_granted(client);
	stage_send(client, "ask", 3);
	(void)shutdown(client, SHUT_WR);
	accept_carrier(&play, &play.talk);
	expect_new(&play.talk, 1, 1000, "ask");
	ended_ms = cv_clock_ms();
	talk_keep(&play.talk, 1, "answer", 6);
	stage_expect(client, "answer", 6);
	talk_expect_end(&play.talk, 1, false);
	assert_true(cv_clock_ms() - ended_ms >= 900);
	stage_expect_fin(client);
	(void)close(client);
	stage_wait_sessions(&play.stage, 1);
	(void)close(play.talk.fd);
	play_done(&play);
}

static void test_full_carriers(void **state)
{
	struct talk others[2];
	struct play play;
	int clients[5];

	(void)state;
	play_init(&play, 2);
	for (uint16_t i = 0; i < 5; i++) {
		clients[i] = dial(&play, (uint16_t)(1000 + i));
		expect_granted(clients[i]);
		stage_send(clients[i], "x", 1);
		if (i == 0)
			accept_carrier(&play, &play.talk);
		else if (i % 2 == 0)
			accept_carrier(&play, &others[i / 2 - 1]);
		expect_new(i < 2 ? &play.talk : &others[i / 2 - 1], (uint16_t)(i % 2 + 1),
			   (uint16_t)(1000 + i), "x");
	}
	/* the first with room again is taken, with a new id */
	(void)close(clients[0]);
	assert_int_equal(talk_frame(&play.talk, NULL).status, CV_MUX_END);
	stage_wait_sessions(&play.stage, 4 + 3);
	clients[0] = dial(&play, 7000);
	expect_granted(clients[0]);
	stage_send(clients[0], "y", 1);
	expect_new(&play.talk, 3, 7000, "y");
	for (int i = 0; i < 5; i++)
		(void)close(clients[i]);
	for (int i = 0; i < 2; i++) {
		(void)close(others[i].fd);
		talk_done(&others[i]);
	}
	(void)close(play.talk.fd);
	play_done(&play);
}

static void test_lost_carrier(void **state)
{
	struct play play;
	struct talk next;
	int clients[2], again;

	(void)state;
	play_init(&play, 8);
	for (uint16_t i = 0; i < 2; i++) {
		clients[i] = dial(&play, (uint16_t)(1000 + i));
		expect_granted(clients[i]);
		stage_send(clients[i], "x", 1);
		if (i == 0)
			accept_carrier(&play, &play.talk);
		expect_new(&play.talk, (uint16_t)(i + 1), (uint16_t)(1000 + i), "x");
	}
	talk_keep(&play.talk, 1, "part", 4);
	stage_expect(clients[0], "part", 4);
	stage_reset(play.talk.fd);
	for (int i = 0; i < 2; i++) {
		stage_expect_reset(clients[i]);
		(void)close(clients[i]);
	}
	stage_wait_sessions(&play.stage, 0);
	again = dial(&play, 3000);
	expect_granted(again);
	stage_send(again, "z", 1);
	accept_carrier(&play, &next);
	expect_new(&next, 1, 3000, "z");
	(void)close(again);
	(void)close(next.fd);
	talk_done(&next);
	play_done(&play);
}

static void test_no_carrier(void **state)
{
	struct play play;
	int client;

	(void)state;
	memset(&play, 0, sizeof(play));
	play_init(&play, 8);
	(void)shutdown(play.stage.upstream_listener, SHUT_RDWR); /* refuses from now on */
	client = dial(&play, 1000);
	stage_expect(client, "\005\005\000\001\000\000\000\000\000\000", 10);
	stage_expect_fin(client);
	(void)close(client);
	stage_wait_sessions(&play.stage, 0);
	play_done(&play);
}

/* One client with "x" on stream 1 of a carrier that was just accepted. */
static int open_first(struct play *play)
{
	const int client = dial(play, 1000);

	expect_granted(client);
	stage_send(client, "x", 1);
	accept_carrier(play, &play->talk);
	expect_new(&play->talk, 1, 1000, "x");
	return client;
}

/* A server opens nothing, and ends only what there is. */
static void test_what_a_server_may_not_say(void **state)
{
	struct play play;
	int client;

	(void)state;
	play_init(&play, 8);
	client = open_first(&play);
	talk_open(&play.talk, 2, CV_MUX_TCP, 80, "ignored");
	talk_end(&play.talk, 3, true);
	talk_keep(&play.talk, 4, "nobody's", 8);
	talk_expect_end(&play.talk, 4, false);
	talk_open(&play.talk, 1, CV_MUX_UDP, 80, "ignored");
	talk_keep(&play.talk, 1, "good", 4);
	stage_expect(client, "good", 4);
	(void)close(client);
	(void)talk_frame(&play.talk, NULL);
	(void)close(play.talk.fd);
	play_done(&play);
}

static void play_nonsense(const char *bytes, size_t len_bytes, int reason)
{
	struct play play;
	int client;

	play_init(&play, 8);
	client = open_first(&play);
	stage_send(play.talk.fd, bytes, len_bytes);
	stage_expect_reset(client);
	(void)close(client);
	stage_wait_sessions(&play.stage, 0);
	assert_int_equal(stage_reason(&play.stage, reason), 1);
	(void)close(play.talk.fd);
	play_done(&play);
}

static void test_nonsense(void **state)
{
	(void)state;
	play_nonsense("\000\003", 2, CV_UPSTREAM_DECODE);
	play_nonsense("\002\001", 2, CV_UPSTREAM_DECODE);
	play_nonsense("\000\004\000\001\000\000", 6, CV_UPSTREAM_DECODE);
	play_nonsense("\000\004\000\001\011\000", 6, CV_UPSTREAM_DECODE);
}

/* Frames of an answer, cut in two at each place. */
static void test_split_at_each_byte(void **state)
{
	static const uint8_t frames[] = {0, 4, 0, 1, 2, 1, 0, 2, 'a', 'b', 0, 4, 0, 9, 4, 1,
					 0, 2, 9, 9, 0, 6, 0, 1, 2, 1, 0, 9, 0, 1, 'c', 0,
					 4, 0, 1, 3, 0};

	(void)state;
	for (size_t i = 1; i < sizeof(frames); i++) {
		struct play play;
		int client;

		play_init(&play, 8);
		client = open_first(&play);
		stage_send(play.talk.fd, frames, i);
		pause_ms(3);
		stage_send(play.talk.fd, frames + i, sizeof(frames) - i);
		stage_expect(client, "abc", 3);
		stage_expect_fin(client);
		(void)close(client);
		stage_wait_sessions(&play.stage, 1);
		(void)close(play.talk.fd);
		stage_wait_sessions(&play.stage, 0);
		play_done(&play);
	}
}

/* Before its answer, inside it, inside a header, inside data. */
static void test_reset_in_between(void **state)
{
	static const uint8_t bytes[] = {0, 0, 0, 4, 0, 1, 2, 1, 0, 3, 'a', 'b'};
	static const size_t lengths[] = {0, 1, 2, 5, 12};

	(void)state;
	for (size_t i = 0; i < 2 * sizeof(lengths) / sizeof(lengths[0]); i++) {
		struct play play;
		uint8_t asked[19 + 17]; /* request, New with "x" */
		int client, server;

		play_init(&play, 8);
		client = dial(&play, 1000);
		expect_granted(client);
		stage_send(client, "x", 1);
		server = stage_accept(&play.stage);
		assert_int_equal(recv(server, asked, sizeof(asked), MSG_WAITALL), sizeof(asked));
		stage_send(server, bytes, lengths[i / 2]);
		if (lengths[i / 2] == sizeof(bytes))
			stage_expect(client, "ab", 2);
		if (i % 2)
			stage_reset(server);
		else
			(void)close(server);
		stage_expect_reset(client);
		(void)close(client);
		stage_wait_sessions(&play.stage, 0);
		play_done(&play);
	}
}

/* A client that goes: at once, with something said, with an answer half read, after its FIN. */
static void test_clients_reset(void **state)
{
	(void)state;
	for (int i = 0; i < 4; i++) {
		struct play play;
		struct cv_mux_frame frame;
		int client;

		play_init(&play, 8);
		if (i == 0) {
			client = dial(&play, 1000);
			expect_granted(client);
			stage_reset(client);
			stage_wait_sessions(&play.stage, 1);
			play_done(&play);
			continue;
		}
		client = open_first(&play);
		if (i == 2)
			stage_send(play.talk.fd, "\000\004\000\001\002\001\000\005ab", 10);
		if (i == 2)
			stage_expect(client, "ab", 2);
		if (i == 3)
			(void)shutdown(client, SHUT_WR);
		stage_reset(client);
		frame = talk_frame(&play.talk, NULL);
		assert_int_equal(frame.status, CV_MUX_END);
		assert_int_equal(frame.session, 1);
		if (i < 3) /* its reset may come with its FIN, or be seen by nobody */
			assert_true(frame.is_error);
		stage_wait_sessions(&play.stage, 1);
		(void)close(play.talk.fd);
		play_done(&play);
	}
}

static void test_pattern_both_ways(void **state)
{
	static uint8_t data[CV_MUX_DATA_MAX];
	struct play play;
	size_t got = 0;
	int client;

	(void)state;
	play_init(&play, 8);
	client = dial(&play, 1000);
	expect_granted(client);
	stage_send(client, "x", 1);
	accept_carrier(&play, &play.talk);
	expect_new(&play.talk, 1, 1000, "x");
	stage_send_pattern(client, 300000);
	while (got < 300000) {
		const struct cv_mux_frame frame = talk_frame(&play.talk, data);

		for (size_t i = 0; i < frame.data_bytes; i++, got++)
			assert_int_equal(data[i], (uint8_t)(got * 31 + (got >> 8) + (got >> 16)));
	}
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 31 + (i >> 8) + (i >> 16));
	talk_keep(&play.talk, 1, data, sizeof(data));
	talk_end(&play.talk, 1, false);
	stage_expect_pattern(client, sizeof(data));
	stage_expect_fin(client);
	(void)close(client);
	(void)close(play.talk.fd);
	play_done(&play);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_two_on_one_carrier),
		cmocka_unit_test(test_silent_client),
		cmocka_unit_test(test_half_close),
		cmocka_unit_test(test_full_carriers),
		cmocka_unit_test(test_lost_carrier),
		cmocka_unit_test(test_no_carrier),
		cmocka_unit_test(test_what_a_server_may_not_say),
		cmocka_unit_test(test_nonsense),
		cmocka_unit_test(test_split_at_each_byte),
		cmocka_unit_test(test_reset_in_between),
		cmocka_unit_test(test_clients_reset),
		cmocka_unit_test(test_pattern_both_ways),
	};

	return cmocka_run_group_tests_name("carrier_client", tests, NULL, NULL);
}
