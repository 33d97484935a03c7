/* SPDX-License-Identifier: MIT */
/*
 * vless_address.h - an address as VLESS, VMess and Mux.Cool write it: behind a port, type first.
 *
 *   01 | IPv4 4      02 | length 1 | name      03 | IPv6 16
 */
#ifndef CV_WIRE_VLESS_ADDRESS_H
#define CV_WIRE_VLESS_ADDRESS_H

#include "base/address.h"
#include "base/cursor.h"

#define CV_VLESS_ADDRESS_MAX (1 + 1 + CV_DOMAIN_MAX)

/**
 * cv_vless_address_read() - Type and address; @port was read before.
 * Returns: 0; -EAGAIN if it is cut short; CV_PEER_ADDRESS. Source: VLESS 1.
 */
int cv_vless_address_read(struct cv_reader *reader, uint16_t port,
			  struct cv_destination *ret_destination);
/** cv_vless_address_write() - Type and address. Returns 0 or CV_INTERNAL_STATE: there is none. What
 * does not fit makes @writer fail. */
int cv_vless_address_write(const struct cv_destination *destination, struct cv_writer *writer);

#endif
