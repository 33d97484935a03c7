/* SPDX-License-Identifier: MIT */
/*
 * fingerprint_shape.h - what makes a browser's ClientHello recognisable, as data. Only the
 * fingerprint files include this.
 */
#ifndef CV_PROTOCOL_FINGERPRINT_SHAPE_H
#define CV_PROTOCOL_FINGERPRINT_SHAPE_H

#include "protocol/fingerprint.h"

#define CV_GREASE 0x0a0a /* placeholder in the lists below, RFC 8701 */

enum cv_hello_extension {
	CV_EXT_SERVER_NAME = 0, CV_EXT_STATUS_REQUEST = 5, CV_EXT_SUPPORTED_GROUPS = 10,
	CV_EXT_EC_POINT_FORMATS = 11, CV_EXT_SIGNATURE_ALGORITHMS = 13, CV_EXT_ALPN = 16,
	CV_EXT_SCT = 18, CV_EXT_EXTENDED_MASTER_SECRET = 23, CV_EXT_COMPRESS_CERTIFICATE = 27,
	CV_EXT_RECORD_SIZE_LIMIT = 28, CV_EXT_DELEGATED_CREDENTIALS = 34,
	CV_EXT_SESSION_TICKET = 35, CV_EXT_SUPPORTED_VERSIONS = 43, CV_EXT_COOKIE = 44,
	CV_EXT_PSK_MODES = 45,
	CV_EXT_KEY_SHARE = 51, CV_EXT_APPLICATION_SETTINGS = 0x44cd, CV_EXT_ECH = 0xfe0d,
	CV_EXT_RENEGOTIATION_INFO = 0xff01,
};

struct cv_u16_list {
	const uint16_t *values;
	size_t count;
};

#define CV_U16_LIST(...)                                                                           \
	{                                                                                          \
		.values = (const uint16_t[]){__VA_ARGS__},                                         \
		.count = sizeof((const uint16_t[]){__VA_ARGS__}) / sizeof(uint16_t),               \
	}

struct cv_hello_shape {
	const char *name;
	struct cv_u16_list cipher_suites;
	struct cv_u16_list extensions;   /* wire order; CV_GREASE first / last where greased */
	struct cv_u16_list groups;
	struct cv_u16_list shares;
	struct cv_u16_list schemes;      /* signature_algorithms */
	struct cv_u16_list versions;
	struct cv_u16_list compressions; /* RFC 8879 algorithms */
	struct cv_u16_list delegated;    /* delegated_credentials schemes, RFC 9345 */
	struct cv_u16_list ech_aeads;    /* GREASE ECH: one is drawn */
	struct cv_u16_list ech_payloads; /* GREASE ECH payload with tag: one is drawn */
	const char *const *alpn;
	bool permutes;      /* extensions between the GREASE ones in a new order per connection */
	bool reuses_x25519; /* one X25519 key pair in both shares */
};

extern const struct cv_hello_shape cv_hello_shape_chrome;
extern const struct cv_hello_shape cv_hello_shape_firefox;
extern const struct cv_hello_shape cv_hello_shape_safari;
extern const struct cv_hello_shape cv_hello_shape_go;

#endif
