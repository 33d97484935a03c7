// SPDX-License-Identifier: MIT
/* test_sign.c - RFC 8032 and REALITY 14 vectors, forgeries refused. */
#include "crypto/crypto.h"

#include "../vectors/hex.h"
#include "../vectors/reality_14.h"

#include <culvert/reason.h>

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

struct ed25519_case {
	const char *seed, *public_key, *message, *signature;
};

/* RFC 8032 7.1, tests 1 to 3. */
static const struct ed25519_case ed25519_cases[] = {
	{"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
	 "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
	 "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
	 "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"},
	{"4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
	 "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
	 "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
	 "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"},
	{"c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
	 "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
	 "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
	 "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"},
};

static void test_ed25519_rfc8032(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(ed25519_cases) / sizeof(ed25519_cases[0]); i++) {
		const struct ed25519_case *c = &ed25519_cases[i];
		HEX(seed, 32, c->seed);
		uint8_t message[8], public_key[32], signature[64];
		const size_t len = hex_decode(c->message, message, sizeof(message));
		struct cv_ed25519 *key = cv_ed25519_from_seed(seed);

		assert_non_null(key);
		assert_int_equal(cv_ed25519_public(key, public_key), 0);
		assert_hex(public_key, c->public_key);
		assert_int_equal(cv_ed25519_sign(key, message, len, signature), 0);
		assert_hex(signature, c->signature);
		assert_int_equal(cv_ed25519_verify(public_key, message, len, signature), 0);
		assert_null(cv_ed25519_free(key));
	}
	assert_null(cv_ed25519_free(NULL));
}

static void test_ed25519_refuses_forgeries(void **state)
{
	HEX(seed, 32, REALITY_ED25519_SEED);
	struct cv_ed25519 *key = cv_ed25519_from_seed(seed);
	uint8_t public_key[32], signature[64];

	(void)state;
	assert_int_equal(cv_ed25519_public(key, public_key), 0);
	assert_hex(public_key, REALITY_ED25519_PUBLIC);
	assert_int_equal(cv_ed25519_sign(key, "message", 7, signature), 0);
	assert_int_equal(cv_ed25519_verify(public_key, "message", 7, signature), 0);
	assert_int_equal(cv_ed25519_verify(public_key, "massage", 7, signature),
			 CV_PEER_AUTH_FAILED);
	for (size_t i = 0; i < 64; i++) {
		signature[i] ^= 1;
		assert_int_equal(cv_ed25519_verify(public_key, "message", 7, signature),
				 CV_PEER_AUTH_FAILED);
		signature[i] ^= 1;
	}
	public_key[3] ^= 1;
	assert_int_equal(cv_ed25519_verify(public_key, "message", 7, signature),
			 CV_PEER_AUTH_FAILED);
	cv_ed25519_free(key);
}

static void test_mldsa65_reality(void **state)
{
	static uint8_t public_key[CV_MLDSA65_PUBLIC];
	static uint8_t signature[CV_MLDSA65_SIGNATURE];
	HEX(seed, 32, REALITY_MLDSA65_SEED);
	HEX(message, 64, REALITY_MLDSA65_MESSAGE);
	struct cv_mldsa65 *key = cv_mldsa65_from_seed(seed);
	uint8_t digest[32];

	(void)state;
	assert_non_null(key);
	assert_int_equal(cv_mldsa65_public(key, public_key), 0);
	assert_hex(public_key, REALITY_MLDSA65_PUBLIC_FIRST);
	cv_hash(CV_SHA256, public_key, sizeof(public_key), digest);
	assert_hex(digest, REALITY_MLDSA65_PUBLIC_SHA256);

	assert_int_equal(cv_mldsa65_sign(key, message, sizeof(message), signature), 0);
	assert_hex(signature, REALITY_MLDSA65_SIGNATURE_FIRST);
	assert_hex(signature + CV_MLDSA65_SIGNATURE - 32, REALITY_MLDSA65_SIGNATURE_LAST);
	cv_hash(CV_SHA256, signature, sizeof(signature), digest);
	assert_hex(digest, REALITY_MLDSA65_SIGNATURE_SHA256);

	assert_int_equal(cv_mldsa65_verify(public_key, message, sizeof(message), signature), 0);
	message[0] ^= 1;
	assert_int_equal(cv_mldsa65_verify(public_key, message, sizeof(message), signature),
			 CV_PEER_AUTH_FAILED);
	message[0] ^= 1;
	signature[100] ^= 1;
	assert_int_equal(cv_mldsa65_verify(public_key, message, sizeof(message), signature),
			 CV_PEER_AUTH_FAILED);
	assert_null(cv_mldsa65_free(key));
	assert_null(cv_mldsa65_free(NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ed25519_rfc8032),
		cmocka_unit_test(test_ed25519_refuses_forgeries),
		cmocka_unit_test(test_mldsa65_reality),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
