// SPDX-License-Identifier: MIT
/* test_tls_schedule.c - the key schedules of RFC 8448 3 and REALITY 14, from transcript to keys. */
#include "crypto/tls_schedule.h"

#include "../vectors/hex.h"
#include "../vectors/reality_14.h"
#include "../vectors/rfc8448_3.h"

#include <culvert/reason.h>

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define FLIGHT_BYTES 657
#define FINISHED_BYTES 36

static void check_key(enum cv_hash_kind hash, const uint8_t *secret, const char *key,
		      const char *iv)
{
	uint8_t bytes[16];

	assert_int_equal(cv_tls_expand_label(hash, secret, "key", NULL, 0, bytes, 16), 0);
	assert_hex(bytes, key);
	assert_int_equal(cv_tls_expand_label(hash, secret, "iv", NULL, 0, bytes, 12), 0);
	assert_hex(bytes, iv);
}

static void test_suites(void **state)
{
	(void)state;
	assert_int_equal(cv_tls_suite_find(0x1301)->aead, CV_AES_128_GCM);
	assert_int_equal(cv_tls_suite_find(0x1301)->hash, CV_SHA256);
	assert_int_equal(cv_tls_suite_find(0x1302)->aead, CV_AES_256_GCM);
	assert_int_equal(cv_tls_suite_find(0x1302)->hash, CV_SHA384);
	assert_int_equal(cv_tls_suite_find(0x1303)->aead, CV_CHACHA20_POLY1305);
	assert_int_equal(cv_tls_suite_find(0x1303)->hash, CV_SHA256);
	assert_null(cv_tls_suite_find(0x1304));
	assert_null(cv_tls_suite_find(0xc02f));
}

static void test_rfc8448(void **state)
{
	HEX(client_hello, 196, RFC8448_CLIENT_HELLO);
	HEX(server_hello, 90, RFC8448_SERVER_HELLO);
	HEX(flight, FLIGHT_BYTES, RFC8448_SERVER_FLIGHT);
	HEX(shared, 32, RFC8448_SHARED_SECRET);
	const struct cv_tls_suite *suite = cv_tls_suite_find(0x1301);
	struct cv_transcript *transcript = cv_transcript_new(suite->hash);
	struct cv_tls_secrets secrets = {0};
	uint8_t hash[32];
	uint8_t mac[32];

	(void)state;
	cv_transcript_add(transcript, client_hello, 196);
	cv_transcript_add(transcript, server_hello, 90);
	cv_transcript_digest(transcript, hash);
	assert_hex(hash, RFC8448_HELLO_HASH);
	assert_int_equal(cv_tls_schedule_handshake(suite, shared, 32, hash, &secrets), 0);
	assert_hex(secrets.handshake_secret, RFC8448_HANDSHAKE_SECRET);
	assert_hex(secrets.client_handshake, RFC8448_CLIENT_HANDSHAKE_SECRET);
	assert_hex(secrets.server_handshake, RFC8448_SERVER_HANDSHAKE_SECRET);
	check_key(suite->hash, secrets.client_handshake, RFC8448_CLIENT_HANDSHAKE_KEY,
		  RFC8448_CLIENT_HANDSHAKE_IV);
	check_key(suite->hash, secrets.server_handshake, RFC8448_SERVER_HANDSHAKE_KEY,
		  RFC8448_SERVER_HANDSHAKE_IV);

	cv_transcript_add(transcript, flight, FLIGHT_BYTES - FINISHED_BYTES);
	cv_transcript_digest(transcript, hash);
	assert_int_equal(cv_tls_finished_mac(suite, secrets.server_handshake, hash, mac), 0);
	assert_hex(mac, RFC8448_SERVER_VERIFY_DATA);

	cv_transcript_add(transcript, flight + FLIGHT_BYTES - FINISHED_BYTES, FINISHED_BYTES);
	cv_transcript_digest(transcript, hash);
	assert_int_equal(cv_tls_schedule_application(suite, hash, &secrets), 0);
	assert_hex(secrets.master_secret, RFC8448_MASTER_SECRET);
	assert_hex(secrets.client_application, RFC8448_CLIENT_APPLICATION_SECRET);
	assert_hex(secrets.server_application, RFC8448_SERVER_APPLICATION_SECRET);
	assert_hex(secrets.handshake_secret, RFC8448_HANDSHAKE_SECRET);
	check_key(suite->hash, secrets.client_application, RFC8448_CLIENT_APPLICATION_KEY,
		  RFC8448_CLIENT_APPLICATION_IV);
	check_key(suite->hash, secrets.server_application, RFC8448_SERVER_APPLICATION_KEY,
		  RFC8448_SERVER_APPLICATION_IV);
	assert_int_equal(cv_tls_finished_mac(suite, secrets.client_handshake, hash, mac), 0);
	assert_hex(mac, RFC8448_CLIENT_VERIFY_DATA);
	cv_transcript_free(transcript);
}

/* REALITY 6.2: EncryptedExtensions without extensions, one certificate with the context empty. */
static void reality_add_flight(struct cv_transcript *transcript)
{
	HEX(extensions, 6, "080000020000");
	HEX(certificate, 13 + 178, "0b0000bb000000b70000b2" REALITY_CERT "0000");
	HEX(verify, 72, REALITY_CERTIFICATE_VERIFY);

	cv_transcript_add(transcript, extensions, sizeof(extensions));
	cv_transcript_add(transcript, certificate, sizeof(certificate));
	cv_transcript_add(transcript, verify, sizeof(verify));
}

static void test_reality(void **state)
{
	HEX(client_hello, 189, REALITY_CLIENT_HELLO_AAD);
	HEX(server_hello, 122, REALITY_TARGET_SERVER_HELLO);
	HEX(finished, 36, REALITY_SERVER_FINISHED);
	HEX(shared, 32, REALITY_ECDHE);
	const struct cv_tls_suite *suite = cv_tls_suite_find(0x1301);
	struct cv_transcript *transcript = cv_transcript_new(suite->hash);
	struct cv_tls_secrets secrets = {0};
	uint8_t hash[32];
	uint8_t mac[32];

	(void)state;
	hex_decode(REALITY_SESSION_ID, client_hello + 39, 32);
	hex_decode(REALITY_SERVER_SHARE, server_hello + 90, 32);
	cv_transcript_add(transcript, client_hello, 189);
	cv_transcript_add(transcript, server_hello, 122);
	cv_transcript_digest(transcript, hash);
	assert_int_equal(cv_tls_schedule_handshake(suite, shared, 32, hash, &secrets), 0);
	assert_hex(secrets.handshake_secret, REALITY_HANDSHAKE_SECRET);
	assert_hex(secrets.client_handshake, REALITY_CLIENT_HANDSHAKE);
	assert_hex(secrets.server_handshake, REALITY_SERVER_HANDSHAKE);
	check_key(suite->hash, secrets.server_handshake, REALITY_SERVER_HANDSHAKE_KEY,
		  REALITY_SERVER_HANDSHAKE_IV);

	reality_add_flight(transcript);
	cv_transcript_digest(transcript, hash);
	assert_int_equal(cv_tls_finished_mac(suite, secrets.server_handshake, hash, mac), 0);
	assert_memory_equal(mac, finished + 4, 32);

	cv_transcript_add(transcript, finished, 36);
	cv_transcript_digest(transcript, hash);
	assert_int_equal(cv_tls_schedule_application(suite, hash, &secrets), 0);
	assert_hex(secrets.client_application, REALITY_CLIENT_APPLICATION);
	assert_hex(secrets.server_application, REALITY_SERVER_APPLICATION);
	check_key(suite->hash, secrets.server_application, REALITY_SERVER_APPLICATION_KEY,
		  REALITY_SERVER_APPLICATION_IV);
	assert_int_equal(cv_tls_finished_mac(suite, secrets.client_handshake, hash, mac), 0);
	hex_decode(REALITY_CLIENT_FINISHED, finished, 36);
	assert_memory_equal(mac, finished + 4, 32);
	cv_transcript_free(transcript);
}

/* The CertificateVerify of REALITY 14 is a plain Ed25519 signature over the transcript. */
static void test_reality_certificate_verify(void **state)
{
	static const char context[] = "TLS 1.3, server CertificateVerify";
	HEX(client_hello, 189, REALITY_CLIENT_HELLO_AAD);
	HEX(server_hello, 122, REALITY_TARGET_SERVER_HELLO);
	HEX(extensions, 6, "080000020000");
	HEX(certificate, 13 + 178, "0b0000bb000000b70000b2" REALITY_CERT "0000");
	HEX(verify, 72, REALITY_CERTIFICATE_VERIFY);
	HEX(seed, 32, REALITY_ED25519_SEED);
	struct cv_transcript *transcript = cv_transcript_new(CV_SHA256);
	struct cv_ed25519 *key = cv_ed25519_from_seed(seed);
	uint8_t message[64 + sizeof(context) + 32];
	uint8_t signature[64];

	(void)state;
	hex_decode(REALITY_SESSION_ID, client_hello + 39, 32);
	hex_decode(REALITY_SERVER_SHARE, server_hello + 90, 32);
	cv_transcript_add(transcript, client_hello, 189);
	cv_transcript_add(transcript, server_hello, 122);
	cv_transcript_add(transcript, extensions, 6);
	cv_transcript_add(transcript, certificate, sizeof(certificate));
	memset(message, ' ', 64);
	memcpy(message + 64, context, sizeof(context)); /* with its NUL */
	cv_transcript_digest(transcript, message + 64 + sizeof(context));
	assert_int_equal(cv_ed25519_sign(key, message, sizeof(message), signature), 0);
	assert_memory_equal(signature, verify + 8, 64);
	cv_ed25519_free(key);
	cv_transcript_free(transcript);
}

static void test_keys_init_and_update(void **state)
{
	static const uint16_t ids[] = {0x1301, 0x1302, 0x1303};
	uint8_t secret[CV_HASH_MAX];
	uint8_t expected[CV_HASH_MAX];

	(void)state;
	memset(secret, 0x42, sizeof(secret));
	for (size_t i = 0; i < 3; i++) {
		const struct cv_tls_suite *suite = cv_tls_suite_find(ids[i]);
		const size_t len = cv_hash_len(suite->hash);
		struct cv_tls_keys keys;
		uint8_t first_iv[12];

		assert_int_equal(cv_tls_keys_init(&keys, suite, secret, true), 0);
		assert_non_null(keys.aead);
		assert_memory_equal(keys.secret, secret, len);
		assert_int_equal(keys.sequence, 0);
		cv_tls_expand_label(suite->hash, secret, "iv", NULL, 0, expected, 12);
		assert_memory_equal(keys.iv, expected, 12);
		memcpy(first_iv, keys.iv, 12);

		keys.sequence = 9;
		assert_int_equal(cv_tls_keys_update(&keys, true), 0);
		cv_tls_expand_label(suite->hash, secret, "traffic upd", NULL, 0, expected, len);
		assert_memory_equal(keys.secret, expected, len);
		assert_memory_not_equal(keys.iv, first_iv, 12);
		assert_int_equal(keys.sequence, 0);
		cv_tls_keys_done(&keys);
		assert_null(keys.aead);
		cv_tls_keys_done(&keys);
	}
}

/* SHA-384 has no published schedule at hand: the definition, step by step, instead. */
static void test_sha384_schedule(void **state)
{
	const struct cv_tls_suite *suite = cv_tls_suite_find(0x1302);
	uint8_t zeros[48] = {0};
	uint8_t empty[48], early[48], derived[48], expected[48], shared[64], hash[48];
	struct cv_tls_secrets secrets = {0};

	(void)state;
	memset(shared, 3, sizeof(shared));
	memset(hash, 4, sizeof(hash));
	cv_hash(CV_SHA384, NULL, 0, empty);
	cv_hkdf_extract(CV_SHA384, zeros, 48, zeros, 48, early);
	cv_tls_expand_label(CV_SHA384, early, "derived", empty, 48, derived, 48);
	cv_hkdf_extract(CV_SHA384, derived, 48, shared, 64, expected);
	assert_int_equal(cv_tls_schedule_handshake(suite, shared, 64, hash, &secrets), 0);
	assert_memory_equal(secrets.handshake_secret, expected, 48);
	assert_int_equal(cv_tls_schedule_application(suite, hash, &secrets), 0);
	cv_tls_expand_label(CV_SHA384, secrets.handshake_secret, "derived", empty, 48, derived, 48);
	cv_hkdf_extract(CV_SHA384, derived, 48, zeros, 48, expected);
	assert_memory_equal(secrets.master_secret, expected, 48);
}

static void test_expand_label_limits(void **state)
{
	uint8_t secret[32] = {1};
	uint8_t context[256] = {0};
	uint8_t out[32] = {0xee};

	(void)state;
	assert_int_equal(cv_tls_expand_label(CV_SHA256, secret, "x", context, 255, out, 32), 0);
	out[0] = 0xee;
	assert_int_equal(cv_tls_expand_label(CV_SHA256, secret, "x", context, 256, out, 32),
			 CV_INTERNAL_CRYPTO);
	assert_int_equal(out[0], 0xee);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_suites),
		cmocka_unit_test(test_rfc8448),
		cmocka_unit_test(test_reality),
		cmocka_unit_test(test_reality_certificate_verify),
		cmocka_unit_test(test_keys_init_and_update),
		cmocka_unit_test(test_sha384_schedule),
		cmocka_unit_test(test_expand_label_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
