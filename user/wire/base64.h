/* SPDX-License-Identifier: MIT */
#ifndef CV_WIRE_BASE64_H
#define CV_WIRE_BASE64_H

#include <stddef.h>
#include <stdint.h>

/** cv_base64url_decode() - Raw-URL alphabet (standard alphabet and '=' padding tolerated).
 * @ret_len in: size, out: length. Returns 0 or CV_PEER_DECODE. */
int cv_base64url_decode(const char *text, uint8_t *ret_bytes, size_t *ret_len);
/** cv_base64url_encode() - Without padding; @text needs 4*((len+2)/3)+1 bytes. */
void cv_base64url_encode(const uint8_t *bytes, size_t len_bytes, char *text);
/** cv_hex_decode() - Even number of digits, upper or lower case. Returns 0 or CV_PEER_DECODE. */
int cv_hex_decode(const char *text, uint8_t *ret_bytes, size_t *ret_len);
void cv_hex_encode(const uint8_t *bytes, size_t len_bytes, char *text);

#endif
