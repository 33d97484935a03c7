// SPDX-License-Identifier: MIT
/*
 * fuzz_transport_layer.c - a WebSocket's or an HTTP/2 stream's two ends talk, or hear anything.
 *
 *   input:  mode 1 | operations ..       mode: bit 0 HTTP/2, bit 1 hostile bytes, bit 2 to server
 *   operation:  direction, how often and cut 1, len 1, bytes
 *
 * What one app said comes out at the other, in order, however it is cut. Hostile bytes are refused
 * or passed, and what is answered to them stays in proportion.
 */
#include "protocol/h2_layer.h"
#include "protocol/upgrade_client.h"

#include "unit/h2_talk.h"
#include "unit/layer_talk.h"

#include <culvert/reason.h>

#include "check.h"

static char path[] = "/x", none[] = "", method[] = "PUT";

static struct cv_transport transport_of(bool is_h2)
{
	return (struct cv_transport){
		.kind = is_h2 ? CV_TRANSPORT_H2 : CV_TRANSPORT_WEBSOCKET,
		.path = path, .host = none, .headers = none, .method = method};
}

/* A session answers a WebSocket's request; HTTP/2 does it itself. */
static void agree_websocket(struct talker *client)
{
	char accept[CV_WEBSOCKET_ACCEPT_TEXT + 1];
	struct cv_http_head head;
	struct cv_buffer text;
	unsigned status;

	cv_buffer_init(&text, 4096);
	check(cv_http_request_head_read(cv_buffer_span(&client->said), &head, &status) == 0);
	check(cv_websocket_accept(cv_upgrade_key(&head), accept) == 0);
	check(cv_upgrade_accept(CV_UPGRADE_WEBSOCKET, accept, (struct cv_span){0}, &text) == 0);
	cv_buffer_done(&client->said);
	check(talk_hear(client, cv_buffer_bytes(&text), cv_buffer_len(&text)) == 0);
	cv_buffer_done(&text);
}

static void exchange(struct talker *client, struct talker *server)
{
	for (int round = 0; round < 64; round++) {
		check(talk_pass(client, server, SIZE_MAX) >= 0);
		check(talk_pass(server, client, SIZE_MAX) >= 0);
		if (cv_buffer_len(&client->said) + cv_buffer_len(&server->said) == 0)
			return;
	}
	check(false); /* they would never stop talking */
}

static void talk(struct talker *client, struct talker *server, struct cv_span input)
{
	struct cv_buffer sent[2];
	int steps = 0;

	cv_buffer_init(&sent[0], 1 << 24);
	cv_buffer_init(&sent[1], 1 << 24);
	while (input.len_bytes > 0 && steps++ < 128) {
		const uint8_t how = take_u8(&input);
		struct talker *from = how & 1 ? server : client;
		struct talker *to = how & 1 ? client : server;
		const struct cv_span bytes = take_span(&input, take_u8(&input));

		for (int i = 0; i < (how & 2 ? 80 : 1) && bytes.len_bytes > 0; i++) {
			check(talk_say(from, bytes.data, bytes.len_bytes) == 0);
			check(cv_buffer_append(&sent[how & 1], bytes.data, bytes.len_bytes) == 0);
		}
		check(talk_pass(from, to, how & 4 ? SIZE_MAX : how >> 3) == 0);
	}
	exchange(client, server);
	check_same(cv_buffer_span(&server->app), cv_buffer_span(&sent[0]));
	check_same(cv_buffer_span(&client->app), cv_buffer_span(&sent[1]));
	check(talk_end(client) == 0);
	check(talk_pass(client, server, SIZE_MAX) == CV_LAYER_EOF);
	check(server->layer->ops->decode_eof(server->layer) == 0);
	cv_buffer_done(&sent[0]);
	cv_buffer_done(&sent[1]);
}

static void listen_to_anything(struct talker *talker, struct cv_span input)
{
	const size_t heard = input.len_bytes;

	cv_buffer_done(&talker->said);
	while (input.len_bytes > 0 && talker->result == 0) {
		const struct cv_span piece = take_span(&input, 1u + take_u8(&input));

		if (piece.len_bytes > 0)
			(void)talk_hear(talker, piece.data, piece.len_bytes);
	}
	check(cv_buffer_len(&talker->app) <= heard);
	check(cv_buffer_len(&talker->said) <= 4096 + 8 * heard);
	(void)talker->layer->ops->decode_eof(talker->layer);
	(void)talk_end(talker);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cv_span input = cv_span_of(data, size);
	const uint8_t mode = take_u8(&input);
	const bool is_h2 = mode & 1;
	const struct cv_transport transport = transport_of(is_h2);
	const struct cv_transport_place place = {.host = "a.test"};
	struct talker client, server;

	talk_start(&client, cv_transport_client_layer_new(&transport, &place));
	talk_start(&server, is_h2 ? h2_talk_new(&transport, false)
				  : cv_websocket_server_layer_new());
	check(talk_begin(&client) == 0);
	if (!(mode & 2)) {
		if (is_h2)
			exchange(&client, &server);
		else
			agree_websocket(&client);
		check(!client.layer->is_opening && !server.layer->is_opening);
		talk(&client, &server, input);
	} else {
		listen_to_anything(mode & 4 ? &server : &client, input);
	}
	talk_stop(&client);
	talk_stop(&server);
	return 0;
}
