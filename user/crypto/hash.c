// SPDX-License-Identifier: MIT
/*
 * hash.c - digests, transcripts, HMAC (RFC 2104) and HKDF (RFC 5869).
 *
 * A TLS 1.3 handshake runs about thirty HMACs over less than 200 bytes each; allocating a context
 * for every one costs more than hashing. So each thread keeps one digest context per hash, which
 * every function here uses from start to end, and HMAC is written on top of the digest:
 *
 *	inner = H(key ^ 0x36.. || parts)	mac = H(key ^ 0x5c.. || inner)
 *
 * The context is started again when a keyed result is out, which overwrites the state that was
 * derived from the key.
 */
#include "crypto/algorithms.h"

#include <culvert/reason.h>

#include <assert.h>
#include <openssl/crypto.h>
#include <pthread.h>
#include <string.h>

#define BLOCK_MAX 128

struct cv_transcript {
	EVP_MD_CTX *context;
	enum cv_hash_kind kind;
};

static const struct {
	size_t digest_bytes;
	size_t block_bytes;
} hash_sizes[CV_HASH_KINDS] = {
	[CV_SHA256] = {32, 64},
	[CV_SHA384] = {48, 128},
	[CV_SHA512] = {64, 128},
	[CV_SHA1] = {20, 64},
	[CV_MD5] = {16, 64},
};

/* Digest contexts of this thread; the key's destructor frees them when the thread ends. */
struct scratch {
	EVP_MD_CTX *context[CV_HASH_KINDS];
};

static _Thread_local struct scratch *thread_scratch;
static pthread_key_t scratch_key;
static pthread_once_t scratch_once = PTHREAD_ONCE_INIT;

static void scratch_free(void *argument)
{
	struct scratch *scratch = argument;

	for (size_t i = 0; i < CV_HASH_KINDS; i++)
		EVP_MD_CTX_free(scratch->context[i]);
	OPENSSL_free(scratch);
}

static void scratch_key_make(void)
{
	pthread_key_create(&scratch_key, scratch_free);
}

static struct scratch *scratch_new(void)
{
	struct scratch *scratch = OPENSSL_zalloc(sizeof(*scratch));

	if (!scratch)
		return NULL;
	for (size_t i = 0; i < CV_HASH_KINDS; i++) {
		scratch->context[i] = EVP_MD_CTX_new();
		if (!scratch->context[i]) {
			scratch_free(scratch);
			return NULL;
		}
	}
	pthread_once(&scratch_once, scratch_key_make);
	pthread_setspecific(scratch_key, scratch);
	thread_scratch = scratch;
	return scratch;
}

/* This thread's context for @kind, started; NULL on failure. */
static EVP_MD_CTX *scratch_start(enum cv_hash_kind kind)
{
	struct scratch *scratch = thread_scratch ? thread_scratch : scratch_new();
	const EVP_MD *md = cv_algorithms()->hash[kind];

	if (!scratch || !md || EVP_DigestInit_ex2(scratch->context[kind], md, NULL) != 1)
		return NULL;
	return scratch->context[kind];
}

size_t cv_hash_len(enum cv_hash_kind kind)
{
	return hash_sizes[kind].digest_bytes;
}

int cv_hash(enum cv_hash_kind kind, const void *bytes, size_t count_bytes, uint8_t *ret_digest)
{
	EVP_MD_CTX *context = scratch_start(kind);

	if (!context || EVP_DigestUpdate(context, bytes, count_bytes) != 1 ||
	    EVP_DigestFinal_ex(context, ret_digest, NULL) != 1)
		return cv_crypto_failed();
	return 0;
}

struct cv_transcript *cv_transcript_new(enum cv_hash_kind kind)
{
	const EVP_MD *md = cv_algorithms()->hash[kind];
	struct cv_transcript *transcript = OPENSSL_zalloc(sizeof(*transcript));

	if (!transcript)
		return NULL;
	transcript->kind = kind;
	transcript->context = EVP_MD_CTX_new();
	if (!md || !transcript->context || EVP_DigestInit_ex2(transcript->context, md, NULL) != 1) {
		cv_crypto_failed();
		return cv_transcript_free(transcript);
	}
	return transcript;
}

struct cv_transcript *cv_transcript_free(struct cv_transcript *transcript)
{
	if (transcript)
		EVP_MD_CTX_free(transcript->context);
	OPENSSL_free(transcript);
	return NULL;
}

int cv_transcript_add(struct cv_transcript *transcript, const void *bytes, size_t count_bytes)
{
	if (EVP_DigestUpdate(transcript->context, bytes, count_bytes) != 1)
		return cv_crypto_failed();
	return 0;
}

int cv_transcript_digest(const struct cv_transcript *transcript, uint8_t *ret_digest)
{
	EVP_MD_CTX *copy = scratch_start(transcript->kind);

	if (!copy || EVP_MD_CTX_copy_ex(copy, transcript->context) != 1 ||
	    EVP_DigestFinal_ex(copy, ret_digest, NULL) != 1)
		return cv_crypto_failed();
	return 0;
}

/* The key as one block (RFC 2104: longer keys are hashed first), xored with @pad_byte. */
static void hmac_pad(const uint8_t *key, size_t key_len, size_t block_bytes, uint8_t pad_byte,
		     uint8_t block[BLOCK_MAX])
{
	memset(block, pad_byte, block_bytes);
	for (size_t i = 0; i < key_len; i++)
		block[i] ^= key[i];
}

static bool hmac_pass(EVP_MD_CTX *context, const uint8_t *block, size_t block_bytes,
		      const struct cv_mac_part *parts, size_t part_count, uint8_t *ret_digest)
{
	if (EVP_DigestUpdate(context, block, block_bytes) != 1)
		return false;
	for (size_t i = 0; i < part_count; i++)
		if (parts[i].count_bytes &&
		    EVP_DigestUpdate(context, parts[i].bytes, parts[i].count_bytes) != 1)
			return false;
	return EVP_DigestFinal_ex(context, ret_digest, NULL) == 1;
}

int cv_hmac(enum cv_hash_kind kind, const void *key, size_t key_len,
	    const struct cv_mac_part *parts, size_t part_count, uint8_t *ret_mac)
{
	const size_t digest_bytes = hash_sizes[kind].digest_bytes;
	const size_t block_bytes = hash_sizes[kind].block_bytes;
	uint8_t hashed_key[CV_HASH_MAX];
	uint8_t block[BLOCK_MAX];
	uint8_t digest[CV_HASH_MAX];
	int error = CV_INTERNAL_CRYPTO;

	if (key_len > block_bytes) {
		if (cv_hash(kind, key, key_len, hashed_key) != 0)
			return CV_INTERNAL_CRYPTO;
		key = hashed_key;
		key_len = digest_bytes;
	}
	hmac_pad(key, key_len, block_bytes, 0x36, block);

	EVP_MD_CTX *context = scratch_start(kind);

	if (!context || !hmac_pass(context, block, block_bytes, parts, part_count, digest))
		goto out;
	hmac_pad(key, key_len, block_bytes, 0x5c, block);
	context = scratch_start(kind);
	if (!context || !hmac_pass(context, block, block_bytes,
				   &(struct cv_mac_part){digest, digest_bytes}, 1, digest))
		goto out;
	memcpy(ret_mac, digest, digest_bytes);
	error = 0;
out:
	scratch_start(kind);
	cv_cleanse(hashed_key, sizeof(hashed_key));
	cv_cleanse(block, sizeof(block));
	cv_cleanse(digest, sizeof(digest));
	return error ? cv_crypto_failed() : 0;
}

int cv_hkdf_extract(enum cv_hash_kind kind, const void *salt, size_t salt_len, const void *ikm,
		    size_t ikm_len, uint8_t *ret_prk)
{
	/* An absent salt is a block of zeros, which is what HMAC makes of an empty key. */
	return cv_hmac(kind, salt, salt_len, &(struct cv_mac_part){ikm, ikm_len}, 1, ret_prk);
}

int cv_hkdf_expand(enum cv_hash_kind kind, const uint8_t *prk, size_t prk_len, const void *info,
		   size_t info_len, uint8_t *ret_okm, size_t ret_len)
{
	const size_t digest_bytes = hash_sizes[kind].digest_bytes;
	uint8_t block[CV_HASH_MAX];
	size_t block_len = 0;
	int error = 0;

	if (ret_len > 255 * digest_bytes)
		return CV_INTERNAL_CRYPTO;
	for (size_t done = 0; done < ret_len && !error; done += digest_bytes) {
		const uint8_t counter = (uint8_t)(done / digest_bytes + 1);
		const struct cv_mac_part parts[] = {
			{block, block_len}, {info, info_len}, {&counter, 1}};
		const size_t left = ret_len - done;

		error = cv_hmac(kind, prk, prk_len, parts, 3, block);
		block_len = digest_bytes;
		if (!error)
			memcpy(ret_okm + done, block, left < digest_bytes ? left : digest_bytes);
	}
	cv_cleanse(block, sizeof(block));
	return error;
}
