// SPDX-License-Identifier: MIT
/*
 * fuzz_session_tls.c - whole sessions with TLS 1.3 and REALITY: sim_world.h says how the input
 * drives them, and what is held to. Both ends of each TLS connection are the program's, REALITY's
 * target is its own TLS inbound; strangers' is the world's.
 */
#include "sim_config.h"
#include "sim_world.h"

#include "check.h"

/* conf/vless-tls.json has it: its key is everybody's */
#define CERTIFICATE \
	"\"certificate\": [\"-----BEGIN CERTIFICATE-----\", " \
	"\"MIIBozCCAUqgAwIBAgIUFiharq7VtkeuHWCnzOkfe7iOf0AwCgYIKoZIzj0EAwIw\", " \
	"\"GjEYMBYGA1UEAwwPdnBuLmV4YW1wbGUubmV0MCAXDTI2MTEyMTA2MDEyOVoYDzIx\", " \
	"\"MjYxMDI4MDYwMTI5WjAaMRgwFgYDVQQDDA92cG4uZXhhbXBsZS5uZXQwWTATBgcq\", " \
	"\"hkjOPQIBBggqhkjOPQMBBwNCAARlqwtgGW+8HcVv7dsbmi+P9YM2qY47pn2kRNC7\", " \
	"\"cHmJUNaSFifQMqiPKyNbbzSt/6bg3tDSFrnlne2OuXVXZTGQo2wwajAdBgNVHQ4E\", " \
	"\"FgQUkq1zq4iVzOE1kFp5nopGeQrt6QwwHwYDVR0jBBgwFoAUkq1zq4iVzOE1kFp5\", " \
	"\"nopGeQrt6QwwGgYDVR0RBBMwEYIPdnBuLmV4YW1wbGUubmV0MAwGA1UdEwEB/wQC\", " \
	"\"MAAwCgYIKoZIzj0EAwIDRwAwRAIgXhaasMFCfAw+8ws1vOeEqJfQRNpWsgXE/zyG\", " \
	"\"Og0NaEUCIEiCwxLydXLYi+FoB4FwGJJvh7Sff3DcO0wGlyDUFexr\", " \
	"\"-----END CERTIFICATE-----\"], \"key\": [\"-----BEGIN PRIVATE KEY-----\", " \
	"\"MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgAl0OuEdHGyW5A3aR\", " \
	"\"3+PeqFXcHKRH6G8dM1RHZiINOxChRANCAARlqwtgGW+8HcVv7dsbmi+P9YM2qY47\", " \
	"\"pn2kRNC7cHmJUNaSFifQMqiPKyNbbzSt/6bg3tDSFrnlne2OuXVXZTGQ\", " \
	"\"-----END PRIVATE KEY-----\"]"
#define TLS_IN "\"security\": \"tls\", \"tlsSettings\": {\"certificates\": [{" CERTIFICATE "}]}"
#define TLS_OUT(fingerprint) \
	"\"security\": \"tls\", \"tlsSettings\": {\"serverName\": \"vpn.example.net\", " \
	"\"allowInsecure\": true, \"fingerprint\": \"" fingerprint "\"}"
#define H2_IN \
	"\"security\": \"tls\", \"tlsSettings\": {\"alpn\": [\"h2\"], \"certificates\": [{" \
	CERTIFICATE "}]}, \"httpSettings\": {\"path\": \"/way\"}"
#define WS ", \"wsSettings\": {\"path\": \"/way\"}"
#define H2 ", \"httpSettings\": {\"path\": \"/way\"}"
#define REALITY_IN(target) \
	SIM_STREAM("raw", "\"security\": \"reality\", \"realitySettings\": {\"target\": \"" target \
		   "\", \"serverNames\": [\"vpn.example.net\"], \"shortIds\": [\"01ab\"], " \
		   "\"privateKey\": \"ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8\"}")
#define REALITY_OUT(fingerprint) \
	SIM_STREAM("raw", "\"security\": \"reality\", \"realitySettings\": {" \
		   "\"serverName\": \"vpn.example.net\", \"shortId\": \"01ab\", " \
		   "\"password\": \"NYBy1jZYgNGu6jKa35EhODhR7SGijjt16WXQ0s0WYlQ\", " \
		   "\"fingerprint\": \"" fingerprint "\"}")
#define VISION ", \"flow\": \"xtls-rprx-vision\""

static const char configuration[] =
	"{\"culvert\": {\"drainSeconds\": 5}, \"inbounds\": ["
	SIM_ENTRY("tls", "1000") SIM_VLESS("2000", "", "", SIM_STREAM("raw", TLS_IN))
	SIM_ENTRY("wss", "1001") SIM_VLESS("2001", "", "", SIM_STREAM("ws", TLS_IN WS))
	SIM_ENTRY("h2", "1002") SIM_VLESS("2002", "", "", SIM_STREAM("h2", H2_IN))
	SIM_ENTRY("mux", "1003")
	SIM_ENTRY("reality", "1004") SIM_VLESS("2004", "", "", REALITY_IN("127.0.0.1:2000"))
	SIM_ENTRY("classic", "1005")
	SIM_ENTRY("vision", "1006") SIM_VLESS("2006", VISION, "", REALITY_IN("127.0.0.1:2000"))
	SIM_ENTRY_TO("direct-vision", "1007", "9001")
	SIM_ENTRY_TO("tls-vision", "1008", "9001")
	SIM_VLESS("2008", VISION, "", SIM_STREAM("raw", TLS_IN))
	SIM_VLESS("1009", "", "", REALITY_IN("93.184.216.34:9002"))
	SIM_VLESS("1010", "", "", REALITY_IN("93.184.216.34:9003"))
	SIM_INBOUND("socks", "2011", "", SIM_STREAM("raw", TLS_IN)) SIM_ENTRY("socks", "1011")
	"{\"tag\": \"edge\", \"listen\": \"127.0.0.1\", \"port\": 1012, \"protocol\": \"edge\"}"
	"], \"edge\": {\"inboundTag\": [\"edge\"], \"routes\": [{\"names\": [\"a.example\"], "
	"\"to\": {\"backend\": \"93.184.216.34:9004\"}}], \"target\": \"93.184.216.34:9004\"}, "
	"\"outbounds\": ["
	SIM_HOP("tls", "vless", "2000", SIM_NONE, SIM_STREAM("raw", TLS_OUT("chrome")))
	SIM_HOP("wss", "vless", "2001", SIM_NONE, SIM_STREAM("ws", TLS_OUT("firefox") WS))
	SIM_HOP("h2", "vless", "2002", SIM_NONE, SIM_STREAM("h2", TLS_OUT("chrome") H2))
	SIM_HOP("mux", "vless", "2004", SIM_NONE, REALITY_OUT("chrome")
		", \"mux\": {\"enabled\": true, \"concurrency\": 2}")
	SIM_HOP("reality", "vless", "2004", SIM_NONE, REALITY_OUT("chrome"))
	SIM_HOP("classic", "vless", "2004", SIM_NONE, REALITY_OUT("safari"))
	SIM_HOP("vision", "vless", "2006", SIM_NONE VISION, REALITY_OUT("firefox"))
	SIM_HOP("direct-vision", "vless", "2006", SIM_NONE VISION, REALITY_OUT("chrome"))
	SIM_HOP("tls-vision", "vless", "2008", SIM_NONE VISION,
		SIM_STREAM("raw", TLS_OUT("chrome")))
	"{\"tag\": \"socks\", \"protocol\": \"socks\", \"settings\": {\"servers\": [{"
	"\"address\": \"127.0.0.1\", \"port\": 2011}], \"fallback\": \"block\"}"
	SIM_STREAM("raw", TLS_OUT("chrome")) "}, "
	"{\"tag\": \"direct\", \"protocol\": \"freedom\"}], \"routing\": {\"rules\": ["
	SIM_RULE("tls") ", " SIM_RULE("wss") ", " SIM_RULE("h2") ", " SIM_RULE("mux") ", "
	SIM_RULE("reality") ", " SIM_RULE("classic") ", " SIM_RULE("vision") ", "
	SIM_RULE("direct-vision") ", " SIM_RULE("tls-vision") ", " SIM_RULE("socks") ", "
	"{\"port\": \"1-65535\", \"outboundTag\": \"direct\"}]}}";

#define INNER_TLS \
	.client_opening = SIM_HELLO SIM_RECORDS, .server_opening = SIM_SERVER_HELLO SIM_RECORDS

static const struct sim_kind kinds[] = {
	{"TLS", 1000, 9000, .session_count = 2},
	{"WebSocket on TLS", 1001, 9000, .session_count = 2, .ends_both = true},
	{"HTTP/2 on TLS", 1002, 9000, .session_count = 2},
	{"Mux on REALITY", 1003, 9000, .session_count = 2, .ends_both = true},
	{"REALITY, hybrid", 1004, 9000, .session_count = 2},
	{"REALITY, classic", 1005, 9000, .session_count = 2},
	{"Vision that stays", 1006, 9000, .session_count = 2},
	{"Vision that goes raw", 1007, 9001, .session_count = 2, INNER_TLS},
	{"Vision on TLS", 1008, 9001, .session_count = 2, INNER_TLS},
	{"stranger with TLS", 1009, 9002, .session_count = 1, .reads_first = true, INNER_TLS},
	{"stranger without", 1010, 9003, .session_count = 1, .reads_first = true},
	{"SOCKS5 on TLS", 1011, 9000, .session_count = 2},
	{"edge", 1012, 9004, .session_count = 1, INNER_TLS},
};

/* Nothing was learned of the targets. */
static struct cv_target_profile profile(void *context, const char *server_name,
					enum cv_alpn_class alpn_class)
{
	(void)context;
	(void)server_name;
	(void)alpn_class;
	return (struct cv_target_profile){.ccs_limit = -1};
}

static void know_targets(struct cv_config *config)
{
	for (size_t i = 0; i < config->inbound_count; i++) {
		const struct cv_reality_inbound *reality = config->inbounds[i].reality;

		for (size_t t = 0; reality && t < reality->target_count; t++)
			reality->targets[t].reality.profile = profile;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct sim_world world = {.kinds = kinds,
					 .kind_count = sizeof(kinds) / sizeof(kinds[0])};

	if (size > SIM_INPUT_BYTES) /* longer ones say no more */
		return 0;
	if (!world.configs[0]) {
		sim_load(&world, configuration);
		know_targets(world.configs[0]);
		know_targets(world.configs[1]);
	}
	sim_run(&world, cv_span_of(data, size));
	return 0;
}
