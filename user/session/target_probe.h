/* SPDX-License-Identifier: MIT */
/*
 * target_probe.h - handshakes with the site REALITY imitates, to learn what it does (REALITY 7).
 *
 * Blocking by design: for the learner's thread and for `culvert probe`, never for a worker.
 */
#ifndef CV_SESSION_TARGET_PROBE_H
#define CV_SESSION_TARGET_PROBE_H

#include "base/address.h"
#include "protocol/reality_server.h"
#include "protocol/tls_client.h"

#define CV_TARGET_PROBE_PARALLEL 52     /* connections to one target at once: four names */
#define CV_TARGET_PROBE_WINDOW_MS 5000  /* REALITY 7, probe A */
#define CV_TARGET_PROBE_TIMEOUT_MS 10000
#define CV_TARGET_PROBE_CCS_WAIT_MS 1000 /* REALITY 7, probe B */
#define CV_CCS_LIMIT_UNKNOWN 32         /* what most TLS stacks ignore, REALITY 6.4 */

enum cv_target_probe_kind {
	CV_TARGET_PROBE_LENGTHS, /* A: records after our second flight */
	CV_TARGET_PROBE_CCS,     /* B: how many CCS records are ignored */
};

struct cv_target_probe_config {
	enum cv_target_probe_kind kind;
	const struct cv_sockaddr *addresses; /* tried in order; borrowed */
	size_t address_count;
	int xver;
	const char *server_name; /* borrowed; "" = none */
	enum cv_alpn_class alpn_class;
	struct cv_hello_omissions omit; /* zero = a hello as the class's client sends it */
	const struct cv_trust_store *trust; /* NULL = do not check the certificate; borrowed */
	bool describe_leaf;		/* fill facts.leaf */
	uint32_t window_ms;                 /* collection time of A; 0 = default */
	uint32_t timeout_ms;                /* connect and handshake; 0 = default */
};

struct cv_target_probe_result {
	int reason; /* 0; CV_TARGET_, CV_UPSTREAM_ or CV_INTERNAL_; -ETIMEDOUT; -ECANCELED */
	char error_text[96];
	struct cv_tls_client_facts facts; /* as far as the handshake came */
	struct cv_post_handshake after; /* A: what came behind our second flight */
	int16_t ccs_limit;              /* B; else CV_CCS_LIMIT_UNKNOWN */
	size_t post_handshake_seen;       /* may exceed CV_POST_HANDSHAKE_MAX */
	uint32_t connect_ms, handshake_ms;
};

/**
 * cv_target_probe_run() - Run @count probes, at most CV_TARGET_PROBE_PARALLEL at a time.
 * @stop_fd: readable = give up (the rest gets -ECANCELED); -1 = none
 * @ret_results: @count entries, every one is filled
 * Takes about timeout + window for every batch. Source: REALITY 7.
 */
void cv_target_probe_run(const struct cv_target_probe_config *configs, size_t count, int stop_fd,
			 struct cv_target_probe_result *ret_results);

/**
 * cv_target_resolve() - Socket addresses of a target, in resolver order. May block for seconds.
 * @unix_address: used if its len_bytes > 0, else @destination
 * Returns the count (1..max), or CV_TARGET_UNREACHABLE if the name does not resolve.
 */
int cv_target_resolve(const struct cv_destination *destination,
		      const struct cv_sockaddr *unix_address, struct cv_sockaddr *ret_addresses,
		      size_t max_count);

/**
 * cv_target_split_records() - Total lengths of the leading run of application-data records.
 * A record cut off by the end of @bytes counts with the length its header announces.
 * Returns how many there are; at most @max are stored.
 */
size_t cv_target_split_records(struct cv_span bytes, uint16_t *ret_lengths, size_t max);

#endif
