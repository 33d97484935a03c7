// SPDX-License-Identifier: MIT
/*
 * test_haproxy.c - haproxy.cfg to our configuration and back: words, rules, what wins.
 */
#include "config/haproxy.h"

#include "config_text.h"

#define HEAD \
	"defaults\n mode tcp\nfrontend f\n bind 127.0.0.1:443\n tcp-request inspect-delay 5s\n" \
	" default_backend d\n"
#define BACKENDS \
	"\nbackend d\n server d 127.0.0.1:1\nbackend b\n server b 127.0.0.1:2\n" \
	"backend c\n server c 127.0.0.1:3\n"

static struct cv_config *import(const char *text, struct findings *findings, char **ret_json)
{
	const struct cv_config_report report = {.line = findings_add, .context = findings};
	struct json_object *made = NULL;
	struct cv_config *config;

	*findings = (struct findings){0};
	if (cv_haproxy_import(text, strlen(text), &report, &made) != 0)
		return NULL;
	config = config_good(json_object_to_json_string(made));
	if (ret_json)
		*ret_json = strdup(json_object_to_json_string(made));
	json_object_put(made);
	return config;
}

static const char *leads(const struct cv_config *config, const char *name)
{
	const struct cv_edge *edge = config->inbounds[0].edge;
	const struct cv_edge_name *entry = cv_edge_match(edge, name);
	const struct cv_edge_place *place = entry ? &entry->place : &edge->unknown;

	return place->kind == CV_EDGE_BACKEND ? place->backend->name : "drop";
}

static void test_rules(void **state)
{
	struct findings *findings = malloc(sizeof(*findings));
	struct cv_config *config = import(
		HEAD " acl one req_ssl_sni -i a.x \"b.x\" # c.x\n acl one req.ssl_sni d.x\n"
		     " acl tree req_ssl_sni -m end .t.x\n"
		     " use_backend b if one\n"
		     " use_backend c if { req_ssl_sni -i A.X e.x } || tree\n"
		     " use_backend b if { req_ssl_sni in.t.x }\n"
		     "\tuse_backend\tc  if\tone or { req_ssl_sni f\\.x }\r\n" BACKENDS,
		findings, NULL);

	(void)state;
	assert_non_null(config);
	assert_int_equal(findings->error_count, 0);
	assert_string_equal(leads(config, "a.x"), "b");
	assert_string_equal(leads(config, "B.x"), "b");
	assert_string_equal(leads(config, "c.x"), "d");
	assert_string_equal(leads(config, "d.x"), "b");
	assert_string_equal(leads(config, "e.x"), "c");
	assert_string_equal(leads(config, "q.t.x"), "c");
	assert_string_equal(leads(config, "in.t.x"), "c"); /* the first that fits, not the best */
	assert_string_equal(leads(config, "t.x"), "d");
	assert_string_equal(leads(config, "f.x"), "c");
	assert_non_null(strstr(findings->text, "\"A.X\" is led elsewhere by a rule before"));
	assert_non_null(strstr(findings->text, "\"in.t.x\" is led elsewhere"));
	cv_config_free(config);
	free(findings);
}

static void test_servers(void **state)
{
	struct findings *findings = malloc(sizeof(*findings));
	struct cv_config *config = import(
		"global\n maxconn 100\ndefaults\n mode tcp\n timeout client 2m\n"
		" default-server inter 1500 fall 7\n"
		"frontend f\n bind 127.0.0.1:443 accept-proxy\n bind [::1]:444\n use_backend d\n"
		"backend d\n default-server rise 9\n server one h:1 check send-proxy\n"
		" server two unix@/run/two check inter 1m backup\n"
		" server three abns@three backup\n",
		findings, NULL);
	const struct cv_backend *one, *two, *three;

	(void)state;
	assert_non_null(config);
	one = config->inbounds[0].edge->unknown.backend;
	two = one->when_down.backend;
	three = two->when_down.backend;
	assert_string_equal(one->address_text, "h:1");
	assert_string_equal(two->address_text, "/run/two");
	assert_string_equal(three->address_text, "@three");
	assert_int_equal(three->when_down.kind, CV_EDGE_DROP);
	assert_true(one->xver == 1 && two->xver == 0);
	assert_true(one->is_checked && two->is_checked && !three->is_checked);
	assert_true(one->interval_ms == 2000 && two->interval_ms == 60000);
	/* a backend's own default-server line is all there is for its servers */
	assert_true(one->fall == 3 && one->rise == 9);
	assert_true(config->inbounds[0].accepts_proxy && !config->inbounds[1].accepts_proxy);
	assert_int_equal(config->levels[0].idle_ms, 120000);
	assert_int_equal(config->daemon.max_sessions, 100);
	assert_int_equal(config->inbounds[0].edge->silence.backend == one, 1);
	cv_config_free(config);
	free(findings);
}

/* Exported, imported, exported again: the same text. */
static void test_round(void **state)
{
	struct findings *findings = malloc(sizeof(*findings));
	struct cv_config *config = import(
		HEAD " acl a req_ssl_sni -i a.x in.t.x\n acl t req_ssl_sni -i -m end .t.x .x\n"
		     " use_backend b if a\n use_backend c if t\n" BACKENDS,
		findings, NULL);
	char *texts[2] = {NULL, NULL};
	size_t len;

	(void)state;
	for (int round = 0; round < 2; round++) {
		FILE *out = open_memstream(&texts[round], &len);

		assert_non_null(config);
		assert_int_equal(cv_haproxy_export(config, "127.0.0.1:1", NULL, out), 0);
		(void)fclose(out);
		cv_config_free(config);
		config = import(texts[round], findings, NULL);
	}
	cv_config_free(config);
	assert_non_null(strstr(texts[0], "req_ssl_sni -i a.x in.t.x\n"));
	assert_non_null(strstr(texts[0], "req_ssl_sni -i -m end .t.x .x\n"));
	assert_non_null(strstr(texts[0], "tcp-request inspect-delay 5s"));
	free(texts[0]);
	free(texts[1]);
	free(findings);
}

static void test_bad(void **state)
{
	static const struct {
		const char *text, *wanted;
	} bad[] = {
		{HEAD " use_backend b if a\n" BACKENDS, "line 7: no acl is called \"a\""},
		{HEAD " use_backend b when a\n" BACKENDS, "expected \"use_backend NAME if"},
		{HEAD " acl a\n" BACKENDS, "acl: expected a name and a condition"},
		{HEAD " acl a hdr(host) x y\n" BACKENDS, "only req_ssl_sni decides here"},
		{HEAD " use_backend b if { req_ssl_sni\n" BACKENDS, NULL},
		{HEAD " tcp-request content reject if x\n" BACKENDS,
		 "tcp-request content reject is not supported"},
		{HEAD, "no backend is called \"d\""},
		{"frontend f\n bind :1\n default_backend d\n" BACKENDS, "expected mode tcp"},
		{HEAD BACKENDS "backend b\n server b 127.0.0.1:2\n", "another backend is called"},
		{HEAD " bind fd@3\n" BACKENDS, "expected address:port or a path"},
		{"defaults\n timeout client soon\n" HEAD BACKENDS, "\"soon\" is no time"},
		{HEAD " bind :2 ssl\n" BACKENDS, "bind ssl: no crt FILE"},
	};
	struct findings *findings = malloc(sizeof(*findings));

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct cv_config *config = NULL;

		if (!bad[i].wanted) { /* only that nothing breaks */
			cv_config_free(import(bad[i].text, findings, NULL));
			continue;
		}
		config = import(bad[i].text, findings, NULL);
		assert_null(config);
		if (!strstr(findings->text, bad[i].wanted))
			fail_msg("wanted \"%s\", got:\n%s", bad[i].wanted, findings->text);
	}
	free(findings);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rules),
		cmocka_unit_test(test_servers),
		cmocka_unit_test(test_round),
		cmocka_unit_test(test_bad),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
