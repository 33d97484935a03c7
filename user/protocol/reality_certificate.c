// SPDX-License-Identifier: MIT
/*
 * reality_certificate.c - the throw-away certificate whose signature is a MAC under AuthKey.
 *
 *   Certificate message:  0b u24 | 00 | u24 list | u24 DER | DER | 0000
 *   DER (178):            head 72 | Ed25519 public 32 | algorithm 10 | HMAC-SHA512 64
 *   DER (3509, ML-DSA):   head 72 | Ed25519 public 32 | extension head 19, signature 3309 |
 *                         algorithm 10 | HMAC-SHA512 64
 *
 * The two differ in nothing else than lengths, so both are laid out by one writer. The client reads
 * fixed offsets (REALITY 6.6, 6.7); nothing but AuthKey's owner can make the last 64 bytes.
 */
#include "protocol/reality_internal.h"

#include "base/cursor.h"
#include "protocol/tls_alert.h"

#include <culvert/reason.h>

#define DER_LEN 178
#define MLDSA_DER_LEN 3509
#define MESSAGE_OVERHEAD 13 /* Certificate message minus its DER */

static const uint8_t plain_head[] = {0x30, 0x81, 0xaf, 0x30, 0x63};
static const uint8_t mldsa_head[] = {0x30, 0x82, 0x0d, 0xb1, 0x30, 0x82, 0x0d, 0x63};
/* v3, serial 0, Ed25519, empty issuer, validity 00010101000000Z twice, empty subject, SPKI */
static const uint8_t tbs[] = {
	0xa0, 0x03, 0x02, 0x01, 0x02, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65,
	0x70, 0x30, 0x00, 0x30, 0x22, 0x18, 0x0f, '0',  '0',  '0',  '1',  '0',  '1',  '0',
	'1',  '0',  '0',  '0',  '0',  '0',  '0',  'Z',  0x18, 0x0f, '0',  '0',  '0',  '1',
	'0',  '1',  '0',  '1',  '0',  '0',  '0',  '0',  '0',  '0',  'Z',  0x30, 0x00, 0x30,
	0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
};
/* one extension, OID 0.0, OCTET STRING of 3309 bytes */
static const uint8_t extension_head[] = {0xa3, 0x82, 0x0c, 0xfc, 0x30, 0x82, 0x0c, 0xf8, 0x30, 0x82,
					 0x0c, 0xf4, 0x06, 0x01, 0x00, 0x04, 0x82, 0x0c, 0xed};
static const uint8_t algorithm[] = {0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x41, 0x00};

size_t cv_reality_certificate_len(bool with_mldsa)
{
	return MESSAGE_OVERHEAD + (with_mldsa ? MLDSA_DER_LEN : DER_LEN);
}

/* The MAC after the public key alone; with ML-DSA the same MAC runs on over both hellos. */
static int sign_mldsa(const struct cv_reality_config *config, const uint8_t *auth_key,
		      struct cv_span client_hello, struct cv_span server_hello,
		      uint8_t ret_signature[CV_MLDSA65_SIGNATURE])
{
	const struct cv_mac_part parts[] = {
		{config->certificate_public, CV_ED25519_LEN},
		{client_hello.data, client_hello.len_bytes},
		{server_hello.data, server_hello.len_bytes},
	};
	uint8_t message[CV_HASH_MAX];
	int result = cv_hmac(CV_SHA512, auth_key, CV_REALITY_KEY_LEN, parts, 3, message);

	if (result == 0)
		result = cv_mldsa65_sign(config->mldsa, message, sizeof(message), ret_signature);
	cv_cleanse(message, sizeof(message));
	return result;
}

static int write_der(const struct cv_reality_config *config, const uint8_t *auth_key,
		     struct cv_span client_hello, struct cv_span server_hello,
		     struct cv_writer *writer)
{
	const struct cv_mac_part public_part = {config->certificate_public, CV_ED25519_LEN};
	uint8_t signature[CV_MLDSA65_SIGNATURE], mac[CV_HASH_MAX];
	int result = 0;

	if (config->mldsa)
		cv_write_bytes(writer, mldsa_head, sizeof(mldsa_head));
	else
		cv_write_bytes(writer, plain_head, sizeof(plain_head));
	cv_write_bytes(writer, tbs, sizeof(tbs));
	cv_write_bytes(writer, config->certificate_public, CV_ED25519_LEN);
	if (config->mldsa) {
		result = sign_mldsa(config, auth_key, client_hello, server_hello, signature);
		if (result)
			return result;
		cv_write_bytes(writer, extension_head, sizeof(extension_head));
		cv_write_bytes(writer, signature, sizeof(signature));
	}
	cv_write_bytes(writer, algorithm, sizeof(algorithm));
	result = cv_hmac(CV_SHA512, auth_key, CV_REALITY_KEY_LEN, &public_part, 1, mac);
	if (result == 0)
		cv_write_bytes(writer, mac, sizeof(mac));
	return result;
}

int cv_reality_certificate_write(const struct cv_reality_config *config,
				 const uint8_t auth_key[CV_REALITY_KEY_LEN],
				 struct cv_span client_hello, struct cv_span server_hello,
				 uint8_t *ret_message)
{
	size_t len = cv_reality_certificate_len(config->mldsa != NULL);
	struct cv_writer writer = cv_writer_of(ret_message, len);
	size_t message, list, entry;
	int result;

	cv_write_u8(&writer, CV_TLS_CERTIFICATE);
	message = cv_write_open24(&writer);
	cv_write_u8(&writer, 0); /* request context */
	list = cv_write_open24(&writer);
	entry = cv_write_open24(&writer);
	result = write_der(config, auth_key, client_hello, server_hello, &writer);
	if (result)
		return result;
	cv_write_close24(&writer, entry);
	cv_write_u16(&writer, 0); /* entry extensions */
	cv_write_close24(&writer, list);
	cv_write_close24(&writer, message);
	return writer.failed || cv_writer_len(&writer) != len ? CV_INTERNAL_STATE : 0;
}
