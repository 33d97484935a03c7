// SPDX-License-Identifier: MIT
/*
 * fuzz_reverse_control.c - any message of a portal; what is understood is written as what is
 * understood as the same.
 */
#include "wire/reverse_control.h"

#include "check.h"

#include <culvert/reason.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct cv_span input = cv_span_of(data, size);
	uint8_t message[CV_REVERSE_CONTROL_MAX];
	enum cv_reverse_state state, again;
	const int result = cv_reverse_control_read(input, &state);
	size_t len;

	check(result == 0 || result == CV_PEER_DECODE);
	if (result)
		return 0;
	check(state == CV_REVERSE_ACTIVE || state == CV_REVERSE_DRAIN);
	len = cv_reverse_control_write(state, input, message);
	check(len <= sizeof(message));
	check(cv_reverse_control_read(cv_span_of(message, len), &again) == 0);
	check(again == state);
	return 0;
}
