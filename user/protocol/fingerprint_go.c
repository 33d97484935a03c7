// SPDX-License-Identifier: MIT
/*
 * fingerprint_go.c - a ClientHello like that of Go's crypto/tls (1.24 and later): what REALITY's
 * ALPN class 1 and 0 are learned with. Not offered to users: a Go hello is itself a fingerprint.
 * "classic" is the one before 1.24: a ticket can be longer when the hybrid group was used,
 * so clients that do not offer it have their own lengths.
 */
#include "protocol/fingerprint_shape.h"

#include <stddef.h>

static const char *const go_alpn[] = {"http/1.1", NULL};

#define GO_CIPHER_SUITES \
	0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc009, 0xc013, 0xc00a, \
	0xc014, 0x1301, 0x1302, 0x1303
#define GO_EXTENSIONS \
	CV_EXT_SERVER_NAME, CV_EXT_STATUS_REQUEST, CV_EXT_SUPPORTED_GROUPS, \
	CV_EXT_EC_POINT_FORMATS, CV_EXT_SIGNATURE_ALGORITHMS, \
	CV_EXT_RENEGOTIATION_INFO, CV_EXT_EXTENDED_MASTER_SECRET, CV_EXT_ALPN, \
	CV_EXT_SCT, CV_EXT_SUPPORTED_VERSIONS, CV_EXT_KEY_SHARE
#define GO_SCHEMES \
	0x0804, 0x0403, 0x0807, 0x0805, 0x0806, 0x0401, 0x0501, 0x0601, 0x0503, \
	0x0603, 0x0201, 0x0203

const struct cv_hello_shape cv_hello_shape_go = {
	.name = "go",
	.cipher_suites = CV_U16_LIST(GO_CIPHER_SUITES),
	.extensions = CV_U16_LIST(GO_EXTENSIONS),
	.groups = CV_U16_LIST(0x11ec, 0x001d, 0x0017, 0x0018, 0x0019),
	.shares = CV_U16_LIST(0x11ec, 0x001d),
	.schemes = CV_U16_LIST(GO_SCHEMES),
	.versions = CV_U16_LIST(0x0304, 0x0303),
	.alpn = go_alpn,
	.reuses_x25519 = true,
};

const struct cv_hello_shape cv_hello_shape_go_classic = {
	.name = "go-classic",
	.cipher_suites = CV_U16_LIST(GO_CIPHER_SUITES),
	.extensions = CV_U16_LIST(GO_EXTENSIONS),
	.groups = CV_U16_LIST(0x001d, 0x0017, 0x0018, 0x0019),
	.shares = CV_U16_LIST(0x001d),
	.schemes = CV_U16_LIST(GO_SCHEMES),
	.versions = CV_U16_LIST(0x0304, 0x0303),
	.alpn = go_alpn,
};
