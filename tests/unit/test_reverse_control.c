// SPDX-License-Identifier: MIT
/* test_reverse_control.c - control messages of reverse 7, others' protobuf, what is none; names. */
#include "wire/reverse_control.h"

#include <culvert/reason.h>

#include "wire_bytes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct bytes input;

static int read_hex(const char *hex, enum cv_reverse_state *ret_state)
{
	bytes_set_hex(&input, hex);
	return cv_reverse_control_read(bytes_span(&input), ret_state);
}

static void writes(enum cv_reverse_state state, const char *random_hex, const char *wanted)
{
	uint8_t message[CV_REVERSE_CONTROL_MAX];
	static struct bytes random;
	size_t len;

	bytes_set_hex(&random, random_hex);
	len = cv_reverse_control_write(state, bytes_span(&random), message);
	bytes_set_hex(&input, wanted);
	assert_int_equal(len, input.len);
	assert_memory_equal(message, input.data, len);
}

static void test_write(void **state)
{
	uint8_t message[CV_REVERSE_CONTROL_MAX], random[100];

	(void)state;
	writes(CV_REVERSE_ACTIVE, "01020304", "9a0604 01020304");
	writes(CV_REVERSE_DRAIN, "01020304", "0801 9a0604 01020304");
	writes(CV_REVERSE_ACTIVE, "", "");
	memset(random, 7, sizeof(random));
	assert_int_equal(cv_reverse_control_write(CV_REVERSE_DRAIN,
						  cv_span_of(random, sizeof(random)), message),
			 CV_REVERSE_CONTROL_MAX);
}

static void test_read(void **state)
{
	static const struct {
		const char *hex;
		enum cv_reverse_state wanted;
	} good[] = {
		{"9a0604 01020304", CV_REVERSE_ACTIVE},
		{"0801 9a0604 01020304", CV_REVERSE_DRAIN},
		{"9a0604 01020304 0801", CV_REVERSE_DRAIN},
		{"", CV_REVERSE_ACTIVE},
		{"0800", CV_REVERSE_ACTIVE},
		{"0801 0800", CV_REVERSE_ACTIVE}, /* the last one counts */
		{"088180808000", CV_REVERSE_DRAIN},
		{"10ff01 1901020304050607 08 220161 2d01020304 0801", CV_REVERSE_DRAIN},
	};
	enum cv_reverse_state found;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(read_hex(good[i].hex, &found), 0);
		assert_int_equal(found, good[i].wanted);
	}
}

static void test_refused(void **state)
{
	static const char *const bad[] = {
		"08",
		"0802",
		"9a06",
		"9a0605 01020304",
		"9a06ffffffffffffffffff01 00",
		"0a0161",     /* the state as bytes */
		"00",	      /* field 0 */
		"0b",	      /* a group */
		"08ffffffffffffffffffff01",
		"1901020304", /* cut */
		"2d010203",
	};
	enum cv_reverse_state found = CV_REVERSE_DRAIN;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(read_hex(bad[i], &found), CV_PEER_DECODE);
	assert_int_equal(found, CV_REVERSE_DRAIN); /* untouched */
}

static void test_names(void **state)
{
	static const struct {
		const char *name;
		bool wanted;
	} names[] = {
		{"reverse", true},
		{"reverse.internal.v2ray.com", true},
		{"reverse.internal.v2fly.org", true},
		{"REVERSE", true},
		{"reverse.example", false},
		{"areverse", false},
		{"192.0.2.1", false},
	};
	struct cv_destination destination;

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		assert_int_equal(cv_destination_set_text(&destination, names[i].name, 0), 0);
		assert_int_equal(cv_reverse_is_control(&destination), names[i].wanted);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_write),
		cmocka_unit_test(test_read),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
