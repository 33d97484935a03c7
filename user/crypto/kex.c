// SPDX-License-Identifier: MIT
/*
 * kex.c - X25519 (RFC 7748), ML-KEM-768 (FIPS 203) and the NIST curves.
 *
 * X25519 is the most expensive step of a handshake, so one trick: libcrypto computes the public
 * half of every private key it is given, which costs as much as the exchange itself and is never
 * read by it. cv_x25519() therefore passes some public half along with the private key.
 *
 * An ML-KEM key travels as its 64-byte seed (d || z): libcrypto expands it again when the
 * ciphertext arrives, and no 2400-byte key is kept between the two flights.
 */
#include "crypto/algorithms.h"

#include <culvert/reason.h>

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <string.h>

#define P384_POINT 97

struct cv_ecdh {
	EVP_PKEY *key;
	size_t point_bytes;
	size_t secret_bytes;
};

int cv_x25519_public(const uint8_t private_key[32], uint8_t ret_public[32])
{
	size_t len = CV_X25519_LEN;
	EVP_PKEY *key = cv_pkey_from_octets("X25519", OSSL_PKEY_PARAM_PRIV_KEY, private_key,
					    CV_X25519_LEN, NULL, 0);
	const bool ok = key && EVP_PKEY_get_raw_public_key(key, ret_public, &len) == 1;

	EVP_PKEY_free(key);
	return ok ? 0 : cv_crypto_failed();
}

int cv_x25519_keygen(uint8_t ret_private[32], uint8_t ret_public[32])
{
	uint8_t private_key[CV_X25519_LEN];
	int error = cv_random_bytes(private_key, sizeof(private_key));

	if (!error)
		error = cv_x25519_public(private_key, ret_public);
	if (!error)
		memcpy(ret_private, private_key, sizeof(private_key));
	cv_cleanse(private_key, sizeof(private_key));
	return error;
}

/* Diffie-Hellman of any kind; @ret_secret has *ret_len bytes of room. */
static bool pkey_derive(EVP_PKEY *key, EVP_PKEY *peer, uint8_t *ret_secret, size_t *ret_len)
{
	EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);
	/* The peer's key was checked when it was parsed. */
	const bool ok = context && EVP_PKEY_derive_init(context) == 1 &&
			EVP_PKEY_derive_set_peer_ex(context, peer, 0) == 1 &&
			EVP_PKEY_derive(context, ret_secret, ret_len) == 1;

	EVP_PKEY_CTX_free(context);
	return ok;
}

int cv_x25519(const uint8_t private_key[32], const uint8_t peer_public[32], uint8_t ret_shared[32])
{
	static const uint8_t zeros[CV_X25519_LEN];
	uint8_t shared[CV_X25519_LEN] = {0};
	size_t len = sizeof(shared);
	EVP_PKEY *key = cv_pkey_from_octets("X25519", OSSL_PKEY_PARAM_PRIV_KEY, private_key,
					    CV_X25519_LEN, peer_public, CV_X25519_LEN);
	EVP_PKEY *peer =
		EVP_PKEY_new_raw_public_key_ex(NULL, "X25519", NULL, peer_public, CV_X25519_LEN);
	int error = 0;

	/* libcrypto refuses an all-zero result; it has no other reason to fail here. */
	if (!key || !peer)
		error = CV_INTERNAL_CRYPTO;
	else if (!pkey_derive(key, peer, shared, &len) ||
		 cv_equal_constant_time(shared, zeros, sizeof(shared)))
		error = CV_PEER_AUTH_FAILED;
	else
		memcpy(ret_shared, shared, sizeof(shared));
	if (error)
		ERR_clear_error();
	cv_cleanse(shared, sizeof(shared));
	EVP_PKEY_free(peer);
	EVP_PKEY_free(key);
	return error;
}

static EVP_PKEY *mlkem768_from_seed(const uint8_t seed[64])
{
	return cv_pkey_from_octets("ML-KEM-768", OSSL_PKEY_PARAM_ML_KEM_SEED, seed,
				   CV_MLKEM768_SEED, NULL, 0);
}

int cv_mlkem768_keygen(uint8_t ret_seed[64], uint8_t ret_public[1184])
{
	uint8_t seed[CV_MLKEM768_SEED];
	size_t len = CV_MLKEM768_PUBLIC;
	EVP_PKEY *key = NULL;
	int error = cv_random_bytes(seed, sizeof(seed));

	if (!error) {
		key = mlkem768_from_seed(seed);
		if (!key || EVP_PKEY_get_raw_public_key(key, ret_public, &len) != 1)
			error = cv_crypto_failed();
		else
			memcpy(ret_seed, seed, sizeof(seed));
	}
	EVP_PKEY_free(key);
	cv_cleanse(seed, sizeof(seed));
	return error;
}

int cv_mlkem768_encapsulate(const uint8_t public_key[1184], uint8_t ret_ciphertext[1088],
			    uint8_t ret_secret[32])
{
	size_t ciphertext_len = CV_MLKEM768_CIPHERTEXT;
	size_t secret_len = CV_MLKEM768_SECRET;
	EVP_PKEY_CTX *context = NULL;

	cv_algorithms();

	EVP_PKEY *key = EVP_PKEY_new_raw_public_key_ex(NULL, "ML-KEM-768", NULL, public_key,
						       CV_MLKEM768_PUBLIC);

	if (!key) {
		ERR_clear_error();
		return CV_PEER_DECODE;
	}
	context = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);

	const bool ok = context && EVP_PKEY_encapsulate_init(context, NULL) == 1 &&
			EVP_PKEY_encapsulate(context, ret_ciphertext, &ciphertext_len, ret_secret,
					     &secret_len) == 1;

	EVP_PKEY_CTX_free(context);
	EVP_PKEY_free(key);
	return ok ? 0 : cv_crypto_failed();
}

int cv_mlkem768_decapsulate(const uint8_t seed[64], const uint8_t ciphertext[1088],
			    uint8_t ret_secret[32])
{
	size_t secret_len = CV_MLKEM768_SECRET;
	EVP_PKEY *key = mlkem768_from_seed(seed);
	EVP_PKEY_CTX *context = key ? EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL) : NULL;
	/* A wrong ciphertext gives a pseudo-random secret (implicit rejection), not an error. */
	const bool ok = context && EVP_PKEY_decapsulate_init(context, NULL) == 1 &&
			EVP_PKEY_decapsulate(context, ret_secret, &secret_len, ciphertext,
					     CV_MLKEM768_CIPHERTEXT) == 1;

	EVP_PKEY_CTX_free(context);
	EVP_PKEY_free(key);
	return ok ? 0 : cv_crypto_failed();
}

struct cv_ecdh *cv_ecdh_new(enum cv_nist_curve curve)
{
	struct cv_ecdh *ecdh = OPENSSL_zalloc(sizeof(*ecdh));

	cv_algorithms();
	if (!ecdh)
		return NULL;
	ecdh->secret_bytes = curve == CV_P256 ? 32 : 48;
	ecdh->point_bytes = 1 + 2 * ecdh->secret_bytes;
	ecdh->key = EVP_EC_gen(curve == CV_P256 ? "P-256" : "P-384");
	if (!ecdh->key) {
		cv_crypto_failed();
		return cv_ecdh_free(ecdh);
	}
	return ecdh;
}

struct cv_ecdh *cv_ecdh_free(struct cv_ecdh *ecdh)
{
	if (ecdh)
		EVP_PKEY_free(ecdh->key);
	OPENSSL_free(ecdh);
	return NULL;
}

int cv_ecdh_public(const struct cv_ecdh *ecdh, uint8_t *ret_point, size_t *ret_len)
{
	uint8_t *point = NULL;
	const size_t len = EVP_PKEY_get1_encoded_public_key(ecdh->key, &point);

	if (len != ecdh->point_bytes) {
		OPENSSL_free(point);
		return cv_crypto_failed();
	}
	memcpy(ret_point, point, len);
	*ret_len = len;
	OPENSSL_free(point);
	return 0;
}

/* A key of our curve from an uncompressed point; libcrypto checks that it is on the curve. */
static EVP_PKEY *ecdh_peer(const struct cv_ecdh *ecdh, const uint8_t *point, size_t len)
{
	EVP_PKEY *peer;

	if (len != ecdh->point_bytes || point[0] != 0x04)
		return NULL;
	peer = EVP_PKEY_new();
	if (!peer || EVP_PKEY_copy_parameters(peer, ecdh->key) != 1 ||
	    EVP_PKEY_set1_encoded_public_key(peer, point, len) != 1) {
		EVP_PKEY_free(peer);
		return NULL;
	}
	return peer;
}

int cv_ecdh_derive(const struct cv_ecdh *ecdh, const uint8_t *peer_point, size_t peer_len,
		   uint8_t *ret_secret, size_t *ret_len)
{
	uint8_t secret[P384_POINT / 2] = {0};
	size_t len = sizeof(secret);
	EVP_PKEY *peer = ecdh_peer(ecdh, peer_point, peer_len);
	int error = 0;

	if (!peer) {
		ERR_clear_error();
		return CV_PEER_DECODE;
	}
	if (!pkey_derive(ecdh->key, peer, secret, &len) || len != ecdh->secret_bytes)
		error = cv_crypto_failed();
	if (!error) {
		memcpy(ret_secret, secret, len);
		*ret_len = len;
	}
	cv_cleanse(secret, sizeof(secret));
	EVP_PKEY_free(peer);
	return error;
}
