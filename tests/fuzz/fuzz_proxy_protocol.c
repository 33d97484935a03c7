// SPDX-License-Identifier: MIT
/*
 * fuzz_proxy_protocol.c - headers for socket addresses out of the input are read back by a reader
 * of their own, and by ours, and must name the same two ends. Reading is fuzz_proxy_header's.
 */
#include "wire/proxy_protocol.h"

#include "check.h"

#include <arpa/inet.h>
#include <stdio.h>

static struct cv_sockaddr take_address(struct cv_span *input)
{
	struct cv_sockaddr address = {0};
	const uint8_t family = take_u8(input) % 4;

	if (family == 0) {
		address.len_bytes = sizeof(address.in);
		address.in.sin_family = AF_INET;
		address.in.sin_port = htons(take_u16(input));
		for (unsigned int at = 0; at < 4; at++)
			((uint8_t *)&address.in.sin_addr)[at] = take_u8(input);
	} else if (family < 3) {
		address.len_bytes = sizeof(address.in6);
		address.in6.sin6_family = AF_INET6;
		address.in6.sin6_port = htons(take_u16(input));
		memset(address.in6.sin6_addr.s6_addr + 10, 0xff, 2);
		for (unsigned int at = family == 1 ? 0 : 12; at < 16; at++) /* 2: v4-mapped */
			address.in6.sin6_addr.s6_addr[at] = take_u8(input);
	} else {
		address.len_bytes = sizeof(sa_family_t);
		address.un.sun_family = AF_UNIX;
	}
	return address;
}

/* The reader's view of an end: family, 16 bytes (v4 as v4-mapped), port. */
struct end {
	uint8_t ip[16];
	uint16_t port;
};

static bool end_of(const struct cv_sockaddr *address, struct end *end)
{
	struct cv_destination destination;

	if (!cv_sockaddr_to_destination(address, &destination))
		return false;
	memset(end, 0, sizeof(*end));
	end->port = destination.port;
	if (destination.kind == CV_ADDRESS_IPV4) {
		memset(end->ip + 10, 0xff, 2);
		memcpy(end->ip + 12, destination.ipv4, 4);
	} else {
		memcpy(end->ip, destination.ipv6, 16);
	}
	return true;
}

static void parse_ip(const char *family, const char *text, uint8_t ip[16])
{
	memset(ip, 0, 16);
	if (strcmp(family, "TCP4") == 0) {
		memset(ip + 10, 0xff, 2);
		check(inet_pton(AF_INET, text, ip + 12) == 1);
	} else {
		check(strcmp(family, "TCP6") == 0);
		check(inet_pton(AF_INET6, text, ip) == 1);
	}
}

static void check_v1(struct cv_span header, bool known, const struct end ends[2])
{
	char line[128], family[8], texts[2][64];
	unsigned int ports[2];
	int end = 0;

	check(header.len_bytes <= 107);
	memcpy(line, header.data, header.len_bytes);
	line[header.len_bytes] = '\0';
	if (!known) {
		check(strcmp(line, "PROXY UNKNOWN\r\n") == 0);
		return;
	}
	check(sscanf(line, "PROXY %7s %63s %63s %u %u%n", family, texts[0], texts[1], &ports[0],
		     &ports[1], &end) == 5);
	check(strcmp(line + end, "\r\n") == 0);
	for (unsigned int at = 0; at < 2; at++) {
		uint8_t ip[16];

		parse_ip(family, texts[at], ip);
		check(memcmp(ip, ends[at].ip, 16) == 0 && ports[at] == ends[at].port);
	}
}

static void check_v2(struct cv_span header, bool known, const struct end ends[2])
{
	const uint8_t *bytes = header.data;
	const size_t ip_bytes = header.len_bytes == 28 ? 4 : 16;

	check(memcmp(bytes, "\r\n\r\n\0\r\nQUIT\n", 12) == 0);
	if (!known) {
		check(header.len_bytes == 16 && memcmp(bytes + 12, "\x20\0\0\0", 4) == 0);
		return;
	}
	check(header.len_bytes == 16 + 2 * ip_bytes + 4);
	check(bytes[12] == 0x21 && bytes[13] == (ip_bytes == 4 ? 0x11 : 0x21));
	check(bytes[14] == 0 && bytes[15] == header.len_bytes - 16);
	for (unsigned int at = 0; at < 2; at++) {
		const uint8_t *port = bytes + 16 + 2 * ip_bytes + 2 * at;

		check(memcmp(bytes + 16 + at * ip_bytes, ends[at].ip + 16 - ip_bytes, ip_bytes) ==
		      0);
		check((port[0] << 8 | port[1]) == ends[at].port);
	}
}

static void check_read(struct cv_span header, bool known, const struct end ends[2])
{
	struct cv_sockaddr read[2];
	size_t used = 0;

	check(cv_proxy_protocol_read(header, &used, &read[0], &read[1]) == 0);
	check(used == header.len_bytes);
	for (unsigned int at = 0; at < 2; at++) {
		struct end end;

		check((read[at].len_bytes != 0) == known);
		check(!known || (end_of(&read[at], &end) && end.port == ends[at].port &&
				 memcmp(end.ip, ends[at].ip, 16) == 0));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cv_span input = cv_span_of(data, size);
	const struct cv_sockaddr source = take_address(&input);
	const struct cv_sockaddr destination = take_address(&input);
	struct end ends[2];
	const bool known = end_of(&source, &ends[0]) && end_of(&destination, &ends[1]);

	for (int version = 1; version <= 2; version++) {
		struct cv_buffer out;

		cv_buffer_init(&out, 256);
		check(cv_proxy_protocol_write(version, &source, &destination, &out) == 0);
		check_read(cv_buffer_span(&out), known, ends);
		if (version == 1)
			check_v1(cv_buffer_span(&out), known, ends);
		else
			check_v2(cv_buffer_span(&out), known, ends);
		cv_buffer_done(&out);
	}
	return 0;
}
