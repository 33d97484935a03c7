/* SPDX-License-Identifier: MIT */
/*
 * socks5_address.h - ATYP, address and port as all of SOCKS5 writes them (RFC 1928 5).
 */
#ifndef CV_WIRE_SOCKS5_ADDRESS_H
#define CV_WIRE_SOCKS5_ADDRESS_H

#include "base/address.h"
#include "base/cursor.h"

#define CV_SOCKS5_ADDRESS_MAX (1 + 1 + CV_DOMAIN_MAX + 2)

/** cv_socks5_set_domain() - A name of @len_bytes as clients write it, also an IP literal; the port
 * stays. Returns 0 or CV_PEER_ADDRESS. Source: SOCKS5 A7. */
int cv_socks5_set_domain(struct cv_destination *destination, const uint8_t *bytes,
			 size_t len_bytes);
/** cv_socks5_read_address() - ATYP, address, port, normalised. Returns 0; -EAGAIN if cut short;
 * CV_PEER_ADDRESS: unknown type, or a name that is none. */
int cv_socks5_read_address(struct cv_reader *reader, struct cv_destination *ret_destination);
/** cv_socks5_has_address() - Can @destination be written: an IP or a name of 1 to 255 bytes? */
bool cv_socks5_has_address(const struct cv_destination *destination);
/** cv_socks5_write_address() - Of what cv_socks5_has_address(). */
void cv_socks5_write_address(struct cv_writer *writer, const struct cv_destination *destination);

#endif
