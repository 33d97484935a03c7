// SPDX-License-Identifier: MIT
/*
 * fuzz_http_peek.c - a path that was found starts with '/', holds no separator and is followed by
 * one.
 */
#include "wire/http_peek.h"

#include "check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct cv_span path = cv_http_peek_path(cv_span_of(data, size));

	if (path.len_bytes == 0)
		return 0;
	check(path.data >= data + 4 && path.data <= data + 8);
	check(path.data + path.len_bytes < data + size);
	check(path.data + path.len_bytes < data + 64);
	check(path.data[0] == '/' && path.data[-1] == ' ');
	check(path.data[path.len_bytes] == ' ' || path.data[path.len_bytes] == '?');
	for (size_t at = 0; at < path.len_bytes; at++)
		check(!strchr("? \r\n", path.data[at]) || path.data[at] == '\0');
	return 0;
}
