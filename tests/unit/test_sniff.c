// SPDX-License-Identifier: MIT
/*
 * test_sniff.c - names in first bytes, in every segmentation, and that nothing else holds up.
 */
#include "wire/sniff.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "hello_shapes.h"
#include "wire_bytes.h"

static struct bytes stream;

static void set_text(const char *text)
{
	stream.len = strlen(text);
	memcpy(stream.data, text, stream.len);
}

static void set_hello(void)
{
	struct bytes message = {0};

	bytes_set_hex(&message, hello_vector_hex);
	bytes_set_hex(&stream, "16 0301");
	stream.data[stream.len++] = (uint8_t)(message.len >> 8);
	stream.data[stream.len++] = (uint8_t)message.len;
	memcpy(stream.data + stream.len, message.data, message.len);
	stream.len += message.len;
}

/* Whole, and byte after byte: it is known at the last of @need bytes and not before. */
static void expect(enum cv_sniffed protocol, const char *name, size_t need)
{
	struct cv_sniff sniff;

	cv_sniff_init(&sniff);
	assert_int_equal(cv_sniff_read(&sniff, cv_span_of(stream.data, stream.len)), 0);
	assert_int_equal(sniff.protocol, protocol);
	assert_string_equal(sniff.name, name);
	cv_sniff_done(&sniff);
	cv_sniff_init(&sniff);
	for (size_t len = 0; len < need; len++)
		assert_int_equal(cv_sniff_read(&sniff, cv_span_of(stream.data, len)), -EAGAIN);
	assert_int_equal(cv_sniff_read(&sniff, cv_span_of(stream.data, need)), 0);
	assert_int_equal(sniff.protocol, protocol);
	assert_string_equal(sniff.name, name);
	cv_sniff_done(&sniff);
}

static void test_hello(void **state)
{
	(void)state;
	set_hello();
	expect(CV_SNIFFED_TLS, "www.example.com", stream.len);
}

static void test_hello_with_more_behind(void **state)
{
	size_t need;

	(void)state;
	set_hello();
	need = stream.len;
	bytes_add_hex(&stream, "140303000101 1703030003 aabbcc");
	expect(CV_SNIFFED_TLS, "www.example.com", need);
}

static void test_no_tls(void **state)
{
	(void)state;
	bytes_set_hex(&stream, "16 0301 0004 02000000"); /* a ServerHello */
	expect(CV_SNIFFED_NOTHING, "", 6);
	bytes_set_hex(&stream, "16 0301 0005 01000001 00"); /* a hello of nothing */
	expect(CV_SNIFFED_NOTHING, "", stream.len);
}

static void test_http(void **state)
{
	static const struct {
		const char *text, *name;
	} heads[] = {
		{"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n", "a.example"},
		{"POST /x HTTP/1.1\r\nA: b\r\nhost:  B.example:8080 \r\nC: d\r\n\r\n", "B.example"},
		{"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "a"},
		{"GET / HTTP/1.0\r\n\r\n", ""},
		{"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", ""},
		{"GET / HTTP/1.1\r\nHost:\r\n\r\n", ""},
		{"GET / HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n\r\n", "[2001"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
		set_text(heads[i].text);
		expect(CV_SNIFFED_HTTP, heads[i].name, stream.len);
	}
}

static void test_nothing_known_is_told_at_once(void **state)
{
	static const struct {
		const char *text;
		size_t need;
	} texts[] = {
		{"SSH-2.0-x\r\n", 1}, {"GETTING", 4},  {"EHLO me\r\n", 1},
		{"\r\n", 1},	       {"PRI * HTTP/2.0\r\n\r\n", 2}, {"get / HTTP/1.1\r\n\r\n", 1},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		set_text(texts[i].text);
		expect(CV_SNIFFED_NOTHING, "", texts[i].need);
	}
}

static void test_bad_request(void **state)
{
	struct cv_sniff sniff;

	(void)state;
	cv_sniff_init(&sniff);
	set_text("GET / HTTP/1.1\r\nHost : a.example\r\n\r\n");
	assert_int_equal(cv_sniff_read(&sniff, cv_span_of(stream.data, stream.len)), 0);
	assert_string_equal(sniff.name, "");
	cv_sniff_done(&sniff);
}

static void test_never_more_than_the_limit(void **state)
{
	static uint8_t record[CV_SNIFF_MAX + 10];
	struct cv_sniff sniff;
	size_t len = 0;

	(void)state;
	cv_sniff_init(&sniff);
	for (size_t at = 0; at + 5 < sizeof(record); at += 5 + 16000)
		memcpy(record + at, "\x16\x03\x01\x3e\x80", 5);
	memcpy(record + 5, "\x01\x00\xff\xff", 4);
	while (cv_sniff_read(&sniff, cv_span_of(record, len)) == -EAGAIN)
		len++;
	assert_int_equal(len, CV_SNIFF_MAX);
	assert_int_equal(sniff.protocol, CV_SNIFFED_NOTHING);
	cv_sniff_done(&sniff);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hello),
		cmocka_unit_test(test_hello_with_more_behind),
		cmocka_unit_test(test_no_tls),
		cmocka_unit_test(test_http),
		cmocka_unit_test(test_nothing_known_is_told_at_once),
		cmocka_unit_test(test_bad_request),
		cmocka_unit_test(test_never_more_than_the_limit),
	};

	return cmocka_run_group_tests_name("sniff", tests, NULL, NULL);
}
