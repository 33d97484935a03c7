// SPDX-License-Identifier: MIT
/*
 * test_vless_v1.c - request headers of version 1: the TCP vector of VLESS v1 18, each address type,
 * cuts at every byte, and what is refused: the rest of that version, with its vectors.
 */
#include "wire/vless_v1.h"

#include <culvert/reason.h>

#include "wire_bytes.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define ID "a684455cb14f11eabf0d42010aaa0003"
#define EXAMPLE_COM "02 0b 6578616d706c652e636f6d"
#define TCP_VECTOR "01" ID "00 01 01bb" EXAMPLE_COM

static struct bytes input;

static int read_hex(const char *hex, struct cv_vless_request *request, size_t *ret_len)
{
	bytes_set_hex(&input, hex);
	return cv_vless_v1_request_read(bytes_span(&input), request, ret_len);
}

static void test_vector(void **state)
{
	struct cv_vless_request request;
	struct cv_buffer out;
	size_t len, header_len;

	(void)state;
	bytes_set_hex(&input, TCP_VECTOR);
	header_len = input.len;
	assert_int_equal(read_hex(TCP_VECTOR "6869", &request, &len), 0);
	assert_int_equal(len, header_len); /* the payload is left */
	assert_int_equal(request.version, 1);
	assert_memory_equal(request.uuid, input.data + 1, CV_UUID_LEN);
	assert_int_equal(request.flow, CV_FLOW_NONE);
	assert_int_equal(request.command, CV_VLESS_TCP);
	assert_int_equal(request.destination.kind, CV_ADDRESS_DOMAIN);
	assert_string_equal(request.destination.domain, "example.com");
	assert_int_equal(request.destination.port, 443);

	cv_buffer_init(&out, CV_VLESS_REQUEST_MAX);
	assert_int_equal(cv_vless_v1_request_write(&request, &out), 0);
	assert_int_equal(cv_buffer_len(&out), header_len);
	assert_memory_equal(cv_buffer_bytes(&out), input.data, header_len);
	cv_buffer_done(&out);
}

static void test_addresses(void **state)
{
	struct cv_vless_request request;
	size_t len;

	(void)state;
	assert_int_equal(read_hex("01" ID "00 01 0035 01 c0000235", &request, &len), 0);
	assert_int_equal(request.destination.kind, CV_ADDRESS_IPV4);
	assert_memory_equal(request.destination.ipv4, "\300\0\2\065", 4);
	assert_int_equal(request.destination.port, 53);
	assert_int_equal(
		read_hex("01" ID "00 01 0fa0 03 20010db8000000000000000000000001", &request, &len),
		0);
	assert_int_equal(request.destination.kind, CV_ADDRESS_IPV6);
	/* written and read as IPv4 */
	assert_int_equal(
		read_hex("01" ID "00 01 0fa0 03 00000000000000000000ffff01020304", &request, &len),
		0);
	assert_int_equal(request.destination.kind, CV_ADDRESS_IPV4);
	assert_int_equal(read_hex("01" ID "00 01 0050 02 07 312e322e332e34", &request, &len), 0);
	assert_int_equal(request.destination.kind, CV_ADDRESS_IPV4);
}

/* Clients that are set to it say so of TCP as well. */
static void test_separate_channels_mean_nothing_for_tcp(void **state)
{
	struct cv_vless_request request;
	size_t len;

	(void)state;
	assert_int_equal(read_hex("01" ID "01 01 01bb" EXAMPLE_COM, &request, &len), 0);
	assert_int_equal(len, input.len);
	assert_string_equal(request.destination.domain, "example.com");
}

static void test_every_cut_asks_for_more(void **state)
{
	static const char *const headers[] = {
		TCP_VECTOR,
		"01" ID "01 01 0035 01 c0000235",
		"01" ID "00 01 ffff 03 20010db8000000000000000000000001",
	};
	struct cv_vless_request request, before;

	(void)state;
	memset(&before, 0xa5, sizeof(before));
	for (size_t at = 0; at < sizeof(headers) / sizeof(headers[0]); at++) {
		bytes_set_hex(&input, headers[at]);
		for (size_t cut = 0; cut < input.len; cut++) {
			size_t len = SIZE_MAX;

			request = before;
			assert_int_equal(cv_vless_v1_request_read(cv_span_of(input.data, cut),
								  &request, &len),
					 -EAGAIN);
			assert_int_equal(len, SIZE_MAX);
			assert_memory_equal(&request, &before, sizeof(request));
		}
	}
}

/* As soon as the bytes say so, and whatever follows. */
static void test_refused(void **state)
{
	static const struct {
		const char *hex;
		int reason;
	} cases[] = {
		{"00", CV_PEER_PROTOCOL_VERSION},
		{"02", CV_PEER_PROTOCOL_VERSION},
		{"ff" ID "00 01 01bb" EXAMPLE_COM, CV_PEER_PROTOCOL_VERSION},
		/* UDP in modes A and B, MUX, CRUMFURS, IP */
		{"01" ID "00 02 0035 01 c0000235 0035 01 c0000235 0004 70696e67", CV_PEER_COMMAND},
		{"01" ID "01 02 0035 01 c0000235 0004 70696e67", CV_PEER_COMMAND},
		{"01" ID "00 03 01bb" EXAMPLE_COM, CV_PEER_COMMAND},
		{"01" ID "00 04", CV_PEER_COMMAND},
		{"01" ID "00 05", CV_PEER_COMMAND},
		{"01" ID "00 00", CV_PEER_COMMAND},
		{"01" ID "00 ff", CV_PEER_COMMAND},
		/* LIST, message boundaries, real IP, reserved, POOL, inner encryption, PADDING */
		{"01" ID "02", CV_PEER_DECODE},
		{"01" ID "03", CV_PEER_DECODE},
		{"01" ID "04 01 01bb" EXAMPLE_COM, CV_PEER_DECODE},
		{"01" ID "05", CV_PEER_DECODE},
		{"01" ID "10 01 01 01 01bb" EXAMPLE_COM "0002 6869 0000", CV_PEER_DECODE},
		{"01" ID "11 41", CV_PEER_DECODE},
		{"01" ID "80 0000", CV_PEER_DECODE},
		{"01" ID "ff", CV_PEER_DECODE},
		/* no port, no such type, no name, no address */
		{"01" ID "00 01 0000", CV_PEER_ADDRESS},
		{"01" ID "00 01 0050 00", CV_PEER_ADDRESS},
		{"01" ID "00 01 0050 04", CV_PEER_ADDRESS},
		{"01" ID "00 01 0050 02 00", CV_PEER_ADDRESS},
		{"01" ID "00 01 0050 02 03 610062", CV_PEER_ADDRESS},
	};
	struct cv_vless_request request;

	(void)state;
	for (size_t at = 0; at < sizeof(cases) / sizeof(cases[0]); at++) {
		size_t len = SIZE_MAX;

		if (read_hex(cases[at].hex, &request, &len) != cases[at].reason)
			fail_msg("%s", cases[at].hex);
		assert_int_equal(len, SIZE_MAX);
	}
}

static void test_write_refuses_what_cannot_be_said(void **state)
{
	struct cv_vless_request request = {.version = 1, .command = CV_VLESS_TCP};
	struct cv_buffer out;

	(void)state;
	cv_buffer_init(&out, CV_VLESS_REQUEST_MAX);
	assert_int_equal(cv_vless_v1_request_write(&request, &out), CV_INTERNAL_STATE);
	assert_int_equal(cv_destination_set_text(&request.destination, "example.com", 0), 0);
	assert_int_equal(cv_vless_v1_request_write(&request, &out), CV_INTERNAL_STATE);
	request.destination.port = 443;
	request.flow = CV_FLOW_VISION;
	assert_int_equal(cv_vless_v1_request_write(&request, &out), CV_INTERNAL_STATE);
	request.flow = CV_FLOW_NONE;
	for (int command = CV_VLESS_UDP; command <= CV_VLESS_RVS; command++) {
		request.command = (enum cv_vless_command)command;
		assert_int_equal(cv_vless_v1_request_write(&request, &out), CV_INTERNAL_STATE);
	}
	assert_int_equal(cv_buffer_len(&out), 0);
	request.command = CV_VLESS_TCP;
	assert_int_equal(cv_vless_v1_request_write(&request, &out), 0);
	cv_buffer_done(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vector),
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_separate_channels_mean_nothing_for_tcp),
		cmocka_unit_test(test_every_cut_asks_for_more),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_write_refuses_what_cannot_be_said),
	};

	return cmocka_run_group_tests_name("vless_v1", tests, NULL, NULL);
}
