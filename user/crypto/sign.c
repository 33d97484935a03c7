// SPDX-License-Identifier: MIT
/*
 * sign.c - Ed25519 (RFC 8032) and ML-DSA-65 (FIPS 204).
 *
 * Both sign whole messages through the same four libcrypto calls and differ in parameters only:
 * ML-DSA is asked for its deterministic variant, because REALITY signs the same bytes once and a
 * failing random generator must not weaken the key. A key is immutable after it was made, so one
 * key may sign on all workers at once; every call has a context of its own.
 */
#include "crypto/algorithms.h"

#include <culvert/reason.h>

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/params.h>

struct cv_ed25519 {
	EVP_PKEY *key;
};

struct cv_mldsa65 {
	EVP_PKEY *key;
};

static int message_sign(EVP_PKEY *key, EVP_SIGNATURE *algorithm, const OSSL_PARAM *params,
			const void *message, size_t len, uint8_t *ret_signature, size_t size)
{
	EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);
	size_t signature_len = size;
	const bool ok = context && algorithm &&
			EVP_PKEY_sign_message_init(context, algorithm, params) == 1 &&
			EVP_PKEY_sign(context, ret_signature, &signature_len, message, len) == 1 &&
			signature_len == size;

	EVP_PKEY_CTX_free(context);
	return ok ? 0 : cv_crypto_failed();
}

static int message_verify(const char *type, EVP_SIGNATURE *algorithm, const uint8_t *public_key,
			  size_t public_len, const void *message, size_t len,
			  const uint8_t *signature, size_t signature_len)
{
	EVP_PKEY *key = EVP_PKEY_new_raw_public_key_ex(NULL, type, NULL, public_key, public_len);
	EVP_PKEY_CTX *context = key ? EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL) : NULL;
	const bool ok = context && algorithm &&
			EVP_PKEY_verify_message_init(context, algorithm, NULL) == 1 &&
			EVP_PKEY_verify(context, signature, signature_len, message, len) == 1;

	EVP_PKEY_CTX_free(context);
	EVP_PKEY_free(key);
	if (!ok)
		ERR_clear_error();
	return ok ? 0 : CV_PEER_AUTH_FAILED;
}

struct cv_ed25519 *cv_ed25519_from_seed(const uint8_t seed[32])
{
	struct cv_ed25519 *key = OPENSSL_zalloc(sizeof(*key));

	if (!key)
		return NULL;
	key->key = cv_pkey_from_octets("ED25519", OSSL_PKEY_PARAM_PRIV_KEY, seed, CV_ED25519_LEN,
				       NULL, 0);
	return key->key ? key : cv_ed25519_free(key);
}

struct cv_ed25519 *cv_ed25519_free(struct cv_ed25519 *key)
{
	if (key)
		EVP_PKEY_free(key->key);
	OPENSSL_free(key);
	return NULL;
}

int cv_ed25519_public(const struct cv_ed25519 *key, uint8_t ret_public[32])
{
	size_t len = CV_ED25519_LEN;

	if (EVP_PKEY_get_raw_public_key(key->key, ret_public, &len) != 1)
		return cv_crypto_failed();
	return 0;
}

int cv_ed25519_sign(const struct cv_ed25519 *key, const void *message, size_t len,
		    uint8_t ret_sig[64])
{
	return message_sign(key->key, cv_algorithms()->ed25519, NULL, message, len, ret_sig,
			    CV_ED25519_SIGNATURE);
}

int cv_ed25519_verify(const uint8_t public_key[32], const void *message, size_t len,
		      const uint8_t signature[64])
{
	return message_verify("ED25519", cv_algorithms()->ed25519, public_key, CV_ED25519_LEN,
			      message, len, signature, CV_ED25519_SIGNATURE);
}

struct cv_mldsa65 *cv_mldsa65_from_seed(const uint8_t seed[32])
{
	struct cv_mldsa65 *key = OPENSSL_zalloc(sizeof(*key));

	if (!key)
		return NULL;
	key->key = cv_pkey_from_octets("ML-DSA-65", OSSL_PKEY_PARAM_ML_DSA_SEED, seed,
				       CV_MLDSA65_SEED, NULL, 0);
	return key->key ? key : cv_mldsa65_free(key);
}

struct cv_mldsa65 *cv_mldsa65_free(struct cv_mldsa65 *key)
{
	if (key)
		EVP_PKEY_free(key->key);
	OPENSSL_free(key);
	return NULL;
}

int cv_mldsa65_public(const struct cv_mldsa65 *key, uint8_t ret_public[1952])
{
	size_t len = CV_MLDSA65_PUBLIC;

	if (EVP_PKEY_get_raw_public_key(key->key, ret_public, &len) != 1)
		return cv_crypto_failed();
	return 0;
}

int cv_mldsa65_sign(const struct cv_mldsa65 *key, const void *message, size_t len,
		    uint8_t ret_signature[3309])
{
	int deterministic = 1;
	int pure_encoding = 1;
	const OSSL_PARAM params[] = {
		OSSL_PARAM_construct_int(OSSL_SIGNATURE_PARAM_DETERMINISTIC, &deterministic),
		OSSL_PARAM_construct_int(OSSL_SIGNATURE_PARAM_MESSAGE_ENCODING, &pure_encoding),
		OSSL_PARAM_construct_end(),
	};

	return message_sign(key->key, cv_algorithms()->mldsa65, params, message, len, ret_signature,
			    CV_MLDSA65_SIGNATURE);
}

int cv_mldsa65_verify(const uint8_t public_key[1952], const void *message, size_t len,
		      const uint8_t signature[3309])
{
	return message_verify("ML-DSA-65", cv_algorithms()->mldsa65, public_key, CV_MLDSA65_PUBLIC,
			      message, len, signature, CV_MLDSA65_SIGNATURE);
}
