// SPDX-License-Identifier: MIT
/*
 * proxy_protocol.c - writing the PROXY protocol header that precedes mirrored bytes (xver 1 and 2).
 *
 *   v1   PROXY TCP4|TCP6 <source> <destination> <source port> <destination port> CRLF
 *        PROXY UNKNOWN CRLF
 *   v2   signature 12 | 21 PROXY or 20 LOCAL | 11 TCP4, 21 TCP6, 00 | length 2 | addresses | ports
 *
 * Both ends have to be of one family. A v4 end next to a v6 one is written as ::ffff:a.b.c.d; v6
 * sockets that carry v4-mapped addresses on both ends count as v4. Anything but two IP ends is
 * said to be unknown.
 */
#include "wire/proxy_protocol.h"

#include <culvert/reason.h>

#include "base/cursor.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#define V1_MAX_BYTES 108 /* 107 on the wire and the terminator snprintf() adds */
#define V2_MAX_BYTES (16 + 36)
#define V2_LOCAL 0x20
#define V2_PROXY 0x21
#define V2_UNSPEC 0x00
#define V2_TCP4 0x11
#define V2_TCP6 0x21

static const uint8_t v2_signature[12] = {0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d,
					 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a};

struct ends {
	struct cv_destination source, destination;
	enum cv_address_kind kind; /* of both; NONE = unknown */
};

static void map_to_ipv6(struct cv_destination *end)
{
	static const uint8_t prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
	uint8_t ipv4[4];

	if (end->kind != CV_ADDRESS_IPV4)
		return;
	memcpy(ipv4, end->ipv4, sizeof(ipv4));
	memcpy(end->ipv6, prefix, sizeof(prefix));
	memcpy(end->ipv6 + sizeof(prefix), ipv4, sizeof(ipv4));
	end->kind = CV_ADDRESS_IPV6;
}

static struct ends ends_of(const struct cv_sockaddr *source, const struct cv_sockaddr *destination)
{
	struct ends ends = {.kind = CV_ADDRESS_NONE};

	if (!cv_sockaddr_to_destination(source, &ends.source) ||
	    !cv_sockaddr_to_destination(destination, &ends.destination))
		return ends;
	if (ends.source.kind != ends.destination.kind) {
		map_to_ipv6(&ends.source);
		map_to_ipv6(&ends.destination);
	}
	ends.kind = ends.source.kind;
	return ends;
}

static int write_v1(const struct ends *ends, struct cv_buffer *out)
{
	const int family = ends->kind == CV_ADDRESS_IPV4 ? AF_INET : AF_INET6;
	char source[INET6_ADDRSTRLEN], destination[INET6_ADDRSTRLEN];
	char line[V1_MAX_BYTES] = "PROXY UNKNOWN\r\n";
	int len = (int)strlen(line);

	if (ends->kind != CV_ADDRESS_NONE) {
		if (!inet_ntop(family, ends->source.ipv6, source, sizeof(source)) ||
		    !inet_ntop(family, ends->destination.ipv6, destination, sizeof(destination)))
			return CV_INTERNAL_STATE;
		len = snprintf(line, sizeof(line), "PROXY %s %s %s %u %u\r\n",
			       family == AF_INET ? "TCP4" : "TCP6", source, destination,
			       ends->source.port, ends->destination.port);
	}
	if (len < 0 || (size_t)len >= sizeof(line))
		return CV_INTERNAL_STATE;
	return cv_buffer_append(out, line, (size_t)len);
}

static int write_v2(const struct ends *ends, struct cv_buffer *out)
{
	const bool known = ends->kind != CV_ADDRESS_NONE;
	const size_t ip_bytes = ends->kind == CV_ADDRESS_IPV4 ? 4 : 16;
	uint8_t header[V2_MAX_BYTES];
	struct cv_writer writer = cv_writer_of(header, sizeof(header));

	cv_write_bytes(&writer, v2_signature, sizeof(v2_signature));
	cv_write_u8(&writer, known ? V2_PROXY : V2_LOCAL);
	if (!known) {
		cv_write_u8(&writer, V2_UNSPEC);
		cv_write_u16(&writer, 0);
		return cv_buffer_append(out, header, cv_writer_len(&writer));
	}
	cv_write_u8(&writer, ends->kind == CV_ADDRESS_IPV4 ? V2_TCP4 : V2_TCP6);
	cv_write_u16(&writer, (uint16_t)(2 * ip_bytes + 4));
	cv_write_bytes(&writer, ends->source.ipv6, ip_bytes);
	cv_write_bytes(&writer, ends->destination.ipv6, ip_bytes);
	cv_write_u16(&writer, ends->source.port);
	cv_write_u16(&writer, ends->destination.port);
	return cv_buffer_append(out, header, cv_writer_len(&writer));
}

int cv_proxy_protocol_write(int version, const struct cv_sockaddr *source,
			    const struct cv_sockaddr *destination, struct cv_buffer *out)
{
	const struct ends ends = ends_of(source, destination);

	switch (version) {
	case 0:
		return 0;
	case 1:
		return write_v1(&ends, out);
	case 2:
		return write_v2(&ends, out);
	default:
		return CV_INTERNAL_STATE;
	}
}
