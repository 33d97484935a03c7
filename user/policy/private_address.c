// SPDX-License-Identifier: MIT
/*
 * private_address.c - the blocks of compat 7.1: what a proxied user must not reach by default,
 * because it is the server's own inside.
 */
#include "policy/private_address.h"

#include <string.h>

#define IPV4(a, b, c, d, bits) \
	{ \
		.prefix_bits = (bits), .bytes = { a, b, c, d } \
	}
#define IPV6(a, b, bits) \
	{ \
		.is_ipv6 = true, .prefix_bits = (bits), .bytes = { a, b } \
	}

static const struct cv_cidr private_blocks[] = {
	IPV4(0, 0, 0, 0, 8),      IPV4(10, 0, 0, 0, 8),     IPV4(100, 64, 0, 0, 10),
	IPV4(127, 0, 0, 0, 8),    IPV4(169, 254, 0, 0, 16), IPV4(172, 16, 0, 0, 12),
	IPV4(192, 0, 0, 0, 24),   IPV4(192, 0, 2, 0, 24),   IPV4(192, 88, 99, 0, 24),
	IPV4(192, 168, 0, 0, 16), IPV4(198, 18, 0, 0, 15),  IPV4(198, 51, 100, 0, 24),
	IPV4(203, 0, 113, 0, 24), IPV4(224, 0, 0, 0, 3),    IPV6(0, 0, 127),
	IPV6(0xfc, 0, 7),         IPV6(0xfe, 0x80, 10),     IPV6(0xff, 0, 8),
};

/* In these an IPv4 address is where a packet ends up: translated (RFC 6052 2.1, RFC 8215) or out of
 * a tunnel (RFC 3056 2). */
static const struct {
	struct cv_cidr block;
	uint8_t at; /* of its first byte */
} embedding_blocks[] = {
	{{.is_ipv6 = true, .prefix_bits = 96, .bytes = {0, 0x64, 0xff, 0x9b}}, 12},
	{{.is_ipv6 = true, .prefix_bits = 48, .bytes = {0, 0x64, 0xff, 0x9b, 0, 1}}, 12},
	{{.is_ipv6 = true, .prefix_bits = 16, .bytes = {0x20, 0x02}}, 2},
};

const struct cv_cidr *cv_private_blocks(size_t *ret_count)
{
	*ret_count = sizeof(private_blocks) / sizeof(private_blocks[0]);
	return private_blocks;
}

bool cv_cidr_contains(const struct cv_cidr *cidr, const uint8_t *address)
{
	const size_t whole = cidr->prefix_bits / 8;
	const unsigned rest = cidr->prefix_bits % 8;

	return memcmp(cidr->bytes, address, whole) == 0 &&
	       (rest == 0 || (cidr->bytes[whole] ^ address[whole]) >> (8 - rest) == 0);
}

static bool is_in_private_block(bool is_ipv6, const uint8_t *bytes)
{
	for (size_t i = 0; i < sizeof(private_blocks) / sizeof(private_blocks[0]); i++)
		if (private_blocks[i].is_ipv6 == is_ipv6 &&
		    cv_cidr_contains(&private_blocks[i], bytes))
			return true;
	return false;
}

bool cv_address_is_private(const struct cv_sockaddr *address)
{
	struct cv_destination destination;

	if (!cv_sockaddr_to_destination(address, &destination))
		return true;
	if (destination.kind == CV_ADDRESS_IPV4)
		return is_in_private_block(false, destination.ipv4);
	for (size_t i = 0; i < sizeof(embedding_blocks) / sizeof(embedding_blocks[0]); i++)
		if (cv_cidr_contains(&embedding_blocks[i].block, destination.ipv6))
			return is_in_private_block(false,
						   destination.ipv6 + embedding_blocks[i].at);
	return is_in_private_block(true, destination.ipv6);
}
