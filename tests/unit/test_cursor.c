// SPDX-License-Identifier: MIT
/* test_cursor.c - integers, vectors and the sticky error of reader and writer. */
#include "base/cursor.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static const uint8_t numbers[] = {0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09,
				  0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f, 0x10, 0x11, 0x12};

static void test_reads_big_endian(void **state)
{
	struct cv_reader reader = cv_reader_of(numbers, sizeof(numbers));

	(void)state;
	assert_int_equal(cv_read_u8(&reader), 0x01);
	assert_int_equal(cv_read_u16(&reader), 0x0203);
	assert_int_equal(cv_read_u24(&reader), 0x040506);
	assert_int_equal(cv_read_u32(&reader), 0x0708090a);
	assert_true(cv_read_u64(&reader) == UINT64_C(0x0b0c0d0e0f101112));
	assert_true(cv_reader_ended(&reader));
	assert_int_equal(cv_reader_left(&reader), 0);
}

static void test_reader_error_sticks(void **state)
{
	struct cv_reader reader = cv_reader_of(numbers, 3);

	(void)state;
	assert_int_equal(cv_read_u32(&reader), 0);
	assert_true(reader.failed);
	/* Three bytes are there, but nothing may be believed any more. */
	assert_int_equal(cv_read_u8(&reader), 0);
	assert_null(cv_read_bytes(&reader, 1));
	assert_null(cv_read_bytes(&reader, 0));
	assert_int_equal(cv_reader_left(&reader), 0);
	assert_false(cv_reader_ended(&reader));

	struct cv_reader sub = cv_read_vector8(&reader);

	assert_true(sub.failed);
	assert_int_equal(cv_read_u8(&sub), 0);
}

static void test_reads_vectors(void **state)
{
	static const uint8_t bytes[] = {2, 'a', 'b', 0, 1, 'c', 0, 0, 3, 'd', 'e', 'f', 0};
	struct cv_reader reader = cv_reader_of(bytes, sizeof(bytes));
	struct cv_reader first = cv_read_vector8(&reader);
	struct cv_reader second = cv_read_vector16(&reader);
	struct cv_reader third = cv_read_vector24(&reader);
	struct cv_reader empty = cv_read_vector8(&reader);

	(void)state;
	assert_true(cv_reader_ended(&reader));
	assert_true(cv_reader_ended(&empty));
	assert_int_equal(cv_reader_left(&first), 2);
	assert_memory_equal(cv_read_bytes(&first, 2), "ab", 2);
	assert_int_equal(cv_read_u8(&first), 0);
	assert_true(first.failed);
	assert_false(reader.failed);
	assert_int_equal(cv_read_u8(&second), 'c');
	assert_memory_equal(cv_read_bytes(&third, 3), "def", 3);
}

static void test_vector_longer_than_parent(void **state)
{
	static const uint8_t bytes[] = {0xff, 0xff, 1, 2, 3};
	struct cv_reader reader = cv_reader_of(bytes, sizeof(bytes));
	struct cv_reader sub = cv_read_vector16(&reader);

	(void)state;
	assert_true(reader.failed);
	assert_true(sub.failed);
	assert_int_equal(cv_reader_left(&sub), 0);
	assert_false(cv_reader_ended(&sub));
}

static void test_empty_reader(void **state)
{
	struct cv_reader reader = cv_reader_of(NULL, 0);

	(void)state;
	assert_true(cv_reader_ended(&reader));
	cv_read_bytes(&reader, 0);
	assert_false(reader.failed);
	assert_null(cv_read_bytes(&reader, SIZE_MAX));
	assert_true(reader.failed);
}

static void test_writes_big_endian(void **state)
{
	uint8_t bytes[sizeof(numbers)];
	struct cv_writer writer = cv_writer_of(bytes, sizeof(bytes));

	(void)state;
	cv_write_u8(&writer, 0x01);
	cv_write_u16(&writer, 0x0203);
	cv_write_u24(&writer, 0x040506);
	cv_write_u32(&writer, 0x0708090a);
	cv_write_u64(&writer, UINT64_C(0x0b0c0d0e0f101112));
	assert_false(writer.failed);
	assert_int_equal(cv_writer_len(&writer), sizeof(numbers));
	assert_memory_equal(bytes, numbers, sizeof(numbers));
}

static void test_writer_never_passes_the_end(void **state)
{
	uint8_t bytes[8];
	struct cv_writer writer = cv_writer_of(bytes, 4);

	(void)state;
	memset(bytes, 0xee, sizeof(bytes));
	cv_write_u24(&writer, 0x010203);
	cv_write_u16(&writer, 0x0405);
	assert_true(writer.failed);
	/* One byte would still fit; the error sticks. */
	cv_write_u8(&writer, 6);
	cv_write_zeros(&writer, 1);
	assert_int_equal(cv_writer_len(&writer), 3);
	assert_memory_equal(bytes, "\x01\x02\x03\xee\xee\xee\xee\xee", 8);
}

static void test_writes_nested_vectors(void **state)
{
	static const uint8_t expected[] = {0, 0, 8, 0, 6, 'x', 3, 'a', 'b', 0, 'y'};
	uint8_t bytes[32];
	struct cv_writer writer = cv_writer_of(bytes, sizeof(bytes));

	(void)state;
	const size_t outer = cv_write_open24(&writer);
	const size_t middle = cv_write_open16(&writer);

	cv_write_u8(&writer, 'x');
	const size_t inner = cv_write_open8(&writer);

	cv_write_bytes(&writer, "ab", 2);
	cv_write_zeros(&writer, 1);
	cv_write_bytes(&writer, NULL, 0);
	cv_write_close8(&writer, inner);
	cv_write_u8(&writer, 'y');
	cv_write_close16(&writer, middle);
	cv_write_close24(&writer, outer);
	assert_false(writer.failed);
	assert_int_equal(cv_writer_len(&writer), sizeof(expected));
	assert_memory_equal(bytes, expected, sizeof(expected));
}

static void test_vector_too_long_for_its_length(void **state)
{
	uint8_t bytes[300];
	struct cv_writer writer = cv_writer_of(bytes, sizeof(bytes));
	size_t mark = cv_write_open8(&writer);

	(void)state;
	cv_write_zeros(&writer, 255);
	cv_write_close8(&writer, mark);
	assert_false(writer.failed);
	assert_int_equal(bytes[0], 255);

	writer = cv_writer_of(bytes, sizeof(bytes));
	mark = cv_write_open8(&writer);
	cv_write_zeros(&writer, 256);
	cv_write_close8(&writer, mark);
	assert_true(writer.failed);

	writer = cv_writer_of(bytes, sizeof(bytes));
	cv_write_u24(&writer, 0x1000000);
	assert_true(writer.failed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reads_big_endian),
		cmocka_unit_test(test_reader_error_sticks),
		cmocka_unit_test(test_reads_vectors),
		cmocka_unit_test(test_vector_longer_than_parent),
		cmocka_unit_test(test_empty_reader),
		cmocka_unit_test(test_writes_big_endian),
		cmocka_unit_test(test_writer_never_passes_the_end),
		cmocka_unit_test(test_writes_nested_vectors),
		cmocka_unit_test(test_vector_too_long_for_its_length),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
