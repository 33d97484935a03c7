// SPDX-License-Identifier: MIT
/*
 * test_vless_udp.c - VLESS 4: a length in front of every datagram, and the choice between that and
 * XUDP.
 */
#include "wire/vless_udp.h"

#include <culvert/reason.h>

#include "wire_bytes.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct cv_destination target;

static int set_up(void **state)
{
	(void)state;
	return cv_destination_set_text(&target, "8.8.8.8", 53);
}

static void expect_next(struct cv_vless_udp *udp, struct cv_span *at, const char *text)
{
	struct cv_xudp_datagram datagram;
	size_t used;

	assert_int_equal(cv_vless_udp_read(udp, *at, &datagram, &used), 0);
	cv_span_skip(at, used);
	assert_int_equal(datagram.data_bytes, strlen(text));
	assert_memory_equal(at->data - strlen(text), text, strlen(text));
	assert_int_equal(datagram.address.kind, CV_ADDRESS_IPV4);
	assert_int_equal(datagram.address.port, 53);
}

static void test_three_in_one(void **state)
{
	static const char bytes[] = "\0\3one\0\0\0\0\0\3two\0\5three\0\4fo";
	struct cv_span at = cv_span_of(bytes, sizeof(bytes) - 1);
	struct cv_xudp_datagram datagram;
	struct cv_vless_udp udp;
	size_t used;

	(void)state;
	cv_vless_udp_plain(&udp, &target);
	expect_next(&udp, &at, "one");
	expect_next(&udp, &at, "two");
	expect_next(&udp, &at, "three");
	assert_int_equal(cv_vless_udp_read(&udp, at, &datagram, &used), -EAGAIN);
	assert_int_equal(used, 0);
}

static void test_cuts(void **state)
{
	static const char bytes[] = "\0\0\0\3one";

	(void)state;
	for (size_t have = 0; have < sizeof(bytes) - 1; have++) {
		struct cv_span at = cv_span_of(bytes, have);
		struct cv_xudp_datagram datagram;
		struct cv_vless_udp udp;
		size_t used;

		cv_vless_udp_plain(&udp, &target);
		assert_int_equal(cv_vless_udp_read(&udp, at, &datagram, &used), -EAGAIN);
		assert_int_equal(used, have >= 2 ? 2 : 0);
		at = cv_span_of(bytes + used, sizeof(bytes) - 1 - used);
		expect_next(&udp, &at, "one");
	}
}

/* The largest that can be said is read; what others have no room for is not written. */
static void test_sizes(void **state)
{
	static uint8_t much[2 + 65535] = {0xff, 0xff};
	struct cv_xudp_datagram datagram;
	struct cv_vless_udp udp;
	struct cv_buffer out;
	size_t used;

	(void)state;
	cv_vless_udp_plain(&udp, &target);
	assert_int_equal(cv_vless_udp_read(&udp, cv_span_of(much, sizeof(much)), &datagram, &used),
			 0);
	assert_int_equal(used, sizeof(much));
	assert_int_equal(datagram.data_bytes, 65535);
	cv_buffer_init(&out, 65536);
	assert_int_equal(cv_vless_udp_append(&udp, &target,
					     cv_span_of(much, CV_VLESS_UDP_DATA_MAX + 1), &out),
			 CV_PEER_TOO_LONG);
	assert_int_equal(cv_vless_udp_append(&udp, &target, cv_span_of(much, 0), &out), 0);
	assert_int_equal(cv_buffer_len(&out), 0);
	assert_int_equal(
		cv_vless_udp_append(&udp, &target, cv_span_of(much, CV_VLESS_UDP_DATA_MAX), &out),
		0);
	assert_int_equal(cv_buffer_len(&out), 2 + CV_VLESS_UDP_DATA_MAX);
	assert_memory_equal(cv_buffer_bytes(&out), "\x1f\xfe\xff\xff", 4);
	cv_buffer_done(&out);
}

static void test_full(void **state)
{
	struct cv_vless_udp udp;
	struct cv_buffer out;

	(void)state;
	cv_vless_udp_plain(&udp, &target);
	cv_buffer_init(&out, 8);
	assert_int_equal(cv_vless_udp_append(&udp, &target, cv_span_of("1234567", 7), &out),
			 CV_PEER_TOO_LONG);
	assert_int_equal(cv_buffer_len(&out), 0);
	cv_buffer_done(&out);
}

static void test_both_forms(void **state)
{
	struct cv_vless_udp client, server;
	struct cv_buffer out;

	(void)state;
	for (int is_xudp = 0; is_xudp < 2; is_xudp++) {
		struct cv_span at;

		cv_vless_udp_plain(&client, &target);
		cv_vless_udp_plain(&server, &target);
		if (is_xudp) {
			cv_vless_udp_xudp_client(&client, NULL);
			cv_vless_udp_xudp_server(&server);
		}
		cv_buffer_init(&out, 65536);
		for (int i = 0; i < 2; i++)
			assert_int_equal(
				cv_vless_udp_append(&client, &target, cv_span_of("word", 4), &out),
				0);
		at = cv_buffer_span(&out);
		expect_next(&server, &at, "word");
		expect_next(&server, &at, "word");
		assert_int_equal(at.len_bytes, 0);
		cv_buffer_done(&out);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_three_in_one), cmocka_unit_test(test_cuts),
		cmocka_unit_test(test_sizes),        cmocka_unit_test(test_full),
		cmocka_unit_test(test_both_forms),
	};

	return cmocka_run_group_tests(tests, set_up, NULL);
}
