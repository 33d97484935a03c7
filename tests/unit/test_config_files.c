// SPDX-License-Identifier: MIT
/*
 * test_config_files.c - what a configuration reads from other files: users.json (seeds-system 5.1),
 * certificates and roots.
 */
#include "config_text.h"

#include "crypto/uuid.h"

#include <sys/stat.h>
#include <unistd.h>

#define UUID_A "b831381d-6324-4d53-ad4f-8cda48b30811"
#define UUID_B "b831381d-6324-4d53-ad4f-8cda48b30812"
#define UUID_C "b831381d-6324-4d53-ad4f-8cda48b30813"
/* "pw-a" and "pw-c" */
#define HASH_A \
	"$y$j75$Hp5QRRrj0GiGUO21Z2Y0W0$mj/XJDIVLCu6IfVXDk9ACzmMa.bmLQeBzRiAuaSBs40"
#define HASH_C \
	"$6$rounds=1000$saltsalt$7S6OZma2y1VlNlrtWtqNBfvJbuBpimUwa/4O6Bvw3a/oP3V6Y9XBCWkI" \
	"O2TOriqwZ0OjvWGbvoD2ktR21buYa/"
#define KEY "AgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4fICE"
#define OUT "\"outbounds\": [{\"protocol\": \"freedom\"}]"

static char directory[] = "/tmp/culvert-test-XXXXXX";
static char users_path[64], config_path[64];

static int setup(void **state)
{
	(void)state;
	if (!mkdtemp(directory))
		return -1;
	snprintf(users_path, sizeof(users_path), "%s/users.json", directory);
	snprintf(config_path, sizeof(config_path), "%s/config.json", directory);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	(void)unlink(users_path);
	(void)unlink(config_path);
	return rmdir(directory);
}

static void write_file(const char *path, const char *text, mode_t mode)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(chmod(path, mode), 0);
}

/* The rest of an inbound; more keys of its settings go between the two. */
struct inbound_text {
	const char *head, *tail;
};

static const struct inbound_text vless_settings = {
	"\"protocol\": \"vless\", \"settings\": {\"decryption\": \"none\","
	" \"usersFile\": \"users.json\"",
	"}, \"streamSettings\": {\"security\": \"reality\", \"realitySettings\": {"
	"\"target\": \"a.test:443\", \"serverNames\": [\"a.test\"], \"privateKey\": \"" KEY
	"\", \"shortIds\": [\"00\"]}}"};

static const struct inbound_text socks_settings = {
	"\"protocol\": \"socks\", \"settings\": {\"auth\": \"password\","
	" \"usersFile\": \"users.json\"",
	"}"};

/* The configuration lies beside users.json, which it names without a directory. */
static struct cv_config *load(struct inbound_text inbound, const char *more, const char *users,
			      mode_t mode, struct findings *findings)
{
	const struct cv_config_report report = {.line = findings_add, .context = findings};
	struct cv_config *config = NULL;
	char text[2048];

	write_file(users_path, users, mode);
	snprintf(text, sizeof(text),
		 "{\"inbounds\": [{\"listen\": \"127.0.0.1\", \"port\": 1, %s%s%s}], " OUT "}",
		 inbound.head, more, inbound.tail);
	write_file(config_path, text, 0600);
	*findings = (struct findings){0};
	(void)cv_config_load(config_path, &report, &config);
	return config;
}

static struct cv_config *load_good(struct inbound_text inbound, const char *users)
{
	struct findings *findings = malloc(sizeof(*findings));
	struct cv_config *config = load(inbound, "", users, 0600, findings);

	if (!config || findings->len)
		fail_msg("%s", findings->text);
	free(findings);
	return config;
}

static const char three_users[] =
	"{\"users\": ["
	"{\"username\": \"alice\", \"uuid\": \"" UUID_A "\", \"flow\": \"xtls-rprx-vision\","
	" \"shortId\": \"0a0b\", \"socks_password\": \"" HASH_A "\","
	" \"proxy_password\": \"" HASH_C "\","
	" \"colour\": \"blue\", \"external_proxy_id\": null},"
	"{\"username\": \"bob\", \"uuid\": \"" UUID_B
	"\", \"email\": \"bob@x\", \"enabled\": false,"
	" \"connection_type\": \"vpn\", \"socks_password\": \"" HASH_A "\"},"
	"{\"username\": \"carol\", \"uuid\": \"" UUID_C "\", \"connection_type\": \"proxy\","
	" \"proxy_password\": \"" HASH_C "\"}],"
	" \"metadata\": {\"version\": 1}}";

static struct cv_user *find(struct cv_config *config, const char *uuid_text)
{
	uint8_t uuid[16];

	assert_int_equal(cv_uuid_parse(uuid_text, uuid), 0);
	return cv_user_find_uuid(config->inbounds[0].users, uuid);
}

static void test_vless_users(void **state)
{
	struct cv_config *config = load_good(vless_settings, three_users);
	const struct cv_reality_inbound *reality = config->inbounds[0].reality;

	(void)state;
	assert_int_equal(cv_user_count(config->inbounds[0].users), 2);
	assert_string_equal(find(config, UUID_A)->name, "alice");
	assert_string_equal(find(config, UUID_A)->email, "alice@vless.local");
	assert_true(find(config, UUID_A)->vision && find(config, UUID_A)->enabled);
	assert_string_equal(find(config, UUID_A)->password, "");
	assert_string_equal(find(config, UUID_B)->email, "bob@x");
	assert_false(find(config, UUID_B)->enabled);
	assert_null(find(config, UUID_C));
	/* alice's short id is one of the inbound's */
	assert_int_equal(reality->short_id_count, 2);
	assert_memory_equal(reality->short_ids[1], "\x0a\x0b\0\0\0\0\0\0", 8);
	assert_int_equal(reality->targets[0].reality.short_id_count, 2);
	cv_config_free(config);
}

static const char *password_of(struct cv_user_table *users, const char *name)
{
	bool is_known = false;
	const struct cv_user *user = cv_user_find_login(users, name, strlen(name), &is_known);

	return is_known ? user->password : NULL;
}

static void test_socks_users(void **state)
{
	struct cv_config *config = load_good(socks_settings, three_users);
	struct cv_user_table *users = config->inbounds[0].users;

	(void)state;
	assert_int_equal(cv_user_count(users), 2);
	assert_string_equal(password_of(users, "alice"), HASH_A);
	assert_null(password_of(users, "bob"));
	assert_string_equal(password_of(users, "carol"), HASH_C);
	cv_config_free(config);
}

static const struct {
	const char *users, *finding;
} bad[] = {
	{"{}", "users: expected a list of users, found nothing"},
	{"[]", "expected an object"},
	{"{\"users\": [{\n\"username\": \"Alice\", \"uuid\": \"" UUID_A "\"}]}",
	 "users.json:2: users[0].username: expected a name like"},
	{"{\"users\": [{\"username\": \"al\", \"uuid\": \"" UUID_A "\"}]}",
	 "users[0].username: expected a name like"},
	{"{\"users\": [{\"uuid\": \"" UUID_A "\"}]}", "users[0].username: required, but missing"},
	{"{\"users\": [{\"username\": \"alice\"}]}", "users[0].uuid: user alice: expected a UUID"},
	{"{\"users\": [{\"username\": \"alice\", \"uuid\": "
	 "\"12345678-1234-1234-1234-1234567890zz\"}]}",
	 "users[0].uuid: user alice: expected a UUID, found "
	 "\"12345678-1234-1234-1234-1234567890zz\""},
	{"{\"users\": [{\"username\": \"alice\", \"uuid\": \"short text\"}]}",
	 "users[0].uuid: user alice: expected a UUID"},
	{"{\"users\": [{\"username\": \"alice\", \"uuid\": \"" UUID_A "\", \"flow\": \"x\"}]}",
	 "users[0].flow: expected"},
	{"{\"users\": [{\"username\": \"alice\", \"uuid\": \"" UUID_A "\", \"shortId\": \"xyz\"}]}",
	 "users[0].shortId: expected an even number of hex digits"},
	{"{\"users\": [{\"username\": \"alice\", \"uuid\": \"" UUID_A
	 "\", \"connection_type\": \"x\"}]}",
	 "users[0].connection_type: expected one of both, vpn, proxy"},
	{"{\"users\": [{\"username\": \"alice\", \"uuid\": \"" UUID_A
	 "\", \"external_proxy_id\": \"p1\"}]}",
	 "users[0].external_proxy_id: there is no culvert.externalProxyFile"},
	{"{\"users\": [{\"username\": \"alice\", \"uuid\": \"" UUID_A "\"},"
	 "{\"username\": \"bob\", \"uuid\": \"" UUID_A "\"}]}",
	 "users[1].uuid: same id as alice@vless.local"},
	{"{\"users\": [{\"username\": \"alice\", \"uuid\": \"" UUID_A "\"},"
	 "{\"username\": \"alice\", \"uuid\": \"" UUID_B "\"}]}",
	 "users[1].username: same name as alice@vless.local"},
	{"{\"users\": [{\"username\": \"alice\", \"uuid\": \"" UUID_A "\", \"email\": \"a@x\"},"
	 "{\"username\": \"bob\", \"uuid\": \"" UUID_B "\", \"email\": \"A@x\"}]}",
	 "users[1].email: same email as a@x"},
};

static void test_bad_users(void **state)
{
	struct findings *findings = malloc(sizeof(*findings));

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_null(load(vless_settings, "", bad[i].users, 0600, findings));
		if (!strstr(findings->text, bad[i].finding))
			fail_msg("wanted \"%s\", got\n%s", bad[i].finding, findings->text);
	}
	free(findings);
}

static void test_hashed_password(void **state)
{
	struct findings *findings = malloc(sizeof(*findings));

	(void)state;
	assert_null(load(socks_settings, "",
			 "{\"users\": [{\"username\": \"alice\", \"uuid\": \"" UUID_A "\","
			 " \"socks_password\": \"$y$j9T$secret\"}]}",
			 0600, findings));
	assert_non_null(strstr(findings->text,
			       "users[0].socks_password: the hash is cut or damaged"));
	assert_null(strstr(findings->text, "secret"));
	free(findings);
}

#define ALICE(keys) "{\"users\": [{\"username\": \"alice\", \"uuid\": \"" UUID_A "\"" keys "}]}"

static void test_plain_password(void **state)
{
	static const char alice[] = ALICE(", \"socks_password\": \"secret\"");
	struct findings *findings = malloc(sizeof(*findings));
	struct cv_config *config;

	(void)state;
	assert_null(load(socks_settings, "", alice, 0600, findings));
	assert_non_null(strstr(findings->text, "user alice: the password is stored in clear"));
	assert_null(strstr(findings->text, "secret"));
	config = load(socks_settings, ", \"allowPlain\": true", alice, 0600, findings);
	assert_string_equal(password_of(config->inbounds[0].users, "alice"), "secret");
	assert_non_null(strstr(findings->text, "warning: "));
	assert_null(strstr(findings->text, "secret"));
	cv_config_free(config);
	free(findings);
}

/* Without a password nobody comes in, unless the id shall be one. */
static void test_uuid_as_password(void **state)
{
	static const char alice[] = ALICE(", \"http_password\": \"" HASH_A "\"");
	struct findings *findings = malloc(sizeof(*findings));
	struct cv_config *config = load(socks_settings, "", alice, 0600, findings);

	(void)state;
	assert_null(password_of(config->inbounds[0].users, "alice"));
	cv_config_free(config);
	config = load(socks_settings, ", \"uuidAsPassword\": true", alice, 0600, findings);
	assert_string_equal(password_of(config->inbounds[0].users, "alice"), UUID_A);
	cv_config_free(config);
	free(findings);
}

static void test_permissions(void **state)
{
	struct findings *findings = malloc(sizeof(*findings));
	struct cv_config *config = load(vless_settings, "", three_users, 0644, findings);

	(void)state;
	assert_non_null(config);
	assert_non_null(strstr(findings->text, "warning: "));
	assert_non_null(strstr(findings->text, "can be read by others (mode 0644)"));
	cv_config_free(config);
	assert_null(
		load(vless_settings, ", \"strictPermissions\": true", three_users, 0640, findings));
	assert_non_null(strstr(findings->text, "mode 0640"));
	free(findings);
}

static void test_missing_file(void **state)
{
	struct findings *findings = malloc(sizeof(*findings));
	struct cv_config *config = load(vless_settings, "", three_users, 0600, findings);
	const struct cv_config_report report = {.line = findings_add, .context = findings};

	(void)state;
	assert_non_null(config);
	config = cv_config_free(config);
	assert_int_equal(unlink(users_path), 0);
	assert_true(cv_config_load(config_path, &report, &config) != 0);
	assert_non_null(strstr(findings->text, "settings.usersFile: cannot read"));
	assert_non_null(strstr(findings->text, "No such file"));
	free(findings);
}

/* ---- certificates ------------------------------------------------------------------------- */

/* The example's own certificate, which is where the sources are. */
static char *example(void)
{
	FILE *file = fopen("conf/vless-tls.json", "r");
	char *text = calloc(1, 65536);

	assert_non_null(file);
	assert_true(fread(text, 1, 65535, file) > 0);
	assert_int_equal(fclose(file), 0);
	return text;
}

/* Parses the example with @old replaced by @new. */
static struct cv_config *parse_changed(const char *old, const char *new, struct findings *findings)
{
	char *text = example(), *changed = calloc(1, 65536), *at = strstr(text, old);
	struct cv_config *config = NULL;

	assert_non_null(at);
	snprintf(changed, 65536, "%.*s%s%s", (int)(at - text), text, new, at + strlen(old));
	(void)config_parse_len(changed, strlen(changed), findings, &config);
	free(changed);
	free(text);
	return config;
}

static void test_tls_server(void **state)
{
	struct findings *findings = malloc(sizeof(*findings));
	struct cv_config *config =
		parse_changed("\"alpn\": [\"http/1.1\"],",
			      "\"minVersion\": \"1.2\", \"rejectUnknownSni\": true,", findings);

	(void)state;
	assert_non_null(config);
	assert_int_equal(config->inbounds[0].security, CV_SECURITY_TLS);
	assert_non_null(config->inbounds[0].tls);
	cv_config_free(config);
	free(findings);
}

static const struct {
	const char *old, *new, *finding;
} bad_tls[] = {
	{"\"key\": [", "\"nokey\": [", "certificates[0].keyFile: required, but missing"},
	{"\"key\": [", "\"keyFile\": \"/nonexistent/k\", \"x\": [", "cannot read /nonexistent/k"},
	{"BEGIN CERTIFICATE", "BEGIN NONSENSE", "tlsSettings.certificates: "},
	{"\"alpn\": [\"http/1.1\"]", "\"alpn\": [\"\"]", "tlsSettings.alpn[0]: expected"},
	{"\"alpn\": [\"http/1.1\"]", "\"minVersion\": \"1.0\"",
	 "minVersion: \"1.0\" is not supported"},
	{"\"alpn\": [\"http/1.1\"]", "\"minVersion\": \"1.3\", \"maxVersion\": \"1.2\"",
	 "minVersion is above maxVersion"},
	{"\"alpn\": [\"http/1.1\"]", "\"echServerKeys\": \"x\"", "echServerKeys: not supported"},
};

static void test_bad_tls_server(void **state)
{
	struct findings *findings = malloc(sizeof(*findings));

	(void)state;
	for (size_t i = 0; i < sizeof(bad_tls) / sizeof(bad_tls[0]); i++) {
		assert_null(parse_changed(bad_tls[i].old, bad_tls[i].new, findings));
		if (!strstr(findings->text, bad_tls[i].finding))
			fail_msg("wanted \"%s\", got\n%s", bad_tls[i].finding, findings->text);
	}
	free(findings);
}

/* The lines of the example's certificate as a JSON list. */
static void certificate_lines(char *list, size_t size)
{
	char *text = example();
	const char *start = strchr(strstr(text, "\"certificate\""), '[');
	const char *end = strchr(start, ']');

	snprintf(list, size, "%.*s", (int)(end + 1 - start), start);
	free(text);
}

#define TLS_CLIENT \
	"{\"inbounds\": [{\"listen\": \"127.0.0.1\", \"port\": 1, \"protocol\": \"socks\"}]," \
	" \"outbounds\": [{\"protocol\": \"vless\", \"settings\": {\"address\": \"192.0.2.1\"," \
	" \"port\": 1, \"id\": \"a\", \"encryption\": \"none\"}, \"streamSettings\": {" \
	"\"security\": \"tls\", \"tlsSettings\": {%s}}}]}"

static struct cv_config *parse_client(const char *settings, struct findings *findings)
{
	struct cv_config *config = NULL;
	char *text = calloc(1, 65536);

	snprintf(text, 65536, TLS_CLIENT, settings);
	(void)config_parse_len(text, strlen(text), findings, &config);
	free(text);
	return config;
}

static void test_tls_client(void **state)
{
	struct findings *findings = malloc(sizeof(*findings));
	char list[4096], settings[8192];
	struct cv_config *config;

	(void)state;
	certificate_lines(list, sizeof(list));
	snprintf(settings, sizeof(settings),
		 "\"alpn\": \"h2,http/1.1\", \"serverName\": \"a.test\", \"disableSystemRoot\": "
		 "true,"
		 " \"certificates\": [{\"usage\": \"verify\", \"certificate\": %s}]",
		 list);
	config = parse_client(settings, findings);
	if (!config || findings->len)
		fail_msg("%s", findings->text);
	assert_non_null(config->outbounds[0].trust);
	assert_string_equal(config->outbounds[0].server_name, "a.test");
	assert_string_equal(config->outbounds[0].alpn[0], "h2");
	assert_string_equal(config->outbounds[0].alpn[1], "http/1.1");
	assert_null(config->outbounds[0].alpn[2]);
	assert_false(config->outbounds[0].allow_insecure);
	cv_config_free(config);
	free(findings);
}

static void test_tls_client_insecure(void **state)
{
	struct findings *findings = malloc(sizeof(*findings));
	struct cv_config *config =
		parse_client("\"allowInsecure\": true, \"disableSystemRoot\": true", findings);

	(void)state;
	assert_non_null(config);
	assert_non_null(strstr(findings->text, "allowInsecure: ANYBODY"));
	assert_true(config->outbounds[0].allow_insecure);
	assert_string_equal(config->outbounds[0].server_name, "192.0.2.1");
	cv_config_free(config);
	free(findings);
}

static const struct {
	const char *settings, *finding;
} bad_clients[] = {
	{"\"disableSystemRoot\": true", "nobody is believed"},
	{"\"certificates\": [{\"certificateFile\": \"/nonexistent/c\", \"usage\": \"verify\"}]",
	 "cannot read /nonexistent/c"},
	{"\"certificates\": [{\"certificate\": [\"x\"]}]",
	 "certificates[0].usage: client certificates"},
	{"\"certificates\": [{\"usage\": \"verify\"}]", "expected certificateFile or certificate"},
	{"\"fingerprint\": \"netscape\"", "fingerprint: expected chrome"},
	{"\"pinnedPeerCertSha256\": \"00\"", "pinnedPeerCertSha256: not supported"},
	{"\"echConfigList\": \"x\"", "echConfigList: not supported"},
	{"\"maxVersion\": \"1.2\"", "maxVersion: not supported"},
};

static void test_bad_tls_client(void **state)
{
	struct findings *findings = malloc(sizeof(*findings));

	(void)state;
	for (size_t i = 0; i < sizeof(bad_clients) / sizeof(bad_clients[0]); i++) {
		assert_null(parse_client(bad_clients[i].settings, findings));
		if (!strstr(findings->text, bad_clients[i].finding))
			fail_msg("wanted \"%s\", got\n%s", bad_clients[i].finding, findings->text);
	}
	free(findings);
}

/* ---- limits ------------------------------------------------------------------------------- */

#define LIMITED(keys) \
	"{\"users\": [{\"username\": \"alice\", \"uuid\": \"" UUID_A \
	"\", \"socks_password\": \"" HASH_A "\"," keys "}]}"

static void test_limits(void **state)
{
	static const char *const texts[] = {
		LIMITED("\"quotaBytes\": 1000000000000, \"quotaResets\": \"monthly\","
			" \"expiresAt\": \"2026-12-31T18:00:00Z\", \"uplinkBytesPerSecond\": 5,"
			" \"downlinkBytesPerSecond\": 6, \"maxSessions\": 7,"
			" \"maxSourceAddresses\": 8"),
		LIMITED("\"quota_bytes\": 1000000000000, \"quota_resets\": \"Monthly\","
			" \"expires_at\": \"2026-12-31T18:00:00Z\", \"uplink_bytes_per_second\": 5,"
			" \"downlink_bytes_per_second\": 6, \"max_sessions\": 7,"
			" \"max_source_addresses\": 8")};
	const struct cv_limits wanted = {.quota_bytes = 1000000000000,
					 .quota_resets = CV_QUOTA_MONTHLY,
					 .expires_ms = 1798740000000,
					 .bytes_per_s = {5, 6},
					 .max_sessions = 7,
					 .max_source_addresses = 8};

	(void)state;
	for (int i = 0; i < 4; i++) {
		struct cv_config *config =
			load_good(i / 2 ? vless_settings : socks_settings, texts[i % 2]);
		struct cv_user *user = cv_user_at(config->inbounds[0].users, 0);

		const struct cv_limits counting = cv_usage_limits(user->usage);

		assert_true(cv_limits_equal(&counting, &wanted));
		assert_string_equal(user->usage->key, "alice@vless.local");
		assert_ptr_equal(cv_usage_find(config->usages, user->usage->key), user->usage);
		cv_config_free(config);
	}
}

static void test_no_limits(void **state)
{
	struct cv_config *config = load_good(vless_settings, three_users);

	(void)state;
	assert_int_equal(cv_usage_count(config->usages), 2);
	const struct cv_limits counting = cv_usage_limits(find(config, UUID_A)->usage);
	assert_false(cv_limits_any(&counting));
	cv_config_free(config);
}

static void test_bad_limits(void **state)
{
	static const struct {
		const char *users, *wanted;
	} cases[] = {
		{LIMITED("\"quotaBytes\": -1"), "users[0].quotaBytes: expected a number"},
		{LIMITED("\"quotaBytes\": \"1G\""), "users[0].quotaBytes: expected a number"},
		{LIMITED("\"expiresAt\": \"soon\""), "users[0].expiresAt: expected a time like"},
		{LIMITED("\"expires_at\": \"2026-02-30\""),
		 "users[0].expires_at: expected a time like"},
		{LIMITED("\"quotaResets\": \"weekly\""),
		 "users[0].quotaResets: expected one of never, daily, monthly"},
		{LIMITED("\"maxSourceAddresses\": 257"),
		 "users[0].maxSourceAddresses: expected a number from 0 to 256"},
	};
	struct findings *findings = malloc(sizeof(*findings));

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_null(load(vless_settings, "", cases[i].users, 0600, findings));
		if (!strstr(findings->text, cases[i].wanted))
			fail_msg("wanted \"%s\", got\n%s", cases[i].wanted, findings->text);
	}
	free(findings);
}

/* One person with two inbounds: their usage is one, and the stricter limits hold. */
static void test_one_person_twice(void **state)
{
	static const char text[] =
		"{\"inbounds\": [{\"listen\": \"127.0.0.1\", \"port\": 1, \"tag\": \"a\","
		" \"protocol\": \"vless\", \"settings\": {\"decryption\": \"none\", \"clients\":"
		" [{\"id\": \"" UUID_A "\", \"email\": \"Al@x\", \"maxSessions\": 3},"
		"  {\"id\": \"" UUID_B "\", \"quotaResets\": \"daily\"}]}},"
		" {\"listen\": \"127.0.0.1\", \"port\": 2, \"tag\": \"b\", \"protocol\": \"socks\","
		" \"settings\": {\"auth\": \"password\", \"accounts\": [{\"user\": \"al@X\","
		" \"pass\": \"p\", \"maxSessions\": 5, \"quotaBytes\": 9}]}}], " OUT "}";
	struct findings *findings = malloc(sizeof(*findings));
	struct cv_config *config = config_parse(text, findings);
	struct cv_user *first, *second;

	(void)state;
	assert_non_null(config);
	first = cv_user_at(config->inbounds[0].users, 0);
	second = cv_user_at(config->inbounds[1].users, 0);
	assert_ptr_equal(first->usage, second->usage);
	assert_int_equal(first->usage->limits.max_sessions, 3);
	assert_int_equal(first->usage->limits.quota_bytes, 9);
	assert_non_null(strstr(findings->text, "inbounds[1]: al@x is in several inbounds with "
					       "different limits: the stricter ones count"));
	assert_non_null(strstr(findings->text, "no quotaBytes that could be reset"));
	assert_ptr_not_equal(cv_user_at(config->inbounds[0].users, 1)->usage, first->usage);
	cv_config_free(config);
	free(findings);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vless_users),    cmocka_unit_test(test_socks_users),
		cmocka_unit_test(test_bad_users),      cmocka_unit_test(test_hashed_password),
		cmocka_unit_test(test_plain_password), cmocka_unit_test(test_uuid_as_password),
		cmocka_unit_test(test_permissions),    cmocka_unit_test(test_missing_file),
		cmocka_unit_test(test_tls_server),     cmocka_unit_test(test_bad_tls_server),
		cmocka_unit_test(test_tls_client),     cmocka_unit_test(test_tls_client_insecure),
		cmocka_unit_test(test_bad_tls_client),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_no_limits),
		cmocka_unit_test(test_bad_limits),
		cmocka_unit_test(test_one_person_twice),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
