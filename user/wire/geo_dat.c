// SPDX-License-Identifier: MIT
/*
 * geo_dat.c - geosite.dat and geoip.dat, field by field.
 *
 *   file    1: entry ...
 *   entry   1: code   2: item ...   3: reverse_match (geoip)
 *   item    geosite  1: kind  2: value  3: attribute { 1: key ... } ...
 *           geoip    1: address, 4 or 16 bytes  2: prefix
 *
 * Unknown fields are skipped, as protocol buffers want it.
 */
#include "wire/geo_dat.h"

#include <culvert/reason.h>

#include <errno.h>
#include <string.h>
#include <strings.h>

enum wire_type { WIRE_VARINT, WIRE_64, WIRE_BYTES, WIRE_32 = 5 };

struct field {
	uint64_t number, value; /* value: of WIRE_VARINT */
	struct cv_reader bytes; /* of WIRE_BYTES */
	enum wire_type type;
};

static bool read_varint(struct cv_reader *reader, uint64_t *ret_value)
{
	uint64_t value = 0;

	for (unsigned shift = 0; shift < 64 && cv_reader_left(reader) > 0; shift += 7) {
		const uint8_t byte = cv_read_u8(reader);

		value |= (uint64_t)(byte & 0x7f) << shift;
		if (byte < 0x80) {
			*ret_value = value;
			return true;
		}
	}
	return false;
}

static int read_body(struct cv_reader *reader, struct field *field)
{
	uint64_t len_bytes = field->type == WIRE_64 ? 8 : 4;

	if (field->type == WIRE_VARINT)
		return read_varint(reader, &field->value) ? 0 : CV_PEER_DECODE;
	if (field->type != WIRE_BYTES && field->type != WIRE_64 && field->type != WIRE_32)
		return CV_PEER_DECODE;
	if (field->type == WIRE_BYTES && !read_varint(reader, &len_bytes))
		return CV_PEER_DECODE;
	if (len_bytes > cv_reader_left(reader))
		return CV_PEER_DECODE;
	field->bytes = cv_reader_of(cv_read_bytes(reader, (size_t)len_bytes), (size_t)len_bytes);
	return 0;
}

/* -ENOENT at the end. */
static int next_field(struct cv_reader *reader, struct field *ret_field)
{
	struct field field = {0};
	uint64_t key;
	int error;

	if (cv_reader_left(reader) == 0)
		return -ENOENT;
	if (!read_varint(reader, &key))
		return CV_PEER_DECODE;
	field.number = key >> 3;
	field.type = (enum wire_type)(key & 7);
	error = read_body(reader, &field);
	if (!error)
		*ret_field = field;
	return error;
}

/* The next field @number that is bytes. */
static int next_bytes(struct cv_reader *reader, uint64_t number, struct cv_reader *ret_bytes)
{
	struct field field;
	int error;

	while ((error = next_field(reader, &field)) == 0)
		if (field.number == number && field.type == WIRE_BYTES) {
			*ret_bytes = field.bytes;
			return 0;
		}
	return error;
}

static bool is_called(struct cv_reader name, const char *text, size_t len)
{
	return cv_reader_left(&name) == len &&
	       strncasecmp((const char *)cv_read_bytes(&name, len), text, len) == 0;
}

int cv_geo_find(struct cv_reader file, const char *code, struct cv_reader *ret_entry)
{
	struct cv_reader entry, at, name;
	int error;

	while ((error = next_bytes(&file, 1, &entry)) == 0) {
		at = entry;
		error = next_bytes(&at, 1, &name);
		if (error && error != -ENOENT)
			return error;
		if (!error && is_called(name, code, strlen(code))) {
			*ret_entry = entry;
			return 0;
		}
	}
	return error;
}

int cv_geosite_next(struct cv_reader *entry, struct cv_geo_domain *ret_domain)
{
	struct cv_geo_domain domain = {.kind = CV_GEO_KEYWORD};
	struct cv_reader item;
	struct field field;
	int error = next_bytes(entry, 2, &item);

	if (error)
		return error;
	domain.attributes = item;
	while ((error = next_field(&item, &field)) == 0) {
		if (field.number == 1 && field.type == WIRE_VARINT) {
			if (field.value > CV_GEO_FULL)
				return CV_PEER_DECODE;
			domain.kind = (enum cv_geo_kind)field.value;
		} else if (field.number == 2 && field.type == WIRE_BYTES) {
			domain.value_len = cv_reader_left(&field.bytes);
			domain.value =
				(const char *)cv_read_bytes(&field.bytes, domain.value_len);
		}
	}
	if (error != -ENOENT || domain.value_len == 0)
		return CV_PEER_DECODE;
	*ret_domain = domain;
	return 0;
}

bool cv_geosite_has(const struct cv_geo_domain *domain, const char *name, size_t len)
{
	struct cv_reader item = domain->attributes, attribute, key;

	while (next_bytes(&item, 3, &attribute) == 0)
		if (next_bytes(&attribute, 1, &key) == 0 && is_called(key, name, len))
			return true;
	return false;
}

int cv_geoip_next(struct cv_reader *entry, struct cv_geo_block *ret_block)
{
	struct cv_geo_block block = {0};
	struct cv_reader item;
	struct field field;
	size_t len_bytes = 0;
	uint64_t prefix = 0;
	int error = next_bytes(entry, 2, &item);

	if (error)
		return error;
	while ((error = next_field(&item, &field)) == 0) {
		if (field.number == 1 && field.type == WIRE_BYTES) {
			len_bytes = cv_reader_left(&field.bytes);
			if (len_bytes != 4 && len_bytes != 16)
				return CV_PEER_DECODE;
			memcpy(block.bytes, cv_read_bytes(&field.bytes, len_bytes), len_bytes);
		} else if (field.number == 2 && field.type == WIRE_VARINT) {
			prefix = field.value;
		}
	}
	if (error != -ENOENT || len_bytes == 0 || prefix > 8 * len_bytes)
		return CV_PEER_DECODE;
	block.is_ipv6 = len_bytes == 16;
	block.prefix_bits = (uint8_t)prefix;
	*ret_block = block;
	return 0;
}

bool cv_geoip_is_reversed(struct cv_reader entry)
{
	struct field field;

	while (next_field(&entry, &field) == 0)
		if (field.number == 3 && field.type == WIRE_VARINT)
			return field.value != 0;
	return false;
}
