/* SPDX-License-Identifier: MIT */
/*
 * tls_client_state.h - the client's inside, shared by the tls_client_*.c files only.
 *
 *   tls_client.c         records in and out, the state table, the interface
 *   tls_client_hello.c   keys, ClientHello (1 and 2), ServerHello, HelloRetryRequest
 *   tls_client_flight.c  EncryptedExtensions .. Finished, our second flight
 *   tls_client_reality.c sealing the session id, judging the certificate
 */
#ifndef CV_PROTOCOL_TLS_CLIENT_STATE_H
#define CV_PROTOCOL_TLS_CLIENT_STATE_H

#include "crypto/tls_record.h"
#include "protocol/tls_client.h"

#define CV_CLIENT_MESSAGE_MAX (128 * 1024) /* any one handshake message of the server */
#define CV_CLIENT_OUTPUT_MAX 65536
#define CV_CLIENT_CHAIN_MAX 16
#define CV_CLIENT_CCS_MAX 32 /* ignored CCS records, as Go has it */
#define CV_CLIENT_CONTEXT_MAX 255

enum cv_tls_message {
	CV_MESSAGE_SERVER_HELLO = 2, CV_MESSAGE_ENCRYPTED_EXTENSIONS = 8,
	CV_MESSAGE_CERTIFICATE = 11, CV_MESSAGE_CERTIFICATE_REQUEST = 13,
	CV_MESSAGE_CERTIFICATE_VERIFY = 15, CV_MESSAGE_FINISHED = 20,
	CV_MESSAGE_COMPRESSED_CERTIFICATE = 25, CV_MESSAGE_HASH = 254,
};

enum cv_tls_alert {
	CV_ALERT_NONE = 0, CV_ALERT_UNEXPECTED_MESSAGE = 10, CV_ALERT_BAD_RECORD_MAC = 20,
	CV_ALERT_RECORD_OVERFLOW = 22, CV_ALERT_BAD_CERTIFICATE = 42,
	CV_ALERT_ILLEGAL_PARAMETER = 47, CV_ALERT_DECODE_ERROR = 50, CV_ALERT_DECRYPT_ERROR = 51,
	CV_ALERT_PROTOCOL_VERSION = 70, CV_ALERT_INTERNAL_ERROR = 80,
	CV_ALERT_UNSUPPORTED_EXTENSION = 110,
};

struct cv_tls_client {
	struct cv_tls_client_config config;
	struct cv_reality_client_config reality; /* valid if config.reality */
	enum cv_tls_client_state state;
	int result; /* what read() returns once DONE or FAILED */
	const char *error_text;
	char error_buffer[96];
	bool name_is_ip;
	struct cv_buffer output;
	struct cv_buffer messages; /* handshake bytes not yet processed */
	struct cv_tls_client_facts facts;

	/* first flight */
	struct cv_buffer hello;  /* the last ClientHello as transmitted */
	uint8_t random[32], session_id[32];
	uint8_t x25519_private[32], hybrid_private[32], mlkem_seed[64];
	struct cv_ecdh *p256, *p384;
	uint16_t retry_group;    /* group demanded by HelloRetryRequest, 0 = none */
	uint16_t retry_suite;
	uint8_t auth_key[32];

	/* handshake secrets */
	const struct cv_tls_suite *suite;
	struct cv_transcript *transcript;
	struct cv_tls_secrets secrets;
	struct cv_tls_keys rx, tx;
	struct cv_buffer server_hello; /* kept for ML-DSA until the certificate was judged */
	bool protected_now; /* handshake keys are installed */
	bool ccs_sent, finished_sent, layer_taken;
	unsigned ccs_count, empty_count;

	/* server's flight */
	bool certificate_requested, certificate_seen;
	uint8_t request_context[CV_CLIENT_CONTEXT_MAX];
	uint8_t request_context_len;
	bool application_settings; /* server accepted ALPS: we owe an EncryptedExtensions */
	bool genuine;              /* the REALITY server made this certificate for us */
	uint8_t leaf_ed25519[32];
	struct cv_buffer leaf;     /* DER of the leaf */
};

/* tls_client.c */
/** cv_client_fail() - FAILED with @reason; queues @alert unless NONE. Returns @reason. */
int cv_client_fail(struct cv_tls_client *client, int reason, enum cv_tls_alert alert,
		   const char *error_text);
int cv_client_decode_error(struct cv_tls_client *client, const char *error_text);
/** cv_client_send_plain() - Queue one unprotected record. */
int cv_client_send_plain(struct cv_tls_client *client, uint8_t type, uint16_t version,
			 struct cv_span bytes);
int cv_client_send_ccs(struct cv_tls_client *client);

/* tls_client_hello.c */
int cv_client_start(struct cv_tls_client *client, uint64_t now_wall_ms);
int cv_client_server_hello(struct cv_tls_client *client, struct cv_span message);
const char *const *cv_client_alpn(const struct cv_tls_client *client);

/* tls_client_flight.c */
int cv_client_encrypted_extensions(struct cv_tls_client *client, struct cv_span message);
int cv_client_certificate_request(struct cv_tls_client *client, struct cv_span message);
int cv_client_certificate(struct cv_tls_client *client, struct cv_span message);
int cv_client_compressed_certificate(struct cv_tls_client *client, struct cv_span message);
int cv_client_certificate_verify(struct cv_tls_client *client, struct cv_span message);
int cv_client_finished(struct cv_tls_client *client, struct cv_span message);
int cv_client_second_flight(struct cv_tls_client *client);

/* tls_client_reality.c */
#define CV_REALITY_INFO "REALITY"
/** cv_reality_seal_session_id() - Fill bytes 39..70 of @hello (zeros there before). REALITY 4. */
int cv_reality_seal_session_id(const struct cv_reality_client_config *reality,
			       const uint8_t private_key[32], uint64_t now_wall_ms, uint8_t *hello,
			       size_t hello_len, uint8_t ret_auth_key[32]);
/** cv_reality_judge_certificate() - Sets client->genuine and leaf_ed25519 if @leaf is ours. */
int cv_reality_judge_certificate(struct cv_tls_client *client, struct cv_der leaf);

#endif
