// SPDX-License-Identifier: MIT
/* test_buffer.c - growth, sliding and the limit of the byte queue. */
#include "base/buffer.h"

#include <culvert/reason.h>

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void test_starts_without_memory(void **state)
{
	struct cv_buffer buffer;

	(void)state;
	cv_buffer_init(&buffer, 100);
	assert_null(buffer.data);
	assert_null(cv_buffer_bytes(&buffer));
	assert_int_equal(cv_buffer_room(&buffer), 100);
	assert_int_equal(cv_buffer_append(&buffer, NULL, 0), 0);
	assert_null(buffer.data);
	assert_int_equal(cv_buffer_span(&buffer).len_bytes, 0);
	cv_buffer_consume(&buffer, 0);
	cv_buffer_done(&buffer);
}

static void test_grows_in_powers_of_two(void **state)
{
	struct cv_buffer buffer;
	uint8_t *space = NULL;

	(void)state;
	cv_buffer_init(&buffer, 5000);
	assert_int_equal(cv_buffer_append(&buffer, "a", 1), 0);
	assert_int_equal(buffer.size_bytes, 512);
	assert_int_equal(cv_buffer_reserve(&buffer, 512, &space), 0);
	assert_int_equal(buffer.size_bytes, 1024);
	assert_ptr_equal(space, buffer.data + 1);
	assert_int_equal(cv_buffer_reserve(&buffer, 4094, &space), 0);
	assert_int_equal(buffer.size_bytes, 4096);
	assert_int_equal(cv_buffer_reserve(&buffer, 4999, &space), 0);
	assert_int_equal(buffer.size_bytes, 5000);
	assert_int_equal(buffer.data[0], 'a');
	cv_buffer_done(&buffer);
	assert_null(buffer.data);
	assert_int_equal(buffer.limit_bytes, 5000);
}

static void test_limit_below_first_size(void **state)
{
	struct cv_buffer buffer;
	uint8_t bytes[101] = {0};

	(void)state;
	cv_buffer_init(&buffer, 100);
	assert_int_equal(cv_buffer_append(&buffer, bytes, 101), CV_PEER_TOO_LONG);
	assert_int_equal(cv_buffer_len(&buffer), 0);
	assert_int_equal(cv_buffer_append(&buffer, bytes, 100), 0);
	assert_int_equal(buffer.size_bytes, 100);
	assert_int_equal(cv_buffer_append(&buffer, bytes, 1), CV_PEER_TOO_LONG);
	cv_buffer_consume(&buffer, 1);
	assert_int_equal(cv_buffer_room(&buffer), 1);
	assert_int_equal(cv_buffer_append(&buffer, bytes, 1), 0);
	assert_int_equal(buffer.size_bytes, 100);
	cv_buffer_done(&buffer);
}

static void test_limit_does_not_overflow(void **state)
{
	struct cv_buffer buffer;
	uint8_t *space = NULL;

	(void)state;
	cv_buffer_init(&buffer, 1000);
	assert_int_equal(cv_buffer_append(&buffer, "abc", 3), 0);
	assert_int_equal(cv_buffer_reserve(&buffer, SIZE_MAX, &space), CV_PEER_TOO_LONG);
	assert_int_equal(cv_buffer_reserve(&buffer, SIZE_MAX - 2, &space), CV_PEER_TOO_LONG);
	assert_null(space);
	cv_buffer_done(&buffer);
}

static void test_slides_before_it_grows(void **state)
{
	struct cv_buffer buffer;
	uint8_t bytes[512];

	(void)state;
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)i;
	cv_buffer_init(&buffer, 4096);
	assert_int_equal(cv_buffer_append(&buffer, bytes, 512), 0);
	cv_buffer_consume(&buffer, 500);
	assert_int_equal(cv_buffer_append(&buffer, bytes, 500), 0);
	assert_int_equal(buffer.size_bytes, 512);
	assert_memory_equal(cv_buffer_bytes(&buffer), bytes + 500, 12);
	assert_memory_equal(cv_buffer_bytes(&buffer) + 12, bytes, 500);
	cv_buffer_done(&buffer);
}

static void test_queue_keeps_order(void **state)
{
	struct cv_buffer buffer;
	uint8_t next_in = 0;
	uint8_t next_out = 0;

	(void)state;
	cv_buffer_init(&buffer, 3000);
	for (size_t round = 0; round < 2000; round++) {
		const size_t put = round * 7 % 97;
		const size_t take = round * 5 % 89;

		for (size_t i = 0; i < put && cv_buffer_room(&buffer) > 0; i++, next_in++)
			assert_int_equal(cv_buffer_append(&buffer, &next_in, 1), 0);
		for (size_t i = 0; i < take && cv_buffer_len(&buffer) > 0; i++, next_out++) {
			assert_int_equal(*cv_buffer_bytes(&buffer), next_out);
			cv_buffer_consume(&buffer, 1);
		}
	}
	assert_true(buffer.size_bytes <= 3000);
	cv_buffer_done(&buffer);
}

static void test_release_only_when_empty(void **state)
{
	struct cv_buffer buffer;

	(void)state;
	cv_buffer_init(&buffer, 1000);
	assert_int_equal(cv_buffer_append(&buffer, "xy", 2), 0);
	cv_buffer_release_if_empty(&buffer);
	assert_int_equal(cv_buffer_len(&buffer), 2);
	cv_buffer_consume(&buffer, 2);
	assert_int_equal(buffer.head, 0);
	assert_non_null(buffer.data);
	cv_buffer_release_if_empty(&buffer);
	assert_null(buffer.data);
	assert_int_equal(cv_buffer_append(&buffer, "z", 1), 0);
	cv_buffer_done(&buffer);
}

static void test_span_skip_clamps(void **state)
{
	struct cv_span span = cv_span_of("hello", 5);

	(void)state;
	cv_span_skip(&span, 2);
	assert_int_equal(span.len_bytes, 3);
	assert_int_equal(span.data[0], 'l');
	cv_span_skip(&span, 99);
	assert_int_equal(span.len_bytes, 0);
	span = cv_span_of(NULL, 0);
	cv_span_skip(&span, 1);
	assert_null(span.data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_starts_without_memory),
		cmocka_unit_test(test_grows_in_powers_of_two),
		cmocka_unit_test(test_limit_below_first_size),
		cmocka_unit_test(test_limit_does_not_overflow),
		cmocka_unit_test(test_slides_before_it_grows),
		cmocka_unit_test(test_queue_keeps_order),
		cmocka_unit_test(test_release_only_when_empty),
		cmocka_unit_test(test_span_skip_clamps),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
