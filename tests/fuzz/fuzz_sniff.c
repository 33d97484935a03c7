// SPDX-License-Identifier: MIT
/*
 * fuzz_sniff.c - a stream that comes in pieces tells what it tells whole; first byte: their size.
 */
#include "wire/sniff.h"

#include "check.h"

#include <errno.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cv_sniff whole, pieces;
	size_t step, len = 0;
	int result, pieced;

	if (size < 2 || size > 70000)
		return 0;
	step = 1 + data[0];
	data++;
	size--;
	cv_sniff_init(&whole);
	cv_sniff_init(&pieces);
	result = cv_sniff_read(&whole, cv_span_of(data, size));
	do {
		len = len + step < size ? len + step : size;
		pieced = cv_sniff_read(&pieces, cv_span_of(data, len));
	} while (pieced == -EAGAIN && len < size);
	check(result == 0 || result == -EAGAIN);
	if (size < CV_SNIFF_MAX) {
		check(pieced == result);
		check(whole.protocol == pieces.protocol);
		check(strcmp(whole.name, pieces.name) == 0);
	}
	check(memchr(whole.name, '\0', sizeof(whole.name)));
	cv_sniff_done(&whole);
	cv_sniff_done(&pieces);
	return 0;
}
