/* SPDX-License-Identifier: MIT */
#ifndef CV_CRYPTO_UUID_H
#define CV_CRYPTO_UUID_H

#include <stdbool.h>
#include <stdint.h>

#define CV_UUID_TEXT 37

/** cv_uuid_parse() - UUID text (dashes optional) or any text of 1..30 bytes (UUIDv5, VLESS 5.1).
 * Returns 0 or CV_INTERNAL_CONFIG. */
int cv_uuid_parse(const char *text, uint8_t ret_uuid[16]);
/** cv_uuid_is_id() - Is @text an id itself, not a text that one is made of? */
bool cv_uuid_is_id(const char *text);
void cv_uuid_format(const uint8_t uuid[16], char text[CV_UUID_TEXT]);
/** cv_uuid_random() - Version 4. */
int cv_uuid_random(uint8_t ret_uuid[16]);

#endif
