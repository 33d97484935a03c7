// SPDX-License-Identifier: MIT
/*
 * fuzz_vless_layer.c - a client's and a server's layer talk; app bytes and cuts come from the
 * input.
 *
 *   input:  mode 1 | operations ..       mode: bit 0 Vision, bit 1 hostile bytes first; without
 *                                        Vision bit 2 version 1, bit 3 either version
 *   operation:  direction and cut 1, len 1, bytes
 *
 * What one side's app sent must come out at the other, in order, whatever becomes of the
 * directions; once a direction is CLEAR its bytes bypass the layers as on a leg. Hostile bytes
 * instead of the other layer's must be refused or passed, never more.
 */
#include "protocol/vless_layer.h"
#include "wire/vless_v1.h"

#include <culvert/reason.h>

#include "layer_side.h"

#include <errno.h>

static struct cv_vless_request request_of(uint8_t mode)
{
	struct cv_vless_request request = {
		.version = !(mode & 1) && (mode & 4),
		.flow = mode & 1 ? CV_FLOW_VISION : CV_FLOW_NONE,
		.command = CV_VLESS_TCP,
	};

	check(cv_destination_set_text(&request.destination, "example.com", 443) == 0);
	memset(request.uuid, 0x17, sizeof(request.uuid));
	return request;
}

static void says(struct side *side, struct cv_span bytes)
{
	check(cv_buffer_append(&side->sent, bytes.data, bytes.len_bytes) == 0);
	if (side->layer->tx == CV_CLEAR)
		check(cv_buffer_append(&side->wire, bytes.data, bytes.len_bytes) == 0);
	else
		check(side->layer->ops->encode(side->layer, bytes, collect, side) == 0);
	check(!side->layer->tx_penetrated || side->layer->tx == CV_CLEAR);
}

/* As the leg does: decode while the layer takes something, bypass it once it is CLEAR. */
static int takes(struct side *side, struct cv_span bytes)
{
	struct cv_buffer reply;
	int result = 0;

	cv_buffer_init(&reply, 16);
	check(cv_buffer_append(&side->pending, bytes.data, bytes.len_bytes) == 0);
	while (result == 0 && cv_buffer_len(&side->pending) > 0) {
		struct cv_span in = cv_buffer_span(&side->pending);
		const size_t before = in.len_bytes;

		if (side->layer->rx == CV_CLEAR) {
			result = cv_buffer_append(&side->got, in.data, in.len_bytes);
			cv_span_skip(&in, in.len_bytes);
		} else {
			result = side->layer->ops->decode(side->layer, &in, &side->got, &reply);
		}
		check(result != 0 || in.len_bytes < before);
		cv_buffer_consume(&side->pending, before - in.len_bytes);
	}
	check(cv_buffer_len(&reply) == 0);
	check(!side->layer->rx_penetrated || side->layer->rx == CV_CLEAR);
	return result == -EAGAIN ? 0 : result;
}

static void pass(struct side *from, struct side *to, size_t len_bytes)
{
	if (len_bytes > cv_buffer_len(&from->wire))
		len_bytes = cv_buffer_len(&from->wire);
	check(takes(to, cv_span_of(cv_buffer_bytes(&from->wire), len_bytes)) == 0);
	cv_buffer_consume(&from->wire, len_bytes);
	check(cv_buffer_len(&to->got) <= cv_buffer_len(&from->sent));
}

static void check_all_arrived(struct side *from, struct side *to)
{
	pass(from, to, SIZE_MAX);
	check_same(cv_buffer_span(&to->got), cv_buffer_span(&from->sent));
	check(to->layer->ops->decode_eof(to->layer) == 0);
}

/* The session reads the request header; here its length is the same every time. */
static void drop_request(struct side *client)
{
	struct cv_vless_request request;
	size_t header_bytes = 0;

	check(cv_vless_client_layer_flush(client->layer, collect, client) == 0);
	const struct cv_span wire = cv_buffer_span(&client->wire);

	check((wire.data[0] ? cv_vless_v1_request_read(wire, &request, &header_bytes)
			    : cv_vless_request_read(wire, &request, &header_bytes)) == 0);
	cv_buffer_consume(&client->wire, header_bytes);
}

static void talk(struct side *client, struct side *server, struct cv_span input)
{
	int steps = 0;

	drop_request(client);
	while (input.len_bytes > 0 && steps++ < 256) {
		const uint8_t how = take_u8(&input);
		struct side *from = how & 1 ? server : client;
		struct side *to = how & 1 ? client : server;
		/* long batches too: the same bytes over and over */
		const struct cv_span bytes = take_span(&input, take_u8(&input));
		const int repeat = how & 2 ? 80 : 1;
		struct cv_buffer batch;

		cv_buffer_init(&batch, 65536);
		for (int i = 0; i < repeat; i++)
			check(cv_buffer_append(&batch, bytes.data, bytes.len_bytes) == 0);
		if (cv_buffer_len(&batch) > 0)
			says(from, cv_buffer_span(&batch));
		cv_buffer_done(&batch);
		pass(from, to, how & 4 ? SIZE_MAX : how >> 3);
	}
	check_all_arrived(client, server);
	check_all_arrived(server, client);
}

static void listen_to_anything(struct side *client, struct side *server, struct cv_span input)
{
	struct side *side = take_u8(&input) & 1 ? client : server;
	int result = 0;

	while (input.len_bytes > 0 && result == 0)
		result = takes(side, take_span(&input, 1u + take_u8(&input)));
	check(cv_buffer_len(&side->got) <= 1 << 20);
	(void)side->layer->ops->decode_eof(side->layer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cv_span input = cv_span_of(data, size);
	const uint8_t mode = take_u8(&input);
	const struct cv_vless_request request = request_of(mode);
	struct cv_vless_versions versions = {0};
	struct side client, server;

	start(&client, cv_vless_client_layer_new(&request, NULL));
	if (!(mode & 1) && (mode & 8))
		cv_vless_client_layer_watch(client.layer, &versions);
	start(&server, cv_vless_server_layer_new(&request, NULL));
	if (mode & 2)
		listen_to_anything(&client, &server, input);
	else
		talk(&client, &server, input);
	stop(&client);
	stop(&server);
	return 0;
}
