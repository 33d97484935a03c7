// SPDX-License-Identifier: MIT
/*
 * spider_body.c - links out of an answer's content (REALITY 12.3).
 *
 *   content bytes -> coding recognised by its first bytes -> decoder -> scanner for href="..."
 *
 * A browser asks for compressed content, so it has to be decoded to find links in it. The coding is
 * taken from the content itself (magic numbers of gzip and zstd; text; else brotli): that spares a
 * header decoder. Decoders stream into a small buffer, and only the first 4 MiB are looked at.
 * A link counts if it is ours: it starts with "/", or with "https://" and our name, and has no ".".
 */
#include "protocol/spider_state.h"

#include <brotli/decode.h>
#include <zlib.h>
#include <zstd.h>

#include <stdlib.h>
#include <string.h>

#define DECODE_CHUNK 8192
#define GZIP_WINDOW (15 + 16) /* zlib: 32 KiB window, gzip wrapper */

enum coding {
	CODING_UNKNOWN, CODING_PLAIN, CODING_GZIP, CODING_BROTLI, CODING_ZSTD, CODING_IGNORE,
};

struct link_sink {
	struct cv_spider_body *body;
	const char *server_name;
	struct cv_spider_path_list *paths;
};

/* ---- links ---- */

static const char href[] = "href=\"";

static void take_link(struct link_sink *sink, char *link)
{
	static const char scheme[] = "https://";
	size_t scheme_len = sizeof(scheme) - 1, name_len = strlen(sink->server_name);

	if (strncmp(link, scheme, scheme_len) == 0) {
		if (strncmp(link + scheme_len, sink->server_name, name_len) != 0)
			return;
		link += scheme_len + name_len;
	}
	link[strcspn(link, "#")] = '\0';
	if (link[0] != '/' || link[1] == '/' || strchr(link, '.'))
		return;
	cv_spider_paths_add(sink->paths, link);
}

static void collect(struct cv_link_scanner *scanner, struct link_sink *sink, char byte)
{
	if (byte == '"') {
		scanner->link[scanner->link_len] = '\0';
		scanner->collecting = false;
		if (!memchr(scanner->link, '\0', scanner->link_len))
			take_link(sink, scanner->link);
		return;
	}
	if (scanner->link_len + 1 == sizeof(scanner->link)) {
		scanner->collecting = false; /* too long to be kept */
		return;
	}
	scanner->link[scanner->link_len++] = byte;
}

static void scan(struct link_sink *sink, const uint8_t *bytes, size_t len)
{
	struct cv_link_scanner *scanner = &sink->body->scanner;

	for (size_t i = 0; i < len; i++) {
		char byte = (char)bytes[i];

		if (scanner->collecting) {
			collect(scanner, sink, byte);
			continue;
		}
		scanner->matched = byte == href[scanner->matched] ? scanner->matched + 1
				   : byte == href[0]              ? 1
								  : 0;
		if (scanner->matched == sizeof(href) - 1) {
			scanner->matched = 0;
			scanner->collecting = true;
			scanner->link_len = 0;
		}
	}
}

/* Returns false when enough was seen. */
static bool decoded(struct link_sink *sink, const uint8_t *bytes, size_t len)
{
	sink->body->decoded_bytes += len;
	if (sink->body->decoded_bytes > CV_SPIDER_BODY_MAX)
		return false;
	scan(sink, bytes, len);
	return true;
}

/* ---- codings ---- */

static bool add_gzip(struct link_sink *sink, struct cv_span bytes)
{
	z_stream *stream = sink->body->decoder;
	uint8_t out[DECODE_CHUNK];
	int result;

	stream->next_in = (Bytef *)(uintptr_t)bytes.data;
	stream->avail_in = (uInt)bytes.len_bytes;
	do {
		stream->next_out = out;
		stream->avail_out = sizeof(out);
		result = inflate(stream, Z_NO_FLUSH);
		if ((result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR) ||
		    !decoded(sink, out, sizeof(out) - stream->avail_out))
			return false;
	} while (result == Z_OK && stream->avail_out == 0);
	return result != Z_STREAM_END;
}

static bool add_brotli(struct link_sink *sink, struct cv_span bytes)
{
	size_t left = bytes.len_bytes;
	const uint8_t *in = bytes.data;
	BrotliDecoderResult result;
	uint8_t out[DECODE_CHUNK];

	do {
		size_t room = sizeof(out);
		uint8_t *at = out;

		result = BrotliDecoderDecompressStream(sink->body->decoder, &left, &in, &room, &at,
						       NULL);
		if (result == BROTLI_DECODER_RESULT_ERROR ||
		    !decoded(sink, out, sizeof(out) - room))
			return false;
	} while (result == BROTLI_DECODER_RESULT_NEEDS_MORE_OUTPUT);
	return result != BROTLI_DECODER_RESULT_SUCCESS;
}

static bool add_zstd(struct link_sink *sink, struct cv_span bytes)
{
	ZSTD_inBuffer in = {bytes.data, bytes.len_bytes, 0};
	uint8_t out[DECODE_CHUNK];
	ZSTD_outBuffer room;

	do {
		room = (ZSTD_outBuffer){out, sizeof(out), 0};
		if (ZSTD_isError(ZSTD_decompressStream(sink->body->decoder, &room, &in)) ||
		    !decoded(sink, out, room.pos))
			return false;
	} while (in.pos < in.size || room.pos == room.size);
	return true;
}

static enum coding recognise(const uint8_t head[4])
{
	if (head[0] == 0x1f && head[1] == 0x8b)
		return CODING_GZIP;
	if (memcmp(head, "\x28\xb5\x2f\xfd", 4) == 0)
		return CODING_ZSTD;
	if (memcmp(head, "\xef\xbb\xbf", 3) == 0) /* UTF-8 mark */
		return CODING_PLAIN;
	for (int i = 0; i < 4; i++)
		if (head[i] > '~' || (head[i] < ' ' && !strchr("\t\r\n", head[i])) || !head[i])
			return CODING_BROTLI;
	return CODING_PLAIN;
}

static z_stream *new_gzip(void)
{
	z_stream *stream = calloc(1, sizeof(*stream));

	if (stream && inflateInit2(stream, GZIP_WINDOW) != Z_OK) {
		free(stream);
		return NULL;
	}
	return stream;
}

static ZSTD_DStream *new_zstd(void)
{
	ZSTD_DStream *stream = ZSTD_createDStream();

	if (stream) /* no window above 8 MiB, as browsers */
		ZSTD_DCtx_setParameter(stream, ZSTD_d_windowLogMax, 23);
	return stream;
}

static void open_decoder(struct cv_spider_body *body)
{
	body->coding = recognise(body->head);
	if (body->coding == CODING_GZIP)
		body->decoder = new_gzip();
	else if (body->coding == CODING_BROTLI)
		body->decoder = BrotliDecoderCreateInstance(NULL, NULL, NULL);
	else if (body->coding == CODING_ZSTD)
		body->decoder = new_zstd();
	if (body->coding != CODING_PLAIN && !body->decoder)
		body->coding = CODING_IGNORE;
}

static void close_decoder(struct cv_spider_body *body)
{
	if (!body->decoder)
		return;
	if (body->coding == CODING_GZIP) {
		inflateEnd(body->decoder);
		free(body->decoder);
	} else if (body->coding == CODING_BROTLI) {
		BrotliDecoderDestroyInstance(body->decoder);
	} else {
		ZSTD_freeDStream(body->decoder);
	}
	body->decoder = NULL;
}

static bool add_decoded(struct link_sink *sink, struct cv_span bytes)
{
	switch (sink->body->coding) {
	case CODING_PLAIN:
		return decoded(sink, bytes.data, bytes.len_bytes);
	case CODING_GZIP:
		return add_gzip(sink, bytes);
	case CODING_BROTLI:
		return add_brotli(sink, bytes);
	case CODING_ZSTD:
		return add_zstd(sink, bytes);
	default:
		return true;
	}
}

void cv_spider_body_begin(struct cv_spider_body *body)
{
	cv_spider_body_done(body);
	memset(body, 0, sizeof(*body));
}

void cv_spider_body_done(struct cv_spider_body *body)
{
	close_decoder(body);
}

static void add_part(struct link_sink *sink, struct cv_span bytes)
{
	if (bytes.len_bytes && !add_decoded(sink, bytes)) {
		close_decoder(sink->body);
		sink->body->coding = CODING_IGNORE;
	}
}

void cv_spider_body_add(struct cv_spider_body *body, const char *server_name,
			struct cv_spider_path_list *paths, struct cv_span bytes)
{
	struct link_sink sink = {body, server_name, paths};

	if (body->coding == CODING_UNKNOWN) {
		while (body->head_len < sizeof(body->head) && bytes.len_bytes) {
			body->head[body->head_len++] = bytes.data[0];
			cv_span_skip(&bytes, 1);
		}
		if (body->head_len < sizeof(body->head))
			return;
		open_decoder(body);
		add_part(&sink, cv_span_of(body->head, sizeof(body->head)));
	}
	add_part(&sink, bytes);
}
