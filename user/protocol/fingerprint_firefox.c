// SPDX-License-Identifier: MIT
/*
 * fingerprint_firefox.c - the ClientHello of desktop Firefox 135 and later.
 *
 * NSS: no GREASE values, fixed order, three key shares of which both X25519 halves are one key,
 * finite-field groups offered without a share, delegated credentials, record_size_limit 16385,
 * certificate compression zlib, brotli, zstd, and a GREASE ECH of 239 payload bytes at the end.
 */
#include "protocol/fingerprint_shape.h"

#include <stddef.h>

static const char *const firefox_alpn[] = {"h2", "http/1.1", NULL};

const struct cv_hello_shape cv_hello_shape_firefox = {
	.name = "firefox",
	.cipher_suites = CV_U16_LIST(
		0x1301, 0x1303, 0x1302, 0xc02b, 0xc02f, 0xcca9, 0xcca8, 0xc02c, 0xc030,
		0xc00a, 0xc009, 0xc013, 0xc014, 0x009c, 0x009d, 0x002f, 0x0035),
	.extensions = CV_U16_LIST(
		CV_EXT_SERVER_NAME, CV_EXT_EXTENDED_MASTER_SECRET,
		CV_EXT_RENEGOTIATION_INFO, CV_EXT_SUPPORTED_GROUPS, CV_EXT_EC_POINT_FORMATS,
		CV_EXT_SESSION_TICKET, CV_EXT_ALPN, CV_EXT_STATUS_REQUEST,
		CV_EXT_DELEGATED_CREDENTIALS, CV_EXT_SCT, CV_EXT_KEY_SHARE,
		CV_EXT_SUPPORTED_VERSIONS, CV_EXT_SIGNATURE_ALGORITHMS, CV_EXT_PSK_MODES,
		CV_EXT_RECORD_SIZE_LIMIT, CV_EXT_COMPRESS_CERTIFICATE, CV_EXT_ECH),
	.groups = CV_U16_LIST(0x11ec, 0x001d, 0x0017, 0x0018, 0x0019, 0x0100, 0x0101),
	.shares = CV_U16_LIST(0x11ec, 0x001d, 0x0017),
	.schemes = CV_U16_LIST(
		0x0403, 0x0503, 0x0603, 0x0804, 0x0805, 0x0806, 0x0401, 0x0501, 0x0601,
		0x0203, 0x0201),
	.versions = CV_U16_LIST(0x0304, 0x0303),
	.compressions = CV_U16_LIST(1, 2, 3),
	.delegated = CV_U16_LIST(0x0403, 0x0503, 0x0603, 0x0203),
	.ech_aeads = CV_U16_LIST(1, 3),
	.ech_payloads = CV_U16_LIST(239),
	.alpn = firefox_alpn,
	.reuses_x25519 = true,
};
