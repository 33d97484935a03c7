// SPDX-License-Identifier: MIT
/*
 * test_reality_pair.c - our REALITY client and our REALITY server with an OpenSSL server as target,
 * all in memory: every browser, group and suite, with ML-DSA, learned records and data both ways;
 * then everything that must end at the target instead.
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

#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "base/clock.h"
#include "base/reason.h"
#include "crypto/crypto.h"
#include "protocol/reality_server.h"
#include "protocol/tls_client.h"

#define HOST "www.example.com"

static SSL_CTX *target_context;
static struct cv_trust_store *trust;
static struct cv_ed25519 *certificate_key;
static struct cv_mldsa65 *mldsa;
static uint8_t mldsa_public[CV_MLDSA65_PUBLIC];

/* Long names make a Certificate record with room for ML-DSA. */
static void add_names(X509 *certificate)
{
	static char names[8192];
	X509_EXTENSION *extension;
	size_t len = (size_t)sprintf(names, "DNS:" HOST);

	for (int i = 0; i < 60; i++)
		len += (size_t)sprintf(names + len, ",DNS:%060d.example.com", i);
	extension = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, names);
	assert_non_null(extension);
	X509_add_ext(certificate, extension, -1);
	X509_EXTENSION_free(extension);
}

static int make_target(void **state)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *certificate = X509_new();
	uint8_t seed[32] = {7};
	char path[32];
	FILE *file;
	int fd;

	(void)state;
	X509_set_version(certificate, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
	X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
	X509_gmtime_adj(X509_getm_notAfter(certificate), 86400);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC,
				   (const uint8_t *)HOST, -1, -1, 0);
	X509_set_issuer_name(certificate, X509_get_subject_name(certificate));
	X509_set_pubkey(certificate, key);
	add_names(certificate);
	assert_true(X509_sign(certificate, key, EVP_sha256()) > 0);
	target_context = SSL_CTX_new(TLS_server_method());
	SSL_CTX_use_certificate(target_context, certificate);
	SSL_CTX_use_PrivateKey(target_context, key);
	fd = memfd_create("certificate", MFD_CLOEXEC);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	file = fopen(path, "w");
	assert_non_null(file);
	PEM_write_X509(file, certificate);
	fclose(file);
	trust = cv_trust_store_new(path, false);
	assert_non_null(trust);
	close(fd);
	X509_free(certificate);
	EVP_PKEY_free(key);
	certificate_key = cv_ed25519_from_seed(seed);
	mldsa = cv_mldsa65_from_seed(seed);
	assert_non_null(certificate_key);
	assert_int_equal(cv_mldsa65_public(mldsa, mldsa_public), 0);
	return 0;
}

static int free_target(void **state)
{
	(void)state;
	SSL_CTX_free(target_context);
	cv_trust_store_free(trust);
	cv_ed25519_free(certificate_key);
	cv_mldsa65_free(mldsa);
	return 0;
}

/* ---- three parties ---- */

struct pair {
	struct cv_reality_config server_config;
	char server_names[1][256];
	uint8_t short_ids[1][8];
	struct cv_target_profile profile;
	struct cv_reality_client_config reality;
	struct cv_tls_client_config client_config;

	struct cv_tls_client *client;
	struct cv_reality_server *server;
	SSL *target;
	BIO *target_in, *target_out;
	struct cv_buffer to_client;
	enum cv_reality_verdict verdict;
	bool forwarding;
	int result;
};

static struct cv_target_profile give_profile(void *context, const char *server_name,
					     enum cv_alpn_class alpn_class)
{
	struct pair *pair = context;

	assert_string_equal(server_name, HOST);
	assert_int_equal(alpn_class, CV_ALPN_H2);
	return pair->profile;
}

static void pair_init(struct pair *pair, enum cv_fingerprint fingerprint)
{
	memset(pair, 0, sizeof(*pair));
	pair->profile = (struct cv_target_profile){
		.after[CV_TARGET_HYBRID_SHA256] = {{271, 271, 62}, 3, true}, .ccs_limit = 32};
	strcpy(pair->server_names[0], HOST);
	memcpy(pair->short_ids[0], "\x01\x23\x45\x67\x89\xab\xcd\xef", 8);
	cv_random_bytes(pair->server_config.private_key, 32);
	pair->server_config.server_names = pair->server_names;
	pair->server_config.server_name_count = 1;
	pair->server_config.short_ids = pair->short_ids;
	pair->server_config.short_id_count = 1;
	pair->server_config.min_client_version = 26 << 16 | 3 << 8 | 27;
	pair->server_config.max_client_version = 0xffffff;
	pair->server_config.max_time_diff_ms = 60000;
	pair->server_config.certificate_key = certificate_key;
	assert_int_equal(cv_ed25519_public(certificate_key, pair->server_config.certificate_public),
			 0);
	pair->server_config.profile = give_profile;
	pair->server_config.profile_context = pair;
	assert_int_equal(cv_x25519_public(pair->server_config.private_key,
					  pair->reality.server_public), 0);
	memcpy(pair->reality.short_id, pair->short_ids[0], 8);
	memcpy(pair->reality.version, "\x1a\x07\x1c", 3);
	pair->client_config.server_name = HOST;
	pair->client_config.fingerprint = fingerprint;
	pair->client_config.reality = &pair->reality;
	pair->client_config.trust = trust;
}

static void pair_start(struct pair *pair)
{
	pair->target = SSL_new(target_context);
	pair->target_in = BIO_new(BIO_s_mem());
	pair->target_out = BIO_new(BIO_s_mem());
	SSL_set_bio(pair->target, pair->target_in, pair->target_out);
	SSL_set_accept_state(pair->target);
	cv_buffer_init(&pair->to_client, 1 << 20);
	pair->server = cv_reality_server_new(&pair->server_config);
	pair->client = cv_tls_client_new(&pair->client_config, cv_clock_wall_ms());
	assert_non_null(pair->server);
	assert_non_null(pair->client);
	pair->result = -EAGAIN;
}

static void pair_done(struct pair *pair)
{
	cv_tls_client_free(pair->client);
	cv_reality_server_free(pair->server);
	SSL_free(pair->target);
	cv_buffer_done(&pair->to_client);
}

static void move(struct cv_buffer *from, struct cv_buffer *to)
{
	if (cv_buffer_len(from))
		assert_int_equal(cv_buffer_append(to, cv_buffer_bytes(from), cv_buffer_len(from)),
				 0);
	cv_buffer_consume(from, cv_buffer_len(from));
}

/* What a session does with a verdict. */
static void obey(struct pair *pair, enum cv_reality_verdict verdict)
{
	if (verdict == CV_REALITY_FORWARD && !pair->forwarding) {
		move(cv_reality_server_saved_target(pair->server), &pair->to_client);
		pair->forwarding = true;
	}
	move(cv_reality_server_output(pair->server), &pair->to_client);
	pair->verdict = verdict;
}

static void from_client(struct pair *pair)
{
	struct cv_buffer *output = cv_tls_client_output(pair->client);
	struct cv_span bytes = cv_buffer_span(output);
	bool mirrored = pair->verdict == CV_REALITY_WAIT || pair->forwarding;

	if (!bytes.len_bytes)
		return;
	if (mirrored)
		BIO_write(pair->target_in, bytes.data, (int)bytes.len_bytes);
	if (!pair->forwarding && pair->verdict != CV_REALITY_ESTABLISHED)
		obey(pair, cv_reality_server_client_bytes(pair->server, bytes,
							  cv_clock_wall_ms()));
	cv_buffer_consume(output, bytes.len_bytes);
}

static void from_target(struct pair *pair)
{
	uint8_t bytes[65536];
	int len;

	SSL_do_handshake(pair->target);
	len = BIO_read(pair->target_out, bytes, sizeof(bytes));
	if (len <= 0)
		return;
	if (pair->forwarding)
		cv_buffer_append(&pair->to_client, bytes, (size_t)len);
	else if (pair->verdict == CV_REALITY_WAIT)
		obey(pair, cv_reality_server_target_bytes(
				   pair->server, cv_span_of(bytes, (size_t)len),
				   cv_clock_wall_ms()));
}

static void to_client(struct pair *pair)
{
	struct cv_span bytes = cv_buffer_span(&pair->to_client);

	if (pair->result != -EAGAIN || !bytes.len_bytes)
		return;
	pair->result = cv_tls_client_read(pair->client, &bytes);
	cv_buffer_consume(&pair->to_client, cv_buffer_len(&pair->to_client) - bytes.len_bytes);
}

static void run(struct pair *pair)
{
	for (int i = 0; i < 8; i++) {
		from_client(pair);
		from_target(pair);
		to_client(pair);
	}
}

static int append_to(void *context, struct cv_span bytes)
{
	return cv_buffer_append(context, bytes.data, bytes.len_bytes);
}

static void send_through(struct cv_layer *from, struct cv_layer *to, struct cv_buffer *wire,
			 const char *text)
{
	struct cv_buffer plain, reply;
	struct cv_span span;

	cv_buffer_init(&plain, 65536);
	cv_buffer_init(&reply, 65536);
	assert_int_equal(from->ops->encode(from, cv_span_of(text, strlen(text)), append_to, wire),
			 0);
	span = cv_buffer_span(wire);
	while (span.len_bytes)
		assert_int_equal(to->ops->decode(to, &span, &plain, &reply), 0);
	cv_buffer_consume(wire, cv_buffer_len(wire));
	assert_int_equal(cv_buffer_len(&plain), strlen(text));
	assert_memory_equal(cv_buffer_bytes(&plain), text, strlen(text));
	assert_int_equal(cv_buffer_len(&reply), 0);
	cv_buffer_done(&plain);
	cv_buffer_done(&reply);
}

static void check_established(struct pair *pair)
{
	struct cv_layer *client, *server;
	struct cv_buffer uplink;

	assert_int_equal(pair->result, 0);
	assert_int_equal(pair->verdict, CV_REALITY_ESTABLISHED);
	assert_true(cv_tls_client_facts(pair->client)->reality);
	assert_memory_equal(cv_reality_server_short_id(pair->server), pair->short_ids[0], 8);
	client = cv_tls_client_take_layer(pair->client);
	server = cv_reality_server_take_layer(pair->server);
	assert_non_null(client);
	assert_non_null(server);
	cv_buffer_init(&uplink, 65536);
	send_through(client, server, &uplink, "request");
	/* ahead of the answer: ticket look-alike and three learned records, all dropped */
	send_through(server, client, &pair->to_client, "answer");
	send_through(server, client, &pair->to_client, "more");
	cv_buffer_done(&uplink);
	client->ops->free(client);
	server->ops->free(server);
}

/* ---- ours ---- */

static void every_browser_group_and_suite(void **state)
{
	static const enum cv_fingerprint browsers[] = {
		CV_FINGERPRINT_CHROME, CV_FINGERPRINT_FIREFOX, CV_FINGERPRINT_SAFARI};
	static const char *const groups[] = {"X25519MLKEM768", "X25519"};
	static const char *const suites[] = {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384",
					     "TLS_CHACHA20_POLY1305_SHA256"};

	(void)state;
	for (int i = 0; i < 18; i++) {
		struct pair pair;

		SSL_CTX_set1_groups_list(target_context, groups[i % 2]);
		SSL_CTX_set_ciphersuites(target_context, suites[i / 2 % 3]);
		pair_init(&pair, browsers[i / 6]);
		pair_start(&pair);
		run(&pair);
		check_established(&pair);
		assert_int_equal(cv_tls_client_facts(pair.client)->group, i % 2 ? 0x001d : 0x11ec);
		pair_done(&pair);
	}
}

static void mldsa_is_verified(void **state)
{
	struct pair pair;

	(void)state;
	pair_init(&pair, CV_FINGERPRINT_CHROME);
	pair.server_config.mldsa = mldsa;
	pair.reality.mldsa_public = mldsa_public;
	pair_start(&pair);
	run(&pair);
	check_established(&pair);
	pair_done(&pair);

	/* a client that does not ask accepts it too */
	pair_init(&pair, CV_FINGERPRINT_CHROME);
	pair.server_config.mldsa = mldsa;
	pair_start(&pair);
	run(&pair);
	check_established(&pair);
	pair_done(&pair);

	/* a server without it does not satisfy a client that asks */
	pair_init(&pair, CV_FINGERPRINT_CHROME);
	pair.reality.mldsa_public = mldsa_public;
	pair_start(&pair);
	run(&pair);
	assert_int_equal(pair.result, CV_UPSTREAM_CERTIFICATE);
	pair_done(&pair);
}

static void chained_records_of_the_target_fit(void **state)
{
	struct pair pair;

	(void)state;
	SSL_CTX_set_max_send_fragment(target_context, 16384);
	SSL_CTX_set_block_padding(target_context, 700); /* second record above 512: combined mode */
	pair_init(&pair, CV_FINGERPRINT_FIREFOX);
	pair_start(&pair);
	run(&pair);
	SSL_CTX_set_block_padding(target_context, 1);
	check_established(&pair);
	pair_done(&pair);
}

/* ---- not ours: the client meets the real site ---- */

static void check_real_site(struct pair *pair, int server_reason)
{
	pair_start(pair);
	run(pair);
	assert_true(pair->forwarding);
	assert_int_equal(cv_reality_server_reason(pair->server), server_reason);
	assert_int_equal(pair->result, CV_UPSTREAM_REAL_CERTIFICATE);
	assert_true(SSL_is_init_finished(pair->target)); /* the target has seen a whole browser */
	pair_done(pair);
}

static void what_is_refused_meets_the_real_site(void **state)
{
	struct pair pair;

	(void)state;
	pair_init(&pair, CV_FINGERPRINT_CHROME);
	pair.reality.short_id[7] ^= 1;
	check_real_site(&pair, CV_PEER_SHORT_ID);

	pair_init(&pair, CV_FINGERPRINT_FIREFOX);
	pair.reality.server_public[0] ^= 1;
	check_real_site(&pair, CV_PEER_AUTH_FAILED);

	pair_init(&pair, CV_FINGERPRINT_SAFARI);
	memcpy(pair.reality.version, "\x01\x08\x18", 3);
	check_real_site(&pair, CV_PEER_VERSION);

	pair_init(&pair, CV_FINGERPRINT_CHROME);
	strcpy(pair.server_names[0], "other.example.com");
	check_real_site(&pair, CV_PEER_SNI_NOT_LISTED);
}

static void hello_retry_of_the_target_ends_at_the_target(void **state)
{
	struct pair pair;

	(void)state;
	SSL_CTX_set1_groups_list(target_context, "P-384");
	pair_init(&pair, CV_FINGERPRINT_CHROME);
	check_real_site(&pair, CV_TARGET_HELLO_RETRY);
	SSL_CTX_set1_groups_list(target_context, "X25519MLKEM768:X25519");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_browser_group_and_suite),
		cmocka_unit_test(mldsa_is_verified),
		cmocka_unit_test(chained_records_of_the_target_fit),
		cmocka_unit_test(what_is_refused_meets_the_real_site),
		cmocka_unit_test(hello_retry_of_the_target_ends_at_the_target),
	};

	return cmocka_run_group_tests(tests, make_target, free_target);
}
