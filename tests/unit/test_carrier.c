// SPDX-License-Identifier: MIT
/*
 * test_carrier.c - a client's carrier on a real worker: a plain VLESS inbound, command 3, frames
 * written by hand; the test is the upstream of each stream as well.
 */
#include "carrier_talk.h"

#include "base/reason.h"
#include "policy/user.h"
#include "ring/listen.h"
#include "session/carrier.h"
#include "session/session.h"

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static char nothing[] = "";

struct play {
	struct session_stage stage;
	struct talk talk;
	uint16_t port;
	const uint8_t *left; /* of a frame */
	size_t left_bytes;
};

static void pause_ms(long ms)
{
	const struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

	(void)nanosleep(&pause, NULL);
}

static void play_init(struct play *play)
{
	struct cv_user user = {.uuid = {1},
			       .name = nothing,
			       .email = nothing,
			       .password = nothing,
			       .external_proxy_id = nothing,
			       .enabled = true};

	memset(play, 0, sizeof(*play));
	stage_init(&play->stage);
	play->stage.config.daemon.max_associations = 4;
	play->stage.config.daemon.max_user_associations = 4;
	play->stage.config.external_first = 1;
	play->stage.inbound.protocol = CV_INBOUND_VLESS;
	play->stage.inbound.users = cv_user_table_new(&user, 1);
	assert_non_null(play->stage.inbound.users);
	play->port = cv_sockaddr_port(&play->stage.upstream_address);
}

/* The request: version, id, no addons, command 3. */
static void play_request(struct play *play)
{
	uint8_t request[19] = {0, 1};

	request[18] = 3;
	talk_init(&play->talk, stage_dial(&play->stage), 2);
	stage_send(play->talk.fd, request, sizeof(request));
}

static void play_start(struct play *play)
{
	play_init(play);
	stage_start(&play->stage, "splice");
	play_request(play);
}

static void play_done(struct play *play)
{
	(void)close(play->talk.fd);
	stage_wait_sessions(&play->stage, 0);
	assert_int_equal(cv_user_at(play->stage.inbound.users, 0)->counters->session_count, 0);
	talk_done(&play->talk);
	stage_done(&play->stage);
	cv_user_table_free(play->stage.inbound.users);
}

/* Opens a stream with "hello", which its upstream has then. */
static int open_stream(struct play *play, uint16_t id)
{
	int upstream;

	talk_open(&play->talk, id, CV_MUX_TCP, play->port, "hello");
	upstream = stage_accept(&play->stage);
	stage_expect(upstream, "hello", 5);
	return upstream;
}

/* ---- in good order ------------------------------------------------------------------------ */

static void test_one_stream(void **state)
{
	struct play play;
	int upstream;

	(void)state;
	play_start(&play);
	upstream = open_stream(&play, 1);
	stage_send(upstream, "answer", 6);
	talk_expect(&play.talk, 1, "answer");
	talk_keep(&play.talk, 1, "more", 4);
	stage_expect(upstream, "more", 4);
	(void)close(upstream);
	talk_expect_end(&play.talk, 1, false);
	stage_wait_sessions(&play.stage, 1); /* the carrier stays */
	upstream = open_stream(&play, 2);
	talk_end(&play.talk, 2, false);
	stage_expect_fin(upstream);
	(void)close(upstream);
	stage_wait_sessions(&play.stage, 1);
	play_done(&play);
}

static void test_streams_do_not_mix(void **state)
{
	struct play play;
	int first, second;

	(void)state;
	play_start(&play);
	first = open_stream(&play, 7);
	second = open_stream(&play, 0); /* an id like any other */
	talk_keep(&play.talk, 0, "two", 3);
	talk_keep(&play.talk, 7, "one", 3);
	stage_expect(first, "one", 3);
	stage_expect(second, "two", 3);
	stage_send(second, "2222", 4);
	talk_expect(&play.talk, 0, "2222");
	stage_send(first, "1111", 4);
	talk_expect(&play.talk, 7, "1111");
	(void)close(first);
	talk_expect_end(&play.talk, 7, false);
	stage_send(second, "still", 5);
	talk_expect(&play.talk, 0, "still");
	(void)close(second);
	talk_expect_end(&play.talk, 0, false);
	play_done(&play);
}

static void test_end_after_all_data(void **state)
{
	static uint8_t data[CV_MUX_DATA_MAX];
	struct play play;
	int upstream;
	size_t got = 0;

	(void)state;
	play_start(&play);
	upstream = open_stream(&play, 1);
	stage_send_pattern(upstream, 400000);
	(void)close(upstream);
	for (;;) {
		const struct cv_mux_frame frame = talk_frame(&play.talk, data);

		assert_int_equal(frame.session, 1);
		if (frame.status == CV_MUX_END)
			break;
		assert_true(frame.data_bytes > 0 && frame.data_bytes <= CV_MUX_CHUNK);
		for (size_t i = 0; i < frame.data_bytes; i++, got++)
			assert_int_equal(data[i], (uint8_t)(got * 31 + (got >> 8) + (got >> 16)));
	}
	assert_int_equal(got, 400000);
	play_done(&play);
}

static void test_data_before_the_peers_end_arrives(void **state)
{
	static uint8_t data[60000];
	struct play play;
	int upstream;

	(void)state;
	play_start(&play);
	upstream = open_stream(&play, 1);
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 31 + (i >> 8) + (i >> 16));
	talk_keep(&play.talk, 1, data, sizeof(data));
	talk_end(&play.talk, 1, false);
	stage_expect_pattern(upstream, sizeof(data));
	stage_expect_fin(upstream);
	(void)close(upstream);
	stage_wait_sessions(&play.stage, 1);
	play_done(&play);
}

/* Request, New with "hi", KeepAlive with data, Keep without, padded Keep "ab". */
static void write_script(struct play *play, struct cv_buffer *out)
{
	static const uint8_t tail[] = {0, 4, 0, 1, 4, 1, 0, 2, 9, 9, 0, 4, 0, 1, 2, 0,
				       0, 6, 0, 1, 2, 1, 0, 9, 0, 2, 'a', 'b'};
	struct cv_mux_frame frame = {
		.session = 1, .status = CV_MUX_NEW, .network = CV_MUX_TCP};
	uint8_t request[19] = {0, 1};

	request[18] = 3;
	cv_buffer_init(out, 4096);
	assert_int_equal(cv_buffer_append(out, request, sizeof(request)), 0);
	assert_int_equal(cv_destination_set_text(&frame.address, "127.0.0.1", play->port), 0);
	assert_int_equal(cv_mux_frame_append(frame, CV_MUX_FORWARD, cv_span_of("hi", 2), out), 0);
	assert_int_equal(cv_buffer_append(out, tail, sizeof(tail)), 0);
}

static void expect_script(struct play *play)
{
	int upstream = stage_accept(&play->stage);

	stage_expect(upstream, "hiab", 4);
	(void)close(upstream);
	talk_expect_end(&play->talk, 1, false);
}

static void test_one_byte_at_a_time(void **state)
{
	struct cv_buffer out;
	struct play play;

	(void)state;
	play_init(&play);
	stage_start(&play.stage, NULL);
	talk_init(&play.talk, stage_dial(&play.stage), 2);
	write_script(&play, &out);
	for (size_t i = 0; i < cv_buffer_len(&out); i++) {
		stage_send(play.talk.fd, cv_buffer_bytes(&out) + i, 1);
		pause_ms(1);
	}
	cv_buffer_done(&out);
	expect_script(&play);
	play_done(&play);
}

static void test_split_at_each_byte(void **state)
{
	struct cv_buffer out;
	struct play play;

	(void)state;
	play_init(&play);
	stage_start(&play.stage, NULL);
	write_script(&play, &out);
	for (size_t i = 1; i < cv_buffer_len(&out); i++) {
		talk_init(&play.talk, stage_dial(&play.stage), 2);
		stage_send(play.talk.fd, cv_buffer_bytes(&out), i);
		pause_ms(3);
		stage_send(play.talk.fd, cv_buffer_bytes(&out) + i, cv_buffer_len(&out) - i);
		expect_script(&play);
		(void)close(play.talk.fd);
		talk_done(&play.talk);
	}
	stage_wait_sessions(&play.stage, 0);
	/* cut off there, in order and not: nothing stays */
	for (size_t i = 0; i < cv_buffer_len(&out); i++) {
		const int fd = stage_dial(&play.stage);

		stage_send(fd, cv_buffer_bytes(&out), i);
		if (i % 2)
			stage_reset(fd);
		else
			(void)close(fd);
	}
	cv_buffer_done(&out);
	talk_init(&play.talk, stage_dial(&play.stage), 2); /* for play_done() */
	play_done(&play);
}

/* ---- ends with errors --------------------------------------------------------------------- */

/* A port where nobody listens, as long as the socket is open. */
static int refusing_socket(struct play *play, uint16_t *ret_port)
{
	struct cv_sockaddr address = play->stage.upstream_address;
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	address.in.sin_port = 0;
	assert_int_equal(bind(fd, &address.any, address.len_bytes), 0);
	assert_int_equal(getsockname(fd, &address.any, &address.len_bytes), 0);
	*ret_port = cv_sockaddr_port(&address);
	return fd;
}

static void test_refused_target(void **state)
{
	struct play play;
	uint16_t port;
	int upstream, taken;

	(void)state;
	play_start(&play);
	taken = refusing_socket(&play, &port);
	talk_open(&play.talk, 3, CV_MUX_TCP, port, NULL);
	talk_expect_end(&play.talk, 3, true);
	upstream = open_stream(&play, 4);
	(void)close(upstream);
	(void)close(taken);
	talk_expect_end(&play.talk, 4, false);
	play_done(&play);
}

/* Each of them is answered, most without having become a session. */
static void test_flood_of_streams(void **state)
{
	struct play play;
	uint16_t port;
	int taken, upstream;

	(void)state;
	play_start(&play);
	taken = refusing_socket(&play, &port);
	upstream = open_stream(&play, 60000);
	for (uint16_t id = 1; id <= 2000; id++)
		talk_open(&play.talk, id, CV_MUX_TCP, port, "x");
	for (int i = 0; i < 2000; i++) {
		const struct cv_mux_frame frame = talk_frame(&play.talk, NULL);

		assert_int_equal(frame.status, CV_MUX_END);
		assert_true(frame.is_error);
		assert_in_range(frame.session, 1, 2000);
	}
	stage_wait_sessions(&play.stage, 2);
	stage_send(upstream, "ok", 2);
	talk_expect(&play.talk, 60000, "ok");
	(void)close(upstream);
	(void)close(taken);
	talk_expect_end(&play.talk, 60000, false);
	play_done(&play);
}

static void test_resets(void **state)
{
	struct play play;
	int upstream, other;

	(void)state;
	play_start(&play);
	other = open_stream(&play, 9);
	upstream = open_stream(&play, 1);
	stage_reset(upstream);
	talk_expect_end(&play.talk, 1, true);
	upstream = open_stream(&play, 2);
	talk_end(&play.talk, 2, true);
	stage_expect_reset(upstream);
	(void)close(upstream);
	stage_send(other, "alive", 5);
	talk_expect(&play.talk, 9, "alive");
	stage_reset(play.talk.fd); /* the carrier itself */
	stage_expect_reset(other);
	(void)close(other);
	stage_wait_sessions(&play.stage, 0);
	play.talk.fd = stage_dial(&play.stage); /* for play_done() */
	play_done(&play);
}

/* Before the first frame, inside a header, inside data, with a datagram stream. */
static void test_reset_in_between(void **state)
{
	static const char *const frames[] = {
		"", "\000\004\000", "\000\004\000\001\002\001\000\005ab", ""};
	static const size_t lengths[] = {0, 3, 10, 0};

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		struct play play;
		int upstream = -1;

		play_start(&play);
		if (i == 2)
			upstream = open_stream(&play, 1);
		if (i == 3)
			talk_open(&play.talk, 1, CV_MUX_UDP, play.port, "x");
		if (lengths[i])
			stage_send(play.talk.fd, frames[i], lengths[i]);
		stage_wait_sessions(&play.stage, i < 2 ? 1 : 2);
		stage_reset(play.talk.fd);
		stage_wait_sessions(&play.stage, 0);
		if (upstream >= 0)
			(void)close(upstream);
		play.talk.fd = stage_dial(&play.stage); /* for play_done() */
		play_done(&play);
	}
}

static void test_carrier_closed_in_order(void **state)
{
	struct play play;
	int upstream;

	(void)state;
	play_start(&play);
	upstream = open_stream(&play, 1);
	(void)shutdown(play.talk.fd, SHUT_WR);
	stage_expect_reset(upstream); /* what it carried is cut off, not whole */
	(void)close(upstream);
	talk_expect_closed(&play.talk);
	play_done(&play);
}

static void test_unknown_streams(void **state)
{
	struct play play;
	int upstream;

	(void)state;
	play_start(&play);
	talk_end(&play.talk, 5, false); /* no answer */
	talk_keep(&play.talk, 5, NULL, 0);
	talk_keep(&play.talk, 6, "x", 1);
	talk_expect_end(&play.talk, 6, false);
	talk_keep(&play.talk, 6, "y", 1); /* was told */
	upstream = open_stream(&play, 6);
	stage_send(upstream, "ok", 2);
	talk_expect(&play.talk, 6, "ok");
	(void)close(upstream);
	talk_expect_end(&play.talk, 6, false);
	talk_keep(&play.talk, 6, "late", 4);
	talk_expect_end(&play.talk, 6, false);
	play_done(&play);
}

/* Who makes us say End without end and reads none of it is left at a limit. */
static void test_flood_of_unknown_streams(void **state)
{
	static uint8_t frames[9 * 1024];
	struct play play;
	ssize_t sent = 1;

	(void)state;
	for (size_t i = 0; i < sizeof(frames) / 9; i++) {
		const uint8_t frame[9] = {0, 4, 7, (uint8_t)i, CV_MUX_KEEP, 1, 0, 1, 'x'};

		memcpy(frames + 9 * i, frame, sizeof(frame));
	}
	play_start(&play);
	for (int i = 0; i < 65536 && sent > 0; i++)
		sent = send(play.talk.fd, frames, sizeof(frames), MSG_NOSIGNAL);
	assert_true(sent < 0);
	stage_wait_sessions(&play.stage, 0);
	assert_int_equal(stage_reason(&play.stage, CV_PEER_TOO_LONG), 1);
	play_done(&play);
}

static void test_id_in_use(void **state)
{
	struct play play;
	int upstream;

	(void)state;
	play_start(&play);
	upstream = open_stream(&play, 1);
	talk_open(&play.talk, 1, CV_MUX_TCP, play.port, "again");
	talk_expect_end(&play.talk, 1, true);
	stage_expect_reset(upstream);
	(void)close(upstream);
	stage_wait_sessions(&play.stage, 1);
	assert_int_equal(stage_reason(&play.stage, CV_PEER_UNEXPECTED_MESSAGE), 1);
	play_done(&play);
}

static void test_carrier_in_carrier(void **state)
{
	struct cv_mux_frame frame = {
		.session = 1, .status = CV_MUX_NEW, .network = CV_MUX_TCP};
	uint8_t header[CV_MUX_HEADER_MAX];
	struct play play;

	(void)state;
	play_start(&play);
	assert_int_equal(cv_destination_set_text(&frame.address, "V1.mux.cool", 9527), 0);
	stage_send(play.talk.fd, header, cv_mux_frame_write(&frame, CV_MUX_FORWARD, header));
	talk_expect_end(&play.talk, 1, true);
	play_done(&play);
}

static void test_too_many_streams(void **state)
{
	int upstream[3];
	struct play play;

	(void)state;
	play_init(&play);
	play.stage.config.daemon.max_streams = 3;
	stage_start(&play.stage, NULL);
	play_request(&play);
	for (uint16_t i = 0; i < 3; i++)
		upstream[i] = open_stream(&play, (uint16_t)(i + 1));
	talk_open(&play.talk, 4, CV_MUX_TCP, play.port, "x");
	talk_expect_end(&play.talk, 4, true);
	(void)close(upstream[1]);
	talk_expect_end(&play.talk, 2, false);
	stage_wait_sessions(&play.stage, 3);
	upstream[1] = open_stream(&play, 5);
	for (int i = 0; i < 3; i++)
		(void)close(upstream[i]);
	play_done(&play);
}

/* ---- what makes no sense ------------------------------------------------------------------ */

static void play_nonsense(const char *bytes, size_t len_bytes, int reason)
{
	struct play play;
	int upstream;

	play_start(&play);
	upstream = open_stream(&play, 1);
	stage_send(play.talk.fd, bytes, len_bytes);
	talk_expect_closed(&play.talk);
	stage_expect_reset(upstream);
	(void)close(upstream);
	assert_int_equal(stage_reason(&play.stage, reason), 1);
	play_done(&play);
}

static void test_nonsense(void **state)
{
	(void)state;
	play_nonsense("\000\003", 2, CV_PEER_DECODE);
	play_nonsense("\002\001", 2, CV_PEER_DECODE);
	play_nonsense("\000\004\000\001\000\000", 6, CV_PEER_DECODE);
	play_nonsense("\000\004\000\001\005\000", 6, CV_PEER_DECODE);
	play_nonsense("\000\014\000\002\001\000\003\000\120\001\001\002\003\004", 14,
		      CV_PEER_DECODE);
	play_nonsense("\000\014\000\002\001\000\001\000\120\011\001\002\003\004", 14,
		      CV_PEER_ADDRESS);
}

static void test_end_inside_a_frame(void **state)
{
	struct play play;
	int upstream;

	(void)state;
	play_start(&play);
	upstream = open_stream(&play, 1);
	stage_send(play.talk.fd, "\000\004\000\001\002\001\000\005ab", 10);
	stage_expect(upstream, "ab", 2);
	(void)shutdown(play.talk.fd, SHUT_WR);
	stage_expect_reset(upstream);
	(void)close(upstream);
	talk_expect_closed(&play.talk);
	assert_int_equal(stage_reason(&play.stage, CV_PEER_TRUNCATED), 1);
	play_done(&play);
}

/* ---- slow streams ------------------------------------------------------------------------- */

/* Sends to stream 1, which takes nothing, until stream 2 does not get through any more. */
static void test_stalled_stream(void **state)
{
	static uint8_t data[32768];
	struct play play;
	int stalled, other;

	(void)state;
	play_start(&play);
	stalled = open_stream(&play, 1);
	other = open_stream(&play, 2);
	for (int i = 0; i < 1024; i++) /* 32 MiB: more than queues and sockets hold */
		talk_keep(&play.talk, 1, data, sizeof(data));
	talk_keep(&play.talk, 2, "through", 7);
	stage_expect(other, "through", 7);
	assert_int_equal(stage_reason(&play.stage, CV_POLICY_STALLED), 1);
	talk_expect_end(&play.talk, 1, true);
	talk_expect_end(&play.talk, 1, false); /* for what was on its way */
	stage_send(other, "back", 4);
	talk_expect(&play.talk, 2, "back");
	(void)close(stalled);
	(void)close(other);
	talk_expect_end(&play.talk, 2, false);
	play_done(&play);
}

/* As much as fits; until nothing more was taken for a while. Returns how much. */
static size_t fill(struct play *play, uint16_t id)
{
	static uint8_t data[CV_MUX_KEEP_BYTES + 32768] = {0, 4, 0, 0, CV_MUX_KEEP, 1, 0x80, 0};
	struct pollfd wait = {.fd = play->talk.fd, .events = POLLOUT};
	size_t sent = 0, at = 0;

	data[3] = (uint8_t)id;
	while (poll(&wait, 1, 1500) == 1) {
		const ssize_t count = send(play->talk.fd, data + at, sizeof(data) - at,
					   MSG_DONTWAIT | MSG_NOSIGNAL);

		assert_true(count > 0);
		at = (at + (size_t)count) % sizeof(data);
		sent += (size_t)count;
	}
	assert_true(sent > CV_MUX_KEEP_BYTES);
	/* the rest of the last frame has to follow, whenever there is room */
	assert_int_equal(fcntl(play->talk.fd, F_SETFL, O_NONBLOCK), 0);
	play->left = data + at;
	play->left_bytes = at ? sizeof(data) - at : 0;
	return sent + play->left_bytes;
}

static void send_left(struct play *play)
{
	const ssize_t count =
		send(play->talk.fd, play->left, play->left_bytes, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (count <= 0)
		return;
	play->left += count;
	play->left_bytes -= (size_t)count;
}

/* Alone it may take its time, though the carrier is full. */
static void test_slow_but_alone(void **state)
{
	static uint8_t data[32768];
	struct play play;
	size_t sent, got = 0;
	int upstream;

	(void)state;
	play_start(&play);
	upstream = open_stream(&play, 1);
	sent = fill(&play, 1);
	sent -= (sent / (CV_MUX_KEEP_BYTES + sizeof(data))) * CV_MUX_KEEP_BYTES;
	while (got < sent) {
		const ssize_t count = recv(upstream, data, sizeof(data), 0);

		assert_true(count > 0);
		got += (size_t)count;
		send_left(&play);
	}
	assert_int_equal(got, sent);
	assert_int_equal(stage_reason(&play.stage, CV_POLICY_STALLED), 0);
	assert_int_equal(fcntl(play.talk.fd, F_SETFL, 0), 0);
	(void)close(upstream);
	talk_expect_end(&play.talk, 1, false);
	play_done(&play);
}

/* ---- datagrams ---------------------------------------------------------------------------- */

static void test_datagrams(void **state)
{
	struct cv_sockaddr addresses[2], from = {.len_bytes = sizeof(from.in)};
	struct cv_mux_frame frame = {.session = 5, .status = CV_MUX_KEEP};
	uint8_t header[CV_MUX_HEADER_MAX], bytes[64];
	struct cv_destination source;
	struct play play;
	int near_host, far_host;

	(void)state;
	play_start(&play);
	near_host = talk_udp_socket(&addresses[0]);
	far_host = talk_udp_socket(&addresses[1]);
	talk_open(&play.talk, 5, CV_MUX_UDP, cv_sockaddr_port(&addresses[0]), "ping");
	assert_int_equal(recvfrom(near_host, bytes, sizeof(bytes), 0, &from.any, &from.len_bytes),
			 4);
	assert_memory_equal(bytes, "ping", 4);
	/* another destination on the same stream, from the same socket */
	assert_true(cv_sockaddr_to_destination(&addresses[1], &frame.address));
	frame.has_data = true;
	frame.data_bytes = 0;
	stage_send(play.talk.fd, header, cv_mux_frame_write(&frame, CV_MUX_FORWARD, header));
	assert_int_equal(recv(far_host, bytes, sizeof(bytes), 0), 0); /* an empty one */
	/* who answers is said */
	assert_int_equal(sendto(far_host, "pong", 4, 0, &from.any, from.len_bytes), 4);
	frame = talk_frame(&play.talk, bytes);
	assert_int_equal(frame.status, CV_MUX_KEEP);
	assert_int_equal(frame.session, 5);
	assert_int_equal(frame.data_bytes, 4);
	assert_memory_equal(bytes, "pong", 4);
	assert_true(cv_sockaddr_to_destination(&addresses[1], &source));
	assert_true(cv_destination_same_host(&frame.address, &source));
	assert_int_equal(frame.address.port, source.port);
	assert_int_equal(atomic_load(&play.stage.worker.counters.sessions), 2);
	talk_end(&play.talk, 5, false);
	stage_wait_sessions(&play.stage, 1);
	(void)close(near_host);
	(void)close(far_host);
	play_done(&play);
}

/* Opens a stream with a datagram; returns the port that it comes from, where an answer is sent. */
static uint16_t open_datagrams(struct play *play, uint16_t id, int host,
			       const struct cv_sockaddr *address)
{
	struct cv_mux_frame opening = {.session = id,
				       .status = CV_MUX_NEW,
				       .network = CV_MUX_UDP,
				       .has_data = true,
				       .data_bytes = 1,
				       .has_global_id = true,
				       .global_id = {1, 2, 3}};
	uint8_t bytes[CV_MUX_HEADER_MAX + 1];
	struct cv_sockaddr from = {.len_bytes = sizeof(from.in)};
	size_t len;

	assert_true(cv_sockaddr_to_destination(address, &opening.address));
	len = cv_mux_frame_write(&opening, CV_MUX_FORWARD, bytes);
	bytes[len] = 'x';
	stage_send(play->talk.fd, bytes, len + 1);
	assert_int_equal(recvfrom(host, bytes, sizeof(bytes), 0, &from.any, &from.len_bytes), 1);
	assert_int_equal(sendto(host, "y", 1, 0, &from.any, from.len_bytes), 1);
	return cv_sockaddr_port(&from);
}

/* With the same GlobalID, after the stream has ended and while it still lives. */
static void test_datagrams_keep_their_port(void **state)
{
	struct cv_sockaddr address;
	struct play play;
	uint16_t port;
	int host;

	(void)state;
	play_start(&play);
	host = talk_udp_socket(&address);
	port = open_datagrams(&play, 1, host, &address);
	talk_expect(&play.talk, 1, "y");
	talk_end(&play.talk, 1, false);
	stage_wait_sessions(&play.stage, 1);
	assert_int_equal(open_datagrams(&play, 2, host, &address), port);
	talk_expect(&play.talk, 2, "y");
	assert_int_equal(open_datagrams(&play, 3, host, &address), port);
	for (int left = 2; left > 0; left--) { /* the answer, and the other one's end */
		const struct cv_mux_frame frame = talk_frame(&play.talk, NULL);

		assert_int_equal(frame.session, frame.status == CV_MUX_END ? 2 : 3);
	}
	(void)close(host);
	play_done(&play);
}

static void test_datagram_too_long(void **state)
{
	static uint8_t data[CV_MUX_DATAGRAM_MAX + 1];
	struct cv_sockaddr address;
	struct play play;
	int host;

	(void)state;
	play_start(&play);
	host = talk_udp_socket(&address);
	talk_open(&play.talk, 1, CV_MUX_UDP, cv_sockaddr_port(&address), "x");
	talk_keep(&play.talk, 1, data, sizeof(data));
	talk_expect_closed(&play.talk);
	stage_wait_sessions(&play.stage, 0);
	assert_int_equal(stage_reason(&play.stage, CV_PEER_TOO_LONG), 1);
	(void)close(host);
	play_done(&play);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_stream),
		cmocka_unit_test(test_streams_do_not_mix),
		cmocka_unit_test(test_end_after_all_data),
		cmocka_unit_test(test_data_before_the_peers_end_arrives),
		cmocka_unit_test(test_one_byte_at_a_time),
		cmocka_unit_test(test_split_at_each_byte),
		cmocka_unit_test(test_refused_target),
		cmocka_unit_test(test_flood_of_streams),
		cmocka_unit_test(test_resets),
		cmocka_unit_test(test_reset_in_between),
		cmocka_unit_test(test_carrier_closed_in_order),
		cmocka_unit_test(test_unknown_streams),
		cmocka_unit_test(test_flood_of_unknown_streams),
		cmocka_unit_test(test_id_in_use),
		cmocka_unit_test(test_carrier_in_carrier),
		cmocka_unit_test(test_too_many_streams),
		cmocka_unit_test(test_nonsense),
		cmocka_unit_test(test_end_inside_a_frame),
		cmocka_unit_test(test_stalled_stream),
		cmocka_unit_test(test_slow_but_alone),
		cmocka_unit_test(test_datagrams),
		cmocka_unit_test(test_datagrams_keep_their_port),
		cmocka_unit_test(test_datagram_too_long),
	};

	return cmocka_run_group_tests_name("carrier", tests, NULL, NULL);
}
