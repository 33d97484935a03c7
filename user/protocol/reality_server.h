/* SPDX-License-Identifier: MIT */
/*
 * reality_server.h - the REALITY server handshake, sans-IO.
 *
 *   session                      cv_reality_server
 *   accept, dial target
 *   client bytes ---------------> client_bytes()      (the session also writes them to the target,
 *   target bytes ---------------> target_bytes()       byte for byte, until the verdict says stop)
 *                 <-------------- verdict
 *     WAIT         keep going
 *     FORWARD      not ours (reason says why): write saved_target_bytes to the client, then relay
 *                  client <-> target as they are, for good
 *     FLIGHT       ours: write flight to the client, stop mirroring, keep the target connected
 *     ESTABLISHED  client Finished verified: write post_handshake to the client, close the target,
 *                  take the keys (cv_reality_server_take_layer), leftover = bytes after Finished
 *     CLOSE        write flight (an alert may be in it) to the client, close both
 */
#ifndef CV_PROTOCOL_REALITY_SERVER_H
#define CV_PROTOCOL_REALITY_SERVER_H

#include "crypto/crypto.h"
#include "protocol/layer.h"
#include "protocol/target_profile.h"
#include "wire/client_hello.h"

#define CV_SHORT_ID_LEN 8

/* Read-only and shared by all workers. */
struct cv_reality_config {
	uint8_t private_key[32];
	char (*server_names)[256];
	size_t server_name_count;
	uint8_t (*short_ids)[CV_SHORT_ID_LEN];
	size_t short_id_count;
	uint32_t min_client_version; /* x<<16|y<<8|z */
	uint32_t max_client_version; /* 0xffffff = none */
	uint64_t max_time_diff_ms;   /* 0 = off */
	bool require_mlkem;
	const struct cv_ed25519 *certificate_key; /* borrowed */
	uint8_t certificate_public[32];
	const struct cv_mldsa65 *mldsa; /* NULL = off; borrowed */
	/* replay cache: returns true if this hello was seen before (and remembers it). NULL = off
	 */
	bool (*seen_before)(void *context, const uint8_t random[32], const uint8_t session_id[32],
			    uint64_t now_wall_ms);
	void *seen_context;
	/* profile lookup; never blocks; returns one in which nothing is known if so */
	struct cv_target_profile (*profile)(void *context, const char *server_name,
					    enum cv_alpn_class alpn_class);
	void *profile_context;
};

enum cv_reality_verdict {
	CV_REALITY_WAIT,
	CV_REALITY_FORWARD,
	CV_REALITY_FLIGHT,
	CV_REALITY_ESTABLISHED,
	CV_REALITY_CLOSE,
};

struct cv_reality_server;

/** cv_reality_server_new() - @config borrowed for the object's lifetime. NULL: out of memory. */
struct cv_reality_server *cv_reality_server_new(const struct cv_reality_config *config);
struct cv_reality_server *cv_reality_server_free(struct cv_reality_server *server);

/** cv_reality_server_client_bytes() - Bytes just read from the client. */
enum cv_reality_verdict cv_reality_server_client_bytes(struct cv_reality_server *server,
						       struct cv_span bytes, uint64_t now_wall_ms);
/** cv_reality_server_target_bytes() - Bytes just read from the target (saved until a verdict). */
enum cv_reality_verdict cv_reality_server_target_bytes(struct cv_reality_server *server,
						       struct cv_span bytes, uint64_t now_wall_ms);
/** cv_reality_server_client_eof / target_eof() - End or error of one side. */
enum cv_reality_verdict cv_reality_server_client_eof(struct cv_reality_server *server);
enum cv_reality_verdict cv_reality_server_target_eof(struct cv_reality_server *server);

/** cv_reality_server_reason() - Why FORWARD or CLOSE; 0 before. */
int cv_reality_server_reason(const struct cv_reality_server *server);
/** cv_reality_server_clock_skew_ms() - For the log when the reason is CV_PEER_CLOCK. */
int64_t cv_reality_server_clock_skew_ms(const struct cv_reality_server *server);
/** cv_reality_server_output() - Bytes for the client (flight, alert or post-handshake records). */
struct cv_buffer *cv_reality_server_output(struct cv_reality_server *server);
/** cv_reality_server_saved_target() - With FORWARD: every target byte not yet sent to the client.
 */
struct cv_buffer *cv_reality_server_saved_target(struct cv_reality_server *server);
/** cv_reality_server_leftover() - With ESTABLISHED: client bytes after Finished (protected
 * records). */
struct cv_buffer *cv_reality_server_leftover(struct cv_reality_server *server);
/** cv_reality_server_leaves_unread() - With CLOSE: the target would have closed with bytes unread,
 * so that its kernel had sent RST (stacks read about one record at once, Go's far less). */
bool cv_reality_server_leaves_unread(const struct cv_reality_server *server);
/** cv_reality_server_hello() - The parsed hello (server_name, alpn_class), NULL before it is
 * parsed. */
const struct cv_client_hello *cv_reality_server_hello(const struct cv_reality_server *server);
/** cv_reality_server_is_hybrid() - Client offered X25519MLKEM768 (for counting client classes). */
bool cv_reality_server_is_hybrid(const struct cv_reality_server *server);
/** cv_reality_server_take_layer() - Once, after ESTABLISHED: the record layer (owned by the
 * caller). */
struct cv_layer *cv_reality_server_take_layer(struct cv_reality_server *server);
/** cv_reality_server_short_id() - The client's shortId (8 bytes), after FLIGHT. */
const uint8_t *cv_reality_server_short_id(const struct cv_reality_server *server);
/** cv_reality_server_key_log() - NSS key log lines (REALITY 13); NULL before FLIGHT. Caller frees.
 */
char *cv_reality_server_key_log(const struct cv_reality_server *server);

#endif
