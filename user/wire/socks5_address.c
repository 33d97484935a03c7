// SPDX-License-Identifier: MIT
/*
 * socks5_address.c - addresses of SOCKS5: 01 IPv4, 03 name with a length byte, 04 IPv6; then the
 * port.
 */
#include "wire/socks5_address.h"

#include <culvert/reason.h>

#include <errno.h>
#include <string.h>

enum address_type { ADDRESS_IPV4 = 1, ADDRESS_DOMAIN = 3, ADDRESS_IPV6 = 4 };

/* Browsers put IP literals, also bracketed ones, where a name is expected. */
int cv_socks5_set_domain(struct cv_destination *destination, const uint8_t *bytes, size_t len_bytes)
{
	char text[CV_DOMAIN_MAX + 1];

	if (len_bytes == 0 || len_bytes > CV_DOMAIN_MAX || memchr(bytes, 0, len_bytes))
		return CV_PEER_ADDRESS;
	/* One dot at the end is the root and dropped; a second one would be left there. */
	if (len_bytes > 1 && memcmp(bytes + len_bytes - 2, "..", 2) == 0)
		return CV_PEER_ADDRESS;
	memcpy(text, bytes, len_bytes);
	text[len_bytes] = '\0';

	return cv_destination_set_text(destination, text, destination->port);
}

int cv_socks5_read_address(struct cv_reader *reader, struct cv_destination *ret_destination)
{
	struct cv_destination destination = {.kind = CV_ADDRESS_NONE};
	const uint8_t type = cv_read_u8(reader);
	size_t len_bytes = 0;

	if (type == ADDRESS_IPV4)
		len_bytes = 4;
	else if (type == ADDRESS_IPV6)
		len_bytes = 16;
	else if (type == ADDRESS_DOMAIN)
		len_bytes = cv_read_u8(reader);
	else
		return reader->failed ? -EAGAIN : CV_PEER_ADDRESS;

	const uint8_t *bytes = len_bytes ? cv_read_bytes(reader, len_bytes) : NULL;

	destination.port = cv_read_u16(reader);
	if (reader->failed)
		return -EAGAIN;
	if (type == ADDRESS_DOMAIN) {
		if (cv_socks5_set_domain(&destination, bytes, len_bytes))
			return CV_PEER_ADDRESS;
	} else {
		destination.kind = type == ADDRESS_IPV4 ? CV_ADDRESS_IPV4 : CV_ADDRESS_IPV6;
		memcpy(destination.ipv6, bytes, len_bytes);
	}
	cv_destination_normalize(&destination);
	*ret_destination = destination;
	return 0;
}

bool cv_socks5_has_address(const struct cv_destination *destination)
{
	size_t len_bytes;

	if (destination->kind != CV_ADDRESS_DOMAIN)
		return destination->kind != CV_ADDRESS_NONE;
	len_bytes = strlen(destination->domain);
	return len_bytes >= 1 && len_bytes <= CV_DOMAIN_MAX;
}

void cv_socks5_write_address(struct cv_writer *writer, const struct cv_destination *destination)
{
	if (destination->kind == CV_ADDRESS_IPV4) {
		cv_write_u8(writer, ADDRESS_IPV4);
		cv_write_bytes(writer, destination->ipv4, sizeof(destination->ipv4));
	} else if (destination->kind == CV_ADDRESS_IPV6) {
		cv_write_u8(writer, ADDRESS_IPV6);
		cv_write_bytes(writer, destination->ipv6, sizeof(destination->ipv6));
	} else {
		cv_write_u8(writer, ADDRESS_DOMAIN);
		cv_write_u8(writer, (uint8_t)strlen(destination->domain));
		cv_write_bytes(writer, destination->domain, strlen(destination->domain));
	}
	cv_write_u16(writer, destination->port);
}
