// SPDX-License-Identifier: MIT
/*
 * test_socks5_udp.c - SOCKS5 A6: the header in front of a datagram, read and written.
 */
#include "wire/socks5_udp.h"

#include <culvert/reason.h>

#include "wire_bytes.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct bytes input;

static void test_read(void **state)
{
	static const struct {
		const char *hex, *text;
		size_t header_bytes;
	} cases[] = {
		{"000000 01 01020304 0035 abcd", "1.2.3.4:53", 10},
		{"000000 01 01020304 0035", "1.2.3.4:53", 10}, /* a datagram may be empty */
		{"000000 03 07 612e62 2e632e64 01bb 00", "a.b.c.d:443", 14},
		{"000000 03 07 312e322e332e34 0035 00", "1.2.3.4:53", 14},
		{"000000 03 02 612e 0035", "a:53", 9},
		{"000000 04 00000000000000000000000000000001 0035 ff", "[::1]:53", 22},
		{"000000 04 00000000000000000000ffff01020304 0035", "1.2.3.4:53", 22},
	};

	(void)state;
	for (size_t at = 0; at < sizeof(cases) / sizeof(cases[0]); at++) {
		struct cv_destination destination;
		char text[CV_DESTINATION_TEXT];
		size_t header_bytes = 0;

		bytes_set_hex(&input, cases[at].hex);
		assert_int_equal(cv_socks5_udp_read(bytes_span(&input), &destination,
						    &header_bytes),
				 0);
		cv_destination_format(&destination, text);
		assert_string_equal(text, cases[at].text);
		assert_int_equal(header_bytes, cases[at].header_bytes);
	}
}

static void test_refused(void **state)
{
	static const struct {
		const char *hex;
		int reason;
	} cases[] = {
		{"", CV_PEER_DECODE},
		{"0000", CV_PEER_DECODE},
		{"000000", CV_PEER_DECODE},
		{"000100 01 01020304 0035", CV_PEER_DECODE},
		{"010000 01 01020304 0035", CV_PEER_DECODE},
		{"000001 01 01020304 0035 00", CV_PEER_FRAGMENT},
		{"000081 01 01020304 0035 00", CV_PEER_FRAGMENT},
		{"0000ff", CV_PEER_FRAGMENT},
		{"000000 00 01020304 0035", CV_PEER_ADDRESS},
		{"000000 02 01020304 0035", CV_PEER_ADDRESS},
		{"000000 ff", CV_PEER_ADDRESS},
		{"000000 03 00 0035", CV_PEER_ADDRESS},
		{"000000 03 02 6100 0035", CV_PEER_ADDRESS},
		{"000000 03 03 612e2e 0035", CV_PEER_ADDRESS},
		{"000000 03 03 612062 0035", CV_PEER_ADDRESS},
	};

	(void)state;
	for (size_t at = 0; at < sizeof(cases) / sizeof(cases[0]); at++) {
		struct cv_destination destination;
		size_t header_bytes;

		bytes_set_hex(&input, cases[at].hex);
		assert_int_equal(cv_socks5_udp_read(bytes_span(&input), &destination,
						    &header_bytes),
				 cases[at].reason);
	}
}

static void test_every_cut_is_refused(void **state)
{
	static const char *const headers[] = {
		"000000 01 01020304 0035", "000000 03 03 612e62 0035",
		"000000 04 00000000000000000000000000000001 0035"};

	(void)state;
	for (size_t at = 0; at < sizeof(headers) / sizeof(headers[0]); at++) {
		bytes_set_hex(&input, headers[at]);
		for (size_t len = 0; len < input.len; len++) {
			struct cv_destination destination;
			size_t header_bytes;

			assert_int_equal(cv_socks5_udp_read(cv_span_of(input.data, len),
							    &destination, &header_bytes),
					 CV_PEER_DECODE);
		}
	}
}

static void test_written_in_front(void **state)
{
	static const struct {
		const char *host, *hex;
	} cases[] = {
		{"1.2.3.4", "000000 01 01020304 0035"},
		{"::1", "000000 04 00000000000000000000000000000001 0035"},
		{"a.b", "000000 03 03 612e62 0035"},
	};
	uint8_t memory[CV_SOCKS5_UDP_HEADER_MAX + 2];
	uint8_t *const data = memory + CV_SOCKS5_UDP_HEADER_MAX;

	(void)state;
	for (size_t at = 0; at < sizeof(cases) / sizeof(cases[0]); at++) {
		struct cv_destination destination;

		memset(memory, 0xee, sizeof(memory));
		assert_int_equal(cv_destination_set_text(&destination, cases[at].host, 53), 0);
		bytes_set_hex(&input, cases[at].hex);
		assert_int_equal(cv_socks5_udp_write(&destination, data), input.len);
		assert_memory_equal(data - input.len, input.data, input.len);
		assert_int_equal(data[0], 0xee);
		assert_int_equal(data[-(int)input.len - 1], 0xee);
	}
}

static void test_longest_and_none(void **state)
{
	uint8_t memory[CV_SOCKS5_UDP_HEADER_MAX];
	struct cv_destination destination = {.kind = CV_ADDRESS_DOMAIN, .port = 1}, again;
	size_t header_bytes = 0;

	(void)state;
	memset(destination.domain, 'n', CV_DOMAIN_MAX);
	assert_int_equal(cv_socks5_udp_write(&destination, memory + sizeof(memory)),
			 sizeof(memory));
	assert_int_equal(cv_socks5_udp_read(cv_span_of(memory, sizeof(memory)), &again,
					    &header_bytes),
			 0);
	assert_int_equal(header_bytes, sizeof(memory));
	assert_string_equal(again.domain, destination.domain);
	destination.kind = CV_ADDRESS_NONE;
	assert_int_equal(cv_socks5_udp_write(&destination, memory + sizeof(memory)), 0);
	destination.kind = CV_ADDRESS_DOMAIN;
	destination.domain[0] = '\0';
	assert_int_equal(cv_socks5_udp_write(&destination, memory + sizeof(memory)), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_read),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_every_cut_is_refused),
		cmocka_unit_test(test_written_in_front),
		cmocka_unit_test(test_longest_and_none),
	};

	return cmocka_run_group_tests_name("socks5_udp", tests, NULL, NULL);
}
