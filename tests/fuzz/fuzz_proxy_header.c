// SPDX-License-Identifier: MIT
/*
 * fuzz_proxy_header.c - PROXY headers of anybody: what is read does not depend on how it comes in,
 * and what was read and written again reads the same.
 */
#include "wire/proxy_protocol.h"

#include "check.h"

#include <culvert/reason.h>

#include <errno.h>

static void check_again(const struct cv_sockaddr ends[2])
{
	for (int version = 1; version <= 2 && ends[0].len_bytes; version++) {
		struct cv_destination before, after;
		struct cv_sockaddr again[2];
		struct cv_buffer out;
		size_t used;

		cv_buffer_init(&out, 256);
		check(cv_proxy_protocol_write(version, &ends[0], &ends[1], &out) == 0);
		check(cv_proxy_protocol_read(cv_buffer_span(&out), &used, &again[0], &again[1]) ==
		      0);
		check(used == cv_buffer_len(&out));
		check(cv_sockaddr_to_destination(&ends[0], &before) &&
		      cv_sockaddr_to_destination(&again[0], &after));
		check(before.kind == after.kind && before.port == after.port);
		cv_buffer_done(&out);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cv_sockaddr ends[2], unused[2];
	size_t used = 0, part_used;
	const int result =
		cv_proxy_protocol_read(cv_span_of(data, size), &used, &ends[0], &ends[1]);

	if (result == 0) {
		check(used >= 15 && used <= size && used <= CV_PROXY_HEADER_MAX);
		check((ends[0].len_bytes == 0) == (ends[1].len_bytes == 0));
		check_again(ends);
	} else {
		check(result == -EAGAIN || result == CV_PEER_DECODE || result == CV_PEER_TOO_LONG);
	}
	/* a part of it is never judged otherwise */
	for (size_t part = 0; part < size && part < 300; part++) {
		const int early = cv_proxy_protocol_read(cv_span_of(data, part), &part_used,
							 &unused[0], &unused[1]);

		if (early == 0)
			check(result == 0 && part_used == used && part >= used);
		else if (early != -EAGAIN)
			check(early == result);
	}
	return 0;
}
