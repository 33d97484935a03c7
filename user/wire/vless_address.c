// SPDX-License-Identifier: MIT
/*
 * vless_address.c - type 1 and 4 bytes, type 2, a length and a name, or type 3 and 16 bytes.
 *
 * A name that is an IP literal becomes one, and IPv4 in IPv6 becomes IPv4: rules see one form. What
 * is longer than a name may be, or has other characters in it, is no address at all.
 */
#include "wire/vless_address.h"

#include <culvert/reason.h>

#include <errno.h>
#include <string.h>

enum address_type { ADDRESS_IPV4 = 1, ADDRESS_DOMAIN = 2, ADDRESS_IPV6 = 3 };

/* VLESS 1: only what starts like one is tried as an IP literal. */
static int set_domain(struct cv_destination *destination, const uint8_t *bytes, size_t len_bytes,
		      uint16_t port)
{
	char text[CV_DOMAIN_MAX + 1];

	if (len_bytes == 0 || memchr(bytes, 0, len_bytes))
		return CV_PEER_ADDRESS;
	/* One dot at the end is the root and dropped; a second one would be left there. */
	if (len_bytes > 1 && memcmp(bytes + len_bytes - 2, "..", 2) == 0)
		return CV_PEER_ADDRESS;
	memcpy(text, bytes, len_bytes);
	text[len_bytes] = '\0';

	const bool maybe_ip = text[0] == '[' || (text[0] >= '0' && text[0] <= '9');
	const int error = cv_destination_set_text(destination, text, port);

	if (error)
		return error;
	return maybe_ip || destination->kind == CV_ADDRESS_DOMAIN ? 0 : CV_PEER_ADDRESS;
}

int cv_vless_address_read(struct cv_reader *reader, uint16_t port,
			  struct cv_destination *ret_destination)
{
	struct cv_destination destination = {.port = port};
	const uint8_t type = cv_read_u8(reader);
	const uint8_t len_bytes = type == ADDRESS_IPV4	 ? 4 :
				  type == ADDRESS_IPV6	 ? 16 :
				  type == ADDRESS_DOMAIN ? cv_read_u8(reader) :
							   0;

	if (reader->failed)
		return -EAGAIN;
	if (len_bytes == 0) /* unknown type or a name without bytes */
		return CV_PEER_ADDRESS;

	const uint8_t *bytes = cv_read_bytes(reader, len_bytes);

	if (!bytes)
		return -EAGAIN;
	if (type == ADDRESS_DOMAIN) {
		const int error = set_domain(&destination, bytes, len_bytes, port);

		if (error)
			return error;
	} else {
		destination.kind = type == ADDRESS_IPV4 ? CV_ADDRESS_IPV4 : CV_ADDRESS_IPV6;
		memcpy(destination.ipv6, bytes, len_bytes);
	}
	cv_destination_normalize(&destination);
	*ret_destination = destination;
	return 0;
}

int cv_vless_address_write(const struct cv_destination *destination, struct cv_writer *writer)
{
	size_t mark;

	switch (destination->kind) {
	case CV_ADDRESS_IPV4:
		cv_write_u8(writer, ADDRESS_IPV4);
		cv_write_bytes(writer, destination->ipv4, sizeof(destination->ipv4));
		return 0;
	case CV_ADDRESS_IPV6:
		cv_write_u8(writer, ADDRESS_IPV6);
		cv_write_bytes(writer, destination->ipv6, sizeof(destination->ipv6));
		return 0;
	case CV_ADDRESS_DOMAIN:
		if (destination->domain[0] == '\0')
			return CV_INTERNAL_STATE;
		cv_write_u8(writer, ADDRESS_DOMAIN);
		mark = cv_write_open8(writer);
		cv_write_bytes(writer, destination->domain, strlen(destination->domain));
		cv_write_close8(writer, mark);
		return 0;
	case CV_ADDRESS_NONE:
		break;
	}
	return CV_INTERNAL_STATE;
}
