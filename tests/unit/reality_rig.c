// SPDX-License-Identifier: MIT
/*
 * reality_rig.c - a REALITY client and a target for tests, written from the specification and
 * sharing no code with the client of user/protocol.
 */
#include "reality_rig.h"

#include "base/cursor.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

size_t rig_hex(const char *text, uint8_t *out, size_t size)
{
	size_t len = strlen(text) / 2;

	assert_true(strlen(text) % 2 == 0 && len <= size);
	for (size_t i = 0; i < len; i++) {
		assert_true(hex_digit(text[2 * i]) >= 0 && hex_digit(text[2 * i + 1]) >= 0);
		out[i] = (uint8_t)(hex_digit(text[2 * i]) << 4 | hex_digit(text[2 * i + 1]));
	}
	return len;
}

static void count_up(uint8_t *bytes, size_t count, int first)
{
	for (size_t i = 0; i < count; i++)
		bytes[i] = (uint8_t)(first + (int)i);
}

/* ---- server's configuration --------------------------------------------------------------- */

static struct cv_target_profile config_profile(void *context, const char *server_name,
					       enum cv_alpn_class alpn_class)
{
	const struct rig_config *config = context;

	assert_non_null(server_name);
	assert_true(alpn_class < CV_ALPN_CLASSES);
	return config->profile;
}

static bool config_seen(void *context, const uint8_t random[32], const uint8_t session_id[32],
			uint64_t now_wall_ms)
{
	struct rig_config *config = context;

	assert_non_null(random);
	assert_non_null(session_id);
	assert_true(now_wall_ms > 0);
	config->seen_calls++;
	return config->seen_answer;
}

void rig_config_start(struct rig_config *config)
{
	uint8_t seed[32];

	memset(config, 0, sizeof(*config));
	count_up(config->reality.private_key, 32, 0x01);
	strcpy(config->server_names[0], "other.example.com");
	strcpy(config->server_names[1], "www.example.com");
	rig_hex("0123456789abcdef", config->short_ids[1], 8);
	config->reality.server_names = config->server_names;
	config->reality.server_name_count = 2;
	config->reality.short_ids = config->short_ids;
	config->reality.short_id_count = 2;
	config->reality.max_client_version = 0xffffff;
	count_up(seed, 32, 0x40);
	config->certificate_key = cv_ed25519_from_seed(seed);
	assert_non_null(config->certificate_key);
	config->reality.certificate_key = config->certificate_key;
	assert_int_equal(
		cv_ed25519_public(config->certificate_key, config->reality.certificate_public), 0);
	config->reality.profile = config_profile;
	config->reality.profile_context = config;
	config->reality.seen_before = config_seen;
	config->reality.seen_context = config;
}

void rig_config_with_mldsa(struct rig_config *config)
{
	uint8_t seed[32];

	count_up(seed, 32, 0xa0);
	config->mldsa = cv_mldsa65_from_seed(seed);
	assert_non_null(config->mldsa);
	config->reality.mldsa = config->mldsa;
}

void rig_config_stop(struct rig_config *config)
{
	cv_ed25519_free(config->certificate_key);
	cv_mldsa65_free(config->mldsa);
}

static int vector_keygen(uint8_t ret_private[32], uint8_t ret_public[32])
{
	count_up(ret_private, 32, 0x61);
	return cv_x25519_public(ret_private, ret_public);
}

const struct cv_reality_entropy rig_entropy = {
	.x25519_keygen = vector_keygen,
	.mlkem768_encapsulate = cv_mlkem768_encapsulate,
};

/* ---- ClientHello -------------------------------------------------------------------------- */

struct rig_hello rig_hello_default(void)
{
	struct rig_hello options = {
		.server_name = "www.example.com",
		.x25519 = true,
		.with_alpn = true,
		.version = {26, 7, 28},
		.time_s = (uint32_t)(RIG_WALL_MS / 1000),
		.session_id_len = 32,
	};

	rig_hex("0123456789abcdef", options.short_id, 8);
	return options;
}

static void write_extension(struct cv_writer *writer, uint16_t type, const char *hex)
{
	uint8_t body[64];
	size_t len = rig_hex(hex, body, sizeof(body));

	cv_write_u16(writer, type);
	cv_write_u16(writer, (uint16_t)len);
	cv_write_bytes(writer, body, len);
}

static void write_server_name(struct cv_writer *writer, const char *name)
{
	size_t extension, list, host;

	cv_write_u16(writer, 0);
	extension = cv_write_open16(writer);
	list = cv_write_open16(writer);
	cv_write_u8(writer, 0);
	host = cv_write_open16(writer);
	cv_write_bytes(writer, name, strlen(name));
	cv_write_close16(writer, host);
	cv_write_close16(writer, list);
	cv_write_close16(writer, extension);
}

static void write_x25519_share(struct rig_client *client, struct cv_writer *writer)
{
	uint8_t public_key[32];

	assert_int_equal(cv_x25519_public(client->x25519_private, public_key), 0);
	cv_write_u16(writer, CV_GROUP_X25519);
	cv_write_u16(writer, 32);
	cv_write_bytes(writer, public_key, 32);
}

static void write_hybrid_share(struct rig_client *client, struct cv_writer *writer)
{
	uint8_t public_key[CV_MLKEM768_PUBLIC], x25519_public[32];

	assert_int_equal(cv_mlkem768_keygen(client->mlkem_seed, public_key), 0);
	assert_int_equal(cv_x25519_public(client->hybrid_private, x25519_public), 0);
	cv_write_u16(writer, CV_GROUP_X25519MLKEM768);
	cv_write_u16(writer, CV_REALITY_HYBRID_SHARE);
	cv_write_bytes(writer, public_key, sizeof(public_key));
	cv_write_bytes(writer, x25519_public, 32);
}

static void write_shares(struct rig_client *client, const struct rig_hello *options,
			 struct cv_writer *writer)
{
	size_t extension, list;

	cv_write_u16(writer, 51);
	extension = cv_write_open16(writer);
	list = cv_write_open16(writer);
	if (options->x25519 && options->x25519_first)
		write_x25519_share(client, writer);
	if (options->hybrid)
		write_hybrid_share(client, writer);
	if (options->x25519 && !options->x25519_first)
		write_x25519_share(client, writer);
	cv_write_close16(writer, list);
	cv_write_close16(writer, extension);
}

static size_t write_hello(struct rig_client *client, const struct rig_hello *options, uint8_t *out,
			  size_t size)
{
	struct cv_writer writer = cv_writer_of(out, size);
	uint8_t random[32];
	size_t message, extensions;

	count_up(random, 32, 0x80);
	cv_write_u8(&writer, 1);
	message = cv_write_open24(&writer);
	cv_write_u16(&writer, 0x0303);
	cv_write_bytes(&writer, random, 32);
	cv_write_u8(&writer, options->session_id_len);
	cv_write_zeros(&writer, options->session_id_len);
	cv_write_u16(&writer, 6);
	cv_write_bytes(&writer, "\x13\x01\x13\x02\x13\x03\x01\x00", 8); /* suites, compression */
	extensions = cv_write_open16(&writer);
	if (options->server_name)
		write_server_name(&writer, options->server_name);
	write_extension(&writer, 10, options->hybrid ? "000411ec001d" : "0002001d");
	write_extension(&writer, 13, "000404030807");
	if (options->with_alpn)
		write_extension(&writer, 16, "0003026832");
	write_extension(&writer, 43, options->no_tls13 ? "020303" : "020304");
	write_extension(&writer, 45, "0101");
	write_shares(client, options, &writer);
	cv_write_close16(&writer, extensions);
	cv_write_close24(&writer, message);
	assert_false(writer.failed);
	return cv_writer_len(&writer);
}

/* REALITY 4 */
static void seal_session_id(struct rig_client *client, const struct rig_hello *options,
			    uint8_t *hello, size_t len)
{
	static const char server_public[] =
		"07a37cbc142093c8b755dc1b10e86cb426374ad16aa853ed0bdfc0b2b86d1c7c";
	const uint8_t *key = options->x25519 ? client->x25519_private : client->hybrid_private;
	uint8_t peer[32], shared[32], prk[32], plain[16], sealed[32];
	struct cv_writer writer = cv_writer_of(plain, sizeof(plain));
	struct cv_aead *aead;

	rig_hex(server_public, peer, 32);
	assert_int_equal(cv_x25519(key, peer, shared), 0);
	assert_int_equal(cv_hkdf_extract(CV_SHA256, hello + 6, 20, shared, 32, prk), 0);
	assert_int_equal(cv_hkdf_expand(CV_SHA256, prk, 32, "REALITY", 7, client->auth_key, 32), 0);
	cv_write_bytes(&writer, options->version, 3);
	cv_write_u8(&writer, 0);
	cv_write_u32(&writer, options->time_s);
	cv_write_bytes(&writer, options->short_id, 8);
	aead = cv_aead_new(CV_AES_256_GCM, client->auth_key, true);
	assert_non_null(aead);
	assert_int_equal(cv_aead_seal(aead, hello + 26, hello, len, plain, 16, sealed), 0);
	cv_aead_free(aead);
	memcpy(hello + 39, sealed, 32);
}

void rig_client_start(struct rig_client *client, const struct rig_hello *options)
{
	uint8_t hello[2048];
	size_t len;

	memset(client, 0, sizeof(*client));
	count_up(client->x25519_private, 32, 0x21);
	count_up(client->hybrid_private, 32, 0xc1);
	cv_buffer_init(&client->hello, 1 << 16);
	cv_buffer_init(&client->messages, 1 << 16);
	len = write_hello(client, options, hello, sizeof(hello));
	if (options->session_id_len == 32)
		seal_session_id(client, options, hello, len);
	if (options->break_seal)
		hello[39] ^= 1;
	assert_int_equal(cv_buffer_append(&client->hello, hello, len), 0);
}

void rig_client_stop(struct rig_client *client)
{
	cv_buffer_done(&client->hello);
	cv_buffer_done(&client->messages);
	cv_transcript_free(client->transcript);
	cv_tls_keys_done(&client->rx);
	cv_tls_keys_done(&client->tx);
	cv_tls_keys_done(&client->app_rx);
	cv_tls_keys_done(&client->app_tx);
}

static void append_record(uint8_t type, const uint8_t *bytes, size_t len, struct cv_buffer *out)
{
	uint8_t header[5] = {type, 3, 3, (uint8_t)(len >> 8), (uint8_t)len};

	assert_int_equal(cv_buffer_append(out, header, 5), 0);
	assert_int_equal(cv_buffer_append(out, bytes, len), 0);
}

void rig_hello_records(const struct rig_client *client, size_t fragment, struct cv_buffer *out)
{
	struct cv_span left = cv_buffer_span(&client->hello);

	while (left.len_bytes > 0) {
		size_t len = left.len_bytes < fragment ? left.len_bytes : fragment;

		append_record(22, left.data, len, out);
		cv_span_skip(&left, len);
	}
}

/* ---- target ------------------------------------------------------------------------------- */

struct rig_flight rig_flight_default(void)
{
	return (struct rig_flight){
		.suite = 0x1301,
		.group = CV_GROUP_X25519,
		.record_len = {[2] = 41, [3] = 1200, [4] = 286, [5] = 58, [6] = 64},
		.session_id_len = 32,
		.server_hello_version = 3,
	};
}

static void write_target_share(const struct rig_flight *flight, struct cv_writer *writer)
{
	size_t len = flight->group == CV_GROUP_X25519           ? 32
		     : flight->group == CV_GROUP_X25519MLKEM768 ? CV_REALITY_HYBRID_ANSWER
								: 65;

	cv_write_u16(writer, 51);
	if (flight->retry) {
		cv_write_u16(writer, 2);
		cv_write_u16(writer, flight->group);
		return;
	}
	cv_write_u16(writer, (uint16_t)(4 + len));
	cv_write_u16(writer, flight->group);
	cv_write_u16(writer, (uint16_t)len);
	for (size_t i = 0; i < len; i++)
		cv_write_u8(writer, 0xdd);
}

static void write_server_hello(const struct rig_flight *flight, const struct rig_client *client,
			       struct cv_buffer *out)
{
	uint8_t message[2048], random[32];
	struct cv_writer writer = cv_writer_of(message, sizeof(message));
	const uint8_t *hello = client->hello.data + client->hello.head;
	size_t body, session_id, extensions;

	count_up(random, 32, 0xc0);
	cv_write_u8(&writer, 2);
	body = cv_write_open24(&writer);
	cv_write_u8(&writer, 3);
	cv_write_u8(&writer, flight->server_hello_version);
	cv_write_bytes(&writer, random, 32);
	session_id = cv_write_open8(&writer);
	cv_write_bytes(&writer, hello + 39, flight->session_id_len);
	cv_write_close8(&writer, session_id);
	cv_write_u16(&writer, flight->suite);
	cv_write_u8(&writer, flight->compression);
	extensions = cv_write_open16(&writer);
	if (!flight->no_versions)
		write_extension(&writer, 43, "0304");
	if (flight->psk)
		write_extension(&writer, 41, "0000");
	if (!flight->no_share)
		write_target_share(flight, &writer);
	cv_write_close16(&writer, extensions);
	cv_write_close24(&writer, body);
	assert_false(writer.failed);
	append_record(22, message, cv_writer_len(&writer), out);
}

void rig_flight_write(const struct rig_flight *flight, const struct rig_client *client,
		      struct cv_buffer *out)
{
	static uint8_t body[CV_TLS_RECORD_MAX];

	write_server_hello(flight, client, out);
	append_record(20, (const uint8_t[]){1}, 1, out);
	memset(body, 0x5a, sizeof(body));
	for (int i = 2; i <= 6 && flight->record_len[i]; i++)
		append_record(23, body, flight->record_len[i] - 5, out);
}

/* ---- client: reading our flight ----------------------------------------------------------- */

size_t rig_open(struct cv_tls_keys *keys, struct cv_buffer *from, uint8_t type, uint8_t *ret_plain,
		size_t *ret_record_len)
{
	size_t record_len, len;
	uint8_t found;

	assert_int_equal(cv_tls_record_peek(cv_buffer_span(from), &record_len), 0);
	assert_int_equal(cv_tls_record_open(keys, cv_buffer_bytes(from), record_len, ret_plain,
					    &found, &len),
			 0);
	assert_int_equal(found, type);
	cv_buffer_consume(from, record_len);
	if (ret_record_len)
		*ret_record_len = record_len;
	return len;
}

static void derive_handshake(struct rig_client *client, uint16_t group, const uint8_t *share)
{
	uint8_t secret[64], digest[CV_HASH_MAX];
	size_t len = 32;

	if (group == CV_GROUP_X25519) {
		assert_int_equal(cv_x25519(client->x25519_private, share, secret), 0);
	} else {
		assert_int_equal(cv_mlkem768_decapsulate(client->mlkem_seed, share, secret), 0);
		assert_int_equal(cv_x25519(client->hybrid_private, share + CV_MLKEM768_CIPHERTEXT,
					   secret + 32),
				 0);
		len = 64;
	}
	assert_int_equal(cv_transcript_digest(client->transcript, digest), 0);
	assert_int_equal(
		cv_tls_schedule_handshake(client->suite, secret, len, digest, &client->secrets), 0);
	assert_int_equal(cv_tls_keys_init(&client->rx, client->suite,
					  client->secrets.server_handshake, false),
			 0);
	assert_int_equal(cv_tls_keys_init(&client->tx, client->suite,
					  client->secrets.client_handshake, true),
			 0);
}

/* Everything but the key share must be the target's. */
static void read_server_hello(struct rig_client *client, const struct rig_flight *flight,
			      struct cv_buffer *output)
{
	size_t share_len = flight->group == CV_GROUP_X25519 ? 32 : CV_REALITY_HYBRID_ANSWER;
	struct cv_buffer original;
	size_t record_len;

	cv_buffer_init(&original, 1 << 16);
	write_server_hello(flight, client, &original);
	record_len = cv_buffer_len(&original);
	assert_true(cv_buffer_len(output) > record_len);
	assert_memory_equal(cv_buffer_bytes(output), cv_buffer_bytes(&original),
			    record_len - share_len);
	assert_memory_not_equal(cv_buffer_bytes(output) + record_len - share_len,
				cv_buffer_bytes(&original) + record_len - share_len, share_len);
	client->suite = cv_tls_suite_find(flight->suite);
	assert_non_null(client->suite);
	client->transcript = cv_transcript_new(client->suite->hash);
	assert_int_equal(cv_transcript_add(client->transcript, cv_buffer_bytes(&client->hello),
					   cv_buffer_len(&client->hello)),
			 0);
	assert_int_equal(
		cv_transcript_add(client->transcript, cv_buffer_bytes(output) + 5, record_len - 5),
		0);
	derive_handshake(client, flight->group, cv_buffer_bytes(output) + record_len - share_len);
	cv_buffer_consume(output, record_len);
	assert_memory_equal(cv_buffer_bytes(output), ((uint8_t[]){20, 3, 3, 0, 1, 1}), 6);
	cv_buffer_consume(output, 6);
	cv_buffer_done(&original);
}

static struct cv_span take_message(struct rig_client *client, size_t *at, uint8_t type)
{
	const uint8_t *message = cv_buffer_bytes(&client->messages) + *at;
	size_t len;

	assert_true(*at + 4 <= cv_buffer_len(&client->messages));
	assert_int_equal(message[0], type);
	len = 4 + ((size_t)message[1] << 16 | (size_t)message[2] << 8 | message[3]);
	assert_true(*at + len <= cv_buffer_len(&client->messages));
	*at += len;
	return cv_span_of(message, len);
}

static void add(struct rig_client *client, struct cv_span message)
{
	assert_int_equal(cv_transcript_add(client->transcript, message.data, message.len_bytes), 0);
}

static void check_verify(struct rig_client *client, const struct rig_config *config,
			 struct cv_span message)
{
	uint8_t input[64 + 34 + CV_HASH_MAX];
	size_t hash_len = cv_hash_len(client->suite->hash);

	memset(input, 0x20, 64);
	memcpy(input + 64, "TLS 1.3, server CertificateVerify", 34);
	assert_int_equal(cv_transcript_digest(client->transcript, input + 98), 0);
	assert_int_equal(message.len_bytes, 72);
	assert_memory_equal(message.data, "\x0f\0\0\x44\x08\x07\0\x40", 8);
	assert_int_equal(cv_ed25519_verify(config->reality.certificate_public, input, 98 + hash_len,
					   message.data + 8),
			 0);
}

static void check_finished(struct rig_client *client, struct cv_span message)
{
	uint8_t digest[CV_HASH_MAX], mac[CV_HASH_MAX];
	size_t hash_len = cv_hash_len(client->suite->hash);

	assert_int_equal(cv_transcript_digest(client->transcript, digest), 0);
	assert_int_equal(
		cv_tls_finished_mac(client->suite, client->secrets.server_handshake, digest, mac),
		0);
	assert_int_equal(message.len_bytes, 4 + hash_len);
	assert_memory_equal(message.data + 4, mac, hash_len);
}

static void derive_application(struct rig_client *client)
{
	uint8_t digest[CV_HASH_MAX];
	size_t hash_len = cv_hash_len(client->suite->hash);

	assert_int_equal(cv_transcript_digest(client->transcript, digest), 0);
	assert_int_equal(cv_tls_schedule_application(client->suite, digest, &client->secrets), 0);
	assert_int_equal(cv_tls_keys_init(&client->app_rx, client->suite,
					  client->secrets.server_application, false),
			 0);
	assert_int_equal(cv_tls_keys_init(&client->app_tx, client->suite,
					  client->secrets.client_application, true),
			 0);
	client->finished[0] = 20;
	client->finished[3] = (uint8_t)hash_len;
	client->finished_len = 4 + hash_len;
	assert_int_equal(cv_tls_finished_mac(client->suite, client->secrets.client_handshake,
					     digest, client->finished + 4),
			 0);
}

static void read_records(struct rig_client *client, const struct rig_flight *flight,
			 struct cv_buffer *output)
{
	static uint8_t plain[CV_TLS_RECORD_MAX];

	for (int i = 2; i <= 5 && flight->record_len[i]; i++) {
		size_t record_len;
		size_t len = rig_open(&client->rx, output, 22, plain, &record_len);

		assert_int_equal(record_len, flight->record_len[i]);
		assert_int_equal(cv_buffer_append(&client->messages, plain, len), 0);
	}
}

void rig_client_read_flight(struct rig_client *client, const struct rig_flight *flight,
			    const struct rig_config *config, struct cv_buffer *output)
{
	static uint8_t plain[CV_TLS_RECORD_MAX];
	struct cv_span message;
	size_t at = 0, record_len;

	read_server_hello(client, flight, output);
	read_records(client, flight, output);
	message = take_message(client, &at, 8);
	assert_int_equal(message.len_bytes, 6);
	add(client, message);
	message = take_message(client, &at, 11);
	assert_int_equal(message.len_bytes, config->mldsa ? 3522 : 191);
	add(client, message);
	message = take_message(client, &at, 15);
	check_verify(client, config, message);
	add(client, message);
	message = take_message(client, &at, 20);
	check_finished(client, message);
	add(client, message);
	assert_int_equal(at, cv_buffer_len(&client->messages));
	derive_application(client);
	if (!flight->record_len[6])
		return;
	assert_int_equal(rig_open(&client->app_rx, output, 23, plain, &record_len), 0);
	assert_int_equal(record_len, flight->record_len[6]);
}

void rig_client_finish(struct rig_client *client, struct cv_buffer *out)
{
	append_record(20, (const uint8_t[]){1}, 1, out);
	assert_int_equal(
		cv_tls_record_seal(&client->tx, 22, client->finished, client->finished_len, 0, out),
		0);
}
