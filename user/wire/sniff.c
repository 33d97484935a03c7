// SPDX-License-Identifier: MIT
/*
 * sniff.c - TLS by its record type, HTTP/1 by its method.
 *
 *   16          -> a ClientHello, assembled as it comes -> its server name
 *   "GET " ...  -> a whole head -> its only Host field
 *   other       -> nothing, at the first byte that fits neither
 */
#include "wire/sniff.h"

#include "wire/http_head.h"

#include <errno.h>
#include <string.h>

#define RECORD_HANDSHAKE 22

void cv_sniff_init(struct cv_sniff *sniff)
{
	*sniff = (struct cv_sniff){0};
	cv_hello_assembler_init(&sniff->hello);
}

void cv_sniff_done(struct cv_sniff *sniff)
{
	cv_hello_assembler_done(&sniff->hello);
}

/* ---- TLS ---------------------------------------------------------------------------------- */

static int read_tls(struct cv_sniff *sniff, struct cv_span stream)
{
	struct cv_client_hello hello;
	size_t used_bytes = 0;
	int result;

	cv_span_skip(&stream, sniff->hello_bytes);
	result = cv_hello_assembler_add(&sniff->hello, stream, &used_bytes);
	sniff->hello_bytes += used_bytes;
	if (result == -EAGAIN)
		return result;
	if (result || cv_client_hello_parse(cv_buffer_span(&sniff->hello.message), &hello) != 0)
		return 0; /* no TLS that we know */
	sniff->protocol = CV_SNIFFED_TLS;
	memcpy(sniff->name, hello.server_name, sizeof(sniff->name));
	return 0;
}

/* ---- HTTP --------------------------------------------------------------------------------- */

/* Could these bytes be the beginning of a request? */
static bool is_request(struct cv_span stream)
{
	static const char *const methods[] = {"GET ",	  "POST ",    "HEAD ",	 "PUT ", "DELETE ",
					      "OPTIONS ", "CONNECT ", "PATCH "};

	for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
		const size_t len = strlen(methods[i]);

		if (memcmp(stream.data, methods[i],
			   stream.len_bytes < len ? stream.len_bytes : len) == 0)
			return true;
	}
	return false;
}

/* "name", "name:port"; addresses in brackets are no names. */
static void take_host(struct cv_sniff *sniff, struct cv_span value)
{
	const uint8_t *colon = memchr(value.data, ':', value.len_bytes);
	const size_t len = colon ? (size_t)(colon - value.data) : value.len_bytes;

	if (len >= sizeof(sniff->name) || memchr(value.data, '\0', len))
		return;
	memcpy(sniff->name, value.data, len);
	sniff->name[len] = '\0';
}

static int read_http(struct cv_sniff *sniff, struct cv_span stream)
{
	struct cv_http_head head;
	const struct cv_http_field *host;
	size_t host_count;
	unsigned status;
	int result;

	if (!is_request(stream))
		return 0;
	result = cv_http_request_head_read(stream, &head, &status);
	if (result == -EAGAIN)
		return result;
	if (result)
		return 0;
	sniff->protocol = CV_SNIFFED_HTTP;
	host = cv_http_field(&head, "host", &host_count);
	if (host && host_count == 1 && host->value.len_bytes > 0)
		take_host(sniff, host->value);
	return 0;
}

int cv_sniff_read(struct cv_sniff *sniff, struct cv_span stream)
{
	int result;

	if (stream.len_bytes == 0)
		return -EAGAIN;
	if (stream.data[0] == RECORD_HANDSHAKE)
		result = read_tls(sniff, stream);
	else
		result = read_http(sniff, stream);
	return result == -EAGAIN && stream.len_bytes >= CV_SNIFF_MAX ? 0 : result;
}
