// SPDX-License-Identifier: MIT
/*
 * load_tls_server.c - tlsSettings of an inbound: certificates, ALPN, versions.
 *
 * Certificates are read now, while the daemon may still read them, and again at each reload.
 */
#include "config/load.h"
#include "config/value.h"

#include "crypto/crypto.h"
#include "protocol/tls_server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CERTIFICATES_MAX 64
#define ALPN_MAX 16

struct raw_server {
	struct cv_node certificates, alpn;
	int min_version, max_version;
	bool reject_unknown_sni;
};

static const struct cv_word versions[] = {
	{"1.3", CV_TLS_VERSION_13},   {"1.2", CV_TLS_VERSION_12},   {"", 0},
	{"1.1", CV_WORD_UNSUPPORTED}, {"1.0", CV_WORD_UNSUPPORTED}, {NULL, 0},
};

static const struct cv_field server_fields[] = {
	{"certificates", .type = CV_FIELD_ARRAY, .is_required = true,
	 CV_FIELD(struct raw_server, certificates)},
	{"alpn", .type = CV_FIELD_ANY, CV_FIELD(struct raw_server, alpn)},
	{"minVersion", .type = CV_FIELD_WORD, .words = versions, .text = "",
	 CV_FIELD(struct raw_server, min_version)},
	{"maxVersion", .type = CV_FIELD_WORD, .words = versions, .text = "1.3",
	 CV_FIELD(struct raw_server, max_version)},
	{"rejectUnknownSni", .type = CV_FIELD_BOOL,
	 CV_FIELD(struct raw_server, reject_unknown_sni)},
	{"cipherSuites", .type = CV_FIELD_WARNED},
	{"enableSessionResumption", .type = CV_FIELD_WARNED},
	{"curvePreferences", .type = CV_FIELD_WARNED},
	{"masterKeyLog", .type = CV_FIELD_WARNED},
	{"echServerKeys", .type = CV_FIELD_REFUSED},
	{"disableSystemRoot", .type = CV_FIELD_IGNORED},
	/* the client's keys, which people leave in */
	{"serverName", .type = CV_FIELD_IGNORED},
	{"fingerprint", .type = CV_FIELD_IGNORED},
	{"allowInsecure", .type = CV_FIELD_IGNORED},
	{.type = CV_FIELD_END},
};

struct raw_certificate {
	const char *file, *key_file;
	struct cv_node lines, key_lines;
	int usage;
};

static const struct cv_word usages[] = {{"encipherment", 0},
					{"verify", CV_WORD_UNSUPPORTED},
					{"issue", CV_WORD_UNSUPPORTED},
					{NULL, 0}};

static const struct cv_field certificate_fields[] = {
	{"certificateFile", .type = CV_FIELD_TEXT, CV_FIELD(struct raw_certificate, file)},
	{"certificate", .type = CV_FIELD_ANY, CV_FIELD(struct raw_certificate, lines)},
	{"keyFile", .type = CV_FIELD_TEXT, CV_FIELD(struct raw_certificate, key_file)},
	{"key", .type = CV_FIELD_ANY, CV_FIELD(struct raw_certificate, key_lines)},
	{"usage", .type = CV_FIELD_WORD, .words = usages, .text = "encipherment",
	 CV_FIELD(struct raw_certificate, usage)},
	{"ocspStapling", .type = CV_FIELD_WARNED},
	{"oneTimeLoading", .type = CV_FIELD_IGNORED},
	{"buildChain", .type = CV_FIELD_WARNED},
	{.type = CV_FIELD_END},
};

/* PEM texts of one certificate, owned. */
struct pem {
	char *chain, *key;
	size_t chain_len, key_len;
};

struct collected {
	struct pem pems[CERTIFICATES_MAX];
	struct cv_tls_certificate certificates[CERTIFICATES_MAX];
	size_t certificate_count;
	const char *alpn[ALPN_MAX];
	char *alpn_copies[ALPN_MAX];
	size_t alpn_count;
	bool is_proxy;
	bool speaks_h2, is_h2_only; /* as the transport, and the site behind it, would have it */
};

static void copy_line(const struct cv_node *node, const char *text, void *context)
{
	(void)node;
	fprintf(context, "%s\n", text);
}

static void read_lines(const struct cv_node *lines, char **ret_text, size_t *ret_len)
{
	FILE *out = open_memstream(ret_text, ret_len);

	if (!out) {
		cv_node_load(lines)->out_of_memory = true;
		return;
	}
	cv_node_each_text(lines, copy_line, out);
	if (fclose(out) != 0)
		cv_node_load(lines)->out_of_memory = true;
}

static void read_pem(const struct cv_node *node, const char *file_key, const char *path,
		     const struct cv_node *lines, char **ret_text, size_t *ret_len)
{
	const struct cv_node place = cv_node_member(node, file_key);
	char whole_path[4096];
	int error;

	if (lines->json) {
		read_lines(lines, ret_text, ret_len);
		return;
	}
	if (!*path) {
		cv_node_error(&place, "required, but missing");
		return;
	}
	snprintf(whole_path, sizeof(whole_path), "%s%s",
		 path[0] == '/' ? "" : cv_node_load(node)->directory, path);
	error = cv_document_read_file(whole_path, ret_text, ret_len);
	if (error)
		cv_node_error(&place, "cannot read %.255s: %s", whole_path, strerror(-error));
}

static bool has_key(const struct pem *pem)
{
	static const char label[] = "PRIVATE KEY-----";

	return pem->chain && memmem(pem->chain, pem->chain_len, label, sizeof(label) - 1) != NULL;
}

static void copy_chain(struct cv_load *load, struct pem *pem)
{
	pem->key = cv_load_calloc(load, 1, pem->chain_len);
	if (!pem->key)
		return;
	memcpy(pem->key, pem->chain, pem->chain_len);
	pem->key_len = pem->chain_len;
}

static void collect_certificate(const struct cv_node *node, struct collected *collected)
{
	struct cv_load *load = cv_node_load(node);
	struct pem *pem = &collected->pems[collected->certificate_count];
	struct raw_certificate raw;

	cv_schema_read(certificate_fields, node, &raw);
	read_pem(node, "certificateFile", raw.file, &raw.lines, &pem->chain, &pem->chain_len);
	if (*raw.key_file || raw.key_lines.json || (pem->chain && !has_key(pem)))
		read_pem(node, "keyFile", raw.key_file, &raw.key_lines, &pem->key, &pem->key_len);
	else if (pem->chain) /* chain and key in one file, as HAProxy has them */
		copy_chain(load, pem);
	collected->certificates[collected->certificate_count++] = (struct cv_tls_certificate){
		.chain_pem = cv_span_of(pem->chain, pem->chain_len),
		.key_pem = cv_span_of(pem->key, pem->key_len),
	};
}

static void collect_alpn(const struct cv_node *node, const char *text, void *context)
{
	struct collected *collected = context;

	if (!*text || strlen(text) > 31 || collected->alpn_count == ALPN_MAX) {
		cv_node_expected(node, "at most %d protocol names of 1 to 31 bytes", ALPN_MAX);
		return;
	}
	if (collected->is_proxy && strcmp(text, "h2") == 0) {
		cv_node_warning(node, "a proxy does not speak h2: it is not offered");
		return;
	}
	if (!collected->speaks_h2 && strcmp(text, "h2") == 0) {
		cv_node_warning(node, "this transport is HTTP/1.1 and there is no fallback for "
				      "alpn \"h2\": it is not offered");
		return;
	}
	collected->alpn_copies[collected->alpn_count] = cv_load_strdup(cv_node_load(node), text);
	collected->alpn[collected->alpn_count] = collected->alpn_copies[collected->alpn_count];
	collected->alpn_count++;
}

static void done(struct collected *collected)
{
	for (size_t i = 0; i < collected->certificate_count; i++) {
		struct pem *pem = &collected->pems[i];

		if (pem->key)
			cv_cleanse(pem->key, pem->key_len);
		if (pem->chain)
			cv_cleanse(pem->chain, pem->chain_len);
		free(pem->key);
		free(pem->chain);
	}
	for (size_t i = 0; i < collected->alpn_count; i++)
		free(collected->alpn_copies[i]);
	free(collected);
}

static bool speaks_proxy(const struct cv_inbound *inbound)
{
	return inbound->protocol != CV_INBOUND_VLESS && inbound->protocol != CV_INBOUND_VMESS &&
	       inbound->protocol != CV_INBOUND_TUNNEL;
}

static void make_context(const struct cv_node *node, const struct raw_server *raw,
			 const struct collected *collected, struct cv_inbound *inbound)
{
	char error_text[CV_TLS_ERROR_TEXT] = "";
	const bool is_proxy = speaks_proxy(inbound);
	const int min_version = is_proxy ? CV_TLS_VERSION_13 : CV_TLS_VERSION_12;
	const struct cv_tls_server_config config = {
		.certificates = collected->certificates,
		.certificate_count = collected->certificate_count,
		.alpn = collected->alpn,
		.alpn_count = collected->alpn_count,
		.min_version = (uint16_t)(raw->min_version ? raw->min_version : min_version),
		.max_version = (uint16_t)(raw->max_version ? raw->max_version : CV_TLS_VERSION_13),
		.reject_unknown_sni = raw->reject_unknown_sni,
		.is_proxy = is_proxy,
	};

	if (config.min_version > config.max_version)
		cv_node_error(node, "minVersion is above maxVersion");
	else if (cv_tls_server_context_new(&config, &inbound->tls, error_text) != 0)
		cv_node_error(&raw->certificates, "%s",
			      *error_text ? error_text : "cannot be used");
}

/* Is there somebody for it: VLESS does not care, a transport is one or the other, and a fallback
 * may be for those who chose h2. */
static bool speaks_h2(const struct cv_inbound *inbound)
{
	if (!inbound->transport || inbound->transport->kind == CV_TRANSPORT_H2)
		return true;
	for (size_t i = 0; i < inbound->fallback_count; i++)
		if (inbound->fallbacks[i].alpn && strcmp(inbound->fallbacks[i].alpn, "h2") == 0)
			return true;
	return false;
}

void cv_load_tls_server(const struct cv_node *node, struct cv_inbound *inbound)
{
	struct cv_load *load = cv_node_load(node);
	const size_t errors = load->error_count;
	struct collected *collected = cv_load_calloc(load, 1, sizeof(*collected));
	struct raw_server raw;

	if (!collected)
		return;
	collected->is_proxy = speaks_proxy(inbound);
	collected->speaks_h2 = speaks_h2(inbound);
	collected->is_h2_only = inbound->transport && inbound->fallback_count == 0 &&
				inbound->transport->kind == CV_TRANSPORT_H2;
	cv_schema_read(server_fields, node, &raw);
	if (raw.certificates.json && (cv_node_count(&raw.certificates) == 0 ||
				      cv_node_count(&raw.certificates) > CERTIFICATES_MAX))
		cv_node_error(&raw.certificates, "expected 1 to %d certificates, found %zu",
			      CERTIFICATES_MAX, cv_node_count(&raw.certificates));
	for (size_t i = 0; i < cv_node_count(&raw.certificates) && load->error_count == errors;
	     i++) {
		const struct cv_node certificate = cv_node_element(&raw.certificates, i);

		collect_certificate(&certificate, collected);
	}
	if (raw.alpn.json) {
		cv_node_each_text(&raw.alpn, collect_alpn, collected);
	} else {
		/* what a tunnel leads to is asked for nothing but HTTP/1.1, if it is asked */
		if (!speaks_proxy(inbound) && inbound->protocol != CV_INBOUND_TUNNEL &&
		    collected->speaks_h2)
			collected->alpn[collected->alpn_count++] = "h2";
		if (!collected->is_h2_only)
			collected->alpn[collected->alpn_count++] = "http/1.1";
	}
	if (load->error_count == errors && !load->out_of_memory)
		make_context(node, &raw, collected, inbound);
	done(collected);
}
