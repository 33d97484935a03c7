// SPDX-License-Identifier: MIT
/*
 * test_websocket_layer.c - WebSocket and HTTPUpgrade as layers: the handshake of a client, early
 * data, what is held until the answer, frames both ways, pings, and how it ends.
 *
 * Where a server's handshake is needed the test does it, as a session does.
 */
#include "protocol/transport.h"

#include "protocol/upgrade_client.h"
#include "wire/websocket.h"

#include "layer_talk.h"

#include <culvert/reason.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char path[] = "/x", host[] = "", headers[] = "", method[] = "GET";

static struct cv_transport transport_of(enum cv_transport_kind kind, uint32_t early_bytes)
{
	return (struct cv_transport){
		.kind = kind, .path = path, .host = host, .headers = headers, .method = method,
		.early_bytes = early_bytes};
}

static void start_client(struct talker *client, const struct cv_transport *transport)
{
	const struct cv_transport_place place = {.host = "a.test"};
	struct cv_layer *layer = cv_transport_client_layer_new(transport, &place);

	assert_non_null(layer);
	talk_start(client, layer);
	assert_int_equal(talk_begin(client), 0);
}

static void start_server(struct talker *server)
{
	struct cv_layer *layer = cv_websocket_server_layer_new();

	assert_non_null(layer);
	talk_start(server, layer);
}

/* Takes the request off what the client said, answers, and returns what early data there were. */
static struct cv_buffer agree(struct talker *client, enum cv_upgrade kind, const char *more)
{
	char accept[CV_WEBSOCKET_ACCEPT_TEXT + 1] = "";
	struct cv_http_head head;
	struct cv_buffer early, text;
	struct cv_span echo = {0};
	unsigned status;

	cv_buffer_init(&early, 16384);
	cv_buffer_init(&text, 32768);
	assert_int_equal(
		cv_http_request_head_read(cv_buffer_span(&client->said), &head, &status), 0);
	assert_int_equal(cv_upgrade_judge(kind, &head, "/x", "a.test"), 101);
	if (kind == CV_UPGRADE_WEBSOCKET) {
		assert_int_equal(cv_websocket_accept(cv_upgrade_key(&head), accept), 0);
		assert_int_equal(cv_upgrade_early(&head, &early, &echo), 0);
	}
	assert_int_equal(cv_upgrade_accept(kind, accept, echo, &text), 0);
	cv_buffer_consume(&client->said, head.len_bytes);
	assert_int_equal(cv_buffer_append(&text, more, strlen(more)), 0);
	assert_int_equal(talk_hear(client, cv_buffer_bytes(&text), cv_buffer_len(&text)), 0);
	cv_buffer_done(&text);
	return early;
}

static void expect_app(struct talker *talker, const void *bytes, size_t len)
{
	assert_int_equal(cv_buffer_len(&talker->app), len);
	if (len)
		assert_memory_equal(cv_buffer_bytes(&talker->app), bytes, len);
	cv_buffer_done(&talker->app);
}

static void open_pair(struct talker *client, struct talker *server,
		      const struct cv_transport *transport)
{
	struct cv_buffer early;

	start_client(client, transport);
	start_server(server);
	assert_true(client->layer->is_opening);
	early = agree(client, CV_UPGRADE_WEBSOCKET, "");
	assert_int_equal(cv_buffer_len(&early), 0);
	assert_false(client->layer->is_opening);
	cv_buffer_done(&early);
}

/* ---- frames ------------------------------------------------------------------------------- */

static void bytes_both_ways(void **state)
{
	const struct cv_transport transport = transport_of(CV_TRANSPORT_WEBSOCKET, 0);
	static uint8_t batch[65536];
	struct talker client, server;

	(void)state;
	for (size_t i = 0; i < sizeof(batch); i++)
		batch[i] = (uint8_t)(i * 7 + (i >> 8));
	open_pair(&client, &server, &transport);
	assert_int_equal(talk_say(&client, "request", 7), 0);
	assert_int_not_equal(cv_buffer_bytes(&client.said)[1] & 0x80, 0); /* masked */
	assert_int_equal(talk_pass(&client, &server, SIZE_MAX), 0);
	expect_app(&server, "request", 7);
	server.units = 0;
	assert_int_equal(talk_say(&server, batch, sizeof(batch)), 0);
	assert_true(server.units >= 4);
	for (size_t i = 0; i < server.units; i++)
		assert_true(server.unit_len[i] <= 16384); /* one TLS record each */
	assert_int_equal(talk_pass(&server, &client, SIZE_MAX), 0);
	expect_app(&client, batch, sizeof(batch));
	assert_int_equal(talk_say(&client, batch, sizeof(batch)), 0);
	while (cv_buffer_len(&client.said) > 0)
		assert_int_equal(talk_pass(&client, &server, 777), 0);
	expect_app(&server, batch, sizeof(batch));
	talk_stop(&client);
	talk_stop(&server);
}

static void each_frame_has_another_mask(void **state)
{
	const struct cv_transport transport = transport_of(CV_TRANSPORT_WEBSOCKET, 0);
	struct talker client, server;
	uint8_t first[9];

	(void)state;
	open_pair(&client, &server, &transport);
	assert_int_equal(talk_say(&client, "abc", 3), 0);
	memcpy(first, cv_buffer_bytes(&client.said), sizeof(first));
	assert_int_equal(talk_say(&client, "abc", 3), 0);
	assert_memory_not_equal(first + 2, cv_buffer_bytes(&client.said) + 9 + 2, 4);
	talk_stop(&client);
	talk_stop(&server);
}

static void a_ping_is_answered(void **state)
{
	const struct cv_transport transport = transport_of(CV_TRANSPORT_WEBSOCKET, 0);
	struct talker client, server;

	(void)state;
	open_pair(&client, &server, &transport);
	assert_int_equal(talk_hear(&client, "\x89\x04" "ping", 6), 0);
	assert_int_equal(cv_buffer_bytes(&client.said)[0], 0x8a);
	assert_int_equal(cv_buffer_len(&client.said), 2 + 4 + 4);
	assert_int_equal(talk_pass(&client, &server, SIZE_MAX), 0); /* a pong: nothing happens */
	expect_app(&server, "", 0);
	assert_int_equal(talk_hear(&server, "\x89\x80\0\0\0\0", 6), 0);
	assert_int_equal(cv_buffer_len(&server.said), 2);
	assert_memory_equal(cv_buffer_bytes(&server.said), "\x8a\0", 2);
	talk_stop(&client);
	talk_stop(&server);
}

/* ---- the handshake ------------------------------------------------------------------------ */

static void what_is_said_early_is_held(void **state)
{
	const struct cv_transport transport = transport_of(CV_TRANSPORT_WEBSOCKET, 4);
	struct talker client, server;
	struct cv_buffer early;

	(void)state;
	start_client(&client, &transport);
	start_server(&server);
	assert_false(client.layer->is_opening); /* the session goes on, nothing is said yet */
	assert_int_equal(cv_buffer_len(&client.said), 0);
	assert_int_equal(talk_say(&client, "five!", 5), 0); /* longer than allowed */
	assert_int_equal(talk_say(&client, "more", 4), 0);
	assert_int_equal(client.layer->held_bytes, 9);
	early = agree(&client, CV_UPGRADE_WEBSOCKET, "");
	assert_int_equal(cv_buffer_len(&early), 0);
	assert_int_equal(client.layer->held_bytes, 0);
	assert_int_equal(talk_pass(&client, &server, SIZE_MAX), 0);
	expect_app(&server, "five!more", 9);
	cv_buffer_done(&early);
	talk_stop(&client);
	talk_stop(&server);
}

static void early_data_are_not_repeated(void **state)
{
	const struct cv_transport transport = transport_of(CV_TRANSPORT_WEBSOCKET, 2048);
	struct talker client, server;
	struct cv_buffer early;

	(void)state;
	start_client(&client, &transport);
	start_server(&server);
	assert_int_equal(talk_say(&client, "first", 5), 0);
	assert_int_equal(client.layer->held_bytes, 0);
	assert_int_equal(talk_say(&client, "second", 6), 0);
	early = agree(&client, CV_UPGRADE_WEBSOCKET, "\x82\x02" "hi");
	assert_int_equal(cv_buffer_len(&early), 5);
	assert_memory_equal(cv_buffer_bytes(&early), "first", 5);
	expect_app(&client, "hi", 2); /* came with the answer */
	assert_int_equal(talk_pass(&client, &server, SIZE_MAX), 0);
	expect_app(&server, "second", 6);
	cv_buffer_done(&early);
	talk_stop(&client);
	talk_stop(&server);
}

static void no_upgrade_is_an_error(void **state)
{
	static const struct {
		const char *text;
		int reason;
	} cases[] = {
		{"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", CV_UPSTREAM_NO_UPGRADE},
		{"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n", CV_UPSTREAM_NO_UPGRADE},
		{"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
		 "Connection: Upgrade\r\n"
		 "Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n",
		 CV_UPSTREAM_DECODE},
		{"SSH-2.0-x\r\n", CV_UPSTREAM_DECODE},
	};
	const struct cv_transport transport = transport_of(CV_TRANSPORT_WEBSOCKET, 0);

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct talker client;

		start_client(&client, &transport);
		assert_int_equal(talk_hear(&client, cases[i].text, strlen(cases[i].text)),
				 cases[i].reason);
		talk_stop(&client);
	}
}

static void interim_answers_are_skipped(void **state)
{
	static const char interim[] = "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n";
	const struct cv_transport transport = transport_of(CV_TRANSPORT_WEBSOCKET, 0);
	struct talker client;
	struct cv_buffer early;

	(void)state;
	start_client(&client, &transport);
	for (size_t i = 0; i < sizeof(interim) - 1; i++)
		assert_int_equal(talk_hear(&client, interim + i, 1), 0);
	assert_true(client.layer->is_opening);
	early = agree(&client, CV_UPGRADE_WEBSOCKET, "");
	assert_false(client.layer->is_opening);
	cv_buffer_done(&early);
	talk_stop(&client);
}

/* ---- ends --------------------------------------------------------------------------------- */

static void an_end_is_answered_and_over(void **state)
{
	const struct cv_transport transport = transport_of(CV_TRANSPORT_WEBSOCKET, 0);
	struct talker client, server;

	(void)state;
	open_pair(&client, &server, &transport);
	assert_int_equal(client.layer->ending, CV_ENDS_BOTH);
	assert_int_equal(talk_say(&server, "last", 4), 0);
	assert_int_equal(talk_end(&server), 0);
	assert_int_equal(talk_end(&server), 0); /* once */
	assert_int_equal(cv_buffer_len(&server.said), 2 + 4 + 2 + 2);
	assert_int_equal(talk_pass(&server, &client, SIZE_MAX), CV_LAYER_EOF);
	expect_app(&client, "last", 4);
	assert_true(client.layer->is_over);
	assert_false(server.layer->is_over);
	assert_int_equal(talk_say(&client, "x", 1), CV_UPSTREAM_RESET);
	assert_int_equal(talk_end(&client), 0);
	assert_int_equal(cv_buffer_len(&client.said), 2 + 4 + 2); /* the answer alone */
	assert_int_equal(talk_pass(&client, &server, SIZE_MAX), CV_LAYER_EOF);
	assert_true(server.layer->is_over);
	assert_int_equal(client.layer->ops->decode_eof(client.layer), 0);
	assert_int_equal(server.layer->ops->decode_eof(server.layer), 0);
	talk_stop(&client);
	talk_stop(&server);
}

static void after_our_end_theirs_goes_on(void **state)
{
	const struct cv_transport transport = transport_of(CV_TRANSPORT_WEBSOCKET, 0);
	struct talker client, server;

	(void)state;
	open_pair(&client, &server, &transport);
	assert_int_equal(talk_say(&client, "upload", 6), 0);
	assert_int_equal(talk_end(&server), 0);
	assert_int_equal(talk_pass(&client, &server, SIZE_MAX), 0);
	expect_app(&server, "upload", 6);
	assert_int_equal(talk_hear(&server, "\x89\x80\0\0\0\0", 6), 0);
	assert_int_equal(cv_buffer_len(&server.said), 4); /* nothing behind a close, no pong */
	talk_stop(&client);
	talk_stop(&server);
}

static void without_goodbye_it_is_cut(void **state)
{
	const struct cv_transport transport = transport_of(CV_TRANSPORT_WEBSOCKET, 0);
	struct talker client, server;

	(void)state;
	open_pair(&client, &server, &transport);
	assert_int_equal(client.layer->ops->decode_eof(client.layer), CV_UPSTREAM_TRUNCATED);
	assert_int_equal(server.layer->ops->decode_eof(server.layer), CV_PEER_TRUNCATED);
	talk_stop(&client);
	talk_stop(&server);
}

static void a_breach_is_answered_with_1002(void **state)
{
	struct talker server;

	(void)state;
	start_server(&server);
	assert_int_equal(talk_hear(&server, "\x82\x01" "x", 3), CV_PEER_DECODE); /* no mask */
	assert_int_equal(cv_buffer_len(&server.said), 4);
	assert_memory_equal(cv_buffer_bytes(&server.said), "\x88\x02\x03\xea", 4);
	talk_stop(&server);
}

static void codes_are_echoed(void **state)
{
	struct talker server;

	(void)state;
	start_server(&server);
	assert_int_equal(talk_hear(&server, "\x88\x82\0\0\0\0\x03\xe9", 8), CV_LAYER_EOF);
	assert_memory_equal(cv_buffer_bytes(&server.said), "\x88\x02\x03\xe9", 4);
	talk_stop(&server);
	start_server(&server);
	assert_int_equal(talk_hear(&server, "\x88\x80\0\0\0\0", 6), CV_LAYER_EOF);
	assert_int_equal(cv_buffer_len(&server.said), 2);
	assert_memory_equal(cv_buffer_bytes(&server.said), "\x88\0", 2);
	talk_stop(&server);
	start_server(&server);
	assert_int_equal(talk_hear(&server, "\x88\x82\0\0\0\0\0\x01", 8), CV_PEER_DECODE);
	assert_memory_equal(cv_buffer_bytes(&server.said), "\x88\x02\x03\xea", 4);
	talk_stop(&server);
}

/* ---- HTTPUpgrade -------------------------------------------------------------------------- */

static void httpupgrade_leaves_nothing(void **state)
{
	const struct cv_transport transport = transport_of(CV_TRANSPORT_HTTPUPGRADE, 0);
	struct talker client;
	struct cv_buffer early;

	(void)state;
	start_client(&client, &transport);
	assert_true(client.layer->is_opening);
	assert_int_equal(client.layer->tx, CV_OPAQUE);
	early = agree(&client, CV_UPGRADE_BARE, "behind");
	assert_false(client.layer->is_opening);
	assert_int_equal(client.layer->rx, CV_CLEAR);
	assert_int_equal(client.layer->tx, CV_CLEAR);
	assert_int_equal(client.layer->ending, CV_ENDS_BY_FIN);
	expect_app(&client, "behind", 6);
	cv_buffer_done(&early);
	talk_stop(&client);
}

static void httpupgrade_need_not_wait(void **state)
{
	const struct cv_transport transport = transport_of(CV_TRANSPORT_HTTPUPGRADE, 2048);
	struct talker client;
	struct cv_buffer early;

	(void)state;
	start_client(&client, &transport);
	assert_false(client.layer->is_opening);
	assert_int_equal(client.layer->tx, CV_CLEAR);
	assert_int_equal(client.layer->rx, CV_OPAQUE);
	assert_int_equal(talk_say(&client, "at once", 7), 0);
	early = agree(&client, CV_UPGRADE_BARE, "answer");
	expect_app(&client, "answer", 6);
	assert_memory_equal(cv_buffer_bytes(&client.said), "at once", 7);
	cv_buffer_done(&early);
	talk_stop(&client);
}

static void httpupgrade_refused(void **state)
{
	const struct cv_transport transport = transport_of(CV_TRANSPORT_HTTPUPGRADE, 0);
	struct talker client;

	(void)state;
	start_client(&client, &transport);
	assert_int_equal(talk_hear(&client, "HTTP/1.1 403 Forbidden\r\n\r\n", 26),
			 CV_UPSTREAM_NO_UPGRADE);
	assert_int_equal(client.layer->ops->decode_eof(client.layer), CV_UPSTREAM_TRUNCATED);
	talk_stop(&client);
}

static void the_key_of_the_rfc(void **state)
{
	char accept[CV_WEBSOCKET_ACCEPT_TEXT + 1];

	(void)state;
	assert_int_equal(cv_websocket_accept(cv_span_of("dGhlIHNhbXBsZSBub25jZQ==", 24), accept),
			 0);
	assert_string_equal(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
	assert_true(cv_websocket_accept(cv_span_of("short", 5), accept) != 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_both_ways),
		cmocka_unit_test(each_frame_has_another_mask),
		cmocka_unit_test(a_ping_is_answered),
		cmocka_unit_test(what_is_said_early_is_held),
		cmocka_unit_test(early_data_are_not_repeated),
		cmocka_unit_test(no_upgrade_is_an_error),
		cmocka_unit_test(interim_answers_are_skipped),
		cmocka_unit_test(an_end_is_answered_and_over),
		cmocka_unit_test(after_our_end_theirs_goes_on),
		cmocka_unit_test(without_goodbye_it_is_cut),
		cmocka_unit_test(a_breach_is_answered_with_1002),
		cmocka_unit_test(codes_are_echoed),
		cmocka_unit_test(httpupgrade_leaves_nothing),
		cmocka_unit_test(httpupgrade_need_not_wait),
		cmocka_unit_test(httpupgrade_refused),
		cmocka_unit_test(the_key_of_the_rfc),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
