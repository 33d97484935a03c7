// SPDX-License-Identifier: MIT
/*
 * siphash.c - SipHash-2-4: without the key nobody can choose inputs that share a bucket, and a
 * lookup's time says nothing about the entries.
 */
#include "policy/siphash.h"

#include "crypto/crypto.h"

#include <string.h>

static uint64_t rotate(uint64_t value, unsigned bits)
{
	return value << bits | value >> (64 - bits);
}

static uint64_t load_le64(const uint8_t *bytes, size_t count_bytes)
{
	uint64_t value = 0;

	for (size_t i = 0; i < count_bytes; i++)
		value |= (uint64_t)bytes[i] << (8 * i);
	return value;
}

static void rounds(uint64_t v[4], unsigned count)
{
	while (count--) {
		v[0] += v[1];
		v[1] = rotate(v[1], 13) ^ v[0];
		v[0] = rotate(v[0], 32);
		v[2] += v[3];
		v[3] = rotate(v[3], 16) ^ v[2];
		v[0] += v[3];
		v[3] = rotate(v[3], 21) ^ v[0];
		v[2] += v[1];
		v[1] = rotate(v[1], 17) ^ v[2];
		v[2] = rotate(v[2], 32);
	}
}

static void absorb(uint64_t v[4], uint64_t word)
{
	v[3] ^= word;
	rounds(v, 2);
	v[0] ^= word;
}

uint64_t cv_siphash(const struct cv_siphash_key *key, const void *bytes, size_t count_bytes)
{
	const uint8_t *at = bytes;
	size_t left = count_bytes;
	uint64_t v[4] = {
		key->word[0] ^ 0x736f6d6570736575,
		key->word[1] ^ 0x646f72616e646f6d,
		key->word[0] ^ 0x6c7967656e657261,
		key->word[1] ^ 0x7465646279746573,
	};

	for (; left >= 8; left -= 8, at += 8)
		absorb(v, load_le64(at, 8));
	absorb(v, load_le64(at, left) | (uint64_t)count_bytes << 56);
	v[2] ^= 0xff;
	rounds(v, 4);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

int cv_siphash_key_random(struct cv_siphash_key *ret_key)
{
	struct cv_siphash_key key;
	const int error = cv_random_bytes(&key, sizeof(key));

	if (!error)
		*ret_key = key;
	return error;
}
