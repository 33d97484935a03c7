// SPDX-License-Identifier: MIT
/*
 * test_node_import.c - nodes in the style of Clash: what they become, and what is refused, with its
 * line.
 */
#include "config/node_import.h"

#include <culvert/reason.h>

#include <json-c/json.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define ID "5783a3e7-e373-51cd-8642-c83782b807c5"
#define NODE "name: n\ntype: vless\nserver: s.test\nport: 443\nuuid: " ID "\n"

static char found[8192];

static void note(void *context, bool is_error, const char *text)
{
	const size_t len = strlen(found);

	(void)context;
	snprintf(found + len, sizeof(found) - len, "%s %s\n", is_error ? "error" : "warning", text);
}

static int import(const char *text, struct json_object **ret_outbounds, bool *ret_udp)
{
	const struct cv_config_report report = {.line = note};

	found[0] = '\0';
	return cv_node_import(text, strlen(text), &report, ret_outbounds, ret_udp);
}

/* The outbounds of @text as compact JSON; no finding. */
static void becomes(const char *text, const char *wanted)
{
	struct json_object *outbounds = NULL;
	bool udp = false;

	assert_int_equal(import(text, &outbounds, &udp), 0);
	assert_string_equal(found, "");
	assert_string_equal(json_object_to_json_string_ext(outbounds,
							   JSON_C_TO_STRING_NOSLASHESCAPE),
			    wanted);
	json_object_put(outbounds);
}

static void refused(const char *text, const char *wanted)
{
	struct json_object *outbounds = NULL;
	bool udp;

	assert_int_equal(import(text, &outbounds, &udp), CV_INTERNAL_CONFIG);
	assert_null(outbounds);
	if (!strstr(found, wanted))
		fail_msg("wanted \"%s\" of\n%s\ngot\n%s", wanted, text, found);
}

static void test_tcp(void **state)
{
	(void)state;
	becomes(NODE, "[{\"tag\":\"n\",\"protocol\":\"vless\",\"settings\":{\"address\":\"s.test\","
		      "\"port\":443,\"id\":\"" ID "\",\"encryption\":\"none\",\"email\":\"n\"},"
		      "\"streamSettings\":{\"network\":\"raw\",\"security\":\"none\"}}]");
}

#define WS_OUT(name) \
	"[{\"tag\":\"n\",\"protocol\":\"vless\",\"settings\":{\"address\":\"s.test\"," \
	"\"port\":443,\"id\":\"" ID "\",\"encryption\":\"none\",\"email\":\"n\"}," \
	"\"streamSettings\":{" \
	"\"network\":\"ws\",\"wsSettings\":{\"path\":\"/p?ed=2048\",\"host\":\"h.test\"," \
	"\"headers\":{\"X\":\"y\"}},\"security\":\"tls\",\"tlsSettings\":{" \
	"\"serverName\":\"" name "\"}}}]"

/* All the names of the server name in use. */
static void test_websocket(void **state)
{
	static const char *const keys[] = {"servername", "serverName", "sni"};
	char text[1024];

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		snprintf(text, sizeof(text),
			 NODE "tls: true\n%s: w.test\nnetwork: ws\nws-opts:\n  path: /p\n"
			      "  headers: {Host: h.test, X: y}\n  max-early-data: 2048\n"
			      "  early-data-header-name: Sec-WebSocket-Protocol\n",
			 keys[i]);
		becomes(text, WS_OUT("w.test"));
	}
}

static void test_http2(void **state)
{
	(void)state;
	becomes("- {name: n, type: vless, server: s.test, port: '443', uuid: " ID
		", tls: yes, network: http, h2-opts: {host: [a, b], path: /x}, "
		"skip-cert-verify: 1}",
		"[{\"tag\":\"n\",\"protocol\":\"vless\",\"settings\":{\"address\":\"s.test\","
		"\"port\":443,\"id\":\"" ID "\",\"encryption\":\"none\",\"email\":\"n\"},"
		"\"streamSettings\":{\"network\":\"h2\",\"httpSettings\":{\"path\":\"/x\",\"host\":"
		"[\"a\",\"b\"]},\"security\":\"tls\",\"tlsSettings\":{\"allowInsecure\":true}}}]");
}

static void test_vmess(void **state)
{
	(void)state;
	becomes("proxies:\n- name: v\n  type: vmess\n  server: 192.0.2.1\n  port: 1024\n  uuid: " ID
		"\n  alterId: 0\n  cipher: chacha20-poly1305\n",
		"[{\"tag\":\"v\",\"protocol\":\"vmess\",\"settings\":{\"address\":\"192.0.2.1\","
		"\"port\":1024,\"id\":\"" ID "\",\"email\":\"v\",\"security\":"
		"\"chacha20-poly1305\"},\"streamSettings\":{\"network\":\"raw\",\"security\":"
		"\"none\"}}]");
}

static void test_proxies(void **state)
{
	(void)state;
	becomes("- {type: socks5, server: '::1', port: 1080, username: u, password: p}\n",
		"[{\"protocol\":\"socks\",\"settings\":{\"address\":\"::1\",\"port\":1080,"
		"\"user\":\"u\",\"pass\":\"p\",\"fallback\":\"block\"},\"streamSettings\":{"
		"\"network\":\"raw\",\"security\":\"none\"}}]");
}

static void test_udp(void **state)
{
	struct json_object *outbounds = NULL;
	bool udp = false;

	(void)state;
	assert_int_equal(import(NODE "udp: true\nextra: 1\n", &outbounds, &udp), 0);
	assert_true(udp);
	assert_string_equal(found, "warning 7: extra: unknown key\n");
	json_object_put(outbounds);
}

static void test_fingerprint(void **state)
{
	struct json_object *outbounds = NULL;
	bool udp;

	(void)state;
	assert_int_equal(import(NODE "tls: true\nclient-fingerprint: android\n", &outbounds, &udp),
			 0);
	assert_non_null(strstr(found, "warning 7: client-fingerprint: not known"));
	assert_null(strstr(json_object_to_json_string(outbounds), "fingerprint"));
	json_object_put(outbounds);
	assert_int_equal(import(NODE "tls: true\nclient-fingerprint: ios\n", &outbounds, &udp), 0);
	assert_string_equal(found, "");
	json_object_put(outbounds);
}

static void test_refused(void **state)
{
	(void)state;
	refused("", "expected a node");
	refused("[]", "1: expected 1 to 4096 nodes, found 0");
	refused("text", "expected a node, a list of nodes");
	refused("{", "not YAML");
	refused("- 1", "expected a node: keys with values");
	refused("{name: x}", "expected server and port");
	refused(NODE "tls: perhaps\n", "6: tls: expected true or false");
	refused(NODE "network: kcp\n", "6: network: expected tcp, ws, h2 or http");
	refused(NODE "http-opts: {path: [/]}\n", "6: http-opts: not supported");
	refused(NODE "fingerprint: aabb\n", "fingerprint: not supported");
	refused(NODE "network: ws\nws-opts: 3\n", "7: ws-opts: expected keys with values");
	refused(NODE "network: ws\nws-opts: {max-early-data: 9}\n", "max-early-data: expected");
	refused(NODE "reality-opts: {short-id: 01}\n", "public-key is required");
	refused("{type: trojan, server: a, port: 1}", "type: expected vless");
	refused("{type: vless, server: a, port: 70000, uuid: a}", "port: expected a number");
	refused("{type: vmess, server: a, port: 1, uuid: a, alterId: 4}", "alterId: the old form");
	refused("{type: vmess, server: a, port: 1, uuid: a, cipher: zero}",
		"1: cipher: expected auto");
	refused("- {name: a, type: http, server: a, port: 1}\n"
		"- {name: a, type: http, server: a, port: 1}", "two nodes are called \"a\"");
	refused("&a [*a]", "expected a node: keys with values");
}

/* The id is a secret. */
static void test_secret(void **state)
{
	(void)state;
	refused("{type: vless, server: a, port: 1, uuid: "
		"secret-secret-secret-secret-secret-secret}", "uuid: expected a UUID");
	assert_null(strstr(found, "secret-secret"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tcp),	cmocka_unit_test(test_websocket),
		cmocka_unit_test(test_http2),	cmocka_unit_test(test_vmess),
		cmocka_unit_test(test_proxies), cmocka_unit_test(test_udp),
		cmocka_unit_test(test_fingerprint),
		cmocka_unit_test(test_refused), cmocka_unit_test(test_secret),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
