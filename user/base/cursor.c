// SPDX-License-Identifier: MIT
/*
 * cursor.c - bounded reading and writing of wire formats, one sticky error for a whole message.
 *
 * Every access gets its bytes from one function; it alone compares with the end, and after the
 * first failure it gives nothing any more. A vector that claims more than its parent holds fails
 * the parent and yields a failed, empty sub-reader: no length is believed before it is checked.
 *
 *	writer:  mark = open16 ......... close16(mark)
 *	         [len len] body body body
 *	         ^mark                    ^ at: the length is filled in here, and refused if too big
 */
#include "base/cursor.h"

#include <string.h>

struct cv_reader cv_reader_of(const void *bytes, size_t len_bytes)
{
	const uint8_t *at = bytes;

	/* NULL + 0 is undefined in C, and an empty span has a NULL pointer. */
	return (struct cv_reader){.at = at, .end = len_bytes ? at + len_bytes : at};
}

size_t cv_reader_left(const struct cv_reader *reader)
{
	return reader->failed ? 0 : (size_t)(reader->end - reader->at);
}

bool cv_reader_ended(const struct cv_reader *reader)
{
	return !reader->failed && reader->at == reader->end;
}

const uint8_t *cv_read_bytes(struct cv_reader *reader, size_t count_bytes)
{
	const uint8_t *bytes = reader->at;

	if (reader->failed || count_bytes > (size_t)(reader->end - reader->at)) {
		reader->failed = true;
		return NULL;
	}
	if (count_bytes)
		reader->at += count_bytes;
	return bytes;
}

static uint64_t read_big_endian(struct cv_reader *reader, size_t count_bytes)
{
	const uint8_t *bytes = cv_read_bytes(reader, count_bytes);
	uint64_t value = 0;

	if (!bytes)
		return 0;
	for (size_t i = 0; i < count_bytes; i++)
		value = value << 8 | bytes[i];
	return value;
}

uint8_t cv_read_u8(struct cv_reader *reader)
{
	return (uint8_t)read_big_endian(reader, 1);
}

uint16_t cv_read_u16(struct cv_reader *reader)
{
	return (uint16_t)read_big_endian(reader, 2);
}

uint32_t cv_read_u24(struct cv_reader *reader)
{
	return (uint32_t)read_big_endian(reader, 3);
}

uint32_t cv_read_u32(struct cv_reader *reader)
{
	return (uint32_t)read_big_endian(reader, 4);
}

uint64_t cv_read_u64(struct cv_reader *reader)
{
	return read_big_endian(reader, 8);
}

uint64_t cv_read_varint(struct cv_reader *reader)
{
	uint64_t value = 0;

	for (unsigned int shift = 0; shift < 70; shift += 7) {
		const uint8_t byte = cv_read_u8(reader);

		if (shift == 63 && byte > 1) /* more than 64 bits */
			break;
		value |= (uint64_t)(byte & 0x7f) << shift;
		if (reader->failed || byte < 0x80)
			return value;
	}
	reader->failed = true;
	return 0;
}

static struct cv_reader read_vector(struct cv_reader *reader, size_t length_bytes)
{
	const size_t len = (size_t)read_big_endian(reader, length_bytes);
	const uint8_t *bytes = cv_read_bytes(reader, len);

	if (reader->failed)
		return (struct cv_reader){.failed = true};
	return cv_reader_of(bytes, len);
}

struct cv_reader cv_read_vector8(struct cv_reader *reader)
{
	return read_vector(reader, 1);
}

struct cv_reader cv_read_vector16(struct cv_reader *reader)
{
	return read_vector(reader, 2);
}

struct cv_reader cv_read_vector24(struct cv_reader *reader)
{
	return read_vector(reader, 3);
}

struct cv_writer cv_writer_of(void *bytes, size_t size_bytes)
{
	uint8_t *start = bytes;

	return (struct cv_writer){
		.start = start, .at = start, .end = size_bytes ? start + size_bytes : start};
}

size_t cv_writer_len(const struct cv_writer *writer)
{
	return (size_t)(writer->at - writer->start);
}

/* The next @count_bytes to write, or NULL (and failed). */
static uint8_t *writer_take(struct cv_writer *writer, size_t count_bytes)
{
	uint8_t *at = writer->at;

	if (writer->failed || count_bytes > (size_t)(writer->end - writer->at)) {
		writer->failed = true;
		return NULL;
	}
	if (count_bytes)
		writer->at += count_bytes;
	return at;
}

static void put_big_endian(uint8_t *at, uint64_t value, size_t count_bytes)
{
	for (size_t i = count_bytes; i > 0; i--) {
		at[i - 1] = (uint8_t)value;
		value >>= 8;
	}
}

static void write_big_endian(struct cv_writer *writer, uint64_t value, size_t count_bytes)
{
	uint8_t *at = writer_take(writer, count_bytes);

	if (at)
		put_big_endian(at, value, count_bytes);
}

void cv_write_u8(struct cv_writer *writer, uint8_t value)
{
	write_big_endian(writer, value, 1);
}

void cv_write_u16(struct cv_writer *writer, uint16_t value)
{
	write_big_endian(writer, value, 2);
}

void cv_write_u24(struct cv_writer *writer, uint32_t value)
{
	if (value >> 24)
		writer->failed = true;
	write_big_endian(writer, value, 3);
}

void cv_write_u32(struct cv_writer *writer, uint32_t value)
{
	write_big_endian(writer, value, 4);
}

void cv_write_u64(struct cv_writer *writer, uint64_t value)
{
	write_big_endian(writer, value, 8);
}

void cv_write_bytes(struct cv_writer *writer, const void *bytes, size_t count_bytes)
{
	uint8_t *at = writer_take(writer, count_bytes);

	if (at && count_bytes)
		memcpy(at, bytes, count_bytes);
}

void cv_write_zeros(struct cv_writer *writer, size_t count_bytes)
{
	uint8_t *at = writer_take(writer, count_bytes);

	if (at && count_bytes)
		memset(at, 0, count_bytes);
}

static size_t writer_open(struct cv_writer *writer, size_t length_bytes)
{
	const size_t mark = cv_writer_len(writer);

	cv_write_zeros(writer, length_bytes);
	return mark;
}

static void writer_close(struct cv_writer *writer, size_t mark, size_t length_bytes)
{
	if (writer->failed)
		return;

	const size_t body_bytes = cv_writer_len(writer) - mark - length_bytes;

	if (body_bytes >> (8 * length_bytes))
		writer->failed = true;
	else
		put_big_endian(writer->start + mark, body_bytes, length_bytes);
}

size_t cv_write_open8(struct cv_writer *writer)
{
	return writer_open(writer, 1);
}

size_t cv_write_open16(struct cv_writer *writer)
{
	return writer_open(writer, 2);
}

size_t cv_write_open24(struct cv_writer *writer)
{
	return writer_open(writer, 3);
}

void cv_write_close8(struct cv_writer *writer, size_t mark)
{
	writer_close(writer, mark, 1);
}

void cv_write_close16(struct cv_writer *writer, size_t mark)
{
	writer_close(writer, mark, 2);
}

void cv_write_close24(struct cv_writer *writer, size_t mark)
{
	writer_close(writer, mark, 3);
}
