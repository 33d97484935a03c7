// SPDX-License-Identifier: MIT
/*
 * x509.c - certificates of real sites: chain, name, and the CertificateVerify signature.
 *
 * Used by the TLS client and by REALITY's client when the upstream turns out to be the target
 * itself. Roots come from the bundle the distribution keeps, not from a directory compiled into
 * libcrypto: ours may have been built elsewhere.
 *
 * TLS 1.3 ties a signature scheme to one hash and one curve (RFC 8446 4.2.3); the table below is
 * the whole list, so RSA PKCS #1 v1.5 and SHA-1 cannot be negotiated into.
 */
#include "crypto/algorithms.h"

#include <culvert/reason.h>

#include <limits.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/objects.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CHAIN_MAX 16
/* 112 bits, as browsers and Debian: RSA from 2048 bits, no SHA-1. */
#define SECURITY_LEVEL 2

struct cv_trust_store {
	X509_STORE *store;
};

static const struct signature_scheme {
	uint16_t id;
	const char *key_type;
	const char *hash; /* NULL: the key type has its own */
	int curve_nid;    /* 0: no curve */
	bool pss;
} schemes[] = {
	{0x0403, "EC", "SHA256", NID_X9_62_prime256v1, false},
	{0x0503, "EC", "SHA384", NID_secp384r1, false},
	{0x0603, "EC", "SHA512", NID_secp521r1, false},
	{0x0804, "RSA", "SHA256", 0, true},
	{0x0805, "RSA", "SHA384", 0, true},
	{0x0806, "RSA", "SHA512", 0, true},
	{0x0807, "ED25519", NULL, 0, false},
	{0x0808, "ED448", NULL, 0, false},
	{0x0809, "RSA-PSS", "SHA256", 0, true},
	{0x080a, "RSA-PSS", "SHA384", 0, true},
	{0x080b, "RSA-PSS", "SHA512", 0, true},
	{0x0904, "ML-DSA-44", NULL, 0, false}, /* Chrome offers these since 150 */
	{0x0905, "ML-DSA-65", NULL, 0, false},
	{0x0906, "ML-DSA-87", NULL, 0, false},
};

static const char *const system_bundles[] = {
	"/etc/ssl/certs/ca-certificates.crt", /* Debian, Arch, Alpine */
	"/etc/pki/tls/certs/ca-bundle.crt",   /* Fedora, RHEL */
	"/etc/ssl/ca-bundle.pem",             /* SUSE */
	"/etc/ssl/cert.pem",
};

static bool memory_was_missing(void)
{
	unsigned long error;
	bool found = false;

	while ((error = ERR_get_error()) != 0)
		found |= ERR_GET_REASON(error) == ERR_R_MALLOC_FAILURE;
	return found;
}

/* False: out of memory. A machine without roots can still run REALITY; checking a real site fails
 * then. */
static bool store_add_system_roots(X509_STORE *store)
{
	ERR_clear_error();
	for (size_t i = 0; i < sizeof(system_bundles) / sizeof(system_bundles[0]); i++)
		if (access(system_bundles[i], R_OK) == 0 &&
		    X509_STORE_load_file(store, system_bundles[i]) == 1)
			break;
	return !memory_was_missing();
}

struct cv_trust_store *cv_trust_store_new(const char *ca_file, bool with_system_roots)
{
	struct cv_trust_store *store = OPENSSL_zalloc(sizeof(*store));

	cv_algorithms();
	if (!store)
		return NULL;
	store->store = X509_STORE_new();
	if (!store->store)
		return cv_trust_store_free(store);
	if (with_system_roots && !store_add_system_roots(store->store))
		return cv_trust_store_free(store);
	if (ca_file && X509_STORE_load_file(store->store, ca_file) != 1) {
		ERR_clear_error();
		return cv_trust_store_free(store);
	}
	return store;
}

struct cv_trust_store *cv_trust_store_free(struct cv_trust_store *store)
{
	if (store)
		X509_STORE_free(store->store);
	OPENSSL_free(store);
	return NULL;
}

static X509 *x509_parse(const struct cv_der *der)
{
	const unsigned char *at = der->bytes;
	X509 *certificate;

	if (der->len_bytes > LONG_MAX)
		return NULL;
	certificate = d2i_X509(NULL, &at, (long)der->len_bytes);
	if (certificate && at != der->bytes + der->len_bytes) {
		X509_free(certificate);
		return NULL;
	}
	return certificate;
}

/* All of @chain; NULL if one does not parse. */
static STACK_OF(X509) *chain_parse(const struct cv_der *chain, size_t chain_len)
{
	STACK_OF(X509) *certificates = sk_X509_new_null();

	for (size_t i = 0; certificates && i < chain_len; i++) {
		X509 *certificate = x509_parse(&chain[i]);

		if (!certificate || sk_X509_push(certificates, certificate) == 0) {
			X509_free(certificate);
			OSSL_STACK_OF_X509_free(certificates);
			return NULL;
		}
	}
	return certificates;
}

static bool verify_expect(X509_STORE_CTX *context, const char *host)
{
	X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(context);

	if (X509_STORE_CTX_set_default(context, "ssl_server") != 1)
		return false;
	X509_VERIFY_PARAM_set_auth_level(param, SECURITY_LEVEL);
	X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS |
						       X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
	/* A certificate the operator put into ca_file is trusted whoever signed it. */
	X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_PARTIAL_CHAIN);
	return X509_VERIFY_PARAM_set1_ip_asc(param, host) == 1 ||
	       X509_VERIFY_PARAM_set1_host(param, host, 0) == 1;
}

/* libcrypto lets a server have a key that is only for the key exchange of old versions. In TLS 1.3
 * it signs, or it may not be a server's (RFC 8446 4.4.2.2). */
static bool may_sign(X509 *leaf)
{
	return (X509_get_key_usage(leaf) & KU_DIGITAL_SIGNATURE) != 0; /* all bits: unsaid */
}

int cv_x509_verify_chain(const struct cv_trust_store *store, const struct cv_der *chain,
			 size_t chain_len, const char *host, const char **ret_error_text)
{
	const char *text = "certificate is malformed";
	STACK_OF(X509) *certificates = NULL;
	X509_STORE_CTX *context = NULL;
	bool ok = false;

	/* An empty host would switch the name check off. */
	if (chain_len >= 1 && chain_len <= CHAIN_MAX && host && *host)
		certificates = chain_parse(chain, chain_len);
	if (certificates)
		context = X509_STORE_CTX_new();
	if (context &&
	    X509_STORE_CTX_init(context, store->store, sk_X509_value(certificates, 0),
				certificates) == 1 &&
	    verify_expect(context, host)) {
		ok = X509_verify_cert(context) == 1;
		text = X509_verify_cert_error_string(X509_STORE_CTX_get_error(context));
	}
	if (ok && !may_sign(sk_X509_value(certificates, 0))) {
		ok = false;
		text = "certificate is not for signatures";
	}
	X509_STORE_CTX_free(context);
	OSSL_STACK_OF_X509_free(certificates);
	if (ok)
		return 0;
	ERR_clear_error();
	if (ret_error_text)
		*ret_error_text = text;
	return CV_UPSTREAM_CERTIFICATE;
}

static bool time_of(const ASN1_TIME *time, int64_t *ret_s)
{
	struct tm parts;

	if (!time || ASN1_TIME_to_tm(time, &parts) != 1)
		return false;
	*ret_s = timegm(&parts);
	return true;
}

static void first_name(X509 *certificate, char *name, size_t size)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);

	name[0] = '\0';
	for (int i = 0; i < sk_GENERAL_NAME_num(names) && !*name; i++) {
		const GENERAL_NAME *one = sk_GENERAL_NAME_value(names, i);
		const ASN1_IA5STRING *text = one->type == GEN_DNS ? one->d.dNSName : NULL;
		const size_t len = text ? (size_t)ASN1_STRING_length(text) : 0;

		if (len == 0 || len >= size || memchr(ASN1_STRING_get0_data(text), 0, len))
			continue;
		memcpy(name, ASN1_STRING_get0_data(text), len);
		name[len] = '\0';
	}
	GENERAL_NAMES_free(names);
}

int cv_x509_describe(const struct cv_der *certificate, struct cv_x509_facts *ret_facts)
{
	struct cv_x509_facts facts;
	X509 *parsed = x509_parse(certificate);
	bool ok = parsed && time_of(X509_get0_notBefore(parsed), &facts.not_before_s) &&
		  time_of(X509_get0_notAfter(parsed), &facts.not_after_s) &&
		  cv_hash(CV_SHA256, certificate->bytes, certificate->len_bytes,
			  facts.sha256) == 0;

	if (ok) {
		first_name(parsed, facts.name, sizeof(facts.name));
		*ret_facts = facts;
	}
	X509_free(parsed);
	ERR_clear_error();
	return ok ? 0 : CV_UPSTREAM_CERTIFICATE;
}

static const struct signature_scheme *scheme_find(uint16_t id)
{
	for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++)
		if (schemes[i].id == id)
			return &schemes[i];
	return NULL;
}

static bool scheme_fits_key(const struct signature_scheme *scheme, EVP_PKEY *key)
{
	char group[80];

	if (!key || !EVP_PKEY_is_a(key, scheme->key_type))
		return false;
	return !scheme->curve_nid ||
	       (EVP_PKEY_get_group_name(key, group, sizeof(group), NULL) == 1 &&
		OBJ_txt2nid(group) == scheme->curve_nid);
}

static bool scheme_verify(const struct signature_scheme *scheme, EVP_PKEY *key, const void *message,
			  size_t message_len, const uint8_t *signature, size_t signature_len)
{
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	EVP_PKEY_CTX *key_context = NULL;
	bool ok = context && EVP_DigestVerifyInit_ex(context, &key_context, scheme->hash, NULL,
						     NULL, key, NULL) == 1;

	if (ok && scheme->pss)
		ok = EVP_PKEY_CTX_set_rsa_padding(key_context, RSA_PKCS1_PSS_PADDING) == 1 &&
		     EVP_PKEY_CTX_set_rsa_pss_saltlen(key_context, RSA_PSS_SALTLEN_DIGEST) == 1;
	ok = ok && EVP_DigestVerify(context, signature, signature_len, message, message_len) == 1;
	EVP_MD_CTX_free(context);
	return ok;
}

int cv_x509_verify_signature(const struct cv_der *leaf, uint16_t scheme_id, const void *message,
			     size_t message_len, const uint8_t *signature, size_t signature_len)
{
	const struct signature_scheme *scheme = scheme_find(scheme_id);
	X509 *certificate = scheme ? x509_parse(leaf) : NULL;
	EVP_PKEY *key = certificate ? X509_get0_pubkey(certificate) : NULL;
	const bool ok = key && scheme_fits_key(scheme, key) &&
			scheme_verify(scheme, key, message, message_len, signature, signature_len);

	X509_free(certificate);
	if (!ok)
		ERR_clear_error();
	return ok ? 0 : CV_UPSTREAM_CERTIFICATE;
}
