// SPDX-License-Identifier: MIT
/*
 * test_reload.c - what goes on from one configuration to the next: failing proxies and backends.
 */
#include "config_text.h"

#include "policy/reload.h"

static const char format[] =
	"{\"inbounds\":[{\"tag\":\"front\",\"listen\":\"127.0.0.1\",\"port\":8443,"
	"\"protocol\":\"edge\"}],"
	"\"outbounds\":[{\"tag\":\"direct\",\"protocol\":\"freedom\"},"
	"{\"tag\":\"proxy\",\"protocol\":\"socks\",\"settings\":{\"address\":\"192.0.2.1\","
	"\"port\":1080,\"user\":\"u\",\"pass\":\"%s\",\"fallback\":\"direct\"}}],"
	"\"edge\":{\"backends\":[{\"name\":\"main\",\"address\":\"%s\",\"check\":%s}],"
	"\"routes\":[{\"names\":[\"a.example\"],\"to\":{\"backend\":\"main\"}}],"
	"\"target\":\"127.0.0.1:8080\"}}";

static struct cv_config *config_of(const char *password, const char *address, const char *check)
{
	char text[2048];

	snprintf(text, sizeof(text), format, password, address, check);
	return config_good(text);
}

static struct cv_config *failing(void)
{
	struct cv_config *config = config_of("p", "192.0.2.2:443", "true");

	config->outbounds[1].health->held_until_ms = 1000;
	config->outbounds[1].health->sessions = 7;
	for (size_t i = 0; i < config->backend_count; i++) {
		config->backends[i]->is_down = true;
		config->backends[i]->failed_checks = 3;
	}
	return config;
}

static const struct cv_backend *backend_of(const struct cv_config *config)
{
	for (size_t i = 0; i < config->backend_count; i++)
		if (strcmp(config->backends[i]->name, "main") == 0)
			return config->backends[i];
	return NULL;
}

static void test_failures_go_on(void **state)
{
	struct cv_config *now = failing(), *next = config_of("p", "192.0.2.2:443", "true");

	(void)state;
	cv_reload_inherit(next, now);
	assert_ptr_equal(next->outbounds[1].health, now->outbounds[1].health);
	assert_true(backend_of(next)->is_down);
	assert_int_equal(backend_of(next)->failed_checks, 3);
	cv_config_free(now); /* a probe of the old one may still tell of the proxy */
	assert_int_equal(next->outbounds[1].health->sessions, 7);
	cv_config_free(next);
}

static void test_what_changed_is_new(void **state)
{
	struct cv_config *now = failing(), *next = config_of("q", "192.0.2.3:443", "true");

	(void)state;
	cv_reload_inherit(next, now);
	assert_int_equal(next->outbounds[1].health->held_until_ms, 0);
	assert_false(backend_of(next)->is_down);
	cv_config_free(next);
	next = config_of("p", "192.0.2.2:443", "false");
	cv_reload_inherit(next, now);
	assert_false(backend_of(next)->is_down); /* nobody would find out that it is up */
	cv_config_free(next);
	cv_config_free(now);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_failures_go_on),
		cmocka_unit_test(test_what_changed_is_new),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
