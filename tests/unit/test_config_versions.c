// SPDX-License-Identifier: MIT
/* test_config_versions.c - which version of VLESS an inbound serves and an outbound speaks. */
#include "config_text.h"

#define IN(more) \
	"{\"inbounds\": [{\"listen\": \"127.0.0.1\", \"port\": 1, \"protocol\": \"vless\"," \
	" \"settings\": {\"decryption\": \"none\", \"clients\": [{\"id\": \"a\"}]" more "}}]," \
	" \"outbounds\": [{\"protocol\": \"freedom\"}]}"
#define OUT(settings) \
	"{\"inbounds\": [{\"listen\": \"127.0.0.1\", \"port\": 1080, \"protocol\": \"socks\"}]," \
	" \"outbounds\": [{\"protocol\": \"vless\", \"settings\": {" settings "}}]}"
#define FLAT(more) \
	OUT("\"address\": \"127.0.0.1\", \"port\": 1, \"id\": \"a\", \"encryption\": \"none\"" more)
#define VNEXT(user, more) \
	OUT("\"vnext\": [{\"address\": \"127.0.0.1\", \"port\": 1, \"users\": [" \
	    "{\"id\": \"a\", \"encryption\": \"none\"" user "}]}]" more)

struct version_case {
	const char *text;
	enum cv_vless_version version;
};

static void test_inbound(void **state)
{
	static const struct version_case cases[] = {
		{IN(""), CV_VLESS_0},
		{IN(", \"version\": null"), CV_VLESS_0},
		{IN(", \"version\": 0"), CV_VLESS_0},
		{IN(", \"version\": 1"), CV_VLESS_1},
		{IN(", \"version\": -1"), CV_VLESS_0_OR_1},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct cv_config *config = config_good(cases[i].text);

		assert_int_equal(config->inbounds[0].version, cases[i].version);
		cv_config_free(config);
	}
}

/* Beside the user's flow; where servers are listed, beside the list as well. */
static void test_outbound(void **state)
{
	static const struct version_case cases[] = {
		{FLAT(""), CV_VLESS_0},
		{FLAT(", \"version\": 1"), CV_VLESS_1},
		{FLAT(", \"version\": \"auto\""), CV_VLESS_0_OR_1},
		{VNEXT("", ""), CV_VLESS_0},
		{VNEXT(", \"version\": 1", ""), CV_VLESS_1},
		{VNEXT("", ", \"version\": 1"), CV_VLESS_1},
		{VNEXT(", \"version\": 0", ", \"version\": 1"), CV_VLESS_0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct cv_config *config = config_good(cases[i].text);

		assert_int_equal(config->outbounds[0].version, cases[i].version);
		assert_int_equal(config->outbounds[0].versions != NULL,
				 cases[i].version == CV_VLESS_0_OR_1);
		cv_config_free(config);
	}
}

static void test_refused(void **state)
{
	static const struct {
		const char *text, *finding;
	} cases[] = {
		{IN(", \"version\": 2"), "settings.version: expected 0, 1 or -1, found 2"},
		{IN(", \"version\": \"auto\""),
		 "settings.version: expected 0, 1 or -1, found \"auto\""},
		{FLAT(", \"version\": 2"), "settings.version: expected 0, 1 or auto, found 2"},
		{FLAT(", \"version\": -1"), "settings.version: expected 0, 1 or auto, found -1"},
		{FLAT(", \"version\": true"),
		 "settings.version: expected 0, 1 or auto, found true"},
		{VNEXT("", ", \"version\": \"x\""),
		 "settings.version: expected 0, 1 or auto, found \"x\""},
	};
	char finding[512];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		snprintf(finding, sizeof(finding), "f.json:1: %s[0].%s",
			 i < 2 ? "inbounds" : "outbounds", cases[i].finding);
		config_finds(cases[i].text, true, finding);
	}
	config_finds(FLAT(", \"version\": 1, \"flow\": \"xtls-rprx-vision\""), true,
		     "f.json:1: outbounds[0]: flow xtls-rprx-vision needs version 0");
	config_finds(FLAT(", \"version\": \"auto\", \"flow\": \"xtls-rprx-vision\""), true,
		     "f.json:1: outbounds[0]: flow xtls-rprx-vision needs version 0");
	config_finds(FLAT(", \"version\": 1}, \"mux\": {\"enabled\": true"), true,
		     "f.json:1: outbounds[0].mux: needs version 0");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_inbound),
		cmocka_unit_test(test_outbound),
		cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests_name("config_versions", tests, NULL, NULL);
}
