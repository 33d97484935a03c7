/* SPDX-License-Identifier: MIT */
/*
 * private_address.h - addresses that are not the public Internet.
 */
#ifndef CV_POLICY_PRIVATE_ADDRESS_H
#define CV_POLICY_PRIVATE_ADDRESS_H

#include "base/address.h"

#include <stddef.h>

/* An address block; IPv4 in the first 4 bytes. */
struct cv_cidr {
	bool is_ipv6;
	uint8_t prefix_bits;
	uint8_t bytes[16];
};

/** cv_private_blocks() - The blocks that count as private. Source: compat 7.1. */
const struct cv_cidr *cv_private_blocks(size_t *ret_count);

/** cv_cidr_contains() - @address: 4 or 16 bytes as @cidr is. */
bool cv_cidr_contains(const struct cv_cidr *cidr, const uint8_t *address);

/**
 * cv_address_is_private() - Is this no address of the public Internet?
 * An IPv6 address that is mapped from IPv4, translated to it (NAT64) or tunnelled in it (6to4) is
 * judged as that; whatever is no IP address (unix) is private.
 */
bool cv_address_is_private(const struct cv_sockaddr *address);

#endif
