// SPDX-License-Identifier: MIT
/*
 * fingerprint_go.c - a ClientHello like that of Go's crypto/tls (1.24 and later): what REALITY's
 * ALPN class 1 and 0 are learned with. Not offered to users: a Go hello is itself a fingerprint.
 */
#include "protocol/fingerprint_shape.h"

#include <stddef.h>

static const char *const go_alpn[] = {"http/1.1", NULL};

const struct cv_hello_shape cv_hello_shape_go = {
	.name = "go",
	.cipher_suites = CV_U16_LIST(
		0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc009, 0xc013, 0xc00a,
		0xc014, 0x1301, 0x1302, 0x1303),
	.extensions = CV_U16_LIST(
		CV_EXT_SERVER_NAME, CV_EXT_STATUS_REQUEST, CV_EXT_SUPPORTED_GROUPS,
		CV_EXT_EC_POINT_FORMATS, CV_EXT_SIGNATURE_ALGORITHMS,
		CV_EXT_RENEGOTIATION_INFO, CV_EXT_EXTENDED_MASTER_SECRET, CV_EXT_ALPN,
		CV_EXT_SCT, CV_EXT_SUPPORTED_VERSIONS, CV_EXT_KEY_SHARE),
	.groups = CV_U16_LIST(0x11ec, 0x001d, 0x0017, 0x0018, 0x0019),
	.shares = CV_U16_LIST(0x11ec, 0x001d),
	.schemes = CV_U16_LIST(
		0x0804, 0x0403, 0x0807, 0x0805, 0x0806, 0x0401, 0x0501, 0x0601, 0x0503,
		0x0603, 0x0201, 0x0203),
	.versions = CV_U16_LIST(0x0304, 0x0303),
	.alpn = go_alpn,
	.reuses_x25519 = true,
};
