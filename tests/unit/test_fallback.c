// SPDX-License-Identifier: MIT
/* test_fallback.c - VLESS 7: inheritance and selection. Entries are told apart by their port. */
#include "policy/fallback.h"

#include "policy/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct entry {
	const char *name, *alpn, *path;
	uint16_t port;
};

static struct cv_inbound inbound;

static void load(const struct entry *entries, size_t count)
{
	inbound.fallback_count = count;
	inbound.fallbacks = calloc(count, sizeof(*inbound.fallbacks));
	for (size_t i = 0; i < count; i++) {
		struct cv_fallback *fallback = &inbound.fallbacks[i];

		fallback->name = strdup(entries[i].name);
		fallback->alpn = strdup(entries[i].alpn);
		fallback->path = strdup(entries[i].path);
		assert_int_equal(cv_destination_set_text(&fallback->destination, "127.0.0.1",
							 entries[i].port),
				 0);
	}
	assert_int_equal(cv_fallback_inherit(&inbound.fallbacks, &inbound.fallback_count), 0);
}

static int unload(void **state)
{
	(void)state;
	for (size_t i = 0; i < inbound.fallback_count; i++)
		cv_fallback_done(&inbound.fallbacks[i]);
	free(inbound.fallbacks);
	inbound = (struct cv_inbound){0};
	return 0;
}

/* Port of the chosen entry, 0 = none. */
static int pick(const char *sni, const char *alpn, const char *chunk)
{
	const struct cv_fallback *fallback =
		cv_fallback_pick(&inbound, sni, alpn, cv_span_of(chunk, strlen(chunk)));

	return fallback ? fallback->destination.port : 0;
}

#define GET(path) "GET " path " HTTP/1.1\r\nHost: x\r\n\r\n"

static void test_default_only(void **state)
{
	static const struct entry entries[] = {{"", "", "", 80}};

	(void)state;
	load(entries, 1);
	assert_int_equal(pick("", "", GET("/")), 80);
	assert_int_equal(pick("any.example", "h2", "x"), 80);
	assert_int_equal(pick("", "", ""), 80);
}

static void test_no_default(void **state)
{
	static const struct entry entries[] = {{"a.example", "", "", 1},
					       {"b.example", "", "/x", 2}};

	(void)state;
	load(entries, 2);
	assert_int_equal(pick("a.example", "", ""), 1);
	assert_int_equal(pick("c.example", "", ""), 0);
	assert_int_equal(pick("", "", ""), 0);
	assert_int_equal(pick("b.example", "", GET("/x")), 2);
	assert_int_equal(pick("b.example", "", GET("/y")), 0);
}

static void test_names(void **state)
{
	static const struct entry entries[] = {{"", "", "", 1},
					       {"example", "", "", 2},
					       {"example.com", "", "", 3},
					       {"www.example.com", "", "", 4}};

	(void)state;
	load(entries, 4);
	assert_int_equal(pick("www.example.com", "", ""), 4);
	assert_int_equal(pick("WWW.Example.COM", "", ""), 4);
	assert_int_equal(pick("mail.example.com", "", ""), 3);      /* longest substring */
	assert_int_equal(pick("example.com.evil.test", "", ""), 3); /* anywhere, not a suffix */
	assert_int_equal(pick("myexample.org", "", ""), 2);
	assert_int_equal(pick("other.test", "", ""), 1);
}

static void test_alpn(void **state)
{
	static const struct entry entries[] = {{"", "", "", 1}, {"", "h2", "", 2}};

	(void)state;
	load(entries, 2);
	assert_int_equal(pick("", "h2", ""), 2);
	assert_int_equal(pick("", "http/1.1", ""), 1);
	assert_int_equal(pick("", "", ""), 1);
}

static void test_paths(void **state)
{
	static const struct entry entries[] = {{"", "", "", 1}, {"", "", "/ws", 2}};

	(void)state;
	load(entries, 2);
	assert_int_equal(pick("", "", GET("/ws")), 2);
	assert_int_equal(pick("", "", GET("/ws?ed=2048")), 2);
	assert_int_equal(pick("", "", GET("/wss")), 1);
	assert_int_equal(pick("", "", GET("/")), 1);
	assert_int_equal(pick("", "", "GET /ws "), 1); /* shorter than 18 bytes */
	assert_int_equal(pick("", "", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 1);
}

static void test_inheritance(void **state)
{
	static const struct entry entries[] = {
		{"", "", "", 1},          {"", "", "/ws", 2},         {"", "h2", "", 3},
		{"a.example", "", "", 4}, {"b.example", "h2", "", 5},
	};

	(void)state;
	load(entries, 5);
	/* ("", h2) inherits /ws from ("", "") */
	assert_int_equal(pick("", "h2", GET("/ws")), 2);
	assert_int_equal(pick("", "h2", GET("/")), 3);
	/* a: alpn h2 exists for "", so (a, h2) inherits (a, "") and then ("", h2) and ("", "") */
	assert_int_equal(pick("a.example", "h2", GET("/")), 4);
	assert_int_equal(pick("a.example", "h2", GET("/ws")), 2);
	assert_int_equal(pick("a.example", "", GET("/ws")), 2);
	/* b: only h2 is its own; the rest comes from "" */
	assert_int_equal(pick("b.example", "h2", GET("/")), 5);
	assert_int_equal(pick("b.example", "h2", GET("/ws")), 2);
	assert_int_equal(pick("b.example", "", GET("/")), 1);
	assert_int_equal(pick("b.example", "http/1.1", GET("/ws")), 2);
}

static void test_last_duplicate_wins(void **state)
{
	static const struct entry entries[] = {
		{"", "", "/x", 1}, {"", "", "/x", 2}, {"", "", "", 3}, {"", "", "/x", 4}};

	(void)state;
	load(entries, 4);
	assert_int_equal(inbound.fallback_count, 2);
	assert_int_equal(pick("", "", GET("/x")), 4);
}

#define TEST(name) cmocka_unit_test_teardown(name, unload)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_default_only),
		TEST(test_no_default),
		TEST(test_names),
		TEST(test_alpn),
		TEST(test_paths),
		TEST(test_inheritance),
		TEST(test_last_duplicate_wins),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
