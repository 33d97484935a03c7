// SPDX-License-Identifier: MIT
/*
 * test_x509.c - chains, names and CertificateVerify against certificates made here, so that none of
 * them expires in a repository; and the CertificateVerify of RFC 8448 3.
 */
#include "crypto/crypto.h"

#include "../vectors/hex.h"
#include "../vectors/rfc8448_3.h"

#include <culvert/reason.h>

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static char root_file[] = "/tmp/culvert-root-XXXXXX";
static EVP_PKEY *root_key;
static X509 *root;

static void extension_add(X509 *certificate, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX context;
	X509_EXTENSION *extension;

	X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
	extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
	assert_non_null(extension);
	assert_int_equal(X509_add_ext(certificate, extension, -1), 1);
	X509_EXTENSION_free(extension);
}

static X509 *certificate_make(const char *name, EVP_PKEY *key, X509 *issuer, EVP_PKEY *issuer_key,
			      const char *alt_names, long valid_s)
{
	static long serial = 1;
	X509 *certificate = X509_new();
	X509_NAME *subject = X509_NAME_new();
	const EVP_MD *md = EVP_PKEY_is_a(issuer_key, "ED25519") ? NULL : EVP_sha256();

	X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const unsigned char *)name, -1,
				   -1, 0);
	X509_set_version(certificate, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(certificate), serial++);
	X509_set_subject_name(certificate, subject);
	X509_set_issuer_name(certificate, issuer ? X509_get_subject_name(issuer) : subject);
	X509_gmtime_adj(X509_getm_notBefore(certificate), -7200);
	X509_gmtime_adj(X509_getm_notAfter(certificate), valid_s);
	X509_set_pubkey(certificate, key);
	if (alt_names)
		extension_add(certificate, issuer, NID_subject_alt_name, alt_names);
	else
		extension_add(certificate, certificate, NID_basic_constraints, "critical,CA:TRUE");
	assert_true(X509_sign(certificate, issuer_key, md) > 0);
	X509_NAME_free(subject);
	return certificate;
}

static struct cv_der der_of(X509 *certificate)
{
	unsigned char *bytes = NULL;
	const int len = i2d_X509(certificate, &bytes);

	assert_true(len > 0);
	return (struct cv_der){bytes, (size_t)len};
}

static void der_free(struct cv_der der)
{
	OPENSSL_free((void *)der.bytes);
}

static int root_setup(void **state)
{
	const int fd = mkstemp(root_file);
	FILE *file = fd < 0 ? NULL : fdopen(fd, "w");

	(void)state;
	root_key = EVP_EC_gen("P-256");
	root = certificate_make("test root", root_key, NULL, root_key, NULL, 7200);
	if (!file || PEM_write_X509(file, root) != 1)
		return -1;
	return fclose(file);
}

static int root_teardown(void **state)
{
	(void)state;
	X509_free(root);
	EVP_PKEY_free(root_key);
	return unlink(root_file);
}

static void check_host(const struct cv_trust_store *store, const struct cv_der *chain, size_t len,
		       const char *host, int expected)
{
	const char *text = NULL;

	assert_int_equal(cv_x509_verify_chain(store, chain, len, host, &text), expected);
	if (expected)
		assert_non_null(text);
	else
		assert_null(text);
}

static void test_chain_and_names(void **state)
{
	struct cv_trust_store *store = cv_trust_store_new(root_file, false);
	EVP_PKEY *middle_key = EVP_EC_gen("P-256");
	EVP_PKEY *leaf_key = EVP_EC_gen("P-256");
	X509 *middle = certificate_make("middle", middle_key, root, root_key, NULL, 7200);
	X509 *leaf = certificate_make(
		"cn.example", leaf_key, middle, middle_key,
		"DNS:www.example.com,DNS:*.wild.example,IP:192.0.2.7,IP:2001:db8::7", 7200);
	const struct cv_der chain[] = {der_of(leaf), der_of(middle)};

	(void)state;
	assert_non_null(store);
	check_host(store, chain, 2, "www.example.com", 0);
	check_host(store, chain, 2, "WWW.EXAMPLE.COM", 0);
	check_host(store, chain, 2, "a.wild.example", 0);
	check_host(store, chain, 2, "192.0.2.7", 0);
	check_host(store, chain, 2, "2001:db8::7", 0);
	check_host(store, chain, 2, "example.com", CV_UPSTREAM_CERTIFICATE);
	check_host(store, chain, 2, "a.b.wild.example", CV_UPSTREAM_CERTIFICATE);
	check_host(store, chain, 2, "192.0.2.8", CV_UPSTREAM_CERTIFICATE);
	check_host(store, chain, 2, "cn.example", CV_UPSTREAM_CERTIFICATE);
	check_host(store, chain, 2, "", CV_UPSTREAM_CERTIFICATE);
	/* Without the intermediate, with nothing, and with a root nobody trusts. */
	check_host(store, chain, 1, "www.example.com", CV_UPSTREAM_CERTIFICATE);
	check_host(store, chain, 0, "www.example.com", CV_UPSTREAM_CERTIFICATE);
	cv_trust_store_free(store);
	store = cv_trust_store_new(NULL, false);
	check_host(store, chain, 2, "www.example.com", CV_UPSTREAM_CERTIFICATE);
	cv_trust_store_free(store);
	for (size_t i = 0; i < 2; i++)
		der_free(chain[i]);
	X509_free(leaf);
	X509_free(middle);
	EVP_PKEY_free(leaf_key);
	EVP_PKEY_free(middle_key);
}

static void test_describe(void **state)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *named = certificate_make("cn.example", key, root, root_key,
				       "IP:192.0.2.7,DNS:*.wild.example,DNS:b.example", 3600);
	struct cv_der der = der_of(named), cut, ca = der_of(root);
	struct cv_x509_facts facts;
	uint8_t digest[32];
	const int64_t now_s = time(NULL);

	(void)state;
	assert_int_equal(cv_x509_describe(&der, &facts), 0);
	assert_string_equal(facts.name, "*.wild.example");
	assert_true(facts.not_after_s > now_s + 3500 && facts.not_after_s <= now_s + 3601);
	assert_true(facts.not_before_s < now_s - 7000 && facts.not_before_s > now_s - 7300);
	assert_int_equal(cv_hash(CV_SHA256, der.bytes, der.len_bytes, digest), 0);
	assert_memory_equal(facts.sha256, digest, 32);
	assert_int_equal(cv_x509_describe(&ca, &facts), 0);
	assert_string_equal(facts.name, "");
	cut = (struct cv_der){der.bytes, der.len_bytes - 1};
	assert_int_equal(cv_x509_describe(&cut, &facts), CV_UPSTREAM_CERTIFICATE);
	der_free(der);
	der_free(ca);
	X509_free(named);
	EVP_PKEY_free(key);
}

static void check_refused(X509 *certificate, const char *expected_text)
{
	struct cv_trust_store *store = cv_trust_store_new(root_file, false);
	const struct cv_der der = der_of(certificate);
	const char *text = NULL;

	assert_int_equal(cv_x509_verify_chain(store, &der, 1, "a.example", &text),
			 CV_UPSTREAM_CERTIFICATE);
	assert_string_equal(text, expected_text);
	assert_int_equal(cv_x509_verify_chain(store, &der, 1, "a.example", NULL),
			 CV_UPSTREAM_CERTIFICATE);
	der_free(der);
	cv_trust_store_free(store);
	X509_free(certificate);
}

static X509 *certificate_for(EVP_PKEY *key, int nid, const char *use)
{
	X509 *certificate = certificate_make("use", key, root, root_key, "DNS:a.example", 7200);

	extension_add(certificate, root, nid, use);
	assert_true(X509_sign(certificate, root_key, EVP_sha256()) > 0);
	return certificate;
}

/* What a certificate is not for: others than servers, or signing (RFC 8446 4.4.2.2). */
static void test_uses(void **state)
{
	struct cv_trust_store *store = cv_trust_store_new(root_file, false);
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *good = certificate_for(key, NID_key_usage, "critical,digitalSignature,keyAgreement");
	struct cv_der der = der_of(good);

	(void)state;
	check_host(store, &der, 1, "a.example", 0);
	check_refused(certificate_for(key, NID_ext_key_usage, "clientAuth"),
		      "unsuitable certificate purpose");
	check_refused(certificate_for(key, NID_key_usage, "critical,keyEncipherment"),
		      "certificate is not for signatures");
	der_free(der);
	X509_free(good);
	EVP_PKEY_free(key);
	cv_trust_store_free(store);
}

static void test_bad_certificates(void **state)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	EVP_PKEY *weak_key = EVP_RSA_gen(1024);
	X509 *tampered = certificate_make("t", key, root, root_key, "DNS:a.example", 7200);

	(void)state;
	check_refused(certificate_make("old", key, root, root_key, "DNS:a.example", -3600),
		      "certificate has expired");
	check_refused(certificate_make("weak", weak_key, root, root_key, "DNS:a.example", 7200),
		      "EE certificate key too weak");
	check_refused(certificate_make("self", key, NULL, key, NULL, 7200),
		      "self-signed certificate");
	X509_gmtime_adj(X509_getm_notAfter(tampered), 9000);
	check_refused(tampered, "certificate signature failure");
	EVP_PKEY_free(weak_key);
	EVP_PKEY_free(key);
}

static void test_malformed_der(void **state)
{
	struct cv_trust_store *store = cv_trust_store_new(root_file, false);
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *leaf = certificate_make("a", key, root, root_key, "DNS:a.example", 7200);
	const struct cv_der good = der_of(leaf);
	uint8_t *longer = malloc(good.len_bytes + 1);

	(void)state;
	memcpy(longer, good.bytes, good.len_bytes);
	longer[good.len_bytes] = 0;
	for (size_t len = 0; len < good.len_bytes; len++)
		check_host(store, &(struct cv_der){longer, len}, 1, "a.example",
			   CV_UPSTREAM_CERTIFICATE);
	check_host(store, &(struct cv_der){longer, good.len_bytes}, 1, "a.example", 0);
	check_host(store, &(struct cv_der){longer, good.len_bytes + 1}, 1, "a.example",
		   CV_UPSTREAM_CERTIFICATE);
	free(longer);
	der_free(good);
	X509_free(leaf);
	EVP_PKEY_free(key);
	cv_trust_store_free(store);
}

static void test_trust_store_files(void **state)
{
	struct cv_trust_store *store = cv_trust_store_new(NULL, true);

	(void)state;
	assert_non_null(store);
	assert_null(cv_trust_store_free(store));
	assert_null(cv_trust_store_new("/nonexistent/roots.pem", false));
	assert_null(cv_trust_store_free(NULL));
}

/* Sign as a server would, verify under every scheme: exactly @scheme must pass. */
static void check_scheme(EVP_PKEY *key, uint16_t scheme, const char *hash, bool pss)
{
	static const uint16_t all[] = {0x0401, 0x0403, 0x0503, 0x0603, 0x0804, 0x0805, 0x0806,
				       0x0807, 0x0808, 0x0809, 0x080a, 0x080b, 0x0201, 0x0203};
	X509 *leaf = certificate_make("a", key, root, root_key, "DNS:a.example", 7200);
	const struct cv_der der = der_of(leaf);
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	EVP_PKEY_CTX *key_context = NULL;
	uint8_t signature[512];
	size_t len = sizeof(signature);

	assert_int_equal(EVP_DigestSignInit_ex(context, &key_context, hash, NULL, NULL, key, NULL),
			 1);
	if (pss) {
		EVP_PKEY_CTX_set_rsa_padding(key_context, RSA_PKCS1_PSS_PADDING);
		EVP_PKEY_CTX_set_rsa_pss_saltlen(key_context, RSA_PSS_SALTLEN_DIGEST);
	}
	assert_int_equal(EVP_DigestSign(context, signature, &len, (const uint8_t *)"message", 7),
			 1);
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		assert_int_equal(
			cv_x509_verify_signature(&der, all[i], "message", 7, signature, len),
			all[i] == scheme ? 0 : CV_UPSTREAM_CERTIFICATE);
	assert_int_equal(cv_x509_verify_signature(&der, scheme, "massage", 7, signature, len),
			 CV_UPSTREAM_CERTIFICATE);
	signature[len - 1] ^= 1;
	assert_int_equal(cv_x509_verify_signature(&der, scheme, "message", 7, signature, len),
			 CV_UPSTREAM_CERTIFICATE);
	assert_int_equal(cv_x509_verify_signature(&der, scheme, "message", 7, signature, 0),
			 CV_UPSTREAM_CERTIFICATE);
	EVP_MD_CTX_free(context);
	der_free(der);
	X509_free(leaf);
}

static void test_signature_schemes(void **state)
{
	EVP_PKEY *p256 = EVP_EC_gen("P-256");
	EVP_PKEY *p384 = EVP_EC_gen("P-384");
	EVP_PKEY *rsa = EVP_RSA_gen(2048);
	EVP_PKEY *ed25519 = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");

	(void)state;
	check_scheme(p256, 0x0403, "SHA256", false);
	check_scheme(p384, 0x0503, "SHA384", false);
	check_scheme(rsa, 0x0804, "SHA256", true);
	check_scheme(rsa, 0x0806, "SHA512", true);
	check_scheme(ed25519, 0x0807, NULL, false);
	/* PKCS #1 v1.5 is not for TLS 1.3, whatever scheme is claimed. */
	check_scheme(rsa, 0, "SHA256", false);
	/* The right hash on the wrong curve. */
	check_scheme(p384, 0, "SHA256", false);
	EVP_PKEY_free(p256);
	EVP_PKEY_free(p384);
	EVP_PKEY_free(rsa);
	EVP_PKEY_free(ed25519);
}

static void test_rfc8448_certificate_verify(void **state)
{
	static const char context[] = "TLS 1.3, server CertificateVerify";
	HEX(client_hello, 196, RFC8448_CLIENT_HELLO);
	HEX(server_hello, 90, RFC8448_SERVER_HELLO);
	HEX(flight, 657, RFC8448_SERVER_FLIGHT);
	/* EncryptedExtensions 40, Certificate 445, CertificateVerify 136, Finished 36 */
	const struct cv_der leaf = {flight + 40 + 4 + 1 + 3 + 3, 0x1b0};
	uint8_t *verify = flight + 40 + 445;
	struct cv_transcript *transcript = cv_transcript_new(CV_SHA256);
	uint8_t message[64 + sizeof(context) + 32];

	(void)state;
	cv_transcript_add(transcript, client_hello, 196);
	cv_transcript_add(transcript, server_hello, 90);
	cv_transcript_add(transcript, flight, 40 + 445);
	memset(message, ' ', 64);
	memcpy(message + 64, context, sizeof(context));
	cv_transcript_digest(transcript, message + 64 + sizeof(context));
	assert_int_equal(verify[4] << 8 | verify[5], 0x0804);
	assert_int_equal(
		cv_x509_verify_signature(&leaf, 0x0804, message, sizeof(message), verify + 8, 128),
		0);
	message[70] ^= 1;
	assert_int_equal(
		cv_x509_verify_signature(&leaf, 0x0804, message, sizeof(message), verify + 8, 128),
		CV_UPSTREAM_CERTIFICATE);
	cv_transcript_free(transcript);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_chain_and_names),
		cmocka_unit_test(test_describe),
		cmocka_unit_test(test_bad_certificates),
		cmocka_unit_test(test_uses),
		cmocka_unit_test(test_malformed_der),
		cmocka_unit_test(test_trust_store_files),
		cmocka_unit_test(test_signature_schemes),
		cmocka_unit_test(test_rfc8448_certificate_verify),
	};

	return cmocka_run_group_tests(tests, root_setup, root_teardown);
}
