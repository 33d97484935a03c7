// SPDX-License-Identifier: MIT
/*
 * algorithms.c - fetch libcrypto's algorithms once, for the whole process.
 *
 * EVP_sha256() and friends are fetched again, under locks, each time they are used; a handshake has
 * some sixty such uses. The table is filled once (pthread_once) and shared by all workers: fetched
 * algorithms are immutable and reference counted.
 *
 * No openssl.cnf is read: what culvert puts on the wire must not depend on a file it does not know,
 * and after the sandbox is up there may be no file system to read.
 */
#include "crypto/algorithms.h"

#include <culvert/reason.h>

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/params.h>
#include <pthread.h>

static struct cv_algorithms algorithms;
static pthread_once_t algorithms_once = PTHREAD_ONCE_INIT;

static void algorithms_fetch(void)
{
	OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, NULL);
	algorithms.hash[CV_SHA256] = EVP_MD_fetch(NULL, "SHA256", NULL);
	algorithms.hash[CV_SHA384] = EVP_MD_fetch(NULL, "SHA384", NULL);
	algorithms.hash[CV_SHA512] = EVP_MD_fetch(NULL, "SHA512", NULL);
	algorithms.hash[CV_SHA1] = EVP_MD_fetch(NULL, "SHA1", NULL);
	algorithms.aead[CV_AES_128_GCM] = EVP_CIPHER_fetch(NULL, "AES-128-GCM", NULL);
	algorithms.aead[CV_AES_256_GCM] = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
	algorithms.aead[CV_CHACHA20_POLY1305] = EVP_CIPHER_fetch(NULL, "ChaCha20-Poly1305", NULL);
	algorithms.hash[CV_MD5] = EVP_MD_fetch(NULL, "MD5", NULL);
	algorithms.aes128_block = EVP_CIPHER_fetch(NULL, "AES-128-ECB", NULL);
	algorithms.shake128 = EVP_MD_fetch(NULL, "SHAKE-128", NULL);
	algorithms.ed25519 = EVP_SIGNATURE_fetch(NULL, "ED25519", NULL);
	algorithms.mldsa65 = EVP_SIGNATURE_fetch(NULL, "ML-DSA-65", NULL);
	ERR_clear_error();
}

const struct cv_algorithms *cv_algorithms(void)
{
	pthread_once(&algorithms_once, algorithms_fetch);
	return &algorithms;
}

int cv_crypto_failed(void)
{
	ERR_clear_error();
	return CV_INTERNAL_CRYPTO;
}

EVP_PKEY *cv_pkey_from_octets(const char *type, const char *name, const uint8_t *bytes, size_t len,
			      const uint8_t *public_key, size_t public_len)
{
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_octet_string(name, (void *)bytes, len),
		OSSL_PARAM_construct_end(),
		OSSL_PARAM_construct_end(),
	};
	EVP_PKEY_CTX *context;
	EVP_PKEY *key = NULL;

	cv_algorithms();
	if (public_key)
		params[1] = OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY,
							      (void *)public_key, public_len);
	context = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
	if (context && EVP_PKEY_fromdata_init(context) == 1)
		EVP_PKEY_fromdata(context, &key, EVP_PKEY_KEYPAIR, params);
	EVP_PKEY_CTX_free(context);
	if (!key)
		ERR_clear_error();
	return key;
}
