// SPDX-License-Identifier: MIT
/*
 * fuzz_socks4.c - a request ends where it ends: every shorter prefix needs more, or is refused for
 * the same reason as the whole.
 */
#include "wire/socks4.h"

#include "check.h"

#include <errno.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cv_socks4_request request = {0}, again;
	const int result = cv_socks4_request_read(cv_span_of(data, size), &request);
	const size_t len = result == 0 ? request.len_bytes : size;
	char text[CV_DESTINATION_TEXT];

	check(len <= size && (result != 0 || len >= 9));
	check(result != -EAGAIN || size < 8 + 2 * 256);
	for (size_t at = 0; at < len; at++) {
		const int early = cv_socks4_request_read(cv_span_of(data, at), &again);

		check(early == -EAGAIN || early == result);
		check(result != 0 || early == -EAGAIN);
	}
	if (result)
		return 0;
	check(request.destination.kind != CV_ADDRESS_NONE && request.destination.port > 0);
	cv_destination_format(&request.destination, text);
	check(cv_socks4_request_read(cv_span_of(data, len), &again) == 0);
	check(again.len_bytes == len && again.command == request.command);
	return 0;
}
