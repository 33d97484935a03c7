// SPDX-License-Identifier: MIT
/*
 * reality_flight.c - our TLS 1.3 flight, cut to the lengths of the target's.
 *
 *   SH (the target's, our key share)  CCS  [EE] [Certificate] [CertificateVerify] [Finished]
 * [empty] ^2   ^3            ^4                  ^5          ^6 combined mode CCS  [EE Certificate
 * CertificateVerify Finished] ^2
 *
 * Each bracket is one record of exactly the target's length, filled up with record padding. Record
 * 6 is empty application data under the application key and uses up its sequence number 0.
 *
 * Lengths are judged before any key is made, and output is undone on failure: until the last byte
 * is in place the connection can still go to the target.
 */
#include "protocol/reality_internal.h"

#include "base/cursor.h"
#include "protocol/tls_alert.h"

#include <culvert/reason.h>

#include <string.h>

#define EE_LEN 6
#define VERIFY_LEN (4 + 4 + CV_ED25519_SIGNATURE)
#define FINISHED_HEADER 4
#define SCHEME_ED25519 0x0807
#define MESSAGES_MAX \
	(EE_LEN + CV_REALITY_CERTIFICATE_MAX + VERIFY_LEN + FINISHED_HEADER + CV_HASH_MAX)
#define VERIFY_PREFIX 64
#define SECRET_MAX (CV_MLKEM768_SECRET + CV_X25519_LEN)

enum { EE, CERTIFICATE, VERIFY, FINISHED, MESSAGE_COUNT };

/* What lives only while the flight is built. */
struct flight {
	struct cv_reality_server *server;
	const struct cv_reality_template *template;
	struct cv_transcript *transcript;
	struct cv_tls_keys keys; /* server handshake */
	uint8_t share[CV_REALITY_HYBRID_ANSWER];
	size_t share_len;
	uint8_t secret[SECRET_MAX];
	size_t secret_len;
	size_t server_hello_at; /* in output */
	uint8_t messages[MESSAGES_MAX];
	size_t message_len[MESSAGE_COUNT];
	size_t messages_len;
};

/* ---- does it fit? ------------------------------------------------------------------------- */

/* A record of the target may be longer than RFC 8446 allows to seal; nobody can imitate that. */
static bool fits(size_t record_len, size_t content_bytes)
{
	return record_len >= content_bytes + CV_REALITY_RECORD_MIN &&
	       record_len <= CV_REALITY_RECORD_MAX;
}

static int judge_lengths(const struct cv_reality_server *server,
			 const struct cv_reality_template *template)
{
	const size_t len[MESSAGE_COUNT] = {
		[EE] = EE_LEN,
		[CERTIFICATE] = cv_reality_certificate_len(server->config->mldsa != NULL),
		[VERIFY] = VERIFY_LEN,
		[FINISHED] = FINISHED_HEADER + cv_hash_len(template->suite->hash),
	};
	const size_t *record_len = template->record_len;
	size_t total = 0;

	for (int i = EE; i < MESSAGE_COUNT; i++) {
		total += len[i];
		if (!template->combined && !fits(record_len[2 + i], len[i]))
			return CV_TARGET_PADDING;
	}
	if (template->combined)
		return fits(record_len[2], total) ? 0 : CV_TARGET_PADDING;
	return record_len[6] == 0 || fits(record_len[6], 0) ? 0 : CV_TARGET_PADDING;
}

/* ---- key exchange, REALITY 6.1 ------------------------------------------------------------ */

static int exchange_x25519(struct flight *flight, const uint8_t *peer_share, uint8_t *ret_public,
			   uint8_t *ret_secret)
{
	uint8_t private_key[CV_X25519_LEN];
	int result = flight->server->entropy->x25519_keygen(private_key, ret_public);

	if (result == 0)
		result = cv_x25519(private_key, peer_share, ret_secret);
	cv_cleanse(private_key, sizeof(private_key));
	return result;
}

static int exchange_hybrid(struct flight *flight, struct cv_span peer_share)
{
	int result;

	if (peer_share.len_bytes != CV_REALITY_HYBRID_SHARE)
		return CV_TARGET_GROUP;
	result = flight->server->entropy->mlkem768_encapsulate(peer_share.data, flight->share,
							       flight->secret);
	if (result == 0)
		result = exchange_x25519(flight, peer_share.data + CV_MLKEM768_PUBLIC,
					 flight->share + CV_MLKEM768_CIPHERTEXT,
					 flight->secret + CV_MLKEM768_SECRET);
	flight->share_len = CV_REALITY_HYBRID_ANSWER;
	flight->secret_len = CV_MLKEM768_SECRET + CV_X25519_LEN;
	return result;
}

static int exchange_keys(struct flight *flight)
{
	const struct cv_client_hello *hello = &flight->server->hello;

	if (flight->template->group == CV_GROUP_X25519MLKEM768)
		return exchange_hybrid(flight, hello->hybrid_share);
	if (hello->x25519_share.len_bytes != CV_X25519_LEN)
		return CV_TARGET_GROUP;
	flight->share_len = CV_X25519_LEN;
	flight->secret_len = CV_X25519_LEN;
	return exchange_x25519(flight, hello->x25519_share.data, flight->share, flight->secret);
}

/* ---- ServerHello and handshake keys ------------------------------------------------------- */

static uint8_t *server_hello_of(const struct flight *flight)
{
	return cv_buffer_bytes(&flight->server->output) + flight->server_hello_at;
}

/* The target's record 0 as it is, but for the bytes of the key share. */
static int put_server_hello(struct flight *flight)
{
	struct cv_reality_server *server = flight->server;
	size_t record_len = CV_TLS_HEADER + flight->template->server_hello_len;
	int result;

	flight->server_hello_at = cv_buffer_len(&server->output) + CV_TLS_HEADER;
	result = cv_buffer_append(&server->output, cv_buffer_bytes(&server->saved), record_len);
	if (result == 0)
		memcpy(server_hello_of(flight) + flight->template->key_share_offset, flight->share,
		       flight->share_len);
	return result;
}

static int start_schedule(struct flight *flight)
{
	struct cv_reality_server *server = flight->server;
	const struct cv_tls_suite *suite = flight->template->suite;
	struct cv_span hello = server->hello.message;
	uint8_t digest[CV_HASH_MAX];
	int result;

	flight->transcript = cv_transcript_new(suite->hash);
	if (!flight->transcript)
		return CV_INTERNAL_CRYPTO;
	result = cv_transcript_add(flight->transcript, hello.data, hello.len_bytes);
	if (result == 0)
		result = cv_transcript_add(flight->transcript, server_hello_of(flight),
					   flight->template->server_hello_len);
	if (result == 0)
		result = cv_transcript_digest(flight->transcript, digest);
	if (result == 0)
		result = cv_tls_schedule_handshake(suite, flight->secret, flight->secret_len,
						   digest, &server->secrets);
	if (result == 0)
		result = cv_tls_keys_init(&flight->keys, suite, server->secrets.server_handshake,
					  true);
	if (result == 0)
		result = cv_tls_keys_init(&server->rx, suite, server->secrets.client_handshake,
					  false);
	return result;
}

/* ---- messages, REALITY 6.2 ---------------------------------------------------------------- */

static uint8_t *next_message(struct flight *flight)
{
	return flight->messages + flight->messages_len;
}

static int end_message(struct flight *flight, int which, size_t len)
{
	int result = cv_transcript_add(flight->transcript, next_message(flight), len);

	flight->message_len[which] = len;
	flight->messages_len += len;
	return result;
}

static int write_certificate(struct flight *flight)
{
	struct cv_reality_server *server = flight->server;
	struct cv_span server_hello =
		cv_span_of(server_hello_of(flight), flight->template->server_hello_len);
	int result = cv_reality_certificate_write(server->config, server->auth_key,
						  server->hello.message, server_hello,
						  next_message(flight));

	if (result)
		return result;
	return end_message(flight, CERTIFICATE,
			   cv_reality_certificate_len(server->config->mldsa != NULL));
}

static int write_verify(struct flight *flight)
{
	static const char label[] = "TLS 1.3, server CertificateVerify"; /* with its zero byte */
	uint8_t signed_bytes[VERIFY_PREFIX + sizeof(label) + CV_HASH_MAX];
	size_t hash_len = cv_hash_len(flight->template->suite->hash);
	struct cv_writer writer = cv_writer_of(next_message(flight), VERIFY_LEN);
	uint8_t signature[CV_ED25519_SIGNATURE];
	int result;

	memset(signed_bytes, 0x20, VERIFY_PREFIX);
	memcpy(signed_bytes + VERIFY_PREFIX, label, sizeof(label));
	result = cv_transcript_digest(flight->transcript,
				      signed_bytes + VERIFY_PREFIX + sizeof(label));
	if (result == 0)
		result = cv_ed25519_sign(flight->server->config->certificate_key, signed_bytes,
					 VERIFY_PREFIX + sizeof(label) + hash_len, signature);
	if (result)
		return result;
	cv_write_u8(&writer, CV_TLS_CERTIFICATE_VERIFY);
	cv_write_u24(&writer, VERIFY_LEN - 4);
	cv_write_u16(&writer, SCHEME_ED25519);
	cv_write_u16(&writer, CV_ED25519_SIGNATURE);
	cv_write_bytes(&writer, signature, sizeof(signature));
	return end_message(flight, VERIFY, VERIFY_LEN);
}

static int write_finished(struct flight *flight)
{
	const struct cv_tls_suite *suite = flight->template->suite;
	uint8_t *message = next_message(flight), digest[CV_HASH_MAX];
	int result = cv_transcript_digest(flight->transcript, digest);

	if (result == 0)
		result = cv_tls_finished_mac(suite, flight->server->secrets.server_handshake,
					     digest, message + FINISHED_HEADER);
	if (result)
		return result;
	message[0] = CV_TLS_FINISHED;
	message[1] = message[2] = 0;
	message[3] = (uint8_t)cv_hash_len(suite->hash);
	return end_message(flight, FINISHED, FINISHED_HEADER + cv_hash_len(suite->hash));
}

static int write_messages(struct flight *flight)
{
	/* observable to the client only: no ALPN, whatever it offered (REALITY 15.9) */
	static const uint8_t encrypted_extensions[EE_LEN] = {
		CV_TLS_ENCRYPTED_EXTENSIONS, 0, 0, 2, 0, 0};
	int result;

	memcpy(next_message(flight), encrypted_extensions, EE_LEN);
	result = end_message(flight, EE, EE_LEN);
	if (result == 0)
		result = write_certificate(flight);
	if (result == 0)
		result = write_verify(flight);
	if (result == 0)
		result = write_finished(flight);
	return result;
}

/* ---- records, REALITY 6.3 ----------------------------------------------------------------- */

static int seal_messages(struct flight *flight)
{
	static const uint8_t ccs[] = {CV_TLS_CCS, 3, 3, 0, 1, 1};
	const struct cv_reality_template *template = flight->template;
	struct cv_buffer *output = &flight->server->output;
	const uint8_t *message = flight->messages;
	int result = cv_buffer_append(output, ccs, sizeof(ccs));

	if (result == 0 && template->combined)
		return cv_tls_record_seal(&flight->keys, CV_TLS_HANDSHAKE, message,
					  flight->messages_len, template->record_len[2], output);
	for (int i = EE; i < MESSAGE_COUNT && result == 0; i++) {
		result = cv_tls_record_seal(&flight->keys, CV_TLS_HANDSHAKE, message,
					    flight->message_len[i], template->record_len[2 + i],
					    output);
		message += flight->message_len[i];
	}
	return result;
}

/* From here on we write under the application key, as every TLS 1.3 server does after its Finished.
 */
static int switch_keys(struct flight *flight)
{
	struct cv_reality_server *server = flight->server;
	const struct cv_tls_suite *suite = flight->template->suite;
	size_t ticket_len = flight->template->record_len[6];
	uint8_t digest[CV_HASH_MAX];
	int result = cv_transcript_digest(flight->transcript, digest);

	if (result == 0)
		result = cv_tls_finished_mac(suite, server->secrets.client_handshake, digest,
					     server->client_verify_data);
	if (result == 0)
		result = cv_tls_schedule_application(suite, digest, &server->secrets);
	if (result == 0)
		result = cv_tls_keys_init(&server->tx, suite, server->secrets.server_application,
					  true);
	if (result == 0 && ticket_len) {
		result = cv_tls_record_seal(&server->tx, CV_TLS_APPLICATION, digest, 0, ticket_len,
					    &server->output);
		server->empty_records_sent = 1;
	}
	return result;
}

static int build(struct flight *flight)
{
	int result = exchange_keys(flight);

	if (result == 0)
		result = put_server_hello(flight);
	if (result == 0)
		result = start_schedule(flight);
	if (result == 0)
		result = write_messages(flight);
	if (result == 0)
		result = seal_messages(flight);
	if (result == 0)
		result = switch_keys(flight);
	return result;
}

int cv_reality_flight_build(struct cv_reality_server *server,
			    const struct cv_reality_template *template)
{
	struct flight flight = {.server = server, .template = template};
	int result = judge_lengths(server, template);

	if (result)
		return result;
	result = build(&flight);
	if (result) {
		cv_buffer_done(&server->output);
		cv_tls_keys_done(&server->rx);
		cv_tls_keys_done(&server->tx);
	} else {
		server->suite = template->suite;
	}
	cv_transcript_free(flight.transcript);
	cv_tls_keys_done(&flight.keys);
	cv_cleanse(&flight, sizeof(flight));
	return result;
}
