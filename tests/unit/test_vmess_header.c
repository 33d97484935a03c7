// SPDX-License-Identifier: MIT
/*
 * test_vmess_header.c - sealed headers: another program's are opened, ours by ourselves; cut and
 * changed at every byte.
 */
#include "protocol/vmess_header.h"

#include <culvert/reason.h>

#include "vectors/hex.h"
#include "vectors/vmess.h"
#include "wire_bytes.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct bytes input;

static int open_input(struct cv_vmess_request *ret_request, size_t *ret_len)
{
	HEX(command_key, 16, VMESS_COMMAND_KEY);

	return cv_vmess_request_open(bytes_span(&input), command_key, ret_request, ret_len);
}

static void test_open(void **state)
{
	struct cv_vmess_request request;
	size_t whole, len = 0;

	(void)state;
	bytes_set_hex(&input, VMESS_REQUEST);
	whole = input.len;
	bytes_add_fill(&input, 0x77, 5); /* the body */
	assert_int_equal(open_input(&request, &len), 0);
	assert_int_equal(len, whole);
	assert_string_equal(request.destination.domain, "example.com");
	assert_int_equal(request.response_mark, 0x5a);
	for (input.len = 0; input.len < whole; input.len++)
		assert_int_equal(open_input(&request, &len), -EAGAIN);
}

static void test_changed(void **state)
{
	struct cv_vmess_request request;
	size_t len = 99;

	(void)state;
	bytes_set_hex(&input, VMESS_REQUEST);
	for (size_t i = 0; i < input.len; i++) {
		input.data[i] ^= 0x40;
		assert_int_equal(open_input(&request, &len), CV_PEER_AUTH_FAILED);
		input.data[i] ^= 0x40;
	}
	assert_int_equal(len, 99);
}

static void test_round_trip(void **state)
{
	HEX(command_key, 16, VMESS_COMMAND_KEY);
	struct cv_vmess_request request = {
		.options = CV_VMESS_CHUNKS | CV_VMESS_MASKING,
		.cipher = CV_VMESS_CHACHA20_POLY1305,
		.command = CV_VMESS_TCP,
	}, opened;
	size_t len, shortest = SIZE_MAX, longest = 0;
	struct cv_buffer out;

	(void)state;
	assert_int_equal(cv_destination_set_text(&request.destination, "192.0.2.1", 80), 0);
	for (int i = 0; i < 64; i++) {
		cv_buffer_init(&out, 1024);
		assert_int_equal(cv_vmess_request_make(&request), 0);
		assert_int_equal(cv_vmess_request_seal(&request, command_key, VMESS_TIME_S, &out),
				 0);
		assert_int_equal(cv_vmess_request_open(cv_buffer_span(&out), command_key, &opened,
						       &len), 0);
		assert_int_equal(len, cv_buffer_len(&out));
		assert_memory_equal(opened.body_key, request.body_key, 16);
		assert_memory_equal(opened.body_iv, request.body_iv, 16);
		assert_int_equal(opened.response_mark, request.response_mark);
		assert_int_equal(opened.destination.port, 80);
		shortest = len < shortest ? len : shortest;
		longest = len > longest ? len : longest;
		cv_buffer_done(&out);
	}
	assert_true(shortest < longest); /* padding */
}

static void response_keys(struct cv_vmess_body_keys *ret_keys)
{
	struct cv_vmess_request request;
	size_t len;

	bytes_set_hex(&input, VMESS_REQUEST);
	assert_int_equal(open_input(&request, &len), 0);
	assert_int_equal(cv_vmess_response_keys(&request, ret_keys), 0);
}

static void test_response(void **state)
{
	struct cv_vmess_body_keys keys;
	struct cv_buffer out;
	size_t whole, len = 0;

	(void)state;
	response_keys(&keys);
	cv_buffer_init(&out, 1024);
	assert_int_equal(cv_vmess_response_seal(&keys, 0x5a, &out), 0);
	bytes_set_hex(&input, VMESS_RESPONSE);
	assert_int_equal(cv_buffer_len(&out), input.len);
	assert_memory_equal(cv_buffer_bytes(&out), input.data, input.len);
	cv_buffer_done(&out);

	bytes_set_hex(&input, VMESS_RESPONSE_COMMAND);
	whole = input.len;
	assert_int_equal(cv_vmess_response_open(bytes_span(&input), &keys, 0x5a, &len), 0);
	assert_int_equal(len, whole);
	assert_int_equal(cv_vmess_response_open(bytes_span(&input), &keys, 0x5b, &len),
			 CV_UPSTREAM_DECODE);
	for (input.len = 0; input.len < whole; input.len++)
		assert_int_equal(cv_vmess_response_open(bytes_span(&input), &keys, 0x5a, &len),
				 -EAGAIN);
	input.data[30] ^= 1;
	assert_int_equal(cv_vmess_response_open(bytes_span(&input), &keys, 0x5a, &len),
			 CV_UPSTREAM_BAD_RECORD);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_open),
		cmocka_unit_test(test_changed),
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_response),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
