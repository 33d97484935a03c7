/* SPDX-License-Identifier: MIT */
/*
 * crypto.h - the primitives culvert's handshakes need; the only floor that knows libcrypto.
 *
 * Every function returns 0 or CV_INTERNAL_CRYPTO unless its comment says otherwise. Outputs are
 * untouched on failure, except that bytes which did not authenticate are zeroed. Nothing here logs.
 * Thread safe: no shared mutable state except libcrypto's; a transcript, an aead and an ecdh belong
 * to one thread at a time, signature keys and trust stores may be used by all at once.
 *
 * The first call reads libcrypto's tables; make one before seccomp or chroot are in force.
 */
#ifndef CV_CRYPTO_CRYPTO_H
#define CV_CRYPTO_CRYPTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- memory and randomness (crypto/random.c) ---- */
/** cv_cleanse() - Overwrite a secret in a way the compiler may not drop. */
/** cv_crypto_library() - Name and version of the library underneath, for people. */
const char *cv_crypto_library(void);
void cv_cleanse(void *bytes, size_t count_bytes);
/** cv_equal_constant_time() - Compare; the time depends on @count_bytes only. */
bool cv_equal_constant_time(const void *a, const void *b, size_t count_bytes);
/** cv_random_bytes() - From the CSPRNG; at most INT_MAX bytes. */
int cv_random_bytes(void *bytes, size_t count_bytes);
/** cv_random_below() - Uniform in [0, bound), bound > 0; aborts the process if the CSPRNG fails. */
uint32_t cv_random_below(uint32_t bound);

/* ---- hash, HMAC, HKDF (crypto/hash.c) ---- */
/* MD5 only where an old format derives keys by it. */
enum cv_hash_kind { CV_SHA256, CV_SHA384, CV_SHA512, CV_SHA1, CV_MD5 };
#define CV_HASH_MAX 64
/** cv_hash_len() - Digest bytes of @kind: 32, 48, 64, 20, 16. */
size_t cv_hash_len(enum cv_hash_kind kind);
/** cv_hash() - Digest of @bytes at once; @ret_digest holds cv_hash_len(@kind) bytes. */
int cv_hash(enum cv_hash_kind kind, const void *bytes, size_t count_bytes, uint8_t *ret_digest);

/* Running hash that can be read without being ended (TLS transcript). */
struct cv_transcript;
struct cv_transcript *cv_transcript_new(enum cv_hash_kind kind);
/** cv_transcript_free() - NULL-safe, returns NULL. */
struct cv_transcript *cv_transcript_free(struct cv_transcript *transcript);
int cv_transcript_add(struct cv_transcript *transcript, const void *bytes, size_t count_bytes);
/** cv_transcript_digest() - Hash of all bytes so far; more may be added afterwards. */
int cv_transcript_digest(const struct cv_transcript *transcript, uint8_t *ret_digest);

struct cv_mac_part {
	const void *bytes;
	size_t count_bytes;
};
/** cv_hmac() - HMAC over the concatenation of @parts; @ret_mac holds cv_hash_len(kind) bytes and
 * may be one of the parts. Source: RFC 2104. */
int cv_hmac(enum cv_hash_kind kind, const void *key, size_t key_len,
	    const struct cv_mac_part *parts, size_t part_count, uint8_t *ret_mac);
/** cv_hkdf_extract() - @salt may be NULL with length 0. Source: RFC 5869 2.2. */
int cv_hkdf_extract(enum cv_hash_kind kind, const void *salt, size_t salt_len, const void *ikm,
		    size_t ikm_len, uint8_t *ret_prk);
/** cv_hkdf_expand() - CV_INTERNAL_CRYPTO if @ret_len > 255 * hash length. Source: RFC 5869 2.3. */
int cv_hkdf_expand(enum cv_hash_kind kind, const uint8_t *prk, size_t prk_len, const void *info,
		   size_t info_len, uint8_t *ret_okm, size_t ret_len);

/* ---- AEAD (crypto/aead.c) ---- */
enum cv_aead_kind { CV_AES_128_GCM, CV_AES_256_GCM, CV_CHACHA20_POLY1305 };
#define CV_AEAD_TAG 16
#define CV_AEAD_NONCE 12
/** cv_aead_key_len() - 16 or 32 bytes. */
size_t cv_aead_key_len(enum cv_aead_kind kind);
struct cv_aead;
/** cv_aead_new() - One direction: @seal true encrypts, false decrypts; copies @key. NULL on
 * failure. */
struct cv_aead *cv_aead_new(enum cv_aead_kind kind, const uint8_t *key, bool seal);
struct cv_aead *cv_aead_free(struct cv_aead *aead); /* NULL-safe, clears, returns NULL */
/** cv_aead_seal() - @out gets @in_len + 16 bytes; @out may equal @in, not overlap otherwise. A
 * nonce must never be used twice with one key. */
int cv_aead_seal(struct cv_aead *aead, const uint8_t nonce[12], const void *aad, size_t aad_len,
		 const uint8_t *in, size_t in_len, uint8_t *out);
/** cv_aead_open() - @in_len includes the tag (>= 16); @out gets in_len - 16 bytes, may equal @in.
 * Returns 0; CV_PEER_BAD_RECORD if it does not authenticate (then @out is zeroed) or is shorter
 * than a tag; CV_INTERNAL_CRYPTO. */
int cv_aead_open(struct cv_aead *aead, const uint8_t nonce[12], const void *aad, size_t aad_len,
		 const uint8_t *in, size_t in_len, uint8_t *out);

/* ---- pieces of VMess (crypto/block.c) ---- */
/** cv_aes128_block() - One block, in place, with a key that is used once. @seal true encrypts. */
int cv_aes128_block(const uint8_t key[16], bool seal, uint8_t block[16]);
struct cv_shake; /* SHAKE128 as a stream of bytes; of one thread at a time */
struct cv_shake *cv_shake_new(const void *seed, size_t seed_len); /* NULL on failure */
struct cv_shake *cv_shake_free(struct cv_shake *shake); /* NULL-safe, clears, returns NULL */
/** cv_shake_read() - The next @count_bytes of the stream. Source: FIPS 202 6.2. */
int cv_shake_read(struct cv_shake *shake, uint8_t *ret_bytes, size_t count_bytes);

/* ---- key exchange (crypto/kex.c) ---- */
#define CV_X25519_LEN 32
#define CV_MLKEM768_PUBLIC 1184
#define CV_MLKEM768_CIPHERTEXT 1088
#define CV_MLKEM768_SEED 64
#define CV_MLKEM768_SECRET 32
/** cv_x25519_public() - Public half of any 32 bytes (clamped as RFC 7748 5 says). */
int cv_x25519_public(const uint8_t private_key[32], uint8_t ret_public[32]);
int cv_x25519_keygen(uint8_t ret_private[32], uint8_t ret_public[32]);
/** cv_x25519() - CV_PEER_AUTH_FAILED if the result is all-zero. Source: RFC 7748 6.1. */
int cv_x25519(const uint8_t private_key[32], const uint8_t peer_public[32], uint8_t ret_shared[32]);
/** cv_mlkem768_keygen() - Random key; @ret_seed (d||z) recreates it in decapsulate. */
int cv_mlkem768_keygen(uint8_t ret_seed[64], uint8_t ret_public[1184]);
/** cv_mlkem768_encapsulate() - CV_PEER_DECODE if @public_key is not valid. Source: FIPS 203 7.2. */
int cv_mlkem768_encapsulate(const uint8_t public_key[1184], uint8_t ret_ciphertext[1088],
			    uint8_t ret_secret[32]);
/** cv_mlkem768_decapsulate() - A forged @ciphertext gives a secret nobody knows, not an error.
 * Source: FIPS 203 7.3. */
int cv_mlkem768_decapsulate(const uint8_t seed[64], const uint8_t ciphertext[1088],
			    uint8_t ret_secret[32]);
/* NIST curves, for HelloRetryRequest of real sites: uncompressed points, 65 / 97 bytes. */
enum cv_nist_curve { CV_P256, CV_P384 };
struct cv_ecdh;
struct cv_ecdh *cv_ecdh_new(enum cv_nist_curve curve);
struct cv_ecdh *cv_ecdh_free(struct cv_ecdh *ecdh);
/** cv_ecdh_public() - @ret_point holds 97 bytes; *@ret_len becomes 65 or 97. */
int cv_ecdh_public(const struct cv_ecdh *ecdh, uint8_t *ret_point, size_t *ret_len);
/** cv_ecdh_derive() - @ret_secret holds 48 bytes, *@ret_len becomes 32 or 48. CV_PEER_DECODE if the
 * point is compressed, of another curve or not on it. */
int cv_ecdh_derive(const struct cv_ecdh *ecdh, const uint8_t *peer_point, size_t peer_len,
		   uint8_t *ret_secret, size_t *ret_len);

/* ---- signatures (crypto/sign.c) ---- */
#define CV_ED25519_LEN 32
#define CV_ED25519_SIGNATURE 64
struct cv_ed25519; /* a private key, kept ready */
/** cv_ed25519_from_seed() - RFC 8032 5.1.5; NULL on failure. */
struct cv_ed25519 *cv_ed25519_from_seed(const uint8_t seed[32]);
struct cv_ed25519 *cv_ed25519_free(struct cv_ed25519 *key);
int cv_ed25519_public(const struct cv_ed25519 *key, uint8_t ret_public[32]);
int cv_ed25519_sign(const struct cv_ed25519 *key, const void *message, size_t len,
		    uint8_t ret_sig[64]);
/** cv_ed25519_verify() - 0, or CV_PEER_AUTH_FAILED. */
int cv_ed25519_verify(const uint8_t public_key[32], const void *message, size_t len,
		      const uint8_t signature[64]);
#define CV_MLDSA65_SEED 32
#define CV_MLDSA65_PUBLIC 1952
#define CV_MLDSA65_SIGNATURE 3309
struct cv_mldsa65;
/** cv_mldsa65_from_seed() - FIPS 204 KeyGen with xi = @seed; NULL on failure. */
struct cv_mldsa65 *cv_mldsa65_from_seed(const uint8_t seed[32]);
struct cv_mldsa65 *cv_mldsa65_free(struct cv_mldsa65 *key);
int cv_mldsa65_public(const struct cv_mldsa65 *key, uint8_t ret_public[1952]);
/** cv_mldsa65_sign() - Pure FIPS 204, empty context, deterministic (REALITY 6.7). */
int cv_mldsa65_sign(const struct cv_mldsa65 *key, const void *message, size_t len,
		    uint8_t ret_signature[3309]);
/** cv_mldsa65_verify() - 0, or CV_PEER_AUTH_FAILED (also for a malformed key). */
int cv_mldsa65_verify(const uint8_t public_key[1952], const void *message, size_t len,
		      const uint8_t signature[3309]);

/* ---- certificates of real sites (crypto/x509.c) ---- */
struct cv_trust_store;
/** cv_trust_store_new() - Roots of the system if wanted, and PEM @ca_file (may be NULL), whose
 * certificates are trusted even if they are no CA. NULL if @ca_file cannot be read; that a
 * system has no roots is no failure. */
struct cv_trust_store *cv_trust_store_new(const char *ca_file, bool with_system_roots);
struct cv_trust_store *cv_trust_store_free(struct cv_trust_store *store);
/** cv_x509_verify_chain() - WebPKI check of DER certificates (leaf first) for @host (name or IP).
 * Returns 0 or CV_UPSTREAM_CERTIFICATE. @ret_error_text (static string, may be NULL) says why. */
struct cv_der {
	const uint8_t *bytes;
	size_t len_bytes;
};
int cv_x509_verify_chain(const struct cv_trust_store *store, const struct cv_der *chain,
			 size_t chain_len, const char *host, const char **ret_error_text);
struct cv_x509_facts {
	uint8_t sha256[32]; /* of the whole */
	int64_t not_before_s, not_after_s; /* Unix time */
	char name[256]; /* its first DNS name, "" = none */
};
/** cv_x509_describe() - 0, or CV_UPSTREAM_CERTIFICATE if it is none. */
int cv_x509_describe(const struct cv_der *certificate, struct cv_x509_facts *ret_facts);
/** cv_x509_verify_signature() - TLS 1.3 CertificateVerify by the leaf's key; @scheme is the
 * SignatureScheme (RFC 8446 4.2.3). 0, or CV_UPSTREAM_CERTIFICATE. */
int cv_x509_verify_signature(const struct cv_der *leaf, uint16_t scheme, const void *message,
			     size_t message_len, const uint8_t *signature, size_t signature_len);
/** cv_decompress_certificate() - @algorithm 1 zlib, 2 brotli, 3 zstd. *@ret_len in: room, out:
 * length. CV_UPSTREAM_DECODE if unknown, damaged, followed by other bytes or longer than the room
 * (@ret_out is then not defined). Source: RFC 8879 4. */
int cv_decompress_certificate(uint16_t algorithm, const uint8_t *in, size_t in_len,
			      uint8_t *ret_out, size_t *ret_len);

#endif
