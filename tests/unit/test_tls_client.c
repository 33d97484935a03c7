// SPDX-License-Identifier: MIT
/*
 * test_tls_client.c - our client against an independent peer: OpenSSL's server in memory.
 *
 * Handshakes in every group, with HelloRetryRequest, client certificate requests, RSA, ECDSA and
 * Ed25519 leaves, records in any segmentation, padding; then what must fail, and with which alert.
 * The REALITY side has its vectors in test_tls_client_reality.c.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "base/clock.h"
#include "base/reason.h"
#include "crypto/crypto.h"
#include "protocol/tls_client.h"

#define HOST "www.example.com"

struct identity {
	EVP_PKEY *key;
	X509 *certificate;
	struct cv_trust_store *trust;
};

static struct identity ecdsa, rsa, ed25519, mldsa;

static X509 *self_signed(EVP_PKEY *key, const EVP_MD *digest)
{
	X509 *certificate = X509_new();
	X509_NAME *name = X509_get_subject_name(certificate);
	X509_EXTENSION *extension;

	X509_set_version(certificate, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(certificate), 7);
	X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
	X509_gmtime_adj(X509_getm_notAfter(certificate), 86400);
	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const uint8_t *)HOST, -1, -1, 0);
	X509_set_issuer_name(certificate, name);
	X509_set_pubkey(certificate, key);
	extension = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name,
					"DNS:" HOST ",IP:127.0.0.1");
	X509_add_ext(certificate, extension, -1);
	X509_EXTENSION_free(extension);
	assert_true(X509_sign(certificate, key, digest) > 0);
	return certificate;
}

static void make_identity(struct identity *identity, EVP_PKEY *key, const EVP_MD *digest)
{
	char path[32];
	FILE *file;
	int fd;

	assert_non_null(key);
	identity->key = key;
	identity->certificate = self_signed(key, digest);
	fd = memfd_create("certificate", MFD_CLOEXEC);
	assert_true(fd >= 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	file = fopen(path, "w");
	PEM_write_X509(file, identity->certificate);
	fclose(file);
	identity->trust = cv_trust_store_new(path, false);
	assert_non_null(identity->trust);
	close(fd);
}

static int make_identities(void **state)
{
	(void)state;
	make_identity(&ecdsa, EVP_EC_gen("P-256"), EVP_sha256());
	make_identity(&rsa, EVP_RSA_gen(2048), EVP_sha256());
	make_identity(&ed25519, EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"), NULL);
	make_identity(&mldsa, EVP_PKEY_Q_keygen(NULL, NULL, "ML-DSA-44"), NULL);
	return 0;
}

static void free_identity(struct identity *identity)
{
	EVP_PKEY_free(identity->key);
	X509_free(identity->certificate);
	cv_trust_store_free(identity->trust);
}

static int free_identities(void **state)
{
	(void)state;
	free_identity(&ecdsa);
	free_identity(&rsa);
	free_identity(&ed25519);
	free_identity(&mldsa);
	return 0;
}

/* ---- a connection in memory ---- */

struct peer {
	SSL_CTX *context;
	SSL *ssl;
	BIO *in, *out; /* in: bytes for the server */
	struct cv_tls_client *client;
	struct cv_buffer received; /* server bytes the client has not consumed */
	size_t chunk; /* feed the client so many bytes at a time */
	int result;   /* last of cv_tls_client_read */
};

static int choose_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
		       const unsigned char *in, unsigned int in_len, void *argument)
{
	(void)ssl;
	(void)argument;
	if (SSL_select_next_proto((unsigned char **)(uintptr_t)out, out_len,
				  (const unsigned char *)"\x02h2\x08http/1.1", 12, in,
				  in_len) == OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_OK;
	return SSL_TLSEXT_ERR_NOACK;
}

static void peer_init(struct peer *peer, const struct identity *identity, const char *groups)
{
	memset(peer, 0, sizeof(*peer));
	peer->chunk = 65536;
	cv_buffer_init(&peer->received, 1 << 20);
	peer->context = SSL_CTX_new(TLS_server_method());
	assert_non_null(peer->context);
	SSL_CTX_use_certificate(peer->context, identity->certificate);
	SSL_CTX_use_PrivateKey(peer->context, identity->key);
	SSL_CTX_set_alpn_select_cb(peer->context, choose_alpn, NULL);
	if (groups)
		assert_int_equal(SSL_CTX_set1_groups_list(peer->context, groups), 1);
}

static void peer_connect(struct peer *peer, const struct cv_tls_client_config *config)
{
	peer->ssl = SSL_new(peer->context);
	peer->in = BIO_new(BIO_s_mem());
	peer->out = BIO_new(BIO_s_mem());
	SSL_set_bio(peer->ssl, peer->in, peer->out);
	SSL_set_accept_state(peer->ssl);
	peer->client = cv_tls_client_new(config, cv_clock_wall_ms());
	assert_non_null(peer->client);
	peer->result = -EAGAIN;
}

static void peer_done(struct peer *peer)
{
	cv_tls_client_free(peer->client);
	cv_buffer_done(&peer->received);
	SSL_free(peer->ssl);
	SSL_CTX_free(peer->context);
	ERR_clear_error();
}

static void client_to_server(struct peer *peer)
{
	struct cv_buffer *output = cv_tls_client_output(peer->client);

	if (cv_buffer_len(output) == 0)
		return;
	BIO_write(peer->in, cv_buffer_bytes(output), (int)cv_buffer_len(output));
	cv_buffer_consume(output, cv_buffer_len(output));
}

static void server_to_client(struct peer *peer)
{
	uint8_t bytes[65536];
	int len = BIO_read(peer->out, bytes, sizeof(bytes));

	for (int at = 0; at < len; at += (int)peer->chunk) {
		size_t part = (size_t)(len - at) < peer->chunk ? (size_t)(len - at) : peer->chunk;
		struct cv_span span;

		assert_int_equal(cv_buffer_append(&peer->received, bytes + at, part), 0);
		if (peer->result != -EAGAIN)
			continue;
		span = cv_buffer_span(&peer->received);
		peer->result = cv_tls_client_read(peer->client, &span);
		cv_buffer_consume(&peer->received,
				  cv_buffer_len(&peer->received) - span.len_bytes);
	}
}

/* Returns SSL_do_handshake()'s last answer. */
static int run(struct peer *peer)
{
	int accepted = 0;

	for (int i = 0; i < 16; i++) {
		client_to_server(peer);
		accepted = SSL_do_handshake(peer->ssl);
		server_to_client(peer);
	}
	return accepted;
}

/* The alert the server got from us, -1 if none. */
static int alert_at_server(void)
{
	unsigned long error;
	int alert = -1;

	while ((error = ERR_get_error()) != 0)
		if (ERR_GET_REASON(error) > SSL_AD_REASON_OFFSET)
			alert = ERR_GET_REASON(error) - SSL_AD_REASON_OFFSET;
	return alert;
}

static int emit_to_server(void *context, struct cv_span bytes)
{
	struct peer *peer = context;

	return BIO_write(peer->in, bytes.data, (int)bytes.len_bytes) > 0 ? 0 : -1;
}

/* Data both ways through the record layer the client hands out. */
static void exchange_data(struct peer *peer)
{
	struct cv_layer *layer = cv_tls_client_take_layer(peer->client);
	struct cv_buffer plain, reply;
	struct cv_span span;
	char bytes[64] = {0};

	assert_non_null(layer);
	assert_null(cv_tls_client_take_layer(peer->client));
	assert_int_equal(layer->ops->encode(layer, cv_span_of("ping", 4), emit_to_server, peer), 0);
	assert_int_equal(SSL_read(peer->ssl, bytes, sizeof(bytes)), 4);
	assert_string_equal(bytes, "ping");
	assert_int_equal(SSL_write(peer->ssl, "pong", 4), 4);
	server_to_client(peer);
	cv_buffer_init(&plain, 65536);
	cv_buffer_init(&reply, 65536);
	span = cv_buffer_span(&peer->received);
	for (int i = 0; i < 8 && span.len_bytes; i++) /* tickets come first */
		assert_int_equal(layer->ops->decode(layer, &span, &plain, &reply), 0);
	assert_int_equal(cv_buffer_len(&plain), 4);
	assert_memory_equal(cv_buffer_bytes(&plain), "pong", 4);
	cv_buffer_done(&plain);
	cv_buffer_done(&reply);
	layer->ops->free(layer);
}

/* ---- what must work ---- */

static void check_group(enum cv_fingerprint fingerprint, const char *groups, uint16_t group,
			bool hello_retry)
{
	struct cv_tls_client_config config = {
		.server_name = HOST, .fingerprint = fingerprint, .trust = ecdsa.trust};
	const struct cv_tls_client_facts *facts;
	struct peer peer;

	peer_init(&peer, &ecdsa, groups);
	peer_connect(&peer, &config);
	assert_int_equal(run(&peer), 1);
	assert_int_equal(peer.result, 0);
	assert_int_equal(cv_tls_client_state(peer.client), CV_TLS_CLIENT_DONE);
	assert_string_equal(SSL_get_servername(peer.ssl, TLSEXT_NAMETYPE_host_name), HOST);
	facts = cv_tls_client_facts(peer.client);
	assert_int_equal(facts->version, 0x0304);
	assert_int_equal(facts->group, group);
	assert_int_equal(facts->hello_retry, hello_retry);
	assert_string_equal(facts->alpn, fingerprint == CV_FINGERPRINT_GO ? "http/1.1" : "h2");
	assert_true(facts->certificate_checked);
	assert_int_equal(facts->certificate_result, 0);
	assert_int_equal(facts->signature_scheme, 0x0403);
	assert_true(facts->record_count >= 5);
	exchange_data(&peer);
	peer_done(&peer);
}

static void every_group_and_browser(void **state)
{
	static const enum cv_fingerprint all[] = {CV_FINGERPRINT_CHROME, CV_FINGERPRINT_FIREFOX,
						  CV_FINGERPRINT_SAFARI, CV_FINGERPRINT_GO};

	(void)state;
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		bool has_p256 = all[i] == CV_FINGERPRINT_FIREFOX;

		check_group(all[i], "X25519MLKEM768", 0x11ec, false);
		check_group(all[i], "X25519", 0x001d, false);
		check_group(all[i], "P-256", 0x0017, !has_p256);
		check_group(all[i], "P-384", 0x0018, true);
	}
}

static void check_suite(const char *name, uint16_t suite)
{
	struct cv_tls_client_config config = {.server_name = HOST, .trust = ecdsa.trust};
	struct peer peer;

	peer_init(&peer, &ecdsa, NULL);
	assert_int_equal(SSL_CTX_set_ciphersuites(peer.context, name), 1);
	peer_connect(&peer, &config);
	assert_int_equal(run(&peer), 1);
	assert_int_equal(peer.result, 0);
	assert_int_equal(cv_tls_client_facts(peer.client)->suite, suite);
	exchange_data(&peer);
	peer_done(&peer);
}

static void every_suite(void **state)
{
	(void)state;
	check_suite("TLS_AES_128_GCM_SHA256", 0x1301);
	check_suite("TLS_AES_256_GCM_SHA384", 0x1302);
	check_suite("TLS_CHACHA20_POLY1305_SHA256", 0x1303);
}

static void retry_with_sha384(void **state)
{
	struct cv_tls_client_config config = {.server_name = HOST, .trust = ecdsa.trust};
	struct peer peer;

	(void)state;
	peer_init(&peer, &ecdsa, "P-384");
	assert_int_equal(SSL_CTX_set_ciphersuites(peer.context, "TLS_AES_256_GCM_SHA384"), 1);
	peer_connect(&peer, &config);
	assert_int_equal(run(&peer), 1);
	assert_int_equal(peer.result, 0);
	peer_done(&peer);
}

static void other_leaves(void **state)
{
	const struct identity *identities[] = {&rsa, &ed25519, &mldsa};
	static const uint16_t schemes[] = {0x0804, 0x0807, 0x0904};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		/* only the Go-like hello offers Ed25519, only Chrome's ML-DSA */
		struct cv_tls_client_config config = {
			.server_name = HOST,
			.fingerprint = i < 2 ? CV_FINGERPRINT_GO : CV_FINGERPRINT_CHROME,
			.trust = identities[i]->trust};
		struct peer peer;

		peer_init(&peer, identities[i], NULL);
		peer_connect(&peer, &config);
		assert_int_equal(run(&peer), 1);
		assert_int_equal(peer.result, 0);
		assert_int_equal(cv_tls_client_facts(peer.client)->signature_scheme, schemes[i]);
		exchange_data(&peer);
		peer_done(&peer);
	}
}

static int accept_any(int preverified, X509_STORE_CTX *context)
{
	(void)preverified;
	(void)context;
	return 1;
}

static void certificate_request_gets_an_empty_answer(void **state)
{
	struct cv_tls_client_config config = {.server_name = HOST, .trust = ecdsa.trust};
	struct peer peer;

	(void)state;
	peer_init(&peer, &ecdsa, NULL);
	SSL_CTX_set_verify(peer.context, SSL_VERIFY_PEER, accept_any);
	peer_connect(&peer, &config);
	assert_int_equal(run(&peer), 1);
	assert_int_equal(peer.result, 0);
	assert_null(SSL_get0_peer_certificate(peer.ssl));
	exchange_data(&peer);
	peer_done(&peer);
}

static void any_segmentation(void **state)
{
	static const size_t chunks[] = {1, 2, 3, 7, 1000};
	struct cv_tls_client_config config = {.server_name = HOST, .trust = rsa.trust};

	(void)state;
	for (size_t i = 0; i < sizeof(chunks) / sizeof(chunks[0]); i++) {
		struct peer peer;

		peer_init(&peer, &rsa, NULL);
		/* messages span records, and every record is padded */
		SSL_CTX_set_max_send_fragment(peer.context, 512);
		SSL_CTX_set_block_padding(peer.context, 300);
		peer_connect(&peer, &config);
		peer.chunk = chunks[i];
		assert_int_equal(run(&peer), 1);
		assert_int_equal(peer.result, 0);
		exchange_data(&peer);
		peer_done(&peer);
	}
}

static void ip_is_verified_but_not_sent(void **state)
{
	struct cv_tls_client_config config = {.server_name = "127.0.0.1", .trust = ecdsa.trust};
	struct peer peer;

	(void)state;
	peer_init(&peer, &ecdsa, NULL);
	peer_connect(&peer, &config);
	assert_int_equal(run(&peer), 1);
	assert_int_equal(peer.result, 0);
	assert_null(SSL_get_servername(peer.ssl, TLSEXT_NAMETYPE_host_name));
	peer_done(&peer);
}

static void real_certificate_is_told_apart(void **state)
{
	struct cv_reality_client_config reality = {.server_public = {9}, .version = {26, 7, 28}};
	struct cv_tls_client_config config = {
		.server_name = HOST, .trust = ecdsa.trust, .reality = &reality};
	struct peer peer;

	(void)state;
	peer_init(&peer, &ecdsa, NULL);
	peer_connect(&peer, &config);
	assert_int_equal(run(&peer), 1);
	assert_int_equal(peer.result, CV_UPSTREAM_REAL_CERTIFICATE);
	assert_int_equal(cv_tls_client_state(peer.client), CV_TLS_CLIENT_DONE);
	assert_false(cv_tls_client_facts(peer.client)->reality);
	exchange_data(&peer); /* the spider's connection */
	peer_done(&peer);

	/* the same over HelloRetryRequest: the session id must not be sealed anew */
	peer_init(&peer, &ecdsa, "P-384");
	peer_connect(&peer, &config);
	assert_int_equal(run(&peer), 1);
	assert_int_equal(peer.result, CV_UPSTREAM_REAL_CERTIFICATE);
	exchange_data(&peer);
	peer_done(&peer);
}

static void held_finished_is_sent_on_release(void **state)
{
	struct cv_tls_client_config config = {
		.server_name = HOST, .trust = ecdsa.trust, .hold_finished = true,
		.extra_ccs_count = 2};
	struct cv_buffer *output;
	struct peer peer;

	(void)state;
	peer_init(&peer, &ecdsa, NULL);
	peer_connect(&peer, &config);
	assert_int_equal(run(&peer), -1);
	assert_int_equal(peer.result, 0);
	output = cv_tls_client_output(peer.client);
	assert_int_equal(cv_buffer_len(output), 0);
	assert_null(cv_tls_client_take_layer(peer.client));
	assert_int_equal(cv_tls_client_release(peer.client), 0);
	assert_int_equal(cv_tls_client_release(peer.client), CV_INTERNAL_STATE);
	assert_true(cv_buffer_len(output) > 18);
	for (int i = 0; i < 3; i++) /* two extra and the one that belongs there */
		assert_memory_equal(cv_buffer_bytes(output) + 6 * i, "\x14\x03\x03\x00\x01\x01", 6);
	assert_int_equal(cv_buffer_bytes(output)[18], 0x17);
	assert_int_equal(run(&peer), 1);
	exchange_data(&peer);
	peer_done(&peer);
}

static char *server_log;

static void keep_key_log(const SSL *ssl, const char *line)
{
	size_t len = server_log ? strlen(server_log) : 0;

	(void)ssl;
	server_log = realloc(server_log, len + strlen(line) + 2);
	sprintf(server_log + len, "%s\n", line);
}

static void key_log_is_the_servers(void **state)
{
	struct cv_tls_client_config config = {.server_name = HOST, .trust = ecdsa.trust};
	char *ours, *line;
	struct peer peer;
	int count = 0;

	(void)state;
	peer_init(&peer, &ecdsa, NULL);
	SSL_CTX_set_keylog_callback(peer.context, keep_key_log);
	peer_connect(&peer, &config);
	assert_null(cv_tls_client_key_log(peer.client));
	assert_int_equal(run(&peer), 1);
	ours = cv_tls_client_key_log(peer.client);
	assert_non_null(ours);
	for (line = strtok(ours, "\n"); line; line = strtok(NULL, "\n"), count++)
		assert_non_null(strcasestr(server_log, line));
	assert_int_equal(count, 4);
	free(ours);
	free(server_log);
	server_log = NULL;
	peer_done(&peer);
}

/* ---- what must not ---- */

static void untrusted_certificate_is_refused(void **state)
{
	struct cv_tls_client_config config = {.server_name = HOST, .trust = rsa.trust};
	struct peer peer;

	(void)state;
	peer_init(&peer, &ecdsa, NULL);
	peer_connect(&peer, &config);
	assert_int_equal(run(&peer), -1);
	assert_int_equal(peer.result, CV_UPSTREAM_CERTIFICATE);
	assert_int_equal(cv_tls_client_state(peer.client), CV_TLS_CLIENT_FAILED);
	assert_true(cv_tls_client_error_text(peer.client)[0] != '\0');
	assert_null(cv_tls_client_take_layer(peer.client));
	assert_int_equal(alert_at_server(), SSL_AD_BAD_CERTIFICATE);
	peer_done(&peer);

	config.trust = ecdsa.trust; /* trusted, but for another name */
	config.server_name = "www.example.org";
	peer_init(&peer, &ecdsa, NULL);
	peer_connect(&peer, &config);
	assert_int_equal(run(&peer), -1);
	assert_int_equal(peer.result, CV_UPSTREAM_CERTIFICATE);
	peer_done(&peer);

	config.allow_insecure = true; /* told, not refused */
	peer_init(&peer, &ecdsa, NULL);
	peer_connect(&peer, &config);
	assert_int_equal(run(&peer), 1);
	assert_int_equal(peer.result, 0);
	assert_int_equal(cv_tls_client_facts(peer.client)->certificate_result,
			 CV_UPSTREAM_CERTIFICATE);
	peer_done(&peer);
}

static void reality_never_trusts_by_default(void **state)
{
	struct cv_reality_client_config reality = {.server_public = {9}, .version = {26, 7, 28}};
	struct cv_tls_client_config config = {
		.server_name = HOST, .reality = &reality, .allow_insecure = true};
	struct peer peer;

	(void)state;
	peer_init(&peer, &ecdsa, NULL);
	peer_connect(&peer, &config);
	assert_int_equal(run(&peer), -1);
	assert_int_equal(peer.result, CV_UPSTREAM_CERTIFICATE);
	assert_int_equal(alert_at_server(), SSL_AD_BAD_CERTIFICATE);
	peer_done(&peer);
}

static void tls12_is_refused(void **state)
{
	struct cv_tls_client_config config = {.server_name = HOST, .trust = ecdsa.trust};
	struct peer peer;

	(void)state;
	peer_init(&peer, &ecdsa, NULL);
	SSL_CTX_set_max_proto_version(peer.context, TLS1_2_VERSION);
	peer_connect(&peer, &config);
	assert_int_equal(run(&peer), -1);
	assert_int_equal(peer.result, CV_UPSTREAM_NOT_TLS13);
	assert_int_equal(alert_at_server(), SSL_AD_PROTOCOL_VERSION);
	peer_done(&peer);
}

static void p521_retry_is_refused(void **state)
{
	struct cv_tls_client_config config = {
		.server_name = HOST, .fingerprint = CV_FINGERPRINT_SAFARI, .trust = ecdsa.trust};
	struct peer peer;

	(void)state;
	peer_init(&peer, &ecdsa, "P-521");
	peer_connect(&peer, &config);
	assert_int_equal(run(&peer), -1);
	assert_int_equal(peer.result, CV_UPSTREAM_GROUP);
	assert_int_equal(alert_at_server(), SSL_AD_ILLEGAL_PARAMETER);
	peer_done(&peer);
}

static void alert_of_the_server_is_reported(void **state)
{
	struct cv_tls_client_config config = {.server_name = HOST, .trust = ecdsa.trust};
	struct peer peer;

	(void)state;
	peer_init(&peer, &ecdsa, "X448"); /* not in Chrome's list: handshake_failure */
	peer_connect(&peer, &config);
	assert_int_equal(run(&peer), -1);
	assert_int_equal(peer.result, CV_UPSTREAM_ALERT);
	assert_string_equal(cv_tls_client_error_text(peer.client), "server sent alert 40");
	peer_done(&peer);
}

/* Every byte of the server's protected flight matters. */
static void flipped_bytes_never_pass(void **state)
{
	struct cv_tls_client_config config = {.server_name = HOST, .trust = ecdsa.trust};

	(void)state;
	for (size_t at = 0; at < 1400; at += 17) {
		uint8_t bytes[65536];
		struct cv_span span;
		struct peer peer;
		int len, result;

		peer_init(&peer, &ecdsa, "X25519");
		peer_connect(&peer, &config);
		client_to_server(&peer);
		SSL_do_handshake(peer.ssl);
		len = BIO_read(peer.out, bytes, sizeof(bytes));
		if ((size_t)len <= at) {
			peer_done(&peer);
			break;
		}
		bytes[at] ^= 0x40;
		span = cv_span_of(bytes, (size_t)len);
		result = cv_tls_client_read(peer.client, &span);
		assert_int_not_equal(result, 0);
		assert_int_not_equal(cv_tls_client_state(peer.client), CV_TLS_CLIENT_DONE);
		peer_done(&peer);
	}
}

static void not_tls_is_noticed_at_once(void **state)
{
	struct cv_tls_client_config config = {.server_name = HOST};
	struct cv_tls_client *client = cv_tls_client_new(&config, 0);
	struct cv_span span = cv_span_of("HTTP/1.1 400 Bad Request\r\n\r\n", 28);

	(void)state;
	assert_non_null(client);
	assert_int_equal(cv_tls_client_read(client, &span), CV_UPSTREAM_DECODE);
	cv_tls_client_free(client);

	client = cv_tls_client_new(&config, 0);
	span = cv_span_of("\x17\x03\x03\x00\x13" "0123456789012345678", 24);
	assert_int_equal(cv_tls_client_read(client, &span), CV_UPSTREAM_UNEXPECTED_MESSAGE);
	cv_tls_client_free(client);

	client = cv_tls_client_new(&config, 0);
	span = cv_span_of("\x16\x03\x03\xff\xff", 5);
	assert_int_equal(cv_tls_client_read(client, &span), CV_UPSTREAM_DECODE);
	cv_tls_client_free(client);
}

static void ccs_flood_ends(void **state)
{
	struct cv_tls_client_config config = {.server_name = HOST};
	struct cv_tls_client *client = cv_tls_client_new(&config, 0);
	struct cv_span span;

	(void)state;
	assert_non_null(client);
	for (int i = 0; i < 32; i++) {
		span = cv_span_of("\x14\x03\x03\x00\x01\x01", 6);
		assert_int_equal(cv_tls_client_read(client, &span), -EAGAIN);
	}
	span = cv_span_of("\x14\x03\x03\x00\x01\x01", 6);
	assert_int_equal(cv_tls_client_read(client, &span), CV_UPSTREAM_UNEXPECTED_MESSAGE);
	cv_tls_client_free(client);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_group_and_browser),
		cmocka_unit_test(every_suite),
		cmocka_unit_test(retry_with_sha384),
		cmocka_unit_test(other_leaves),
		cmocka_unit_test(certificate_request_gets_an_empty_answer),
		cmocka_unit_test(any_segmentation),
		cmocka_unit_test(ip_is_verified_but_not_sent),
		cmocka_unit_test(real_certificate_is_told_apart),
		cmocka_unit_test(held_finished_is_sent_on_release),
		cmocka_unit_test(key_log_is_the_servers),
		cmocka_unit_test(untrusted_certificate_is_refused),
		cmocka_unit_test(reality_never_trusts_by_default),
		cmocka_unit_test(tls12_is_refused),
		cmocka_unit_test(p521_retry_is_refused),
		cmocka_unit_test(alert_of_the_server_is_reported),
		cmocka_unit_test(flipped_bytes_never_pass),
		cmocka_unit_test(not_tls_is_noticed_at_once),
		cmocka_unit_test(ccs_flood_ends),
	};

	return cmocka_run_group_tests(tests, make_identities, free_identities);
}
