// SPDX-License-Identifier: MIT
/*
 * test_h2_layer.c - our HTTP/2 client and server talk to each other: the request and who refuses
 * it, bytes beyond every window, ends of one direction and of both, in pieces of every size.
 */
#include "protocol/h2_layer.h"

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
	struct cv_layer *two = cv_h2_server_layer_new(&server_transport, is_strict);

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_both_ways),
		cmocka_unit_test(windows_are_waited_for),
		cmocka_unit_test(each_direction_ends_by_itself),
		cmocka_unit_test(without_end_it_is_cut),
		cmocka_unit_test(another_path_or_host_is_refused),
		cmocka_unit_test(what_is_no_http2_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
