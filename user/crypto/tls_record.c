// SPDX-License-Identifier: MIT
/*
 * tls_record.c - finding, opening and sealing TLS 1.3 records (RFC 8446 5.2).
 *
 *	 0            5                              len+5   len+6          total-16   total
 *	 | 23 3 3 len | content                      | type | zeros (padding) | tag     |
 *	 |--- AAD ----|------------- encrypted -------------------------------|
 *
 * REALITY makes every record of the server's flight exactly as long as the target's (REALITY 6.3),
 * so sealing takes the total length and padding fills the rest. Records are built in place in the
 * output queue: content is copied once and encrypted where it lies.
 */
#include "crypto/tls_record.h"

#include <culvert/reason.h>

#include <errno.h>
#include <string.h>

#define INNER_MAX (CV_TLS_PLAINTEXT_MAX + 1) /* content, type and padding */

static size_t record_body_len(const uint8_t *record)
{
	return (size_t)record[3] << 8 | record[4];
}

/* RFC 8446 5.3: the static IV xored with the big-endian sequence number. */
static void record_nonce(const struct cv_tls_keys *keys, uint8_t nonce[CV_AEAD_NONCE])
{
	memcpy(nonce, keys->iv, CV_AEAD_NONCE);
	for (size_t i = 0; i < 8; i++)
		nonce[CV_AEAD_NONCE - 1 - i] ^= (uint8_t)(keys->sequence >> (8 * i));
}

int cv_tls_record_peek(struct cv_span bytes, size_t *ret_len)
{
	if (bytes.len_bytes < CV_TLS_HEADER) {
		*ret_len = CV_TLS_HEADER;
		return -EAGAIN;
	}

	const size_t len = CV_TLS_HEADER + record_body_len(bytes.data);

	if (len > CV_TLS_RECORD_MAX)
		return CV_PEER_TOO_LONG;
	*ret_len = len;
	return bytes.len_bytes < len ? -EAGAIN : 0;
}

int cv_tls_record_open(struct cv_tls_keys *keys, const uint8_t *record, size_t record_len,
		       uint8_t *plain, uint8_t *ret_type, size_t *ret_len)
{
	uint8_t nonce[CV_AEAD_NONCE];

	if (record_len < CV_TLS_HEADER || record_len != CV_TLS_HEADER + record_body_len(record))
		return CV_PEER_BAD_RECORD;
	if (record[0] != CV_TLS_APPLICATION)
		return CV_PEER_UNEXPECTED_MESSAGE;
	if (record_len > CV_TLS_RECORD_MAX)
		return CV_PEER_TOO_LONG;
	if (keys->sequence == UINT64_MAX || !keys->aead)
		return CV_INTERNAL_STATE;
	record_nonce(keys, nonce);

	const int error = cv_aead_open(keys->aead, nonce, record, CV_TLS_HEADER,
				       record + CV_TLS_HEADER, record_len - CV_TLS_HEADER, plain);

	if (error)
		return error;
	keys->sequence++;

	size_t len = record_len - CV_TLS_HEADER - CV_AEAD_TAG;

	if (len > INNER_MAX)
		return CV_PEER_TOO_LONG;
	while (len > 0 && plain[len - 1] == 0)
		len--;
	if (len == 0)
		return CV_PEER_UNEXPECTED_MESSAGE;
	*ret_type = plain[len - 1];
	*ret_len = len - 1;
	return 0;
}

int cv_tls_record_seal(struct cv_tls_keys *keys, uint8_t type, const uint8_t *bytes, size_t len,
		       size_t total_len, struct cv_buffer *out)
{
	const size_t overhead = CV_TLS_HEADER + CV_AEAD_TAG;
	uint8_t nonce[CV_AEAD_NONCE];
	uint8_t *record;
	int error;

	if (len > CV_TLS_PLAINTEXT_MAX)
		return CV_PEER_TOO_LONG;
	if (total_len == 0)
		total_len = overhead + len + 1;
	if (total_len < overhead + len + 1 || total_len > overhead + INNER_MAX)
		return CV_TARGET_PADDING;
	/* without keys, which memory was missing for, not even an alert can be said */
	if (keys->sequence == UINT64_MAX || !keys->aead)
		return CV_INTERNAL_STATE;
	error = cv_buffer_reserve(out, total_len, &record);
	if (error)
		return error;

	const size_t inner_len = total_len - overhead;
	uint8_t *inner = record + CV_TLS_HEADER;

	record[0] = CV_TLS_APPLICATION;
	record[1] = 3;
	record[2] = 3;
	record[3] = (uint8_t)((total_len - CV_TLS_HEADER) >> 8);
	record[4] = (uint8_t)(total_len - CV_TLS_HEADER);
	if (len)
		memcpy(inner, bytes, len);
	inner[len] = type;
	memset(inner + len + 1, 0, inner_len - len - 1);
	record_nonce(keys, nonce);
	error = cv_aead_seal(keys->aead, nonce, record, CV_TLS_HEADER, inner, inner_len, inner);
	if (error)
		return error;
	keys->sequence++;
	cv_buffer_commit(out, total_len);
	return 0;
}
