// SPDX-License-Identifier: MIT
/* test_usage.c - one record for each person; sessions and addresses counted in and out. */
#include "policy/usage.h"

#include "policy/user.h"

#include <culvert/reason.h>

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define MANY 3000
#define THREADS 8
#define ROUNDS 20000

static struct cv_usage_table *new_table(void)
{
	struct cv_usage_table *table = cv_usage_table_new();

	assert_non_null(table);
	return table;
}

static void test_identities(void **state)
{
	char name[] = "Alice", email[] = "Alice@Example.COM", empty[] = "", key[CV_USAGE_KEY];
	char other[CV_USAGE_KEY];
	struct cv_user user = {.uuid = {1, 2, 3}, .name = name, .email = email};

	(void)state;
	cv_usage_key(&user, key);
	assert_string_equal(key, "alice@example.com");
	user.email = empty;
	cv_usage_key(&user, key);
	assert_string_equal(key, "alice");
	user.name = empty;
	cv_usage_key(&user, key);
	assert_int_equal(strlen(key), 19);
	assert_memory_equal(key, "id:", 3);
	assert_null(strstr(key, "010203")); /* an id is a secret */
	user.uuid[15] = 1;
	cv_usage_key(&user, other);
	assert_string_not_equal(key, other);
}

static void test_one_person(void **state)
{
	const struct cv_limits loose = {.max_sessions = 5}, tight = {.max_sessions = 2};
	struct cv_usage_table *table = new_table();
	struct cv_usage *alice, *usages[MANY];
	bool differ = true;
	char key[32];

	(void)state;
	alice = cv_usage_join(table, "alice", &loose, &differ);
	assert_false(differ);
	for (int i = 0; i < MANY; i++) {
		snprintf(key, sizeof(key), "user-%d", i);
		usages[i] = cv_usage_join(table, key, &loose, &differ);
		assert_non_null(usages[i]);
	}
	assert_int_equal(cv_usage_count(table), MANY + 1);
	for (int i = 0; i < MANY; i++) {
		snprintf(key, sizeof(key), "user-%d", i);
		assert_ptr_equal(cv_usage_join(table, key, &loose, &differ), usages[i]);
		assert_false(differ);
		assert_ptr_equal(cv_usage_at(table, (size_t)i + 1), usages[i]);
	}
	assert_ptr_equal(cv_usage_join(table, "alice", &tight, &differ), alice);
	assert_true(differ);
	assert_int_equal(cv_usage_limits(alice).max_sessions, 2);
	assert_null(cv_usage_at(table, MANY + 1));
	assert_ptr_equal(cv_usage_find(table, "user-77"), usages[77]);
	assert_null(cv_usage_find(table, "user--1"));
	cv_usage_table_free(table);
}

/* Limits of another configuration wait, and those of one that came to nothing are forgotten. */
static void test_next_configuration(void **state)
{
	const struct cv_limits five = {.max_sessions = 5}, two = {.max_sessions = 2}, none = {0};
	struct cv_usage_table *table = new_table();
	struct cv_usage *alice, *bob;
	bool differ;

	(void)state;
	alice = cv_usage_join(table, "alice", &two, &differ);
	atomic_fetch_add(&alice->moved_bytes[0], 100);
	cv_usage_table_begin(table);
	assert_ptr_equal(cv_usage_join(table, "alice", &none, &differ), alice);
	assert_int_equal(cv_usage_limits(alice).max_sessions, 2);
	cv_usage_table_begin(table); /* that one was bad */
	assert_ptr_equal(cv_usage_join(table, "alice", &five, &differ), alice);
	assert_false(differ);
	bob = cv_usage_join(table, "bob", &two, &differ);
	assert_int_equal(cv_usage_limits(bob).max_sessions, 2); /* nobody uses it yet */
	assert_int_equal(cv_usage_limits(alice).max_sessions, 2);
	cv_usage_table_commit(table);
	assert_int_equal(cv_usage_limits(alice).max_sessions, 5);
	assert_int_equal(cv_usage_used(alice, 0), 100);
	cv_usage_table_begin(table);
	(void)cv_usage_join(table, "alice", &five, &differ);
	(void)cv_usage_join(table, "alice", &two, &differ);
	assert_true(differ);
	cv_usage_table_commit(table);
	assert_int_equal(cv_usage_limits(alice).max_sessions, 2);
	assert_ptr_equal(cv_usage_table_share(table), table);
	assert_null(cv_usage_table_free(table));
	assert_ptr_equal(cv_usage_find(table, "bob"), bob);
	cv_usage_table_free(table);
}

/* More addresses than there was room for under the limits before. */
static void test_room_grows(void **state)
{
	struct cv_limits limits = {.max_source_addresses = 1};
	struct cv_usage_table *table = new_table();
	struct cv_sockaddr from = {.in.sin_family = AF_INET, .len_bytes = sizeof(from.in)};
	struct cv_usage *usage;
	bool differ, holds;

	(void)state;
	usage = cv_usage_join(table, "alice", &limits, &differ);
	assert_int_equal(cv_usage_enter(usage, &from, 1, &holds), 0);
	from.in.sin_addr.s_addr++;
	assert_int_equal(cv_usage_enter(usage, &from, 1, &holds), CV_POLICY_USER_ADDRESSES);
	limits.max_source_addresses = 50;
	cv_usage_table_begin(table);
	(void)cv_usage_join(table, "alice", &limits, &differ);
	cv_usage_table_commit(table);
	for (int i = 0; i < 49; i++) {
		assert_int_equal(cv_usage_enter(usage, &from, 1, &holds), 0);
		assert_true(holds);
		from.in.sin_addr.s_addr++;
	}
	assert_int_equal(cv_usage_enter(usage, &from, 1, &holds), CV_POLICY_USER_ADDRESSES);
	cv_usage_table_free(table);
}

static void test_sessions(void **state)
{
	const struct cv_limits limits = {
		.max_sessions = 2, .quota_bytes = 100, .expires_ms = 5000};
	struct cv_usage_table *table = new_table();
	struct cv_usage *usage;
	bool differ, holds = true;

	(void)state;
	usage = cv_usage_join(table, "alice", &limits, &differ);
	assert_int_equal(cv_usage_enter(usage, NULL, 1, &holds), 0);
	assert_false(holds);
	assert_int_equal(cv_usage_enter(usage, NULL, 1, &holds), 0);
	assert_int_equal(cv_usage_enter(usage, NULL, 1, &holds), CV_POLICY_USER_SESSIONS);
	cv_usage_leave(usage, NULL);
	assert_int_equal(cv_usage_enter(usage, NULL, 1, &holds), 0);
	cv_usage_leave(usage, NULL);
	assert_int_equal(cv_usage_enter(usage, NULL, 5000, &holds), CV_POLICY_EXPIRED);
	usage->moved_bytes[0] = 60;
	usage->moved_bytes[1] = 39;
	assert_int_equal(cv_usage_enter(usage, NULL, 1, &holds), 0);
	cv_usage_leave(usage, NULL);
	usage->offset_bytes[0] = 1; /* from an earlier process */
	assert_int_equal(cv_usage_used(usage, 0), 61);
	assert_int_equal(cv_usage_enter(usage, NULL, 1, &holds), CV_POLICY_QUOTA);
	usage->offset_bytes[0] = -60; /* a period has ended */
	assert_int_equal(cv_usage_used(usage, 0), 0);
	assert_int_equal(cv_usage_enter(usage, NULL, 1, &holds), 0);
	assert_int_equal(usage->session_count, 2);
	cv_usage_table_free(table);
}

static struct cv_sockaddr address_of(const char *text)
{
	struct cv_sockaddr address = {.len_bytes = sizeof(address.in6)};

	if (strchr(text, ':')) {
		address.in6.sin6_family = AF_INET6;
		assert_int_equal(inet_pton(AF_INET6, text, &address.in6.sin6_addr), 1);
	} else {
		address.in.sin_family = AF_INET;
		assert_int_equal(inet_pton(AF_INET, text, &address.in.sin_addr), 1);
	}
	return address;
}

static int enter_from(struct cv_usage *usage, const char *text)
{
	const struct cv_sockaddr address = address_of(text);
	bool holds = false;
	int reason = cv_usage_enter(usage, &address, 1, &holds);

	assert_int_equal(holds, reason == 0);
	return reason;
}

static void leave_from(struct cv_usage *usage, const char *text)
{
	const struct cv_sockaddr address = address_of(text);

	cv_usage_leave(usage, &address);
}

static void test_source_addresses(void **state)
{
	const struct cv_limits limits = {.max_source_addresses = 2};
	struct cv_sockaddr local = {.un.sun_family = AF_UNIX};
	struct cv_usage_table *table = new_table();
	struct cv_usage *usage;
	bool differ, holds = true;

	(void)state;
	usage = cv_usage_join(table, "alice", &limits, &differ);
	assert_int_equal(enter_from(usage, "192.0.2.1"), 0);
	assert_int_equal(enter_from(usage, "2001:db8:0:1::1"), 0);
	assert_int_equal(enter_from(usage, "::ffff:192.0.2.1"), 0);      /* the same house */
	assert_int_equal(enter_from(usage, "2001:db8:0:1:ffff::2"), 0); /* likewise */
	assert_int_equal(enter_from(usage, "192.0.2.2"), CV_POLICY_USER_ADDRESSES);
	assert_int_equal(enter_from(usage, "2001:db8:0:2::1"), CV_POLICY_USER_ADDRESSES);
	assert_int_equal(usage->session_count, 4);
	leave_from(usage, "192.0.2.1");
	assert_int_equal(enter_from(usage, "192.0.2.2"), CV_POLICY_USER_ADDRESSES);
	leave_from(usage, "192.0.2.1"); /* the last one from there */
	assert_int_equal(enter_from(usage, "192.0.2.2"), 0);
	assert_int_equal(enter_from(usage, "2001:db8:0:1::3"), 0);
	assert_int_equal(enter_from(usage, "192.0.2.1"), CV_POLICY_USER_ADDRESSES);
	assert_int_equal(cv_usage_enter(usage, &local, 1, &holds), 0); /* nowhere to count */
	assert_false(holds);
	cv_usage_table_free(table);
}

struct crowd {
	struct cv_usage *usage;
	unsigned number;
};

static void *come_and_go(void *opaque)
{
	const struct crowd *crowd = opaque;
	char text[16];

	snprintf(text, sizeof(text), "192.0.2.%u", crowd->number);
	for (int i = 0; i < ROUNDS; i++) {
		const struct cv_sockaddr address = address_of(text);
		bool holds;

		if (cv_usage_enter(crowd->usage, &address, 1, &holds) == 0)
			cv_usage_leave(crowd->usage, &address);
	}
	return NULL;
}

static void test_many_workers(void **state)
{
	const struct cv_limits limits = {.max_source_addresses = 3, .max_sessions = 5};
	struct cv_usage_table *table = new_table();
	struct crowd crowds[THREADS];
	pthread_t threads[THREADS];
	struct cv_usage *alice;
	bool differ;

	(void)state;
	alice = cv_usage_join(table, "alice", &limits, &differ);
	for (unsigned i = 0; i < THREADS; i++) {
		crowds[i].usage = alice;
		crowds[i].number = i;
		assert_int_equal(
			pthread_create(&threads[i], NULL, come_and_go, &crowds[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(crowds[0].usage->session_count, 0);
	assert_int_equal(crowds[0].usage->source_count, 0);
	cv_usage_table_free(table);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_identities),       cmocka_unit_test(test_one_person),
		cmocka_unit_test(test_next_configuration), cmocka_unit_test(test_room_grows),
		cmocka_unit_test(test_sessions),	 cmocka_unit_test(test_source_addresses),
		cmocka_unit_test(test_many_workers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
