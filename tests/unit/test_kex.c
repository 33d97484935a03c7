// SPDX-License-Identifier: MIT
/* test_kex.c - RFC 7748, REALITY 14, FIPS 203 round trips and invalid keys, NIST curves. */
#include "crypto/crypto.h"

#include "../vectors/hex.h"
#include "../vectors/reality_14.h"
#include "../vectors/rfc8448_3.h"

#include <culvert/reason.h>

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void check_x25519(const char *scalar, const char *point, const char *expected)
{
	HEX(private_key, 32, scalar);
	HEX(public_key, 32, point);
	uint8_t shared[32];

	assert_int_equal(cv_x25519(private_key, public_key, shared), 0);
	assert_hex(shared, expected);
}

static void check_public(const char *scalar, const char *expected)
{
	HEX(private_key, 32, scalar);
	uint8_t public_key[32];

	assert_int_equal(cv_x25519_public(private_key, public_key), 0);
	assert_hex(public_key, expected);
}

/* RFC 7748 5.2 and 6.1. */
static void test_x25519_rfc7748(void **state)
{
	static const char alice[] =
		"77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a";
	static const char bob[] =
		"5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb";
	static const char alice_public[] =
		"8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a";
	static const char bob_public[] =
		"de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f";
	static const char shared[] =
		"4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742";

	(void)state;
	check_x25519("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
		     "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
		     "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552");
	check_x25519("4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
		     "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
		     "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957");
	check_public(alice, alice_public);
	check_public(bob, bob_public);
	check_x25519(alice, bob_public, shared);
	check_x25519(bob, alice_public, shared);
}

static void test_x25519_rfc7748_iterated(void **state)
{
	uint8_t k[32] = {9};
	uint8_t u[32] = {9};
	uint8_t next[32];

	(void)state;
	for (int i = 0; i < 1000; i++) {
		assert_int_equal(cv_x25519(k, u, next), 0);
		memcpy(u, k, 32);
		memcpy(k, next, 32);
		if (i == 0)
			assert_hex(k, "422c8e7a6227d7bca1350b3e2bb7279f"
				      "7897b87bb6854b783c60e80311ae3079");
	}
	assert_hex(k, "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51");
}

static void test_x25519_in_handshakes(void **state)
{
	HEX(server_hello, 90, RFC8448_SERVER_HELLO);
	HEX(private_key, 32, RFC8448_CLIENT_PRIVATE_KEY);
	uint8_t shared[32];

	(void)state;
	check_public(REALITY_SERVER_PRIVATE, REALITY_SERVER_PUBLIC);
	check_public(REALITY_CLIENT_PRIVATE, REALITY_CLIENT_SHARE);
	check_public(REALITY_SERVER_EPHEMERAL, REALITY_SERVER_SHARE);
	check_x25519(REALITY_SERVER_PRIVATE, REALITY_CLIENT_SHARE, REALITY_AUTH_SHARED);
	check_x25519(REALITY_CLIENT_PRIVATE, REALITY_SERVER_PUBLIC, REALITY_AUTH_SHARED);
	check_x25519(REALITY_SERVER_EPHEMERAL, REALITY_CLIENT_SHARE, REALITY_ECDHE);
	assert_int_equal(cv_x25519(private_key, server_hello + 90 - 38, shared), 0);
	assert_hex(shared, RFC8448_SHARED_SECRET);
}

static void test_x25519_refuses_small_order(void **state)
{
	static const char *const points[] = {
		"0000000000000000000000000000000000000000000000000000000000000000",
		"0100000000000000000000000000000000000000000000000000000000000000",
		"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	};
	HEX(private_key, 32, REALITY_SERVER_PRIVATE);
	uint8_t shared[32];
	uint8_t untouched[32];

	(void)state;
	memset(shared, 0xee, sizeof(shared));
	memset(untouched, 0xee, sizeof(untouched));
	for (size_t i = 0; i < sizeof(points) / sizeof(points[0]); i++) {
		HEX(point, 32, points[i]);

		assert_int_equal(cv_x25519(private_key, point, shared), CV_PEER_AUTH_FAILED);
		assert_memory_equal(shared, untouched, 32);
	}
}

static void test_x25519_keygen(void **state)
{
	uint8_t private_a[32], public_a[32], private_b[32], public_b[32];
	uint8_t shared_a[32], shared_b[32];

	(void)state;
	assert_int_equal(cv_x25519_keygen(private_a, public_a), 0);
	assert_int_equal(cv_x25519_keygen(private_b, public_b), 0);
	assert_memory_not_equal(private_a, private_b, 32);
	assert_int_equal(cv_x25519(private_a, public_b, shared_a), 0);
	assert_int_equal(cv_x25519(private_b, public_a, shared_b), 0);
	assert_memory_equal(shared_a, shared_b, 32);
}

static void test_mlkem768_round_trip(void **state)
{
	static uint8_t public_key[CV_MLKEM768_PUBLIC];
	static uint8_t ciphertext[CV_MLKEM768_CIPHERTEXT];
	uint8_t seed[CV_MLKEM768_SEED], ours[32], theirs[32], first[32];

	(void)state;
	assert_int_equal(cv_mlkem768_keygen(seed, public_key), 0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(cv_mlkem768_encapsulate(public_key, ciphertext, ours), 0);
		assert_int_equal(cv_mlkem768_decapsulate(seed, ciphertext, theirs), 0);
		assert_memory_equal(ours, theirs, 32);
		if (i == 0)
			memcpy(first, ours, 32);
		else
			assert_memory_not_equal(first, ours, 32);
	}
	/* Implicit rejection: a changed ciphertext gives another secret, and always the same. */
	ciphertext[7] ^= 1;
	assert_int_equal(cv_mlkem768_decapsulate(seed, ciphertext, theirs), 0);
	assert_memory_not_equal(ours, theirs, 32);
	assert_int_equal(cv_mlkem768_decapsulate(seed, ciphertext, first), 0);
	assert_memory_equal(first, theirs, 32);
}

static void test_mlkem768_refuses_invalid_keys(void **state)
{
	static uint8_t public_key[CV_MLKEM768_PUBLIC];
	static uint8_t ciphertext[CV_MLKEM768_CIPHERTEXT];
	uint8_t seed[CV_MLKEM768_SEED], secret[32];

	(void)state;
	assert_int_equal(cv_mlkem768_keygen(seed, public_key), 0);
	/* Two 12-bit coefficients in three bytes: 3329 (q, the first invalid) and 4095. */
	public_key[0] = 0x01;
	public_key[1] = (uint8_t)((public_key[1] & 0xf0) | 0x0d);
	assert_int_equal(cv_mlkem768_encapsulate(public_key, ciphertext, secret), CV_PEER_DECODE);
	/* 3328 is valid again. */
	public_key[0] = 0x00;
	assert_int_equal(cv_mlkem768_encapsulate(public_key, ciphertext, secret), 0);
	memset(public_key + 1149, 0xff, 3);
	assert_int_equal(cv_mlkem768_encapsulate(public_key, ciphertext, secret), CV_PEER_DECODE);
	memset(public_key, 0xff, sizeof(public_key));
	assert_int_equal(cv_mlkem768_encapsulate(public_key, ciphertext, secret), CV_PEER_DECODE);
}

static void check_ecdh(enum cv_nist_curve curve, size_t point_len, size_t secret_len)
{
	struct cv_ecdh *a = cv_ecdh_new(curve);
	struct cv_ecdh *b = cv_ecdh_new(curve);
	uint8_t point_a[97], point_b[97], secret_a[48], secret_b[48];
	size_t len = 0;

	assert_non_null(a);
	assert_non_null(b);
	assert_int_equal(cv_ecdh_public(a, point_a, &len), 0);
	assert_int_equal(len, point_len);
	assert_int_equal(point_a[0], 4);
	assert_int_equal(cv_ecdh_public(b, point_b, &len), 0);
	assert_int_equal(cv_ecdh_derive(a, point_b, point_len, secret_a, &len), 0);
	assert_int_equal(len, secret_len);
	assert_int_equal(cv_ecdh_derive(b, point_a, point_len, secret_b, &len), 0);
	assert_memory_equal(secret_a, secret_b, secret_len);

	assert_int_equal(cv_ecdh_derive(a, point_b, point_len - 1, secret_a, &len), CV_PEER_DECODE);
	assert_int_equal(cv_ecdh_derive(a, point_b, 0, secret_a, &len), CV_PEER_DECODE);
	point_b[point_len - 1] ^= 1;
	assert_int_equal(cv_ecdh_derive(a, point_b, point_len, secret_a, &len), CV_PEER_DECODE);
	point_b[point_len - 1] ^= 1;
	point_b[0] = 2;
	assert_int_equal(cv_ecdh_derive(a, point_b, point_len, secret_a, &len), CV_PEER_DECODE);
	assert_null(cv_ecdh_free(a));
	assert_null(cv_ecdh_free(b));
}

static void test_nist_curves(void **state)
{
	(void)state;
	check_ecdh(CV_P256, 65, 32);
	check_ecdh(CV_P384, 97, 48);
	assert_null(cv_ecdh_free(NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_x25519_rfc7748),
		cmocka_unit_test(test_x25519_rfc7748_iterated),
		cmocka_unit_test(test_x25519_in_handshakes),
		cmocka_unit_test(test_x25519_refuses_small_order),
		cmocka_unit_test(test_x25519_keygen),
		cmocka_unit_test(test_mlkem768_round_trip),
		cmocka_unit_test(test_mlkem768_refuses_invalid_keys),
		cmocka_unit_test(test_nist_curves),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
