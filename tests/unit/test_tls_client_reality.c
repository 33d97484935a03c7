// SPDX-License-Identifier: MIT
/*
 * test_tls_client_reality.c - the REALITY side of the client against the worked vector of
 * REALITY 14: sealing of the session id, and which certificates are genuine.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/reason.h"
#include "crypto/crypto.h"
#include "protocol/tls_client_state.h"
#include "wire/base64.h"
#include "wire/client_hello.h"

static const char hello_hex[] =
	"010000b90303808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f20000000000000"
	"000000000000000000000000000000000000000000000000000000061301130213030100006a00000014001200"
	"000f7777772e6578616d706c652e636f6d000a00040002001d000d0006000404030807001000050003026832"
	"002b0003020304002d00020101003300260024001d00205869aff450549732cbaaed5e5df9b30a6da31cb0e5"
	"742bad5ad4a1a768f1a67b";
static const char session_id_hex[] =
	"9f287bc1a1b2f5178e2a3824399e46291c75e9f181d5f32ef7de3636c6cd0741";
static const char auth_key_hex[] =
	"e4044caed0c1580d37ddf4808166824f7f59e9294cb596430327ef11b7e59e45";
static const char server_public_hex[] =
	"07a37cbc142093c8b755dc1b10e86cb426374ad16aa853ed0bdfc0b2b86d1c7c";
static const char certificate_hex[] =
	"3081af3063a003020102020100300506032b657030003022180f30303031303130313030303030305a180f3030"
	"303130313031"
	"3030303030305a3000302a300506032b65700321002543b92ff1095511476adc8369db6ddc933665a11978dda1"
	"404ee1066ca9"
	"559d300506032b6570034100a68781257fc6ac191fa29e30c25b419361f24a6f6558a8df66167d3ddd210af5cc"
	"d98ca51bbad7"
	"2c935a819ba5ee8dbee60eaafd9f1652976e1acc15c2cc3f54";
static const char server_hello_hex[] =
	"020000760303c0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7d8d9dadbdcdddedf209f287bc1a1b2"
	"f5178e2a3824399e46291c75e9f181d5f32ef7de3636c6cd0741130100002e002b0002030400330024001d0020"
	"244fe3b963e899dd295baffce248d3530f3a9a7479ba063002680ebfe7adad49";

#define WALL_MS 1767225600000ull /* 2026-01-01T00:00:00Z */

static size_t from_hex(const char *text, uint8_t *out, size_t size)
{
	size_t len = size;

	assert_int_equal(cv_hex_decode(text, out, &len), 0);
	return len;
}

static struct cv_reality_client_config vector_config(void)
{
	struct cv_reality_client_config reality = {
		.short_id = {0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef},
		.version = {26, 7, 28}};

	from_hex(server_public_hex, reality.server_public, 32);
	return reality;
}

static void vector_private_key(uint8_t key[32])
{
	for (int i = 0; i < 32; i++)
		key[i] = (uint8_t)(0x21 + i);
}

static size_t sealed_hello(uint8_t hello[256], uint8_t auth_key[32])
{
	struct cv_reality_client_config reality = vector_config();
	uint8_t key[32];
	size_t len = from_hex(hello_hex, hello, 256);

	vector_private_key(key);
	assert_int_equal(cv_reality_seal_session_id(&reality, key, WALL_MS, hello, len, auth_key),
			 0);
	return len;
}

static void session_id_is_the_vectors(void **state)
{
	uint8_t hello[256], auth_key[32], expected[32];
	size_t len = sealed_hello(hello, auth_key);

	(void)state;
	assert_int_equal(len, 189);
	from_hex(session_id_hex, expected, 32);
	assert_memory_equal(hello + CV_HELLO_SESSION_ID_OFFSET, expected, 32);
	from_hex(auth_key_hex, expected, 32);
	assert_memory_equal(auth_key, expected, 32);
}

static void hello_without_room_is_refused(void **state)
{
	struct cv_reality_client_config reality = vector_config();
	uint8_t hello[256], key[32], auth_key[32];
	size_t len = from_hex(hello_hex, hello, sizeof(hello));

	(void)state;
	vector_private_key(key);
	assert_int_equal(cv_reality_seal_session_id(&reality, key, WALL_MS, hello, 70, auth_key),
			 CV_INTERNAL_STATE);
	hello[38] = 31;
	assert_int_equal(cv_reality_seal_session_id(&reality, key, WALL_MS, hello, len, auth_key),
			 CV_INTERNAL_STATE);
}

/* A client as it stands when the Certificate arrives. */
static struct cv_tls_client *client_at_certificate(const uint8_t *mldsa_public)
{
	struct cv_tls_client *client = calloc(1, sizeof(*client));
	uint8_t bytes[256];
	size_t len;

	assert_non_null(client);
	client->reality = vector_config();
	client->reality.mldsa_public = mldsa_public;
	cv_buffer_init(&client->hello, 4096);
	cv_buffer_init(&client->server_hello, 4096);
	len = sealed_hello(bytes, client->auth_key);
	assert_int_equal(cv_buffer_append(&client->hello, bytes, len), 0);
	len = from_hex(server_hello_hex, bytes, sizeof(bytes));
	assert_int_equal(cv_buffer_append(&client->server_hello, bytes, len), 0);
	return client;
}

static void client_done(struct cv_tls_client *client)
{
	cv_buffer_done(&client->hello);
	cv_buffer_done(&client->server_hello);
	free(client);
}

static bool judge(struct cv_tls_client *client, const uint8_t *der, size_t len)
{
	client->genuine = false;
	assert_int_equal(cv_reality_judge_certificate(client, (struct cv_der){der, len}), 0);
	return client->genuine;
}

static void certificate_is_genuine_to_the_byte(void **state)
{
	struct cv_tls_client *client = client_at_certificate(NULL);
	uint8_t der[256];
	size_t len = from_hex(certificate_hex, der, sizeof(der));

	(void)state;
	assert_int_equal(len, 178);
	assert_true(judge(client, der, len));
	assert_memory_equal(client->leaf_ed25519, der + 72, 32);
	for (size_t i = 0; i < len; i++) {
		der[i] ^= 1;
		assert_false(judge(client, der, len));
		der[i] ^= 1;
	}
	for (size_t i = 0; i < len; i++)
		assert_false(judge(client, der, i));
	der[len] = 0;
	assert_false(judge(client, der, len + 1));
	client->auth_key[0] ^= 1;
	assert_false(judge(client, der, len));
	client_done(client);
}

/* The 3509 bytes of REALITY 6.7 out of the vector's keys. */
static void mldsa_certificate(const uint8_t *plain, uint8_t der[3509], uint8_t public_key[1952])
{
	static const uint8_t lengths[] = {0x30, 0x82, 0x0d, 0xb1, 0x30, 0x82, 0x0d, 0x63};
	static const uint8_t extension[] = {
		0xa3, 0x82, 0x0c, 0xfc, 0x30, 0x82, 0x0c, 0xf8, 0x30, 0x82,
		0x0c, 0xf4, 0x06, 0x01, 0x00, 0x04, 0x82, 0x0c, 0xed};
	struct cv_tls_client *client = client_at_certificate(NULL);
	struct cv_span hello = cv_buffer_span(&client->hello);
	struct cv_span server_hello = cv_buffer_span(&client->server_hello);
	struct cv_mac_part parts[3] = {{plain + 72, 32},
				       {hello.data, hello.len_bytes},
				       {server_hello.data, server_hello.len_bytes}};
	uint8_t seed[32], message[64];
	struct cv_mldsa65 *key;

	for (int i = 0; i < 32; i++)
		seed[i] = (uint8_t)(0xa0 + i);
	key = cv_mldsa65_from_seed(seed);
	assert_non_null(key);
	assert_int_equal(cv_mldsa65_public(key, public_key), 0);
	assert_int_equal(cv_hmac(CV_SHA512, client->auth_key, 32, parts, 3, message), 0);
	memcpy(der, lengths, 8);
	memcpy(der + 8, plain + 5, 72 - 5 + 32);
	memcpy(der + 107, extension, 19);
	assert_int_equal(cv_mldsa65_sign(key, message, 64, der + 126), 0);
	memcpy(der + 126 + 3309, plain + 104, 10 + 64);
	cv_mldsa65_free(key);
	client_done(client);
}

static void mldsa_certificate_is_judged_when_asked_for(void **state)
{
	static uint8_t der[3509], public_key[1952];
	struct cv_tls_client *client;
	uint8_t plain[256], digest[32], expected[32];
	size_t plain_len = from_hex(certificate_hex, plain, sizeof(plain));

	(void)state;
	mldsa_certificate(plain, der, public_key);
	cv_hash(CV_SHA256, der, sizeof(der), digest);
	from_hex("ce44cf66969a859b299f6cf53bc0e1397f51ce26a4046d27af54ffbd5945e2ce", expected, 32);
	assert_memory_equal(digest, expected, 32);

	client = client_at_certificate(public_key);
	assert_true(judge(client, der, sizeof(der)));
	assert_false(judge(client, plain, plain_len)); /* demanded, but absent */
	der[200] ^= 1;
	assert_false(judge(client, der, sizeof(der)));
	der[200] ^= 1;
	cv_buffer_bytes(&client->server_hello)[10] ^= 1; /* another handshake's */
	assert_false(judge(client, der, sizeof(der)));
	client_done(client);

	client = client_at_certificate(NULL); /* not asked for: ignored, REALITY 6.7 */
	der[200] ^= 1;
	assert_true(judge(client, der, sizeof(der)));
	der[107] ^= 1;
	assert_false(judge(client, der, sizeof(der)));
	client_done(client);
}

/* The hello a client really sends is sealed over itself and opens with the server's key. */
static void transmitted_hello_opens_at_the_server(void **state)
{
	static const enum cv_fingerprint all[] = {CV_FINGERPRINT_CHROME, CV_FINGERPRINT_FIREFOX,
						  CV_FINGERPRINT_SAFARI};
	struct cv_reality_client_config reality = vector_config();
	uint8_t server_private[32];

	(void)state;
	for (int i = 0; i < 32; i++)
		server_private[i] = (uint8_t)(i + 1);
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		struct cv_tls_client_config config = {
			.server_name = "www.example.com", .fingerprint = all[i],
			.reality = &reality};
		struct cv_tls_client *client = cv_tls_client_new(&config, WALL_MS);
		struct cv_client_hello hello;
		uint8_t shared[32], prk[64], key[32], aad[8192], sealed[32], identity[16];
		struct cv_buffer *output = cv_tls_client_output(client);
		struct cv_aead *aead;
		size_t len;

		assert_non_null(client);
		assert_memory_equal(cv_buffer_bytes(output), "\x16\x03\x01", 3);
		len = cv_buffer_len(output) - 5;
		memcpy(aad, cv_buffer_bytes(output) + 5, len);
		assert_int_equal(cv_client_hello_parse(cv_span_of(aad, len), &hello), 0);
		assert_int_equal(hello.x25519_share.len_bytes, 32);
		assert_int_equal(cv_x25519(server_private, hello.x25519_share.data, shared), 0);
		assert_int_equal(cv_hkdf_extract(CV_SHA256, aad + 6, 20, shared, 32, prk), 0);
		assert_int_equal(cv_hkdf_expand(CV_SHA256, prk, 32, "REALITY", 7, key, 32), 0);
		assert_memory_equal(key, cv_tls_client_auth_key(client), 32);
		memcpy(sealed, aad + 39, 32);
		memset(aad + 39, 0, 32);
		aead = cv_aead_new(CV_AES_256_GCM, key, false);
		assert_int_equal(cv_aead_open(aead, aad + 26, aad, len, sealed, 32, identity), 0);
		assert_memory_equal(identity, "\x1a\x07\x1c\x00\x69\x55\xb9\x00"
					      "\x01\x23\x45\x67\x89\xab\xcd\xef", 16);
		cv_aead_free(aead);
		cv_tls_client_free(client);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(session_id_is_the_vectors),
		cmocka_unit_test(hello_without_room_is_refused),
		cmocka_unit_test(certificate_is_genuine_to_the_byte),
		cmocka_unit_test(mldsa_certificate_is_judged_when_asked_for),
		cmocka_unit_test(transmitted_hello_opens_at_the_server),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
