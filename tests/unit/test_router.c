// SPDX-License-Identifier: MIT
/* test_router.c - compat 8: order, AND of conditions, OR of values, strategies, missing outbounds.
 */
#include "policy/router.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
	struct cv_router *router;
	struct cv_route_rule rule; /* being written */
	struct cv_destination destination;
	struct cv_sockaddr source, resolved[2];
	struct cv_route_query query;
	uint32_t outbound, rule_index;
};

static int setup(void **state)
{
	static struct fixture fixture;

	fixture = (struct fixture){.outbound = 99, .rule_index = 99};
	fixture.router = cv_router_new(CV_ROUTE_AS_IS);
	fixture.query = (struct cv_route_query){.inbound_tag = "in",
						.user_email = "",
						.user_name = "",
						.destination = &fixture.destination,
						.vless_route = CV_VLESS_ROUTE_NONE};
	assert_non_null(fixture.router);
	assert_int_equal(cv_destination_set_text(&fixture.destination, "1.2.3.4", 443), 0);
	*state = &fixture;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	cv_route_rule_done(&f->rule);
	cv_router_free(f->router);
	return 0;
}

static void set_strategy(struct fixture *f, enum cv_route_strategy strategy)
{
	cv_router_free(f->router);
	f->router = cv_router_new(strategy);
	assert_non_null(f->router);
}

static void add(struct fixture *f, uint32_t outbound)
{
	f->rule.outbound = outbound;
	assert_int_equal(cv_router_add(f->router, &f->rule), 0);
}

static void want_domain(struct fixture *f, const char *text)
{
	char error_text[160];

	if (!f->rule.domains)
		f->rule.domains = cv_domain_matcher_new();
	assert_int_equal(cv_domain_matcher_add(f->rule.domains, text, error_text, 160), 0);
}

static void want_address(struct cv_ip_matcher **matcher, const char *text)
{
	char error_text[160];

	if (!*matcher)
		*matcher = cv_ip_matcher_new();
	assert_int_equal(cv_ip_matcher_add(*matcher, text, error_text, 160), 0);
}

static void want_text(struct cv_text_set **set, const char *text)
{
	char error_text[160];

	assert_int_equal(cv_text_set_add(set, text, true, error_text, 160), 0);
}

static void target(struct fixture *f, const char *host, uint16_t port)
{
	assert_int_equal(cv_destination_set_text(&f->destination, host, port), 0);
}

static void address(struct cv_sockaddr *address, const char *host, uint16_t port)
{
	struct cv_destination destination;

	assert_int_equal(cv_destination_set_text(&destination, host, port), 0);
	assert_true(cv_destination_to_sockaddr(&destination, address));
}

static enum cv_route_result pick(struct fixture *f)
{
	return cv_router_pick(f->router, &f->query, &f->outbound, &f->rule_index);
}

static void goes_to(struct fixture *f, uint32_t outbound)
{
	assert_int_equal(pick(f), CV_ROUTE_OUTBOUND);
	assert_int_equal(f->outbound, outbound);
}

static void test_no_rules(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(pick(f), CV_ROUTE_DEFAULT);
	assert_int_equal(f->outbound, 99);
}

static void test_first_match_wins(void **state)
{
	struct fixture *f = *state;

	want_address(&f->rule.addresses, "9.9.9.9");
	add(f, 1);
	want_address(&f->rule.addresses, "1.0.0.0/8");
	add(f, 2);
	add(f, 3); /* catches all */
	goes_to(f, 2);
	assert_int_equal(f->rule_index, 1);
	target(f, "8.8.8.8", 1);
	goes_to(f, 3);
	target(f, "example.com", 1);
	goes_to(f, 3);
}

static void test_missing_outbound(void **state)
{
	struct fixture *f = *state;

	add(f, CV_OUTBOUND_MISSING);
	add(f, 1);
	assert_int_equal(pick(f), CV_ROUTE_MISSING);
	assert_int_equal(f->rule_index, 0);
	assert_int_equal(f->outbound, 99);
}

static void test_all_conditions(void **state)
{
	struct fixture *f = *state;

	want_text(&f->rule.inbound_tags, "in");
	want_text(&f->rule.users, "alice@x");
	assert_int_equal(cv_port_set_add(&f->rule.ports, 80, 80), 0);
	assert_int_equal(cv_port_set_add(&f->rule.ports, 440, 450), 0);
	want_address(&f->rule.sources, "10.0.0.0/8");
	add(f, 1);
	address(&f->source, "10.1.1.1", 5000);
	f->query.source = &f->source;
	f->query.user_email = "alice@x";
	goes_to(f, 1);

	f->query.inbound_tag = "other";
	assert_int_equal(pick(f), CV_ROUTE_DEFAULT);
	f->query.inbound_tag = "in";
	f->query.user_email = "bob@x";
	assert_int_equal(pick(f), CV_ROUTE_DEFAULT);
	f->query.user_email = "alice@x";
	f->destination.port = 451;
	assert_int_equal(pick(f), CV_ROUTE_DEFAULT);
	f->destination.port = 80;
	goes_to(f, 1);
	address(&f->source, "11.1.1.1", 5000);
	assert_int_equal(pick(f), CV_ROUTE_DEFAULT);
	f->query.source = NULL;
	assert_int_equal(pick(f), CV_ROUTE_DEFAULT);
}

static void test_users(void **state)
{
	struct fixture *f = *state;

	want_text(&f->rule.users, "alice");
	want_text(&f->rule.users, "regexp:@staff\\.example$");
	want_text(&f->rule.users, "regexp:.*x.*");
	add(f, 1);
	assert_int_equal(pick(f), CV_ROUTE_DEFAULT); /* nobody matches nothing */
	f->query.user_name = "alice";
	f->query.user_email = "a@b";
	goes_to(f, 1);
	f->query.user_name = "";
	assert_int_equal(pick(f), CV_ROUTE_DEFAULT);
	f->query.user_email = "bob@staff.example";
	goes_to(f, 1);
	f->query.user_email = "ALICE";
	assert_int_equal(pick(f), CV_ROUTE_DEFAULT);
}

static void test_ports_and_vless_route(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(cv_port_set_add(&f->rule.vless_routes, 0, 10), 0);
	assert_int_equal(cv_port_set_add(&f->rule.vless_routes, 65535, 65535), 0);
	add(f, 1);
	assert_int_equal(pick(f), CV_ROUTE_DEFAULT);
	f->query.vless_route = 0;
	goes_to(f, 1);
	f->query.vless_route = 65535;
	goes_to(f, 1);
	f->query.vless_route = 11;
	assert_int_equal(pick(f), CV_ROUTE_DEFAULT);

	assert_int_equal(cv_port_set_add(&f->rule.source_ports, 1000, 2000), 0);
	add(f, 2);
	address(&f->source, "::1", 1500);
	f->query.source = &f->source;
	goes_to(f, 2);
	address(&f->source, "::1", 2001);
	assert_int_equal(pick(f), CV_ROUTE_DEFAULT);
}

static void test_network(void **state)
{
	struct fixture *f = *state;

	f->rule.networks = CV_NETWORK_UDP;
	add(f, 1);
	assert_int_equal(pick(f), CV_ROUTE_DEFAULT);
	f->rule.networks = CV_NETWORK_UDP | CV_NETWORK_TCP;
	add(f, 2);
	goes_to(f, 2);
	f->query.network = CV_NETWORK_UDP;
	goes_to(f, 1);
}

static void test_domains_and_addresses(void **state)
{
	struct fixture *f = *state;

	want_domain(f, "domain:example.com");
	add(f, 1);
	want_address(&f->rule.addresses, "0.0.0.0/0");
	add(f, 2);
	goes_to(f, 2); /* an address matches no domain */
	target(f, "www.example.com", 1);
	goes_to(f, 1);
	target(f, "example.org", 1); /* AsIs: a domain has no address */
	assert_int_equal(pick(f), CV_ROUTE_DEFAULT);
}

static void test_inverted_needs_an_address(void **state)
{
	struct fixture *f = *state;

	want_address(&f->rule.addresses, "!geoip:private");
	add(f, 1);
	goes_to(f, 1);
	target(f, "example.com", 1);
	assert_int_equal(pick(f), CV_ROUTE_DEFAULT);
}

static void test_if_non_match(void **state)
{
	struct fixture *f = *state;

	set_strategy(f, CV_ROUTE_IP_IF_NON_MATCH);
	want_address(&f->rule.addresses, "10.0.0.0/8");
	add(f, 1);
	want_domain(f, "full:a.example");
	add(f, 2);
	target(f, "a.example", 1);
	goes_to(f, 2); /* some rule matched: nothing is resolved */
	target(f, "b.example", 1);
	assert_int_equal(pick(f), CV_ROUTE_RESOLVE);
	address(&f->resolved[0], "1.1.1.1", 0);
	address(&f->resolved[1], "10.0.0.1", 0);
	f->query.resolved = f->resolved;
	f->query.resolved_count = 1;
	assert_int_equal(pick(f), CV_ROUTE_DEFAULT);
	f->query.resolved_count = 2; /* one of its addresses is enough */
	goes_to(f, 1);
	f->query.resolved_count = 0; /* did not resolve: never ask again */
	assert_int_equal(pick(f), CV_ROUTE_DEFAULT);
	target(f, "8.8.8.8", 1);
	f->query.resolved = NULL;
	assert_int_equal(pick(f), CV_ROUTE_DEFAULT); /* an address needs no resolving */
}

static void test_on_demand(void **state)
{
	struct fixture *f = *state;

	set_strategy(f, CV_ROUTE_IP_ON_DEMAND);
	want_address(&f->rule.addresses, "10.0.0.0/8");
	want_text(&f->rule.inbound_tags, "other");
	add(f, 1);
	want_domain(f, "full:a.example");
	add(f, 2);
	want_address(&f->rule.addresses, "10.0.0.0/8");
	add(f, 3);
	target(f, "a.example", 1);
	goes_to(f, 2); /* before an address was needed */
	target(f, "b.example", 1);
	assert_int_equal(pick(f), CV_ROUTE_RESOLVE);
	address(&f->resolved[0], "10.0.0.1", 0);
	f->query.resolved = f->resolved;
	f->query.resolved_count = 1;
	goes_to(f, 3);
	f->query.resolved_count = 0;
	assert_int_equal(pick(f), CV_ROUTE_DEFAULT);
}

static void test_on_demand_without_need(void **state)
{
	struct fixture *f = *state;

	set_strategy(f, CV_ROUTE_IP_ON_DEMAND);
	want_domain(f, "full:a.example");
	add(f, 1);
	target(f, "b.example", 1);
	assert_int_equal(pick(f), CV_ROUTE_DEFAULT);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_no_rules),
		TEST(test_first_match_wins),
		TEST(test_missing_outbound),
		TEST(test_all_conditions),
		TEST(test_users),
		TEST(test_ports_and_vless_route),
		TEST(test_network),
		TEST(test_domains_and_addresses),
		TEST(test_inverted_needs_an_address),
		TEST(test_if_non_match),
		TEST(test_on_demand),
		TEST(test_on_demand_without_need),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
