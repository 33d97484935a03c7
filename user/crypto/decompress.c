// SPDX-License-Identifier: MIT
/*
 * decompress.c - certificate compression (RFC 8879), receiving side.
 *
 * Browsers offer it, so REALITY's client must offer it and understand the answer. The caller gives
 * the room (the message's uncompressed_length, capped by its own limit) and each decoder stops
 * there: a small message cannot unfold into more memory than that.
 */
#include "crypto/crypto.h"

#include <culvert/reason.h>

#include <brotli/decode.h>
#include <zlib.h>
#include <zstd.h>

static bool decompress_zlib(const uint8_t *in, size_t in_len, uint8_t *out, size_t *len)
{
	uLongf out_len = *len;
	uLong used = in_len;

	if (uncompress2(out, &out_len, in, &used) != Z_OK || used != in_len)
		return false;
	*len = out_len;
	return true;
}

/* Not BrotliDecoderDecompress(): it accepts bytes after the end. */
static bool decompress_brotli(const uint8_t *in, size_t in_len, uint8_t *out, size_t *len)
{
	BrotliDecoderState *decoder = BrotliDecoderCreateInstance(NULL, NULL, NULL);
	size_t in_left = in_len;
	size_t out_left = *len;
	bool ok;

	if (!decoder)
		return false;
	ok = BrotliDecoderDecompressStream(decoder, &in_left, &in, &out_left, &out, NULL) ==
		     BROTLI_DECODER_RESULT_SUCCESS &&
	     in_left == 0;
	BrotliDecoderDestroyInstance(decoder);
	if (ok)
		*len -= out_left;
	return ok;
}

static bool decompress_zstd(const uint8_t *in, size_t in_len, uint8_t *out, size_t *len)
{
	const size_t out_len = ZSTD_decompress(out, *len, in, in_len);

	/* It takes nothing for an empty sequence of frames. */
	if (in_len == 0 || ZSTD_isError(out_len))
		return false;
	*len = out_len;
	return true;
}

int cv_decompress_certificate(uint16_t algorithm, const uint8_t *in, size_t in_len,
			      uint8_t *ret_out, size_t *ret_len)
{
	size_t len = *ret_len;
	bool ok = false;

	switch (algorithm) {
	case 1:
		ok = decompress_zlib(in, in_len, ret_out, &len);
		break;
	case 2:
		ok = decompress_brotli(in, in_len, ret_out, &len);
		break;
	case 3:
		ok = decompress_zstd(in, in_len, ret_out, &len);
		break;
	default:
		break;
	}
	if (!ok)
		return CV_UPSTREAM_DECODE;
	*ret_len = len;
	return 0;
}
