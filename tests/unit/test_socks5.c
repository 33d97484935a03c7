// SPDX-License-Identifier: MIT
/*
 * test_socks5.c - SOCKS5 A1-A4, A7, A8: methods, credentials, requests, replies, each conversation
 * in every segmentation.
 */
#include "wire/socks5.h"

#include <culvert/reason.h>

#include "wire_bytes.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct bytes input, expected;
static struct cv_buffer out;

static int setup_out(void **state)
{
	(void)state;
	cv_buffer_init(&out, 4096);
	return 0;
}

static int teardown_out(void **state)
{
	(void)state;
	cv_buffer_done(&out);
	return 0;
}

struct outcome {
	int result;
	size_t used;
};

/* What a session does: keeps what was not used, answers credentials; alice / "pw" is the user. */
static struct outcome drive(struct cv_socks5_server *server, bool need_auth, const char *hex,
			    size_t piece)
{
	struct outcome outcome = {.result = -EAGAIN};
	size_t seen = 0;

	bytes_set_hex(&input, hex);
	cv_buffer_consume(&out, cv_buffer_len(&out));
	cv_socks5_server_init(server, need_auth);
	while (outcome.result == -EAGAIN && seen < input.len) {
		seen = input.len - seen < piece ? input.len : seen + piece;
		do {
			size_t used;

			outcome.result = cv_socks5_server_read(
				server,
				cv_span_of(input.data + outcome.used, seen - outcome.used), &out,
				&used);
			outcome.used += used;
			if (outcome.result != 0 || server->state != CV_SOCKS5_EXPECT_VERDICT)
				break;
			outcome.result = cv_socks5_server_verdict(
				server,
				strcmp(server->user, "alice") == 0 &&
					strcmp(server->password, "pw") == 0,
				&out);
		} while (outcome.result == 0);
	}
	return outcome;
}

static void assert_out_hex(const char *hex)
{
	bytes_set_hex(&expected, hex);
	assert_int_equal(cv_buffer_len(&out), expected.len);
	if (expected.len > 0)
		assert_memory_equal(cv_buffer_bytes(&out), expected.data, expected.len);
}

#define AUTH_ALICE "01 05 616c696365 02 7077"
#define CONNECT_V4 "05 01 00 01 01020304 01bb"

static void test_accepted_in_every_segmentation(void **state)
{
	static const struct {
		bool need_auth;
		const char *hex, *out;
	} cases[] = {
		{false, "05 01 00" CONNECT_V4, "0500"},
		{false, "05 02 00 01" CONNECT_V4, "0500"}, /* curl */
		{false, "05 03 01 02 00" CONNECT_V4, "0500"},
		{true, "05 01 02" AUTH_ALICE CONNECT_V4, "0502 0100"},
		{true, "05 02 00 02" AUTH_ALICE CONNECT_V4, "0502 0100"},
		{true, "05 03 00 01 02" AUTH_ALICE CONNECT_V4, "0502 0100"},
	};

	(void)state;
	for (size_t at = 0; at < sizeof(cases) / sizeof(cases[0]); at++) {
		for (size_t piece = 1; piece < 40; piece++) {
			struct cv_socks5_server server;
			const struct outcome outcome =
				drive(&server, cases[at].need_auth, cases[at].hex, piece);

			assert_int_equal(outcome.result, 0);
			assert_int_equal(outcome.used, input.len);
			assert_int_equal(server.state, CV_SOCKS5_EXPECT_SERVICE);
			assert_int_equal(server.destination.kind, CV_ADDRESS_IPV4);
			assert_memory_equal(server.destination.ipv4, "\1\2\3\4", 4);
			assert_int_equal(server.destination.port, 443);
			assert_out_hex(cases[at].out);
		}
	}
}

static void test_data_behind_the_request_is_left(void **state)
{
	struct cv_socks5_server server;
	size_t used;

	(void)state;
	cv_socks5_server_init(&server, false);
	bytes_set_hex(&input, "05 01 00" CONNECT_V4 "474554202f");
	assert_int_equal(cv_socks5_server_read(&server, bytes_span(&input), &out, &used), 0);
	assert_int_equal(used, input.len - 5);
	/* Nothing more is taken while the caller connects. */
	assert_int_equal(cv_socks5_server_read(&server, cv_span_of("GET", 3), &out, &used), 0);
	assert_int_equal(used, 0);
}

static void test_refused_in_every_segmentation(void **state)
{
#define FAILED(rep) "05" rep "00 01 00000000 0000"
	static const struct {
		bool need_auth;
		const char *hex;
		int reason;
		const char *out;
	} cases[] = {
		/* not SOCKS5: not one byte back */
		{false, "04 01 0050 01020304 00", CV_PEER_PROTOCOL_VERSION, ""},
		{false, "434f4e4e454354", CV_PEER_PROTOCOL_VERSION, ""},
		{false, "160301", CV_PEER_PROTOCOL_VERSION, ""},
		/* methods */
		{false, "05 00", CV_PEER_NO_METHOD, "05ff"},
		{true, "05 00", CV_PEER_NO_METHOD, "05ff"},
		{true, "05 01 00", CV_PEER_NO_METHOD, "05ff"},
		{true, "05 02 00 01" CONNECT_V4, CV_PEER_NO_METHOD, "05ff"},
		{false, "05 01 02" AUTH_ALICE, CV_PEER_NO_METHOD, "05ff"},
		{false, "05 02 01 80", CV_PEER_NO_METHOD, "05ff"},
		/* credentials */
		{true, "05 01 02 02", CV_PEER_PROTOCOL_VERSION, "0502 0101"},
		{true, "05 01 02 01 00 02 7077", CV_PEER_CREDENTIALS, "0502 0101"},
		{true, "05 01 02 01 05 616c696365 00", CV_PEER_CREDENTIALS, "0502 0101"},
		{true, "05 01 02 01 05 616c696365 02 7078" CONNECT_V4, CV_PEER_CREDENTIALS,
		 "0502 0101"},
		{true, "05 01 02 01 06 616c69636500 02 7077", CV_PEER_CREDENTIALS, "0502 0101"},
		{true, "05 01 02 01 05 616c696365 03 707700", CV_PEER_CREDENTIALS, "0502 0101"},
		{true, "05 01 02 01 05 0061626364 02 7077", CV_PEER_CREDENTIALS, "0502 0101"},
		/* requests */
		{false, "05 01 00 04 01 00 01", CV_PEER_PROTOCOL_VERSION, "0500"},
		{false, "05 01 00 05 02 00 01 01020304 0050", CV_PEER_COMMAND, "0500" FAILED("07")},
		{false, "05 01 00 05 03 00 01 00000000 0000", CV_PEER_COMMAND, "0500" FAILED("07")},
		{false, "05 01 00 05 f0 00 03 01 61 0000", CV_PEER_COMMAND, "0500" FAILED("07")},
		{false, "05 01 00 05 00 00 01", CV_PEER_COMMAND, "0500" FAILED("07")},
		{false, "05 01 00 05 09 00 09", CV_PEER_COMMAND, "0500" FAILED("07")},
		{false, "05 01 00 05 01 00 00", CV_PEER_ADDRESS, "0500" FAILED("08")},
		{false, "05 01 00 05 01 00 02", CV_PEER_ADDRESS, "0500" FAILED("08")},
		{false, "05 01 00 05 01 00 05 0102", CV_PEER_ADDRESS, "0500" FAILED("08")},
		{false, "05 01 00 05 01 00 03 00 0050", CV_PEER_ADDRESS, "0500" FAILED("01")},
		{false, "05 01 00 05 01 00 03 03 612062 0050", CV_PEER_ADDRESS,
		 "0500" FAILED("04")},
		{false, "05 01 00 05 01 00 03 03 610062 0050", CV_PEER_ADDRESS,
		 "0500" FAILED("04")},
		{false, "05 01 00 05 01 00 03 01 2e 0050", CV_PEER_ADDRESS, "0500" FAILED("04")},
		{false, "05 01 00 05 01 00 03 03 612e2e 0050", CV_PEER_ADDRESS,
		 "0500" FAILED("04")},
		{true, "05 01 02" AUTH_ALICE "05 01 00 07", CV_PEER_ADDRESS,
		 "0502 0100" FAILED("08")},
	};

	(void)state;
	for (size_t at = 0; at < sizeof(cases) / sizeof(cases[0]); at++) {
		for (size_t piece = 1; piece < 40; piece++) {
			struct cv_socks5_server server;
			const struct outcome outcome =
				drive(&server, cases[at].need_auth, cases[at].hex, piece);

			if (outcome.result != cases[at].reason)
				fail_msg("%s: %d", cases[at].hex, outcome.result);
			assert_int_equal(server.state, CV_SOCKS5_FAILED);
			assert_out_hex(cases[at].out);
		}
	}
}

static void test_every_cut_asks_for_more(void **state)
{
	struct cv_socks5_server server;

	(void)state;
	bytes_set_hex(&input, "05 02 00 02" AUTH_ALICE "05 01 00 03 01 61 0050");
	const struct bytes whole = input;

	for (size_t cut = 0; cut < whole.len; cut++) {
		size_t used, total = 0;
		int result;

		cv_socks5_server_init(&server, true);
		for (;;) {
			result = cv_socks5_server_read(
				&server, cv_span_of(whole.data + total, cut - total), &out, &used);
			total += used;
			if (result != 0)
				break;
			assert_int_equal(server.state, CV_SOCKS5_EXPECT_VERDICT);
			assert_int_equal(cv_socks5_server_verdict(&server, true, &out), 0);
		}
		assert_int_equal(result, -EAGAIN);
		assert_int_equal(total, cut < 4 ? 0 : cut < 14 ? 4 : 14);
		cv_buffer_consume(&out, cv_buffer_len(&out));
	}
}

static void test_verdict_cleanses_the_password(void **state)
{
	static const char zeros[256];
	struct cv_socks5_server server;
	size_t used;

	(void)state;
	for (unsigned int accepted = 0; accepted < 2; accepted++) {
		cv_socks5_server_init(&server, true);
		bytes_set_hex(&input, "05 01 02" AUTH_ALICE);
		assert_int_equal(cv_socks5_server_read(&server, bytes_span(&input), &out, &used),
				 0);
		assert_string_equal(server.user, "alice");
		assert_int_equal(server.user_len, 5);
		assert_string_equal(server.password, "pw");
		assert_int_equal(server.password_len, 2);
		assert_int_equal(cv_socks5_server_verdict(&server, accepted == 1, &out),
				 accepted ? 0 : CV_PEER_CREDENTIALS);
		assert_memory_equal(server.password, zeros, sizeof(zeros));
		assert_int_equal(server.password_len, 0);
		assert_int_equal(server.state,
				 accepted ? CV_SOCKS5_EXPECT_REQUEST : CV_SOCKS5_FAILED);
		/* Only one verdict. */
		assert_int_equal(cv_socks5_server_verdict(&server, true, &out), CV_INTERNAL_STATE);
	}
}

/* Refused by the codec: the caller is never asked about it. */
static void test_empty_user_name(void **state)
{
	struct cv_socks5_server server;
	size_t used;

	(void)state;
	cv_socks5_server_init(&server, true);
	bytes_set_hex(&input, "05 01 02 01 00 02 7077");
	assert_int_equal(cv_socks5_server_read(&server, bytes_span(&input), &out, &used),
			 CV_PEER_CREDENTIALS);
	assert_int_equal(server.state, CV_SOCKS5_FAILED);
}

static void test_longest_credentials(void **state)
{
	struct cv_socks5_server server;
	size_t used;

	(void)state;
	cv_socks5_server_init(&server, true);
	bytes_set_hex(&input, "05 ff");
	bytes_add_fill(&input, 2, 255);
	bytes_add_hex(&input, "01 ff");
	bytes_add_fill(&input, 'u', 255);
	bytes_add_hex(&input, "ff");
	bytes_add_fill(&input, 'p', 255);
	assert_int_equal(cv_socks5_server_read(&server, bytes_span(&input), &out, &used), 0);
	assert_int_equal(used, input.len);
	assert_int_equal(strlen(server.user), 255);
	assert_int_equal(strlen(server.password), 255);
}

static void test_addresses(void **state)
{
	static const struct {
		const char *hex;
		enum cv_address_kind kind;
		const char *text;
	} cases[] = {
		{"05 01 00 01 01020304 0050", CV_ADDRESS_IPV4, "1.2.3.4:80"},
		{"05 01 ff 01 01020304 0050", CV_ADDRESS_IPV4, "1.2.3.4:80"}, /* RSV */
		{"05 01 00 04 20010db8000000000000000000000001 0050", CV_ADDRESS_IPV6,
		 "[2001:db8::1]:80"},
		{"05 01 00 04 00000000000000000000ffff01020304 0050", CV_ADDRESS_IPV4,
		 "1.2.3.4:80"},
		{"05 01 00 03 05 612e622e63 0050", CV_ADDRESS_DOMAIN, "a.b.c:80"},
		{"05 01 00 03 04 612e622e 0050", CV_ADDRESS_DOMAIN, "a.b:80"}, /* trailing dot */
		{"05 01 00 03 07 312e322e332e34 ffff", CV_ADDRESS_IPV4, "1.2.3.4:65535"},
		{"05 01 00 03 03 3a3a31 0000", CV_ADDRESS_IPV6, "[::1]:0"},
		{"05 01 00 03 05 5b3a3a315d 0050", CV_ADDRESS_IPV6, "[::1]:80"},
	};

	(void)state;
	for (size_t at = 0; at < sizeof(cases) / sizeof(cases[0]); at++) {
		struct cv_socks5_server server;
		char text[CV_DESTINATION_TEXT];
		size_t used;

		cv_socks5_server_init(&server, false);
		bytes_set_hex(&input, "05 01 00");
		bytes_add_hex(&input, cases[at].hex);
		assert_int_equal(cv_socks5_server_read(&server, bytes_span(&input), &out, &used),
				 0);
		assert_int_equal(used, input.len);
		assert_int_equal(server.destination.kind, cases[at].kind);
		cv_destination_format(&server.destination, text);
		assert_string_equal(text, cases[at].text);
	}
}

static void test_commands(void **state)
{
	static const struct {
		uint8_t commands;
		const char *hex;
		enum cv_socks5_command command; /* 0 = refused */
	} cases[] = {
		{0, "05 02 00 01 00000000 0000", 0},
		{0, "05 03 00 01 00000000 0000", 0},
		{1u << CV_SOCKS5_BIND, "05 02 00 01 01020304 0050", CV_SOCKS5_BIND},
		{1u << CV_SOCKS5_BIND, "05 03 00 01 00000000 0000", 0},
		{1u << CV_SOCKS5_UDP, "05 03 00 01 00000000 0000", CV_SOCKS5_UDP},
		{1u << CV_SOCKS5_UDP, "05 02 00 01 00000000 0000", 0},
		{0xff, "05 01 00 01 01020304 0050", CV_SOCKS5_CONNECT},
		{0xff, "05 00 00 01 01020304 0050", 0},
		{0x0e, "05 04 00 01 01020304 0050", 0},
		{0x0e, "05 f0 00 01 01020304 0050", 0},
		{0x0e, "05 21 00 01 01020304 0050", 0},
	};

	(void)state;
	for (size_t at = 0; at < sizeof(cases) / sizeof(cases[0]); at++) {
		struct cv_socks5_server server;
		size_t used;

		cv_buffer_consume(&out, cv_buffer_len(&out));
		cv_socks5_server_init(&server, false);
		server.commands |= cases[at].commands & 0x0e;
		bytes_set_hex(&input, "05 01 00");
		bytes_add_hex(&input, cases[at].hex);
		if (cases[at].command) {
			assert_int_equal(cv_socks5_server_read(&server, bytes_span(&input), &out,
							       &used),
					 0);
			assert_int_equal(server.command, cases[at].command);
			assert_out_hex("0500");
		} else {
			assert_int_equal(cv_socks5_server_read(&server, bytes_span(&input), &out,
							       &used),
					 CV_PEER_COMMAND);
			assert_out_hex("0500 05 07 00 01 00000000 0000");
		}
	}
}

static void test_bound_replies(void **state)
{
	struct cv_destination bound;

	(void)state;
	assert_int_equal(cv_destination_set_text(&bound, "1.2.3.4", 4660), 0);
	assert_int_equal(cv_socks5_server_reply_bound(&bound, &out), 0);
	assert_out_hex("05 00 00 01 01020304 1234");
	cv_buffer_consume(&out, cv_buffer_len(&out));
	assert_int_equal(cv_destination_set_text(&bound, "::1", 4660), 0);
	assert_int_equal(cv_socks5_server_reply_bound(&bound, &out), 0);
	assert_out_hex("05 00 00 04 00000000000000000000000000000001 1234");
}

static void test_full_out_buffer(void **state)
{
	struct cv_socks5_server server;
	struct cv_buffer tiny;
	size_t used;

	(void)state;
	cv_buffer_init(&tiny, 1);
	cv_socks5_server_init(&server, false);
	bytes_set_hex(&input, "05 01 00");
	assert_int_equal(cv_socks5_server_read(&server, bytes_span(&input), &tiny, &used),
			 CV_PEER_TOO_LONG);
	assert_int_equal(server.state, CV_SOCKS5_FAILED);
	cv_buffer_done(&tiny);
}

static void test_replies(void **state)
{
	static const struct {
		int reason;
		enum cv_socks5_reply reply;
	} cases[] = {
		{0, CV_SOCKS5_SUCCEEDED},
		{-EMFILE, CV_SOCKS5_GENERAL},
		{CV_INTERNAL_RESOURCE, CV_SOCKS5_GENERAL},
		{CV_UPSTREAM_DECODE, CV_SOCKS5_GENERAL},
		{CV_POLICY_BLOCKED, CV_SOCKS5_NOT_ALLOWED},
		{CV_POLICY_PRIVATE_TARGET, CV_SOCKS5_NOT_ALLOWED},
		{-EACCES, CV_SOCKS5_NOT_ALLOWED},
		{CV_UPSTREAM_NO_ROUTE, CV_SOCKS5_NET_UNREACHABLE},
		{-ENETUNREACH, CV_SOCKS5_NET_UNREACHABLE},
		{-EAFNOSUPPORT, CV_SOCKS5_NET_UNREACHABLE},
		{-EHOSTUNREACH, CV_SOCKS5_HOST_UNREACHABLE},
		{-ETIMEDOUT, CV_SOCKS5_HOST_UNREACHABLE},
		{CV_UPSTREAM_RESOLVE, CV_SOCKS5_HOST_UNREACHABLE},
		{-ECONNREFUSED, CV_SOCKS5_REFUSED},
		{CV_UPSTREAM_REFUSED, CV_SOCKS5_REFUSED},
		{CV_UPSTREAM_TIMEOUT, CV_SOCKS5_TTL_EXPIRED},
		{CV_UPSTREAM_SAYS_FAILURE, CV_SOCKS5_GENERAL},
		{CV_UPSTREAM_SAYS_FORBIDDEN, CV_SOCKS5_NOT_ALLOWED},
		{CV_UPSTREAM_SAYS_NO_ROUTE, CV_SOCKS5_NET_UNREACHABLE},
		{CV_UPSTREAM_SAYS_UNREACHABLE, CV_SOCKS5_HOST_UNREACHABLE},
		{CV_UPSTREAM_SAYS_REFUSED, CV_SOCKS5_REFUSED},
		{CV_UPSTREAM_SAYS_UNAVAILABLE, CV_SOCKS5_REFUSED},
		{CV_UPSTREAM_SAYS_TIMEOUT, CV_SOCKS5_TTL_EXPIRED},
		{CV_UPSTREAM_SAYS_COMMAND, CV_SOCKS5_COMMAND},
		{CV_UPSTREAM_SAYS_ADDRESS_TYPE, CV_SOCKS5_ADDRESS_TYPE},
		{CV_UPSTREAM_FAILED, CV_SOCKS5_GENERAL},
	};

	(void)state;
	for (size_t at = 0; at < sizeof(cases) / sizeof(cases[0]); at++)
		assert_int_equal(cv_socks5_reply_of(cases[at].reason), cases[at].reply);
	assert_int_equal(cv_socks5_server_reply(CV_SOCKS5_REFUSED, &out), 0);
	assert_out_hex("05 05 00 01 00000000 0000");
}

int main(void)
{
#define OUT_TEST(name) cmocka_unit_test_setup_teardown(name, setup_out, teardown_out)
	const struct CMUnitTest tests[] = {
		OUT_TEST(test_accepted_in_every_segmentation),
		OUT_TEST(test_data_behind_the_request_is_left),
		OUT_TEST(test_refused_in_every_segmentation),
		OUT_TEST(test_every_cut_asks_for_more),
		OUT_TEST(test_verdict_cleanses_the_password),
		OUT_TEST(test_empty_user_name),
		OUT_TEST(test_longest_credentials),
		OUT_TEST(test_addresses),
		OUT_TEST(test_commands),
		OUT_TEST(test_bound_replies),
		cmocka_unit_test(test_full_out_buffer),
		OUT_TEST(test_replies),
	};

	return cmocka_run_group_tests_name("socks5", tests, NULL, NULL);
}
