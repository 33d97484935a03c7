/* SPDX-License-Identifier: MIT */
#ifndef CV_POLICY_PRIVATE_ADDRESS_H
#define CV_POLICY_PRIVATE_ADDRESS_H

#include "base/address.h"

/** cv_address_is_private() - In the set that proxied users may not reach by default (compat 7.1):
 * private, loopback, link-local, documentation, multicast and reserved ranges; v4-mapped too. */
bool cv_address_is_private(const struct cv_sockaddr *address);

#endif
