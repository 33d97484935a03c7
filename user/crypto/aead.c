// SPDX-License-Identifier: MIT
/*
 * aead.c - AES-GCM and ChaCha20-Poly1305, one context for one direction of one connection.
 *
 * The key schedule is computed once, in cv_aead_new(); a record only sets its nonce. Ciphertext
 * that does not authenticate leaves no plaintext behind: libcrypto has written it by the time the
 * tag is compared, so the output is cleansed.
 */
#include "crypto/algorithms.h"

#include <culvert/reason.h>

#include <limits.h>
#include <openssl/crypto.h>
#include <openssl/err.h>

struct cv_aead {
	EVP_CIPHER_CTX *context;
};

static const size_t key_lens[CV_AEAD_KINDS] = {
	[CV_AES_128_GCM] = 16,
	[CV_AES_256_GCM] = 32,
	[CV_CHACHA20_POLY1305] = 32,
};

size_t cv_aead_key_len(enum cv_aead_kind kind)
{
	return key_lens[kind];
}

struct cv_aead *cv_aead_new(enum cv_aead_kind kind, const uint8_t *key, bool seal)
{
	const EVP_CIPHER *cipher = cv_algorithms()->aead[kind];
	struct cv_aead *aead = OPENSSL_zalloc(sizeof(*aead));

	if (!aead)
		return NULL;
	aead->context = EVP_CIPHER_CTX_new();
	if (!cipher || !aead->context ||
	    EVP_CipherInit_ex2(aead->context, cipher, key, NULL, seal, NULL) != 1) {
		cv_crypto_failed();
		return cv_aead_free(aead);
	}
	return aead;
}

struct cv_aead *cv_aead_free(struct cv_aead *aead)
{
	if (aead)
		EVP_CIPHER_CTX_free(aead->context); /* cleanses the key schedule */
	OPENSSL_free(aead);
	return NULL;
}

/* Everything before the tag. */
static bool aead_run(struct cv_aead *aead, const uint8_t nonce[12], const void *aad, size_t aad_len,
		     const uint8_t *in, size_t in_len, uint8_t *out)
{
	int written = 0;

	if (in_len > INT_MAX || aad_len > INT_MAX)
		return false;
	if (EVP_CipherInit_ex2(aead->context, NULL, NULL, nonce, -1, NULL) != 1)
		return false;
	if (aad_len && EVP_CipherUpdate(aead->context, NULL, &written, aad, (int)aad_len) != 1)
		return false;
	return in_len == 0 || EVP_CipherUpdate(aead->context, out, &written, in, (int)in_len) == 1;
}

int cv_aead_seal(struct cv_aead *aead, const uint8_t nonce[12], const void *aad, size_t aad_len,
		 const uint8_t *in, size_t in_len, uint8_t *out)
{
	int written = 0;

	if (!aead_run(aead, nonce, aad, aad_len, in, in_len, out) ||
	    EVP_CipherFinal_ex(aead->context, out + in_len, &written) != 1 ||
	    EVP_CIPHER_CTX_ctrl(aead->context, EVP_CTRL_AEAD_GET_TAG, CV_AEAD_TAG,
				out + in_len) != 1)
		return cv_crypto_failed();
	return 0;
}

int cv_aead_open(struct cv_aead *aead, const uint8_t nonce[12], const void *aad, size_t aad_len,
		 const uint8_t *in, size_t in_len, uint8_t *out)
{
	uint8_t empty[1]; /* a place for "no bytes" where the caller may give NULL */
	int written = 0;

	if (in_len < CV_AEAD_TAG)
		return CV_PEER_BAD_RECORD;

	const size_t plain_len = in_len - CV_AEAD_TAG;

	if (!aead_run(aead, nonce, aad, aad_len, in, plain_len, out) ||
	    EVP_CIPHER_CTX_ctrl(aead->context, EVP_CTRL_AEAD_SET_TAG, CV_AEAD_TAG,
				(void *)(in + plain_len)) != 1)
		return cv_crypto_failed();
	if (EVP_CipherFinal_ex(aead->context, plain_len ? out + plain_len : empty, &written) != 1) {
		if (plain_len)
			cv_cleanse(out, plain_len);
		ERR_clear_error();
		return CV_PEER_BAD_RECORD;
	}
	return 0;
}
