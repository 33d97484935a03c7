// SPDX-License-Identifier: MIT
/* test_ban.c - which failures lead to a ban, of whom, for how long, and how much is remembered. */
#include "policy/ban.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define S 1000ull

static struct cv_sockaddr at(const char *text)
{
	struct cv_sockaddr address = {.len_bytes = sizeof(address.in)};

	if (strchr(text, ':')) {
		address.len_bytes = sizeof(address.in6);
		address.in6.sin6_family = AF_INET6;
		assert_int_equal(inet_pton(AF_INET6, text, &address.in6.sin6_addr), 1);
	} else {
		address.in.sin_family = AF_INET;
		assert_int_equal(inet_pton(AF_INET, text, &address.in.sin_addr), 1);
	}
	return address;
}

static struct cv_ban_table *table_of(uint32_t failures, uint32_t max_sources)
{
	const struct cv_ban_policy policy = {
		.failures = failures, .window_s = 600, .ban_s = 3600, .max_sources = max_sources};
	struct cv_ban_table *table = cv_ban_table_new(&policy);

	assert_non_null(table);
	return table;
}

static void test_fifth_failure_bans(void **state)
{
	struct cv_ban_table *table = table_of(5, 64);
	const struct cv_sockaddr from = at("192.0.2.1"), other = at("192.0.2.2");

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		assert_false(cv_ban_failed(table, &from, i * S));
		assert_false(cv_ban_holds(table, &from, i * S));
	}
	assert_true(cv_ban_failed(table, &from, 600 * S));
	assert_true(cv_ban_holds(table, &from, 600 * S));
	assert_false(cv_ban_failed(table, &from, 700 * S)); /* it does not begin again */
	assert_true(cv_ban_holds(table, &from, 600 * S + 3600 * S - 1));
	assert_false(cv_ban_holds(table, &from, 600 * S + 3600 * S));
	assert_false(cv_ban_holds(table, &other, 600 * S));
	/* afterwards the count starts anew */
	for (unsigned i = 0; i < 4; i++)
		assert_false(cv_ban_failed(table, &from, 5000 * S));
	assert_true(cv_ban_failed(table, &from, 5000 * S));
	cv_ban_table_free(table);
}

static void test_window(void **state)
{
	struct cv_ban_table *table = table_of(2, 64);
	const struct cv_sockaddr from = at("192.0.2.1");

	(void)state;
	assert_false(cv_ban_failed(table, &from, 0));
	assert_false(cv_ban_failed(table, &from, 601 * S));
	assert_true(cv_ban_failed(table, &from, 602 * S));
	cv_ban_table_free(table);
}

static void test_who_is_one_source(void **state)
{
	struct cv_ban_table *table = table_of(1, 64);
	const struct cv_sockaddr a = at("2001:db8::1"), b = at("2001:db8::ffff:2"),
				 c = at("2001:db8:0:1::1"), v4 = at("192.0.2.1"),
				 mapped = at("::ffff:192.0.2.1");

	(void)state;
	assert_true(cv_ban_failed(table, &a, 1));
	assert_true(cv_ban_holds(table, &b, 1));
	assert_false(cv_ban_holds(table, &c, 1));
	assert_true(cv_ban_failed(table, &v4, 1));
	assert_true(cv_ban_holds(table, &mapped, 1));
	assert_true(cv_ban_is_same(&a, &b) && cv_ban_is_same(&v4, &mapped));
	assert_false(cv_ban_is_same(&a, &c) || cv_ban_is_same(&a, &v4));
	cv_ban_table_free(table);
}

static void test_never_banned(void **state)
{
	struct cv_ban_table *table = table_of(1, 64), *off = table_of(0, 64);
	const struct cv_sockaddr loopback[] = {at("127.0.0.1"), at("127.8.8.8"), at("::1"),
					       at("::ffff:127.0.0.1"),
					       {.len_bytes = 2, .any.sa_family = AF_UNIX},
					       {.len_bytes = 0}};
	const struct cv_sockaddr from = at("192.0.2.1");

	(void)state;
	for (size_t i = 0; i < sizeof(loopback) / sizeof(loopback[0]); i++) {
		assert_false(cv_ban_failed(table, &loopback[i], 1));
		assert_false(cv_ban_holds(table, &loopback[i], 1));
		assert_true(cv_ban_is_same(&loopback[i], &loopback[0]));
		assert_false(cv_ban_is_same(&loopback[i], &from));
	}
	assert_false(cv_ban_failed(off, &from, 1));
	assert_false(cv_ban_holds(off, &from, 1));
	cv_ban_table_free(table);
	cv_ban_table_free(off);
}

/* One set: whoever failed long ago makes room, and bans stay as long as anything else can go. */
static void test_bounded(void **state)
{
	struct cv_ban_table *table = table_of(2, 1);
	const struct cv_sockaddr banned = at("192.0.2.1");
	char text[32];

	(void)state;
	assert_false(cv_ban_failed(table, &banned, 1));
	assert_true(cv_ban_failed(table, &banned, 2));
	for (unsigned i = 0; i < 10000; i++) {
		struct cv_sockaddr from;

		snprintf(text, sizeof(text), "10.1.%u.%u", i >> 8, i & 255);
		from = at(text);
		assert_false(cv_ban_failed(table, &from, 10 + i));
	}
	assert_true(cv_ban_holds(table, &banned, 20000));
	assert_true(cv_ban_failed(table, &(struct cv_sockaddr[]){at("10.1.39.15")}[0], 20000));
	assert_false(cv_ban_failed(table, &(struct cv_sockaddr[]){at("10.1.0.1")}[0], 20000));
	cv_ban_table_free(table);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fifth_failure_bans), cmocka_unit_test(test_window),
		cmocka_unit_test(test_who_is_one_source),  cmocka_unit_test(test_never_banned),
		cmocka_unit_test(test_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
