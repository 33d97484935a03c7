// SPDX-License-Identifier: MIT
/*
 * load_stream.c - streamSettings: which carrier, which security, and socket options.
 *
 * Options that decide where bytes go or what is seen of them are refused rather than ignored.
 */
#include "config/load.h"

const struct cv_word cv_strategy_words[] = {
	{"AsIs", CV_RESOLVE_ANY | CV_STRATEGY_AS_IS},
	{"UseIP", CV_RESOLVE_ANY},
	{"UseIPv4", CV_RESOLVE_V4},
	{"UseIPv6", CV_RESOLVE_V6},
	{"UseIPv4v6", CV_RESOLVE_V4V6},
	{"UseIPv6v4", CV_RESOLVE_V6V4},
	{"ForceIP", CV_RESOLVE_ANY | CV_STRATEGY_FORCED},
	{"ForceIPv4", CV_RESOLVE_V4 | CV_STRATEGY_FORCED},
	{"ForceIPv6", CV_RESOLVE_V6 | CV_STRATEGY_FORCED},
	{"ForceIPv4v6", CV_RESOLVE_V4V6 | CV_STRATEGY_FORCED},
	{"ForceIPv6v4", CV_RESOLVE_V6V4 | CV_STRATEGY_FORCED},
	{NULL, 0},
};

static const struct cv_word networks[] = {
	{"raw", CV_TRANSPORT_RAW},
	{"tcp", CV_TRANSPORT_RAW},
	{"ws", CV_TRANSPORT_WEBSOCKET},
	{"websocket", CV_TRANSPORT_WEBSOCKET},
	{"httpupgrade", CV_TRANSPORT_HTTPUPGRADE},
	{"h2", CV_TRANSPORT_H2},
	{"http", CV_TRANSPORT_H2},
	{"xhttp", CV_WORD_UNSUPPORTED},
	{"splithttp", CV_WORD_UNSUPPORTED},
	{"grpc", CV_WORD_UNSUPPORTED},
	{"kcp", CV_WORD_UNSUPPORTED},
	{"mkcp", CV_WORD_UNSUPPORTED},
	{"hysteria", CV_WORD_UNSUPPORTED},
	{"quic", CV_WORD_UNSUPPORTED},
	{"domainsocket", CV_WORD_UNSUPPORTED},
	{NULL, 0},
};

static const struct cv_word securities[] = {
	{"none", CV_SECURITY_NONE},
	{"tls", CV_SECURITY_TLS},
	{"reality", CV_SECURITY_REALITY},
	{"xtls", CV_WORD_UNSUPPORTED},
	{NULL, 0},
};

struct raw_stream {
	int network, security;
	struct cv_node tls, reality, raw, websocket, httpupgrade, h2, sockopt;
};

static const struct cv_field stream_fields[] = {
	{"method", "network", .type = CV_FIELD_WORD, .words = networks, .text = "raw",
	 CV_FIELD(struct raw_stream, network)},
	{"security", .type = CV_FIELD_WORD, .words = securities, .text = "none",
	 CV_FIELD(struct raw_stream, security)},
	{"tlsSettings", .type = CV_FIELD_OBJECT, CV_FIELD(struct raw_stream, tls)},
	{"realitySettings", .type = CV_FIELD_OBJECT, CV_FIELD(struct raw_stream, reality)},
	{"rawSettings", "tcpSettings", .type = CV_FIELD_OBJECT, CV_FIELD(struct raw_stream, raw)},
	{"wsSettings", .type = CV_FIELD_OBJECT, CV_FIELD(struct raw_stream, websocket)},
	{"httpupgradeSettings", .type = CV_FIELD_OBJECT, CV_FIELD(struct raw_stream, httpupgrade)},
	{"httpSettings", "h2Settings", .type = CV_FIELD_OBJECT, CV_FIELD(struct raw_stream, h2)},
	{"sockopt", .type = CV_FIELD_OBJECT, CV_FIELD(struct raw_stream, sockopt)},
	{"finalmask", .type = CV_FIELD_REFUSED},
	/* settings of the carriers that are not chosen */
	{"xhttpSettings", "splithttpSettings", .type = CV_FIELD_IGNORED},
	{"grpcSettings", .type = CV_FIELD_IGNORED},
	{"kcpSettings", .type = CV_FIELD_IGNORED},
	{.type = CV_FIELD_END},
};

struct raw_raw {
	bool accepts_proxy;
	struct cv_node header;
};

static const struct cv_field raw_fields[] = {
	{"acceptProxyProtocol", .type = CV_FIELD_BOOL, CV_FIELD(struct raw_raw, accepts_proxy)},
	{"header", .type = CV_FIELD_OBJECT, CV_FIELD(struct raw_raw, header)},
	{.type = CV_FIELD_END},
};

static const struct cv_field header_fields[] = {
	{"type", .type = CV_FIELD_REFUSED, .text = "none", .why = "header obfuscation"},
	{"request", .type = CV_FIELD_IGNORED},
	{"response", .type = CV_FIELD_IGNORED},
	{.type = CV_FIELD_END},
};

struct raw_sockopt {
	int strategy;
	const char *dialer_proxy;
	bool accepts_proxy;
	struct cv_node proxy_from, trusted;
};

static const struct cv_field sockopt_fields[] = {
	{"domainStrategy", .type = CV_FIELD_WORD, .words = cv_strategy_words, .text = "AsIs",
	 CV_FIELD(struct raw_sockopt, strategy)},
	{"acceptProxyProtocol", .type = CV_FIELD_BOOL,
	 CV_FIELD(struct raw_sockopt, accepts_proxy)},
	{"proxyProtocolFrom", .type = CV_FIELD_ANY, /* our own */
	 CV_FIELD(struct raw_sockopt, proxy_from)},
	{"mark", .type = CV_FIELD_REFUSED, .why = "routes by mark would not be taken"},
	{"interface", .type = CV_FIELD_REFUSED},
	{"tproxy", .type = CV_FIELD_REFUSED, .text = "off"},
	{"dialerProxy", .type = CV_FIELD_TEXT, CV_FIELD(struct raw_sockopt, dialer_proxy)},
	{"addressPortStrategy", .type = CV_FIELD_REFUSED, .text = "none"},
	{"customSockopt", .type = CV_FIELD_WARNED},
	{"tcpFastOpen", .type = CV_FIELD_WARNED},
	{"tcpKeepAliveIdle", .type = CV_FIELD_WARNED},
	{"tcpKeepAliveInterval", .type = CV_FIELD_WARNED},
	{"tcpUserTimeout", .type = CV_FIELD_WARNED},
	{"tcpMaxSeg", .type = CV_FIELD_WARNED},
	{"tcpWindowClamp", .type = CV_FIELD_WARNED},
	{"tcpCongestion", .type = CV_FIELD_WARNED},
	{"tcpMptcp", .type = CV_FIELD_WARNED},
	{"tcpNoDelay", .type = CV_FIELD_IGNORED}, /* always on */
	{"v6only", .type = CV_FIELD_REFUSED, .why = "give \"listen\" an address instead"},
	{"penetrate", .type = CV_FIELD_WARNED},
	{"happyEyeballs", .type = CV_FIELD_IGNORED}, /* always on */
	{"trustedXForwardedFor", .type = CV_FIELD_ANY, CV_FIELD(struct raw_sockopt, trusted)},
	{.type = CV_FIELD_END},
};

/* The settings of the transport that is chosen; those of the others mean nothing. */
static void load_transport(const struct cv_node *node, const struct raw_stream *raw,
			   bool is_inbound, struct cv_stream *stream)
{
	const struct cv_node *const settings[] = {
		[CV_TRANSPORT_WEBSOCKET] = &raw->websocket,
		[CV_TRANSPORT_HTTPUPGRADE] = &raw->httpupgrade,
		[CV_TRANSPORT_H2] = &raw->h2,
	};
	bool accepts_proxy = false;

	if (raw->network <= CV_TRANSPORT_RAW)
		return;
	stream->transport = cv_load_transport(settings[raw->network],
					      (enum cv_transport_kind)raw->network, is_inbound,
					      &accepts_proxy);
	stream->accepts_proxy |= accepts_proxy;
	if (raw->security == CV_SECURITY_REALITY)
		cv_node_error(node, "REALITY carries \"raw\" only, not \"ws\", \"httpupgrade\" or "
				    "\"h2\"");
}

void cv_load_stream(const struct cv_node *node, bool is_inbound, struct cv_stream *ret_stream)
{
	struct raw_stream raw;
	struct raw_raw raw_settings;
	struct raw_sockopt sockopt;

	cv_schema_read(stream_fields, node, &raw);
	cv_schema_read(raw_fields, &raw.raw, &raw_settings);
	if (raw_settings.header.json)
		cv_schema_read(header_fields, &raw_settings.header, NULL);
	cv_schema_read(sockopt_fields, &raw.sockopt, &sockopt);
	if (is_inbound && !(sockopt.strategy & CV_STRATEGY_AS_IS))
		cv_node_warning(&raw.sockopt, "domainStrategy has no meaning for an inbound");
	*ret_stream = (struct cv_stream){
		.security = (enum cv_security)raw.security,
		.strategy = sockopt.strategy,
		.dialer_proxy = sockopt.dialer_proxy,
		.accepts_proxy = raw_settings.accepts_proxy || sockopt.accepts_proxy,
		.sockopt = raw.sockopt,
		.tls = raw.tls,
		.reality = raw.reality,
	};
	load_transport(node, &raw, is_inbound, ret_stream);
	if (ret_stream->transport)
		cv_load_trusted(&sockopt.trusted, ret_stream->transport);
	if (!is_inbound && ret_stream->accepts_proxy)
		cv_node_warning(node, "acceptProxyProtocol has no meaning for an outbound");
	if (sockopt.proxy_from.json && !(is_inbound && ret_stream->accepts_proxy))
		cv_node_error(&sockopt.proxy_from,
			      "has no meaning without acceptProxyProtocol of an inbound");
	if (is_inbound && *sockopt.dialer_proxy)
		cv_node_error(&raw.sockopt, "dialerProxy has no meaning for an inbound");
	if (raw.security != CV_SECURITY_REALITY && raw.reality.json)
		cv_node_warning(&raw.reality, "has no effect: security is not \"reality\"");
	if (raw.security != CV_SECURITY_TLS && raw.tls.json)
		cv_node_warning(&raw.tls, "has no effect: security is not \"tls\"");
}
