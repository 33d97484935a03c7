/* SPDX-License-Identifier: MIT */
/*
 * cursor.h - straight-line reading and writing of wire formats with a sticky error.
 *
 * After the first failure every call does nothing and returns zero / NULL, so a parser reads field
 * after field and asks once at the end. The reader borrows its bytes; the writer writes into memory
 * of the caller and never past it. All integers are big endian unless the name ends in _le.
 */
#ifndef CV_BASE_CURSOR_H
#define CV_BASE_CURSOR_H

#include "base/buffer.h"

struct cv_reader {
	const uint8_t *at;
	const uint8_t *end;
	bool failed;
};

struct cv_reader cv_reader_of(const void *bytes, size_t len_bytes);
size_t cv_reader_left(const struct cv_reader *reader);
uint8_t cv_read_u8(struct cv_reader *reader);
uint16_t cv_read_u16(struct cv_reader *reader);
uint32_t cv_read_u24(struct cv_reader *reader);
uint32_t cv_read_u32(struct cv_reader *reader);
uint64_t cv_read_u64(struct cv_reader *reader);
/** cv_read_varint() - Seven bits a byte, the lowest first. Above 64 bits: failed, 0.
 * Source: protobuf's wire format. */
uint64_t cv_read_varint(struct cv_reader *reader);
/** cv_read_bytes() - View of the next @count_bytes, or NULL (and failed). */
const uint8_t *cv_read_bytes(struct cv_reader *reader, size_t count_bytes);
/** cv_read_vector8/16/24() - Sub-reader over a length-prefixed vector; failed if cut short. */
struct cv_reader cv_read_vector8(struct cv_reader *reader);
struct cv_reader cv_read_vector16(struct cv_reader *reader);
struct cv_reader cv_read_vector24(struct cv_reader *reader);
/** cv_reader_ended() - True if nothing failed and nothing is left. */
bool cv_reader_ended(const struct cv_reader *reader);

struct cv_writer {
	uint8_t *start;
	uint8_t *at;
	uint8_t *end;
	bool failed;
};

struct cv_writer cv_writer_of(void *bytes, size_t size_bytes);
size_t cv_writer_len(const struct cv_writer *writer);
void cv_write_u8(struct cv_writer *writer, uint8_t value);
void cv_write_u16(struct cv_writer *writer, uint16_t value);
void cv_write_u24(struct cv_writer *writer, uint32_t value);
void cv_write_u32(struct cv_writer *writer, uint32_t value);
void cv_write_u64(struct cv_writer *writer, uint64_t value);
void cv_write_bytes(struct cv_writer *writer, const void *bytes, size_t count_bytes);
void cv_write_zeros(struct cv_writer *writer, size_t count_bytes);
/** cv_write_open8/16/24() - Start a length-prefixed vector; returns its mark for the close. */
size_t cv_write_open8(struct cv_writer *writer);
size_t cv_write_open16(struct cv_writer *writer);
size_t cv_write_open24(struct cv_writer *writer);
/** cv_write_close8/16/24() - Fill in the length of the vector opened at @mark. */
void cv_write_close8(struct cv_writer *writer, size_t mark);
void cv_write_close16(struct cv_writer *writer, size_t mark);
void cv_write_close24(struct cv_writer *writer, size_t mark);

#endif
