/* SPDX-License-Identifier: MIT */
/*
 * vmess_keys.h - keys of VMess with AEAD header: how they come from a user's id, and the 16 bytes
 * by which a client says who it is and when.
 *
 *   id -> command key = MD5(id | fixed text)
 *   auth id = AES(KDF(command key, "AES Auth ID Encryption"), time 8 | random 4 | CRC-32 4)
 *
 * Every function returns 0 or CV_INTERNAL_CRYPTO unless its comment says otherwise.
 */
#ifndef CV_CRYPTO_VMESS_KEYS_H
#define CV_CRYPTO_VMESS_KEYS_H

#include "crypto/crypto.h"

#define CV_VMESS_KEY 16
#define CV_VMESS_AUTH_ID 16

/** cv_vmess_command_key() - Of the user with @uuid. */
int cv_vmess_command_key(const uint8_t uuid[16], uint8_t ret_key[CV_VMESS_KEY]);

#define CV_VMESS_PATH_MAX 3
/** cv_vmess_kdf() - 32 bytes from @key along @path (at most CV_VMESS_PATH_MAX parts of at most 64
 * bytes): HMAC-SHA-256 nested in itself, keyed by one part at each level. */
int cv_vmess_kdf(const uint8_t key[CV_VMESS_KEY], const struct cv_mac_part *path,
		 size_t part_count, uint8_t ret_derived[32]);

/** cv_vmess_auth_key() - What the auth id of the user with @command_key is encrypted by. */
int cv_vmess_auth_key(const uint8_t command_key[CV_VMESS_KEY], uint8_t ret_key[CV_VMESS_KEY]);
/** cv_vmess_auth_id_make() - At @now_s, Unix time. @salt: four random bytes. */
int cv_vmess_auth_id_make(const uint8_t auth_key[CV_VMESS_KEY], uint64_t now_s,
			  const uint8_t salt[4], uint8_t ret_auth_id[CV_VMESS_AUTH_ID]);
/** cv_vmess_auth_id_read() - Was @auth_id made with @auth_key? Returns 0 and the client's time;
 * CV_PEER_UNKNOWN_USER; CV_INTERNAL_CRYPTO. */
int cv_vmess_auth_id_read(const uint8_t auth_key[CV_VMESS_KEY],
			  const uint8_t auth_id[CV_VMESS_AUTH_ID], uint64_t *ret_time_s);

/** cv_vmess_chacha_key() - The key of ChaCha20-Poly1305 for a body key. */
int cv_vmess_chacha_key(const uint8_t body_key[CV_VMESS_KEY], uint8_t ret_key[32]);

#endif
