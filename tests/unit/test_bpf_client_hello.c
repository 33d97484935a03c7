// SPDX-License-Identifier: MIT
/*
 * test_bpf_client_hello.c - bpf/client_hello.h as plain C: the shapes of test_client_hello.c, and
 * where it leaves the decision to user space. That it never decides otherwise: fuzz_classify.
 */
#include "../../bpf/client_hello.h"

#include "hello_shapes.h"
#include "wire_bytes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static struct cv_sni_hello hello;
static struct bytes stream;

static enum cv_sni_verdict read_first(size_t count)
{
	memset(&hello, 0, sizeof(hello));
	hello.len_bytes = (uint32_t)(count < CV_SNI_HELLO_BYTES ? count : CV_SNI_HELLO_BYTES);
	memcpy(hello.bytes, stream.data, hello.len_bytes);
	return cv_sni_read(&hello);
}

static void put_u16(size_t at, size_t value)
{
	stream.data[at] = (uint8_t)(value >> 8);
	stream.data[at + 1] = (uint8_t)value;
}

static void set_lengths(void)
{
	put_u16(3, stream.len - 5);
	put_u16(7, stream.len - 9);
}

/* One record with a hello of these extensions. */
static enum cv_sni_verdict read_with(const char *extensions_hex)
{
	size_t start;

	bytes_set_hex(&stream, "16 0301 0000 01 000000 0303");
	bytes_add_fill(&stream, 0x42, 32);
	bytes_add_hex(&stream, "00 0002 1301 01 00 0000");
	start = stream.len;
	bytes_add_hex(&stream, extensions_hex);
	put_u16(start - 2, stream.len - start);
	set_lengths();
	return read_first(stream.len);
}

static void test_vector(void **state)
{
	(void)state;
	bytes_set_hex(&stream, "16 0301 0000");
	bytes_add_hex(&stream, hello_vector_hex);
	set_lengths();
	for (size_t count = 0; count < stream.len; count++)
		assert_int_equal(read_first(count), CV_SNI_MORE);
	assert_int_equal(read_first(stream.len), CV_SNI_NAMED);
	assert_string_equal(hello.name + 1, "www.example.com");
	assert_false(hello.has_uppercase);
	bytes_add_hex(&stream, "17 0303 0001 00"); /* what follows does not matter */
	assert_int_equal(read_first(stream.len), CV_SNI_NAMED);
}

static void test_accepted_extensions(void **state)
{
	(void)state;
	for (size_t at = 0; at < HELLO_ACCEPTED_COUNT; at++) {
		const enum cv_sni_verdict verdict = read_with(hello_accepted[at]);

		if (verdict != CV_SNI_NAMED && verdict != CV_SNI_NAMELESS)
			fail_msg("%d: %s", (int)verdict, hello_accepted[at]);
	}
}

static void test_refused_extensions(void **state)
{
	(void)state;
	for (size_t at = 0; at < HELLO_REFUSED_COUNT; at++)
		if (read_with(hello_refused[at].hex) != CV_SNI_UNDECIDED)
			fail_msg("decided: %s", hello_refused[at].what);
}

static void test_names(void **state)
{
	char longest[600] = "0000 0104 0102 00 00ff ";

	(void)state;
	assert_int_equal(read_with("0000 000a 0008 00 0005 412e62435a"), CV_SNI_NAMED);
	assert_string_equal(hello.name + 1, "a.bcz");
	assert_true(hello.has_uppercase);
	assert_int_equal(read_with("0000 000d 000b 05 0002 412e 00 0003 612e62"), CV_SNI_NAMED);
	assert_string_equal(hello.name + 1, "a.b");
	assert_false(hello.has_uppercase);
	for (int i = 0; i < 255; i++)
		strcat(longest, "7a");
	assert_int_equal(read_with(longest), CV_SNI_NAMED);
	assert_int_equal(strlen(hello.name + 1), 255);
	memcpy(longest, "0000 0105 0103 00 0100 ", 23);
	strcat(longest, "7a");
	assert_int_equal(read_with(longest), CV_SNI_UNDECIDED);
}

/* Types 0x0041 and 0x1041 share a bit: not told from a repetition. */
static void test_same_bit(void **state)
{
	(void)state;
	assert_int_equal(read_with("0041 0000 1041 0000"), CV_SNI_UNDECIDED);
	assert_int_equal(read_with("0041 0000 1042 0000"), CV_SNI_NAMELESS);
}

static void test_heads(void **state)
{
	static const struct {
		const char *hex;
		enum cv_sni_verdict verdict;
	} heads[] = {
		{"", CV_SNI_MORE},
		{"47", CV_SNI_NOT_TLS},		   /* GET */
		{"05 01 00", CV_SNI_NOT_TLS},	   /* SOCKS5 */
		{"80 2e 01", CV_SNI_NOT_TLS},	   /* SSLv2 */
		{"17 0303 0001 00", CV_SNI_NOT_TLS},
		{"16", CV_SNI_MORE},
		{"16 10", CV_SNI_NOT_TLS},
		{"15 0f", CV_SNI_UNDECIDED}, /* an alert */
		{"16 0301 0200 01 0001", CV_SNI_MORE},
		{"16 0301 0200 01 0001fc", CV_SNI_MORE},
		{"16 0301 0200 01 0001fd", CV_SNI_UNDECIDED}, /* goes on in another record */
		{"16 0301 0200 01 0001fb", CV_SNI_UNDECIDED}, /* another message behind it */
		{"16 0301 0200 02 0001fc", CV_SNI_UNDECIDED}, /* no ClientHello */
		{"16 0301 0ffb 01 000ff7", CV_SNI_MORE},
		{"16 0301 0ffc 01 000ff8", CV_SNI_UNDECIDED}, /* too long */
		{"16 0301 0003 01 000000", CV_SNI_UNDECIDED},
	};

	(void)state;
	for (size_t at = 0; at < sizeof(heads) / sizeof(heads[0]); at++) {
		bytes_set_hex(&stream, heads[at].hex);
		if (read_first(stream.len) != heads[at].verdict)
			fail_msg("%s: not %d", heads[at].hex, (int)heads[at].verdict);
	}
}

/* The longest that fits, full of the shortest items there are. */
static void test_many_items(void **state)
{
	const size_t names = (CV_SNI_HELLO_BYTES - 9 - 41 - 2 - 6) / 2;

	(void)state;
	assert_int_equal(read_with("0010 0000 0000"), CV_SNI_UNDECIDED);
	for (size_t i = 0; i < names; i++)
		bytes_add_hex(&stream, "01 61");
	set_lengths();
	put_u16(50, stream.len - 52);
	put_u16(54, stream.len - 56);
	put_u16(56, stream.len - 58);
	assert_int_equal(read_first(stream.len), CV_SNI_NAMELESS);
	assert_in_range(stream.len, CV_SNI_HELLO_BYTES - 2, CV_SNI_HELLO_BYTES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vector),
		cmocka_unit_test(test_accepted_extensions),
		cmocka_unit_test(test_refused_extensions),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_same_bit),
		cmocka_unit_test(test_heads),
		cmocka_unit_test(test_many_items),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
