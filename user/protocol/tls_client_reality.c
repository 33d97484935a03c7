// SPDX-License-Identifier: MIT
/*
 * tls_client_reality.c - the two REALITY steps of the client.
 *
 *   shared  = X25519(our private key of the standalone 001D share, server public key)
 *   AuthKey = HKDF(salt = random[0..19], shared, "REALITY")
 *   session_id = AES-256-GCM(AuthKey, nonce = random[20..31], version|time|shortId, AAD = hello)
 *
 * The hello is sealed last: any later change of it breaks the AAD. The answer is genuine if the
 * leaf has the fixed layout of REALITY 6.6 (178 bytes) or 6.7 (3509 bytes) and its "signature" is
 * the HMAC of its own Ed25519 key under AuthKey; nothing in it is parsed by the peer's lengths.
 */
#include "protocol/tls_client_state.h"

#include "base/cursor.h"
#include "base/reason.h"
#include "crypto/crypto.h"
#include "wire/client_hello.h"

#include <string.h>

#define SESSION_ID_LEN 32
#define HMAC_LEN 64
#define NONCE_OFFSET 20

/* The fixed parts of the two certificates; lengths from REALITY 6.6 and 6.7. */
static const uint8_t plain_head[72] = {
	0x30, 0x81, 0xaf, 0x30, 0x63, 0xa0, 0x03, 0x02, 0x01, 0x02, 0x02, 0x01, 0x00, 0x30, 0x05,
	0x06, 0x03, 0x2b, 0x65, 0x70, 0x30, 0x00, 0x30, 0x22, 0x18, 0x0f, 0x30, 0x30, 0x30, 0x31,
	0x30, 0x31, 0x30, 0x31, 0x30, 0x30, 0x30, 0x30, 0x30, 0x30, 0x5a, 0x18, 0x0f, 0x30, 0x30,
	0x30, 0x31, 0x30, 0x31, 0x30, 0x31, 0x30, 0x30, 0x30, 0x30, 0x30, 0x30, 0x5a, 0x30, 0x00,
	0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
};
static const uint8_t mldsa_lengths[8] = {0x30, 0x82, 0x0d, 0xb1, 0x30, 0x82, 0x0d, 0x63};
static const uint8_t mldsa_extension[19] = {
	0xa3, 0x82, 0x0c, 0xfc, 0x30, 0x82, 0x0c, 0xf8, 0x30, 0x82,
	0x0c, 0xf4, 0x06, 0x01, 0x00, 0x04, 0x82, 0x0c, 0xed,
};
static const uint8_t tail[10] = {0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x41, 0x00};

#define PLAIN_LENGTHS 5 /* 30 81af 30 63 */
#define PLAIN_LEN 178
#define MLDSA_LEN 3509
_Static_assert(sizeof(plain_head) + 32 + sizeof(tail) + HMAC_LEN == PLAIN_LEN, "layout");
_Static_assert(sizeof(mldsa_lengths) + sizeof(plain_head) - PLAIN_LENGTHS + 32 +
		       sizeof(mldsa_extension) + CV_MLDSA65_SIGNATURE + sizeof(tail) + HMAC_LEN ==
		       MLDSA_LEN, "layout");

static int derive_auth_key(const struct cv_reality_client_config *reality,
			   const uint8_t private_key[32], const uint8_t *random,
			   uint8_t ret_auth_key[32])
{
	uint8_t shared[CV_X25519_LEN], prk[CV_HASH_MAX];
	int result;

	result = cv_x25519(private_key, reality->server_public, shared);
	if (result == 0)
		result = cv_hkdf_extract(CV_SHA256, random, NONCE_OFFSET, shared, sizeof(shared),
					 prk);
	if (result == 0)
		result = cv_hkdf_expand(CV_SHA256, prk, cv_hash_len(CV_SHA256), CV_REALITY_INFO,
					sizeof(CV_REALITY_INFO) - 1, ret_auth_key, 32);
	cv_cleanse(shared, sizeof(shared));
	cv_cleanse(prk, sizeof(prk));
	return result;
}

static void write_identity(const struct cv_reality_client_config *reality, uint64_t now_wall_ms,
			   uint8_t identity[16])
{
	struct cv_writer writer = cv_writer_of(identity, 16);

	cv_write_bytes(&writer, reality->version, sizeof(reality->version));
	cv_write_u8(&writer, 0);
	cv_write_u32(&writer, (uint32_t)(now_wall_ms / 1000));
	cv_write_bytes(&writer, reality->short_id, sizeof(reality->short_id));
}

int cv_reality_seal_session_id(const struct cv_reality_client_config *reality,
			       const uint8_t private_key[32], uint64_t now_wall_ms, uint8_t *hello,
			       size_t hello_len, uint8_t ret_auth_key[32])
{
	const uint8_t *random = hello + CV_HELLO_RANDOM_OFFSET;
	uint8_t sealed[SESSION_ID_LEN], identity[16];
	struct cv_aead *aead = NULL;
	int result;

	if (hello_len < CV_HELLO_SESSION_ID_OFFSET + SESSION_ID_LEN ||
	    hello[CV_HELLO_SESSION_ID_OFFSET - 1] != SESSION_ID_LEN)
		return CV_INTERNAL_STATE;
	result = derive_auth_key(reality, private_key, random, ret_auth_key);
	if (result < 0)
		return result;
	write_identity(reality, now_wall_ms, identity);
	aead = cv_aead_new(CV_AES_256_GCM, ret_auth_key, true);
	if (!aead)
		return CV_INTERNAL_CRYPTO;
	result = cv_aead_seal(aead, random + NONCE_OFFSET, hello, hello_len, identity,
			      sizeof(identity), sealed);
	cv_aead_free(aead);
	if (result == 0)
		memcpy(hello + CV_HELLO_SESSION_ID_OFFSET, sealed, sizeof(sealed));
	cv_cleanse(identity, sizeof(identity));
	return result;
}

/* What the fixed layout puts where. */
struct reality_leaf {
	const uint8_t *public_key;      /* 32 */
	const uint8_t *mldsa_signature; /* 3309, or NULL */
	const uint8_t *signature;       /* 64 */
};

static bool take_fixed(struct cv_reader *reader, const uint8_t *expected, size_t count_bytes)
{
	const uint8_t *bytes = cv_read_bytes(reader, count_bytes);

	return bytes && memcmp(bytes, expected, count_bytes) == 0;
}

static bool read_leaf(struct cv_der der, struct reality_leaf *ret_leaf)
{
	struct cv_reader reader = cv_reader_of(der.bytes, der.len_bytes);
	bool with_mldsa = der.len_bytes == MLDSA_LEN;
	struct reality_leaf leaf = {0};

	if (!with_mldsa && der.len_bytes != PLAIN_LEN)
		return false;
	if (with_mldsa ? !take_fixed(&reader, mldsa_lengths, sizeof(mldsa_lengths))
		       : !take_fixed(&reader, plain_head, PLAIN_LENGTHS))
		return false;
	if (!take_fixed(&reader, plain_head + PLAIN_LENGTHS, sizeof(plain_head) - PLAIN_LENGTHS))
		return false;
	leaf.public_key = cv_read_bytes(&reader, CV_ED25519_LEN);
	if (with_mldsa) {
		if (!take_fixed(&reader, mldsa_extension, sizeof(mldsa_extension)))
			return false;
		leaf.mldsa_signature = cv_read_bytes(&reader, CV_MLDSA65_SIGNATURE);
	}
	if (!take_fixed(&reader, tail, sizeof(tail)))
		return false;
	leaf.signature = cv_read_bytes(&reader, HMAC_LEN);
	if (!cv_reader_ended(&reader))
		return false;
	*ret_leaf = leaf;
	return true;
}

static bool mldsa_verifies(struct cv_tls_client *client, const struct reality_leaf *leaf)
{
	struct cv_span hello = cv_buffer_span(&client->hello);
	struct cv_span server_hello = cv_buffer_span(&client->server_hello);
	const struct cv_mac_part parts[] = {
		{leaf->public_key, CV_ED25519_LEN},
		{hello.data, hello.len_bytes},
		{server_hello.data, server_hello.len_bytes},
	};
	uint8_t message[HMAC_LEN];

	if (!leaf->mldsa_signature ||
	    cv_hmac(CV_SHA512, client->auth_key, sizeof(client->auth_key), parts, 3, message) < 0)
		return false;
	return cv_mldsa65_verify(client->reality.mldsa_public, message, sizeof(message),
				 leaf->mldsa_signature) == 0;
}

int cv_reality_judge_certificate(struct cv_tls_client *client, struct cv_der der)
{
	struct cv_mac_part part;
	struct reality_leaf leaf;
	uint8_t mac[HMAC_LEN];
	int result;

	if (!read_leaf(der, &leaf))
		return 0;
	part = (struct cv_mac_part){leaf.public_key, CV_ED25519_LEN};
	result = cv_hmac(CV_SHA512, client->auth_key, sizeof(client->auth_key), &part, 1, mac);
	if (result < 0)
		return result;
	client->genuine = cv_equal_constant_time(mac, leaf.signature, sizeof(mac));
	if (client->genuine && client->reality.mldsa_public)
		client->genuine = mldsa_verifies(client, &leaf);
	if (client->genuine)
		memcpy(client->leaf_ed25519, leaf.public_key, CV_ED25519_LEN);
	cv_cleanse(mac, sizeof(mac));
	return 0;
}
