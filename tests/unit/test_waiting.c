// SPDX-License-Identifier: MIT
/*
 * test_waiting.c - datagrams wait in order, with names and headroom, up to a limit.
 */
#include "session/waiting.h"

#include "ring/datagram.h"

#include <culvert/reason.h>

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void test_order_names_headroom(void **state)
{
	struct cv_destination name = {.kind = CV_ADDRESS_DOMAIN, .port = 53, .domain = "a.test"};
	struct cv_destination got;
	struct cv_buffer waiting;
	uint8_t *bytes;
	size_t len;

	(void)state;
	cv_buffer_init(&waiting, CV_WAITING_BYTES);
	assert_false(cv_waiting_next(&waiting, &got, &bytes, &len));
	assert_int_equal(cv_waiting_keep(&waiting, &name, (const uint8_t *)"one", 3), 0);
	assert_int_equal(cv_waiting_keep(&waiting, NULL, (const uint8_t *)"", 0), 0);
	assert_int_equal(cv_waiting_keep(&waiting, NULL, (const uint8_t *)"three", 5), 0);
	assert_true(cv_waiting_next(&waiting, &got, &bytes, &len));
	assert_string_equal(got.domain, "a.test");
	assert_int_equal(got.port, 53);
	assert_int_equal(len, 3);
	memset(bytes - CV_DATAGRAM_HEADROOM, 0xff, CV_DATAGRAM_HEADROOM);
	assert_memory_equal(bytes, "one", 3);
	assert_true(cv_waiting_next(&waiting, &got, &bytes, &len));
	assert_int_equal(got.kind, CV_ADDRESS_NONE);
	assert_int_equal(len, 0);
	assert_true(cv_waiting_next(&waiting, &got, &bytes, &len));
	memset(bytes - CV_DATAGRAM_HEADROOM, 0xff, CV_DATAGRAM_HEADROOM);
	assert_int_equal(len, 5);
	assert_memory_equal(bytes, "three", 5);
	assert_false(cv_waiting_next(&waiting, &got, &bytes, &len));
	assert_null(waiting.data); /* an idle one holds nothing */
}

static void test_limit(void **state)
{
	static uint8_t large[CV_WAITING_BYTES];
	struct cv_destination got;
	struct cv_buffer waiting;
	unsigned kept = 0;
	uint8_t *bytes;
	size_t len;

	(void)state;
	cv_buffer_init(&waiting, CV_WAITING_BYTES);
	assert_int_equal(cv_waiting_keep(&waiting, NULL, large, sizeof(large)),
			 CV_INTERNAL_RESOURCE);
	while (cv_waiting_keep(&waiting, NULL, large, 1000) == 0)
		kept++;
	assert_in_range(kept, 10, CV_WAITING_BYTES / 1000);
	assert_true(waiting.size_bytes <= CV_WAITING_BYTES);
	for (unsigned i = 0; i < kept; i++)
		assert_true(cv_waiting_next(&waiting, &got, &bytes, &len));
	assert_false(cv_waiting_next(&waiting, &got, &bytes, &len));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order_names_headroom),
		cmocka_unit_test(test_limit),
	};

	return cmocka_run_group_tests_name("waiting", tests, NULL, NULL);
}
