// SPDX-License-Identifier: MIT
/*
 * test_client_hello.c - the hello of REALITY 14, one hello for every shape that REALITY 3.2 wants
 * forwarded, the choice of key shares, and the assembler over every cut of records and segments.
 */
#include "wire/client_hello.h"

#include <culvert/reason.h>

#include "hello_shapes.h"
#include "wire_bytes.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct bytes message;

static void set_u24(uint8_t *at, size_t value)
{
	at[0] = (uint8_t)(value >> 16);
	at[1] = (uint8_t)(value >> 8);
	at[2] = (uint8_t)value;
}

static void set_message_len(void)
{
	set_u24(message.data + 1, message.len - 4);
}

/* Header, random, empty session id, one suite, null compression; no extensions yet. */
static void begin_message(void)
{
	bytes_set_hex(&message, "01 000000 0303");
	bytes_add_fill(&message, 0x42, 32);
	bytes_add_hex(&message, "00 0002 1301 01 00");
	set_message_len();
}

static size_t begin_extensions(void)
{
	begin_message();
	bytes_add_hex(&message, "0000");
	return message.len;
}

static void end_extensions(size_t start)
{
	const size_t len = message.len - start;

	message.data[start - 2] = (uint8_t)(len >> 8);
	message.data[start - 1] = (uint8_t)len;
	set_message_len();
}

/* Extensions as type, length, body in hex. */
static int parse_with(const char *extensions_hex, struct cv_client_hello *ret_hello)
{
	const size_t start = begin_extensions();

	bytes_add_hex(&message, extensions_hex);
	end_extensions(start);
	return cv_client_hello_parse(bytes_span(&message), ret_hello);
}

static void assert_span(struct cv_span span, const uint8_t *bytes, size_t len)
{
	assert_int_equal(span.len_bytes, len);
	assert_memory_equal(span.data, bytes, len);
}

/* ---- fields ---- */

static void test_vector(void **state)
{
	struct cv_client_hello hello;

	(void)state;
	bytes_set_hex(&message, hello_vector_hex);
	assert_int_equal(message.len, 189);
	assert_int_equal(cv_client_hello_parse(bytes_span(&message), &hello), 0);
	assert_ptr_equal(hello.message.data, message.data);
	assert_int_equal(hello.message.len_bytes, 189);
	assert_ptr_equal(hello.random, message.data + CV_HELLO_RANDOM_OFFSET);
	assert_ptr_equal(hello.session_id.data, message.data + CV_HELLO_SESSION_ID_OFFSET);
	assert_int_equal(hello.session_id.len_bytes, 32);
	assert_span(hello.cipher_suites, (const uint8_t *)"\x13\x01\x13\x02\x13\x03", 6);
	assert_true(hello.has_server_name);
	assert_string_equal(hello.server_name, "www.example.com");
	assert_true(hello.offers_tls13);
	assert_span(hello.x25519_share, message.data + 189 - 32, 32);
	assert_int_equal(hello.hybrid_share.len_bytes, 0);
	assert_false(hello.hybrid_before_x25519);
	assert_span(hello.alpn, (const uint8_t *)"\x02h2", 3);
	assert_int_equal(hello.alpn_class, CV_ALPN_H2);
}

static void test_hello_without_extensions(void **state)
{
	struct cv_client_hello hello;

	(void)state;
	begin_message();
	assert_int_equal(cv_client_hello_parse(bytes_span(&message), &hello), 0);
	assert_false(hello.has_server_name);
	assert_string_equal(hello.server_name, "");
	assert_false(hello.offers_tls13);
	assert_int_equal(hello.alpn_class, CV_ALPN_NONE);
	assert_int_equal(hello.session_id.len_bytes, 0);
	assert_int_equal(hello.x25519_share.len_bytes, 0);
}

static void test_failure_leaves_the_result_alone(void **state)
{
	struct cv_client_hello hello, before;

	(void)state;
	memset(&hello, 0xa5, sizeof(hello));
	before = hello;
	assert_int_equal(parse_with("0010 0002 0000", &hello), CV_PEER_DECODE);
	assert_memory_equal(&hello, &before, sizeof(hello));
}

/* Everything of a Chrome-like hello that a server without ECH keys and tickets reads over. */
static void test_accepted_extensions(void **state)
{
	(void)state;
	for (size_t at = 0; at < HELLO_ACCEPTED_COUNT; at++) {
		struct cv_client_hello hello;

		if (parse_with(hello_accepted[at], &hello) != 0)
			fail_msg("refused: %s", hello_accepted[at]);
	}
}

static void test_refused_extensions(void **state)
{
	(void)state;
	for (size_t at = 0; at < HELLO_REFUSED_COUNT; at++) {
		struct cv_client_hello hello;

		if (parse_with(hello_refused[at].hex, &hello) != CV_PEER_DECODE)
			fail_msg("accepted: %s", hello_refused[at].what);
	}
}

static void test_refused_messages(void **state)
{
	struct cv_client_hello hello;

	(void)state;
	bytes_set_hex(&message, hello_vector_hex);
	for (size_t len = 0; len < message.len; len++) {
		/* With the true length missing, and with a header that claims what is there. */
		static struct bytes whole;

		whole = message;
		assert_int_equal(cv_client_hello_parse(cv_span_of(message.data, len), &hello),
				 CV_PEER_DECODE);
		message.len = len;
		if (len >= 4)
			set_message_len();
		/* Cut right behind the compression methods it is a hello without extensions. */
		assert_int_equal(cv_client_hello_parse(bytes_span(&message), &hello),
				 len == 81 ? 0 : CV_PEER_DECODE);
		message = whole;
	}
	bytes_add_hex(&message, "00");
	assert_int_equal(cv_client_hello_parse(bytes_span(&message), &hello), CV_PEER_DECODE);
	set_message_len(); /* a byte behind the extensions */
	assert_int_equal(cv_client_hello_parse(bytes_span(&message), &hello), CV_PEER_DECODE);
}

static void test_refused_fields(void **state)
{
	static const struct {
		const char *what, *hex; /* behind the random */
	} refused[] = {
		{"session id of 33 bytes",
		 "21 0000000000000000 0000000000000000 0000000000000000 0000000000000000 00"
		 "0002 1301 01 00"},
		{"odd cipher suites", "00 0003 130113 01 00"},
		{"no cipher suites", "00 0000 01 00"},
		{"no compression methods", "00 0002 1301 00"},
		{"extensions length cut", "00 0002 1301 01 00 00"},
		{"extensions cut", "00 0002 1301 01 00 0005 00170000"},
		{"bytes behind extensions", "00 0002 1301 01 00 0000 00"},
	};
	struct cv_client_hello hello;

	(void)state;
	for (size_t at = 0; at < sizeof(refused) / sizeof(refused[0]); at++) {
		bytes_set_hex(&message, "01 000000 0303");
		bytes_add_fill(&message, 0x42, 32);
		bytes_add_hex(&message, refused[at].hex);
		set_message_len();
		if (cv_client_hello_parse(bytes_span(&message), &hello) != CV_PEER_DECODE)
			fail_msg("accepted: %s", refused[at].what);
	}
	begin_message();
	message.data[0] = 2;
	assert_int_equal(cv_client_hello_parse(bytes_span(&message), &hello), CV_PEER_DECODE);
}

static void test_too_long(void **state)
{
	static uint8_t bytes[4 + CV_HELLO_MAX + 1] = {1, 1, 0, 1};
	struct cv_client_hello hello;

	(void)state;
	assert_int_equal(cv_client_hello_parse(cv_span_of(bytes, sizeof(bytes)), &hello),
			 CV_PEER_TOO_LONG);
	bytes[3] = 0;
	assert_int_equal(cv_client_hello_parse(cv_span_of(bytes, sizeof(bytes) - 1), &hello),
			 CV_PEER_DECODE);
}

static void test_server_name_lengths(void **state)
{
	(void)state;
	for (size_t len = 250; len < 260; len++) {
		const size_t start = begin_extensions();
		struct cv_client_hello hello;

		bytes_add_hex(&message, "0000 0000 0000 00 0000");
		const size_t lens[3] = {len + 5, len + 3, len};
		const size_t ats[3] = {start + 2, start + 4, start + 7};

		for (unsigned int at = 0; at < 3; at++) {
			message.data[ats[at]] = (uint8_t)(lens[at] >> 8);
			message.data[ats[at] + 1] = (uint8_t)lens[at];
		}
		bytes_add_fill(&message, 'a', len);
		end_extensions(start);
		const int error = cv_client_hello_parse(bytes_span(&message), &hello);

		assert_int_equal(error, len <= 255 ? 0 : CV_PEER_DECODE);
		if (!error)
			assert_int_equal(strlen(hello.server_name), len);
	}
}

static void test_server_name_of_other_types_is_skipped(void **state)
{
	struct cv_client_hello hello;

	(void)state;
	assert_int_equal(parse_with("0000 0006 0004 01 0001 61", &hello), 0);
	assert_false(hello.has_server_name);
	assert_int_equal(parse_with("0000 000a 0008 05 0001 61 00 0001 42", &hello), 0);
	assert_string_equal(hello.server_name, "B"); /* case is kept */
}

static void test_versions(void **state)
{
	static const struct {
		const char *hex;
		bool offers;
	} cases[] = {
		{"002b 0003 02 0304", true},
		{"002b 0007 06 7a7a 0303 0304", true},
		{"002b 0005 04 0303 0302", false},
		{"002b 0003 02 0403", false},
		{"002b 0005 04 0003 0400", false}, /* not aligned */
	};
	struct cv_client_hello hello;

	(void)state;
	for (size_t at = 0; at < sizeof(cases) / sizeof(cases[0]); at++) {
		assert_int_equal(parse_with(cases[at].hex, &hello), 0);
		assert_int_equal(hello.offers_tls13, cases[at].offers);
	}
}

static void test_alpn_classes(void **state)
{
	static const struct {
		const char *hex;
		enum cv_alpn_class class;
	} cases[] = {
		{"0010 000e 000c 02 6832 08 687474702f312e31", CV_ALPN_H2},
		{"0010 000e 000c 08 687474702f312e31 02 6832", CV_ALPN_OTHER},
		{"0010 0005 0003 02 6833", CV_ALPN_OTHER},
		{"0010 0006 0004 03 683263", CV_ALPN_OTHER},
		{"0010 0004 0002 01 68", CV_ALPN_OTHER},
	};
	struct cv_client_hello hello;

	(void)state;
	for (size_t at = 0; at < sizeof(cases) / sizeof(cases[0]); at++) {
		assert_int_equal(parse_with(cases[at].hex, &hello), 0);
		assert_int_equal(hello.alpn_class, cases[at].class);
	}
}

/* ---- key shares, REALITY 3.4 ---- */

struct share {
	uint16_t group;
	size_t len;
	uint8_t fill;
};

static void parse_shares(const struct share *shares, size_t count, struct cv_client_hello *hello)
{
	const size_t start = begin_extensions();
	size_t list_len = 0;

	for (size_t at = 0; at < count; at++)
		list_len += 4 + shares[at].len;
	bytes_add_hex(&message, "0033");
	bytes_add_fill(&message, (uint8_t)((list_len + 2) >> 8), 1);
	bytes_add_fill(&message, (uint8_t)(list_len + 2), 1);
	bytes_add_fill(&message, (uint8_t)(list_len >> 8), 1);
	bytes_add_fill(&message, (uint8_t)list_len, 1);
	for (size_t at = 0; at < count; at++) {
		bytes_add_fill(&message, (uint8_t)(shares[at].group >> 8), 1);
		bytes_add_fill(&message, (uint8_t)shares[at].group, 1);
		bytes_add_fill(&message, (uint8_t)(shares[at].len >> 8), 1);
		bytes_add_fill(&message, (uint8_t)shares[at].len, 1);
		bytes_add_fill(&message, shares[at].fill, shares[at].len);
	}
	end_extensions(start);
	assert_int_equal(cv_client_hello_parse(bytes_span(&message), hello), 0);
}

static void assert_fill(struct cv_span span, uint8_t fill, size_t len)
{
	assert_int_equal(span.len_bytes, len);
	for (size_t at = 0; at < len; at++)
		assert_int_equal(span.data[at], fill);
}

static void test_shares_chrome(void **state)
{
	static const struct share shares[] = {
		{0x2a2a, 1, 0}, {0x11ec, 1216, 0xb1}, {0x001d, 32, 0xc1}};
	struct cv_client_hello hello;

	(void)state;
	parse_shares(shares, 3, &hello);
	assert_fill(hello.x25519_share, 0xc1, 32);
	assert_fill(hello.hybrid_share, 0xb1, 1216);
	assert_true(hello.hybrid_before_x25519);
	parse_shares(shares + 1, 1, &hello); /* alone */
	assert_int_equal(hello.x25519_share.len_bytes, 0);
	assert_true(hello.hybrid_before_x25519);
}

static void test_shares_order_and_lengths(void **state)
{
	static const struct share x25519_first[] = {{0x001d, 32, 0xc1}, {0x11ec, 1216, 0xb1}};
	static const struct share wrong_lengths[] = {
		{0x001d, 31, 1},   {0x001d, 33, 2},	{0x11ec, 1215, 3}, {0x001d, 32, 4},
		{0x11ec, 1217, 5}, {0x11ec, 1216, 6},	{0x001d, 32, 7},   {0x11ec, 1216, 8},
		{0x0017, 65, 9}};
	struct cv_client_hello hello;

	(void)state;
	parse_shares(x25519_first, 2, &hello);
	assert_false(hello.hybrid_before_x25519);
	parse_shares(wrong_lengths, 9, &hello);
	assert_fill(hello.x25519_share, 4, 32);
	assert_fill(hello.hybrid_share, 6, 1216);
	assert_false(hello.hybrid_before_x25519);
	parse_shares(wrong_lengths, 3, &hello);
	assert_int_equal(hello.x25519_share.len_bytes, 0);
	assert_int_equal(hello.hybrid_share.len_bytes, 0);
	assert_false(hello.hybrid_before_x25519);
}

/* ---- assembler ---- */

static struct bytes stream;

static void add_record(uint8_t type, uint16_t version, const uint8_t *bytes, size_t len)
{
	const uint8_t header[5] = {type, (uint8_t)(version >> 8), (uint8_t)version,
				   (uint8_t)(len >> 8), (uint8_t)len};

	memcpy(stream.data + stream.len, header, sizeof(header));
	stream.len += sizeof(header);
	if (len > 0)
		memcpy(stream.data + stream.len, bytes, len);
	stream.len += len;
}

static void set_stream_records(size_t record_len)
{
	stream.len = 0;
	for (size_t at = 0; at < message.len; at += record_len)
		add_record(22, at == 0 ? 0x0301 : 0x0303, message.data + at,
			   message.len - at < record_len ? message.len - at : record_len);
}

/* Feeds the stream in pieces; returns the last code. */
static int assemble(struct cv_hello_assembler *assembler, size_t piece, size_t *ret_used)
{
	int result = -EAGAIN;

	*ret_used = 0;
	while (result == -EAGAIN && *ret_used < stream.len) {
		const size_t left = stream.len - *ret_used;
		const size_t len = left < piece ? left : piece;
		size_t used = SIZE_MAX;

		result = cv_hello_assembler_add(
			assembler, cv_span_of(stream.data + *ret_used, len), &used);
		if (result != 0 && result != -EAGAIN) {
			assert_int_equal(used, SIZE_MAX);
			break;
		}
		if (result == -EAGAIN)
			assert_int_equal(used, len);
		*ret_used += used;
	}
	return result;
}

static void test_assembler_any_cut(void **state)
{
	static const size_t pieces[] = {1, 2, 3, 4, 5, 6, 7, 9, 50, 100, 1000};

	(void)state;
	bytes_set_hex(&message, hello_vector_hex);
	for (size_t record_len = 1; record_len <= 190; record_len++) {
		for (size_t at = 0; at < sizeof(pieces) / sizeof(pieces[0]); at++) {
			struct cv_hello_assembler assembler;
			size_t used, hello_len;

			set_stream_records(record_len);
			hello_len = stream.len;
			bytes_add_hex(&stream, "140303000101"); /* not ours any more */
			cv_hello_assembler_init(&assembler);
			assert_int_equal(assemble(&assembler, pieces[at], &used), 0);
			assert_int_equal(used, hello_len);
			assert_true(assembler.complete);
			assert_int_equal(cv_buffer_len(&assembler.message), message.len);
			assert_memory_equal(cv_buffer_bytes(&assembler.message), message.data,
					    message.len);
			/* Once complete nothing more is taken. */
			assert_int_equal(cv_hello_assembler_add(&assembler, cv_span_of("abc", 3),
								&used),
					 0);
			assert_int_equal(used, 0);
			cv_hello_assembler_done(&assembler);
		}
	}
}

static void test_assembler_asks_for_more(void **state)
{
	(void)state;
	bytes_set_hex(&message, hello_vector_hex);
	set_stream_records(100);
	for (size_t len = 0; len < stream.len; len++) {
		struct cv_hello_assembler assembler;
		size_t used = 0;

		cv_hello_assembler_init(&assembler);
		assert_int_equal(cv_hello_assembler_add(&assembler, cv_span_of(stream.data, len),
							&used),
				 -EAGAIN);
		assert_int_equal(used, len);
		assert_false(assembler.complete);
		cv_hello_assembler_done(&assembler);
	}
}

static void test_assembler_refusals(void **state)
{
	static const struct {
		const char *what, *hex;
		int reason;
	} refused[] = {
		{"HTTP", "474554202f20485454502f312e31", CV_PEER_NOT_TLS},
		{"SSLv2 hello", "802e0100020015", CV_PEER_NOT_TLS},
		{"application data", "1703030005 0100000100", CV_PEER_NOT_TLS},
		{"CCS", "1403030001 01", CV_PEER_NOT_TLS},
		{"version 1000", "1610000005 0100000100", CV_PEER_NOT_TLS},
		{"alert", "1503010002 0228", CV_PEER_DECODE},
		{"record of 18433 bytes", "1603014801 01", CV_PEER_TOO_LONG},
		{"alert record of 18433 bytes", "1503014801 01", CV_PEER_TOO_LONG},
		{"zero-length record", "1603010000", CV_PEER_DECODE},
		{"zero-length second record", "1603010002 0100 1603010000", CV_PEER_DECODE},
		{"ServerHello", "1603010005 0200000100", CV_PEER_DECODE},
		{"HelloRequest", "1603010004 00000000", CV_PEER_DECODE},
		{"handshake length 0", "1603010004 01000000", CV_PEER_DECODE},
		{"handshake length 65537", "1603010004 01010001", CV_PEER_TOO_LONG},
		{"handshake length ffffff", "1603010004 01ffffff", CV_PEER_TOO_LONG},
		{"second message in the record", "1603010006 01000001aa01", CV_PEER_DECODE},
		{"second message, fragmented", "1603010003 010000 1603010004 02aaaa01",
		 CV_PEER_DECODE},
		{"CCS between fragments", "1603010003 010000 1403030001 01", CV_PEER_DECODE},
		{"data between fragments", "1603010003 010000 1703030001 01", CV_PEER_DECODE},
		{"version 1000 later", "1603010003 010000 1610030001 01", CV_PEER_DECODE},
		{"long second record", "1603010003 010000 1603034801 01", CV_PEER_TOO_LONG},
	};

	(void)state;
	for (size_t at = 0; at < sizeof(refused) / sizeof(refused[0]); at++) {
		for (size_t piece = 1; piece < 30; piece++) {
			struct cv_hello_assembler assembler;
			size_t used;

			bytes_set_hex(&stream, refused[at].hex);
			cv_hello_assembler_init(&assembler);
			if (assemble(&assembler, piece, &used) != refused[at].reason)
				fail_msg("%s in pieces of %zu", refused[at].what, piece);
			cv_hello_assembler_done(&assembler);
		}
	}
}

static void test_assembler_limits(void **state)
{
	struct cv_hello_assembler assembler;
	size_t used;

	(void)state;
	/* The largest record and the largest message are taken. */
	message.len = 0;
	bytes_add_hex(&message, "01 010000");
	bytes_add_fill(&message, 0x33, 65536);
	set_stream_records(16384 + 2048);
	cv_hello_assembler_init(&assembler);
	assert_int_equal(assemble(&assembler, 8192, &used), 0);
	assert_int_equal(used, stream.len);
	assert_int_equal(cv_buffer_len(&assembler.message), 65540);
	cv_hello_assembler_done(&assembler);
	/* After done it starts afresh. */
	bytes_set_hex(&message, hello_vector_hex);
	set_stream_records(189);
	assert_int_equal(assemble(&assembler, 1000, &used), 0);
	cv_hello_assembler_done(&assembler);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vector),
		cmocka_unit_test(test_hello_without_extensions),
		cmocka_unit_test(test_failure_leaves_the_result_alone),
		cmocka_unit_test(test_accepted_extensions),
		cmocka_unit_test(test_refused_extensions),
		cmocka_unit_test(test_refused_messages),
		cmocka_unit_test(test_refused_fields),
		cmocka_unit_test(test_too_long),
		cmocka_unit_test(test_server_name_lengths),
		cmocka_unit_test(test_server_name_of_other_types_is_skipped),
		cmocka_unit_test(test_versions),
		cmocka_unit_test(test_alpn_classes),
		cmocka_unit_test(test_shares_chrome),
		cmocka_unit_test(test_shares_order_and_lengths),
		cmocka_unit_test(test_assembler_any_cut),
		cmocka_unit_test(test_assembler_asks_for_more),
		cmocka_unit_test(test_assembler_refusals),
		cmocka_unit_test(test_assembler_limits),
	};

	return cmocka_run_group_tests_name("client_hello", tests, NULL, NULL);
}
