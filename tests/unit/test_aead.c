// SPDX-License-Identifier: MIT
/* test_aead.c - GCM, ChaCha20-Poly1305 and REALITY session id vectors; tampering; reuse. */
#include "crypto/crypto.h"

#include "../vectors/hex.h"
#include "../vectors/reality_14.h"

#include <culvert/reason.h>

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

struct aead_case {
	enum cv_aead_kind kind;
	const char *key, *nonce, *aad, *plain, *sealed;
};

static const struct aead_case cases[] = {
	/* McGrew and Viega, The Galois/Counter Mode of Operation, test cases 4, 2 and 16 */
	{CV_AES_128_GCM, "feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888",
	 "feedfacedeadbeeffeedfacedeadbeefabaddad2",
	 "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
	 "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
	 "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e"
	 "21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091"
	 "5bc94fbc3221a5db94fae95ae7121a47"},
	{CV_AES_128_GCM, "00000000000000000000000000000000", "000000000000000000000000", "",
	 "00000000000000000000000000000000",
	 "0388dace60b6a392f328c2b971b2fe78ab6e47d42cec13bdf53a67b21257bddf"},
	{CV_AES_256_GCM, "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
	 "cafebabefacedbaddecaf888", "feedfacedeadbeeffeedfacedeadbeefabaddad2",
	 "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
	 "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
	 "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
	 "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662"
	 "76fc6ece0f4e1768cddf8853bb2d551b"},
	/* RFC 8439 2.8.2 */
	{CV_CHACHA20_POLY1305, "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f",
	 "070000004041424344454647", "50515253c0c1c2c3c4c5c6c7",
	 "4c616469657320616e642047656e746c656d656e206f662074686520636c6173"
	 "73206f66202739393a204966204920636f756c64206f6666657220796f75206f"
	 "6e6c79206f6e652074697020666f7220746865206675747572652c2073756e73"
	 "637265656e20776f756c642062652069742e",
	 "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d6"
	 "3dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b36"
	 "92ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc"
	 "3ff4def08e4b7a9de576d26586cec64b61161ae10b594f09e26a7e902ecbd060"
	 "0691"},
	/* REALITY 14: the session id of the ClientHello */
	{CV_AES_256_GCM, REALITY_AUTH_KEY, REALITY_NONCE, REALITY_CLIENT_HELLO_AAD,
	 REALITY_SESSION_PLAIN, REALITY_SESSION_ID},
};

#define CASES (sizeof(cases) / sizeof(cases[0]))

struct decoded {
	uint8_t key[32], nonce[12], aad[256], plain[256], sealed[256];
	size_t aad_len, plain_len;
	struct cv_aead *seal, *open;
};

static void case_decode(const struct aead_case *c, struct decoded *d)
{
	hex_decode(c->key, d->key, sizeof(d->key));
	hex_decode(c->nonce, d->nonce, sizeof(d->nonce));
	d->aad_len = hex_decode(c->aad, d->aad, sizeof(d->aad));
	d->plain_len = hex_decode(c->plain, d->plain, sizeof(d->plain));
	assert_int_equal(hex_decode(c->sealed, d->sealed, sizeof(d->sealed)),
			 d->plain_len + CV_AEAD_TAG);
	d->seal = cv_aead_new(c->kind, d->key, true);
	d->open = cv_aead_new(c->kind, d->key, false);
	assert_non_null(d->seal);
	assert_non_null(d->open);
}

static void case_free(struct decoded *d)
{
	assert_null(cv_aead_free(d->seal));
	assert_null(cv_aead_free(d->open));
}

static void test_vectors(void **state)
{
	(void)state;
	for (size_t i = 0; i < CASES; i++) {
		struct decoded d;
		uint8_t out[272];

		case_decode(&cases[i], &d);
		/* Twice: the second time only the nonce is set again. */
		for (int round = 0; round < 2; round++) {
			memset(out, 0, sizeof(out));
			assert_int_equal(cv_aead_seal(d.seal, d.nonce, d.aad, d.aad_len, d.plain,
						      d.plain_len, out),
					 0);
			assert_memory_equal(out, d.sealed, d.plain_len + CV_AEAD_TAG);
			assert_int_equal(cv_aead_open(d.open, d.nonce, d.aad, d.aad_len, d.sealed,
						      d.plain_len + CV_AEAD_TAG, out),
					 0);
			assert_memory_equal(out, d.plain, d.plain_len);
		}
		case_free(&d);
	}
}

static void test_in_place(void **state)
{
	(void)state;
	for (size_t i = 0; i < CASES; i++) {
		struct decoded d;
		uint8_t bytes[272];

		case_decode(&cases[i], &d);
		memcpy(bytes, d.plain, d.plain_len);
		assert_int_equal(
			cv_aead_seal(d.seal, d.nonce, d.aad, d.aad_len, bytes, d.plain_len, bytes),
			0);
		assert_memory_equal(bytes, d.sealed, d.plain_len + CV_AEAD_TAG);
		assert_int_equal(cv_aead_open(d.open, d.nonce, d.aad, d.aad_len, bytes,
					      d.plain_len + CV_AEAD_TAG, bytes),
				 0);
		assert_memory_equal(bytes, d.plain, d.plain_len);
		case_free(&d);
	}
}

static void test_every_tampered_byte_is_refused(void **state)
{
	static const uint8_t zeros[256];

	(void)state;
	for (size_t i = 0; i < CASES; i++) {
		struct decoded d;
		uint8_t out[272];

		case_decode(&cases[i], &d);

		const size_t sealed_len = d.plain_len + CV_AEAD_TAG;

		for (size_t at = 0; at < sealed_len; at++) {
			d.sealed[at] ^= 0x40;
			memset(out, 0xee, sizeof(out));
			assert_int_equal(cv_aead_open(d.open, d.nonce, d.aad, d.aad_len, d.sealed,
						      sealed_len, out),
					 CV_PEER_BAD_RECORD);
			assert_memory_equal(out, zeros, d.plain_len);
			assert_int_equal(out[d.plain_len], 0xee);
			d.sealed[at] ^= 0x40;
		}
		for (size_t at = 0; at < d.aad_len; at++) {
			d.aad[at] ^= 1;
			assert_int_equal(cv_aead_open(d.open, d.nonce, d.aad, d.aad_len, d.sealed,
						      sealed_len, out),
					 CV_PEER_BAD_RECORD);
			d.aad[at] ^= 1;
		}
		/* A refused record does not spoil the context. */
		assert_int_equal(
			cv_aead_open(d.open, d.nonce, d.aad, d.aad_len, d.sealed, sealed_len, out),
			0);
		assert_memory_equal(out, d.plain, d.plain_len);
		case_free(&d);
	}
}

static void test_empty_message(void **state)
{
	static const enum cv_aead_kind kinds[] = {CV_AES_128_GCM, CV_AES_256_GCM,
						  CV_CHACHA20_POLY1305};
	const uint8_t key[32] = {1};
	const uint8_t nonce[12] = {2};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct cv_aead *seal = cv_aead_new(kinds[i], key, true);
		struct cv_aead *open = cv_aead_new(kinds[i], key, false);
		uint8_t tag[16];

		assert_int_equal(cv_aead_seal(seal, nonce, "aad", 3, NULL, 0, tag), 0);
		assert_int_equal(cv_aead_open(open, nonce, "aad", 3, tag, 16, NULL), 0);
		assert_int_equal(cv_aead_open(open, nonce, "aae", 3, tag, 16, NULL),
				 CV_PEER_BAD_RECORD);
		assert_int_equal(cv_aead_open(open, nonce, "aad", 3, tag, 15, NULL),
				 CV_PEER_BAD_RECORD);
		cv_aead_free(seal);
		cv_aead_free(open);
	}
	assert_null(cv_aead_free(NULL));
	assert_int_equal(cv_aead_key_len(CV_AES_128_GCM), 16);
	assert_int_equal(cv_aead_key_len(CV_AES_256_GCM), 32);
	assert_int_equal(cv_aead_key_len(CV_CHACHA20_POLY1305), 32);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vectors),
		cmocka_unit_test(test_in_place),
		cmocka_unit_test(test_every_tampered_byte_is_refused),
		cmocka_unit_test(test_empty_message),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
