// SPDX-License-Identifier: MIT
/*
 * private_address.c - addresses behind which the operator's own network begins.
 */
#include "policy/private_address.h"

#include <arpa/inet.h>
#include <string.h>

static const struct {
	uint32_t network;
	uint8_t prefix_bits;
} private_v4[] = {
	{0x00000000, 8},  {0x0a000000, 8},  {0x64400000, 10}, {0x7f000000, 8},	{0xa9fe0000, 16},
	{0xac100000, 12}, {0xc0000000, 24}, {0xc0000200, 24}, {0xc0586300, 24}, {0xc0a80000, 16},
	{0xc6120000, 15}, {0xc6336400, 24}, {0xcb007100, 24}, {0xe0000000, 3},
};

static bool is_private_v4(uint32_t address)
{
	for (size_t i = 0; i < sizeof(private_v4) / sizeof(private_v4[0]); i++) {
		uint32_t mask = 0xffffffffu << (32 - private_v4[i].prefix_bits);

		if ((address & mask) == private_v4[i].network)
			return true;
	}
	return false;
}

static bool is_private_v6(const uint8_t address[16])
{
	static const uint8_t zero[16];

	if (memcmp(address, zero, 15) == 0 && address[15] <= 1)
		return true; /* ::/127 */
	return (address[0] & 0xfe) == 0xfc ||			  /* fc00::/7 */
	       (address[0] == 0xfe && (address[1] & 0xc0) == 0x80) || /* fe80::/10 */
	       address[0] == 0xff;				  /* ff00::/8 */
}

bool cv_address_is_private(const struct cv_sockaddr *address)
{
	struct cv_destination destination;
	uint32_t v4;

	if (!cv_sockaddr_to_destination(address, &destination))
		return false; /* unix sockets are named by the operator only */
	if (destination.kind == CV_ADDRESS_IPV6)
		return is_private_v6(destination.ipv6);
	memcpy(&v4, destination.ipv4, sizeof(v4));
	return is_private_v4(ntohl(v4));
}
