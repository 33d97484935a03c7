// SPDX-License-Identifier: MIT
/* test_config_errors.c - each kind of finding, with its place; all of them; and nothing half
 * applied. */
#include "config_text.h"

#include <culvert/reason.h>

#define ID "b831381d-6324-4d53-ad4f-8cda48b30811"
#define KEY "AgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4fICE"
#define SOCKS "{\"listen\": \"127.0.0.1\", \"port\": 1080, \"protocol\": \"socks\"}"
#define OUT "\"outbounds\": [{\"protocol\": \"freedom\"}]"
#define IN "\"inbounds\": [" SOCKS "]"
#define VLESS "\"listen\": \"127.0.0.1\", \"port\": 1, \"protocol\": \"vless\""
#define USER "{\"id\": \"" ID "\", \"email\": \"a@x\"}"
#define SETTINGS "\"settings\": {\"decryption\": \"none\", \"clients\": [" USER "]}"
#define REALITY \
	"\"target\": \"a.test:443\", \"serverNames\": [\"a.test\"], \"privateKey\": \"" KEY \
	"\", \"shortIds\": [\"\"]"

/* One finding of a whole file; lines count from the start of each text. */
static const struct {
	bool is_error;
	const char *text, *finding;
} files[] = {
	{true, "", "f.json:1: the file ends inside a value"},
	{true, "[]", "f.json:1: expected an object"},
	{true, "{\n\n/* no end", "f.json:3: this comment has no end"},
	{true, "{\n\"a\": 1\n", "f.json:3: the file ends inside a value"},
	{true, "{\n\"a\" 1}", "f.json:2: "},
	{true, "{\n\"a\": [1,\n2,]}", "f.json:3: "},
	{true, "{" IN ", " OUT "}\nx", "f.json:2: "},
	{true, "{" IN "}", "f.json:1: outbounds: expected at least one outbound, found none"},
	{true, "{" OUT "}", "f.json:1: inbounds: expected at least one inbound, found none"},
	{true, "{\"inbounds\": 5, " OUT "}", "f.json:1: inbounds: expected a list, found 5"},
	{false, "{" IN ", " OUT ",\n\"nonsense\": 1}", "f.json:2: nonsense: unknown key, ignored"},
	{false, "{" IN ",\n" OUT ", \"dns\": {\"servers\": []}}", "f.json:2: dns: not supported"},
	{false, "{" IN ", " OUT ", \"log\": {\n\"error\": \"a\",\n\"error\": \"b\"}}",
	 "f.json:3: error: given twice"},
	{true, "{" IN ", " OUT ", \"fakedns\": [{}]}", "f.json:1: fakedns: not supported"},
	{false, "{" IN ", " OUT ", \"reverse\": {\"a\": 1}}", "f.json:1: reverse.a: unknown key"},
	{true, "{" IN ", " OUT ", \"reverse\": {\"portals\": [{\"tag\": \"p\"}]}}",
	 "f.json:1: reverse.portals[0].domain: required, but missing"},
	{true, "{" IN ", " OUT ", \"reverse\": {\"bridges\": ["
	 "{\"tag\": \"b\", \"domain\": \"1.2.3.4\"}]}}",
	 "f.json:1: reverse.bridges[0].domain: expected a domain, which need not exist"},
	{true, "{" IN ", " OUT ",\n\"log\": {\"loglevel\": \"loud\"}}",
	 "f.json:2: log.loglevel: expected one of debug, info, warning, error, none, found "
	 "\"loud\""},
	{true, "{" IN ", " OUT ", \"log\": {\"error\": 5}}",
	 "f.json:1: log.error: expected a string, found 5"},
	{true, "{" IN ", " OUT ", \"log\": {\"error\": \"a\\u0000b\"}}",
	 "f.json:1: log.error: expected a string without NUL"},
	{true, "{" IN ", " OUT ", \"policy\": {\"levels\": {\"0\": {\"handshake\": 0}}}}",
	 "f.json:1: policy.levels.0.handshake: expected a number of seconds from 1 to 86400, found "
	 "0"},
	{true, "{" IN ", " OUT ", \"policy\": {\"levels\": {\"16\": {}}}}",
	 "f.json:1: policy.levels.16: expected a level from \"0\" to \"15\""},
	{true, "{" IN ", " OUT ", \"culvert\": {\"workers\": 1.5}}",
	 "f.json:1: culvert.workers: expected a number from 0 to 256, found 1.5"},
	{true, "{" IN ", " OUT ", \"culvert\": {\"engine\": \"steam\"}}",
	 "f.json:1: culvert.engine: expected one of auto, copy, splice, sockmap, found \"steam\""},
	{true, "{" IN ", " OUT ", \"culvert\": {\"pinDirectory\": \"x\"}}",
	 "f.json:1: culvert: pinDirectory: expected an absolute path"},
	{true, "{" IN ", " OUT ", \"culvert\": {\"controlSocket\": \"x\"}}",
	 "f.json:1: culvert: controlSocket: expected an absolute path"},
	{true, "{" IN ", " OUT ", \"culvert\": {\"stateDirectory\": \"x\"}}",
	 "f.json:1: culvert: stateDirectory: expected an absolute path"},
};

static void test_files(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		config_finds(files[i].text, files[i].is_error, files[i].finding);
}

/* Findings about the only inbound, which stands on line 2. */
static const struct {
	bool is_error;
	const char *inbound, *finding;
} inbounds[] = {
	{true, "{\"port\": 1}", "protocol: required, but missing"},
	{true, "{\"port\": 1, \"protocol\": \"pigeon\"}",
	 "protocol: expected one of vless, socks, mixed, edge, http"},
	{true, "{\"port\": 1, \"protocol\": \"trojan\"}", "protocol: \"trojan\" is not supported"},
	{true, "{\"protocol\": \"socks\"}", "port: required, but missing"},
	{true, "{\"port\": \"x\", \"protocol\": \"socks\"}", "port: expected ports like"},
	{true, "{\"port\": -1, \"protocol\": \"socks\"}", "port: expected ports like"},
	{true, "{\"port\": 0, \"protocol\": \"socks\"}", "port: expected 1 to 4096 ports"},
	{true, "{\"port\": \"9-8\", \"protocol\": \"socks\"}", "port: expected ports like"},
	{true, "{\"port\": \"1-65535\", \"protocol\": \"socks\"}",
	 "port: expected 1 to 4096 ports"},
	{true, "{\"port\": \"env:CV_TEST_UNSET\", \"protocol\": \"socks\"}",
	 "port: the environment has no"},
	{true, "{\"port\": 1, \"listen\": \"a.test\", \"protocol\": \"socks\"}",
	 "listen: expected an IP address"},
	{true, "{\"listen\": \"/\", \"protocol\": \"socks\", \"settings\": 5}",
	 "settings: expected an object, found 5"},
	{true, "{\"listen\": \"@\", \"protocol\": \"socks\"}", "listen: expected a unix socket"},
	{false, "{\"port\": 1, \"protocol\": \"socks\"}", " an open proxy for everybody"},
	{false, "{\"port\": 1, \"protocol\": \"mixed\"}", " an open proxy for everybody"},
	{true,
	 "{\"listen\": \"127.0.0.1\", \"port\": 1, \"protocol\": \"socks\", \"sniffing\": "
	 "{\"enabled\": true, \"destOverride\": [\"http\", \"quic\"]}}",
	 "sniffing.destOverride[1]: \"quic\" is not supported by this version of culvert"},
	{true,
	 "{\"listen\": \"127.0.0.1\", \"port\": 1, \"protocol\": \"socks\", \"sniffing\": "
	 "{\"enabled\": true, \"destOverride\": \"fakedns\"}}",
	 "sniffing.destOverride: \"fakedns\" is not supported"},
	{true,
	 "{\"listen\": \"127.0.0.1\", \"port\": 1, \"protocol\": \"socks\", \"sniffing\": "
	 "{\"enabled\": true, \"metadataOnly\": true}}",
	 "sniffing.metadataOnly: not supported"},
	{true,
	 "{\"listen\": \"127.0.0.1\", \"port\": 1, \"protocol\": \"socks\", \"sniffing\": "
	 "{\"enabled\": true, \"ipsExcluded\": [\"x\"]}}",
	 "sniffing.ipsExcluded[0]: neither an IP address"},
	{true,
	 "{\"listen\": \"127.0.0.1\", \"port\": 1, \"protocol\": \"edge\", \"sniffing\": "
	 "{\"enabled\": true}}",
	 "sniffing: the edge reads names by itself"},
	{true, "{\"port\": 1, \"protocol\": \"socks\", \"settings\": {\"auth\": \"password\"}}",
	 "settings.accounts: expected at least one account, found none"},
	{true,
	 "{\"port\": 1, \"protocol\": \"socks\", \"settings\": {\"accounts\": [{\"user\": \"a\","
	 " \"pass\": \"b\"}]}}",
	 "settings: users are listed, but auth is \"noauth\""},
	{true,
	 "{\"port\": 1, \"protocol\": \"socks\", \"settings\": {\"auth\": \"password\","
	 " \"accounts\": [{\"user\": \"a\", \"pass\": \"$6$x\"}]}}",
	 "settings.accounts[0].pass: the hash is cut or damaged"},
	{true,
	 "{\"port\": 1, \"protocol\": \"socks\", \"settings\": {\"auth\": \"password\","
	 " \"accounts\": [{\"user\": \"a\", \"pass\": \"\"}]}}",
	 "settings.accounts[0].pass: expected a password of 1 to 255 bytes"},
	{true,
	 "{\"port\": 1, \"protocol\": \"socks\", \"settings\": {\"auth\": \"password\","
	 " \"accounts\": [{\"user\": \"a\", \"pass\": \"b\"}, {\"user\": \"a\", \"pass\": "
	 "\"c\"}]}}",
	 "settings.accounts[1].user: same name as a"},
	{true, "{\"port\": 1, \"protocol\": \"socks\", \"settings\": {\"udp_ip\": \"a.test\"}}",
	 "settings.ip: expected an IP address that others can reach, found \"a.test\""},
	{true, "{\"port\": 1, \"protocol\": \"socks\", \"settings\": {\"ip\": \"0.0.0.0\"}}",
	 "settings.ip: expected an IP address that others can reach"},
	{true, "{\"port\": 1, \"protocol\": \"mixed\", \"settings\": {\"bindIp\": \"::\"}}",
	 "settings.bindIp: expected an IP address that others can reach"},
	{true, "{\"port\": 1, \"protocol\": \"socks\", \"settings\": {\"udp\": \"yes\"}}",
	 "settings.udp: expected true or false"},
	{true, "{\"port\": 1, \"protocol\": \"http\", \"settings\": {\"accounts\": []}}",
	 "settings.accounts: expected at least one account, found none"},
	{true, "{\"port\": 1, \"protocol\": \"http\", \"settings\": {\"allowTransparent\": true}}",
	 "settings.allowTransparent: "},
	{true, "{\"port\": 1, \"protocol\": \"http\", \"settings\": {\"hide\": true}}",
	 "settings.hide: expected "},
	{false, "{\"port\": 1, \"protocol\": \"http\"}", " an open proxy for everybody"},
	{true,
	 "{\"port\": 1, \"protocol\": \"socks\", \"streamSettings\": {\"security\": \"reality\"}}",
	 " REALITY without VLESS is not supported"},
	{true,
	 "{\"port\": 1, \"protocol\": \"socks\", \"streamSettings\": {\"security\": \"tls\","
	 " \"tlsSettings\": {}}}",
	 "streamSettings.tlsSettings.certificates: required, but missing"},
	{true,
	 "{\"port\": 1, \"protocol\": \"socks\", \"streamSettings\": {\"security\": \"tls\","
	 " \"tlsSettings\": {\"certificates\": [{\"certificate\": [\"x\"]}]}}}",
	 "streamSettings.tlsSettings.certificates[0].keyFile: required, but missing"},
	{true, "{" VLESS "}", "settings.decryption: required, but missing"},
	{true, "{" VLESS ", \"settings\": {\"decryption\": \"x\"}}",
	 "settings.decryption: VLESS encryption"},
	{false, "{" VLESS ", \"settings\": {\"decryption\": \"none\"}}", "settings: no users"},
	{true, "{" VLESS ", \"settings\": {\"decryption\": \"none\", \"clients\": [{}]}}",
	 "settings.clients[0].id: required, but missing"},
	{true,
	 "{" VLESS ", \"settings\": {\"decryption\": \"none\", \"clients\": [{\"id\": "
	 "\"0123456789012345678901234567890\"}]}}",
	 "settings.clients[0].id: expected a UUID or a text of 1 to 30 bytes, found a string of 31 "
	 "bytes"},
	{true,
	 "{" VLESS ", \"settings\": {\"decryption\": \"none\", \"clients\": [{\"id\": \"a\", "
	 "\"flow\": \"x\"}]}}",
	 "settings.clients[0].flow: expected \"\" or \"xtls-rprx-vision\", found \"x\""},
	{true,
	 "{" VLESS ", \"settings\": {\"decryption\": \"none\", \"clients\": [" USER ","
	 "{\"id\": \"b\", \"email\": \"A@X\"}]}}",
	 "settings.clients[1].email: same email as a@x"},
	{true,
	 "{" VLESS ", \"settings\": {\"decryption\": \"none\", \"clients\": [" USER ","
	 "{\"id\": \"b831381d-6324-0000-ad4f-8cda48b30811\"}]}}",
	 "settings.clients[1].id: same id as a@x"},
	{true,
	 "{" VLESS ", \"settings\": {\"decryption\": \"none\", \"clients\": [{\"id\": \"a\", "
	 "\"level\": 16}]}}",
	 "settings.clients[0].level: expected a number from 0 to 15, found 16"},
	{true,
	 "{" VLESS ", \"settings\": {\"decryption\": \"none\", \"clients\": [{\"id\": \"a\","
	 " \"encryption\": \"none\"}]}}",
	 "settings.clients[0].encryption: not supported"},
	{true,
	 "{" VLESS ", \"settings\": {\"decryption\": \"none\", \"clients\": [{\"id\": \"a\","
	 " \"testseed\": [1, 2]}]}}",
	 "settings.clients[0].testseed: expected 4 numbers, found 2"},
	{true,
	 "{" VLESS
	 ", \"settings\": {\"decryption\": \"none\", \"fallbacks\": [{\"path\": \"x\"}]}}",
	 "settings.fallbacks[0].dest: required, but missing"},
	{true,
	 "{" VLESS ", \"settings\": {\"decryption\": \"none\", \"fallbacks\": [{\"path\": \"x\", "
	 "\"dest\": 1}]}}",
	 "settings.fallbacks[0].path: expected a path that starts with \"/\", found \"x\""},
	{true,
	 "{" VLESS
	 ", \"settings\": {\"decryption\": \"none\", \"fallbacks\": [{\"dest\": \"x\"}]}}",
	 "settings.fallbacks[0].dest: expected host:port"},
	{true, "{" VLESS ", " SETTINGS ", \"streamSettings\": {\"network\": \"grpc\"}}",
	 "streamSettings.network: \"grpc\" is not supported"},
	{true,
	 "{" VLESS ", " SETTINGS ", \"streamSettings\": {\"network\": \"ws\", \"wsSettings\": "
	 "{\"path\": \"/a b\"}}}",
	 "streamSettings.wsSettings.path: expected a path"},
	{true,
	 "{" VLESS ", " SETTINGS ", \"streamSettings\": {\"network\": \"ws\", \"wsSettings\": "
	 "{\"host\": \"a/b\"}}}",
	 "streamSettings.wsSettings: expected a host name"},
	{true,
	 "{" VLESS ", " SETTINGS ", \"streamSettings\": {\"network\": \"ws\", \"wsSettings\": "
	 "{\"headers\": {\"Upgrade\": \"x\"}}}}",
	 "streamSettings.wsSettings.headers.Upgrade: is not to be chosen"},
	{true,
	 "{" VLESS ", " SETTINGS ", \"streamSettings\": {\"network\": \"httpupgrade\", "
	 "\"httpupgradeSettings\": {\"headers\": {\"Host\": \"x\"}}}}",
	 "streamSettings.httpupgradeSettings.headers: expected \"host\" instead"},
	{false,
	 "{" VLESS ", " SETTINGS ", \"streamSettings\": {\"network\": \"ws\", \"wsSettings\": "
	 "{\"heartbeatPeriod\": 10}}}",
	 "streamSettings.wsSettings.heartbeatPeriod: not supported"},
	{true, "{" VLESS ", " SETTINGS ", \"streamSettings\": {\"security\": \"rot13\"}}",
	 "streamSettings.security: expected one of none, tls, reality, found \"rot13\""},
	{true,
	 "{" VLESS ", " SETTINGS
	 ", \"streamSettings\": {\"rawSettings\": {\"acceptProxyProtocol\": 1}}}",
	 "streamSettings.rawSettings.acceptProxyProtocol: expected true or false"},
	{true,
	 "{" VLESS ", " SETTINGS
	 ", \"streamSettings\": {\"sockopt\": {\"proxyProtocolFrom\": \"10.0.0.1\"}}}",
	 "streamSettings.sockopt.proxyProtocolFrom: has no meaning without acceptProxyProtocol"},
	{true,
	 "{" VLESS ", " SETTINGS ", \"streamSettings\": {\"sockopt\": "
	 "{\"acceptProxyProtocol\": true, \"proxyProtocolFrom\": [\"10.0.0.1\", \"front\"]}}}",
	 "streamSettings.sockopt.proxyProtocolFrom[1]: "},
	{true,
	 "{" VLESS ", " SETTINGS
	 ", \"streamSettings\": {\"rawSettings\": {\"header\": {\"type\": \"http\"}}}}",
	 "streamSettings.rawSettings.header.type: not supported"},
	{true,
	 "{" VLESS ", " SETTINGS ", \"streamSettings\": {\"sockopt\": {\"tproxy\": \"redirect\"}}}",
	 "streamSettings.sockopt.tproxy: not supported"},
	{false,
	 "{" VLESS ", " SETTINGS ", \"streamSettings\": {\"sockopt\": {\"tcpFastOpen\": true}}}",
	 "streamSettings.sockopt.tcpFastOpen: not supported"},
	{false, "{\"listen\": \"0.0.0.0\", \"port\": 1, \"protocol\": \"vless\", " SETTINGS "}",
	 " VLESS without TLS or REALITY is readable"},
	{true, "{" VLESS ", " SETTINGS ", \"streamSettings\": {\"security\": \"reality\"}}",
	 "streamSettings.realitySettings: required by security"},
};

static void test_inbounds(void **state)
{
	char text[2048], finding[512];

	(void)state;
	for (size_t i = 0; i < sizeof(inbounds) / sizeof(inbounds[0]); i++) {
		snprintf(text, sizeof(text), "{" OUT ", \"inbounds\": [\n%s]}",
			 inbounds[i].inbound);
		snprintf(finding, sizeof(finding), "f.json:2: inbounds[0]%s%s",
			 inbounds[i].finding[0] == ' ' ? ":" : ".", inbounds[i].finding);
		config_finds(text, inbounds[i].is_error, finding);
	}
}

/* Findings in realitySettings: keys that replace or follow the good ones. */
static const struct {
	bool is_error;
	const char *settings, *finding;
} realities[] = {
	{true, "\"serverNames\": [\"a\"]", "target: required, but missing"},
	{true, "\"target\": \"a:1\"", "serverNames: required, but missing"},
	{true, "\"target\": \"a:1\"", "privateKey: required, but missing"},
	{true, "\"target\": \"a:1\"", "shortIds: required, but missing"},
	{true, REALITY ", \"target\": \"a.test\"",
	 "target: expected host:port, a port, or a unix socket"},
	{true, REALITY ", \"target\": 0", "target: expected host:port"},
	{true, REALITY ", \"target\": \"a.test:0\"", "target: expected host:port"},
	{true, REALITY ", \"target\": \"::1:443\"", "target: expected host:port"},
	{true, REALITY ", \"type\": \"unix\"",
	 "target: this is a TCP address, but type says \"unix\""},
	{true, REALITY ", \"xver\": 3", "xver: expected a number from 0 to 2, found 3"},
	{true, REALITY ", \"serverNames\": []", "serverNames: expected at least one"},
	{true, REALITY ", \"serverNames\": [\"*.test\"]",
	 "serverNames[0]: expected an exact server name"},
	{true, REALITY ", \"serverNames\": [\"a\", \"a\"]",
	 "serverNames[1]: \"a\" is listed twice"},
	{false, REALITY ", \"serverNames\": [\"A.test\"]", "serverNames[0]: clients send"},
	{true, REALITY ", \"privateKey\": \"AAAA\"",
	 "privateKey: expected base64 (raw URL) of 32 bytes, as \"culvert keys\" prints it, found "
	 "a string of 4 bytes"},
	{false, REALITY ", \"privateKey\": \"AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA\"",
	 "privateKey: this key is the example's"},
	{true, REALITY ", \"privateKey\": 5", "privateKey: expected a string"},
	{true, REALITY ", \"shortIds\": [\"abc\"]",
	 "shortIds[0]: expected an even number of hex digits"},
	{true, REALITY ", \"shortIds\": [\"0123456789abcdef00\"]",
	 "shortIds[0]: expected an even number"},
	{true, REALITY ", \"shortIds\": []", "shortIds: expected at least one short id"},
	{true, REALITY ", \"minClientVer\": \"1.2.256\"", "minClientVer: expected a version"},
	{true, REALITY ", \"maxClientVer\": \"1..2\"", "maxClientVer: expected a version"},
	{true, REALITY ", \"maxClientVer\": \"1.0.0\"", "maxClientVer: below minClientVer"},
	{true, REALITY ", \"maxTimeDiff\": -1", "maxTimeDiff: expected a number of milliseconds"},
	{true, REALITY ", \"mldsa65Seed\": \"" KEY "\"",
	 "mldsa65Seed: must differ from privateKey"},
	{true, REALITY ", \"mldsa65Seed\": \"AAAA\"", "mldsa65Seed: expected base64"},
	{false, REALITY ", \"masterKeyLog\": \"/tmp/x\"", "masterKeyLog: whoever reads"},
	{false, REALITY ", \"target\": \"a.test:8443\"", "target: real sites answer on port 443"},
	{true, REALITY ", \"targets\": [{\"target\": \"b:1\", \"serverNames\": [\"a.test\"]}]",
	 "targets[0].serverNames[0]: \"a.test\" is listed twice"},
	{true, REALITY ", \"targets\": [{\"serverNames\": [\"b\"]}]",
	 "targets[0].target: required"},
	{true, REALITY ", \"learnInterval\": 1", "learnInterval: expected a number of seconds"},
};

static void test_realities(void **state)
{
	char text[2048], finding[512];

	(void)state;
	for (size_t i = 0; i < sizeof(realities) / sizeof(realities[0]); i++) {
		snprintf(text, sizeof(text),
			 "{" OUT ", \"inbounds\": [{" VLESS ", " SETTINGS
			 ", \"streamSettings\": {\"security\": \"reality\",\n\"realitySettings\": "
			 "{%s}}}]}",
			 realities[i].settings);
		snprintf(finding, sizeof(finding),
			 "f.json:2: inbounds[0].streamSettings.realitySettings.%s",
			 realities[i].finding);
		config_finds(text, realities[i].is_error, finding);
	}
}

#define MUX(account, mux) \
	"{\"protocol\": \"vless\", \"settings\": {\"address\": \"10.0.0.1\", \"port\": 1," \
	" \"id\": \"a\", \"encryption\": \"none\"" account "}," \
	" \"mux\": {\"enabled\": true, " mux "}}"
#define PROXY(protocol, settings, more) \
	"{\"protocol\": \"" protocol "\", \"settings\": {\"address\": \"10.0.0.1\", \"port\": 1," \
	" \"fallback\": \"block\"" settings "}" more "}"

static const struct {
	bool is_error;
	const char *outbound, *finding;
} outbounds[] = {
	{true, "{}", "protocol: required, but missing"},
	{true, "{\"protocol\": \"freedumb\"}", "protocol: expected one of vless, freedom"},
	{true, "{\"protocol\": \"wireguard\"}", "protocol: \"wireguard\" is not supported"},
	{true, "{\"protocol\": \"freedom\", \"sendThrough\": \"1.2.3.4\"}",
	 "sendThrough: not supported"},
	{true, "{\"protocol\": \"freedom\", \"proxySettings\": {\"tag\": \"x\"}}",
	 " is not dialled through another outbound"},
	{true, PROXY("socks", "", ", \"proxySettings\": {\"tag\": \"x\"}"),
	 " is to be dialled through \"x\", an outbound that does not exist"},
	{true, PROXY("socks", "", ", \"tag\": \"x\", \"proxySettings\": {\"tag\": \"x\"}"),
	 " is dialled through more than 2 others, or through itself"},
	{true, PROXY("http", "", ", \"proxySettings\": {}"), "proxySettings.tag: required"},
	{true,
	 PROXY("http", "",
	       ", \"proxySettings\": {\"tag\": \"x\"},"
	       " \"streamSettings\": {\"sockopt\": {\"dialerProxy\": \"x\"}}"),
	 "proxySettings: sockopt.dialerProxy says the same"},
	{false, "{\"protocol\": \"socks\", \"settings\": {\"address\": \"a\", \"port\": 1}}",
	 " if this proxy fails, sessions go out directly"},
	{true, "{\"protocol\": \"socks\"}", "settings.address: required"},
	{true, "{\"protocol\": \"socks\", \"settings\": {\"servers\": []}}",
	 "settings.servers: expected exactly one server, found 0"},
	{true,
	 "{\"protocol\": \"http\", \"settings\": {\"servers\": [{\"address\": \"a\", \"port\": 1,"
	 " \"users\": [{}, {}]}]}}",
	 "settings.servers[0].users: expected at most one user, found 2"},
	{true, PROXY("socks", ", \"user\": \"a\"", ""),
	 "settings: expected a user name and a password, or neither"},
	{true, PROXY("http", ", \"user\": \"a:b\", \"pass\": \"c\"", ""),
	 "settings: HTTP cannot express a colon in a user name"},
	{true, PROXY("socks", ", \"headers\": {\"a\": \"b\"}", ""),
	 "settings.headers: only http has headers"},
	{true, PROXY("http", ", \"headers\": {\"a b\": \"c\"}", ""),
	 "settings.headers.a b: expected a header field"},
	{true, PROXY("http", ", \"headers\": {\"a\": \"b\\r\\nc: d\"}", ""),
	 "settings.headers.a: expected a header field"},
	{true, PROXY("http", ", \"headers\": {\"host\": \"b\"}", ""),
	 "settings.headers.host: is not to be chosen"},
	{true, PROXY("http", ", \"retry\": {\"maxAttempts\": 0}", ""),
	 "settings.retry.maxAttempts: expected a number from 1 to 10"},
	{true, PROXY("http", ", \"retry\": {\"backoffMs\": [1, -1]}", ""),
	 "settings.retry.backoffMs[1]: expected a number of milliseconds"},
	{true, PROXY("http", ", \"retry\": {\"backoffMs\": [1, 2, 3, 4, 5, 6, 7, 8, 9]}", ""),
	 "settings.retry.backoffMs: expected at most 8 waits"},
	{true, "{\"protocol\": \"socks\", \"settings\": {\"address\": \"a\", \"port\": 1,"
	       " \"fallback\": \"x\"}}",
	 "settings.fallback: expected one of direct, block"},
	{true, PROXY("socks", ", \"udpOverTls\": \"clear\"", ""),
	 "settings.udpOverTls: \"clear\" is not supported"},
	{true, PROXY("http", "", ", \"targetStrategy\": \"UseIP\""),
	 "targetStrategy: not supported by this version of culvert for proxies"},
	{true,
	 PROXY("http", "", ", \"streamSettings\": {\"security\": \"tls\","
			   " \"tlsSettings\": {\"alpn\": [\"h2\"]}}"),
	 "streamSettings.tlsSettings: alpn: a proxy is spoken to in HTTP/1.1"},
	{true, PROXY("http", "", ", \"streamSettings\": {\"security\": \"reality\"}"),
	 "streamSettings.realitySettings: only vless is carried by REALITY"},
	{true, "{\"protocol\": \"freedom\", \"targetStrategy\": \"x\"}",
	 "targetStrategy: expected one of AsIs"},
	{true, "{\"protocol\": \"freedom\", \"settings\": {\"redirect\": \"x\"}}",
	 "settings.redirect: expected host:port, found \"x\""},
	{true,
	 "{\"protocol\": \"freedom\", \"settings\": {\"fragment\": {\"packets\": \"tlshello\"}}}",
	 "settings.fragment: not supported"},
	{true,
	 "{\"protocol\": \"freedom\", \"settings\": {\"finalRules\": [{\"action\": \"block\"}]}}",
	 "settings.finalRules: only [{"},
	{true,
	 "{\"protocol\": \"freedom\", \"settings\": {\"finalRules\": [{\"action\": \"allow\", "
	 "\"port\": 1}]}}",
	 "settings.finalRules[0].port: not supported"},
	{false, "{\"protocol\": \"freedom\", \"settings\": {\"noises\": [{}]}}",
	 "settings.noises: not supported"},
	{true, "{\"protocol\": \"blackhole\", \"settings\": {\"response\": {\"type\": \"x\"}}}",
	 "settings.response.type: expected one of none, http"},
	{true, "{\"protocol\": \"vless\"}", "settings.address: required"},
	{true,
	 "{\"protocol\": \"vless\", \"settings\": {\"address\": \"10.0.0.1\", \"port\": 1, \"id\": "
	 "\"a\"}}",
	 "settings.encryption: required"},
	{true, "{\"protocol\": \"vless\", \"settings\": {\"vnext\": [{}, {}]}}",
	 "settings.vnext: expected exactly one server, found 2"},
	{true,
	 "{\"protocol\": \"vless\", \"settings\": {\"vnext\": [{\"address\": \"a b\", \"port\": 1,"
	 " \"users\": []}]}}",
	 "settings.vnext[0].users: expected exactly one user, found 0"},
	{true,
	 "{\"protocol\": \"vless\", \"settings\": {\"vnext\": [{\"address\": \"a b\", \"port\": 1,"
	 " \"users\": []}]}}",
	 "settings.vnext[0].address: expected an IP address or a domain, found \"a b\""},
	{true,
	 "{\"protocol\": \"vless\", \"settings\": {\"address\": \"1.1.1.1\", \"port\": 1, \"id\": "
	 "\"a\","
	 " \"encryption\": \"none\"}}",
	 " VLESS without TLS or REALITY to a public address"},
	{true,
	 "{\"protocol\": \"vless\", \"settings\": {\"address\": \"10.0.0.1\", \"port\": 1, \"id\": "
	 "\"a\","
	 " \"encryption\": \"none\", \"flow\": \"xtls-rprx-vision\"}}",
	 " flow xtls-rprx-vision needs TLS or REALITY"},
	{true,
	 "{\"protocol\": \"vless\", \"settings\": {\"address\": \"10.0.0.1\", \"port\": 1, \"id\": "
	 "\"a\","
	 " \"encryption\": \"none\", \"packetEncoding\": \"udp\"}}",
	 "settings.packetEncoding: expected one of"},
	{true,
	 "{\"protocol\": \"vless\", \"settings\": {\"address\": \"10.0.0.1\", \"port\": 1, \"id\": "
	 "\"a\","
	 " \"encryption\": \"none\", \"packetEncoding\": \"packetaddr\"}}",
	 "settings.packetEncoding: "},
	{true,
	 "{\"protocol\": \"vless\", \"settings\": {\"address\": \"10.0.0.1\", \"port\": 1, \"id\": "
	 "\"a\","
	 " \"encryption\": \"none\", \"flow\": \"xtls-rprx-vision\","
	 " \"packetEncoding\": \"none\"}}",
	 "settings.packetEncoding: with flow xtls-rprx-vision datagrams go by xudp"},
	{true,
	 "{\"protocol\": \"vless\", \"settings\": {\"address\": \"10.0.0.1\", \"port\": 1, \"id\": "
	 "\"a\","
	 " \"encryption\": \"none\"}, \"streamSettings\": {\"security\": \"reality\","
	 " \"realitySettings\": {\"fingerprint\": \"netscape\"}}}",
	 "streamSettings.realitySettings.password: required"},
	{true,
	 "{\"protocol\": \"vless\", \"settings\": {\"address\": \"10.0.0.1\", \"port\": 1, \"id\": "
	 "\"a\","
	 " \"encryption\": \"none\"}, \"streamSettings\": {\"security\": \"reality\","
	 " \"realitySettings\": {\"fingerprint\": \"netscape\", \"spiderX\": \"x\"}}}",
	 "streamSettings.realitySettings.fingerprint: expected chrome, firefox, safari or random"},
	{true,
	 "{\"protocol\": \"vless\", \"settings\": {\"address\": \"10.0.0.1\", \"port\": 1, \"id\": "
	 "\"a\","
	 " \"encryption\": \"none\"}, \"streamSettings\": {\"security\": \"reality\","
	 " \"realitySettings\": {\"target\": \"x\", \"spiderX\": \"x\"}}}",
	 "streamSettings.realitySettings.spiderX: expected a path"},
	{true, "{\"protocol\": \"freedom\", \"mux\": {\"enabled\": true}}",
	 "mux: only sessions of vless and vmess outbounds share carriers"},
	{true, MUX("", "\"concurrency\": 1025"),
	 "mux.concurrency: expected a whole number up to 1024, negative: none, found 1025"},
	{true, MUX("", "\"xudpConcurrency\": 0.5"),
	 "mux.xudpConcurrency: expected a whole number up to 1024, negative: none, found 0.5"},
	{true, MUX("", "\"xudpProxyUDP443\": \"x\""),
	 "mux.xudpProxyUDP443: expected one of reject, allow, skip"},
	{true, MUX(", \"flow\": \"xtls-rprx-vision\"", "\"concurrency\": 1"),
	 "mux: with flow xtls-rprx-vision only datagrams may be on carriers"},
};

static void test_outbounds(void **state)
{
	char text[2048], finding[512];

	(void)state;
	for (size_t i = 0; i < sizeof(outbounds) / sizeof(outbounds[0]); i++) {
		snprintf(text, sizeof(text), "{" IN ", \"outbounds\": [\n%s]}",
			 outbounds[i].outbound);
		snprintf(finding, sizeof(finding), "f.json:2: outbounds[0]%s%s",
			 outbounds[i].finding[0] == ' ' ? ":" : ".", outbounds[i].finding);
		config_finds(text, outbounds[i].is_error, finding);
	}
}

static const struct {
	bool is_error;
	const char *rule, *finding;
} rules[] = {
	{true, "{\"port\": 1}", ": outboundTag: required"},
	{false, "{\"port\": 1, \"outboundTag\": \"x\"}",
	 ".outboundTag: no outbound is called \"x\""},
	{false, "{\"inboundTag\": [\"y\"], \"outboundTag\": \"o\"}",
	 ".inboundTag[0]: no inbound is called \"y\""},
	{true, "{\"port\": \"x\", \"outboundTag\": \"o\"}", ".port: expected ports"},
	{true, "{\"domain\": [\"geosite:cn\"], \"outboundTag\": \"o\"}",
	 ".domain[0]: geosite.dat: No such file or directory"},
	{true, "{\"domain\": [\"a\", \"regexp:(\"], \"outboundTag\": \"o\"}", ".domain[1]: "},
	{true, "{\"domain\": [5], \"outboundTag\": \"o\"}",
	 ".domain[0]: expected a string, found 5"},
	{true, "{\"domain\": 5, \"outboundTag\": \"o\"}",
	 ".domain: expected a list of strings, found 5"},
	{true, "{\"ip\": [\"geoip:cn\"], \"outboundTag\": \"o\"}",
	 ".ip[0]: geoip.dat: No such file or directory"},
	{true, "{\"ip\": \"1.2.3.4/33\", \"outboundTag\": \"o\"}",
	 ".ip: neither an IP address nor a CIDR block"},
	{true, "{\"source\": [\"x\"], \"outboundTag\": \"o\"}", ".source[0]: neither"},
	{true, "{\"user\": [\"regexp:[\"], \"outboundTag\": \"o\"}", ".user[0]: "},
	{true, "{\"network\": \"sctp\", \"outboundTag\": \"o\"}",
	 ".network: expected one of tcp, udp, unix"},
	{true, "{\"protocol\": [\"tls\", \"bittorrent\"], \"outboundTag\": \"o\"}",
	 ".protocol[1]: \"bittorrent\" is not supported"},
	{false, "{\"protocol\": [\"tls\"], \"outboundTag\": \"o\"}",
	 ".protocol: no inbound has sniffing enabled: the rule never matches"},
	{true, "{\"balancerTag\": \"b\"}", ".balancerTag: no balancer is called \"b\""},
	{true, "{\"localPort\": 1, \"outboundTag\": \"o\"}", ".localPort: not supported"},
	{true, "{\"type\": \"x\", \"outboundTag\": \"o\"}", ".type: not supported"},
	{true, "{\"vlessRoute\": 65536, \"outboundTag\": \"o\"}", ".vlessRoute: expected ports"},
	{false, "{\"colour\": 1, \"outboundTag\": \"o\"}", ".colour: unknown key, ignored"},
};

static void test_rules(void **state)
{
	char text[2048], finding[512];

	(void)state;
	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
		snprintf(text, sizeof(text),
			 "{" IN ", \"outbounds\": [{\"tag\": \"o\", \"protocol\": \"freedom\"}],\n"
			 "\"routing\": {\"rules\": [\n%s]}}",
			 rules[i].rule);
		snprintf(finding, sizeof(finding), "f.json:3: routing.rules[0]%s",
			 rules[i].finding);
		config_finds(text, rules[i].is_error, finding);
	}
}

/* The winner of two names for one key, and that the loser is not lost silently. */
static void test_two_names(void **state)
{
	static const char text[] =
		"{" OUT
		", \"inbounds\": [{\"listen\": \"@a\", \"protocol\": \"socks\", \"settings\": {"
		"\"auth\": \"password\", \"accounts\": [{\"user\": \"wins\", \"pass\": \"a\"}],\n"
		"\"users\": [{\"user\": \"loses\", \"pass\": \"b\"}]}}]}";
	struct findings *findings = malloc(sizeof(*findings));
	struct cv_config *config = config_parse(text, findings);

	(void)state;
	assert_non_null(config);
	assert_non_null(strstr(findings->text, "warning: f.json:2: inbounds[0].settings.users: "
					       "ignored: \"accounts\" is given too"));
	assert_int_equal(cv_user_count(config->inbounds[0].users), 1);
	assert_string_equal(cv_user_at(config->inbounds[0].users, 0)->name, "wins");
	cv_config_free(config);
	free(findings);
}

static void test_tags(void **state)
{
	(void)state;
	config_finds(
		"{" OUT
		", \"inbounds\": [{\"tag\": \"a\", \"listen\": \"@1\", \"protocol\": \"socks\"},\n"
		"{\"tag\": \"a\", \"listen\": \"@2\", \"protocol\": \"socks\"}]}",
		true, "f.json:2: inbounds[1].tag: another inbound has this tag");
	config_finds("{" IN ", \"outbounds\": [{\"tag\": \"a\", \"protocol\": \"freedom\"},\n"
		     "{\"tag\": \"a\", \"protocol\": \"freedom\"}]}",
		     true, "f.json:2: outbounds[1].tag: another outbound has this tag");
}

static void test_all_findings(void **state)
{
	struct findings *findings = malloc(sizeof(*findings));

	(void)state;
	assert_null(config_parse("{\n\"log\": {\"loglevel\": 1},\n\"inbounds\": [{\"port\": \"x\","
				 " \"protocol\": \"y\"}],\n\"outbounds\": [{}],\n\"colour\": 1}",
				 findings));
	assert_int_equal(findings->error_count, 4);
	assert_int_equal(findings->warning_count, 1);
	/* an error in one key does not hide the others of the same object */
	assert_null(config_parse("{" OUT ", \"inbounds\": [{\"tag\": 5, \"listen\": \"x\","
				 " \"protocol\": \"vless\", \"settings\": {\"clients\": 1}}]}",
				 findings));
	assert_int_equal(findings->error_count, 5);
	free(findings);
}

/* Secrets stay out of findings, control characters out of terminals. */
static void test_shown_values(void **state)
{
	struct findings *findings = malloc(sizeof(*findings));

	(void)state;
	assert_null(config_parse(
		"{" OUT ", \"inbounds\": [{" VLESS ", \"settings\": {\"decryption\": "
		"\"none\", \"clients\": [{\"id\": \"0123456789-secret-0123456789-01\"}]},"
		"\"streamSettings\": {\"security\": \"reality\", \"realitySettings\": {"
		"\"privateKey\": \"secret\", \"mldsa65Seed\": \"secret2\"}}}],"
		"\"log\": {\"loglevel\": \"\\u001b[31m\\n\"}}",
		findings));
	assert_null(strstr(findings->text, "secret"));
	assert_null(strchr(findings->text, 0x1b));
	assert_non_null(strstr(findings->text, "?[31m?"));
	free(findings);
}

static void test_deep_and_binary(void **state)
{
	struct findings *findings = malloc(sizeof(*findings));
	struct cv_config *config = NULL;
	char deep[4000];

	(void)state;
	memset(deep, '[', sizeof(deep));
	assert_int_equal(config_parse_len(deep, sizeof(deep), findings, &config),
			 CV_INTERNAL_CONFIG);
	assert_int_equal(config_parse_len("{\"a\": \"\xff\"}", 9, findings, &config),
			 CV_INTERNAL_CONFIG);
	assert_int_equal(config_parse_len("{}\0{}", 5, findings, &config), CV_INTERNAL_CONFIG);
	assert_non_null(strstr(findings->text, "NUL byte"));
	assert_null(config);
	free(findings);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_files),        cmocka_unit_test(test_inbounds),
		cmocka_unit_test(test_realities),    cmocka_unit_test(test_outbounds),
		cmocka_unit_test(test_rules),        cmocka_unit_test(test_tags),
		cmocka_unit_test(test_two_names),    cmocka_unit_test(test_all_findings),
		cmocka_unit_test(test_shown_values), cmocka_unit_test(test_deep_and_binary),
	};

	unsetenv("CV_TEST_UNSET");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
