// SPDX-License-Identifier: MIT
/*
 * block.c - single AES blocks, and SHAKE128 as a stream: what VMess hides ids and lengths with.
 *
 * A server tries the key of each user on the first block of a stranger, so that a context of the
 * thread is kept and only gets another key. SHAKE gives two bytes for each chunk of a stream; it is
 * squeezed a block at a time, since a call costs more than a block.
 */
#include "crypto/algorithms.h"

#include <culvert/reason.h>

#include <openssl/crypto.h>
#include <pthread.h>
#include <string.h>

#define SHAKE128_RATE 168

/* ---- AES ---------------------------------------------------------------------------------- */

static _Thread_local EVP_CIPHER_CTX *thread_context;
static pthread_key_t context_key;
static pthread_once_t context_once = PTHREAD_ONCE_INIT;

static void context_free(void *context)
{
	EVP_CIPHER_CTX_free(context);
}

static void context_key_make(void)
{
	pthread_key_create(&context_key, context_free);
}

static EVP_CIPHER_CTX *context_of_thread(void)
{
	if (thread_context)
		return thread_context;
	thread_context = EVP_CIPHER_CTX_new();
	pthread_once(&context_once, context_key_make);
	pthread_setspecific(context_key, thread_context);
	return thread_context;
}

int cv_aes128_block(const uint8_t key[16], bool seal, uint8_t block[16])
{
	const EVP_CIPHER *cipher = cv_algorithms()->aes128_block;
	EVP_CIPHER_CTX *context = cipher ? context_of_thread() : NULL;
	uint8_t result[32];
	int written = 0;

	if (!context || EVP_CipherInit_ex2(context, cipher, key, NULL, seal, NULL) != 1 ||
	    EVP_CIPHER_CTX_set_padding(context, 0) != 1 ||
	    EVP_CipherUpdate(context, result, &written, block, 16) != 1 || written != 16)
		return cv_crypto_failed();
	memcpy(block, result, 16);
	cv_cleanse(result, sizeof(result));
	return 0;
}

/* ---- SHAKE128 ----------------------------------------------------------------------------- */

struct cv_shake {
	EVP_MD_CTX *context;
	size_t used_bytes; /* of ready */
	uint8_t ready[SHAKE128_RATE];
};

struct cv_shake *cv_shake_new(const void *seed, size_t seed_len)
{
	const EVP_MD *md = cv_algorithms()->shake128;
	struct cv_shake *shake = OPENSSL_zalloc(sizeof(*shake));

	if (!shake)
		return NULL;
	shake->used_bytes = sizeof(shake->ready);
	shake->context = EVP_MD_CTX_new();
	if (!md || !shake->context || EVP_DigestInit_ex2(shake->context, md, NULL) != 1 ||
	    EVP_DigestUpdate(shake->context, seed, seed_len) != 1) {
		cv_crypto_failed();
		return cv_shake_free(shake);
	}
	return shake;
}

struct cv_shake *cv_shake_free(struct cv_shake *shake)
{
	if (shake)
		EVP_MD_CTX_free(shake->context);
	OPENSSL_clear_free(shake, sizeof(*shake));
	return NULL;
}

int cv_shake_read(struct cv_shake *shake, uint8_t *ret_bytes, size_t count_bytes)
{
	while (count_bytes > 0) {
		size_t part = sizeof(shake->ready) - shake->used_bytes;

		if (part == 0) {
			if (EVP_DigestSqueeze(shake->context, shake->ready,
					      sizeof(shake->ready)) != 1)
				return cv_crypto_failed();
			shake->used_bytes = 0;
			continue;
		}
		if (part > count_bytes)
			part = count_bytes;
		memcpy(ret_bytes, shake->ready + shake->used_bytes, part);
		shake->used_bytes += part;
		ret_bytes += part;
		count_bytes -= part;
	}
	return 0;
}
