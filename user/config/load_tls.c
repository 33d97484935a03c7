// SPDX-License-Identifier: MIT
/*
 * load_tls.c - tlsSettings of an outbound: what we show, and whom we believe.
 */
#include "config/load.h"
#include "config/value.h"

#include "crypto/crypto.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct raw_client {
	const char *server_name, *fingerprint, *key_log, *max_version;
	bool allow_insecure, disable_system_root;
	struct cv_node alpn, certificates;
};

static const struct cv_field client_fields[] = {
	{"serverName", .type = CV_FIELD_TEXT, CV_FIELD(struct raw_client, server_name)},
	{"fingerprint", .type = CV_FIELD_TEXT, CV_FIELD(struct raw_client, fingerprint)},
	{"alpn", .type = CV_FIELD_ANY, CV_FIELD(struct raw_client, alpn)},
	{"allowInsecure", .type = CV_FIELD_BOOL, CV_FIELD(struct raw_client, allow_insecure)},
	{"disableSystemRoot", .type = CV_FIELD_BOOL,
	 CV_FIELD(struct raw_client, disable_system_root)},
	{"certificates", .type = CV_FIELD_ARRAY, CV_FIELD(struct raw_client, certificates)},
	{"masterKeyLog", .type = CV_FIELD_TEXT, CV_FIELD(struct raw_client, key_log)},
	{"minVersion", .type = CV_FIELD_IGNORED}, /* ours is always 1.3 */
	{"maxVersion", .type = CV_FIELD_REFUSED, .text = "1.3", .why = "only TLS 1.3 is spoken"},
	{"cipherSuites", .type = CV_FIELD_WARNED, .why = "they are for TLS 1.2"},
	{"enableSessionResumption", .type = CV_FIELD_WARNED},
	{"pinnedPeerCertSha256", .type = CV_FIELD_REFUSED},
	{"pinnedPeerCertificateChainSha256", .type = CV_FIELD_REFUSED},
	{"verifyPeerCertByName", "verifyPeerCertInNames", .type = CV_FIELD_REFUSED},
	{"curvePreferences", .type = CV_FIELD_WARNED, .why = "the fingerprint decides"},
	{"echConfigList", .type = CV_FIELD_REFUSED, .why = "the server name would be readable"},
	{"echSockopt", .type = CV_FIELD_IGNORED},
	{"rejectUnknownSni", .type = CV_FIELD_IGNORED},
	{.type = CV_FIELD_END},
};

struct raw_authority {
	const char *file, *usage;
	struct cv_node lines;
};

static const struct cv_field authority_fields[] = {
	{"certificateFile", .type = CV_FIELD_TEXT, CV_FIELD(struct raw_authority, file)},
	{"certificate", .type = CV_FIELD_ANY, CV_FIELD(struct raw_authority, lines)},
	{"usage", .type = CV_FIELD_TEXT, .text = "encipherment",
	 CV_FIELD(struct raw_authority, usage)},
	{"keyFile", .type = CV_FIELD_IGNORED},
	{"key", .type = CV_FIELD_IGNORED},
	{"ocspStapling", .type = CV_FIELD_IGNORED},
	{"oneTimeLoading", .type = CV_FIELD_IGNORED},
	{"buildChain", .type = CV_FIELD_IGNORED},
	{.type = CV_FIELD_END},
};

/* ---- whom we believe ---------------------------------------------------------------------- */

static struct cv_trust_store *keep_store(struct cv_load *load, struct cv_trust_store *store)
{
	struct cv_config *config = load->config;
	struct cv_trust_store **stores = cv_load_grow(load, config->trust_stores,
						      config->trust_store_count, sizeof(*stores));

	if (!stores)
		return cv_trust_store_free(store);
	config->trust_stores = stores;
	stores[config->trust_store_count++] = store;
	return store;
}

struct cv_trust_store *cv_load_system_trust(const struct cv_node *node)
{
	struct cv_load *load = cv_node_load(node);
	struct cv_trust_store *store;

	if (!load->system_trust_tried) {
		load->system_trust_tried = true;
		store = cv_trust_store_new(NULL, true);
		if (store)
			load->system_trust = keep_store(load, store);
		else /* a machine may have none, that is no failure */
			load->out_of_memory = true;
	}
	return load->system_trust;
}

struct authorities {
	const struct cv_node *node;
	FILE *out;
	size_t count;
};

static void copy_line(const struct cv_node *node, const char *text, void *context)
{
	(void)node;
	fprintf(context, "%s\n", text);
}

static void copy_file(const struct cv_node *node, const char *path, FILE *out)
{
	char *text, whole_path[4096];
	size_t len;
	int error;

	snprintf(whole_path, sizeof(whole_path), "%s%s",
		 path[0] == '/' ? "" : cv_node_load(node)->directory, path);
	error = cv_document_read_file(whole_path, &text, &len);
	if (error) {
		cv_node_error(node, "cannot read %.255s: %s", whole_path, strerror(-error));
		return;
	}
	fwrite(text, 1, len, out);
	fputc('\n', out);
	free(text);
}

static void collect_authority(const struct cv_node *node, FILE *out, size_t *count)
{
	const struct cv_node usage = cv_node_member(node, "usage");
	struct raw_authority raw;

	cv_schema_read(authority_fields, node, &raw);
	if (strcasecmp(raw.usage, "verify") != 0) {
		cv_node_error(&usage, "client certificates are " CV_NOT_SUPPORTED
				      ", expected usage \"verify\"");
		return;
	}
	if (*raw.file)
		copy_file(node, raw.file, out);
	cv_node_each_text(&raw.lines, copy_line, out);
	if (!*raw.file && !raw.lines.json)
		cv_node_error(node, "expected certificateFile or certificate");
	(*count)++;
}

/* Roots are collected in a memory file, because a file is what libcrypto reads. */
static FILE *open_roots(const struct cv_node *node)
{
	const int fd = memfd_create("culvert-roots", MFD_CLOEXEC);
	FILE *out = fd < 0 ? NULL : fdopen(fd, "w");

	if (!out)
		cv_node_error(node, "cannot make a memory file: %s", strerror(errno));
	if (!out && fd >= 0)
		(void)close(fd);
	return out;
}

/* Closes @out. */
static struct cv_trust_store *read_roots(const struct cv_node *node, FILE *out, bool with_system)
{
	struct cv_trust_store *store = NULL;
	char path[64];

	(void)fflush(out);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fileno(out));
	if (cv_node_load(node)->error_count == 0) {
		store = cv_trust_store_new(path, with_system);
		if (!store)
			cv_node_error(node, "no usable root certificate in there");
	}
	(void)fclose(out);
	return store ? keep_store(cv_node_load(node), store) : NULL;
}

static struct cv_trust_store *load_authorities(const struct cv_node *list, bool with_system)
{
	FILE *out = open_roots(list);
	size_t count = 0;

	for (size_t i = 0; out && i < cv_node_count(list); i++) {
		const struct cv_node node = cv_node_element(list, i);

		collect_authority(&node, out, &count);
	}
	return out ? read_roots(list, out, with_system) : NULL;
}

struct cv_trust_store *cv_load_authority(const struct cv_node *node, const char *path)
{
	FILE *out = open_roots(node);

	if (!out)
		return NULL;
	copy_file(node, path, out);
	return read_roots(node, out, false);
}

static void load_trust(const struct cv_node *node, const struct raw_client *raw,
		       struct cv_outbound *outbound)
{
	if (cv_node_count(&raw->certificates) > 0)
		outbound->trust = load_authorities(&raw->certificates, !raw->disable_system_root);
	else if (!raw->disable_system_root)
		outbound->trust = cv_load_system_trust(node);
	else if (!raw->allow_insecure)
		cv_node_error(node, "disableSystemRoot without certificates: nobody is believed");
	if (!outbound->trust && !raw->allow_insecure && cv_node_load(node)->error_count == 0)
		cv_node_error(node, "no root certificates, so that nobody can be verified");
}

/* ---- what we show ------------------------------------------------------------------------- */

struct alpn_list {
	char **names;
	size_t count;
};

static void add_alpn(const struct cv_node *node, const char *text, void *context)
{
	struct alpn_list *list = context;
	char **names;

	if (!*text || strlen(text) > 31) {
		cv_node_expected(node, "protocol names of 1 to 31 bytes");
		return;
	}
	/* one more than needed: the list ends with NULL */
	names = cv_load_grow(cv_node_load(node), list->names, list->count + 1, sizeof(*names));
	if (!names)
		return;
	list->names = names;
	names[list->count++] = cv_load_strdup(cv_node_load(node), text);
	names[list->count] = NULL;
}

void cv_load_tls_client(const struct cv_node *node, struct cv_outbound *outbound)
{
	const struct cv_node fingerprint = cv_node_member(node, "fingerprint");
	const struct cv_node insecure = cv_node_member(node, "allowInsecure");
	struct cv_load *load = cv_node_load(node);
	struct alpn_list alpn = {0};
	struct raw_client raw;

	cv_schema_read(client_fields, node, &raw);
	free(outbound->server_name);
	free(outbound->key_log_path);
	outbound->server_name = cv_load_strdup(load, raw.server_name);
	outbound->key_log_path = cv_load_strdup(load, raw.key_log);
	if (cv_fingerprint_parse(raw.fingerprint, &outbound->fingerprint) != 0)
		cv_node_expected(&fingerprint, "chrome, firefox, safari or random");
	cv_node_each_text(&raw.alpn, add_alpn, &alpn);
	outbound->alpn = alpn.names;
	outbound->allow_insecure = raw.allow_insecure;
	load_trust(node, &raw, outbound);
	if (raw.allow_insecure)
		cv_node_warning(&insecure, CV_TLS_INSECURE_WARNING);
}
