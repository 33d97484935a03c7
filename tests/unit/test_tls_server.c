// SPDX-License-Identifier: MIT
/*
 * test_tls_server.c - TLS inbound against libssl's own client: facts, certificates by SNI, ALPN,
 * records one at a time, ends and faults.
 *
 * Certificates are made at start: one per name, self-signed P-256.
 */
#include "tls_identity.h"

#include <culvert/reason.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#define PIECE_ALL SIZE_MAX

enum { FIRST, WILDCARD, IDENTITIES };

static struct cv_tls_certificate identities[IDENTITIES];

/* ---- certificates ------------------------------------------------------------------------- */

static int make_identities(void **state)
{
	(void)state;
	identities[FIRST] = tls_identity_make("first.example", NULL);
	identities[WILDCARD] =
		tls_identity_make("Second.Example", "DNS:*.wild.example,DNS:exact.example");
	return 0;
}

static int free_identities(void **state)
{
	(void)state;
	for (int i = 0; i < IDENTITIES; i++)
		tls_identity_free(&identities[i]);
	return 0;
}

/* ---- both ends ---------------------------------------------------------------------------- */

struct world {
	struct cv_tls_server_config config;
	const char *client_sni;
	const char *client_alpn; /* wire format */
	uint16_t client_max;
	struct cv_tls_server_context *context;
	struct cv_tls_server *server;
	SSL_CTX *client_context;
	SSL *client;
	struct cv_buffer in; /* client's bytes the server has not taken */
	struct cv_buffer app, reply;
	int tickets;
};

static int count_ticket(SSL *ssl, SSL_SESSION *session)
{
	struct world *world = SSL_get_app_data(ssl);

	(void)session;
	world->tickets++;
	return 0;
}

static bool tls12;

static int use_tls12(void **state)
{
	(void)state;
	tls12 = true;
	return 0;
}

static int use_tls13(void **state)
{
	(void)state;
	tls12 = false;
	return 0;
}

static void prepare(struct world *world)
{
	static const char *const alpn[] = {"h2", "http/1.1"};

	memset(world, 0, sizeof(*world));
	if (tls12) { /* the connection stays libssl's */
		world->client_max = TLS1_2_VERSION;
		world->config.min_version = CV_TLS_VERSION_12;
	}
	world->config.certificates = identities;
	world->config.certificate_count = IDENTITIES;
	world->config.alpn = alpn;
	world->config.alpn_count = 2;
	world->client_sni = "first.example";
	world->client_alpn = "\002h2\010http/1.1";
	cv_buffer_init(&world->in, 1 << 20);
	cv_buffer_init(&world->app, 1 << 20);
	cv_buffer_init(&world->reply, 1 << 20);
}

static void start(struct world *world)
{
	char error_text[CV_TLS_ERROR_TEXT];

	assert_int_equal(cv_tls_server_context_new(&world->config, &world->context, error_text), 0);
	assert_string_equal(error_text, "");
	world->server = cv_tls_server_new(world->context);
	assert_non_null(world->server);
	world->client_context = SSL_CTX_new(TLS_client_method());
	SSL_CTX_set_session_cache_mode(world->client_context, SSL_SESS_CACHE_CLIENT);
	SSL_CTX_sess_set_new_cb(world->client_context, count_ticket);
	world->client = SSL_new(world->client_context);
	SSL_set_app_data(world->client, world);
	SSL_set_bio(world->client, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
	BIO_set_mem_eof_return(SSL_get_rbio(world->client), -1);
	if (world->client_sni)
		assert_int_equal(SSL_set_tlsext_host_name(world->client, world->client_sni), 1);
	if (world->client_alpn)
		SSL_set_alpn_protos(world->client, (const unsigned char *)world->client_alpn,
				    (unsigned int)strlen(world->client_alpn));
	if (world->client_max)
		SSL_set_max_proto_version(world->client, world->client_max);
	SSL_set_connect_state(world->client);
}

static void stop(struct world *world)
{
	cv_tls_server_free(world->server);
	cv_tls_server_context_free(world->context);
	SSL_free(world->client);
	SSL_CTX_free(world->client_context);
	cv_buffer_done(&world->in);
	cv_buffer_done(&world->app);
	cv_buffer_done(&world->reply);
	ERR_clear_error();
}

static void client_to_server(struct world *world)
{
	char *bytes;
	BIO *bio = SSL_get_wbio(world->client);
	long len = BIO_get_mem_data(bio, &bytes);

	if (len > 0)
		assert_int_equal(cv_buffer_append(&world->in, bytes, (size_t)len), 0);
	(void)BIO_reset(bio);
}

static void to_client(struct world *world, struct cv_buffer *from)
{
	size_t len = cv_buffer_len(from);

	if (len > 0)
		assert_int_equal(
			BIO_write(SSL_get_rbio(world->client), cv_buffer_bytes(from), (int)len),
			(int)len);
	cv_buffer_consume(from, len);
}

static int server_reads(struct world *world, size_t piece)
{
	int result = -EAGAIN;

	for (size_t shown = 0; result == -EAGAIN && shown < cv_buffer_len(&world->in);) {
		struct cv_span bytes = cv_buffer_span(&world->in);
		size_t before;

		shown = bytes.len_bytes - shown > piece ? shown + piece : bytes.len_bytes;
		bytes.len_bytes = before = shown;
		result = cv_tls_server_read(world->server, &bytes);
		cv_buffer_consume(&world->in, before - bytes.len_bytes);
		shown = bytes.len_bytes;
	}
	return result;
}

/* Returns the server's final verdict. */
static int handshake(struct world *world, size_t piece)
{
	int result = -EAGAIN;

	for (int round = 0; round < 10 && result == -EAGAIN; round++) {
		(void)SSL_do_handshake(world->client);
		client_to_server(world);
		result = server_reads(world, piece);
		to_client(world, cv_tls_server_output(world->server));
	}
	(void)SSL_do_handshake(world->client); /* TLS 1.2: the server's Finished comes last */
	return result;
}

static struct cv_layer *established(struct world *world)
{
	struct cv_layer *layer;

	start(world);
	assert_int_equal(handshake(world, PIECE_ALL), 0);
	layer = cv_tls_server_take_layer(world->server);
	assert_non_null(layer);
	return layer;
}

static int decode(struct world *world, struct cv_layer *layer)
{
	struct cv_span bytes = cv_buffer_span(&world->in);
	size_t before = bytes.len_bytes;
	int result = layer->ops->decode(layer, &bytes, &world->app, &world->reply);

	cv_buffer_consume(&world->in, before - bytes.len_bytes);
	return result;
}

static int collect(void *context, struct cv_span bytes)
{
	struct world *world = context;

	return cv_buffer_append(&world->reply, bytes.data, bytes.len_bytes);
}

/* ---- handshake ---------------------------------------------------------------------------- */

static void facts_in_any_segmentation(void **state)
{
	static const size_t pieces[] = {PIECE_ALL, 1, 100};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct world world;

		prepare(&world);
		start(&world);
		assert_null(cv_tls_server_take_layer(world.server));
		assert_int_equal(handshake(&world, pieces[i]), 0);
		assert_string_equal(cv_tls_server_sni(world.server), "first.example");
		assert_string_equal(cv_tls_server_alpn(world.server), "h2");
		assert_true(cv_tls_server_is_tls13(world.server));
		assert_int_equal(SSL_is_init_finished(world.client), 1);
		stop(&world);
	}
}

static void a_client_without_sni_and_alpn(void **state)
{
	struct world world;

	(void)state;
	prepare(&world);
	world.client_sni = world.client_alpn = NULL;
	start(&world);
	assert_int_equal(handshake(&world, PIECE_ALL), 0);
	assert_string_equal(cv_tls_server_sni(world.server), "");
	assert_string_equal(cv_tls_server_alpn(world.server), "");
	stop(&world);
}

static void expect_certificate(const char *sni, bool reject, int identity)
{
	struct world world;
	BIO *bio =
		BIO_new_mem_buf(identities[identity < 0 ? 0 : identity].chain_pem.data,
				(int)identities[identity < 0 ? 0 : identity].chain_pem.len_bytes);
	X509 *expected = PEM_read_bio_X509(bio, NULL, NULL, NULL);

	prepare(&world);
	world.client_sni = sni;
	world.config.reject_unknown_sni = reject;
	start(&world);
	if (identity < 0) {
		assert_int_equal(handshake(&world, PIECE_ALL), CV_PEER_TLS_HANDSHAKE);
		assert_int_equal(ERR_GET_REASON(ERR_peek_last_error()),
				 SSL_AD_REASON_OFFSET + SSL_AD_UNRECOGNIZED_NAME);
		assert_true(strlen(cv_tls_server_error_text(world.server)) > 0);
	} else {
		assert_int_equal(handshake(&world, PIECE_ALL), 0);
		assert_int_equal(X509_cmp(SSL_get0_peer_certificate(world.client), expected), 0);
		assert_string_equal(cv_tls_server_sni(world.server), sni ? sni : "");
	}
	X509_free(expected);
	BIO_free(bio);
	stop(&world);
}

static void certificates_are_chosen_by_sni(void **state)
{
	(void)state;
	for (int reject = 0; reject < 2; reject++) {
		expect_certificate("first.example", reject, FIRST);
		expect_certificate("exact.example", reject, WILDCARD);
		expect_certificate("EXACT.example", reject, WILDCARD);
		expect_certificate("second.example", reject, WILDCARD);
		expect_certificate("a.wild.example", reject, WILDCARD);
		/* one label only */
		expect_certificate("a.b.wild.example", reject, reject ? -1 : FIRST);
		expect_certificate("unknown.example", reject, reject ? -1 : FIRST);
		expect_certificate(NULL, reject, reject ? -1 : FIRST);
	}
}

static void expect_alpn(const char *offered, size_t configured, const char *expected)
{
	static const char *const alpn[] = {"h2", "http/1.1"};
	struct world world;

	prepare(&world);
	world.client_alpn = offered;
	world.config.alpn = alpn;
	world.config.alpn_count = configured;
	start(&world);
	if (expected) {
		assert_int_equal(handshake(&world, PIECE_ALL), 0);
		assert_string_equal(cv_tls_server_alpn(world.server), expected);
	} else {
		assert_int_equal(handshake(&world, PIECE_ALL), CV_PEER_TLS_HANDSHAKE);
		assert_int_equal(ERR_GET_REASON(ERR_peek_last_error()),
				 SSL_AD_REASON_OFFSET + SSL_AD_NO_APPLICATION_PROTOCOL);
	}
	stop(&world);
}

static void alpn_is_ours_by_preference(void **state)
{
	(void)state;
	expect_alpn("\010http/1.1\002h2", 2, "h2");
	expect_alpn("\010http/1.1", 2, "http/1.1");
	expect_alpn("\010http/1.1", 1, ""); /* as if it had sent none */
	expect_alpn("\003foo", 2, NULL);
	expect_alpn("\003foo", 0, "");
}

static void tls12_only_if_allowed(void **state)
{
	struct world world;
	struct cv_layer *layer;

	(void)state;
	prepare(&world);
	world.client_max = TLS1_2_VERSION;
	start(&world);
	assert_int_equal(handshake(&world, PIECE_ALL), CV_PEER_TLS_HANDSHAKE);
	assert_int_equal(ERR_GET_REASON(ERR_peek_last_error()),
			 SSL_AD_REASON_OFFSET + SSL_AD_PROTOCOL_VERSION);
	stop(&world);

	prepare(&world);
	world.client_max = TLS1_2_VERSION;
	world.config.min_version = CV_TLS_VERSION_12;
	layer = established(&world);
	assert_false(cv_tls_server_is_tls13(world.server));
	assert_int_equal(layer->rx, CV_OPAQUE);
	assert_int_equal(layer->tx, CV_OPAQUE);
	assert_int_equal(SSL_write(world.client, "hello", 5), 5);
	client_to_server(&world);
	assert_int_equal(decode(&world, layer), 0);
	assert_memory_equal(cv_buffer_bytes(&world.app), "hello", 5);
	layer->ops->free(layer);
	stop(&world);
}

static void bytes_that_are_not_tls(void **state)
{
	struct world world;

	(void)state;
	prepare(&world);
	start(&world);
	assert_int_equal(cv_buffer_append(&world.in, "GET / HTTP/1.1\r\n\r\n", 18), 0);
	assert_int_equal(server_reads(&world, 1), CV_PEER_NOT_TLS);
	assert_int_equal(server_reads(&world, 1), CV_PEER_NOT_TLS);
	assert_null(cv_tls_server_take_layer(world.server));
	stop(&world);

	prepare(&world);
	start(&world);
	assert_int_equal(cv_buffer_append(&world.in, "\x16\x03\x01\xff\xff", 5), 0);
	assert_int_equal(server_reads(&world, PIECE_ALL), CV_PEER_NOT_TLS);
	stop(&world);
}

static void a_client_that_refuses_us(void **state)
{
	struct world world;

	(void)state;
	prepare(&world);
	start(&world);
	SSL_set_verify(world.client, SSL_VERIFY_PEER, NULL); /* self-signed: unknown CA */
	assert_int_equal(handshake(&world, PIECE_ALL), CV_PEER_ALERT);
	assert_int_equal(cv_buffer_len(cv_tls_server_output(world.server)), 0);
	stop(&world);
}

/* ---- the layer ---------------------------------------------------------------------------- */

static void what_follows_the_handshake_is_left_alone(void **state)
{
	struct world world;
	struct cv_layer *layer;

	(void)state;
	prepare(&world);
	start(&world);
	(void)SSL_do_handshake(world.client);
	client_to_server(&world);
	assert_int_equal(server_reads(&world, PIECE_ALL), -EAGAIN);
	to_client(&world, cv_tls_server_output(world.server));
	assert_int_equal(SSL_do_handshake(world.client), 1);
	assert_int_equal(SSL_write(world.client, "one", 3), 3);
	assert_int_equal(SSL_write(world.client, "two", 3), 3);
	client_to_server(&world); /* Finished and both records in one read */
	assert_int_equal(server_reads(&world, PIECE_ALL), 0);
	assert_int_equal(cv_buffer_len(&world.in), 2 * (5 + 3 + 1 + 16));

	layer = cv_tls_server_take_layer(world.server);
	assert_null(cv_tls_server_take_layer(world.server));
	world.server = cv_tls_server_free(world.server);
	world.context = cv_tls_server_context_free(world.context); /* the layer lives on */
	assert_int_equal(layer->rx, CV_RECORDS);
	assert_int_equal(layer->tx, CV_RECORDS);
	assert_int_equal(decode(&world, layer), 0);
	assert_memory_equal(cv_buffer_bytes(&world.app), "one", 3);
	assert_int_equal(cv_buffer_len(&world.app), 3);
	assert_int_equal(cv_buffer_len(&world.in), 5 + 3 + 1 + 16);
	assert_int_equal(decode(&world, layer), 0);
	assert_int_equal(decode(&world, layer), -EAGAIN);
	assert_int_equal(cv_buffer_len(&world.reply), 0);
	layer->ops->free(layer);
	stop(&world);
}

static void bytes_to_the_client(void **state)
{
	static uint8_t bytes[40000], back[40000];
	struct world world;
	struct cv_layer *layer;
	size_t total = 0, count;

	(void)state;
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 13);
	prepare(&world);
	layer = established(&world);
	assert_int_equal(
		layer->ops->encode(layer, cv_span_of(bytes, sizeof(bytes)), collect, &world), 0);
	assert_int_equal(cv_buffer_len(&world.reply), sizeof(bytes) + 3 * (tls12 ? 29 : 22));
	to_client(&world, &world.reply);
	while (total < sizeof(back) &&
	       SSL_read_ex(world.client, back + total, sizeof(back) - total, &count) == 1)
		total += count;
	assert_int_equal(total, sizeof(bytes));
	assert_memory_equal(back, bytes, sizeof(bytes));
	assert_int_equal(world.tickets, 0);
	layer->ops->free(layer);
	stop(&world);
}

static void ends(void **state)
{
	struct world world;
	struct cv_layer *layer;
	uint8_t byte;

	(void)state;
	prepare(&world);
	layer = established(&world);
	assert_int_equal(layer->ops->encode_eof(layer, collect, &world), 0);
	assert_int_equal(cv_buffer_len(&world.reply), 24);
	to_client(&world, &world.reply);
	assert_int_equal(SSL_read(world.client, &byte, 1), 0);
	assert_int_equal(SSL_get_error(world.client, 0), SSL_ERROR_ZERO_RETURN);

	/* the other direction lives on */
	assert_int_equal(SSL_write(world.client, "late", 4), 4);
	client_to_server(&world);
	assert_int_equal(decode(&world, layer), 0);
	assert_memory_equal(cv_buffer_bytes(&world.app), "late", 4);
	(void)SSL_shutdown(world.client);
	client_to_server(&world);
	assert_int_equal(decode(&world, layer), CV_LAYER_EOF);
	assert_int_equal(cv_buffer_append(&world.in, "junk", 4), 0);
	assert_int_equal(decode(&world, layer), CV_LAYER_EOF);
	assert_int_equal(cv_buffer_len(&world.in), 0);
	layer->ops->free(layer);
	stop(&world);
}

static void key_updates_are_answered(void **state)
{
	struct world world;
	struct cv_layer *layer;
	char text[8];

	(void)state;
	prepare(&world);
	layer = established(&world);
	assert_int_equal(SSL_key_update(world.client, SSL_KEY_UPDATE_REQUESTED), 1);
	assert_int_equal(SSL_write(world.client, "new", 3), 3);
	client_to_server(&world);
	assert_int_equal(decode(&world, layer), 0);
	assert_int_equal(decode(&world, layer), 0);
	assert_memory_equal(cv_buffer_bytes(&world.app), "new", 3);
	assert_int_equal(layer->ops->encode(layer, cv_span_of("back", 4), collect, &world), 0);
	to_client(&world, &world.reply);
	assert_int_equal(SSL_read(world.client, text, sizeof(text)), 4);
	layer->ops->free(layer);
	stop(&world);
}

static void faults_leave_an_alert(void **state)
{
	struct world world;
	struct cv_layer *layer;

	(void)state;
	prepare(&world);
	layer = established(&world);
	assert_int_equal(SSL_write(world.client, "hello", 5), 5);
	client_to_server(&world);
	cv_buffer_bytes(&world.in)[10] ^= 1;
	assert_int_equal(decode(&world, layer), CV_PEER_BAD_RECORD);
	assert_int_equal(cv_buffer_len(&world.reply), 24);
	assert_int_equal(decode(&world, layer), CV_PEER_BAD_RECORD);
	assert_int_equal(cv_buffer_len(&world.app), 0);
	layer->ops->free(layer);
	stop(&world);

	prepare(&world);
	layer = established(&world);
	assert_int_equal(cv_buffer_append(&world.in, "\x17\x03\x03\x41\x01", 5), 0);
	assert_int_equal(decode(&world, layer), CV_PEER_TOO_LONG);
	assert_int_equal(cv_buffer_len(&world.reply), 24);
	layer->ops->free(layer);
	stop(&world);
}

static void a_full_output_loses_nothing(void **state)
{
	struct world world;
	struct cv_layer *layer;

	(void)state;
	prepare(&world);
	layer = established(&world);
	assert_int_equal(SSL_write(world.client, "hello", 5), 5);
	client_to_server(&world);
	cv_buffer_init(&world.app, 8);
	assert_int_equal(decode(&world, layer), CV_INTERNAL_RESOURCE);
	cv_buffer_init(&world.app, 1 << 16);
	assert_int_equal(decode(&world, layer), 0);
	assert_memory_equal(cv_buffer_bytes(&world.app), "hello", 5);
	layer->ops->free(layer);
	stop(&world);
}

static void released_directions_are_silent(void **state)
{
	struct world world;
	struct cv_layer *layer;

	(void)state;
	prepare(&world);
	layer = established(&world);
	layer->ops->release_tx(layer);
	assert_int_equal(layer->ops->encode_eof(layer, collect, &world), 0);
	assert_int_equal(layer->ops->encode(layer, cv_span_of("x", 1), collect, &world),
			 CV_INTERNAL_STATE);
	if (!tls12)
		assert_int_equal(SSL_key_update(world.client, SSL_KEY_UPDATE_REQUESTED), 1);
	assert_int_equal(SSL_write(world.client, "x", 1), 1);
	client_to_server(&world);
	assert_int_equal(decode(&world, layer), 0);
	if (!tls12)
		assert_int_equal(decode(&world, layer), 0);
	assert_int_equal(cv_buffer_len(&world.app), 1);
	assert_int_equal(cv_buffer_len(&world.reply), 0);
	layer->ops->release_rx(layer);
	assert_int_equal(cv_buffer_append(&world.in, "\x17\x03\x03\0\x20", 5), 0);
	assert_int_equal(decode(&world, layer), CV_INTERNAL_STATE);
	layer->ops->free(layer);
	stop(&world);
}

/* ---- configuration ------------------------------------------------------------------------ */

static void expect_unusable(const struct cv_tls_server_config *config, const char *what)
{
	struct cv_tls_server_context *context = NULL;
	char error_text[CV_TLS_ERROR_TEXT];

	assert_int_equal(cv_tls_server_context_new(config, &context, error_text),
			 CV_INTERNAL_CONFIG);
	assert_null(context);
	assert_non_null(strstr(error_text, what));
	assert_int_equal(ERR_peek_error(), 0);
}

static void configurations_that_cannot_work(void **state)
{
	struct cv_tls_certificate certificates[2] = {identities[FIRST], identities[FIRST]};
	struct cv_tls_server_config config = {.certificates = certificates};
	static const char *const empty_alpn[] = {""};

	(void)state;
	expect_unusable(&config, "at least one");
	config.certificate_count = 2;
	certificates[1].key_pem = identities[WILDCARD].key_pem;
	expect_unusable(&config, "certificates[1]: private key");
	certificates[1].key_pem = cv_span_of("no key", 6);
	expect_unusable(&config, "certificates[1]: private key");
	certificates[0].chain_pem = cv_span_of(NULL, 0);
	expect_unusable(&config, "certificates[0]: certificate chain");
	certificates[0] = certificates[1] = identities[FIRST];
	config.min_version = 0x0302;
	expect_unusable(&config, "protocol versions");
	config.min_version = CV_TLS_VERSION_13;
	config.max_version = CV_TLS_VERSION_12;
	expect_unusable(&config, "protocol versions");
	config.max_version = 0;
	config.alpn = empty_alpn;
	config.alpn_count = 1;
	expect_unusable(&config, "alpn");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(facts_in_any_segmentation),
		cmocka_unit_test(a_client_without_sni_and_alpn),
		cmocka_unit_test(certificates_are_chosen_by_sni),
		cmocka_unit_test(alpn_is_ours_by_preference),
		cmocka_unit_test(tls12_only_if_allowed),
		cmocka_unit_test(bytes_that_are_not_tls),
		cmocka_unit_test(a_client_that_refuses_us),
		cmocka_unit_test(what_follows_the_handshake_is_left_alone),
		cmocka_unit_test(bytes_to_the_client),
		cmocka_unit_test(ends),
		cmocka_unit_test(key_updates_are_answered),
		cmocka_unit_test(faults_leave_an_alert),
		cmocka_unit_test(a_full_output_loses_nothing),
		cmocka_unit_test(released_directions_are_silent),
		cmocka_unit_test(configurations_that_cannot_work),
		cmocka_unit_test_setup_teardown(bytes_to_the_client, use_tls12, use_tls13),
		cmocka_unit_test_setup_teardown(a_full_output_loses_nothing, use_tls12, use_tls13),
		cmocka_unit_test_setup_teardown(released_directions_are_silent, use_tls12,
						use_tls13),
	};

	return cmocka_run_group_tests(tests, make_identities, free_identities);
}
