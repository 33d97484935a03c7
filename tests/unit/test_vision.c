// SPDX-License-Identifier: MIT
/*
 * test_vision.c - vectors of Vision 8, each rule of the detector, reader and writer on its own, and
 * whole conversations between two ends over a stream that is cut at random.
 */
#include "wire/vision.h"

#include <culvert/reason.h>

#include "wire_bytes.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define UUID_HEX "5783a3e7e37351cd8642c83782b807c5"

static const uint8_t uuid[16] = {0x57, 0x83, 0xa3, 0xe7, 0xe3, 0x73, 0x51, 0xcd,
				 0x86, 0x42, 0xc8, 0x37, 0x82, 0xb8, 0x07, 0xc5};
/* Padding of 0..255 bytes only, so that lengths are easy to read. */
static const uint32_t short_seed[4] = {0, 0, 0, 256};

static uint32_t random_zero(uint32_t bound)
{
	(void)bound;
	return 0;
}

static uint32_t random_three(uint32_t bound)
{
	assert_true(bound > 3);
	return 3;
}

static uint32_t random_highest(uint32_t bound)
{
	assert_true(bound > 0);
	return bound - 1;
}

static uint32_t generator_state = 1;

static uint32_t random_generated(uint32_t bound)
{
	assert_true(bound > 0);
	return random_next(&generator_state) % bound;
}

/* ---- what a writer emitted ---- */

struct units {
	struct bytes bytes;
	size_t end[64]; /* of each emit call */
	size_t count;
};

static int collect(void *context, struct cv_span bytes)
{
	struct units *units = context;

	assert_true(bytes.len_bytes > 0);
	assert_true(bytes.len_bytes <= CV_VISION_BLOCK_MAX);
	assert_true(units->count < sizeof(units->end) / sizeof(units->end[0]));
	assert_true(bytes.len_bytes <= sizeof(units->bytes.data) - units->bytes.len);
	memcpy(units->bytes.data + units->bytes.len, bytes.data, bytes.len_bytes);
	units->bytes.len += bytes.len_bytes;
	units->end[units->count++] = units->bytes.len;
	return 0;
}

static const uint8_t *unit_at(const struct units *units, size_t index)
{
	return units->bytes.data + (index == 0 ? 0 : units->end[index - 1]);
}

static size_t unit_len(const struct units *units, size_t index)
{
	return units->end[index] - (index == 0 ? 0 : units->end[index - 1]);
}

/* Blocks without UUID. */
static unsigned int command_of(const struct units *units, size_t index)
{
	return unit_at(units, index)[0];
}

static size_t content_len_of(const struct units *units, size_t index)
{
	const uint8_t *block = unit_at(units, index);

	return (size_t)(block[1] << 8 | block[2]);
}

static struct units units; /* too large for the stack of every test */
static struct bytes input;

static void write_input(struct cv_vision *vision)
{
	units.count = 0;
	units.bytes.len = 0;
	assert_int_equal(cv_vision_write(vision, bytes_span(&input), collect, &units), 0);
}

static void write_hex(struct cv_vision *vision, const char *hex)
{
	bytes_set_hex(&input, hex);
	write_input(vision);
}

static void init(struct cv_vision *vision)
{
	cv_vision_init(vision, uuid, short_seed, random_zero);
}

/* A writer that already sent its UUID. */
static void init_after_uuid(struct cv_vision *vision)
{
	init(vision);
	vision->uuid_written = true;
}

static void add_record(uint8_t type, uint16_t len)
{
	const uint8_t header[5] = {type, 3, 3, (uint8_t)(len >> 8), (uint8_t)len};

	memcpy(input.data + input.len, header, sizeof(header));
	input.len += sizeof(header);
	bytes_add_fill(&input, 0x5a, len);
}

/* ServerHello record of 127 bytes whose session id has 32 bytes: cipher at offset 76. Vision 8. */
static void set_server_hello(const char *cipher_hex, const char *version_extension_hex)
{
	bytes_set_hex(&input, "16 0303 007a 02 000076 0303");
	bytes_add_fill(&input, 0xc1, 32);
	bytes_add_hex(&input, "20");
	bytes_add_fill(&input, 0xd1, 32);
	assert_int_equal(input.len, 76);
	bytes_add_hex(&input, cipher_hex);
	bytes_add_hex(&input, "00 002e");
	bytes_add_hex(&input, version_extension_hex);
	bytes_add_hex(&input, "0033 0024 001d 0020");
	bytes_add_fill(&input, 0xdd, 32);
	assert_int_equal(input.len, 127);
}

#define SELECTS_TLS13 "002b 0002 0304"

/* ---- reader ---- */

static struct cv_buffer out;

static int setup_out(void **state)
{
	(void)state;
	cv_buffer_init(&out, 1 << 20);
	return 0;
}

static int teardown_out(void **state)
{
	(void)state;
	cv_buffer_done(&out);
	return 0;
}

static void assert_out(const struct bytes *expected)
{
	assert_int_equal(cv_buffer_len(&out), expected->len);
	if (expected->len > 0)
		assert_memory_equal(cv_buffer_bytes(&out), expected->data, expected->len);
}

static void assert_out_hex(const char *hex)
{
	static struct bytes expected;

	bytes_set_hex(&expected, hex);
	assert_out(&expected);
}

/* In pieces of @piece bytes. */
static int read_pieces(struct cv_vision *vision, const struct bytes *bytes, size_t piece)
{
	struct cv_span left = bytes_span(bytes);

	while (left.len_bytes > 0) {
		const size_t len = left.len_bytes < piece ? left.len_bytes : piece;
		const int error = cv_vision_read(vision, cv_span_of(left.data, len), &out);

		if (error)
			return error;
		cv_span_skip(&left, len);
	}
	return 0;
}

#define FIRST_BLOCK UUID_HEX "00 000a 0003 16030100050100000100 000000"
#define RECORD_24 "1703030013 101112131415161718191a1b1c1d1e1f202122"
#define DIRECT_BLOCK "02 0018 0001" RECORD_24 "00"

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

/* ---- writer ---- */

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
	assert_int_equal(vision.reader, CV_VISION_READ_PADDED); /* the other direction is not affected */
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

/* ---- conversations ---- */

/* One direction between two ends: what is on the wire, and how much of it is inside OUTER. */
struct direction {
	struct cv_vision *writer, *reader;
	struct cv_buffer sent;	   /* app bytes in */
	struct cv_buffer wire;	   /* not yet read */
	struct cv_buffer received; /* app bytes out */
	size_t outer_left;	   /* of wire: inside OUTER; SIZE_MAX marks "all" */
	bool raw;
};

static int to_wire(void *context, struct cv_span bytes)
{
	struct direction *direction = context;

	return cv_buffer_append(&direction->wire, bytes.data, bytes.len_bytes);
}

static void send_batch(struct direction *direction, struct cv_span bytes)
{
	struct cv_vision *vision = direction->writer;

	assert_int_equal(cv_buffer_append(&direction->sent, bytes.data, bytes.len_bytes), 0);
	if (vision->writer != CV_VISION_WRITE_PADDED) {
		assert_int_equal(to_wire(direction, bytes), 0);
		return;
	}
	assert_int_equal(cv_vision_write(vision, bytes, to_wire, direction), 0);
	if (vision->writer == CV_VISION_WRITE_RAW) {
		direction->raw = true;
		direction->outer_left = cv_buffer_len(&direction->wire);
	}
}

/* Reads up to @count bytes; the reader has to switch exactly where the writer did. */
static void receive(struct direction *direction, size_t count)
{
	const struct cv_span wire = cv_buffer_span(&direction->wire);
	struct cv_vision *vision = direction->reader;

	if (count > wire.len_bytes)
		count = wire.len_bytes;
	if (count == 0)
		return;
	if (vision->reader == CV_VISION_READ_RAW)
		assert_int_equal(cv_buffer_append(&direction->received, wire.data, count), 0);
	else
		assert_int_equal(cv_vision_read(vision, cv_span_of(wire.data, count),
						&direction->received),
				 0);
	cv_buffer_consume(&direction->wire, count);
	if (!direction->raw) {
		assert_int_not_equal(vision->reader, CV_VISION_READ_RAW);
		return;
	}
	direction->outer_left -= count < direction->outer_left ? count : direction->outer_left;
	assert_int_equal(vision->reader == CV_VISION_READ_RAW, direction->outer_left == 0);
}

static void direction_init(struct direction *direction, struct cv_vision *writer,
			   struct cv_vision *reader)
{
	*direction = (struct direction){.writer = writer, .reader = reader};
	cv_buffer_init(&direction->sent, 1 << 22);
	cv_buffer_init(&direction->wire, 1 << 22);
	cv_buffer_init(&direction->received, 1 << 22);
}

static void direction_check_and_done(struct direction *direction)
{
	while (cv_buffer_len(&direction->wire) > 0)
		receive(direction, 1 << 14);
	assert_int_equal(cv_vision_read_eof(direction->reader), 0);
	assert_int_equal(cv_buffer_len(&direction->sent), cv_buffer_len(&direction->received));
	if (cv_buffer_len(&direction->sent) > 0)
		assert_memory_equal(cv_buffer_bytes(&direction->sent),
				    cv_buffer_bytes(&direction->received),
				    cv_buffer_len(&direction->sent));
	cv_buffer_done(&direction->sent);
	cv_buffer_done(&direction->wire);
	cv_buffer_done(&direction->received);
}

struct conversation {
	struct cv_vision client, server;
	struct direction up, down;
	uint32_t random;
};

static void conversation_init(struct conversation *talk, uint32_t seed)
{
	talk->random = seed * 2654435761u | 1;
	generator_state = talk->random;
	cv_vision_init(&talk->client, uuid, NULL, random_generated);
	cv_vision_init(&talk->server, uuid, NULL, random_generated);
	direction_init(&talk->up, &talk->client, &talk->server);
	direction_init(&talk->down, &talk->server, &talk->client);
}

/* The app's bytes as some number of reads, each batch on the wire in pieces. */
static void talk_in_pieces(struct conversation *talk, struct direction *direction,
			   struct cv_span bytes, bool one_batch)
{
	while (bytes.len_bytes > 0) {
		size_t len = one_batch ? 65536 : random_between(&talk->random, 1, 20000);

		if (len > bytes.len_bytes)
			len = bytes.len_bytes;
		send_batch(direction, cv_span_of(bytes.data, len));
		cv_span_skip(&bytes, len);
		while (random_between(&talk->random, 0, 5) > 0)
			receive(direction, random_between(&talk->random, 1, 9000));
	}
}

static void drain(struct direction *direction)
{
	while (cv_buffer_len(&direction->wire) > 0)
		receive(direction, 1460);
}

static void say(struct conversation *talk, struct direction *direction, bool whole)
{
	talk_in_pieces(talk, direction, bytes_span(&input), whole);
	if (whole)
		drain(direction);
}

static void say_records(struct conversation *talk, struct direction *direction, bool whole)
{
	const size_t count = random_between(&talk->random, 1, 3);

	input.len = 0;
	for (size_t at = 0; at < count; at++)
		add_record(0x17, (uint16_t)random_between(&talk->random, 1, 16401));
	say(talk, direction, whole);
}

static void say_client_hello(struct conversation *talk, bool whole)
{
	bytes_set_hex(&input, "1603010200 01 0001fc 0303");
	bytes_add_fill(&input, 0x77, 0x200 - 6);
	say(talk, &talk->up, whole);
}

static void tls_conversation(struct conversation *talk, bool tls13, bool whole)
{
	say_client_hello(talk, whole);
	if (tls13) {
		set_server_hello("1303", SELECTS_TLS13);
		bytes_add_hex(&input, "140303000101");
		add_record(0x17, 41);
		add_record(0x17, (uint16_t)random_between(&talk->random, 1000, 9000));
		say(talk, &talk->down, whole);
		bytes_set_hex(&input, "140303000101");
		add_record(0x17, 53);
	} else {
		set_server_hello("c02f", "0017 0002 0000");
		add_record(0x16, 3000);
		say(talk, &talk->down, whole);
		input.len = 0;
		add_record(0x16, 70);
		bytes_add_hex(&input, "140303000101");
		add_record(0x16, 40);
		say(talk, &talk->up, whole);
		bytes_set_hex(&input, "140303000101");
		add_record(0x16, 40);
		say(talk, &talk->down, whole);
	}
	for (unsigned int turn = 0; turn < 6; turn++)
		say_records(talk, turn % 2 ? &talk->down : &talk->up, whole);
}

static void test_conversation_tls13(void **state)
{
	static struct conversation talk;

	(void)state;
	for (uint32_t seed = 1; seed <= 150; seed++) {
		const bool whole = seed % 2 == 0;

		conversation_init(&talk, seed);
		tls_conversation(&talk, true, whole);
		if (whole) {
			assert_true(talk.client.enable_xtls && talk.server.enable_xtls);
			assert_int_equal(talk.client.writer, CV_VISION_WRITE_RAW);
			assert_int_equal(talk.server.writer, CV_VISION_WRITE_RAW);
			assert_int_equal(talk.client.reader, CV_VISION_READ_RAW);
			assert_int_equal(talk.server.reader, CV_VISION_READ_RAW);
		}
		direction_check_and_done(&talk.up);
		direction_check_and_done(&talk.down);
	}
}

static void test_conversation_tls12(void **state)
{
	static struct conversation talk;

	(void)state;
	for (uint32_t seed = 1; seed <= 150; seed++) {
		const bool whole = seed % 2 == 0;

		conversation_init(&talk, seed);
		tls_conversation(&talk, false, whole);
		if (whole) {
			assert_int_equal(talk.client.writer, CV_VISION_WRITE_PLAIN);
			assert_int_equal(talk.server.writer, CV_VISION_WRITE_PLAIN);
		}
		assert_false(talk.up.raw || talk.down.raw);
		direction_check_and_done(&talk.up);
		direction_check_and_done(&talk.down);
	}
}

static void test_conversation_http(void **state)
{
	static struct conversation talk;

	(void)state;
	for (uint32_t seed = 1; seed <= 60; seed++) {
		conversation_init(&talk, seed);
		for (unsigned int turn = 0; turn < 8; turn++) {
			bytes_set_hex(&input, "474554202f20485454502f312e310d0a");
			bytes_add_fill(&input, 'h', random_between(&talk.random, 0, 60000));
			say(&talk, turn % 2 ? &talk.down : &talk.up, seed % 2 == 0);
		}
		assert_int_equal(talk.client.writer, CV_VISION_WRITE_PLAIN);
		assert_int_equal(talk.server.writer, CV_VISION_WRITE_PLAIN);
		direction_check_and_done(&talk.up);
		direction_check_and_done(&talk.down);
	}
}

/* One direction RAW while the other is still padded. */
static void test_conversation_directions_switch_alone(void **state)
{
	static struct conversation talk;

	(void)state;
	conversation_init(&talk, 4711);
	say_client_hello(&talk, true);
	set_server_hello("1301", SELECTS_TLS13);
	say(&talk, &talk.down, true);
	say_records(&talk, &talk.down, true);
	assert_int_equal(talk.client.reader, CV_VISION_READ_RAW);
	assert_int_equal(talk.server.writer, CV_VISION_WRITE_RAW);
	assert_int_equal(talk.client.writer, CV_VISION_WRITE_PADDED);
	assert_int_equal(talk.server.reader, CV_VISION_READ_PADDED);
	bytes_set_hex(&input, "140303000101");
	say(&talk, &talk.up, true);
	assert_int_equal(talk.client.writer, CV_VISION_WRITE_PADDED);
	say_records(&talk, &talk.up, true);
	assert_int_equal(talk.client.writer, CV_VISION_WRITE_RAW);
	assert_int_equal(talk.server.reader, CV_VISION_READ_RAW);
	direction_check_and_done(&talk.up);
	direction_check_and_done(&talk.down);
}

int main(void)
{
#define OUT_TEST(name) cmocka_unit_test_setup_teardown(name, setup_out, teardown_out)
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
		cmocka_unit_test(test_conversation_tls13),
		cmocka_unit_test(test_conversation_tls12),
		cmocka_unit_test(test_conversation_http),
		cmocka_unit_test(test_conversation_directions_switch_alone),
	};

	return cmocka_run_group_tests_name("vision", tests, NULL, NULL);
}
