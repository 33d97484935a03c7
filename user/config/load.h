/* SPDX-License-Identifier: MIT */
/*
 * load.h - the parts of the loader; each reads one kind of object into load->config.
 */
#ifndef CV_CONFIG_LOAD_H
#define CV_CONFIG_LOAD_H

#include "config/node.h"
#include "config/schema.h"

#include "policy/siphash.h"

/* The users of one inbound while they are collected; their strings are the documents'. */
struct cv_user_list {
	struct cv_load *load;
	struct cv_user *users;
	size_t count;
	/* identities that are taken, by a keyed hash of "id:...", "email:...", "name:..." */
	struct cv_siphash_key key;
	struct cv_user_claim *claims; /* open addressing */
	size_t claim_count, claim_slots;
};

/* Limits as their keys are read; part of each kind of user. */
struct cv_raw_limits {
	uint64_t quota_bytes, uplink_bytes_per_s, downlink_bytes_per_s;
	const char *expires;
	int quota_resets;
	uint32_t max_sessions, max_source_addresses;
};

extern const struct cv_word cv_quota_reset_words[];

#define CV_LIMIT_FIELD(key_, alias_, type_, raw_, member_) \
	key_, alias_, .type = (type_), CV_FIELD(raw_, limits.member_)
/* The fields of a struct @raw_ with a member called limits. */
#define CV_LIMIT_FIELDS(raw_) \
	{CV_LIMIT_FIELD("quotaBytes", "quota_bytes", CV_FIELD_U64, raw_, quota_bytes)}, \
		{CV_LIMIT_FIELD("quotaResets", "quota_resets", CV_FIELD_WORD, raw_, quota_resets), \
		 .words = cv_quota_reset_words, .text = "never"}, \
		{CV_LIMIT_FIELD("expiresAt", "expires_at", CV_FIELD_TEXT, raw_, expires)}, \
		{CV_LIMIT_FIELD("uplinkBytesPerSecond", "uplink_bytes_per_second", CV_FIELD_U64, \
				raw_, uplink_bytes_per_s), .unit = "bytes"}, \
		{CV_LIMIT_FIELD("downlinkBytesPerSecond", "downlink_bytes_per_second", \
				CV_FIELD_U64, raw_, downlink_bytes_per_s), .unit = "bytes"}, \
		{CV_LIMIT_FIELD("maxSessions", "max_sessions", CV_FIELD_U32, raw_, max_sessions)}, \
		{CV_LIMIT_FIELD("maxSourceAddresses", "max_source_addresses", CV_FIELD_U32, raw_, \
				max_source_addresses), .max = CV_LIMITS_ADDRESSES_MAX}

/** cv_load_limits() - What was read from @node into @raw, checked. */
void cv_load_limits(const struct cv_node *node, const struct cv_raw_limits *raw,
		    struct cv_limits *ret_limits);
/** cv_load_usages() - Each user of @list gets the record of the person it is. */
void cv_load_usages(struct cv_user_list *list, const struct cv_node *inbound);

struct cv_user_list cv_user_list_of(struct cv_load *load);
void cv_user_list_done(struct cv_user_list *list);
/** cv_load_clients() - VLESS: settings.clients, default flow @vision. */
void cv_load_clients(struct cv_user_list *list, const struct cv_node *clients, bool vision);
/** cv_load_vmess_clients() - VMess: settings.clients. */
void cv_load_vmess_clients(struct cv_user_list *list, const struct cv_node *clients);
/** cv_load_accounts() - SOCKS: settings.accounts. */
void cv_load_accounts(struct cv_user_list *list, const struct cv_node *accounts, uint32_t level);
enum cv_login { CV_LOGIN_ID, CV_LOGIN_SOCKS, CV_LOGIN_HTTP }; /* how users show who they are */

struct cv_users_file {
	const char *path;
	enum cv_login login;
	bool strict_permissions; /* that others can read it is an error, no warning */
	bool allow_plain;	 /* passwords that are no hashes */
	bool uuid_as_password;	 /* of users who have none */
	bool only_check;	 /* nobody will come in by it */
};

/* The fields of a struct @raw_ with a member users of type struct cv_users_file. */
#define CV_USERS_FILE_FIELDS(raw_) \
	{"usersFile", .type = CV_FIELD_TEXT, CV_FIELD(raw_, users.path)}, \
		{"strictPermissions", .type = CV_FIELD_BOOL, \
		 CV_FIELD(raw_, users.strict_permissions)}
#define CV_LOGIN_FIELDS(raw_) \
	{"allowPlain", .type = CV_FIELD_BOOL, CV_FIELD(raw_, users.allow_plain)}, \
		{"uuidAsPassword", .type = CV_FIELD_BOOL, CV_FIELD(raw_, users.uuid_as_password)}

/** cv_load_users_file() - users.json, for an inbound that asks for @file->login; @node is the key
 * that names it. */
void cv_load_users_file(struct cv_user_list *list, const struct cv_node *node,
			const struct cv_users_file *file);
/** cv_load_users_done() - After the last inbound. */
void cv_load_users_done(struct cv_load *load);
/** cv_load_file_users() - The same of an open document. */
void cv_load_file_users(struct cv_user_list *list, const struct cv_document *document,
			const struct cv_users_file *file);

/* streamSettings of either direction. */
struct cv_stream {
	enum cv_security security;
	int strategy; /* sockopt.domainStrategy, of cv_strategy_words */
	const char *dialer_proxy; /* "" = none */
	bool accepts_proxy;
	struct cv_transport *transport; /* NULL = raw; whoever takes it owns it */
	struct cv_node sockopt;
	struct cv_node tls, reality;
};

/* Name and value of a domain strategy: enum cv_resolve_strategy, and whether addresses are forced.
 */
#define CV_STRATEGY_FORCED 0x100
#define CV_STRATEGY_AS_IS 0x200
#define CV_STRATEGY_RESOLVE 0xff
extern const struct cv_word cv_strategy_words[];

/** cv_load_stream() - @node must outlive @ret_stream, whose nodes point at it. */
void cv_load_stream(const struct cv_node *node, bool is_inbound, struct cv_stream *ret_stream);
/** cv_load_transport() - @node: the settings of a transport that is not raw. NULL: out of memory.
 */
struct cv_transport *cv_load_transport(const struct cv_node *node, enum cv_transport_kind kind,
				       bool is_inbound, bool *ret_accepts_proxy);
/** cv_load_trusted() - sockopt.trustedXForwardedFor. */
void cv_load_trusted(const struct cv_node *list, struct cv_transport *transport);
void cv_load_log(const struct cv_node *node);
void cv_load_policy(const struct cv_node *node);
void cv_load_culvert(const struct cv_node *node);
/** cv_load_status() - culvert.status; @ret_settings is off unless @node is there and good. */
void cv_load_status(const struct cv_node *node, struct cv_status_settings *ret_settings);
/** cv_load_bridges() - The object "reverse": its bridges. */
void cv_load_bridges(const struct cv_node *reverse);
/** cv_load_portal_count() - How many outbounds cv_load_portals() will add, one more if there are no
 * others. */
size_t cv_load_portal_count(const struct cv_node *reverse);
void cv_load_portals(const struct cv_node *reverse);
void cv_load_inbounds(const struct cv_node *list);
/** cv_load_outbounds() - Those of @list, the portals of @reverse, those of external_proxy.json. */
void cv_load_outbounds(const struct cv_node *list, const struct cv_node *reverse);
/** cv_load_empty_texts() - "" where nothing will be configured. */
void cv_load_empty_texts(struct cv_load *load, struct cv_outbound *outbound);
/** cv_load_default_server_name() - The name we show and verify is the server's address unless one
 * is configured. */
void cv_load_default_server_name(struct cv_load *load, struct cv_outbound *outbound);

/** cv_load_mux() - @node: an outbound's object mux; after everything else of it. */
void cv_load_mux(const struct cv_node *node, struct cv_outbound *outbound);

extern const struct cv_word cv_fallback_words[]; /* 1 = direct */
/** cv_load_proxy() - @settings of a socks or http outbound. */
void cv_load_proxy(const struct cv_node *node, const struct cv_node *settings,
		   const struct cv_stream *stream, struct cv_outbound *outbound);
/** cv_load_proxy_alpn() - What a proxy may be offered in TLS; @node: of its TLS settings. */
void cv_load_proxy_alpn(const struct cv_node *node, struct cv_outbound *outbound);
/** cv_load_credentials() - For the proxy; both "" = none. */
void cv_load_credentials(const struct cv_node *node, const char *user, const char *password,
			 struct cv_outbound *outbound);
/** cv_load_retry() - Attempts, waits, deadlines from @node, and health to go with them. */
void cv_load_retry(const struct cv_node *node, bool goes_around, struct cv_outbound *outbound);
/** cv_load_chains() - When all of @list is loaded: who is dialled through whom. */
void cv_load_chains(const struct cv_node *list);
/** cv_load_external_proxies() - external_proxy.json, behind the outbounds; errors about the file
 * itself are reported about @node. */
void cv_load_external_proxies(struct cv_load *load, const struct cv_node *node);
/** cv_load_check_external() - Warns of users whose external proxy does not exist. */
void cv_load_check_external(const struct cv_node *node);
/** cv_load_check_permissions() - Warns, or reports an error, if others can read @path. */
void cv_load_check_permissions(const struct cv_node *node, const char *path, bool is_strict);
/** cv_load_has_direct() - Sets config->direct, if an outbound can be that. */
bool cv_load_has_direct(struct cv_config *config);
void cv_load_routing(const struct cv_node *node);
/** cv_load_observatory() - After the outbounds: which are probed, how. */
void cv_load_observatory(const struct cv_node *node);
/** cv_load_balancers() - routing.balancers, after the observatory. */
void cv_load_balancers(const struct cv_node *list);
/** cv_load_find_balancer() - Its index; false if there is none called @tag. */
bool cv_load_find_balancer(const struct cv_config *config, const char *tag, uint32_t *ret_index);
/** cv_load_sniffing() - The object "sniffing" of @inbound. */
void cv_load_sniffing(const struct cv_node *node, struct cv_inbound *inbound);
/** cv_load_domain() - One domain rule, geosite lists included, into *@matcher, which is made where
 * it is NULL. */
void cv_load_domain(const struct cv_node *node, const char *text,
		    struct cv_domain_matcher **matcher);
/** cv_load_block() - Likewise one rule about addresses. */
void cv_load_block(const struct cv_node *node, const char *text, struct cv_ip_matcher **matcher);
/** cv_load_edge() - After the inbounds: what names in hellos decide, on each of them. */
void cv_load_edge(const struct cv_node *node);
/** cv_load_reality_server() - realitySettings of an inbound; @users add their short ids. */
void cv_load_reality_server(const struct cv_node *node, const struct cv_user_list *users,
			    struct cv_inbound *inbound);
void cv_load_reality_client(const struct cv_node *node, struct cv_outbound *outbound);
void cv_load_tls_server(const struct cv_node *node, struct cv_inbound *inbound);
void cv_load_tls_client(const struct cv_node *node, struct cv_outbound *outbound);
/** cv_load_system_trust() - The roots of this machine, loaded once; NULL after a warning. */
struct cv_trust_store *cv_load_system_trust(const struct cv_node *node);
/** cv_load_authority() - The roots in one file, and no others; NULL after an error. */
struct cv_trust_store *cv_load_authority(const struct cv_node *node, const char *path);
#define CV_TLS_INSECURE_WARNING \
	"ANYBODY on the way can read and change this traffic: the server is not verified"
/** cv_load_tunnel() - @settings of a tunnel. */
void cv_load_tunnel(const struct cv_node *node, struct cv_inbound *inbound);
/** cv_load_vmess_server() - @settings of a VMess inbound. */
void cv_load_vmess_server(const struct cv_node *node, struct cv_user_list *users);
/** cv_load_vmess_keys() - When inbound->users is there: how they are told apart. */
void cv_load_vmess_keys(struct cv_load *load, struct cv_inbound *inbound);
/** cv_load_vmess_client() - @settings of a VMess outbound. */
void cv_load_vmess_client(const struct cv_node *node, const struct cv_node *settings,
			  struct cv_outbound *outbound);
/** cv_load_fallbacks() - settings.fallbacks of a VLESS inbound. */
void cv_load_fallbacks(const struct cv_node *list, struct cv_inbound *inbound);

#endif
