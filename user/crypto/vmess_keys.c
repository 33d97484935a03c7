// SPDX-License-Identifier: MIT
/*
 * vmess_keys.c - keys of VMess with AEAD header.
 *
 * The KDF is HMAC, at whose bottom is HMAC-SHA-256 keyed by a fixed text; each part of the path
 * puts one more HMAC on top, which takes the one below for its hash (block 64 bytes, result 32):
 *
 *   H0(m) = HMAC-SHA-256("VMess AEAD KDF", m)
 *   Hi(m) = Hi-1(part ^ 5c.. | Hi-1(part ^ 36.. | m))          KDF(key, p1, p2, p3) = H3(key)
 */
#include "crypto/vmess_keys.h"

#include <culvert/reason.h>

#include <string.h>

#define BLOCK 64
#define RESULT 32

static const char kdf_text[] = "VMess AEAD KDF";
static const char auth_id_text[] = "AES Auth ID Encryption";
static const char command_text[] = "c48619fe-8f02-49e0-b9e9-edf763e17e21";

int cv_vmess_command_key(const uint8_t uuid[16], uint8_t ret_key[CV_VMESS_KEY])
{
	uint8_t bytes[16 + sizeof(command_text) - 1];
	int error;

	memcpy(bytes, uuid, 16);
	memcpy(bytes + 16, command_text, sizeof(command_text) - 1);
	error = cv_hash(CV_MD5, bytes, sizeof(bytes), ret_key);
	cv_cleanse(bytes, sizeof(bytes));
	return error;
}

/* ---- KDF ---------------------------------------------------------------------------------- */

/* H of @level over @parts, in front of which there is room for a pad of each level above. */
static int nested(const struct cv_mac_part *path, size_t level, struct cv_mac_part *parts,
		  size_t part_count, uint8_t ret_digest[RESULT])
{
	uint8_t inner[BLOCK], outer[BLOCK], digest[RESULT];
	struct cv_mac_part outer_parts[CV_VMESS_PATH_MAX + 2];
	const struct cv_mac_part *key;
	int error;

	if (level == 0)
		return cv_hmac(CV_SHA256, kdf_text, sizeof(kdf_text) - 1, parts, part_count,
			       ret_digest);
	key = &path[level - 1];
	memset(inner, 0x36, sizeof(inner));
	memset(outer, 0x5c, sizeof(outer));
	for (size_t i = 0; i < key->count_bytes; i++) {
		inner[i] ^= ((const uint8_t *)key->bytes)[i];
		outer[i] ^= ((const uint8_t *)key->bytes)[i];
	}
	*--parts = (struct cv_mac_part){inner, sizeof(inner)};
	error = nested(path, level - 1, parts, part_count + 1, digest);
	if (!error) {
		outer_parts[level] = (struct cv_mac_part){outer, sizeof(outer)};
		outer_parts[level + 1] = (struct cv_mac_part){digest, sizeof(digest)};
		error = nested(path, level - 1, &outer_parts[level], 2, ret_digest);
	}
	cv_cleanse(digest, sizeof(digest));
	return error;
}

int cv_vmess_kdf(const uint8_t key[CV_VMESS_KEY], const struct cv_mac_part *path,
		 size_t part_count, uint8_t ret_derived[32])
{
	struct cv_mac_part parts[CV_VMESS_PATH_MAX + 1];

	if (part_count > CV_VMESS_PATH_MAX)
		return CV_INTERNAL_CRYPTO;
	for (size_t i = 0; i < part_count; i++)
		if (path[i].count_bytes > BLOCK)
			return CV_INTERNAL_CRYPTO;
	parts[part_count] = (struct cv_mac_part){key, CV_VMESS_KEY};
	return nested(path, part_count, &parts[part_count], 1, ret_derived);
}

/* ---- auth id ------------------------------------------------------------------------------ */

int cv_vmess_auth_key(const uint8_t command_key[CV_VMESS_KEY], uint8_t ret_key[CV_VMESS_KEY])
{
	const struct cv_mac_part path = {auth_id_text, sizeof(auth_id_text) - 1};
	uint8_t derived[32];
	const int error = cv_vmess_kdf(command_key, &path, 1, derived);

	if (!error)
		memcpy(ret_key, derived, CV_VMESS_KEY);
	cv_cleanse(derived, sizeof(derived));
	return error;
}

/* CRC-32 of IEEE 802.3, over twelve bytes only. */
static uint32_t checksum(const uint8_t *bytes, size_t count_bytes)
{
	uint32_t crc = UINT32_MAX;

	for (size_t i = 0; i < count_bytes; i++) {
		crc ^= bytes[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
	}
	return ~crc;
}

static void put_be(uint8_t *to, uint64_t value, size_t count_bytes)
{
	for (size_t i = 0; i < count_bytes; i++)
		to[i] = (uint8_t)(value >> 8 * (count_bytes - 1 - i));
}

static uint64_t get_be(const uint8_t *from, size_t count_bytes)
{
	uint64_t value = 0;

	for (size_t i = 0; i < count_bytes; i++)
		value = value << 8 | from[i];
	return value;
}

int cv_vmess_auth_id_make(const uint8_t auth_key[CV_VMESS_KEY], uint64_t now_s,
			  const uint8_t salt[4], uint8_t ret_auth_id[CV_VMESS_AUTH_ID])
{
	uint8_t block[CV_VMESS_AUTH_ID];
	int error;

	put_be(block, now_s, 8);
	memcpy(block + 8, salt, 4);
	put_be(block + 12, checksum(block, 12), 4);
	error = cv_aes128_block(auth_key, true, block);
	if (!error)
		memcpy(ret_auth_id, block, sizeof(block));
	return error;
}

int cv_vmess_auth_id_read(const uint8_t auth_key[CV_VMESS_KEY],
			  const uint8_t auth_id[CV_VMESS_AUTH_ID], uint64_t *ret_time_s)
{
	uint8_t block[CV_VMESS_AUTH_ID];
	int error;

	memcpy(block, auth_id, sizeof(block));
	error = cv_aes128_block(auth_key, false, block);
	if (error)
		return error;
	if (get_be(block + 12, 4) != checksum(block, 12))
		return CV_PEER_UNKNOWN_USER;
	*ret_time_s = get_be(block, 8);
	return 0;
}

int cv_vmess_chacha_key(const uint8_t body_key[CV_VMESS_KEY], uint8_t ret_key[32])
{
	uint8_t key[32];
	int error = cv_hash(CV_MD5, body_key, CV_VMESS_KEY, key);

	if (!error)
		error = cv_hash(CV_MD5, key, 16, key + 16);
	if (!error)
		memcpy(ret_key, key, sizeof(key));
	cv_cleanse(key, sizeof(key));
	return error;
}
