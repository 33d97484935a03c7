// SPDX-License-Identifier: MIT
/*
 * test_vless.c - request and response headers: the example of VLESS 2, every command and address
 * type, refusals with the reason, cuts at every byte, addons as protobuf allows them.
 */
#include "wire/vless.h"

#include <culvert/reason.h>

#include "wire_bytes.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define UUID_HEX "000102030405060708090a0b0c0d0e0f"
#define VISION_ADDONS "12 0a10 78746c732d727072782d766973696f6e"
#define EXAMPLE "00" UUID_HEX VISION_ADDONS "01 01bb 02 0f 7777772e6578616d706c652e636f6d"

static struct bytes input;
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

static int read_hex(const char *hex, struct cv_vless_request *request)
{
	size_t len = SIZE_MAX;

	bytes_set_hex(&input, hex);
	const int error = cv_vless_request_read(bytes_span(&input), request, &len);

	assert_int_equal(len, error ? SIZE_MAX : input.len);
	return error;
}

static void test_example(void **state)
{
	static const uint8_t uuid[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
	struct cv_vless_request request;

	(void)state;
	assert_int_equal(read_hex(EXAMPLE, &request), 0);
	assert_memory_equal(request.uuid, uuid, sizeof(uuid));
	assert_int_equal(request.flow, CV_FLOW_VISION);
	assert_int_equal(request.command, CV_VLESS_TCP);
	assert_int_equal(request.destination.kind, CV_ADDRESS_DOMAIN);
	assert_string_equal(request.destination.domain, "www.example.com");
	assert_int_equal(request.destination.port, 443);

	assert_int_equal(cv_vless_request_write(&request, &out), 0);
	assert_int_equal(cv_buffer_len(&out), input.len);
	assert_memory_equal(cv_buffer_bytes(&out), input.data, input.len);
}

static void test_payload_is_not_consumed(void **state)
{
	struct cv_vless_request request;
	size_t len;

	(void)state;
	bytes_set_hex(&input, EXAMPLE);
	const size_t header_len = input.len;

	bytes_add_hex(&input, "474554202f");
	assert_int_equal(cv_vless_request_read(bytes_span(&input), &request, &len), 0);
	assert_int_equal(len, header_len);
}

static void test_every_cut_asks_for_more(void **state)
{
	static const char *const headers[] = {
		EXAMPLE,
		"00" UUID_HEX "00 02 0035 01 01020304",
		"00" UUID_HEX "00 01 ffff 03 20010db8000000000000000000000001",
		"00" UUID_HEX "00 03",
	};

	(void)state;
	for (size_t at = 0; at < sizeof(headers) / sizeof(headers[0]); at++) {
		bytes_set_hex(&input, headers[at]);
		for (size_t cut = 0; cut < input.len; cut++) {
			struct cv_vless_request request, before;
			size_t len = SIZE_MAX;

			memset(&request, 0xa5, sizeof(request));
			before = request;
			assert_int_equal(cv_vless_request_read(cv_span_of(input.data, cut),
							       &request, &len),
					 -EAGAIN);
			assert_int_equal(len, SIZE_MAX);
			assert_memory_equal(&request, &before, sizeof(request));
		}
	}
}

static void test_commands(void **state)
{
	struct cv_vless_request request;

	(void)state;
	assert_int_equal(read_hex("00" UUID_HEX "00 02 0035 01 08080404", &request), 0);
	assert_int_equal(request.command, CV_VLESS_UDP);
	assert_int_equal(request.destination.kind, CV_ADDRESS_IPV4);
	assert_memory_equal(request.destination.ipv4, "\x08\x08\x04\x04", 4);
	assert_int_equal(request.destination.port, 53);
	assert_int_equal(request.flow, CV_FLOW_NONE);
	/* Mux and reverse end at the command byte. */
	for (unsigned int command = 3; command <= 4; command++) {
		bytes_set_hex(&input, "00" UUID_HEX "00 00");
		input.data[18] = (uint8_t)command;
		size_t len;

		assert_int_equal(cv_vless_request_read(bytes_span(&input), &request, &len), 0);
		assert_int_equal(len, 19);
		assert_int_equal(request.command, command);
		assert_int_equal(request.destination.kind, CV_ADDRESS_NONE);
	}
	assert_int_equal(read_hex("00" UUID_HEX "00 00", &request), CV_PEER_COMMAND);
	assert_int_equal(read_hex("00" UUID_HEX "00 05", &request), CV_PEER_COMMAND);
	assert_int_equal(read_hex("00" UUID_HEX "00 ff 0050 01 01020304", &request),
			 CV_PEER_COMMAND);
}

static void test_version(void **state)
{
	struct cv_vless_request request;

	(void)state;
	assert_int_equal(read_hex("01", &request), CV_PEER_PROTOCOL_VERSION);
	assert_int_equal(read_hex("47", &request), CV_PEER_PROTOCOL_VERSION);
}

static int read_domain(const char *domain, struct cv_vless_request *request)
{
	bytes_set_hex(&input, "00" UUID_HEX "00 01 0050 02");
	bytes_add_fill(&input, (uint8_t)strlen(domain), 1);
	for (const char *c = domain; *c; c++)
		bytes_add_fill(&input, (uint8_t)*c, 1);
	size_t len;

	return cv_vless_request_read(bytes_span(&input), request, &len);
}

static void test_domains(void **state)
{
	static const struct {
		const char *domain;
		enum cv_address_kind kind;
	} accepted[] = {
		{"example.com", CV_ADDRESS_DOMAIN},   {"EXAMPLE-1.com", CV_ADDRESS_DOMAIN},
		{"_srv.a_b", CV_ADDRESS_DOMAIN},      {"1.2.3", CV_ADDRESS_DOMAIN},
		{"1.2.3.4", CV_ADDRESS_IPV4},	      {"[2001:db8::1]", CV_ADDRESS_IPV6},
		{"2001:db8::1", CV_ADDRESS_IPV6},     {"[::ffff:1.2.3.4]", CV_ADDRESS_IPV4},
		{"999.999.999.999", CV_ADDRESS_DOMAIN},
	};
	static const char *const refused[] = {
		"exa mple", "a/b", "a:b", "::1", "fe80::1", "[example.com]", "[", "[]", "a\x80",
		"\xc3\xa4.example", ".", "..", "a..", "1.2.3.4..", "a@b", "1.2.3.4:80", "%31",
		"a\nb",
	};
	struct cv_vless_request request;

	(void)state;
	for (size_t at = 0; at < sizeof(accepted) / sizeof(accepted[0]); at++) {
		assert_int_equal(read_domain(accepted[at].domain, &request), 0);
		assert_int_equal(request.destination.kind, accepted[at].kind);
		assert_int_equal(request.destination.port, 80);
		if (accepted[at].kind == CV_ADDRESS_DOMAIN)
			assert_string_equal(request.destination.domain, accepted[at].domain);
	}
	for (size_t at = 0; at < sizeof(refused) / sizeof(refused[0]); at++) {
		if (read_domain(refused[at], &request) != CV_PEER_ADDRESS)
			fail_msg("accepted: %s", refused[at]);
	}
}

static void test_addresses(void **state)
{
	struct cv_vless_request request;

	(void)state;
	assert_int_equal(read_hex("00" UUID_HEX "00 01 0000 01 01020304", &request), 0);
	assert_int_equal(request.destination.port, 0);
	assert_int_equal(read_hex("00" UUID_HEX "00 01 0050 03 00000000000000000000ffff01020304",
				  &request),
			 0);
	assert_int_equal(request.destination.kind, CV_ADDRESS_IPV4);
	assert_memory_equal(request.destination.ipv4, "\1\2\3\4", 4);
	/* Refused as soon as the bytes say so. */
	assert_int_equal(read_hex("00" UUID_HEX "00 01 0050 00", &request), CV_PEER_ADDRESS);
	assert_int_equal(read_hex("00" UUID_HEX "00 01 0050 04", &request), CV_PEER_ADDRESS);
	assert_int_equal(read_hex("00" UUID_HEX "00 01 0050 02 00", &request), CV_PEER_ADDRESS);
	assert_int_equal(read_hex("00" UUID_HEX "00 01 0050 02 03 610062", &request),
			 CV_PEER_ADDRESS);
}

static void test_longest_domain(void **state)
{
	struct cv_vless_request request;
	size_t len;

	(void)state;
	bytes_set_hex(&input, "00" UUID_HEX "00 01 0050 02 ff");
	bytes_add_fill(&input, 'a', 255);
	assert_int_equal(cv_vless_request_read(bytes_span(&input), &request, &len), 0);
	assert_int_equal(strlen(request.destination.domain), 255);
	assert_int_equal(cv_vless_request_write(&request, &out), 0);
	assert_memory_equal(cv_buffer_bytes(&out), input.data, input.len);
}

/* ---- addons ---- */

static int read_addons(const char *hex, struct cv_vless_request *request)
{
	bytes_set_hex(&input, "00" UUID_HEX "00");
	const size_t start = input.len;

	bytes_add_hex(&input, hex);
	input.data[start - 1] = (uint8_t)(input.len - start);
	bytes_add_hex(&input, "03");
	size_t len;

	return cv_vless_request_read(bytes_span(&input), request, &len);
}

#define VISION "78746c732d727072782d766973696f6e"

static void test_addons_accepted(void **state)
{
	static const struct {
		const char *hex;
		enum cv_vless_flow flow;
	} cases[] = {
		{"", CV_FLOW_NONE},
		{"0a00", CV_FLOW_NONE},
		{"0a10" VISION, CV_FLOW_VISION},
		{"8a00 10" VISION, CV_FLOW_VISION},	  /* tag longer than need be */
		{"0a9000" VISION, CV_FLOW_VISION},	  /* length longer than need be */
		{"0a0161 0a10" VISION, CV_FLOW_VISION},	  /* the last one wins */
		{"0a10" VISION "0a0161", CV_FLOW_OTHER},
		{"0a10" VISION "0a00", CV_FLOW_NONE},
		{"0a0f 78746c732d727072782d766973696f", CV_FLOW_OTHER},
		{"0a11" VISION "00", CV_FLOW_OTHER},
		{"0a10 58746c732d727072782d766973696f6e", CV_FLOW_OTHER},
		{"1203 010203 0a10" VISION, CV_FLOW_VISION}, /* Seed */
		{"1801 0a10" VISION, CV_FLOW_VISION},	  /* varint field */
		{"18ffffffffffffffffff01", CV_FLOW_NONE}, /* 64 bits */
		{"19 0102030405060708", CV_FLOW_NONE},
		{"1d 01020304", CV_FLOW_NONE},
		{"0801 0a10" VISION, CV_FLOW_VISION},	  /* field 1 as varint is unknown */
		{"1b 0a0161 1c", CV_FLOW_NONE},		  /* in a group it is another field 1 */
		{"1b 23 1801 24 1c 0a10" VISION, CV_FLOW_VISION},
		{"faffffff0f00", CV_FLOW_NONE},		  /* highest field number */
	};
	struct cv_vless_request request;

	(void)state;
	for (size_t at = 0; at < sizeof(cases) / sizeof(cases[0]); at++) {
		if (read_addons(cases[at].hex, &request) != 0)
			fail_msg("refused: %s", cases[at].hex);
		assert_int_equal(request.flow, cases[at].flow);
	}
}

static void test_addons_refused(void **state)
{
	static const char *const cases[] = {
		"0a",			    /* length missing */
		"0a05 61",		    /* bytes missing */
		"0affffffffffffffffff01",   /* length of 2^64-1 */
		"0a80808080808080808002",   /* 65 bits */
		"8080808080808080808001",   /* tag of eleven bytes */
		"18",			    /* varint missing */
		"1880",			    /* varint cut */
		"18ffffffffffffffffff02",   /* 65 bits */
		"19 01020304050607",	    /* fixed64 cut */
		"1d 010203",		    /* fixed32 cut */
		"00",			    /* field number 0 */
		"0200",			    /* field number 0, bytes */
		"82808080 1000",	    /* field number 2^29 */
		"1e",			    /* wire type 6 */
		"1f",			    /* wire type 7 */
		"1c",			    /* group end without start */
		"1b",			    /* group not ended */
		"1b 24",		    /* ended by another number */
		"1b 23 1c 24",		    /* crossed */
		"1b 0a05 61 1c",	    /* malformed inside */
	};
	struct cv_vless_request request;

	(void)state;
	for (size_t at = 0; at < sizeof(cases) / sizeof(cases[0]); at++) {
		if (read_addons(cases[at], &request) != CV_PEER_DECODE)
			fail_msg("accepted: %s", cases[at]);
	}
}

static void test_addons_deep_groups(void **state)
{
	struct cv_vless_request request;
	size_t len;

	(void)state;
	for (size_t depth = 120; depth <= 130; depth++) {
		bytes_set_hex(&input, "00" UUID_HEX);
		bytes_add_fill(&input, (uint8_t)(depth > 127 ? 255 : 2 * depth), 1);
		bytes_add_fill(&input, 0x1b, depth);
		bytes_add_fill(&input, 0x1c, (depth > 127 ? 255 - depth : depth));
		bytes_add_hex(&input, "03");
		assert_int_equal(cv_vless_request_read(bytes_span(&input), &request, &len),
				 depth > 127 ? CV_PEER_DECODE : 0);
	}
}

/* ---- writing ---- */

static void test_write_refuses_what_cannot_be_said(void **state)
{
	struct cv_vless_request request = {.command = CV_VLESS_TCP, .flow = CV_FLOW_NONE};

	(void)state;
	assert_int_equal(cv_vless_request_write(&request, &out), CV_INTERNAL_STATE);
	request.command = CV_VLESS_MUX;
	assert_int_equal(cv_vless_request_write(&request, &out), 0);
	request.flow = CV_FLOW_OTHER;
	assert_int_equal(cv_vless_request_write(&request, &out), CV_INTERNAL_STATE);
	assert_int_equal(cv_buffer_len(&out), 19);
}

static void test_write_round_trip(void **state)
{
	static const char *const headers[] = {
		"00" UUID_HEX "00 02 0035 01 01020304",
		"00" UUID_HEX "00 01 ffff 03 20010db8000000000000000000000001",
		"00" UUID_HEX VISION_ADDONS "03",
		"00" UUID_HEX "00 04",
	};
	struct cv_vless_request request;

	(void)state;
	for (size_t at = 0; at < sizeof(headers) / sizeof(headers[0]); at++) {
		assert_int_equal(read_hex(headers[at], &request), 0);
		cv_buffer_consume(&out, cv_buffer_len(&out));
		assert_int_equal(cv_vless_request_write(&request, &out), 0);
		assert_int_equal(cv_buffer_len(&out), input.len);
		assert_memory_equal(cv_buffer_bytes(&out), input.data, input.len);
	}
}

/* ---- response ---- */

static void test_response(void **state)
{
	size_t len = 0;

	(void)state;
	assert_int_equal(cv_vless_response_write(&out), 0);
	assert_int_equal(cv_buffer_len(&out), 2);
	assert_memory_equal(cv_buffer_bytes(&out), "\0\0", 2);
	assert_int_equal(cv_vless_response_read(cv_buffer_span(&out), &len), 0);
	assert_int_equal(len, 2);

	bytes_set_hex(&input, "00 05 0102030405 47");
	for (size_t cut = 0; cut < 7; cut++)
		assert_int_equal(cv_vless_response_read(cv_span_of(input.data, cut), &len),
				 -EAGAIN);
	assert_int_equal(cv_vless_response_read(bytes_span(&input), &len), 0);
	assert_int_equal(len, 7);
	assert_int_equal(cv_vless_response_read(cv_span_of("\1", 1), &len), CV_UPSTREAM_VERSION);
	assert_int_equal(cv_vless_response_read(cv_span_of("H", 1), &len), CV_UPSTREAM_VERSION);
}

int main(void)
{
#define OUT_TEST(name) cmocka_unit_test_setup_teardown(name, setup_out, teardown_out)
	const struct CMUnitTest tests[] = {
		OUT_TEST(test_example),
		cmocka_unit_test(test_payload_is_not_consumed),
		cmocka_unit_test(test_every_cut_asks_for_more),
		cmocka_unit_test(test_commands),
		cmocka_unit_test(test_version),
		cmocka_unit_test(test_domains),
		cmocka_unit_test(test_addresses),
		OUT_TEST(test_longest_domain),
		cmocka_unit_test(test_addons_accepted),
		cmocka_unit_test(test_addons_refused),
		cmocka_unit_test(test_addons_deep_groups),
		OUT_TEST(test_write_refuses_what_cannot_be_said),
		OUT_TEST(test_write_round_trip),
		OUT_TEST(test_response),
	};

	return cmocka_run_group_tests_name("vless", tests, NULL, NULL);
}
