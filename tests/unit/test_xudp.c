// SPDX-License-Identifier: MIT
/*
 * test_xudp.c - XUDP: the specification's frames in both directions, what is passed over, what ends
 * it, and what is somebody else's Mux.Cool.
 */
#include "wire/xudp.h"

#include <culvert/reason.h>

#include "wire_bytes.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define NEW "0014 0000 01 01 02 0035 01 08080808 1122334455667788 0002 aabb"
#define NEW_BARE "000c 0000 01 01 02 0035 01 08080808 0002 aabb"
#define KEEP_ADDRESS "000c 0000 02 01 02 0d96 01 01020304 0001 cc"
#define KEEP "0004 0000 02 01 0001 dd"
#define KEEP_NOTHING "0004 0000 02 00"
#define KEEP_ALIVE "0004 1234 04 01 0003 010203"
#define END "0004 0000 03 00"

static struct bytes input;

static struct cv_destination destination_of(const char *host, uint16_t port)
{
	struct cv_destination destination;

	assert_int_equal(cv_destination_set_text(&destination, host, port), 0);
	return destination;
}

/* The next datagram of @at, which goes behind it. */
static int next(struct cv_xudp *xudp, struct cv_span *at, const char *address, const char *hex)
{
	char text[CV_DESTINATION_TEXT];
	struct cv_xudp_datagram datagram;
	struct bytes data;
	size_t used;
	const int result = cv_xudp_read(xudp, *at, &datagram, &used);

	assert_true(used <= at->len_bytes);
	cv_span_skip(at, used);
	if (result)
		return result;
	bytes_set_hex(&data, hex);
	assert_int_equal(datagram.data_bytes, data.len);
	assert_memory_equal(at->data - data.len, data.data, data.len);
	cv_destination_format(&datagram.address, text);
	assert_string_equal(text, address);
	return 0;
}

static void test_is(void **state)
{
	static const struct {
		const char *hex;
		bool is;
	} cases[] = {
		{NEW, true},
		{"0014 0000 01 01 02", true},
		{"0014 0000 01 01", false},
		{"", false},
		{"0014 0001 01 01 02 0035", false},
		{"0014 0000 01 01 01 0035", false},
		{"0014 0000 02 01 02 0035", false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		bytes_set_hex(&input, cases[i].hex);
		assert_int_equal(cv_xudp_is(bytes_span(&input)), cases[i].is);
	}
}

static void test_server_reads(void **state)
{
	struct cv_xudp xudp;
	struct cv_span at;

	(void)state;
	bytes_set_hex(&input, NEW KEEP_ADDRESS KEEP_ALIVE KEEP_NOTHING KEEP END);
	at = bytes_span(&input);
	cv_xudp_server(&xudp);
	assert_int_equal(next(&xudp, &at, "8.8.8.8:53", "aabb"), 0);
	assert_true(xudp.has_global_id);
	assert_memory_equal(xudp.global_id, "\x11\x22\x33\x44\x55\x66\x77\x88", 8);
	assert_int_equal(next(&xudp, &at, "1.2.3.4:3478", "cc"), 0);
	assert_int_equal(next(&xudp, &at, "8.8.8.8:53", "dd"), 0);
	assert_int_equal(next(&xudp, &at, "", ""), CV_XUDP_END);
}

/* An empty datagram is one; a zero GlobalID is none. */
static void test_server_reads_little(void **state)
{
	struct cv_xudp xudp;
	struct cv_span at;

	(void)state;
	bytes_set_hex(&input, "0014 0000 01 01 02 0035 01 08080808 0000000000000000 0000"
			      "0004 0000 02 01 0000");
	at = bytes_span(&input);
	cv_xudp_server(&xudp);
	assert_int_equal(next(&xudp, &at, "8.8.8.8:53", ""), 0);
	assert_false(xudp.has_global_id);
	assert_int_equal(next(&xudp, &at, "8.8.8.8:53", ""), 0);
	assert_int_equal(next(&xudp, &at, "", ""), -EAGAIN);
}

/* A New without data opens it, too. */
static void test_server_reads_new_alone(void **state)
{
	struct cv_xudp xudp;
	struct cv_span at;

	(void)state;
	bytes_set_hex(&input, "000c 0000 01 00 02 0035 01 08080808" KEEP);
	at = bytes_span(&input);
	cv_xudp_server(&xudp);
	assert_int_equal(next(&xudp, &at, "8.8.8.8:53", "dd"), 0);
}

static void test_client_reads(void **state)
{
	struct cv_xudp xudp;
	struct cv_span at;

	(void)state;
	cv_xudp_client(&xudp, NULL);
	xudp.target = destination_of("9.9.9.9", 53);
	bytes_set_hex(&input, KEEP_ADDRESS KEEP_ALIVE KEEP NEW);
	at = bytes_span(&input);
	assert_int_equal(next(&xudp, &at, "1.2.3.4:3478", "cc"), 0);
	assert_int_equal(next(&xudp, &at, "9.9.9.9:53", "dd"), 0);
	assert_int_equal(next(&xudp, &at, "", ""), CV_XUDP_END);
}

/* Whatever the cut, the same comes out, and nothing of a frame that is not whole. */
static void test_cuts(void **state)
{
	(void)state;
	bytes_set_hex(&input, KEEP_ALIVE NEW);
	for (size_t have = 0; have < input.len; have++) {
		struct cv_span at = {.data = input.data, .len_bytes = have};
		struct cv_xudp xudp;

		cv_xudp_server(&xudp);
		assert_int_equal(next(&xudp, &at, "", ""), -EAGAIN);
		assert_false(xudp.is_open);
		at.len_bytes = input.len - (size_t)(at.data - input.data);
		assert_int_equal(next(&xudp, &at, "8.8.8.8:53", "aabb"), 0);
	}
}

static void test_refused(void **state)
{
	static const struct {
		const char *hex;
		int reason;
	} cases[] = {
		{"0014 0001 01 01 01 01bb 02 0b 6578616d706c652e636f6d 0002 6869",
		 CV_PEER_COMMAND}, /* Mux.Cool */
		{"0014 0000 01 01 01 01bb 02 0b 6578616d706c652e636f6d 0002 6869",
		 CV_PEER_COMMAND}, /* TCP */
		{KEEP, CV_PEER_COMMAND},
		{END, CV_XUDP_END},
		{NEW_BARE "0004 0001 02 01 0001 dd", CV_PEER_DECODE},
		{NEW_BARE NEW_BARE, CV_XUDP_END},
		{"0003 000001", CV_PEER_DECODE},
		{"0201 00000101", CV_PEER_DECODE},
		{"0004 0000 05 00", CV_PEER_DECODE},
		{"000c 0000 01 01 02 0035 07 08080808 0000", CV_PEER_ADDRESS},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct cv_xudp xudp;
		struct cv_span at;
		int result;

		bytes_set_hex(&input, cases[i].hex);
		at = bytes_span(&input);
		cv_xudp_server(&xudp);
		result = next(&xudp, &at, "8.8.8.8:53", "aabb");
		if (result == 0)
			result = next(&xudp, &at, "", "");
		assert_int_equal(result, cases[i].reason);
	}
}

static void expect_written(struct cv_buffer *out, const char *hex)
{
	struct bytes expected;

	bytes_set_hex(&expected, hex);
	assert_int_equal(cv_buffer_len(out), expected.len);
	assert_memory_equal(cv_buffer_bytes(out), expected.data, expected.len);
	cv_buffer_consume(out, expected.len);
}

static void test_client_writes(void **state)
{
	const struct cv_destination dns = destination_of("8.8.8.8", 53),
				    stun = destination_of("1.2.3.4", 3478);
	struct cv_buffer out;
	struct cv_xudp xudp;

	(void)state;
	cv_buffer_init(&out, 65536);
	cv_xudp_client(&xudp, (const uint8_t *)"\x11\x22\x33\x44\x55\x66\x77\x88");
	assert_int_equal(cv_xudp_append(&xudp, &dns, cv_span_of("\xaa\xbb", 2), &out), 0);
	expect_written(&out, NEW);
	assert_int_equal(cv_xudp_append(&xudp, &stun, cv_span_of("\xcc", 1), &out), 0);
	expect_written(&out, KEEP_ADDRESS);
	assert_int_equal(cv_xudp_append(&xudp, &stun, cv_span_of(NULL, 0), &out), 0);
	expect_written(&out, "000c 0000 02 01 02 0d96 01 01020304 0000");
	cv_xudp_client(&xudp, NULL);
	assert_int_equal(cv_xudp_append(&xudp, &dns, cv_span_of("\xaa\xbb", 2), &out), 0);
	expect_written(&out, NEW_BARE);
	assert_int_equal(cv_xudp_append_end(&out), 0);
	expect_written(&out, END);
	cv_buffer_done(&out);
}

static void test_server_writes(void **state)
{
	const struct cv_destination stun = destination_of("1.2.3.4", 3478), none = {0};
	uint8_t much[CV_XUDP_DATA_MAX + 1] = {0};
	struct cv_buffer out;
	struct cv_xudp xudp;

	(void)state;
	cv_buffer_init(&out, 65536);
	cv_xudp_server(&xudp);
	assert_int_equal(cv_xudp_append(&xudp, &stun, cv_span_of("\xcc", 1), &out), 0);
	expect_written(&out, KEEP_ADDRESS);
	assert_int_equal(cv_xudp_append(&xudp, &stun, cv_span_of(much, sizeof(much)), &out),
			 CV_PEER_TOO_LONG);
	assert_int_equal(cv_xudp_append(&xudp, &none, cv_span_of("\xcc", 1), &out),
			 CV_PEER_ADDRESS);
	assert_int_equal(cv_buffer_len(&out), 0);
	assert_int_equal(cv_xudp_append(&xudp, &stun, cv_span_of(much, sizeof(much) - 1), &out), 0);
	cv_buffer_done(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_is),
		cmocka_unit_test(test_server_reads),
		cmocka_unit_test(test_server_reads_little),
		cmocka_unit_test(test_server_reads_new_alone),
		cmocka_unit_test(test_client_reads),
		cmocka_unit_test(test_cuts),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_client_writes),
		cmocka_unit_test(test_server_writes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
