// SPDX-License-Identifier: MIT
/*
 * tls_client.c - TLS 1.3 client, sans-IO: records and the order of messages.
 *
 *   carrier bytes -> whole record -> [open] -> handshake bytes -> whole message -> state's handler
 *
 * States are named after what they await. A message may span records and a record may hold several
 * messages; only where keys change (ServerHello, Finished) must a message end with its record.
 * Whatever goes wrong ends in cv_client_fail(): an alert, protected if keys exist, and one reason.
 * The client never reads past the server's Finished: what follows belongs to the record layer.
 */
#include "protocol/tls_client_state.h"

#include "base/address.h"
#include "base/cursor.h"
#include "base/reason.h"
#include "protocol/record_layer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ALERT_LEN 2
#define ALERT_FATAL 2

/* ---- sending ---- */

int cv_client_send_plain(struct cv_tls_client *client, uint8_t type, uint16_t version,
			 struct cv_span bytes)
{
	uint8_t header[CV_TLS_HEADER] = {type, (uint8_t)(version >> 8), (uint8_t)version,
					 (uint8_t)(bytes.len_bytes >> 8), (uint8_t)bytes.len_bytes};
	int result;

	if (bytes.len_bytes > CV_TLS_PLAINTEXT_MAX)
		return CV_INTERNAL_STATE;
	result = cv_buffer_append(&client->output, header, sizeof(header));
	if (result == 0)
		result = cv_buffer_append(&client->output, bytes.data, bytes.len_bytes);
	return result;
}

/* Middlebox compatibility, RFC 8446 D.4: once, ahead of the first record after the hello. */
int cv_client_send_ccs(struct cv_tls_client *client)
{
	static const uint8_t one = 1;

	if (client->ccs_sent)
		return 0;
	client->ccs_sent = true;
	return cv_client_send_plain(client, CV_TLS_CCS, 0x0303, cv_span_of(&one, 1));
}

static void send_alert(struct cv_tls_client *client, enum cv_tls_alert alert)
{
	uint8_t body[ALERT_LEN] = {ALERT_FATAL, (uint8_t)alert};
	int ignored; /* best effort: the connection is lost either way */

	if (!client->protected_now) {
		ignored = cv_client_send_plain(client, CV_TLS_ALERT, 0x0303,
					       cv_span_of(body, sizeof(body)));
	} else {
		ignored = cv_client_send_ccs(client);
		if (ignored == 0)
			ignored = cv_tls_record_seal(&client->tx, CV_TLS_ALERT, body, sizeof(body),
						     0, &client->output);
	}
	(void)ignored;
}

int cv_client_fail(struct cv_tls_client *client, int reason, enum cv_tls_alert alert,
		   const char *error_text)
{
	if (alert != CV_ALERT_NONE)
		send_alert(client, alert);
	client->state = CV_TLS_CLIENT_FAILED;
	client->result = reason;
	client->error_text = error_text;
	return reason;
}

int cv_client_decode_error(struct cv_tls_client *client, const char *error_text)
{
	return cv_client_fail(client, CV_UPSTREAM_DECODE, CV_ALERT_DECODE_ERROR, error_text);
}

static int unexpected(struct cv_tls_client *client, const char *error_text)
{
	return cv_client_fail(client, CV_UPSTREAM_UNEXPECTED_MESSAGE, CV_ALERT_UNEXPECTED_MESSAGE,
			      error_text);
}

/* ---- messages ---- */

typedef int (*message_handler)(struct cv_tls_client *client, struct cv_span message);

/* Returns the handler of @type in the present state, NULL if the message is out of order. */
static message_handler handler_of(const struct cv_tls_client *client, uint8_t type)
{
	switch (client->state) {
	case CV_TLS_CLIENT_EXPECT_SERVER_HELLO:
		return type == CV_MESSAGE_SERVER_HELLO ? cv_client_server_hello : NULL;
	case CV_TLS_CLIENT_EXPECT_ENCRYPTED_EXTENSIONS:
		return type == CV_MESSAGE_ENCRYPTED_EXTENSIONS ? cv_client_encrypted_extensions
							       : NULL;
	case CV_TLS_CLIENT_EXPECT_CERTIFICATE:
		if (type == CV_MESSAGE_CERTIFICATE_REQUEST)
			return cv_client_certificate_request;
		if (type == CV_MESSAGE_COMPRESSED_CERTIFICATE)
			return cv_client_compressed_certificate;
		return type == CV_MESSAGE_CERTIFICATE ? cv_client_certificate : NULL;
	case CV_TLS_CLIENT_EXPECT_CERTIFICATE_VERIFY:
		return type == CV_MESSAGE_CERTIFICATE_VERIFY ? cv_client_certificate_verify : NULL;
	case CV_TLS_CLIENT_EXPECT_FINISHED:
		return type == CV_MESSAGE_FINISHED ? cv_client_finished : NULL;
	default:
		return NULL;
	}
}

/* ServerHello and Finished enter the transcript in their handlers: there the order matters. */
static bool handler_adds_transcript(uint8_t type)
{
	return type == CV_MESSAGE_SERVER_HELLO || type == CV_MESSAGE_FINISHED;
}

static int handle_message(struct cv_tls_client *client, struct cv_span message)
{
	uint8_t type = message.data[0];
	message_handler handler = handler_of(client, type);
	int result;

	if (!handler)
		return unexpected(client, "handshake message out of order");
	/* keys change here: nothing may be left over from the old epoch, RFC 8446 5.1 */
	if (handler_adds_transcript(type) && message.len_bytes != cv_buffer_len(&client->messages))
		return unexpected(client, "message does not end with its record");
	result = handler(client, message);
	if (result < 0 || handler_adds_transcript(type))
		return result;
	result = cv_transcript_add(client->transcript, message.data, message.len_bytes);
	if (result < 0)
		return cv_client_fail(client, result, CV_ALERT_INTERNAL_ERROR, "transcript");
	return 0;
}

static bool still_running(const struct cv_tls_client *client)
{
	return client->state != CV_TLS_CLIENT_DONE && client->state != CV_TLS_CLIENT_FAILED;
}

static int handle_messages(struct cv_tls_client *client)
{
	while (still_running(client)) {
		struct cv_span bytes = cv_buffer_span(&client->messages);
		size_t message_len;
		int result;

		if (bytes.len_bytes < 4)
			return 0;
		message_len = 4 + ((size_t)bytes.data[1] << 16 | (size_t)bytes.data[2] << 8 |
				   bytes.data[3]);
		if (message_len > CV_CLIENT_MESSAGE_MAX)
			return cv_client_fail(client, CV_UPSTREAM_DECODE,
					      CV_ALERT_ILLEGAL_PARAMETER,
					      "handshake message too long");
		if (bytes.len_bytes < message_len)
			return 0;
		result = handle_message(client, cv_span_of(bytes.data, message_len));
		if (result < 0)
			return result;
		cv_buffer_consume(&client->messages, message_len);
	}
	return 0;
}

/* ---- records ---- */

static int handle_alert(struct cv_tls_client *client, struct cv_span body)
{
	if (body.len_bytes != ALERT_LEN)
		return cv_client_decode_error(client, "malformed alert");
	snprintf(client->error_buffer, sizeof(client->error_buffer), "server sent alert %u",
		 body.data[1]);
	return cv_client_fail(client, CV_UPSTREAM_ALERT, CV_ALERT_NONE, client->error_buffer);
}

static int handle_content(struct cv_tls_client *client, uint8_t type, struct cv_span body)
{
	int result;

	if (type == CV_TLS_ALERT)
		return handle_alert(client, body);
	if (type != CV_TLS_HANDSHAKE || body.len_bytes == 0)
		return unexpected(client, "record of an unexpected type");
	result = cv_buffer_append(&client->messages, body.data, body.len_bytes);
	if (result < 0)
		return cv_client_fail(client, result, CV_ALERT_INTERNAL_ERROR, "out of memory");
	return handle_messages(client);
}

static int open_failed(struct cv_tls_client *client, int result)
{
	switch (result) {
	case CV_PEER_BAD_RECORD:
		return cv_client_fail(client, CV_UPSTREAM_BAD_RECORD, CV_ALERT_BAD_RECORD_MAC,
				      "record does not authenticate");
	case CV_PEER_TOO_LONG:
		return cv_client_fail(client, CV_UPSTREAM_DECODE, CV_ALERT_RECORD_OVERFLOW,
				      "record too long");
	case CV_PEER_UNEXPECTED_MESSAGE:
		return unexpected(client, "record without content type");
	default:
		return cv_client_fail(client, result, CV_ALERT_INTERNAL_ERROR, "record protection");
	}
}

static int handle_protected(struct cv_tls_client *client, struct cv_span record)
{
	uint8_t *plain;
	uint8_t type;
	size_t len;
	int result;

	if (record.len_bytes < CV_TLS_HEADER + CV_AEAD_TAG)
		return open_failed(client, CV_PEER_BAD_RECORD);
	plain = malloc(record.len_bytes);
	if (!plain)
		return cv_client_fail(client, CV_INTERNAL_MEMORY, CV_ALERT_INTERNAL_ERROR,
				      "out of memory");
	result = cv_tls_record_open(&client->rx, record.data, record.len_bytes, plain, &type, &len);
	if (result < 0)
		result = open_failed(client, result);
	else
		result = handle_content(client, type, cv_span_of(plain, len));
	free(plain);
	return result;
}

static int handle_ccs(struct cv_tls_client *client, struct cv_span record)
{
	if (record.len_bytes != CV_TLS_HEADER + 1 || record.data[CV_TLS_HEADER] != 1)
		return unexpected(client, "malformed ChangeCipherSpec");
	if (++client->ccs_count > CV_CLIENT_CCS_MAX)
		return unexpected(client, "too many ChangeCipherSpec records");
	return 0;
}

static void note_record(struct cv_tls_client *client, size_t record_len)
{
	struct cv_tls_client_facts *facts = &client->facts;
	size_t limit = sizeof(facts->record_len) / sizeof(facts->record_len[0]);

	if (facts->record_count < limit)
		facts->record_len[facts->record_count++] = record_len;
}

static int handle_record(struct cv_tls_client *client, struct cv_span record)
{
	uint8_t type = record.data[0];
	struct cv_span body = cv_span_of(record.data + CV_TLS_HEADER,
					 record.len_bytes - CV_TLS_HEADER);

	if (type == CV_TLS_CCS)
		return handle_ccs(client, record);
	note_record(client, record.len_bytes);
	if (type == CV_TLS_ALERT)
		return handle_alert(client, body);
	if (type == CV_TLS_APPLICATION && client->protected_now)
		return handle_protected(client, record);
	if (type == CV_TLS_HANDSHAKE && !client->protected_now) {
		if (body.len_bytes > CV_TLS_PLAINTEXT_MAX)
			return open_failed(client, CV_PEER_TOO_LONG);
		return handle_content(client, type, body);
	}
	return unexpected(client, "record of an unexpected type");
}

/* An HTTP or SSH answer must not be waited for as if it were a long record. */
static bool looks_like_tls(struct cv_span bytes)
{
	return (bytes.len_bytes < 1 ||
		(bytes.data[0] >= CV_TLS_CCS && bytes.data[0] <= CV_TLS_APPLICATION)) &&
	       (bytes.len_bytes < 2 || bytes.data[1] == 3);
}

static int next_record(struct cv_tls_client *client, struct cv_span *bytes)
{
	size_t record_len;
	int result;

	if (!looks_like_tls(*bytes))
		return cv_client_fail(client, CV_UPSTREAM_DECODE, CV_ALERT_NONE,
				      "answer is not TLS");
	result = cv_tls_record_peek(*bytes, &record_len);
	if (result == -EAGAIN)
		return result;
	if (result < 0)
		return open_failed(client, result);
	result = handle_record(client, cv_span_of(bytes->data, record_len));
	cv_span_skip(bytes, record_len);
	return result;
}

int cv_tls_client_read(struct cv_tls_client *client, struct cv_span *bytes)
{
	while (still_running(client)) {
		int result = next_record(client, bytes);

		if (result < 0)
			return result;
	}
	return client->result;
}

/* ---- life ---- */

static bool server_name_is_ip(const char *server_name)
{
	struct cv_destination destination;

	return server_name[0] && cv_destination_set_text(&destination, server_name, 0) == 0 &&
	       destination.kind != CV_ADDRESS_DOMAIN;
}

struct cv_tls_client *cv_tls_client_new(const struct cv_tls_client_config *config,
					uint64_t now_wall_ms)
{
	struct cv_tls_client *client = calloc(1, sizeof(*client));

	if (!client)
		return NULL;
	client->config = *config;
	client->config.fingerprint = cv_fingerprint_resolve(config->fingerprint);
	if (!client->config.server_name)
		client->config.server_name = "";
	if (config->reality)
		client->reality = *config->reality;
	client->name_is_ip = server_name_is_ip(client->config.server_name);
	client->error_text = "";
	cv_buffer_init(&client->output, CV_CLIENT_OUTPUT_MAX);
	cv_buffer_init(&client->messages, CV_CLIENT_MESSAGE_MAX + CV_TLS_RECORD_MAX);
	cv_buffer_init(&client->hello, CV_CLIENT_OUTPUT_MAX);
	cv_buffer_init(&client->server_hello, CV_CLIENT_MESSAGE_MAX);
	cv_buffer_init(&client->leaf, CV_CLIENT_MESSAGE_MAX);
	if (cv_client_start(client, now_wall_ms) < 0)
		return cv_tls_client_free(client);
	return client;
}

struct cv_tls_client *cv_tls_client_free(struct cv_tls_client *client)
{
	if (!client)
		return NULL;
	cv_buffer_done(&client->output);
	cv_buffer_done(&client->messages);
	cv_buffer_done(&client->hello);
	cv_buffer_done(&client->server_hello);
	cv_buffer_done(&client->leaf);
	cv_tls_keys_done(&client->rx);
	cv_tls_keys_done(&client->tx);
	cv_transcript_free(client->transcript);
	cv_ecdh_free(client->p256);
	cv_ecdh_free(client->p384);
	cv_cleanse(client, sizeof(*client));
	free(client);
	return NULL;
}

enum cv_tls_client_state cv_tls_client_state(const struct cv_tls_client *client)
{
	return client->state;
}

struct cv_buffer *cv_tls_client_output(struct cv_tls_client *client)
{
	return &client->output;
}

int cv_tls_client_release(struct cv_tls_client *client)
{
	if (client->state != CV_TLS_CLIENT_DONE || client->finished_sent)
		return CV_INTERNAL_STATE;
	return cv_client_second_flight(client);
}

struct cv_layer *cv_tls_client_take_layer(struct cv_tls_client *client)
{
	if (client->state != CV_TLS_CLIENT_DONE || !client->finished_sent || client->layer_taken)
		return NULL;
	client->layer_taken = true;
	return cv_record_layer_new(&client->rx, &client->tx, false);
}

enum cv_fingerprint cv_tls_client_fingerprint(const struct cv_tls_client *client)
{
	return client->config.fingerprint;
}

const char *cv_tls_client_error_text(const struct cv_tls_client *client)
{
	return client->error_text;
}

const struct cv_tls_client_facts *cv_tls_client_facts(const struct cv_tls_client *client)
{
	return &client->facts;
}

const uint8_t *cv_tls_client_auth_key(const struct cv_tls_client *client)
{
	return client->config.reality ? client->auth_key : NULL;
}

/* ---- key log ---- */

static void write_hex(char *text, const uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		sprintf(text + 2 * i, "%02x", bytes[i]);
}

char *cv_tls_client_key_log(const struct cv_tls_client *client)
{
	const struct {
		const char *label;
		const uint8_t *secret;
	} lines[] = {
		{"CLIENT_HANDSHAKE_TRAFFIC_SECRET", client->secrets.client_handshake},
		{"SERVER_HANDSHAKE_TRAFFIC_SECRET", client->secrets.server_handshake},
		{"CLIENT_TRAFFIC_SECRET_0", client->secrets.client_application},
		{"SERVER_TRAFFIC_SECRET_0", client->secrets.server_application},
	};
	const size_t line_max = 32 + 1 + 64 + 1 + 2 * CV_HASH_MAX + 2;
	char random[65], secret[2 * CV_HASH_MAX + 1];
	size_t used = 0, size = line_max * 4;
	char *text;

	if (client->state != CV_TLS_CLIENT_DONE)
		return NULL;
	text = malloc(size);
	if (!text)
		return NULL;
	write_hex(random, client->random, sizeof(client->random));
	for (size_t i = 0; i < 4; i++) {
		write_hex(secret, lines[i].secret, cv_hash_len(client->suite->hash));
		used += (size_t)snprintf(text + used, size - used, "%s %s %s\n", lines[i].label,
					 random, secret);
	}
	cv_cleanse(secret, sizeof(secret));
	return text;
}
