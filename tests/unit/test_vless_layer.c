// SPDX-License-Identifier: MIT
/*
 * test_vless_layer.c - headers that wait for the first bytes, and when each direction is CLEAR.
 *
 * The client's and the server's layer talk to each other through one buffer per direction; the
 * server test reads the request header itself, as the session does.
 */
#include "protocol/vless_layer.h"

#include "wire/vision.h"

#include <culvert/reason.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct side {
	struct cv_layer *layer;
	struct cv_buffer sent; /* units in a row */
	struct cv_buffer app;
	size_t units;
	size_t unit_len[64];
};

static struct cv_vless_request request_of(enum cv_vless_flow flow)
{
	struct cv_vless_request request = {.flow = flow, .command = CV_VLESS_TCP};

	for (int i = 0; i < CV_UUID_LEN; i++)
		request.uuid[i] = (uint8_t)(0xa0 + i);
	assert_int_equal(cv_destination_set_text(&request.destination, "example.com", 443), 0);
	return request;
}

static void start(struct side *side, struct cv_layer *layer)
{
	memset(side, 0, sizeof(*side));
	side->layer = layer;
	assert_non_null(layer);
	cv_buffer_init(&side->sent, 1 << 20);
	cv_buffer_init(&side->app, 1 << 20);
}

static void stop(struct side *side)
{
	side->layer->ops->free(side->layer);
	cv_buffer_done(&side->sent);
	cv_buffer_done(&side->app);
}

static int collect(void *context, struct cv_span bytes)
{
	struct side *side = context;

	assert_true(side->units < 64);
	side->unit_len[side->units++] = bytes.len_bytes;
	return cv_buffer_append(&side->sent, bytes.data, bytes.len_bytes);
}

static int encode(struct side *side, const void *bytes, size_t len)
{
	return side->layer->ops->encode(side->layer, cv_span_of(bytes, len), collect, side);
}

static int decode(struct side *side, const void *bytes, size_t len)
{
	struct cv_buffer reply;
	struct cv_span in = cv_span_of(bytes, len);
	int result;

	cv_buffer_init(&reply, 64);
	result = side->layer->ops->decode(side->layer, &in, &side->app, &reply);
	assert_int_equal(cv_buffer_len(&reply), 0);
	if (result == 0)
		assert_int_equal(in.len_bytes, 0);
	return result;
}

/* Moves all that @from sent to @to in one piece and empties both ends' buffers of it. */
static void pass(struct side *from, struct side *to, const void *expected, size_t expected_len)
{
	assert_int_equal(decode(to, cv_buffer_bytes(&from->sent), cv_buffer_len(&from->sent)), 0);
	cv_buffer_done(&from->sent);
	from->units = 0;
	assert_int_equal(cv_buffer_len(&to->app), expected_len);
	if (expected_len)
		assert_memory_equal(cv_buffer_bytes(&to->app), expected, expected_len);
	cv_buffer_done(&to->app);
}

static void consume_request(struct side *client, enum cv_vless_flow flow)
{
	struct cv_vless_request request;
	size_t len;

	assert_int_equal(cv_vless_request_read(cv_buffer_span(&client->sent), &request, &len), 0);
	assert_int_equal(request.flow, flow);
	cv_buffer_consume(&client->sent, len);
}

static void server_without_flow(void **state)
{
	struct cv_vless_request request = request_of(CV_FLOW_NONE);
	struct side server;

	(void)state;
	start(&server, cv_vless_server_layer_new(&request, NULL));
	assert_int_equal(server.layer->rx, CV_CLEAR);
	assert_int_equal(server.layer->tx, CV_OPAQUE);
	assert_int_equal(encode(&server, "", 0), 0);
	assert_int_equal(server.units, 0); /* the header waits, VLESS 3 */
	assert_int_equal(encode(&server, "hello", 5), 0);
	assert_int_equal(server.units, 1);
	assert_memory_equal(cv_buffer_bytes(&server.sent), "\0\0hello", 7);
	assert_int_equal(server.layer->tx, CV_CLEAR);
	assert_false(server.layer->tx_penetrated);
	assert_int_equal(encode(&server, "more", 4), 0);
	assert_int_equal(cv_buffer_len(&server.sent), 11);
	stop(&server);
}

static void a_large_first_batch_stays_whole(void **state)
{
	static uint8_t batch[65536];
	struct cv_vless_request request = request_of(CV_FLOW_NONE);
	struct side server;

	(void)state;
	for (size_t i = 0; i < sizeof(batch); i++)
		batch[i] = (uint8_t)(i * 7);
	start(&server, cv_vless_server_layer_new(&request, NULL));
	assert_int_equal(encode(&server, batch, sizeof(batch)), 0);
	assert_int_equal(server.unit_len[0], 16384); /* one record */
	assert_int_equal(cv_buffer_len(&server.sent), sizeof(batch) + 2);
	assert_memory_equal(cv_buffer_bytes(&server.sent) + 2, batch, sizeof(batch));
	stop(&server);
}

static void client_without_flow(void **state)
{
	struct cv_vless_request request = request_of(CV_FLOW_NONE);
	struct side client;

	(void)state;
	start(&client, cv_vless_client_layer_new(&request, NULL));
	assert_int_equal(client.layer->rx, CV_OPAQUE);
	assert_int_equal(encode(&client, "GET /", 5), 0);
	assert_int_equal(client.units, 1);
	assert_int_equal(client.layer->tx, CV_CLEAR);
	consume_request(&client, CV_FLOW_NONE);
	assert_memory_equal(cv_buffer_bytes(&client.sent), "GET /", 5);

	assert_int_equal(decode(&client, "", 0), -EAGAIN);
	assert_int_equal(decode(&client, "\0", 1), -EAGAIN);
	assert_int_equal(decode(&client, "\0\003ab", 4), -EAGAIN);
	assert_int_equal(client.layer->rx, CV_OPAQUE);
	assert_int_equal(decode(&client, "\0\003abcHTTP", 9), 0); /* addons are skipped */
	assert_int_equal(client.layer->rx, CV_CLEAR);
	assert_false(client.layer->rx_penetrated);
	assert_memory_equal(cv_buffer_bytes(&client.app), "HTTP", 4);
	stop(&client);
}

static void a_client_refuses_other_versions(void **state)
{
	struct cv_vless_request request = request_of(CV_FLOW_NONE);
	struct side client;

	(void)state;
	start(&client, cv_vless_client_layer_new(&request, NULL));
	assert_int_equal(decode(&client, "\1\0", 2), CV_UPSTREAM_VERSION);
	assert_int_equal(client.layer->rx, CV_OPAQUE);
	assert_int_equal(client.layer->ops->decode_eof(client.layer), 0); /* nothing came: legal */
	stop(&client);
}

static void flush_sends_the_header_alone(void **state)
{
	struct cv_vless_request request = request_of(CV_FLOW_NONE);
	struct side client;

	(void)state;
	start(&client, cv_vless_client_layer_new(&request, NULL));
	assert_int_equal(cv_vless_client_layer_flush(client.layer, collect, &client), 0);
	assert_int_equal(client.layer->tx, CV_CLEAR);
	consume_request(&client, CV_FLOW_NONE);
	assert_int_equal(cv_buffer_len(&client.sent), 0);
	assert_int_equal(cv_vless_client_layer_flush(client.layer, collect, &client), 0);
	assert_int_equal(client.units, 1);
	stop(&client);
}

static void flush_with_vision_adds_an_empty_block(void **state)
{
	struct cv_vless_request request = request_of(CV_FLOW_VISION);
	struct side client, server;

	(void)state;
	start(&client, cv_vless_client_layer_new(&request, NULL));
	start(&server, cv_vless_server_layer_new(&request, NULL));
	assert_int_equal(server.layer->rx, CV_OPAQUE);
	assert_int_equal(cv_vless_client_layer_flush(client.layer, collect, &client), 0);
	assert_int_equal(client.units, 1);
	assert_int_equal(client.layer->tx, CV_OPAQUE);
	consume_request(&client, CV_FLOW_VISION);
	assert_true(cv_buffer_len(&client.sent) >= 21);
	assert_memory_equal(cv_buffer_bytes(&client.sent), request.uuid, 16);
	pass(&client, &server, NULL, 0);
	assert_int_equal(encode(&client, "later", 5), 0);
	pass(&client, &server, "later", 5);
	stop(&client);
	stop(&server);
}

static void header_and_block_one_share_a_unit(void **state)
{
	struct cv_vless_request request = request_of(CV_FLOW_VISION);
	struct side client, server;
	static uint8_t big[8171];

	(void)state;
	start(&client, cv_vless_client_layer_new(&request, NULL));
	start(&server, cv_vless_server_layer_new(&request, NULL));
	assert_int_equal(encode(&client, "first", 5), 0);
	assert_int_equal(client.units, 1);
	consume_request(&client, CV_FLOW_VISION);
	pass(&client, &server, "first", 5);
	assert_int_equal(encode(&server, big, sizeof(big)), 0);
	assert_true(server.units >= 2); /* one block each */
	assert_memory_equal(cv_buffer_bytes(&server.sent), "\0\0", 2);
	assert_memory_equal(cv_buffer_bytes(&server.sent) + 2, request.uuid, 16);
	assert_true(server.unit_len[0] >= 2 + 21);
	pass(&server, &client, big, sizeof(big));
	stop(&client);
	stop(&server);
}

/* ServerHello record that selects TLS 1.3 with 1301, long enough for the detector. */
static size_t inner_server_hello(uint8_t *record)
{
	static const uint8_t versions[] = {0, 0x2b, 0, 2, 3, 4};

	memset(record, 0, 127);
	memcpy(record, (uint8_t[]){22, 3, 3, 0, 122, 2, 0, 0, 118, 3, 3}, 11);
	record[43] = 32;
	record[76] = 0x13;
	record[77] = 0x01;
	memcpy(record + 81, versions, sizeof(versions));
	return 127;
}

static void inner_tls13_goes_raw_each_way(void **state)
{
	static const uint8_t hello[] = {22, 3, 1, 0, 5, 1, 0, 0, 1, 0};
	static const uint8_t data[] = {23, 3, 3,  0,  19, 1,  2,  3,  4,  5,  6,  7,
				       8,  9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19};
	struct cv_vless_request request = request_of(CV_FLOW_VISION);
	uint8_t server_hello[127];
	struct side client, server;

	(void)state;
	start(&client, cv_vless_client_layer_new(&request, NULL));
	start(&server, cv_vless_server_layer_new(&request, NULL));
	assert_int_equal(encode(&client, hello, sizeof(hello)), 0);
	consume_request(&client, CV_FLOW_VISION);
	pass(&client, &server, hello, sizeof(hello));
	assert_int_equal(encode(&server, server_hello, inner_server_hello(server_hello)), 0);
	pass(&server, &client, server_hello, sizeof(server_hello));
	assert_int_equal(server.layer->tx, CV_OPAQUE);

	assert_int_equal(encode(&server, data, sizeof(data)), 0);
	assert_int_equal(server.layer->tx, CV_CLEAR);
	assert_true(server.layer->tx_penetrated);
	assert_int_equal(server.layer->rx, CV_OPAQUE); /* directions decide alone */
	assert_int_equal(client.layer->rx, CV_OPAQUE);
	/* what stands behind the DIRECT block in the same record is content */
	assert_int_equal(cv_buffer_append(&server.sent, "tail", 4), 0);
	assert_int_equal(
		decode(&client, cv_buffer_bytes(&server.sent), cv_buffer_len(&server.sent)), 0);
	assert_int_equal(cv_buffer_len(&client.app), sizeof(data) + 4);
	assert_int_equal(client.layer->rx, CV_CLEAR);
	assert_true(client.layer->rx_penetrated);
	assert_false(client.layer->tx_penetrated);

	assert_int_equal(encode(&client, data, sizeof(data)), 0);
	assert_true(client.layer->tx_penetrated);
	pass(&client, &server, data, sizeof(data));
	assert_true(server.layer->rx_penetrated);
	stop(&client);
	stop(&server);
}

static void plain_text_ends_padding_without_penetrating(void **state)
{
	struct cv_vless_request request = request_of(CV_FLOW_VISION);
	struct side client, server;

	(void)state;
	start(&client, cv_vless_client_layer_new(&request, NULL));
	start(&server, cv_vless_server_layer_new(&request, NULL));
	for (int i = 0; i < 8 && client.layer->tx == CV_OPAQUE; i++) {
		assert_int_equal(encode(&client, "text", 4), 0);
		if (i == 0)
			consume_request(&client, CV_FLOW_VISION);
		pass(&client, &server, "text", 4);
	}
	assert_int_equal(client.layer->tx, CV_CLEAR);
	assert_false(client.layer->tx_penetrated);
	assert_int_equal(server.layer->rx, CV_CLEAR);
	assert_false(server.layer->rx_penetrated);
	assert_int_equal(encode(&client, "plain", 5), 0);
	assert_memory_equal(cv_buffer_bytes(&client.sent), "plain", 5);
	stop(&client);
	stop(&server);
}

static void the_end_inside_a_block_is_a_truncation(void **state)
{
	struct cv_vless_request request = request_of(CV_FLOW_VISION);
	struct side client, server;

	(void)state;
	start(&client, cv_vless_client_layer_new(&request, NULL));
	start(&server, cv_vless_server_layer_new(&request, NULL));
	assert_int_equal(server.layer->ops->decode_eof(server.layer), 0);
	assert_int_equal(encode(&client, "some content", 12), 0);
	consume_request(&client, CV_FLOW_VISION);
	assert_int_equal(decode(&server, cv_buffer_bytes(&client.sent), 25), 0);
	assert_int_equal(server.layer->ops->decode_eof(server.layer), CV_PEER_TRUNCATED);

	assert_int_equal(encode(&server, "answer", 6), 0);
	assert_int_equal(decode(&client, cv_buffer_bytes(&server.sent), 20), 0);
	assert_int_equal(client.layer->ops->decode_eof(client.layer), CV_UPSTREAM_TRUNCATED);
	stop(&client);
	stop(&server);
}

static void unknown_commands_are_refused(void **state)
{
	struct cv_vless_request request = request_of(CV_FLOW_VISION);
	uint8_t block[21] = {0};
	struct side server;

	(void)state;
	memcpy(block, request.uuid, 16);
	block[16] = 3;
	start(&server, cv_vless_server_layer_new(&request, NULL));
	assert_int_equal(decode(&server, block, sizeof(block)), CV_PEER_UNEXPECTED_MESSAGE);
	stop(&server);
}

static void requests_that_cannot_be_written_make_no_layer(void **state)
{
	struct cv_vless_request request = request_of(CV_FLOW_OTHER);

	(void)state;
	assert_null(cv_vless_client_layer_new(&request, NULL));
}

/* ---- version 1 ---- */

static struct cv_vless_request request_v1(void)
{
	struct cv_vless_request request = request_of(CV_FLOW_NONE);

	request.version = 1;
	return request;
}

static void version_1_leaves_a_server_nothing_to_do(void **state)
{
	struct cv_vless_request request = request_v1();
	struct side server;

	(void)state;
	start(&server, cv_vless_server_layer_new(&request, NULL));
	assert_int_equal(server.layer->rx, CV_CLEAR);
	assert_int_equal(server.layer->tx, CV_CLEAR);
	assert_false(server.layer->may_penetrate);
	assert_false(server.layer->tx_penetrated || server.layer->rx_penetrated);
	stop(&server);
}

static void a_client_of_version_1_awaits_no_header(void **state)
{
	static const uint8_t expected[] = "\1\xa0\xa1\xa2\xa3\xa4\xa5\xa6\xa7\xa8\xa9\xaa\xab"
					  "\xac\xad\xae\xaf\0\1\1\xbb\2\013example.comhi";
	struct cv_vless_request request = request_v1();
	struct side client;

	(void)state;
	start(&client, cv_vless_client_layer_new(&request, NULL));
	assert_int_equal(client.layer->rx, CV_CLEAR);
	assert_int_equal(client.layer->tx, CV_OPAQUE);
	assert_int_equal(encode(&client, "hi", 2), 0);
	assert_int_equal(client.units, 1);
	assert_int_equal(client.layer->tx, CV_CLEAR);
	assert_int_equal(cv_buffer_len(&client.sent), sizeof(expected) - 1);
	assert_memory_equal(cv_buffer_bytes(&client.sent), expected, sizeof(expected) - 1);
	stop(&client);
}

/* A client whose server may be of either version: what it learns. */
static void learn(struct cv_vless_versions *versions, struct cv_vless_request request,
		  const char *heard, size_t heard_len, bool peer_left)
{
	struct side client;

	start(&client, cv_vless_client_layer_new(&request, NULL));
	cv_vless_client_layer_watch(client.layer, versions);
	assert_int_equal(client.layer->rx, CV_OPAQUE);
	assert_int_equal(encode(&client, "hi", 2), 0);
	if (heard_len > 0) {
		assert_int_equal(decode(&client, heard, heard_len), 0);
		assert_int_equal(client.layer->rx, CV_CLEAR);
	}
	client.layer->peer_left = peer_left;
	stop(&client);
}

static void closings_before_an_answer_are_counted(void **state)
{
	static struct cv_vless_versions versions;
	const struct cv_vless_request request = request_v1(), old = request_of(CV_FLOW_NONE);
	struct side client;
	bool is_news;

	(void)state;
	learn(&versions, request, NULL, 0, true);
	learn(&versions, request, NULL, 0, false); /* the client left */
	start(&client, cv_vless_client_layer_new(&request, NULL));
	cv_vless_client_layer_watch(client.layer, &versions);
	client.layer->peer_left = true; /* before it was asked */
	stop(&client);
	assert_int_equal(atomic_load(&versions.closed), 1);
	learn(&versions, request, "H", 1, true);
	assert_int_equal(atomic_load(&versions.closed), 0);
	for (int i = 0; i < CV_VLESS_CLOSED_MAX; i++)
		learn(&versions, request, NULL, 0, true);
	assert_int_equal(cv_vless_versions_pick(&versions, 1, &is_news), 0);
	learn(&versions, old, "\0\0", 2, true); /* nothing more: an answer all the same */
	assert_int_equal(cv_vless_versions_pick(&versions, 1, &is_news), 0);
	assert_true(is_news);
}

static void a_trial_of_version_0_needs_its_header(void **state)
{
	static struct cv_vless_versions versions;
	const struct cv_vless_request old = request_of(CV_FLOW_NONE);
	struct side client;
	bool is_news;

	(void)state;
	for (int i = 0; i < CV_VLESS_CLOSED_MAX; i++)
		cv_vless_versions_closed(&versions, 1);
	start(&client, cv_vless_client_layer_new(&old, NULL));
	cv_vless_client_layer_watch(client.layer, &versions);
	assert_int_equal(encode(&client, "hi", 2), 0);
	assert_int_equal(decode(&client, "HTTP", 4), CV_UPSTREAM_VERSION);
	stop(&client);
	assert_int_equal(cv_vless_versions_pick(&versions, 1, &is_news), 1);
	assert_false(is_news);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(server_without_flow),
		cmocka_unit_test(a_large_first_batch_stays_whole),
		cmocka_unit_test(client_without_flow),
		cmocka_unit_test(a_client_refuses_other_versions),
		cmocka_unit_test(flush_sends_the_header_alone),
		cmocka_unit_test(flush_with_vision_adds_an_empty_block),
		cmocka_unit_test(header_and_block_one_share_a_unit),
		cmocka_unit_test(inner_tls13_goes_raw_each_way),
		cmocka_unit_test(plain_text_ends_padding_without_penetrating),
		cmocka_unit_test(the_end_inside_a_block_is_a_truncation),
		cmocka_unit_test(unknown_commands_are_refused),
		cmocka_unit_test(requests_that_cannot_be_written_make_no_layer),
		cmocka_unit_test(version_1_leaves_a_server_nothing_to_do),
		cmocka_unit_test(a_client_of_version_1_awaits_no_header),
		cmocka_unit_test(closings_before_an_answer_are_counted),
		cmocka_unit_test(a_trial_of_version_0_needs_its_header),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
