// SPDX-License-Identifier: MIT
/*
 * test_socks5_client.c - SOCKS5 A1-A3, A8, A13 from the client's side, each answer in every
 * segmentation.
 */
#include "wire/socks5_client.h"

#include <culvert/reason.h>

#include "wire_bytes.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct bytes input, expected;
static struct cv_buffer out;

static int setup_out(void **state)
{
	(void)state;
	cv_buffer_init(&out, 4096);
	return 0;
}

static int teardown_out(void **state)
{
	(void)state;
	cv_buffer_done(&out);
	return 0;
}

static struct cv_destination destination_of(const char *host, uint16_t port)
{
	struct cv_destination destination;

	assert_int_equal(cv_destination_set_text(&destination, host, port), 0);
	return destination;
}

/* Feeds @hex in pieces; returns the result, and what was used through @ret_used. */
static int drive(const char *host, const char *user, const char *hex, size_t piece,
		 struct cv_socks5_client *client, size_t *ret_used)
{
	const struct cv_destination destination = destination_of(host, 443);
	size_t seen = 0, used_all = 0;
	int result = -EAGAIN;

	bytes_set_hex(&input, hex);
	cv_buffer_consume(&out, cv_buffer_len(&out));
	assert_int_equal(cv_socks5_client_start(client, &destination, user, "pw", &out), 0);
	while (result == -EAGAIN && seen < input.len) {
		size_t used;

		seen = input.len - seen < piece ? input.len : seen + piece;
		result = cv_socks5_client_read(
			client, cv_span_of(input.data + used_all, seen - used_all), &out, &used);
		used_all += used;
	}
	*ret_used = used_all;
	return result;
}

static void assert_out_hex(const char *hex)
{
	bytes_set_hex(&expected, hex);
	assert_int_equal(cv_buffer_len(&out), expected.len);
	assert_memory_equal(cv_buffer_bytes(&out), expected.data, expected.len);
}

#define REPLY_V4 "05 00 00 01 00000000 0000"
#define ASK_V4 "05 01 00 01 01020304 01bb"

static void test_success_in_every_segmentation(void **state)
{
	static const struct {
		const char *host, *user, *hex, *out;
	} cases[] = {
		{"1.2.3.4", "", "0500" REPLY_V4, "050100" ASK_V4},
		{"1.2.3.4", "bob", "0502 0100" REPLY_V4, "050102 01 03 626f62 02 7077" ASK_V4},
		{"a.b", "", "0500 05 00 07 03 02 4142 1234", "050100 05 01 00 03 03 612e62 01bb"},
		{"::1", "", "0500 05 00 00 04 00000000000000000000000000000001 0001",
		 "050100 05 01 00 04 00000000000000000000000000000001 01bb"},
		{"a.b", "", "0500 05 00 00 03 00 0000", "050100 05 01 00 03 03 612e62 01bb"},
	};

	(void)state;
	for (size_t at = 0; at < sizeof(cases) / sizeof(cases[0]); at++) {
		for (size_t piece = 1; piece < 32; piece++) {
			struct cv_socks5_client client;
			size_t used;

			assert_int_equal(drive(cases[at].host, cases[at].user, cases[at].hex, piece,
					       &client, &used),
					 0);
			assert_int_equal(client.state, CV_SOCKS5_CLIENT_DONE);
			assert_int_equal(used, input.len);
			assert_out_hex(cases[at].out);
		}
	}
}

/* Lock-step: nothing is said before its turn (A8). */
static void test_one_step_at_a_time(void **state)
{
	struct cv_socks5_client client;
	size_t used;

	(void)state;
	assert_int_equal(drive("1.2.3.4", "bob", "05", 1, &client, &used), -EAGAIN);
	assert_out_hex("050102");
	assert_int_equal(drive("1.2.3.4", "bob", "0502 01", 9, &client, &used), -EAGAIN);
	assert_out_hex("050102 01 03 626f62 02 7077");
	assert_int_equal(client.state, CV_SOCKS5_CLIENT_EXPECT_STATUS);
}

static void test_rest_is_the_destinations(void **state)
{
	struct cv_socks5_client client;
	size_t used;

	(void)state;
	assert_int_equal(drive("1.2.3.4", "", "0500" REPLY_V4 "686f", 99, &client, &used), 0);
	assert_int_equal(used, input.len - 2);
}

static void test_refusals(void **state)
{
	static const struct {
		const char *user, *hex;
		int reason;
	} cases[] = {
		{"", "04", CV_UPSTREAM_VERSION},
		{"", "48545450", CV_UPSTREAM_VERSION},
		{"", "05ff", CV_UPSTREAM_CREDENTIALS},
		{"", "0502", CV_UPSTREAM_DECODE}, /* not offered */
		{"bob", "0500", CV_UPSTREAM_DECODE}, /* a proxy that lets everybody in */
		{"bob", "0501", CV_UPSTREAM_DECODE},
		{"bob", "0502 0101", CV_UPSTREAM_CREDENTIALS},
		{"bob", "0502 01ff", CV_UPSTREAM_CREDENTIALS},
		{"bob", "0502 0500", CV_UPSTREAM_DECODE},
		{"", "0500 04", CV_UPSTREAM_VERSION},
		{"", "0500 0501", CV_UPSTREAM_SAYS_FAILURE},
		{"", "0500 0502", CV_UPSTREAM_SAYS_FORBIDDEN},
		{"", "0500 0503", CV_UPSTREAM_SAYS_NO_ROUTE},
		{"", "0500 0504", CV_UPSTREAM_SAYS_UNREACHABLE},
		{"", "0500 0505", CV_UPSTREAM_SAYS_REFUSED},
		{"", "0500 0506", CV_UPSTREAM_SAYS_TIMEOUT},
		{"", "0500 0507", CV_UPSTREAM_SAYS_COMMAND},
		{"", "0500 0508", CV_UPSTREAM_SAYS_ADDRESS_TYPE},
		{"", "0500 0509", CV_UPSTREAM_SAYS_FAILURE},
		{"", "0500 05ff", CV_UPSTREAM_SAYS_FAILURE},
		{"", "0500 050000 02", CV_UPSTREAM_DECODE},
		{"", "0500 050000 00", CV_UPSTREAM_DECODE},
	};

	(void)state;
	for (size_t at = 0; at < sizeof(cases) / sizeof(cases[0]); at++) {
		for (size_t piece = 1; piece < 8; piece++) {
			struct cv_socks5_client client;
			size_t used;

			assert_int_equal(drive("1.2.3.4", cases[at].user, cases[at].hex, piece,
					       &client, &used),
					 cases[at].reason);
			assert_int_equal(client.state, CV_SOCKS5_CLIENT_FAILED);
			assert_int_equal(cv_socks5_client_read(&client, cv_span_of("\5", 1), &out,
							       &used),
					 CV_INTERNAL_STATE);
		}
	}
}

static void test_longest(void **state)
{
	struct cv_socks5_client client;
	struct cv_destination destination = {.kind = CV_ADDRESS_DOMAIN, .port = 1};
	char text[257];
	size_t used;

	(void)state;
	memset(destination.domain, 'n', 255);
	memset(text, 'u', 256);
	text[256] = '\0';
	assert_int_equal(cv_socks5_client_start(&client, &destination, text, "", &out),
			 CV_INTERNAL_CONFIG);
	assert_int_equal(cv_socks5_client_start(&client, &destination, "u", text, &out),
			 CV_INTERNAL_CONFIG);
	text[255] = '\0';
	assert_int_equal(cv_buffer_len(&out), 0);
	assert_int_equal(cv_socks5_client_start(&client, &destination, text, text, &out), 0);
	assert_int_equal(cv_socks5_client_read(&client, cv_span_of("\5\2\1\0", 4), &out, &used),
			 -EAGAIN);
	assert_int_equal(cv_buffer_len(&out), 3 + 1 + 256 + 256 + 5 + 255 + 2);
	destination.kind = CV_ADDRESS_NONE;
	assert_int_equal(cv_socks5_client_start(&client, &destination, "", "", &out),
			 CV_PEER_ADDRESS);
}

static void test_associate(void **state)
{
	static const struct {
		const char *hex;
		enum cv_address_kind kind;
		const char *text;
	} cases[] = {
		{"0500 05 00 00 01 01020304 1234", CV_ADDRESS_IPV4, "1.2.3.4:4660"},
		{"0500 05 00 00 04 00000000000000000000000000000001 1234", CV_ADDRESS_IPV6,
		 "[::1]:4660"},
		{"0500 05 00 00 04 00000000000000000000ffff01020304 1234", CV_ADDRESS_IPV4,
		 "1.2.3.4:4660"},
		{"0500 05 00 00 03 02 4142 1234", CV_ADDRESS_NONE, NULL},
	};

	(void)state;
	for (size_t at = 0; at < sizeof(cases) / sizeof(cases[0]); at++) {
		struct cv_socks5_client client;
		char text[CV_DESTINATION_TEXT];
		size_t used;

		cv_buffer_consume(&out, cv_buffer_len(&out));
		assert_int_equal(cv_socks5_client_associate(&client, "", "", &out), 0);
		bytes_set_hex(&input, cases[at].hex);
		assert_int_equal(cv_socks5_client_read(&client, bytes_span(&input), &out, &used),
				 0);
		assert_out_hex("050100 05 03 00 01 00000000 0000");
		assert_int_equal(client.bound.kind, cases[at].kind);
		assert_int_equal(client.bound.port, 4660);
		if (!cases[at].text)
			continue;
		cv_destination_format(&client.bound, text);
		assert_string_equal(text, cases[at].text);
	}
}

static void test_bind(void **state)
{
	const struct cv_destination destination = destination_of("1.2.3.4", 443);
	struct cv_socks5_client client;
	char text[CV_DESTINATION_TEXT];
	size_t used;

	(void)state;
	assert_int_equal(cv_socks5_client_bind(&client, &destination, "", "", &out), 0);
	cv_socks5_client_await(&client); /* not yet */
	bytes_set_hex(&input, "0500 05 00 00 01 0a000001 1234 05 00 00 01 01020304 0050 686f");
	assert_int_equal(cv_socks5_client_read(&client, bytes_span(&input), &out, &used), 0);
	assert_out_hex("050100 05 02 00 01 01020304 01bb");
	assert_int_equal(used, 12);
	cv_destination_format(&client.bound, text);
	assert_string_equal(text, "10.0.0.1:4660");
	cv_socks5_client_await(&client);
	for (size_t len = 0; len < 10; len++)
		assert_int_equal(cv_socks5_client_read(&client, cv_span_of(input.data + 12, len),
						       &out, &used),
				 -EAGAIN);
	assert_int_equal(cv_socks5_client_read(&client, cv_span_of(input.data + 12, 12), &out,
					       &used),
			 0);
	assert_int_equal(used, 10);
	cv_destination_format(&client.bound, text);
	assert_string_equal(text, "1.2.3.4:80");
	cv_socks5_client_await(&client);
	assert_int_equal(cv_socks5_client_read(&client, cv_span_of("\5\6", 2), &out, &used),
			 CV_UPSTREAM_SAYS_TIMEOUT);
}

static void test_full_out_buffer(void **state)
{
	const struct cv_destination destination = destination_of("1.2.3.4", 1);
	struct cv_socks5_client client;
	struct cv_buffer tiny;
	size_t used;

	(void)state;
	cv_buffer_init(&tiny, 3);
	assert_int_equal(cv_socks5_client_start(&client, &destination, "", "", &tiny), 0);
	assert_int_equal(cv_socks5_client_read(&client, cv_span_of("\5\0", 2), &tiny, &used),
			 CV_PEER_TOO_LONG);
	assert_int_equal(client.state, CV_SOCKS5_CLIENT_FAILED);
	cv_buffer_done(&tiny);
}

int main(void)
{
#define OUT_TEST(name) cmocka_unit_test_setup_teardown(name, setup_out, teardown_out)
	const struct CMUnitTest tests[] = {
		OUT_TEST(test_success_in_every_segmentation),
		OUT_TEST(test_one_step_at_a_time),
		OUT_TEST(test_rest_is_the_destinations),
		OUT_TEST(test_refusals),
		OUT_TEST(test_longest),
		OUT_TEST(test_associate),
		OUT_TEST(test_bind),
		cmocka_unit_test(test_full_out_buffer),
	};

	return cmocka_run_group_tests_name("socks5_client", tests, NULL, NULL);
}
