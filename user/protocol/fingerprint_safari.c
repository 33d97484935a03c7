// SPDX-License-Identifier: MIT
/*
 * fingerprint_safari.c - the ClientHello of Safari 26 on macOS.
 *
 * Apple's stack: GREASE as BoringSSL does it but a fixed extension order, AES-256 ahead of AES-128,
 * CBC and 3DES suites still listed, one signature scheme listed twice, zlib certificate
 * compression, no session ticket, no ECH.
 */
#include "protocol/fingerprint_shape.h"

#include <stddef.h>

static const char *const safari_alpn[] = {"h2", "http/1.1", NULL};

const struct cv_hello_shape cv_hello_shape_safari = {
	.name = "safari",
	.cipher_suites = CV_U16_LIST(
		CV_GREASE, 0x1302, 0x1303, 0x1301, 0xc02c, 0xc02b, 0xcca9, 0xc030, 0xc02f,
		0xcca8, 0xc00a, 0xc009, 0xc014, 0xc013, 0x009d, 0x009c, 0x0035, 0x002f,
		0xc008, 0xc012, 0x000a),
	.extensions = CV_U16_LIST(
		CV_GREASE, CV_EXT_SERVER_NAME, CV_EXT_EXTENDED_MASTER_SECRET,
		CV_EXT_RENEGOTIATION_INFO, CV_EXT_SUPPORTED_GROUPS, CV_EXT_EC_POINT_FORMATS,
		CV_EXT_ALPN, CV_EXT_STATUS_REQUEST, CV_EXT_SIGNATURE_ALGORITHMS, CV_EXT_SCT,
		CV_EXT_KEY_SHARE, CV_EXT_PSK_MODES, CV_EXT_SUPPORTED_VERSIONS,
		CV_EXT_COMPRESS_CERTIFICATE, CV_GREASE),
	.groups = CV_U16_LIST(CV_GREASE, 0x11ec, 0x001d, 0x0017, 0x0018, 0x0019),
	.shares = CV_U16_LIST(CV_GREASE, 0x11ec, 0x001d),
	.schemes = CV_U16_LIST(
		0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0805, 0x0501, 0x0806, 0x0601,
		0x0201),
	.versions = CV_U16_LIST(CV_GREASE, 0x0304, 0x0303),
	.compressions = CV_U16_LIST(1),
	.alpn = safari_alpn,
};
