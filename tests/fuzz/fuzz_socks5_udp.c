// SPDX-License-Identifier: MIT
/*
 * fuzz_socks5_udp.c - what is read of a datagram's header, written and read again, is the same; the
 * same bytes from an upstream, cut anywhere, are never read past their end.
 */
#include "wire/socks5_udp.h"

#include "check.h"

#include <culvert/reason.h>

static void check_written(const struct cv_destination *destination)
{
	uint8_t memory[CV_SOCKS5_UDP_HEADER_MAX];
	uint8_t *const data = memory + sizeof(memory);
	const size_t written = cv_socks5_udp_write(destination, data);
	char texts[2][CV_DESTINATION_TEXT];
	struct cv_destination again;
	size_t header_bytes = 0;

	check(written > 0 && written <= sizeof(memory));
	check(cv_socks5_udp_read(cv_span_of(data - written, written), &again, &header_bytes) == 0);
	check(header_bytes == written && again.kind == destination->kind);
	cv_destination_format(destination, texts[0]);
	cv_destination_format(&again, texts[1]);
	check(strcmp(texts[0], texts[1]) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cv_destination destination;
	size_t header_bytes = 0;
	/* memory of its own: a read behind its end is found */
	uint8_t *copy = malloc(size ? size : 1);
	int result;

	check(copy != NULL);
	if (size)
		memcpy(copy, data, size);
	result = cv_socks5_udp_read(cv_span_of(copy, size), &destination, &header_bytes);
	check(result == 0 || result == CV_PEER_DECODE || result == CV_PEER_FRAGMENT ||
	      result == CV_PEER_ADDRESS);
	if (result == 0) {
		check(header_bytes <= size && destination.kind != CV_ADDRESS_NONE);
		check_written(&destination);
	}
	free(copy);
	return 0;
}
