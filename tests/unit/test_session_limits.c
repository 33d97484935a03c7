// SPDX-License-Identifier: MIT
/*
 * test_session_limits.c - people held to their limits on live sessions, in user space and handed
 * over; what is counted; and that these tests notice when the rules are left out.
 */
#include "session_stage.h"

#include "base/clock.h"
#include "base/reason.h"
#include "session/session.h"
#include "session/session_limits.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define ENFORCED_MS 1000
#define PART (200u << 10)

static const char *const engines[] = {NULL, "copy", "splice"};
static char alice[] = "alice", bob[] = "bob", password[] = "secret", empty[] = "";

struct play {
	struct session_stage stage;
	struct cv_usage_table *usages;
	struct cv_usage *alice;
};

static void pause_ms(long ms)
{
	const struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

	(void)nanosleep(&pause, NULL);
}

static void play_start_idle(struct play *play, const char *engine, const struct cv_limits *limits,
			    uint32_t idle_ms)
{
	const struct cv_limits none = {0};
	struct cv_user users[2] = {
		{.name = alice, .email = empty, .password = password, .enabled = true},
		{.name = bob, .email = empty, .password = password, .enabled = true},
	};
	bool differ;

	stage_init(&play->stage);
	for (size_t i = 0; i < CV_LEVELS; i++)
		play->stage.config.levels[i].idle_ms = idle_ms;
	play->usages = cv_usage_table_new();
	assert_non_null(play->usages);
	play->alice = users[0].usage = cv_usage_join(play->usages, alice, limits, &differ);
	users[1].usage = cv_usage_join(play->usages, bob, &none, &differ);
	play->stage.inbound.users = cv_user_table_new(users, 2);
	assert_non_null(play->stage.inbound.users);
	stage_start(&play->stage, engine);
}

static void play_start(struct play *play, const char *engine, const struct cv_limits *limits)
{
	play_start_idle(play, engine, limits, 30000);
}

static void play_done(struct play *play)
{
	stage_done(&play->stage);
	assert_int_equal(play->alice->session_count, 0);
	assert_int_equal(play->alice->source_count, 0);
	assert_int_equal(play->alice->hungry_count[0] + play->alice->hungry_count[1], 0);
	assert_int_equal(play->alice->modest_bytes_per_s[0], 0);
	assert_int_equal(play->alice->modest_bytes_per_s[1], 0);
	cv_user_table_free(play->stage.inbound.users);
	cv_usage_table_free(play->usages);
}

/* The answer's status; @from: last byte of the loopback address. */
static uint8_t log_in(struct play *play, const char *name, uint8_t from, int *ret_client)
{
	const struct sockaddr_in source = {.sin_family = AF_INET,
					   .sin_addr.s_addr = htonl(0x7f000000u + from)};
	const struct cv_sockaddr *address = &play->stage.inbound_address;
	const struct timeval limit = {.tv_sec = STAGE_WAIT_MS / 1000};
	uint8_t login[64] = {1, (uint8_t)strlen(name)}, answer[2];
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	size_t len = 2 + strlen(name);

	assert_true(fd >= 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), 0);
	assert_int_equal(bind(fd, (const struct sockaddr *)&source, sizeof(source)), 0);
	assert_int_equal(connect(fd, &address->any, address->len_bytes), 0);
	memcpy(login + 2, name, strlen(name));
	login[len++] = 6;
	memcpy(login + len, "secret", 6);
	stage_send(fd, "\005\001\002", 3);
	stage_expect(fd, "\005\002", 2);
	stage_send(fd, login, len + 6);
	assert_int_equal(recv(fd, answer, 2, MSG_WAITALL), 2);
	*ret_client = fd;
	return answer[1];
}

static struct session_pair open_as(struct play *play, const char *name, uint8_t from)
{
	const uint16_t port = cv_sockaddr_port(&play->stage.upstream_address);
	const uint8_t request[] = {5, 1, 0, 1, 127, 0, 0, 1, (uint8_t)(port >> 8), (uint8_t)port};
	struct session_pair pair;

	assert_int_equal(log_in(play, name, from, &pair.client), 0);
	stage_send(pair.client, request, sizeof(request));
	pair.upstream = stage_accept(&play->stage);
	stage_expect(pair.client, "\005\000\000\001\000\000\000\000\000\000", 10);
	return pair;
}

static void close_pair(struct session_pair pair)
{
	(void)close(pair.client);
	(void)close(pair.upstream);
}

static void expect_refused(struct play *play, uint8_t from, int reason)
{
	uint64_t before = stage_reason(&play->stage, reason);
	uint64_t until_ms = cv_clock_ms() + STAGE_WAIT_MS;
	int client;

	assert_int_equal(log_in(play, alice, from, &client), 1);
	(void)close(client);
	while (stage_reason(&play->stage, reason) == before && cv_clock_ms() < until_ms)
		pause_ms(2);
	assert_int_equal(stage_reason(&play->stage, reason), before + 1);
}

/* Both sides see RST, at most @within_ms from now on. */
static void expect_cut(struct session_pair pair, uint64_t within_ms)
{
	const uint64_t start_ms = cv_clock_ms();

	stage_expect_reset(pair.client);
	stage_expect_reset(pair.upstream);
	assert_in_range(cv_clock_ms() - start_ms, 0, within_ms);
	close_pair(pair);
}

/* A download that uses the quota up: its last bytes may be lost to the cut. */
static void expect_used_up(struct session_pair pair, size_t count_bytes)
{
	const uint64_t start_ms = cv_clock_ms();
	uint8_t block[8192];

	stage_send_pattern(pair.upstream, count_bytes);
	while (recv(pair.client, block, sizeof(block), 0) > 0)
		;
	assert_int_equal(errno, ECONNRESET);
	stage_expect_reset(pair.upstream);
	assert_in_range(cv_clock_ms() - start_ms, 0, ENFORCED_MS);
	close_pair(pair);
}

static void exchange(struct session_pair pair)
{
	stage_send(pair.client, "ping", 4);
	stage_expect(pair.upstream, "ping", 4);
	stage_send(pair.upstream, "pong", 4);
	stage_expect(pair.client, "pong", 4);
}

/* ---- quota -------------------------------------------------------------------------------- */

static void play_quota(const char *engine)
{
	const struct cv_limits limits = {.quota_bytes = 3 * PART};
	struct session_pair pair, other, bobs;
	struct play play;

	play_start(&play, engine, &limits);
	pair = open_as(&play, alice, 1);
	other = open_as(&play, alice, 1);
	bobs = open_as(&play, bob, 1);
	stage_send_pattern(pair.client, PART);
	stage_expect_pattern(pair.upstream, PART);
	stage_send_pattern(other.upstream, PART);
	stage_expect_pattern(other.client, PART);
	pause_ms(ENFORCED_MS); /* two thirds: nothing happens */
	exchange(pair);
	exchange(other);
	expect_used_up(pair, PART);
	expect_cut(other, ENFORCED_MS);
	stage_send_pattern(bobs.upstream, PART);
	stage_expect_pattern(bobs.client, PART);
	assert_int_equal(stage_reason(&play.stage, CV_POLICY_QUOTA), 2);
	expect_refused(&play, 1, CV_POLICY_QUOTA);
	if (engine)
		assert_true(stage_handovers(&play.stage, CV_DOWNLINK) > 0);
	close_pair(bobs);
	play_done(&play);
	assert_int_equal(stage_reason(&play.stage, CV_POLICY_QUOTA), 3);
}

static void test_quota(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(engines) / sizeof(engines[0]); i++)
		play_quota(engines[i]);
}

/* ---- expiry ------------------------------------------------------------------------------- */

static void play_expiry(const char *engine)
{
	const uint64_t expires_ms = cv_clock_wall_ms() + 700;
	const struct cv_limits limits = {.expires_ms = expires_ms};
	struct session_pair idle, busy;
	struct play play;

	play_start(&play, engine, &limits);
	idle = open_as(&play, alice, 1);
	busy = open_as(&play, alice, 1);
	while (cv_clock_wall_ms() < expires_ms - 100) {
		exchange(busy);
		pause_ms(20);
	}
	expect_cut(busy, 100 + ENFORCED_MS);
	expect_cut(idle, ENFORCED_MS);
	assert_true(cv_clock_wall_ms() >= expires_ms);
	expect_refused(&play, 1, CV_POLICY_EXPIRED);
	play_done(&play);
}

static void test_expiry(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(engines) / sizeof(engines[0]); i++)
		play_expiry(engines[i]);
}

/* ---- how many ----------------------------------------------------------------------------- */

static void test_sessions_at_a_time(void **state)
{
	const struct cv_limits limits = {.max_sessions = 2};
	struct session_pair first, second, third;
	struct play play;

	(void)state;
	play_start(&play, "splice", &limits);
	first = open_as(&play, alice, 1);
	second = open_as(&play, alice, 2);
	third = open_as(&play, bob, 1);
	expect_refused(&play, 1, CV_POLICY_USER_SESSIONS);
	close_pair(first);
	stage_wait_sessions(&play.stage, 2);
	first = open_as(&play, alice, 1);
	exchange(first);
	exchange(second);
	close_pair(first);
	close_pair(second);
	close_pair(third);
	play_done(&play);
}

static void test_addresses_at_a_time(void **state)
{
	const struct cv_limits limits = {.max_source_addresses = 2};
	struct session_pair first, second, third;
	struct play play;

	(void)state;
	play_start(&play, "splice", &limits);
	first = open_as(&play, alice, 1);
	second = open_as(&play, alice, 2);
	third = open_as(&play, alice, 1);
	expect_refused(&play, 3, CV_POLICY_USER_ADDRESSES);
	close_pair(first);
	stage_wait_sessions(&play.stage, 2);
	expect_refused(&play, 3, CV_POLICY_USER_ADDRESSES); /* third is there from 1 */
	close_pair(third);
	stage_wait_sessions(&play.stage, 1);
	first = open_as(&play, alice, 3);
	exchange(first);
	close_pair(first);
	close_pair(second);
	play_done(&play);
}

/* ---- kick --------------------------------------------------------------------------------- */

static void play_kick(const char *engine)
{
	const struct cv_limits none = {0};
	struct session_pair one, two, bobs;
	struct play play;

	play_start(&play, engine, &none);
	one = open_as(&play, alice, 1);
	two = open_as(&play, alice, 1);
	bobs = open_as(&play, bob, 1);
	exchange(one);
	assert_int_equal(cv_limits_kick(&play.stage.worker, 1, "", CV_POLICY_KICKED), 0);
	assert_int_equal(cv_limits_kick(&play.stage.worker, 1, "carol", CV_POLICY_KICKED), 0);
	exchange(one);
	assert_int_equal(cv_limits_kick(&play.stage.worker, 1, "ALICE", CV_POLICY_KICKED), 2);
	expect_cut(one, 100);
	expect_cut(two, 100);
	exchange(bobs);
	assert_int_equal(stage_reason(&play.stage, CV_POLICY_KICKED), 2);
	assert_int_equal(cv_limits_kick(&play.stage.worker, 1, bob, CV_POLICY_USER_DISABLED), 1);
	expect_cut(bobs, 100);
	assert_int_equal(stage_reason(&play.stage, CV_POLICY_USER_DISABLED), 1);
	play_done(&play);
}

static void test_kick(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(engines) / sizeof(engines[0]); i++)
		play_kick(engines[i]);
}

/* Somebody whose upstream is still being dialled, or who has not asked for one. */
static void test_kick_of_the_unready(void **state)
{
	const struct cv_limits none = {0};
	struct play play;
	int client;

	(void)state;
	play_start(&play, "splice", &none);
	assert_int_equal(log_in(&play, alice, 1, &client), 0);
	assert_int_equal(cv_limits_kick(&play.stage.worker, 1, alice, CV_POLICY_KICKED), 1);
	stage_expect_reset(client);
	(void)close(client);
	play_done(&play);
}

/* A sender that is in the middle of it, and a receiver that does not read: no flush, no wait. */
static void play_kick_under_load(const char *engine)
{
	const struct cv_limits none = {0};
	uint8_t block[65536] = {0};
	struct session_pair pair;
	struct play play;
	uint64_t start_ms;

	play_start(&play, engine, &none);
	pair = open_as(&play, alice, 1);
	while (send(pair.upstream, block, sizeof(block), MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
		pause_ms(1); /* until everything on the way is full */
	start_ms = cv_clock_ms();
	assert_int_equal(cv_limits_kick(&play.stage.worker, 1, alice, CV_POLICY_KICKED), 1);
	stage_wait_sessions(&play.stage, 0);
	assert_in_range(cv_clock_ms() - start_ms, 0, 200);
	while (recv(pair.client, block, sizeof(block), 0) > 0)
		;
	assert_int_equal(errno, ECONNRESET);
	close_pair(pair);
	play_done(&play);
}

static void test_kick_under_load(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(engines) / sizeof(engines[0]); i++)
		play_kick_under_load(engines[i]);
}

/* ---- what is counted ---------------------------------------------------------------------- */

static void play_counters(const char *engine)
{
	const struct cv_limits none = {0};
	const struct cv_engine *found = engine ? cv_engine_find(engine) : NULL;
	struct cv_worker_counters *counters;
	struct session_pair pair;
	struct play play;
	uint64_t by_engine;

	play_start(&play, engine, &none);
	counters = &play.stage.worker.counters;
	pair = open_as(&play, alice, 1);
	stage_send_pattern(pair.upstream, PART);
	stage_expect_pattern(pair.client, PART);
	stage_send_pattern(pair.client, 1000);
	stage_expect_pattern(pair.upstream, 1000);
	pause_ms(1200); /* while it lives, not only at its end */
	assert_int_equal(cv_usage_used(play.alice, CV_UPLINK), 1000);
	assert_int_equal(cv_usage_used(play.alice, CV_DOWNLINK), PART);
	assert_int_equal(counters->class_bytes[0][CV_DOWNLINK], PART);
	by_engine = counters->engine_bytes[cv_engine_index(found)][CV_DOWNLINK];
	assert_int_equal(by_engine, PART);
	stage_send_pattern(pair.upstream, 500);
	stage_expect_pattern(pair.client, 500);
	close_pair(pair);
	stage_wait_sessions(&play.stage, 0);
	assert_int_equal(cv_usage_used(play.alice, CV_DOWNLINK), PART + 500);
	play_done(&play);
}

static void test_counters(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(engines) / sizeof(engines[0]); i++)
		play_counters(engines[i]);
	assert_string_equal(cv_engine_name(cv_engine_index(&cv_engine_splice)), "splice");
	assert_string_equal(cv_engine_name(CV_ENGINE_LAYERS), "layers");
	assert_null(cv_engine_name(CV_ENGINES));
}

/* ---- limits that a reload brings or takes ------------------------------------------------- */

/* The next configuration: the same people, alice with @limits. */
static void follow(struct play *play, const struct cv_limits *limits)
{
	struct cv_user users[] = {
		{.name = alice, .email = empty, .password = password, .enabled = true},
		{.name = bob, .email = empty, .password = password, .enabled = true},
	};
	struct cv_inbound inbound = play->stage.inbound;
	struct cv_config next = {.inbounds = &inbound, .inbound_count = 1};
	bool differ;

	cv_usage_table_begin(play->usages);
	users[0].usage = cv_usage_join(play->usages, alice, limits, &differ);
	inbound.users = cv_user_table_new(users, 2);
	assert_non_null(inbound.users);
	cv_usage_table_commit(play->usages);
	assert_int_equal(cv_limits_follow(&play->stage.worker, 1, &next), 0);
	cv_user_table_free(inbound.users);
}

static uint64_t download_ms(struct session_pair pair, size_t count_bytes)
{
	const uint64_t start_ms = cv_clock_ms();

	stage_send_pattern(pair.upstream, count_bytes);
	stage_expect_pattern(pair.client, count_bytes);
	return cv_clock_ms() - start_ms;
}

static void play_new_limits(const char *engine)
{
	const struct cv_limits none = {0}, quota = {.quota_bytes = PART},
			       expired = {.expires_ms = 1};
	struct session_pair moved, silent;
	struct play play;

	play_start(&play, engine, &none);
	silent = open_as(&play, alice, 1);
	moved = open_as(&play, alice, 1);
	exchange(moved);
	follow(&play, &quota);
	pause_ms(ENFORCED_MS);
	exchange(moved); /* not used up */
	expect_used_up(moved, PART);
	expect_cut(silent, ENFORCED_MS); /* the quota is the person's */
	follow(&play, &none);
	silent = open_as(&play, alice, 1);
	follow(&play, &expired);
	expect_cut(silent, ENFORCED_MS);
	play_done(&play);
}

static void test_new_limits(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(engines) / sizeof(engines[0]); i++)
		play_new_limits(engines[i]);
}

static void play_new_rates(const char *engine)
{
	const struct cv_limits none = {0}, slow = {.bytes_per_s = {PART, PART}};
	struct session_pair pair;
	struct play play;
	uint64_t fast_ms = 0;

	play_start(&play, engine, &none);
	pair = open_as(&play, alice, 1);
	exchange(pair);
	follow(&play, &slow);
	pause_ms(ENFORCED_MS);
	assert_true(download_ms(pair, 2 * PART) > 800);
	follow(&play, &none);
	pause_ms(ENFORCED_MS);
	assert_int_equal(play.alice->hungry_count[0] + play.alice->hungry_count[1], 0);
	for (int i = 0; i < 10; i++)
		fast_ms += download_ms(pair, PART);
	assert_true(fast_ms < 5000); /* at that rate ten seconds */
	close_pair(pair);
	play_done(&play);
}

static void test_new_rates(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(engines) / sizeof(engines[0]); i++)
		play_new_rates(engines[i]);
}

static void test_rates_without_end(void **state)
{
	const struct cv_limits limits = {.bytes_per_s = {UINT64_MAX, UINT64_MAX}};
	struct session_pair pair;
	struct play play;
	uint64_t fast_ms = 0;

	(void)state;
	play_start(&play, "splice", &limits);
	pair = open_as(&play, alice, 1);
	for (int i = 0; i < 10; i++) {
		fast_ms += download_ms(pair, PART);
		pause_ms(50);
	}
	assert_true(fast_ms < 3000);
	close_pair(pair);
	play_done(&play);
}

/* ---- idle --------------------------------------------------------------------------------- */

static void play_idle(const char *engine)
{
	const struct cv_limits none = {0};
	struct session_pair idle, busy;
	struct play play;

	play_start_idle(&play, engine, &none, 600);
	idle = open_as(&play, alice, 1);
	busy = open_as(&play, alice, 1);
	for (int i = 0; i < 20; i++) { /* only one direction has any bytes */
		pause_ms(100);
		stage_send(busy.upstream, "tick", 4);
		stage_expect(busy.client, "tick", 4);
	}
	assert_int_equal(stage_reason(&play.stage, CV_POLICY_IDLE), 1);
	stage_expect_fin(idle.client);
	close_pair(idle);
	pause_ms(1000);
	assert_int_equal(stage_reason(&play.stage, CV_POLICY_IDLE), 2);
	stage_expect_fin(busy.client);
	close_pair(busy);
	play_done(&play);
}

static void test_idle(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(engines) / sizeof(engines[0]); i++)
		play_idle(engines[i]);
}

/* ---- rules left out ----------------------------------------------------------------------- */

#ifdef CV_MUTATIONS
static void test_without_quota(void **state)
{
	const struct cv_limits limits = {.quota_bytes = PART};
	struct session_pair pair;
	struct play play;

	(void)state;
	assert_int_equal(setenv("CULVERT_MUTATION", "quota", 1), 0);
	play_start(&play, "splice", &limits);
	pair = open_as(&play, alice, 1);
	stage_send_pattern(pair.client, PART);
	stage_expect_pattern(pair.upstream, PART);
	pause_ms(ENFORCED_MS);
	exchange(pair); /* what test_quota would have failed on */
	close_pair(pair);
	play_done(&play);
	assert_int_equal(unsetenv("CULVERT_MUTATION"), 0);
}

static void test_without_kick(void **state)
{
	const struct cv_limits none = {0};
	struct session_pair pair;
	struct play play;

	(void)state;
	assert_int_equal(setenv("CULVERT_MUTATION", "kick", 1), 0);
	play_start(&play, "splice", &none);
	pair = open_as(&play, alice, 1);
	assert_int_equal(cv_limits_kick(&play.stage.worker, 1, alice, CV_POLICY_KICKED), 0);
	exchange(pair);
	close_pair(pair);
	play_done(&play);
	assert_int_equal(unsetenv("CULVERT_MUTATION"), 0);
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_quota),
		cmocka_unit_test(test_expiry),
		cmocka_unit_test(test_sessions_at_a_time),
		cmocka_unit_test(test_addresses_at_a_time),
		cmocka_unit_test(test_kick),
		cmocka_unit_test(test_kick_of_the_unready),
		cmocka_unit_test(test_kick_under_load),
		cmocka_unit_test(test_counters),
		cmocka_unit_test(test_new_limits),
		cmocka_unit_test(test_new_rates),
		cmocka_unit_test(test_rates_without_end),
		cmocka_unit_test(test_idle),
#ifdef CV_MUTATIONS
		cmocka_unit_test(test_without_quota),
		cmocka_unit_test(test_without_kick),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
