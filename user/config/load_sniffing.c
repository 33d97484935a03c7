// SPDX-License-Identifier: MIT
/*
 * load_sniffing.c - what is done with the names in clients' first bytes (compat 3.1).
 *
 * Where sniffing is off nothing else counts. A kind of name that this version cannot find is an
 * error: rules about names would not hold for it, and nobody would know.
 */
#include "config/load.h"

struct raw_sniffing {
	bool enabled, route_only;
	struct cv_node overrides, domains, addresses;
};

static const struct cv_field sniffing_fields[] = {
	{"enabled", .type = CV_FIELD_BOOL, CV_FIELD(struct raw_sniffing, enabled)},
	{"destOverride", .type = CV_FIELD_ANY, CV_FIELD(struct raw_sniffing, overrides)},
	{"metadataOnly", .type = CV_FIELD_REFUSED, .why = "it is for fakedns only"},
	{"domainsExcluded", .type = CV_FIELD_ANY, CV_FIELD(struct raw_sniffing, domains)},
	{"ipsExcluded", .type = CV_FIELD_ANY, CV_FIELD(struct raw_sniffing, addresses)},
	{"routeOnly", .type = CV_FIELD_BOOL, CV_FIELD(struct raw_sniffing, route_only)},
	{.type = CV_FIELD_END},
};

static void add_override(const struct cv_node *node, const char *text, void *context)
{
	static const struct cv_word protocols[] = {{"http", CV_SNIFFED_HTTP},
						   {"tls", CV_SNIFFED_TLS},
						   {"https", CV_SNIFFED_TLS},
						   {"ssl", CV_SNIFFED_TLS},
						   {"quic", CV_WORD_UNSUPPORTED},
						   {"fakedns", CV_WORD_UNSUPPORTED},
						   {"fakedns+others", CV_WORD_UNSUPPORTED},
						   {NULL, 0}};
	unsigned *mask = context;
	int protocol = 0;

	if (cv_schema_word(protocols, node, text, &protocol))
		*mask |= (unsigned)protocol;
}

static void add_domain(const struct cv_node *node, const char *text, void *context)
{
	cv_load_domain(node, text, context);
}

static void add_block(const struct cv_node *node, const char *text, void *context)
{
	cv_load_block(node, text, context);
}

void cv_load_sniffing(const struct cv_node *node, struct cv_inbound *inbound)
{
	struct raw_sniffing raw;
	struct cv_sniffing *sniffing;

	cv_schema_read(sniffing_fields, node, &raw);
	if (!raw.enabled)
		return;
	if (inbound->protocol == CV_INBOUND_EDGE) {
		cv_node_error(node, "the edge reads names by itself, write them into \"edge\"");
		return;
	}
	sniffing = cv_load_calloc(cv_node_load(node), 1, sizeof(*sniffing));
	if (!sniffing)
		return;
	inbound->sniffing = sniffing;
	sniffing->route_only = raw.route_only;
	cv_node_each_text(&raw.overrides, add_override, &sniffing->overrides);
	cv_node_each_text(&raw.domains, add_domain, &sniffing->excluded);
	cv_node_each_text(&raw.addresses, add_block, &sniffing->excluded_addresses);
}
