// SPDX-License-Identifier: MIT
/*
 * test_vision_writer.c - vectors of Vision 8, then each step of Vision 4.2 on its own.
 */
#include "wire/vision.h"

#include <culvert/reason.h>

#include "vision_support.h"

#include <errno.h>

static void test_writer_vector(void **state)
{
	struct cv_vision vision;
	static struct bytes expected;

	(void)state;
	cv_vision_init(&vision, uuid, short_seed, random_three);
	write_hex(&vision, "16030100050100000100");
	bytes_set_hex(&expected, FIRST_BLOCK);
	assert_int_equal(units.bytes.len, expected.len);
	assert_memory_equal(units.bytes.data, expected.data, expected.len);
	assert_int_equal(vision.writer, CV_VISION_WRITE_PADDED);
}

static void test_writer_direct_vector(void **state)
{
	struct cv_vision vision;
	static const uint32_t seed[4] = {30, 4, 22, 256}; /* 3 + 22 - 24 = 1 */
	static struct bytes expected;

	(void)state;
	cv_vision_init(&vision, uuid, seed, random_three);
	vision.uuid_written = true;
	vision.is_tls = vision.is_tls12_or_above = vision.enable_xtls = true;
	vision.packets_to_filter = 0;
	write_hex(&vision, RECORD_24);
	bytes_set_hex(&expected, DIRECT_BLOCK);
	assert_int_equal(units.bytes.len, expected.len);
	assert_memory_equal(units.bytes.data, expected.data, expected.len);
	assert_int_equal(vision.writer, CV_VISION_WRITE_RAW);
}

static void test_writer_empty_first_block(void **state)
{
	struct cv_vision vision;

	(void)state;
	cv_vision_init(&vision, uuid, NULL, random_highest);
	write_hex(&vision, "");
	assert_int_equal(units.count, 1);
	assert_int_equal(units.bytes.len, 21 + 900 + 499);
	assert_memory_equal(units.bytes.data, uuid, 16);
	assert_int_equal(units.bytes.data[16], 0);
	assert_int_equal(vision.packets_to_filter, 8);
	write_hex(&vision, "aa"); /* no second UUID */
	assert_int_equal(units.bytes.len, 5 + 1 + 255);
	assert_int_equal(content_len_of(&units, 0), 1);
}

static void test_writer_padding_lengths(void **state)
{
	struct cv_vision vision;

	(void)state;
	/* Long: total is 900..1399 whatever the content, if below 900. */
	cv_vision_init(&vision, uuid, NULL, random_zero);
	vision.uuid_written = true;
	bytes_set_hex(&input, "160301000501");
	bytes_add_fill(&input, 0, 899 - 6);
	write_input(&vision);
	assert_int_equal(units.bytes.len, 5 + 900);
	bytes_add_fill(&input, 0, 1);
	write_input(&vision);
	assert_int_equal(units.bytes.len, 5 + 900); /* 900 bytes, short padding of 0 */
	vision.random_below = random_highest;
	write_input(&vision);
	assert_int_equal(units.bytes.len, 5 + 900 + 255);

	/* Never more than 8171 with the content. */
	static const uint32_t huge[4] = {UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX};

	cv_vision_init(&vision, uuid, huge, random_highest);
	write_hex(&vision, "160301000501");
	assert_int_equal(units.bytes.len, 8192);
	write_hex(&vision, "00");
	assert_int_equal(units.bytes.len, 8192 - 16);

	/* Seeds that would make it negative. */
	static const uint32_t odd[4] = {900, 0, 10, 0};

	cv_vision_init(&vision, uuid, odd, random_three);
	write_hex(&vision, "160301000501 0000000000000000");
	assert_int_equal(units.bytes.len, 21 + 14);
}

static void test_writer_http_ends_at_the_seventh_buffer(void **state)
{
	struct cv_vision vision;

	(void)state;
	init_after_uuid(&vision);
	for (unsigned int at = 1; at <= 7; at++) {
		assert_int_equal(vision.writer, CV_VISION_WRITE_PADDED);
		write_hex(&vision, "474554202f20485454502f312e310d0a");
		assert_int_equal(units.count, 1);
		assert_int_equal(command_of(&units, 0), at == 7 ? 1 : 0);
	}
	assert_int_equal(vision.writer, CV_VISION_WRITE_PLAIN);
	assert_int_equal(cv_vision_write(&vision, cv_span_of("x", 1), collect, &units),
			 CV_INTERNAL_STATE);
}

static void test_writer_counts_what_the_reader_saw(void **state)
{
	struct cv_vision vision;

	(void)state;
	init_after_uuid(&vision);
	bytes_set_hex(&input, UUID_HEX "00 0001 0000 aa");
	assert_int_equal(cv_vision_read(&vision, bytes_span(&input), &out), 0);
	bytes_set_hex(&input, "00 0001 0000 aa");
	for (unsigned int at = 0; at < 5; at++)
		assert_int_equal(cv_vision_read(&vision, bytes_span(&input), &out), 0);
	assert_int_equal(vision.packets_to_filter, 2);
	write_hex(&vision, "474554202f20");
	assert_int_equal(command_of(&units, 0), 1);
	assert_int_equal(vision.writer, CV_VISION_WRITE_PLAIN);
	/* The other direction is not affected. */
	assert_int_equal(vision.reader, CV_VISION_READ_PADDED);
}

static void test_writer_sends_the_rest_of_a_batch_unpadded_after_end(void **state)
{
	struct cv_vision vision;

	(void)state;
	init_after_uuid(&vision);
	vision.packets_to_filter = 4; /* 4 buffers: 0 are left, so the first one ends it */
	input.len = 0;
	for (unsigned int at = 0; at < 4; at++)
		bytes_add_fill(&input, (uint8_t)('a' + at), at < 3 ? 8192 : 100);
	write_input(&vision);
	/* 8192 is split in halves: END on the first half. */
	assert_int_equal(command_of(&units, 0), 1);
	assert_int_equal(content_len_of(&units, 0), 4096);
	assert_int_equal(units.bytes.len, 5 + 3 * 8192 + 100);
	assert_memory_equal(units.bytes.data + 5, input.data, input.len);
	assert_int_equal(vision.writer, CV_VISION_WRITE_PLAIN);
}

static void test_writer_tls13_goes_raw_with_the_first_complete_records(void **state)
{
	struct cv_vision vision;

	(void)state;
	init_after_uuid(&vision);
	bytes_set_hex(&input, UUID_HEX "00 0006 0000 160301000501");
	assert_int_equal(cv_vision_read(&vision, bytes_span(&input), &out), 0);
	set_server_hello("1301", SELECTS_TLS13);
	bytes_add_hex(&input, "140303000101");
	add_record(0x17, 300);
	write_input(&vision); /* flight that starts with 16: not yet */
	assert_int_equal(vision.writer, CV_VISION_WRITE_PADDED);
	assert_int_equal(command_of(&units, 0), 0);
	input.len = 0;
	add_record(0x17, 700);
	input.len -= 1; /* last byte is missing */
	write_input(&vision);
	assert_int_equal(vision.writer, CV_VISION_WRITE_PADDED);
	bytes_set_hex(&input, "5a");
	write_input(&vision);
	assert_int_equal(vision.writer, CV_VISION_WRITE_PADDED);
	input.len = 0;
	add_record(0x17, 70);
	add_record(0x17, 50);
	write_input(&vision);
	assert_int_equal(units.count, 1);
	assert_int_equal(command_of(&units, 0), 2);
	assert_int_equal(vision.writer, CV_VISION_WRITE_RAW);
	assert_int_equal(vision.reader, CV_VISION_READ_PADDED);
}

static void test_writer_client_finished_does_not_trigger(void **state)
{
	struct cv_vision vision;

	(void)state;
	init_after_uuid(&vision);
	vision.is_tls = vision.is_tls12_or_above = vision.enable_xtls = true;
	vision.packets_to_filter = 0;
	bytes_set_hex(&input, "140303000101");
	add_record(0x17, 53);
	write_input(&vision);
	assert_int_equal(command_of(&units, 0), 0);
	assert_int_equal(vision.writer, CV_VISION_WRITE_PADDED);
}

static void test_writer_tls12_ends_with_the_first_complete_records(void **state)
{
	struct cv_vision vision;

	(void)state;
	init_after_uuid(&vision);
	set_server_hello("c02f", "002b 0002 0303");
	write_input(&vision);
	input.len = 0;
	add_record(0x16, 200);
	for (unsigned int at = 0; at < 12; at++) { /* no packet count any more */
		write_input(&vision);
		assert_int_equal(vision.writer, CV_VISION_WRITE_PADDED);
	}
	input.len = 0;
	add_record(0x17, 200);
	write_input(&vision);
	assert_int_equal(command_of(&units, 0), 1);
	assert_int_equal(vision.writer, CV_VISION_WRITE_PLAIN);
}

/* Without a hello before them they are just bytes. */
static void test_writer_records_without_inner_tls_do_not_trigger(void **state)
{
	struct cv_vision vision;

	(void)state;
	init_after_uuid(&vision);
	input.len = 0;
	add_record(0x17, 200);
	write_input(&vision);
	assert_int_equal(command_of(&units, 0), 0);
	assert_int_equal(vision.writer, CV_VISION_WRITE_PADDED);
}

/* Long padding hides the trigger; what follows it in the batch gets the short one. */
static void test_writer_padding_behind_the_trigger(void **state)
{
	struct cv_vision vision;

	(void)state;
	cv_vision_init(&vision, uuid, NULL, random_zero);
	vision.uuid_written = true;
	vision.is_tls = vision.is_tls12_or_above = true;
	vision.packets_to_filter = 0;
	input.len = 0;
	add_record(0x17, 100);
	write_input(&vision);
	assert_int_equal(units.bytes.len, 5 + 900);

	vision.writer = CV_VISION_WRITE_PADDED;
	input.len = 0;
	add_record(0x17, 8192 + 100 - 5);
	write_input(&vision);
	assert_int_equal(units.count, 3);
	assert_int_equal(unit_len(&units, 2), 5 + 100);
	assert_int_equal(command_of(&units, 2), 1);
}

static void test_writer_completeness(void **state)
{
	static const struct {
		const char *hex;
		bool complete;
	} cases[] = {
		{"1703030001aa", true},		   {"1703030001aa 1703030002aabb", true},
		{"1703030001aa 17030300", false},  {"1703030001aa 1703030000", false},
		{"1703030000 1703030001aa", false}, {"1703030001aa 1503030001aa", false},
		{"1703030002aa", false},	   {"1703010001aa", false},
		{"1703030001aa 17", false},	   {"1703030001aabb", false},
	};

	(void)state;
	for (size_t at = 0; at < sizeof(cases) / sizeof(cases[0]); at++) {
		struct cv_vision vision;

		init_after_uuid(&vision);
		vision.is_tls = vision.is_tls12_or_above = vision.enable_xtls = true;
		vision.packets_to_filter = 0;
		write_hex(&vision, cases[at].hex);
		assert_int_equal(command_of(&units, 0), cases[at].complete ? 2 : 0);
	}
}

static void test_writer_last_buffer_carries_the_command(void **state)
{
	struct cv_vision vision;

	(void)state;
	for (unsigned int xtls = 0; xtls < 2; xtls++) {
		init_after_uuid(&vision);
		vision.is_tls = vision.is_tls12_or_above = true;
		vision.enable_xtls = xtls == 1;
		vision.packets_to_filter = 0;
		input.len = 0;
		for (unsigned int at = 0; at < 3; at++)
			add_record(0x17, 16384);
		write_input(&vision);
		assert_true(units.count > 6);
		for (size_t at = 0; at + 1 < units.count; at++)
			assert_int_equal(command_of(&units, at), 0);
		assert_int_equal(command_of(&units, units.count - 1), xtls ? 2 : 1);
		assert_int_equal(vision.writer,
				 xtls ? CV_VISION_WRITE_RAW : CV_VISION_WRITE_PLAIN);
	}
}

/* Bytes that hold 17 03 03 at @index only; returns the length of the first block's content. */
static size_t first_content_len(size_t len, size_t index)
{
	struct cv_vision vision;

	init_after_uuid(&vision);
	input.len = 0;
	bytes_add_fill(&input, 0x5a, len);
	if (index + 3 <= len)
		memcpy(input.data + index, "\x17\x03\x03", 3);
	write_input(&vision);
	assert_int_equal(units.count, content_len_of(&units, 0) == len ? 1 : 2);
	return content_len_of(&units, 0);
}

static void test_writer_reshape(void **state)
{
	(void)state;
	assert_int_equal(first_content_len(8170, 5000), 8170);
	assert_int_equal(first_content_len(8171, 5000), 5000);
	assert_int_equal(first_content_len(8171, 100000), 4096);
	assert_int_equal(first_content_len(8192, 20), 4096);
	assert_int_equal(first_content_len(8192, 21), 21);
	assert_int_equal(first_content_len(8192, 8171), 8171);
	assert_int_equal(first_content_len(8192, 8172), 4096);
	assert_int_equal(first_content_len(8192, 8189), 4096);
	assert_int_equal(first_content_len(8192, 8190), 4096);
}

static void test_writer_reshape_uses_the_last_occurrence_only(void **state)
{
	struct cv_vision vision;

	(void)state;
	init_after_uuid(&vision);
	input.len = 0;
	bytes_add_fill(&input, 0x5a, 8192);
	memcpy(input.data + 6000, "\x17\x03\x03", 3);
	memcpy(input.data + 7000, "\x17\x03\x03", 3);
	write_input(&vision);
	assert_int_equal(content_len_of(&units, 0), 7000);
	memcpy(input.data + 8180, "\x17\x03\x03", 3); /* last, and useless */
	init_after_uuid(&vision);
	write_input(&vision);
	assert_int_equal(content_len_of(&units, 0), 4096);
}

static int refuse(void *context, struct cv_span bytes)
{
	unsigned int *calls = context;

	(void)bytes;
	return --*calls == 0 ? -EPIPE : 0;
}

static void test_writer_stops_at_the_first_emit_error(void **state)
{
	struct cv_vision vision;

	(void)state;
	input.len = 0;
	bytes_add_fill(&input, 0x5a, 65536);
	for (unsigned int failing = 1; failing <= 16; failing++) { /* 8192 goes out in halves */
		unsigned int calls = failing;

		init(&vision);
		assert_int_equal(cv_vision_write(&vision, bytes_span(&input), refuse, &calls),
				 -EPIPE);
		assert_int_equal(calls, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_writer_vector),
		cmocka_unit_test(test_writer_direct_vector),
		cmocka_unit_test(test_writer_empty_first_block),
		cmocka_unit_test(test_writer_padding_lengths),
		cmocka_unit_test(test_writer_http_ends_at_the_seventh_buffer),
		OUT_TEST(test_writer_counts_what_the_reader_saw),
		cmocka_unit_test(test_writer_sends_the_rest_of_a_batch_unpadded_after_end),
		OUT_TEST(test_writer_tls13_goes_raw_with_the_first_complete_records),
		cmocka_unit_test(test_writer_client_finished_does_not_trigger),
		cmocka_unit_test(test_writer_tls12_ends_with_the_first_complete_records),
		cmocka_unit_test(test_writer_records_without_inner_tls_do_not_trigger),
		cmocka_unit_test(test_writer_padding_behind_the_trigger),
		cmocka_unit_test(test_writer_completeness),
		cmocka_unit_test(test_writer_last_buffer_carries_the_command),
		cmocka_unit_test(test_writer_reshape),
		cmocka_unit_test(test_writer_reshape_uses_the_last_occurrence_only),
		cmocka_unit_test(test_writer_stops_at_the_first_emit_error),
	};

	return cmocka_run_group_tests_name("vision_writer", tests, NULL, NULL);
}
