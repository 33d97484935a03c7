/* SPDX-License-Identifier: MIT */
/*
 * reality_rig.h - both neighbours of a REALITY server, for its tests: a client that seals, reads
 * our flight and finishes, and a target whose flight has any shape. Defaults are the worked vector
 * of REALITY 14. Everything asserts; nothing here is used by the daemon.
 */
#ifndef CV_TESTS_REALITY_RIG_H
#define CV_TESTS_REALITY_RIG_H

#include "protocol/reality_internal.h"

#include <culvert/reason.h>

#define RIG_WALL_MS UINT64_C(1767225600000) /* 2026-01-01T00:00:00Z */

struct rig_hello {
	const char *server_name; /* NULL: no SNI */
	bool x25519, hybrid;     /* shares; hybrid comes first if both */
	bool x25519_first;
	bool no_tls13;
	bool with_alpn;
	uint8_t version[3];
	uint32_t time_s;
	uint8_t short_id[8];
	uint8_t session_id_len; /* 32; other lengths are not sealed */
	bool break_seal;
};

struct rig_client {
	uint8_t x25519_private[32], hybrid_private[32], mlkem_seed[CV_MLKEM768_SEED];
	uint8_t auth_key[32];
	struct cv_buffer hello; /* message */
	const struct cv_tls_suite *suite;
	struct cv_transcript *transcript;
	struct cv_tls_secrets secrets;
	struct cv_tls_keys rx, tx;         /* handshake */
	struct cv_tls_keys app_rx, app_tx; /* application */
	struct cv_buffer messages;         /* EE..Finished as received */
	uint8_t finished[4 + CV_HASH_MAX];
	size_t finished_len;
};

struct rig_flight {
	uint16_t suite, group;
	size_t record_len[7]; /* [2].. total lengths; [3] = 0: combined; [6] = 0: none */
	bool no_versions, no_share, retry, psk;
	uint8_t session_id_len;
	uint8_t server_hello_version; /* low byte, 3 */
	uint8_t compression;
};

struct rig_config {
	struct cv_reality_config reality;
	char server_names[2][256];
	uint8_t short_ids[2][8];
	struct cv_ed25519 *certificate_key;
	struct cv_mldsa65 *mldsa;
	struct cv_target_profile profile;
	int seen_calls;
	bool seen_answer;
};

size_t rig_hex(const char *text, uint8_t *out, size_t size);
void rig_config_start(struct rig_config *config);
void rig_config_with_mldsa(struct rig_config *config);
void rig_config_stop(struct rig_config *config);
/** rig_entropy - X25519 key of the vector; encapsulation is the real one. */
extern const struct cv_reality_entropy rig_entropy;

struct rig_hello rig_hello_default(void);
void rig_client_start(struct rig_client *client, const struct rig_hello *options);
void rig_client_stop(struct rig_client *client);
/** rig_hello_records() - The hello in handshake records of at most @fragment bytes. */
void rig_hello_records(const struct rig_client *client, size_t fragment, struct cv_buffer *out);

struct rig_flight rig_flight_default(void);
void rig_flight_write(const struct rig_flight *flight, const struct rig_client *client,
		      struct cv_buffer *out);

/** rig_client_read_flight() - Check our flight against @flight's lengths and finish the key
 * schedule; what is behind record 6 stays in @output. */
void rig_client_read_flight(struct rig_client *client, const struct rig_flight *flight,
			    const struct rig_config *config, struct cv_buffer *output);
/** rig_client_finish() - CCS and Finished. */
void rig_client_finish(struct rig_client *client, struct cv_buffer *out);
/** rig_open() - Open the record at the front of @from; returns its content length. */
size_t rig_open(struct cv_tls_keys *keys, struct cv_buffer *from, uint8_t type, uint8_t *ret_plain,
		size_t *ret_record_len);

#endif
