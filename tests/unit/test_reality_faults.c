// SPDX-License-Identifier: MIT
/*
 * test_reality_faults.c - between flight and Finished we must fail the way a TLS 1.3 server fails.
 *
 * The same fault goes to our REALITY server and to libssl's server, both after their flight; what
 * comes back must be the same alert under the same key, or nothing from both.
 */
#include "reality_world.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#define NO_ALERT (-1)

struct fault {
	const char *name;
	bool sealed; /* under the client's handshake key, with inner type */
	uint8_t type;
	const char *bytes;
	size_t len;
	int repeat;
};

#define RAW(name, bytes) \
	{ \
		name, false, 0, bytes, sizeof(bytes) - 1, 1 \
	}
#define SEALED(name, type, bytes) \
	{ \
		name, true, type, bytes, sizeof(bytes) - 1, 1 \
	}

#define CONTENT_MAX 100

static const struct fault faults[] = {
	RAW("forged record", "\x17\x03\x03\0\x20"
			     "0123456789abcdef0123456789abcdef"),
	RAW("no room for a tag", "\x17\x03\x03\0\x05"
				 "abcde"),
	RAW("exactly a tag", "\x17\x03\x03\0\x10"
			     "0123456789abcdef"),
	RAW("record of length 16641", "\x17\x03\x03\x41\x01"),
	RAW("record version 0301", "\x17\x03\x01\0\x20"
				   "0123456789abcdef0123456789abcdef"),
	RAW("unprotected handshake", "\x16\x03\x03\0\x04\x14\0\0\0"),
	RAW("unprotected handshake, header only", "\x16\x03\x03\0\x04"),
	RAW("unknown type", "\x63\x03\x03\0\1a"),
	RAW("HTTP", "GET / HTTP/1.1\r\n\r\n"),
	RAW("CCS of two bytes", "\x14\x03\x03\0\2\1\1"),
	RAW("CCS with value 2", "\x14\x03\x03\0\1\2"),
	RAW("fatal alert", "\x15\x03\x03\0\2\2\x2a"),
	RAW("close_notify", "\x15\x03\x03\0\2\1\0"),
	RAW("one user_canceled", "\x15\x03\x03\0\2\1\x5a"),
	RAW("alert of three bytes", "\x15\x03\x03\0\3\1\1\1"),
	{"wrong Finished", true, 22, "\x14\0\0\x30", 4 + 48, 1},
	SEALED("short Finished", 22,
	       "\x14\0\0\x04"
	       "abcd"),
	SEALED("empty Finished", 22, "\x14\0\0\0"),
	SEALED("oversize Finished", 22, "\x14\0\x10\0"),
	SEALED("KeyUpdate", 22, "\x18\0\0\1\0"),
	SEALED("Certificate", 22, "\x0b\0\0\4\0\0\0\0"),
	SEALED("application data", 23, "early"),
	SEALED("fatal alert, protected", 21, "\2\x2a"),
	SEALED("close_notify, protected", 21, "\1\0"),
	SEALED("inner type 99", 99, "x"),
	{"one CCS too many", false, 0, "\x14\x03\x03\0\1\1", 6, 33},
	{"as many CCS as allowed", false, 0, "\x14\x03\x03\0\1\1", 6, 32},
};

/* Bytes of @fault; the wrong Finished is padded with zeros to its length. */
static void put_fault(const struct fault *fault, struct cv_tls_keys *keys, struct cv_buffer *out)
{
	uint8_t content[CONTENT_MAX] = {0};

	assert_true(fault->len <= sizeof(content));
	memcpy(content, fault->bytes, strcmp(fault->name, "wrong Finished") == 0 ? 4 : fault->len);
	for (int i = 0; i < fault->repeat; i++) {
		if (fault->sealed)
			assert_int_equal(
				cv_tls_record_seal(keys, fault->type, content, fault->len, 0, out),
				0);
		else
			assert_int_equal(cv_buffer_append(out, content, fault->len), 0);
	}
}

/* The description of the one alert in @answer, NO_ALERT if it is empty. */
static int read_alert(struct cv_tls_keys *keys, struct cv_buffer *answer)
{
	uint8_t plain[64];

	if (cv_buffer_len(answer) == 0)
		return NO_ALERT;
	assert_int_equal(rig_open(keys, answer, 21, plain, NULL), 2);
	assert_int_equal(cv_buffer_len(answer), 0);
	assert_int_equal(plain[0], CV_TLS_ALERT_FATAL);
	return plain[1];
}

/* ---- ours --------------------------------------------------------------------------------- */

static int ours(const struct fault *fault)
{
	struct world world;
	int alert;

	start(&world);
	world.flight.suite = 0x1302;
	world.flight.record_len[5] = 74;
	up_to_flight(&world);
	put_fault(fault, &world.client.tx, &world.bytes);
	(void)feed_client(&world, PIECE_ALL);
	alert = read_alert(&world.client.app_rx, output_of(&world));
	stop(&world);
	return alert;
}

/* ---- libssl ------------------------------------------------------------------------------- */

static uint8_t client_handshake[CV_HASH_MAX], server_application[CV_HASH_MAX];

static void take_secret(const SSL *ssl, const char *line)
{
	char label[64], random[80], secret[2 * CV_HASH_MAX + 1];

	(void)ssl;
	assert_int_equal(sscanf(line, "%63s %79s %128s", label, random, secret), 3);
	if (strcmp(label, "CLIENT_HANDSHAKE_TRAFFIC_SECRET") == 0)
		rig_hex(secret, client_handshake, sizeof(client_handshake));
	if (strcmp(label, "SERVER_TRAFFIC_SECRET_0") == 0)
		rig_hex(secret, server_application, sizeof(server_application));
}

static SSL_CTX *server_context(void)
{
	SSL_CTX *context = SSL_CTX_new(TLS_server_method());
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *certificate = X509_new();

	assert_non_null(key);
	ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
	X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
	X509_gmtime_adj(X509_getm_notAfter(certificate), 86400);
	X509_set_pubkey(certificate, key);
	assert_true(X509_sign(certificate, key, EVP_sha256()) > 0);
	assert_int_equal(SSL_CTX_use_certificate(context, certificate), 1);
	assert_int_equal(SSL_CTX_use_PrivateKey(context, key), 1);
	SSL_CTX_set_keylog_callback(context, take_secret);
	X509_free(certificate);
	EVP_PKEY_free(key);
	return context;
}

static SSL *memory_ssl(SSL_CTX *context)
{
	SSL *ssl = SSL_new(context);

	SSL_set_bio(ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
	BIO_set_mem_eof_return(SSL_get_rbio(ssl), -1);
	return ssl;
}

static void move(SSL *from, SSL *to)
{
	char *bytes;
	long len = BIO_get_mem_data(SSL_get_wbio(from), &bytes);

	assert_true(len > 0);
	assert_int_equal(BIO_write(SSL_get_rbio(to), bytes, (int)len), len);
	(void)BIO_reset(SSL_get_wbio(from));
}

static int answer_of(SSL *server, const struct fault *fault)
{
	const struct cv_tls_suite *suite = cv_tls_suite_find(0x1302);
	struct cv_tls_keys client_tx, server_tx;
	struct cv_buffer bytes;
	char *answer;
	long len;
	int alert;

	assert_int_equal(cv_tls_keys_init(&client_tx, suite, client_handshake, true), 0);
	assert_int_equal(cv_tls_keys_init(&server_tx, suite, server_application, false), 0);
	cv_buffer_init(&bytes, 1 << 16);
	put_fault(fault, &client_tx, &bytes);
	assert_int_equal(BIO_write(SSL_get_rbio(server), cv_buffer_bytes(&bytes),
				   (int)cv_buffer_len(&bytes)),
			 cv_buffer_len(&bytes));
	cv_buffer_done(&bytes);
	(void)SSL_do_handshake(server);
	len = BIO_get_mem_data(SSL_get_wbio(server), &answer);
	assert_int_equal(cv_buffer_append(&bytes, answer, (size_t)len), 0);
	alert = read_alert(&server_tx, &bytes);
	cv_buffer_done(&bytes);
	cv_tls_keys_done(&client_tx);
	cv_tls_keys_done(&server_tx);
	return alert;
}

static int theirs(const struct fault *fault)
{
	SSL_CTX *contexts[2] = {server_context(), SSL_CTX_new(TLS_client_method())};
	SSL *server = memory_ssl(contexts[0]), *client = memory_ssl(contexts[1]);
	int alert;

	SSL_set_accept_state(server);
	SSL_set_connect_state(client);
	assert_int_equal(SSL_set_ciphersuites(client, "TLS_AES_256_GCM_SHA384"), 1);
	(void)SSL_do_handshake(client);
	move(client, server);
	(void)SSL_do_handshake(server);
	(void)BIO_reset(SSL_get_wbio(server)); /* its flight: nobody needs it */
	alert = answer_of(server, fault);
	SSL_free(server);
	SSL_free(client);
	SSL_CTX_free(contexts[0]);
	SSL_CTX_free(contexts[1]);
	ERR_clear_error();
	return alert;
}

static void faults_are_answered_as_libssl_does(void **state)
{
	int differences = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
		int our_alert = ours(&faults[i]), their_alert = theirs(&faults[i]);

		if (our_alert != their_alert) {
			print_error("%s: ours %d, libssl %d\n", faults[i].name, our_alert,
				    their_alert);
			differences++;
		}
	}
	assert_int_equal(differences, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(faults_are_answered_as_libssl_does),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
