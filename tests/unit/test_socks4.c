// SPDX-License-Identifier: MIT
/*
 * test_socks4.c - SOCKS4 and 4a: requests whole and in pieces, what is refused, the two replies.
 */
#include "wire/socks4.h"

#include <culvert/reason.h>

#include "wire_bytes.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct bytes input;
static struct cv_socks4_request request;

static int result_of(const char *hex)
{
	bytes_set_hex(&input, hex);
	return cv_socks4_request_read(cv_span_of(input.data, input.len), &request);
}

static void assert_request(const char *hex, const char *destination, size_t left)
{
	char text[CV_DESTINATION_TEXT];

	assert_int_equal(result_of(hex), 0);
	cv_destination_format(&request.destination, text);
	assert_string_equal(text, destination);
	assert_int_equal(request.len_bytes, input.len - left);
	for (size_t i = 0; i < input.len - left; i++)
		assert_int_equal(cv_socks4_request_read(cv_span_of(input.data, i), &request),
				 -EAGAIN);
}

static void test_requests(void **state)
{
	(void)state;
	assert_request("04 01 0050 0a000001 00", "10.0.0.1:80", 0);
	assert_int_equal(request.command, CV_SOCKS4_CONNECT);
	assert_request("04 01 0050 0a000001 626f6200 474554", "10.0.0.1:80", 3);
	assert_request("04 02 01bb 00000001 626f6200 612e6200 00", "a.b:443", 1);
	assert_int_equal(request.command, CV_SOCKS4_BIND);
	assert_request("04 01 01bb 000000ff 00 312e322e332e3400", "1.2.3.4:443", 0);
	assert_request("04 01 01bb 00000100 00", "0.0.1.0:443", 0); /* an address, no mark of 4a */
}

static void test_refused(void **state)
{
	(void)state;
	assert_int_equal(result_of("05 01 00"), CV_PEER_PROTOCOL_VERSION);
	assert_int_equal(result_of("04 01 0000 0a000001 00"), CV_PEER_ADDRESS);
	assert_int_equal(result_of("04 01 0050 00000000 00"), CV_PEER_ADDRESS);
	assert_int_equal(result_of("04 01 0050 00000001 00 00"), CV_PEER_ADDRESS);
	assert_int_equal(result_of("04 01 0050 00000001 00 612f6200"), CV_PEER_ADDRESS);
}

static void test_long_texts(void **state)
{
	uint8_t long_id[8 + 257] = {4, 1, 0, 80, 10, 0, 0, 1};

	(void)state;
	memset(long_id + 8, 'a', 257);
	assert_int_equal(cv_socks4_request_read(cv_span_of(long_id, 8 + 255), &request), -EAGAIN);
	assert_int_equal(cv_socks4_request_read(cv_span_of(long_id, 8 + 256), &request),
			 CV_PEER_TOO_LONG);
	long_id[8 + 255] = 0;
	assert_int_equal(cv_socks4_request_read(cv_span_of(long_id, 8 + 257), &request), 0);
	assert_int_equal(request.len_bytes, 8 + 256);
}

static void test_replies(void **state)
{
	static const uint8_t granted[8] = {0, 0x5a}, rejected[8] = {0, 0x5b};
	struct cv_buffer out;

	(void)state;
	cv_buffer_init(&out, 64);
	assert_int_equal(cv_socks4_reply(true, &out), 0);
	assert_int_equal(cv_socks4_reply(false, &out), 0);
	assert_int_equal(cv_buffer_len(&out), 16);
	assert_memory_equal(cv_buffer_bytes(&out), granted, 8);
	assert_memory_equal(cv_buffer_bytes(&out) + 8, rejected, 8);
	cv_buffer_done(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_requests),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_long_texts),
		cmocka_unit_test(test_replies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
