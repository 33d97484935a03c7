// SPDX-License-Identifier: MIT
/* test_private_address.c - compat 7.1: the first and last address of each block, and its
 * neighbours. */
#include "policy/private_address.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static bool is_private(const char *text)
{
	struct cv_destination destination;
	struct cv_sockaddr address;

	assert_int_equal(cv_destination_set_text(&destination, text, 80), 0);
	assert_true(cv_destination_to_sockaddr(&destination, &address));
	return cv_address_is_private(&address);
}

static void test_private(void **state)
{
	static const char *const addresses[] = {
		"0.0.0.0",
		"0.255.255.255",
		"10.0.0.0",
		"10.255.255.255",
		"100.64.0.0",
		"100.127.255.255",
		"127.0.0.1",
		"127.255.255.255",
		"169.254.0.0",
		"169.254.169.254",
		"172.16.0.0",
		"172.31.255.255",
		"192.0.0.0",
		"192.0.0.255",
		"192.0.2.0",
		"192.0.2.255",
		"192.88.99.0",
		"192.88.99.255",
		"192.168.0.0",
		"192.168.255.255",
		"198.18.0.0",
		"198.19.255.255",
		"198.51.100.0",
		"198.51.100.255",
		"203.0.113.0",
		"203.0.113.255",
		"224.0.0.0",
		"239.255.255.255",
		"240.0.0.0",
		"255.255.255.255",
		"::",
		"::1",
		"fc00::",
		"fdff::1",
		"fe80::",
		"febf::1",
		"ff00::",
		"ff02::1",
		"::ffff:127.0.0.1",
		"::ffff:10.1.2.3",
		"64:ff9b::127.0.0.1", /* NAT64 */
		"64:ff9b::10.1.2.3",
		"64:ff9b::169.254.169.254",
		"64:ff9b:1::192.168.0.1",
		"64:ff9b:1:ffff::10.0.0.1",
		"2002:7f00:1::1", /* 6to4 */
		"2002:a9fe:a9fe::",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++)
		if (!is_private(addresses[i]))
			fail_msg("%s is private", addresses[i]);
}

static void test_public(void **state)
{
	static const char *const addresses[] = {
		"1.0.0.0",         "9.255.255.255",   "11.0.0.0",
		"100.63.255.255",  "100.128.0.0",     "126.255.255.255",
		"128.0.0.0",       "169.253.255.255", "169.255.0.0",
		"172.15.255.255",  "172.32.0.0",      "191.255.255.255",
		"192.0.1.0",       "192.0.3.0",       "192.88.98.255",
		"192.88.100.0",    "192.167.255.255", "192.169.0.0",
		"198.17.255.255",  "198.20.0.0",      "198.51.99.255",
		"198.51.101.0",    "203.0.112.255",   "203.0.114.0",
		"223.255.255.255", "8.8.8.8",         "::2",
		"2001:db8::1",     "fbff::1",         "fe00::1",
		"fe7f::1",         "fec0::1",         "feff::1",
		"::ffff:8.8.8.8",  "64:ff9b::8.8.8.8", "64:ff9b:1::8.8.8.8",
		"2002:808:808::1", "64:ff9b:2::10.0.0.1", "64:ff9b:0:1::10.0.0.1",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++)
		if (is_private(addresses[i]))
			fail_msg("%s is not private", addresses[i]);
}

/* As the kernel hands it over: a mapped address that nobody has normalised. */
static void test_mapped_sockaddr(void **state)
{
	struct cv_sockaddr address = {.len_bytes = sizeof(address.in6)};

	(void)state;
	address.in6.sin6_family = AF_INET6;
	address.in6.sin6_addr.s6_addr[10] = address.in6.sin6_addr.s6_addr[11] = 0xff;
	address.in6.sin6_addr.s6_addr[12] = 127;
	assert_true(cv_address_is_private(&address));
	address.in6.sin6_addr.s6_addr[12] = 8;
	assert_false(cv_address_is_private(&address));
}

static void test_unix(void **state)
{
	struct cv_sockaddr address;

	(void)state;
	assert_int_equal(cv_sockaddr_from_unix("/run/x", &address), 0);
	assert_true(cv_address_is_private(&address));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_private),
		cmocka_unit_test(test_public),
		cmocka_unit_test(test_mapped_sockaddr),
		cmocka_unit_test(test_unix),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
