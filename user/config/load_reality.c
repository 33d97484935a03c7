// SPDX-License-Identifier: MIT
/*
 * load_reality.c - realitySettings: the server's side (REALITY 2, with targets of our own beside
 * the first) and the client's (REALITY 12.1).
 *
 *   realitySettings ---- target, serverNames --> targets[0]
 *        '-- targets[] - target, serverNames --> targets[1..]     chosen by SNI
 *
 * Keys, short ids and the replay cache belong to the inbound; each target's cv_reality_config
 * borrows them.
 */
#include "config/load.h"
#include "config/value.h"

#include "crypto/crypto.h"
#include "policy/replay_cache.h"

#include <stdlib.h>
#include <string.h>

#define MIN_CLIENT_VERSION "26.3.27" /* as servers have it since 2026-07 */
#define VERSION_NONE 0xffffffu
#define DAY_MS 86400000u
#define TARGETS_MAX 64

struct raw_limit {
	uint64_t after, rate, burst;
};

static const struct cv_field limit_fields[] = {
	{"afterBytes", .type = CV_FIELD_U64, .unit = "bytes", CV_FIELD(struct raw_limit, after)},
	{"bytesPerSec", .type = CV_FIELD_U64, .unit = "bytes per second",
	 CV_FIELD(struct raw_limit, rate)},
	{"burstBytesPerSec", .type = CV_FIELD_U64, .unit = "bytes per second",
	 CV_FIELD(struct raw_limit, burst)},
	{.type = CV_FIELD_END},
};

struct raw_server {
	struct cv_node target, server_names, short_ids, upload, download, targets;
	const char *type, *private_key, *min_version, *max_version, *mldsa_seed, *key_log;
	uint32_t xver, learn_interval_s;
	uint64_t max_time_diff_ms;
	bool show, require_mlkem;
};

static const struct cv_field server_fields[] = {
	{"target", "dest", .type = CV_FIELD_ANY, .is_required = true,
	 CV_FIELD(struct raw_server, target)},
	{"type", .type = CV_FIELD_TEXT, CV_FIELD(struct raw_server, type)},
	{"xver", .type = CV_FIELD_U32, .max = 2, CV_FIELD(struct raw_server, xver)},
	{"serverNames", .type = CV_FIELD_ANY, .is_required = true,
	 CV_FIELD(struct raw_server, server_names)},
	{"privateKey", .type = CV_FIELD_TEXT, .is_required = true, .is_secret = true,
	 CV_FIELD(struct raw_server, private_key)},
	{"minClientVer", .type = CV_FIELD_TEXT, .text = MIN_CLIENT_VERSION,
	 CV_FIELD(struct raw_server, min_version)},
	{"maxClientVer", .type = CV_FIELD_TEXT, CV_FIELD(struct raw_server, max_version)},
	{"maxTimeDiff", .type = CV_FIELD_U64, .max = DAY_MS, .unit = "milliseconds",
	 CV_FIELD(struct raw_server, max_time_diff_ms)},
	{"shortIds", .type = CV_FIELD_ANY, .is_required = true,
	 CV_FIELD(struct raw_server, short_ids)},
	{"mldsa65Seed", .type = CV_FIELD_TEXT, .is_secret = true,
	 CV_FIELD(struct raw_server, mldsa_seed)},
	{"limitFallbackUpload", .type = CV_FIELD_OBJECT, CV_FIELD(struct raw_server, upload)},
	{"limitFallbackDownload", .type = CV_FIELD_OBJECT, CV_FIELD(struct raw_server, download)},
	{"show", .type = CV_FIELD_BOOL, CV_FIELD(struct raw_server, show)},
	{"masterKeyLog", .type = CV_FIELD_TEXT, CV_FIELD(struct raw_server, key_log)},
	/* our own */
	{"requireMLKEM", .type = CV_FIELD_BOOL, CV_FIELD(struct raw_server, require_mlkem)},
	{"learnInterval", .type = CV_FIELD_U32, .min = 10, .max = 30 * 86400, .number = 3600,
	 .unit = "seconds", CV_FIELD(struct raw_server, learn_interval_s)},
	{"targets", .type = CV_FIELD_ARRAY, CV_FIELD(struct raw_server, targets)},
	/* the client's keys, which people leave in */
	{"serverName", .type = CV_FIELD_IGNORED},
	{"fingerprint", .type = CV_FIELD_IGNORED},
	{"publicKey", "password", .type = CV_FIELD_IGNORED},
	{"shortId", .type = CV_FIELD_IGNORED},
	{"spiderX", .type = CV_FIELD_IGNORED},
	{"mldsa65Verify", .type = CV_FIELD_IGNORED},
	{.type = CV_FIELD_END},
};

struct raw_target {
	struct cv_node target, server_names;
	const char *type;
	uint32_t xver;
};

static const struct cv_field target_fields[] = {
	{"target", "dest", .type = CV_FIELD_ANY, .is_required = true,
	 CV_FIELD(struct raw_target, target)},
	{"serverNames", .type = CV_FIELD_ANY, .is_required = true,
	 CV_FIELD(struct raw_target, server_names)},
	{"type", .type = CV_FIELD_TEXT, CV_FIELD(struct raw_target, type)},
	{"xver", .type = CV_FIELD_U32, .max = 2, CV_FIELD(struct raw_target, xver)},
	{.type = CV_FIELD_END},
};

/* ---- names and short ids ------------------------------------------------------------------ */

struct names {
	struct cv_reality_inbound *inbound; /* all targets so far */
	struct cv_reality_target *target;
};

static bool name_is_taken(const struct cv_reality_inbound *inbound, const char *name)
{
	for (size_t t = 0; t < inbound->target_count; t++)
		for (size_t i = 0; i < inbound->targets[t].server_name_count; i++)
			if (strcmp(inbound->targets[t].server_names[i], name) == 0)
				return true;
	return false;
}

static void add_server_name(const struct cv_node *node, const char *name, void *context)
{
	struct names *names = context;
	struct cv_reality_target *target = names->target;
	char(*more)[256];

	if (strlen(name) > CV_DOMAIN_MAX || strchr(name, '*')) {
		cv_node_expected(node, "an exact server name of at most %d bytes", CV_DOMAIN_MAX);
		return;
	}
	if (name_is_taken(names->inbound, name)) {
		cv_node_error(node, "\"%.255s\" is listed twice", name);
		return;
	}
	if (name[strcspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ")])
		cv_node_warning(node, "clients send \"%.255s\" in lower case; names match exactly",
				name);
	more = cv_load_grow(cv_node_load(node), target->server_names, target->server_name_count,
			    sizeof(*more));
	if (!more)
		return;
	target->server_names = more;
	memcpy(more[target->server_name_count++], name, strlen(name) + 1);
}

static bool is_listed(const struct cv_reality_inbound *inbound, size_t count,
		      const uint8_t short_id[CV_SHORT_ID_LEN])
{
	for (size_t i = 0; i < count; i++)
		if (memcmp(inbound->short_ids[i], short_id, CV_SHORT_ID_LEN) == 0)
			return true;
	return false;
}

static void add_short_id(struct cv_load *load, struct cv_reality_inbound *inbound,
			 const uint8_t short_id[CV_SHORT_ID_LEN])
{
	uint8_t(*more)[CV_SHORT_ID_LEN];

	if (is_listed(inbound, inbound->short_id_count, short_id))
		return;
	more = cv_load_grow(load, inbound->short_ids, inbound->short_id_count, sizeof(*more));
	if (!more)
		return;
	inbound->short_ids = more;
	memcpy(more[inbound->short_id_count++], short_id, CV_SHORT_ID_LEN);
}

static void add_short_id_text(const struct cv_node *node, const char *text, void *context)
{
	uint8_t short_id[CV_SHORT_ID_LEN];

	if (cv_value_short_id(node, text, short_id))
		add_short_id(cv_node_load(node), context, short_id);
}

static int compare_short_ids(const void *one, const void *other)
{
	return memcmp(one, other, CV_SHORT_ID_LEN);
}

/* Thousands may bring theirs: sorted, so that doubles stand beside each other. */
static void add_users_short_ids(struct cv_load *load, const struct cv_user_list *users,
				struct cv_reality_inbound *inbound)
{
	const size_t first = inbound->short_id_count;
	uint8_t(*all)[CV_SHORT_ID_LEN] =
		reallocarray(inbound->short_ids, first + users->count + 1, sizeof(*all));
	size_t count = first;

	if (!all) {
		load->out_of_memory = true;
		return;
	}
	inbound->short_ids = all;
	for (size_t i = 0; i < users->count; i++)
		if (users->users[i].has_short_id &&
		    !is_listed(inbound, first, users->users[i].short_id))
			memcpy(all[count++], users->users[i].short_id, CV_SHORT_ID_LEN);
	qsort(all + first, count - first, sizeof(*all), compare_short_ids);
	for (size_t i = first; i < count; i++)
		if (i == first ||
		    memcmp(all[inbound->short_id_count - 1], all[i], CV_SHORT_ID_LEN) != 0)
			memmove(all[inbound->short_id_count++], all[i], CV_SHORT_ID_LEN);
}

static void load_short_ids(const struct cv_node *node, const struct cv_user_list *users,
			   struct cv_reality_inbound *inbound)
{
	/* one string is one id, also the empty one */
	if (json_object_is_type(node->json, json_type_string) && cv_node_text(node))
		add_short_id_text(node, cv_node_text(node), inbound);
	else
		cv_node_each_text(node, add_short_id_text, inbound);
	add_users_short_ids(cv_node_load(node), users, inbound);
	/* users with an error may have had one */
	if (node->json && inbound->short_id_count == 0 && cv_node_load(node)->error_count == 0)
		cv_node_error(node, "expected at least one short id (\"\" is one), found none");
}

/* ---- targets ------------------------------------------------------------------------------ */

static struct cv_reality_target *new_target(struct cv_load *load,
					    struct cv_reality_inbound *inbound)
{
	struct cv_reality_target *targets =
		cv_load_grow(load, inbound->targets, inbound->target_count, sizeof(*targets));

	if (!targets)
		return NULL;
	inbound->targets = targets;
	return &targets[inbound->target_count++];
}

static void load_target(const struct raw_target *raw, struct cv_reality_inbound *inbound)
{
	struct cv_reality_target *target = new_target(cv_node_load(&raw->target), inbound);
	struct names names = {.inbound = inbound, .target = target};

	if (!target)
		return;
	target->xver = (int)raw->xver;
	if (raw->target.json)
		(void)cv_value_target(&raw->target, raw->type, &target->address_text,
				      &target->destination, &target->unix_address);
	cv_node_each_text(&raw->server_names, add_server_name, &names);
	if (raw->server_names.json && target->server_name_count == 0)
		cv_node_error(&raw->server_names, "expected at least one server name, found none");
	if (target->destination.kind == CV_ADDRESS_DOMAIN && target->destination.port != 443 &&
	    strcmp(target->destination.domain, "localhost") != 0)
		cv_node_warning(&raw->target, "real sites answer on port 443, not %u",
				target->destination.port);
}

static void load_more_targets(const struct cv_node *list, struct cv_reality_inbound *inbound)
{
	for (size_t i = 0; i < cv_node_count(list); i++) {
		const struct cv_node node = cv_node_element(list, i);
		struct raw_target raw;

		cv_schema_read(target_fields, &node, &raw);
		load_target(&raw, inbound);
	}
	if (inbound->target_count > TARGETS_MAX)
		cv_node_error(list, "expected at most %d targets, found %zu", TARGETS_MAX,
			      inbound->target_count);
}

/* ---- the server --------------------------------------------------------------------------- */

static void load_limit(const struct cv_node *node, struct cv_rate_limit *limit)
{
	struct raw_limit raw;

	cv_schema_read(limit_fields, node, &raw);
	*limit = (struct cv_rate_limit){raw.after, raw.rate, raw.burst};
	if (raw.rate)
		cv_node_warning(node, "a limit that strangers can measure tells this server from "
				      "its target");
}

static void load_mldsa(const struct cv_node *node, const struct raw_server *raw,
		       struct cv_reality_inbound *inbound)
{
	const struct cv_node place = cv_node_member(node, "mldsa65Seed");
	uint8_t seed[CV_MLDSA65_SEED];

	if (!*raw->mldsa_seed)
		return;
	if (strcmp(raw->mldsa_seed, raw->private_key) == 0) {
		cv_node_error(&place, "must differ from privateKey");
		return;
	}
	if (!cv_value_key(&place, raw->mldsa_seed, seed, sizeof(seed)))
		return;
	inbound->mldsa = cv_mldsa65_from_seed(seed);
	cv_cleanse(seed, sizeof(seed));
	if (!inbound->mldsa)
		cv_node_error(&place, "ML-DSA-65 is not available in this libcrypto");
}

static void load_versions(const struct cv_node *node, const struct raw_server *raw,
			  struct cv_reality_config *config)
{
	const struct cv_node min = cv_node_member(node, "minClientVer");
	const struct cv_node max = cv_node_member(node, "maxClientVer");

	config->max_client_version = VERSION_NONE;
	(void)cv_value_version(&min, *raw->min_version ? raw->min_version : MIN_CLIENT_VERSION,
			       &config->min_client_version);
	if (*raw->max_version)
		(void)cv_value_version(&max, raw->max_version, &config->max_client_version);
	if (config->min_client_version > config->max_client_version)
		cv_node_error(&max, "below minClientVer: no client could come in");
}

/* What all targets share; certificate and profile come when the daemon starts. */
static void share(struct cv_reality_inbound *inbound, const struct cv_reality_config *common)
{
	for (size_t i = 0; i < inbound->target_count; i++) {
		struct cv_reality_target *target = &inbound->targets[i];

		target->reality = *common;
		target->reality.server_names = target->server_names;
		target->reality.server_name_count = target->server_name_count;
	}
}

/* Whoever copies the example's key shares it with everybody. */
static void warn_example_key(const struct cv_node *node, const uint8_t key[CV_X25519_LEN])
{
	for (unsigned i = 0; i < CV_X25519_LEN; i++)
		if (key[i] != i + 1)
			return;
	cv_node_warning(node,
			"this key is the example's, everybody knows it: culvert keys makes one");
}

static void load_shared(const struct cv_node *node, const struct raw_server *raw,
			struct cv_reality_inbound *inbound)
{
	const struct cv_node key = cv_node_member(node, "privateKey");
	struct cv_reality_config common = {
		.max_time_diff_ms = raw->max_time_diff_ms,
		.require_mlkem = raw->require_mlkem,
		.short_ids = inbound->short_ids,
		.short_id_count = inbound->short_id_count,
		.seen_before = cv_replay_cache_seen,
	};

	if (key.json &&
	    cv_value_key(&key, raw->private_key, common.private_key, sizeof(common.private_key)))
		warn_example_key(&key, common.private_key);
	load_versions(node, raw, &common);
	load_mldsa(node, raw, inbound);
	common.mldsa = inbound->mldsa;
	inbound->replay_window_ms = 2 * raw->max_time_diff_ms;
	inbound->replay = cv_replay_cache_new(inbound->replay_window_ms, CV_REPLAY_ENTRIES);
	if (!inbound->replay)
		cv_node_load(node)->out_of_memory = true;
	common.seen_context = inbound->replay;
	share(inbound, &common);
	cv_cleanse(common.private_key, sizeof(common.private_key));
}

void cv_load_reality_server(const struct cv_node *node, const struct cv_user_list *users,
			    struct cv_inbound *inbound)
{
	const struct cv_node key_log = cv_node_member(node, "masterKeyLog");
	struct cv_load *load = cv_node_load(node);
	struct cv_reality_inbound *reality = cv_load_calloc(load, 1, sizeof(*reality));
	struct raw_server raw;
	struct raw_target first;

	inbound->reality = reality;
	if (!reality)
		return;
	if (!node->json) {
		cv_node_error(node, "required by security \"reality\", but missing");
		return;
	}
	cv_schema_read(server_fields, node, &raw);
	first = (struct raw_target){raw.target, raw.server_names, raw.type, raw.xver};
	load_target(&first, reality);
	load_more_targets(&raw.targets, reality);
	load_short_ids(&raw.short_ids, users, reality);
	load_limit(&raw.upload, &reality->fallback_upload);
	load_limit(&raw.download, &reality->fallback_download);
	reality->key_log_path = cv_load_strdup(load, raw.key_log);
	reality->learn_interval_s = raw.learn_interval_s;
	reality->show = raw.show;
	if (*raw.key_log)
		cv_node_warning(&key_log, "whoever reads that file can read all traffic");
	load_shared(node, &raw, reality);
}

/* ---- the client --------------------------------------------------------------------------- */

struct raw_client {
	const char *server_name, *fingerprint, *public_key, *short_id, *mldsa_public, *spider_x,
		*key_log;
};

static const struct cv_field client_fields[] = {
	{"serverName", .type = CV_FIELD_TEXT, CV_FIELD(struct raw_client, server_name)},
	{"fingerprint", .type = CV_FIELD_TEXT, CV_FIELD(struct raw_client, fingerprint)},
	{"password", "publicKey", .type = CV_FIELD_TEXT, .is_required = true,
	 CV_FIELD(struct raw_client, public_key)},
	{"shortId", .type = CV_FIELD_TEXT, CV_FIELD(struct raw_client, short_id)},
	{"mldsa65Verify", .type = CV_FIELD_TEXT, CV_FIELD(struct raw_client, mldsa_public)},
	{"spiderX", .type = CV_FIELD_TEXT, .text = "/", CV_FIELD(struct raw_client, spider_x)},
	{"masterKeyLog", .type = CV_FIELD_TEXT, CV_FIELD(struct raw_client, key_log)},
	{"show", .type = CV_FIELD_IGNORED},
	{"target", "dest", .type = CV_FIELD_REFUSED, .why = "this is the server's key"},
	{"privateKey", .type = CV_FIELD_REFUSED, .why = "this is the server's key"},
	{"serverNames", .type = CV_FIELD_IGNORED},
	{"shortIds", .type = CV_FIELD_IGNORED},
	{.type = CV_FIELD_END},
};

static void load_client_keys(const struct cv_node *node, const struct raw_client *raw,
			     struct cv_outbound *outbound)
{
	const bool has_password = cv_node_member(node, "password").json != NULL;
	const struct cv_node key = cv_node_member(node, has_password ? "password" : "publicKey");
	const struct cv_node short_id = cv_node_member(node, "shortId");
	const struct cv_node mldsa = cv_node_member(node, "mldsa65Verify");

	if (key.json)
		(void)cv_value_key(&key, raw->public_key, outbound->reality_public,
				   sizeof(outbound->reality_public));
	(void)cv_value_short_id(&short_id, raw->short_id, outbound->short_id);
	if (!*raw->mldsa_public)
		return;
	outbound->mldsa_public = cv_load_calloc(cv_node_load(node), 1, CV_MLDSA65_PUBLIC);
	if (outbound->mldsa_public)
		(void)cv_value_key(&mldsa, raw->mldsa_public, outbound->mldsa_public,
				   CV_MLDSA65_PUBLIC);
}

void cv_load_reality_client(const struct cv_node *node, struct cv_outbound *outbound)
{
	const struct cv_node fingerprint = cv_node_member(node, "fingerprint");
	const struct cv_node spider = cv_node_member(node, "spiderX");
	struct cv_load *load = cv_node_load(node);
	struct raw_client raw;

	if (!node->json) {
		cv_node_error(node, "required by security \"reality\", but missing");
		return;
	}
	cv_schema_read(client_fields, node, &raw);
	load_client_keys(node, &raw, outbound);
	if (cv_fingerprint_parse(raw.fingerprint, &outbound->fingerprint) != 0)
		cv_node_expected(&fingerprint, "chrome, firefox, safari or random");
	if (*raw.spider_x && raw.spider_x[0] != '/')
		cv_node_expected(&spider, "a path that starts with \"/\"");
	free(outbound->server_name);
	free(outbound->spider_x);
	free(outbound->key_log_path);
	outbound->server_name = cv_load_strdup(load, raw.server_name);
	outbound->spider_x = cv_load_strdup(load, *raw.spider_x ? raw.spider_x : "/");
	outbound->key_log_path = cv_load_strdup(load, raw.key_log);
	outbound->trust = cv_load_system_trust(node); /* to know the real site when it answers */
}
