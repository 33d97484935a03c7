// SPDX-License-Identifier: MIT
/*
 * test_route_index.c - a router with an index decides as one that looks at every rule.
 *
 * Rules and questions are made at random of few names, users and blocks, so that they meet often.
 */
#include "policy/address_tree.h"
#include "policy/keyword_trie.h"
#include "policy/router.h"
#include "policy/text_table.h"

#include <culvert/reason.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ROUNDS 400
#define RULES_MAX 150
#define QUERIES 150

static const char *const domain_rules[] = {
	"full:a.example", "domain:example", "domain:b.a.example", "keyword:xam", "ample",
	"full:b.a.example", "dotless:host", "dotless:", "regexp:^a.*e$", "regexp:b\\.a\\.example$",
	"regexp:(foo|bar)", "regexp:exam?ple", "regexp:[ab]\\.exa", "keyword:a", "full:host",
	"regexp:^host[0-9]+$", "domain:test", "full:x.test", "keyword:zzz", "regexp:x{2}\\.tes",
	"domain:A.Test", "regexp:(?i)EXAMPLE", "regexp:(?i)example",
};
static const char *const names[] = {
	"a.example", "A.EXAMPLE", "b.a.example", "c.b.a.example", "example", "host", "host7",
	"x.test",
	"xx.test", "y.a.test", "foo", "bar.foo.org", "sample", "zzz", "nothing.org", "exaple",
};
static const char *const blocks[] = {
	"10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "10.1.2.3", "0.0.0.0/0", "192.0.2.0/24",
	"2001:db8::/32", "2001:db8:1::/48", "::/0", "geoip:private", "!10.0.0.0/8",
	"!2001:db8::/32",
	"::ffff:10.1.0.0/112",
};
static const char *const addresses[] = {
	"10.0.0.1", "10.1.0.1", "10.1.2.3", "10.1.2.4", "192.0.2.1", "8.8.8.8", "2001:db8::1",
	"2001:db8:1::1", "2001:db9::1", "255.255.255.255", "0.0.0.0", "::1",
};
static const char *const users[] = {"", "alice", "bob", "alice@test", "regexp:^a"};
static const char *const tags[] = {"one", "two", "three"};

#define ANY(list) list[(unsigned)rand() % (sizeof(list) / sizeof(list[0]))]
#define SOMETIMES(n) (rand() % (n) == 0)

static void add_address(struct cv_ip_matcher **matcher, const char *text)
{
	char error_text[160];

	if (!*matcher)
		*matcher = cv_ip_matcher_new();
	assert_int_equal(cv_ip_matcher_add(*matcher, text, error_text, sizeof(error_text)), 0);
}

static void add_rule(struct cv_router *router, uint32_t outbound)
{
	struct cv_route_rule rule = {.outbound = outbound};
	char error_text[160];

	while (SOMETIMES(2)) {
		if (!rule.domains)
			rule.domains = cv_domain_matcher_new();
		assert_int_equal(cv_domain_matcher_add(rule.domains, ANY(domain_rules), error_text,
						       sizeof(error_text)), 0);
	}
	while (SOMETIMES(3))
		add_address(&rule.addresses, ANY(blocks));
	while (SOMETIMES(4))
		assert_int_equal(cv_text_set_add(&rule.users, ANY(users), true, error_text,
						 sizeof(error_text)), 0);
	while (SOMETIMES(4))
		assert_int_equal(cv_text_set_add(&rule.inbound_tags, ANY(tags), false, error_text,
						 sizeof(error_text)), 0);
	if (SOMETIMES(5))
		assert_int_equal(cv_port_set_add(&rule.ports, 80, 90), 0);
	if (SOMETIMES(8))
		add_address(&rule.sources, "10.0.0.0/8");
	if (SOMETIMES(8))
		rule.protocols = CV_SNIFFED_TLS;
	rule.is_balanced = SOMETIMES(4);
	if (SOMETIMES(10) && !rule.is_balanced)
		rule.outbound = CV_OUTBOUND_MISSING;
	assert_int_equal(cv_router_add(router, &rule), 0);
}

static struct cv_router *random_router(unsigned seed)
{
	struct cv_router *router;
	unsigned count;

	srand(seed);
	router = cv_router_new((enum cv_route_strategy)(rand() % 3));
	assert_non_null(router);
	count = (unsigned)rand() % RULES_MAX;
	for (uint32_t i = 0; i < count; i++)
		add_rule(router, i);
	return router;
}

static void set_address(struct cv_sockaddr *address)
{
	struct cv_destination destination;

	assert_int_equal(cv_destination_set_text(&destination, ANY(addresses), 80), 0);
	assert_true(cv_destination_to_sockaddr(&destination, address));
}

static void compare(const struct cv_router *plain, const struct cv_router *indexed)
{
	struct cv_destination destination;
	struct cv_sockaddr source, resolved[2];
	struct cv_route_query query = {
		.inbound_tag = ANY(tags),
		.user_email = SOMETIMES(2) ? "" : users[3],
		.user_name = users[rand() % 3],
		.destination = &destination,
		.source = SOMETIMES(4) ? NULL : &source,
		.vless_route = CV_VLESS_ROUTE_NONE,
		.resolved_count = (size_t)(rand() % 3),
		.name = SOMETIMES(4) ? ANY(names) : NULL,
		.protocol = SOMETIMES(2) ? CV_SNIFFED_TLS : CV_SNIFFED_NOTHING,
	};
	uint32_t outbound[2] = {9999, 9999}, rule[2] = {9999, 9999};

	assert_int_equal(cv_destination_set_text(&destination,
						 SOMETIMES(2) ? ANY(names) : ANY(addresses),
						 SOMETIMES(2) ? 80 : 443), 0);
	set_address(&source);
	set_address(&resolved[0]);
	set_address(&resolved[1]);
	query.resolved = SOMETIMES(2) ? resolved : NULL;
	assert_int_equal(cv_router_pick(plain, &query, &outbound[0], &rule[0]),
			 cv_router_pick(indexed, &query, &outbound[1], &rule[1]));
	assert_int_equal(outbound[0], outbound[1]);
	assert_int_equal(rule[0], rule[1]);
}

static void test_as_without_index(void **state)
{
	(void)state;
	for (unsigned seed = 0; seed < ROUNDS; seed++) {
		struct cv_router *plain = random_router(seed), *indexed = random_router(seed);

		assert_int_equal(cv_router_bytes(indexed), 0);
		assert_int_equal(cv_router_finish(indexed), 0);
		assert_int_equal(cv_router_finish(indexed), 0);
		assert_true(cv_router_bytes(indexed) > 0);
		for (int i = 0; i < QUERIES; i++)
			compare(plain, indexed);
		cv_router_free(plain);
		cv_router_free(indexed);
	}
}

static void test_many_texts(void **state)
{
	struct cv_text_table table;
	char text[32];

	(void)state;
	assert_int_equal(cv_text_table_init(&table), 0);
	assert_int_equal(cv_text_table_find(&table, "x", 1), 0);
	for (uint32_t i = 0; i < 50000; i++) {
		const int len = snprintf(text, sizeof(text), "%x", i / 2);

		assert_int_equal(cv_text_table_add(&table, text, (size_t)len, i), 0);
	}
	for (uint32_t i = 0; i < 25000; i++) {
		const int len = snprintf(text, sizeof(text), "%x", i);
		uint32_t entry = cv_text_table_find(&table, text, (size_t)len);

		assert_int_equal(table.entries[entry].number, 2 * i + 1);
		entry = table.entries[entry].next;
		assert_int_equal(table.entries[entry].number, 2 * i);
		assert_int_equal(table.entries[entry].next, 0);
	}
	assert_int_equal(cv_text_table_find(&table, "not hex", 7), 0);
	assert_true(cv_text_table_bytes(&table) < 50000 * 40);
	cv_text_table_done(&table);
}

static uint64_t seen;

static void note(uint32_t number, void *context)
{
	(void)context;
	seen |= (uint64_t)1 << number;
}

static uint64_t words_in(const struct cv_keyword_trie *trie, const char *text)
{
	seen = 0;
	cv_keyword_trie_find(trie, text, note, NULL);
	return seen;
}

static void test_keywords(void **state)
{
	static const char *const words[] = {"he", "she", "hers", "his", "e", "\xff", "hershe"};
	struct cv_keyword_trie *trie = cv_keyword_trie_new();

	(void)state;
	assert_non_null(trie);
	assert_int_equal(words_in(trie, "she"), 0);
	for (uint32_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		assert_int_equal(cv_keyword_trie_add(trie, words[i], i), 0);
	assert_int_equal(words_in(trie, "ushers"), 1 << 0 | 1 << 1 | 1 << 2 | 1 << 4);
	assert_int_equal(words_in(trie, "hershe"), 1 << 0 | 1 << 1 | 1 << 2 | 1 << 4 | 1 << 6);
	assert_int_equal(words_in(trie, "x\xff"), 1 << 5);
	assert_int_equal(words_in(trie, "h"), 0);
	assert_int_equal(words_in(trie, ""), 0);
	assert_int_equal(cv_keyword_trie_add(trie, "", 7), 0);
	assert_int_equal(words_in(trie, ""), 1 << 7);
	assert_null(cv_keyword_trie_free(trie));
	assert_null(cv_keyword_trie_free(NULL));
}

static void test_blocks(void **state)
{
	struct cv_address_tree tree = {0};
	uint8_t first[16] = {0}, last[16] = {0};

	(void)state;
	cv_address_tree_finish(&tree);
	seen = 0;
	cv_address_tree_find(&tree, first, note, NULL);
	assert_int_equal(seen, 0);
	for (uint32_t i = 0; i < 40; i++) { /* 0-79, 2-77 ...; 100-101, 104-105 ... */
		first[0] = (uint8_t)(i < 20 ? 2 * i : 100 + 4 * (i - 20));
		last[0] = (uint8_t)(i < 20 ? 79 - 2 * i : first[0] + 1u);
		memset(last + 1, 0xff, 15);
		assert_int_equal(cv_address_tree_add(&tree, first, last, i), 0);
	}
	cv_address_tree_finish(&tree);
	for (unsigned a = 0; a < 256; a++) {
		uint8_t address[16] = {(uint8_t)a, 7};
		uint64_t expected = 0;

		for (unsigned i = 0; i < 20; i++)
			expected |= (uint64_t)(a >= 2 * i && a <= 79 - 2 * i) << i;
		for (unsigned i = 20; i < 40; i++)
			expected |= (uint64_t)(a / 2 == 50 + 2 * (i - 20)) << i;
		seen = 0;
		cv_address_tree_find(&tree, address, note, NULL);
		assert_true(seen == expected);
	}
	cv_address_tree_done(&tree);
}

static void test_too_many_rules(void **state)
{
	struct cv_router *router = cv_router_new(CV_ROUTE_AS_IS);
	struct cv_destination destination;
	struct cv_route_query query = {.inbound_tag = "",
				       .user_email = "",
				       .user_name = "",
				       .destination = &destination,
				       .vless_route = CV_VLESS_ROUTE_NONE};
	uint32_t outbound = 0, number = 0;

	(void)state;
	assert_non_null(router);
	for (uint32_t i = 0; i <= 65536; i++) {
		struct cv_route_rule rule = {.outbound = i};

		assert_int_equal(cv_port_set_add(&rule.ports, (uint16_t)i, (uint16_t)i), 0);
		assert_int_equal(cv_router_add(router, &rule), 0);
	}
	assert_int_equal(cv_router_finish(router), 0);
	assert_int_equal(cv_router_bytes(router), 0);
	assert_int_equal(cv_destination_set_text(&destination, "10.0.0.1", 65535), 0);
	assert_int_equal(cv_router_pick(router, &query, &outbound, &number), CV_ROUTE_OUTBOUND);
	assert_int_equal(number, 65535);
	cv_router_free(router);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_as_without_index), cmocka_unit_test(test_many_texts),
		cmocka_unit_test(test_keywords),	 cmocka_unit_test(test_blocks),
		cmocka_unit_test(test_too_many_rules),
	};

	return cmocka_run_group_tests_name("route_index", tests, NULL, NULL);
}
