// SPDX-License-Identifier: MIT
/*
 * test_vision.c - vectors of Vision 8, then each rule of the reader and of the detector on its own.
 */
#include "wire/vision.h"

#include <culvert/reason.h>

#include "vision_support.h"

/* ---- reader ---- */

static void test_reader_vector(void **state)
{
	(void)state;
	for (size_t piece = 1; piece < 80; piece++) {
		struct cv_vision vision;

		init(&vision);
		cv_buffer_consume(&out, cv_buffer_len(&out));
		bytes_set_hex(&input, FIRST_BLOCK);
		assert_int_equal(read_pieces(&vision, &input, piece), 0);
		assert_out_hex("16030100050100000100");
		assert_int_equal(vision.reader, CV_VISION_READ_PADDED);
		assert_int_equal(cv_vision_read_eof(&vision), 0);
		bytes_set_hex(&input, DIRECT_BLOCK);
		assert_int_equal(read_pieces(&vision, &input, piece), 0);
		assert_out_hex("16030100050100000100" RECORD_24);
		assert_int_equal(vision.reader, CV_VISION_READ_RAW);
		assert_int_equal(cv_vision_read_eof(&vision), 0);
	}
}

static void test_reader_trailing_bytes_are_content(void **state)
{
	static const struct {
		const char *hex;
		enum cv_vision_reader reader;
	} cases[] = {
		{UUID_HEX "02 0002 0003 aabb 000000 1703030001ee", CV_VISION_READ_RAW},
		{UUID_HEX "01 0002 0003 aabb 000000 1703030001ee", CV_VISION_READ_PLAIN},
		{UUID_HEX "00 0001 0000 aa 01 0001 0000 bb 1703030001ee", CV_VISION_READ_PLAIN},
		{UUID_HEX "00 0002 0001 aabb ff 02 0000 0000 1703030001ee", CV_VISION_READ_RAW},
	};

	(void)state;
	for (size_t at = 0; at < sizeof(cases) / sizeof(cases[0]); at++) {
		struct cv_vision vision;

		init(&vision);
		cv_buffer_consume(&out, cv_buffer_len(&out));
		bytes_set_hex(&input, cases[at].hex);
		assert_int_equal(cv_vision_read(&vision, bytes_span(&input), &out), 0);
		assert_out_hex("aabb 1703030001ee");
		assert_int_equal(vision.reader, cases[at].reader);
		/* Even what looks like a padded stream is content from here on. */
		bytes_set_hex(&input, UUID_HEX "01 0000 0000");
		assert_int_equal(cv_vision_read(&vision, bytes_span(&input), &out), 0);
		assert_out_hex("aabb 1703030001ee" UUID_HEX "01 0000 0000");
	}
}

/* The command counts as soon as the header is complete, not with the next byte. */
static void test_reader_empty_last_block(void **state)
{
	static const enum cv_vision_reader readers[] = {
		CV_VISION_READ_PADDED, CV_VISION_READ_PLAIN, CV_VISION_READ_RAW};

	(void)state;
	for (unsigned int command = 0; command < 3; command++) {
		struct cv_vision vision;

		init(&vision);
		bytes_set_hex(&input, UUID_HEX "00 0000 0000");
		input.data[16] = (uint8_t)command;
		assert_int_equal(read_pieces(&vision, &input, 4), 0);
		assert_int_equal(vision.reader, readers[command]);
		assert_int_equal(cv_vision_read_eof(&vision), 0);
	}
}

static void test_reader_accepts_full_u16_ranges(void **state)
{
	struct cv_vision vision;

	(void)state;
	init(&vision);
	bytes_set_hex(&input, UUID_HEX "00 ffff ffff");
	assert_int_equal(cv_vision_read(&vision, bytes_span(&input), &out), 0);
	for (size_t at = 0; at < 65535; at += 5) {
		assert_int_equal(cv_vision_read(&vision, cv_span_of("hello", 5), &out), 0);
	}
	assert_int_equal(cv_buffer_len(&out), 65535);
	for (size_t at = 0; at < 65535; at += 5)
		assert_int_equal(cv_vision_read(&vision, cv_span_of("\0\1\2\3\4", 5), &out), 0);
	assert_int_equal(cv_buffer_len(&out), 65535);
	assert_int_equal(cv_vision_read_eof(&vision), 0);
	bytes_set_hex(&input, "01 0001 0000 21");
	assert_int_equal(cv_vision_read(&vision, bytes_span(&input), &out), 0);
	assert_int_equal(cv_buffer_len(&out), 65536);
	assert_int_equal(vision.reader, CV_VISION_READ_PLAIN);
}

static void test_reader_unpadded_stream(void **state)
{
	(void)state;
	for (size_t same = 0; same < 16; same++) {
		for (size_t piece = 1; piece < 30; piece++) {
			struct cv_vision vision;

			init(&vision);
			cv_buffer_consume(&out, cv_buffer_len(&out));
			bytes_set_hex(&input, UUID_HEX "00 0001 0000 aa bb");
			input.data[same] ^= 0x80;
			assert_int_equal(read_pieces(&vision, &input, piece), 0);
			assert_out(&input);
			assert_int_equal(vision.reader, CV_VISION_READ_PLAIN);
		}
	}
}

static void test_reader_decides_at_the_first_other_byte(void **state)
{
	struct cv_vision vision;

	(void)state;
	init(&vision);
	assert_int_equal(cv_vision_read(&vision, cv_span_of("G", 1), &out), 0);
	assert_out_hex("47");
	assert_int_equal(vision.reader, CV_VISION_READ_PLAIN);

	init(&vision);
	cv_buffer_consume(&out, 1);
	assert_int_equal(cv_vision_read(&vision, cv_span_of(uuid, 15), &out), 0);
	assert_out_hex("");
	assert_int_equal(cv_vision_read(&vision, cv_span_of("\0", 1), &out), 0);
	assert_int_equal(cv_buffer_len(&out), 16);
	assert_memory_equal(cv_buffer_bytes(&out), uuid, 15);
}

static void test_reader_unknown_command(void **state)
{
	(void)state;
	for (unsigned int command = 3; command < 256; command++) {
		struct cv_vision vision;

		init(&vision);
		bytes_set_hex(&input, UUID_HEX "00 0001 0000 aa 00 0001 0000 bb");
		input.data[22] = (uint8_t)command;
		assert_int_equal(read_pieces(&vision, &input, 1), CV_PEER_UNEXPECTED_MESSAGE);
		init(&vision);
		input.data[16] = (uint8_t)command;
		assert_int_equal(read_pieces(&vision, &input, 100), CV_PEER_UNEXPECTED_MESSAGE);
	}
}

static void test_reader_eof(void **state)
{
	struct cv_vision vision;

	(void)state;
	bytes_set_hex(&input, UUID_HEX "00 0002 0001 aabb 00 01 0001 0001 cc 00");
	init(&vision);
	for (size_t at = 0; at < input.len; at++) {
		/* Fine before the first byte and between blocks only. */
		assert_int_equal(cv_vision_read_eof(&vision),
				 at == 0 || at == 24 ? 0 : CV_PEER_TRUNCATED);
		assert_int_equal(cv_vision_read(&vision, cv_span_of(input.data + at, 1), &out), 0);
	}
	assert_int_equal(cv_vision_read_eof(&vision), 0);
}

static void test_reader_reports_a_full_buffer(void **state)
{
	struct cv_buffer small;
	struct cv_vision vision;

	(void)state;
	cv_buffer_init(&small, 4);
	init(&vision);
	bytes_set_hex(&input, UUID_HEX "00 0005 0000 0102030405");
	assert_int_equal(cv_vision_read(&vision, bytes_span(&input), &small), CV_PEER_TOO_LONG);
	init(&vision);
	assert_int_equal(cv_vision_read(&vision, cv_span_of("GET / HTTP", 10), &small),
			 CV_PEER_TOO_LONG);
	cv_buffer_done(&small);
}

/* ---- detector ---- */

static void test_detector_vector(void **state)
{
	struct cv_vision vision;

	(void)state;
	init_after_uuid(&vision);
	set_server_hello("1301", SELECTS_TLS13);
	write_input(&vision);
	assert_int_equal(vision.cipher, 0x1301);
	assert_true(vision.enable_xtls);
	assert_true(vision.is_tls && vision.is_tls12_or_above);
	assert_int_equal(vision.packets_to_filter, 0);
}

static void test_detector_ciphers(void **state)
{
	static const struct {
		const char *hex;
		bool enables;
	} ciphers[] = {{"1300", false}, {"1301", true},	 {"1302", true},  {"1303", true},
		       {"1304", true},	{"1305", false}, {"c02f", false}, {"0000", false}};

	(void)state;
	for (size_t at = 0; at < sizeof(ciphers) / sizeof(ciphers[0]); at++) {
		struct cv_vision vision;

		init_after_uuid(&vision);
		set_server_hello(ciphers[at].hex, SELECTS_TLS13);
		write_input(&vision);
		assert_int_equal(vision.enable_xtls, ciphers[at].enables);
		assert_int_equal(vision.packets_to_filter, 0);
	}
}

static void test_detector_tls12_server_hello(void **state)
{
	struct cv_vision vision;

	(void)state;
	init_after_uuid(&vision);
	set_server_hello("c02f", "002b 0002 0303");
	write_input(&vision);
	assert_false(vision.enable_xtls);
	assert_true(vision.is_tls12_or_above);
	assert_int_equal(vision.packets_to_filter, 0);
}

static void test_detector_session_id_out_of_bounds(void **state)
{
	struct cv_vision vision;

	(void)state;
	for (unsigned int session_id_len = 0; session_id_len < 256; session_id_len++) {
		init_after_uuid(&vision);
		set_server_hello("1301", SELECTS_TLS13);
		input.data[43] = (uint8_t)session_id_len;
		write_input(&vision);
		/* The cipher's two bytes end at 46 + s; 127 bytes are there. */
		const uint8_t *cipher = input.data + 44 + session_id_len;

		assert_int_equal(vision.cipher,
				 46 + session_id_len <= 127 ? cipher[0] << 8 | cipher[1] : 0);
		assert_int_equal(vision.enable_xtls, session_id_len == 32);
	}
}

static void test_detector_short_server_hello(void **state)
{
	struct cv_vision vision;

	(void)state;
	/* 78 bytes are one too few to look for a cipher; the rest of the hello follows. */
	set_server_hello("1301", SELECTS_TLS13);
	static struct bytes hello;

	hello = input;
	init_after_uuid(&vision);
	input.len = 78;
	write_input(&vision);
	assert_int_equal(vision.cipher, 0);
	assert_int_equal(vision.remaining_server_hello, 127 - 78);
	assert_int_equal(vision.packets_to_filter, 7);
	input.len = 127 - 78;
	memcpy(input.data, hello.data + 78, input.len);
	write_input(&vision);
	assert_int_equal(vision.packets_to_filter, 0);
	assert_false(vision.enable_xtls);
}

static void test_detector_hello_over_two_buffers_of_both_directions(void **state)
{
	struct cv_vision vision;

	(void)state;
	init_after_uuid(&vision);
	set_server_hello("1302", SELECTS_TLS13);
	static struct bytes hello;

	hello = input;
	input.len = 80; /* ends before the extension */
	write_input(&vision);
	assert_false(vision.enable_xtls);
	assert_int_equal(vision.cipher, 0x1302);
	bytes_set_hex(&input, UUID_HEX "00 002f 0000"); /* 47 bytes: the rest, read by this end */
	memcpy(input.data + input.len, hello.data + 80, 47);
	input.len += 47;
	assert_int_equal(cv_vision_read(&vision, bytes_span(&input), &out), 0);
	assert_true(vision.enable_xtls);
}

static void test_detector_ignores_pattern_across_buffers_and_behind_the_hello(void **state)
{
	struct cv_vision vision;

	(void)state;
	init_after_uuid(&vision);
	set_server_hello("1301", SELECTS_TLS13);
	static struct bytes hello;

	hello = input;
	input.len = 83; /* inside the six bytes at 81 */
	write_input(&vision);
	input.len = 127 - 83;
	memcpy(input.data, hello.data + 83, input.len);
	write_input(&vision);
	assert_false(vision.enable_xtls);
	assert_int_equal(vision.packets_to_filter, 0);

	init_after_uuid(&vision);
	set_server_hello("1301", "002b 0002 0303");
	bytes_add_hex(&input, SELECTS_TLS13);
	write_input(&vision);
	assert_false(vision.enable_xtls);
	assert_int_equal(vision.packets_to_filter, 0);
}

static void test_detector_hello_starts(void **state)
{
	static const struct {
		const char *hex;
		bool is_tls, is_tls12;
	} cases[] = {
		{"160301000501", true, false},	 {"160302000501", true, false},
		{"160303000501", true, false},	 {"160399000501", true, false},
		{"160303000502", true, true},	 {"160301000502", false, false},
		{"1603010005", false, false},	 {"150303000501", false, false},
		{"160303000503", false, false}, {"474554202f20", false, false},
	};

	(void)state;
	for (size_t at = 0; at < sizeof(cases) / sizeof(cases[0]); at++) {
		struct cv_vision vision;

		init_after_uuid(&vision);
		write_hex(&vision, cases[at].hex);
		assert_int_equal(vision.is_tls, cases[at].is_tls);
		assert_int_equal(vision.is_tls12_or_above, cases[at].is_tls12);
		assert_int_equal(vision.packets_to_filter, 7);
	}
}

static void test_detector_counts_buffers_of_8192(void **state)
{
	struct cv_vision vision;

	(void)state;
	init_after_uuid(&vision);
	input.len = 0;
	bytes_add_fill(&input, 'x', 2 * 8192 + 1);
	write_input(&vision);
	assert_int_equal(vision.packets_to_filter, 5);

	init(&vision);
	bytes_set_hex(&input, "01"); /* not the UUID: unpadded */
	bytes_add_fill(&input, 'x', 3 * 8192);
	assert_int_equal(cv_vision_read(&vision, bytes_span(&input), &out), 0);
	assert_int_equal(vision.packets_to_filter, 4);

	/* Padding and headers without content do not count. */
	init(&vision);
	bytes_set_hex(&input, UUID_HEX "00 0000 0400");
	bytes_add_fill(&input, 0, 0x400);
	assert_int_equal(cv_vision_read(&vision, bytes_span(&input), &out), 0);
	assert_int_equal(vision.packets_to_filter, 8);
}

static void test_detector_stops_after_eight_buffers(void **state)
{
	struct cv_vision vision;

	(void)state;
	for (unsigned int seen = 7; seen <= 8; seen++) {
		init_after_uuid(&vision);
		bytes_set_hex(&input, "01"); /* not the UUID: unpadded */
		for (unsigned int at = 0; at < seen; at++)
			assert_int_equal(cv_vision_read(&vision, bytes_span(&input), &out), 0);
		set_server_hello("1301", SELECTS_TLS13);
		assert_int_equal(cv_vision_read(&vision, bytes_span(&input), &out), 0);
		assert_int_equal(vision.enable_xtls, seen == 7);
		assert_int_equal(vision.packets_to_filter, 0);
	}
}

/* ---- batches ---- */

static size_t batch_len(struct cv_vision *vision, const char *hex)
{
	bytes_set_hex(&input, hex);
	return cv_vision_batch_len(vision, bytes_span(&input));
}

/* A read that ends inside a record must not keep padding alive for ever. */
static void test_batch_ends_with_a_record(void **state)
{
	struct cv_vision vision;

	(void)state;
	init(&vision);
	assert_int_equal(batch_len(&vision, "1703030001aa 1703030004bb"), 12); /* no TLS seen yet */
	write_hex(&vision, "1603010006 01000002 0303"); /* a ClientHello, whole */
	assert_int_equal(batch_len(&vision, "1703030001aa 1703030002bbbb 1703030004cc"), 13);
	assert_int_equal(batch_len(&vision, "1703030001aa"), 6);
	assert_int_equal(batch_len(&vision, "1703030004aa"), 6);	    /* not even one */
	assert_int_equal(batch_len(&vision, "140303000101 1703030001aa 17"),
			 13); /* as it was read */
	write_hex(&vision, "140303000101 1703030004aabb");
	assert_int_equal(batch_len(&vision, "ccdd 1703030001aa"), 2); /* the open record's rest */
	assert_int_equal(batch_len(&vision, "cc"), 1);
	write_hex(&vision, "ccdd");
	assert_int_equal(batch_len(&vision, "1703030001aa 17"), 6);
	write_hex(&vision, "1703");
	assert_int_equal(batch_len(&vision, "030001aa 1703"), 6); /* inside a header: left alone */
	write_hex(&vision, "030001aa ffff");
	assert_int_equal(batch_len(&vision, "ffffff"), 3);
	write_hex(&vision, "ffffff");
	assert_true(vision.inner_lost);
	assert_int_equal(batch_len(&vision, "1703030001aa 17"), 7);
}

/* The last whole record of a batch that was cut carries DIRECT. */
static void test_cut_batch_goes_direct(void **state)
{
	struct cv_vision vision;

	(void)state;
	init(&vision);
	write_hex(&vision, "1603010006 01000002 0303");
	vision.enable_xtls = true;
	vision.is_tls12_or_above = true;
	input.len = batch_len(&vision, "1703030001aa 1703030004bb");
	write_input(&vision);
	assert_int_equal(vision.writer, CV_VISION_WRITE_RAW);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		OUT_TEST(test_reader_vector),
		OUT_TEST(test_reader_trailing_bytes_are_content),
		OUT_TEST(test_reader_empty_last_block),
		OUT_TEST(test_reader_accepts_full_u16_ranges),
		OUT_TEST(test_reader_unpadded_stream),
		OUT_TEST(test_reader_decides_at_the_first_other_byte),
		OUT_TEST(test_reader_unknown_command),
		OUT_TEST(test_reader_eof),
		cmocka_unit_test(test_reader_reports_a_full_buffer),
		cmocka_unit_test(test_detector_vector),
		cmocka_unit_test(test_detector_ciphers),
		cmocka_unit_test(test_detector_tls12_server_hello),
		cmocka_unit_test(test_detector_session_id_out_of_bounds),
		cmocka_unit_test(test_detector_short_server_hello),
		OUT_TEST(test_detector_hello_over_two_buffers_of_both_directions),
		cmocka_unit_test(test_detector_ignores_pattern_across_buffers_and_behind_the_hello),
		cmocka_unit_test(test_detector_hello_starts),
		OUT_TEST(test_detector_counts_buffers_of_8192),
		OUT_TEST(test_detector_stops_after_eight_buffers),
		cmocka_unit_test(test_batch_ends_with_a_record),
		cmocka_unit_test(test_cut_batch_goes_direct),
	};

	return cmocka_run_group_tests_name("vision", tests, NULL, NULL);
}
