// SPDX-License-Identifier: MIT
/*
 * test_mux.c - frames of Mux.Cool: the specification's vectors in both directions, what must be
 * refused, padding, cuts, and the two things that may stand behind a New's target.
 */
#include "wire/mux.h"

#include <culvert/reason.h>

#include "wire_bytes.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct bytes input;

static struct cv_mux_frame read_as(enum cv_mux_carrier carrier, const char *hex, size_t *ret_len)
{
	struct cv_mux_frame frame;

	memset(&frame, 0xee, sizeof(frame)); /* nothing of it may stay */
	bytes_set_hex(&input, hex);
	assert_int_equal(cv_mux_frame_read(bytes_span(&input), carrier, &frame, ret_len), 0);
	assert_int_equal(*ret_len + frame.data_bytes, input.len);
	return frame;
}

static struct cv_mux_frame read_hex(const char *hex)
{
	size_t len = 0;

	return read_as(CV_MUX_FORWARD, hex, &len);
}

static void assert_address(const struct cv_destination *address, const char *expected)
{
	char text[CV_DESTINATION_TEXT];

	cv_destination_format(address, text);
	assert_string_equal(text, expected);
}

static struct cv_mux_frame frame_of(enum cv_mux_status status, uint16_t session,
				    enum cv_mux_network network, const char *host, uint16_t port)
{
	struct cv_mux_frame frame = {.status = status, .session = session, .network = network};

	if (host)
		assert_int_equal(cv_destination_set_text(&frame.address, host, port), 0);
	return frame;
}

static void assert_written(const struct cv_mux_frame *frame, enum cv_mux_carrier carrier,
			   const char *data_hex, const char *hex)
{
	struct cv_buffer out;
	struct bytes data;

	cv_buffer_init(&out, sizeof(input.data));
	bytes_set_hex(&data, data_hex ? data_hex : "");
	bytes_set_hex(&input, hex);
	assert_int_equal(cv_mux_frame_append(*frame, carrier,
					     cv_span_of(data_hex ? data.data : NULL, data.len),
					     &out),
			 0);
	assert_int_equal(cv_buffer_len(&out), input.len);
	assert_memory_equal(cv_buffer_bytes(&out), input.data, input.len);
	cv_buffer_done(&out);
}

static void test_new(void **state)
{
	static const char *const hex =
		"0014 0001 01 01 01 01bb 02 0b 6578616d706c652e636f6d 0002 6869";
	struct cv_mux_frame frame = read_hex(hex);

	(void)state;
	assert_int_equal(frame.status, CV_MUX_NEW);
	assert_int_equal(frame.session, 1);
	assert_true(frame.has_data);
	assert_false(frame.is_error);
	assert_int_equal(frame.data_bytes, 2);
	assert_int_equal(frame.network, CV_MUX_TCP);
	assert_address(&frame.address, "example.com:443");
	assert_false(frame.has_global_id);
	assert_int_equal(frame.source_network, CV_MUX_NO_NETWORK);
	frame = frame_of(CV_MUX_NEW, 1, CV_MUX_TCP, "example.com", 443);
	assert_written(&frame, CV_MUX_FORWARD, "6869", hex);
	assert_written(&frame, CV_MUX_FORWARD, NULL,
		       "0014 0001 01 00 01 01bb 02 0b 6578616d706c652e636f6d");
}

static void test_keep(void **state)
{
	struct cv_mux_frame frame = read_hex("0004 0001 02 01 0005 68656c6c6f");

	(void)state;
	assert_int_equal(frame.status, CV_MUX_KEEP);
	assert_int_equal(frame.data_bytes, 5);
	assert_int_equal(frame.network, CV_MUX_NO_NETWORK);
	assert_int_equal(frame.address.kind, CV_ADDRESS_NONE);
	assert_written(&frame, CV_MUX_FORWARD, "68656c6c6f", "0004 0001 02 01 0005 68656c6c6f");
	frame = read_hex("0004 ffff 02 00");
	assert_int_equal(frame.session, 0xffff);
	assert_false(frame.has_data);
	frame = read_hex("0004 0001 02 01 0000"); /* an empty datagram */
	assert_true(frame.has_data);
	assert_int_equal(frame.data_bytes, 0);
}

static void test_end(void **state)
{
	struct cv_mux_frame frame = read_hex("0004 0001 03 00");

	(void)state;
	assert_int_equal(frame.status, CV_MUX_END);
	assert_false(frame.is_error);
	assert_written(&frame, CV_MUX_FORWARD, NULL, "0004 0001 03 00");
	frame = read_hex("0004 0001 03 02");
	assert_true(frame.is_error);
	assert_written(&frame, CV_MUX_FORWARD, NULL, "0004 0001 03 02");
	frame = read_hex("0004 0001 03 ff 0001 00"); /* unknown options are ignored */
	assert_true(frame.is_error);
	assert_int_equal(frame.data_bytes, 1);
	frame = read_hex("0004 0000 04 01 0003 000000");
	assert_int_equal(frame.status, CV_MUX_KEEP_ALIVE);
	assert_int_equal(frame.data_bytes, 3);
}

static void test_xudp(void **state)
{
	static const uint8_t id[8] = {0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88};
	static const char *const hex =
		"0014 0000 01 01 02 0035 01 08080808 1122334455667788 0002 aabb";
	struct cv_mux_frame frame = read_hex(hex);

	(void)state;
	assert_int_equal(frame.network, CV_MUX_UDP);
	assert_address(&frame.address, "8.8.8.8:53");
	assert_true(frame.has_global_id);
	assert_memory_equal(frame.global_id, id, sizeof(id));
	assert_written(&frame, CV_MUX_FORWARD, "aabb", hex);

	frame = read_hex("000c 0000 02 01 02 0d96 01 01020304 0001 cc");
	assert_int_equal(frame.network, CV_MUX_UDP);
	assert_address(&frame.address, "1.2.3.4:3478");
	assert_written(&frame, CV_MUX_FORWARD, "cc", "000c 0000 02 01 02 0d96 01 01020304 0001 cc");
}

static void test_global_id_where_it_counts(void **state)
{
	static const char *const none[] = {
		"0014 0000 01 00 02 0035 01 08080808 1122334455667788",	     /* no data */
		"0014 0000 01 01 01 0035 01 08080808 1122334455667788 0000", /* not UDP */
		"0013 0000 01 01 02 0035 01 08080808 11223344556677 0000",   /* 7 bytes */
		"0014 0000 01 01 02 0035 01 08080808 0000000000000000 0000", /* no id */
	};

	(void)state;
	for (size_t at = 0; at < sizeof(none) / sizeof(none[0]); at++)
		assert_false(read_hex(none[at]).has_global_id);
}

static void test_padding(void **state)
{
	struct cv_mux_frame frame;

	(void)state;
	frame = read_hex("0018 0001 01 01 01 01bb 02 0b 6578616d706c652e636f6d deadbeef 0002 6869");
	assert_address(&frame.address, "example.com:443");
	frame = read_hex("0006 0001 02 01 00ff 0001 61");
	assert_int_equal(frame.address.kind, CV_ADDRESS_NONE);
	frame = read_hex("0005 0001 02 01 01 0001 61"); /* only 2 announces an address */
	assert_int_equal(frame.network, CV_MUX_NO_NETWORK);
	frame = read_hex("000e 0001 02 01 02 0d96 01 01020304 0000 0001 61");
	assert_address(&frame.address, "1.2.3.4:3478");
	frame = read_hex("0006 0001 03 00 0200");
	assert_int_equal(frame.status, CV_MUX_END);
}

static void test_longest_metadata(void **state)
{
	struct cv_mux_frame frame;
	size_t len = 0;

	(void)state;
	bytes_set_hex(&input, "0200 0007 04 00");
	bytes_add_fill(&input, 0xff, 508);
	assert_int_equal(cv_mux_frame_read(bytes_span(&input), CV_MUX_FORWARD, &frame, &len), 0);
	assert_int_equal(len, 514);
	for (size_t have = 0; have < input.len; have++)
		assert_int_equal(cv_mux_frame_read(cv_span_of(input.data, have), CV_MUX_FORWARD,
						   &frame, &len),
				 -EAGAIN);
}

static void test_refused(void **state)
{
	static const struct {
		const char *hex;
		int reason;
	} cases[] = {
		{"0000", CV_PEER_DECODE},
		{"0003", CV_PEER_DECODE},
		{"0201", CV_PEER_DECODE},
		{"ffff", CV_PEER_DECODE},
		{"0004 0001 00 00", CV_PEER_DECODE},
		{"0004 0001 05 00", CV_PEER_DECODE},
		{"0004 0001 ff 01", CV_PEER_DECODE},
		{"0004 0001 01 00", CV_PEER_DECODE},
		{"0007 0001 01 00 01 0050", CV_PEER_DECODE},
		{"000c 0001 01 00 00 0050 01 01020304", CV_PEER_DECODE},
		{"000c 0001 01 00 03 0050 01 01020304", CV_PEER_DECODE},
		{"000c 0001 01 00 01 0050 00 01020304", CV_PEER_ADDRESS},
		{"000c 0001 01 00 01 0050 04 01020304", CV_PEER_ADDRESS},
		{"000b 0001 01 00 01 0050 01 010203", CV_PEER_DECODE},
		{"000c 0001 01 00 01 0050 03 01020304", CV_PEER_DECODE},
		{"0009 0001 01 00 01 0050 02 00", CV_PEER_ADDRESS},
		{"000a 0001 01 00 01 0050 02 02 61", CV_PEER_DECODE},
		{"000a 0001 01 00 01 0050 02 01 20", CV_PEER_ADDRESS},
		{"0005 0001 02 01 02", CV_PEER_DECODE},
		{"0008 0001 02 01 02 0050 09", CV_PEER_ADDRESS},
		{"0009 0001 02 01 02 0050 01 01", CV_PEER_DECODE},
	};

	(void)state;
	for (size_t at = 0; at < sizeof(cases) / sizeof(cases[0]); at++) {
		struct cv_mux_frame frame;
		size_t len;

		bytes_set_hex(&input, cases[at].hex);
		assert_int_equal(cv_mux_frame_read(bytes_span(&input), CV_MUX_FORWARD, &frame,
						   &len),
				 cases[at].reason);
		assert_int_equal(cv_mux_frame_read(bytes_span(&input), CV_MUX_REVERSE, &frame,
						   &len),
				 cases[at].reason);
	}
}

static void test_every_cut_asks_for_more(void **state)
{
	static const char *const headers[] = {
		"0014 0001 01 01 01 01bb 02 0b 6578616d706c652e636f6d 0002",
		"0004 0001 02 01 0005", "0004 0001 03 00",
		"0014 0000 01 01 02 0035 01 08080808 1122334455667788 0002"};

	(void)state;
	for (size_t at = 0; at < sizeof(headers) / sizeof(headers[0]); at++) {
		bytes_set_hex(&input, headers[at]);
		for (size_t have = 0; have < input.len; have++) {
			struct cv_mux_frame frame;
			size_t len;

			assert_int_equal(cv_mux_frame_read(cv_span_of(input.data, have),
							   CV_MUX_FORWARD, &frame, &len),
					 -EAGAIN);
		}
	}
}

static void test_reverse_ends(void **state)
{
	static const char *const hex =
		"0023 0002 01 01 01 0050 02 0a 696e2e6578616d706c65 01 c738 01 cb007109 01 01bb "
		"01 c6336407 0003 474554";
	size_t len = 0;
	struct cv_mux_frame frame = read_as(CV_MUX_REVERSE, hex, &len);

	(void)state;
	assert_address(&frame.address, "in.example:80");
	assert_int_equal(frame.source_network, CV_MUX_TCP);
	assert_address(&frame.source, "203.0.113.9:51000");
	assert_int_equal(frame.local_network, CV_MUX_TCP);
	assert_address(&frame.local, "198.51.100.7:443");
	assert_false(frame.has_global_id);
	assert_written(&frame, CV_MUX_REVERSE, "474554", hex);
	/* on another carrier they are padding */
	assert_int_equal(read_hex(hex).source_network, CV_MUX_NO_NETWORK);

	frame = read_as(CV_MUX_REVERSE,
			"0014 0001 01 01 02 0000 01 01020304 02 0035 01 05060708 0000", &len);
	assert_int_equal(frame.source_network, CV_MUX_UDP);
	assert_address(&frame.source, "5.6.7.8:53");
	assert_int_equal(frame.local_network, CV_MUX_NO_NETWORK);
	assert_false(frame.has_global_id);
	frame = read_as(CV_MUX_REVERSE, "000e 0001 01 00 02 0000 01 01020304 0001", &len);
	assert_int_equal(frame.source_network, CV_MUX_NO_NETWORK);
}

static void test_reverse_control(void **state)
{
	static const char *const hex =
		"0010 0001 01 01 02 0000 02 07 72657665727365 0007 9a060401020304";
	size_t len = 0;
	struct cv_mux_frame frame = read_as(CV_MUX_REVERSE, hex, &len);

	(void)state;
	assert_int_equal(frame.network, CV_MUX_UDP);
	assert_string_equal(frame.address.domain, "reverse");
	assert_int_equal(frame.address.port, 0);
	assert_written(&frame, CV_MUX_REVERSE, "9a060401020304", hex);
}

static void test_bad_reverse_ends(void **state)
{
	static const struct {
		const char *hex;
		int reason;
	} cases[] = {
		{"000d 0001 01 00 01 0050 01 01020304 01", CV_PEER_DECODE},
		{"0010 0001 01 00 01 0050 01 01020304 01 0050 07", CV_PEER_ADDRESS},
		{"0018 0001 01 00 01 0050 01 01020304 01 0050 01 01020304 02 0050 01",
		 CV_PEER_DECODE},
	};

	(void)state;
	for (size_t at = 0; at < sizeof(cases) / sizeof(cases[0]); at++) {
		struct cv_mux_frame frame;
		size_t len;

		bytes_set_hex(&input, cases[at].hex);
		assert_int_equal(cv_mux_frame_read(bytes_span(&input), CV_MUX_REVERSE, &frame,
						   &len),
				 cases[at].reason);
	}
}

static void test_longest_names(void **state)
{
	struct cv_mux_frame frame = {.status = CV_MUX_NEW, .network = CV_MUX_UDP}, again;
	uint8_t header[CV_MUX_HEADER_MAX];
	size_t len, read_len = 0;

	(void)state;
	frame.address.kind = CV_ADDRESS_DOMAIN;
	memset(frame.address.domain, 'n', CV_DOMAIN_MAX);
	frame.has_data = frame.has_global_id = true;
	frame.data_bytes = CV_MUX_DATA_MAX;
	memset(frame.global_id, 7, sizeof(frame.global_id));
	len = cv_mux_frame_write(&frame, CV_MUX_FORWARD, header);
	assert_int_equal(len, 2 + 4 + 1 + 2 + 2 + CV_DOMAIN_MAX + 8 + 2);
	assert_int_equal(cv_mux_frame_read(cv_span_of(header, len), CV_MUX_FORWARD, &again,
					   &read_len),
			 0);
	assert_int_equal(read_len, len);
	assert_string_equal(again.address.domain, frame.address.domain);
	assert_true(again.has_global_id);
	assert_int_equal(again.data_bytes, CV_MUX_DATA_MAX);

	frame.source_network = CV_MUX_TCP;
	frame.source = frame.address;
	assert_int_equal(cv_mux_frame_write(&frame, CV_MUX_REVERSE, header), 0);
}

static void test_what_cannot_be_written(void **state)
{
	uint8_t header[CV_MUX_HEADER_MAX];
	struct cv_mux_frame frame = frame_of(CV_MUX_NEW, 1, CV_MUX_TCP, NULL, 0);

	(void)state;
	assert_int_equal(cv_mux_frame_write(&frame, CV_MUX_FORWARD, header), 0);
	frame = frame_of(CV_MUX_NEW, 1, CV_MUX_NO_NETWORK, "a.b", 1);
	assert_int_equal(cv_mux_frame_write(&frame, CV_MUX_FORWARD, header), 0);
}

static void test_stream(void **state)
{
	static const size_t sizes[] = {0, 1, CV_MUX_CHUNK - 1, CV_MUX_CHUNK, CV_MUX_CHUNK + 1,
				       65536};
	static uint8_t data[65536];

	(void)state;
	for (size_t at = 0; at < sizeof(data); at++)
		data[at] = (uint8_t)(at * 7 + at / 251);
	for (size_t at = 0; at < sizeof(sizes) / sizeof(sizes[0]); at++) {
		struct cv_buffer out;
		struct cv_span span;
		size_t seen = 0;

		cv_buffer_init(&out, 2 * sizeof(data));
		assert_int_equal(cv_mux_stream_append(0x1234, cv_span_of(data, sizes[at]), &out),
				 0);
		assert_int_equal(cv_buffer_len(&out), cv_mux_stream_bytes(sizes[at]));
		span = cv_buffer_span(&out);
		while (span.len_bytes > 0) {
			struct cv_mux_frame frame;
			size_t len;

			assert_int_equal(cv_mux_frame_read(span, CV_MUX_FORWARD, &frame, &len), 0);
			assert_int_equal(len, CV_MUX_KEEP_BYTES);
			assert_int_equal(frame.session, 0x1234);
			assert_true(frame.data_bytes > 0 && frame.data_bytes <= CV_MUX_CHUNK);
			assert_memory_equal(span.data + len, data + seen, frame.data_bytes);
			seen += frame.data_bytes;
			cv_span_skip(&span, len + frame.data_bytes);
		}
		assert_int_equal(seen, sizes[at]);
		cv_buffer_done(&out);
	}
}

static void test_stream_into_a_full_buffer(void **state)
{
	static const uint8_t data[100];
	struct cv_buffer out;

	(void)state;
	cv_buffer_init(&out, 50);
	assert_int_equal(cv_mux_stream_append(1, cv_span_of(data, sizeof(data)), &out),
			 CV_PEER_TOO_LONG);
	assert_int_equal(cv_buffer_len(&out), 0);
	cv_buffer_done(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_new),
		cmocka_unit_test(test_keep),
		cmocka_unit_test(test_end),
		cmocka_unit_test(test_xudp),
		cmocka_unit_test(test_global_id_where_it_counts),
		cmocka_unit_test(test_padding),
		cmocka_unit_test(test_longest_metadata),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_every_cut_asks_for_more),
		cmocka_unit_test(test_reverse_ends),
		cmocka_unit_test(test_reverse_control),
		cmocka_unit_test(test_bad_reverse_ends),
		cmocka_unit_test(test_longest_names),
		cmocka_unit_test(test_what_cannot_be_written),
		cmocka_unit_test(test_stream),
		cmocka_unit_test(test_stream_into_a_full_buffer),
	};

	return cmocka_run_group_tests_name("mux", tests, NULL, NULL);
}
