// SPDX-License-Identifier: MIT
/*
 * test_proxy_protocol.c - PROXY headers of both versions for every pair of families.
 */
#include "wire/proxy_protocol.h"

#include <culvert/reason.h>

#include "wire_bytes.h"

#include <arpa/inet.h>
#include <errno.h>
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

/* ---- reading ------------------------------------------------------------------------------ */

static int read_from(const void *bytes, size_t len, size_t *ret_used,
		     char source[CV_DESTINATION_TEXT], char destination[CV_DESTINATION_TEXT])
{
	struct cv_sockaddr ends[2] = {0};
	const int result =
		cv_proxy_protocol_read(cv_span_of(bytes, len), ret_used, &ends[0], &ends[1]);

	source[0] = destination[0] = '\0';
	if (ends[0].len_bytes)
		cv_sockaddr_format(&ends[0], source);
	if (ends[1].len_bytes)
		cv_sockaddr_format(&ends[1], destination);
	return result;
}

/* Cut anywhere it is not whole; whole, it is no longer than it is. */
static void assert_reads(const void *bytes, size_t len, const char *source, const char *destination)
{
	char found[2][CV_DESTINATION_TEXT];
	uint8_t more[512];
	size_t used = 0;

	memcpy(more, bytes, len);
	memset(more + len, 'x', sizeof(more) - len);
	for (size_t cut = 0; cut < len; cut++)
		assert_int_equal(read_from(more, cut, &used, found[0], found[1]), -EAGAIN);
	for (size_t behind = 0; behind < 3; behind++) {
		assert_int_equal(read_from(more, len + behind, &used, found[0], found[1]), 0);
		assert_int_equal(used, len);
		assert_string_equal(found[0], source);
		assert_string_equal(found[1], destination);
	}
}

static void test_read_v1(void **state)
{
	static const struct {
		const char *line, *source, *destination;
	} lines[] = {
		{"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n", "192.0.2.1:56324",
		 "198.51.100.7:443"},
		{"PROXY TCP6 2001:db8::1 ::1 0 65535\r\n", "[2001:db8::1]:0", "[::1]:65535"},
		{"PROXY UNKNOWN\r\n", "", ""},
		{"PROXY UNKNOWN what ever\r\n", "", ""},
		{"PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
		 "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
		 "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
		 "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		assert_reads(lines[i].line, strlen(lines[i].line), lines[i].source,
			     lines[i].destination);
}

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"

static void test_read_v2(void **state)
{
	static const char ipv4_header[] =
		SIGNATURE "\x21\x11\0\x0c\xc0\0\2\1\xc6\x33\x64\7\xdc\4\1\xbb";
	static const char options[] =
		SIGNATURE "\x21\x11\0\x13\xc0\0\2\1\xc6\x33\x64\7\xdc\4\1\xbb\4\0\4\0\0\0\0";
	static const char local[] = SIGNATURE "\x20\0\0\0";
	static const char local_ipv4[] =
		SIGNATURE "\x20\x11\0\x0c\xc0\0\2\1\xc6\x33\x64\7\xdc\4\1\xbb";
	static const char unspec[] = SIGNATURE "\x21\0\0\2ab";
	char ipv6_header[16 + 36 + 1] = SIGNATURE "\x21\x21\0\x24";

	(void)state;
	assert_reads(ipv4_header, sizeof(ipv4_header) - 1, "192.0.2.1:56324", "198.51.100.7:443");
	assert_reads(options, sizeof(options) - 1, "192.0.2.1:56324", "198.51.100.7:443");
	assert_reads(local, sizeof(local) - 1, "", "");
	assert_reads(local_ipv4, sizeof(local_ipv4) - 1, "", "");
	assert_reads(unspec, sizeof(unspec) - 1, "", "");
	ipv6_header[16 + 15] = ipv6_header[16 + 31] = 1;
	ipv6_header[16 + 33] = 2;
	ipv6_header[16 + 35] = 3;
	assert_reads(ipv6_header, 16 + 36, "[::1]:2", "[::1]:3");
}

static void test_read_refused(void **state)
{
	static const char *const lines[] = {
		"GET / HTTP/1.1\r\n",
		"PROXY\r\n",
		"PROXX TCP4 1.1.1.1 2.2.2.2 1 2\r\n",
		"proxy TCP4 1.1.1.1 2.2.2.2 1 2\r\n",
		"PROXY TCP5 1.1.1.1 2.2.2.2 1 2\r\n",
		"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\n",
		"PROXY TCP4  1.1.1.1 2.2.2.2 1 2\r\n",
		"PROXY TCP4 1.1.1.1 2.2.2.2 1 2 \r\n",
		"PROXY TCP4 1.1.1.1 2.2.2.2 1 2 3\r\n",
		"PROXY TCP4 1.1.1.1 2.2.2.2 1\r\n",
		"PROXY TCP4 1.1.1.1\r\n",
		"PROXY TCP4\r\n",
		"PROXY \r\n",
		"PROXY TCP4 1.1.1.1 2.2.2.2 1 65536\r\n",
		"PROXY TCP4 1.1.1.1 2.2.2.2 01 2\r\n",
		"PROXY TCP4 1.1.1.1 2.2.2.2 +1 2\r\n",
		"PROXY TCP4 1.1.1.1 2.2.2.2 1 99999999999999999999\r\n",
		"PROXY TCP4 1.1.1 2.2.2.2 1 2\r\n",
		"PROXY TCP4 ::1 ::2 1 2\r\n",
		"PROXY TCP6 1.1.1.1 2.2.2.2 1 2\r\n",
		"PROXY UNKNOWN "
		"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
		"xxxxxxxxxxxxxxxxxxxxxxx\r\n",
	};
	static const struct {
		const char *bytes;
		size_t len;
		int result;
	} headers[] = {
		{SIGNATURE "\x11\x11\0\x0c", 16, CV_PEER_DECODE}, /* version 1 */
		{SIGNATURE "\x22\x11\0\x0c", 16, CV_PEER_DECODE}, /* no such command */
		{SIGNATURE "\x21\x11\x10\0", 16, CV_PEER_TOO_LONG},
		{SIGNATURE "\x21\x11\0\x0b" "12345678901", 27, CV_PEER_DECODE}, /* cut short */
		{SIGNATURE "\x21\x12\0\x0c" "123456789012", 28, CV_PEER_DECODE}, /* UDP */
		{SIGNATURE "\x21\x41\0\0", 16, CV_PEER_DECODE}, /* no such family */
		{"\r\n\r\n\0\r\nQUIT\r", 12, CV_PEER_DECODE},
		{"\r\n\r\n\1", 5, CV_PEER_DECODE},
	};
	char found[2][CV_DESTINATION_TEXT];
	size_t used;

	(void)state;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		assert_int_equal(
			read_from(lines[i], strlen(lines[i]), &used, found[0], found[1]),
			CV_PEER_DECODE);
	assert_int_equal(read_from("PROXY TCP4 1.1.1.1 2\0.2.2.2 1 2\r\n", 33, &used, found[0],
				   found[1]),
			 CV_PEER_DECODE);
	for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++)
		assert_int_equal(
			read_from(headers[i].bytes, headers[i].len, &used, found[0], found[1]),
			headers[i].result);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_v1),
		cmocka_unit_test(test_v1_longest_line),
		cmocka_unit_test(test_v2),
		cmocka_unit_test(test_versions),
		cmocka_unit_test(test_read_v1),
		cmocka_unit_test(test_read_v2),
		cmocka_unit_test(test_read_refused),
	};

	return cmocka_run_group_tests_name("proxy_protocol", tests, NULL, NULL);
}
