// SPDX-License-Identifier: MIT
/*
 * reverse_control.c - control messages of reverse tunnels.
 *
 * Protobuf as far as it goes here: of a field that occurs twice the last one counts, fields that
 * nobody knows are skipped, groups, which nobody writes any more, are refused.
 */
#include "wire/reverse_control.h"

#include <culvert/reason.h>

#include "base/cursor.h"

#include <string.h>
#include <strings.h>

#define STATE_FIELD 1
#define RANDOM_FIELD 99

enum wire_type { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

size_t cv_reverse_control_write(enum cv_reverse_state state, struct cv_span random,
				uint8_t ret_bytes[CV_REVERSE_CONTROL_MAX])
{
	struct cv_writer writer = cv_writer_of(ret_bytes, CV_REVERSE_CONTROL_MAX);
	const uint32_t tag = RANDOM_FIELD << 3 | WIRE_BYTES;

	if (random.len_bytes > CV_REVERSE_RANDOM_MAX)
		random.len_bytes = CV_REVERSE_RANDOM_MAX;
	if (state != CV_REVERSE_ACTIVE) {
		cv_write_u8(&writer, STATE_FIELD << 3 | WIRE_VARINT);
		cv_write_u8(&writer, (uint8_t)state);
	}
	if (random.len_bytes > 0) {
		cv_write_u8(&writer, (uint8_t)(tag & 0x7f) | 0x80);
		cv_write_u8(&writer, (uint8_t)(tag >> 7));
		cv_write_u8(&writer, (uint8_t)random.len_bytes);
		cv_write_bytes(&writer, random.data, random.len_bytes);
	}
	return cv_writer_len(&writer);
}

static void skip_bytes(struct cv_reader *reader)
{
	const uint64_t len_bytes = cv_read_varint(reader);

	if (len_bytes > cv_reader_left(reader))
		reader->failed = true;
	else
		cv_read_bytes(reader, (size_t)len_bytes);
}

/* The varint of a field, 0 of others. */
static uint64_t read_field(struct cv_reader *reader, uint64_t *ret_number)
{
	const uint64_t tag = cv_read_varint(reader);

	*ret_number = tag >> 3;
	switch (tag & 7) {
	case WIRE_VARINT:
		return cv_read_varint(reader);
	case WIRE_FIXED64:
		cv_read_u64(reader);
		break;
	case WIRE_BYTES:
		skip_bytes(reader);
		break;
	case WIRE_FIXED32:
		cv_read_u32(reader);
		break;
	default:
		reader->failed = true;
	}
	reader->failed |= *ret_number == STATE_FIELD; /* of another type than it is */
	return 0;
}

int cv_reverse_control_read(struct cv_span bytes, enum cv_reverse_state *ret_state)
{
	struct cv_reader reader = cv_reader_of(bytes.data, bytes.len_bytes);
	uint64_t state = CV_REVERSE_ACTIVE;

	while (!reader.failed && cv_reader_left(&reader) > 0) {
		uint64_t number;
		const uint64_t value = read_field(&reader, &number);

		if (number == 0)
			reader.failed = true;
		if (number == STATE_FIELD)
			state = value;
	}
	if (reader.failed || state > CV_REVERSE_DRAIN)
		return CV_PEER_DECODE;
	*ret_state = (enum cv_reverse_state)state;
	return 0;
}

bool cv_reverse_is_control(const struct cv_destination *destination)
{
	static const char *const names[] = {
		CV_REVERSE_DOMAIN, "reverse.internal.v2ray.com", "reverse.internal.v2fly.org"};

	if (destination->kind != CV_ADDRESS_DOMAIN)
		return false;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcasecmp(destination->domain, names[i]) == 0)
			return true;
	return false;
}
