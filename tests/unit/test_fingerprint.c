// SPDX-License-Identifier: MIT
/*
 * test_fingerprint.c - our hellos against what browsers are known to send.
 *
 * The JA4 strings are those that public collections recorded from the browsers themselves; they
 * cover suites, extension types and signature schemes. The rest (shares, GREASE, ECH shape, order)
 * is checked field by field.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cursor.h"
#include "base/reason.h"
#include "crypto/crypto.h"
#include "protocol/fingerprint.h"
#include "wire/client_hello.h"

#define TYPES_MAX 64

struct parsed {
	uint16_t suites[TYPES_MAX];
	size_t suite_count;
	uint16_t types[TYPES_MAX];
	struct cv_span bodies[TYPES_MAX];
	size_t type_count;
};

static uint8_t random_bytes[32], session_id[32], x25519[32], hybrid[32], mlkem[1184], p256[65];

static struct cv_hello_inputs inputs_for(const char *server_name)
{
	memset(random_bytes, 0x11, sizeof(random_bytes));
	memset(session_id, 0x22, sizeof(session_id));
	memset(x25519, 0x33, sizeof(x25519));
	memset(hybrid, 0x44, sizeof(hybrid));
	memset(mlkem, 0x55, sizeof(mlkem));
	memset(p256, 0x66, sizeof(p256));
	return (struct cv_hello_inputs){
		.server_name = server_name, .random = random_bytes, .session_id = session_id,
		.x25519_public = x25519, .hybrid_x25519 = hybrid, .mlkem_public = mlkem,
		.p256_public = p256,
	};
}

static bool is_grease(uint16_t value)
{
	return (value & 0x0f0f) == 0x0a0a && value >> 8 == (value & 0xff);
}

static void parse(struct cv_span message, struct parsed *parsed)
{
	struct cv_reader reader = cv_reader_of(message.data, message.len_bytes);
	struct cv_reader list;

	memset(parsed, 0, sizeof(*parsed));
	cv_read_bytes(&reader, 4 + 2 + 32);
	cv_read_vector8(&reader);
	list = cv_read_vector16(&reader);
	while (cv_reader_left(&list))
		parsed->suites[parsed->suite_count++] = cv_read_u16(&list);
	cv_read_vector8(&reader);
	list = cv_read_vector16(&reader);
	while (cv_reader_left(&list)) {
		struct cv_reader body;

		parsed->types[parsed->type_count] = cv_read_u16(&list);
		body = cv_read_vector16(&list);
		parsed->bodies[parsed->type_count++] = cv_span_of(body.at, cv_reader_left(&body));
	}
	assert_true(cv_reader_ended(&reader));
	assert_false(list.failed);
}

static struct cv_span body_of(const struct parsed *parsed, uint16_t type)
{
	for (size_t i = 0; i < parsed->type_count; i++)
		if (parsed->types[i] == type)
			return parsed->bodies[i];
	return cv_span_of(NULL, 0);
}

static bool has_type(const struct parsed *parsed, uint16_t type)
{
	for (size_t i = 0; i < parsed->type_count; i++)
		if (parsed->types[i] == type)
			return true;
	return false;
}

static int compare_u16(const void *a, const void *b)
{
	return (int)*(const uint16_t *)a - (int)*(const uint16_t *)b;
}

static void hash12(const char *text, char out[13])
{
	uint8_t digest[32];

	assert_int_equal(cv_hash(CV_SHA256, text, strlen(text), digest), 0);
	for (int i = 0; i < 6; i++)
		sprintf(out + 2 * i, "%02x", digest[i]);
}

static size_t append_list(char *text, size_t at, uint16_t *values, size_t count)
{
	for (size_t i = 0; i < count; i++)
		at += (size_t)sprintf(text + at, "%s%04x", i ? "," : "", values[i]);
	return at;
}

/* JA4 as its authors define it, TCP, TLS 1.3, SNI present. */
static void ja4(const struct parsed *parsed, char out[64])
{
	uint16_t suites[TYPES_MAX], types[TYPES_MAX], schemes[TYPES_MAX];
	size_t suite_count = 0, type_count = 0, shown = 0, scheme_count = 0, at;
	struct cv_span body = body_of(parsed, 13);
	struct cv_reader reader = cv_reader_of(body.data, body.len_bytes);
	char text[2048], suites_hash[13], types_hash[13];

	for (size_t i = 0; i < parsed->suite_count; i++)
		if (!is_grease(parsed->suites[i]))
			suites[suite_count++] = parsed->suites[i];
	for (size_t i = 0; i < parsed->type_count; i++) {
		if (is_grease(parsed->types[i]))
			continue;
		shown++;
		if (parsed->types[i] != 0 && parsed->types[i] != 16)
			types[type_count++] = parsed->types[i];
	}
	cv_read_u16(&reader);
	while (cv_reader_left(&reader))
		schemes[scheme_count++] = cv_read_u16(&reader);
	qsort(suites, suite_count, sizeof(suites[0]), compare_u16);
	qsort(types, type_count, sizeof(types[0]), compare_u16);
	append_list(text, 0, suites, suite_count);
	hash12(text, suites_hash);
	at = append_list(text, 0, types, type_count);
	text[at++] = '_';
	append_list(text, at, schemes, scheme_count);
	hash12(text, types_hash);
	sprintf(out, "t13d%02zu%02zuh2_%s_%s", suite_count, shown, suites_hash, types_hash);
}

static struct cv_buffer build(enum cv_fingerprint fingerprint, const struct cv_hello_inputs *inputs)
{
	struct cv_buffer out;

	cv_buffer_init(&out, 16384);
	assert_int_equal(cv_fingerprint_build(fingerprint, inputs, &out), 0);
	return out;
}

static void check_ja4(enum cv_fingerprint fingerprint, const char *expected)
{
	struct cv_hello_inputs inputs = inputs_for("www.example.com");
	struct cv_buffer out = build(fingerprint, &inputs);
	struct parsed parsed;
	char text[64];

	parse(cv_buffer_span(&out), &parsed);
	ja4(&parsed, text);
	assert_string_equal(text, expected);
	cv_buffer_done(&out);
}

static void ja4_is_the_browsers(void **state)
{
	(void)state;
	for (int i = 0; i < 8; i++) {
		check_ja4(CV_FINGERPRINT_CHROME, "t13d1516h2_8daaf6152771_806a8c22fdea");
		check_ja4(CV_FINGERPRINT_FIREFOX, "t13d1717h2_5b57614c22b0_3cbfd9057e0d");
		check_ja4(CV_FINGERPRINT_SAFARI, "t13d2013h2_a09f3c656075_7f0f34a4126d");
	}
}

static void hello_parses_as_reality_demands(void **state)
{
	static const enum cv_fingerprint all[] = {CV_FINGERPRINT_CHROME, CV_FINGERPRINT_FIREFOX,
						  CV_FINGERPRINT_SAFARI, CV_FINGERPRINT_GO};

	(void)state;
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		struct cv_hello_inputs inputs = inputs_for("www.example.com");
		struct cv_buffer out = build(all[i], &inputs);
		struct cv_client_hello hello;

		assert_int_equal(cv_client_hello_parse(cv_buffer_span(&out), &hello), 0);
		assert_string_equal(hello.server_name, "www.example.com");
		assert_true(hello.offers_tls13);
		assert_true(hello.hybrid_before_x25519);
		assert_int_equal(hello.session_id.len_bytes, 32);
		assert_memory_equal(hello.session_id.data, session_id, 32);
		assert_memory_equal(hello.random, random_bytes, 32);
		assert_memory_equal(hello.x25519_share.data, x25519, 32);
		assert_memory_equal(hello.hybrid_share.data, mlkem, 1184);
		assert_memory_equal(hello.hybrid_share.data + 1184, hybrid, 32);
		assert_int_equal(hello.alpn_class, all[i] == CV_FINGERPRINT_GO ? CV_ALPN_OTHER
									       : CV_ALPN_H2);
		cv_buffer_done(&out);
	}
}

/* A probe's hello differs from the browser's in nothing but what it leaves out. */
static void probes_leave_out_what_they_say(void **state)
{
	static const struct {
		struct cv_hello_omissions omit;
		size_t shorter;
	} cases[] = {{{.sha384 = true}, 2},
		     {{.sha256 = true}, 4},
		     {{.hybrid = true}, 2 + 4 + 1184 + 32},
		     {{.hybrid = true, .sha256 = true}, 2 + 4 + 1184 + 32 + 4}};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct cv_hello_inputs inputs = inputs_for("www.example.com");
		struct cv_buffer whole = build(CV_FINGERPRINT_GO, &inputs), out;
		struct cv_client_hello hello;

		inputs.omit = cases[i].omit;
		out = build(CV_FINGERPRINT_GO, &inputs);
		assert_int_equal(cv_buffer_len(&out) + cases[i].shorter, cv_buffer_len(&whole));
		assert_int_equal(cv_client_hello_parse(cv_buffer_span(&out), &hello), 0);
		assert_true(hello.offers_tls13);
		assert_int_equal(hello.hybrid_share.len_bytes, inputs.omit.hybrid ? 0 : 1216);
		assert_memory_equal(hello.x25519_share.data, x25519, 32);
		cv_buffer_done(&whole);
		cv_buffer_done(&out);
	}
}

static void chrome_permutes_between_grease(void **state)
{
	struct cv_hello_inputs inputs = inputs_for("www.example.com");
	uint16_t first[TYPES_MAX] = {0};
	int different = 0;
	uint32_t first_seen = 0; /* which types were seen right after the leading GREASE */

	(void)state;
	for (int round = 0; round < 64; round++) {
		struct cv_buffer out = build(CV_FINGERPRINT_CHROME, &inputs);
		struct parsed parsed;

		parse(cv_buffer_span(&out), &parsed);
		assert_int_equal(parsed.type_count, 18);
		assert_true(is_grease(parsed.types[0]));
		assert_true(is_grease(parsed.types[17]));
		assert_int_not_equal(parsed.types[0], parsed.types[17]);
		assert_int_equal(parsed.bodies[0].len_bytes, 0);
		assert_int_equal(parsed.bodies[17].len_bytes, 1);
		assert_int_equal(parsed.bodies[17].data[0], 0);
		if (round == 0)
			memcpy(first, parsed.types, sizeof(first));
		else
			different += memcmp(first + 1, parsed.types + 1, 16 * 2) != 0;
		first_seen |= 1u << (parsed.types[1] % 31);
		cv_buffer_done(&out);
	}
	assert_true(different >= 62);
	assert_true(__builtin_popcount(first_seen) > 6);
}

static void chrome_greases_consistently(void **state)
{
	struct cv_hello_inputs inputs = inputs_for("www.example.com");
	struct cv_buffer out = build(CV_FINGERPRINT_CHROME, &inputs);
	struct cv_span groups, shares, versions, alps, compress;
	struct parsed parsed;

	(void)state;
	parse(cv_buffer_span(&out), &parsed);
	groups = body_of(&parsed, 10);
	shares = body_of(&parsed, 51);
	versions = body_of(&parsed, 43);
	alps = body_of(&parsed, 0x44cd);
	compress = body_of(&parsed, 27);
	assert_true(is_grease(parsed.suites[0]));
	assert_int_equal(groups.len_bytes, 2 + 10);
	assert_true(is_grease((uint16_t)(groups.data[2] << 8 | groups.data[3])));
	assert_memory_equal(groups.data + 2, shares.data + 2, 2); /* same GREASE group in both */
	assert_memory_equal(shares.data + 4, "\x00\x01\x00\x11\xec\x04\xc0", 7);
	assert_int_equal(shares.len_bytes, 2 + 5 + 4 + 1216 + 4 + 32);
	assert_int_equal(versions.len_bytes, 7);
	assert_true(is_grease((uint16_t)(versions.data[1] << 8 | versions.data[2])));
	assert_memory_equal(versions.data + 3, "\x03\x04\x03\x03", 4);
	assert_memory_equal(alps.data, "\x00\x03\x02h2", 5);
	assert_memory_equal(compress.data, "\x02\x00\x02", 3);
	cv_buffer_done(&out);
}

static void check_ech(enum cv_fingerprint fingerprint, const size_t *lengths, size_t count)
{
	struct cv_hello_inputs inputs = inputs_for("www.example.com");

	for (int round = 0; round < 16; round++) {
		struct cv_buffer out = build(fingerprint, &inputs);
		struct parsed parsed;
		struct cv_span ech;
		bool known = false;

		parse(cv_buffer_span(&out), &parsed);
		ech = body_of(&parsed, 0xfe0d);
		assert_true(ech.len_bytes > 42);
		assert_memory_equal(ech.data, "\x00\x00\x01\x00", 4);
		assert_memory_equal(ech.data + 6, "\x00\x20", 2);
		assert_int_equal(ech.data[8 + 31] & 0x80, 0); /* an X25519 key, not noise */
		for (size_t i = 0; i < count; i++)
			known |= ech.len_bytes == 42 + lengths[i] &&
				 (size_t)(ech.data[40] << 8 | ech.data[41]) == lengths[i];
		assert_true(known);
		cv_buffer_done(&out);
	}
}

static void grease_ech_has_the_right_shape(void **state)
{
	static const size_t chrome[] = {144, 176, 208, 240}, firefox[] = {239};

	(void)state;
	check_ech(CV_FINGERPRINT_CHROME, chrome, 4);
	check_ech(CV_FINGERPRINT_FIREFOX, firefox, 1);
}

static void firefox_order_and_shares(void **state)
{
	static const uint16_t order[] = {0,  23, 0xff01, 10, 11, 35, 16, 5,     34,
					 18, 51, 43,     13, 45, 28, 27, 0xfe0d};
	struct cv_hello_inputs inputs = inputs_for("www.example.com");
	struct cv_buffer out = build(CV_FINGERPRINT_FIREFOX, &inputs);
	struct parsed parsed;
	struct cv_span shares;

	(void)state;
	parse(cv_buffer_span(&out), &parsed);
	assert_int_equal(parsed.type_count, 17);
	assert_memory_equal(parsed.types, order, sizeof(order));
	shares = body_of(&parsed, 51);
	assert_int_equal(shares.len_bytes, 2 + 4 + 1216 + 4 + 32 + 4 + 65);
	assert_memory_equal(shares.data + 2 + 4 + 1216 + 4 + 32, "\x00\x17\x00\x41\x66", 5);
	assert_memory_equal(body_of(&parsed, 28).data, "\x40\x01", 2);
	assert_memory_equal(body_of(&parsed, 27).data, "\x06\x00\x01\x00\x02\x00\x03", 7);
	assert_memory_equal(body_of(&parsed, 34).data,
			    "\x00\x08\x04\x03\x05\x03\x06\x03\x02\x03", 10);
	assert_true(cv_fingerprint_sends_p256(CV_FINGERPRINT_FIREFOX));
	assert_true(cv_fingerprint_reuses_x25519(CV_FINGERPRINT_FIREFOX));
	assert_false(cv_fingerprint_sends_p256(CV_FINGERPRINT_CHROME));
	assert_false(cv_fingerprint_reuses_x25519(CV_FINGERPRINT_CHROME));
	cv_buffer_done(&out);
}

static void absent_names_leave_no_trace(void **state)
{
	static const char *const none[] = {NULL}, *const http1[] = {"http/1.1", NULL};
	struct cv_hello_inputs inputs = inputs_for("");
	struct cv_client_hello hello;
	struct parsed parsed;
	struct cv_buffer out;

	(void)state;
	inputs.alpn = none;
	out = build(CV_FINGERPRINT_CHROME, &inputs);
	assert_int_equal(cv_client_hello_parse(cv_buffer_span(&out), &hello), 0);
	assert_false(hello.has_server_name);
	assert_int_equal(hello.alpn_class, CV_ALPN_NONE);
	parse(cv_buffer_span(&out), &parsed);
	assert_false(has_type(&parsed, 0));
	assert_false(has_type(&parsed, 16));
	assert_false(has_type(&parsed, 0x44cd)); /* ALPS speaks about h2 only */
	cv_buffer_done(&out);

	inputs.alpn = http1;
	out = build(CV_FINGERPRINT_CHROME, &inputs);
	parse(cv_buffer_span(&out), &parsed);
	assert_true(has_type(&parsed, 16));
	assert_false(has_type(&parsed, 0x44cd));
	cv_buffer_done(&out);
}

static void oversized_input_is_refused(void **state)
{
	struct cv_hello_inputs inputs;
	struct cv_buffer out;
	char *name = malloc(9001);

	(void)state;
	assert_non_null(name);
	memset(name, 'a', 9000);
	name[9000] = '\0';
	inputs = inputs_for(name);
	cv_buffer_init(&out, 65536);
	assert_int_equal(cv_fingerprint_build(CV_FINGERPRINT_CHROME, &inputs, &out),
			 CV_INTERNAL_STATE);
	assert_int_equal(cv_buffer_len(&out), 0);
	inputs = inputs_for("a.example");
	assert_int_equal(cv_fingerprint_build(CV_FINGERPRINT_RANDOM, &inputs, &out),
			 CV_INTERNAL_STATE);
	cv_buffer_done(&out);
	free(name);
}

static void retry_changes_only_what_it_must(void **state)
{
	struct cv_hello_inputs inputs = inputs_for("www.example.com");
	struct cv_buffer first = build(CV_FINGERPRINT_CHROME, &inputs);
	struct cv_span cookie = cv_span_of("cookie!", 7), share = cv_span_of(p256, sizeof(p256));
	struct cv_client_hello hello;
	struct parsed before, after;
	struct cv_buffer second;
	size_t at = 0;

	(void)state;
	cv_buffer_init(&second, 16384);
	assert_int_equal(cv_fingerprint_retry(cv_buffer_span(&first), 0x0017, share, cookie,
					      &second), 0);
	assert_int_equal(cv_client_hello_parse(cv_buffer_span(&second), &hello), 0);
	assert_memory_equal(hello.session_id.data, session_id, 32);
	parse(cv_buffer_span(&first), &before);
	parse(cv_buffer_span(&second), &after);
	assert_int_equal(after.type_count, before.type_count + 1);
	for (size_t i = 0; i < before.type_count; i++, at++) {
		if (after.types[at] == 44) {
			assert_int_equal(after.bodies[at].len_bytes, 9);
			assert_memory_equal(after.bodies[at].data, "\x00\x07" "cookie!", 9);
			at++;
		}
		assert_int_equal(after.types[at], before.types[i]);
		if (before.types[i] == 51) {
			assert_int_equal(after.bodies[at].len_bytes, 2 + 4 + 65);
			assert_memory_equal(after.bodies[at].data,
					    "\x00\x45\x00\x17\x00\x41\x66", 7);
			continue;
		}
		assert_int_equal(after.bodies[at].len_bytes, before.bodies[i].len_bytes);
		if (before.bodies[i].len_bytes)
			assert_memory_equal(after.bodies[at].data, before.bodies[i].data,
					    before.bodies[i].len_bytes);
	}
	cv_buffer_done(&second);

	/* cookie only: the shares stay */
	cv_buffer_init(&second, 16384);
	assert_int_equal(cv_fingerprint_retry(cv_buffer_span(&first), 0, cv_span_of(NULL, 0),
					      cookie, &second), 0);
	assert_int_equal(cv_client_hello_parse(cv_buffer_span(&second), &hello), 0);
	assert_memory_equal(hello.x25519_share.data, x25519, 32);
	cv_buffer_consume(&second, cv_buffer_len(&second));

	/* a hello cut short is refused at every length */
	for (size_t len = 0; len < cv_buffer_len(&first); len += 13)
		assert_int_equal(cv_fingerprint_retry(cv_span_of(cv_buffer_bytes(&first), len),
						      0x17, share, cookie, &second),
				 CV_INTERNAL_STATE);
	cv_buffer_done(&second);
	cv_buffer_done(&first);
}

static void names_are_those_of_xray(void **state)
{
	static const struct {
		const char *name;
		int result;
		enum cv_fingerprint fingerprint;
	} cases[] = {
		{NULL, 0, CV_FINGERPRINT_CHROME}, {"", 0, CV_FINGERPRINT_CHROME},
		{"chrome", 0, CV_FINGERPRINT_CHROME}, {"Chrome", 0, CV_FINGERPRINT_CHROME},
		{"edge", 0, CV_FINGERPRINT_CHROME}, {"qq", 0, CV_FINGERPRINT_CHROME},
		{"firefox", 0, CV_FINGERPRINT_FIREFOX}, {"safari", 0, CV_FINGERPRINT_SAFARI},
		{"ios", 0, CV_FINGERPRINT_SAFARI}, {"random", 0, CV_FINGERPRINT_RANDOM},
		{"randomized", 0, CV_FINGERPRINT_RANDOM},
		{"hellochrome_133", 0, CV_FINGERPRINT_CHROME},
		{"HelloFirefox_148", 0, CV_FINGERPRINT_FIREFOX},
		{"hellosafari_26_3", 0, CV_FINGERPRINT_SAFARI},
		{"helloios_14", 0, CV_FINGERPRINT_SAFARI},
		{"hellochrome_58", CV_INTERNAL_CONFIG, 0}, {"helloios_11_1", CV_INTERNAL_CONFIG, 0},
		{"android", CV_INTERNAL_CONFIG, 0},
		{"helloandroid_11_okhttp", CV_INTERNAL_CONFIG, 0},
		{"360", CV_INTERNAL_CONFIG, 0}, {"unsafe", CV_INTERNAL_CONFIG, 0},
		{"hellogolang", CV_INTERNAL_CONFIG, 0}, {"chrom", CV_INTERNAL_CONFIG, 0},
		{"hellochrome_", CV_INTERNAL_CONFIG, 0}, {"go", CV_INTERNAL_CONFIG, 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		enum cv_fingerprint got = CV_FINGERPRINT_GO;

		assert_int_equal(cv_fingerprint_parse(cases[i].name, &got), cases[i].result);
		assert_int_equal(got, cases[i].result ? CV_FINGERPRINT_GO : cases[i].fingerprint);
	}
}

static void random_resolves_to_browsers(void **state)
{
	unsigned seen = 0;

	(void)state;
	for (int i = 0; i < 200; i++) {
		enum cv_fingerprint got = cv_fingerprint_resolve(CV_FINGERPRINT_RANDOM);

		assert_true(got == CV_FINGERPRINT_CHROME || got == CV_FINGERPRINT_FIREFOX ||
			    got == CV_FINGERPRINT_SAFARI);
		seen |= 1u << got;
	}
	assert_int_equal(seen, 7);
	assert_int_equal(cv_fingerprint_resolve(CV_FINGERPRINT_GO), CV_FINGERPRINT_GO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ja4_is_the_browsers),
		cmocka_unit_test(hello_parses_as_reality_demands),
		cmocka_unit_test(probes_leave_out_what_they_say),
		cmocka_unit_test(chrome_permutes_between_grease),
		cmocka_unit_test(chrome_greases_consistently),
		cmocka_unit_test(grease_ech_has_the_right_shape),
		cmocka_unit_test(firefox_order_and_shares),
		cmocka_unit_test(absent_names_leave_no_trace),
		cmocka_unit_test(oversized_input_is_refused),
		cmocka_unit_test(retry_changes_only_what_it_must),
		cmocka_unit_test(names_are_those_of_xray),
		cmocka_unit_test(random_resolves_to_browsers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
