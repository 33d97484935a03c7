// SPDX-License-Identifier: MIT
/*
 * test_session_reality.c - a REALITY inbound on a real worker: what a stranger, a client of ours
 * and the target see of each other's ends, and Vision on the way out of user space.
 */
#include "session_stage.h"

#include "reality_rig.h"

#include "base/clock.h"
#include "base/reason.h"
#include "policy/user.h"
#include "protocol/tls_alert.h"
#include "session/session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static char target_text[] = "target", key_log_path[] = "", no_text[] = "";

struct play {
	struct session_stage stage;
	struct cv_reality_inbound reality;
	struct cv_reality_target target;
	struct rig_config rig;
	struct rig_client keys;
	struct rig_flight flight;
	struct cv_buffer bytes;
	uint8_t uuid[16];
	int client, peer; /* peer: the target, later the upstream */
};

static void pause_ms(long ms)
{
	const struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

	(void)nanosleep(&pause, NULL);
}

static void play_init(struct play *play, bool vision)
{
	struct cv_user user = {.name = no_text,
			       .email = no_text,
			       .password = no_text,
			       .vision = vision,
			       .enabled = true};
	struct cv_inbound *inbound = &play->stage.inbound;

	memset(play, 0, sizeof(*play));
	stage_init(&play->stage);
	rig_config_start(&play->rig);
	play->flight = rig_flight_default();
	cv_buffer_init(&play->bytes, 1 << 20);
	for (uint8_t i = 0; i < sizeof(play->uuid); i++)
		play->uuid[i] = user.uuid[i] = (uint8_t)(0xa0 + i);
	play->target.address_text = target_text;
	assert_true(cv_sockaddr_to_destination(&play->stage.upstream_address,
					       &play->target.destination));
	play->target.reality = play->rig.reality;
	play->target.server_names = play->rig.server_names;
	play->target.server_name_count = 2;
	play->reality.targets = &play->target;
	play->reality.target_count = 1;
	play->reality.key_log_path = key_log_path;
	inbound->protocol = CV_INBOUND_VLESS;
	inbound->security = CV_SECURITY_REALITY;
	inbound->reality = &play->reality;
	inbound->users = cv_user_table_new(&user, 1);
	assert_non_null(inbound->users);
}

static void play_start(struct play *play, const char *engine)
{
	stage_start(&play->stage, engine);
	play->client = stage_dial(&play->stage);
	play->peer = stage_accept(&play->stage);
}

static void play_done(struct play *play)
{
	stage_done(&play->stage);
	cv_user_table_free(play->stage.inbound.users);
	if (play->keys.hello.data)
		rig_client_stop(&play->keys);
	rig_config_stop(&play->rig);
	cv_buffer_done(&play->bytes);
}

static void play_end(struct play *play)
{
	(void)close(play->client);
	(void)close(play->peer);
	play_done(play);
}

static void send_all(int fd, struct cv_buffer *bytes)
{
	stage_send(fd, cv_buffer_bytes(bytes), cv_buffer_len(bytes));
	cv_buffer_consume(bytes, cv_buffer_len(bytes));
}

static void receive(int fd, size_t count_bytes, struct cv_buffer *out)
{
	uint8_t *space;

	assert_int_equal(cv_buffer_reserve(out, count_bytes, &space), 0);
	assert_int_equal(recv(fd, space, count_bytes, MSG_WAITALL), count_bytes);
	cv_buffer_commit(out, count_bytes);
}

/* ---- strangers ---------------------------------------------------------------------------- */

static void test_stranger_is_the_targets(void **state)
{
	static const char *const engines[] = {NULL, "copy", "splice"};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct play play;

		play_init(&play, false);
		play_start(&play, engines[i]);
		stage_send(play.client, "GET ", 4);
		stage_expect(play.peer, "GET ", 4);
		stage_send(play.client, "/ HTTP/1.0\r\n\r\n", 14);
		assert_int_equal(shutdown(play.client, SHUT_WR), 0);
		stage_expect(play.peer, "/ HTTP/1.0\r\n\r\n", 14);
		stage_expect_fin(play.peer);
		stage_send(play.peer, "400 Bad Request", 15);
		(void)shutdown(play.peer, SHUT_WR);
		stage_expect(play.client, "400 Bad Request", 15);
		stage_expect_fin(play.client);
		stage_wait_sessions(&play.stage, 0);
		assert_int_equal(stage_reason(&play.stage, CV_PEER_NOT_TLS), 1);
		play_end(&play);
	}
}

/* A hello that never becomes whole: each byte is the target's, and so is the patience. */
static void test_target_ends_slow_hello(void **state)
{
	struct play play;

	(void)state;
	play_init(&play, false);
	play_start(&play, "splice");
	stage_send(play.client, "\026\003\001\002", 4);
	stage_expect(play.peer, "\026\003\001\002", 4);
	stage_send(play.client, "\000\001", 2);
	stage_expect(play.peer, "\000\001", 2);
	(void)shutdown(play.peer, SHUT_WR);
	stage_expect_fin(play.client);
	stage_wait_sessions(&play.stage, 0);
	assert_int_equal(stage_reason(&play.stage, CV_TARGET_CLOSED), 1);
	play_end(&play);
}

static void test_target_speaks_first_then_resets(void **state)
{
	struct play play;

	(void)state;
	play_init(&play, false);
	play_start(&play, "splice");
	stage_send(play.peer, "SSH-2.0-OpenSSH\r\n", 17);
	stage_reset(play.peer);
	stage_expect(play.client, "SSH-2.0-OpenSSH\r\n", 17);
	stage_expect_reset(play.client);
	stage_wait_sessions(&play.stage, 0);
	assert_int_equal(stage_reason(&play.stage, CV_TARGET_SPEAKS_FIRST), 1);
	(void)close(play.client);
	play_done(&play);
}

static void test_client_resets_hello(void **state)
{
	struct play play;

	(void)state;
	play_init(&play, false);
	play_start(&play, "splice");
	stage_send(play.client, "\026\003\001", 3);
	stage_expect(play.peer, "\026\003\001", 3);
	stage_reset(play.client);
	stage_expect_reset(play.peer);
	(void)close(play.peer);
	play_done(&play);
}

static void test_unreachable_target(void **state)
{
	struct play play;

	(void)state;
	play_init(&play, false);
	(void)close(play.stage.upstream_listener);
	stage_start(&play.stage, "splice");
	play.client = stage_dial(&play.stage);
	stage_expect_fin(play.client);
	(void)close(play.client);
	stage_wait_sessions(&play.stage, 0);
	assert_int_equal(stage_reason(&play.stage, CV_TARGET_UNREACHABLE), 1);
	play.stage.upstream_listener = -1;
	play_done(&play);
}

/* The target's queue is full, so the dial waits; who has left meanwhile is not worth it. */
static void leaves_during_dial(bool resets, int reason)
{
	struct play play;
	struct cv_sockaddr *target = &play.stage.upstream_address;
	int waiting[64];

	play_init(&play, false);
	for (size_t i = 0; i < 64; i++) {
		waiting[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		(void)connect(waiting[i], &target->any, target->len_bytes);
	}
	stage_start(&play.stage, "splice");
	play.client = stage_dial(&play.stage);
	stage_wait_sessions(&play.stage, 1);
	pause_ms(20); /* it has been looked at */
	if (resets) {
		stage_reset(play.client);
	} else {
		assert_int_equal(shutdown(play.client, SHUT_WR), 0);
		stage_expect_fin(play.client);
		(void)close(play.client);
	}
	stage_wait_sessions(&play.stage, 0);
	assert_int_equal(stage_reason(&play.stage, reason), 1);
	for (size_t i = 0; i < 64; i++)
		(void)close(waiting[i]);
	play_done(&play);
}

static void test_client_leaves_during_dial(void **state)
{
	(void)state;
	leaves_during_dial(false, CV_PEER_CLOSED);
	leaves_during_dial(true, CV_PEER_RESET);
}

/* 50000 free, 100000 in the bucket, 50000 more at 100000 per second. */
static void test_limit(void **state)
{
	struct play play;
	uint64_t start_ms;

	(void)state;
	play_init(&play, false);
	play.reality.fallback_download =
		(struct cv_rate_limit){.after_bytes = 50000, .bytes_per_s = 100000};
	play_start(&play, "splice");
	stage_send(play.client, "stranger", 8);
	start_ms = cv_clock_ms();
	stage_send_pattern(play.peer, 200000);
	stage_expect_pattern(play.client, 150000);
	assert_true(cv_clock_ms() - start_ms < 300);
	(void)shutdown(play.peer, SHUT_WR);
	play.bytes.head = play.bytes.tail = 0;
	receive(play.client, 50000, &play.bytes);
	stage_expect_fin(play.client);
	assert_in_range(cv_clock_ms() - start_ms, 150, 2000);
	assert_int_equal(stage_handovers(&play.stage, CV_DOWNLINK), 0);
	play_end(&play);
}

/* ---- our own ------------------------------------------------------------------------------ */

static void up_to_flight(struct play *play)
{
	struct rig_hello hello = rig_hello_default();
	size_t flight_bytes;

	rig_client_start(&play->keys, &hello);
	rig_hello_records(&play->keys, 16384, &play->bytes);
	send_all(play->client, &play->bytes);
	rig_flight_write(&play->flight, &play->keys, &play->bytes);
	flight_bytes = cv_buffer_len(&play->bytes);
	send_all(play->peer, &play->bytes);
	receive(play->client, flight_bytes, &play->bytes);
	rig_client_read_flight(&play->keys, &play->flight, &play->rig, &play->bytes);
	assert_int_equal(cv_buffer_len(&play->bytes), 0);
}

static void test_target_ends_before_finished(void **state)
{
	struct play play;

	(void)state;
	play_init(&play, false);
	play_start(&play, "splice");
	up_to_flight(&play);
	(void)shutdown(play.peer, SHUT_WR); /* its own handshake time-out */
	stage_expect_fin(play.client);
	stage_wait_sessions(&play.stage, 0);
	assert_int_equal(stage_reason(&play.stage, CV_TARGET_TIMEOUT), 1);
	play_end(&play);
}

static void expect_record(struct play *play, uint8_t type, const void *bytes, size_t count_bytes)
{
	uint8_t plain[CV_TLS_RECORD_MAX];
	size_t body;

	receive(play->client, 5, &play->bytes);
	body = (size_t)cv_buffer_bytes(&play->bytes)[3] << 8 | cv_buffer_bytes(&play->bytes)[4];
	receive(play->client, body, &play->bytes);
	assert_int_equal(rig_open(&play->keys.app_rx, &play->bytes, type, plain, NULL),
			 count_bytes);
	assert_memory_equal(plain, bytes, count_bytes);
}

static void test_wrong_finished(void **state)
{
	static const uint8_t decrypt_error[] = {2, 51};
	struct play play;

	(void)state;
	play_init(&play, false);
	play_start(&play, "splice");
	up_to_flight(&play);
	play.keys.finished[10] ^= 1;
	rig_client_finish(&play.keys, &play.bytes);
	send_all(play.client, &play.bytes);
	expect_record(&play, CV_TLS_ALERT, decrypt_error, 2);
	stage_expect_fin(play.client);
	(void)shutdown(play.client, SHUT_WR);
	stage_wait_sessions(&play.stage, 0);
	assert_int_equal(stage_reason(&play.stage, CV_PEER_FINISHED), 1);
	play_end(&play);
}

static void seal(struct play *play, uint8_t type, const void *bytes, size_t count_bytes)
{
	assert_int_equal(
		cv_tls_record_seal(&play->keys.app_tx, type, bytes, count_bytes, 0, &play->bytes),
		0);
}

/* Request for the stage's upstream; what is sealed before the send goes with it. */
static void open_upstream(struct play *play, const void *app, size_t app_bytes)
{
	static const char addons[] = "\022\n\020xtls-rprx-vision", none[] = "";
	uint16_t port = cv_sockaddr_port(&play->stage.upstream_address);
	const uint8_t tail[] = {1, (uint8_t)(port >> 8), (uint8_t)port, 1, 127, 0, 0, 1};
	bool vision = cv_user_at(play->stage.inbound.users, 0)->vision;
	struct cv_buffer request;

	cv_buffer_init(&request, 4096);
	assert_int_equal(cv_buffer_append(&request, none, 1), 0);
	assert_int_equal(cv_buffer_append(&request, play->uuid, sizeof(play->uuid)), 0);
	assert_int_equal(
		cv_buffer_append(&request, vision ? addons : none, vision ? sizeof(addons) - 1 : 1),
		0);
	assert_int_equal(cv_buffer_append(&request, tail, sizeof(tail)), 0);
	assert_int_equal(cv_buffer_append(&request, app, app_bytes), 0);
	seal(play, CV_TLS_APPLICATION, cv_buffer_bytes(&request), cv_buffer_len(&request));
	cv_buffer_done(&request);
	send_all(play->client, &play->bytes);
	play->peer = stage_accept(&play->stage);
}

static void establish(struct play *play, bool vision)
{
	play_init(play, vision);
	play_start(play, "splice");
	up_to_flight(play);
	rig_client_finish(&play->keys, &play->bytes);
	send_all(play->client, &play->bytes);
	while (recv(play->peer, &(char){0}, 1, 0) > 0) /* the hello; then the target is left */
		;
	(void)close(play->peer);
}

static void send_close_notify(struct play *play)
{
	seal(play, CV_TLS_ALERT, "\001", 2);
	send_all(play->client, &play->bytes);
}

static void test_half_close_under_records(void **state)
{
	struct play play;

	(void)state;
	establish(&play, false);
	open_upstream(&play, "request", 7);
	stage_expect(play.peer, "request", 7);
	send_close_notify(&play);
	stage_expect_fin(play.peer);
	stage_send(play.peer, "answer", 6);
	expect_record(&play, CV_TLS_APPLICATION, "\0\0answer", 8);
	(void)shutdown(play.peer, SHUT_WR);
	expect_record(&play, CV_TLS_ALERT, "\001", 2);
	stage_expect_fin(play.client);
	stage_wait_sessions(&play.stage, 0);
	play_end(&play);
}

/* After our FIN nothing is answered any more: a record then would turn it into a reset. */
static void test_key_update_after_our_fin(void **state)
{
	static const uint8_t key_update[] = {24, 0, 0, 1, 1};
	struct play play;

	(void)state;
	establish(&play, false);
	open_upstream(&play, "a", 1);
	stage_expect(play.peer, "a", 1);
	(void)shutdown(play.peer, SHUT_WR);
	expect_record(&play, CV_TLS_ALERT, "\001", 2);
	stage_expect_fin(play.client);
	for (int i = 0; i < 3; i++) {
		seal(&play, CV_TLS_HANDSHAKE, key_update, sizeof(key_update));
		assert_int_equal(cv_tls_keys_update(&play.keys.app_tx, true), 0);
		seal(&play, CV_TLS_APPLICATION, "more", 4);
		send_all(play.client, &play.bytes);
		stage_expect(play.peer, "more", 4);
		pause_ms(10);
	}
	send_close_notify(&play);
	stage_expect_fin(play.peer);
	stage_wait_sessions(&play.stage, 0);
	assert_int_equal(stage_reason(&play.stage, CV_PEER_RESET), 0);
	play_end(&play);
}

static void test_truncated_record_does_not_look_whole(void **state)
{
	struct play play;

	(void)state;
	establish(&play, false);
	open_upstream(&play, "whole", 5);
	stage_expect(play.peer, "whole", 5);
	seal(&play, CV_TLS_APPLICATION, "part of it", 10);
	play.bytes.tail -= 7;
	send_all(play.client, &play.bytes);
	(void)shutdown(play.client, SHUT_WR);
	stage_expect_reset(play.peer);
	stage_wait_sessions(&play.stage, 0);
	assert_int_equal(stage_reason(&play.stage, CV_PEER_TRUNCATED), 1);
	play_end(&play);
}

/* close_notify says that the records are whole; the block inside is not. */
static void test_truncated_block_does_not_look_whole(void **state)
{
	struct play play;
	uint8_t block[16 + 5 + 4];

	(void)state;
	establish(&play, true);
	memcpy(block, play.uuid, 16);
	memcpy(block + 16, "\000\000\010\000\000half", 9); /* of 8 bytes 4 */
	open_upstream(&play, block, sizeof(block));
	stage_expect(play.peer, "half", 4);
	send_close_notify(&play);
	stage_expect_reset(play.peer);
	(void)shutdown(play.client, SHUT_WR);
	stage_wait_sessions(&play.stage, 0);
	assert_int_equal(stage_reason(&play.stage, CV_PEER_TRUNCATED), 1);
	play_end(&play);
}

/* Uplink RAW while downlink is padded: what is glued behind DIRECT stays as it is, the uplink is
 * the engine's, its FIN leaves the downlink alone. */
static void test_one_direction_raw(void **state)
{
	struct play play;
	uint8_t block[16 + 5 + 5];

	(void)state;
	establish(&play, true);
	memcpy(block, play.uuid, 16);
	memcpy(block + 16, "\002\000\005\000\000first", 10);
	seal(&play, CV_TLS_APPLICATION, "", 0); /* a record without bytes in between */
	open_upstream(&play, block, sizeof(block));
	stage_expect(play.peer, "first", 5);
	stage_send(play.client, "\027\003\003\000\020 raw", 9); /* like a record, but is none */
	stage_expect(play.peer, "\027\003\003\000\020 raw", 9);
	assert_int_equal(stage_handovers(&play.stage, CV_UPLINK), 1);
	(void)shutdown(play.client, SHUT_WR);
	stage_expect_fin(play.peer);
	stage_send(play.peer, "answer", 6);
	(void)close(play.peer);
	receive(play.client, 5, &play.bytes); /* a record: response header and a padded block */
	assert_int_equal(cv_buffer_bytes(&play.bytes)[0], CV_TLS_APPLICATION);
	stage_wait_sessions(&play.stage, 0);
	assert_int_equal(stage_reason(&play.stage, CV_PEER_RESET), 0);
	play.peer = -1;
	play_end(&play);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stranger_is_the_targets),
		cmocka_unit_test(test_target_ends_slow_hello),
		cmocka_unit_test(test_target_speaks_first_then_resets),
		cmocka_unit_test(test_client_resets_hello),
		cmocka_unit_test(test_unreachable_target),
		cmocka_unit_test(test_client_leaves_during_dial),
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_target_ends_before_finished),
		cmocka_unit_test(test_wrong_finished),
		cmocka_unit_test(test_half_close_under_records),
		cmocka_unit_test(test_key_update_after_our_fin),
		cmocka_unit_test(test_truncated_record_does_not_look_whole),
		cmocka_unit_test(test_truncated_block_does_not_look_whole),
		cmocka_unit_test(test_one_direction_raw),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
