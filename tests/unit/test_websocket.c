// SPDX-License-Identifier: MIT
/*
 * test_websocket.c - frames: the examples of RFC 6455 5.7, every length's border, fragments with
 * control frames between them, bytes one at a time, and what must be refused.
 */
#include "wire/websocket.h"

#include <culvert/reason.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct heard { /* everything a reader made of its bytes */
	struct cv_websocket_reader reader;
	struct cv_buffer data;
	struct cv_websocket_control controls[8];
	size_t control_count;
	int result;
};

static void start(struct heard *heard, bool is_server)
{
	memset(heard, 0, sizeof(*heard));
	heard->reader.expects_mask = is_server;
	cv_buffer_init(&heard->data, 1 << 21);
}

static void stop(struct heard *heard)
{
	cv_buffer_done(&heard->data);
}

/* Reads while something is taken; returns how many bytes were. */
static size_t hear(struct heard *heard, const void *bytes, size_t len)
{
	struct cv_span in = cv_span_of(bytes, len);

	heard->result = 0;
	while (in.len_bytes > 0 && heard->result == 0) {
		const size_t before = in.len_bytes;
		struct cv_websocket_control control;

		heard->result = cv_websocket_read(&heard->reader, &in, &heard->data, &control);
		if (heard->result == 0)
			assert_true(in.len_bytes < before);
		else
			assert_true(in.len_bytes == before || heard->result != -EAGAIN);
		if (heard->result == 0 && control.opcode != CV_WEBSOCKET_CONTINUATION)
			heard->controls[heard->control_count++] = control;
	}
	return len - in.len_bytes;
}

static void expect_data(struct heard *heard, const void *bytes, size_t len)
{
	assert_int_equal(cv_buffer_len(&heard->data), len);
	if (len)
		assert_memory_equal(cv_buffer_bytes(&heard->data), bytes, len);
}

/* ---- examples ----------------------------------------------------------------------------- */

static void examples_of_the_rfc(void **state)
{
	static const uint8_t plain[] = {0x81, 5, 'H', 'e', 'l', 'l', 'o'};
	static const uint8_t masked[] = {0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d,
					 0x7f, 0x9f, 0x4d, 0x51, 0x58};
	static const uint8_t fragments[] = {0x01, 3, 'H', 'e', 'l', 0x80, 2, 'l', 'o'};
	static const uint8_t ping[] = {0x89, 5, 'H', 'e', 'l', 'l', 'o'};
	static const uint8_t pong[] = {0x8a, 0x85, 0x37, 0xfa, 0x21, 0x3d,
				       0x7f, 0x9f, 0x4d, 0x51, 0x58};
	struct heard heard;

	(void)state;
	start(&heard, false);
	assert_int_equal(hear(&heard, plain, sizeof(plain)), sizeof(plain));
	expect_data(&heard, "Hello", 5);
	assert_int_equal(hear(&heard, fragments, sizeof(fragments)), sizeof(fragments));
	expect_data(&heard, "HelloHello", 10);
	assert_true(cv_websocket_is_between(&heard.reader));
	assert_int_equal(hear(&heard, ping, sizeof(ping)), sizeof(ping));
	assert_int_equal(heard.control_count, 1);
	assert_int_equal(heard.controls[0].opcode, CV_WEBSOCKET_PING);
	assert_int_equal(heard.controls[0].len_bytes, 5);
	assert_memory_equal(heard.controls[0].payload, "Hello", 5);
	stop(&heard);
	start(&heard, true);
	assert_int_equal(hear(&heard, masked, sizeof(masked)), sizeof(masked));
	expect_data(&heard, "Hello", 5);
	assert_int_equal(hear(&heard, pong, sizeof(pong)), sizeof(pong));
	assert_int_equal(heard.controls[0].opcode, CV_WEBSOCKET_PONG);
	assert_memory_equal(heard.controls[0].payload, "Hello", 5);
	stop(&heard);
}

/* ---- lengths, masks ----------------------------------------------------------------------- */

static size_t write_frame(uint8_t *to, enum cv_websocket_opcode opcode, const uint8_t *payload,
			  size_t len, const uint8_t *mask)
{
	const size_t head_len = cv_websocket_head_write(opcode, len, mask, to);

	if (len && mask)
		cv_websocket_mask(to + head_len, payload, len, mask, 0);
	else if (len)
		memcpy(to + head_len, payload, len);
	return head_len + len;
}

static void each_length_of_both_sides(void **state)
{
	static const size_t lengths[] = {0, 1, 7, 125, 126, 127, 65535, 65536, 70000, 200000};
	static const size_t heads[] = {2, 2, 2, 2, 4, 4, 4, 10, 10, 10};
	static const uint8_t mask[4] = {0x9a, 0x01, 0xff, 0x00};
	uint8_t *payload = malloc(200000), *frame = malloc(200000 + CV_WEBSOCKET_HEAD_MAX);

	(void)state;
	for (size_t i = 0; i < 200000; i++)
		payload[i] = (uint8_t)(i * 31 + (i >> 8));
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		for (int is_server = 0; is_server <= 1; is_server++) {
			const size_t len = write_frame(frame, CV_WEBSOCKET_BINARY, payload,
						       lengths[i], is_server ? mask : NULL);
			struct heard heard;

			assert_int_equal(len, heads[i] + (is_server ? 4 : 0) + lengths[i]);
			start(&heard, is_server);
			assert_int_equal(hear(&heard, frame, len), len);
			expect_data(&heard, payload, lengths[i]);
			assert_true(cv_websocket_is_between(&heard.reader));
			stop(&heard);
		}
	}
	free(payload);
	free(frame);
}

static void masks_begin_anywhere(void **state)
{
	static const uint8_t mask[4] = {1, 2, 4, 8};
	uint8_t from[64], whole[64], parts[64];

	(void)state;
	for (size_t i = 0; i < sizeof(from); i++)
		from[i] = (uint8_t)(i * 7);
	cv_websocket_mask(whole, from, sizeof(from), mask, 0);
	for (size_t i = 0; i < sizeof(from); i++)
		assert_int_equal(whole[i], from[i] ^ mask[i % 4]);
	for (size_t cut = 0; cut <= sizeof(from); cut++) {
		cv_websocket_mask(parts, from, cut, mask, 0);
		cv_websocket_mask(parts + cut, from + cut, sizeof(from) - cut, mask,
				  (unsigned)cut);
		assert_memory_equal(parts, whole, sizeof(whole));
	}
	cv_websocket_mask(whole, whole, sizeof(whole), mask, 0); /* in place, and back */
	assert_memory_equal(whole, from, sizeof(from));
}

/* ---- pieces ------------------------------------------------------------------------------- */

/* Fragments with a ping, an empty fragment and a pong between; a text frame; a close. */
static size_t conversation(uint8_t *to)
{
	static const uint8_t mask[4] = {0x11, 0x22, 0x33, 0x44};
	size_t len = 0, at;

	at = len;
	len += write_frame(to + len, CV_WEBSOCKET_BINARY, (const uint8_t *)"one ", 4, mask);
	to[at] &= 0x7f;
	len += write_frame(to + len, CV_WEBSOCKET_PING, (const uint8_t *)"p", 1, mask);
	at = len;
	len += write_frame(to + len, CV_WEBSOCKET_CONTINUATION, NULL, 0, mask);
	to[at] &= 0x7f;
	len += write_frame(to + len, CV_WEBSOCKET_PONG, NULL, 0, mask);
	len += write_frame(to + len, CV_WEBSOCKET_CONTINUATION, (const uint8_t *)"two ", 4, mask);
	len += write_frame(to + len, CV_WEBSOCKET_TEXT, (const uint8_t *)"three", 5, mask);
	len += write_frame(to + len, CV_WEBSOCKET_CLOSE, (const uint8_t *)"\x03\xe8" "bye", 5,
			   mask);
	return len;
}

static void expect_conversation(struct heard *heard)
{
	expect_data(heard, "one two three", 13);
	assert_int_equal(heard->control_count, 3);
	assert_int_equal(heard->controls[0].opcode, CV_WEBSOCKET_PING);
	assert_memory_equal(heard->controls[0].payload, "p", 1);
	assert_int_equal(heard->controls[1].opcode, CV_WEBSOCKET_PONG);
	assert_int_equal(heard->controls[2].opcode, CV_WEBSOCKET_CLOSE);
	assert_int_equal(cv_websocket_close_code(&heard->controls[2]), 1000);
	assert_true(cv_websocket_is_between(&heard->reader));
}

static void in_pieces_of_every_size(void **state)
{
	uint8_t bytes[256];
	const size_t len = conversation(bytes);

	(void)state;
	for (size_t piece = 1; piece <= len; piece++) {
		struct heard heard;
		size_t taken = 0, there = 0;

		start(&heard, true);
		while (there < len) {
			there = there + piece < len ? there + piece : len;
			taken += hear(&heard, bytes + taken, there - taken);
			assert_true(heard.result == 0 || heard.result == -EAGAIN);
		}
		assert_int_equal(taken, len);
		expect_conversation(&heard);
		stop(&heard);
	}
}

static void a_payload_needs_no_memory_of_its_length(void **state)
{
	static const uint8_t head[] = {0x82, 127, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
	struct heard heard;

	(void)state;
	start(&heard, false);
	assert_int_equal(hear(&heard, head, sizeof(head)), sizeof(head));
	assert_int_equal(hear(&heard, "abc", 3), 3);
	expect_data(&heard, "abc", 3);
	assert_false(cv_websocket_is_between(&heard.reader));
	assert_true(heard.data.size_bytes < 65536);
	stop(&heard);
}

static void a_full_buffer_is_told(void **state)
{
	struct cv_websocket_reader reader = {0};
	struct cv_websocket_control control;
	struct cv_span in = cv_span_of("\x82\x05" "abcde", 7);
	struct cv_buffer out;

	(void)state;
	cv_buffer_init(&out, 3);
	assert_int_equal(cv_websocket_read(&reader, &in, &out, &control), 0);
	assert_int_equal(in.len_bytes, 2);
	assert_int_equal(cv_websocket_read(&reader, &in, &out, &control), CV_INTERNAL_RESOURCE);
	cv_buffer_consume(&out, 3);
	assert_int_equal(cv_websocket_read(&reader, &in, &out, &control), 0);
	assert_memory_equal(cv_buffer_bytes(&out), "de", 2);
	cv_buffer_done(&out);
}

/* ---- what must not be --------------------------------------------------------------------- */

static void breaches_are_refused(void **state)
{
	static const struct {
		const char *why;
		bool is_server;
		uint8_t bytes[12];
		size_t len;
	} cases[] = {
		{"RSV1", false, {0xc2, 0}, 2},
		{"RSV2", false, {0xa2, 0}, 2},
		{"RSV3", false, {0x92, 0}, 2},
		{"masked by a server", false, {0x82, 0x80}, 2},
		{"not masked by a client", true, {0x82, 0}, 2},
		{"opcode 3", false, {0x83, 0}, 2},
		{"opcode 7", false, {0x87, 0}, 2},
		{"opcode 11", false, {0x8b, 0}, 2},
		{"opcode 15", false, {0x8f, 0}, 2},
		{"ping in fragments", false, {0x09, 0}, 2},
		{"close in fragments", false, {0x08, 0}, 2},
		{"ping of 126 bytes", false, {0x89, 126}, 2},
		{"continuation of nothing", false, {0x80, 0}, 2},
		{"length above 2^63", false, {0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0}, 10},
		{"data inside a message", false, {0x02, 0, 0x82, 0}, 4},
		{"text inside a message", false, {0x01, 0, 0x81, 0}, 4},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct heard heard;

		start(&heard, cases[i].is_server);
		(void)hear(&heard, cases[i].bytes, cases[i].len);
		if (heard.result != CV_PEER_DECODE)
			fail_msg("%s: %d", cases[i].why, heard.result);
		stop(&heard);
	}
}

static void codes_of_close(void **state)
{
	static const struct {
		size_t len;
		unsigned code, expected;
	} cases[] = {
		{0, 0, CV_WEBSOCKET_NO_CODE}, {1, 0, 1002},   {2, 999, 1002},  {2, 1000, 1000},
		{2, 1001, 1001},	      {2, 1004, 1002}, {2, 1005, 1002}, {2, 1006, 1002},
		{2, 1007, 1007},	      {2, 1014, 1014}, {2, 1015, 1002}, {2, 1016, 1002},
		{2, 2999, 1002},	      {2, 3000, 3000}, {2, 4999, 4999}, {2, 5000, 1002},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct cv_websocket_control control = {
			.opcode = CV_WEBSOCKET_CLOSE,
			.len_bytes = cases[i].len,
			.payload = {(uint8_t)(cases[i].code >> 8), (uint8_t)cases[i].code},
		};

		assert_int_equal(cv_websocket_close_code(&control), cases[i].expected);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(examples_of_the_rfc),
		cmocka_unit_test(each_length_of_both_sides),
		cmocka_unit_test(masks_begin_anywhere),
		cmocka_unit_test(in_pieces_of_every_size),
		cmocka_unit_test(a_payload_needs_no_memory_of_its_length),
		cmocka_unit_test(a_full_buffer_is_told),
		cmocka_unit_test(breaches_are_refused),
		cmocka_unit_test(codes_of_close),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
