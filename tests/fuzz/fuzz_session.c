// SPDX-License-Identifier: MIT
/*
 * fuzz_session.c - whole sessions without TLS: sim_world.h says how the input drives them, and what
 * is held to. The kinds are the ways through the configuration below.
 */
#include "sim_world.h"

#include "check.h"

#define USER "\"id\": \"11111111-2222-4333-8444-555555555555\""
#define CLIENT "{" USER "}"
#define ENTRY(tag, port) \
	"{\"tag\": \"" tag "\", \"listen\": \"127.0.0.1\", \"port\": " port \
	", \"protocol\": \"dokodemo-door\", \"settings\": {\"address\": \"93.184.216.34\", " \
	"\"port\": 9000, \"network\": \"tcp\"}}"
#define SERVER(protocol, port, more) \
	"{\"listen\": \"127.0.0.1\", \"port\": " port ", \"protocol\": \"" protocol \
	"\", \"settings\": {\"clients\": [" CLIENT "]" more "}"
#define HOP(tag, protocol, port, user) \
	"{\"tag\": \"" tag "\", \"protocol\": \"" protocol "\", \"settings\": {\"vnext\": [{" \
	"\"address\": \"127.0.0.1\", \"port\": " port ", \"users\": [{" USER user "}]}]}"
#define RULE(tag) "{\"inboundTag\": [\"" tag "\"], \"outboundTag\": \"" tag "\"}"
#define NONE ", \"encryption\": \"none\""
#define STREAM(network, settings) \
	", \"streamSettings\": {\"network\": \"" network "\", \"" settings \
	"\": {\"path\": \"/way\"}}}"

static const char configuration[] =
	"{\"culvert\": {\"drainSeconds\": 5}, \"inbounds\": ["
	ENTRY("free", "1000") ", "
	"{\"listen\": \"127.0.0.1\", \"port\": 1001, \"protocol\": \"socks\"}, "
	"{\"listen\": \"127.0.0.1\", \"port\": 1002, \"protocol\": \"http\"}, "
	ENTRY("vless", "1003") ", " SERVER("vless", "2003", ", \"decryption\": \"none\"") "}, "
	SERVER("vless", "1008", ", \"decryption\": \"none\", "
		"\"fallbacks\": [{\"dest\": \"93.184.216.34:9001\"}]") "}, "
	ENTRY("ws", "1004") ", " SERVER("vless", "2004", ", \"decryption\": \"none\"")
		STREAM("ws", "wsSettings") ", "
	ENTRY("hu", "1005") ", " SERVER("vless", "2005", ", \"decryption\": \"none\"")
		STREAM("httpupgrade", "httpupgradeSettings") ", "
	ENTRY("mux", "1006") ", "
	ENTRY("vmess", "1007") ", " SERVER("vmess", "2007", "") "}"
	"], \"outbounds\": [{\"tag\": \"direct\", \"protocol\": \"freedom\"}, "
	HOP("vless", "vless", "2003", NONE) "}, "
	HOP("ws", "vless", "2004", NONE) STREAM("ws", "wsSettings") ", "
	HOP("hu", "vless", "2005", NONE) STREAM("httpupgrade", "httpupgradeSettings") ", "
	HOP("mux", "vless", "2003", NONE) ", \"mux\": {\"enabled\": true, \"concurrency\": 2}}, "
	HOP("vmess", "vmess", "2007", "") "}"
	"], \"routing\": {\"rules\": ["
	RULE("vless") ", " RULE("ws") ", " RULE("hu") ", " RULE("mux") ", " RULE("vmess") "]}}";

static const char page[] = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";

static const struct sim_kind kinds[] = {
	{"freedom", 1000, 9000, .session_count = 1},
	{"SOCKS5", 1001, 9000, .session_count = 1, .speech = SIM_SOCKS5},
	{"HTTP CONNECT", 1002, 9000, .session_count = 1, .speech = SIM_HTTP_CONNECT},
	{"VLESS", 1003, 9000, .session_count = 2},
	{"WebSocket", 1004, 9000, .session_count = 2, .ends_both = true},
	{"httpupgrade", 1005, 9000, .session_count = 2},
	{"Mux", 1006, 9000, .session_count = 2, .ends_both = true},
	{"VMess", 1007, 9000, .session_count = 2, .ends_both = true},
	{"fallback",
	 1008,
	 9001,
	 .session_count = 1,
	 .opening = page,
	 .opening_bytes = sizeof(page) - 1},
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct sim_world world = {.kinds = kinds,
					 .kind_count = sizeof(kinds) / sizeof(kinds[0])};

	if (size > SIM_INPUT_BYTES) /* longer ones say no more */
		return 0;
	if (!world.config)
		world.config = sim_load(configuration);
	sim_run(&world, cv_span_of(data, size));
	return 0;
}
