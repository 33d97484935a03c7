// SPDX-License-Identifier: MIT
/*
 * test_config_external.c - external_proxy.json: both shapes, defaults, what is wrong with it, and
 * the users it is for.
 */
#include "config_text.h"

#include <sys/stat.h>
#include <unistd.h>

#define UUID_A "b831381d-6324-4d53-ad4f-8cda48b30811"

static char directory[] = "/tmp/culvert-test-external-XXXXXX";
static char main_path[64], users_path[64], external_path[64];

static void write_file(const char *path, const char *text, mode_t mode)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
	assert_int_equal(fclose(file), 0);
	assert_int_equal(chmod(path, mode), 0);
}

static int make_directory(void **state)
{
	(void)state;
	assert_non_null(mkdtemp(directory));
	snprintf(main_path, sizeof(main_path), "%s/culvert.json", directory);
	snprintf(users_path, sizeof(users_path), "%s/users.json", directory);
	snprintf(external_path, sizeof(external_path), "%s/external_proxy.json", directory);
	return 0;
}

static int remove_directory(void **state)
{
	(void)state;
	(void)unlink(main_path);
	(void)unlink(users_path);
	(void)unlink(external_path);
	return rmdir(directory);
}

static struct findings *findings;

static int setup_findings(void **state)
{
	(void)state;
	findings = calloc(1, sizeof(*findings));
	return findings ? 0 : -1;
}

static int teardown_findings(void **state)
{
	(void)state;
	free(findings);
	return 0;
}

static struct cv_config *load(const char *external, const char *user_more, const char *outbounds)
{
	const struct cv_config_report report = {.line = findings_add, .context = findings};
	struct cv_config *config = NULL;
	char text[2048];

	*findings = (struct findings){0};
	write_file(external_path, external, 0600);
	snprintf(text, sizeof(text),
		 "{\"users\": [{\"username\": \"alice\", \"uuid\": \"" UUID_A "\"%s}]}", user_more);
	write_file(users_path, text, 0600);
	snprintf(text, sizeof(text),
		 "{\"culvert\": {\"externalProxyFile\": \"external_proxy.json\"},"
		 " \"inbounds\": [{\"tag\": \"in\", \"listen\": \"127.0.0.1\", \"port\": 1,"
		 " \"protocol\": \"vless\","
		 " \"settings\": {\"decryption\": \"none\", \"usersFile\": \"users.json\"}}],"
		 " \"outbounds\": [%s]}",
		 outbounds);
	write_file(main_path, text, 0600);
	(void)cv_config_load(main_path, &report, &config);
	return config;
}

#define FREEDOM "{\"tag\": \"direct\", \"protocol\": \"freedom\"}"

static const char flat[] =
	"{\"proxies\": [{\"id\": \"proxy-1\", \"type\": \"socks5\", \"address\": \"10.0.0.9\","
	" \"port\": 1080, \"username\": \"u\", \"password\": \"p\", \"colour\": \"blue\"}],"
	" \"metadata\": {}}";

static void test_flat(void **state)
{
	struct cv_config *config = load(flat, ", \"external_proxy_id\": \"proxy-1\"", FREEDOM);
	const struct cv_outbound *outbound;

	(void)state;
	assert_int_equal(findings->len, 0);
	assert_int_equal(config->outbound_count, 2);
	assert_ptr_equal(config->direct, &config->outbounds[0]);
	outbound = cv_config_external(config, "proxy-1");
	assert_ptr_equal(outbound, &config->outbounds[1]);
	assert_string_equal(outbound->tag, "external-proxy-proxy-1");
	assert_int_equal(outbound->protocol, CV_OUTBOUND_SOCKS);
	assert_int_equal(outbound->security, CV_SECURITY_NONE);
	assert_int_equal(outbound->server.port, 1080);
	assert_string_equal(outbound->proxy_user, "u");
	assert_string_equal(outbound->proxy_password, "p");
	assert_false(outbound->is_disabled);
	assert_true(outbound->retry.goes_around);
	assert_int_equal(outbound->retry.attempts, 3);
	assert_int_equal(outbound->retry.wait_count, 3);
	assert_int_equal(outbound->retry.wait_ms[2], 4000);
	assert_int_equal(outbound->retry.connect_ms, 10000);
	assert_int_equal(outbound->retry.total_ms, 15000);
	assert_string_equal(cv_user_at(config->inbounds[0].users, 0)->external_proxy_id,
			    "proxy-1");
	assert_null(cv_config_external(config, "proxy-2"));
	cv_config_free(config);
}

static const char nested[] =
	"{\"routing\": {\"mode\": \"all-traffic\", \"fallback\": \"retry-then-block\"},"
	" \"proxies\": ["
	"{\"id\": \"a\", \"protocol\": \"https\", \"address\": \"proxy.example\", \"port\": 443,"
	" \"auth\": {\"username\": \"u\", \"password\": \"p\"}, \"active\": true,"
	" \"tls\": {\"server_name\": \"cert.example\", \"allow_insecure\": true},"
	" \"retry\": {\"max_attempts\": 2, \"backoff_ms\": [5]}},"
	"{\"id\": \"b\", \"type\": \"socks5s\", \"address\": \"::1\", \"port\": 1080,"
	" \"tls\": {\"allow_insecure\": true}, \"fallback\": \"direct\", \"enabled\": false}]}";

static void test_nested(void **state)
{
	struct cv_config *config = load(nested, "", "{\"protocol\": \"blackhole\"}");
	const struct cv_outbound *a, *b;

	(void)state;
	assert_int_equal(findings->error_count, 0);
	assert_int_equal(findings->warning_count, 2); /* nobody is verified */
	assert_int_equal(config->outbound_count, 4);
	a = cv_config_external(config, "a");
	b = cv_config_external(config, "b");
	assert_int_equal(a->protocol, CV_OUTBOUND_HTTP);
	assert_int_equal(a->security, CV_SECURITY_TLS);
	assert_string_equal(a->server_name, "cert.example");
	assert_string_equal(a->alpn[0], "http/1.1");
	assert_null(a->alpn[1]);
	assert_string_equal(a->proxy_user, "u");
	assert_true(a->allow_insecure);
	assert_false(a->retry.goes_around);
	assert_int_equal(a->retry.attempts, 2);
	assert_int_equal(a->retry.wait_count, 1);
	assert_int_equal(b->protocol, CV_OUTBOUND_SOCKS);
	assert_string_equal(b->server_name, "::1");
	assert_null(b->alpn[0]);
	assert_true(b->retry.goes_around && b->is_disabled);
	/* nothing configured goes out directly, so that there is a way of its own */
	assert_ptr_equal(config->direct, &config->outbounds[3]);
	assert_int_equal(config->direct->protocol, CV_OUTBOUND_FREEDOM);
	assert_true(config->direct->block_private);
	cv_config_free(config);
}

static void test_switched_off(void **state)
{
	static const char *const heads[] = {"\"enabled\": false",
					    "\"routing\": {\"mode\": \"disabled\"}"};
	char text[512];

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct cv_config *config;

		snprintf(text, sizeof(text),
			 "{%s, \"proxies\": [{\"id\": \"a\", \"type\": \"http\","
			 " \"address\": \"a.b\", \"port\": 1}]}",
			 heads[i]);
		config = load(text, "", FREEDOM);
		assert_int_equal(findings->len, 0);
		assert_true(cv_config_external(config, "a")->is_disabled);
		cv_config_free(config);
	}
}

static void test_unknown_id(void **state)
{
	struct cv_config *config = load(flat, ", \"external_proxy_id\": \"gone\"", FREEDOM);

	(void)state;
	assert_int_equal(findings->error_count, 0);
	assert_non_null(strstr(findings->text, "warning: "));
	assert_non_null(strstr(findings->text, "inbound in: user alice is to go out through "
					       "external proxy gone, which does not exist"));
	cv_config_free(config);
}

static void test_permissions(void **state)
{
	const struct cv_config_report report = {.line = findings_add, .context = findings};
	struct cv_config *config = load(flat, "", FREEDOM);

	(void)state;
	cv_config_free(config);
	assert_int_equal(chmod(external_path, 0644), 0);
	assert_int_equal(cv_config_load(main_path, &report, &config), 0);
	assert_non_null(strstr(findings->text, "external_proxy.json can be read by others"));
	cv_config_free(config);
	assert_int_equal(unlink(external_path), 0);
	assert_int_not_equal(cv_config_load(main_path, &report, &config), 0);
	assert_non_null(strstr(findings->text, "cannot read culvert.externalProxyFile"));
}

#define ONE(keys) \
	"{\"proxies\": [{\"id\": \"a\", \"type\": \"socks5s\", \"address\": \"a.b\", \"port\": 1," \
	" \"tls\": {\"allow_insecure\": true}" keys "}]}"

static void test_errors(void **state)
{
	static const struct {
		const char *external, *finding;
	} cases[] = {
		{"{}", "proxies: required"},
		{"{\"proxies\": [{}]}", "proxies[0].id: required"},
		{"{\"proxies\": [{\"id\": \"a b\", \"type\": \"http\", \"address\": \"a\","
		 " \"port\": 1}]}",
		 "proxies[0].id: expected 1 to 300"},
		{"{\"proxies\": [{\"id\": \"a\", \"type\": \"socks4\", \"address\": \"a\","
		 " \"port\": 1}]}",
		 "proxies[0].type: expected one of socks5, socks5s, http, https"},
		{"{\"proxies\": [{\"id\": \"a\", \"type\": \"http\", \"address\": \"a b\","
		 " \"port\": 1}]}",
		 "proxies[0].address: expected an IP address or a domain"},
		{"{\"proxies\": [{\"id\": \"a\", \"type\": \"http\", \"address\": \"a\","
		 " \"port\": 65536}]}",
		 "proxies[0].port: expected a number from 1 to 65535"},
		{ONE(", \"username\": \"u\""), "expected a user name and a password, or neither"},
		{ONE(", \"username\": \"u\", \"password\": \"p\", \"auth\": {\"username\": \"u\"}"),
		 "either here or in auth"},
		{ONE(", \"fallback\": \"maybe\""), "fallback: expected one of direct, block"},
		{ONE(", \"retry\": {\"max_attempts\": 11}"),
		 "retry.max_attempts: expected a number from 1 to 10"},
		{"{\"proxies\": [{\"id\": \"a\", \"type\": \"https\", \"address\": \"a\","
		 " \"port\": 1, \"tls\": {\"server_name\": \"yes\"}}]}",
		 "tls.server_name: expected a name with a dot or an address"},
		{"{\"proxies\": [{\"id\": \"a\", \"type\": \"https\", \"address\": \"a\","
		 " \"port\": 1, \"tls\": {\"ca_file\": \"nowhere.pem\"}}]}",
		 "nowhere.pem: No such file"},
		{"{\"proxies\": [{\"id\": \"a\", \"type\": \"http\", \"address\": \"a\","
		 " \"port\": 1}, {\"id\": \"a\", \"type\": \"http\", \"address\": \"a\","
		 " \"port\": 1}]}",
		 "proxies[1].id: another proxy or outbound has this id"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_null(load(cases[i].external, "", FREEDOM));
		if (!strstr(findings->text, cases[i].finding))
			fail_msg("wanted \"%s\", got\n%s", cases[i].finding, findings->text);
	}
}

int main(void)
{
#define FILES_TEST(name) cmocka_unit_test_setup_teardown(name, setup_findings, teardown_findings)
	const struct CMUnitTest tests[] = {
		FILES_TEST(test_flat), FILES_TEST(test_nested), FILES_TEST(test_switched_off),
		FILES_TEST(test_unknown_id), FILES_TEST(test_permissions), FILES_TEST(test_errors),
	};

	return cmocka_run_group_tests_name("config_external", tests, make_directory,
					   remove_directory);
}
