/* SPDX-License-Identifier: MIT */
/*
 * check.h - what fuzz targets share: a check that stays in every build, and input taken piece by
 * piece.
 */
#ifndef CV_TESTS_FUZZ_CHECK_H
#define CV_TESTS_FUZZ_CHECK_H

#include "base/buffer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* In every build; says what does not hold. */
#define check(holds) ((holds) ? (void)0 : check_failed(__FILE__, __LINE__, #holds))

static inline _Noreturn void check_failed(const char *file, int line, const char *what)
{
	fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, what);
	abort();
}

static inline void check_same(struct cv_span left, struct cv_span right)
{
	check(left.len_bytes == right.len_bytes);
	check(left.len_bytes == 0 || memcmp(left.data, right.data, left.len_bytes) == 0);
}

/* Zero when the input is used up. */
static inline uint8_t take_u8(struct cv_span *input)
{
	const uint8_t value = input->len_bytes ? input->data[0] : 0;

	cv_span_skip(input, 1);
	return value;
}

static inline uint16_t take_u16(struct cv_span *input)
{
	const uint8_t high = take_u8(input);

	return (uint16_t)(high << 8 | take_u8(input));
}

static inline struct cv_span take_span(struct cv_span *input, size_t len_bytes)
{
	if (len_bytes > input->len_bytes)
		len_bytes = input->len_bytes;

	const struct cv_span taken = cv_span_of(input->data, len_bytes);

	cv_span_skip(input, len_bytes);
	return taken;
}

#endif
