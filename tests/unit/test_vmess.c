// SPDX-License-Identifier: MIT
/*
 * test_vmess.c - VMess headers in clear: every command and address type, refusals with the reason,
 * cuts, checksum.
 */
#include "wire/vmess.h"

#include <culvert/reason.h>

#include "vectors/hex.h"
#include "vectors/vmess.h"
#include "wire_bytes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct bytes input;

/* The checksum as it should be now. */
static void sum_again(void)
{
	uint32_t hash = 2166136261u;

	for (size_t i = 0; i < input.len - 4; i++)
		hash = (hash ^ input.data[i]) * 16777619u;
	for (size_t i = 0; i < 4; i++)
		input.data[input.len - 4 + i] = (uint8_t)(hash >> 8 * (3 - i));
}

static int read_input(struct cv_vmess_request *ret_request)
{
	return cv_vmess_request_read(bytes_span(&input), ret_request);
}

static void write_gives(const struct cv_vmess_request *request, const char *padding_hex,
			const char *wanted)
{
	uint8_t padding[CV_VMESS_PADDING_MAX];
	const size_t padding_bytes = hex_decode(padding_hex, padding, sizeof(padding));
	struct cv_buffer out;

	cv_buffer_init(&out, 1024);
	assert_int_equal(cv_vmess_request_write(request, padding, padding_bytes, &out), 0);
	bytes_set_hex(&input, wanted);
	assert_int_equal(cv_buffer_len(&out), input.len);
	assert_memory_equal(cv_buffer_bytes(&out), input.data, input.len);
	cv_buffer_done(&out);
}

static void test_tcp(void **state)
{
	struct cv_vmess_request request;

	(void)state;
	bytes_set_hex(&input, VMESS_INSTRUCTION);
	assert_int_equal(read_input(&request), 0);
	assert_hex(request.body_iv, VMESS_IV);
	assert_hex(request.body_key, VMESS_KEY);
	assert_int_equal(request.response_mark, 0x5a);
	assert_int_equal(request.options, CV_VMESS_CHUNKS | CV_VMESS_MASKING | CV_VMESS_PADDING);
	assert_int_equal(request.cipher, CV_VMESS_AES_128_GCM);
	assert_int_equal(request.command, CV_VMESS_TCP);
	assert_string_equal(request.destination.domain, "example.com");
	assert_int_equal(request.destination.port, 443);
	write_gives(&request, "aabbcc", VMESS_INSTRUCTION);
}

static void test_mux_and_udp(void **state)
{
	struct cv_vmess_request request;

	(void)state;
	bytes_set_hex(&input, VMESS_INSTRUCTION_MUX);
	assert_int_equal(read_input(&request), 0);
	assert_int_equal(request.command, CV_VMESS_MUX);
	assert_int_equal(request.destination.kind, CV_ADDRESS_NONE);
	write_gives(&request, "", VMESS_INSTRUCTION_MUX);
	bytes_set_hex(&input, VMESS_INSTRUCTION_UDP);
	assert_int_equal(read_input(&request), 0);
	assert_int_equal(request.command, CV_VMESS_UDP);
	assert_int_equal(request.destination.kind, CV_ADDRESS_IPV6);
	assert_int_equal(request.destination.port, 53);
	write_gives(&request, "", VMESS_INSTRUCTION_UDP);
}

static void test_cuts(void **state)
{
	struct cv_vmess_request request;
	size_t whole;

	(void)state;
	bytes_set_hex(&input, VMESS_INSTRUCTION);
	whole = input.len;
	for (input.len = 0; input.len < whole; input.len++)
		assert_int_equal(read_input(&request), CV_PEER_DECODE);
	input.len = whole;
	bytes_add_fill(&input, 0, 1);
	assert_int_equal(read_input(&request), CV_PEER_DECODE);
}

static void test_refused(void **state)
{
	static const struct {
		size_t at;
		uint8_t value;
		int wanted;
	} changes[] = {
		{0, 2, CV_PEER_PROTOCOL_VERSION},
		{34, 0x1d, CV_PEER_DECODE}, /* sealed lengths */
		{34, 0x20, CV_PEER_DECODE}, /* of the future */
		{34, 0x09, CV_PEER_DECODE}, /* padding without masks */
		{35, 0x31, CV_PEER_DECODE}, /* AES-128-CFB */
		{35, 0x30, CV_PEER_DECODE},
		{35, 0x36, CV_PEER_DECODE},
		{35, 0x23, CV_PEER_DECODE}, /* a byte of padding too many */
		{37, 0, CV_PEER_COMMAND},
		{37, 4, CV_PEER_COMMAND},
		{40, 4, CV_PEER_ADDRESS},
		{41, 0, CV_PEER_ADDRESS},
	};
	struct cv_vmess_request request;

	(void)state;
	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		bytes_set_hex(&input, VMESS_INSTRUCTION);
		input.data[changes[i].at] = changes[i].value;
		sum_again();
		assert_int_equal(read_input(&request), changes[i].wanted);
	}
	bytes_set_hex(&input, VMESS_INSTRUCTION);
	input.data[input.len - 1] ^= 1;
	assert_int_equal(read_input(&request), CV_PEER_DECODE);
	bytes_set_hex(&input, VMESS_INSTRUCTION_UDP);
	input.data[34] = 0; /* none, and not in chunks either */
	sum_again();
	assert_int_equal(read_input(&request), CV_PEER_DECODE);
}

/* Bytes as they are, without chunks: connections only. */
static void test_bare(void **state)
{
	struct cv_vmess_request request;

	(void)state;
	bytes_set_hex(&input, VMESS_INSTRUCTION);
	input.data[34] = 0;
	input.data[35] = 0x30 | CV_VMESS_NONE;
	sum_again();
	assert_int_equal(read_input(&request), 0);
	assert_int_equal(request.cipher, CV_VMESS_NONE);
	assert_int_equal(request.options, 0);
	input.data[37] = CV_VMESS_UDP;
	sum_again();
	assert_int_equal(read_input(&request), CV_PEER_DECODE);
}

static void test_cannot_be_written(void **state)
{
	struct cv_vmess_request request = {.command = CV_VMESS_TCP};
	uint8_t padding[16] = {0};
	struct cv_buffer out;

	(void)state;
	cv_buffer_init(&out, 1024);
	assert_int_equal(cv_vmess_request_write(&request, NULL, 0, &out), CV_INTERNAL_STATE);
	request.command = CV_VMESS_MUX;
	assert_int_equal(cv_vmess_request_write(&request, padding, 16, &out), CV_INTERNAL_STATE);
	assert_int_equal(cv_buffer_len(&out), 0);
	cv_buffer_done(&out);
}

static void test_response(void **state)
{
	uint8_t response[CV_VMESS_RESPONSE_MIN];

	(void)state;
	cv_vmess_response_write(0x5a, response);
	assert_hex(response, "5a000000");
	assert_int_equal(cv_vmess_response_read(cv_span_of(response, 4), 0x5a), 0);
	assert_int_equal(cv_vmess_response_read(cv_span_of(response, 4), 0x5b),
			 CV_UPSTREAM_DECODE);
	for (size_t len = 0; len < 3; len++)
		assert_int_equal(cv_vmess_response_read(cv_span_of(response, len), 0x5a),
				 CV_UPSTREAM_DECODE);
	bytes_set_hex(&input, "5a 00 01 02 0909");
	assert_int_equal(cv_vmess_response_read(bytes_span(&input), 0x5a), 0);
	input.len--;
	assert_int_equal(cv_vmess_response_read(bytes_span(&input), 0x5a), CV_UPSTREAM_DECODE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tcp),	cmocka_unit_test(test_mux_and_udp),
		cmocka_unit_test(test_cuts),	cmocka_unit_test(test_refused),
		cmocka_unit_test(test_bare),
		cmocka_unit_test(test_cannot_be_written), cmocka_unit_test(test_response),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
