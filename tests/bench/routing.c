// SPDX-License-Identifier: MIT
/*
 * routing.c - what a decision of the router costs with many rules and many names.
 *
 *   routing [RULES [NAMES]]        1000 and 100000
 *
 * Of the rules nine in ten are about names (full, domain, keyword, regexp), the others about
 * addresses, users and inbounds; the last one of each kind is hit as often as the first. Made names
 * look like real ones: two to four labels. Prints nanoseconds per decision for each kind of
 * destination, the time to load it all, and what it takes in memory. Status 1: a kind needs more
 * than 20 us.
 */
#include "policy/router.h"

#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LIMIT_NS 20000.0
#define DECISIONS 200000
#define QUERIES 4096

static uint64_t random_state = 88172645463325252u;

static uint64_t random_number(void) /* xorshift64: every run has the same names */
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

static double now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void made_label(char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		text[i] = (char)('a' + random_number() % 26);
	text[len] = '\0';
}

static void made_name(char *text, size_t size, size_t number)
{
	static const char *const ends[] = {"com", "net", "org", "co.uk", "example"};
	char label[16];

	made_label(label, 4 + random_number() % 9);
	snprintf(text, size, "%s%zx.%s", label, number,
		 ends[random_number() % (sizeof(ends) / sizeof(ends[0]))]);
}

static void must(int error, const char *what)
{
	if (error) {
		fprintf(stderr, "routing: %s: %d\n", what, error);
		exit(2);
	}
}

static void add_domain(struct cv_route_rule *rule, const char *kind, const char *value)
{
	char text[300], cause[160] = "";

	if (!rule->domains)
		rule->domains = cv_domain_matcher_new();
	snprintf(text, sizeof(text), "%s:%s", kind, value);
	must(cv_domain_matcher_add(rule->domains, text, cause, sizeof(cause)), text);
}

static void add_names(struct cv_route_rule *rule, char (*names)[64], size_t count)
{
	for (size_t i = 0; i < count; i++)
		add_domain(rule, i % 4 ? "domain" : "full", names[i]);
}

static void add_block(struct cv_route_rule *rule, size_t number)
{
	char text[64], cause[160];

	if (!rule->addresses)
		rule->addresses = cv_ip_matcher_new();
	snprintf(text, sizeof(text), "10.%zu.%zu.0/24", number / 256 % 256, number % 256);
	must(cv_ip_matcher_add(rule->addresses, text, cause, sizeof(cause)), text);
}

static void add_user(struct cv_route_rule *rule, size_t number)
{
	char text[64], cause[160];

	snprintf(text, sizeof(text), "user%zu@example", number);
	must(cv_text_set_add(&rule->users, text, true, cause, sizeof(cause)), text);
}

/* One in ten: a keyword and a pattern beside the names. */
static void add_search(struct cv_route_rule *rule, size_t number)
{
	char text[64];

	snprintf(text, sizeof(text), "word%zu", number);
	add_domain(rule, "keyword", text);
	snprintf(text, sizeof(text), "^[a-z]+-%zu\\.pattern\\.(net|org)$", number);
	add_domain(rule, "regexp", text);
}

static struct cv_router *made_router(size_t rule_count, char (*names)[64], size_t share)
{
	struct cv_router *router = cv_router_new(CV_ROUTE_AS_IS);
	size_t used = 0;

	for (size_t i = 0; i < rule_count; i++) {
		struct cv_route_rule rule = {.outbound = (uint32_t)(i % 10)};

		if (i % 10 == 9) {
			for (size_t b = 0; i % 20 == 9 && b < 8; b++)
				add_block(&rule, i * 8 + b);
			if (i % 20 != 9)
				add_user(&rule, i);
		} else {
			add_names(&rule, names + used, share);
			used += share;
			if (i % 10 == 0)
				add_search(&rule, i);
		}
		must(cv_router_add(router, &rule), "rule");
	}
	must(cv_router_finish(router), "index");
	return router;
}

static double measure(const struct cv_router *router, const char *what, char (*hosts)[96],
		      const char *user, enum cv_route_result expected)
{
	static struct cv_destination destinations[QUERIES];
	struct cv_route_query query = {.inbound_tag = "in", .user_email = user, .user_name = "",
				       .vless_route = CV_VLESS_ROUTE_NONE};
	uint32_t outbound, rule;
	size_t wrong = 0;
	double start, ns;

	for (size_t i = 0; i < QUERIES; i++)
		must(cv_destination_set_text(&destinations[i], hosts[i], 443), hosts[i]);
	start = now_s();
	for (size_t i = 0; i < DECISIONS; i++) {
		query.destination = &destinations[i % QUERIES];
		wrong += cv_router_pick(router, &query, &outbound, &rule) != expected;
	}
	ns = (now_s() - start) * 1e9 / DECISIONS;
	printf("  %-34s %8.0f ns%s\n", what, ns, ns > LIMIT_NS ? "  MORE THAN 20 us" : "");
	if (wrong) {
		fprintf(stderr, "routing: %s: %zu decisions are wrong\n", what, wrong);
		exit(2);
	}
	return ns;
}

int main(int argc, char **argv)
{
	const size_t rule_count = argc > 1 ? strtoul(argv[1], NULL, 10) : 1000;
	const size_t name_count = argc > 2 ? strtoul(argv[2], NULL, 10) : 100000;
	char (*names)[64] = calloc(name_count, sizeof(*names));
	static char hosts[QUERIES][96];
	const size_t share = name_count / (rule_count - rule_count / 10);
	struct cv_router *router;
	size_t before, after;
	double start, worst = 0, ns;

	if (!names || rule_count < 20 || name_count < rule_count)
		return 2;
	for (size_t i = 0; i < name_count; i++)
		made_name(names[i], sizeof(names[i]), i);
	before = mallinfo2().uordblks + mallinfo2().hblkhd;
	start = now_s();
	router = made_router(rule_count, names, share);
	printf("  %zu rules, %zu names: loaded in %.0f ms", rule_count, name_count,
	       (now_s() - start) * 1e3);
	after = mallinfo2().uordblks + mallinfo2().hblkhd;
	printf(", %zu bytes (%.0f a name), of which the index %zu\n", after - before,
	       (double)(after - before) / (double)name_count, cv_router_bytes(router));
#define MEASURE(what_, user_, expected_, ...) \
	do { \
		for (size_t i = 0; i < QUERIES; i++) \
			snprintf(hosts[i], sizeof(hosts[i]), __VA_ARGS__); \
		ns = measure(router, what_, hosts, user_, expected_); \
		worst = ns > worst ? ns : worst; \
	} while (0)
	MEASURE("listed name", "", CV_ROUTE_OUTBOUND, "%s",
		names[random_number() % (share * (rule_count - rule_count / 10))]);
	MEASURE("sub-domain of a listed name", "", CV_ROUTE_OUTBOUND, "www.cdn.%s",
		names[random_number() % (rule_count - rule_count / 10) * share + 1]);
	MEASURE("name that is not listed", "", CV_ROUTE_DEFAULT, "www.host%zu.nowhere.invalid", i);
	MEASURE("name with a keyword", "", CV_ROUTE_OUTBOUND, "a.xword%zux.invalid",
		random_number() % (rule_count / 10) * 10);
	MEASURE("name that a pattern matches", "", CV_ROUTE_OUTBOUND, "abc-%zu.pattern.org",
		random_number() % (rule_count / 10) * 10);
	MEASURE("name that no pattern matches", "", CV_ROUTE_DEFAULT, "1-%zu.pattern.com", i);
	MEASURE("address in a block", "", CV_ROUTE_OUTBOUND, "10.%zu.%zu.7",
		(9 + 20 * (i % (rule_count / 20))) * 8 / 256 % 256,
		(9 + 20 * (i % (rule_count / 20))) * 8 % 256);
	MEASURE("address in none", "", CV_ROUTE_DEFAULT, "198.51.%zu.%zu", i / 256 % 256, i % 256);
	MEASURE("the last listed user", "user999@example",
		rule_count == 1000 ? CV_ROUTE_OUTBOUND : CV_ROUTE_DEFAULT,
		"host%zu.nowhere.invalid", i);
	cv_router_free(router);
	free(names);
	return worst > LIMIT_NS;
}
