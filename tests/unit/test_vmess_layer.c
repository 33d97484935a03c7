// SPDX-License-Identifier: MIT
/*
 * test_vmess_layer.c - a client's and a server's layer talk: headers with the first bytes, the end
 * of each direction, datagrams, what a cut carrier is, what another server's answer is.
 */
#include "protocol/vmess_layer.h"

#include "protocol/vmess_body.h"

#include <culvert/reason.h>

#include "vectors/hex.h"
#include "vectors/vmess.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct side {
	struct cv_layer *layer;
	struct cv_buffer sent, pending, app;
	size_t units, longest_unit;
};

static struct side client, server;
static uint8_t command_key[CV_VMESS_KEY];

static void start(struct side *side, struct cv_layer *layer)
{
	assert_non_null(layer);
	*side = (struct side){.layer = layer};
	cv_buffer_init(&side->sent, 1 << 22);
	cv_buffer_init(&side->pending, 1 << 22);
	cv_buffer_init(&side->app, 1 << 22);
}

static void stop(struct side *side)
{
	side->layer->ops->free(side->layer);
	cv_buffer_done(&side->sent);
	cv_buffer_done(&side->pending);
	cv_buffer_done(&side->app);
}

static int collect(void *context, struct cv_span bytes)
{
	struct side *side = context;

	side->units++;
	if (bytes.len_bytes > side->longest_unit)
		side->longest_unit = bytes.len_bytes;
	return cv_buffer_append(&side->sent, bytes.data, bytes.len_bytes);
}

static int encode(struct side *side, const void *bytes, size_t len)
{
	return side->layer->ops->encode(side->layer, cv_span_of(bytes, len), collect, side);
}

/* All that @from sent goes to @to in pieces of @step bytes; the last result but -EAGAIN. */
static int pass(struct side *from, struct side *to, size_t step)
{
	int result = -EAGAIN;

	while (cv_buffer_len(&from->sent) > 0) {
		const size_t left = cv_buffer_len(&from->sent), part = left < step ? left : step;

		assert_int_equal(cv_buffer_append(&to->pending, cv_buffer_bytes(&from->sent), part),
				 0);
		cv_buffer_consume(&from->sent, part);
		do {
			struct cv_span in = cv_buffer_span(&to->pending);

			result = to->layer->ops->decode(to->layer, &in, &to->app, NULL);
			cv_buffer_consume(&to->pending,
					  cv_buffer_len(&to->pending) - in.len_bytes);
		} while (result == 0);
		if (result != -EAGAIN)
			return result;
	}
	return result;
}

static void take(struct side *side, const void *wanted, size_t len)
{
	assert_int_equal(cv_buffer_len(&side->app), len);
	assert_memory_equal(cv_buffer_bytes(&side->app), wanted, len);
	cv_buffer_consume(&side->app, len);
}

/* Both layers; the server has read the request header, the rest of the first unit is on its way. */
static void meet_with(uint8_t options, enum cv_vmess_cipher cipher, enum cv_vmess_command command,
		      const void *first, size_t first_len)
{
	struct cv_vmess_request request = {
		.options = options, .cipher = cipher, .command = command}, opened;
	size_t header_bytes;

	assert_int_equal(hex_decode(VMESS_COMMAND_KEY, command_key, 16), 16);
	assert_int_equal(cv_destination_set_text(&request.destination, "example.com", 443), 0);
	assert_int_equal(cv_vmess_request_make(&request), 0);
	start(&client, cv_vmess_client_layer_new(&request, command_key, VMESS_TIME_S));
	if (first)
		assert_int_equal(encode(&client, first, first_len), 0);
	else
		assert_int_equal(client.layer->ops->flush(client.layer, collect, &client), 0);
	assert_int_equal(client.units, 1);
	assert_int_equal(cv_vmess_request_open(cv_buffer_span(&client.sent), command_key, &opened,
					       &header_bytes), 0);
	cv_buffer_consume(&client.sent, header_bytes);
	start(&server, cv_vmess_server_layer_new(&opened));
}

static void meet(enum cv_vmess_cipher cipher, enum cv_vmess_command command, const void *first,
		 size_t first_len)
{
	meet_with(CV_VMESS_CHUNKS | CV_VMESS_MASKING | CV_VMESS_PADDING, cipher, command, first,
		  first_len);
}

static void part(void)
{
	stop(&client);
	stop(&server);
}

static void test_talk(void **state)
{
	static const enum cv_vmess_cipher ciphers[] = {
		CV_VMESS_AES_128_GCM, CV_VMESS_CHACHA20_POLY1305, CV_VMESS_NONE};
	uint8_t *bulk = malloc(65536);

	(void)state;
	memset(bulk, 0xa7, 65536);
	for (size_t i = 0; i < 3; i++)
		for (size_t step = 1; step < 70000; step = step * 8 + 1) {
			meet(ciphers[i], CV_VMESS_TCP, "hello", 5);
			assert_int_equal(pass(&client, &server, step), -EAGAIN);
			take(&server, "hello", 5);
			assert_int_equal(encode(&server, bulk, 65536), 0);
			assert_int_equal(server.units, 5);
			assert_true(server.longest_unit <= 16384);
			assert_int_equal(pass(&server, &client, step), -EAGAIN);
			take(&client, bulk, 65536);
			assert_int_equal(encode(&client, "more", 4), 0);
			assert_int_equal(pass(&client, &server, step), -EAGAIN);
			take(&server, "more", 4);
			part();
		}
	free(bulk);
}

static void test_flush(void **state)
{
	(void)state;
	meet(CV_VMESS_AES_128_GCM, CV_VMESS_TCP, NULL, 0);
	assert_int_equal(cv_buffer_len(&client.sent), 0); /* the header was all */
	assert_int_equal(client.layer->ops->flush(client.layer, collect, &client), 0);
	assert_int_equal(client.units, 1);
	assert_int_equal(encode(&client, "x", 1), 0);
	assert_int_equal(pass(&client, &server, 9999), -EAGAIN);
	take(&server, "x", 1);
	part();
}

static int end(struct side *side)
{
	return side->layer->ops->encode_eof(side->layer, collect, side);
}

static void test_ends(void **state)
{
	(void)state;
	meet(CV_VMESS_AES_128_GCM, CV_VMESS_TCP, "a", 1);
	assert_int_equal(server.layer->ops->decode_eof(server.layer), 0);
	assert_int_equal(client.layer->ops->decode_eof(client.layer), CV_UPSTREAM_CLOSED);
	assert_int_equal(end(&client), 0);
	assert_int_equal(pass(&client, &server, 3), CV_LAYER_EOF);
	take(&server, "a", 1);
	assert_true(server.layer->rx_ended && !client.layer->rx_ended);
	assert_int_equal(server.layer->ops->decode_eof(server.layer), 0);
	assert_int_equal(encode(&server, "late", 4), 0); /* the other direction goes on */
	assert_int_equal(pass(&server, &client, 3), -EAGAIN);
	take(&client, "late", 4);
	assert_int_equal(client.layer->ops->decode_eof(client.layer), 0);
	assert_false(client.layer->rx_ended);
	assert_int_equal(end(&server), 0);
	assert_int_equal(pass(&server, &client, 3), CV_LAYER_EOF);
	assert_int_equal(client.layer->ops->decode_eof(client.layer), 0);
	part();
}

/* A server that says nothing: its header goes with the end. */
static void test_silent_server(void **state)
{
	(void)state;
	meet(CV_VMESS_AES_128_GCM, CV_VMESS_TCP, "a", 1);
	assert_int_equal(end(&server), 0);
	assert_int_equal(server.units, 1);
	assert_int_equal(pass(&server, &client, 1), CV_LAYER_EOF);
	assert_int_equal(cv_buffer_len(&client.app), 0);
	part();
}

/* Only headers are VMess's; ends are the carrier's. */
static void test_bare(void **state)
{
	(void)state;
	meet_with(0, CV_VMESS_NONE, CV_VMESS_TCP, "question", 8);
	assert_int_equal(cv_buffer_len(&client.sent), 8);
	assert_int_equal(pass(&client, &server, 3), -EAGAIN);
	take(&server, "question", 8);
	assert_int_equal(end(&client), 0);
	assert_int_equal(cv_buffer_len(&client.sent), 0);
	assert_int_equal(server.layer->ops->decode_eof(server.layer), 0);
	assert_int_equal(encode(&server, "answer", 6), 0);
	assert_int_equal(pass(&server, &client, 5), -EAGAIN);
	take(&client, "answer", 6);
	part();
}

static void test_datagrams(void **state)
{
	static const uint8_t three[] = "\0\3abc\0\1d\0\0\0\2ef";
	static const uint8_t arrived[] = "\0\3abc\0\1d\0\2ef";

	(void)state;
	meet(CV_VMESS_CHACHA20_POLY1305, CV_VMESS_UDP, "\0\2hi", 4);
	assert_int_equal(pass(&client, &server, 5), -EAGAIN);
	take(&server, "\0\2hi", 4);
	assert_int_equal(encode(&server, three, sizeof(three) - 1), 0);
	assert_int_equal(server.units, 3);
	assert_int_equal(pass(&server, &client, 7), -EAGAIN);
	take(&client, arrived, sizeof(arrived) - 1);
	part();
}

/* However the frames above are cut, datagrams stay whole; one that is not does not leave. */
static void test_datagrams_in_pieces(void **state)
{
	static const size_t steps[] = {1, 7, 4096, 60001, 60002, 65536};
	const size_t frame = 2 + 60000, whole = 3 * frame;
	uint8_t *frames = malloc(whole);

	(void)state;
	for (size_t i = 0; i < whole; i++)
		frames[i] = (uint8_t)(i * 7 + (i >> 8));
	for (size_t i = 0; i < 3; i++) {
		frames[i * frame] = 60000 >> 8;
		frames[i * frame + 1] = 60000 & 0xff;
	}
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		const size_t step = steps[i];

		meet(CV_VMESS_AES_128_GCM, CV_VMESS_UDP, NULL, 0);
		for (size_t at = 0; at < whole; at += step)
			assert_int_equal(encode(&server, frames + at,
						whole - at < step ? whole - at : step), 0);
		assert_int_equal(server.units, 3);
		assert_int_equal(encode(&server, "\0\3ab", 4), 0);
		assert_int_equal(server.units, 3);
		assert_int_equal(pass(&server, &client, 4096), -EAGAIN);
		take(&client, frames, whole);
		part();
	}
	free(frames);
}

/* Not the server of this request: another key, or none. */
static void test_strange_server(void **state)
{
	struct cv_vmess_request other = {.options = CV_VMESS_CHUNKS,
					 .cipher = CV_VMESS_AES_128_GCM,
					 .command = CV_VMESS_MUX};

	(void)state;
	meet(CV_VMESS_AES_128_GCM, CV_VMESS_TCP, "a", 1);
	stop(&server);
	assert_int_equal(cv_vmess_request_make(&other), 0);
	start(&server, cv_vmess_server_layer_new(&other));
	assert_int_equal(encode(&server, "x", 1), 0);
	assert_int_equal(pass(&server, &client, 9999), CV_UPSTREAM_BAD_RECORD);
	part();
}

static void test_broken_chunk(void **state)
{
	(void)state;
	meet(CV_VMESS_AES_128_GCM, CV_VMESS_TCP, "abcdef", 6);
	cv_buffer_bytes(&client.sent)[4] ^= 1;
	assert_int_equal(pass(&client, &server, 9999), CV_PEER_BAD_RECORD);
	assert_int_equal(cv_buffer_len(&server.app), 0);
	part();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_talk),	     cmocka_unit_test(test_flush),
		cmocka_unit_test(test_ends),	     cmocka_unit_test(test_silent_server),
		cmocka_unit_test(test_bare),
		cmocka_unit_test(test_datagrams),    cmocka_unit_test(test_datagrams_in_pieces),
		cmocka_unit_test(test_strange_server), cmocka_unit_test(test_broken_chunk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
