/* SPDX-License-Identifier: MIT */
/*
 * reality_internal.h - the REALITY server's inside, shared by the reality_*.c files and their
 * tests.
 *
 *   reality_server.c       states, verdicts, the interface
 *   reality_auth.c         session id and acceptance chain            REALITY 3.3, 3.4, 4
 *   reality_template.c     what the target's flight looks like        REALITY 5
 *   reality_flight.c       our flight in the target's shape           REALITY 6.1 - 6.3
 *   reality_certificate.c  the certificate only our client believes   REALITY 6.6, 6.7
 *   reality_finished.c     client's second flight, what follows it    REALITY 6.4, 6.5
 */
#ifndef CV_PROTOCOL_REALITY_INTERNAL_H
#define CV_PROTOCOL_REALITY_INTERNAL_H

#include "crypto/tls_record.h"
#include "protocol/reality_server.h"

#define CV_REALITY_KEY_LEN 32
#define CV_REALITY_SESSION_ID_LEN 32
#define CV_REALITY_SESSION_ID_PLAIN 16
#define CV_REALITY_HYBRID_SHARE (CV_MLKEM768_PUBLIC + CV_X25519_LEN)
#define CV_REALITY_HYBRID_ANSWER (CV_MLKEM768_CIPHERTEXT + CV_X25519_LEN)
#define CV_REALITY_SERVER_HELLO_MAX CV_TLS_PLAINTEXT_MAX
#define CV_REALITY_CERTIFICATE_MAX 3522 /* Certificate message, ML-DSA variant */
#define CV_REALITY_USELESS_MAX 32       /* empty records our clients skip in a row, REALITY 12.2 */
/* Total lengths we can seal: no content at all, and a full inner plaintext (RFC 8446 5.4). */
#define CV_REALITY_RECORD_MIN (CV_TLS_HEADER + 1 + CV_AEAD_TAG)
#define CV_REALITY_RECORD_MAX (CV_REALITY_RECORD_MIN + CV_TLS_PLAINTEXT_MAX)
#define CV_REALITY_FINISHED_MAX (4 + 64)

/* Where the handshake's fresh keys come from; vectors need reproducible ones. */
struct cv_reality_entropy {
	int (*x25519_keygen)(uint8_t ret_private[32], uint8_t ret_public[32]);
	int (*mlkem768_encapsulate)(const uint8_t public_key[1184], uint8_t ret_ciphertext[1088],
				    uint8_t ret_secret[32]);
};

/* The target's flight: total record lengths by position, REALITY 5. */
struct cv_reality_template {
	size_t server_hello_len; /* message incl. its header; it starts at offset CV_TLS_HEADER */
	size_t key_share_offset; /* of the share's bytes within that message */
	uint16_t group;
	const struct cv_tls_suite *suite;
	bool combined;        /* one record holds EE..Finished */
	size_t record_len[7]; /* [2]..[5], [6] = 0: no record */
};

enum cv_reality_state {
	CV_REALITY_EXPECT_HELLO,
	CV_REALITY_EXPECT_TEMPLATE,
	CV_REALITY_EXPECT_FINISHED,
	CV_REALITY_IS_ESTABLISHED,
	CV_REALITY_IS_FORWARDED,
	CV_REALITY_IS_CLOSED,
};

struct cv_reality_server {
	const struct cv_reality_config *config;
	const struct cv_reality_entropy *entropy;
	enum cv_reality_state state;
	int reason;
	struct cv_hello_assembler assembler;
	struct cv_client_hello hello; /* borrows from the assembler's message */
	bool hello_parsed;
	struct cv_buffer client; /* bytes behind the hello; after ESTABLISHED: leftover */
	struct cv_buffer saved;  /* target bytes, until the flight is built */
	struct cv_buffer output;
	uint8_t auth_key[CV_REALITY_KEY_LEN];
	uint8_t session_id[CV_REALITY_SESSION_ID_LEN];
	uint8_t short_id[CV_SHORT_ID_LEN];
	int64_t clock_skew_ms;
	struct cv_target_profile profile;
	enum cv_target_variant variant; /* of what the target's ServerHello agreed on */
	/* after our flight */
	const struct cv_tls_suite *suite;
	struct cv_tls_secrets secrets;
	struct cv_tls_keys rx, tx; /* client handshake, later application; server application */
	uint8_t client_verify_data[CV_HASH_MAX];
	uint8_t message[CV_REALITY_FINISHED_MAX]; /* client's handshake bytes so far */
	uint8_t message_len;
	uint8_t empty_records_sent; /* under application keys, before any data */
	uint8_t warning_count;
	uint32_t ccs_count;
	bool layer_taken;
};

/* reality_server.c */
/** cv_reality_target_is_go() - The target was learned to be a server of Go's TLS stack. */
bool cv_reality_target_is_go(const struct cv_reality_server *server);

/* reality_auth.c */
/** cv_reality_auth_key() - AuthKey for a client share. CV_PEER_AUTH_FAILED: degenerate share. */
int cv_reality_auth_key(const uint8_t private_key[32], const uint8_t share[32],
			const uint8_t random[32], uint8_t ret_auth_key[CV_REALITY_KEY_LEN]);
/**
 * cv_reality_session_id_open() - Decrypt the session id of the hello @message (at least 71 bytes),
 * which is changed for the time of the call only. 0; CV_PEER_AUTH_FAILED; CV_INTERNAL_CRYPTO.
 */
int cv_reality_session_id_open(const uint8_t auth_key[CV_REALITY_KEY_LEN], uint8_t *message,
			       size_t message_len, uint8_t ret_plain[CV_REALITY_SESSION_ID_PLAIN]);
/** cv_reality_accept() - REALITY 3.3 on the parsed hello: 0, or the reason why it is not ours. */
int cv_reality_accept(struct cv_reality_server *server, uint64_t now_wall_ms);

/* reality_template.c */
/**
 * cv_reality_template_read() - Look at every byte the target sent so far.
 * Returns: 0 with @ret_template filled; -EAGAIN; CV_TARGET_NOT_TLS13, _HELLO_RETRY, _GROUP,
 * _SESSION_ID, _TEMPLATE. Source: REALITY 5.
 */
int cv_reality_template_read(struct cv_span saved,
			     const uint8_t session_id[CV_REALITY_SESSION_ID_LEN],
			     struct cv_reality_template *ret_template);

/* reality_certificate.c */
/** cv_reality_certificate_len() - Length of the Certificate message: 191, or 3522 with ML-DSA. */
size_t cv_reality_certificate_len(bool with_mldsa);
/**
 * cv_reality_certificate_write() - The Certificate message.
 * @server_hello: as sent, with its 4-byte header; used with ML-DSA only
 * @ret_message: cv_reality_certificate_len() bytes. 0 or CV_INTERNAL_CRYPTO.
 */
int cv_reality_certificate_write(const struct cv_reality_config *config,
				 const uint8_t auth_key[CV_REALITY_KEY_LEN],
				 struct cv_span client_hello, struct cv_span server_hello,
				 uint8_t *ret_message);

/* reality_flight.c */
/**
 * cv_reality_flight_build() - Append the whole flight to output and switch the keys.
 * On failure output is as it was: forwarding is still possible. Returns: 0; CV_TARGET_PADDING;
 * CV_TARGET_GROUP (the client has no usable share for the target's group); CV_INTERNAL_*.
 */
int cv_reality_flight_build(struct cv_reality_server *server,
			    const struct cv_reality_template *template);

/* reality_finished.c */
/** cv_reality_finished_read() - Work on server->client. 0: established; -EAGAIN; or the reason to
 * close, with the alert in output where a TLS 1.3 server would send one. */
int cv_reality_finished_read(struct cv_reality_server *server);

/* reality_server.c */
void cv_reality_server_set_entropy(struct cv_reality_server *server,
				   const struct cv_reality_entropy *entropy);

#endif
