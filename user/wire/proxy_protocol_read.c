// SPDX-License-Identifier: MIT
/*
 * proxy_protocol_read.c - the PROXY header of whoever stands in front of us.
 *
 *   v1   one line of at most 107 bytes:  PROXY TCP4|TCP6 <ip> <ip> <port> <port> CRLF
 *                                        PROXY UNKNOWN <anything> CRLF
 *   v2   signature 12 | 2x command | family | length 2 | addresses | options
 *
 * Strict: what a proxy would not write is an error, at the first byte that shows it. Only the ends
 * of a TCP connection are told; a unix socket's are as good as unknown.
 */
#include "wire/proxy_protocol.h"

#include <culvert/reason.h>

#include "base/cursor.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <string.h>

#define V1_MAX_BYTES 107
#define V2_HEADER_BYTES 16
#define V2_VERSION 0x20
#define V2_UNSPEC 0x00
#define V2_TCP4 0x11
#define V2_TCP6 0x21
#define V2_UNIX 0x31

static const char v1_signature[] = "PROXY ";
static const uint8_t v2_signature[12] = {0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d,
					 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a};

struct ends {
	struct cv_sockaddr source, destination;
};

/* ---- version 1 ---------------------------------------------------------------------------- */

static char *next_word(char **at)
{
	char *word = *at, *end = word ? strchr(word, ' ') : NULL;

	if (end)
		*end = '\0';
	*at = end ? end + 1 : NULL;
	return word;
}

static bool read_port(const char *text, uint16_t *ret_port)
{
	unsigned value = 0;

	if (!text || !isdigit((unsigned char)*text) || (text[0] == '0' && text[1]))
		return false;
	for (; isdigit((unsigned char)*text) && value <= UINT16_MAX; text++)
		value = 10 * value + (unsigned)(*text - '0');
	*ret_port = (uint16_t)value;
	return !*text && value <= UINT16_MAX;
}

static bool set_end(struct cv_sockaddr *end, int family, const char *ip, uint16_t port)
{
	*end = (struct cv_sockaddr){.len_bytes = family == AF_INET ? sizeof(end->in)
								   : sizeof(end->in6)};
	if (family == AF_INET) {
		end->in.sin_family = AF_INET;
		end->in.sin_port = htons(port);
		return inet_pton(family, ip, &end->in.sin_addr) == 1;
	}
	end->in6.sin6_family = AF_INET6;
	end->in6.sin6_port = htons(port);
	return inet_pton(family, ip, &end->in6.sin6_addr) == 1;
}

/* @line: without signature and CRLF */
static int read_line(char *line, struct ends *ends)
{
	const char *protocol = next_word(&line), *source, *destination;
	uint16_t source_port = 0, destination_port = 0;
	int family;

	if (strcmp(protocol, "UNKNOWN") == 0)
		return 0;
	if (strcmp(protocol, "TCP4") != 0 && strcmp(protocol, "TCP6") != 0)
		return CV_PEER_DECODE;
	family = protocol[3] == '4' ? AF_INET : AF_INET6;
	source = next_word(&line);
	destination = next_word(&line);
	if (!read_port(next_word(&line), &source_port) ||
	    !read_port(next_word(&line), &destination_port) || line || !source || !destination ||
	    !set_end(&ends->source, family, source, source_port) ||
	    !set_end(&ends->destination, family, destination, destination_port))
		return CV_PEER_DECODE;
	return 0;
}

static int read_v1(struct cv_span bytes, size_t *ret_used, struct ends *ends)
{
	const size_t signature_bytes = sizeof(v1_signature) - 1;
	const size_t seen = bytes.len_bytes < V1_MAX_BYTES ? bytes.len_bytes : V1_MAX_BYTES;
	const uint8_t *end = memchr(bytes.data, '\n', seen);
	char line[V1_MAX_BYTES + 1];
	size_t len;

	if (!end)
		return seen == V1_MAX_BYTES ? CV_PEER_DECODE : -EAGAIN;
	len = (size_t)(end - bytes.data);
	if (len <= signature_bytes || bytes.data[len - 1] != '\r')
		return CV_PEER_DECODE;
	len -= signature_bytes + 1;
	memcpy(line, bytes.data + signature_bytes, len);
	line[len] = '\0';
	if (strlen(line) != len)
		return CV_PEER_DECODE;
	*ret_used = (size_t)(end - bytes.data) + 1;
	return read_line(line, ends);
}

/* ---- version 2 ---------------------------------------------------------------------------- */

static int read_addresses(struct cv_reader *reader, int family, struct ends *ends)
{
	const size_t ip_bytes = family == AF_INET ? 4 : 16;
	const uint8_t *ips[2] = {cv_read_bytes(reader, ip_bytes), cv_read_bytes(reader, ip_bytes)};
	struct cv_sockaddr *both[2] = {&ends->source, &ends->destination};

	for (int i = 0; i < 2; i++) {
		const uint16_t port = cv_read_u16(reader);

		if (reader->failed)
			return CV_PEER_DECODE;
		(void)set_end(both[i], family, family == AF_INET ? "0.0.0.0" : "::", port);
		memcpy(family == AF_INET ? (void *)&both[i]->in.sin_addr
					 : (void *)&both[i]->in6.sin6_addr,
		       ips[i], ip_bytes);
	}
	return 0;
}

static int read_v2(struct cv_span bytes, size_t *ret_used, struct ends *ends)
{
	struct cv_reader reader = cv_reader_of(bytes.data, bytes.len_bytes), body;
	uint8_t command, family;
	size_t body_bytes;

	(void)cv_read_bytes(&reader, sizeof(v2_signature));
	command = cv_read_u8(&reader);
	family = cv_read_u8(&reader);
	if (!reader.failed && command != V2_VERSION && command != (V2_VERSION | 1))
		return CV_PEER_DECODE;
	body_bytes = cv_read_u16(&reader);
	if (reader.failed)
		return -EAGAIN;
	if (V2_HEADER_BYTES + body_bytes > CV_PROXY_HEADER_MAX)
		return CV_PEER_TOO_LONG;
	if (bytes.len_bytes < V2_HEADER_BYTES + body_bytes)
		return -EAGAIN;
	*ret_used = V2_HEADER_BYTES + body_bytes;
	if (command == V2_VERSION) /* LOCAL: the proxy itself, its health check */
		return 0;
	body = cv_reader_of(bytes.data + V2_HEADER_BYTES, body_bytes);
	switch (family) {
	case V2_TCP4:
		return read_addresses(&body, AF_INET, ends);
	case V2_TCP6:
		return read_addresses(&body, AF_INET6, ends);
	case V2_UNSPEC:
	case V2_UNIX:
		return 0;
	default: /* datagrams do not come in streams */
		return CV_PEER_DECODE;
	}
}

/* ---- either ------------------------------------------------------------------------------- */

static bool begins_with(struct cv_span bytes, const void *signature, size_t len)
{
	return memcmp(bytes.data, signature, bytes.len_bytes < len ? bytes.len_bytes : len) == 0;
}

int cv_proxy_protocol_read(struct cv_span bytes, size_t *ret_used, struct cv_sockaddr *ret_source,
			   struct cv_sockaddr *ret_destination)
{
	struct ends ends = {0};
	size_t used = 0;
	int result;

	if (bytes.len_bytes == 0)
		return -EAGAIN;
	if (begins_with(bytes, v1_signature, sizeof(v1_signature) - 1))
		result = read_v1(bytes, &used, &ends);
	else if (begins_with(bytes, v2_signature, sizeof(v2_signature)))
		result = read_v2(bytes, &used, &ends);
	else
		result = CV_PEER_DECODE;
	if (result)
		return result;
	*ret_used = used;
	*ret_source = ends.source;
	*ret_destination = ends.destination;
	return 0;
}
