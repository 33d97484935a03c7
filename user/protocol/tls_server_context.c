// SPDX-License-Identifier: MIT
/*
 * tls_server_context.c - certificates of a TLS inbound and which one a client gets.
 *
 *   SNI --lower case--> exact or "*.rest" among each certificate's CN and DNS names -> its SSL_CTX
 *                       no match: the first, or unrecognized_name
 *
 * One SSL_CTX per certificate with the same settings; libssl's server-name callback switches
 * between them. Tickets and resumption are off: a session's cost is paid once, and nothing is sent
 * after the handshake that a later raw direction would have to reckon with.
 */
#include "protocol/tls_server_state.h"

#include <culvert/reason.h>

#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#define NAME_MAX_BYTES 255
#define ALPN_MAX_BYTES 1024
#define PROXY_SUITES "ECDHE+AESGCM:ECDHE+CHACHA20" /* of TLS 1.2; 1.3 has no other kind */

/* ---- choice by SNI ------------------------------------------------------------------------ */

static void lower_case(char *text)
{
	for (; *text; text++)
		*text = (char)tolower((unsigned char)*text);
}

static bool has_name(const struct cv_tls_identity *identity, const char *name)
{
	for (size_t i = 0; i < identity->name_count; i++)
		if (strcmp(identity->names[i], name) == 0)
			return true;
	return false;
}

static const struct cv_tls_identity *find_identity(const struct cv_tls_server_context *context,
						   const char *server_name)
{
	char name[NAME_MAX_BYTES + 1], wildcard[NAME_MAX_BYTES + 2] = "*";
	const char *dot;

	if (!server_name || !server_name[0] || strlen(server_name) > NAME_MAX_BYTES)
		return NULL;
	memcpy(name, server_name, strlen(server_name) + 1);
	lower_case(name);
	dot = strchr(name, '.');
	if (dot)
		memcpy(wildcard + 1, dot, strlen(dot) + 1);
	for (size_t i = 0; i < context->identity_count; i++)
		if (has_name(&context->identities[i], name) ||
		    (dot && has_name(&context->identities[i], wildcard)))
			return &context->identities[i];
	return NULL;
}

static int choose_identity(SSL *ssl, int *alert, void *argument)
{
	const struct cv_tls_server_context *context = argument;
	const char *server_name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
	const struct cv_tls_identity *identity = find_identity(context, server_name);

	if (!identity && context->reject_unknown_sni) {
		*alert = SSL_AD_UNRECOGNIZED_NAME;
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	}
	if (identity && !SSL_set_SSL_CTX(ssl, identity->ssl_context)) {
		*alert = SSL_AD_INTERNAL_ERROR;
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	}
	return identity ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_NOACK;
}

/* ---- choice by ALPN ----------------------------------------------------------------------- */

/* Both lists are u8-prefixed names; libssl has checked the client's. */
static bool lists_protocol(const unsigned char *list, unsigned int list_len, const uint8_t *name,
			   uint8_t name_len)
{
	for (unsigned int at = 0; at < list_len; at += 1u + list[at])
		if (list[at] == name_len && memcmp(list + at + 1, name, name_len) == 0)
			return true;
	return false;
}

/*
 * observable: without a common protocol the handshake fails (RFC 7301 3.2), except that an HTTP/1.1
 * client is served by an h2 server as if it had sent no ALPN: what Go's servers do. A proxy speaks
 * one protocol, whatever the client calls it (SOCKS5 A11).
 */
static int choose_alpn(SSL *ssl, const unsigned char **ret_name, unsigned char *ret_len,
		       const unsigned char *offered, unsigned int offered_len, void *argument)
{
	const struct cv_tls_server_context *context = argument;
	bool http1_fallback = false;

	(void)ssl;
	for (unsigned int at = 0; at < context->alpn_len; at += 1u + context->alpn[at]) {
		const uint8_t *name = context->alpn + at + 1;
		uint8_t len = context->alpn[at];

		if (lists_protocol(offered, offered_len, name, len)) {
			*ret_name = name;
			*ret_len = len;
			return SSL_TLSEXT_ERR_OK;
		}
		if (len == 2 && memcmp(name, "h2", 2) == 0)
			http1_fallback = lists_protocol(offered, offered_len,
							(const uint8_t *)"http/1.1", 8);
	}
	if (context->alpn_len == 0 || http1_fallback || context->is_proxy)
		return SSL_TLSEXT_ERR_NOACK;
	return SSL_TLSEXT_ERR_ALERT_FATAL;
}

static int copy_alpn(struct cv_tls_server_context *context,
		     const struct cv_tls_server_config *config, char *error_text)
{
	uint8_t wire[ALPN_MAX_BYTES];
	size_t used = 0;

	for (size_t i = 0; i < config->alpn_count; i++) {
		size_t len = strlen(config->alpn[i]);

		if (len == 0 || len > 255 || used + 1 + len > sizeof(wire)) {
			snprintf(error_text, CV_TLS_ERROR_TEXT, "alpn: entry %zu has a bad length",
				 i);
			return CV_INTERNAL_CONFIG;
		}
		wire[used++] = (uint8_t)len;
		memcpy(wire + used, config->alpn[i], len);
		used += len;
	}
	if (used == 0)
		return 0;
	context->alpn = malloc(used);
	if (!context->alpn)
		return CV_INTERNAL_MEMORY;
	memcpy(context->alpn, wire, used);
	context->alpn_len = (unsigned int)used;
	return 0;
}

/* ---- one certificate ---------------------------------------------------------------------- */

static int add_name(struct cv_tls_identity *identity, const unsigned char *bytes, int len)
{
	char **names, *name;

	if (!bytes || len <= 0 || len > NAME_MAX_BYTES || memchr(bytes, 0, (size_t)len))
		return 0; /* a name no client can ask for */
	names = realloc(identity->names, (identity->name_count + 1) * sizeof(*names));
	if (!names)
		return CV_INTERNAL_MEMORY;
	identity->names = names;
	name = strndup((const char *)bytes, (size_t)len);
	if (!name)
		return CV_INTERNAL_MEMORY;
	lower_case(name);
	names[identity->name_count++] = name;
	return 0;
}

static int add_common_name(struct cv_tls_identity *identity, X509 *leaf)
{
	X509_NAME *subject = X509_get_subject_name(leaf);
	int index = subject ? X509_NAME_get_index_by_NID(subject, NID_commonName, -1) : -1;
	unsigned char *text = NULL;
	int len, result = 0;

	if (index < 0)
		return 0;
	len = ASN1_STRING_to_UTF8(&text,
				  X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, index)));
	if (len > 0)
		result = add_name(identity, text, len);
	OPENSSL_free(text);
	return result;
}

static int add_names(struct cv_tls_identity *identity, X509 *leaf)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(leaf, NID_subject_alt_name, NULL, NULL);
	int result = add_common_name(identity, leaf);

	for (int i = 0; names && i < sk_GENERAL_NAME_num(names) && result == 0; i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);

		if (name->type == GEN_DNS)
			result = add_name(identity, ASN1_STRING_get0_data(name->d.dNSName),
					  ASN1_STRING_length(name->d.dNSName));
	}
	GENERAL_NAMES_free(names);
	return result;
}

/* Never ask the terminal: a key with a passphrase is a mistake of the configuration. */
static int no_passphrase(char *text, int size, int is_writing, void *argument)
{
	(void)text;
	(void)size;
	(void)is_writing;
	(void)argument;
	return -1;
}

static BIO *pem_bio(struct cv_span pem)
{
	return pem.len_bytes > 0 && pem.len_bytes <= INT_MAX
		       ? BIO_new_mem_buf(pem.data, (int)pem.len_bytes)
		       : NULL;
}

static int load_chain(struct cv_tls_identity *identity, struct cv_span pem)
{
	BIO *bio = pem_bio(pem);
	X509 *certificate = bio ? PEM_read_bio_X509_AUX(bio, NULL, no_passphrase, NULL) : NULL;
	int result = CV_INTERNAL_CONFIG;

	if (certificate && SSL_CTX_use_certificate(identity->ssl_context, certificate) == 1)
		result = add_names(identity, certificate);
	X509_free(certificate);
	while (result == 0) {
		certificate = PEM_read_bio_X509(bio, NULL, no_passphrase, NULL);
		if (!certificate)
			break; /* the end of the chain */
		if (SSL_CTX_add1_chain_cert(identity->ssl_context, certificate) != 1)
			result = CV_INTERNAL_CONFIG;
		X509_free(certificate);
	}
	BIO_free(bio);
	return result;
}

static int load_key(struct cv_tls_identity *identity, struct cv_span pem)
{
	BIO *bio = pem_bio(pem);
	EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL) : NULL;
	int result = CV_INTERNAL_CONFIG;

	ERR_clear_error(); /* the end of the chain is no error */
	if (key && SSL_CTX_use_PrivateKey(identity->ssl_context, key) == 1 &&
	    SSL_CTX_check_private_key(identity->ssl_context) == 1)
		result = 0;
	EVP_PKEY_free(key);
	BIO_free(bio);
	return result;
}

static bool apply_settings(struct cv_tls_server_context *context, SSL_CTX *ssl_context,
			   const struct cv_tls_server_config *config)
{
	uint16_t min_version = config->min_version ? config->min_version : CV_TLS_VERSION_13;
	uint16_t max_version = config->max_version ? config->max_version : CV_TLS_VERSION_13;

	SSL_CTX_set_options(ssl_context, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION |
						 SSL_OP_NO_COMPRESSION |
						 SSL_OP_CIPHER_SERVER_PREFERENCE);
	SSL_CTX_set_session_cache_mode(ssl_context, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_mode(ssl_context, SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_read_ahead(ssl_context, 0);
	SSL_CTX_set_keylog_callback(ssl_context, cv_tls_server_note_secret);
	SSL_CTX_set_tlsext_servername_callback(ssl_context, choose_identity);
	SSL_CTX_set_tlsext_servername_arg(ssl_context, context);
	SSL_CTX_set_alpn_select_cb(ssl_context, choose_alpn, context);
	if (config->is_proxy && SSL_CTX_set_cipher_list(ssl_context, PROXY_SUITES) != 1)
		return false;
	return SSL_CTX_set_num_tickets(ssl_context, 0) == 1 && min_version <= max_version &&
	       min_version >= CV_TLS_VERSION_12 && max_version <= CV_TLS_VERSION_13 &&
	       SSL_CTX_set_min_proto_version(ssl_context, min_version) == 1 &&
	       SSL_CTX_set_max_proto_version(ssl_context, max_version) == 1;
}

static int load_identity(struct cv_tls_server_context *context, size_t index,
			 const struct cv_tls_server_config *config, char *error_text)
{
	struct cv_tls_identity *identity = &context->identities[index];
	const struct cv_tls_certificate *certificate = &config->certificates[index];
	const char *what = "protocol versions";
	char reason[64] = "";
	int result = CV_INTERNAL_CONFIG;

	identity->ssl_context = SSL_CTX_new(TLS_server_method());
	if (!identity->ssl_context)
		return CV_INTERNAL_MEMORY;
	if (apply_settings(context, identity->ssl_context, config)) {
		what = "certificate chain";
		result = load_chain(identity, certificate->chain_pem);
	}
	if (result == 0) {
		what = "private key";
		result = load_key(identity, certificate->key_pem);
	}
	if (result == CV_INTERNAL_CONFIG) {
		(void)cv_tls_failure(result, reason, sizeof(reason));
		snprintf(error_text, CV_TLS_ERROR_TEXT, "certificates[%zu]: %s not usable%s%s",
			 index, what, reason[0] ? ": " : "", reason);
	}
	ERR_clear_error();
	return result;
}

/* ---- life --------------------------------------------------------------------------------- */

int cv_tls_server_context_new(const struct cv_tls_server_config *config,
			      struct cv_tls_server_context **ret_context,
			      char error_text[CV_TLS_ERROR_TEXT])
{
	struct cv_tls_server_context *context;
	int result = 0;

	error_text[0] = '\0';
	if (config->certificate_count == 0) {
		snprintf(error_text, CV_TLS_ERROR_TEXT, "certificates: at least one is needed");
		return CV_INTERNAL_CONFIG;
	}
	context = calloc(1, sizeof(*context));
	if (!context)
		return CV_INTERNAL_MEMORY;
	context->reject_unknown_sni = config->reject_unknown_sni;
	context->is_proxy = config->is_proxy;
	context->identities = calloc(config->certificate_count, sizeof(*context->identities));
	if (!context->identities)
		result = CV_INTERNAL_MEMORY;
	if (result == 0)
		result = copy_alpn(context, config, error_text);
	for (size_t i = 0; i < config->certificate_count && result == 0; i++) {
		context->identity_count = i + 1;
		result = load_identity(context, i, config, error_text);
	}
	if (result) {
		cv_tls_server_context_free(context);
		return result;
	}
	*ret_context = context;
	return 0;
}

struct cv_tls_server_context *cv_tls_server_context_free(struct cv_tls_server_context *context)
{
	if (!context)
		return NULL;
	for (size_t i = 0; i < context->identity_count; i++) {
		for (size_t k = 0; k < context->identities[i].name_count; k++)
			free(context->identities[i].names[k]);
		free(context->identities[i].names);
		SSL_CTX_free(context->identities[i].ssl_context);
	}
	free(context->identities);
	free(context->alpn);
	free(context);
	return NULL;
}
