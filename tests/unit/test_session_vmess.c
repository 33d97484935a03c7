// SPDX-License-Identifier: MIT
/*
 * test_session_vmess.c - a VMess inbound on a real worker: the request in any pieces, both ends of
 * a session, datagrams, who is refused and how, resets at every step.
 */
#include "session_stage.h"

#include "base/clock.h"
#include "base/reason.h"
#include "policy/replay_cache.h"
#include "policy/vmess_users.h"
#include "protocol/vmess_layer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define PATIENCE_MS 2000 /* of a server that is to be waited for; a request takes far less */
#define DATAGRAMS 16
#define DATAGRAM_BYTES 7500 /* together more than a layer is given at once */

static char nothing[] = "";

struct play {
	struct session_stage stage;
	struct cv_layer *layer;
	struct cv_buffer out, in, app;
	size_t header_bytes;
	int client, upstream;
};

static int collect(void *context, struct cv_span bytes)
{
	return cv_buffer_append(context, bytes.data, bytes.len_bytes);
}

static void play_init(struct play *play, uint32_t patience_ms)
{
	struct cv_user users[2] = {
		{.uuid = {1}, .name = nothing, .email = nothing, .password = nothing,
		 .enabled = true},
		{.uuid = {2}, .name = nothing, .email = nothing, .password = nothing},
	};
	struct cv_inbound *inbound = &play->stage.inbound;

	memset(play, 0, sizeof(*play));
	play->client = play->upstream = -1;
	stage_init(&play->stage);
	inbound->protocol = CV_INBOUND_VMESS;
	inbound->users = cv_user_table_new(users, 2);
	inbound->vmess = cv_vmess_keys_new(inbound->users);
	inbound->vmess_replay = cv_replay_cache_new(CV_VMESS_REPLAY_MS, 1024);
	assert_non_null(inbound->vmess);
	cv_buffer_init(&play->out, 1 << 22);
	cv_buffer_init(&play->in, 1 << 22);
	cv_buffer_init(&play->app, 1 << 22);
	play->stage.config.levels[0].handshake_ms = patience_ms;
	play->stage.config.external_first = 1;
	play->stage.config.daemon.max_associations = 16;
	play->stage.config.daemon.max_user_associations = 16;
	stage_start(&play->stage, NULL);
}

/* A request of @user for @destination in play->out. */
static void ask_for(struct play *play, uint8_t user, enum cv_vmess_command command,
		    const struct cv_sockaddr *destination, uint64_t now_s)
{
	struct cv_vmess_request request = {
		.options = CV_VMESS_CHUNKS | CV_VMESS_MASKING | CV_VMESS_PADDING,
		.cipher = CV_VMESS_AES_128_GCM,
		.command = command,
	};
	uint8_t uuid[16] = {user}, key[CV_VMESS_KEY];

	assert_true(cv_sockaddr_to_destination(destination, &request.destination));
	assert_int_equal(cv_vmess_command_key(uuid, key), 0);
	assert_int_equal(cv_vmess_request_make(&request), 0);
	play->layer = cv_vmess_client_layer_new(&request, key, now_s);
	assert_non_null(play->layer);
	assert_int_equal(play->layer->ops->flush(play->layer, collect, &play->out), 0);
	play->header_bytes = cv_buffer_len(&play->out);
}

static void say(struct play *play, const void *bytes, size_t len)
{
	assert_int_equal(play->layer->ops->encode(play->layer, cv_span_of(bytes, len), collect,
						  &play->out), 0);
}

/* ... to the upstream, and "hello" behind it. */
static void ask(struct play *play, uint8_t user, uint64_t now_s)
{
	ask_for(play, user, CV_VMESS_TCP, &play->stage.upstream_address, now_s);
	say(play, "hello", 5);
}

static uint64_t now_s(void)
{
	return cv_clock_wall_ms() / 1000;
}

static void send_out(struct play *play, size_t count)
{
	stage_send(play->client, cv_buffer_bytes(&play->out), count);
	cv_buffer_consume(&play->out, count);
}

static void end_round(struct play *play)
{
	if (play->client >= 0)
		(void)close(play->client);
	if (play->upstream >= 0)
		(void)close(play->upstream);
	play->client = play->upstream = -1;
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
	cv_vmess_keys_free(play->stage.inbound.vmess);
	cv_replay_cache_free(play->stage.inbound.vmess_replay);
	cv_user_table_free(play->stage.inbound.users);
	cv_buffer_done(&play->out);
	cv_buffer_done(&play->in);
	cv_buffer_done(&play->app);
}

/* What the server says until there are @count bytes of app, or its end; the last result. */
static int hear(struct play *play, size_t count)
{
	uint8_t block[4096];
	int result = -EAGAIN;

	while (cv_buffer_len(&play->app) < count && result == -EAGAIN) {
		const ssize_t got = recv(play->client, block, sizeof(block), 0);

		if (got <= 0)
			return got < 0 ? -errno : CV_UPSTREAM_CLOSED;
		assert_int_equal(cv_buffer_append(&play->in, block, (size_t)got), 0);
		do {
			struct cv_span in = cv_buffer_span(&play->in);

			result = play->layer->ops->decode(play->layer, &in, &play->app, NULL);
			cv_buffer_consume(&play->in, cv_buffer_len(&play->in) - in.len_bytes);
		} while (result == 0);
	}
	return result;
}

static void open_session(struct play *play)
{
	play->client = stage_dial(&play->stage);
	ask(play, 1, now_s());
	send_out(play, cv_buffer_len(&play->out));
	play->upstream = stage_accept(&play->stage);
	stage_expect(play->upstream, "hello", 5);
}

static void test_both_ends(void **state)
{
	struct play play;

	(void)state;
	play_init(&play, STAGE_WAIT_MS);
	open_session(&play);
	stage_send(play.upstream, "answer", 6);
	assert_int_equal(hear(&play, 6), -EAGAIN);
	assert_memory_equal(cv_buffer_bytes(&play.app), "answer", 6);
	assert_int_equal(play.layer->ops->encode_eof(play.layer, collect, &play.out), 0);
	send_out(&play, cv_buffer_len(&play.out)); /* the end, and no FIN */
	stage_expect_fin(play.upstream);
	stage_send(play.upstream, "late", 4);
	(void)shutdown(play.upstream, SHUT_WR);
	assert_int_equal(hear(&play, SIZE_MAX), CV_LAYER_EOF);
	assert_int_equal(cv_buffer_len(&play.app), 10);
	play_done(&play);
}

static void test_byte_by_byte(void **state)
{
	struct play play;

	(void)state;
	play_init(&play, STAGE_WAIT_MS);
	play.client = stage_dial(&play.stage);
	ask(&play, 1, now_s());
	while (cv_buffer_len(&play.out) > 0)
		send_out(&play, 1);
	play.upstream = stage_accept(&play.stage);
	stage_expect(play.upstream, "hello", 5);
	play_done(&play);
}

/* Others end without the empty chunk; inside of a chunk it is no end, and the upstream is reset. */
static void test_cut(void **state)
{
	struct play play;

	(void)state;
	play_init(&play, STAGE_WAIT_MS);
	open_session(&play);
	(void)shutdown(play.client, SHUT_WR);
	stage_expect_fin(play.upstream);
	stage_send(play.upstream, "answer", 6);
	assert_int_equal(hear(&play, 6), -EAGAIN);
	end_round(&play);
	open_session(&play);
	say(&play, "more", 4);
	send_out(&play, cv_buffer_len(&play.out) - 1);
	(void)shutdown(play.client, SHUT_WR);
	stage_expect_reset(play.upstream);
	end_round(&play);
	assert_int_equal(stage_reason(&play.stage, CV_PEER_TRUNCATED), 1);
	open_session(&play);
	stage_reset(play.upstream);
	play.upstream = -1;
	assert_int_equal(hear(&play, 1), -ECONNRESET);
	play_done(&play);
}

/* ---- datagrams ---------------------------------------------------------------------------- */

static void host_expects(int host, const char *wanted, struct cv_sockaddr *ret_from)
{
	char got[64];

	ret_from->len_bytes = sizeof(ret_from->in);
	assert_int_equal(recvfrom(host, got, sizeof(got), 0, &ret_from->any, &ret_from->len_bytes),
			 strlen(wanted));
	assert_memory_equal(got, wanted, strlen(wanted));
}

static void test_datagrams(void **state)
{
	uint8_t datagram[DATAGRAM_BYTES];
	struct cv_sockaddr place, from;
	struct play play;
	int host;

	(void)state;
	play_init(&play, STAGE_WAIT_MS);
	host = stage_open_udp(&place);
	play.client = stage_dial(&play.stage);
	ask_for(&play, 1, CV_VMESS_UDP, &place, now_s());
	say(&play, "\0\3one\0\5other", 12);
	while (cv_buffer_len(&play.out) > 0)
		send_out(&play, 1);
	host_expects(host, "one", &from);
	host_expects(host, "other", &from);
	for (size_t i = 0; i < DATAGRAMS; i++) {
		memset(datagram, (int)i + 1, sizeof(datagram));
		assert_int_equal(sendto(host, datagram, sizeof(datagram), 0, &from.any,
					from.len_bytes), sizeof(datagram));
	}
	assert_int_equal(hear(&play, DATAGRAMS * (2 + DATAGRAM_BYTES)), -EAGAIN);
	for (size_t i = 0; i < DATAGRAMS; i++) {
		const uint8_t *frame =
			cv_buffer_bytes(&play.app) + i * (2 + DATAGRAM_BYTES);

		assert_int_equal(frame[0] << 8 | frame[1], DATAGRAM_BYTES);
		assert_int_equal(frame[2], i + 1);
		assert_int_equal(frame[1 + DATAGRAM_BYTES], i + 1);
	}
	assert_int_equal(play.layer->ops->encode_eof(play.layer, collect, &play.out), 0);
	send_out(&play, cv_buffer_len(&play.out));
	assert_int_equal(hear(&play, SIZE_MAX), CV_LAYER_EOF);
	(void)close(host);
	play_done(&play);
}

/* ---- strangers ---------------------------------------------------------------------------- */

/* Silence, then the end, when the time for a request is over; @began_ms: before it was dialled. */
static void meets_silence(int client, uint64_t began_ms)
{
	stage_expect_fin(client);
	assert_true(cv_clock_ms() - began_ms >= PATIENCE_MS / 2);
}

static void test_refused(void **state)
{
	const uint64_t began_ms = cv_clock_ms(), time_s = now_s();
	const struct {
		uint8_t user;
		uint64_t time_s;
		size_t changed_at;
	} cases[] = {
		{9, time_s, 0},	      {1, time_s, 5},  {2, time_s, 0},	{1, time_s - 200, 0},
		{1, time_s + 200, 0}, {1, time_s, 20}, {1, time_s, 60},
	};
	int clients[sizeof(cases) / sizeof(cases[0])];
	struct play play;

	(void)state;
	play_init(&play, PATIENCE_MS);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		clients[i] = play.client = stage_dial(&play.stage);
		ask(&play, cases[i].user, cases[i].time_s);
		if (cases[i].changed_at)
			cv_buffer_bytes(&play.out)[cases[i].changed_at] ^= 1;
		send_out(&play, cv_buffer_len(&play.out));
		play.layer->ops->free(play.layer);
		play.layer = NULL;
	}
	play.client = -1;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		meets_silence(clients[i], began_ms);
		(void)close(clients[i]);
	}
	end_round(&play);
	assert_int_equal(stage_reason(&play.stage, CV_PEER_UNKNOWN_USER), 2);
	assert_int_equal(stage_reason(&play.stage, CV_POLICY_USER_DISABLED), 1);
	assert_int_equal(stage_reason(&play.stage, CV_PEER_CLOCK), 2);
	assert_int_equal(stage_reason(&play.stage, CV_PEER_AUTH_FAILED), 2);
	play_done(&play);
}

static void test_replay(void **state)
{
	const uint64_t began_ms = cv_clock_ms();
	uint8_t header[1024];
	struct play play;
	size_t len;

	(void)state;
	play_init(&play, PATIENCE_MS);
	play.client = stage_dial(&play.stage);
	ask(&play, 1, now_s());
	len = play.header_bytes;
	assert_true(len <= sizeof(header));
	memcpy(header, cv_buffer_bytes(&play.out), len);
	send_out(&play, cv_buffer_len(&play.out));
	play.upstream = stage_accept(&play.stage);
	stage_expect(play.upstream, "hello", 5);
	end_round(&play);
	play.client = stage_dial(&play.stage);
	stage_send(play.client, header, len);
	meets_silence(play.client, began_ms);
	end_round(&play);
	assert_int_equal(stage_reason(&play.stage, CV_PEER_REPLAY), 1);
	play_done(&play);
}

/* ---- resets ------------------------------------------------------------------------------- */

/* Wherever a client resets, nothing stays. */
static void test_resets(void **state)
{
	struct play play;

	(void)state;
	play_init(&play, STAGE_WAIT_MS);
	for (size_t at = 0; at < 120; at += 7) {
		play.client = stage_dial(&play.stage);
		ask(&play, 1, now_s());
		if (at)
			send_out(&play, at < play.header_bytes ? at : play.header_bytes - 1);
		stage_reset(play.client);
		play.client = -1;
		end_round(&play);
	}
	for (size_t command = CV_VMESS_UDP; command <= CV_VMESS_MUX; command++) {
		for (size_t more = 0; more < 2; more++) { /* before its first frame, within it */
			play.client = stage_dial(&play.stage);
			ask_for(&play, 1, (enum cv_vmess_command)command,
				&play.stage.upstream_address, now_s());
			say(&play, "\0\4abcd", 6);
			send_out(&play, more ? cv_buffer_len(&play.out) - 1 : play.header_bytes);
			stage_reset(play.client);
			play.client = -1;
			end_round(&play);
		}
	}
	open_session(&play);
	stage_reset(play.client);
	play.client = -1;
	stage_expect_reset(play.upstream);
	play_done(&play);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_both_ends), cmocka_unit_test(test_byte_by_byte),
		cmocka_unit_test(test_cut),	  cmocka_unit_test(test_datagrams),
		cmocka_unit_test(test_refused),	  cmocka_unit_test(test_replay),
		cmocka_unit_test(test_resets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
