/* SPDX-License-Identifier: MIT */
/*
 * socks5_udp.h - the header in front of each datagram of a SOCKS5 association (RFC 1928 7), the
 * same in both directions.
 */
#ifndef CV_WIRE_SOCKS5_UDP_H
#define CV_WIRE_SOCKS5_UDP_H

#include "base/address.h"
#include "base/buffer.h"
#include "wire/socks5_address.h"

#define CV_SOCKS5_UDP_HEADER_MAX (3 + CV_SOCKS5_ADDRESS_MAX)

/**
 * cv_socks5_udp_read() - What stands in front of the data of one datagram.
 * @ret_destination: where it goes, or where it came from
 * @ret_header_bytes: the data is all that follows, maybe nothing
 * Returns: 0; CV_PEER_DECODE if it is cut short or RSV is not 0; CV_PEER_FRAGMENT;
 * CV_PEER_ADDRESS. Source: SOCKS5 A6.
 */
int cv_socks5_udp_read(struct cv_span datagram, struct cv_destination *ret_destination,
		       size_t *ret_header_bytes);
/**
 * cv_socks5_udp_header() - The header for @destination. Returns its length; 0: @destination has no
 * form in SOCKS5.
 */
size_t cv_socks5_udp_header(const struct cv_destination *destination,
			    uint8_t ret_header[CV_SOCKS5_UDP_HEADER_MAX]);
/**
 * cv_socks5_udp_write() - The header for @destination, ending right before @data: that many bytes
 * in front of it must be there, CV_SOCKS5_UDP_HEADER_MAX are enough.
 * Returns its length; 0: @destination has no form in SOCKS5, nothing was written.
 */
size_t cv_socks5_udp_write(const struct cv_destination *destination, uint8_t *data);

#endif
