/* SPDX-License-Identifier: MIT */
/*
 * config.h - the typed configuration: one read-only snapshot shared by all workers.
 *
 * Filled by config/ from JSON, read by session/. Owned by whoever called cv_config_load();
 * everything inside lives as long as the snapshot. Strings are NUL terminated, never NULL ("" =
 * absent).
 */
#ifndef CV_POLICY_CONFIG_H
#define CV_POLICY_CONFIG_H

#include "base/address.h"
#include "base/log.h"
#include "policy/backend.h"
#include "policy/balancer.h"
#include "policy/ban.h"
#include "policy/edge.h"
#include "policy/observation.h"
#include "policy/reverse.h"
#include "policy/router.h"
#include "policy/sniffing.h"
#include "policy/tunnel.h"
#include "policy/upstream_health.h"
#include "policy/usage.h"
#include "policy/user.h"
#include "protocol/fingerprint.h"
#include "protocol/reality_server.h"
#include "protocol/transport.h"
#include "ring/resolver.h"

struct cv_mldsa65;
struct cv_replay_cache;
struct cv_tls_server_context;
struct cv_trust_store;
struct cv_vmess_keys;

enum cv_security { CV_SECURITY_NONE, CV_SECURITY_TLS, CV_SECURITY_REALITY };
enum cv_inbound_protocol {
	CV_INBOUND_VLESS,
	CV_INBOUND_SOCKS,
	CV_INBOUND_EDGE,
	CV_INBOUND_HTTP,
	CV_INBOUND_MIXED, /* SOCKS4, 4a, 5 and HTTP */
	CV_INBOUND_TUNNEL, /* to one place, whatever is spoken */
	CV_INBOUND_VMESS,
};
enum cv_outbound_protocol {
	CV_OUTBOUND_FREEDOM,
	CV_OUTBOUND_BLACKHOLE,
	CV_OUTBOUND_VLESS,
	CV_OUTBOUND_SOCKS,
	CV_OUTBOUND_HTTP,
	CV_OUTBOUND_VMESS,
	CV_OUTBOUND_PORTAL, /* into a tunnel that a bridge has opened */
};

/* How datagrams go through VLESS. */
enum cv_packet_encoding {
	CV_PACKETS_AUTO,  /* as Xray does it */
	CV_PACKETS_PLAIN, /* command 2, a stream for each destination */
	CV_PACKETS_XUDP,
};

/* Of VLESS. */
enum cv_vless_version {
	CV_VLESS_0,
	CV_VLESS_1,
	CV_VLESS_0_OR_1, /* as the client likes it; of an outbound: as the server does */
};

struct cv_rate_limit { /* REALITY 10; bytes_per_s 0 = off */
	uint64_t after_bytes, bytes_per_s, burst_bytes_per_s;
};

/* A site REALITY imitates; several may stand behind one listener, chosen by SNI. */
struct cv_reality_target {
	char *address_text;                /* as configured, for logs */
	struct cv_destination destination; /* tcp: kind != NONE */
	struct cv_sockaddr unix_address;   /* unix: len_bytes > 0 */
	int xver;
	char (*server_names)[256];
	size_t server_name_count;
	struct cv_reality_config reality; /* borrows our names; profile is set at start */
};

struct cv_reality_inbound {
	struct cv_reality_target *targets; /* [0]: default, for unknown SNI and non-TLS */
	size_t target_count;
	struct cv_rate_limit fallback_upload, fallback_download;
	char *key_log_path;
	uint32_t learn_interval_s; /* re-learn, default 3600 */
	bool show;
	/* owned here, borrowed by each target's cv_reality_config */
	uint8_t (*short_ids)[CV_SHORT_ID_LEN];
	size_t short_id_count;
	struct cv_mldsa65 *mldsa;
	struct cv_replay_cache *replay;
	uint64_t replay_window_ms;
};

struct cv_fallback { /* VLESS 7, inheritance already resolved by policy/fallback.c */
	char *name, *alpn, *path;
	struct cv_destination destination;
	struct cv_sockaddr unix_address;
	int xver;
};

struct cv_inbound {
	char *tag;
	enum cv_inbound_protocol protocol;
	struct cv_sockaddr *listen_addresses; /* one per port; unix: one */
	size_t listen_count;
	unsigned unix_mode;
	struct cv_user_table *users; /* vless: by uuid; socks: by name; NULL = socks noauth */
	struct cv_fallback *fallbacks;
	size_t fallback_count;
	enum cv_security security;
	struct cv_reality_inbound *reality;
	struct cv_tls_server_context *tls;
	struct cv_transport *transport; /* NULL = raw */
	struct cv_edge *edge; /* what names in hellos decide; NULL = nothing */
	enum cv_vless_version version;
	struct cv_tunnel *tunnel; /* NULL unless that is the protocol */
	struct cv_vmess_keys *vmess; /* of the users; NULL unless that is the protocol */
	struct cv_replay_cache *vmess_replay; /* ids seen */
	struct cv_sniffing *sniffing; /* NULL = what clients name is all that is looked at */
	uint32_t level;
	bool guards_private; /* strangers may reach it: its users get no private addresses */
	bool serves_udp, serves_bind; /* SOCKS5: UDP ASSOCIATE, BIND */
	/* where clients reach us for those; kind NONE = where their connection came to */
	struct cv_destination udp_address, bind_address;
	bool accepts_proxy; /* a PROXY header comes first, and says who the client is */
	struct cv_ip_matcher *proxy_sources; /* whose header counts; NULL = anybody's */
};

struct cv_outbound_counters { /* live, added by workers; they outlive a configuration */
	_Atomic uint64_t moved_bytes[2]; /* uplink, downlink */
	_Atomic uint64_t sessions;	 /* led to it; of plain HTTP each request */
	_Atomic uint32_t owner_count;
};

enum cv_mux_udp443 { CV_MUX_UDP443_REJECT, CV_MUX_UDP443_ALLOW, CV_MUX_UDP443_SKIP };

struct cv_mux_settings {	 /* Mux.Cool 4.2 */
	bool enabled;
	uint32_t concurrency;	   /* streams on a carrier at a time; 0 = each has its own */
	uint32_t xudp_concurrency; /* datagram streams on carriers of their own; 0 = on the same */
	bool udp_apart;		   /* datagrams are not for carriers */
	enum cv_mux_udp443 udp443; /* QUIC */
};

struct cv_outbound {
	char *tag;
	enum cv_outbound_protocol protocol;
	/* freedom */
	enum cv_resolve_strategy strategy; /* from domainStrategy */
	bool force_ip;                     /* ForceIP*: fail instead of leaving it to the OS */
	struct cv_destination redirect;    /* kind NONE = keep host, port 0 = keep port */
	bool block_private;                /* compat 7.1 default final rule for vless inbounds */
	bool block_private_set;
	int proxy_protocol;
	/* blackhole */
	bool respond_http;
	/* vless, vmess */
	struct cv_destination server;
	uint8_t uuid[16];
	bool vision;
	uint8_t vmess_cipher; /* enum cv_vmess_cipher */
	bool udp443; /* with vision, datagrams to port 443 pass */
	enum cv_packet_encoding packets;
	enum cv_vless_version version;
	struct cv_vless_versions *versions; /* NULL unless both will do */
	enum cv_security security;
	struct cv_transport *transport; /* NULL = raw */
	char *server_name;
	enum cv_fingerprint fingerprint;
	char **alpn; /* NULL terminated or NULL = the fingerprint's */
	uint8_t reality_public[32];
	uint8_t short_id[8];
	uint8_t *mldsa_public; /* 1952 bytes or NULL */
	char *spider_x;
	char *key_log_path;
	struct cv_trust_store *trust;
	bool allow_insecure;
	uint32_t level;
	char *user_email;
	/* socks, http */
	char *proxy_user, *proxy_password; /* "" = none */
	char *headers;			   /* of CONNECT: whole lines, or "" */
	struct cv_retry retry;
	struct cv_upstream_health *health; /* NULL: one attempt, no way around */
	bool udp_goes_around; /* datagrams go out directly where they cannot go through it */
	char *external_id; /* of external_proxy.json; "" = not from there */
	bool is_disabled;
	struct cv_outbound_counters *counters; /* NULL: nobody asks */
	bool is_observed; /* by probes */
	struct cv_observation *observation; /* NULL: nobody keeps in mind how it is */
	struct cv_portal *portal; /* NULL unless that is the protocol */
	struct cv_mux_settings mux;
	/* vless, vmess, socks, http */
	char *via_tag;		       /* "" = dialled by ourselves */
	const struct cv_outbound *via; /* carries what this one says to its server, or NULL */
};

struct cv_bridge_sums { /* over the workers, each adds its own */
	_Atomic uint32_t workers;
	_Atomic uint32_t active, open, streams; /* not draining; of them, portal was heard */
};

struct cv_bridge {	       /* opens tunnels to a portal */
	char *domain;	       /* by which the portal knows them */
	struct cv_bridge_sums sums;
	struct cv_inbound inbound; /* what comes out of them comes by it */
};

struct cv_level {                  /* policy.levels, milliseconds (VLESS 8: real defaults) */
	uint32_t handshake_ms;     /* 60000 */
	uint32_t idle_ms;          /* 300000 */
	uint32_t uplink_only_ms;   /* 0 = as idle_ms (our default: a half-close is never widened) */
	uint32_t downlink_only_ms; /* 0 = as idle_ms */
};

#define CV_LEVELS 16

struct cv_observatory_settings {
	uint32_t interval_ms;
	struct cv_destination destination;
	char *request; /* what is sent there; NULL = no observatory */
};

enum cv_bpf { CV_BPF_AUTO, CV_BPF_OFF, CV_BPF_REQUIRE };
enum cv_sandbox_mode { CV_SANDBOX_AUTO, CV_SANDBOX_OFF, CV_SANDBOX_REQUIRE };

struct cv_status_settings { /* the status endpoint */
	struct cv_sockaddr address; /* loopback; len_bytes 0 = off */
	char *user, *password;	    /* password: a hash, see policy/password.h */
	uint32_t max_users;	    /* with counters of their own in /metrics, default 100 */
};

struct cv_daemon_settings {    /* our own top-level object "culvert" */
	uint32_t worker_count; /* 0 = one per CPU */
	char *engine;          /* "auto", "copy", "splice", "sockmap" */
	char *state_directory; /* where quotas survive, "" = nowhere; default /var/lib/culvert */
	char *external_path;   /* external_proxy.json, "" = none */
	char *control_path;    /* unix socket, "" = none; default /run/culvert/control.sock */
	uint32_t max_sessions; /* per worker, default 65536 */
	uint32_t max_associations; /* for datagrams, per worker, default 4096 */
	uint32_t max_streams; /* on a carrier that a client opened, default 1024 */
	uint32_t max_user_associations; /* of them, one user's, default 256 */
	uint32_t drain_s;      /* after SIGTERM, default 30 */
	struct cv_ban_policy ban; /* of addresses where logins fail: 5 in 600 s, for 3600 s */
	uint32_t max_pipes;    /* per worker, default 4096 */
	enum cv_bpf bpf;       /* may BPF be used, must it? default CV_BPF_AUTO */
	char *pin_directory;   /* default /sys/fs/bpf/culvert */
	bool steer;	       /* listen by sk_lookup where its pins are there, default true */
	int ktls;              /* enum cv_ktls_policy: "auto", "off", "force" */
	uint64_t ktls_after_bytes; /* kernel TLS for sessions that moved as much; default 64 KiB */
	enum cv_sandbox_mode sandbox; /* shall rights be given up? default CV_SANDBOX_AUTO */
	char *user;	       /* whom to be when started as root, "" = stay */
	struct cv_status_settings status;
};

struct cv_config {
	_Atomic uint64_t session_count; /* sessions that began with it and have not ended */
	enum cv_log_level log_level;
	char *log_error_path, *log_access_path; /* "" = stderr/stdout, "none" = off */
	struct cv_inbound *inbounds;
	size_t inbound_count;
	struct cv_outbound *outbounds; /* [0] is the default */
	size_t outbound_count;
	size_t external_first;		  /* from here on those of external_proxy.json */
	const struct cv_outbound *direct; /* the way around failing proxies */
	struct cv_bridge *bridges;
	size_t bridge_count;
	struct cv_router *router;
	struct cv_balancer *balancers;
	size_t balancer_count;
	struct cv_observatory_settings observatory;
	struct cv_usage_table *usages; /* of all inbounds' users; shared with later ones */
	char **sni_classes; /* what people call class CV_SNI_CLASS_FIRST + i */
	size_t sni_class_count;
	struct cv_backend **backends; /* of the edge */
	size_t backend_count;
	struct cv_level levels[CV_LEVELS];
	struct cv_daemon_settings daemon;
	struct cv_ed25519 *certificate_key;   /* one per process, REALITY 6.6 */
	struct cv_trust_store **trust_stores; /* owned here, borrowed by outbounds */
	size_t trust_store_count;
};

/** cv_config_external() - The outbound of external_proxy.json with that id, also a disabled one, or
 * NULL. */
const struct cv_outbound *cv_config_external(const struct cv_config *config, const char *id);

/** cv_outbound_counters_new() - At zero, with one owner. NULL: out of memory. */
struct cv_outbound_counters *cv_outbound_counters_new(void);
/** cv_outbound_counters_inherit() - Each outbound of @next that has the tag of one of @now goes on
 * with its counters. */
void cv_outbound_counters_inherit(struct cv_config *next, const struct cv_config *now);
/** cv_outbound_counters_leave() - One owner less; the last one frees it. NULL-safe, returns NULL.
 */
struct cv_outbound_counters *cv_outbound_counters_leave(struct cv_outbound_counters *counters);

#endif
