// SPDX-License-Identifier: MIT
/* test_culvert_rates.c - rates between two answers, and records in order of them. */
#include "culvert_rates.h"

#include "culvert_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static struct json_object *parsed(const char *text)
{
	struct json_object *object = json_tokener_parse(text);

	assert_non_null(object);
	return object;
}

static uint64_t rate_of(struct json_object *records, size_t index, const char *key)
{
	struct json_object *value = cv_member(json_object_array_get_idx(records, index), key);

	assert_non_null(value);
	return json_object_get_uint64(value);
}

static void test_sessions(void **state)
{
	struct json_object *before = parsed("[{\"id\":\"0.1\",\"uplink\":{\"bytes\":100},"
					    "\"downlink\":{\"bytes\":5000}}]");
	/* in another order, with one that is new and one that is gone and whose id came again */
	struct json_object *after =
		parsed("[{\"id\":\"0.2\",\"uplink\":{\"bytes\":9},\"downlink\":{\"bytes\":9}},"
		       "{\"id\":\"0.1\",\"uplink\":{\"bytes\":50},\"downlink\":{\"bytes\":6000}}]");

	(void)state;
	cv_rates_add(before, after, 0.5);
	assert_int_equal(rate_of(after, 0, "uplink_bytes_per_s"), 0);
	assert_int_equal(rate_of(after, 0, "downlink_bytes_per_s"), 0);
	assert_int_equal(rate_of(after, 1, "uplink_bytes_per_s"), 0); /* less than before */
	assert_int_equal(rate_of(after, 1, "downlink_bytes_per_s"), 2000);
	json_object_put(before);
	json_object_put(after);
}

static void test_users_are_told_apart_by_inbound_and_names(void **state)
{
	const char *text = "[{\"inbound\":\"a\",\"name\":\"\",\"email\":\"x\",\"uplink_bytes\":%d,"
			   "\"downlink_bytes\":0},"
			   "{\"inbound\":\"b\",\"name\":\"\",\"email\":\"x\",\"uplink_bytes\":%d,"
			   "\"downlink_bytes\":0}]";
	char one[400], two[400];
	struct json_object *before, *after;

	(void)state;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	snprintf(one, sizeof(one), text, 10, 1000);
	snprintf(two, sizeof(two), text, 30, 1400);
#pragma GCC diagnostic pop
	before = parsed(one);
	after = parsed(two);
	cv_rates_add(before, after, 2);
	assert_int_equal(rate_of(after, 0, "uplink_bytes_per_s"), 10);
	assert_int_equal(rate_of(after, 1, "uplink_bytes_per_s"), 200);
	json_object_put(before);
	json_object_put(after);
}

static void test_nothing_before_is_no_rate(void **state)
{
	struct json_object *after =
		parsed("[{\"id\":\"0.1\",\"uplink\":{\"bytes\":9},\"downlink\":{\"bytes\":9}}]");

	(void)state;
	cv_rates_add(NULL, after, 1);
	assert_int_equal(rate_of(after, 0, "downlink_bytes_per_s"), 0);
	cv_rates_add(after, after, 0); /* no time has passed */
	assert_int_equal(rate_of(after, 0, "downlink_bytes_per_s"), 0);
	json_object_put(after);
}

/* The ids in order, e.g. "bca". */
static void order_of(enum cv_order order, char *ret_ids)
{
	struct json_object *records =
		parsed("[{\"id\":\"a\",\"downlink_bytes_per_s\":5,\"uplink_bytes_per_s\":0,"
		       "\"downlink_bytes\":10,\"age_ms\":3,\"idle_ms\":1},"
		       "{\"id\":\"b\",\"downlink_bytes_per_s\":1,\"uplink_bytes_per_s\":9,"
		       "\"uplink_bytes\":5,\"age_ms\":2,\"idle_ms\":3},"
		       "{\"id\":\"c\",\"downlink_bytes_per_s\":5,\"uplink_bytes_per_s\":0,"
		       "\"uplink_bytes\":20,\"age_ms\":1,\"idle_ms\":2}]");
	struct json_object *sorted = cv_records_sort(records, order);

	assert_non_null(sorted);
	json_object_put(records); /* the records live on in @sorted */
	assert_int_equal(json_object_array_length(sorted), 3);
	for (size_t i = 0; i < 3; i++)
		ret_ids[i] = json_object_get_string(
			cv_member(json_object_array_get_idx(sorted, i), "id"))[0];
	ret_ids[3] = '\0';
	json_object_put(sorted);
}

static void test_order(void **state)
{
	static const struct {
		enum cv_order order;
		const char *ids;
	} samples[] = {
		{CV_ORDER_RATE, "bca"}, /* equal rates: by bytes */
		{CV_ORDER_BYTES, "cab"}, {CV_ORDER_AGE, "abc"},
		{CV_ORDER_IDLE, "bca"},  {CV_ORDER_NONE, "abc"},
	};
	char ids[4];

	(void)state;
	for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
		order_of(samples[i].order, ids);
		assert_string_equal(ids, samples[i].ids);
	}
}

static void test_names_of_orders(void **state)
{
	(void)state;
	assert_int_equal(cv_order_find("rate"), CV_ORDER_RATE);
	assert_int_equal(cv_order_find("bytes"), CV_ORDER_BYTES);
	assert_int_equal(cv_order_find("age"), CV_ORDER_AGE);
	assert_int_equal(cv_order_find("idle"), CV_ORDER_IDLE);
	assert_int_equal(cv_order_find(""), CV_ORDER_NONE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sessions),
		cmocka_unit_test(test_users_are_told_apart_by_inbound_and_names),
		cmocka_unit_test(test_nothing_before_is_no_rate),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_names_of_orders),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
