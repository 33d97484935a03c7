/* SPDX-License-Identifier: MIT */
/*
 * tls_schedule.h - the TLS 1.3 key schedule (RFC 8446 7.1) for client and server alike.
 */
#ifndef CV_CRYPTO_TLS_SCHEDULE_H
#define CV_CRYPTO_TLS_SCHEDULE_H

#include "crypto/crypto.h"

struct cv_tls_suite {
	uint16_t id; /* 0x1301, 0x1302, 0x1303 */
	enum cv_hash_kind hash;
	enum cv_aead_kind aead;
};

/** cv_tls_suite_find() - NULL unless @id is 0x1301, 0x1302 or 0x1303. */
const struct cv_tls_suite *cv_tls_suite_find(uint16_t id);

/* Traffic secrets of one connection, both directions. Cleanse after use. */
struct cv_tls_secrets {
	uint8_t handshake_secret[CV_HASH_MAX];
	uint8_t master_secret[CV_HASH_MAX];
	uint8_t client_handshake[CV_HASH_MAX];
	uint8_t server_handshake[CV_HASH_MAX];
	uint8_t client_application[CV_HASH_MAX];
	uint8_t server_application[CV_HASH_MAX];
};

/** cv_tls_expand_label() - HKDF-Expand-Label, RFC 8446 7.1; @label without the "tls13 " prefix. */
int cv_tls_expand_label(enum cv_hash_kind hash, const uint8_t *secret, const char *label,
			const uint8_t *context, size_t context_len, uint8_t *ret_out,
			size_t ret_len);
/** cv_tls_schedule_handshake() - From (EC)DHE secret and Hash(CH..SH): handshake_secret, c/s hs. */
int cv_tls_schedule_handshake(const struct cv_tls_suite *suite, const uint8_t *shared,
			      size_t shared_len, const uint8_t *transcript_hash,
			      struct cv_tls_secrets *secrets);
/** cv_tls_schedule_application() - From Hash(CH..server Finished): master_secret, c/s ap. */
int cv_tls_schedule_application(const struct cv_tls_suite *suite, const uint8_t *transcript_hash,
				struct cv_tls_secrets *secrets);
/** cv_tls_finished_mac() - verify_data for @base_secret (c or s handshake secret). */
int cv_tls_finished_mac(const struct cv_tls_suite *suite, const uint8_t *base_secret,
			const uint8_t *transcript_hash, uint8_t *ret_mac);

/* One direction of TLS 1.3 record protection. */
struct cv_tls_keys {
	const struct cv_tls_suite *suite;
	struct cv_aead *aead;
	uint8_t iv[12];
	uint64_t sequence;
	uint8_t secret[CV_HASH_MAX]; /* for KeyUpdate and, later, kTLS */
};

/** cv_tls_keys_init() - From a traffic secret; @seal true for the sending side. */
int cv_tls_keys_init(struct cv_tls_keys *keys, const struct cv_tls_suite *suite,
		     const uint8_t *traffic_secret, bool seal);
/** cv_tls_keys_done() - Free and cleanse; zeroed keys are fine. */
void cv_tls_keys_done(struct cv_tls_keys *keys);
/** cv_tls_keys_update() - KeyUpdate: "traffic upd", sequence 0. */
int cv_tls_keys_update(struct cv_tls_keys *keys, bool seal);

#endif
