/* SPDX-License-Identifier: MIT */
/*
 * algorithms.h - libcrypto's algorithms, looked up once; private to user/crypto.
 */
#ifndef CV_CRYPTO_ALGORITHMS_H
#define CV_CRYPTO_ALGORITHMS_H

#include "crypto/crypto.h"

#include <openssl/evp.h>

#define CV_HASH_KINDS 5
#define CV_AEAD_KINDS 3

/* A member is NULL if this libcrypto lacks the algorithm. */
struct cv_algorithms {
	EVP_MD *hash[CV_HASH_KINDS];     /* by enum cv_hash_kind */
	EVP_CIPHER *aead[CV_AEAD_KINDS]; /* by enum cv_aead_kind */
	EVP_CIPHER *aes128_block; /* ECB */
	EVP_MD *shake128;
	EVP_SIGNATURE *ed25519;
	EVP_SIGNATURE *mldsa65;
};

/** cv_algorithms() - The process-wide table, filled on first use; never freed. */
const struct cv_algorithms *cv_algorithms(void);

/** cv_crypto_failed() - Empty libcrypto's error queue; returns CV_INTERNAL_CRYPTO. */
int cv_crypto_failed(void);

/** cv_pkey_from_octets() - Private key of @type from one octet parameter (@name, e.g. "seed"),
 * and @public_key as its public half unless that is NULL. The caller frees it; NULL on failure. */
EVP_PKEY *cv_pkey_from_octets(const char *type, const char *name, const uint8_t *bytes, size_t len,
			      const uint8_t *public_key, size_t public_len);

#endif
