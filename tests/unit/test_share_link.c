// SPDX-License-Identifier: MIT
/* test_share_link.c - VLESS 9: reading, writing, and the link of a user of a live configuration. */
#include "config/share_link.h"

#include "config/config_load.h"
#include "crypto/crypto.h"
#include "wire/base64.h"

#include <culvert/reason.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ID "b831381d-6324-4d53-ad4f-8cda48b30811"
#define KEY "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA"
#define PUBLIC "B6N8vBQgk8i3VdwbEOhstCY3StFqqFPtC9_AsrhtHHw"

static int parse(const char *text, struct cv_share_link *link)
{
	char error_text[CV_SHARE_ERROR_TEXT] = "";
	const int error = cv_share_link_parse(text, link, error_text);

	assert_int_equal(error != 0, error_text[0] != '\0');
	return error;
}

static void test_parse(void **state)
{
	struct cv_share_link link;

	(void)state;
	assert_int_equal(
		parse("VLESS://" ID "@example.com:443?encryption=none&security=reality&sni=a.test"
		      "&fp=firefox&pbk=" PUBLIC "&sid=01ab&spx=%2Fx%3Fy&type=tcp&headerType=none"
		      "&flow=xtls-rprx-vision&alpn=h2%2Chttp%2F1.1&unknown=1&pqv=abc"
		      "#My%20%E2%9C%93%20server",
		      &link),
		0);
	assert_string_equal(link.id, ID);
	assert_string_equal(link.host, "example.com");
	assert_int_equal(link.port, 443);
	assert_string_equal(link.security, "reality");
	assert_string_equal(link.server_name, "a.test");
	assert_string_equal(link.fingerprint, "firefox");
	assert_string_equal(link.public_key, PUBLIC);
	assert_string_equal(link.short_id, "01ab");
	assert_string_equal(link.spider_x, "/x?y");
	assert_string_equal(link.flow, "xtls-rprx-vision");
	assert_string_equal(link.alpn, "h2,http/1.1");
	assert_string_equal(link.mldsa_public, "abc");
	assert_string_equal(link.name, "My \xe2\x9c\x93 server");
	assert_false(link.allow_insecure);
}

static void test_parse_short(void **state)
{
	struct cv_share_link link;

	(void)state;
	assert_int_equal(parse("vless://hello@[2001:db8::1]:8443", &link), 0);
	assert_string_equal(link.host, "2001:db8::1");
	assert_string_equal(link.security, "none");
	assert_int_equal(link.port, 8443);
	assert_int_equal(parse("vless://a%40b@1.2.3.4:1/?security=tls&allowInsecure=1#", &link), 0);
	assert_string_equal(link.id, "a@b");
	assert_true(link.allow_insecure);
	assert_string_equal(link.name, "");
}

static void test_transports(void **state)
{
	static const char *const types[][2] = {
		{"", "tcp"}, {"raw", "tcp"}, {"ws", "ws"}, {"h2", "http"}, {"http", "http"},
		{"httpupgrade", "httpupgrade"},
	};
	char text[CV_SHARE_LINK_MAX], expected[256];
	struct cv_share_link link;

	(void)state;
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		const bool has_path = strcmp(types[i][1], "tcp") != 0;

		snprintf(text, sizeof(text),
			 "vless://" ID "@a:1?path=%%2Fx%%3Fed%%3D1&host=h.test&type=%s",
			 types[i][0]);
		assert_int_equal(parse(text, &link), 0);
		assert_string_equal(link.type, types[i][1]);
		assert_string_equal(link.path, has_path ? "/x?ed=1" : "");
		assert_string_equal(link.http_host, has_path ? "h.test" : "");
		cv_share_link_format(&link, text);
		snprintf(expected, sizeof(expected), "vless://" ID "@a:1?encryption=none&type=%s%s"
			 "&security=none", types[i][1],
			 has_path ? "&path=%2Fx%3Fed%3D1&host=h.test" : "");
		assert_string_equal(text, expected);
	}
}

/* As some programs call it; written it is as everybody knows it. */
static void test_spellings(void **state)
{
	static const char *const keys[] = {"sni", "servername", "serverName", "peer"};
	char text[CV_SHARE_LINK_MAX];
	struct cv_share_link link;

	(void)state;
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		snprintf(text, sizeof(text), "vless://" ID "@a:1?security=tls&%s=b.test", keys[i]);
		assert_int_equal(parse(text, &link), 0);
		assert_string_equal(link.server_name, "b.test");
		cv_share_link_format(&link, text);
		assert_non_null(strstr(text, "&sni=b.test"));
	}
}

static void test_refused(void **state)
{
	static const char *const links[] = {
		"",
		"vmess://" ID "@a:1",
		"vless://",
		"vless://" ID,
		"vless://" ID "@",
		"vless://" ID "@a",
		"vless://" ID "@a:",
		"vless://" ID "@a:0",
		"vless://" ID "@a:65536",
		"vless://" ID "@a:1x",
		"vless://" ID "@a:999999",
		"vless://@a:1",
		"vless://" ID "x@a:1",
		"vless://" ID "@:1",
		"vless://" ID "@[::1:1",
		"vless://" ID "@::1:1",
		"vless://" ID "@[::1]",
		"vless://" ID "@a b:1",
		"vless://" ID "@a:1?type=ws&type=tcp",
		"vless://" ID "@a:1?type=wss",
		"vless://" ID "@a:1?type=grpc",
		"vless://" ID "@a:1?encryption=mlkem768x25519plus.native.0rtt.x",
		"vless://" ID "@a:1?headerType=http",
		"vless://" ID "@a:1?ech=x",
		"vless://" ID "@a:1?pcs=00",
		"vless://" ID "@a:1?security=xtls",
		"vless://" ID "@a:1?security=reality",
		"vless://" ID "@a:1?security=reality&pbk=",
		"vless://" ID "@a:1?sni=a&sni=b",
		"vless://" ID "@a:1?sni=a&peer=b",
		"vless://" ID "@a:1?sni=%",
		"vless://" ID "@a:1?sni=%4",
		"vless://" ID "@a:1?sni=%zz",
		"vless://" ID "@a:1?sni=%00",
		"vless://" ID "@a:1?sni=a%0Ab",
		"vless://" ID "@a:1?fp=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
		"vless://" ID "@a:1#%ff%",
	};
	struct cv_share_link link = {.host = "untouched"};

	(void)state;
	for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++)
		if (parse(links[i], &link) == 0)
			fail_msg("%s should be refused", links[i]);
	assert_string_equal(link.host, "untouched");
}

static void test_too_long(void **state)
{
	char *text = malloc(CV_SHARE_LINK_MAX + 100);
	struct cv_share_link link;

	(void)state;
	memset(text, 'a', CV_SHARE_LINK_MAX + 99);
	memcpy(text, "vless://" ID "@a:1?x=", strlen("vless://" ID "@a:1?x="));
	text[CV_SHARE_LINK_MAX + 99] = '\0';
	assert_true(parse(text, &link) != 0);
	text[CV_SHARE_LINK_MAX - 1] = '\0';
	assert_int_equal(parse(text, &link), 0);
	free(text);
}

static void test_round_trip(void **state)
{
	struct cv_share_link link = {
		.id = "\xe6\x88\x91 & you",
		.host = "::1",
		.port = 1,
		.name = "100% #1 / \"best\"?",
		.type = "httpupgrade",
		.path = "/p?ed=1 %",
		.http_host = "h.test",
		.security = "reality",
		.server_name = "a.test",
		.public_key = PUBLIC,
		.spider_x = "/a?b=c&d",
		.alpn = "h2,http/1.1",
		.allow_insecure = true,
	};
	char text[CV_SHARE_LINK_MAX];
	struct cv_share_link again;

	(void)state;
	memset(link.mldsa_public, 'A', sizeof(link.mldsa_public) - 1);
	cv_share_link_format(&link, text);
	assert_int_equal(parse(text, &again), 0);
	assert_memory_equal(&link, &again, sizeof(link));
	/* empty keys are not written: they break clients */
	assert_null(strstr(text, "sid="));
	assert_null(strstr(text, "=&"));
}

/* ---- from a configuration ----------------------------------------------------------------- */

static const char reality_config[] =
	"{\"inbounds\": [{\"listen\": \"%s\", \"port\": 8443, \"protocol\": \"vless\","
	" \"settings\": {\"decryption\": \"none\", \"clients\": ["
	"  {\"id\": \"" ID "\", \"email\": \"Alice@x\", \"flow\": \"xtls-rprx-vision\"}]},"
	" \"streamSettings\": {\"security\": \"%s\", \"realitySettings\": {\"target\": "
	"\"a.test:443\","
	"  \"serverNames\": [\"a.test\"], \"shortIds\": [\"01ab000000000000\"],"
	"  \"privateKey\": \"" KEY "\", \"mldsa65Seed\": \"%s\"}}}],"
	" \"outbounds\": [{\"protocol\": \"freedom\"}]}";

static int of_user(const char *listen, const char *security, const char *seed, const char *user,
		   const char *host, uint16_t port, struct cv_share_link *link)
{
	const struct cv_share_place place = {host, port};
	char text[2048], error_text[CV_SHARE_ERROR_TEXT] = "";
	struct cv_config *config = NULL;
	int error;

	snprintf(text, sizeof(text), reality_config, listen, security, seed);
	assert_int_equal(cv_config_load_text("x", text, strlen(text), NULL, &config), 0);
	error = cv_share_link_of_user(config, user, &place, link, error_text);
	assert_int_equal(error != 0, error_text[0] != '\0');
	cv_config_free(config);
	return error;
}

static void test_of_user(void **state)
{
	struct cv_share_link link;
	char text[CV_SHARE_LINK_MAX];

	(void)state;
	assert_int_equal(of_user("192.0.2.1", "reality", "", "alice@x", NULL, 0, &link), 0);
	cv_share_link_format(&link, text);
	assert_string_equal(text, "vless://" ID "@192.0.2.1:8443?encryption=none&type=tcp"
				  "&security=reality&sni=a.test&fp=chrome&pbk=" PUBLIC
				  "&sid=01ab&flow=xtls-rprx-vision#Alice%40x");
	assert_int_equal(of_user("::1", "reality", "", "Alice@x", NULL, 0, &link), 0);
	assert_string_equal(link.host, "::1");
	assert_int_equal(of_user("0.0.0.0", "reality", "", "Alice@x", "my.test", 443, &link), 0);
	assert_string_equal(link.host, "my.test");
	assert_int_equal(link.port, 443);
	assert_int_equal(of_user("::", "reality", "", "Alice@x", "[2001:db8::1]", 0, &link), 0);
	assert_string_equal(link.host, "2001:db8::1");
	assert_int_equal(of_user("127.0.0.1", "none", "", "Alice@x", NULL, 0, &link), 0);
	assert_string_equal(link.security, "none");
	assert_string_equal(link.public_key, "");
}

static void test_of_user_mldsa(void **state)
{
	uint8_t seed[CV_MLDSA65_SEED], public_key[CV_MLDSA65_PUBLIC];
	char text[4 * (CV_MLDSA65_PUBLIC + 2) / 3 + 4];
	struct cv_mldsa65 *key;
	struct cv_share_link link;

	(void)state;
	for (unsigned i = 0; i < sizeof(seed); i++)
		seed[i] = (uint8_t)(0xa0 + i);
	cv_base64url_encode(seed, sizeof(seed), text);
	assert_int_equal(of_user("1.2.3.4", "reality", text, "alice@x", NULL, 0, &link), 0);
	key = cv_mldsa65_from_seed(seed);
	assert_int_equal(cv_mldsa65_public(key, public_key), 0);
	cv_base64url_encode(public_key, sizeof(public_key), text);
	assert_string_equal(link.mldsa_public, text);
	cv_mldsa65_free(key);
}

static void test_of_user_refused(void **state)
{
	struct cv_share_link link;

	(void)state;
	assert_true(of_user("1.2.3.4", "none", "", "bob@x", NULL, 0, &link) != 0);
	assert_true(of_user("1.2.3.4", "none", "", "", NULL, 0, &link) != 0);
	assert_true(of_user("0.0.0.0", "none", "", "alice@x", NULL, 0, &link) != 0);
	assert_true(of_user("::", "none", "", "alice@x", NULL, 0, &link) != 0);
	assert_true(of_user("1.2.3.4", "none", "", "alice@x", "a b", 0, &link) != 0);
	assert_true(of_user("/run/x.sock", "none", "", "alice@x", "h", 0, &link) != 0);
	assert_int_equal(of_user("/run/x.sock", "none", "", "alice@x", "h", 1, &link), 0);
}

struct proxies {
	char text[1024]; /* the links, each on a line */
};

static void note(void *context, const struct cv_share_proxy *proxy)
{
	struct proxies *proxies = context;
	const size_t len = strlen(proxies->text);
	char text[CV_SHARE_LINK_MAX];

	cv_share_proxy_format(proxy, text);
	snprintf(proxies->text + len, sizeof(proxies->text) - len, "%.200s\n", text);
}

static int proxies_of(const char *user, const char *host, const char *password,
		      struct proxies *proxies)
{
	static const char text[] =
		"{\"outbounds\": [{\"protocol\": \"freedom\"}], \"inbounds\": ["
		"{\"tag\": \"a\", \"listen\": \"192.0.2.1\", \"port\": 1080,"
		" \"protocol\": \"socks\", \"settings\": {\"auth\": \"password\", \"accounts\": ["
		"{\"user\": \"alice\", \"pass\": \"a b:@\"},"
		" {\"user\": \"b@x\", \"pass\": \"pw\"}]}},"
		"{\"tag\": \"b\", \"listen\": \"::1\", \"port\": 1081, \"protocol\": \"socks\","
		" \"settings\": {\"auth\": \"password\", \"accounts\": ["
		"{\"user\": \"alice\", \"pass\": \"other\"}]}},"
		"{\"tag\": \"c\", \"listen\": \"127.0.0.1\", \"port\": 1082,"
		" \"protocol\": \"socks\"}]}";
	const struct cv_share_place place = {.host = host};
	char error_text[CV_SHARE_ERROR_TEXT] = "";
	struct cv_config *config = NULL;
	int count;

	assert_int_equal(cv_config_load_text("t.json", text, strlen(text), NULL, &config), 0);
	*proxies = (struct proxies){0};
	count = cv_share_proxies_of_user(config, user, &place, password, note, proxies,
					 error_text);
	assert_int_equal(count < 0, error_text[0] != '\0');
	cv_config_free(config);
	return count;
}

static void test_proxies_of_user(void **state)
{
	struct proxies proxies;

	(void)state;
	assert_int_equal(proxies_of("alice", NULL, NULL, &proxies), 2);
	assert_string_equal(proxies.text, "socks5://alice@192.0.2.1:1080\n"
					  "socks5://alice@[::1]:1081\n");
	assert_int_equal(proxies_of("alice", "my.test", "a b:@", &proxies), 1);
	assert_string_equal(proxies.text, "socks5://alice:a%20b%3A%40@my.test:1080\n");
	assert_int_equal(proxies_of("b@x", NULL, "pw", &proxies), 1);
	assert_string_equal(proxies.text, "socks5://b%40x:pw@192.0.2.1:1080\n");
	assert_int_equal(proxies_of("alice", NULL, "wrong", &proxies), 0);
	assert_int_equal(proxies_of("carol", NULL, NULL, &proxies), 0);
	assert_int_equal(proxies_of("", NULL, NULL, &proxies), 0);
	assert_true(proxies_of("alice", "a b", NULL, &proxies) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse),         cmocka_unit_test(test_parse_short),
		cmocka_unit_test(test_transports),    cmocka_unit_test(test_spellings),
		cmocka_unit_test(test_refused),       cmocka_unit_test(test_too_long),
		cmocka_unit_test(test_round_trip),    cmocka_unit_test(test_of_user),
		cmocka_unit_test(test_of_user_mldsa), cmocka_unit_test(test_of_user_refused),
		cmocka_unit_test(test_proxies_of_user),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
