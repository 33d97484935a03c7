// SPDX-License-Identifier: MIT
/*
 * tls_identity.c - self-signed P-256 certificates for tests.
 */
#include "tls_identity.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <openssl/pem.h>
#include <openssl/x509v3.h>

static struct cv_span take_pem(BIO *bio)
{
	char *bytes;
	long len = BIO_get_mem_data(bio, &bytes);
	uint8_t *copy = malloc((size_t)len);

	assert_true(len > 0);
	assert_non_null(copy);
	memcpy(copy, bytes, (size_t)len);
	BIO_free(bio);
	return cv_span_of(copy, (size_t)len);
}

struct cv_tls_certificate tls_identity_make(const char *common_name, const char *alternatives)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *certificate = X509_new();
	BIO *chain = BIO_new(BIO_s_mem()), *key_pem = BIO_new(BIO_s_mem());
	X509_NAME *name = X509_get_subject_name(certificate);
	X509_EXTENSION *extension;

	assert_non_null(key);
	X509_set_version(certificate, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
	X509_gmtime_adj(X509_getm_notBefore(certificate), -86400);
	X509_gmtime_adj(X509_getm_notAfter(certificate), 86400);
	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)common_name, -1,
				   -1, 0);
	X509_set_issuer_name(certificate, name);
	X509_set_pubkey(certificate, key);
	if (alternatives) {
		extension = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, alternatives);
		assert_non_null(extension);
		X509_add_ext(certificate, extension, -1);
		X509_EXTENSION_free(extension);
	}
	assert_true(X509_sign(certificate, key, EVP_sha256()) > 0);
	PEM_write_bio_X509(chain, certificate);
	PEM_write_bio_PrivateKey(key_pem, key, NULL, NULL, 0, NULL, NULL);
	X509_free(certificate);
	EVP_PKEY_free(key);
	return (struct cv_tls_certificate){.chain_pem = take_pem(chain),
					   .key_pem = take_pem(key_pem)};
}

void tls_identity_free(struct cv_tls_certificate *identity)
{
	free((void *)(uintptr_t)identity->chain_pem.data);
	free((void *)(uintptr_t)identity->key_pem.data);
}
