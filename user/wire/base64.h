/* SPDX-License-Identifier: MIT */
#ifndef CV_WIRE_BASE64_H
#define CV_WIRE_BASE64_H

#include <stddef.h>
#include <stdint.h>

/**
 * cv_base64url_decode() - Raw-URL alphabet; the standard alphabet and '=' padding are tolerated.
 * @ret_len: in: room at @ret_bytes; out: bytes written
 * Returns: 0; CV_PEER_DECODE if malformed or too long. Source: RFC 4648 4, 5.
 */
int cv_base64url_decode(const char *text, uint8_t *ret_bytes, size_t *ret_len);
/** cv_base64url_encode() - Without padding; @text needs 4*((len_bytes+2)/3)+1 bytes. */
void cv_base64url_encode(const uint8_t *bytes, size_t len_bytes, char *text);
/** cv_base64_encode() - The standard alphabet, padded; @text needs as much. Source: RFC 4648 4. */
void cv_base64_encode(const uint8_t *bytes, size_t len_bytes, char *text);
/**
 * cv_hex_decode() - Even number of digits, upper or lower case.
 * @ret_len: in: room at @ret_bytes; out: bytes written
 * Returns: 0; CV_PEER_DECODE if malformed or too long.
 */
int cv_hex_decode(const char *text, uint8_t *ret_bytes, size_t *ret_len);
/** cv_hex_encode() - Lower case; @text needs 2*len_bytes+1 bytes. */
void cv_hex_encode(const uint8_t *bytes, size_t len_bytes, char *text);

#endif
