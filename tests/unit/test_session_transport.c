// SPDX-License-Identifier: MIT
/*
 * test_session_transport.c - a VLESS inbound behind WebSocket and HTTPUpgrade on a real worker: who
 * is let in and who meets the fallback, frames that come too early or in pieces, and ends from both
 * sides.
 */
#include "h2_talk.h"
#include "session_stage.h"

#include "base/reason.h"
#include "policy/user.h"
#include "protocol/transport.h"
#include "wire/websocket.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define KEYS "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define UPGRADE "Host: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
#define ASK "GET /x HTTP/1.1\r\n" UPGRADE KEYS
#define YES "HTTP/1.1 101 Switching Protocols\r\n"

static char nothing[] = "", path[] = "/x";
static const uint8_t mask[CV_WEBSOCKET_MASK_LEN] = {0x11, 0x22, 0x33, 0x44};

struct play {
	struct session_stage stage;
	struct cv_transport transport;
	struct cv_fallback fallback;
	int client, upstream;
};

static void play_start(struct play *play, enum cv_transport_kind kind, bool with_fallback)
{
	struct cv_user user = {.uuid = {1},
			       .name = nothing,
			       .email = nothing,
			       .password = nothing,
			       .enabled = true};
	struct cv_inbound *inbound = &play->stage.inbound;

	memset(play, 0, sizeof(*play));
	stage_init(&play->stage);
	play->transport = (struct cv_transport){.kind = kind,
						.path = path,
						.host = nothing,
						.headers = nothing,
						.method = nothing,
						.trusted = nothing};
	inbound->protocol = CV_INBOUND_VLESS;
	inbound->transport = &play->transport;
	inbound->users = cv_user_table_new(&user, 1);
	assert_non_null(inbound->users);
	play->fallback = (struct cv_fallback){.name = nothing, .alpn = nothing, .path = nothing};
	assert_true(cv_sockaddr_to_destination(&play->stage.upstream_address,
					       &play->fallback.destination));
	if (with_fallback) {
		inbound->fallbacks = &play->fallback;
		inbound->fallback_count = 1;
	}
	stage_start(&play->stage, "splice");
	play->client = stage_dial(&play->stage);
}

static void play_done(struct play *play)
{
	if (play->client)
		(void)close(play->client);
	if (play->upstream)
		(void)close(play->upstream);
	stage_wait_sessions(&play->stage, 0);
	stage_done(&play->stage);
	cv_user_table_free(play->stage.inbound.users);
}

static size_t vless_request(struct play *play, uint8_t request[26])
{
	uint16_t port = cv_sockaddr_port(&play->stage.upstream_address);
	const uint8_t tail[] = {0, 1, (uint8_t)(port >> 8), (uint8_t)port, 1, 127, 0, 0, 1};

	memset(request, 0, 26);
	request[1] = 1;
	memcpy(request + 17, tail, sizeof(tail));
	return 26;
}

static size_t frame(uint8_t *to, enum cv_websocket_opcode opcode, const void *payload, size_t len)
{
	const size_t head_len = cv_websocket_head_write(opcode, len, mask, to);

	if (len > 0)
		cv_websocket_mask(to + head_len, payload, len, mask, 0);
	return head_len + len;
}

static void send_frame(struct play *play, enum cv_websocket_opcode opcode, const void *payload,
		       size_t len)
{
	uint8_t bytes[512];

	stage_send(play->client, bytes, frame(bytes, opcode, payload, len));
}

/* Byte by byte, because what follows the head belongs to the test. */
static void expect_head(int fd, const char *first_line)
{
	char text[1024];
	size_t len = 0;

	while (len < 4 || memcmp(text + len - 4, "\r\n\r\n", 4) != 0) {
		assert_true(len < sizeof(text) - 1);
		assert_int_equal(recv(fd, text + len, 1, 0), 1);
		len++;
	}
	text[len] = '\0';
	if (strncmp(text, first_line, strlen(first_line)) != 0)
		fail_msg("%s", text);
}

/* Handshake, request, answer: both sides are connected. */
static void open_tunnel(struct play *play)
{
	uint8_t request[26];

	stage_send(play->client, ASK "\r\n", sizeof(ASK "\r\n") - 1);
	expect_head(play->client, YES);
	send_frame(play, CV_WEBSOCKET_BINARY, request, vless_request(play, request));
	play->upstream = stage_accept(&play->stage);
}

static void test_both_ways(void **state)
{
	struct play play;

	(void)state;
	play_start(&play, CV_TRANSPORT_WEBSOCKET, false);
	open_tunnel(&play);
	send_frame(&play, CV_WEBSOCKET_TEXT, "question", 8);
	stage_expect(play.upstream, "question", 8);
	stage_send(play.upstream, "answer", 6);
	stage_expect(play.client, "\x82\x08\0\0answer", 10);
	send_frame(&play, CV_WEBSOCKET_PING, "p", 1);
	stage_expect(play.client, "\x8a\x01p", 3);
	(void)shutdown(play.upstream, SHUT_WR); /* the destination's end is the end of both */
	stage_expect(play.client, "\x88\x02\x03\xe8", 4);
	stage_expect_fin(play.client);
	send_frame(&play, CV_WEBSOCKET_CLOSE, "\x03\xe8", 2);
	stage_expect_fin(play.upstream);
	stage_wait_sessions(&play.stage, 0);
	assert_int_equal(stage_reason(&play.stage, CV_PEER_TRUNCATED), 0);
	play_done(&play);
}

static void test_the_clients_end(void **state)
{
	struct play play;

	(void)state;
	play_start(&play, CV_TRANSPORT_WEBSOCKET, false);
	open_tunnel(&play);
	send_frame(&play, CV_WEBSOCKET_BINARY, "last", 4);
	send_frame(&play, CV_WEBSOCKET_CLOSE, NULL, 0);
	stage_expect(play.upstream, "last", 4);
	stage_expect_fin(play.upstream);
	stage_expect(play.client, "\x88\0", 2);
	stage_expect_fin(play.client);
	play_done(&play);
}

static void test_the_end_without_a_word(void **state)
{
	struct play play;

	(void)state;
	play_start(&play, CV_TRANSPORT_WEBSOCKET, false);
	open_tunnel(&play);
	(void)shutdown(play.client, SHUT_WR);
	stage_expect_reset(play.upstream);
	stage_wait_sessions(&play.stage, 0);
	assert_int_equal(stage_reason(&play.stage, CV_PEER_TRUNCATED), 1);
	play_done(&play);
}

/* The first half of a frame in the segment of the request, the rest later. */
static void test_frames_ahead_of_the_answer(void **state)
{
	uint8_t bytes[512], request[26];
	size_t len = sizeof(ASK "\r\n") - 1, frame_len;
	struct play play;

	(void)state;
	play_start(&play, CV_TRANSPORT_WEBSOCKET, false);
	memcpy(bytes, ASK "\r\n", len);
	frame_len = frame(bytes + len, CV_WEBSOCKET_BINARY, request,
			  vless_request(&play, request));
	stage_send(play.client, bytes, len + 3);
	expect_head(play.client, YES);
	for (size_t i = 3; i < frame_len; i++)
		stage_send(play.client, bytes + len + i, 1);
	play.upstream = stage_accept(&play.stage);
	send_frame(&play, CV_WEBSOCKET_BINARY, "x", 1);
	stage_expect(play.upstream, "x", 1);
	play_done(&play);
}

static void test_early_data(void **state)
{
	/* 26 bytes of a request for 127.0.0.1, with the port of this run in the middle */
	static const char alphabet[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	uint8_t request[27] = {0};
	char text[37] = "", head[512];
	struct play play;
	int len;

	(void)state;
	play_start(&play, CV_TRANSPORT_WEBSOCKET, false);
	(void)vless_request(&play, request);
	request[26] = '!';
	for (size_t i = 0; i < 36; i++) {
		const unsigned bit = (unsigned)i * 6, byte = bit / 8;
		const unsigned both = (unsigned)request[byte] << 8 |
				      (byte + 1 < 27 ? request[byte + 1] : 0u);

		text[i] = alphabet[both >> (10 - bit % 8) & 63];
	}
	len = snprintf(head, sizeof(head), ASK "Sec-WebSocket-Protocol: %s\r\n\r\n", text);
	stage_send(play.client, head, (size_t)len);
	expect_head(play.client, YES);
	play.upstream = stage_accept(&play.stage);
	stage_expect(play.upstream, "!", 1);
	play_done(&play);
}

static void test_strangers_meet_the_fallback(void **state)
{
	static const char *const requests[] = {
		"GET /y HTTP/1.1\r\n" UPGRADE KEYS "\r\n",
		"GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n",
		"HEAD\t/x\r\n",
		"\x16\x03\x01",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
		struct play play;

		play_start(&play, CV_TRANSPORT_WEBSOCKET, true);
		stage_send(play.client, requests[i], strlen(requests[i]));
		play.upstream = stage_accept(&play.stage);
		stage_expect(play.upstream, requests[i], strlen(requests[i]));
		stage_send(play.upstream, "page", 4);
		stage_expect(play.client, "page", 4);
		assert_int_equal(stage_reason(&play.stage, CV_PEER_NO_UPGRADE), 1);
		play_done(&play);
	}
}

static void test_without_fallback(void **state)
{
	struct play play;

	(void)state;
	play_start(&play, CV_TRANSPORT_WEBSOCKET, false);
	stage_send(play.client, "GET /y HTTP/1.1\r\n" UPGRADE KEYS "\r\n",
		   sizeof("GET /y HTTP/1.1\r\n" UPGRADE KEYS "\r\n") - 1);
	expect_head(play.client, "HTTP/1.1 404 Not Found\r\nDate: ");
	open_tunnel(&play); /* on the same connection */
	send_frame(&play, CV_WEBSOCKET_BINARY, "x", 1);
	stage_expect(play.upstream, "x", 1);
	play_done(&play);
}

static void test_httpupgrade_keeps_what_follows(void **state)
{
	static const char ask[] = "GET /x HTTP/1.1\r\n" UPGRADE "\r\n";
	uint8_t bytes[256];
	size_t len = sizeof(ask) - 1;
	struct play play;

	(void)state;
	play_start(&play, CV_TRANSPORT_HTTPUPGRADE, false);
	memcpy(bytes, ask, len);
	len += vless_request(&play, bytes + len);
	bytes[len++] = '!';
	stage_send(play.client, bytes, len);
	expect_head(play.client, YES "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
	play.upstream = stage_accept(&play.stage);
	stage_expect(play.upstream, "!", 1);
	stage_send(play.upstream, "answer", 6);
	stage_expect(play.client, "\0\0answer", 8);
	stage_send_pattern(play.client, 100000); /* by the kernel now */
	stage_expect_pattern(play.upstream, 100000);
	assert_true(stage_handovers(&play.stage, 0) > 0);
	(void)shutdown(play.client, SHUT_WR);
	stage_expect_fin(play.upstream);
	play_done(&play);
}

/* ---- HTTP/2 ------------------------------------------------------------------------------- */

/* The payload of the next DATA frame with any; others are passed over. Returns its stream. */
static uint8_t read_data(int fd, uint8_t *payload, size_t *ret_len)
{
	for (;;) {
		uint8_t head[9], rest[16384];
		size_t len;

		assert_int_equal(recv(fd, head, sizeof(head), MSG_WAITALL), sizeof(head));
		len = (size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2];
		assert_true(len <= sizeof(rest));
		if (len > 0)
			assert_int_equal(recv(fd, rest, len, MSG_WAITALL), len);
		if (head[3] != 0 || len == 0)
			continue;
		memcpy(payload, rest, len);
		*ret_len = len;
		return head[8];
	}
}

static void send_data(struct play *play, uint8_t stream, uint8_t flags, const void *bytes,
		      size_t len)
{
	uint8_t frame_bytes[256];

	stage_send(play->client, frame_bytes,
		   h2_put_frame(frame_bytes, 0, flags, stream, bytes, len));
}

static void expect_data(struct play *play, uint8_t stream, const char *expected)
{
	const size_t expected_len = strlen(expected + 2) + 2; /* behind a header of two zeros */
	uint8_t payload[16384];
	size_t len;

	assert_int_equal(read_data(play->client, payload, &len), stream);
	assert_int_equal(len, expected_len);
	assert_memory_equal(payload, expected, len);
}

/* Two clients' connections in one: each begins, goes on and ends by itself. */
static void test_streams_of_http2(void **state)
{
	uint8_t bytes[512], request[27];
	struct play play;
	size_t len, begun;
	int second;

	(void)state;
	play_start(&play, CV_TRANSPORT_H2, true);
	len = h2_put_preface(bytes);
	begun = len - 5;
	stage_send(play.client, bytes, begun); /* nobody's yet, not even the fallback's */
	len += h2_put_request(bytes + len, 1, "/x");
	len += h2_put_request(bytes + len, 3, "/x");
	(void)vless_request(&play, request);
	request[26] = '1';
	len += h2_put_frame(bytes + len, 0, 0, 1, request, 27);
	stage_send(play.client, bytes + begun, len - begun);
	play.upstream = stage_accept(&play.stage);
	stage_expect(play.upstream, "1", 1);
	(void)vless_request(&play, request);
	request[26] = '2';
	send_data(&play, 3, 0, request, 27);
	second = stage_accept(&play.stage);
	stage_expect(second, "2", 1);
	stage_wait_sessions(&play.stage, 3); /* and the connection itself */
	stage_send(second, "to the second", 13);
	expect_data(&play, 3, "\0\0to the second");
	send_data(&play, 1, 0x1, "last", 4); /* END_STREAM: nothing more of the first */
	stage_expect(play.upstream, "last", 4);
	stage_expect_fin(play.upstream);
	stage_send(play.upstream, "still", 5);
	expect_data(&play, 1, "\0\0still");
	(void)shutdown(play.upstream, SHUT_WR);
	stage_wait_sessions(&play.stage, 2);
	len = h2_put_frame(bytes, 3, 0, 3, "\0\0\0\x8", 4);
	stage_send(play.client, bytes, len); /* RST_STREAM */
	stage_expect_reset(second);
	(void)close(second);
	stage_wait_sessions(&play.stage, 1);
	play_done(&play);
}

static void test_http2_of_strangers(void **state)
{
	uint8_t bytes[512];
	struct play play;
	size_t len = h2_put_preface(bytes);

	(void)state;
	play_start(&play, CV_TRANSPORT_H2, true);
	len += h2_put_request(bytes + len, 1, "/y");
	stage_send(play.client, bytes, 40);
	stage_send(play.client, bytes + 40, len - 40);
	play.upstream = stage_accept(&play.stage);
	stage_expect(play.upstream, bytes, len);
	stage_send(play.upstream, "page", 4); /* and not a byte of ours before it */
	stage_expect(play.client, "page", 4);
	play_done(&play);
}

/* Half a request and no more of it is for the site to judge, too. */
static void test_half_a_request(void **state)
{
	static const char half[] = "GET /x HTTP/1.1\r\nHo";
	struct play play;

	(void)state;
	play_start(&play, CV_TRANSPORT_WEBSOCKET, true);
	stage_send(play.client, half, sizeof(half) - 1);
	(void)shutdown(play.client, SHUT_WR);
	play.upstream = stage_accept(&play.stage);
	stage_expect(play.upstream, half, sizeof(half) - 1);
	stage_expect_fin(play.upstream);
	stage_send(play.upstream, "400", 3);
	stage_expect(play.client, "400", 3);
	play_done(&play);
}

/* Whatever was said until then: nothing is left of a client that resets. */
static void test_resets(void **state)
{
	static const char ask[] = ASK "\r\n";
	static const size_t cuts[] = {0, 1, 40, sizeof(ask) - 2, sizeof(ask) - 1};

	(void)state;
	for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
		struct play play;

		play_start(&play, CV_TRANSPORT_WEBSOCKET, false);
		if (cuts[i])
			stage_send(play.client, ask, cuts[i]);
		stage_wait_sessions(&play.stage, 1);
		stage_reset(play.client);
		play.client = 0;
		play_done(&play);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_both_ways),
		cmocka_unit_test(test_the_clients_end),
		cmocka_unit_test(test_the_end_without_a_word),
		cmocka_unit_test(test_frames_ahead_of_the_answer),
		cmocka_unit_test(test_early_data),
		cmocka_unit_test(test_strangers_meet_the_fallback),
		cmocka_unit_test(test_without_fallback),
		cmocka_unit_test(test_httpupgrade_keeps_what_follows),
		cmocka_unit_test(test_streams_of_http2),
		cmocka_unit_test(test_http2_of_strangers),
		cmocka_unit_test(test_half_a_request),
		cmocka_unit_test(test_resets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
