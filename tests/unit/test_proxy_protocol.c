// SPDX-License-Identifier: MIT
/*
 * test_proxy_protocol.c - PROXY headers of both versions for every pair of families.
 */
#include "wire/proxy_protocol.h"

#include <culvert/reason.h>

#include "wire_bytes.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct cv_sockaddr ipv4(const char *text, uint16_t port)
{
	struct cv_sockaddr address = {.len_bytes = sizeof(address.in)};

	address.in.sin_family = AF_INET;
	address.in.sin_port = htons(port);
	assert_int_equal(inet_pton(AF_INET, text, &address.in.sin_addr), 1);
	return address;
}

static struct cv_sockaddr ipv6(const char *text, uint16_t port)
{
	struct cv_sockaddr address = {.len_bytes = sizeof(address.in6)};

	address.in6.sin6_family = AF_INET6;
	address.in6.sin6_port = htons(port);
	assert_int_equal(inet_pton(AF_INET6, text, &address.in6.sin6_addr), 1);
	return address;
}

static struct cv_sockaddr unix_socket(void)
{
	struct cv_sockaddr address = {.len_bytes = sizeof(sa_family_t)};

	address.un.sun_family = AF_UNIX;
	return address;
}

static void assert_written(int version, struct cv_sockaddr source, struct cv_sockaddr destination,
			   const void *expected, size_t len)
{
	struct cv_buffer out;

	cv_buffer_init(&out, 256);
	assert_int_equal(cv_proxy_protocol_write(version, &source, &destination, &out), 0);
	assert_int_equal(cv_buffer_len(&out), len);
	if (len > 0)
		assert_memory_equal(cv_buffer_bytes(&out), expected, len);
	cv_buffer_done(&out);
}

static void assert_v1(struct cv_sockaddr source, struct cv_sockaddr destination, const char *line)
{
	assert_written(1, source, destination, line, strlen(line));
}

static void assert_v2(struct cv_sockaddr source, struct cv_sockaddr destination, const char *hex)
{
	static struct bytes expected;

	bytes_set_hex(&expected, "0d0a0d0a000d0a515549540a");
	bytes_add_hex(&expected, hex);
	assert_written(2, source, destination, expected.data, expected.len);
}

static void test_v1(void **state)
{
	(void)state;
	assert_v1(ipv4("192.0.2.1", 56324), ipv4("198.51.100.7", 443),
		  "PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n");
	assert_v1(ipv6("2001:db8::1", 1), ipv6("2001:db8::2", 65535),
		  "PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n");
	assert_v1(ipv4("192.0.2.1", 1), ipv6("2001:db8::2", 2),
		  "PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 1 2\r\n");
	assert_v1(ipv6("2001:db8::2", 2), ipv4("192.0.2.1", 1),
		  "PROXY TCP6 2001:db8::2 ::ffff:192.0.2.1 2 1\r\n");
	/* A dual-stack listener sees v4 clients as v4-mapped. */
	assert_v1(ipv6("::ffff:192.0.2.1", 1), ipv6("::ffff:192.0.2.2", 2),
		  "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n");
	assert_v1(ipv6("::ffff:192.0.2.1", 1), ipv4("192.0.2.2", 2),
		  "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n");
	assert_v1(unix_socket(), ipv4("192.0.2.1", 1), "PROXY UNKNOWN\r\n");
	assert_v1(ipv4("192.0.2.1", 1), unix_socket(), "PROXY UNKNOWN\r\n");
}

static void test_v1_longest_line(void **state)
{
	(void)state;
	assert_v1(ipv6("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 65535),
		  ipv6("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 65535),
		  "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
		  "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n");
}

static void test_v2(void **state)
{
	(void)state;
	assert_v2(ipv4("192.0.2.1", 56324), ipv4("198.51.100.7", 443),
		  "21 11 000c c0000201 c6336407 dc04 01bb");
	assert_v2(ipv6("2001:db8::1", 1), ipv6("2001:db8::2", 2),
		  "21 21 0024 20010db8000000000000000000000001"
		  "20010db8000000000000000000000002 0001 0002");
	assert_v2(ipv4("192.0.2.1", 1), ipv6("2001:db8::2", 2),
		  "21 21 0024 00000000000000000000ffffc0000201"
		  "20010db8000000000000000000000002 0001 0002");
	assert_v2(unix_socket(), ipv4("192.0.2.1", 1), "20 00 0000");
}

static void test_versions(void **state)
{
	const struct cv_sockaddr address = ipv4("192.0.2.1", 1);
	struct cv_buffer out;

	(void)state;
	assert_written(0, address, address, NULL, 0);
	cv_buffer_init(&out, 256);
	assert_int_equal(cv_proxy_protocol_write(3, &address, &address, &out), CV_INTERNAL_STATE);
	assert_int_equal(cv_proxy_protocol_write(-1, &address, &address, &out), CV_INTERNAL_STATE);
	assert_int_equal(cv_buffer_len(&out), 0);
	cv_buffer_done(&out);
	cv_buffer_init(&out, 20);
	assert_int_equal(cv_proxy_protocol_write(1, &address, &address, &out), CV_PEER_TOO_LONG);
	cv_buffer_done(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_v1),
		cmocka_unit_test(test_v1_longest_line),
		cmocka_unit_test(test_v2),
		cmocka_unit_test(test_versions),
	};

	return cmocka_run_group_tests_name("proxy_protocol", tests, NULL, NULL);
}
