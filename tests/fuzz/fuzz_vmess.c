// SPDX-License-Identifier: MIT
/*
 * fuzz_vmess.c - VMess headers in clear: what reads is written as something that reads the same.
 *
 *   input:  0 -> instruction; else -> response with that mark
 *
 * The checksum is put right, as else nothing would get past it.
 */
#include "wire/vmess.h"

#include "check.h"

#include <culvert/reason.h>

static void put_sum(uint8_t *bytes, size_t len)
{
	uint32_t hash = 2166136261u;

	for (size_t i = 0; i + 4 < len; i++)
		hash = (hash ^ bytes[i]) * 16777619u;
	for (size_t i = 0; len >= 4 && i < 4; i++)
		bytes[len - 4 + i] = (uint8_t)(hash >> 8 * (3 - i));
}

static void check_instruction(struct cv_span bytes)
{
	struct cv_vmess_request request, again;
	uint8_t padding[CV_VMESS_PADDING_MAX] = {0};
	struct cv_buffer out;

	if (cv_vmess_request_read(bytes, &request) != 0)
		return;
	cv_buffer_init(&out, 1024);
	check(cv_vmess_request_write(&request, padding, bytes.data[35] >> 4, &out) == 0);
	check(cv_vmess_request_read(cv_buffer_span(&out), &again) == 0);
	check(request.command == again.command && request.cipher == again.cipher &&
	      request.options == again.options &&
	      request.response_mark == again.response_mark);
	check(request.destination.kind == again.destination.kind &&
	      request.destination.port == again.destination.port);
	check(memcmp(request.body_key, again.body_key, sizeof(request.body_key)) == 0);
	cv_buffer_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cv_span input = cv_span_of(data, size);
	const uint8_t mode = take_u8(&input);
	uint8_t *copy;

	if (mode) {
		const int result = cv_vmess_response_read(input, mode);

		check(result == 0 || result == CV_UPSTREAM_DECODE);
		return 0;
	}
	copy = malloc(input.len_bytes + 1);
	if (!copy)
		return 0;
	if (input.len_bytes)
		memcpy(copy, input.data, input.len_bytes);
	put_sum(copy, input.len_bytes);
	check_instruction(cv_span_of(copy, input.len_bytes));
	free(copy);
	return 0;
}
