// SPDX-License-Identifier: MIT
/*
 * base64.c - base64 (RFC 4648 5, and 4 on reading) and hex, for keys and ids in configuration text.
 *
 * Reading takes the union of both alphabets and optional padding, because people paste keys from
 * both worlds. Nothing is written before the whole text proved valid and short enough.
 */
#include "wire/base64.h"

#include <culvert/reason.h>

#include <string.h>

static const char base64_digits[] =
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
static const char hex_digits[] = "0123456789abcdef";

/* 0..63, or -1 */
static int base64_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '-' || c == '+')
		return 62;
	if (c == '_' || c == '/')
		return 63;
	return -1;
}

/* Digits before the padding; SIZE_MAX if padding or length cannot be. */
static size_t digit_count(const char *text)
{
	const size_t total = strlen(text);
	size_t digits = total;

	while (digits > 0 && total - digits < 2 && text[digits - 1] == '=')
		digits--;
	if (digits % 4 == 1 || (digits != total && total % 4 != 0))
		return SIZE_MAX;
	return digits;
}

int cv_base64url_decode(const char *text, uint8_t *ret_bytes, size_t *ret_len)
{
	const size_t digits = digit_count(text);
	uint32_t bits = 0;
	unsigned int bit_count = 0;
	size_t len_bytes = 0;

	if (digits == SIZE_MAX || digits / 4 * 3 + digits % 4 * 3 / 4 > *ret_len)
		return CV_PEER_DECODE;
	for (size_t at = 0; at < digits; at++) {
		if (base64_value(text[at]) < 0)
			return CV_PEER_DECODE;
	}
	for (size_t at = 0; at < digits; at++) {
		bits = bits << 6 | (uint32_t)base64_value(text[at]);
		bit_count += 6;
		if (bit_count < 8)
			continue;
		bit_count -= 8;
		ret_bytes[len_bytes++] = (uint8_t)(bits >> bit_count);
	}
	*ret_len = len_bytes;
	return 0;
}

void cv_base64url_encode(const uint8_t *bytes, size_t len_bytes, char *text)
{
	uint32_t bits = 0;
	unsigned int bit_count = 0;

	for (size_t at = 0; at < len_bytes; at++) {
		bits = bits << 8 | bytes[at];
		bit_count += 8;
		while (bit_count >= 6) {
			bit_count -= 6;
			*text++ = base64_digits[bits >> bit_count & 63];
		}
	}
	if (bit_count > 0)
		*text++ = base64_digits[bits << (6 - bit_count) & 63];
	*text = '\0';
}

void cv_base64_encode(const uint8_t *bytes, size_t len_bytes, char *text)
{
	size_t len;

	cv_base64url_encode(bytes, len_bytes, text);
	for (char *c = text; *c; c++)
		*c = *c == '-' ? '+' : *c == '_' ? '/' : *c;
	for (len = strlen(text); len % 4; len++)
		text[len] = '=';
	text[len] = '\0';
}

/* ---- hex ---- */

/* 0..15, or -1 */
static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int cv_hex_decode(const char *text, uint8_t *ret_bytes, size_t *ret_len)
{
	const size_t digits = strlen(text);

	if (digits % 2 != 0 || digits / 2 > *ret_len)
		return CV_PEER_DECODE;
	for (size_t at = 0; at < digits; at++) {
		if (hex_value(text[at]) < 0)
			return CV_PEER_DECODE;
	}
	for (size_t at = 0; at < digits; at += 2)
		ret_bytes[at / 2] = (uint8_t)(hex_value(text[at]) << 4 |
					      hex_value(text[at + 1]));
	*ret_len = digits / 2;
	return 0;
}

void cv_hex_encode(const uint8_t *bytes, size_t len_bytes, char *text)
{
	for (size_t at = 0; at < len_bytes; at++) {
		*text++ = hex_digits[bytes[at] >> 4];
		*text++ = hex_digits[bytes[at] & 15];
	}
	*text = '\0';
}
