// SPDX-License-Identifier: MIT
/*
 * fingerprint_chrome.c - the ClientHello of desktop Chrome 150 (and of Edge of the same engine).
 *
 * BoringSSL: GREASE everywhere (RFC 8701), extensions in a new order per connection with a GREASE
 * one at each end, ALPS at its second code point, GREASE ECH whose payload is 128, 160, 192 or 224
 * bytes plus tag. Since 150 the ML-DSA schemes lead signature_algorithms. With a hybrid share the
 * message is far above 511 bytes, so the padding extension of older versions never appears.
 */
#include "protocol/fingerprint_shape.h"

#include <stddef.h>

static const char *const chrome_alpn[] = {"h2", "http/1.1", NULL};

const struct cv_hello_shape cv_hello_shape_chrome = {
	.name = "chrome",
	.cipher_suites = CV_U16_LIST(
		CV_GREASE, 0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9,
		0xcca8, 0xc013, 0xc014, 0x009c, 0x009d, 0x002f, 0x0035),
	.extensions = CV_U16_LIST(
		CV_GREASE, CV_EXT_SERVER_NAME, CV_EXT_EXTENDED_MASTER_SECRET,
		CV_EXT_RENEGOTIATION_INFO, CV_EXT_SUPPORTED_GROUPS, CV_EXT_EC_POINT_FORMATS,
		CV_EXT_SESSION_TICKET, CV_EXT_ALPN, CV_EXT_STATUS_REQUEST,
		CV_EXT_SIGNATURE_ALGORITHMS, CV_EXT_SCT, CV_EXT_KEY_SHARE, CV_EXT_PSK_MODES,
		CV_EXT_SUPPORTED_VERSIONS, CV_EXT_COMPRESS_CERTIFICATE,
		CV_EXT_APPLICATION_SETTINGS, CV_EXT_ECH, CV_GREASE),
	.groups = CV_U16_LIST(CV_GREASE, 0x11ec, 0x001d, 0x0017, 0x0018),
	.shares = CV_U16_LIST(CV_GREASE, 0x11ec, 0x001d),
	.schemes = CV_U16_LIST(
		0x0904, 0x0905, 0x0906, 0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501,
		0x0806, 0x0601),
	.versions = CV_U16_LIST(CV_GREASE, 0x0304, 0x0303),
	.compressions = CV_U16_LIST(2),
	.ech_aeads = CV_U16_LIST(1),
	.ech_payloads = CV_U16_LIST(144, 176, 208, 240),
	.alpn = chrome_alpn,
	.permutes = true,
};
