// SPDX-License-Identifier: MIT
/*
 * test_config_reverse.c - reverse, VMess and tunnels: what their objects become, in the form in
 * which others publish them, and what is refused.
 */
#include "config_text.h"

#include "crypto/uuid.h"
#include "wire/vmess.h"

#include <culvert/reason.h>

#define ID "5783a3e7-e373-51cd-8642-c83782b807c5"
#define SOCKS "{\"listen\": \"127.0.0.1\", \"port\": 1080, \"protocol\": \"socks\"}"
#define FREEDOM "{\"protocol\": \"freedom\"}"
#define IN(inbound) "{\"inbounds\": [" inbound "], \"outbounds\": [" FREEDOM "]}"
#define OUT(outbound) "{\"inbounds\": [" SOCKS "], \"outbounds\": [" outbound "]}"
#define TUNNEL(settings) \
	"{\"listen\": \"127.0.0.1\", \"port\": 80, \"protocol\": \"dokodemo-door\", " \
	"\"settings\": {" settings "}}"
#define VMESS_IN(clients) \
	"{\"listen\": \"127.0.0.1\", \"port\": 1024, \"protocol\": \"vmess\", \"settings\": {" \
	"\"clients\": [" clients "]}}"
#define CLIENTS "f.json:1: inbounds[0].settings.clients"
#define VNEXT "f.json:1: outbounds[0].settings.vnext"
#define VMESS_OUT(user) \
	"{\"protocol\": \"vmess\", \"settings\": {\"vnext\": [{\"address\": \"127.0.0.1\", " \
	"\"port\": 1024, \"users\": [{" user "}]}]}}"

static void is_destination(const struct cv_destination *destination, const char *wanted)
{
	char text[CV_DESTINATION_TEXT];

	cv_destination_format(destination, text);
	assert_string_equal(text, wanted);
}

/* Xray's documentation of the reverse proxy, comments and all. */
static const char bridge_example[] =
	"{\n"
	"  \"reverse\": {\n"
	"    // This is a bridge\n"
	"    \"bridges\": [\n"
	"      {\n"
	"        \"tag\": \"bridge\",\n"
	"        \"domain\": \"test.xray.com\"\n"
	"      }\n"
	"    ]\n"
	"  },\n"
	"  \"outbounds\": [\n"
	"    {\n"
	"      // freedom\n"
	"      \"tag\": \"out\",\n"
	"      \"protocol\": \"freedom\",\n"
	"      \"settings\": {\n"
	"        \"redirect\": \"127.0.0.1:80\" // to the web server\n"
	"      }\n"
	"    },\n"
	"    {\n"
	"      \"protocol\": \"vmess\",\n"
	"      \"settings\": {\n"
	"        \"vnext\": [\n"
	"          {\n"
	"            \"address\": \"192.0.2.1\",\n"
	"            \"port\": 1024,\n"
	"            \"users\": [\n"
	"              {\n"
	"                \"id\": \"" ID "\"\n"
	"              }\n"
	"            ]\n"
	"          }\n"
	"        ]\n"
	"      },\n"
	"      \"tag\": \"interconn\"\n"
	"    }\n"
	"  ],\n"
	"  \"routing\": {\n"
	"    \"rules\": [\n"
	"      {\n"
	"        // requests from the bridge for the domain are for the portal\n"
	"        \"type\": \"field\",\n"
	"        \"inboundTag\": [\"bridge\"],\n"
	"        \"domain\": [\"full:test.xray.com\"],\n"
	"        \"outboundTag\": \"interconn\"\n"
	"      },\n"
	"      {\n"
	"        \"type\": \"field\",\n"
	"        \"inboundTag\": [\"bridge\"],\n"
	"        \"outboundTag\": \"out\"\n"
	"      }\n"
	"    ]\n"
	"  }\n"
	"}\n";

static const char portal_example[] =
	"{\n"
	"  \"reverse\": {\n"
	"    \"portals\": [{\"tag\": \"portal\", \"domain\": \"test.xray.com\"}]\n"
	"  },\n"
	"  \"inbounds\": [\n"
	"    {\n"
	"      \"tag\": \"external\",\n"
	"      \"port\": 80, // HTTP\n"
	"      \"protocol\": \"dokodemo-door\",\n"
	"      \"settings\": {\"address\": \"127.0.0.1\", \"port\": 80, \"network\": \"tcp\"}\n"
	"    },\n"
	"    {\n"
	"      \"port\": 1024, // for the bridge\n"
	"      \"tag\": \"interconn\",\n"
	"      \"protocol\": \"vmess\",\n"
	"      \"settings\": {\"clients\": [{\"id\": \"" ID "\"}]}\n"
	"    }\n"
	"  ],\n"
	"  \"routing\": {\n"
	"    \"rules\": [\n"
	"      {\"type\": \"field\", \"inboundTag\": [\"external\"],\n"
	"       \"outboundTag\": \"portal\"},\n"
	"      {\"type\": \"field\", \"inboundTag\": [\"interconn\"],\n"
	"       \"outboundTag\": \"portal\"}\n"
	"    ]\n"
	"  }\n"
	"}\n";

static void test_bridge(void **state)
{
	struct cv_config *config = config_good(bridge_example);

	(void)state;
	assert_int_equal(config->inbound_count, 0);
	assert_int_equal(config->bridge_count, 1);
	assert_string_equal(config->bridges[0].inbound.tag, "bridge");
	assert_string_equal(config->bridges[0].domain, "test.xray.com");
	assert_false(config->bridges[0].inbound.guards_private);
	assert_int_equal(config->outbounds[1].protocol, CV_OUTBOUND_VMESS);
	is_destination(&config->outbounds[0].redirect, "127.0.0.1:80");
	cv_config_free(config);
}

static void test_portal(void **state)
{
	struct cv_config *config = config_good(portal_example);
	const struct cv_outbound *portal = &config->outbounds[1];

	(void)state;
	assert_int_equal(config->outbound_count, 2);
	assert_int_equal(config->outbounds[0].protocol, CV_OUTBOUND_BLACKHOLE); /* nowhere */
	assert_int_equal(portal->protocol, CV_OUTBOUND_PORTAL);
	assert_string_equal(portal->tag, "portal");
	assert_string_equal(cv_portal_domain(portal->portal), "test.xray.com");
	assert_string_equal(cv_portal_control_domain(portal->portal), "reverse");
	assert_non_null(config->inbounds[1].vmess);
	assert_non_null(config->inbounds[1].vmess_replay);
	assert_false(config->inbounds[0].guards_private); /* it leads where we say */
	cv_config_free(config);
}

static void test_many(void **state)
{
	struct cv_config *config = config_good(
		"{\"outbounds\": [" FREEDOM "], \"reverse\": {\"bridges\": ["
		"{\"tag\": \"b1\", \"domain\": \"one.test\"}, "
		"{\"tag\": \"b2\", \"domain\": \"two.test\"}], \"portals\": ["
		"{\"tag\": \"p1\", \"domain\": \"one.test\"}, {\"tag\": \"p2\", \"domain\": "
		"\"two.test\", \"internalDomain\": \"reverse.internal.v2ray.com\"}]}}");

	(void)state;
	assert_int_equal(config->bridge_count, 2);
	assert_int_equal(config->outbound_count, 3);
	assert_int_equal(config->outbounds[0].protocol, CV_OUTBOUND_FREEDOM);
	assert_string_equal(cv_portal_control_domain(config->outbounds[2].portal),
			    "reverse.internal.v2ray.com");
	cv_config_free(config);
}

static void test_reverse_errors(void **state)
{
	(void)state;
	config_finds("{\"outbounds\": [{\"tag\": \"p\", \"protocol\": \"freedom\"}], "
		     "\"inbounds\": [" SOCKS "], \"reverse\": {\"portals\": "
		     "[{\"tag\": \"p\", \"domain\": \"a.b\"}]}}",
		     true, "f.json:1: reverse.portals[0].tag: another outbound has this tag");
	config_finds("{\"outbounds\": [" FREEDOM "], \"inbounds\": [" SOCKS "], \"reverse\": {}}",
		     false, "f.json:1: reverse: neither bridges nor portals: has no effect");
	config_finds("{\"outbounds\": [" FREEDOM "], \"reverse\": {\"portals\": "
		     "[{\"tag\": \"p\", \"domain\": \"a.b\"}]}}",
		     true, "f.json:1: inbounds: expected at least one inbound, found none");
}

static void test_tunnel(void **state)
{
	struct cv_config *config = config_good(
		IN(TUNNEL("\"address\": \"a.test\", \"port\": 53, \"network\": \"tcp,udp\", "
			  "\"portMap\": {\"80\": \"b.test:8080\", \"81\": \":82\"}, "
			  "\"userLevel\": 3")));
	const struct cv_tunnel *tunnel = config->inbounds[0].tunnel;

	(void)state;
	assert_int_equal(config->inbounds[0].protocol, CV_INBOUND_TUNNEL);
	assert_string_equal(config->inbounds[0].tag, "tunnel-in");
	assert_int_equal(config->inbounds[0].level, 3);
	is_destination(&tunnel->to, "a.test:53");
	assert_true(tunnel->carries_tcp && tunnel->carries_udp);
	assert_int_equal(tunnel->port_count, 2);
	is_destination(&tunnel->ports[0].to, "b.test:8080");
	assert_int_equal(tunnel->ports[1].to.kind, CV_ADDRESS_NONE);
	assert_int_equal(tunnel->ports[1].to.port, 82);
	cv_config_free(config);
}

static void test_tunnel_defaults(void **state)
{
	struct cv_config *config = config_good(IN(
		"{\"listen\": \"127.0.0.1\", \"port\": 80, \"protocol\": \"tunnel\", \"settings\": "
		"{\"rewriteAddress\": \"192.0.2.1\", \"rewritePort\": 81, \"allowedNetwork\": "
		"[\"udp\"]}}, {\"listen\": \"127.0.0.1\", \"port\": 81, \"tag\": \"bare\", "
		"\"protocol\": \"tunnel\"}"));

	(void)state;
	is_destination(&config->inbounds[0].tunnel->to, "192.0.2.1:81");
	assert_false(config->inbounds[0].tunnel->carries_tcp);
	assert_true(config->inbounds[1].tunnel->carries_tcp);
	assert_false(config->inbounds[1].tunnel->carries_udp);
	assert_int_equal(config->inbounds[1].tunnel->to.kind, CV_ADDRESS_NONE);
	cv_config_free(config);
}

static void test_tunnel_errors(void **state)
{
	(void)state;
	config_finds(IN(TUNNEL("\"network\": \"sctp\"")), true,
		     "f.json:1: inbounds[0].settings.network: expected tcp, udp or both");
	config_finds(IN(TUNNEL("\"followRedirect\": true")), true,
		     "f.json:1: inbounds[0].settings.followRedirect: where a packet filter");
	config_finds(IN(TUNNEL("\"address\": \"a b\"")), true,
		     "f.json:1: inbounds[0].settings.address: expected an IP address");
	config_finds(IN(TUNNEL("\"portMap\": {\"x\": \"a:1\"}")), true,
		     "f.json:1: inbounds[0].settings.portMap.x: expected a port from 1 to 65535");
	config_finds(IN(TUNNEL("\"portMap\": {\"1\": \"a\"}")), true,
		     "f.json:1: inbounds[0].settings.portMap.1: expected host:port");
}

/* What is public guards private addresses, unless the operator alone says where it leads. */
static void test_tunnel_guard(void **state)
{
	struct cv_config *config = config_good(IN(
		"{\"listen\": \"0.0.0.0\", \"port\": 80, \"protocol\": \"tunnel\", "
		"\"tag\": \"a\"}, {\"listen\": \"0.0.0.0\", \"port\": 81, "
		"\"protocol\": \"tunnel\", \"tag\": \"b\", "
		"\"sniffing\": {\"enabled\": true, \"destOverride\": [\"http\"]}}"));

	(void)state;
	assert_false(config->inbounds[0].guards_private);
	assert_true(config->inbounds[1].guards_private);
	cv_config_free(config);
}

static void test_vmess_server(void **state)
{
	struct cv_config *config = config_good(
		IN(VMESS_IN("{\"id\": \"" ID "\", \"alterId\": 0, \"email\": \"a@x\", "
			    "\"level\": 1, \"security\": \"auto\"}, {\"id\": \"hello\"}")));

	(void)state;
	assert_int_equal(config->inbounds[0].protocol, CV_INBOUND_VMESS);
	assert_int_equal(cv_user_count(config->inbounds[0].users), 2);
	assert_string_equal(cv_user_at(config->inbounds[0].users, 0)->email, "a@x");
	assert_int_equal(cv_user_at(config->inbounds[0].users, 0)->level, 1);
	assert_true(config->inbounds[0].guards_private);
	assert_non_null(config->inbounds[0].vmess);
	cv_config_free(config);
}

static void test_vmess_client(void **state)
{
	static const struct {
		const char *security;
		enum cv_vmess_cipher cipher;
	} known[] = {{"auto", CV_VMESS_AES_128_GCM},
		     {"aes-128-gcm", CV_VMESS_AES_128_GCM},
		     {"chacha20-poly1305", CV_VMESS_CHACHA20_POLY1305}};
	char text[1024];
	uint8_t uuid[16];

	(void)state;
	assert_int_equal(cv_uuid_parse(ID, uuid), 0);
	for (size_t i = 0; i < 3; i++) {
		struct cv_config *config;

		snprintf(text, sizeof(text),
			 OUT(VMESS_OUT("\"id\": \"" ID "\", \"alterId\": 0, \"security\": \"%s\"")),
			 known[i].security);
		config = config_good(text);
		assert_int_equal(config->outbounds[0].vmess_cipher, known[i].cipher);
		assert_memory_equal(config->outbounds[0].uuid, uuid, 16);
		is_destination(&config->outbounds[0].server, "127.0.0.1:1024");
		cv_config_free(config);
	}
}

static void test_vmess_errors(void **state)
{
	(void)state;
	config_finds(IN(VMESS_IN("{\"id\": \"" ID "\", \"alterId\": 64}")), true,
		     CLIENTS "[0].alterId: expected 0: the form without AEAD");
	config_finds(IN(VMESS_IN("{\"id\": \"" ID "\"}, {\"id\": \"" ID "\"}")), true,
		     CLIENTS "[1].id: same id as");
	config_finds(IN(VMESS_IN("")), false,
		     "f.json:1: inbounds[0].settings: no users: nobody can come in");
	config_finds(OUT(VMESS_OUT("\"id\": \"" ID "\", \"alterId\": 4")), true,
		     VNEXT "[0].users[0].alterId: expected 0: the form without AEAD");
	config_finds(OUT(VMESS_OUT("\"id\": \"" ID "\", \"security\": \"zero\"")), true,
		     VNEXT "[0].users[0].security: \"zero\" is not supported");
	config_finds(OUT(VMESS_OUT("\"id\": \"" ID "\", \"security\": \"none\"")), false,
		     "f.json:1: outbounds[0]: VMess with security \"none\" and without TLS");
	config_finds(OUT("{\"protocol\": \"vmess\", \"settings\": {\"vnext\": []}}"), true,
		     VNEXT ": expected exactly one server, found 0");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bridge),	      cmocka_unit_test(test_portal),
		cmocka_unit_test(test_many),	      cmocka_unit_test(test_reverse_errors),
		cmocka_unit_test(test_tunnel),	      cmocka_unit_test(test_tunnel_defaults),
		cmocka_unit_test(test_tunnel_errors), cmocka_unit_test(test_tunnel_guard),
		cmocka_unit_test(test_vmess_server),  cmocka_unit_test(test_vmess_client),
		cmocka_unit_test(test_vmess_errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
