// SPDX-License-Identifier: MIT
/* test_config_load.c - what a configuration becomes: every kind of object, defaults and aliases. */
#include "config_text.h"

#include "engine/ktls.h"

#include "crypto/crypto.h"
#include "crypto/uuid.h"

#include <culvert/reason.h>

#include <arpa/inet.h>
#include <errno.h>
#include <unistd.h>

#define ID "b831381d-6324-4d53-ad4f-8cda48b30811"
#define KEY "AgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4fICE"
#define PUBLIC "B6N8vBQgk8i3VdwbEOhstCY3StFqqFPtC9_AsrhtHHw"
#define SOCKS "{\"listen\": \"127.0.0.1\", \"port\": 1080, \"protocol\": \"socks\"}"
#define FREEDOM "{\"protocol\": \"freedom\"}"
#define VLESS(stream) \
	"{\"listen\": \"127.0.0.1\", \"port\": 443, \"protocol\": \"vless\", \"settings\": {" \
	"\"decryption\": \"none\", \"clients\": [{\"id\": \"" ID \
	"\", \"email\": \"a@x\"}]}" stream "}"
#define REALITY(keys) \
	", \"streamSettings\": {\"security\": \"reality\", \"realitySettings\": {" \
	"\"serverNames\": [\"a.test\"], \"privateKey\": \"" KEY \
	"\", \"shortIds\": [\"01ab\"]" keys "}}"
#define CONFIG(inbounds, outbounds, more) \
	"{\"inbounds\": [" inbounds "], \"outbounds\": [" outbounds "]" more "}"

static void listens_on(const struct cv_inbound *inbound, size_t index, const char *wanted)
{
	char text[CV_DESTINATION_TEXT];

	assert_in_range(index, 0, inbound->listen_count - 1);
	cv_sockaddr_format(&inbound->listen_addresses[index], text);
	assert_string_equal(text, wanted);
}

static void is_destination(const struct cv_destination *destination, const char *wanted)
{
	char text[CV_DESTINATION_TEXT];

	cv_destination_format(destination, text);
	assert_string_equal(text, wanted);
}

static void test_defaults(void **state)
{
	struct cv_config *config = config_good(CONFIG(SOCKS, FREEDOM, ""));

	(void)state;
	assert_int_equal(config->log_level, CV_LOG_WARNING);
	assert_string_equal(config->log_error_path, "");
	assert_string_equal(config->log_access_path, "none");
	assert_string_equal(config->daemon.engine, "auto");
	assert_string_equal(config->daemon.control_path, "/run/culvert/control.sock");
	assert_int_equal(config->daemon.worker_count, 0);
	assert_int_equal(config->daemon.max_sessions, 65536);
	assert_int_equal(config->daemon.drain_s, 30);
	assert_int_equal(config->daemon.bpf, CV_BPF_AUTO);
	assert_string_equal(config->daemon.pin_directory, "/sys/fs/bpf/culvert");
	assert_true(config->daemon.steer);
	assert_int_equal(config->daemon.max_pipes, 4096);
	for (int i = 0; i < CV_LEVELS; i++) {
		assert_int_equal(config->levels[i].handshake_ms, 60000);
		assert_int_equal(config->levels[i].idle_ms, 300000);
		assert_int_equal(config->levels[i].uplink_only_ms, 0);
	}
	assert_non_null(config->router);
	assert_non_null(config->certificate_key);
	assert_int_equal(config->inbound_count, 1);
	assert_string_equal(config->inbounds[0].tag, "socks-in");
	assert_null(config->inbounds[0].users);
	listens_on(&config->inbounds[0], 0, "127.0.0.1:1080");
	assert_string_equal(config->outbounds[0].tag, "");
	assert_true(config->outbounds[0].block_private);
	assert_null(cv_config_free(config));
}

static void test_comments_and_case(void **state)
{
	struct cv_config *config = config_good(
		"\xef\xbb\xbf// first\n"
		"{ # second\n"
		"  \"LOG\": {\"logLevel\": \"DEBUG\", \"error\": \"/a//b#c/*d*/\"}, /* third\n"
		"  */ \"InBounds\": [" SOCKS "],\n"
		"  \"outbounds\": [" FREEDOM "]\n"
		"} // end");

	(void)state;
	assert_int_equal(config->log_level, CV_LOG_DEBUG);
	assert_string_equal(config->log_error_path, "/a//b#c/*d*/");
	assert_string_equal(config->log_access_path, "");
	cv_config_free(config);
}

static void test_policy_and_culvert(void **state)
{
	struct cv_config *config = config_good(CONFIG(
		SOCKS, FREEDOM,
		", \"policy\": {\"levels\": {\"0\": {\"handshake\": 4, \"uplinkOnly\": 2},"
		" \"15\": {\"connIdle\": 10, \"bufferSize\": 4}}, \"system\": {}}, \"stats\": {},"
		" \"culvert\": {\"workers\": 2, \"engine\": \"copy\", \"controlSocket\": \"\","
		" \"stateDirectory\": \"/s\", \"maxSessions\": 10, \"drainSeconds\": 0,"
		" \"maxPipes\": 7, \"ktls\": \"force\", \"ktlsAfterKB\": 3,"
		" \"bpf\": \"require\", \"pinDirectory\": \"/p\", \"steer\": false}"));

	(void)state;
	assert_int_equal(config->levels[0].handshake_ms, 4000);
	assert_int_equal(config->levels[0].idle_ms, 300000);
	assert_int_equal(config->levels[0].uplink_only_ms, 2000);
	assert_int_equal(config->levels[15].idle_ms, 10000);
	assert_int_equal(config->daemon.worker_count, 2);
	assert_string_equal(config->daemon.engine, "copy");
	assert_string_equal(config->daemon.control_path, "");
	assert_string_equal(config->daemon.state_directory, "/s");
	assert_int_equal(config->daemon.max_sessions, 10);
	assert_int_equal(config->daemon.drain_s, 0);
	assert_int_equal(config->daemon.bpf, CV_BPF_REQUIRE);
	assert_string_equal(config->daemon.pin_directory, "/p");
	assert_false(config->daemon.steer);
	assert_int_equal(config->daemon.max_pipes, 7);
	assert_int_equal(config->daemon.ktls, CV_KTLS_FORCE);
	assert_int_equal(config->daemon.ktls_after_bytes, 3072);
	cv_config_free(config);
	config = config_good(CONFIG(SOCKS, FREEDOM, ""));
	assert_int_equal(config->daemon.ktls, CV_KTLS_AUTO);
	assert_int_equal(config->daemon.ktls_after_bytes, 65536);
	cv_config_free(config);
}

static void test_listen(void **state)
{
	struct cv_config *config = config_good(CONFIG(
		"{\"tag\": \"a\", \"listen\": \"::1\", \"port\": \"53,1000-1002\", \"protocol\": "
		"\"socks\"},"
		"{\"tag\": \"b\", \"listen\": \"/run/x.sock,0660\", \"protocol\": \"socks\"},"
		"{\"tag\": \"c\", \"listen\": \"@name\", \"port\": 1, \"protocol\": \"socks\"},"
		"{\"tag\": \"d\", \"listen\": \"localhost\", \"port\": \"env:CV_TEST_PORT\","
		" \"protocol\": \"socks\"}",
		FREEDOM, ""));

	(void)state;
	assert_int_equal(config->inbounds[0].listen_count, 4);
	listens_on(&config->inbounds[0], 0, "[::1]:53");
	listens_on(&config->inbounds[0], 3, "[::1]:1002");
	listens_on(&config->inbounds[1], 0, "unix:/run/x.sock");
	assert_int_equal(config->inbounds[1].unix_mode, 0660);
	listens_on(&config->inbounds[2], 0, "unix:@name");
	listens_on(&config->inbounds[3], 0, "127.0.0.1:8443");
	cv_config_free(config);
}

/* Without an address: every address, of both families where the machine has both. */
static void test_listen_everywhere(void **state)
{
	struct findings *findings = malloc(sizeof(*findings));
	struct cv_config *config = config_parse(
		CONFIG("{\"port\": 1, \"protocol\": \"socks\"}", FREEDOM, ""), findings);
	const struct cv_sockaddr *address;

	(void)state;
	assert_non_null(config);
	assert_non_null(strstr(findings->text, "open proxy"));
	address = &config->inbounds[0].listen_addresses[0];
	if (address->any.sa_family == AF_INET6)
		assert_memory_equal(&address->in6.sin6_addr, &in6addr_any, 16);
	else
		assert_int_equal(address->in.sin_addr.s_addr, INADDR_ANY);
	cv_config_free(config);
	free(findings);
}

static void test_vless_users(void **state)
{
	struct cv_config *config = config_good(CONFIG(
		"{\"listen\": \"127.0.0.1\", \"port\": 1, \"protocol\": \"vless\", \"settings\": {"
		"\"decryption\": \"none\", \"users\": [{\"id\": \"" ID "\", \"email\": \"a@x\","
		" \"level\": 3, \"testseed\": [1, 2, 3, 4]}, {\"id\": \"hello\"}]},"
		" \"streamSettings\": {\"method\": \"raw\", \"tcpSettings\": {\"header\": "
		"{\"type\": \"none\"}},"
		" \"sockopt\": {\"tproxy\": \"off\"}}}",
		FREEDOM, ""));
	struct cv_user_table *users = config->inbounds[0].users;
	uint8_t uuid[16];
	struct cv_user *user;

	(void)state;
	assert_string_equal(config->inbounds[0].tag, "vless-in");
	assert_int_equal(cv_uuid_parse(ID, uuid), 0);
	user = cv_user_find_uuid(users, uuid);
	assert_string_equal(user->email, "a@x");
	assert_int_equal(user->level, 3);
	assert_int_equal(user->vision_seed[3], 4);
	assert_true(user->enabled && !user->vision);
	assert_int_equal(cv_uuid_parse("hello", uuid), 0);
	assert_non_null(cv_user_find_uuid(users, uuid));
	cv_config_free(config);
}

/* The flow of the settings is for users that name none. */
static void test_vless_flow(void **state)
{
	struct findings *findings = malloc(sizeof(*findings));
	struct cv_config *config = config_parse(
		CONFIG("{\"listen\": \"127.0.0.1\", \"port\": 1, \"protocol\": \"vless\", "
		       "\"settings\": {"
		       "\"decryption\": \"none\", \"flow\": \"xtls-rprx-vision\", \"clients\": ["
		       "{\"id\": \"a\"}, {\"id\": \"b\", \"flow\": \"none\"}]}}",
		       FREEDOM, ""),
		findings);

	(void)state;
	assert_non_null(config);
	assert_true(cv_user_at(config->inbounds[0].users, 0)->vision);
	assert_false(cv_user_at(config->inbounds[0].users, 1)->vision);
	assert_non_null(strstr(findings->text, "needs TLS or REALITY"));
	cv_config_free(config);
	free(findings);
}

static void test_fallbacks(void **state)
{
	struct cv_config *config = config_good(CONFIG(
		"{\"listen\": \"127.0.0.1\", \"port\": 1, \"protocol\": \"vless\", \"settings\": {"
		"\"decryption\": \"none\", \"clients\": [{\"id\": \"a\"}], \"fallbacks\": ["
		"{\"dest\": 80}, {\"name\": \"A.Test\", \"alpn\": \"h2\", \"path\": \"/x\","
		" \"dest\": \"@sock\", \"xver\": 2}]}}",
		FREEDOM, ""));
	const struct cv_inbound *inbound = &config->inbounds[0];

	(void)state;
	is_destination(&inbound->fallbacks[0].destination, "localhost:80");
	assert_string_equal(inbound->fallbacks[1].name, "a.test");
	assert_string_equal(inbound->fallbacks[1].path, "/x");
	assert_int_equal(inbound->fallbacks[1].xver, 2);
	assert_true(inbound->fallbacks[1].unix_address.len_bytes > 0);
	assert_true(inbound->fallback_count > 2); /* inherited */
	cv_config_free(config);
}

static void test_reality_server(void **state)
{
	struct cv_config *config = config_good(CONFIG(
		VLESS(REALITY(", \"dest\": \"127.0.0.1:8443\", \"xver\": 1, \"maxTimeDiff\": 5000,"
			      " \"maxClientVer\": \"27.1\", \"requireMLKEM\": true,"
			      " \"learnInterval\": 60, \"show\": true, \"publicKey\": \"x\"")),
		FREEDOM, ""));
	const struct cv_reality_inbound *reality = config->inbounds[0].reality;
	const struct cv_reality_target *target = &reality->targets[0];
	const struct cv_reality_config *server = &target->reality;
	uint8_t public_key[32];

	(void)state;
	assert_int_equal(config->inbounds[0].security, CV_SECURITY_REALITY);
	assert_int_equal(reality->target_count, 1);
	is_destination(&target->destination, "127.0.0.1:8443");
	assert_string_equal(target->address_text, "127.0.0.1:8443");
	assert_int_equal(target->xver, 1);
	assert_int_equal(server->private_key[0], 2);
	assert_int_equal(server->private_key[31], 33);
	assert_int_equal(server->server_name_count, 1);
	assert_string_equal(server->server_names[0], "a.test");
	assert_int_equal(server->short_id_count, 1);
	assert_memory_equal(server->short_ids[0], "\x01\xab\0\0\0\0\0\0", 8);
	assert_int_equal(server->min_client_version, 26 << 16 | 3 << 8 | 27);
	assert_int_equal(server->max_client_version, 27 << 16 | 1 << 8);
	assert_int_equal(server->max_time_diff_ms, 5000);
	assert_true(server->require_mlkem);
	assert_null(server->mldsa);
	assert_non_null(server->seen_before);
	assert_ptr_equal(server->seen_context, reality->replay);
	assert_ptr_equal(server->certificate_key, config->certificate_key);
	assert_int_equal(cv_ed25519_public(config->certificate_key, public_key), 0);
	assert_memory_equal(server->certificate_public, public_key, 32);
	assert_int_equal(reality->learn_interval_s, 60);
	assert_int_equal(reality->fallback_upload.bytes_per_s, 0);
	cv_config_free(config);
}

static void test_reality_targets(void **state)
{
	struct cv_config *config = config_good(CONFIG(
		VLESS(REALITY(
			", \"target\": 8443, \"minClientVer\": \"\", \"targets\": ["
			"{\"target\": \"/run/b.sock\", \"serverNames\": [\"b.test\", \"\"]},"
			"{\"target\": \"[::1]:99\", \"serverNames\": [\"c.test\"], \"xver\": 2}]")),
		FREEDOM, ""));
	const struct cv_reality_inbound *reality = config->inbounds[0].reality;

	(void)state;
	assert_int_equal(reality->target_count, 3);
	is_destination(&reality->targets[0].destination, "localhost:8443");
	assert_true(reality->targets[1].unix_address.len_bytes > 0);
	assert_int_equal(reality->targets[1].destination.kind, CV_ADDRESS_NONE);
	assert_string_equal(reality->targets[1].server_names[1], "");
	is_destination(&reality->targets[2].destination, "[::1]:99");
	assert_int_equal(reality->targets[2].xver, 2);
	for (int i = 0; i < 3; i++) {
		assert_ptr_equal(reality->targets[i].reality.short_ids, reality->short_ids);
		assert_ptr_equal(reality->targets[i].reality.server_names,
				 reality->targets[i].server_names);
		assert_int_equal(reality->targets[i].reality.private_key[0], 2);
		assert_non_null(reality->targets[i].reality.certificate_key);
	}
	assert_int_equal(reality->targets[2].reality.server_name_count, 1);
	cv_config_free(config);
}

static void test_reality_limits(void **state)
{
	struct findings *findings = malloc(sizeof(*findings));
	struct cv_config *config = config_parse(
		CONFIG(VLESS(REALITY(
			       ", \"target\": \"a.test:443\", \"limitFallbackDownload\": {"
			       "\"afterBytes\": 1, \"bytesPerSec\": 2, \"burstBytesPerSec\": 3}")),
		       FREEDOM, ""),
		findings);

	(void)state;
	assert_non_null(config);
	assert_non_null(strstr(findings->text, "strangers can measure"));
	assert_int_equal(config->inbounds[0].reality->fallback_download.after_bytes, 1);
	assert_int_equal(config->inbounds[0].reality->fallback_download.bytes_per_s, 2);
	assert_int_equal(config->inbounds[0].reality->fallback_download.burst_bytes_per_s, 3);
	assert_int_equal(config->inbounds[0].reality->fallback_upload.bytes_per_s, 0);
	cv_config_free(config);
	free(findings);
}

/* The roots of the machine the tests run on are not theirs to ask for: that one warning may come.
 */
static struct cv_config *config_client(const char *text)
{
	struct findings *findings = malloc(sizeof(*findings));
	struct cv_config *config = config_parse(text, findings);

	if (!config ||
	    findings->warning_count > (strstr(findings->text, "ca-certificates") != NULL))
		fail_msg("%s", findings->text);
	free(findings);
	return config;
}

#define CLIENT_STREAM \
	", \"streamSettings\": {\"security\": \"reality\", \"realitySettings\": {" \
	"\"publicKey\": \"" PUBLIC "\", \"password\": \"" PUBLIC "\", \"shortId\": \"0102\"," \
	" \"fingerprint\": \"firefox\", \"spiderX\": \"/start\"}, \"sockopt\": {" \
	"\"domainStrategy\": \"UseIPv6v4\"}}}"

static void check_client(const char *text)
{
	struct cv_config *config = config_client(text);
	const struct cv_outbound *outbound = &config->outbounds[0];
	uint8_t uuid[16];

	assert_int_equal(outbound->protocol, CV_OUTBOUND_VLESS);
	is_destination(&outbound->server, "vpn.test:8443");
	assert_int_equal(cv_uuid_parse(ID, uuid), 0);
	assert_memory_equal(outbound->uuid, uuid, 16);
	assert_true(outbound->vision);
	assert_int_equal(outbound->security, CV_SECURITY_REALITY);
	assert_string_equal(outbound->server_name, "vpn.test"); /* the address, unless given */
	assert_int_equal(outbound->fingerprint, CV_FINGERPRINT_FIREFOX);
	assert_int_equal(outbound->reality_public[0], 0x07);
	assert_memory_equal(outbound->short_id, "\x01\x02\0\0\0\0\0\0", 8);
	assert_string_equal(outbound->spider_x, "/start");
	assert_int_equal(outbound->strategy, CV_RESOLVE_V6V4);
	assert_int_equal(outbound->level, 2);
	cv_config_free(config);
}

static void test_client_both_forms(void **state)
{
	(void)state;
	check_client(CONFIG(SOCKS,
			    "{\"protocol\": \"vless\", \"settings\": {\"address\": \"vpn.test\","
			    " \"port\": 8443, \"id\": \"" ID
			    "\", \"encryption\": \"none\", \"level\": 2,"
			    " \"flow\": \"xtls-rprx-vision\"}" CLIENT_STREAM,
			    ""));
	check_client(CONFIG(SOCKS,
			    "{\"protocol\": \"vless\", \"settings\": {\"vnext\": [{\"address\":"
			    " \"vpn.test\", \"port\": 8443, \"users\": [{\"id\": \"" ID "\","
			    " \"encryption\": \"none\", \"level\": 2,"
			    " \"flow\": \"xtls-rprx-vision-udp443\"}]}]}" CLIENT_STREAM,
			    ""));
}

#define NEAR_VLESS(more) \
	CONFIG(SOCKS, \
	       "{\"protocol\": \"vless\", \"settings\": {\"address\": \"10.0.0.1\", \"port\": 1," \
	       " \"id\": \"a\", \"encryption\": \"none\"" more "}}", \
	       "")

static void test_client_datagrams(void **state)
{
	static const struct {
		const char *text;
		enum cv_packet_encoding packets;
	} cases[] = {
		{NEAR_VLESS(""), CV_PACKETS_AUTO},
		{NEAR_VLESS(", \"packetEncoding\": \"\""), CV_PACKETS_AUTO},
		{NEAR_VLESS(", \"packetEncoding\": \"xudp\""), CV_PACKETS_XUDP},
		{NEAR_VLESS(", \"packet_encoding\": \"None\""), CV_PACKETS_PLAIN},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct cv_config *config = config_client(cases[i].text);

		assert_int_equal(config->outbounds[0].packets, cases[i].packets);
		assert_false(config->outbounds[0].udp443);
		cv_config_free(config);
	}
}

static void test_client_server_name(void **state)
{
	struct cv_config *config =
		config_client(CONFIG(SOCKS,
				     "{\"protocol\": \"vless\", \"settings\": {\"address\": "
				     "\"[2001:db8::1]\", \"port\": 1,"
				     " \"id\": \"a\", \"encryption\": \"none\"}, "
				     "\"streamSettings\": {\"security\": \"reality\","
				     " \"realitySettings\": {\"password\": \"" PUBLIC "\"}}}",
				     ""));

	(void)state;
	assert_string_equal(config->outbounds[0].server_name, "2001:db8::1");
	assert_string_equal(config->outbounds[0].spider_x, "/");
	assert_int_equal(config->outbounds[0].fingerprint, CV_FINGERPRINT_CHROME);
	assert_false(config->outbounds[0].vision);
	cv_config_free(config);
}

static void test_freedom_and_blackhole(void **state)
{
	struct cv_config *config = config_good(CONFIG(
		SOCKS,
		"{\"tag\": \"a\", \"protocol\": \"direct\", \"settings\": {\"redirect\": \":8080\","
		" \"domainStrategy\": \"UseIPv4\", \"finalRules\": [{\"action\": \"allow\"}]}},"
		"{\"tag\": \"b\", \"protocol\": \"freedom\", \"settings\": {\"redirect\": "
		"\"[::1]:0\","
		" \"targetStrategy\": \"ForceIPv6\","
		" \"proxyProtocol\": 2, \"userLevel\": 1, \"allowPrivate\": true}},"
		"{\"tag\": \"c\", \"protocol\": \"freedom\", \"targetStrategy\": \"useipv4v6\"},"
		"{\"tag\": \"d\", \"protocol\": \"blackhole\"},"
		"{\"tag\": \"e\", \"protocol\": \"block\", \"settings\": {\"response\": {\"type\": "
		"\"http\"}}}",
		""));
	const struct cv_outbound *outbounds = config->outbounds;

	(void)state;
	assert_int_equal(outbounds[0].redirect.kind, CV_ADDRESS_NONE);
	assert_int_equal(outbounds[0].redirect.port, 8080);
	assert_int_equal(outbounds[0].strategy, CV_RESOLVE_V4);
	assert_false(outbounds[0].block_private);
	is_destination(&outbounds[1].redirect, "[::1]:0");
	assert_int_equal(outbounds[1].strategy, CV_RESOLVE_V6);
	assert_true(outbounds[1].force_ip);
	assert_int_equal(outbounds[1].proxy_protocol, 2);
	assert_int_equal(outbounds[1].level, 1);
	assert_false(outbounds[1].block_private);
	assert_int_equal(outbounds[2].strategy, CV_RESOLVE_V4V6);
	assert_true(outbounds[2].block_private);
	assert_false(outbounds[3].respond_http);
	assert_true(outbounds[4].respond_http);
	cv_config_free(config);
}

static enum cv_route_result route(const struct cv_config *config, const char *host, uint16_t port,
				  const char *user, uint32_t *outbound)
{
	struct cv_destination destination;
	const struct cv_route_query query = {.inbound_tag = "socks-in",
					     .user_email = user,
					     .user_name = "",
					     .destination = &destination,
					     .vless_route = CV_VLESS_ROUTE_NONE};
	uint32_t rule;

	assert_int_equal(cv_destination_set_text(&destination, host, port), 0);
	return cv_router_pick(config->router, &query, outbound, &rule);
}

static void test_routing(void **state)
{
	struct cv_config *config = config_good(CONFIG(
		SOCKS,
		"{\"tag\": \"a\", \"protocol\": \"freedom\"}, {\"tag\": \"b\", \"protocol\": "
		"\"block\"}",
		", \"routing\": {\"domainStrategy\": \"ipifnonmatch\", \"domainMatcher\": "
		"\"hybrid\", \"rules\": ["
		"{\"type\": \"field\", \"domain\": \"full:a.test,domain:b.test\", \"outboundTag\": "
		"\"b\"},"
		"{\"ip\": [\"geoip:private\"], \"port\": \"1-100,443\", \"network\": \"tcp,udp\","
		" \"inboundTag\": [\"socks-in\"], \"ruleTag\": \"x\", \"outboundTag\": \"b\"},"
		"{\"user\": [\"regexp:^eve@\"], \"outboundTag\": \"b\"},"
		"{\"domains\": [], \"port\": 9999, \"outboundTag\": \"b\"}]}"));
	uint32_t outbound = 99;

	(void)state;
	assert_int_equal(route(config, "a.test", 1, "", &outbound), CV_ROUTE_OUTBOUND);
	assert_int_equal(outbound, 1);
	assert_int_equal(route(config, "x.b.test", 1, "", &outbound), CV_ROUTE_OUTBOUND);
	assert_int_equal(route(config, "x.a.test", 1, "", &outbound), CV_ROUTE_RESOLVE);
	assert_int_equal(route(config, "10.0.0.1", 443, "", &outbound), CV_ROUTE_OUTBOUND);
	assert_int_equal(route(config, "10.0.0.1", 444, "", &outbound), CV_ROUTE_DEFAULT);
	assert_int_equal(route(config, "8.8.8.8", 443, "", &outbound), CV_ROUTE_DEFAULT);
	assert_int_equal(route(config, "8.8.8.8", 443, "eve@x", &outbound), CV_ROUTE_OUTBOUND);
	assert_int_equal(route(config, "8.8.8.8", 9999, "", &outbound), CV_ROUTE_OUTBOUND);
	cv_config_free(config);
}

static void test_socks_accounts(void **state)
{
	struct cv_config *config = config_good(CONFIG(
		"{\"listen\": \"127.0.0.1\", \"port\": 1, \"protocol\": \"socks\", \"settings\": {"
		"\"auth\": \"password\", \"userLevel\": 4, \"accounts\": [{\"user\": \"bob\","
		" \"pass\": \"pw\"}]}}",
		FREEDOM, ""));
	struct cv_user_table *users = config->inbounds[0].users;

	bool is_known = false;

	(void)state;
	assert_int_equal(config->inbounds[0].level, 4);
	assert_string_equal(cv_user_find_login(users, "bob", 3, &is_known)->password, "pw");
	assert_true(is_known);
	assert_int_equal(cv_user_find_login(users, "bob", 3, &is_known)->level, 4);
	cv_config_free(config);
}

static void test_socks_commands(void **state)
{
	struct cv_config *config = config_good(CONFIG(
		SOCKS ", {\"listen\": \"127.0.0.1\", \"port\": 2, \"protocol\": \"mixed\","
		" \"tag\": \"b\", \"settings\": {\"udp\": true, \"ip\": \"192.0.2.1\","
		" \"bind\": true, \"bindIp\": \"2001:db8::1\"}}",
		FREEDOM, ""));

	(void)state;
	assert_false(config->inbounds[0].serves_udp);
	assert_false(config->inbounds[0].serves_bind);
	assert_int_equal(config->inbounds[0].udp_address.kind, CV_ADDRESS_NONE);
	assert_true(config->inbounds[1].serves_udp);
	assert_int_equal(config->inbounds[1].udp_address.kind, CV_ADDRESS_IPV4);
	assert_true(config->inbounds[1].serves_bind);
	assert_int_equal(config->inbounds[1].bind_address.kind, CV_ADDRESS_IPV6);
	assert_int_equal(config->daemon.max_associations, 4096);
	assert_int_equal(config->daemon.max_user_associations, 256);
	cv_config_free(config);
}

static struct cv_mux_settings mux_of(const char *mux)
{
	char text[1024];
	struct cv_config *config;
	struct cv_mux_settings settings;

	snprintf(text, sizeof(text),
		 CONFIG(SOCKS,
			"{\"protocol\": \"vless\", \"settings\": {\"address\": \"10.0.0.1\","
			" \"port\": 1, \"id\": \"a\", \"encryption\": \"none\"}%s}",
			""),
		 mux);
	config = config_good(text);
	settings = config->outbounds[0].mux;
	assert_int_equal(config->daemon.max_streams, 1024);
	cv_config_free(config);
	return settings;
}

static void test_mux(void **state)
{
	struct cv_mux_settings mux = mux_of("");

	(void)state;
	assert_false(mux.enabled);
	mux = mux_of(", \"mux\": {\"enabled\": false, \"concurrency\": 100}");
	assert_false(mux.enabled);
	mux = mux_of(", \"mux\": {\"enabled\": true}");
	assert_true(mux.enabled);
	assert_int_equal(mux.concurrency, 8);
	assert_int_equal(mux.xudp_concurrency, 0);
	assert_false(mux.udp_apart);
	assert_int_equal(mux.udp443, CV_MUX_UDP443_REJECT);
	mux = mux_of(", \"mux\": {\"enabled\": true, \"concurrency\": 0,"
		     " \"xudpConcurrency\": 16, \"xudpProxyUDP443\": \"skip\"}");
	assert_int_equal(mux.concurrency, 8);
	assert_int_equal(mux.xudp_concurrency, 16);
	assert_int_equal(mux.udp443, CV_MUX_UDP443_SKIP);
	mux = mux_of(", \"mux\": {\"enabled\": true, \"concurrency\": -1,"
		     " \"xudpConcurrency\": -1}");
	assert_true(mux.enabled && mux.udp_apart);
	assert_int_equal(mux.concurrency, 0);
}

#define OUT(stream) \
	"{\"protocol\": \"vless\", \"settings\": {\"address\": \"127.0.0.1\", \"port\": 1, " \
	"\"id\": \"" ID "\", \"encryption\": \"none\"}, \"streamSettings\": " stream "}"

static void is_transport(const struct cv_transport *transport, enum cv_transport_kind kind,
			 const char *path, const char *host, const char *headers)
{
	assert_non_null(transport);
	assert_int_equal(transport->kind, kind);
	assert_string_equal(transport->path, path);
	assert_string_equal(transport->host, host);
	assert_string_equal(transport->headers, headers);
}

static void test_transports_in(void **state)
{
	struct cv_config *config = config_good(CONFIG(
		VLESS(", \"streamSettings\": {\"network\": \"ws\", \"wsSettings\": "
		      "{\"path\": \"x?ed=1\", \"host\": \"a.test\", "
		      "\"acceptProxyProtocol\": true}}")
		", " VLESS(", \"streamSettings\": {\"network\": \"httpupgrade\"}")
		", " VLESS(", \"streamSettings\": {\"network\": \"h2\", \"httpSettings\": "
			   "{\"path\": \"/y\", \"host\": [\"a.test\", \"b.test\"]}}")
		", " VLESS(", \"streamSettings\": {\"network\": \"raw\", \"wsSettings\": "
			   "{\"path\": \"/z\"}}"),
		FREEDOM, ""));

	(void)state;
	is_transport(config->inbounds[0].transport, CV_TRANSPORT_WEBSOCKET, "/x", "a.test", "");
	assert_true(config->inbounds[0].accepts_proxy);
	is_transport(config->inbounds[1].transport, CV_TRANSPORT_HTTPUPGRADE, "/", "", "");
	assert_false(config->inbounds[1].accepts_proxy);
	is_transport(config->inbounds[2].transport, CV_TRANSPORT_H2, "/y", "a.test,b.test", "");
	assert_null(config->inbounds[3].transport);
	cv_config_free(config);
}

static void test_transports_out(void **state)
{
	struct cv_config *config = config_good(CONFIG(
		SOCKS,
		OUT("{\"network\": \"websocket\", \"wsSettings\": {\"path\": \"/x?a=1&ed=2048&b\", "
		    "\"headers\": {\"Host\": \"old.test\", \"X-Y\": \"z\"}}}") ", "
		OUT("{\"network\": \"ws\", \"wsSettings\": {\"path\": \"/?ed=512\", \"host\": "
		    "\"new.test\", \"headers\": {\"host\": \"old.test\"}}}") ", "
		OUT("{\"network\": \"httpupgrade\", \"httpupgradeSettings\": {\"host\": \"a\", "
		    "\"headers\": {\"X-Y\": \"z\"}}}") ", "
		OUT("{\"network\": \"http\", \"httpSettings\": {\"host\": [\"a\", \"b\"], "
		    "\"method\": \"POST\", \"headers\": {\"X\": [\"1\", \"2\"]}}}"), ""));
	const struct cv_outbound *out = config->outbounds;

	(void)state;
	is_transport(out[0].transport, CV_TRANSPORT_WEBSOCKET, "/x?a=1&b", "old.test",
		     "X-Y: z\r\n");
	assert_int_equal(out[0].transport->early_bytes, 2048);
	is_transport(out[1].transport, CV_TRANSPORT_WEBSOCKET, "/", "new.test", "");
	assert_int_equal(out[1].transport->early_bytes, 512);
	is_transport(out[2].transport, CV_TRANSPORT_HTTPUPGRADE, "/", "a", "X-Y: z\r\n");
	assert_int_equal(out[2].transport->early_bytes, 0);
	is_transport(out[3].transport, CV_TRANSPORT_H2, "/", "a", "X: 1\r\nX: 2\r\n");
	assert_string_equal(out[3].transport->method, "POST");
	cv_config_free(config);
}

/* A browser's hello for a WebSocket does not offer h2. */
static void test_transports_alpn(void **state)
{
	static struct findings findings; /* warnings: it is insecure */
	struct cv_config *config = config_parse(CONFIG(
		SOCKS,
		OUT("{\"network\": \"ws\", \"security\": \"tls\", \"tlsSettings\": "
		    "{\"allowInsecure\": true}}") ", "
		OUT("{\"network\": \"h2\", \"security\": \"tls\", \"tlsSettings\": "
		    "{\"allowInsecure\": true}}"), ""), &findings);

	(void)state;
	assert_non_null(config);
	assert_string_equal(config->outbounds[0].alpn[0], "http/1.1");
	assert_null(config->outbounds[0].alpn[1]);
	assert_string_equal(config->outbounds[1].alpn[0], "h2");
	assert_null(config->outbounds[1].alpn[1]);
	cv_config_free(config);
}

static void test_file_errors(void **state)
{
	struct cv_config *config = NULL;

	(void)state;
	assert_int_equal(cv_config_load("/nonexistent/x.json", NULL, &config), -ENOENT);
	assert_int_equal(cv_config_load("/", NULL, &config), -EISDIR);
	assert_null(config);
	assert_null(cv_config_free(NULL));
}

/* The examples that are shipped; tests run where the sources are. Keys that everybody could read
 * are in none of them. */
static void test_examples(void **state)
{
	static const struct {
		const char *path;
		const char *missing[4]; /* what there is to fill in; none: it is complete */
	} examples[] = {
		{"conf/vless-tls.json", {NULL}},
		{"conf/bridge.json", {"users[0].id: expected a UUID"}},
		{"conf/portal.json", {"clients[0].id: expected a UUID"}},
		{"conf/client.json", {"settings.id: expected", "password: expected base64",
				      "shortId: expected"}},
		{"conf/vpn-server.json",
		 {"privateKey: expected base64", "combined.pem: No such file",
		  "culvert user set-id alice", "culvert user set-id carol"}},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(examples) / sizeof(examples[0]); i++) {
		struct findings *findings = calloc(1, sizeof(*findings));
		const struct cv_config_report report = {.line = findings_add, .context = findings};
		struct cv_config *config = NULL;
		const int error = cv_config_load(examples[i].path, &report, &config);

		if (!examples[i].missing[0] && error)
			fail_msg("%s:\n%s", examples[i].path, findings->text);
		if (examples[i].missing[0])
			assert_int_equal(error, CV_INTERNAL_CONFIG);
		for (size_t m = 0; m < 4 && examples[i].missing[m]; m++)
			if (!strstr(findings->text, examples[i].missing[m]))
				fail_msg("%s: no \"%s\" in\n%s", examples[i].path,
					 examples[i].missing[m], findings->text);
		cv_config_free(config);
		free(findings);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_comments_and_case),
		cmocka_unit_test(test_policy_and_culvert),
		cmocka_unit_test(test_listen),
		cmocka_unit_test(test_listen_everywhere),
		cmocka_unit_test(test_vless_users),
		cmocka_unit_test(test_vless_flow),
		cmocka_unit_test(test_fallbacks),
		cmocka_unit_test(test_reality_server),
		cmocka_unit_test(test_reality_targets),
		cmocka_unit_test(test_reality_limits),
		cmocka_unit_test(test_client_both_forms),
		cmocka_unit_test(test_client_datagrams),
		cmocka_unit_test(test_client_server_name),
		cmocka_unit_test(test_freedom_and_blackhole),
		cmocka_unit_test(test_routing),
		cmocka_unit_test(test_socks_accounts),
		cmocka_unit_test(test_socks_commands),
		cmocka_unit_test(test_mux),
		cmocka_unit_test(test_transports_in),
		cmocka_unit_test(test_transports_out),
		cmocka_unit_test(test_transports_alpn),
		cmocka_unit_test(test_file_errors),
		cmocka_unit_test(test_examples),
	};

	setenv("CV_TEST_PORT", "8443", 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
