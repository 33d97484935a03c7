/* SPDX-License-Identifier: MIT */
/*
 * vision_support.h - what the Vision tests share: inputs of inner TLS, a collector of emitted
 * units, an app buffer, random sources of a known answer.
 */
#ifndef CV_TESTS_VISION_SUPPORT_H
#define CV_TESTS_VISION_SUPPORT_H

#include "wire/vision.h"

#include "wire_bytes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define UUID_HEX "5783a3e7e37351cd8642c83782b807c5"

static const uint8_t uuid[16] = {0x57, 0x83, 0xa3, 0xe7, 0xe3, 0x73, 0x51, 0xcd,
				 0x86, 0x42, 0xc8, 0x37, 0x82, 0xb8, 0x07, 0xc5};
/* Padding of 0..255 bytes only, so that lengths are easy to read. */
static const uint32_t short_seed[4] = {0, 0, 0, 256};

static inline uint32_t random_zero(uint32_t bound)
{
	(void)bound;
	return 0;
}

static inline uint32_t random_three(uint32_t bound)
{
	assert_true(bound > 3);
	return 3;
}

static inline uint32_t random_highest(uint32_t bound)
{
	assert_true(bound > 0);
	return bound - 1;
}

static uint32_t generator_state = 1;

static inline uint32_t random_generated(uint32_t bound)
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

static inline int collect(void *context, struct cv_span bytes)
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

static inline const uint8_t *unit_at(const struct units *units, size_t index)
{
	return units->bytes.data + (index == 0 ? 0 : units->end[index - 1]);
}

static inline size_t unit_len(const struct units *units, size_t index)
{
	return units->end[index] - (index == 0 ? 0 : units->end[index - 1]);
}

/* Blocks without UUID. */
static inline unsigned int command_of(const struct units *units, size_t index)
{
	return unit_at(units, index)[0];
}

static inline size_t content_len_of(const struct units *units, size_t index)
{
	const uint8_t *block = unit_at(units, index);

	return (size_t)(block[1] << 8 | block[2]);
}

static struct units units; /* too large for the stack of every test */
static struct bytes input;

static inline void write_input(struct cv_vision *vision)
{
	units.count = 0;
	units.bytes.len = 0;
	assert_int_equal(cv_vision_write(vision, bytes_span(&input), collect, &units), 0);
}

static inline void write_hex(struct cv_vision *vision, const char *hex)
{
	bytes_set_hex(&input, hex);
	write_input(vision);
}

static inline void init(struct cv_vision *vision)
{
	cv_vision_init(vision, uuid, short_seed, random_zero);
}

/* A writer that already sent its UUID. */
static inline void init_after_uuid(struct cv_vision *vision)
{
	init(vision);
	vision->uuid_written = true;
}

static inline void add_record(uint8_t type, uint16_t len)
{
	const uint8_t header[5] = {type, 3, 3, (uint8_t)(len >> 8), (uint8_t)len};

	memcpy(input.data + input.len, header, sizeof(header));
	input.len += sizeof(header);
	bytes_add_fill(&input, 0x5a, len);
}

/* ServerHello record of 127 bytes whose session id has 32 bytes: cipher at offset 76. Vision 8. */
static inline void set_server_hello(const char *cipher_hex, const char *version_extension_hex)
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

#define FIRST_BLOCK UUID_HEX "00 000a 0003 16030100050100000100 000000"
#define RECORD_24 "1703030013 101112131415161718191a1b1c1d1e1f202122"
#define DIRECT_BLOCK "02 0018 0001" RECORD_24 "00"

/* ---- app bytes of a reader ---- */

static struct cv_buffer out;

static inline int setup_out(void **state)
{
	(void)state;
	cv_buffer_init(&out, 1 << 20);
	return 0;
}

static inline int teardown_out(void **state)
{
	(void)state;
	cv_buffer_done(&out);
	return 0;
}

static inline void assert_out(const struct bytes *expected)
{
	assert_int_equal(cv_buffer_len(&out), expected->len);
	if (expected->len > 0)
		assert_memory_equal(cv_buffer_bytes(&out), expected->data, expected->len);
}

static inline void assert_out_hex(const char *hex)
{
	static struct bytes expected;

	bytes_set_hex(&expected, hex);
	assert_out(&expected);
}

/* In pieces of @piece bytes. */
static inline int read_pieces(struct cv_vision *vision, const struct bytes *bytes, size_t piece)
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

#define OUT_TEST(name) cmocka_unit_test_setup_teardown(name, setup_out, teardown_out)

#endif
