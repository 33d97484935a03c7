// SPDX-License-Identifier: MIT
/* test_culvert_format.c - numbers for people: each at both sides of its limits. */
#include "culvert_format.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

struct sample {
	uint64_t value;
	const char *text;
};

#define CHECK(format, samples) check(format, samples, sizeof(samples) / sizeof(samples[0]))

static void check(void (*format)(uint64_t, char *), const struct sample *samples, size_t count)
{
	char text[CV_NUMBER_TEXT];

	for (size_t i = 0; i < count; i++) {
		format(samples[i].value, text);
		assert_string_equal(text, samples[i].text);
	}
}

static void test_bytes(void **state)
{
	static const struct sample samples[] = {
		{0, "0 B"},
		{999, "999 B"},
		{1000, "1.0 KiB"},
		{1024, "1.0 KiB"},
		{1228 << 10, "1.2 MiB"},
		{1023897, "999.9 KiB"},
		{1023950, "1.0 MiB"}, /* not "1000.0 KiB" */
		{10ull << 30, "10.0 GiB"},
		{UINT64_MAX, "16.0 EiB"},
	};

	(void)state;
	CHECK(cv_format_bytes, samples);
}

static void test_rate(void **state)
{
	static const struct sample samples[] = {
		{0, "0 B/s"},
		{999, "999 B/s"},
		{1000, "1.0 kB/s"},
		{999949, "999.9 kB/s"},
		{999950, "1.0 MB/s"},
		{3400000, "3.4 MB/s"},
		{125000000, "125.0 MB/s"},
		{1500000000, "1.5 GB/s"},
		{UINT64_MAX, "18446744.1 TB/s"},
	};

	(void)state;
	CHECK(cv_format_rate, samples);
}

static void test_age(void **state)
{
	static const struct sample samples[] = {
		{0, "0s"},
		{999, "0s"},
		{119999, "119s"},
		{120000, "2m00s"},
		{7199999, "119m59s"},
		{7200000, "2h00m"},
		{48 * 3600000ull - 1, "47h59m"},
		{48 * 3600000ull, "2d00h"},
		{UINT64_MAX, "213503982334d14h"},
	};

	(void)state;
	CHECK(cv_format_age, samples);
}

static void test_us(void **state)
{
	static const struct sample samples[] = {
		{850, "850 us"}, {12300, "12.3 ms"}, {1500000, "1.5 s"}, {5000000000, "5000.0 s"}};

	(void)state;
	CHECK(cv_format_us, samples);
}

static void test_unit_is_in_the_key(void **state)
{
	static const struct {
		const char *key, *text;
	} samples[] = {
		{"queued_bytes", "2.0 KiB"},
		{"bytes", "2.0 KiB"},
		{"uplink_bytes_per_s", "2.0 kB/s"},
		{"idle_ms", "2s"},
		{"rtt_us", "2.0 ms"},
		{"sessions", "2048"},
		{"ms", "2048"},
		{"", "2048"},
	};
	char text[CV_NUMBER_TEXT];

	(void)state;
	for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
		cv_format_by_key(samples[i].key, 2048, text);
		assert_string_equal(text, samples[i].text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_rate),
		cmocka_unit_test(test_age),
		cmocka_unit_test(test_us),
		cmocka_unit_test(test_unit_is_in_the_key),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
