// SPDX-License-Identifier: MIT
/*
 * test_session_vmess_client.c - a VMess outbound on a real worker, the test is its server: answers
 * in any pieces, both ends, answers that break off or are none, anywhere; what the client sees.
 */
#include "session_stage.h"

#include "base/clock.h"
#include "base/reason.h"
#include "protocol/vmess_layer.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define RESPONSE_BYTES (18 + 4 + 16) /* the header of an answer */

struct play {
	struct session_stage stage;
	struct cv_layer *layer; /* the server's */
	struct cv_buffer out, in, app;
	int client, server;
};

static int collect(void *context, struct cv_span bytes)
{
	return cv_buffer_append(context, bytes.data, bytes.len_bytes);
}

static void play_init(struct play *play)
{
	struct cv_outbound *outbound = &play->stage.outbound;

	memset(play, 0, sizeof(*play));
	play->client = play->server = -1;
	stage_init(&play->stage);
	outbound->protocol = CV_OUTBOUND_VMESS;
	outbound->uuid[0] = 1;
	outbound->vmess_cipher = CV_VMESS_AES_128_GCM;
	assert_true(cv_sockaddr_to_destination(&play->stage.upstream_address, &outbound->server));
	cv_buffer_init(&play->out, 1 << 22);
	cv_buffer_init(&play->in, 1 << 22);
	cv_buffer_init(&play->app, 1 << 22);
	stage_start(&play->stage, NULL);
}

static void end_round(struct play *play)
{
	if (play->client >= 0)
		(void)close(play->client);
	if (play->server >= 0)
		(void)close(play->server);
	play->client = play->server = -1;
	if (play->layer)
		play->layer->ops->free(play->layer);
	play->layer = NULL;
	cv_buffer_consume(&play->out, cv_buffer_len(&play->out));
	cv_buffer_consume(&play->in, cv_buffer_len(&play->in));
	cv_buffer_consume(&play->app, cv_buffer_len(&play->app));
	stage_wait_sessions(&play->stage, 0);
}

static void play_done(struct play *play)
{
	end_round(play);
	stage_done(&play->stage);
	cv_buffer_done(&play->out);
	cv_buffer_done(&play->in);
	cv_buffer_done(&play->app);
}

static void read_some(struct play *play)
{
	uint8_t block[4096];
	const ssize_t got = recv(play->server, block, sizeof(block), 0);

	assert_true(got > 0);
	assert_int_equal(cv_buffer_append(&play->in, block, (size_t)got), 0);
}

/* The request, as a server reads it. */
static void read_request(struct play *play)
{
	uint8_t uuid[16] = {1}, key[CV_VMESS_KEY];
	struct cv_vmess_request request;
	size_t header_bytes;
	int result;

	assert_int_equal(cv_vmess_command_key(uuid, key), 0);
	do {
		read_some(play);
		result = cv_vmess_request_open(cv_buffer_span(&play->in), key, &request,
					       &header_bytes);
	} while (result == -EAGAIN);
	assert_int_equal(result, 0);
	assert_int_equal(request.command, CV_VMESS_TCP);
	assert_int_equal(request.destination.port, 7);
	cv_buffer_consume(&play->in, header_bytes);
	play->layer = cv_vmess_server_layer_new(&request);
	assert_non_null(play->layer);
}

/* What the client says, until there are @count bytes of it or its end. */
static int hear(struct play *play, size_t count)
{
	int result = -EAGAIN;

	for (;;) {
		struct cv_span in = cv_buffer_span(&play->in);

		result = play->layer->ops->decode(play->layer, &in, &play->app, NULL);
		cv_buffer_consume(&play->in, cv_buffer_len(&play->in) - in.len_bytes);
		if ((result != 0 && result != -EAGAIN) || cv_buffer_len(&play->app) >= count)
			return result;
		if (result == -EAGAIN)
			read_some(play);
	}
}

static void open_session(struct play *play)
{
	play->client = stage_dial(&play->stage);
	stage_send_socks(play->client, 7);
	stage_expect(play->client, "\005\000\000\001\000\000\000\000\000\000", 10);
	stage_send(play->client, "hello", 5);
	play->server = stage_accept(&play->stage);
	read_request(play);
	(void)hear(play, 5);
	assert_memory_equal(cv_buffer_bytes(&play->app), "hello", 5);
}

static void say(struct play *play, const char *text)
{
	assert_int_equal(play->layer->ops->encode(play->layer, cv_span_of(text, strlen(text)),
						  collect, &play->out), 0);
}

static void send_out(struct play *play, size_t count)
{
	stage_send(play->server, cv_buffer_bytes(&play->out), count);
	cv_buffer_consume(&play->out, count);
}

static void end(struct play *play)
{
	assert_int_equal(play->layer->ops->encode_eof(play->layer, collect, &play->out), 0);
}

static void test_both_ends(void **state)
{
	struct play play;

	(void)state;
	play_init(&play);
	open_session(&play);
	say(&play, "answer");
	while (cv_buffer_len(&play.out) > 0)
		send_out(&play, 1);
	stage_expect(play.client, "answer", 6);
	(void)shutdown(play.client, SHUT_WR);
	assert_int_equal(hear(&play, SIZE_MAX), CV_LAYER_EOF);
	say(&play, "late");
	end(&play);
	send_out(&play, cv_buffer_len(&play.out)); /* the end, and no FIN */
	stage_expect(play.client, "late", 4);
	stage_expect_fin(play.client);
	play_done(&play);
}

/* A server that speaks first is asked although the client says nothing. */
static void test_silent_client(void **state)
{
	struct play play;

	(void)state;
	play_init(&play);
	play.client = stage_dial(&play.stage);
	stage_send_socks(play.client, 7);
	stage_expect(play.client, "\005\000\000\001\000\000\000\000\000\000", 10);
	play.server = stage_accept(&play.stage);
	read_request(&play);
	say(&play, "220 hello");
	send_out(&play, cv_buffer_len(&play.out));
	stage_expect(play.client, "220 hello", 9);
	play_done(&play);
}

/* After what came whole, if anything did. */
static void client_sees_reset(int client)
{
	uint8_t bytes[64];
	ssize_t got;

	do
		got = recv(client, bytes, sizeof(bytes), 0);
	while (got > 0);
	assert_int_equal(got, -1);
	assert_int_equal(errno, ECONNRESET);
}

/* Whatever an answer breaks off by, and wherever, it does not look whole. */
static void test_cuts(void **state)
{
	static const size_t places[] = {0, 1, 17, 18, 19, RESPONSE_BYTES - 1, RESPONSE_BYTES + 1,
					RESPONSE_BYTES + 2, RESPONSE_BYTES + 9};
	const size_t count = sizeof(places) / sizeof(places[0]);
	struct play play;

	(void)state;
	play_init(&play);
	for (size_t i = 0; i < 2 * count; i++) {
		open_session(&play);
		say(&play, "answer");
		if (places[i / 2])
			send_out(&play, places[i / 2]);
		if (i % 2) {
			stage_reset(play.server);
			play.server = -1;
		} else {
			(void)shutdown(play.server, SHUT_WR);
		}
		client_sees_reset(play.client);
		end_round(&play);
	}
	assert_int_equal(stage_reason(&play.stage, CV_UPSTREAM_RESET), count);
	assert_int_equal(stage_reason(&play.stage, CV_UPSTREAM_CLOSED), 1);
	assert_int_equal(stage_reason(&play.stage, CV_UPSTREAM_TRUNCATED), count - 1);
	play_done(&play);
}

/* Others end without the empty chunk, by FIN between two; a reset is none there either. */
static void test_ends_without_a_word(void **state)
{
	struct play play;

	(void)state;
	play_init(&play);
	for (int is_reset = 0; is_reset < 2; is_reset++) {
		open_session(&play);
		say(&play, "answer");
		send_out(&play, cv_buffer_len(&play.out));
		stage_expect(play.client, "answer", 6);
		if (is_reset) {
			stage_reset(play.server);
			play.server = -1;
			client_sees_reset(play.client);
		} else {
			(void)shutdown(play.server, SHUT_WR);
			stage_expect_fin(play.client);
		}
		end_round(&play);
	}
	play_done(&play);
}

/* Of another server, or changed on the way, header and chunk. */
static void test_broken(void **state)
{
	static const size_t places[] = {0, 17, 18, RESPONSE_BYTES - 1, RESPONSE_BYTES + 3};
	struct play play;

	(void)state;
	play_init(&play);
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		open_session(&play);
		say(&play, "answer");
		cv_buffer_bytes(&play.out)[places[i]] ^= 1;
		send_out(&play, cv_buffer_len(&play.out));
		client_sees_reset(play.client);
		end_round(&play);
	}
	assert_int_equal(stage_reason(&play.stage, CV_UPSTREAM_BAD_RECORD),
			 sizeof(places) / sizeof(places[0]));
	play_done(&play);
}

/* A client that resets is told to the server as that. */
static void test_client_resets(void **state)
{
	uint8_t byte;
	struct play play;

	(void)state;
	play_init(&play);
	open_session(&play);
	stage_reset(play.client);
	play.client = -1;
	assert_int_equal(recv(play.server, &byte, 1, 0), -1);
	assert_int_equal(errno, ECONNRESET);
	play_done(&play);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_both_ends), cmocka_unit_test(test_silent_client),
		cmocka_unit_test(test_cuts),	  cmocka_unit_test(test_ends_without_a_word),
		cmocka_unit_test(test_broken),	  cmocka_unit_test(test_client_resets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
