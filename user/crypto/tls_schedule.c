// SPDX-License-Identifier: MIT
/*
 * tls_schedule.c - the TLS 1.3 key schedule without PSK (RFC 8446 7.1), and keys of one direction.
 *
 *	0 ------> Extract --> early secret		a constant for each hash
 *	                        | Derive "derived"
 *	(EC)DHE > Extract --> handshake secret --> c/s hs traffic (transcript to ServerHello)
 *	                        | Derive "derived"
 *	0 ------> Extract --> master secret -----> c/s ap traffic (transcript to server Finished)
 *
 * culvert never resumes, so everything before the (EC)DHE secret is the same for all connections:
 * it is computed once for each hash.
 */
#include "crypto/tls_schedule.h"

#include "base/cursor.h"

#include <culvert/reason.h>

#include <pthread.h>
#include <string.h>

#define LABEL_PREFIX "tls13 "
#define HKDF_LABEL_MAX (2 + 1 + 255 + 1 + 255)

static const struct cv_tls_suite suites[] = {
	{0x1301, CV_SHA256, CV_AES_128_GCM},
	{0x1302, CV_SHA384, CV_AES_256_GCM},
	{0x1303, CV_SHA256, CV_CHACHA20_POLY1305},
};

/* Of SHA-256 and SHA-384, by enum cv_hash_kind. */
static struct {
	uint8_t derived[CV_HASH_MAX]; /* Derive-Secret(early secret, "derived", "") */
	uint8_t empty_hash[CV_HASH_MAX];
	bool valid;
} constants[2];
static pthread_once_t constants_once = PTHREAD_ONCE_INIT;

const struct cv_tls_suite *cv_tls_suite_find(uint16_t id)
{
	for (size_t i = 0; i < sizeof(suites) / sizeof(suites[0]); i++)
		if (suites[i].id == id)
			return &suites[i];
	return NULL;
}

int cv_tls_expand_label(enum cv_hash_kind hash, const uint8_t *secret, const char *label,
			const uint8_t *context, size_t context_len, uint8_t *ret_out,
			size_t ret_len)
{
	uint8_t info[HKDF_LABEL_MAX];
	struct cv_writer writer = cv_writer_of(info, sizeof(info));
	size_t mark;

	if (ret_len > UINT16_MAX)
		return CV_INTERNAL_CRYPTO;
	cv_write_u16(&writer, (uint16_t)ret_len);
	mark = cv_write_open8(&writer);
	cv_write_bytes(&writer, LABEL_PREFIX, strlen(LABEL_PREFIX));
	cv_write_bytes(&writer, label, strlen(label));
	cv_write_close8(&writer, mark);
	mark = cv_write_open8(&writer);
	cv_write_bytes(&writer, context, context_len);
	cv_write_close8(&writer, mark);
	if (writer.failed)
		return CV_INTERNAL_CRYPTO;
	return cv_hkdf_expand(hash, secret, cv_hash_len(hash), info, cv_writer_len(&writer),
			      ret_out, ret_len);
}

/* Derive-Secret, with the transcript hash already computed. */
static int derive_secret(enum cv_hash_kind hash, const uint8_t *secret, const char *label,
			 const uint8_t *transcript_hash, uint8_t *ret_secret)
{
	const size_t len = cv_hash_len(hash);

	return cv_tls_expand_label(hash, secret, label, transcript_hash, len, ret_secret, len);
}

static bool constants_make(enum cv_hash_kind hash)
{
	static const uint8_t zeros[CV_HASH_MAX];
	uint8_t early[CV_HASH_MAX];

	return cv_hash(hash, "", 0, constants[hash].empty_hash) == 0 &&
	       cv_hkdf_extract(hash, NULL, 0, zeros, cv_hash_len(hash), early) == 0 &&
	       derive_secret(hash, early, "derived", constants[hash].empty_hash,
			     constants[hash].derived) == 0;
}

static void constants_make_all(void)
{
	constants[CV_SHA256].valid = constants_make(CV_SHA256);
	constants[CV_SHA384].valid = constants_make(CV_SHA384);
}

int cv_tls_schedule_handshake(const struct cv_tls_suite *suite, const uint8_t *shared,
			      size_t shared_len, const uint8_t *transcript_hash,
			      struct cv_tls_secrets *secrets)
{
	const enum cv_hash_kind hash = suite->hash;
	struct cv_tls_secrets next = *secrets;
	int error;

	pthread_once(&constants_once, constants_make_all);
	if (!constants[hash].valid)
		return CV_INTERNAL_CRYPTO;
	error = cv_hkdf_extract(hash, constants[hash].derived, cv_hash_len(hash), shared,
				shared_len, next.handshake_secret);
	if (!error)
		error = derive_secret(hash, next.handshake_secret, "c hs traffic", transcript_hash,
				      next.client_handshake);
	if (!error)
		error = derive_secret(hash, next.handshake_secret, "s hs traffic", transcript_hash,
				      next.server_handshake);
	if (!error)
		*secrets = next;
	cv_cleanse(&next, sizeof(next));
	return error;
}

int cv_tls_schedule_application(const struct cv_tls_suite *suite, const uint8_t *transcript_hash,
				struct cv_tls_secrets *secrets)
{
	static const uint8_t zeros[CV_HASH_MAX];
	const enum cv_hash_kind hash = suite->hash;
	const size_t len = cv_hash_len(hash);
	struct cv_tls_secrets next = *secrets;
	uint8_t derived[CV_HASH_MAX];
	int error;

	pthread_once(&constants_once, constants_make_all);
	if (!constants[hash].valid)
		return CV_INTERNAL_CRYPTO;
	error = derive_secret(hash, next.handshake_secret, "derived", constants[hash].empty_hash,
			      derived);
	if (!error)
		error = cv_hkdf_extract(hash, derived, len, zeros, len, next.master_secret);
	if (!error)
		error = derive_secret(hash, next.master_secret, "c ap traffic", transcript_hash,
				      next.client_application);
	if (!error)
		error = derive_secret(hash, next.master_secret, "s ap traffic", transcript_hash,
				      next.server_application);
	if (!error)
		*secrets = next;
	cv_cleanse(&next, sizeof(next));
	cv_cleanse(derived, sizeof(derived));
	return error;
}

int cv_tls_finished_mac(const struct cv_tls_suite *suite, const uint8_t *base_secret,
			const uint8_t *transcript_hash, uint8_t *ret_mac)
{
	const size_t len = cv_hash_len(suite->hash);
	uint8_t key[CV_HASH_MAX];
	int error = cv_tls_expand_label(suite->hash, base_secret, "finished", NULL, 0, key, len);

	if (!error)
		error = cv_hmac(suite->hash, key, len, &(struct cv_mac_part){transcript_hash, len},
				1, ret_mac);
	cv_cleanse(key, sizeof(key));
	return error;
}

int cv_tls_keys_init(struct cv_tls_keys *keys, const struct cv_tls_suite *suite,
		     const uint8_t *traffic_secret, bool seal)
{
	struct cv_tls_keys next = {.suite = suite};
	uint8_t key[32];
	int error = cv_tls_expand_label(suite->hash, traffic_secret, "key", NULL, 0, key,
					cv_aead_key_len(suite->aead));

	if (!error)
		error = cv_tls_expand_label(suite->hash, traffic_secret, "iv", NULL, 0, next.iv,
					    sizeof(next.iv));
	if (!error) {
		next.aead = cv_aead_new(suite->aead, key, seal);
		error = next.aead ? 0 : CV_INTERNAL_CRYPTO;
	}
	if (!error) {
		memcpy(next.secret, traffic_secret, cv_hash_len(suite->hash));
		*keys = next;
	}
	cv_cleanse(key, sizeof(key));
	cv_cleanse(&next, sizeof(next));
	return error;
}

void cv_tls_keys_done(struct cv_tls_keys *keys)
{
	cv_aead_free(keys->aead);
	cv_cleanse(keys, sizeof(*keys));
}

int cv_tls_keys_update(struct cv_tls_keys *keys, bool seal)
{
	const struct cv_tls_suite *suite = keys->suite;
	const size_t len = cv_hash_len(suite->hash);
	uint8_t secret[CV_HASH_MAX];
	struct cv_tls_keys next;
	int error =
		cv_tls_expand_label(suite->hash, keys->secret, "traffic upd", NULL, 0, secret, len);

	if (!error)
		error = cv_tls_keys_init(&next, suite, secret, seal);
	if (!error) {
		cv_tls_keys_done(keys);
		*keys = next;
		cv_cleanse(&next, sizeof(next));
	}
	cv_cleanse(secret, sizeof(secret));
	return error;
}
