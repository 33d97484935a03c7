// SPDX-License-Identifier: MIT
/*
 * fuzz_session.c - whole sessions without TLS: sim_world.h says how the input drives them, and what
 * is held to. The kinds are the ways through the configuration below.
 */
#include "sim_config.h"
#include "sim_world.h"

#include "check.h"

#define WAY "{\"path\": \"/way\"}"
#define WS SIM_STREAM("ws", "\"wsSettings\": " WAY)
#define UPGRADE SIM_STREAM("httpupgrade", "\"httpupgradeSettings\": " WAY)
#define H2 SIM_STREAM("h2", "\"httpSettings\": " WAY)
#define PROXY(tag, protocol, port) \
	"{\"tag\": \"" tag "\", \"protocol\": \"" protocol "\", \"settings\": {\"servers\": [{" \
	"\"address\": \"127.0.0.1\", \"port\": " port "}], \"fallback\": \"block\"}}, "

static const char configuration[] =
	"{\"culvert\": {\"drainSeconds\": 5}, \"inbounds\": ["
	SIM_ENTRY("free", "1000")
	SIM_INBOUND("socks", "1001", "", "")
	SIM_INBOUND("http", "1002", "", "")
	SIM_ENTRY("vless", "1003") SIM_VLESS("2003", "", "", "")
	SIM_ENTRY("ws", "1004") SIM_VLESS("2004", "", "", WS)
	SIM_ENTRY("upgrade", "1005") SIM_VLESS("2005", "", "", UPGRADE)
	SIM_ENTRY("mux", "1006")
	SIM_ENTRY("vmess", "1007") SIM_INBOUND("vmess", "2007", SIM_CLIENTS_OF(""), "")
	SIM_VLESS("1008", "", ", \"fallbacks\": [{\"dest\": \"93.184.216.34:9001\"}]", "")
	SIM_ENTRY("h2", "1009") SIM_VLESS("2009", "", "", H2)
	SIM_ENTRY("socks", "1010") SIM_ENTRY("http", "1011")
	SIM_ENTRY("one", "1012") SIM_VLESS("2012", "", ", \"version\": 1", "")
	SIM_ENTRY("vmux", "1014")
	"{\"tag\": \"edge\", \"listen\": \"127.0.0.1\", \"port\": 1013, \"protocol\": \"edge\"}"
	"], \"edge\": {\"routes\": [{\"names\": [\"a.example\"], "
	"\"to\": {\"backend\": \"93.184.216.34:9002\"}}], \"target\": \"93.184.216.34:9002\"}, "
	"\"outbounds\": ["
	SIM_HOP("vless", "vless", "2003", SIM_NONE, "")
	SIM_HOP("ws", "vless", "2004", SIM_NONE, WS)
	SIM_HOP("upgrade", "vless", "2005", SIM_NONE, UPGRADE)
	SIM_HOP("mux", "vless", "2003", SIM_NONE,
		", \"mux\": {\"enabled\": true, \"concurrency\": 2}")
	SIM_HOP("vmess", "vmess", "2007", "", "")
	SIM_HOP("vmux", "vmess", "2007", "", ", \"mux\": {\"enabled\": true, \"concurrency\": 8}")
	SIM_HOP("h2", "vless", "2009", SIM_NONE, H2)
	PROXY("socks", "socks", "1001") PROXY("http", "http", "1002")
	SIM_HOP("one", "vless", "2012", SIM_NONE ", \"version\": 1", "")
	"{\"tag\": \"direct\", \"protocol\": \"freedom\"}], \"routing\": {\"rules\": ["
	SIM_RULE("vless") ", " SIM_RULE("ws") ", " SIM_RULE("upgrade") ", " SIM_RULE("mux") ", "
	SIM_RULE("vmess") ", " SIM_RULE("vmux") ", " SIM_RULE("h2") ", " SIM_RULE("socks") ", "
	SIM_RULE("http") ", " SIM_RULE("one") ", "
	"{\"port\": \"1-65535\", \"outboundTag\": \"direct\"}]}}";

/* GET / HTTP/1.1, Host: a.example */
static const char page[] = "474554202f20485454502f312e310d0a486f73743a20612e6578616d706c650d0a0d0a";

static const struct sim_kind kinds[] = {
	{"freedom", 1000, 9000, .session_count = 1},
	{"SOCKS5", 1001, 9000, .session_count = 1, .speech = SIM_SOCKS5},
	{"HTTP CONNECT", 1002, 9000, .session_count = 1, .speech = SIM_HTTP_CONNECT},
	{"VLESS", 1003, 9000, .session_count = 2},
	{"WebSocket", 1004, 9000, .session_count = 2, .ends_both = true},
	{"httpupgrade", 1005, 9000, .session_count = 2},
	{"Mux", 1006, 9000, .session_count = 2, .ends_both = true},
	{"VMess", 1007, 9000, .session_count = 2, .ends_both = true},
	{"fallback", 1008, 9001, .session_count = 1, .client_opening = page},
	{"HTTP/2", 1009, 9000, .session_count = 2},
	{"SOCKS5 out", 1010, 9000, .session_count = 2},
	{"HTTP CONNECT out", 1011, 9000, .session_count = 2},
	{"VLESS version 1", 1012, 9000, .session_count = 2},
	{"edge", 1013, 9002, .session_count = 1, .client_opening = SIM_HELLO},
	{"Mux on VMess", 1014, 9000, .session_count = 2, .ends_both = true},
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct sim_world world = {.kinds = kinds,
					 .kind_count = sizeof(kinds) / sizeof(kinds[0])};

	if (size > SIM_INPUT_BYTES) /* longer ones say no more */
		return 0;
	if (!world.configs[0])
		sim_load(&world, configuration);
	sim_run(&world, cv_span_of(data, size));
	return 0;
}
