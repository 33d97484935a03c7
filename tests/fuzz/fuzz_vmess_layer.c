// SPDX-License-Identifier: MIT
/*
 * fuzz_vmess_layer.c - a client's and a server's VMess layer talk; what is said and how it is cut
 * come from the input. Or one of them hears anything.
 *
 *   input:  mode 1 | operations ..     mode: bits 0,1 cipher, 2 packets, 3 hostile bytes, 4 for
 *                                            the client, 5 no chunks
 *   operation:  direction and cut 1, len 1, bytes
 */
#include "protocol/vmess_layer.h"

#include "layer_side.h"

#include <culvert/reason.h>

#include <errno.h>

static void says(struct side *side, struct cv_span bytes, bool is_packet)
{
	const uint8_t frame[2] = {(uint8_t)(bytes.len_bytes >> 8), (uint8_t)bytes.len_bytes};
	struct cv_buffer framed;

	cv_buffer_init(&framed, 1 << 20);
	if (is_packet)
		check(cv_buffer_append(&framed, frame, sizeof(frame)) == 0);
	check(cv_buffer_append(&framed, bytes.data, bytes.len_bytes) == 0);
	if (bytes.len_bytes)
		check(cv_buffer_append(&side->sent, cv_buffer_bytes(&framed),
				       cv_buffer_len(&framed)) == 0);
	check(side->layer->ops->encode(side->layer, cv_buffer_span(&framed), collect, side) == 0);
	cv_buffer_done(&framed);
}

static int takes(struct side *side, struct cv_span bytes)
{
	int result = 0;

	check(cv_buffer_append(&side->pending, bytes.data, bytes.len_bytes) == 0);
	while (result == 0 && cv_buffer_len(&side->pending) > 0) {
		struct cv_span in = cv_buffer_span(&side->pending);
		const size_t before = in.len_bytes;

		result = side->layer->ops->decode(side->layer, &in, &side->got, NULL);
		check(result != 0 || in.len_bytes < before);
		check(result != -EAGAIN || in.len_bytes == before);
		cv_buffer_consume(&side->pending, before - in.len_bytes);
	}
	return result == -EAGAIN ? 0 : result;
}

static void pass(struct side *from, struct side *to, size_t len_bytes)
{
	if (len_bytes > cv_buffer_len(&from->wire))
		len_bytes = cv_buffer_len(&from->wire);
	check(takes(to, cv_span_of(cv_buffer_bytes(&from->wire), len_bytes)) == 0);
	cv_buffer_consume(&from->wire, len_bytes);
}

static void check_all_arrived(struct side *from, struct side *to, bool is_bare)
{
	pass(from, to, SIZE_MAX);
	check(from->layer->ops->encode_eof(from->layer, collect, from) == 0);
	check(takes(to, cv_buffer_span(&from->wire)) == (is_bare ? 0 : CV_LAYER_EOF));
	check_same(cv_buffer_span(&to->got), cv_buffer_span(&from->sent));
	check(to->layer->ops->decode_eof(to->layer) == 0);
}

static void talk(struct side *client, struct side *server, struct cv_span input, bool is_packet,
		 bool is_bare)
{
	int steps = 0;

	while (input.len_bytes > 0 && steps++ < 256) {
		const uint8_t how = take_u8(&input);
		struct side *from = how & 1 ? server : client;
		struct side *to = how & 1 ? client : server;
		const struct cv_span bytes = take_span(&input, take_u8(&input));
		const int repeat = how & 2 ? 80 : 1;
		struct cv_buffer batch;

		cv_buffer_init(&batch, 65536);
		for (int i = 0; i < repeat; i++)
			check(cv_buffer_append(&batch, bytes.data, bytes.len_bytes) == 0);
		if (cv_buffer_len(&batch) > 0)
			says(from, cv_buffer_span(&batch), is_packet);
		cv_buffer_done(&batch);
		pass(from, to, how & 4 ? SIZE_MAX : how >> 3);
	}
	check_all_arrived(client, server, is_bare);
	check_all_arrived(server, client, is_bare);
}

static void listen_to_anything(struct side *side, struct cv_span input)
{
	int result = 0;

	while (input.len_bytes > 0 && result == 0)
		result = takes(side, take_span(&input, 1u + take_u8(&input)));
	(void)side->layer->ops->decode_eof(side->layer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t key[CV_VMESS_KEY] = {1, 2, 3};
	struct cv_span input = cv_span_of(data, size);
	const uint8_t mode = take_u8(&input);
	struct cv_vmess_request request = {
		.options = CV_VMESS_CHUNKS | CV_VMESS_MASKING | CV_VMESS_PADDING,
		.cipher = (enum cv_vmess_cipher)(CV_VMESS_AES_128_GCM + (mode & 3) % 3),
		.command = mode & 4 ? CV_VMESS_UDP : CV_VMESS_TCP,
	}, opened;
	struct side client, server;
	size_t header_bytes;

	if (mode & 32 && request.cipher == CV_VMESS_NONE && !(mode & 4))
		request.options = 0;
	memset(request.body_key, 0x17, sizeof(request.body_key));
	check(cv_destination_set_text(&request.destination, "a.test", 1) == 0);
	start(&client, cv_vmess_client_layer_new(&request, key, 1700000000));
	check(client.layer->ops->flush(client.layer, collect, &client) == 0);
	check(cv_vmess_request_open(cv_buffer_span(&client.wire), key, &opened, &header_bytes) ==
	      0);
	check(header_bytes == cv_buffer_len(&client.wire));
	cv_buffer_consume(&client.wire, header_bytes);
	start(&server, cv_vmess_server_layer_new(&opened));
	if (mode & 8)
		listen_to_anything(mode & 16 ? &client : &server, input);
	else
		talk(&client, &server, input, mode & 4, request.options == 0);
	stop(&client);
	stop(&server);
	return 0;
}
