// SPDX-License-Identifier: MIT
/*
 * http_peek.c - the path of what may be an HTTP/1 request, without parsing HTTP.
 *
 *   "GET /path?query HTTP/1.1"      methods of 3..7 letters put the '/' at offset 4..8
 *        ^4        ^ end: '?' or ' ', seen before offset 64
 *
 * The reference server decides its fallback this way, on nothing but the first chunk; a better
 * parser would route some requests differently and so be told apart.
 */
#include "wire/http_peek.h"

#define CHUNK_MIN_BYTES 18
#define SLASH_FIRST 4
#define SLASH_LAST 8
#define SEARCH_END 64

static struct cv_span path_at(struct cv_span chunk, size_t start)
{
	const size_t end = chunk.len_bytes < SEARCH_END ? chunk.len_bytes : SEARCH_END;

	for (size_t at = start + 1; at < end; at++) {
		const uint8_t c = chunk.data[at];

		if (c == '\r' || c == '\n')
			break;
		if (c == '?' || c == ' ')
			return cv_span_of(chunk.data + start, at - start);
	}
	return cv_span_of(NULL, 0);
}

struct cv_span cv_http_peek_path(struct cv_span first_chunk)
{
	const uint8_t *bytes = first_chunk.data;

	/* "PRI * HTTP/2.0" has '*' where a path would start. */
	if (first_chunk.len_bytes < CHUNK_MIN_BYTES || bytes[SLASH_FIRST] == '*')
		return cv_span_of(NULL, 0);
	for (size_t at = SLASH_FIRST; at <= SLASH_LAST; at++) {
		if (bytes[at] == '/' && bytes[at - 1] == ' ')
			return path_at(first_chunk, at);
	}
	return cv_span_of(NULL, 0);
}
