// SPDX-License-Identifier: MIT
/*
 * fuzz_record_layer.c - a peer that holds the right keys and abuses them.
 *
 *   input:  role 1 | operations ..
 *   operation:  00 len raw bytes | 01 type len content | 02 KeyUpdate, the peer switches keys
 *
 * Each call takes exactly one record or nothing, application data comes out as it went in, and a
 * reason once given stays. What the layer replies must open under its own keys.
 */
#include "protocol/record_layer.h"

#include <culvert/reason.h>

#include "check.h"

#include <errno.h>

struct world {
	struct cv_layer *layer;
	struct cv_tls_keys peer_tx, peer_rx;
	struct cv_buffer wire, out, reply, expected;
	int last;
};

static void start(struct world *world, bool is_server)
{
	static const uint8_t up[CV_HASH_MAX] = {1}, down[CV_HASH_MAX] = {2};
	const struct cv_tls_suite *suite = cv_tls_suite_find(0x1301);
	struct cv_tls_keys rx, tx;

	memset(world, 0, sizeof(*world));
	check(cv_tls_keys_init(&rx, suite, up, false) == 0);
	check(cv_tls_keys_init(&tx, suite, down, true) == 0);
	check(cv_tls_keys_init(&world->peer_tx, suite, up, true) == 0);
	check(cv_tls_keys_init(&world->peer_rx, suite, down, false) == 0);
	world->layer = cv_record_layer_new(&rx, &tx, is_server);
	check(world->layer != NULL);
	cv_buffer_init(&world->wire, 1 << 22);
	cv_buffer_init(&world->out, 1 << 22);
	cv_buffer_init(&world->reply, 1 << 22);
	cv_buffer_init(&world->expected, 1 << 22);
}

static void stop(struct world *world)
{
	world->layer->ops->free(world->layer);
	cv_tls_keys_done(&world->peer_tx);
	cv_tls_keys_done(&world->peer_rx);
	cv_buffer_done(&world->wire);
	cv_buffer_done(&world->out);
	cv_buffer_done(&world->reply);
	cv_buffer_done(&world->expected);
}

/* Alerts and KeyUpdates only, and the peer can follow them. */
static void check_reply(struct world *world)
{
	uint8_t plain[64], type = 0;
	size_t record_len = 0, len = 0;

	while (cv_buffer_len(&world->reply) > 0) {
		check(cv_tls_record_peek(cv_buffer_span(&world->reply), &record_len) == 0);
		check(record_len <= 32);
		check(cv_tls_record_open(&world->peer_rx, cv_buffer_bytes(&world->reply),
					 record_len, plain, &type, &len) == 0);
		check((type == CV_TLS_ALERT && len == 2) || (type == CV_TLS_HANDSHAKE && len == 5));
		if (type == CV_TLS_HANDSHAKE)
			check(cv_tls_keys_update(&world->peer_rx, false) == 0);
		cv_buffer_consume(&world->reply, record_len);
	}
}

static void drain(struct world *world)
{
	int result = 0;

	while (result == 0) {
		struct cv_span in = cv_buffer_span(&world->wire);
		const size_t before = in.len_bytes;

		result = world->layer->ops->decode(world->layer, &in, &world->out, &world->reply);
		check(result != 0 || in.len_bytes < before);
		check(result != -EAGAIN || in.len_bytes == before);
		check(world->last == 0 || result == world->last || result == -EAGAIN);
		cv_buffer_consume(&world->wire, before - in.len_bytes);
	}
	if (result != -EAGAIN)
		world->last = result;
	check_reply(world);
}

static void seal(struct world *world, uint8_t type, struct cv_span content, size_t padding)
{
	const size_t total = padding ? 22 + content.len_bytes + padding : 0;
	struct cv_buffer *wire = &world->wire;

	check(cv_tls_record_seal(&world->peer_tx, type, content.data, content.len_bytes, total,
				 wire) == 0);
	if (type == CV_TLS_APPLICATION)
		check(cv_buffer_append(&world->expected, content.data, content.len_bytes) == 0);
}

static void run(struct world *world, struct cv_span *input)
{
	uint8_t kind = take_u8(input) % 3, type;
	struct cv_span content;

	switch (kind) {
	case 0:
		content = take_span(input, take_u8(input));
		check(cv_buffer_append(&world->wire, content.data, content.len_bytes) == 0);
		break;
	case 1:
		type = take_u8(input);
		if (type == 0) /* would read as padding: the content's last byte is the type then */
			type = CV_TLS_APPLICATION;
		content = take_span(input, take_u8(input));
		seal(world, type, content, take_u8(input));
		break;
	default:
		seal(world, CV_TLS_HANDSHAKE,
		     cv_span_of((uint8_t[]){24, 0, 0, 1, take_u8(input) & 1}, 5), 0);
		check(cv_tls_keys_update(&world->peer_tx, true) == 0);
		break;
	}
	drain(world);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cv_span input = cv_span_of(data, size), got, expected;
	struct world world;
	int steps = 0;

	start(&world, take_u8(&input) & 1);
	while (input.len_bytes > 0 && steps++ < 256)
		run(&world, &input);
	/* all of it, or a prefix if something ended the direction */
	got = cv_buffer_span(&world.out);
	expected = cv_buffer_span(&world.expected);
	check(got.len_bytes <= expected.len_bytes);
	check(got.len_bytes == 0 || memcmp(got.data, expected.data, got.len_bytes) == 0);
	stop(&world);
	return 0;
}
