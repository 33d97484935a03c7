// SPDX-License-Identifier: MIT
/*
 * fuzz_reality_server.c - a client and a target that say anything, in any order.
 *
 *   input:  ccs_limit 1 | post-handshake length 2, three times | operations ..
 *   operation:  kind 1, then what the kind needs
 *
 * Besides raw bytes there are operations for what cannot be guessed: the hello of REALITY 14, a
 * ServerHello that echoes it, records sealed under the client's keys, the right Finished. Through
 * all of it no byte of the target may get lost before a verdict, no byte of ours may leave before
 * the flight, and a verdict that ends the handshake stays.
 */
#include "protocol/reality_internal.h"

#include <culvert/reason.h>

#include "check.h"

#include <errno.h>
#include <stdio.h>

#define WALL_MS UINT64_C(1767225600000)

static const uint8_t hello_record[] =
	"\x16\x03\x01\x00\xbd\x01\x00\x00\xb9\x03\x03\x80\x81\x82\x83\x84\x85\x86\x87\x88\x89\x8a"
	"\x8b\x8c\x8d\x8e\x8f\x90\x91\x92\x93\x94\x95\x96\x97\x98\x99\x9a\x9b\x9c\x9d\x9e\x9f\x20"
	"\x9f\x28\x7b\xc1\xa1\xb2\xf5\x17\x8e\x2a\x38\x24\x39\x9e\x46\x29\x1c\x75\xe9\xf1\x81\xd5"
	"\xf3\x2e\xf7\xde\x36\x36\xc6\xcd\x07\x41\x00\x06\x13\x01\x13\x02\x13\x03\x01\x00\x00\x6a"
	"\x00\x00\x00\x14\x00\x12\x00\x00\x0f"
	"www.example.com"
	"\x00\x0a\x00\x04\x00\x02\x00\x1d\x00\x0d\x00\x06\x00\x04\x04\x03\x08\x07\x00\x10\x00\x05"
	"\x00\x03\x02\x68\x32\x00\x2b\x00\x03\x02\x03\x04\x00\x2d\x00\x02\x01\x01\x00\x33\x00\x26"
	"\x00\x24\x00\x1d\x00\x20\x58\x69\xaf\xf4\x50\x54\x97\x32\xcb\xaa\xed\x5e\x5d\xf9\xb3\x0a"
	"\x6d\xa3\x1c\xb0\xe5\x74\x2b\xad\x5a\xd4\xa1\xa7\x68\xf1\xa6\x7b";

/* ServerHello and CCS; the key share is followed by what replaces it, so its value means nothing.
 */
static const uint8_t server_hello_record[] =
	"\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03\xc0\xc1\xc2\xc3\xc4\xc5\xc6\xc7\xc8\xc9\xca"
	"\xcb\xcc\xcd\xce\xcf\xd0\xd1\xd2\xd3\xd4\xd5\xd6\xd7\xd8\xd9\xda\xdb\xdc\xdd\xde\xdf\x20"
	"\x9f\x28\x7b\xc1\xa1\xb2\xf5\x17\x8e\x2a\x38\x24\x39\x9e\x46\x29\x1c\x75\xe9\xf1\x81\xd5"
	"\xf3\x2e\xf7\xde\x36\x36\xc6\xcd\x07\x41\x13\x01\x00\x00\x2e\x00\x2b\x00\x02\x03\x04\x00"
	"\x33\x00\x24\x00\x1d\x00\x20"
	"dddddddddddddddddddddddddddddddd"
	"\x14\x03\x03\x00\x01\x01";

enum kind {
	CLIENT_BYTES,
	TARGET_BYTES,
	HELLO,
	SERVER_HELLO,
	TARGET_RECORD,
	SEALED,
	FINISHED,
	CLIENT_EOF,
	TARGET_EOF,
	KINDS,
};

struct world {
	struct cv_reality_config config;
	char server_names[1][256];
	uint8_t short_ids[1][CV_SHORT_ID_LEN];
	struct cv_target_profile profile;
	struct cv_reality_server *server;
	struct cv_buffer target; /* all it said before a verdict */
	struct cv_tls_keys tx;   /* the client's handshake keys, once there is a flight */
	bool flight_seen;
	bool finished_sent;
	enum cv_reality_verdict last;
};

static struct cv_ed25519 *certificate_key;

static struct cv_target_profile profile_of(void *context, const char *server_name,
					   enum cv_alpn_class alpn_class)
{
	check(strcmp(server_name, "www.example.com") == 0);
	check(alpn_class == CV_ALPN_H2);
	return ((struct world *)context)->profile;
}

static void start(struct world *world, struct cv_span *input)
{
	static const uint8_t seed[32] = "certificate key of the fuzz test";

	memset(world, 0, sizeof(*world));
	if (!certificate_key)
		certificate_key = cv_ed25519_from_seed(seed);
	for (int i = 0; i < 32; i++)
		world->config.private_key[i] = (uint8_t)(i + 1);
	memcpy(world->short_ids[0], "\x01\x23\x45\x67\x89\xab\xcd\xef", 8);
	snprintf(world->server_names[0], sizeof(world->server_names[0]), "www.example.com");
	world->config.server_names = world->server_names;
	world->config.server_name_count = 1;
	world->config.short_ids = world->short_ids;
	world->config.short_id_count = 1;
	world->config.max_client_version = 0xffffff;
	world->config.certificate_key = certificate_key;
	check(cv_ed25519_public(certificate_key, world->config.certificate_public) == 0);
	world->config.profile = profile_of;
	world->config.profile_context = world;
	world->profile.ccs_limit = (int8_t)take_u8(input);
	world->profile.after[CV_TARGET_HYBRID_SHA256].count = 3;
	world->profile.after[CV_TARGET_HYBRID_SHA256].known = true;
	for (int i = 0; i < 3; i++)
		world->profile.after[CV_TARGET_HYBRID_SHA256].len[i] = take_u16(input);
	world->server = cv_reality_server_new(&world->config);
	check(world->server != NULL);
	cv_buffer_init(&world->target, 1 << 24);
}

static void stop(struct world *world)
{
	cv_reality_server_free(world->server);
	cv_tls_keys_done(&world->tx);
	cv_buffer_done(&world->target);
}

static bool is_final(enum cv_reality_verdict verdict)
{
	return verdict != CV_REALITY_WAIT && verdict != CV_REALITY_FLIGHT;
}

static void take_flight(struct world *world)
{
	check(!world->flight_seen);
	world->flight_seen = true;
	check(cv_buffer_len(cv_reality_server_output(world->server)) > 200);
	check(cv_tls_keys_init(&world->tx, world->server->suite,
			       world->server->secrets.client_handshake, true) == 0);
}

static void take_layer(struct world *world)
{
	struct cv_layer *layer = cv_reality_server_take_layer(world->server);

	check(world->flight_seen && world->finished_sent);
	check(layer != NULL);
	check(cv_reality_server_reason(world->server) == 0);
	layer->ops->free(layer);
}

static void take_verdict(struct world *world, enum cv_reality_verdict verdict)
{
	struct cv_buffer *output = cv_reality_server_output(world->server);

	if (is_final(world->last)) {
		check(verdict == world->last);
		return;
	}
	switch (verdict) {
	case CV_REALITY_WAIT:
		break;
	case CV_REALITY_FORWARD:
		check(!world->flight_seen);
		check_same(cv_buffer_span(cv_reality_server_saved_target(world->server)),
			   cv_buffer_span(&world->target));
		break;
	case CV_REALITY_FLIGHT:
		take_flight(world);
		break;
	case CV_REALITY_ESTABLISHED:
		take_layer(world);
		break;
	case CV_REALITY_CLOSE:
		check(cv_reality_server_reason(world->server) < 0);
		break;
	}
	if (!world->flight_seen && verdict != CV_REALITY_CLOSE)
		check(cv_buffer_len(output) == 0);
	if (verdict == CV_REALITY_FORWARD)
		check(cv_reality_server_reason(world->server) < 0);
	cv_buffer_consume(output, cv_buffer_len(output));
	world->last = verdict;
}

static void client_says(struct world *world, struct cv_span bytes)
{
	take_verdict(world, cv_reality_server_client_bytes(world->server, bytes, WALL_MS));
}

static void target_says(struct world *world, struct cv_span bytes)
{
	if (!world->flight_seen && !is_final(world->last))
		check(cv_buffer_append(&world->target, bytes.data, bytes.len_bytes) == 0);
	take_verdict(world, cv_reality_server_target_bytes(world->server, bytes, WALL_MS));
}

static void target_record(struct world *world, size_t body_len)
{
	uint8_t *record = calloc(1, CV_TLS_HEADER + body_len);

	check(record != NULL);
	record[0] = 23;
	record[1] = record[2] = 3;
	record[3] = (uint8_t)(body_len >> 8);
	record[4] = (uint8_t)body_len;
	target_says(world, cv_span_of(record, CV_TLS_HEADER + body_len));
	free(record);
}

static void client_seals(struct world *world, uint8_t type, struct cv_span content)
{
	struct cv_buffer record;

	if (!world->flight_seen)
		return;
	cv_buffer_init(&record, CV_TLS_RECORD_MAX);
	check(cv_tls_record_seal(&world->tx, type, content.data, content.len_bytes, 0, &record) ==
	      0);
	client_says(world, cv_buffer_span(&record));
	cv_buffer_done(&record);
}

static void client_finishes(struct world *world)
{
	uint8_t finished[4 + 32] = {20, 0, 0, 32};

	world->finished_sent = true;
	memcpy(finished + 4, world->server->client_verify_data, 32);
	client_seals(world, CV_TLS_HANDSHAKE, cv_span_of(finished, sizeof(finished)));
}

static void run(struct world *world, struct cv_span *input)
{
	switch ((enum kind)(take_u8(input) % KINDS)) {
	case CLIENT_BYTES:
		client_says(world, take_span(input, take_u8(input)));
		break;
	case TARGET_BYTES:
		target_says(world, take_span(input, take_u8(input)));
		break;
	case HELLO:
		client_says(world, cv_span_of(hello_record, sizeof(hello_record) - 1));
		break;
	case SERVER_HELLO:
		target_says(world,
			    cv_span_of(server_hello_record, sizeof(server_hello_record) - 1));
		break;
	case TARGET_RECORD:
		target_record(world, take_u16(input));
		break;
	case SEALED: {
		const uint8_t type = take_u8(input);

		client_seals(world, type, take_span(input, take_u8(input)));
		break;
	}
	case FINISHED:
		client_finishes(world);
		break;
	case CLIENT_EOF:
		take_verdict(world, cv_reality_server_client_eof(world->server));
		break;
	case TARGET_EOF:
		take_verdict(world, cv_reality_server_target_eof(world->server));
		break;
	case KINDS:
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cv_span input = cv_span_of(data, size);
	struct world world;
	int steps = 0;

	start(&world, &input);
	while (input.len_bytes > 0 && steps++ < 64)
		run(&world, &input);
	stop(&world);
	return 0;
}
