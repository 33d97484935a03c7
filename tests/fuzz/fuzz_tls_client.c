// SPDX-License-Identifier: MIT
/*
 * fuzz_tls_client.c - a server's bytes, plain and protected.
 *
 * Plain input goes to the client as it is. Protected input plays a server that gets the key
 * exchange right: it answers the client's hello with a valid ServerHello, then seals the input's
 * pieces as records under its handshake key, so that everything behind ServerHello is reached.
 *
 *   mode u8 (bit 0 protected, bits 1-2 browser, bit 3 REALITY) | then bytes, or
 *   (type u8 | length u16 | content)*
 */
#include "protocol/tls_client_state.h"

#include "base/cursor.h"
#include "base/reason.h"
#include "crypto/crypto.h"
#include "crypto/tls_record.h"
#include "wire/client_hello.h"

#include "check.h"

#include <errno.h>

#define MODE_PROTECTED 1
#define MODE_REALITY 8
#define WALL_MS 1767225600000u

static struct cv_tls_client *new_client(uint8_t mode)
{
	static const enum cv_fingerprint browsers[] = {CV_FINGERPRINT_CHROME,
						       CV_FINGERPRINT_FIREFOX,
						       CV_FINGERPRINT_SAFARI, CV_FINGERPRINT_GO};
	static const struct cv_reality_client_config reality = {
		.server_public = {9}, .version = {26, 7, 28}};
	const struct cv_tls_client_config config = {
		.server_name = "www.example.com",
		.fingerprint = browsers[mode >> 1 & 3],
		.reality = mode & MODE_REALITY ? &reality : NULL,
	};
	struct cv_tls_client *client = cv_tls_client_new(&config, WALL_MS);

	check(client != NULL);
	return client;
}

static int feed(struct cv_tls_client *client, struct cv_span bytes)
{
	const uint8_t *end = bytes.data + bytes.len_bytes;
	int result = cv_tls_client_read(client, &bytes);

	check(bytes.data + bytes.len_bytes == end);
	check(result <= 0);
	check((cv_tls_client_state(client) == CV_TLS_CLIENT_FAILED) ==
	      (result < 0 && result != -EAGAIN));
	if (result == -EAGAIN) { /* what is left is less than a record */
		size_t needed;

		check(cv_tls_record_peek(bytes, &needed) == -EAGAIN);
	}
	return result;
}

/* ServerHello for X25519; @shared gets the secret. */
static void write_server_hello(const struct cv_client_hello *hello, struct cv_writer *writer,
			       uint8_t shared[32])
{
	uint8_t private_key[32], public_key[32], random[32] = {1};
	size_t message, extensions;

	check(cv_x25519_keygen(private_key, public_key) == 0);
	check(cv_x25519(private_key, hello->x25519_share.data, shared) == 0);
	cv_write_u8(writer, 2);
	message = cv_write_open24(writer);
	cv_write_u16(writer, 0x0303);
	cv_write_bytes(writer, random, sizeof(random));
	cv_write_u8(writer, 32);
	cv_write_bytes(writer, hello->session_id.data, 32);
	cv_write_u16(writer, 0x1301);
	cv_write_u8(writer, 0);
	extensions = cv_write_open16(writer);
	cv_write_u32(writer, 0x002b0002);
	cv_write_u16(writer, 0x0304);
	cv_write_u32(writer, 0x00330024);
	cv_write_u32(writer, 0x001d0020);
	cv_write_bytes(writer, public_key, sizeof(public_key));
	cv_write_close16(writer, extensions);
	cv_write_close24(writer, message);
}

/* Answers the hello in the client's output; @keys seal as the server. */
static void answer_hello(struct cv_tls_client *client, struct cv_tls_keys *keys)
{
	const struct cv_tls_suite *suite = cv_tls_suite_find(0x1301);
	struct cv_buffer *output = cv_tls_client_output(client);
	struct cv_span message = cv_span_of(cv_buffer_bytes(output) + CV_TLS_HEADER,
					    cv_buffer_len(output) - CV_TLS_HEADER);
	struct cv_transcript *transcript = cv_transcript_new(suite->hash);
	uint8_t record[256] = {CV_TLS_HANDSHAKE, 3, 3, 0}, shared[32], digest[CV_HASH_MAX];
	struct cv_writer writer = cv_writer_of(record + CV_TLS_HEADER, 200);
	struct cv_tls_secrets secrets;
	struct cv_client_hello hello;

	check(cv_client_hello_parse(message, &hello) == 0);
	write_server_hello(&hello, &writer, shared);
	record[4] = (uint8_t)cv_writer_len(&writer);
	cv_transcript_add(transcript, message.data, message.len_bytes);
	cv_transcript_add(transcript, record + CV_TLS_HEADER, cv_writer_len(&writer));
	cv_transcript_digest(transcript, digest);
	cv_transcript_free(transcript);
	check(cv_tls_schedule_handshake(suite, shared, 32, digest, &secrets) == 0);
	check(cv_tls_keys_init(keys, suite, secrets.server_handshake, true) == 0);
	check(feed(client, cv_span_of(record, CV_TLS_HEADER + cv_writer_len(&writer))) == -EAGAIN);
	check(cv_tls_client_state(client) == CV_TLS_CLIENT_EXPECT_ENCRYPTED_EXTENSIONS);
}

static void feed_protected(struct cv_tls_client *client, struct cv_span input)
{
	struct cv_tls_keys keys = {0};
	int result = -EAGAIN;

	answer_hello(client, &keys);
	while (result == -EAGAIN && input.len_bytes) {
		uint8_t type = take_u8(&input);
		struct cv_span content = take_span(&input, take_u16(&input));
		struct cv_buffer record;

		if (content.len_bytes > CV_TLS_PLAINTEXT_MAX)
			content.len_bytes = CV_TLS_PLAINTEXT_MAX;
		cv_buffer_init(&record, CV_TLS_RECORD_MAX);
		check(cv_tls_record_seal(&keys, type, content.data, content.len_bytes, 0,
					 &record) == 0);
		result = feed(client, cv_buffer_span(&record));
		cv_buffer_done(&record);
	}
	/* nobody here has the certificate's key */
	check(cv_tls_client_state(client) != CV_TLS_CLIENT_DONE);
	cv_tls_keys_done(&keys);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cv_span input = cv_span_of(data, size);
	uint8_t mode = take_u8(&input);
	struct cv_tls_client *client = new_client(mode);

	if (mode & MODE_PROTECTED)
		feed_protected(client, input);
	else
		(void)feed(client, input);
	cv_tls_client_free(client);
	return 0;
}
