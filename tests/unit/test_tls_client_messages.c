// SPDX-License-Identifier: MIT
/*
 * test_tls_client_messages.c - a server made by hand, for what OpenSSL's does not do: ALPS,
 * certificates compressed by every algorithm, cookies, odd cuts of messages over records, and
 * every way to break the rules behind ServerHello.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <zlib.h>
#include <zstd.h>

#include "base/cursor.h"
#include "base/reason.h"
#include "crypto/crypto.h"
#include "protocol/tls_client_state.h"
#include "wire/client_hello.h"

#define SUITE 0x1301

static const uint8_t some_key[32] = {9};
static EVP_PKEY *key;
static uint8_t *certificate;
static int certificate_len;

static int make_certificate(void **state)
{
	X509 *x509 = X509_new();

	(void)state;
	key = EVP_EC_gen("P-256");
	X509_set_version(x509, 2);
	X509_gmtime_adj(X509_getm_notBefore(x509), -3600);
	X509_gmtime_adj(X509_getm_notAfter(x509), 86400);
	X509_set_pubkey(x509, key);
	assert_true(X509_sign(x509, key, EVP_sha256()) > 0);
	certificate_len = i2d_X509(x509, &certificate);
	X509_free(x509);
	return certificate_len > 0 ? 0 : -1;
}

static int free_certificate(void **state)
{
	(void)state;
	EVP_PKEY_free(key);
	OPENSSL_free(certificate);
	return 0;
}

/* ---- the server ---- */

struct server {
	struct cv_tls_client *client;
	const struct cv_tls_suite *suite;
	struct cv_transcript *transcript;
	struct cv_tls_secrets secrets;
	struct cv_tls_keys tx, rx;
	struct cv_buffer flight; /* messages not yet sent */
	int result;
};

static const uint8_t retry_random[] = {
	0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c,
	0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb,
	0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c};

static void start(struct server *server, enum cv_fingerprint fingerprint)
{
	const struct cv_tls_client_config config = {
		.server_name = "www.example.com", .fingerprint = fingerprint};

	memset(server, 0, sizeof(*server));
	server->suite = cv_tls_suite_find(SUITE);
	server->transcript = cv_transcript_new(server->suite->hash);
	cv_buffer_init(&server->flight, 1 << 20);
	server->client = cv_tls_client_new(&config, 0);
	assert_non_null(server->client);
}

static void stop(struct server *server)
{
	cv_tls_client_free(server->client);
	cv_transcript_free(server->transcript);
	cv_tls_keys_done(&server->tx);
	cv_tls_keys_done(&server->rx);
	cv_buffer_done(&server->flight);
}

static int feed(struct server *server, const uint8_t *bytes, size_t len)
{
	struct cv_span span = cv_span_of(bytes, len);

	server->result = cv_tls_client_read(server->client, &span);
	return server->result;
}

static int feed_plain(struct server *server, uint8_t type, const uint8_t *bytes, size_t len)
{
	uint8_t record[CV_TLS_RECORD_MAX] = {type, 3, 3, (uint8_t)(len >> 8), (uint8_t)len};

	memcpy(record + CV_TLS_HEADER, bytes, len);
	return feed(server, record, CV_TLS_HEADER + len);
}

static int feed_protected(struct server *server, uint8_t type, const uint8_t *bytes, size_t len,
			  size_t total_len)
{
	struct cv_buffer record;

	cv_buffer_init(&record, CV_TLS_RECORD_MAX);
	assert_int_equal(cv_tls_record_seal(&server->tx, type, bytes, len, total_len, &record), 0);
	feed(server, cv_buffer_bytes(&record), cv_buffer_len(&record));
	cv_buffer_done(&record);
	return server->result;
}

/* The hello in the client's output; output is consumed up to its end. */
static struct cv_client_hello take_hello(struct server *server, uint8_t *copy, size_t size)
{
	struct cv_buffer *output = cv_tls_client_output(server->client);
	const uint8_t *bytes = cv_buffer_bytes(output);
	struct cv_client_hello hello;
	size_t len;

	assert_int_equal(bytes[0], CV_TLS_HANDSHAKE);
	len = (size_t)(bytes[3] << 8 | bytes[4]);
	assert_true(len <= size);
	memcpy(copy, bytes + CV_TLS_HEADER, len);
	cv_buffer_consume(output, CV_TLS_HEADER + len);
	assert_int_equal(cv_client_hello_parse(cv_span_of(copy, len), &hello), 0);
	return hello;
}

struct hello_answer {
	uint16_t version, suite;
	bool retry, no_share, unknown_extension, wrong_session_id;
	const char *cookie;
};

static size_t write_answer(const struct hello_answer *answer, const struct cv_client_hello *hello,
			   const uint8_t public_key[32], uint8_t *out, size_t size)
{
	struct cv_writer writer = cv_writer_of(out, size);
	uint8_t random[32] = {1}, session_id[32];
	size_t message, list, mark;

	memcpy(session_id, hello->session_id.data, 32);
	session_id[0] ^= answer->wrong_session_id;
	cv_write_u8(&writer, 2);
	message = cv_write_open24(&writer);
	cv_write_u16(&writer, 0x0303);
	cv_write_bytes(&writer, answer->retry ? retry_random : random, 32);
	cv_write_u8(&writer, 32);
	cv_write_bytes(&writer, session_id, 32);
	cv_write_u16(&writer, answer->suite);
	cv_write_u8(&writer, 0);
	list = cv_write_open16(&writer);
	cv_write_u32(&writer, 0x002b0002);
	cv_write_u16(&writer, answer->version);
	if (answer->cookie) {
		cv_write_u16(&writer, 44);
		mark = cv_write_open16(&writer);
		cv_write_u16(&writer, (uint16_t)strlen(answer->cookie));
		cv_write_bytes(&writer, answer->cookie, strlen(answer->cookie));
		cv_write_close16(&writer, mark);
	}
	if (!answer->retry && !answer->no_share) {
		cv_write_u32(&writer, 0x00330024);
		cv_write_u32(&writer, 0x001d0020);
		cv_write_bytes(&writer, public_key, 32);
	}
	if (answer->unknown_extension)
		cv_write_u32(&writer, 0x00170000);
	cv_write_close16(&writer, list);
	cv_write_close24(&writer, message);
	assert_false(writer.failed);
	return cv_writer_len(&writer);
}

/* X25519 ServerHello; installs both sides' handshake keys here. */
static void send_server_hello(struct server *server)
{
	const struct hello_answer answer = {.version = 0x0304, .suite = SUITE};
	uint8_t copy[8192], message[256], digest[CV_HASH_MAX];
	uint8_t secret[32], public_key[32], shared[32];
	struct cv_client_hello hello = take_hello(server, copy, sizeof(copy));
	size_t len;

	assert_int_equal(cv_x25519_keygen(secret, public_key), 0);
	assert_int_equal(cv_x25519(secret, hello.x25519_share.data, shared), 0);
	len = write_answer(&answer, &hello, public_key, message, sizeof(message));
	cv_transcript_add(server->transcript, copy, hello.message.len_bytes);
	cv_transcript_add(server->transcript, message, len);
	cv_transcript_digest(server->transcript, digest);
	assert_int_equal(cv_tls_schedule_handshake(server->suite, shared, 32, digest,
						   &server->secrets), 0);
	assert_int_equal(cv_tls_keys_init(&server->tx, server->suite,
					  server->secrets.server_handshake, true), 0);
	assert_int_equal(cv_tls_keys_init(&server->rx, server->suite,
					  server->secrets.client_handshake, false), 0);
	assert_int_equal(feed_plain(server, CV_TLS_HANDSHAKE, message, len), -EAGAIN);
}

static void add_message(struct server *server, uint8_t type, const uint8_t *body, size_t len)
{
	uint8_t header[4] = {type, (uint8_t)(len >> 16), (uint8_t)(len >> 8), (uint8_t)len};

	cv_buffer_append(&server->flight, header, sizeof(header));
	cv_buffer_append(&server->flight, body, len);
	cv_transcript_add(server->transcript, header, sizeof(header));
	cv_transcript_add(server->transcript, body, len);
}

static void add_extensions(struct server *server, const char *extensions, size_t len)
{
	uint8_t body[256] = {(uint8_t)(len >> 8), (uint8_t)len};

	memcpy(body + 2, extensions, len);
	add_message(server, CV_MESSAGE_ENCRYPTED_EXTENSIONS, body, 2 + len);
}

static size_t certificate_body(uint8_t *out, size_t size, size_t entries)
{
	struct cv_writer writer = cv_writer_of(out, size);
	size_t list;

	cv_write_u8(&writer, 0);
	list = cv_write_open24(&writer);
	for (size_t i = 0; i < entries; i++) {
		cv_write_u24(&writer, (uint32_t)certificate_len);
		cv_write_bytes(&writer, certificate, (size_t)certificate_len);
		cv_write_u16(&writer, 0);
	}
	cv_write_close24(&writer, list);
	assert_false(writer.failed);
	return cv_writer_len(&writer);
}

static void add_certificate(struct server *server, size_t entries)
{
	static uint8_t body[65536];

	add_message(server, CV_MESSAGE_CERTIFICATE, body,
		    certificate_body(body, sizeof(body), entries));
}

static void add_verify(struct server *server)
{
	static const char context[] = "TLS 1.3, server CertificateVerify";
	uint8_t content[64 + sizeof(context) + CV_HASH_MAX], body[256] = {4, 3};
	size_t len = sizeof(body) - 4, content_len = 64 + sizeof(context) + 32;
	EVP_MD_CTX *signer = EVP_MD_CTX_new();

	memset(content, 0x20, 64);
	memcpy(content + 64, context, sizeof(context));
	cv_transcript_digest(server->transcript, content + 64 + sizeof(context));
	assert_int_equal(EVP_DigestSignInit(signer, NULL, EVP_sha256(), NULL, key), 1);
	assert_int_equal(EVP_DigestSign(signer, body + 4, &len, content, content_len), 1);
	EVP_MD_CTX_free(signer);
	body[3] = (uint8_t)len;
	add_message(server, CV_MESSAGE_CERTIFICATE_VERIFY, body, 4 + len);
}

static void add_finished(struct server *server)
{
	uint8_t digest[CV_HASH_MAX], mac[CV_HASH_MAX];

	cv_transcript_digest(server->transcript, digest);
	cv_tls_finished_mac(server->suite, server->secrets.server_handshake, digest, mac);
	add_message(server, CV_MESSAGE_FINISHED, mac, 32);
}

/* The flight so far in records of @fragment content bytes, each padded by @padding. */
static int send_flight(struct server *server, size_t fragment, size_t padding)
{
	struct cv_span left = cv_buffer_span(&server->flight);
	int result = -EAGAIN;

	while (result == -EAGAIN && left.len_bytes) {
		size_t part = left.len_bytes < fragment ? left.len_bytes : fragment;

		result = feed_protected(server, CV_TLS_HANDSHAKE, left.data, part,
					padding ? CV_TLS_HEADER + part + 17 + padding : 0);
		cv_span_skip(&left, part);
	}
	cv_buffer_consume(&server->flight, cv_buffer_len(&server->flight));
	return result;
}

/* What the client answers with: content of its protected record behind CCS. */
static size_t read_answer(struct server *server, uint8_t *plain, uint8_t *ret_type)
{
	struct cv_buffer *output = cv_tls_client_output(server->client);
	size_t record_len, len;

	assert_true(cv_buffer_len(output) > 6);
	assert_memory_equal(cv_buffer_bytes(output), "\x14\x03\x03\x00\x01\x01", 6);
	cv_buffer_consume(output, 6);
	assert_int_equal(cv_tls_record_peek(cv_buffer_span(output), &record_len), 0);
	assert_int_equal(cv_tls_record_open(&server->rx, cv_buffer_bytes(output), record_len, plain,
					    ret_type, &len), 0);
	cv_buffer_consume(output, record_len);
	assert_int_equal(cv_buffer_len(output), 0);
	return len;
}

static void check_alert(struct server *server, int reason, uint8_t alert)
{
	uint8_t plain[256], type;

	assert_int_equal(server->result, reason);
	assert_int_equal(cv_tls_client_state(server->client), CV_TLS_CLIENT_FAILED);
	assert_int_equal(read_answer(server, plain, &type), 2);
	assert_int_equal(type, CV_TLS_ALERT);
	assert_int_equal(plain[0], 2);
	assert_int_equal(plain[1], alert);
}

static void check_plain_alert(struct server *server, int reason, uint8_t alert)
{
	const uint8_t expected[] = {CV_TLS_ALERT, 3, 3, 0, 2, 2, alert};
	struct cv_buffer *output = cv_tls_client_output(server->client);

	assert_int_equal(server->result, reason);
	assert_int_equal(cv_buffer_len(output), sizeof(expected));
	assert_memory_equal(cv_buffer_bytes(output), expected, sizeof(expected));
}

/* The client's Finished is right and is the last @finished_len bytes of @plain. */
static void check_finished(struct server *server, const uint8_t *plain, size_t len)
{
	uint8_t digest[CV_HASH_MAX], mac[CV_HASH_MAX];

	assert_true(len >= 36);
	cv_transcript_add(server->transcript, plain, len - 36);
	cv_transcript_digest(server->transcript, digest);
	cv_tls_finished_mac(server->suite, server->secrets.client_handshake, digest, mac);
	assert_memory_equal(plain + len - 36, "\x14\x00\x00\x20", 4);
	assert_memory_equal(plain + len - 32, mac, 32);
}

/* ---- what must work ---- */

static void any_cut_and_padding(void **state)
{
	static const size_t fragments[] = {1, 3, 4, 5, 50, 333, 16384}, paddings[] = {0, 1, 200};

	(void)state;
	for (size_t i = 0; i < 7 * 3; i++) {
		struct server server;
		uint8_t plain[256], type;
		size_t len;

		start(&server, CV_FINGERPRINT_SAFARI);
		send_server_hello(&server);
		add_extensions(&server, "", 0);
		add_certificate(&server, 3);
		add_verify(&server);
		add_finished(&server);
		assert_int_equal(send_flight(&server, fragments[i % 7], paddings[i / 7]), 0);
		len = read_answer(&server, plain, &type);
		assert_int_equal(type, CV_TLS_HANDSHAKE);
		check_finished(&server, plain, len);
		stop(&server);
	}
}

static void alps_is_answered(void **state)
{
	struct server server;
	uint8_t plain[256], type;
	size_t len;

	(void)state;
	start(&server, CV_FINGERPRINT_CHROME);
	send_server_hello(&server);
	add_extensions(&server, "\x00\x10\x00\x05\x00\x03\x02h2\x44\xcd\x00\x00", 13);
	add_certificate(&server, 1);
	add_verify(&server);
	add_finished(&server);
	assert_int_equal(send_flight(&server, 16384, 0), 0);
	len = read_answer(&server, plain, &type);
	assert_int_equal(len, 10 + 36);
	assert_memory_equal(plain, "\x08\x00\x00\x06\x00\x04\x44\xcd\x00\x00", 10);
	check_finished(&server, plain, len);
	stop(&server);
}

static void certificate_request_context_is_echoed(void **state)
{
	struct server server;
	uint8_t plain[256], type;
	size_t len;

	(void)state;
	start(&server, CV_FINGERPRINT_FIREFOX);
	send_server_hello(&server);
	add_extensions(&server, "", 0);
	add_message(&server, CV_MESSAGE_CERTIFICATE_REQUEST,
		    (const uint8_t *)"\x03xyz\x00\x08\x00\x0d\x00\x04\x00\x02\x04\x03", 14);
	add_certificate(&server, 1);
	add_verify(&server);
	add_finished(&server);
	assert_int_equal(send_flight(&server, 16384, 0), 0);
	len = read_answer(&server, plain, &type);
	assert_int_equal(len, 11 + 36);
	assert_memory_equal(plain, "\x0b\x00\x00\x07\x03xyz\x00\x00\x00", 11);
	check_finished(&server, plain, len);
	stop(&server);
}

/* A brotli stream of one uncompressed meta-block (RFC 7932 9.2) and an empty last one. */
static size_t brotli_stored(const uint8_t *in, size_t in_len, uint8_t *out)
{
	uint32_t header = (uint32_t)(in_len - 1) << 4 | 1u << 20;

	for (int i = 0; i < 3; i++)
		out[i] = (uint8_t)(header >> 8 * i);
	memcpy(out + 3, in, in_len);
	out[3 + in_len] = 3;
	return 4 + in_len;
}

static size_t compress_body(uint16_t algorithm, const uint8_t *in, size_t in_len, uint8_t *out,
			    size_t size)
{
	uLongf zlib_len = size;
	size_t len;

	if (algorithm == 1) {
		assert_int_equal(compress(out, &zlib_len, in, in_len), Z_OK);
		return zlib_len;
	}
	if (algorithm == 2)
		return brotli_stored(in, in_len, out);
	len = ZSTD_compress(out, size, in, in_len, 3);
	assert_false(ZSTD_isError(len));
	return len;
}

/* Sends a CompressedCertificate whose announced length is off by @lie. */
static int send_compressed(struct server *server, uint16_t algorithm, int lie)
{
	static uint8_t body[65536], message[65536];
	size_t len = certificate_body(body, sizeof(body), 2), packed;
	struct cv_writer writer = cv_writer_of(message, sizeof(message));

	cv_write_u16(&writer, algorithm);
	cv_write_u24(&writer, (uint32_t)((int)len + lie));
	packed = compress_body(algorithm, body, len, message + 8, sizeof(message) - 8);
	cv_write_u24(&writer, (uint32_t)packed);
	send_server_hello(server);
	add_extensions(server, "", 0);
	add_message(server, CV_MESSAGE_COMPRESSED_CERTIFICATE, message, 8 + packed);
	add_verify(server);
	add_finished(server);
	return send_flight(server, 16384, 0);
}

static void compressed_certificates(void **state)
{
	static const struct {
		enum cv_fingerprint fingerprint;
		uint16_t algorithm;
		int lie, result;
		uint8_t alert;
	} cases[] = {
		{CV_FINGERPRINT_CHROME, 2, 0, 0, 0},
		{CV_FINGERPRINT_SAFARI, 1, 0, 0, 0},
		{CV_FINGERPRINT_FIREFOX, 1, 0, 0, 0},
		{CV_FINGERPRINT_FIREFOX, 2, 0, 0, 0},
		{CV_FINGERPRINT_FIREFOX, 3, 0, 0, 0},
		{CV_FINGERPRINT_FIREFOX, 3, 1, CV_UPSTREAM_DECODE, CV_ALERT_BAD_CERTIFICATE},
		{CV_FINGERPRINT_FIREFOX, 2, -1, CV_UPSTREAM_DECODE, CV_ALERT_BAD_CERTIFICATE},
		{CV_FINGERPRINT_FIREFOX, 1, 1 << 20, CV_UPSTREAM_DECODE,
		 CV_ALERT_ILLEGAL_PARAMETER},
		{CV_FINGERPRINT_CHROME, 1, 0, CV_UPSTREAM_DECODE, CV_ALERT_ILLEGAL_PARAMETER},
		{CV_FINGERPRINT_SAFARI, 3, 0, CV_UPSTREAM_DECODE, CV_ALERT_ILLEGAL_PARAMETER},
		{CV_FINGERPRINT_GO, 2, 0, CV_UPSTREAM_DECODE, CV_ALERT_ILLEGAL_PARAMETER},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct server server;

		start(&server, cases[i].fingerprint);
		assert_int_equal(send_compressed(&server, cases[i].algorithm, cases[i].lie),
				 cases[i].result);
		assert_int_equal(cv_tls_client_facts(server.client)->compressed_certificate,
				 cases[i].alert != CV_ALERT_ILLEGAL_PARAMETER);
		if (cases[i].result)
			check_alert(&server, cases[i].result, cases[i].alert);
		stop(&server);
	}
}

static void cookie_comes_back(void **state)
{
	const struct hello_answer answer = {
		.version = 0x0304, .suite = SUITE, .retry = true, .cookie = "biscuit"};
	struct cv_client_hello first, second;
	uint8_t copy[8192], again[8192], message[256];
	struct cv_buffer *output;
	struct server server;
	size_t len;

	(void)state;
	start(&server, CV_FINGERPRINT_CHROME);
	first = take_hello(&server, copy, sizeof(copy));
	len = write_answer(&answer, &first, NULL, message, sizeof(message));
	assert_int_equal(feed_plain(&server, CV_TLS_HANDSHAKE, message, len), -EAGAIN);
	output = cv_tls_client_output(server.client);
	assert_memory_equal(cv_buffer_bytes(output), "\x14\x03\x03\x00\x01\x01\x16\x03\x03", 9);
	cv_buffer_consume(output, 6);
	second = take_hello(&server, again, sizeof(again));
	assert_int_equal(second.message.len_bytes, first.message.len_bytes + 4 + 2 + 7);
	assert_non_null(memmem(again, second.message.len_bytes,
			       "\x00\x2c\x00\x09\x00\x07" "biscuit", 13));
	assert_memory_equal(second.random, first.random, 32);
	assert_memory_equal(second.session_id.data, first.session_id.data, 32);
	assert_memory_equal(second.x25519_share.data, first.x25519_share.data, 32);
	/* and a second one is one too many */
	assert_int_equal(feed_plain(&server, CV_TLS_HANDSHAKE, message, len),
			 CV_UPSTREAM_UNEXPECTED_MESSAGE);
	stop(&server);
}

/* ---- what must not ---- */

static void broken_server_hellos(void **state)
{
	static const struct {
		struct hello_answer answer;
		int reason;
		uint8_t alert;
	} cases[] = {
		{{.version = 0x0303, .suite = SUITE}, CV_UPSTREAM_NOT_TLS13, 70},
		{{.version = 0x0305, .suite = SUITE}, CV_UPSTREAM_DECODE, 47},
		{{.version = 0x0304, .suite = 0x1304}, CV_UPSTREAM_DECODE, 47},
		{{.version = 0x0304, .suite = SUITE, .no_share = true}, CV_UPSTREAM_DECODE, 47},
		{{.version = 0x0304, .suite = SUITE, .wrong_session_id = true}, CV_UPSTREAM_DECODE,
		 47},
		{{.version = 0x0304, .suite = SUITE, .unknown_extension = true}, CV_UPSTREAM_DECODE,
		 110},
		{{.version = 0x0304, .suite = SUITE, .retry = true}, CV_UPSTREAM_DECODE, 47},
		{{.version = 0x0304, .suite = SUITE, .cookie = "x"}, CV_UPSTREAM_DECODE, 110},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct cv_client_hello hello;
		uint8_t copy[8192], message[256];
		struct server server;
		size_t len;

		start(&server, CV_FINGERPRINT_CHROME);
		hello = take_hello(&server, copy, sizeof(copy));
		len = write_answer(&cases[i].answer, &hello, some_key, message, sizeof(message));
		feed_plain(&server, CV_TLS_HANDSHAKE, message, len);
		check_plain_alert(&server, cases[i].reason, cases[i].alert);
		stop(&server);
	}
}

static void server_hello_cut_short_is_malformed(void **state)
{
	const struct hello_answer answer = {.version = 0x0304, .suite = SUITE};

	(void)state;
	for (size_t cut = 1; cut < 80; cut++) {
		struct cv_client_hello hello;
		uint8_t copy[8192], message[256];
		struct server server;
		size_t len;

		start(&server, CV_FINGERPRINT_CHROME);
		hello = take_hello(&server, copy, sizeof(copy));
		len = write_answer(&answer, &hello, some_key, message, sizeof(message));
		message[3] = (uint8_t)(len - 4 - cut);
		/* cut right before the extensions it is a TLS 1.2 one */
		assert_int_equal(feed_plain(&server, CV_TLS_HANDSHAKE, message, len - cut),
				 len - cut == 4 + 2 + 32 + 33 + 2 + 1 ? CV_UPSTREAM_NOT_TLS13
								      : CV_UPSTREAM_DECODE);
		stop(&server);
	}
}

typedef void (*break_fn)(struct server *server);

static void send_twice_certificate(struct server *server)
{
	add_extensions(server, "", 0);
	add_certificate(server, 1);
	add_certificate(server, 1);
	send_flight(server, 16384, 0);
}

static void send_finished_first(struct server *server)
{
	add_extensions(server, "", 0);
	add_finished(server);
	send_flight(server, 16384, 0);
}

static void send_late_request(struct server *server)
{
	add_extensions(server, "", 0);
	add_certificate(server, 1);
	add_message(server, CV_MESSAGE_CERTIFICATE_REQUEST, (const uint8_t *)"\x00\x00\x00", 3);
	send_flight(server, 16384, 0);
}

static void send_after_finished(struct server *server)
{
	add_extensions(server, "", 0);
	add_certificate(server, 1);
	add_verify(server);
	add_finished(server);
	add_message(server, 4, (const uint8_t *)"ticket", 6);
	send_flight(server, 16384, 0);
}

static void send_application_data(struct server *server)
{
	feed_protected(server, CV_TLS_APPLICATION, (const uint8_t *)"early", 5, 0);
}

static void send_empty_record(struct server *server)
{
	feed_protected(server, CV_TLS_HANDSHAKE, (const uint8_t *)"", 0, 0);
}

static void send_typeless_record(struct server *server)
{
	feed_protected(server, 0, (const uint8_t *)"", 0, 40);
}

static void send_plain_handshake(struct server *server)
{
	feed_plain(server, CV_TLS_HANDSHAKE, (const uint8_t *)"\x08\x00\x00\x02\x00\x00", 6);
}

static void send_unoffered_alpn(struct server *server)
{
	add_extensions(server, "\x00\x10\x00\x05\x00\x03\x02h3", 9);
	send_flight(server, 16384, 0);
}

static void send_broken_extensions(struct server *server)
{
	add_message(server, CV_MESSAGE_ENCRYPTED_EXTENSIONS,
		    (const uint8_t *)"\x00\x04\x00\x10", 4);
	send_flight(server, 16384, 0);
}

static void send_no_certificate(struct server *server)
{
	add_extensions(server, "", 0);
	add_certificate(server, 0);
	send_flight(server, 16384, 0);
}

static void send_long_chain(struct server *server)
{
	add_extensions(server, "", 0);
	add_certificate(server, 17);
	send_flight(server, 16384, 0);
}

static void send_context(struct server *server)
{
	add_extensions(server, "", 0);
	add_message(server, CV_MESSAGE_CERTIFICATE, (const uint8_t *)"\x01x\x00\x00\x00", 5);
	send_flight(server, 16384, 0);
}

static void send_huge_message(struct server *server)
{
	feed_protected(server, CV_TLS_HANDSHAKE, (const uint8_t *)"\x08\x02\x00\x01", 4, 0);
}

static void send_pkcs1_verify(struct server *server)
{
	add_extensions(server, "", 0);
	add_certificate(server, 1);
	add_message(server, CV_MESSAGE_CERTIFICATE_VERIFY,
		    (const uint8_t *)"\x04\x01\x00\x04xxxx", 8);
	send_flight(server, 16384, 0);
}

static void send_stale_verify(struct server *server)
{
	add_extensions(server, "", 0);
	add_verify(server); /* over a transcript without Certificate */
	cv_buffer_consume(&server->flight, cv_buffer_len(&server->flight));
	add_extensions(server, "", 0);
	add_certificate(server, 1);
	add_verify(server);
	send_flight(server, 16384, 0);
}

static void send_wrong_finished(struct server *server)
{
	uint8_t mac[32] = {0};

	add_extensions(server, "", 0);
	add_certificate(server, 1);
	add_verify(server);
	add_message(server, CV_MESSAGE_FINISHED, mac, sizeof(mac));
	send_flight(server, 16384, 0);
}

static void send_short_finished(struct server *server)
{
	add_extensions(server, "", 0);
	add_certificate(server, 1);
	add_verify(server);
	add_message(server, CV_MESSAGE_FINISHED, (const uint8_t *)"abc", 3);
	send_flight(server, 16384, 0);
}

static void broken_flights(void **state)
{
	static const struct {
		break_fn send;
		int reason;
		uint8_t alert;
	} cases[] = {
		{send_twice_certificate, CV_UPSTREAM_UNEXPECTED_MESSAGE, 10},
		{send_finished_first, CV_UPSTREAM_UNEXPECTED_MESSAGE, 10},
		{send_late_request, CV_UPSTREAM_UNEXPECTED_MESSAGE, 10},
		{send_after_finished, CV_UPSTREAM_UNEXPECTED_MESSAGE, 10},
		{send_application_data, CV_UPSTREAM_UNEXPECTED_MESSAGE, 10},
		{send_empty_record, CV_UPSTREAM_UNEXPECTED_MESSAGE, 10},
		{send_typeless_record, CV_UPSTREAM_UNEXPECTED_MESSAGE, 10},
		{send_plain_handshake, CV_UPSTREAM_UNEXPECTED_MESSAGE, 10},
		{send_unoffered_alpn, CV_UPSTREAM_DECODE, 47},
		{send_broken_extensions, CV_UPSTREAM_DECODE, 50},
		{send_no_certificate, CV_UPSTREAM_DECODE, 50},
		{send_long_chain, CV_UPSTREAM_DECODE, 50},
		{send_context, CV_UPSTREAM_DECODE, 50},
		{send_huge_message, CV_UPSTREAM_DECODE, 47},
		{send_pkcs1_verify, CV_UPSTREAM_DECODE, 47},
		{send_stale_verify, CV_UPSTREAM_CERTIFICATE, 51},
		{send_wrong_finished, CV_UPSTREAM_FINISHED, 51},
		{send_short_finished, CV_UPSTREAM_FINISHED, 51},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct server server;

		start(&server, CV_FINGERPRINT_CHROME);
		send_server_hello(&server);
		cases[i].send(&server);
		check_alert(&server, cases[i].reason, cases[i].alert);
		assert_null(cv_tls_client_take_layer(server.client));
		assert_int_equal(cv_tls_client_release(server.client), CV_INTERNAL_STATE);
		stop(&server);
	}
}

static void alerts_end_it_silently(void **state)
{
	struct server server;

	(void)state;
	start(&server, CV_FINGERPRINT_CHROME);
	send_server_hello(&server);
	feed_protected(&server, CV_TLS_ALERT, (const uint8_t *)"\x02\x50", 2, 0);
	assert_int_equal(server.result, CV_UPSTREAM_ALERT);
	assert_string_equal(cv_tls_client_error_text(server.client), "server sent alert 80");
	assert_int_equal(cv_buffer_len(cv_tls_client_output(server.client)), 0);
	stop(&server);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_cut_and_padding),
		cmocka_unit_test(alps_is_answered),
		cmocka_unit_test(certificate_request_context_is_echoed),
		cmocka_unit_test(compressed_certificates),
		cmocka_unit_test(cookie_comes_back),
		cmocka_unit_test(broken_server_hellos),
		cmocka_unit_test(server_hello_cut_short_is_malformed),
		cmocka_unit_test(broken_flights),
		cmocka_unit_test(alerts_end_it_silently),
	};

	return cmocka_run_group_tests(tests, make_certificate, free_certificate);
}
