// SPDX-License-Identifier: MIT
/*
 * tls_client_flight.c - the server's flight after ServerHello and our answer to it.
 *
 *   EncryptedExtensions -> [CertificateRequest] -> Certificate -> CertificateVerify -> Finished
 *   ours, one record:  CCS | [EncryptedExtensions (ALPS)] [empty Certificate] Finished
 *
 * The Certificate decides: REALITY's own (genuine), a valid WebPKI chain (the real site: finish as
 * a browser would, but report CV_UPSTREAM_REAL_CERTIFICATE), or neither (bad_certificate).
 */
#include "protocol/tls_client_state.h"

#include "base/cursor.h"
#include "base/reason.h"
#include "crypto/crypto.h"
#include "protocol/record_layer.h"

#include <stdlib.h>
#include <string.h>

#define EXT_ALPN 16
#define EXT_APPLICATION_SETTINGS 0x44cd
#define SCHEME_ED25519 0x0807
#define SIGNED_PREFIX 64
#define COMPRESSION_BROTLI 2

/* its NUL is signed too */
static const char verify_context[] = "TLS 1.3, server CertificateVerify";

static struct cv_reader message_body(struct cv_span message)
{
	return cv_reader_of(message.data + 4, message.len_bytes - 4);
}

static int internal_error(struct cv_tls_client *client, int reason)
{
	return cv_client_fail(client, reason, CV_ALERT_INTERNAL_ERROR, "internal error");
}

/* ---- EncryptedExtensions ---- */

static bool alpn_was_offered(const struct cv_tls_client *client, const char *protocol)
{
	for (const char *const *offer = cv_client_alpn(client); *offer; offer++)
		if (strcmp(*offer, protocol) == 0)
			return true;
	return false;
}

static bool read_alpn(struct cv_tls_client *client, struct cv_reader *body)
{
	struct cv_reader list = cv_read_vector16(body);
	struct cv_reader name = cv_read_vector8(&list);
	size_t len = cv_reader_left(&name);

	if (name.failed || !cv_reader_ended(&list) || !cv_reader_ended(body) || len == 0 ||
	    len >= sizeof(client->facts.alpn) || memchr(name.at, 0, len))
		return false;
	memcpy(client->facts.alpn, name.at, len);
	client->facts.alpn[len] = '\0';
	return alpn_was_offered(client, client->facts.alpn);
}

int cv_client_encrypted_extensions(struct cv_tls_client *client, struct cv_span message)
{
	struct cv_reader reader = message_body(message);
	struct cv_reader extensions = cv_read_vector16(&reader);

	while (!extensions.failed && cv_reader_left(&extensions) > 0) {
		uint16_t type = cv_read_u16(&extensions);
		struct cv_reader body = cv_read_vector16(&extensions);

		if (extensions.failed)
			break;
		if (type == EXT_ALPN && !read_alpn(client, &body))
			return cv_client_fail(client, CV_UPSTREAM_DECODE,
					      CV_ALERT_ILLEGAL_PARAMETER,
					      "ALPN answer does not fit our offer");
		client->application_settings |= type == EXT_APPLICATION_SETTINGS;
	}
	if (extensions.failed || !cv_reader_ended(&reader))
		return cv_client_decode_error(client, "malformed EncryptedExtensions");
	client->state = CV_TLS_CLIENT_EXPECT_CERTIFICATE;
	return 0;
}

int cv_client_certificate_request(struct cv_tls_client *client, struct cv_span message)
{
	struct cv_reader reader = message_body(message);
	struct cv_reader context = cv_read_vector8(&reader);
	size_t len = cv_reader_left(&context);

	cv_read_vector16(&reader);
	if (!cv_reader_ended(&reader))
		return cv_client_decode_error(client, "malformed CertificateRequest");
	if (client->certificate_requested)
		return cv_client_fail(client, CV_UPSTREAM_UNEXPECTED_MESSAGE,
				      CV_ALERT_UNEXPECTED_MESSAGE, "second CertificateRequest");
	client->certificate_requested = true;
	memcpy(client->request_context, context.at, len);
	client->request_context_len = (uint8_t)len;
	return 0;
}

/* ---- Certificate ---- */

static int check_chain(struct cv_tls_client *client, const struct cv_der *chain, size_t chain_len)
{
	struct cv_tls_client_facts *facts = &client->facts;

	if (!client->config.trust)
		return 0;
	facts->certificate_checked = true;
	facts->certificate_result = cv_x509_verify_chain(
		client->config.trust, chain, chain_len, client->config.server_name,
		&facts->certificate_error);
	return facts->certificate_result;
}

static int judge_chain(struct cv_tls_client *client, const struct cv_der *chain, size_t chain_len)
{
	bool reality = client->config.reality != NULL;
	int result = 0;

	if (client->config.describe_leaf && chain_len > 0)
		(void)cv_x509_describe(&chain[0], &client->facts.leaf);
	if (reality && chain_len == 1)
		result = cv_reality_judge_certificate(client, chain[0]);
	if (result < 0)
		return internal_error(client, result);
	client->facts.reality = client->genuine;
	if (client->genuine)
		return 0;
	if (reality && !client->config.trust)
		result = CV_UPSTREAM_CERTIFICATE;
	else
		result = check_chain(client, chain, chain_len);
	if (result < 0 && (reality || !client->config.allow_insecure))
		return cv_client_fail(client, CV_UPSTREAM_CERTIFICATE, CV_ALERT_BAD_CERTIFICATE,
				      client->facts.certificate_error
					      ? client->facts.certificate_error
					      : "certificate is not REALITY's");
	return 0;
}

static bool read_chain(struct cv_reader *reader, struct cv_der chain[CV_CLIENT_CHAIN_MAX],
		       size_t *ret_len)
{
	struct cv_reader context = cv_read_vector8(reader);
	struct cv_reader list = cv_read_vector24(reader);
	size_t count = 0;

	if (cv_reader_left(&context) != 0)
		return false;
	while (!list.failed && cv_reader_left(&list) > 0 && count < CV_CLIENT_CHAIN_MAX) {
		struct cv_reader der = cv_read_vector24(&list);

		cv_read_vector16(&list); /* OCSP, SCT: not judged */
		if (list.failed || cv_reader_left(&der) == 0)
			return false;
		chain[count++] = (struct cv_der){der.at, cv_reader_left(&der)};
	}
	*ret_len = count;
	return count > 0 && cv_reader_ended(&list) && cv_reader_ended(reader);
}

static int take_certificate(struct cv_tls_client *client, struct cv_reader body)
{
	struct cv_der chain[CV_CLIENT_CHAIN_MAX];
	size_t chain_len;
	int result;

	if (client->certificate_seen)
		return cv_client_fail(client, CV_UPSTREAM_UNEXPECTED_MESSAGE,
				      CV_ALERT_UNEXPECTED_MESSAGE, "second Certificate");
	client->certificate_seen = true;
	if (!read_chain(&body, chain, &chain_len))
		return cv_client_decode_error(client, "malformed Certificate");
	result = judge_chain(client, chain, chain_len);
	if (result < 0)
		return result;
	if (!client->genuine)
		result = cv_buffer_append(&client->leaf, chain[0].bytes, chain[0].len_bytes);
	if (result < 0)
		return internal_error(client, result);
	client->state = CV_TLS_CLIENT_EXPECT_CERTIFICATE_VERIFY;
	return 0;
}

int cv_client_certificate(struct cv_tls_client *client, struct cv_span message)
{
	client->facts.certificate_bytes = message.len_bytes;
	return take_certificate(client, message_body(message));
}

static bool compression_was_offered(const struct cv_tls_client *client, uint16_t algorithm)
{
	switch (client->config.fingerprint) {
	case CV_FINGERPRINT_CHROME:
		return algorithm == COMPRESSION_BROTLI;
	case CV_FINGERPRINT_FIREFOX:
		return algorithm >= 1 && algorithm <= 3;
	case CV_FINGERPRINT_SAFARI:
		return algorithm == 1;
	default:
		return false;
	}
}

int cv_client_compressed_certificate(struct cv_tls_client *client, struct cv_span message)
{
	struct cv_reader reader = message_body(message);
	uint16_t algorithm = cv_read_u16(&reader);
	size_t plain_len = cv_read_u24(&reader);
	struct cv_reader data = cv_read_vector24(&reader);
	size_t len = plain_len;
	uint8_t *plain;
	int result;

	if (!cv_reader_ended(&reader))
		return cv_client_decode_error(client, "malformed CompressedCertificate");
	if (!compression_was_offered(client, algorithm) || plain_len == 0 ||
	    plain_len > CV_CLIENT_MESSAGE_MAX)
		return cv_client_fail(client, CV_UPSTREAM_DECODE, CV_ALERT_ILLEGAL_PARAMETER,
				      "certificate compression we did not offer");
	plain = malloc(plain_len);
	if (!plain)
		return internal_error(client, CV_INTERNAL_MEMORY);
	client->facts.compressed_certificate = true;
	client->facts.certificate_bytes = message.len_bytes;
	result = cv_decompress_certificate(algorithm, data.at, cv_reader_left(&data), plain, &len);
	if (result < 0 || len != plain_len)
		result = cv_client_fail(client, CV_UPSTREAM_DECODE, CV_ALERT_BAD_CERTIFICATE,
					"certificate does not decompress");
	else
		result = take_certificate(client, cv_reader_of(plain, len));
	free(plain);
	return result;
}

/* ---- CertificateVerify ---- */

static bool scheme_is_tls13(uint16_t scheme)
{
	switch (scheme) {
	case 0x0403: case 0x0503: case 0x0603: /* ECDSA */
	case 0x0804: case 0x0805: case 0x0806: /* RSA-PSS, rsaEncryption key */
	case 0x0807: case 0x0808:              /* EdDSA */
	case 0x0809: case 0x080a: case 0x080b: /* RSA-PSS key */
	case 0x0904: case 0x0905: case 0x0906: /* ML-DSA */
		return true;
	default:
		return false;
	}
}

static int verify_signature(struct cv_tls_client *client, uint16_t scheme, struct cv_reader sig)
{
	uint8_t content[SIGNED_PREFIX + sizeof(verify_context) + CV_HASH_MAX];
	size_t len = SIGNED_PREFIX + sizeof(verify_context);
	struct cv_span leaf = cv_buffer_span(&client->leaf);
	struct cv_der der = {.bytes = leaf.data, .len_bytes = leaf.len_bytes};

	memset(content, 0x20, SIGNED_PREFIX);
	memcpy(content + SIGNED_PREFIX, verify_context, sizeof(verify_context));
	if (cv_transcript_digest(client->transcript, content + len) < 0)
		return CV_INTERNAL_CRYPTO;
	len += cv_hash_len(client->suite->hash);
	if (!client->genuine)
		return cv_x509_verify_signature(&der, scheme, content, len, sig.at,
						cv_reader_left(&sig));
	/* REALITY 12.2 step 3: Ed25519 whether the hello offered it or not */
	if (scheme != SCHEME_ED25519 || cv_reader_left(&sig) != CV_ED25519_SIGNATURE)
		return CV_UPSTREAM_CERTIFICATE;
	return cv_ed25519_verify(client->leaf_ed25519, content, len, sig.at);
}

int cv_client_certificate_verify(struct cv_tls_client *client, struct cv_span message)
{
	struct cv_reader reader = message_body(message);
	uint16_t scheme = cv_read_u16(&reader);
	struct cv_reader signature = cv_read_vector16(&reader);
	int result;

	if (!cv_reader_ended(&reader))
		return cv_client_decode_error(client, "malformed CertificateVerify");
	if (!scheme_is_tls13(scheme))
		return cv_client_fail(client, CV_UPSTREAM_DECODE, CV_ALERT_ILLEGAL_PARAMETER,
				      "signature scheme not allowed in TLS 1.3");
	client->facts.signature_scheme = scheme;
	result = verify_signature(client, scheme, signature);
	if (result == CV_INTERNAL_CRYPTO || result == CV_INTERNAL_MEMORY)
		return internal_error(client, result);
	if (result < 0)
		return cv_client_fail(client, CV_UPSTREAM_CERTIFICATE, CV_ALERT_DECRYPT_ERROR,
				      "CertificateVerify does not verify");
	cv_buffer_done(&client->leaf);
	cv_buffer_done(&client->server_hello);
	client->state = CV_TLS_CLIENT_EXPECT_FINISHED;
	return 0;
}

/* ---- Finished and our second flight ---- */

static int append_own(struct cv_tls_client *client, struct cv_buffer *flight, const void *bytes,
		      size_t len)
{
	int result = cv_buffer_append(flight, bytes, len);

	return result < 0 ? result : cv_transcript_add(client->transcript, bytes, len);
}

/* ALPS: h2 settings, empty as Chrome has them. */
static int append_application_settings(struct cv_tls_client *client, struct cv_buffer *flight)
{
	static const uint8_t message[] = {CV_MESSAGE_ENCRYPTED_EXTENSIONS, 0, 0, 6, 0, 4,
					  EXT_APPLICATION_SETTINGS >> 8,
					  EXT_APPLICATION_SETTINGS & 0xff, 0, 0};

	return append_own(client, flight, message, sizeof(message));
}

static int append_empty_certificate(struct cv_tls_client *client, struct cv_buffer *flight)
{
	uint8_t message[4 + 1 + CV_CLIENT_CONTEXT_MAX + 3];
	struct cv_writer writer = cv_writer_of(message, sizeof(message));
	size_t mark;

	cv_write_u8(&writer, CV_MESSAGE_CERTIFICATE);
	mark = cv_write_open24(&writer);
	cv_write_u8(&writer, client->request_context_len);
	cv_write_bytes(&writer, client->request_context, client->request_context_len);
	cv_write_u24(&writer, 0);
	cv_write_close24(&writer, mark);
	return append_own(client, flight, message, cv_writer_len(&writer));
}

static int append_finished(struct cv_tls_client *client, struct cv_buffer *flight)
{
	size_t len = cv_hash_len(client->suite->hash);
	uint8_t message[4 + CV_HASH_MAX] = {CV_MESSAGE_FINISHED, 0, 0, (uint8_t)len};
	uint8_t digest[CV_HASH_MAX];
	int result = cv_transcript_digest(client->transcript, digest);

	if (result == 0)
		result = cv_tls_finished_mac(client->suite, client->secrets.client_handshake,
					     digest, message + 4);
	if (result == 0)
		result = append_own(client, flight, message, 4 + len);
	return result;
}

static int build_second_flight(struct cv_tls_client *client, struct cv_buffer *flight)
{
	int result = 0;

	if (client->application_settings)
		result = append_application_settings(client, flight);
	if (result == 0 && client->certificate_requested)
		result = append_empty_certificate(client, flight);
	if (result == 0)
		result = append_finished(client, flight);
	return result;
}

/* From here on the keys are the application's. */
static int switch_to_application(struct cv_tls_client *client)
{
	int result;

	cv_tls_keys_done(&client->tx);
	result = cv_tls_keys_init(&client->tx, client->suite, client->secrets.client_application,
				  true);
	client->finished_sent = result == 0;
	return result;
}

int cv_client_second_flight(struct cv_tls_client *client)
{
	struct cv_buffer flight;
	struct cv_span bytes;
	int result = 0;

	cv_buffer_init(&flight, 1024);
	for (unsigned i = 0; result == 0 && i < client->config.extra_ccs_count; i++) {
		client->ccs_sent = false;
		result = cv_client_send_ccs(client);
		client->ccs_sent = false;
	}
	if (result == 0)
		result = cv_client_send_ccs(client);
	if (result == 0)
		result = build_second_flight(client, &flight);
	bytes = cv_buffer_span(&flight);
	if (result == 0)
		result = cv_tls_record_seal(&client->tx, CV_TLS_HANDSHAKE, bytes.data,
					    bytes.len_bytes, 0, &client->output);
	if (result == 0)
		result = switch_to_application(client);
	cv_buffer_done(&flight);
	return result;
}

static int schedule_application(struct cv_tls_client *client)
{
	uint8_t digest[CV_HASH_MAX];
	int result = cv_transcript_digest(client->transcript, digest);

	if (result == 0)
		result = cv_tls_schedule_application(client->suite, digest, &client->secrets);
	if (result < 0)
		return result;
	cv_tls_keys_done(&client->rx);
	return cv_tls_keys_init(&client->rx, client->suite, client->secrets.server_application,
				false);
}

/* Called before the message enters the transcript; adds it itself. */
int cv_client_finished(struct cv_tls_client *client, struct cv_span message)
{
	size_t len = cv_hash_len(client->suite->hash);
	uint8_t digest[CV_HASH_MAX], expected[CV_HASH_MAX];
	int result;

	result = cv_transcript_digest(client->transcript, digest);
	if (result == 0)
		result = cv_tls_finished_mac(client->suite, client->secrets.server_handshake,
					     digest, expected);
	if (result < 0)
		return internal_error(client, result);
	if (message.len_bytes != 4 + len ||
	    !cv_equal_constant_time(message.data + 4, expected, len))
		return cv_client_fail(client, CV_UPSTREAM_FINISHED, CV_ALERT_DECRYPT_ERROR,
				      "server Finished does not verify");
	result = cv_transcript_add(client->transcript, message.data, message.len_bytes);
	if (result == 0)
		result = schedule_application(client);
	if (result == 0 && !client->config.hold_finished)
		result = cv_client_second_flight(client);
	if (result < 0)
		return internal_error(client, result);
	client->state = CV_TLS_CLIENT_DONE;
	client->result = client->config.reality && !client->genuine ? CV_UPSTREAM_REAL_CERTIFICATE
								    : 0;
	return 0;
}
