// SPDX-License-Identifier: MIT
/*
 * reality_server.c - the REALITY server: states, verdicts, the interface.
 *
 *   EXPECT_HELLO     client bytes -> assembler -> parse -> acceptance chain
 *        | ours                                   \ anything else, or the target spoke: FORWARD
 *   EXPECT_TEMPLATE  target bytes -> saved -> template -> our flight
 *        | FLIGHT                             \ anything else: FORWARD, all of saved
 *   EXPECT_FINISHED  client records; the target's bytes are dropped, its end is ours
 *        | ESTABLISHED                        \ fault: alert as a TLS 1.3 server sends it, CLOSE
 *
 * Nothing is ever sent to the client before the flight is complete, so up to there every failure
 * has the same answer: the target's bytes, untouched. A verdict that ends the handshake is repeated
 * by later calls.
 */
#include "protocol/reality_internal.h"

#include "protocol/record_layer.h"
#include "protocol/tls_alert.h"

#include <culvert/reason.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Six records of the template, the start of a seventh, and one read on top of that. */
#define SAVED_MAX (256 * 1024)
/* One record that is not complete, and one read on top of that. */
#define CLIENT_MAX (160 * 1024)
/* Flight of up to seven records, post-handshake records, an alert. */
#define OUTPUT_MAX (256 * 1024)

static const struct cv_reality_entropy system_entropy = {
	.x25519_keygen = cv_x25519_keygen,
	.mlkem768_encapsulate = cv_mlkem768_encapsulate,
};

/* ---- life --------------------------------------------------------------------------------- */

struct cv_reality_server *cv_reality_server_new(const struct cv_reality_config *config)
{
	struct cv_reality_server *server = calloc(1, sizeof(*server));

	if (!server)
		return NULL;
	server->config = config;
	server->entropy = &system_entropy;
	cv_hello_assembler_init(&server->assembler);
	cv_buffer_init(&server->client, CLIENT_MAX);
	cv_buffer_init(&server->saved, SAVED_MAX);
	cv_buffer_init(&server->output, OUTPUT_MAX);
	return server;
}

struct cv_reality_server *cv_reality_server_free(struct cv_reality_server *server)
{
	if (!server)
		return NULL;
	cv_hello_assembler_done(&server->assembler);
	cv_buffer_done(&server->client);
	cv_buffer_done(&server->saved);
	cv_buffer_done(&server->output);
	cv_tls_keys_done(&server->rx);
	cv_tls_keys_done(&server->tx);
	cv_cleanse(server, sizeof(*server));
	free(server);
	return NULL;
}

void cv_reality_server_set_entropy(struct cv_reality_server *server,
				   const struct cv_reality_entropy *entropy)
{
	server->entropy = entropy;
}

/* ---- verdicts ----------------------------------------------------------------------------- */

static enum cv_reality_verdict forward(struct cv_reality_server *server, int reason)
{
	server->state = CV_REALITY_IS_FORWARDED;
	server->reason = reason;
	return CV_REALITY_FORWARD;
}

static enum cv_reality_verdict close_both(struct cv_reality_server *server, int reason)
{
	server->state = CV_REALITY_IS_CLOSED;
	server->reason = reason;
	return CV_REALITY_CLOSE;
}

/* The verdict of a state in which nothing new can happen. */
static enum cv_reality_verdict standing(const struct cv_reality_server *server)
{
	switch (server->state) {
	case CV_REALITY_IS_FORWARDED:
		return CV_REALITY_FORWARD;
	case CV_REALITY_IS_CLOSED:
		return CV_REALITY_CLOSE;
	case CV_REALITY_IS_ESTABLISHED:
		return CV_REALITY_ESTABLISHED;
	default:
		return CV_REALITY_WAIT;
	}
}

/* ---- client ------------------------------------------------------------------------------- */

static int judge_hello(struct cv_reality_server *server, uint64_t now_wall_ms)
{
	int result =
		cv_client_hello_parse(cv_buffer_span(&server->assembler.message), &server->hello);

	if (result)
		return result;
	server->hello_parsed = true;
	return cv_reality_accept(server, now_wall_ms);
}

static enum cv_reality_verdict take_hello_bytes(struct cv_reality_server *server,
						struct cv_span bytes, uint64_t now_wall_ms)
{
	size_t used;
	int result = cv_hello_assembler_add(&server->assembler, bytes, &used);

	if (result == -EAGAIN)
		return CV_REALITY_WAIT;
	if (result == 0)
		result = judge_hello(server, now_wall_ms);
	if (result == 0) {
		cv_span_skip(&bytes, used);
		result = cv_buffer_append(&server->client, bytes.data, bytes.len_bytes);
	}
	if (result)
		return forward(server, result);
	server->state = CV_REALITY_EXPECT_TEMPLATE;
	return CV_REALITY_WAIT;
}

static enum cv_reality_verdict read_finished(struct cv_reality_server *server)
{
	int result = cv_reality_finished_read(server);

	if (result == -EAGAIN)
		return CV_REALITY_WAIT;
	if (result)
		return close_both(server, result);
	server->state = CV_REALITY_IS_ESTABLISHED;
	return CV_REALITY_ESTABLISHED;
}

enum cv_reality_verdict cv_reality_server_client_bytes(struct cv_reality_server *server,
						       struct cv_span bytes, uint64_t now_wall_ms)
{
	int result;

	if (server->state == CV_REALITY_EXPECT_HELLO)
		return take_hello_bytes(server, bytes, now_wall_ms);
	if (server->state == CV_REALITY_IS_FORWARDED || server->state == CV_REALITY_IS_CLOSED)
		return standing(server);
	result = cv_buffer_append(&server->client, bytes.data, bytes.len_bytes);
	if (result)
		return server->state == CV_REALITY_EXPECT_TEMPLATE ? forward(server, result)
								   : close_both(server, result);
	if (server->state == CV_REALITY_EXPECT_FINISHED)
		return read_finished(server);
	return standing(server);
}

enum cv_reality_verdict cv_reality_server_client_eof(struct cv_reality_server *server)
{
	switch (server->state) {
	case CV_REALITY_EXPECT_HELLO: /* observable: the target sees the FIN and answers it */
	case CV_REALITY_EXPECT_TEMPLATE: /* nor can this client ever send a Finished */
		return forward(server, CV_PEER_CLOSED);
	case CV_REALITY_EXPECT_FINISHED:
		return close_both(server, CV_PEER_CLOSED);
	default:
		return standing(server);
	}
}

/* ---- target ------------------------------------------------------------------------------- */

static struct cv_target_profile profile_of(const struct cv_reality_server *server)
{
	const struct cv_reality_config *config = server->config;

	if (!config->profile)
		return (struct cv_target_profile){.ccs_limit = 0};
	return config->profile(config->profile_context, server->hello.server_name,
			       server->hello.alpn_class);
}

/* observable: what came with the hello reached the target too, and an alert about it can follow
 * the flight so closely that it looks like a part of it. That answer is ours to give, once. */
static void forget_alert(const struct cv_reality_server *server,
			 struct cv_reality_template *template)
{
	const size_t alert_len = CV_REALITY_RECORD_MIN + CV_TLS_ALERT_BODY;

	if (cv_buffer_len(&server->client) > 0 && template->record_len[6] == alert_len)
		template->record_len[6] = 0;
}

static enum cv_reality_verdict read_template(struct cv_reality_server *server)
{
	struct cv_reality_template template;
	int result = cv_reality_template_read(cv_buffer_span(&server->saved), server->session_id,
					      &template);

	if (result == -EAGAIN)
		return CV_REALITY_WAIT;
	if (result == 0) {
		forget_alert(server, &template);
		result = cv_reality_flight_build(server, &template);
	}
	if (result)
		return forward(server, result);
	cv_buffer_done(&server->saved);
	server->profile = profile_of(server);
	server->variant = cv_target_variant_of(template.group, template.suite->id);
	server->state = CV_REALITY_EXPECT_FINISHED;
	/* Bytes that came with the hello can only be a fault now: they were made without our keys.
	 */
	return read_finished(server) == CV_REALITY_CLOSE ? CV_REALITY_CLOSE : CV_REALITY_FLIGHT;
}

enum cv_reality_verdict cv_reality_server_target_bytes(struct cv_reality_server *server,
						       struct cv_span bytes, uint64_t now_wall_ms)
{
	bool is_first = server->state == CV_REALITY_EXPECT_HELLO;
	int result;

	(void)now_wall_ms;
	if (bytes.len_bytes == 0 || (!is_first && server->state != CV_REALITY_EXPECT_TEMPLATE))
		return standing(server); /* dropped, REALITY 6.4 */
	result = cv_buffer_append(&server->saved, bytes.data, bytes.len_bytes);
	if (result)
		return close_both(server, result);
	return is_first ? forward(server, CV_TARGET_SPEAKS_FIRST) : read_template(server);
}

enum cv_reality_verdict cv_reality_server_target_eof(struct cv_reality_server *server)
{
	switch (server->state) {
	case CV_REALITY_EXPECT_HELLO:
		return close_both(server, CV_TARGET_CLOSED);
	case CV_REALITY_EXPECT_TEMPLATE: /* REALITY 8: without a byte the client is closed at once
					  */
		return cv_buffer_len(&server->saved) > 0 ? forward(server, CV_TARGET_CLOSED)
							 : close_both(server, CV_TARGET_CLOSED);
	case CV_REALITY_EXPECT_FINISHED: /* observable: the target's own handshake time-out */
		return close_both(server, CV_TARGET_TIMEOUT);
	default:
		return standing(server);
	}
}

/* ---- what the session asks ---------------------------------------------------------------- */

int cv_reality_server_reason(const struct cv_reality_server *server)
{
	return server->reason;
}

int64_t cv_reality_server_clock_skew_ms(const struct cv_reality_server *server)
{
	return server->clock_skew_ms;
}

struct cv_buffer *cv_reality_server_output(struct cv_reality_server *server)
{
	return &server->output;
}

struct cv_buffer *cv_reality_server_saved_target(struct cv_reality_server *server)
{
	return &server->saved;
}

struct cv_buffer *cv_reality_server_leftover(struct cv_reality_server *server)
{
	return &server->client;
}

const struct cv_client_hello *cv_reality_server_hello(const struct cv_reality_server *server)
{
	return server->hello_parsed ? &server->hello : NULL;
}

bool cv_reality_server_is_hybrid(const struct cv_reality_server *server)
{
	return server->hello.hybrid_share.len_bytes > 0;
}

struct cv_layer *cv_reality_server_take_layer(struct cv_reality_server *server)
{
	if (server->state != CV_REALITY_IS_ESTABLISHED || server->layer_taken)
		return NULL;
	server->layer_taken = true;
	return cv_record_layer_new(&server->rx, &server->tx, true);
}

const uint8_t *cv_reality_server_short_id(const struct cv_reality_server *server)
{
	return server->short_id;
}

/* ---- key log, REALITY 13 ------------------------------------------------------------------ */

static void write_hex(char *text, const uint8_t *bytes, size_t count_bytes)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < count_bytes; i++) {
		text[2 * i] = digits[bytes[i] >> 4];
		text[2 * i + 1] = digits[bytes[i] & 15];
	}
	text[2 * count_bytes] = '\0';
}

char *cv_reality_server_key_log(const struct cv_reality_server *server)
{
	const struct {
		const char *label;
		const uint8_t *secret;
	} lines[] = {
		{"CLIENT_HANDSHAKE_TRAFFIC_SECRET", server->secrets.client_handshake},
		{"SERVER_HANDSHAKE_TRAFFIC_SECRET", server->secrets.server_handshake},
		{"CLIENT_TRAFFIC_SECRET_0", server->secrets.client_application},
		{"SERVER_TRAFFIC_SECRET_0", server->secrets.server_application},
	};
	char random[2 * 32 + 1], secret[2 * CV_HASH_MAX + 1];
	size_t used = 0, size = 4 * (32 + sizeof(random) + sizeof(secret)) + 1;
	char *text;

	if (!server->suite)
		return NULL;
	text = malloc(size);
	if (!text)
		return NULL;
	write_hex(random, server->hello.random, 32);
	for (size_t i = 0; i < 4; i++) {
		write_hex(secret, lines[i].secret, cv_hash_len(server->suite->hash));
		used += (size_t)snprintf(text + used, size - used, "%s %s %s\n", lines[i].label,
					 random, secret);
	}
	cv_cleanse(secret, sizeof(secret));
	return text;
}

/* Sixteen ignored records are the mark of Go's TLS stack (REALITY 7, probe B). */
bool cv_reality_target_is_go(const struct cv_reality_server *server)
{
	return server->profile.ccs_limit == 16;
}

bool cv_reality_server_leaves_unread(const struct cv_reality_server *server)
{
	size_t target_reads_bytes = cv_reality_target_is_go(server)	? 2048
				    : server->profile.reads_exactly ? CV_TLS_HEADER
								    : 17408;

	return cv_buffer_len(&server->client) > target_reads_bytes;
}
