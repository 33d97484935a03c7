// SPDX-License-Identifier: MIT
/*
 * fuzz_vless.c - a header's verdict must not depend on how much of it has arrived: once decided it
 * stays, and a header that was accepted asked for more at every shorter length. What was read is
 * written and read again. The reader of either version sees every input.
 */
#include "wire/vless_v1.h"

#include "check.h"

#include <errno.h>

struct codec {
	int (*read)(struct cv_span bytes, struct cv_vless_request *ret_request, size_t *ret_len);
	int (*write)(const struct cv_vless_request *request, struct cv_buffer *out);
};

static const struct codec codecs[] = {
	{cv_vless_request_read, cv_vless_request_write},
	{cv_vless_v1_request_read, cv_vless_v1_request_write},
};

static void check_round_trip(const struct codec *codec, const struct cv_vless_request *request)
{
	struct cv_vless_request again;
	struct cv_buffer first, second;
	size_t len;

	if (request->flow == CV_FLOW_OTHER)
		return;
	cv_buffer_init(&first, CV_VLESS_REQUEST_MAX);
	cv_buffer_init(&second, CV_VLESS_REQUEST_MAX);
	check(codec->write(request, &first) == 0);
	check(codec->read(cv_buffer_span(&first), &again, &len) == 0);
	check(again.version == request->version);
	check(len == cv_buffer_len(&first));
	check(again.flow == request->flow && again.command == request->command);
	check(again.destination.kind == request->destination.kind);
	check(again.destination.port == request->destination.port);
	check(codec->write(&again, &second) == 0);
	check_same(cv_buffer_span(&first), cv_buffer_span(&second));
	cv_buffer_done(&first);
	cv_buffer_done(&second);
}

static void fuzz_request(const struct codec *codec, struct cv_span input)
{
	int verdict = -EAGAIN;
	size_t decided_len = 0;

	for (size_t have = 0; have <= input.len_bytes && have <= 600; have++) {
		struct cv_vless_request request;
		size_t len = 0;
		const int result = codec->read(cv_span_of(input.data, have), &request, &len);

		if (verdict == -EAGAIN) {
			verdict = result;
			decided_len = len;
			if (result == 0) {
				check(len == have && have <= CV_VLESS_REQUEST_MAX);
				check_round_trip(codec, &request);
			}
		}
		check(result == verdict && len == decided_len);
	}
	check(verdict != -EAGAIN || input.len_bytes < CV_VLESS_REQUEST_MAX);
}

static void fuzz_response(struct cv_span input)
{
	int verdict = -EAGAIN;

	for (size_t have = 0; have <= input.len_bytes && have <= 300; have++) {
		size_t len = 0;
		const int result = cv_vless_response_read(cv_span_of(input.data, have), &len);

		if (verdict == -EAGAIN)
			verdict = result;
		check(result == verdict);
		check(result != 0 || (len <= have && len == 2u + input.data[1]));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	for (size_t version = 0; version < 2; version++)
		fuzz_request(&codecs[version], cv_span_of(data, size));
	fuzz_response(cv_span_of(data, size));
	return 0;
}
