// SPDX-License-Identifier: MIT
/*
 * uuid.c - user ids: UUID text, or a short name that stands for one (VLESS 5.1).
 *
 * The length decides: 32..36 bytes must be a UUID, 1..30 bytes are hashed to a version 5 UUID under
 * the all-zero namespace, and 31 is nothing, so that a mistyped UUID does not become a name.
 */
#include "crypto/uuid.h"

#include "crypto/crypto.h"

#include <culvert/reason.h>

#include <stdio.h>
#include <string.h>

#define NAME_MAX_BYTES 30
#define TEXT_MIN_BYTES 32
#define TEXT_MAX_BYTES 36

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

static void uuid_mark(uint8_t uuid[16], uint8_t version)
{
	uuid[6] = (uint8_t)((uuid[6] & 0x0f) | version << 4);
	uuid[8] = (uint8_t)((uuid[8] & 0x3f) | 0x80);
}

/* 8-4-4-4-12 hex digits, each dash optional. */
static int uuid_from_hex(const char *text, uint8_t ret_uuid[16])
{
	uint8_t uuid[16];

	for (size_t i = 0; i < sizeof(uuid); i++) {
		if ((i == 4 || i == 6 || i == 8 || i == 10) && *text == '-')
			text++;

		const int high = hex_value(text[0]);
		const int low = high < 0 ? -1 : hex_value(text[1]);

		if (low < 0)
			return CV_INTERNAL_CONFIG;
		uuid[i] = (uint8_t)(high << 4 | low);
		text += 2;
	}
	if (*text)
		return CV_INTERNAL_CONFIG;
	memcpy(ret_uuid, uuid, sizeof(uuid));
	return 0;
}

static int uuid_from_name(const char *name, size_t len, uint8_t ret_uuid[16])
{
	uint8_t message[16 + NAME_MAX_BYTES] = {0};
	uint8_t digest[CV_HASH_MAX];

	memcpy(message + 16, name, len);
	if (cv_hash(CV_SHA1, message, 16 + len, digest) != 0)
		return CV_INTERNAL_CRYPTO;
	uuid_mark(digest, 5);
	memcpy(ret_uuid, digest, 16);
	return 0;
}

int cv_uuid_parse(const char *text, uint8_t ret_uuid[16])
{
	const size_t len = strnlen(text, TEXT_MAX_BYTES + 1);

	if (len >= 1 && len <= NAME_MAX_BYTES)
		return uuid_from_name(text, len, ret_uuid);
	if (len >= TEXT_MIN_BYTES && len <= TEXT_MAX_BYTES)
		return uuid_from_hex(text, ret_uuid);
	return CV_INTERNAL_CONFIG;
}

bool cv_uuid_is_id(const char *text)
{
	uint8_t ignored[16];

	return strlen(text) >= TEXT_MIN_BYTES && cv_uuid_parse(text, ignored) == 0;
}

void cv_uuid_format(const uint8_t uuid[16], char text[CV_UUID_TEXT])
{
	size_t at = 0;

	for (size_t i = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			text[at++] = '-';
		at += (size_t)snprintf(text + at, CV_UUID_TEXT - at, "%02x", uuid[i]);
	}
}

int cv_uuid_random(uint8_t ret_uuid[16])
{
	uint8_t uuid[16];
	const int error = cv_random_bytes(uuid, sizeof(uuid));

	if (error)
		return error;
	uuid_mark(uuid, 4);
	memcpy(ret_uuid, uuid, sizeof(uuid));
	return 0;
}
