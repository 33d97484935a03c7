// SPDX-License-Identifier: MIT
/*
 * config_load.c - from a file to a snapshot: all findings are reported, nothing is half applied.
 *
 *   text -> document (values with lines) -> log, policy, culvert -> bridges, inbounds, edge
 *        -> outbounds, portals -> observatory -> routing
 *
 * Routing comes last because its rules name outbounds. The key that signs REALITY's certificates is
 * made here, one per process (REALITY 6.6).
 */
#include "config/load.h"
#include "config/load_geo.h"

#include "crypto/crypto.h"

#include <culvert/reason.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct raw_top {
	struct cv_node log, policy, culvert, inbounds, outbounds, routing, edge, observatory;
	struct cv_node reverse;
};

static const struct cv_field top_fields[] = {
	{"log", .type = CV_FIELD_OBJECT, CV_FIELD(struct raw_top, log)},
	{"policy", .type = CV_FIELD_OBJECT, CV_FIELD(struct raw_top, policy)},
	{"culvert", .type = CV_FIELD_OBJECT, CV_FIELD(struct raw_top, culvert)},
	{"inbounds", .type = CV_FIELD_ARRAY, CV_FIELD(struct raw_top, inbounds)},
	{"outbounds", .type = CV_FIELD_ARRAY, CV_FIELD(struct raw_top, outbounds)},
	{"routing", .type = CV_FIELD_OBJECT, CV_FIELD(struct raw_top, routing)},
	{"edge", .type = CV_FIELD_OBJECT, CV_FIELD(struct raw_top, edge)}, /* our own */
	{"stats", .type = CV_FIELD_IGNORED}, /* always on, see "culvert show" */
	{"dns", .type = CV_FIELD_WARNED, .why = "names are resolved by this machine's resolver"},
	{"api", .type = CV_FIELD_WARNED, .why = "see \"culvert show\""},
	{"metrics", .type = CV_FIELD_WARNED, .why = "see \"culvert show\""},
	{"observatory", .type = CV_FIELD_OBJECT, CV_FIELD(struct raw_top, observatory)},
	{"burstObservatory", .type = CV_FIELD_WARNED},
	{"version", .type = CV_FIELD_WARNED},
	{"env", .type = CV_FIELD_WARNED},
	{"geodata", .type = CV_FIELD_WARNED},
	{"fakeDns", .type = CV_FIELD_REFUSED, .why = "made-up addresses would be dialled"},
	{"reverse", .type = CV_FIELD_OBJECT, CV_FIELD(struct raw_top, reverse)},
	{"transport", .type = CV_FIELD_REFUSED, .why = "write streamSettings"},
	{.type = CV_FIELD_END},
};

static void make_certificate_key(struct cv_load *load)
{
	struct cv_config *config = load->config;
	uint8_t seed[CV_ED25519_LEN], public_key[CV_ED25519_LEN];

	if (cv_random_bytes(seed, sizeof(seed)) == 0)
		config->certificate_key = cv_ed25519_from_seed(seed);
	cv_cleanse(seed, sizeof(seed));
	if (!config->certificate_key ||
	    cv_ed25519_public(config->certificate_key, public_key) != 0) {
		cv_load_error(load, "cannot make an Ed25519 key");
		return;
	}
	for (size_t i = 0; i < config->inbound_count; i++) {
		struct cv_reality_inbound *reality = config->inbounds[i].reality;

		for (size_t t = 0; reality && t < reality->target_count; t++) {
			struct cv_reality_config *target = &reality->targets[t].reality;

			target->certificate_key = config->certificate_key;
			memcpy(target->certificate_public, public_key, sizeof(public_key));
		}
	}
}

static void join_usages(struct cv_load *load)
{
	load->config->usages =
		load->usages ? cv_usage_table_share(load->usages) : cv_usage_table_new();
	load->out_of_memory |= !load->config->usages;
	if (load->config->usages)
		cv_usage_table_begin(load->config->usages);
}

static void load_document(const struct cv_document *document)
{
	const struct cv_node root = cv_node_root(document);
	struct raw_top raw;

	cv_schema_read(top_fields, &root, &raw);
	cv_load_log(&raw.log);
	cv_load_policy(&raw.policy);
	cv_load_culvert(&raw.culvert);
	join_usages(document->load);
	cv_load_bridges(&raw.reverse);
	if (document->load->out_of_memory) /* what follows leans on what is above */
		return;
	cv_load_inbounds(&raw.inbounds);
	if (document->load->out_of_memory)
		return;
	cv_load_edge(&raw.edge);
	cv_load_outbounds(&raw.outbounds, &raw.reverse);
	if (document->load->out_of_memory)
		return;
	cv_load_observatory(&raw.observatory);
	cv_load_routing(&raw.routing);
	make_certificate_key(document->load);
}

/* "dir/" of "dir/file", "" of "file". */
static char *directory_of(const char *name)
{
	const char *slash = strrchr(name, '/');

	return strndup(name, slash ? (size_t)(slash - name) + 1 : 0);
}

static int load_text(const char *name, const char *text, size_t len,
		     const struct cv_config *former, const struct cv_config_report *report,
		     struct cv_config **ret_config)
{
	static const struct cv_config_report silent;
	struct cv_load load = {.report = report ? report : &silent,
			       .usages = former ? former->usages : NULL};
	char *directory = directory_of(name);
	struct cv_document document;

	load.directory = directory;
	load.config = calloc(1, sizeof(*load.config));
	if (!load.config || !directory) {
		load.out_of_memory = true;
	} else if (cv_document_open(&load, name, text, len, &document) == 0) {
		load_document(&document);
		cv_document_close(&document);
	}
	cv_load_geo_done(&load);
	cv_load_users_done(&load);
	free(directory);
	if (load.out_of_memory || load.error_count > 0) {
		cv_config_free(load.config);
		return load.out_of_memory ? -ENOMEM : CV_INTERNAL_CONFIG;
	}
	*ret_config = load.config;
	return 0;
}

int cv_config_load_text(const char *name, const char *text, size_t len,
			const struct cv_config_report *report, struct cv_config **ret_config)
{
	return load_text(name, text, len, NULL, report, ret_config);
}

int cv_config_reload(const char *path, const struct cv_config *former,
		     const struct cv_config_report *report, struct cv_config **ret_config)
{
	char *text;
	size_t len;
	int error = cv_document_read_file(path, &text, &len);

	if (error)
		return error;
	error = load_text(path, text, len, former, report, ret_config);
	cv_cleanse(text, len);
	free(text);
	return error;
}

int cv_config_load(const char *path, const struct cv_config_report *report,
		   struct cv_config **ret_config)
{
	return cv_config_reload(path, NULL, report, ret_config);
}
