/* SPDX-License-Identifier: MIT */
/*
 * sim_config.h - pieces of the configurations that whole sessions are fuzzed with: entries for
 * clients of the world, and pairs of an outbound and the inbound of the same worker it leads to.
 */
#ifndef CV_FUZZ_SIM_CONFIG_H
#define CV_FUZZ_SIM_CONFIG_H

#define SIM_USER "\"id\": \"11111111-2222-4333-8444-555555555555\""
#define SIM_NONE ", \"encryption\": \"none\""

/* Whoever comes is led to a server of the world, by the outbound that has the inbound's tag. */
#define SIM_ENTRY_TO(tag, port, to) \
	"{\"tag\": \"" tag "\", \"listen\": \"127.0.0.1\", \"port\": " port \
	", \"protocol\": \"dokodemo-door\", \"settings\": {\"address\": \"93.184.216.34\", " \
	"\"port\": " to ", \"network\": \"tcp\"}}, "
#define SIM_ENTRY(tag, port) SIM_ENTRY_TO(tag, port, "9000")
#define SIM_RULE(tag) "{\"inboundTag\": [\"" tag "\"], \"outboundTag\": \"" tag "\"}"

/* @more and @stream begin with a comma, or are empty. */
#define SIM_INBOUND(protocol, port, settings, stream) \
	"{\"listen\": \"127.0.0.1\", \"port\": " port ", \"protocol\": \"" protocol \
	"\", \"settings\": {" settings "}" stream "}, "
#define SIM_CLIENTS_OF(user) "\"clients\": [{" SIM_USER user "}]"
#define SIM_VLESS(port, user, more, stream) \
	SIM_INBOUND("vless", port, SIM_CLIENTS_OF(user) ", \"decryption\": \"none\"" more, stream)
#define SIM_HOP(tag, protocol, port, user, stream) \
	"{\"tag\": \"" tag "\", \"protocol\": \"" protocol "\", \"settings\": {\"vnext\": [{" \
	"\"address\": \"127.0.0.1\", \"port\": " port ", \"users\": [{" SIM_USER user "}]}]}" \
	stream "}, "
#define SIM_STREAM(network, settings) \
	", \"streamSettings\": {\"network\": \"" network "\", " settings "}"

/* A TLS 1.3 hello for a.example, then two records as it would be followed by; and an answer. */
#define SIM_RECORDS \
	"170303001000112233445566778899aabbccddeeff" \
	"170303001000112233445566778899aabbccddeeff"
#define SIM_RANDOM "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
#define SIM_HELLO \
	"16030100b7" \
	"010000b30303" SIM_RANDOM "20" SIM_RANDOM \
	"0006130113021303" "0100" "0064" \
	"0000000e000c000009612e6578616d706c65" \
	"000a00040002001d" "000d0006000404030804" "00100005000302" "6832" \
	"002b0003020304" "002d00020101" \
	"003300260024001d0020" SIM_RANDOM
#define SIM_SERVER_HELLO \
	"160303007a" \
	"020000760303" SIM_RANDOM "20" SIM_RANDOM \
	"130100" "002e" "002b00020304" "00330024001d0020" SIM_RANDOM

#endif
