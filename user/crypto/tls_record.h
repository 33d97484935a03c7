/* SPDX-License-Identifier: MIT */
/*
 * tls_record.h - TLS records: framing, and TLS 1.3 protection one record at a time.
 */
#ifndef CV_CRYPTO_TLS_RECORD_H
#define CV_CRYPTO_TLS_RECORD_H

#include "base/buffer.h"
#include "crypto/tls_schedule.h"

#define CV_TLS_HEADER 5
#define CV_TLS_PLAINTEXT_MAX 16384
#define CV_TLS_RECORD_MAX (CV_TLS_HEADER + CV_TLS_PLAINTEXT_MAX + 256) /* RFC 8446 5.2 */

enum cv_tls_content {
	CV_TLS_CCS = 20,
	CV_TLS_ALERT = 21,
	CV_TLS_HANDSHAKE = 22,
	CV_TLS_APPLICATION = 23
};

/**
 * cv_tls_record_peek() - Is a whole record at the start of @bytes?
 * @ret_len: whole record length, header included
 * Returns: 0; -EAGAIN if more bytes are needed (*ret_len = bytes needed in all, 5 while the header
 * is incomplete); CV_PEER_TOO_LONG if the length field is above 16384+256.
 */
int cv_tls_record_peek(struct cv_span bytes, size_t *ret_len);

/**
 * cv_tls_record_open() - Decrypt exactly one protected record (outer type 23).
 * @record: whole record incl. header; @plain: at least record_len - 5 - 16 bytes, may be record+5
 * @ret_type: inner content type; @ret_len: content bytes, padding removed (0 is legal)
 * Returns: 0; CV_PEER_BAD_RECORD; CV_PEER_UNEXPECTED_MESSAGE if all padding (no type) or outer type
 * is not 23; CV_PEER_TOO_LONG if the content exceeds 16384.
 */
int cv_tls_record_open(struct cv_tls_keys *keys, const uint8_t *record, size_t record_len,
		       uint8_t *plain, uint8_t *ret_type, size_t *ret_len);

/**
 * cv_tls_record_seal() - Append one protected record to @out.
 * @total_len: 0 = no padding, else the record's total length on the wire incl. header; must be at
 * least 5 + len + 1 + 16 (else CV_TARGET_PADDING). @len <= 16384.
 */
int cv_tls_record_seal(struct cv_tls_keys *keys, uint8_t type, const uint8_t *bytes, size_t len,
		       size_t total_len, struct cv_buffer *out);

#endif
