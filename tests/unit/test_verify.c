// SPDX-License-Identifier: MIT
/*
 * test_verify.c - names and passwords on helper threads: who is let in, what is remembered, what an
 * unknown name costs, who is banned, and what a broken-off question leaves behind.
 */
#include "session/verify.h"

#include "base/clock.h"
#include "policy/password.h"

#include <culvert/reason.h>

#include <crypt.h>
#include <dlfcn.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define WAIT_MS 20000
#define AGAIN_TIMES 320
#define DAWDLE_US 500

static struct cv_ring *ring;
static struct cv_verifier *verifier;
static char hash_a[CV_PASSWORD_STORED], hash_b[CV_PASSWORD_STORED];

struct ask {
	struct cv_verify_query query;
	int result;
	struct cv_user *user;
	bool done, ban_begins;
};

static void done(struct cv_verify_query *query, int result, struct cv_user *user, bool ban_begins)
{
	struct ask *ask = (struct ask *)query;

	ask->result = result;
	ask->user = user;
	ask->ban_begins = ban_begins;
	ask->done = true;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void tick(struct cv_timer *timer)
{
	(void)timer;
}

static void turn_until(const bool *flag)
{
	const uint64_t until_ms = cv_clock_ms() + WAIT_MS;
	struct cv_timer timer = {.due = tick};

	while (!*flag && cv_clock_ms() < until_ms) {
		cv_timer_arm(ring, &timer, cv_ring_now_ms(ring) + 50);
		assert_int_equal(cv_ring_turn(ring), 0);
	}
	cv_timer_disarm(ring, &timer);
	assert_true(*flag);
}

static struct cv_sockaddr from(uint8_t last)
{
	struct cv_sockaddr address = {.len_bytes = sizeof(address.in)};

	address.in.sin_family = AF_INET;
	address.in.sin_addr.s_addr = htonl(0xc0000200u | last);
	return address;
}

static void start(struct ask *ask, struct cv_user_table *users, const char *name,
		  const char *password, uint8_t source)
{
	const struct cv_sockaddr address = from(source);
	const struct cv_credentials credentials = {
		.name = name,
		.name_len = strlen(name),
		.password = password,
		.password_len = strlen(password),
		.from = &address,
	};

	*ask = (struct ask){.query.done = done};
	assert_true(cv_verify(verifier, ring, &ask->query, users, &credentials));
	assert_false(ask->done); /* never from inside */
}

static int ask_once(struct ask *ask, struct cv_user_table *users, const char *name,
		    const char *password, uint8_t source)
{
	start(ask, users, name, password, source);
	turn_until(&ask->done);
	assert_true((ask->result == 0) == (ask->user != NULL));
	return ask->result;
}

static uint64_t cost_ms(struct cv_user_table *users, const char *name, const char *password,
			uint8_t source)
{
	const uint64_t since_ms = cv_clock_ms();
	struct ask ask;

	(void)ask_once(&ask, users, name, password, source);
	return cv_clock_ms() - since_ms;
}

static struct cv_user_table *table_of(const struct cv_user *users, size_t count)
{
	struct cv_user_table *table = cv_user_table_new(users, count);

	assert_non_null(table);
	return table;
}

static struct cv_user_table *two_users(void)
{
	const struct cv_user users[] = {{.name = "alice", .password = hash_a},
					{.name = "bob", .password = hash_b}};

	return table_of(users, 2);
}

static void open_verifier(uint32_t failures, uint32_t ttl_ms, uint32_t queue_limit)
{
	const struct cv_verifier_config config = {
		.thread_count = 1,
		.queue_limit = queue_limit,
		.cache_entries = 64,
		.cache_ttl_ms = ttl_ms,
		.ban = {failures, 600, 3600, 64},
	};

	assert_int_equal(cv_verifier_new(&config, &verifier), 0);
}

static int setup(void **state)
{
	const struct cv_ring_config config = {
		.entry_count = 64, .buffer_count = 8, .buffer_bytes = 4096};

	(void)state;
	if (!hash_a[0] &&
	    (cv_password_hash("pw-a", hash_a) != 0 || cv_password_hash("pw-b", hash_b) != 0))
		return -1;
	return cv_ring_new(&config, &ring);
}

static int teardown(void **state)
{
	(void)state;
	verifier = cv_verifier_free(verifier);
	ring = cv_ring_free(ring);
	return 0;
}

static void test_who_is_let_in(void **state)
{
	struct cv_user_table *users = two_users();
	struct ask ask;

	(void)state;
	open_verifier(0, 60000, 64);
	assert_int_equal(ask_once(&ask, users, "alice", "pw-a", 1), 0);
	assert_ptr_equal(ask.user, cv_user_at(users, 0));
	assert_int_equal(ask_once(&ask, users, "bob", "pw-b", 1), 0);
	assert_ptr_equal(ask.user, cv_user_at(users, 1));
	assert_int_equal(ask_once(&ask, users, "alice", "pw-b", 1), CV_PEER_CREDENTIALS);
	assert_int_equal(ask_once(&ask, users, "bob", "", 1), CV_PEER_CREDENTIALS);
	assert_int_equal(ask_once(&ask, users, "", "pw-a", 1), CV_PEER_CREDENTIALS);
	/* whoever the stand-in is, its password opens nothing */
	for (int i = 0; i < 8; i++) {
		char name[24];

		snprintf(name, sizeof(name), "carol%d", i);
		assert_int_equal(ask_once(&ask, users, name, "pw-a", 1), CV_PEER_CREDENTIALS);
		assert_int_equal(ask_once(&ask, users, name, "pw-b", 1), CV_PEER_CREDENTIALS);
	}
	cv_user_table_free(users);
}

static void test_plain_and_nobody(void **state)
{
	const struct cv_user plain[] = {{.name = "alice", .password = "{plain}pw"}};
	struct cv_user_table *users = table_of(plain, 1), *nobody = table_of(NULL, 0);
	struct ask ask;

	(void)state;
	open_verifier(0, 60000, 64);
	assert_int_equal(ask_once(&ask, users, "alice", "pw", 1), 0);
	assert_int_equal(ask_once(&ask, users, "alice", "px", 1), CV_PEER_CREDENTIALS);
	assert_int_equal(ask_once(&ask, users, "alicf", "pw", 1), CV_PEER_CREDENTIALS);
	assert_int_equal(ask_once(&ask, nobody, "alice", "pw", 1), CV_PEER_CREDENTIALS);
	cv_user_table_free(users);
	cv_user_table_free(nobody);
}

/* A hundred right answers cost one hash; a wrong one costs one each time, known name or not. */
static void test_costs(void **state)
{
	struct cv_user_table *users = two_users();
	uint64_t first_ms, cached_ms = 0, wrong_ms = UINT64_MAX, unknown_ms = UINT64_MAX;

	(void)state;
	open_verifier(0, 60000, 64);
	first_ms = cost_ms(users, "alice", "pw-a", 1);
	for (int i = 0; i < 100; i++)
		cached_ms += cost_ms(users, "alice", "pw-a", 2);
	for (int i = 0; i < 5; i++) {
		uint64_t ms = cost_ms(users, "alice", "wrong", 1);

		wrong_ms = ms < wrong_ms ? ms : wrong_ms;
		ms = cost_ms(users, "nobody", "pw-a", 1);
		unknown_ms = ms < unknown_ms ? ms : unknown_ms;
	}
	assert_true(cached_ms < 20 * first_ms);
	assert_true(wrong_ms >= 10 && unknown_ms >= 10); /* a hash, each */
	assert_true(unknown_ms < 2 * wrong_ms && wrong_ms < 2 * unknown_ms);
	cv_user_table_free(users);
}

/* Changed, removed, or after its time: the memory lets nobody in. */
static void test_memory_ends(void **state)
{
	struct cv_user_table *users = two_users(), *fewer, *changed;
	struct cv_user bob = {.name = "bob", .password = hash_b};
	struct cv_user alice = {.name = "alice", .password = hash_b};
	struct ask ask;

	(void)state;
	open_verifier(0, 300, 64);
	fewer = table_of(&bob, 1);
	changed = table_of(&alice, 1);
	assert_int_equal(ask_once(&ask, users, "alice", "pw-a", 1), 0);
	assert_int_equal(ask_once(&ask, fewer, "alice", "pw-a", 1), CV_PEER_CREDENTIALS);
	assert_int_equal(ask_once(&ask, changed, "alice", "pw-a", 1), CV_PEER_CREDENTIALS);
	assert_int_equal(ask_once(&ask, changed, "alice", "pw-b", 1), 0);
	cv_user_table_free(users);
	cv_user_table_free(fewer);
	cv_user_table_free(changed);
}

static void test_bans(void **state)
{
	struct cv_user_table *users = two_users();
	struct ask ask;

	(void)state;
	open_verifier(3, 60000, 64);
	assert_int_equal(ask_once(&ask, users, "alice", "wrong", 1), CV_PEER_CREDENTIALS);
	assert_int_equal(ask_once(&ask, users, "nobody", "wrong", 1), CV_PEER_CREDENTIALS);
	assert_false(ask.ban_begins);
	assert_int_equal(ask_once(&ask, users, "bob", "wrong", 1), CV_PEER_CREDENTIALS);
	assert_true(ask.ban_begins);
	assert_int_equal(ask_once(&ask, users, "alice", "pw-a", 1), CV_POLICY_BANNED);
	assert_false(ask.ban_begins);
	assert_int_equal(ask_once(&ask, users, "alice", "pw-a", 2), 0);
	cv_user_table_free(users);
}

/* What a source asks before its first answers come is not all computed. */
static void test_ban_ends_what_waits(void **state)
{
	struct cv_user_table *users = two_users();
	struct ask asks[40];
	unsigned refused = 0, banned = 0;
	char password[16];

	(void)state;
	open_verifier(3, 60000, 64);
	for (unsigned i = 0; i < 40; i++) {
		snprintf(password, sizeof(password), "guess%u", i);
		start(&asks[i], users, "alice", password, 1);
	}
	for (unsigned i = 0; i < 40; i++) {
		turn_until(&asks[i].done);
		refused += asks[i].result == CV_PEER_CREDENTIALS;
		banned += asks[i].result == CV_POLICY_BANNED;
	}
	assert_int_equal(refused, 3);
	assert_int_equal(banned, 37);
	cv_user_table_free(users);
}

/* A browser opens many connections at once: one hash, and one place in the queue is all it needs.
 * The same question from elsewhere is one of its own. */
static void test_same_questions(void **state)
{
	struct cv_user_table *users = two_users();
	const uint64_t one_ms = (open_verifier(0, 1, 1000), cost_ms(users, "bob", "x", 9));
	const uint64_t since_ms = cv_clock_ms();
	struct ask *asks = calloc(200, sizeof(*asks)), elsewhere;

	(void)state;
	for (unsigned i = 0; i < 200; i++)
		start(&asks[i], users, "alice", "pw-a", 1);
	start(&elsewhere, users, "alice", "pw-a", 2);
	for (unsigned i = 0; i < 200; i++) {
		turn_until(&asks[i].done);
		assert_int_equal(asks[i].result, 0);
	}
	turn_until(&elsewhere.done);
	assert_int_equal(elsewhere.result, 0);
	assert_true(cv_clock_ms() - since_ms < 50 * (one_ms + 1));
	free(asks);
	cv_user_table_free(users);
}

static void test_full_queue(void **state)
{
	struct cv_user_table *users = two_users();
	struct ask asks[4];

	(void)state;
	open_verifier(0, 60000, 2);
	start(&asks[0], users, "alice", "a", 1);
	start(&asks[1], users, "alice", "b", 1);
	start(&asks[2], users, "alice", "c", 1);
	start(&asks[3], users, "alice", "c", 1);
	for (unsigned i = 0; i < 4; i++)
		turn_until(&asks[i].done);
	assert_int_equal(asks[0].result, CV_PEER_CREDENTIALS);
	assert_int_equal(asks[1].result, CV_PEER_CREDENTIALS);
	assert_int_equal(asks[2].result, CV_INTERNAL_RESOURCE);
	assert_int_equal(asks[3].result, CV_INTERNAL_RESOURCE);
	cv_user_table_free(users);
}

static void test_cancel(void **state)
{
	struct cv_user_table *users = two_users();
	struct ask waits, follows, cancelled, banned;

	(void)state;
	open_verifier(1, 60000, 64);
	start(&waits, users, "alice", "pw-a", 1);
	start(&follows, users, "alice", "pw-a", 1);
	start(&cancelled, users, "bob", "wrong", 1);
	cv_verify_cancel(&waits.query);
	cv_verify_cancel(&cancelled.query);
	turn_until(&follows.done); /* though the one that came first is gone */
	assert_int_equal(follows.result, 0);
	assert_false(waits.done || cancelled.done);
	assert_int_equal(ask_once(&banned, users, "bob", "wrong", 3), CV_PEER_CREDENTIALS);
	start(&banned, users, "bob", "pw-b", 3);
	cv_verify_cancel(&banned.query); /* its answer was ready */
	cv_verify_cancel(&banned.query);
	assert_int_equal(ask_once(&follows, users, "bob", "pw-b", 1), 0);
	assert_false(banned.done);
	cv_user_table_free(users);
}

/* Helpers that are slow after each step, so that others come in between. */
static _Atomic bool dawdle;
static pthread_t asker;

int pthread_mutex_unlock(pthread_mutex_t *mutex)
{
	int (*unlock)(pthread_mutex_t *mutex);

	*(void **)&unlock = dlsym(RTLD_NEXT, "pthread_mutex_unlock");
	if (atomic_load(&dawdle) && !pthread_equal(pthread_self(), asker)) {
		const int result = unlock(mutex);

		(void)usleep(DAWDLE_US);
		return result;
	}
	return unlock(mutex);
}

/* A question that is asked again just when its first asker has gone and no helper computes it any
 * more. */
static void test_asked_again(void **state)
{
	const char *hash = crypt("pw-a", "$5$rounds=1000$saltsalt"); /* costs next to nothing */
	const struct cv_user alice = {.name = "alice", .password = (char *)hash};
	struct cv_user_table *users = table_of(&alice, 1);
	struct ask gone, again;

	(void)state;
	open_verifier(0, 0, 64);
	asker = pthread_self();
	atomic_store(&dawdle, true);
	for (unsigned i = 0; i < AGAIN_TIMES; i++) {
		const uint64_t until_ns = now_ns() + i % 32 * (DAWDLE_US * 1000 / 8);

		start(&gone, users, "alice", "pw-a", 1);
		cv_verify_cancel(&gone.query);
		while (now_ns() < until_ns)
			;
		assert_int_equal(ask_once(&again, users, "alice", "pw-a", 1), 0);
	}
	atomic_store(&dawdle, false);
	cv_user_table_free(users);
}

/* Questions that wait when the daemon ends. */
static void test_end(void **state)
{
	struct cv_user_table *users = two_users();
	struct ask asks[6];
	char password[16];

	(void)state;
	open_verifier(0, 60000, 64);
	for (unsigned i = 0; i < 6; i++) {
		snprintf(password, sizeof(password), "guess%u", i / 2);
		start(&asks[i], users, "alice", password, 1);
	}
	for (unsigned i = 0; i < 6; i++)
		cv_verify_cancel(&asks[i].query);
	verifier = cv_verifier_free(verifier);
	cv_user_table_free(users);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_who_is_let_in),	TEST(test_plain_and_nobody), TEST(test_costs),
		TEST(test_memory_ends),		TEST(test_bans),
		TEST(test_ban_ends_what_waits), TEST(test_same_questions),
		TEST(test_full_queue),		TEST(test_cancel),
		TEST(test_asked_again),		TEST(test_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
