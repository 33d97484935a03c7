// SPDX-License-Identifier: MIT
/*
 * test_h2_layer.c - our HTTP/2 client and server talk to each other: the request and who refuses
 * it, bytes beyond every window, ends of one direction and of both, in pieces of every size; and
 * the server with clients that have several streams.
 */
#include "protocol/h2_layer.h"

#include "h2_talk.h"
#include "layer_talk.h"

#include <culvert/reason.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define BATCH 65536

static char path[] = "/x", wrong_path[] = "/y", host[] = "b.test,a.test", no_host[] = "",
	    headers[] = "X-Y: z\r\nUser-Agent: mine\r\n", method[] = "PUT";

static struct cv_transport client_transport = {
	.kind = CV_TRANSPORT_H2, .path = path, .host = no_host, .headers = headers,
	.method = method};
static struct cv_transport server_transport = {
	.kind = CV_TRANSPORT_H2, .path = path, .host = host, .headers = no_host, .method = method};

static void start_pair(struct talker *client, struct talker *server, bool is_strict)
{
	const struct cv_transport_place place = {.host = "a.test", .is_tls = true};
	struct cv_layer *one = cv_h2_client_layer_new(&client_transport, &place);
	struct cv_layer *two = h2_talk_new(&server_transport, is_strict);

	assert_non_null(one);
	assert_non_null(two);
	talk_start(client, one);
	talk_start(server, two);
	assert_int_equal(talk_begin(client), 0);
	assert_int_equal(client->units, 1); /* preface, settings, request: one record */
	assert_true(client->layer->is_opening && server->layer->is_opening);
}

/* Until neither has anything to say; 0, or the first result that is not. */
static int exchange(struct talker *client, struct talker *server, size_t piece)
{
	int result = 0;

	while (result == 0 && (cv_buffer_len(&client->said) || cv_buffer_len(&server->said))) {
		result = talk_pass(client, server, piece);
		if (result == 0)
			result = talk_pass(server, client, piece);
	}
	return result;
}

static void stop_pair(struct talker *client, struct talker *server)
{
	talk_stop(client);
	talk_stop(server);
}

static void expect_app(struct talker *talker, const void *bytes, size_t len)
{
	assert_int_equal(cv_buffer_len(&talker->app), len);
	assert_memory_equal(cv_buffer_bytes(&talker->app), bytes, len);
	cv_buffer_done(&talker->app);
}

static void bytes_both_ways(void **state)
{
	static const size_t pieces[] = {1, 7, 100, SIZE_MAX};

	(void)state;
	for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
		struct talker client, server;

		start_pair(&client, &server, false);
		assert_int_equal(exchange(&client, &server, pieces[i]), 0);
		assert_false(client.layer->is_opening || server.layer->is_opening);
		assert_int_equal(talk_say(&client, "request", 7), 0);
		assert_int_equal(talk_say(&server, "answer", 6), 0);
		assert_int_equal(exchange(&client, &server, pieces[i]), 0);
		expect_app(&server, "request", 7);
		expect_app(&client, "answer", 6);
		assert_int_equal(client.layer->ending, CV_ENDS_INSIDE);
		stop_pair(&client, &server);
	}
}

/* More than the windows allow is held, and goes out with the answers of the other side. */
static void windows_are_waited_for(void **state)
{
	const size_t total = 24 << 20;
	uint8_t *batch = malloc(BATCH);
	size_t said = 0, heard = 0, most = 0;
	struct talker client, server;

	(void)state;
	start_pair(&client, &server, false);
	assert_int_equal(exchange(&client, &server, SIZE_MAX), 0);
	client.units = 0;
	while (heard < total) {
		while (said < total && client.layer->held_bytes < 2 * BATCH) {
			for (size_t i = 0; i < BATCH; i++)
				batch[i] = (uint8_t)((said + i) * 31 + ((said + i) >> 16));
			assert_int_equal(talk_say(&client, batch, BATCH), 0);
			said += BATCH;
			if (cv_buffer_len(&client.said) > (15u << 20))
				break;
		}
		if (client.layer->held_bytes > most)
			most = client.layer->held_bytes;
		assert_int_equal(exchange(&client, &server, 1 << 16), 0);
		for (size_t i = 0; i < cv_buffer_len(&server.app); i++)
			if (cv_buffer_bytes(&server.app)[i] !=
			    (uint8_t)((heard + i) * 31 + ((heard + i) >> 16)))
				fail_msg("byte %zu", heard + i);
		heard += cv_buffer_len(&server.app);
		cv_buffer_done(&server.app);
	}
	assert_true(most >= BATCH); /* it did have to wait */
	for (size_t i = 0; i < client.units; i++)
		assert_true(client.unit_len[i] <= 16384);
	assert_int_equal(heard, total);
	free(batch);
	stop_pair(&client, &server);
}

static void each_direction_ends_by_itself(void **state)
{
	struct talker client, server;

	(void)state;
	start_pair(&client, &server, false);
	assert_int_equal(exchange(&client, &server, SIZE_MAX), 0);
	assert_int_equal(talk_say(&client, "all", 3), 0);
	assert_int_equal(talk_end(&client), 0);
	assert_int_equal(talk_pass(&client, &server, SIZE_MAX), CV_LAYER_EOF);
	expect_app(&server, "all", 3);
	assert_false(server.layer->is_over || client.layer->is_over);
	assert_int_equal(talk_say(&client, "x", 1), CV_UPSTREAM_RESET);
	assert_int_equal(talk_say(&server, "still", 5), 0);
	assert_int_equal(exchange(&client, &server, SIZE_MAX), 0);
	expect_app(&client, "still", 5);
	assert_int_equal(talk_say(&server, "here", 4), 0);
	assert_int_equal(talk_end(&server), 0);
	assert_int_equal(talk_pass(&server, &client, SIZE_MAX), CV_LAYER_EOF);
	expect_app(&client, "here", 4);
	assert_true(server.layer->is_over && client.layer->is_over);
	assert_int_equal(client.layer->ops->decode_eof(client.layer), 0);
	assert_int_equal(server.layer->ops->decode_eof(server.layer), 0);
	stop_pair(&client, &server);
}

static void without_end_it_is_cut(void **state)
{
	struct talker client, server;

	(void)state;
	start_pair(&client, &server, false);
	assert_int_equal(exchange(&client, &server, SIZE_MAX), 0);
	assert_int_equal(client.layer->ops->decode_eof(client.layer), CV_UPSTREAM_TRUNCATED);
	assert_int_equal(server.layer->ops->decode_eof(server.layer), CV_PEER_TRUNCATED);
	stop_pair(&client, &server);
}

static void another_path_or_host_is_refused(void **state)
{
	struct talker client, server;

	(void)state;
	client_transport.path = wrong_path;
	start_pair(&client, &server, false);
	assert_int_equal(exchange(&client, &server, SIZE_MAX), CV_UPSTREAM_NO_UPGRADE);
	assert_true(server.layer->is_opening);
	stop_pair(&client, &server);
	start_pair(&client, &server, true);
	assert_int_equal(exchange(&client, &server, SIZE_MAX), CV_PEER_NO_UPGRADE);
	stop_pair(&client, &server);
	client_transport.path = path;
	client_transport.host = wrong_path + 1; /* "y" */
	start_pair(&client, &server, true);
	assert_int_equal(exchange(&client, &server, SIZE_MAX), CV_PEER_NO_UPGRADE);
	stop_pair(&client, &server);
	client_transport.host = no_host;
}

static void what_is_no_http2_is_refused(void **state)
{
	static const char text[] = "GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n";
	struct talker client, server;

	(void)state;
	start_pair(&client, &server, true);
	assert_int_equal(talk_hear(&server, text, sizeof(text) - 1), CV_PEER_DECODE);
	assert_int_equal(talk_hear(&client, text, sizeof(text) - 1), CV_UPSTREAM_DECODE);
	stop_pair(&client, &server);
}

/* ---- a client that is not ours: several streams on one connection -------------------------- */

static void start_server(struct talker *server, bool is_strict)
{
	struct cv_layer *layer = h2_talk_new(&server_transport, is_strict);

	assert_non_null(layer);
	talk_start(server, layer);
}

/* How many frames of @type for @stream are in what was said, with at least these flags. */
static unsigned count_frames(struct talker *talker, uint8_t type, uint8_t stream, uint8_t flags)
{
	struct cv_span said = cv_buffer_span(&talker->said);
	unsigned count = 0;

	while (said.len_bytes >= 9) {
		const uint8_t *head = said.data;

		count += head[3] == type && head[8] == stream && (head[4] & flags) == flags;
		cv_span_skip(&said, 9 + ((size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2]));
	}
	assert_int_equal(said.len_bytes, 0);
	return count;
}

static void streams_are_opened_at_once(void **state)
{
	uint8_t bytes[1024];
	struct talker server;
	size_t len = h2_put_preface(bytes);

	(void)state;
	start_server(&server, true);
	for (uint8_t stream = 1; stream < 12; stream += 2)
		len += h2_put_request(bytes + len, stream, "/x");
	len += h2_put_request(bytes + len, 13, "/nothing"); /* not the first: no stranger */
	len += h2_put_frame(bytes + len, 0, 0x1, 1, "first", 5);
	assert_int_equal(talk_hear(&server, bytes, len), CV_LAYER_EOF);
	assert_int_equal(h2_talk_of(server.layer)->opened, 6);
	expect_app(&server, "first", 5);
	for (uint8_t stream = 1; stream < 12; stream += 2)
		assert_int_equal(count_frames(&server, 1, stream, 0x4), 1); /* 200 */
	assert_int_equal(count_frames(&server, 1, 13, 0x5), 1);		    /* 404, ended */
	cv_buffer_done(&server.said);
	assert_int_equal(talk_end(&server), 0);
	assert_int_equal(count_frames(&server, 0, 1, 0x1), 1);
	assert_true(server.layer->is_over && !h2_talk_of(server.layer)->was_reset);
	talk_stop(&server);
}

static void a_stream_may_be_refused(void **state)
{
	uint8_t bytes[256];
	struct talker server;
	size_t len = h2_put_preface(bytes);

	(void)state;
	start_server(&server, true);
	h2_talk_of(server.layer)->refuses = CV_POLICY_SESSION_LIMIT;
	len += h2_put_request(bytes + len, 1, "/x");
	assert_int_equal(talk_hear(&server, bytes, len), 0);
	assert_int_equal(count_frames(&server, 3, 1, 0), 1); /* RST_STREAM */
	h2_talk_of(server.layer)->refuses = 0;
	len = h2_put_request(bytes, 3, "/x");
	assert_int_equal(talk_hear(&server, bytes, len), 0);
	assert_int_equal(h2_talk_of(server.layer)->opened, 1);
	len = h2_put_frame(bytes, 3, 0, 3, "\0\0\0\x8", 4); /* RST_STREAM, CANCEL */
	assert_int_equal(talk_hear(&server, bytes, len), 0);
	assert_true(server.layer->is_over && h2_talk_of(server.layer)->was_reset);
	talk_stop(&server);
}

/* To one who has said all a server may leave early, but what broke off is not an end. */
static void a_reset_is_an_end_if_it_says_so(void **state)
{
	static const struct {
		const char *code;
		bool ends;
		int result;
	} cases[] = {
		{"\0\0\0\x0", false, CV_LAYER_EOF},      /* NO_ERROR */
		{"\0\0\0\x8", false, CV_UPSTREAM_RESET}, /* CANCEL */
		{"\0\0\0\x8", true, CV_LAYER_EOF},
		{"\0\0\0\x2", true, CV_UPSTREAM_RESET}, /* INTERNAL_ERROR */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct talker client, server;
		uint8_t bytes[32];
		size_t len;

		start_pair(&client, &server, false);
		assert_int_equal(exchange(&client, &server, SIZE_MAX), 0);
		if (cases[i].ends)
			assert_int_equal(talk_end(&client), 0);
		len = h2_put_frame(bytes, 3, 0, 1, cases[i].code, 4);
		assert_int_equal(talk_hear(&client, bytes, len), cases[i].result);
		stop_pair(&client, &server);
	}
}

/* Who does not read stops the client at the window, and goes on when it has. */
static void windows_follow_the_reader(void **state)
{
	static const uint8_t zeros[65536];
	struct talker client, server;
	struct h2_talk *talk;
	size_t said = 0;

	(void)state;
	start_pair(&client, &server, false);
	assert_int_equal(exchange(&client, &server, SIZE_MAX), 0);
	talk = h2_talk_of(server.layer);
	talk->keeps_unused = true;
	while (client.layer->held_bytes == 0) {
		assert_int_equal(talk_say(&client, zeros, sizeof(zeros)), 0);
		said += sizeof(zeros);
		assert_int_equal(exchange(&client, &server, SIZE_MAX), 0);
	}
	assert_int_equal(cv_buffer_len(&server.app), CV_H2_STREAM_WINDOW);
	cv_h2_server_used(talk->server, talk->first, talk->unused_bytes);
	assert_int_equal(h2_talk_pump(talk, talk_emit, &server), 0);
	assert_int_equal(exchange(&client, &server, SIZE_MAX), 0);
	assert_int_equal(cv_buffer_len(&server.app), said);
	stop_pair(&client, &server);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_both_ways),
		cmocka_unit_test(windows_are_waited_for),
		cmocka_unit_test(each_direction_ends_by_itself),
		cmocka_unit_test(without_end_it_is_cut),
		cmocka_unit_test(another_path_or_host_is_refused),
		cmocka_unit_test(what_is_no_http2_is_refused),
		cmocka_unit_test(streams_are_opened_at_once),
		cmocka_unit_test(a_stream_may_be_refused),
		cmocka_unit_test(a_reset_is_an_end_if_it_says_so),
		cmocka_unit_test(windows_follow_the_reader),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
