// SPDX-License-Identifier: MIT
/* test_address.c - parsing, normal form and text of destinations and socket addresses. */
#include "base/address.h"

#include <culvert/reason.h>

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void check_text(const char *host, enum cv_address_kind kind, const char *expected)
{
	struct cv_destination destination;
	char text[CV_DESTINATION_TEXT];

	assert_int_equal(cv_destination_set_text(&destination, host, 443), 0);
	assert_int_equal(destination.kind, kind);
	cv_destination_format(&destination, text);
	assert_string_equal(text, expected);
}

static void test_texts_to_destinations(void **state)
{
	(void)state;
	check_text("192.0.2.7", CV_ADDRESS_IPV4, "192.0.2.7:443");
	check_text("2001:db8::1", CV_ADDRESS_IPV6, "[2001:db8::1]:443");
	check_text("[2001:DB8::1]", CV_ADDRESS_IPV6, "[2001:db8::1]:443");
	check_text("::ffff:192.0.2.7", CV_ADDRESS_IPV4, "192.0.2.7:443");
	check_text("[::ffff:c000:207]", CV_ADDRESS_IPV4, "192.0.2.7:443");
	check_text("::192.0.2.7", CV_ADDRESS_IPV6, "[::192.0.2.7]:443");
	check_text("example.com", CV_ADDRESS_DOMAIN, "example.com:443");
	check_text("Example.COM.", CV_ADDRESS_DOMAIN, "Example.COM:443");
	check_text("_dns.a-b.example", CV_ADDRESS_DOMAIN, "_dns.a-b.example:443");
	check_text("1.2.3.4.5", CV_ADDRESS_DOMAIN, "1.2.3.4.5:443");
	check_text("1.2.3.4.", CV_ADDRESS_IPV4, "1.2.3.4:443");
}

static void test_bad_texts(void **state)
{
	static const char *const bad[] = {"",     ".",          "a b",         "a/b",
					  "a:80", "[::1",       "[1.2.3.4]",   "[example.com]",
					  "[]",   "fe80::1%lo", "caf\xc3\xa9", "a\nb",
					  ":::",  "::1]",       "1.2.3.4:80",  "@unix",
					  "a..",  "a....",      "a.example.."};
	struct cv_destination destination = {.kind = CV_ADDRESS_DOMAIN, .port = 7, .domain = "x"};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(cv_destination_set_text(&destination, bad[i], 1), CV_PEER_ADDRESS);
	assert_string_equal(destination.domain, "x");
	assert_int_equal(destination.port, 7);
}

static void test_domain_length(void **state)
{
	struct cv_destination destination;
	char name[300];
	char text[CV_DESTINATION_TEXT];

	(void)state;
	memset(name, 'a', sizeof(name));
	name[255] = '\0';
	assert_int_equal(cv_destination_set_text(&destination, name, 65535), 0);
	cv_destination_format(&destination, text);
	assert_int_equal(strlen(text), 255 + strlen(":65535"));
	name[255] = '.';
	name[256] = '\0';
	assert_int_equal(cv_destination_set_text(&destination, name, 1), 0);
	assert_int_equal(strlen(destination.domain), 255);
	name[255] = 'a';
	assert_int_equal(cv_destination_set_text(&destination, name, 1), CV_PEER_ADDRESS);
}

static void test_normalize(void **state)
{
	struct cv_destination destination = {
		.kind = CV_ADDRESS_DOMAIN, .port = 80, .domain = "[::ffff:10.0.0.1]"};

	(void)state;
	cv_destination_normalize(&destination);
	assert_int_equal(destination.kind, CV_ADDRESS_IPV4);
	assert_int_equal(destination.port, 80);
	assert_memory_equal(destination.ipv4, "\x0a\x00\x00\x01", 4);

	destination = (struct cv_destination){.kind = CV_ADDRESS_DOMAIN, .domain = "a.example."};
	cv_destination_normalize(&destination);
	assert_string_equal(destination.domain, "a.example");
}

static void test_sockaddr_round_trip(void **state)
{
	static const char *const hosts[] = {"192.0.2.7", "2001:db8::1"};
	struct cv_destination destination;
	struct cv_destination back;
	struct cv_sockaddr address;
	char text[CV_DESTINATION_TEXT];
	char expected[CV_DESTINATION_TEXT];

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		cv_destination_set_text(&destination, hosts[i], 8443);
		assert_true(cv_destination_to_sockaddr(&destination, &address));
		assert_int_equal(cv_sockaddr_port(&address), 8443);
		assert_int_equal(address.len_bytes,
				 i == 0 ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6));
		cv_sockaddr_format(&address, text);
		cv_destination_format(&destination, expected);
		assert_string_equal(text, expected);
		assert_true(cv_sockaddr_to_destination(&address, &back));
		cv_destination_format(&back, text);
		assert_string_equal(text, expected);
	}
	cv_destination_set_text(&destination, "example.com", 1);
	assert_false(cv_destination_to_sockaddr(&destination, &address));
}

static void test_sockaddr_v4_mapped(void **state)
{
	struct cv_sockaddr address = {.len_bytes = sizeof(address.in6)};
	struct cv_destination destination;

	(void)state;
	address.in6.sin6_family = AF_INET6;
	address.in6.sin6_port = htons(53);
	inet_pton(AF_INET6, "::ffff:192.0.2.1", &address.in6.sin6_addr);
	assert_true(cv_sockaddr_to_destination(&address, &destination));
	assert_int_equal(destination.kind, CV_ADDRESS_IPV4);
	assert_int_equal(destination.port, 53);
}

static void test_unix_paths(void **state)
{
	const size_t header = offsetof(struct sockaddr_un, sun_path);
	struct cv_destination destination;
	struct cv_sockaddr address;
	char text[CV_DESTINATION_TEXT];

	(void)state;
	assert_int_equal(cv_sockaddr_from_unix("/run/site.sock", &address), 0);
	assert_int_equal(address.len_bytes, header + strlen("/run/site.sock") + 1);
	assert_string_equal(address.un.sun_path, "/run/site.sock");
	cv_sockaddr_format(&address, text);
	assert_string_equal(text, "unix:/run/site.sock");
	assert_false(cv_sockaddr_to_destination(&address, &destination));
	assert_int_equal(cv_sockaddr_port(&address), 0);

	assert_int_equal(cv_sockaddr_from_unix("@site", &address), 0);
	assert_int_equal(address.len_bytes, header + 5);
	assert_memory_equal(address.un.sun_path, "\0site", 5);
	cv_sockaddr_format(&address, text);
	assert_string_equal(text, "unix:@site");

	assert_int_equal(cv_sockaddr_from_unix("@@site", &address), 0);
	assert_int_equal(address.len_bytes, header + 108);
	assert_memory_equal(address.un.sun_path, "\0site\0", 6);
	cv_sockaddr_format(&address, text);
	assert_string_equal(text, "unix:@@site");
}

static void test_bad_unix_paths(void **state)
{
	static const char *const bad[] = {"", "@", "@@", "relative", "./x"};
	struct cv_sockaddr address;
	char longest[120] = "/";

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(cv_sockaddr_from_unix(bad[i], &address), CV_INTERNAL_CONFIG);
	memset(longest + 1, 'p', 106);
	assert_int_equal(cv_sockaddr_from_unix(longest, &address), 0);
	longest[107] = 'p';
	assert_int_equal(cv_sockaddr_from_unix(longest, &address), CV_INTERNAL_CONFIG);
}

static void test_hosts(void **state)
{
	static const struct {
		const char *one, *other;
		bool same, any;
	} cases[] = {
		{"1.2.3.4", "1.2.3.4", true, false},   {"1.2.3.4", "1.2.3.5", false, false},
		{"0.0.0.0", "::", false, true},	       {"::", "::", true, true},
		{"::1", "::1", true, false},	       {"::ffff:1.2.3.4", "1.2.3.4", true, false},
		{"a.test", "a.test", false, false},    {"0.0.0.0", "a.test", false, true},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct cv_destination one, other;

		assert_int_equal(cv_destination_set_text(&one, cases[i].one, 1), 0);
		assert_int_equal(cv_destination_set_text(&other, cases[i].other, 2), 0);
		assert_int_equal(cv_destination_same_host(&one, &other), cases[i].same);
		assert_int_equal(cv_destination_is_any(&one), cases[i].any);
	}
	assert_true(cv_destination_is_any(&(struct cv_destination){0}));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_texts_to_destinations),
		cmocka_unit_test(test_bad_texts),
		cmocka_unit_test(test_domain_length),
		cmocka_unit_test(test_normalize),
		cmocka_unit_test(test_sockaddr_round_trip),
		cmocka_unit_test(test_sockaddr_v4_mapped),
		cmocka_unit_test(test_hosts),
		cmocka_unit_test(test_unix_paths),
		cmocka_unit_test(test_bad_unix_paths),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
