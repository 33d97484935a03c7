// SPDX-License-Identifier: MIT
/*
 * socks5_udp.c - RSV 00 00, FRAG, address and port, data.
 *
 * Fragments are told apart from what is malformed, and are nobody's: no program is known that sends
 * them, and putting them together would only be a way to fill memory.
 */
#include "wire/socks5_udp.h"

#include <culvert/reason.h>

#include <errno.h>
#include <string.h>

int cv_socks5_udp_read(struct cv_span datagram, struct cv_destination *ret_destination,
		       size_t *ret_header_bytes)
{
	struct cv_reader reader = cv_reader_of(datagram.data, datagram.len_bytes);
	const uint16_t reserved = cv_read_u16(&reader);
	const uint8_t fragment = cv_read_u8(&reader);
	int result;

	if (reader.failed || reserved != 0)
		return CV_PEER_DECODE;
	if (fragment != 0)
		return CV_PEER_FRAGMENT;
	result = cv_socks5_read_address(&reader, ret_destination);
	if (result)
		return result == -EAGAIN ? CV_PEER_DECODE : result;
	*ret_header_bytes = datagram.len_bytes - cv_reader_left(&reader);
	return 0;
}

size_t cv_socks5_udp_header(const struct cv_destination *destination,
			    uint8_t ret_header[CV_SOCKS5_UDP_HEADER_MAX])
{
	struct cv_writer writer = cv_writer_of(ret_header, CV_SOCKS5_UDP_HEADER_MAX);

	if (!cv_socks5_has_address(destination))
		return 0;
	cv_write_zeros(&writer, 3);
	cv_socks5_write_address(&writer, destination);
	return writer.failed ? 0 : cv_writer_len(&writer);
}

size_t cv_socks5_udp_write(const struct cv_destination *destination, uint8_t *data)
{
	uint8_t header[CV_SOCKS5_UDP_HEADER_MAX];
	const size_t header_bytes = cv_socks5_udp_header(destination, header);

	if (header_bytes)
		memcpy(data - header_bytes, header, header_bytes);
	return header_bytes;
}
