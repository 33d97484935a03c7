/* SPDX-License-Identifier: MIT */
/*
 * tls_client.h - our own TLS 1.3 client that looks like a browser; REALITY (sealed session id,
 * certificate HMAC) on top. Sans-IO. Also the probe that learns about targets.
 */
#ifndef CV_PROTOCOL_TLS_CLIENT_H
#define CV_PROTOCOL_TLS_CLIENT_H

#include "crypto/tls_schedule.h"
#include "protocol/layer.h"
#include "protocol/fingerprint.h"

struct cv_reality_client_config {
	uint8_t server_public[32];
	uint8_t short_id[8];
	const uint8_t *mldsa_public; /* 1952 bytes or NULL, borrowed */
	uint8_t version[3];          /* >= 26.3.27, REALITY 12.2 */
};

struct cv_tls_client_config {
	const char *server_name; /* "" = no SNI; also the name to verify */
	enum cv_fingerprint fingerprint;
	const char *const *alpn; /* NULL-terminated; NULL = the fingerprint's own; {NULL} = none */
	struct cv_hello_omissions omit; /* probe: what the browser would offer and this hello not */
	const struct cv_reality_client_config *reality; /* NULL = plain TLS */
	/* WebPKI roots, borrowed. NULL: plain TLS verifies nothing (probe), REALITY refuses
	 * whatever it did not sign. */
	const struct cv_trust_store *trust;
	bool allow_insecure; /* plain TLS: go on after a bad chain; facts tell what was found */
	unsigned extra_ccs_count; /* probe: extra CCS records before the second flight */
	bool describe_leaf; /* probe: fill facts.leaf */
	bool hold_finished; /* probe: no second flight, not even CCS, until _release() */
};

enum cv_tls_client_state {
	CV_TLS_CLIENT_EXPECT_SERVER_HELLO, CV_TLS_CLIENT_EXPECT_ENCRYPTED_EXTENSIONS,
	CV_TLS_CLIENT_EXPECT_CERTIFICATE, CV_TLS_CLIENT_EXPECT_CERTIFICATE_VERIFY,
	CV_TLS_CLIENT_EXPECT_FINISHED, CV_TLS_CLIENT_DONE, CV_TLS_CLIENT_FAILED,
};

struct cv_tls_client;

/**
 * cv_tls_client_new() - Builds and (REALITY) seals the ClientHello into output.
 * @config: copied; what it points at is borrowed for the object's lifetime. An IP as server_name is
 * verified but not sent (REALITY 12.1). RANDOM fingerprints are resolved here.
 * Returns NULL when memory, randomness or a key is missing or the hello does not fit.
 */
struct cv_tls_client *cv_tls_client_new(const struct cv_tls_client_config *config,
					uint64_t now_wall_ms);
struct cv_tls_client *cv_tls_client_free(struct cv_tls_client *client);
/**
 * cv_tls_client_read() - Feed carrier bytes; consumes whole records only.
 * Returns: -EAGAIN (send output, read more); 0 = DONE; a CV_UPSTREAM_ reason = FAILED (output may
 * hold an alert). CV_UPSTREAM_REAL_CERTIFICATE is returned when REALITY was asked for and a valid
 * WebPKI certificate came: the handshake is nevertheless complete (Finished sent) and the layer can
 * be taken for the spider; the VLESS request must never be sent on it.
 * @bytes advances past what was consumed; the rest is application data for the layer.
 */
int cv_tls_client_read(struct cv_tls_client *client, struct cv_span *bytes);
enum cv_tls_client_state cv_tls_client_state(const struct cv_tls_client *client);
struct cv_buffer *cv_tls_client_output(struct cv_tls_client *client);
/** cv_tls_client_release() - With hold_finished: append CCS + Finished to output now. */
int cv_tls_client_release(struct cv_tls_client *client);
/** cv_tls_client_take_layer() - Once, after DONE (or REAL_CERTIFICATE). */
struct cv_layer *cv_tls_client_take_layer(struct cv_tls_client *client);
/** cv_tls_client_error_text() - What failed, for the log; "" if nothing did. Lives with @client. */
/** cv_tls_client_fingerprint() - The browser that the hello imitated (RANDOM resolved). */
enum cv_fingerprint cv_tls_client_fingerprint(const struct cv_tls_client *client);
const char *cv_tls_client_error_text(const struct cv_tls_client *client);

/* What the probe and `culvert probe` want to know; valid after the server flight. */
struct cv_tls_client_facts {
	uint16_t version, suite, group;
	char alpn[32];
	size_t record_len[8]; /* total lengths of the server's first records, CCS excluded */
	size_t record_count;
	size_t certificate_bytes; /* Certificate message length */
	bool compressed_certificate;
	bool hello_retry;
	bool reality;            /* the certificate is REALITY's */
	bool certificate_checked; /* against config.trust */
	int certificate_result;  /* 0 or CV_UPSTREAM_CERTIFICATE, if checked */
	const char *certificate_error; /* static text or NULL */
	struct cv_x509_facts leaf; /* if it was asked for; else zeros */
	uint16_t signature_scheme;
};
const struct cv_tls_client_facts *cv_tls_client_facts(const struct cv_tls_client *client);
/** cv_tls_client_key_log() - NSS key log lines (REALITY 13), NULL before DONE. Caller frees. */
char *cv_tls_client_key_log(const struct cv_tls_client *client);
/** cv_tls_client_auth_key() - REALITY AuthKey (32 bytes), a secret; NULL without REALITY. */
const uint8_t *cv_tls_client_auth_key(const struct cv_tls_client *client);

#endif
