// SPDX-License-Identifier: MIT
/*
 * load_mux.c - an outbound's object "mux": how many sessions share a carrier (compat 3, Mux.Cool
 * 4.2).
 *
 * Two of its numbers may be negative, and then mean "not on carriers": they are read by hand.
 */
#include "config/load.h"

#include <json-c/json.h>

#define CONCURRENCY 8
#define CONCURRENCY_MAX 1024

struct raw_mux {
	bool enabled;
	int udp443;
	struct cv_node concurrency, xudp_concurrency;
};

static const struct cv_word udp443_words[] = {
	{"reject", CV_MUX_UDP443_REJECT},
	{"allow", CV_MUX_UDP443_ALLOW},
	{"skip", CV_MUX_UDP443_SKIP},
	{NULL, 0},
};

static const struct cv_field mux_fields[] = {
	{"enabled", .type = CV_FIELD_BOOL, CV_FIELD(struct raw_mux, enabled)},
	{"concurrency", .type = CV_FIELD_ANY, CV_FIELD(struct raw_mux, concurrency)},
	{"xudpConcurrency", .type = CV_FIELD_ANY, CV_FIELD(struct raw_mux, xudp_concurrency)},
	{"xudpProxyUDP443", .type = CV_FIELD_WORD, .words = udp443_words, .text = "reject",
	 CV_FIELD(struct raw_mux, udp443)},
	{.type = CV_FIELD_END},
};

/* Absent is 0; what is negative is -1. */
static int count_of(const struct cv_node *node)
{
	int64_t count;

	if (!node->json)
		return 0;
	count = json_object_get_int64(node->json);
	if (!json_object_is_type(node->json, json_type_int) || count > CONCURRENCY_MAX) {
		cv_node_expected(node, "a whole number up to %d, negative: none",
				 CONCURRENCY_MAX);
		return 0;
	}
	return count < 0 ? -1 : (int)count;
}

void cv_load_mux(const struct cv_node *node, struct cv_outbound *outbound)
{
	struct cv_mux_settings *mux = &outbound->mux;
	struct raw_mux raw;
	int count, xudp_count;

	cv_schema_read(mux_fields, node, &raw);
	count = count_of(&raw.concurrency);
	xudp_count = count_of(&raw.xudp_concurrency);
	mux->enabled = raw.enabled;
	mux->concurrency = count < 0 ? 0 : (uint32_t)(count ? count : CONCURRENCY);
	mux->xudp_concurrency = xudp_count > 0 ? (uint32_t)xudp_count : 0;
	mux->udp_apart = xudp_count < 0;
	mux->udp443 = (enum cv_mux_udp443)raw.udp443;
	if (!mux->enabled)
		return;
	if (outbound->protocol != CV_OUTBOUND_VLESS && outbound->protocol != CV_OUTBOUND_VMESS)
		cv_node_error(node, "only sessions of vless and vmess outbounds share carriers");
	else if (outbound->version != CV_VLESS_0)
		cv_node_error(node, "needs version 0: what version 1 has in its place is "
				    CV_NOT_SUPPORTED);
	else if (outbound->vision && mux->concurrency > 0)
		cv_node_error(node, "with flow xtls-rprx-vision only datagrams may be on carriers: "
				    "expected \"concurrency\": -1");
}
