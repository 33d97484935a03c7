// SPDX-License-Identifier: MIT
/* test_hash.c - FIPS 180-4, RFC 4231, RFC 5869 and REALITY 14 vectors; transcripts; threads. */
#include "crypto/crypto.h"

#include "../vectors/hex.h"
#include "../vectors/reality_14.h"

#include <culvert/reason.h>

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void test_digests_of_abc(void **state)
{
	uint8_t digest[CV_HASH_MAX];

	(void)state;
	assert_int_equal(cv_hash(CV_SHA1, "abc", 3, digest), 0);
	assert_hex(digest, "a9993e364706816aba3e25717850c26c9cd0d89d");
	assert_int_equal(cv_hash(CV_SHA256, "abc", 3, digest), 0);
	assert_hex(digest, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	assert_int_equal(cv_hash(CV_SHA384, "abc", 3, digest), 0);
	assert_hex(digest, "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed"
			   "8086072ba1e7cc2358baeca134c825a7");
	assert_int_equal(cv_hash(CV_SHA512, "abc", 3, digest), 0);
	assert_hex(digest, "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
			   "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f");
	assert_int_equal(cv_hash(CV_SHA256, NULL, 0, digest), 0);
	assert_hex(digest, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	assert_int_equal(cv_hash_len(CV_SHA1), 20);
	assert_int_equal(cv_hash_len(CV_SHA256), 32);
	assert_int_equal(cv_hash_len(CV_SHA384), 48);
	assert_int_equal(cv_hash_len(CV_SHA512), 64);
}

static void test_transcript_is_read_and_goes_on(void **state)
{
	struct cv_transcript *transcript = cv_transcript_new(CV_SHA256);
	uint8_t digest[CV_HASH_MAX];
	uint8_t expected[CV_HASH_MAX];

	(void)state;
	assert_non_null(transcript);
	assert_int_equal(cv_transcript_digest(transcript, digest), 0);
	cv_hash(CV_SHA256, "", 0, expected);
	assert_memory_equal(digest, expected, 32);
	assert_int_equal(cv_transcript_add(transcript, "ab", 2), 0);
	assert_int_equal(cv_transcript_digest(transcript, digest), 0);
	cv_hash(CV_SHA256, "ab", 2, expected);
	assert_memory_equal(digest, expected, 32);
	assert_int_equal(cv_transcript_digest(transcript, digest), 0);
	assert_memory_equal(digest, expected, 32);
	assert_int_equal(cv_transcript_add(transcript, "c", 1), 0);
	assert_int_equal(cv_transcript_digest(transcript, digest), 0);
	cv_hash(CV_SHA256, "abc", 3, expected);
	assert_memory_equal(digest, expected, 32);
	assert_null(cv_transcript_free(transcript));
	assert_null(cv_transcript_free(NULL));
}

/* Test cases 1 and 6 of RFC 4231: a short key, and one longer than the block. */
static void test_hmac_rfc4231(void **state)
{
	static const char text[] = "Test Using Larger Than Block-Size Key - Hash Key First";
	const struct cv_mac_part hi[] = {{"Hi ", 3}, {NULL, 0}, {"There", 5}};
	const struct cv_mac_part larger = {text, sizeof(text) - 1};
	uint8_t short_key[20];
	uint8_t long_key[131];
	uint8_t mac[CV_HASH_MAX];

	(void)state;
	memset(short_key, 0x0b, sizeof(short_key));
	memset(long_key, 0xaa, sizeof(long_key));
	assert_int_equal(cv_hmac(CV_SHA256, short_key, 20, hi, 3, mac), 0);
	assert_hex(mac, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
	assert_int_equal(cv_hmac(CV_SHA384, short_key, 20, hi, 3, mac), 0);
	assert_hex(mac, "afd03944d84895626b0825f4ab46907f15f9dadbe4101ec682aa034c7cebc59c"
			"faea9ea9076ede7f4af152e8b2fa9cb6");
	assert_int_equal(cv_hmac(CV_SHA512, short_key, 20, hi, 3, mac), 0);
	assert_hex(mac, "87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cde"
			"daa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854");
	assert_int_equal(cv_hmac(CV_SHA256, long_key, 131, &larger, 1, mac), 0);
	assert_hex(mac, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
	assert_int_equal(cv_hmac(CV_SHA384, long_key, 131, &larger, 1, mac), 0);
	assert_hex(mac, "4ece084485813e9088d2c63a041bc5b44f9ef1012a2b588f3cd11f05033ac4c6"
			"0c2ef6ab4030fe8296248df163f44952");
	assert_int_equal(cv_hmac(CV_SHA512, long_key, 131, &larger, 1, mac), 0);
	assert_hex(mac, "80b24263c7c1a3ebb71493c1dd7be8b49b46d1f41b4aeec1121b013783f8f352"
			"6b56d037e05f2598bd0fd2215d6a1e5295e64f73f63f0aec8b915a985d786598");
}

struct hkdf_case {
	enum cv_hash_kind kind;
	const char *ikm, *salt, *info, *prk, *okm;
};

/* Test cases 1 to 4 of RFC 5869 A. */
static const struct hkdf_case hkdf_cases[] = {
	{CV_SHA256, "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "000102030405060708090a0b0c",
	 "f0f1f2f3f4f5f6f7f8f9", "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5",
	 "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"},
	{CV_SHA256,
	 "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b"
	 "2c2d2e2f303132333435363738393a3b3c3d3e3f404142434445464748494a4b4c4d4e4f",
	 "606162636465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f808182838485868788898a8b"
	 "8c8d8e8f909192939495969798999a9b9c9d9e9fa0a1a2a3a4a5a6a7a8a9aaabacadaeaf",
	 "b0b1b2b3b4b5b6b7b8b9babbbcbdbebfc0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7d8d9dadb"
	 "dcdddedfe0e1e2e3e4e5e6e7e8e9eaebecedeeeff0f1f2f3f4f5f6f7f8f9fafbfcfdfeff",
	 "06a6b88c5853361a06104c9ceb35b45cef760014904671014a193f40c15fc244",
	 "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c6"
	 "5e590e09da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87"},
	{CV_SHA256, "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "", "",
	 "19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04",
	 "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"},
	{CV_SHA1, "0b0b0b0b0b0b0b0b0b0b0b", "000102030405060708090a0b0c", "f0f1f2f3f4f5f6f7f8f9",
	 "9b6c18c432a7bf8f0e71c8eb88f4b30baa2ba243",
	 "085a01ea1b10f36933068b56efa5ad81a4f14b822f5b091568a9cdd4f155fda2c22e422478d305f3f896"},
};

static void test_hkdf_rfc5869(void **state)
{
	uint8_t ikm[128], salt[128], info[128], okm[128], expected[128];
	uint8_t prk[CV_HASH_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof(hkdf_cases) / sizeof(hkdf_cases[0]); i++) {
		const struct hkdf_case *c = &hkdf_cases[i];
		const size_t ikm_len = hex_decode(c->ikm, ikm, sizeof(ikm));
		const size_t salt_len = hex_decode(c->salt, salt, sizeof(salt));
		const size_t info_len = hex_decode(c->info, info, sizeof(info));
		const size_t okm_len = hex_decode(c->okm, expected, sizeof(expected));

		assert_int_equal(cv_hkdf_extract(c->kind, salt, salt_len, ikm, ikm_len, prk), 0);
		assert_hex(prk, c->prk);
		assert_int_equal(cv_hkdf_expand(c->kind, prk, cv_hash_len(c->kind), info, info_len,
						okm, okm_len),
				 0);
		assert_memory_equal(okm, expected, okm_len);
	}
}

static void test_hkdf_expand_limit(void **state)
{
	static uint8_t okm[255 * 20 + 1];
	uint8_t prk[20] = {1};

	(void)state;
	assert_int_equal(cv_hkdf_expand(CV_SHA1, prk, 20, NULL, 0, okm, 255 * 20), 0);
	assert_int_equal(cv_hkdf_expand(CV_SHA1, prk, 20, NULL, 0, okm, 255 * 20 + 1),
			 CV_INTERNAL_CRYPTO);
}

/* REALITY 4: AuthKey = HKDF(shared, salt = random[0..20), info "REALITY"). */
static void test_reality_auth_key(void **state)
{
	HEX(shared, 32, REALITY_AUTH_SHARED);
	HEX(random, 32, REALITY_CLIENT_RANDOM);
	uint8_t prk[32];
	uint8_t auth_key[32];

	(void)state;
	assert_int_equal(cv_hkdf_extract(CV_SHA256, random, 20, shared, 32, prk), 0);
	assert_hex(prk, REALITY_PRK);
	assert_int_equal(cv_hkdf_expand(CV_SHA256, prk, 32, "REALITY", 7, auth_key, 32), 0);
	assert_hex(auth_key, REALITY_AUTH_KEY);
}

/* REALITY 6.6 and 6.7: the certificate's signature and the message ML-DSA signs. */
static void test_reality_certificate_macs(void **state)
{
	HEX(auth_key, 32, REALITY_AUTH_KEY);
	HEX(public_key, 32, REALITY_ED25519_PUBLIC);
	HEX(client_hello, 189, REALITY_CLIENT_HELLO_AAD);
	HEX(server_hello, 122, REALITY_TARGET_SERVER_HELLO);
	const struct cv_mac_part parts[] = {
		{public_key, 32}, {client_hello, 189}, {server_hello, 122}};
	uint8_t mac[64];

	(void)state;
	assert_int_equal(cv_hmac(CV_SHA512, auth_key, 32, parts, 1, mac), 0);
	assert_hex(mac, REALITY_CERT_SIGNATURE);
	hex_decode(REALITY_SESSION_ID, client_hello + 39, 32);
	hex_decode(REALITY_SERVER_SHARE, server_hello + 90, 32);
	assert_int_equal(cv_hmac(CV_SHA512, auth_key, 32, parts, 3, mac), 0);
	assert_hex(mac, REALITY_MLDSA65_MESSAGE);
}

static void *hash_in_thread(void *argument)
{
	uint8_t mac[32];
	const struct cv_mac_part part = {"message", 7};

	for (int i = 0; i < 200; i++)
		if (cv_hmac(CV_SHA256, "key", 3, &part, 1, mac) != 0)
			return NULL;
	memcpy(argument, mac, sizeof(mac));
	return argument;
}

static void test_threads_do_not_share_state(void **state)
{
	uint8_t macs[4][32];
	pthread_t threads[4];
	void *result;

	(void)state;
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, hash_in_thread, macs[i]), 0);
	for (size_t i = 0; i < 4; i++) {
		pthread_join(threads[i], &result);
		assert_ptr_equal(result, macs[i]);
		assert_memory_equal(macs[i], macs[0], 32);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_digests_of_abc),
		cmocka_unit_test(test_transcript_is_read_and_goes_on),
		cmocka_unit_test(test_hmac_rfc4231),
		cmocka_unit_test(test_hkdf_rfc5869),
		cmocka_unit_test(test_hkdf_expand_limit),
		cmocka_unit_test(test_reality_auth_key),
		cmocka_unit_test(test_reality_certificate_macs),
		cmocka_unit_test(test_threads_do_not_share_state),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
